// ggml's Q3_K: blocks of 256 values in 27 words (third bits, bit pairs, sixteen 6-bit scales) and the blocks' f16 scales in a
// section of their own, two to a word. A third bit that is 0 takes 4 away.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 6u;
    let base = block * 27u;
    let line = (at >> 3u) & 7u;
    let word = at & 7u;
    let pairs = (weight[base + 8u + (line >> 2u) * 8u + word] >> ((line & 3u) * 2u)) & 0x03030303u;
    let thirds = (weight[base + word] >> line) & 0x01010101u;
    let sub = (at >> 2u) & 15u;
    let low = (weight[base + 24u + ((sub & 7u) >> 2u)] >> ((sub & 3u) * 8u + (sub >> 3u) * 4u)) & 15u;
    let high = (weight[base + 26u] >> ((sub & 3u) * 8u + (sub >> 2u) * 2u)) & 3u;
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u);
    let sub_scale = f32(low | (high << 4u)) - 32.0;
    return (vec4<f32>(unpack4xU8(pairs | (thirds << 2u))) - vec4<f32>(4.0)) * (scale * sub_scale);
}
