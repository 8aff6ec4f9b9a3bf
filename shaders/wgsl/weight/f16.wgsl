// Weights in f16, two to a word, so that SHADER_F16 is not needed: rows padded with zeros to whole chunks of four.
@group(0) @binding(1) var<storage, read> weight: array<vec2<u32>>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    let packed = weight[row * p.weight_stride + chunk];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
