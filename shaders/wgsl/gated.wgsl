// y = f(gate) * up, element by element.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    gate_base: u32,
    up_base: u32,
    y_base: u32,
    function: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index < p.elements) {
        y[p.y_base + index] = apply_function(p.function, gate[p.gate_base + index], 0.0, 0.0) * up[p.up_base + index];
    }
}
