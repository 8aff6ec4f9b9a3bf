//! Rows of a weight in floats of 32 or 16 bits times a few rows of activations, for processors with AVX-512: the weight is read, and
//! widened, once for all of them, and activations once for several rows of the weight.

// Loops of constant bounds over arrays stay in registers, iterators over several of them do not.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
use super::math::has_avx512;

/// Most rows of activations.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) const MOST: usize = 8;

/// Rows of activations up to which [`products`] serves here.
pub(super) fn most() -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_avx512() {
        return MOST;
    }
    0
}

/// Rows of a weight, one after the other.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

#[cfg(target_arch = "x86_64")]
impl Rows<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// Products of rows of a weight of `k` elements with each row of `x [rows, k]`, at most [`MOST`]: `put` is given each row's number and its
/// products. Nothing is done, and the answer is `false`, where the processor cannot, or sizes do not fit.
#[cfg(target_arch = "x86_64")]
pub(super) fn products(
    weight: Rows<'_>,
    x: &[f32],
    k: usize,
    mut put: impl FnMut(usize, &[f32]),
) -> bool {
    let len = weight.len();
    if !has_avx512() || k == 0 || !len.is_multiple_of(k) || !x.len().is_multiple_of(k) {
        return false;
    }
    let count = len / k;
    macro_rules! by_rows {
        ($kind:literal, $weight:expr; $($rows:literal $columns:literal)*) => {
            match x.len() / k {
                // SAFETY: the processor can; the weight has `count` rows of `k` elements of the kind, and `x` so many rows of `k`.
                $($rows => unsafe {
                    go::<$kind, $rows, $columns>($weight.as_ptr().cast(), count, x.as_ptr(), k, &mut put);
                },)*
                _ => return false,
            }
        };
    }
    // Sums, a row of operands and a weight for as many registers as there are.
    match weight {
        Rows::F32(weight) => by_rows!(32, weight; 1 4 2 4 3 4 4 4 5 4 6 3 7 3 8 2),
        Rows::F16(weight) => by_rows!(16, weight; 1 4 2 4 3 4 4 4 5 4 6 3 7 3 8 2),
        Rows::Bf16(weight) => by_rows!(17, weight; 1 4 2 4 3 4 4 4 5 4 6 3 7 3 8 2),
    }
    true
}

/// Nothing is done: this is for another architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn products(
    _weight: Rows<'_>,
    _x: &[f32],
    _k: usize,
    _put: impl FnMut(usize, &[f32]),
) -> bool {
    false
}

/// Adds rows of `d` elements to each row of `out [rows, d]`, at most [`MOST`], `weights[row * stride + i]` times the `i`-th. Nothing is done, and the
/// answer is `false`, where the processor cannot, or sizes do not fit.
#[cfg(target_arch = "x86_64")]
pub(super) fn add_rows(
    out: &mut [f32],
    values: Rows<'_>,
    weights: &[f32],
    stride: usize,
    d: usize,
) -> bool {
    let len = values.len();
    if !has_avx512() || d == 0 || !len.is_multiple_of(d) || !out.len().is_multiple_of(d) {
        return false;
    }
    let (count, rows) = (len / d, out.len() / d);
    if rows == 0 || (rows - 1) * stride + count > weights.len() {
        return false;
    }
    let (weights, out) = ((weights.as_ptr(), stride), out.as_mut_ptr());
    macro_rules! by_rows {
        ($kind:literal, $values:expr; $($rows:literal $parts:literal)*) => {
            match rows {
                // SAFETY: the processor can; `values` has `count` rows of `d` elements of the kind, `out` so many rows, and each of those a weight for
                // each of the others, as was asked just now.
                $($rows => unsafe {
                    add::<$kind, $rows, $parts>(out, $values.as_ptr().cast(), count, weights, d);
                },)*
                _ => return false,
            }
        };
    }
    match values {
        Rows::F32(values) => by_rows!(32, values; 1 8 2 8 3 4 4 4 5 4 6 2 7 2 8 2),
        Rows::F16(values) => by_rows!(16, values; 1 8 2 8 3 4 4 4 5 4 6 2 7 2 8 2),
        Rows::Bf16(values) => by_rows!(17, values; 1 8 2 8 3 4 4 4 5 4 6 2 7 2 8 2),
    }
    true
}

