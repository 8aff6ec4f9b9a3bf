// Layer norm of rows: 64 lanes a row, by the corrected two-pass algorithm (Chan, Golub and LeVeque 1983): the second pass
// sums deviations from the rounded mean and their squares, so that an offset large against the spread does no harm.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    width: u32,
    x_base: u32,
    y_base: u32,
    gain_base: u32,
    offset_base: u32,
    has_offset: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> offset: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
alias Summed = vec2<f32>;
const SIDE = 8u;
//#include reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group);
    if (row >= p.rows) {
        return;
    }
    let base = p.x_base + row * p.width;
    var sum = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        sum += x[base + i];
    }
    let mean = workgroup_sum(vec2<f32>(sum, 0.0), lane).x / f32(p.width);
    var rest = vec2<f32>(0.0);
    for (var i = lane; i < p.width; i += 64u) {
        let d = x[base + i] - mean;
        rest += vec2<f32>(d, d * d);
    }
    let all = workgroup_sum(rest, lane) / f32(p.width);
    let shift = all.x;
    let variance = max(all.y - shift * shift, 0.0);
    let scale = 1.0 / sqrt(variance + p.eps);
    let out = p.y_base + row * p.width;
    for (var i = lane; i < p.width; i += 64u) {
        var value = ((x[base + i] - mean) - shift) * scale * gain[p.gain_base + i];
        if (p.has_offset != 0u) {
            value += offset[p.offset_base + i];
        }
        y[out + i] = value;
    }
}
