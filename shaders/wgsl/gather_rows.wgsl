// Rows of a value by index. Indices outside of the bound rows belong to other dispatches.
struct Params {
    grid_x: u32,
    grid_y: u32,
    width: u32,
    first_row: u32,
    bound_rows: u32,
    out_rows: u32,
    x_base: u32,
    indices_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    let out_row = index / p.width;
    if (out_row >= p.out_rows) {
        return;
    }
    let row = indices[p.indices_base + out_row];
    if (row < p.first_row || row - p.first_row >= p.bound_rows) {
        return;
    }
    y[p.y_base + index] = x[p.x_base + (row - p.first_row) * p.width + (index - out_row * p.width)];
}
