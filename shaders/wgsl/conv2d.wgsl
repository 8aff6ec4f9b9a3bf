// Convolution of [B, C, H, W] as an implicit matrix product: output channels down, pixels across, and C * kh * kw summed,
// by 64 x 64 tiles. Where there are fewer tiles than a device needs to be busy, the sum is split, and conv_join.wgsl adds the parts
// up. A dispatch covers a range of the input channels; later ranges add to what earlier ones wrote. DOUBLED: the input is seen twice as
// large as it lies there, each element four times.
struct Params {
    grid_x: u32,
    grid_y: u32,
    weight_stride: u32, // chunks of four elements a weight row
    first_weight_row: u32, // of the shard, for the first output channel
    k_begin: u32, // summed indices covered: channel * kh * kw + ky * kw + kx
    k_end: u32,
    channel_begin: u32, // first input channel bound
    kernel_area: u32,
    kernel_width: u32,
    height: u32,
    width: u32,
    out_width: u32,
    pixels: u32, // of the output
    stride_y: u32,
    stride_x: u32,
    pad_top: u32,
    pad_left: u32,
    channels_out: u32, // of this dispatch
    tiles_out: u32,
    tiles_pixels: u32,
    x_base: u32,
    x_batch_stride: u32,
    y_base: u32,
    y_batch_stride: u32,
    bias_base: u32,
    has_bias: u32,
    accumulate: u32,
    batches: u32,
    pixel_begin: u32, // pixels covered
    pixel_end: u32,
    //#if SPLIT
    splits: u32,
    split_k: u32, // summed indices of each split but the last; a multiple of 32
    //#else
    //#include epilogue_params
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
//#endif

//#include grid
//#include tile

fn w4(row: u32, chunk: u32, chunks: u32) -> vec4<f32> {
    if (row >= p.channels_out || chunk >= chunks) {
        return vec4<f32>(0.0);
    }
    return weight4(p.first_weight_row + row, chunk);
}

// The input under four output pixels, whose windows begin at (y0, x0), for one summed index.
fn gather(k: u32, base: u32, y0: vec4<i32>, x0: vec4<i32>) -> vec4<f32> {
    var v = vec4<f32>(0.0);
    if (k < p.k_begin || k >= p.k_end) {
        return v;
    }
    //#if TAPS_1
    let channel = k;
    let ky = 0u;
    let kx = 0u;
    //#else
    //#if TAPS_9
    // Divisions by constants, which are products.
    let channel = k / 9u;
    let tap = k - channel * 9u;
    let ky = tap / 3u;
    let kx = tap - ky * 3u;
    //#else
    let channel = k / p.kernel_area;
    let tap = k - channel * p.kernel_area;
    let ky = tap / p.kernel_width;
    let kx = tap - ky * p.kernel_width;
    //#endif
    //#endif
    let iy = y0 + vec4<i32>(i32(ky));
    let ix = x0 + vec4<i32>(i32(kx));
    //#if DOUBLED
    let plane = base + (channel - p.channel_begin) * ((p.height * p.width) >> 2u);
    //#else
    let plane = base + (channel - p.channel_begin) * p.height * p.width;
    //#endif
    let h = i32(p.height);
    let w = i32(p.width);
    //#repeat j xyzw
    if (iy.{j} >= 0 && iy.{j} < h && ix.{j} >= 0 && ix.{j} < w) {
        //#if DOUBLED
        v.{j} = x[plane + u32((iy.{j} >> 1u) * (w >> 1u) + (ix.{j} >> 1u))];
        //#else
        v.{j} = x[plane + u32(iy.{j} * w + ix.{j})];
        //#endif
    }
    //#end
    return v;
}

fn store_row(channel: u32, pixel: u32, batch: u32, base: u32, sums: vec4<f32>) {
    if (channel >= p.channels_out) {
        return;
    }
    let at = base + channel * p.pixels + pixel;
    for (var i = 0u; i < 4u; i += 1u) {
        if (pixel + i < p.pixel_end) {
            var value = sums[i];
            if (p.accumulate != 0u) {
                value += y[at + i];
            }
            if (p.has_bias != 0u) {
                value += bias[p.bias_base + channel];
            }
            //#if SPLIT
            y[at + i] = value;
            //#else
            let by_channel = p.channel_base + batch * p.channel_stride + channel;
            y[at + i] = finish(value, select(at + i, by_channel, p.combine == 3u));
            //#endif
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    //#if SPLIT
    // Each split has its part of the summed indices and its own copy of the result, which are added up afterwards.
    let index = linear_group(group);
    let tile = index / p.splits;
    let split = index - tile * p.splits;
    let k_begin = split * p.split_k;
    let k_end = min(p.k_end, k_begin + p.split_k);
    let y_first = split * p.batches * p.y_batch_stride;
    //#else
    let tile = linear_group(group);
    let k_begin = p.k_begin;
    let k_end = p.k_end;
    let y_first = p.y_base;
    //#endif
    let per_batch = p.tiles_out * p.tiles_pixels;
    let batch = tile / per_batch;
    if (batch >= p.batches) {
        return;
    }
    let within = tile - batch * per_batch;
    let o0 = (within / p.tiles_pixels) * 64u;
    let pixel0 = p.pixel_begin + (within % p.tiles_pixels) * 64u;
    let x_base = p.x_base + batch * p.x_batch_stride;
    let tx = lane & 7u;
    let ty = lane >> 3u;
    // Each lane brings one chunk of eight weight rows, eight chunks of a row side by side; and two chunks under four pixels,
    // sixteen groups of pixels side by side.
    let weight_chunk = lane & 7u;
    let pixel_column = lane & 15u;
    let chunks = (p.k_end + 3u) / 4u;
    var window_y = vec4<i32>(-0x40000000);
    var window_x = vec4<i32>(0);
    //#repeat j xyzw
    {
        let pixel = pixel0 + pixel_column * 4u + OFFSET_{j};
        if (pixel < p.pixel_end) {
            let oy = pixel / p.out_width;
            let ox = pixel - oy * p.out_width;
            window_y.{j} = i32(oy * p.stride_y) - i32(p.pad_top);
            window_x.{j} = i32(ox * p.stride_x) - i32(p.pad_left);
        }
    }
    //#end
    //#repeat i 8
    var sum{i}_0 = vec4<f32>(0.0);
    var sum{i}_1 = vec4<f32>(0.0);
    //#end
    // Chunks of weights are aligned to four; what lies before `k_begin` meets zeros from `gather`.
    for (var k0 = k_begin & 0xfffffffcu; k0 < k_end; k0 += 32u) {
        let at = k0 / 4u + weight_chunk;
        for (var column = lane >> 3u; column < 16u; column += 8u) {
            let row = o0 + column * 4u;
            store_a(weight_chunk, column, w4(row, at, chunks), w4(row + 1u, at, chunks), w4(row + 2u, at, chunks), w4(row + 3u, at, chunks));
        }
        for (var chunk = lane >> 4u; chunk < 8u; chunk += 4u) {
            let k = k0 + chunk * 4u;
            let to = chunk * 64u + (pixel_column ^ chunk);
            //#repeat j 4
            tile_b[to + {j}u * 16u] = gather(k + {j}u, x_base, window_y, window_x);
            //#end
        }
        workgroupBarrier();
        //#include tile_product
        workgroupBarrier();
    }
    let y_base = y_first + batch * p.y_batch_stride;
    //#repeat h 2
    //#repeat i 4
    store_row(o0 + ty * 4u + {i}u, pixel0 + {h}u * 32u + tx * 4u, batch, y_base, sum{i}_{h});
    //#end
    store_row(o0 + ty * 4u + 32u, pixel0 + {h}u * 32u + tx * 4u, batch, y_base, sum4_{h});
    store_row(o0 + ty * 4u + 33u, pixel0 + {h}u * 32u + tx * 4u, batch, y_base, sum5_{h});
    store_row(o0 + ty * 4u + 34u, pixel0 + {h}u * 32u + tx * 4u, batch, y_base, sum6_{h});
    store_row(o0 + ty * 4u + 35u, pixel0 + {h}u * 32u + tx * 4u, batch, y_base, sum7_{h});
    //#end
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
