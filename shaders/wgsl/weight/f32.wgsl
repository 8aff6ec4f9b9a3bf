// Weights in f32: rows padded with zeros to whole chunks of four.
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;

fn weight4(row: u32, chunk: u32) -> vec4<f32> {
    return weight[row * p.weight_stride + chunk];
}
