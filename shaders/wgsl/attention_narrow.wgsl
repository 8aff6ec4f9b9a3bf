// As attention.wgsl, for heads of at most 128 elements: 8 x 8 lanes, each with eight queries, so that each value loaded serves more
// products. Lane column `tx` owns the head's elements 4 * (tx + 8 * i); lane i of the first sixteen turns the scores of four
// queries into weights.
//#include attention_params
var<workgroup> tile_q: array<vec4<f32>, 256>; // 16 head elements by 64 queries
var<workgroup> tile_k: array<vec4<f32>, 128>; // 16 head elements by 32 keys
var<workgroup> scores: array<vec4<f32>, 512>; // 32 keys by 64 queries
var<workgroup> factors: array<vec4<f32>, 16>; // one for each query

//#include attention_io

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#include attention_begin
    let tx = lane & 7u;
    let ty = lane >> 3u;
    // Its own queries, in two blocks of four; and those whose scores the first sixteen lanes turn into weights.
    let query0 = tile * 64u + ty * 4u;
    let query1 = query0 + 32u;
    let query = tile * 64u + (lane & 15u) * 4u;
    let state_at = p.state_base + (batch * p.heads + head) * p.queries + query;

    var highest = vec4<f32>(LOWEST);
    var total = vec4<f32>(0.0);
    //#repeat j COLUMNS
    //#repeat i 8
    var sum{i}_{j} = vec4<f32>(0.0);
    //#end
    //#end
    if (p.first_window == 0u) {
        //#repeat i xyzw
        if (query + OFFSET_{i} < p.queries) {
            let kept = state[state_at + OFFSET_{i}];
            highest.{i} = kept.x;
            total.{i} = kept.y;
        }
        //#end
        //#repeat j COLUMNS
        //#repeat i 4
        sum{i}_{j} = load_result(query0 + {i}u, 4u * tx + 32u * {j}u, y_base);
        //#end
        sum4_{j} = load_result(query1, 4u * tx + 32u * {j}u, y_base);
        sum5_{j} = load_result(query1 + 1u, 4u * tx + 32u * {j}u, y_base);
        sum6_{j} = load_result(query1 + 2u, 4u * tx + 32u * {j}u, y_base);
        sum7_{j} = load_result(query1 + 3u, 4u * tx + 32u * {j}u, y_base);
        //#end
    }

    //#include attention_sweep

    if (p.last_window == 0u) {
        if (lane < 16u) {
            //#repeat i xyzw
            if (query + OFFSET_{i} < p.queries) {
                state[state_at + OFFSET_{i}] = vec2<f32>(highest.{i}, total.{i});
            }
            //#end
        }
    } else {
        if (lane < 16u) {
            // A query that sees no key gives zeros.
            factors[lane] = select(vec4<f32>(0.0), 1.0 / max(total, vec4<f32>(1.0e-38)), total > vec4<f32>(0.0));
        }
        workgroupBarrier();
        let inverse0 = factors[ty];
        let inverse1 = factors[ty + 8u];
        //#repeat j COLUMNS
        sum0_{j} *= inverse0.x;
        sum1_{j} *= inverse0.y;
        sum2_{j} *= inverse0.z;
        sum3_{j} *= inverse0.w;
        sum4_{j} *= inverse1.x;
        sum5_{j} *= inverse1.y;
        sum6_{j} *= inverse1.z;
        sum7_{j} *= inverse1.w;
        //#end
    }
    //#repeat j COLUMNS
    //#repeat i 4
    store_result(query0 + {i}u, 4u * tx + 32u * {j}u, y_base, sum{i}_{j});
    //#end
    store_result(query1, 4u * tx + 32u * {j}u, y_base, sum4_{j});
    store_result(query1 + 1u, 4u * tx + 32u * {j}u, y_base, sum5_{j});
    store_result(query1 + 2u, 4u * tx + 32u * {j}u, y_base, sum6_{j});
    store_result(query1 + 3u, 4u * tx + 32u * {j}u, y_base, sum7_{j});
    //#end
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
