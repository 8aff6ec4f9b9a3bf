// ggml's Q6_K: blocks of 256 values in 52 words (low nibbles, upper two bits, sixteen signed 8-bit scales) and the
// blocks' f16 scales in a section of their own, two to a word, since 210 bytes are no whole number of words.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 6u;
    let base = block * 52u;
    let line = (at >> 3u) & 7u;
    let half = line >> 2u;
    let part = line & 3u;
    let word = at & 7u;
    let low = (weight[base + half * 16u + (part & 1u) * 8u + word] >> ((part >> 1u) * 4u)) & 0x0f0f0f0fu;
    let high = (weight[base + 32u + half * 8u + word] >> (part * 2u)) & 0x03030303u;
    let sub = (at >> 2u) & 15u;
    let sub_scales = unpack4xI8(weight[base + 48u + (sub >> 2u)]);
    let sub_scale = f32(sub_scales[sub & 3u]);
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u) * sub_scale;
    return (vec4<f32>(unpack4xU8(low | (high << 4u))) - vec4<f32>(32.0)) * scale;
}
