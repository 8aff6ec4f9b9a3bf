//! Functions that the compiler can turn into vector code: no table, no branch, no call.
//!
//! The crate is built for the oldest processor of each architecture; [`multiversion!`] compiles a loop again
//! for AVX2 and AVX-512 and chooses at run time.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::graph::Activation;

/// Whether the processor has what [`multiversion!`] compiles for at most.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Compiles a function three times on x86-64, for AVX2 and for AVX-512 besides, and chooses by what the processor has. Results are the same to
/// the bit: multiplications and additions are not fused.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if $crate::cpu::math::has_avx512() {
                    // SAFETY: the processor has the features, as was asked just now; the function has no other condition.
                    return unsafe { widest($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, as was asked just now; the function has no other condition.
                    return unsafe { wide($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use multiversion;

/// Partial results of a reduction: enough to fill vector registers, in a fixed order, so that sums are reproducible.
const LANES: usize = 16;

/// `e^x` within about 1.5 units in the last place; 0 below -87.33, infinite above 88.37, NaN for NaN.
///
/// `x = n ln 2 + r`, `e^x = 2^n e^r`: the classical reduction with `ln 2` in two parts (Cody and Waite 1980), and a Chebyshev fit of
/// degree 6 on `|r| <= ln 2 / 2`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOW: f32 = -87.33;
    const HIGH: f32 = 88.37;
    // Added and taken away again, this rounds to the nearest integer, which is left in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // Comparisons are false for NaN, so that it falls through.
    let limited = if x < LOW { LOW } else { x };
    let limited = if limited > HIGH { HIGH } else { limited };
    let shifted = limited * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (limited - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 0.001_394_858_1;
    let p = p * r + 0.008_375_129;
    let p = p * r + 0.041_666_217;
    let p = p * r + 0.166_664_15;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    let y = p * scale;
    let y = if x > HIGH { f32::INFINITY } else { y };
    if x < LOW { 0.0 } else { y }
}

/// The normal distribution function `Phi(x)`: absolute error below 1.5e-7, relative error below 8e-6 down to its far tail.
///
/// With `z = |x| / sqrt(2)`: up to 1 by `erf(z) = z P(z^2)`, above by `erfc(z) = e^(-z^2) Q(1 / (z + 2))`; `P` and `Q` are Chebyshev
/// fits of degree 7 and 9. Taking `erfc` in the lower tail, and not `1 - erf`, keeps its digits.
#[inline(always)]
pub(super) fn normal_cdf(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    // Half of x squared has one rounding, z squared three.
    let s = 0.5 * x * x;
    let p = -9.673_59e-6;
    let p = p * s + 1.126_825_4e-4;
    let p = p * s - 8.484_396_4e-4;
    let p = p * s + 5.221_053_5e-3;
    let p = p * s - 2.686_543_8e-2;
    let p = p * s + 0.112_837_83;
    let p = p * s - 0.376_126_38;
    let p = p * s + std::f32::consts::FRAC_2_SQRT_PI;
    let half_erf = 0.5 * z * p;

    // Beyond 10 the tail is below the smallest f32 anyway, and the fit ends there.
    let limited = if z > 10.0 { 10.0 } else { z };
    let u = (1.0 / (limited + 2.0) - 0.206_666_66) * 7.894_737;
    let q = -2.955_485_2e-7;
    let q = q * u + 1.276_538_7e-6;
    let q = q * u + 6.159_561e-6;
    let q = q * u - 3.241_75e-5;
    let q = q * u - 1.846_221_4e-4;
    let q = q * u + 6.090_726e-4;
    let q = q * u + 9.677_831e-3;
    let q = q * u + 5.175_605e-2;
    let q = q * u + 0.177_546_77;
    let q = q * u + 0.188_203_75;
    let tail = 0.5 * exp(-s) * q;

    let positive = x >= 0.0;
    let near = if positive {
        0.5 + half_erf
    } else {
        0.5 - half_erf
    };
    let far = if positive { 1.0 - tail } else { tail };
    select(z > 1.0, far, near)
}

/// `a` if `condition`, else `b`, by masks: with two costly values the compiler would branch, and give up on vector code.
#[inline(always)]
fn select(condition: bool, a: f32, b: f32) -> f32 {
    let mask = u32::from(condition).wrapping_neg();
    f32::from_bits((a.to_bits() & mask) | (b.to_bits() & !mask))
}

/// One activation function of one number.
#[inline(always)]
pub(super) fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + exp(-x)),
        Activation::Gelu => x * normal_cdf(x),
        Activation::GeluTanh => {
            // 0.5 x (1 + tanh(u)) = x sigmoid(2 u)
            let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            x / (1.0 + exp(-2.0 * u))
        }
        Activation::QuickGelu => x / (1.0 + exp(-1.702 * x)),
        Activation::Relu => {
            // Not max(): that would hide a NaN.
            if x < 0.0 { 0.0 } else { x }
        }
    }
}

multiversion! {
    /// Largest element, NaN aside; negative infinity for none.
    pub(super) fn max(x: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

multiversion! {
    /// `x = e^(x - shift)` in place; the sum of the results.
    pub(super) fn exp_and_sum(x: &mut [f32], shift: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = x.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *value = exp(*value - shift);
                *lane += *value;
            }
        }
        let mut sum: f32 = lanes.iter().sum();
        for value in rest {
            *value = exp(*value - shift);
            sum += *value;
        }
        sum
    }
}

multiversion! {
    /// Sum, in f64 over short runs of f32, so that a million large elements keep their digits.
    pub(super) fn sum(x: &[f32]) -> f64 {
        let mut total = 0.0f64;
        for run in x.chunks(LANES * 64) {
            let mut lanes = [0.0f64; LANES];
            let (chunks, rest) = run.as_chunks::<LANES>();
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(value);
                }
            }
            total += lanes.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>();
        }
        total
    }
}

