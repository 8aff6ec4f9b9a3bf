// Copies a box of up to four dimensions between strided layouts: permute, concat, slice.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    x_base: u32,
    y_base: u32,
    d1: u32,
    d2: u32,
    d3: u32,
    xs0: u32,
    xs1: u32,
    xs2: u32,
    xs3: u32,
    ys0: u32,
    ys1: u32,
    ys2: u32,
    ys3: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    //#include box_index
    y[p.y_base + i0 * p.ys0 + i1 * p.ys1 + i2 * p.ys2 + i3 * p.ys3]
        = x[p.x_base + i0 * p.xs0 + i1 * p.xs1 + i2 * p.xs2 + i3 * p.xs3];
}
