// As conv_unfold.wgsl, for windows of 3 x 3 that move by one pixel over a picture with an edge of one, and widths of whole multiples of four: a lane has four
// neighbours of one channel and makes all nine rows, so that what they have in common is read once.
struct Params {
    grid_x: u32,
    grid_y: u32,
    fours: u32, // of a row
    channels: u32, // covered
    first_row: u32, // in `y`
    height: u32,
    width: u32,
    x_base: u32,
    y_base: u32, // in fours
    pixel_begin: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x_fours: array<vec4<f32>>; // the same as `x`

//#include grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 64u + lane;
    let channel = index / p.fours;
    if (channel >= p.channels) {
        return;
    }
    let four = index - channel * p.fours;
    let pixel = p.pixel_begin + four * 4u;
    let oy = pixel / p.width;
    let ox = pixel - oy * p.width;
    let plane = p.x_base + channel * p.height * p.width;
    let to = p.y_base + (p.first_row + channel * 9u) * p.fours + four;
    //#repeat i 3
    {
        // One more than the row that is seen.
        let iy = oy + {i}u;
        var before = 0.0;
        var own = vec4<f32>(0.0);
        var behind = 0.0;
        if (iy > 0u && iy <= p.height) {
            let at = plane + (iy - 1u) * p.width + ox;
            own = x_fours[at >> 2u];
            if (ox > 0u) {
                before = x[at - 1u];
            }
            if (ox + 4u < p.width) {
                behind = x[at + 4u];
            }
        }
        y[to + {i}u * 3u * p.fours] = vec4<f32>(before, own.xyz);
        y[to + ({i}u * 3u + 1u) * p.fours] = own;
        y[to + ({i}u * 3u + 2u) * p.fours] = vec4<f32>(own.yzw, behind);
    }
    //#end
}
