// ggml's IQ4_NL: blocks of 32 nibbles (4 words; low nibbles are the first 16 values) that name values of a table; f16 scales
// in a section of their own, two to a word.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

// Four nibbles, a byte each, as the table's values.
fn looked_up(nibbles: u32) -> vec4<f32> {
    let table = vec4<u32>(0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
    let code = unpack4xU8(nibbles);
    return vec4<f32>(
        f32(unpack4xI8(table[code.x >> 2u])[code.x & 3u]),
        f32(unpack4xI8(table[code.y >> 2u])[code.y & 3u]),
        f32(unpack4xI8(table[code.z >> 2u])[code.z & 3u]),
        f32(unpack4xI8(table[code.w >> 2u])[code.w & 3u]),
    );
}

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 3u;
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u);
    return looked_up((weight[block * 4u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu) * scale;
}
