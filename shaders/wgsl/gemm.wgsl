// y = x * weight^T + bias by 64 x 64 tiles: rows of x down, weight rows across. Where there are fewer tiles than a device needs to be
// busy, K is split, and gemm_join.wgsl adds the parts up. COLUMNS: x lies in columns, [B, K, plane]. PAIRS: the weight has two halves, and
// a tile takes 32 rows of each, so that a lane has a value and its gate side by side.
struct Params {
    //#include product_params
    tiles_n: u32,
    x_row_begin: u32, // of the first row of this dispatch, where x lies in columns
    x_plane: u32, // rows of x of a plane, where it lies in columns
    //#if SPLIT
    splits: u32,
    split_k: u32, // of each split but the last; a multiple of 32
    //#else
    y_row_begin: u32, // the same, where y lies in columns
    y_plane: u32,
    y_outer: u32,
    y_step: u32,
    pairs: u32, // weight rows of a half
    pair_begin: u32, // of the first value of this dispatch
    gate: u32, // function of the second half
    //#include epilogue_params
    //#include deal_params
    //#endif
}
@group(0) @binding(0) var<uniform> p: Params;
//#weight
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
//#if SPLIT
//#else
@group(0) @binding(5) var<storage, read> other: array<f32>;
//#include activation
//#include epilogue
//#include product_place
//#include deal
//#endif

//#include grid
//#include load4
//#include tile

//#if COLUMNS
// Where a row of x begins; beyond the last one, far beyond all.
fn column_of(row: u32) -> u32 {
    if (row >= p.rows) {
        return 0xffffffffu;
    }
    let global = p.x_row_begin + row;
    let outer = global / p.x_plane;
    return p.x_base + outer * p.k * p.x_plane + (global - outer * p.x_plane);
}

// Four rows of x at one summed index.
fn x_column(at: vec4<u32>, k: u32) -> vec4<f32> {
    var v = vec4<f32>(0.0);
    if (k < p.k) {
        //#repeat j xyzw
        if (at.{j} != 0xffffffffu) {
            v.{j} = x[at.{j} + k * p.x_plane];
        }
        //#end
    }
    return v;
}
//#else
fn x4(row: u32, k: u32) -> vec4<f32> {
    if (row >= p.rows) {
        return vec4<f32>(0.0);
    }
    return load4(p.x_base + row * p.k, k, p.k);
}
//#endif

fn w4(row: u32, shift: u32, chunk: u32, chunks: u32) -> vec4<f32> {
    if (row >= p.n || chunk >= chunks) {
        return vec4<f32>(0.0);
    }
    return weight4(row + shift, chunk);
}

fn store_row(row: u32, column: u32, y_base: u32, sums: vec4<f32>) {
    if (row >= p.rows) {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if (column + i < p.n) {
            //#if SPLIT
            y[y_base + row * p.n + column + i] = sums[i];
            //#else
            var value = sums[i];
            if (p.has_bias != 0u) {
                value += bias[p.bias_base + column + i];
            }
            let at = dealt(row, column + i, place(row, column + i));
            y[at] = finish(value, at);
            //#endif
        }
    }
}

