// ggml's Q4_1, as in files: blocks of 32 values in 5 words: f16 scale and f16 minimum, then the nibbles (low ones are the
// first 16 values).
@group(0) @binding(1) var<storage, read> weight: array<u32>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let base = (at >> 3u) * 5u;
    let factors = unpack2x16float(weight[base]);
    let nibbles = (weight[base + 1u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu;
    return vec4<f32>(unpack4xU8(nibbles)) * factors.x + vec4<f32>(factors.y);
}
