// Attention of one row and head over a paged cache: 64 lanes, one page (64 positions) at a time, each lane first scoring
// one position, then summing the head elements lane + 64 * i of all values (Kwon et al. 2023). A dispatch may cover a
// window of the cache's pages only: then unnormalised sums stay in y, and the running maximum and sum in `state`.
// Where rows and heads are fewer than a device needs to be busy, pages are dealt out to several workgroups in turn, each with its
// own sums in y and `state`, which paged_attention_join.wgsl joins (Dao et al. 2023, "Flash-Decoding").
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    heads: u32,
    heads_per_kv: u32,
    head_dim: u32,
    q_base: u32,
    y_base: u32,
    keys_base: u32,
    values_base: u32,
    kv_stride: u32, // words from one slot to the next
    first_window: u32,
    last_window: u32,
    scale: f32,
    state_base: u32, // in pairs
    //#include paged_params
    //#if SPLIT
    splits: u32,
    //#endif
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
//#if KV_F32
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(3) var<storage, read> values: array<f32>;
//#endif
//#if KV_PACKED
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<u32>;
//#endif
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read> sequences: array<u32>;
@group(0) @binding(6) var<storage, read> tables: array<u32>;
@group(0) @binding(7) var<storage, read_write> state: array<vec2<f32>>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

const NO_SLOT = 0xffffffffu;
const LOWEST = -3.0e38;

//#include paged_values

// The product of the query with the key that lies at a word.
//#if KV_F32
fn product(at: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < p.head_dim; i += 1u) {
        sum += query[i] * keys[at + i];
    }
    return sum;
}
//#endif
//#if KV_F16
fn product(at: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < p.head_dim; i += 2u) {
        let pair = unpack2x16float(keys[at + i / 2u]);
        sum += query[i] * pair.x + query[i + 1u] * pair.y;
    }
    return sum;
}
//#endif
//#if KV_Q8
fn product(at: u32) -> f32 {
    let scales = at + (p.head_dim + 3u) / 4u;
    var sum = 0.0;
    for (var block = 0u; block < p.head_dim; block += 32u) {
        let pair = unpack2x16float(keys[scales + block / 64u]);
        var part = 0.0;
        for (var i = block; i < min(block + 32u, p.head_dim); i += 4u) {
            let four = vec4<f32>(query[i], query[i + 1u], query[i + 2u], query[i + 3u]);
            part += dot(four, unpack4x8snorm(keys[at + i / 4u]));
        }
        sum += part * select(pair.x, pair.y, (block & 32u) != 0u);
    }
    return sum;
}
//#endif

// Up to three elements beyond the head are 0, for words that are filled up.
var<workgroup> query: array<f32, 512>;
var<workgroup> scores: array<f32, 64>;
var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#if SPLIT
    let own = linear_group(group);
    let index = own / p.splits;
    let split = own - index * p.splits;
    let stride = 64u * p.splits;
    //#else
    let index = linear_group(group);
    let own = index;
    let split = 0u;
    let stride = 64u;
    //#endif
    let row = index / p.heads;
    let head = index - row * p.heads;
    if (row >= p.rows) {
        return;
    }
    let position = positions[p.positions_base + row];
    let sequence = min(sequences[p.sequences_base + row], p.sequences - 1u);
    // Padding rows see nothing; and nothing lies beyond the end of a table.
    let seen = select(min(position, p.max_pages * 64u - 1u) + 1u, 0u, position == NO_SLOT);
    // Positions before the window are not seen; whole pages of them are left out.
    let hidden = max(seen, p.window) - p.window;
    let q_base = p.q_base + index * p.head_dim;
    let y_base = p.y_base + own * p.head_dim;
    let head_base = (head / p.heads_per_kv) * head_words();
    let table = p.tables_base + sequence * p.max_pages;

    for (var i = lane; i < ((p.head_dim + 3u) & ~3u); i += 64u) {
        query[i] = 0.0;
        if (i < p.head_dim) {
            query[i] = q[q_base + i] * p.scale;
        }
    }
    workgroupBarrier();
    var highest = LOWEST;
    var total = 0.0;
    //#repeat i 8
    var sum{i} = 0.0;
    //#end
    if (p.first_window == 0u) {
        let kept = state[p.state_base + own];
        highest = kept.x;
        total = kept.y;
        //#repeat i 8
        if (lane + {i}u * 64u < p.head_dim) {
            sum{i} = y[y_base + lane + {i}u * 64u];
        }
        //#end
    }
    for (var start = (hidden & ~63u) + 64u * split; start < seen; start += stride) {
        let page = tables[table + start / 64u];
        // Pages of other windows are for other dispatches.
        if (page >= p.first_page && page - p.first_page < p.pages) {
            let slot = (page - p.first_page) * 64u;
            let count = min(64u, seen - start);
            var score = LOWEST;
            let visible = lane < count && start + lane >= hidden;
            if (visible) {
                let at = p.keys_base + (slot + lane) * p.kv_stride + head_base;
                score = product(at);
                if (p.softcap > 0.0) {
                    score = p.softcap * tanh_safe(score / p.softcap);
                }
            }
            scores[lane] = score;
            workgroupBarrier();
            var next = highest;
            for (var i = 0u; i < count; i += 1u) {
                next = max(next, scores[i]);
            }
            parts[lane] = select(0.0, exp(max(score - next, -100.0)), visible);
            workgroupBarrier();
            let fade = exp(max(highest - next, -100.0));
            highest = next;
            total *= fade;
            //#repeat i 8
            sum{i} *= fade;
            //#end
            for (var i = 0u; i < count; i += 1u) {
                let part = parts[i];
                total += part;
                let at = p.values_base + (slot + i) * p.kv_stride + head_base;
                //#repeat j 8
                if (lane + {j}u * 64u < p.head_dim) {
                    sum{j} += part * value_at(at, lane + {j}u * 64u);
                }
                //#end
            }
        }
    }
    var factor = 1.0;
    if (p.last_window == 0u) {
        if (lane == 0u) {
            state[p.state_base + own] = vec2<f32>(highest, total);
        }
    } else {
        factor = select(0.0, 1.0 / max(total, 1.0e-38), total > 0.0);
    }
    //#repeat i 8
    if (lane + {i}u * 64u < p.head_dim) {
        y[y_base + lane + {i}u * 64u] = sum{i} * factor;
    }
    //#end
}
