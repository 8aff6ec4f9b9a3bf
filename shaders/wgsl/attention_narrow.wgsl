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
    let index = linear_group(group);
    let tile = index % p.query_tiles;
    let head = (index / p.query_tiles) % p.heads;
    let batch = index / (p.query_tiles * p.heads);
    //#if PAGED
    if (batch > 0u) {
        return;
    }
    let q_base = p.q_base + head * p.head_dim;
    let y_base = p.y_base + head * p.head_dim;
    let k_base = p.k_base + (head / p.heads_per_kv) * head_words();
    let v_base = p.v_base + (head / p.heads_per_kv) * head_words();
    //#else
    if (batch >= p.batches) {
        return;
    }
    let q_base = p.q_base + batch * p.q_batch_stride + head * p.head_dim;
    let y_base = p.y_base + batch * p.q_batch_stride + head * p.head_dim;
    let k_base = p.k_base + batch * p.kv_batch_stride + (head / p.heads_per_kv) * p.head_dim;
    let v_base = p.v_base + batch * p.kv_batch_stride + (head / p.heads_per_kv) * p.head_dim;
    //#endif
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

    //#if PAGED
    var run = tile * 64u;
    let tile_end = min(run + 64u, p.queries);
    while (run < tile_end) {
        // The rows from `run` to `run_end` are of one sequence; `limit` positions are seen by at least one of them.
        let sequence = sequences[p.sequences_base + run];
        var run_end = run;
        var limit = 0u;
        var start = 0xffffffffu;
        while (run_end < tile_end && sequences[p.sequences_base + run_end] == sequence) {
            let position = positions[p.positions_base + run_end];
            if (position != NO_SLOT) {
                limit = max(limit, position + 1u);
                start = min(start, max(position + 1u, p.window) - p.window);
            }
            run_end += 1u;
        }
        // Nothing lies beyond the end of a table, and padding rows see nothing.
        limit = min(limit, p.max_pages * 64u);
        let table = p.tables_base + min(sequence, p.sequences - 1u) * p.max_pages;
        var seen = vec4<u32>(0u);
        var hidden = vec4<u32>(0u);
        //#repeat i xyzw
        if (query + OFFSET_{i} >= run && query + OFFSET_{i} < run_end) {
            let position = positions[p.positions_base + query + OFFSET_{i}];
            if (position != NO_SLOT) {
                seen.{i} = min(position + 1u, limit);
                hidden.{i} = max(position + 1u, p.window) - p.window;
            }
        }
        //#end
        for (var key0 = start & ~31u; key0 < limit; key0 += 32u) {
            let page = tables[table + key0 / 64u];
            // Pages of other windows are for other dispatches.
            if (page >= p.first_page && page - p.first_page < p.pages) {
                let slot = (page - p.first_page) * 64u + (key0 & 63u);
                let k_row = k_base + slot * p.kv_stride;
                let v_row = v_base + slot * p.kv_stride;
                let tile_keys = min(32u, limit - key0);
                //#include attention_tile_narrow
            }
        }
        run = run_end;
    }
    //#else
    // Keys after the tile's last query are seen by none of its queries.
    var seen = vec4<u32>(p.keys);
    var keys = p.keys;
    if (p.causal != 0u) {
        let place = vec4<u32>(p.first_query + query + 1u) + vec4<u32>(0u, 1u, 2u, 3u);
        seen = min(seen, max(place, vec4<u32>(p.first_key)) - vec4<u32>(p.first_key));
        keys = min(keys, max(p.first_query + tile * 64u + 64u, p.first_key) - p.first_key);
    }
    for (var key0 = 0u; key0 < keys; key0 += 32u) {
        let k_row = k_base + key0 * p.kv_stride;
        let v_row = v_base + key0 * p.kv_stride;
        let tile_keys = min(32u, p.keys - key0);
        //#include attention_tile_narrow
    }
    //#endif

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
