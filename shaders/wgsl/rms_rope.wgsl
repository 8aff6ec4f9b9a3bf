// RMS norm of heads and their rotary embedding (see rms_norm.wgsl and rope.wgsl): 64 lanes a head.
struct Params {
    grid_x: u32,
    grid_y: u32,
    rows: u32, // heads of all rows
    width: u32, // elements a head
    x_base: u32,
    y_base: u32,
    gain_base: u32,
    eps: f32,
    heads: u32, // of a row
    positions_base: u32,
    freq_base: u32,
    frequencies: u32, // pairs that are rotated, in every head
    interleaved: u32,
    magnitude: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> inv_freq: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

//#include grid
alias Summed = f32;
const SIDE = 8u;
//#include reduce
//#include rms_scale
//#include cos_sin
//#include rope_pair

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group);
    if (row >= p.rows) {
        return;
    }
    let base = p.x_base + row * p.width;
    let scale = rms_scale(base, lane);
    let out = p.y_base + row * p.width;
    let position = positions[p.positions_base + row / p.heads];
    let turned = select(2u * p.frequencies, 0u, position == 0xffffffffu);
    for (var i = lane; i < p.width; i += 64u) {
        let own = x[base + i] * scale * gain[p.gain_base + i];
        if (i >= turned) {
            y[out + i] = own;
            continue;
        }
        let pair = pair_of(i);
        let partner = select(i + pair.distance, i - pair.distance, pair.second);
        let their = x[base + partner] * scale * gain[p.gain_base + partner];
        y[out + i] = rotated(own, their, pair, position);
    }
}
