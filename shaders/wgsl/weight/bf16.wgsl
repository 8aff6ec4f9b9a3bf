// Weights in bf16, the upper halves of f32, two to a word: rows padded with zeros to whole chunks of four.
@group(0) @binding(1) var<storage, read> weight: array<vec2<u32>>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let packed = weight[row * p.weight_stride + chunk];
    return bitcast<vec4<f32>>(vec4<u32>(packed.x << 16u, packed.x & 0xffff0000u, packed.y << 16u, packed.y & 0xffff0000u));
}
