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

// Cosine and sine of an angle below 2^24, to about 1e-7.
//
// The angle is mantissa * 2^exponent. Its number of turns modulo 1 is taken in 32-bit fixed point from the bits of
// 1 / (2 pi) (after Payne and Hanek 1983), which no compiler's liberties with floats can spoil; then an eighth turn either
// way is left for the polynomials (Cephes, S. Moshier).
fn cos_sin(signed_angle: f32) -> vec2<f32> {
    let angle = abs(signed_angle);
    var rest = angle;
    var quadrant = 0u;
    if (angle > 0.78539816) {
        let bits = bitcast<u32>(angle);
        let mantissa = (bits & 0x007fffffu) | 0x00800000u;
        let shift = (150u - min(bits >> 23u, 149u)) & 31u; // 1 to 24 for angles in range
        // 1 / (2 pi) = 0x0.28be60db9391054a...
        let whole = 0x28be60dbu >> shift;
        let fraction = (0x28be60dbu << (32u - shift)) | (0x9391054au >> shift);
        let turns = mantissa * whole + u32(f32(mantissa) * (f32(fraction) * 2.3283064365386963e-10));
        quadrant = (turns + 0x20000000u) >> 30u;
        rest = f32(bitcast<i32>(turns - (quadrant << 30u))) * 1.4629180792671596e-9; // 2 pi / 2^32
    }
    let s = rest * rest;
    let sine = rest + rest * s * (-0.16666655 + s * (0.0083321609 + s * -0.00019515296));
    let cosine = 1.0 - 0.5 * s + s * s * (0.041666646 + s * (-0.0013887316 + s * 0.000024433157));
    let odd = (quadrant & 1u) == 1u;
    var c = select(cosine, sine, odd);
    var d = select(sine, cosine, odd);
    if (quadrant == 1u || quadrant == 2u) {
        c = -c;
    }
    if ((quadrant >= 2u) != (signed_angle < 0.0)) {
        d = -d;
    }
    return vec2<f32>(c, d);
}

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
    var pair = element % p.frequencies;
    var second = element >= p.frequencies;
    var distance = p.frequencies;
    if (p.interleaved != 0u) {
        pair = element / 2u;
        second = (element & 1u) == 1u;
        distance = 1u;
    }
    let turn = cos_sin(f32(position) * inv_freq[p.freq_base + pair]) * p.magnitude;
    // (a, b) becomes (a cos - b sin, b cos + a sin).
    var rotated = own * turn.x;
    if (second) {
        rotated += x[p.x_base + index - distance] * turn.y;
    } else {
        rotated -= x[p.x_base + index + distance] * turn.y;
    }
    y[p.y_base + index] = rotated;
}
