// y = f(x), element by element, of a function by itself; those with others behind them are chains.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    x_base: u32,
    y_base: u32,
    function: u32,
    a: f32,
    b: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index < p.elements) {
        y[p.y_base + index] = apply_function(p.function, x[p.x_base + index], p.a, p.b);
    }
}
