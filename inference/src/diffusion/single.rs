//! Logarithm, sine and cosine in single precision by the polynomials of the Cephes library (Moshier 1989), each multiplication
//! and addition fused where torch's AVX2 build fuses them: torch makes its normal numbers with these, so ours are the same to the
//! bit, and the same on every platform whatever its mathematics library.

/// Natural logarithm of a normal, positive number.
pub(super) fn ln(value: f32) -> f32 {
    // value = mantissa * 2^exponent with the mantissa in [0.5, 1).
    let bits = value.to_bits();
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let exponent = ((bits >> 23) & 0xff) as f32 - 126.0;
    let (x, exponent) = if mantissa < std::f32::consts::FRAC_1_SQRT_2 {
        (mantissa - 1.0 + mantissa, exponent - 1.0)
    } else {
        (mantissa - 1.0, exponent)
    };
    const COEFFICIENTS: [f32; 8] = [
        -1.151_461e-1,
        1.167_699_84e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_4e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let square = x * x;
    let polynomial = COEFFICIENTS
        .iter()
        .fold(7.037_683_6e-2, |sum: f32, next| sum.mul_add(x, *next));
    // ln 2 in two parts, the greater of which has few digits.
    let correction = (polynomial * x).mul_add(square, exponent * -2.121_944_4e-4);
    let near_one = x + (-0.5f32).mul_add(square, correction);
    exponent.mul_add(0.693_359_4, near_one)
}

/// Sine and cosine of an angle from 0 to a few turns.
pub(super) fn sin_cos(angle: f32) -> (f32, f32) {
    // The nearest even multiple of a quarter of pi, taken off in three parts.
    let octant = ((angle * (4.0 / std::f32::consts::PI)) as u32 + 1) & !1;
    let turns = octant as f32;
    let x = turns.mul_add(-0.785_156_25, angle);
    let x = turns.mul_add(-2.418_756_5e-4, x);
    let x = turns.mul_add(-3.774_895e-8, x);
    let square = x * x;
    let even = 2.443_315_7e-5f32
        .mul_add(square, -1.388_731_6e-3)
        .mul_add(square, 4.166_664_6e-2);
    let even = (even * square).mul_add(square, -(square * 0.5)) + 1.0;
    let odd = (-1.951_529_6e-4f32)
        .mul_add(square, 8.332_161e-3)
        .mul_add(square, -1.666_665_5e-1);
    let odd = (odd * square).mul_add(x, x);
    let (sine, cosine) = if octant & 2 == 0 {
        (odd, even)
    } else {
        (even, odd)
    };
    let sine = if octant & 4 == 0 { sine } else { -sine };
    // Negative in the second and third quarter.
    let cosine = if (octant + 2) & 4 == 0 {
        cosine
    } else {
        -cosine
    };
    (sine, cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_true_functions() {
        for step in 0..=1_000_000 {
            let unit = step as f32 / 1_000_000.0;
            let number = unit.max(1.0 / 16_777_216.0);
            let want = f64::from(number).ln();
            assert!(
                (f64::from(ln(number)) - want).abs() <= 2e-7 * want.abs().max(0.1),
                "ln {number}"
            );
            let angle = unit * std::f32::consts::TAU;
            let (sine, cosine) = sin_cos(angle);
            assert!(
                (f64::from(sine) - f64::from(angle).sin()).abs() < 1.5e-7,
                "sin {angle}"
            );
            assert!(
                (f64::from(cosine) - f64::from(angle).cos()).abs() < 1.5e-7,
                "cos {angle}"
            );
        }
    }
}
