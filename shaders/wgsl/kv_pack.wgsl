// Writes keys and values of rows into their slots of a paged cache, as far as the slots lie in the bound window, in 16-bit floats or in 8-bit integers with a
// scale for each 32 elements of a head (ggml's q8_0; here the scale is the block's largest magnitude, and all scales of a head lie behind its
// integers). An invocation packs 64 elements of one head, of the keys or of the values.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32,
    heads: u32,
    head_dim: u32,
    k_base: u32,
    v_base: u32,
    slots_base: u32,
    first_slot: u32, // of the window
    slots: u32, // of the window
    keys_base: u32,
    values_base: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> write_slots: array<u32>;
@group(0) @binding(4) var<storage, read_write> keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> values: array<u32>;

//#include grid

fn load(side: u32, at: u32) -> f32 {
    if (side == 0u) {
        return k[p.k_base + at];
    }
    return v[p.v_base + at];
}

fn store(side: u32, at: u32, word: u32) {
    if (side == 0u) {
        keys[p.keys_base + at] = word;
    } else {
        values[p.values_base + at] = word;
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let units = (p.head_dim + 63u) / 64u;
    let index = linear_group(group) * 256u + lane;
    let side = index & 1u;
    let unit = (index / 2u) % units;
    let head = (index / (2u * units)) % p.heads;
    let row = index / (2u * units * p.heads);
    if (row >= p.rows) {
        return;
    }
    // NO_SLOT is larger than any slot.
    let slot = write_slots[p.slots_base + row];
    if (slot < p.first_slot || slot - p.first_slot >= p.slots) {
        return;
    }
    let first = unit * 64u;
    let count = min(64u, p.head_dim - first);
    let source = (row * p.heads + head) * p.head_dim + first;
    let place = (slot - p.first_slot) * p.heads + head;
    //#if KV_F16
    let at = place * ((p.head_dim + 1u) / 2u) + first / 2u;
    for (var i = 0u; i < count; i += 2u) {
        var pair = vec2<f32>(load(side, source + i), 0.0);
        if (i + 1u < count) {
            pair.y = load(side, source + i + 1u);
        }
        store(side, at + i / 2u, pack2x16float(clamp(pair, vec2<f32>(-65504.0), vec2<f32>(65504.0))));
    }
    //#endif
    //#if KV_Q8
    let data_words = (p.head_dim + 3u) / 4u;
    let at = place * (data_words + units);
    var top = vec2<f32>(0.0);
    for (var i = 0u; i < count; i += 1u) {
        let size = abs(load(side, source + i));
        if (i < 32u) {
            top.x = max(top.x, size);
        } else {
            top.y = max(top.y, size);
        }
    }
    // What is read back is what the elements are measured by.
    let packed = pack2x16float(min(top, vec2<f32>(65504.0)));
    let scale = unpack2x16float(packed);
    store(side, at + data_words + unit, packed);
    for (var i = 0u; i < count; i += 4u) {
        let by = select(scale.x, scale.y, i >= 32u);
        var four = vec4<f32>(0.0);
        if (by > 0.0) {
            four.x = load(side, source + i) / by;
            if (i + 1u < count) { four.y = load(side, source + i + 1u) / by; }
            if (i + 2u < count) { four.z = load(side, source + i + 2u) / by; }
            if (i + 3u < count) { four.w = load(side, source + i + 3u) / by; }
        }
        store(side, at + first / 4u + i / 4u, pack4x8snorm(four));
    }
    //#endif
}
