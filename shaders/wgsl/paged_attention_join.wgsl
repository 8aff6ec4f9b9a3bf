// Joins the sums over the parts of a row's positions: each is brought to the maximum of all and added, in the order of the parts. 64 lanes
// a row and head.
struct Params {
    grid_x: u32,
    grid_y: u32,
    groups: u32, // rows times heads
    splits: u32,
    head_dim: u32,
    y_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> parts: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

//#include grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    if (index >= p.groups) {
        return;
    }
    let first = index * p.splits;
    var highest = -3.0e38;
    for (var i = 0u; i < p.splits; i += 1u) {
        highest = max(highest, state[first + i].x);
    }
    var total = 0.0;
    for (var i = 0u; i < p.splits; i += 1u) {
        let part = state[first + i];
        total += part.y * exp(max(part.x - highest, -100.0));
    }
    // A row that sees no key gives zeros.
    let factor = select(0.0, 1.0 / max(total, 1.0e-38), total > 0.0);
    for (var element = lane; element < p.head_dim; element += 64u) {
        var sum = 0.0;
        for (var i = 0u; i < p.splits; i += 1u) {
            let fade = exp(max(state[first + i].x - highest, -100.0));
            sum += fade * parts[(first + i) * p.head_dim + element];
        }
        y[p.y_base + index * p.head_dim + element] = sum * factor;
    }
}
