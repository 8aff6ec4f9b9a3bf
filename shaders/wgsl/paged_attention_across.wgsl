// Attention of one row over a paged cache, of two heads that share their keys and values, on devices whose lanes read memory one after the other anyway: as in
// matvec_across.wgsl, what counts is how often memory is read. Eight lanes work together without waiting for each other. They go through the cache a page
// (64 positions) at a time: each first scores every eighth position, the query's elements being read once by eight neighbours that tell each other; then each
// sums every eighth element of the values (Kwon et al. 2023; Milakov and Gimelshein 2018). Workgroup memory is read by the lane alone that wrote it. Subgroups
// must have at least eight lanes. Bindings are those of paged_attention.wgsl.
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
    scale: f32,
    //#include paged_params
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
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

//#include grid
//#include activation

const NO_SLOT = 0xffffffffu;
const LOWEST = -3.0e38;

//#include paged_values

// Four neighbours of the key that lies at a word, without their scale; what lies beyond the head is anything but NaN.
//#if KV_F32
fn key4(at: u32, element: u32) -> vec4<f32> {
    let last = p.head_dim - 1u;
    return vec4<f32>(
        keys[at + min(element, last)],
        keys[at + min(element + 1u, last)],
        keys[at + min(element + 2u, last)],
        keys[at + min(element + 3u, last)],
    );
}

fn key_scale(at: u32, element: u32) -> f32 {
    return 1.0;
}
//#endif
//#if KV_F16
fn key4(at: u32, element: u32) -> vec4<f32> {
    let last = head_words() - 1u;
    let low = unpack2x16float(keys[at + min(element / 2u, last)]);
    let high = unpack2x16float(keys[at + min(element / 2u + 1u, last)]);
    return vec4<f32>(low, high);
}

fn key_scale(at: u32, element: u32) -> f32 {
    return 1.0;
}
//#endif
//#if KV_Q8
fn key4(at: u32, element: u32) -> vec4<f32> {
    let last = (p.head_dim + 3u) / 4u - 1u;
    return unpack4x8snorm(keys[at + min(element / 4u, last)]);
}

// Of the 32 elements from this one on.
fn key_scale(at: u32, element: u32) -> f32 {
    let pair = unpack2x16float(keys[at + (p.head_dim + 3u) / 4u + element / 64u]);
    return select(pair.x, pair.y, (element & 32u) != 0u);
}
//#endif

// Four neighbours of a query, with zeros beyond the head.
fn query4(base: u32, element: u32) -> vec4<f32> {
    let last = p.head_dim - 1u;
    let at = vec4<u32>(element, element + 1u, element + 2u, element + 3u);
    let there = min(at, vec4<u32>(last));
    let read = vec4<f32>(q[base + there.x], q[base + there.y], q[base + there.z], q[base + there.w]);
    return select(vec4<f32>(0.0), read, at <= vec4<u32>(last));
}