/// Nothing is done: this is for another architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn add_rows(
    _out: &mut [f32],
    _values: Rows<'_>,
    _weights: &[f32],
    _stride: usize,
    _d: usize,
) -> bool {
    false
}

/// Adds the rows, 16 times `PARTS` elements of them at a time, which stay in registers.
///
/// # Safety
/// As [`add_rows`] asks, of the processor and the lengths; the weights' pointer comes with their stride.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn add<const KIND: u8, const ROWS: usize, const PARTS: usize>(
    out: *mut f32,
    values: *const u8,
    count: usize,
    (weights, stride): (*const f32, usize),
    d: usize,
) {
    let mut at = 0;
    while at + 16 * PARTS <= d {
        // SAFETY: elements before `d`, and weights of each pair of rows.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); PARTS]; ROWS];
            for row in 0..ROWS {
                for part in 0..PARTS {
                    sums[row][part] = _mm512_loadu_ps(out.wrapping_add(row * d + at + 16 * part));
                }
            }
            for i in 0..count {
                let mut value = [_mm512_setzero_ps(); PARTS];
                for part in 0..PARTS {
                    value[part] = load::<KIND>(values, i * d + at + 16 * part);
                }
                for row in 0..ROWS {
                    let weight = _mm512_set1_ps(*weights.wrapping_add(row * stride + i));
                    for part in 0..PARTS {
                        sums[row][part] = _mm512_fmadd_ps(weight, value[part], sums[row][part]);
                    }
                }
            }
            for row in 0..ROWS {
                for part in 0..PARTS {
                    _mm512_storeu_ps(out.wrapping_add(row * d + at + 16 * part), sums[row][part]);
                }
            }
        }
        at += 16 * PARTS;
    }
    while at < d {
        let mask = ((1u32 << (d - at).min(16)) - 1) as u16;
        // SAFETY: elements before `d`, where the mask is set, and weights of each pair of rows.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); ROWS];
            for row in 0..ROWS {
                sums[row] = _mm512_maskz_loadu_ps(mask, out.wrapping_add(row * d + at));
            }
            for i in 0..count {
                let value = load_some::<KIND>(values, i * d + at, mask);
                for row in 0..ROWS {
                    let weight = _mm512_set1_ps(*weights.wrapping_add(row * stride + i));
                    sums[row] = _mm512_fmadd_ps(weight, value, sums[row]);
                }
            }
            for row in 0..ROWS {
                _mm512_mask_storeu_ps(out.wrapping_add(row * d + at), mask, sums[row]);
            }
        }
        at += 16;
    }
}

/// All rows of the weight, `COLUMNS` at a time.
///
/// # Safety
/// The processor has the features; the weight has `count` rows of `k` elements of the kind, `x` has `ROWS` rows of `k`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn go<const KIND: u8, const ROWS: usize, const COLUMNS: usize>(
    weight: *const u8,
    count: usize,
    x: *const f32,
    k: usize,
    put: &mut impl FnMut(usize, &[f32]),
) {
    let bytes = k * bytes::<KIND>();
    let mut first = 0;
    while first + COLUMNS <= count {
        // SAFETY: rows of the weight, and as the caller says.
        let made =
            unsafe { multiply::<KIND, ROWS, COLUMNS>(weight.wrapping_add(first * bytes), x, k) };
        for (column, made) in made.iter().enumerate() {
            put(first + column, made);
        }
        first += COLUMNS;
    }
    while first < count {
        // SAFETY: a row of the weight, and as the caller says.
        let [made] = unsafe { multiply::<KIND, ROWS, 1>(weight.wrapping_add(first * bytes), x, k) };
        put(first, &made);
        first += 1;
    }
}

