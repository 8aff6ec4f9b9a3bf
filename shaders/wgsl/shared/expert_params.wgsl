struct Params {
    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    weight_scales: u32, // first word of the section of scales
    k: u32,
    n: u32, // weight rows of an expert
    first_row: u32, // of the shard, counted over all experts
    shard_rows: u32,
    pairs: u32,
    used: u32,
    x_divisor: u32, // pairs to a row of x
    x_base: u32,
    routes_base: u32,
    y_base: u32,
    first_place: u32, // place of the first pair among the experts of its row
    blocks: u32, // of four weight rows an expert
}
@group(0) @binding(0) var<uniform> p: Params;
