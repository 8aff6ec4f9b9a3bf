// ggml's IQ4_NL: blocks of 32 nibbles (4 words; low nibbles are the first 16 values) that name values of a table; f16 scales
// in a section of their own, two to a word.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

//#include nonlinear4

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 3u;
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u);
    return looked_up((weight[block * 4u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu) * scale;
}