//#if PAIRS
fn store_pair(row: u32, column: u32, values: vec4<f32>, gates: vec4<f32>) {
    if (row >= p.rows) {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if (column + i < p.n) {
            var value = values[i];
            var gate = gates[i];
            if (p.has_bias != 0u) {
                let source = p.bias_base + p.pair_begin + column + i;
                value += bias[source];
                gate += bias[source + p.pairs];
            }
            let at = place(row, column + i);
            y[at] = finish(value * apply_function(p.gate, gate, 0.0, 0.0), at);
        }
    }
}
//#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group);
    //#if SPLIT
    // Each split has its part of K and its own copy of the result, which are added up afterwards.
    let tile = index / p.splits;
    let split = index - tile * p.splits;
    let k_begin = split * p.split_k;
    let k_end = min(p.k, k_begin + p.split_k);
    let y_base = split * p.rows * p.n;
    //#else
    let tile = index;
    let k_begin = 0u;
    let k_end = p.k;
    let y_base = p.y_base;
    //#endif
    let m0 = (tile / p.tiles_n) * 64u;
    //#if PAIRS
    let n0 = (tile % p.tiles_n) * 32u;
    //#else
    let n0 = (tile % p.tiles_n) * 64u;
    //#endif
    let tx = lane & 7u;
    let ty = lane >> 3u;
    let chunk = lane & 7u;
    let chunks = (p.k + 3u) / 4u;
    //#repeat i 8
    var sum{i}_0 = vec4<f32>(0.0);
    var sum{i}_1 = vec4<f32>(0.0);
    //#end
    //#if COLUMNS
    // Each lane brings two chunks of four rows, sixteen groups of rows side by side.
    let x_group = lane & 15u;
    let x_row = m0 + x_group * 4u;
    let x_at = vec4<u32>(column_of(x_row), column_of(x_row + 1u), column_of(x_row + 2u), column_of(x_row + 3u));
    //#endif
    for (var k0 = k_begin; k0 < k_end; k0 += 32u) {
        // Each lane brings one chunk of eight rows of x and of eight weight rows, eight chunks of a row side by side.
        let k = k0 + chunk * 4u;
        let at = k0 / 4u + chunk;
        //#if COLUMNS
        for (var c = lane >> 4u; c < 8u; c += 4u) {
            let to = c * 64u + (x_group ^ c);
            //#repeat j 4
            tile_a[to + {j}u * 16u] = x_column(x_at, k0 + c * 4u + {j}u);
            //#end
        }
        //#endif
        for (var column = lane >> 3u; column < 16u; column += 8u) {
            //#if COLUMNS
            //#else
            let row = m0 + column * 4u;
            store_a(chunk, column, x4(row, k), x4(row + 1u, k), x4(row + 2u, k), x4(row + 3u, k));
            //#endif
            //#if PAIRS
            let wr = n0 + (column & 7u) * 4u;
            let shift = p.pair_begin + select(0u, p.pairs, column >= 8u);
            //#else
            let wr = n0 + column * 4u;
            let shift = 0u;
            //#endif
            store_b(chunk, column, w4(wr, shift, at, chunks), w4(wr + 1u, shift, at, chunks), w4(wr + 2u, shift, at, chunks), w4(wr + 3u, shift, at, chunks));
        }
        workgroupBarrier();
        //#include tile_product
        workgroupBarrier();
    }
    //#if PAIRS
    //#repeat i 4
    store_pair(m0 + ty * 4u + {i}u, n0 + tx * 4u, sum{i}_0, sum{i}_1);
    //#end
    store_pair(m0 + ty * 4u + 32u, n0 + tx * 4u, sum4_0, sum4_1);
    store_pair(m0 + ty * 4u + 33u, n0 + tx * 4u, sum5_0, sum5_1);
    store_pair(m0 + ty * 4u + 34u, n0 + tx * 4u, sum6_0, sum6_1);
    store_pair(m0 + ty * 4u + 35u, n0 + tx * 4u, sum7_0, sum7_1);
    //#else
    //#repeat h 2
    //#repeat i 4
    store_row(m0 + ty * 4u + {i}u, n0 + {h}u * 32u + tx * 4u, y_base, sum{i}_{h});
    //#end
    store_row(m0 + ty * 4u + 32u, n0 + {h}u * 32u + tx * 4u, y_base, sum4_{h});
    store_row(m0 + ty * 4u + 33u, n0 + {h}u * 32u + tx * 4u, y_base, sum5_{h});
    store_row(m0 + ty * 4u + 34u, n0 + {h}u * 32u + tx * 4u, y_base, sum6_{h});
    store_row(m0 + ty * 4u + 35u, n0 + {h}u * 32u + tx * 4u, y_base, sum7_{h});
    //#end
    //#endif
}