/// Bytes of an element.
#[cfg(target_arch = "x86_64")]
const fn bytes<const KIND: u8>() -> usize {
    if KIND == 32 { 4 } else { 2 }
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

/// Bytes between the elements in use and those that are asked for ahead: several rows are several streams, each as short as a row.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8192;

/// A few rows of the weight times those of `x`.
///
/// # Safety
/// As [`go`], for so many rows of the weight.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn multiply<const KIND: u8, const ROWS: usize, const COLUMNS: usize>(
    weight: *const u8,
    x: *const f32,
    k: usize,
) -> [[f32; ROWS]; COLUMNS] {
    let mut sums = [[_mm512_setzero_ps(); ROWS]; COLUMNS];
    // Of few sums a second set, so that the processor need not wait for one addition before the next.
    let mut others = [[_mm512_setzero_ps(); ROWS]; COLUMNS];
    let two = ROWS * COLUMNS <= 8;
    let row_bytes = k * bytes::<KIND>();
    let mut at = 0;
    // Whole steps without masks: with masks in the loop the sums did not stay in registers, and f16 took three times as long.
    while at + 32 <= k {
        for part in 0..2 {
            let first = at + 16 * part;
            // SAFETY: elements before `k`.
            unsafe {
                let mut of_row = [_mm512_setzero_ps(); ROWS];
                for row in 0..ROWS {
                    of_row[row] = _mm512_loadu_ps(x.wrapping_add(row * k + first));
                }
                for column in 0..COLUMNS {
                    let weight = weight.wrapping_add(column * row_bytes);
                    if part == 0 || KIND == 32 {
                        // Only an address, which need not be of anything.
                        let ahead = weight.wrapping_add(first * bytes::<KIND>() + AHEAD);
                        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    }
                    let weight = load::<KIND>(weight, first);
                    for row in 0..ROWS {
                        let sum = if two && part == 1 {
                            &mut others[column][row]
                        } else {
                            &mut sums[column][row]
                        };
                        *sum = _mm512_fmadd_ps(weight, of_row[row], *sum);
                    }
                }
            }
        }
        at += 32;
    }
    while at < k {
        let mask = ((1u32 << (k - at).min(16)) - 1) as u16;
        for column in 0..COLUMNS {
            // SAFETY: elements before `k`, where the mask is set.
            unsafe {
                let weight = load_some::<KIND>(weight.wrapping_add(column * row_bytes), at, mask);
                for row in 0..ROWS {
                    let x = _mm512_maskz_loadu_ps(mask, x.wrapping_add(row * k + at));
                    sums[column][row] = _mm512_fmadd_ps(weight, x, sums[column][row]);
                }
            }
        }
        at += 16;
    }
    let mut results = [[0.0; ROWS]; COLUMNS];
    for row in 0..ROWS {
        let mut of_row = [_mm512_setzero_ps(); COLUMNS];
        for column in 0..COLUMNS {
            of_row[column] = sums[column][row];
            if two {
                of_row[column] = _mm512_add_ps(of_row[column], others[column][row]);
            }
        }
        let totals = totals(of_row);
        for column in 0..COLUMNS {
            results[column][row] = totals[column];
        }
    }
    results
}

