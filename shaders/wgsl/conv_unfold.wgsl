// What the windows of a convolution see, as a matrix with a row for every summed index, channel * kh * kw + ky * kw + kx, and a column for every output
// pixel of a range: whoever multiplies it with the weights has the convolution. Each lane makes four neighbours of a row, zeros beyond the
// picture's edges and behind the last pixel. A dispatch covers a range of the input channels. DOUBLED: the input is seen twice as large
// as it lies there, each element four times.
struct Params {
    grid_x: u32,
    grid_y: u32,
    fours: u32, // of a row
    rows: u32, // summed indices covered
    first_row: u32, // in `y`
    kernel_area: u32,
    kernel_width: u32,
    height: u32,
    width: u32,
    out_width: u32,
    stride_y: u32,
    stride_x: u32,
    pad_top: u32,
    pad_left: u32,
    x_base: u32,
    y_base: u32, // in fours
    pixel_begin: u32,
    pixel_end: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

//#include grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 64u + lane;
    let row = index / p.fours;
    if (row >= p.rows) {
        return;
    }
    let four = index - row * p.fours;
    //#if TAPS_1
    let channel = row;
    let ky = 0u;
    let kx = 0u;
    //#else
    //#if TAPS_9
    // Divisions by constants, which are products.
    let channel = row / 9u;
    let tap = row - channel * 9u;
    let ky = tap / 3u;
    let kx = tap - ky * 3u;
    //#else
    let channel = row / p.kernel_area;
    let tap = row - channel * p.kernel_area;
    let ky = tap / p.kernel_width;
    let kx = tap - ky * p.kernel_width;
    //#endif
    //#endif
    //#if DOUBLED
    let plane = p.x_base + channel * ((p.height * p.width) >> 2u);
    //#else
    let plane = p.x_base + channel * p.height * p.width;
    //#endif
    let h = i32(p.height);
    let w = i32(p.width);
    let pixel = p.pixel_begin + four * 4u;
    var oy = pixel / p.out_width;
    var ox = pixel - oy * p.out_width;
    var v = vec4<f32>(0.0);
    //#repeat j xyzw
    {
        let iy = i32(oy * p.stride_y + ky) - i32(p.pad_top);
        let ix = i32(ox * p.stride_x + kx) - i32(p.pad_left);
        if (pixel + OFFSET_{j} < p.pixel_end && iy >= 0 && iy < h && ix >= 0 && ix < w) {
            //#if DOUBLED
            v.{j} = x[plane + u32((iy >> 1u) * (w >> 1u) + (ix >> 1u))];
            //#else
            v.{j} = x[plane + u32(iy * w + ix)];
            //#endif
        }
        ox += 1u;
        let ends = ox == p.out_width;
        oy += select(0u, 1u, ends);
        ox = select(ox, 0u, ends);
    }
    //#end
    y[p.y_base + (p.first_row + row) * p.fours + four] = v;
}
const OFFSET_x = 0u;
const OFFSET_y = 1u;
const OFFSET_z = 2u;
const OFFSET_w = 3u;
