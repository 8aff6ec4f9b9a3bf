// RMS norm of rows: 64 lanes a row.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    width: u32,
    x_base: u32,
    y_base: u32,
    gain_base: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid
alias Summed = f32;
const SIDE = 8u;
//#include reduce
//#include rms_scale

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group);
    if (row >= p.rows) {
        return;
    }
    let base = p.x_base + row * p.width;
    let scale = rms_scale(base, lane);
    let out = p.y_base + row * p.width;
    for (var i = lane; i < p.width; i += 64u) {
        y[out + i] = x[base + i] * scale * gain[p.gain_base + i];
    }
}
