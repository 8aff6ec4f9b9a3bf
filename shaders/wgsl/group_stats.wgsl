// Group norm, first pass: mean (rounded, and what rounding left) and sum of squared deviations of every part of every
// group, by the corrected two-pass algorithm (Chan, Golub and LeVeque 1983). A group lies in one piece;
// parts are numbered over all groups, so a dispatch can cover any run of them.
struct Params {
    grid_x: u32,
    grid_y: u32,
    first_part: u32,
    parts: u32, // of this dispatch
    parts_per_group: u32,
    part_len: u32,
    group_len: u32,
    x_start: u32, // element of the value at which the first part begins
    x_base: u32, // where that element lies in the binding
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

//#include grid
alias Summed = vec2<f32>;
const SIDE = 8u;
//#include reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    if (index >= p.parts) {
        return;
    }
    let part = p.first_part + index;
    let of_group = part / p.parts_per_group;
    let begin = (part - of_group * p.parts_per_group) * p.part_len;
    let len = min(p.part_len, p.group_len - begin);
    let base = p.x_base + (of_group * p.group_len + begin - p.x_start);
    var sum = 0.0;
    for (var i = lane; i < len; i += 64u) {
        sum += x[base + i];
    }
    let mean = workgroup_sum(vec2<f32>(sum, 0.0), lane).x / f32(len);
    var rest = vec2<f32>(0.0);
    for (var i = lane; i < len; i += 64u) {
        let d = x[base + i] - mean;
        rest += vec2<f32>(d, d * d);
    }
    let all = workgroup_sum(rest, lane);
    let shift = all.x / f32(len);
    let total = all.y - f32(len) * shift * shift;
    if (lane == 0u) {
        stats[part] = vec4<f32>(mean, shift, total, 0.0);
    }
}
