// y = a op b over a box of up to four dimensions; b may be broadcast (strides of 0). Those with others behind them are chains.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    a_base: u32,
    b_base: u32,
    y_base: u32,
    multiply: u32, // 0: add
    d1: u32,
    d2: u32,
    d3: u32,
    bs0: u32,
    bs1: u32,
    bs2: u32,
    bs3: u32,
    as0: u32, // strides of a and y, which have one layout
    as1: u32,
    as2: u32,
    as3: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    //#include box_index
    let at = i0 * p.as0 + i1 * p.as1 + i2 * p.as2 + i3 * p.as3;
    let left = a[p.a_base + at];
    let right = b[p.b_base + i0 * p.bs0 + i1 * p.bs1 + i2 * p.bs2 + i3 * p.bs3];
    y[p.y_base + at] = select(left + right, left * right, p.multiply != 0u);
}
