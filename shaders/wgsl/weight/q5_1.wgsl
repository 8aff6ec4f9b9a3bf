// ggml's Q5_1, as in files: blocks of 32 values in 6 words: f16 scale and f16 minimum, the fifth bits, then nibbles as in
// Q4_1.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

// The fifth bits of four values, from the lowest bits on.
fn fifths(bits: u32) -> u32 {
    return ((bits & 1u) << 4u) | ((bits & 2u) << 11u) | ((bits & 4u) << 18u) | ((bits & 8u) << 25u);
}

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let base = (at >> 3u) * 6u;
    let factors = unpack2x16float(weight[base]);
    let nibbles = (weight[base + 2u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu;
    let fives = nibbles | fifths(weight[base + 1u] >> ((at & 7u) * 4u));
    return vec4<f32>(unpack4xU8(fives)) * factors.x + vec4<f32>(factors.y);
}