multiversion! {
    /// Sum of `(x - centre)^2`.
    pub(super) fn sum_of_squares(x: &[f32], centre: f32) -> f64 {
        let mut total = 0.0f64;
        for run in x.chunks(LANES * 64) {
            let mut lanes = [0.0f32; LANES];
            let (chunks, rest) = run.as_chunks::<LANES>();
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    let distance = value - centre;
                    *lane += distance * distance;
                }
            }
            total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
            total += rest.iter().map(|&value| f64::from(value - centre).powi(2)).sum::<f64>();
        }
        total
    }
}

multiversion! {
    /// Sum of the products of two slices of one length.
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        // More sums than one register holds, so that the processor need not wait for one addition before the next.
        let mut lanes = [0.0f32; 2 * LANES];
        let (a_chunks, a_rest) = a.as_chunks::<{ 2 * LANES }>();
        let (b_chunks, b_rest) = b.as_chunks::<{ 2 * LANES }>();
        for (a, b) in a_chunks.iter().zip(b_chunks) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * b;
            }
        }
        lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
    }
}

multiversion! {
    /// As [`dot`], with a second operand in bf16.
    pub(super) fn dot_bf16(a: &[f32], b: &[bf16]) -> f32 {
        let value = |b: &bf16| f32::from_bits(u32::from(b.to_bits()) << 16);
        let mut lanes = [0.0f32; 2 * LANES];
        let (a_chunks, a_rest) = a.as_chunks::<{ 2 * LANES }>();
        let (b_chunks, b_rest) = b.as_chunks::<{ 2 * LANES }>();
        for (a, b) in a_chunks.iter().zip(b_chunks) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += a * value(b);
            }
        }
        lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * value(b)).sum::<f32>()
    }
}

/// As [`dot`], with a second operand in f16.
pub(super) fn dot_f16(a: &[f32], b: &[f16]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
        // SAFETY: the processor has the features, as was asked just now; the function has no other condition.
        return unsafe { dot_f16_wide(a, b) };
    }
    // A chunk at a time through the stack; conversion and product each go through as much of a register as there is.
    let mut decoded = [0.0f32; 256];
    let mut sum = 0.0;
    for (a, b) in a.chunks(decoded.len()).zip(b.chunks(decoded.len())) {
        let decoded = &mut decoded[..b.len()];
        b.convert_to_f32_slice(decoded);
        sum += dot(a, decoded);
    }
    sum
}

/// [`dot_f16`] with the processor's conversion in the loop: memory is then what limits it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn dot_f16_wide(a: &[f32], b: &[f16]) -> f32 {
    use std::arch::x86_64::{
        __m128i, _mm_loadu_si128, _mm256_add_ps, _mm256_cvtph_ps, _mm256_loadu_ps, _mm256_mul_ps,
        _mm256_setzero_ps, _mm256_storeu_ps,
    };
    let (a_chunks, a_rest) = a.as_chunks::<32>();
    let (b_chunks, b_rest) = b.as_chunks::<32>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: elements 8 i to 8 i + 7 of chunks of 32, i below 4; the loads do not want alignment.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_ps(a.as_ptr().add(8 * i)),
                    _mm_loadu_si128(b.as_ptr().add(8 * i).cast::<__m128i>()),
                )
            };
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(a, _mm256_cvtph_ps(b)));
        }
    }
    let [s0, s1, s2, s3] = sums;
    let mut lanes = [0.0f32; 8];
    let total = _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3));
    // SAFETY: eight floats fit the array.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), total) };
    lanes.iter().sum::<f32>()
        + a_rest
            .iter()
            .zip(b_rest)
            .map(|(a, b)| a * b.to_f32())
            .sum::<f32>()
}

