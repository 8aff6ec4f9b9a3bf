// What the experts of a row made, added up by their weights.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    width: u32,
    used: u32,
    x_base: u32,
    routes_base: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> routes: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    let row = index / p.width;
    if (row >= p.rows) {
        return;
    }
    let column = index - row * p.width;
    let weights = p.routes_base + row * p.used * 2u + p.used;
    var sum = 0.0;
    for (var place = 0u; place < p.used; place += 1u) {
        sum += routes[weights + place] * x[p.x_base + (row * p.used + place) * p.width + column];
    }
    y[p.y_base + index] = sum;
}
