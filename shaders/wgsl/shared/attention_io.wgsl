// How attention by tiles reads and writes; see attention.wgsl.
fn q_at(query: u32, base: u32, element: u32) -> f32 {
    if (query < p.queries && element < p.head_dim) {
        return q[base + query * p.q_stride + element];
    }
    return 0.0;
}

// Words of one head of a key, an element of a key, and four of a value that begins at a word; see kv_pack.wgsl for the packed ones.
//#if KV_F32
fn head_words() -> u32 {
    return p.head_dim;
}

fn k_at(key: u32, count: u32, base: u32, element: u32) -> f32 {
    if (key < count && element < p.head_dim) {
        return k[base + key * p.kv_stride + element];
    }
    return 0.0;
}

fn v4_at(row: u32, element: u32) -> vec4<f32> {
    let at = row + element;
    if (element + 4u <= p.head_dim) {
        return vec4<f32>(v[at], v[at + 1u], v[at + 2u], v[at + 3u]);
    }
    var value = vec4<f32>(0.0);
    if (element < p.head_dim) { value.x = v[at]; }
    if (element + 1u < p.head_dim) { value.y = v[at + 1u]; }
    if (element + 2u < p.head_dim) { value.z = v[at + 2u]; }
    return value;
}
//#endif
//#if KV_F16
fn head_words() -> u32 {
    return (p.head_dim + 1u) / 2u;
}

fn k_at(key: u32, count: u32, base: u32, element: u32) -> f32 {
    if (key < count && element < p.head_dim) {
        let pair = unpack2x16float(k[base + key * p.kv_stride + element / 2u]);
        return select(pair.x, pair.y, (element & 1u) == 1u);
    }
    return 0.0;
}

fn v4_at(row: u32, element: u32) -> vec4<f32> {
    var value = vec4<f32>(0.0);
    if (element < p.head_dim) {
        value = vec4<f32>(unpack2x16float(v[row + element / 2u]), 0.0, 0.0);
    }
    if (element + 2u < p.head_dim) {
        value = vec4<f32>(value.xy, unpack2x16float(v[row + element / 2u + 1u]));
    }
    return value;
}
//#endif
//#if KV_Q8
fn head_words() -> u32 {
    return (p.head_dim + 3u) / 4u + (p.head_dim + 63u) / 64u;
}

fn k_at(key: u32, count: u32, base: u32, element: u32) -> f32 {
    if (key < count && element < p.head_dim) {
        let row = base + key * p.kv_stride;
        let pair = unpack2x16float(k[row + (p.head_dim + 3u) / 4u + element / 64u]);
        let byte = i32(k[row + element / 4u] << (24u - 8u * (element & 3u))) >> 24u;
        return f32(byte) / 127.0 * select(pair.x, pair.y, (element & 32u) != 0u);
    }
    return 0.0;
}

fn v4_at(row: u32, element: u32) -> vec4<f32> {
    if (element >= p.head_dim) {
        return vec4<f32>(0.0);
    }
    let pair = unpack2x16float(v[row + (p.head_dim + 3u) / 4u + element / 64u]);
    return unpack4x8snorm(v[row + element / 4u]) * select(pair.x, pair.y, (element & 32u) != 0u);
}
//#endif

//#if MASK
// The scores of four queries, from `query` on, with a key of this window, and what the mask adds; LOWEST where it hides the key. Beyond the last query and
// key the last ones stand in, so that nothing branches: nothing is written for such queries, and such keys are not seen.
fn with_mask(score: vec4<f32>, base: u32, query: u32, key: u32) -> vec4<f32> {
    let column = base + min(key, p.keys - 1u);
    let added = vec4<f32>(
        mask[column + min(query, p.queries - 1u) * p.mask_stride],
        mask[column + min(query + 1u, p.queries - 1u) * p.mask_stride],
        mask[column + min(query + 2u, p.queries - 1u) * p.mask_stride],
        mask[column + min(query + 3u, p.queries - 1u) * p.mask_stride],
    );
    return select(vec4<f32>(LOWEST), score + added, added > vec4<f32>(HIDDEN));
}

//#endif
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

// Zeros beyond the last query and the head's last element; the last one stands in there, so that nothing branches.
fn load_result(query: u32, element: u32, base: u32) -> vec4<f32> {
    let at = base + min(query, p.queries - 1u) * p.q_stride;
    let last = p.head_dim - 1u;
    let value = vec4<f32>(
        y[at + min(element, last)],
        y[at + min(element + 1u, last)],
        y[at + min(element + 2u, last)],
        y[at + min(element + 3u, last)],
    );
    let elements = vec4<u32>(element) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(0.0), value, elements < vec4<u32>(select(0u, p.head_dim, query < p.queries)));
}
