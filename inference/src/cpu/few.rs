//! A row of a weight in floats of 32 or 16 bits times a few rows of activations, for processors with AVX-512: the weight is read, and
//! widened, once for all of them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
use super::math::has_avx512;

/// Most rows of activations.
pub(super) const MOST: usize = 8;

/// Rows of activations up to which [`products`] serves here.
pub(super) fn most() -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        return MOST;
    }
    0
}

/// A row of a weight.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

/// Products of the weight's row with each row of `x [rows, k]`, at most [`MOST`]; `None` where the processor cannot, or sizes do not fit.
#[cfg(target_arch = "x86_64")]
pub(super) fn products(weight: Row<'_>, x: &[f32], k: usize) -> Option<[f32; MOST]> {
    let len = match weight {
        Row::F32(weight) => weight.len(),
        Row::F16(weight) => weight.len(),
        Row::Bf16(weight) => weight.len(),
    };
    if !has_avx512() || len != k || k == 0 {
        return None;
    }
    macro_rules! by_rows {
        ($kind:literal, $weight:expr; $($rows:literal $parts:literal)*) => {
            match x.len() / k {
                // SAFETY: the processor can, and the row has `k` elements of the kind, as was asked just now; `x` has `k` for each of the rows.
                $($rows => unsafe { multiply::<$kind, $rows, $parts>($weight.as_ptr().cast(), x.as_ptr(), k) },)*
                _ => return None,
            }
        };
    }
    Some(match weight {
        Row::F32(weight) => by_rows!(32, weight; 1 4 2 4 3 4 4 4 5 2 6 2 7 2 8 2),
        Row::F16(weight) => by_rows!(16, weight; 1 4 2 4 3 4 4 4 5 2 6 2 7 2 8 2),
        Row::Bf16(weight) => by_rows!(17, weight; 1 4 2 4 3 4 4 4 5 2 6 2 7 2 8 2),
    })
}

/// None: this is for another architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn products(_weight: Row<'_>, _x: &[f32], _k: usize) -> Option<[f32; MOST]> {
    None
}

/// Sixteen elements of a row as floats.
///
/// # Safety
/// They can be read. `KIND` is 32 for f32, 16 for f16, 17 for bf16.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load<const KIND: u8>(weight: *const u8, at: usize) -> __m512 {
    // SAFETY: as the caller says.
    unsafe {
        if KIND == 32 {
            _mm512_loadu_ps(weight.cast::<f32>().wrapping_add(at))
        } else {
            widen::<KIND>(_mm256_loadu_epi16(weight.cast::<i16>().wrapping_add(at)))
        }
    }
}

/// The same of those in the mask; the others are not read, and are zeros.
///
/// # Safety
/// As [`load`].
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_some<const KIND: u8>(weight: *const u8, at: usize, mask: __mmask16) -> __m512 {
    // SAFETY: as the caller says.
    unsafe {
        if KIND == 32 {
            _mm512_maskz_loadu_ps(mask, weight.cast::<f32>().wrapping_add(at))
        } else {
            let halves = _mm256_maskz_loadu_epi16(mask, weight.cast::<i16>().wrapping_add(at));
            widen::<KIND>(halves)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn widen<const KIND: u8>(halves: __m256i) -> __m512 {
    if KIND == 16 {
        _mm512_cvtph_ps(halves)
    } else {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

/// `PARTS` sums for each row, so that the processor need not wait for one addition before the next.
///
/// # Safety
/// The processor has the features; the weight's row has `k` elements of the kind, `x` has `ROWS` rows of `k`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn multiply<const KIND: u8, const ROWS: usize, const PARTS: usize>(
    weight: *const u8,
    x: *const f32,
    k: usize,
) -> [f32; MOST] {
    let mut sums = [[_mm512_setzero_ps(); ROWS]; PARTS];
    let mut at = 0;
    // Whole steps without masks: with masks in the loop the sums did not stay in registers, and f16 took three times as long.
    while at + 16 * PARTS <= k {
        for (part, sums) in sums.iter_mut().enumerate() {
            let first = at + 16 * part;
            // SAFETY: elements before `k`.
            unsafe {
                let weight = load::<KIND>(weight, first);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_ps(x.wrapping_add(row * k + first));
                    *sum = _mm512_fmadd_ps(weight, x, *sum);
                }
            }
        }
        at += 16 * PARTS;
    }
    while at < k {
        let mask = ((1u32 << (k - at).min(16)) - 1) as u16;
        // SAFETY: elements before `k`, where the mask is set.
        unsafe {
            let weight = load_some::<KIND>(weight, at, mask);
            for (row, sum) in sums[0].iter_mut().enumerate() {
                let x = _mm512_maskz_loadu_ps(mask, x.wrapping_add(row * k + at));
                *sum = _mm512_fmadd_ps(weight, x, *sum);
            }
        }
        at += 16;
    }
    let mut results = [0.0; MOST];
    for (row, result) in results.iter_mut().enumerate().take(ROWS) {
        let mut sum = sums[0][row];
        for part in &sums[1..] {
            sum = _mm512_add_ps(sum, part[row]);
        }
        *result = _mm512_reduce_add_ps(sum);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::Random;

    #[test]
    fn products_of_every_kind_and_length() {
        if most() == 0 {
            return;
        }
        let mut random = Random::fresh("products_of_every_kind_and_length");
        for k in [1, 15, 16, 17, 63, 64, 65, 200, 1000 + random.within(0, 64)] {
            for rows in 1..=MOST {
                // Small integers: exact in every type and every order.
                let mut integer = || random.within(0, 12) as f32 - 6.0;
                let weight: Vec<f32> = (0..k).map(|_| integer()).collect();
                let x: Vec<f32> = (0..rows * k).map(|_| integer()).collect();
                let wanted: Vec<f32> = x
                    .chunks(k)
                    .map(|x| x.iter().zip(&weight).map(|(a, b)| a * b).sum())
                    .collect();
                let halves: Vec<f16> = weight.iter().map(|&w| f16::from_f32(w)).collect();
                let brains: Vec<bf16> = weight.iter().map(|&w| bf16::from_f32(w)).collect();
                for row in [Row::F32(&weight), Row::F16(&halves), Row::Bf16(&brains)] {
                    let got = products(row, &x, k).unwrap();
                    assert_eq!(got[..rows], wanted);
                }
            }
        }
        assert!(products(Row::F32(&[1.0; 3]), &[1.0; 8], 4).is_none());
        assert!(products(Row::F32(&[1.0; 4]), &[1.0; 36], 4).is_none());
    }
}
