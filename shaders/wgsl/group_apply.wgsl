// Group norm, third pass: normalises, and applies gain, offset and, where asked for, SiLU.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    x_base: u32,
    y_base: u32,
    first_element: u32, // of the value
    channels: u32,
    channel_len: u32,
    group_len: u32,
    gain_base: u32,
    offset_base: u32,
    silu: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gain: array<f32>;
@group(0) @binding(4) var<storage, read> offset: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    let element = p.first_element + index;
    let moment = moments[element / p.group_len];
    let channel = (element / p.channel_len) % p.channels;
    var value = ((x[p.x_base + index] - moment.x) - moment.y) * moment.z * gain[p.gain_base + channel] + offset[p.offset_base + channel];
    if (p.silu != 0u) {
        value *= sigmoid(value);
    }
    y[p.y_base + index] = value;
}
