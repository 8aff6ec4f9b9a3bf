// As expert_matvec.wgsl, for weights in blocks: sixteen neighbours of a row at a time (see matvec_wide.wgsl).
//#include expert_params
@group(0) @binding(1) var<storage, read> words: array<u32>; // the weight
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> routes: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> quads: array<vec4<u32>>; // the weight, too

//#include sixteen
//#include grid

alias Summed = vec4<f32>;
const SIDE = 8u;
//#include reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#include expert_rows
    let steps = select(0u, p.k >> 4u, some);
    for (var step = lane; step < steps; step += 64u) {
        let at = (base >> 2u) + step * 4u;
        let a = x[at];
        let b = x[at + 1u];
        let c = x[at + 2u];
        let d = x[at + 3u];
        let total = dot(a + b + c + d, vec4<f32>(1.0));
        //#repeat j 4
        {
            let w = weight16(rows[{j}], step);
            sum[{j}] += product(w, a, b, c, d) - w.minimum * total;
        }
        //#end
    }
    var whole = workgroup_sum(sum, lane);
    if (lane < 4u && inside[lane]) {
        y[p.y_base + pair * p.n + first + lane] = whole[lane];
    }
}
