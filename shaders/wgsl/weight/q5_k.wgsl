// ggml's Q5_K, as in files: blocks of 256 values in 44 words: f16 scale and f16 minimum, 12 bytes of 6-bit scales and minima
// as in Q4_K, the fifth bits, then the nibbles.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let base = (at >> 6u) * 44u;
    let sub = (at >> 3u) & 7u;
    let factors = unpack2x16float(weight[base]);
    let shift = (sub & 3u) * 8u;
    let a = (weight[base + 1u] >> shift) & 255u;
    let b = (weight[base + 2u] >> shift) & 255u;
    let c = (weight[base + 3u] >> shift) & 255u;
    let scale = select(a & 63u, (c & 15u) | ((a >> 2u) & 48u), sub >= 4u);
    let minimum = select(b & 63u, (c >> 4u) | ((b >> 2u) & 48u), sub >= 4u);
    let nibbles = (weight[base + 12u + (sub >> 1u) * 8u + (at & 7u)] >> ((sub & 1u) * 4u)) & 0x0f0f0f0fu;
    let high = ((weight[base + 4u + (at & 7u)] >> sub) & 0x01010101u) << 4u;
    return vec4<f32>(unpack4xU8(nibbles | high)) * (factors.x * f32(scale)) - vec4<f32>(factors.y * f32(minimum));
}
