    before: u32, // function applied first; 9: none
    before_a: f32,
    before_b: f32,
    combine: u32, // 0: nothing, 1: `other` is added, 2: multiplied, 3: added by channel
    after: u32, // function applied last; 9: none
    after_a: f32,
    after_b: f32,
    channel_base: u32, // in `other`, of the first channel
    channel_stride: u32, // from one picture of the batch to the next
