// Rotary position embedding (Su et al. 2021). The angle is the f32 product of position and inverse frequency, as the
// reference programs have it; its sine and cosine are computed here, since WGSL grants only 2^-11 within one turn.
struct Params {
    grid_x: u32,
    grid_y: u32,
    elements: u32,
    x_base: u32,
    y_base: u32,
    positions_base: u32,
    freq_base: u32,
    width: u32, // elements a row
    head_dim: u32,
    frequencies: u32, // pairs that are rotated, in every head
    interleaved: u32,
    magnitude: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> inv_freq: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

//#include grid
//#include cos_sin
//#include rope_pair

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group) * 256u + lane;
    if (index >= p.elements) {
        return;
    }
    let row = index / p.width;
    let element = (index - row * p.width) % p.head_dim;
    let own = x[p.x_base + index];
    let position = positions[p.positions_base + row];
    if (element >= 2u * p.frequencies || position == 0xffffffffu) {
        y[p.y_base + index] = own;
        return;
    }
    let pair = pair_of(element);
    let partner = select(index + pair.distance, index - pair.distance, pair.second);
    y[p.y_base + index] = rotated(own, x[p.x_base + partner], pair, position);
}
