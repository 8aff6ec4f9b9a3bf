//! The kernel for processors with AVX-512 and its dot product of bytes (VNNI): Intel since Cascade Lake, AMD since Zen 4.

use std::arch::x86_64::*;

use super::layout::{AHEAD, BITS, Codes, Format, IQ4, LANES, NIBBLES, PAIRS};
use super::rows::Tile;

/// Sixteen bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_16(bytes: &[u8], at: usize) -> __m128i {
    let part = &bytes[at..][..16];
    // SAFETY: sixteen bytes, as just sliced; the load wants no alignment.
    unsafe { _mm_loadu_si128(part.as_ptr().cast()) }
}

/// Sixteen floats in f16 from `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_halves(bytes: &[u8], at: usize) -> __m512 {
    let part = &bytes[at..][..32];
    // SAFETY: 32 bytes, as just sliced; the load wants no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(part.as_ptr().cast()) })
}

/// 64 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_64(bytes: &[u8], at: usize) -> __m512i {
    let part = &bytes[at..][..64];
    // SAFETY: 64 bytes, as just sliced; the load wants no alignment.
    unsafe { _mm512_loadu_si512(part.as_ptr().cast()) }
}

/// Sixteen factors of 8 bits from `at` on, times those of the superblock.
#[inline]
#[target_feature(enable = "avx512f")]
fn factors(bytes: &[u8], at: usize, wide: __m512) -> __m512 {
    let narrow = _mm512_cvtepi8_epi32(load_16(bytes, at));
    _mm512_mul_ps(_mm512_cvtepi32_ps(narrow), wide)
}

/// The eight registers of 32 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes<F: Format>(bytes: &[u8]) -> [__m512i; 8] {
    let mut registers = [_mm512_setzero_si512(); 8];
    let fifteen = _mm512_set1_epi8(15);
    match F::CODES {
        Codes::Byte => {
            for (i, register) in registers.iter_mut().enumerate() {
                *register = load_64(bytes, 64 * i);
            }
        }
        Codes::Nibble | Codes::Table | Codes::Five | Codes::Six => {
            let (low, high) = registers.split_at_mut(4);
            for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                let both = load_64(bytes, 64 * i);
                *low = _mm512_and_si512(both, fifteen);
                *high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), fifteen);
            }
        }
        Codes::Pair | Codes::Three => {
            let three = _mm512_set1_epi8(3);
            for (i, four) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let all = load_64(bytes, 64 * i);
                four[0] = _mm512_and_si512(all, three);
                four[1] = _mm512_and_si512(_mm512_srli_epi16::<2>(all), three);
                four[2] = _mm512_and_si512(_mm512_srli_epi16::<4>(all), three);
                four[3] = _mm512_and_si512(_mm512_srli_epi16::<6>(all), three);
            }
        }
    }
    match F::CODES {
        Codes::Byte | Codes::Nibble | Codes::Pair => {}
        Codes::Table => {
            // SAFETY: sixteen bytes of a constant.
            let table = unsafe { _mm_loadu_si128(IQ4.as_ptr().cast()) };
            let table = _mm512_broadcast_i32x4(table);
            for register in &mut registers {
                *register = _mm512_shuffle_epi8(table, *register);
            }
        }
        Codes::Five | Codes::Three => {
            let (plane, one) = if matches!(F::CODES, Codes::Five) {
                (NIBBLES, 16)
            } else {
                (PAIRS, 4)
            };
            let one = _mm512_set1_epi8(one);
            let bits = bytes[plane..][..BITS].as_chunks::<8>().0;
            for (register, bits) in registers.iter_mut().zip(bits) {
                let mask = u64::from_le_bytes(*bits);
                *register = _mm512_mask_add_epi8(*register, mask, *register, one);
            }
        }
        Codes::Six => {
            let high = _mm512_set1_epi8(48);
            for (i, four) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let all = load_64(bytes, NIBBLES + 64 * i);
                let parts = [
                    _mm512_slli_epi16::<4>(all),
                    _mm512_slli_epi16::<2>(all),
                    all,
                    _mm512_srli_epi16::<2>(all),
                ];
                for (register, part) in four.iter_mut().zip(parts) {
                    *register = _mm512_or_si512(*register, _mm512_and_si512(part, high));
                }
            }
        }
    }
    registers
}

/// One tile of the weight times the rows of a tile of activations: `out [rows, 16]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn multiply<F: Format, const ROWS: usize>(
    heads: &[u8],
    bodies: &[u8],
    x: Tile<'_>,
    out: &mut [[f32; LANES]],
) {
    let mut sums = [_mm512_setzero_ps(); ROWS];
    let mut words = x.words.chunks_exact(8 * ROWS);
    let mut scales = x.scales.chunks_exact(ROWS);
    let mut corrections = x.corrections.chunks_exact(F::SUBS * ROWS);
    for (head, body) in heads
        .chunks_exact(F::HEAD)
        .zip(bodies.chunks_exact(F::BODY))
    {
        let wide = load_halves(head, 0);
        let wide_minima = if F::MINIMA {
            load_halves(head, 2 * LANES)
        } else {
            wide
        };
        for (block, body) in body.chunks_exact(F::CODES.bytes()).enumerate() {
            let (Some(words), Some(scales), Some(corrections)) =
                (words.next(), scales.next(), corrections.next())
            else {
                break;
            };
            for line in 0..F::CODES.bytes() / 64 {
                // Only an address, which need not be of anything.
                let ahead = body.as_ptr().wrapping_add(AHEAD + 64 * line);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            let registers = codes::<F>(body);
            let (mut factor, mut minimum) = ([wide; 2], [wide_minima; 2]);
            if F::NARROW > 0 {
                let at = F::WIDE + block * F::NARROW;
                for sub in 0..F::SUBS {
                    factor[sub] = factors(head, at + sub * LANES, wide);
                    if F::MINIMA {
                        minimum[sub] = factors(head, at + (F::SUBS + sub) * LANES, wide_minima);
                    }
                }
            }
            let words = words.as_chunks::<8>().0;
            for row in 0..ROWS {
                let words = &words[row];
                let mut total = _mm512_setzero_ps();
                for sub in 0..F::SUBS {
                    let correction = corrections[row * F::SUBS + sub];
                    let mut products = if F::MINIMA {
                        _mm512_setzero_si512()
                    } else {
                        _mm512_set1_epi32(correction)
                    };
                    let each = 8 / F::SUBS;
                    for i in sub * each..(sub + 1) * each {
                        let x = _mm512_set1_epi32(words[i]);
                        products = _mm512_dpbusd_epi32(products, registers[i], x);
                    }
                    let products = _mm512_cvtepi32_ps(products);
                    total = if sub == 0 {
                        _mm512_mul_ps(products, factor[sub])
                    } else {
                        _mm512_fmadd_ps(products, factor[sub], total)
                    };
                    if F::MINIMA {
                        let by = _mm512_set1_ps(f32::from_bits(correction.cast_unsigned()));
                        sums[row] = _mm512_fnmadd_ps(minimum[sub], by, sums[row]);
                    }
                }
                sums[row] = _mm512_fmadd_ps(total, _mm512_set1_ps(scales[row]), sums[row]);
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: sixteen floats; the store wants no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}
