// ggml's Q8_0: blocks of 32 signed bytes (8 words); their f16 scales lie in a section of their own, two to a word.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 3u;
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u);
    return vec4<f32>(unpack4xI8(weight[at])) * scale;
}
