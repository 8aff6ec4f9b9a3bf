// ggml's Q2_K, as in files: blocks of 256 values in 21 words: sixteen bytes with a nibble of scale and one of minimum, the bit
// pairs, then f16 scale and f16 minimum.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let base = (at >> 6u) * 21u;
    let sub = (at >> 2u) & 15u;
    let nibbles = weight[base + (sub >> 2u)] >> ((sub & 3u) * 8u);
    let half = (at >> 5u) & 1u;
    let pairs = (weight[base + 4u + half * 8u + (at & 7u)] >> (((at >> 3u) & 3u) * 2u)) & 0x03030303u;
    let factors = unpack2x16float(weight[base + 20u]);
    let scale = factors.x * f32(nibbles & 15u);
    let minimum = factors.y * f32((nibbles >> 4u) & 15u);
    return vec4<f32>(unpack4xU8(pairs)) * scale - vec4<f32>(minimum);
}
