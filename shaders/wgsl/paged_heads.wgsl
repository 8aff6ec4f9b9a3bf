// What attention over a paged cache is given, made ready in one go: heads of queries and keys get their RMS norm and their rotary embedding (see
// rms_rope.wgsl), and keys and values are written into their slots (see kv_write.wgsl and kv_pack.wgsl). 64 lanes a head.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    heads: u32, // of queries, in a row
    kv_heads: u32, // of keys, and as many of values
    width: u32, // elements a head
    q_base: u32,
    k_base: u32,
    v_base: u32,
    y_base: u32,
    positions_base: u32,
    slots_base: u32,
    slots: u32, // of the cache
    keys_base: u32,
    values_base: u32,
    has_norm: u32,
    q_gain: u32,
    k_gain: u32,
    q_eps: f32,
    k_eps: f32,
    freq_base: u32,
    frequencies: u32, // pairs that are rotated, in every head
    interleaved: u32,
    magnitude: f32,
    head_words: u32, // of a head in the cache
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // queries and keys
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> write_slots: array<u32>;
@group(0) @binding(5) var<storage, read> inv_freq: array<f32>; // behind the gains
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
//#if KV_F32
@group(0) @binding(7) var<storage, read_write> keys: array<f32>;
@group(0) @binding(8) var<storage, read_write> values: array<f32>;
//#else
@group(0) @binding(7) var<storage, read_write> keys: array<u32>;
@group(0) @binding(8) var<storage, read_write> values: array<u32>;
//#endif

//#include grid
alias Summed = f32;
const SIDE = 8u;
//#include reduce
//#include cos_sin
//#include rope_pair

// The head as it is read.
var<workgroup> head: array<f32, 512>;

// One head of a row.
struct Place {
    gain: u32, // where its gains begin
    has_gain: bool,
    scale: f32,
    position: u32,
    turned: u32, // elements that are rotated
}

fn normal(i: u32, place: Place) -> f32 {
    if (place.has_gain) {
        return head[i] * place.scale * inv_freq[place.gain + i];
    }
    return head[i];
}

fn ready(i: u32, place: Place) -> f32 {
    let own = normal(i, place);
    if (i >= place.turned) {
        return own;
    }
    let pair = pair_of(i);
    let partner = select(i + pair.distance, i - pair.distance, pair.second);
    return rotated(own, normal(partner, place), pair, place.position);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    let all = p.heads + 2u * p.kv_heads;
    let row = index / all;
    if (row >= p.rows) {
        return;
    }
    let number = index - row * all;
    let is_query = number < p.heads;
    let is_value = number >= p.heads + p.kv_heads;
    var kv_head = 0u;
    if (is_value) {
        kv_head = number - p.heads - p.kv_heads;
    } else if (!is_query) {
        kv_head = number - p.heads;
    }
    var source = p.q_base + (row * p.heads + number) * p.width;
    if (!is_query) {
        source = select(p.k_base, p.v_base, is_value) + (row * p.kv_heads + kv_head) * p.width;
    }
    var squares = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        var value = 0.0;
        if (is_value) {
            value = v[source + i];
        } else {
            value = x[source + i];
        }
        head[i] = value;
        squares += value * value;
    }
    // Its barriers are those that the head needs, too.
    let mean = workgroup_sum(squares, lane) / f32(p.width);
    var place: Place;
    place.gain = select(p.k_gain, p.q_gain, is_query);
    place.has_gain = p.has_norm != 0u && !is_value;
    place.scale = 1.0 / sqrt(mean + select(p.k_eps, p.q_eps, is_query));
    place.position = positions[p.positions_base + row];
    place.turned = select(2u * p.frequencies, 0u, is_value || place.position == 0xffffffffu);
    if (is_query) {
        let out = p.y_base + (row * p.heads + number) * p.width;
        for (var i = lane; i < p.width; i += 64u) {
            y[out + i] = ready(i, place);
        }
        return;
    }
    // NO_SLOT is larger than any slot.
    let slot = write_slots[p.slots_base + row];
    if (slot >= p.slots) {
        return;
    }
    let out = (slot * p.kv_heads + kv_head) * p.head_words;
    //#if KV_F32
    for (var i = lane; i < p.width; i += 64u) {
        let value = ready(i, place);
        if (is_value) {
            values[p.values_base + out + i] = value;
        } else {
            keys[p.keys_base + out + i] = value;
        }
    }
    //#else
    for (var i = lane; i < p.head_words; i += 64u) {
        var pair = vec2<f32>(ready(2u * i, place), 0.0);
        if (2u * i + 1u < p.width) {
            pair.y = ready(2u * i + 1u, place);
        }
        let word = pack2x16float(clamp(pair, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
        if (is_value) {
            values[p.values_base + out + i] = word;
        } else {
            keys[p.keys_base + out + i] = word;
        }
    }
    //#endif
}
