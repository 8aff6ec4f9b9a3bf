// Rows through the matrices of their experts: a workgroup for each pair of row and expert and each four weight rows, 64 lanes sharing the sums over K.
// Weight rows outside of the bound shard belong to other dispatches.
struct Params {
    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    weight_scales: u32, // first word of the section of scales
    k: u32,
    n: u32, // weight rows of an expert
    first_row: u32, // of the shard, counted over all experts
    shard_rows: u32,
    pairs: u32,
    used: u32,
    x_divisor: u32, // pairs to a row of x
    x_base: u32,
    routes_base: u32,
    y_base: u32,
    first_place: u32, // place of the first pair among the experts of its row
    blocks: u32, // of four weight rows an expert
}
@group(0) @binding(0) var<uniform> p: Params;
//#weight
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> routes: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
//#include load4

var<workgroup> lane_sums: array<vec4<f32>, 64>;
var<workgroup> eighth_sums: array<vec4<f32>, 8>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    let pair = min(index / p.blocks, p.pairs - 1u);
    let beyond = index / p.blocks >= p.pairs;
    let first = (index % p.blocks) * 4u;
    // Bands begin with the first expert of a row or with any other.
    let counted = pair + p.first_place;
    let expert = u32(routes[p.routes_base + (counted / p.used) * p.used * 2u + counted % p.used]);
    let base = p.x_base + (counted / p.x_divisor - p.first_place / p.x_divisor) * p.k;
    var sum = vec4<f32>(0.0);
    var rows = array<u32, 4>(0u, 0u, 0u, 0u);
    var inside = array<bool, 4>(false, false, false, false);
    var some = false;
    for (var i = 0u; i < 4u; i += 1u) {
        let row = expert * p.n + first + i;
        inside[i] = !beyond && first + i < p.n && row >= p.first_row && row - p.first_row < p.shard_rows;
        // Lanes of rows that are elsewhere compute one that is here, and write nothing.
        rows[i] = select(0u, row - p.first_row, inside[i]);
        some = some || inside[i];
    }
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
    lane_sums[lane] = sum;
    workgroupBarrier();
    if (lane < 8u) {
        var part = vec4<f32>(0.0);
        for (var i = 0u; i < 8u; i += 1u) {
            part += lane_sums[lane * 8u + i];
        }
        eighth_sums[lane] = part;
    }
    workgroupBarrier();
    if (lane < 4u) {
        var whole = 0.0;
        for (var i = 0u; i < 8u; i += 1u) {
            whole += eighth_sums[i][lane];
        }
        if (inside[lane]) {
            y[p.y_base + pair * p.n + first + lane] = whole;
        }
    }
}
