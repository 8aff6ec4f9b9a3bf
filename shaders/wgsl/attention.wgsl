// Attention of 64 queries of one head, 32 keys at a time, with the online softmax (Milakov and Gimelshein 2018; Dao et al.
// 2022); scores never leave workgroup memory. 16 x 16 lanes, each with four queries; lane column `tx` owns the head's
// elements 4 * (tx + 16 * i). Keys and values are those of a value, or of a paged cache (Kwon et al. 2023): then each run of
// rows of one sequence among the queries goes through that sequence's pages. A dispatch may cover a window of the keys (or of the
// cache's pages) only: then unnormalised sums stay in y, and the running maximum and sum in `state`, for the next
// window's dispatch.
//#include attention_params
var<workgroup> tile_q: array<vec4<f32>, 256>; // 16 head elements by 64 queries
var<workgroup> tile_k: array<vec2<f32>, 256>; // 16 head elements by 32 keys
var<workgroup> scores: array<vec4<f32>, 512>; // 32 keys by 64 queries

//#include attention_io

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#include attention_begin
    let tx = lane & 15u;
    let ty = lane >> 4u;
    let query = tile * 64u + ty * 4u;
    let state_at = p.state_base + (batch * p.heads + head) * p.queries + query;

    var highest = vec4<f32>(LOWEST);
    var total = vec4<f32>(0.0);
    //#repeat j WIDTH
    //#repeat i 4
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
        //#repeat j WIDTH
        //#repeat i 4
        sum{i}_{j} = load_result(query + {i}u, 4u * tx + 64u * {j}u, y_base);
        //#end
        //#end
    }

    //#include attention_sweep

    if (p.last_window == 0u) {
        if (tx == 0u) {
            //#repeat i xyzw
            if (query + OFFSET_{i} < p.queries) {
                state[state_at + OFFSET_{i}] = vec2<f32>(highest.{i}, total.{i});
            }
            //#end
        }
    } else {
        // A query that sees no key gives zeros.
        let inverse = select(vec4<f32>(0.0), 1.0 / max(total, vec4<f32>(1.0e-38)), total > vec4<f32>(0.0));
        //#repeat j WIDTH
        sum0_{j} *= inverse.x;
        sum1_{j} *= inverse.y;
        sum2_{j} *= inverse.z;
        sum3_{j} *= inverse.w;
        //#end
    }
    //#repeat j WIDTH
    //#repeat i 4
    store_result(query + {i}u, 4u * tx + 64u * {j}u, y_base, sum{i}_{j});
    //#end
    //#end
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
