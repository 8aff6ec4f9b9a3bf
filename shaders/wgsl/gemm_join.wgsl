// Adds up the parts of a product whose K was split, in the order of the splits, and the bias.
struct Params {
    grid_x: u32,
    grid_y: u32,
    splits: u32,
    rows: u32,
    n: u32, // columns of the parts
    y_base: u32,
    y_stride: u32,
    bias_base: u32,
    has_bias: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    let elements = p.rows * p.n;
    if (index >= elements) {
        return;
    }
    var sum = 0.0;
    for (var split = 0u; split < p.splits; split += 1u) {
        sum += parts[split * elements + index];
    }
    let row = index / p.n;
    let column = index - row * p.n;
    if (p.has_bias != 0u) {
        sum += bias[p.bias_base + column];
    }
    y[p.y_base + row * p.y_stride + column] = sum;
}
