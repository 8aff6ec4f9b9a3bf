// A chain of element-wise steps: each element of x goes through all of them and is written once. What differs from chain to chain is made
// from it, see chain.rs: the values that are met on the way (SPREAD: some of them are broadcast, so that places are counted in a box of up to
// four dimensions), the numbers that go with functions, and the steps themselves.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    y_base: u32,
    x_base: u32,
    //#if SPREAD
    d1: u32,
    d2: u32,
    d3: u32,
    xs0: u32, // strides of x and y, which have one layout
    xs1: u32,
    xs2: u32,
    xs3: u32,
    //#endif
    //#include chain_params
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
//#include chain_values

//#include grid
//#include functions

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    //#if SPREAD
    //#include box_index
    let at = i0 * p.xs0 + i1 * p.xs1 + i2 * p.xs2 + i3 * p.xs3;
    //#else
    let at = index;
    //#endif
    var v = x[p.x_base + at];
    //#include chain_steps
    y[p.y_base + at] = v;
}
