// Rows through the matrices of their experts: a workgroup for each pair of row and expert and each four weight rows, 64 lanes sharing the sums over K.
// Weight rows outside of the bound shard belong to other dispatches.
//#include expert_params
//#weight
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> routes: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
//#include load4

alias Summed = vec4<f32>;
const SIDE = 8u;
//#include reduce

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#include expert_rows
    let chunks = select(0u, (p.k + 3u) / 4u, some);
    for (var chunk = lane; chunk < chunks; chunk += 64u) {
        let v = load4(base, chunk * 4u, p.k);
        sum += vec4<f32>(
            dot(weight4(rows[0], chunk), v),
            dot(weight4(rows[1], chunk), v),
            dot(weight4(rows[2], chunk), v),
            dot(weight4(rows[3], chunk), v),
        );
    }
    var whole = workgroup_sum(sum, lane);
    if (lane < 4u && inside[lane]) {
        y[p.y_base + pair * p.n + first + lane] = whole[lane];
    }
}
