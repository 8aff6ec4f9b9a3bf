// Words of one head of a slot, and an element of the value that lies at a word.
//#if KV_F32
fn head_words() -> u32 {
    return p.head_dim;
}

fn value_at(at: u32, element: u32) -> f32 {
    return values[at + element];
}
//#endif
//#if KV_F16
fn head_words() -> u32 {
    return (p.head_dim + 1u) / 2u;
}

fn value_at(at: u32, element: u32) -> f32 {
    let pair = unpack2x16float(values[at + element / 2u]);
    return select(pair.x, pair.y, (element & 1u) == 1u);
}
//#endif
//#if KV_Q8
fn head_words() -> u32 {
    return (p.head_dim + 3u) / 4u + (p.head_dim + 63u) / 64u;
}

fn value_at(at: u32, element: u32) -> f32 {
    let pair = unpack2x16float(values[at + (p.head_dim + 3u) / 4u + element / 64u]);
    let byte = i32(values[at + element / 4u] << (24u - 8u * (element & 3u))) >> 24u;
    return f32(byte) / 127.0 * select(pair.x, pair.y, (element & 32u) != 0u);
}
//#endif