multiversion! {
    /// `x += mask`, and negative infinity where the mask is not above `hidden`.
    pub(super) fn add_mask(x: &mut [f32], mask: &[f32], hidden: f32) {
        for (value, &mask) in x.iter_mut().zip(mask) {
            let sum = *value + mask;
            *value = if mask > hidden { sum } else { f32::NEG_INFINITY };
        }
    }
}

multiversion! {
    /// `x *= factor`.
    pub(super) fn scale(x: &mut [f32], factor: f32) {
        for value in x {
            *value *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Maclaurin series, or erfc by its continued fraction, in f64.
    fn reference_cdf(x: f64) -> f64 {
        let z = x.abs() / std::f64::consts::SQRT_2;
        let upper = if z < 2.5 {
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            0.5 - sum / std::f64::consts::PI.sqrt()
        } else {
            let mut f = 0.0;
            for n in (1..400).rev() {
                f = f64::from(n) / 2.0 / (z + f);
            }
            0.5 * (-z * z).exp() / ((z + f) * std::f64::consts::PI.sqrt())
        };
        if x < 0.0 { upper } else { 1.0 - upper }
    }

    #[test]
    fn exp_is_accurate_and_safe_at_its_ends() {
        let mut worst = 0.0f64;
        for i in -870_000..=883_000 {
            let x = i as f32 * 1e-4;
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - wanted).abs() / wanted);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn the_normal_distribution_keeps_its_digits_in_the_tail() {
        let mut worst = 0.0f64;
        for i in -120_000..=120_000 {
            let x = i as f32 * 1e-4;
            let wanted = reference_cdf(f64::from(x));
            worst = worst.max((f64::from(normal_cdf(x)) - wanted).abs() / wanted);
        }
        // Most of it is x^2 / 2 = 72, rounded to f32, under the exponential at |x| = 12.
        assert!(worst < 8e-6, "{worst}");
        let near = (-30_000..=30_000)
            .map(|i| i as f32 * 1e-4)
            .map(|x| (f64::from(normal_cdf(x)) - reference_cdf(f64::from(x))).abs())
            .fold(0.0, f64::max);
        assert!(near < 1.5e-7, "{near}");
        assert_eq!(normal_cdf(-40.0), 0.0);
        assert_eq!(normal_cdf(40.0), 1.0);
        assert!(normal_cdf(f32::NAN).is_nan());
    }

    #[test]
    fn activations_agree_with_their_definitions() {
        for i in -2000..=2000 {
            let x = i as f32 * 0.01;
            let wide = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            let cases = [
                (Activation::Silu, wide / (1.0 + (-wide).exp())),
                (Activation::Gelu, wide * reference_cdf(wide)),
                (Activation::GeluTanh, 0.5 * wide * (1.0 + inner.tanh())),
                (Activation::QuickGelu, wide / (1.0 + (-1.702 * wide).exp())),
                (Activation::Relu, wide.max(0.0)),
            ];
            for (activation, wanted) in cases {
                let got = f64::from(activate(activation, x));
                assert!(
                    (got - wanted).abs() <= 1e-6 * wanted.abs().max(0.5),
                    "{activation:?} {x}: {got} {wanted}"
                );
            }
        }
        assert_eq!(activate(Activation::Silu, -1e30), -0.0);
        assert!(activate(Activation::Relu, f32::NAN).is_nan());
    }

    #[test]
    fn dot_products_of_every_type_and_length() {
        for len in [0, 1, 7, 31, 32, 33, 255, 256, 257, 1000] {
            let a: Vec<f32> = (0..len).map(|i| (i % 13) as f32 - 6.0).collect();
            // Small integers: exact in every type and every order.
            let b: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 2.0).collect();
            let wanted: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert_eq!(dot(&a, &b), wanted);
            let halves: Vec<f16> = b.iter().map(|&b| f16::from_f32(b)).collect();
            assert_eq!(dot_f16(&a, &halves), wanted);
            let brains: Vec<bf16> = b.iter().map(|&b| bf16::from_f32(b)).collect();
            assert_eq!(dot_bf16(&a, &brains), wanted);
        }
    }

    #[test]
    fn reductions_keep_digits_far_from_zero() {
        let x: Vec<f32> = (0..1_000_003).map(|i| 1e4 + (i % 7) as f32).collect();
        let mean = sum(&x) / x.len() as f64;
        let wanted: f64 = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        assert!((mean - wanted).abs() < 1e-6);
        let variance = sum_of_squares(&x, mean as f32) / x.len() as f64;
        assert!((variance - 4.0).abs() < 1e-4, "{variance}");
        assert_eq!(max(&x), 10006.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
        let mut few = vec![0.5, f32::NEG_INFINITY, 1.5];
        let total = exp_and_sum(&mut few, 1.5);
        assert!((total - (1.0 + (-1.0f32).exp())).abs() < 1e-6);
        assert_eq!(few[1], 0.0);
    }
}
