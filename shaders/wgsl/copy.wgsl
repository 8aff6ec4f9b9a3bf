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
    let q3 = index / p.d3;
    let i3 = index - q3 * p.d3;
    let q2 = q3 / p.d2;
    let i2 = q3 - q2 * p.d2;
    let i0 = q2 / p.d1;
    let i1 = q2 - i0 * p.d1;
    y[p.y_base + i0 * p.ys0 + i1 * p.ys1 + i2 * p.ys2 + i3 * p.ys3]
        = x[p.x_base + i0 * p.xs0 + i1 * p.xs1 + i2 * p.xs2 + i3 * p.xs3];
}
