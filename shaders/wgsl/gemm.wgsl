// y = x * weight^T + bias by 64 x 64 tiles: rows of x down, weight rows across.
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

fn store_row(row: u32, column: u32, sums: vec4<f32>) {
    if (row >= p.rows) {
        return;
    }
    let at = p.y_base + row * p.y_stride + column;
    for (var i = 0u; i < 4u; i += 1u) {
        if (column + i < p.n) {
            var value = sums[i];
            if (p.has_bias != 0u) {
                value += bias[p.bias_base + column + i];
            }
            y[at + i] = value;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group);
    let m0 = (tile / p.tiles_n) * 64u;
    let n0 = (tile % p.tiles_n) * 64u;
    let tx = lane & 15u;
    let ty = lane >> 4u;
    // The first half of the lanes brings x, the second the weights, each four rows by four columns.
    let chunk = lane & 7u;
    let column = (lane >> 3u) & 15u;
    let chunks = (p.k + 3u) / 4u;
    //#repeat i 4
    var sum{i} = vec4<f32>(0.0);
    //#end
    for (var k0 = 0u; k0 < p.k; k0 += 32u) {
        if (lane < 128u) {
            let row = m0 + column * 4u;
            let k = k0 + chunk * 4u;
            store_a(chunk, column, x4(row, k), x4(row + 1u, k), x4(row + 2u, k), x4(row + 3u, k));
        } else {
            let row = n0 + column * 4u;
            let at = k0 / 4u + chunk;
            store_b(chunk, column, w4(row, at, chunks), w4(row + 1u, at, chunks), w4(row + 2u, at, chunks), w4(row + 3u, at, chunks));
        }
        workgroupBarrier();
        for (var s = 0u; s < 8u; s += 1u) {
            let ia = s * 64u + (ty ^ s);
            let ib = s * 64u + (tx ^ s);
            //#repeat j 4
            let a{j} = tile_a[ia + {j}u * 16u];
            let b{j} = tile_b[ib + {j}u * 16u];
            sum0 += a{j}.x * b{j};
            sum1 += a{j}.y * b{j};
            sum2 += a{j}.z * b{j};
            sum3 += a{j}.w * b{j};
            //#end
        }
        workgroupBarrier();
    }
    //#repeat i 4
    store_row(m0 + ty * 4u + {i}u, n0 + tx * 4u, sum{i});
    //#end
}
