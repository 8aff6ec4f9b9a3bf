// Group norm of groups small enough for one workgroup each: mean and squared deviations by the corrected two-pass algorithm (Chan, Golub and
// LeVeque 1983), then gain, offset and, where asked for, SiLU. A group lies in one piece.
struct Params {
    grid_x: u32,
    grid_y: u32,
    groups: u32,
    group_len: u32,
    x_base: u32,
    y_base: u32,
    channels: u32,
    channel_len: u32,
    gain_base: u32,
    offset_base: u32,
    silu: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> offset: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

alias Summed = vec2<f32>;
const SIDE = 16u;
//#include reduce

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    if (index >= p.groups) {
        return;
    }
    let begin = index * p.group_len;
    let base = p.x_base + begin;
    let count = f32(p.group_len);
    var sum = 0.0;
    for (var i = lane; i < p.group_len; i += 256u) {
        sum += x[base + i];
    }
    let mean = workgroup_sum(vec2<f32>(sum, 0.0), lane).x / count;
    var rest = vec2<f32>(0.0);
    for (var i = lane; i < p.group_len; i += 256u) {
        let d = x[base + i] - mean;
        rest += vec2<f32>(d, d * d);
    }
    let all = workgroup_sum(rest, lane);
    let shift = all.x / count;
    let variance = max((all.y - count * shift * shift) / count, 0.0);
    let scale = 1.0 / sqrt(variance + p.eps);
    for (var i = lane; i < p.group_len; i += 256u) {
        let channel = ((begin + i) / p.channel_len) % p.channels;
        var value = ((x[base + i] - mean) - shift) * scale * gain[p.gain_base + channel] + offset[p.offset_base + channel];
        if (p.silu != 0u) {
            value *= sigmoid(value);
        }
        y[p.y_base + begin + i] = value;
    }
}
