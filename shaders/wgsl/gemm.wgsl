// y = x * weight^T + bias by 64 x 64 tiles: rows of x down, weight rows across. Where there are fewer tiles than a device needs to be
// busy, K is split, and gemm_join.wgsl adds the parts up.
struct Params {
    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    weight_scales: u32, // first word of the section of scales
    k: u32,
    n: u32, // weight rows bound
    rows: u32, // rows of x
    x_base: u32,
    y_base: u32,
    y_stride: u32,
    bias_base: u32,
    has_bias: u32,
    tiles_n: u32,
    //#if SPLIT
    splits: u32,
    split_k: u32, // of each split but the last; a multiple of 32
    //#endif
}
@group(0) @binding(0) var<uniform> p: Params;
//#weight
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
//#include load4
//#include tile

fn x4(row: u32, k: u32) -> vec4<f32> {
    if (row >= p.rows) {
        return vec4<f32>(0.0);
    }
    return load4(p.x_base + row * p.k, k, p.k);
}

fn w4(row: u32, chunk: u32, chunks: u32) -> vec4<f32> {
    if (row >= p.n || chunk >= chunks) {
        return vec4<f32>(0.0);
    }
    return weight4(row, chunk);
}

fn store_row(row: u32, column: u32, y_base: u32, sums: vec4<f32>) {
    if (row >= p.rows) {
        return;
    }
    //#if SPLIT
    let at = y_base + row * p.n + column;
    //#else
    let at = y_base + row * p.y_stride + column;
    //#endif
    for (var i = 0u; i < 4u; i += 1u) {
        if (column + i < p.n) {
            var value = sums[i];
            //#if SPLIT
            //#else
            if (p.has_bias != 0u) {
                value += bias[p.bias_base + column + i];
            }
            //#endif
            y[at + i] = value;
        }
    }
}

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
    let n0 = (tile % p.tiles_n) * 64u;
    let tx = lane & 7u;
    let ty = lane >> 3u;
    let chunk = lane & 7u;
    let chunks = (p.k + 3u) / 4u;
    //#repeat i 8
    var sum{i}_0 = vec4<f32>(0.0);
    var sum{i}_1 = vec4<f32>(0.0);
    //#end
    for (var k0 = k_begin; k0 < k_end; k0 += 32u) {
        // Each lane brings one chunk of eight rows of x and of eight weight rows, eight chunks of a row side by side.
        let k = k0 + chunk * 4u;
        let at = k0 / 4u + chunk;
        for (var column = lane >> 3u; column < 16u; column += 8u) {
            let row = m0 + column * 4u;
            store_a(chunk, column, x4(row, k), x4(row + 1u, k), x4(row + 2u, k), x4(row + 3u, k));
            let wr = n0 + column * 4u;
            store_b(chunk, column, w4(wr, at, chunks), w4(wr + 1u, at, chunks), w4(wr + 2u, at, chunks), w4(wr + 3u, at, chunks));
        }
        workgroupBarrier();
        //#include tile_product
        workgroupBarrier();
    }
    //#repeat h 2
    //#repeat i 4
    store_row(m0 + ty * 4u + {i}u, n0 + {h}u * 32u + tx * 4u, y_base, sum{i}_{h});
    //#end
    store_row(m0 + ty * 4u + 32u, n0 + {h}u * 32u + tx * 4u, y_base, sum4_{h});
    store_row(m0 + ty * 4u + 33u, n0 + {h}u * 32u + tx * 4u, y_base, sum5_{h});
    store_row(m0 + ty * 4u + 34u, n0 + {h}u * 32u + tx * 4u, y_base, sum6_{h});
    store_row(m0 + ty * 4u + 35u, n0 + {h}u * 32u + tx * 4u, y_base, sum7_{h});
    //#end
}