// Of two heads: scores and then parts of a page's positions, and sums of the values' elements.
var<workgroup> parts: array<vec2<f32>, 64>;
var<workgroup> sums: array<vec2<f32>, 512>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pairs = (p.heads_per_kv + 1u) / 2u;
    let kv_heads = p.heads / p.heads_per_kv;
    let index = linear_group(group);
    let row = index / (kv_heads * pairs);
    if (row >= p.rows) {
        return;
    }
    let kv_head = (index / pairs) % kv_heads;
    let within = (index % pairs) * 2u;
    // Where heads are odd in number, the last one is done twice, to the same end.
    let head0 = kv_head * p.heads_per_kv + within;
    let head1 = kv_head * p.heads_per_kv + min(within + 1u, p.heads_per_kv - 1u);
    let position = positions[p.positions_base + row];
    let sequence = min(sequences[p.sequences_base + row], p.sequences - 1u);
    // Padding rows see nothing; and nothing lies beyond the end of a table.
    let seen = select(min(position, p.max_pages * 64u - 1u) + 1u, 0u, position == NO_SLOT);
    // Positions before the window are not seen; whole pages of them are left out.
    let hidden = max(seen, p.window) - p.window;
    let offset0 = (row * p.heads + head0) * p.head_dim;
    let offset1 = (row * p.heads + head1) * p.head_dim;
    let head_base = kv_head * head_words();
    let table = p.tables_base + sequence * p.max_pages;

    for (var begin = 0u; begin < p.head_dim; begin += 8u) {
        sums[begin + lane] = vec2<f32>(0.0);
    }
    var highest = vec2<f32>(LOWEST);
    var total = vec2<f32>(0.0);
    for (var start = hidden & ~63u; start < seen; start += 64u) {
        let page = tables[table + start / 64u];
        // There is no more of the cache than is bound.
        if (page >= p.first_page && page - p.first_page < p.pages) {
            let slot = (page - p.first_page) * 64u;
            let count = min(64u, seen - start);
            var best = highest;
            for (var eighth = 0u; eighth < count; eighth += 8u) {
                let place = eighth + lane;
                // Lanes beyond the end score the last position again.
                let at = p.keys_base + (slot + min(place, count - 1u)) * p.kv_stride + head_base;
                var score = vec2<f32>(0.0);
                for (var element = 0u; element < p.head_dim; element += 32u) {
                    let first = query4(p.q_base + offset0, element + 4u * lane);
                    let second = query4(p.q_base + offset1, element + 4u * lane);
                    var part = vec2<f32>(0.0);
                    //#repeat i 8
                    {
                        let key = key4(at, element + 4u * {i}u);
                        part += vec2<f32>(dot(key, subgroupBroadcast(first, {i}u)), dot(key, subgroupBroadcast(second, {i}u)));
                    }
                    //#end
                    score += part * key_scale(at, min(element, p.head_dim - 1u));
                }
                score *= p.scale;
                if (p.softcap > 0.0) {
                    score = p.softcap * vec2<f32>(tanh_safe(score.x / p.softcap), tanh_safe(score.y / p.softcap));
                }
                score = select(vec2<f32>(LOWEST), score, place < count && start + place >= hidden);
                best = max(best, score);
                parts[place] = score;
            }
            let next = subgroupMax(best);
            let fade = exp(max(highest - next, vec2<f32>(-100.0)));
            highest = next;
            total *= fade;
            for (var eighth = 0u; eighth < count; eighth += 8u) {
                let score = parts[eighth + lane];
                let part = select(vec2<f32>(0.0), exp(max(score - next, vec2<f32>(-100.0))), score > vec2<f32>(LOWEST));
                total += part;
                parts[eighth + lane] = part;
            }
            for (var begin = 0u; begin < p.head_dim; begin += 8u) {
                let element = min(begin + lane, p.head_dim - 1u);
                var sum = sums[begin + lane] * fade;
                for (var eighth = 0u; eighth < count; eighth += 8u) {
                    let part = parts[eighth + lane];
                    let at = p.values_base + (slot + eighth) * p.kv_stride + head_base;
                    //#repeat i 8
                    {
                        // What was never written may be anything.
                        let both = subgroupBroadcast(part, {i}u);
                        let value = value_at(at + {i}u * p.kv_stride, element);
                        sum += both * select(0.0, value, both.x > 0.0 || both.y > 0.0);
                    }
                    //#end
                }
                sums[begin + lane] = sum;
            }
        }
    }
    let all = subgroupAdd(total);
    let factor = select(vec2<f32>(0.0), 1.0 / max(all, vec2<f32>(1.0e-38)), all > vec2<f32>(0.0));
    for (var element = lane; element < p.head_dim; element += 8u) {
        let result = sums[element] * factor;
        y[p.y_base + offset0 + element] = result.x;
        y[p.y_base + offset1 + element] = result.y;
    }
}
