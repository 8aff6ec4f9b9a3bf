// Nearest-neighbour scaling of planes. Rows are counted over all planes, so a dispatch can cover any run of them.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    x_base: u32,
    y_base: u32,
    first_row: u32, // output row, over all planes
    x_first_row: u32, // input row, over all planes, that lies at x_base
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    let line = index / p.out_width;
    let ox = index - line * p.out_width;
    let row = p.first_row + line;
    let plane = row / p.out_height;
    let oy = row - plane * p.out_height;
    let x_row = plane * p.height + oy * p.height / p.out_height;
    y[p.y_base + index] = x[p.x_base + (x_row - p.x_first_row) * p.width + ox * p.width / p.out_width];
}
