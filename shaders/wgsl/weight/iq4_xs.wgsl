// ggml's IQ4_XS, as in files: blocks of 256 values in 34 words: f16 scale, the upper two bits of eight 6-bit scales, their lower
// four bits, then nibbles that name values of a table, by sub-blocks of 32 as in IQ4_NL.
@group(0) @binding(1) var<storage, read> weight: array<u32>;

//#include nonlinear4

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let at = row * p.weight_stride + chunk;
    let base = (at >> 6u) * 34u;
    let sub = (at >> 3u) & 7u;
    let low = (weight[base + 1u] >> (sub * 4u)) & 15u;
    let high = (weight[base] >> (16u + sub * 2u)) & 3u;
    let scale = unpack2x16float(weight[base]).x * (f32(low | (high << 4u)) - 32.0);
    return looked_up((weight[base + 2u + sub * 4u + (at & 3u)] >> (at & 4u)) & 0x0f0f0f0fu) * scale;
}
