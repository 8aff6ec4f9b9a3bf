// ggml's Q5_0: blocks of 32 values in 5 words (the fifth bits, then nibbles as in Q4_0), offset 16; f16 scales in a section
// of their own, two to a word.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

// The fifth bits of four values, from the lowest bits on.
fn fifths(bits: u32) -> u32 {
    return ((bits & 1u) << 4u) | ((bits & 2u) << 11u) | ((bits & 4u) << 18u) | ((bits & 8u) << 25u);
}

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let block = at >> 3u;
    let base = block * 5u;
    let scales = unpack2x16float(weight[p.weight_scales + (block >> 1u)]);
    let scale = select(scales.x, scales.y, (block & 1u) == 1u);
    let nibbles = (weight[base + 1u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu;
    let fives = nibbles | fifths(weight[base] >> ((at & 7u) * 4u));
    return (vec4<f32>(unpack4xU8(fives)) - vec4<f32>(16.0)) * scale;
}
