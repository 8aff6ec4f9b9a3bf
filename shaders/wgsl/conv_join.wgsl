// Adds up the parts of a convolution whose sum was split, in the order of the splits, and the bias.
struct Params {
    grid_x: u32,
    grid_y: u32,
    splits: u32,
    elements: u32, // of the result
    pixels: u32,
    channels: u32,
    y_base: u32,
    bias_base: u32,
    has_bias: u32,
    //#include epilogue_params
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> other: array<f32>;

//#include grid
//#include activation
//#include epilogue

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    var sum = 0.0;
    for (var split = 0u; split < p.splits; split += 1u) {
        sum += parts[split * p.elements + index];
    }
    let plane = index / p.pixels;
    let batch = plane / p.channels;
    let channel = plane - batch * p.channels;
    if (p.has_bias != 0u) {
        sum += bias[p.bias_base + channel];
    }
    let at = p.y_base + index;
    y[at] = finish(sum, select(at, p.channel_base + batch * p.channel_stride + channel, p.combine == 3u));
}
