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
//#include reduce
//#include cos_sin

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group);
    if (row >= p.rows) {
        return;
    }
    let base = p.x_base + row * p.width;
    var squares = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        squares += x[base + i] * x[base + i];
    }
    let scale = 1.0 / sqrt(workgroup_sum(squares, lane) / f32(p.width) + p.eps);
    let out = p.y_base + row * p.width;
    let position = positions[p.positions_base + row / p.heads];
    let rotated = select(2u * p.frequencies, 0u, position == 0xffffffffu);
    for (var i = lane; i < p.width; i += 64u) {
        let own = x[base + i] * scale * gain[p.gain_base + i];
        if (i >= rotated) {
            y[out + i] = own;
            continue;
        }
        var pair = i % p.frequencies;
        var second = i >= p.frequencies;
        var distance = p.frequencies;
        if (p.interleaved != 0u) {
            pair = i / 2u;
            second = (i & 1u) == 1u;
            distance = 1u;
        }
        let partner = select(i + distance, i - distance, second);
        let their = x[base + partner] * scale * gain[p.gain_base + partner];
        let turn = cos_sin(f32(position) * inv_freq[p.freq_base + pair]) * p.magnitude;
        // (a, b) becomes (a cos - b sin, b cos + a sin).
        y[out + i] = own * turn.x + select(-their, their, second) * turn.y;
    }
}
