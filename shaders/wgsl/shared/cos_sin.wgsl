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
