// Group norm, second pass: joins the parts of every group (Chan, Golub and LeVeque 1983) into its mean (rounded, and what
// rounding left) and the inverse of its standard deviation.
struct Params {
    grid_x: u32,
    grid_y: u32,
    groups: u32,
    parts_per_group: u32,
    part_len: u32,
    group_len: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;

//#include grid
alias Summed = f32;
const SIDE = 8u;
//#include reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    if (index >= p.groups) {
        return;
    }
    let base = index * p.parts_per_group;
    // Means are taken relative to the first part's, so that a common offset does not cost digits.
    let origin = stats[base].x;
    var sum = 0.0;
    for (var i = lane; i < p.parts_per_group; i += 64u) {
        let len = min(p.part_len, p.group_len - i * p.part_len);
        let part = stats[base + i];
        sum += ((part.x - origin) + part.y) * f32(len);
    }
    let shift = workgroup_sum(sum, lane) / f32(p.group_len);
    var squares = 0.0;
    for (var i = lane; i < p.parts_per_group; i += 64u) {
        let len = min(p.part_len, p.group_len - i * p.part_len);
        let part = stats[base + i];
        let d = ((part.x - origin) + part.y) - shift;
        squares += part.z + d * d * f32(len);
    }
    let variance = max(workgroup_sum(squares, lane) / f32(p.group_len), 0.0);
    if (lane == 0u) {
        moments[index] = vec4<f32>(origin, shift, 1.0 / sqrt(variance + p.eps), 0.0);
    }
}
