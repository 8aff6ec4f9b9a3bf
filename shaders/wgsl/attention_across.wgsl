// Attention of [B, L, heads * head] on devices whose lanes read memory one after the other, as a processor's do (see gemm_across.wgsl): each lane has
// QUERIES queries to itself, all of their elements and sums with them, and eight neighbours read eight keys together, one each, and tell each
// other. Never the scores of more than eight keys: as they come, sums are scaled to the highest score so far. Heads have 4 * FOURS elements, and all
// places are counted in fours. Subgroups must have at least eight lanes.
struct Params {
    grid_x: u32,
    grid_y: u32,
    heads: u32,
    heads_per_kv: u32,
    queries: u32, // of this dispatch, in every batch
    query_tiles: u32,
    q_base: u32,
    q_stride: u32, // from one query (and result) to the next
    k_base: u32,
    v_base: u32,
    kv_stride: u32, // from one key to the next
    y_base: u32,
    scale: f32,
    batches: u32,
    q_batch_stride: u32,
    kv_batch_stride: u32,
    keys: u32,
    first_query: u32, // place of the first query, for the causal mask
    causal: u32,
    //#if MASK
    mask_base: u32, // in single elements, as all of the mask's; of the first query
    mask_batch_stride: u32,
    mask_head_stride: u32,
    mask_stride: u32, // from one query to the next
    //#endif
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
//#if MASK
@group(0) @binding(5) var<storage, read> mask: array<f32>; // added to the scores

const HIDDEN = -1.0e30;
//#endif

//#include grid

const LOWEST = -3.0e38;
const MASKED = -1.0e38;

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let index = linear_group(group);
    let tile = index % p.query_tiles;
    let head = (index / p.query_tiles) % p.heads;
    let batch = index / (p.query_tiles * p.heads);
    // Of workgroups beyond the end the last batch again, and nothing written.
    let seen_batch = min(batch, p.batches - 1u);
    let q_head = seen_batch * p.q_batch_stride + head * FOURS;
    let kv_head = seen_batch * p.kv_batch_stride + (head / p.heads_per_kv) * FOURS;
    let query0 = (tile * 8u + lane) * QUERIES;
    let own = subgroup_lane & 7u;
    var keys = p.keys;
    if (p.causal != 0u) {
        // Keys after the tile's last query are seen by none of its queries.
        keys = min(keys, p.first_query + (tile + 1u) * 8u * QUERIES);
    }
    //#repeat i QUERIES
    let at{i} = min(query0 + {i}u, p.queries - 1u) * p.q_stride + q_head;
    let seen{i} = select(keys, min(keys, p.first_query + query0 + {i}u + 1u), p.causal != 0u);
    //#if MASK
    let mask{i} = p.mask_base + seen_batch * p.mask_batch_stride + head * p.mask_head_stride + min(query0 + {i}u, p.queries - 1u) * p.mask_stride;
    //#endif
    var highest{i} = LOWEST;
    var total{i} = 0.0;
    //#repeat c FOURS
    let q{i}_{c} = q[p.q_base + at{i} + {c}u] * p.scale;
    var sum{i}_{c} = vec4<f32>(0.0);
    //#end
    //#end
    for (var key0 = 0u; key0 < keys; key0 += 8u) {
        let row = min(key0 + own, p.keys - 1u) * p.kv_stride + kv_head;
        //#repeat c FOURS
        let k{c} = k[p.k_base + row + {c}u];
        //#end
        //#repeat l 8
        //#repeat i QUERIES
        var score{l}_{i} = 0.0;
        //#end
        //#repeat c FOURS
        {
            let key = subgroupBroadcast(k{c}, {l}u);
            //#repeat i QUERIES
            score{l}_{i} += dot(q{i}_{c}, key);
            //#end
        }
        //#end
        //#repeat i QUERIES
        //#if MASK
        {
            let added = mask[mask{i} + min(key0 + {l}u, p.keys - 1u)];
            score{l}_{i} = select(LOWEST, score{l}_{i} + added, added > HIDDEN);
        }
        //#endif
        score{l}_{i} = select(LOWEST, score{l}_{i}, key0 + {l}u < seen{i});
        //#end
        //#end
        //#repeat i QUERIES
        let next{i} = max(max(max(highest{i}, max(score0_{i}, score1_{i})), max(score2_{i}, score3_{i})), max(max(score4_{i}, score5_{i}), max(score6_{i}, score7_{i})));
        let fade{i} = exp(max(highest{i} - next{i}, -100.0));
        highest{i} = next{i};
        total{i} *= fade{i};
        //#repeat l 8
        let part{l}_{i} = select(0.0, exp(max(score{l}_{i} - next{i}, -100.0)), score{l}_{i} > MASKED);
        total{i} += part{l}_{i};
        //#end
        //#end
        //#repeat c FOURS
        let v{c} = v[p.v_base + row + {c}u];
        //#end
        //#repeat c FOURS
        {
            //#repeat l 8
            let value{l} = subgroupBroadcast(v{c}, {l}u);
            //#end
            //#repeat i QUERIES
            sum{i}_{c} = sum{i}_{c} * fade{i} + (part0_{i} * value0 + part1_{i} * value1 + part2_{i} * value2 + part3_{i} * value3
                + part4_{i} * value4 + part5_{i} * value5 + part6_{i} * value6 + part7_{i} * value7);
            //#end
        }
        //#end
    }
    //#repeat i QUERIES
    if (query0 + {i}u < p.queries && batch < p.batches) {
        // A query that sees no key gives zeros.
        let inverse = select(0.0, 1.0 / max(total{i}, 1.0e-38), total{i} > 0.0);
        //#repeat c FOURS
        y[p.y_base + at{i} + {c}u] = sum{i}_{c} * inverse;
        //#end
    }
    //#end
}
