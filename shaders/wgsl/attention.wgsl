// Attention of 64 queries of one head over all keys, 32 at a time, with the online softmax (Milakov and Gimelshein 2018;
// Dao et al. 2022); scores never leave workgroup memory. 16 x 16 lanes, each with four queries; lane column `tx` owns the
// head's elements 4 * (tx + 16 * i). A dispatch may cover a window of the keys only: then unnormalised sums stay in y, and
// the running maximum and sum in `state`, for the next window's dispatch.
struct Params {
    grid_x: u32,
    grid_y: u32,
    batches: u32,
    heads: u32,
    heads_per_kv: u32,
    head_dim: u32,
    queries: u32, // of this dispatch, in every batch
    first_query: u32, // place of the first query, for the causal mask
    keys: u32, // of this window
    first_key: u32, // place of the window's first key
    query_tiles: u32,
    q_base: u32,
    q_batch_stride: u32,
    k_base: u32,
    v_base: u32,
    kv_batch_stride: u32,
    y_base: u32,
    q_stride: u32, // elements from one query (and result) to the next
    kv_stride: u32,
    state_base: u32, // in pairs
    causal: u32,
    first_window: u32,
    last_window: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include grid

const LOWEST = -3.0e38;
const MASKED = -1.0e38;

var<workgroup> tile_q: array<vec4<f32>, 256>; // 16 head elements by 64 queries
var<workgroup> tile_k: array<vec2<f32>, 256>; // 16 head elements by 32 keys
var<workgroup> scores: array<vec4<f32>, 512>; // 32 keys by 64 queries

fn q_at(query: u32, base: u32, element: u32) -> f32 {
    if (query < p.queries && element < p.head_dim) {
        return q[base + query * p.q_stride + element];
    }
    return 0.0;
}

fn k_at(key: u32, base: u32, element: u32) -> f32 {
    if (key < p.keys && element < p.head_dim) {
        return k[base + key * p.kv_stride + element];
    }
    return 0.0;
}

fn v4_at(at: u32, element: u32) -> vec4<f32> {
    if (element + 4u <= p.head_dim) {
        return vec4<f32>(v[at], v[at + 1u], v[at + 2u], v[at + 3u]);
    }
    var value = vec4<f32>(0.0);
    if (element < p.head_dim) { value.x = v[at]; }
    if (element + 1u < p.head_dim) { value.y = v[at + 1u]; }
    if (element + 2u < p.head_dim) { value.z = v[at + 2u]; }
    return value;
}

fn masked(score: vec4<f32>, key: u32, query: vec4<u32>) -> vec4<f32> {
    let hidden = vec4<bool>(key >= p.keys) | ((vec4<u32>(p.first_key + key) > query) & vec4<bool>(p.causal != 0u));
    return select(score, vec4<f32>(LOWEST), hidden);
}

fn store_result(query: u32, element: u32, base: u32, value: vec4<f32>) {
    if (query >= p.queries) {
        return;
    }
    let at = base + query * p.q_stride + element;
    for (var i = 0u; i < 4u; i += 1u) {
        if (element + i < p.head_dim) {
            y[at + i] = value[i];
        }
    }
}

fn load_result(query: u32, element: u32, base: u32) -> vec4<f32> {
    var value = vec4<f32>(0.0);
    if (query < p.queries) {
        let at = base + query * p.q_stride + element;
        for (var i = 0u; i < 4u; i += 1u) {
            if (element + i < p.head_dim) {
                value[i] = y[at + i];
            }
        }
    }
    return value;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    let tile = index % p.query_tiles;
    let head = (index / p.query_tiles) % p.heads;
    let batch = index / (p.query_tiles * p.heads);
    if (batch >= p.batches) {
        return;
    }
    let tx = lane & 15u;
    let ty = lane >> 4u;
    let query = tile * 64u + ty * 4u;
    let place = vec4<u32>(p.first_query + query) + vec4<u32>(0u, 1u, 2u, 3u);
    let q_base = p.q_base + batch * p.q_batch_stride + head * p.head_dim;
    let kv_head = head / p.heads_per_kv;
    let k_base = p.k_base + batch * p.kv_batch_stride + kv_head * p.head_dim;
    let v_base = p.v_base + batch * p.kv_batch_stride + kv_head * p.head_dim;
    let y_base = p.y_base + batch * p.q_batch_stride + head * p.head_dim;
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

    // Keys after the tile's last query are seen by none of its queries.
    var keys = p.keys;
    if (p.causal != 0u) {
        let end = p.first_query + tile * 64u + 64u;
        keys = min(keys, max(end, p.first_key) - p.first_key);
    }
    for (var key0 = 0u; key0 < keys; key0 += 32u) {
        var score0 = vec4<f32>(0.0);
        var score1 = vec4<f32>(0.0);
        for (var e0 = 0u; e0 < p.head_dim; e0 += 16u) {
            let element = e0 + tx;
            let column = tile * 64u + ty * 4u;
            let at = tx * 16u + (ty ^ tx);
            tile_q[at] = vec4<f32>(q_at(column, q_base, element), q_at(column + 1u, q_base, element),
                q_at(column + 2u, q_base, element), q_at(column + 3u, q_base, element));
            let key = key0 + ty * 2u;
            tile_k[at] = vec2<f32>(k_at(key, k_base, element), k_at(key + 1u, k_base, element));
            workgroupBarrier();
            for (var e = 0u; e < 16u; e += 1u) {
                let a = tile_q[e * 16u + (ty ^ e)];
                let b = tile_k[e * 16u + (tx ^ e)];
                score0 += a * b.x;
                score1 += a * b.y;
            }
            workgroupBarrier();
        }
        let key = key0 + tx * 2u;
        score0 = masked(score0 * p.scale, key, place);
        score1 = masked(score1 * p.scale, key + 1u, place);
        let own = tx * 32u + ty;
        scores[own] = score0;
        scores[own + 16u] = score1;
        workgroupBarrier();
        var next = highest;
        for (var i = 0u; i < 32u; i += 1u) {
            next = max(next, scores[i * 16u + ty]);
        }
        workgroupBarrier();
        scores[own] = select(vec4<f32>(0.0), exp(score0 - next), score0 > vec4<f32>(MASKED));
        scores[own + 16u] = select(vec4<f32>(0.0), exp(score1 - next), score1 > vec4<f32>(MASKED));
        workgroupBarrier();
        let fade = exp(max(highest - next, vec4<f32>(-100.0)));
        highest = next;
        total *= fade;
        //#repeat j WIDTH
        sum0_{j} *= fade.x;
        sum1_{j} *= fade.y;
        sum2_{j} *= fade.z;
        sum3_{j} *= fade.w;
        //#end
        let tile_keys = min(32u, p.keys - key0);
        for (var i = 0u; i < tile_keys; i += 1u) {
            let part = scores[i * 16u + ty];
            total += part;
            let row = v_base + (key0 + i) * p.kv_stride;
            //#repeat j WIDTH
            let value{j} = v4_at(row + 4u * tx + 64u * {j}u, 4u * tx + 64u * {j}u);
            sum0_{j} += part.x * value{j};
            sum1_{j} += part.y * value{j};
            sum2_{j} += part.z * value{j};
            sum3_{j} += part.w * value{j};
            //#end
        }
    }

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