/// The sum of each register's sixteen elements; of four registers together in a third of the steps.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn totals<const COUNT: usize>(sums: [__m512; COUNT]) -> [f32; COUNT] {
    let mut totals = [0.0; COUNT];
    if let [a, b, c, d] = sums[..] {
        let two = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (ab, cd) = (_mm512_castps_pd(two(a, b)), _mm512_castps_pd(two(c, d)));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
        // A quarter of the registers in each lane of four.
        let quarters = _mm512_add_ps(low, high);
        let halves = _mm256_add_ps(
            _mm512_castps512_ps256(quarters),
            _mm512_extractf32x8_ps::<1>(quarters),
        );
        let whole = _mm_add_ps(
            _mm256_castps256_ps128(halves),
            _mm256_extractf128_ps::<1>(halves),
        );
        let mut four = [0.0f32; 4];
        // SAFETY: four floats; the store wants no alignment.
        unsafe { _mm_storeu_ps(four.as_mut_ptr(), whole) };
        for (total, sum) in totals.iter_mut().zip(four) {
            *total = sum;
        }
    } else {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = _mm512_reduce_add_ps(sum);
        }
    }
    totals
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
        for k in [
            1,
            15,
            16,
            17,
            31,
            32,
            33,
            65,
            200,
            1000 + random.within(0, 64),
        ] {
            for (rows, count) in
                (1..=MOST).flat_map(|rows| [1, 3, 4, 10].map(|count| (rows, count)))
            {
                // Small integers: exact in every type and every order.
                let mut integer = || random.within(0, 12) as f32 - 6.0;
                let weight: Vec<f32> = (0..count * k).map(|_| integer()).collect();
                let x: Vec<f32> = (0..rows * k).map(|_| integer()).collect();
                let mut wanted = Vec::new();
                for weight in weight.chunks(k) {
                    for x in x.chunks(k) {
                        wanted.push(x.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>());
                    }
                }
                let halves: Vec<f16> = weight.iter().map(|&w| f16::from_f32(w)).collect();
                let brains: Vec<bf16> = weight.iter().map(|&w| bf16::from_f32(w)).collect();
                for weight in [Rows::F32(&weight), Rows::F16(&halves), Rows::Bf16(&brains)] {
                    let mut got = vec![f32::NAN; count * rows];
                    let done = products(weight, &x, k, |row, products| {
                        got[row * rows..][..rows].copy_from_slice(products);
                    });
                    assert!(
                        done && got == wanted,
                        "{k} elements, {rows} rows times {count}"
                    );
                }
            }
        }
        let never = |_: usize, _: &[f32]| panic!("nothing is multiplied");
        assert!(!products(Rows::F32(&[1.0; 3]), &[1.0; 8], 4, never));
        assert!(!products(Rows::F32(&[1.0; 4]), &[1.0; 36], 4, never));
        assert!(!products(Rows::F32(&[1.0; 4]), &[1.0; 7], 4, never));
        assert!(!products(Rows::F32(&[1.0; 4]), &[], 4, never));
    }

    #[test]
    fn weighted_rows_of_every_kind_and_length_are_added() {
        if most() == 0 {
            return;
        }
        let mut random = Random::fresh("weighted_rows_of_every_kind_and_length_are_added");
        for d in [1, 16, 33, 64, 80, 128, 200, 256 + random.within(0, 64)] {
            for (rows, count) in (1..=MOST).flat_map(|rows| [1, 2, 64].map(|count| (rows, count))) {
                let stride = count + random.within(0, 5);
                let mut integer = || random.within(0, 12) as f32 - 6.0;
                let values: Vec<f32> = (0..count * d).map(|_| integer()).collect();
                let weights: Vec<f32> = (0..rows * stride).map(|_| integer()).collect();
                let before: Vec<f32> = (0..rows * d).map(|_| integer()).collect();
                let mut wanted = before.clone();
                for (row, out) in wanted.chunks_mut(d).enumerate() {
                    for (i, values) in values.chunks(d).enumerate() {
                        for (out, value) in out.iter_mut().zip(values) {
                            *out += weights[row * stride + i] * value;
                        }
                    }
                }
                let halves: Vec<f16> = values.iter().map(|&w| f16::from_f32(w)).collect();
                let brains: Vec<bf16> = values.iter().map(|&w| bf16::from_f32(w)).collect();
                for values in [Rows::F32(&values), Rows::F16(&halves), Rows::Bf16(&brains)] {
                    let mut got = before.clone();
                    let done = add_rows(&mut got, values, &weights, stride, d);
                    assert!(
                        done && got == wanted,
                        "{d} elements, {rows} rows of {count}"
                    );
                }
            }
        }
        let mut out = [0.0; 8];
        assert!(!add_rows(&mut out, Rows::F32(&[1.0; 8]), &[1.0; 3], 2, 4));
        assert!(!add_rows(&mut out, Rows::F32(&[1.0; 7]), &[1.0; 8], 2, 4));
        assert!(!add_rows(&mut [0.0; 9], Rows::F32(&[1.0]), &[1.0; 9], 1, 1));
    }
}
