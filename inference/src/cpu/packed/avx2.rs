//! The kernels for processors with AVX2, with or without its dot product of bytes (AVX-VNNI: Intel since Alder Lake, AMD since
//! Zen 5); and activations to 8-bit blocks. A tile is gone through twice, eight rows of the weight each time.

use std::arch::x86_64::*;

use super::layout::{AHEAD, BITS, BLOCK, Codes, Format, IQ4, LANES, NIBBLES, PAIRS};
use super::rows::Tile;

/// Rows of the weight in a register.
const HALF: usize = LANES / 2;

/// Eight bytes from `at` on as integers.
#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(bytes: &[u8], at: usize) -> __m256i {
    let part = &bytes[at..][..8];
    // SAFETY: eight bytes, as just sliced; the load wants no alignment.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(part.as_ptr().cast()) })
}

/// Eight floats in f16 from `at` on.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_halves(bytes: &[u8], at: usize) -> __m256 {
    let part = &bytes[at..][..16];
    // SAFETY: sixteen bytes, as just sliced; the load wants no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(part.as_ptr().cast()) })
}

/// 32 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx2")]
fn load_32(bytes: &[u8], at: usize) -> __m256i {
    let part = &bytes[at..][..32];
    // SAFETY: 32 bytes, as just sliced; the load wants no alignment.
    unsafe { _mm256_loadu_si256(part.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn factors(bytes: &[u8], at: usize, wide: __m256) -> __m256 {
    _mm256_mul_ps(_mm256_cvtepi32_ps(load_bytes(bytes, at)), wide)
}

/// 32 bits as bytes, all ones or all zeros.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(bits: u32) -> __m256i {
    let all = _mm256_set1_epi32(bits.cast_signed());
    let places = _mm256_setr_epi64x(
        0,
        0x0101_0101_0101_0101,
        0x0202_0202_0202_0202,
        0x0303_0303_0303_0303,
    );
    let one = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
    let bytes = _mm256_shuffle_epi8(all, places);
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, one), one)
}

/// Half of the eight registers of 32 columns; `side` is 0 or 32. Codes of eight bits are signed where `SIGNED`.
#[inline]
#[target_feature(enable = "avx2")]
fn codes<F: Format, const SIGNED: bool>(bytes: &[u8], side: usize) -> [__m256i; 8] {
    let mut registers = [_mm256_setzero_si256(); 8];
    let fifteen = _mm256_set1_epi8(15);
    match F::CODES {
        Codes::Byte => {
            let flip = _mm256_set1_epi8(if SIGNED { -128 } else { 0 });
            for (i, register) in registers.iter_mut().enumerate() {
                *register = _mm256_xor_si256(load_32(bytes, 64 * i + side), flip);
            }
        }
        Codes::Nibble | Codes::Table | Codes::Five | Codes::Six => {
            let (low, high) = registers.split_at_mut(4);
            for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                let both = load_32(bytes, 64 * i + side);
                *low = _mm256_and_si256(both, fifteen);
                *high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), fifteen);
            }
        }
        Codes::Pair | Codes::Three => {
            let three = _mm256_set1_epi8(3);
            for (i, four) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let all = load_32(bytes, 64 * i + side);
                four[0] = _mm256_and_si256(all, three);
                four[1] = _mm256_and_si256(_mm256_srli_epi16::<2>(all), three);
                four[2] = _mm256_and_si256(_mm256_srli_epi16::<4>(all), three);
                four[3] = _mm256_and_si256(_mm256_srli_epi16::<6>(all), three);
            }
        }
    }
    match F::CODES {
        Codes::Byte | Codes::Nibble | Codes::Pair => {}
        Codes::Table => {
            // SAFETY: sixteen bytes of a constant.
            let table = unsafe { _mm_loadu_si128(IQ4.as_ptr().cast()) };
            let flip = _mm_set1_epi8(if SIGNED { -128 } else { 0 });
            let table = _mm256_broadcastsi128_si256(_mm_xor_si128(table, flip));
            for register in &mut registers {
                *register = _mm256_shuffle_epi8(table, *register);
            }
        }
        Codes::Five | Codes::Three => {
            let (plane, one) = if matches!(F::CODES, Codes::Five) {
                (NIBBLES, 16)
            } else {
                (PAIRS, 4)
            };
            let one = _mm256_set1_epi8(one);
            let bits = bytes[plane..][..BITS].as_chunks::<8>().0;
            for (register, bits) in registers.iter_mut().zip(bits) {
                let bits = (u64::from_le_bytes(*bits) >> side) as u32;
                *register = _mm256_or_si256(*register, _mm256_and_si256(spread(bits), one));
            }
        }
        Codes::Six => {
            let high = _mm256_set1_epi8(48);
            for (i, four) in registers.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let all = load_32(bytes, NIBBLES + 64 * i + side);
                let parts = [
                    _mm256_slli_epi16::<4>(all),
                    _mm256_slli_epi16::<2>(all),
                    all,
                    _mm256_srli_epi16::<2>(all),
                ];
                for (register, part) in four.iter_mut().zip(parts) {
                    *register = _mm256_or_si256(*register, _mm256_and_si256(part, high));
                }
            }
        }
    }
    registers
}

/// Products of four codes each of the weight (unsigned, or signed where `SIGNED`) and of activations, added to sums.
#[inline]
#[target_feature(enable = "avx2")]
fn dot<const SIGNED: bool>(sums: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    // Pairs of products are sums of 16 bits: codes up to 63 times 127 fit twice, and so do signed ones of 8 bits.
    let pairs = if SIGNED {
        _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
    } else {
        _mm256_maddubs_epi16(codes, x)
    };
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

macro_rules! kernel {
    ($(#[$meta:meta])* $name:ident, $features:literal, $signed:expr, |$sums:ident, $codes:ident, $x:ident| $dot:expr) => {
        $(#[$meta])*
        #[target_feature(enable = $features)]
        pub(super) fn $name<F: Format, const ROWS: usize>(
            heads: &[u8],
            bodies: &[u8],
            x: Tile<'_>,
            out: &mut [[f32; LANES]],
        ) {
            for side in 0..2 {
                let mut sums = [_mm256_setzero_ps(); ROWS];
                let mut words = x.words.chunks_exact(8 * ROWS);
                let mut scales = x.scales.chunks_exact(ROWS);
                let mut corrections = x.corrections.chunks_exact(F::SUBS * ROWS);
                for (head, body) in heads.chunks_exact(F::HEAD).zip(bodies.chunks_exact(F::BODY)) {
                    let wide = load_halves(head, 2 * HALF * side);
                    let wide_minima = if F::MINIMA {
                        load_halves(head, 2 * LANES + 2 * HALF * side)
                    } else {
                        wide
                    };
                    for (block, body) in body.chunks_exact(F::CODES.bytes()).enumerate() {
                        let (Some(words), Some(scales), Some(corrections)) =
                            (words.next(), scales.next(), corrections.next())
                        else {
                            break;
                        };
                        if side == 0 {
                            for line in 0..F::CODES.bytes() / 64 {
                                // Only an address, which need not be of anything.
                                let ahead = body.as_ptr().wrapping_add(AHEAD + 64 * line);
                                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                            }
                        }
                        // Only codes of eight bits are signed, and only for want of the processor's own product of bytes.
                        let registers = codes::<F, { $signed }>(body, 32 * side);
                        let (mut factor, mut minimum) = ([wide; 2], [wide_minima; 2]);
                        if F::NARROW > 0 {
                            let at = F::WIDE + block * F::NARROW + HALF * side;
                            for sub in 0..F::SUBS {
                                factor[sub] = factors(head, at + sub * LANES, wide);
                                if F::MINIMA {
                                    minimum[sub] =
                                        factors(head, at + (F::SUBS + sub) * LANES, wide_minima);
                                }
                            }
                        }
                        let words = words.as_chunks::<8>().0;
                        for row in 0..ROWS {
                            let words = &words[row];
                            let mut total = _mm256_setzero_ps();
                            for sub in 0..F::SUBS {
                                let correction = corrections[row * F::SUBS + sub];
                                let mut $sums = if F::MINIMA {
                                    _mm256_setzero_si256()
                                } else {
                                    _mm256_set1_epi32(correction)
                                };
                                let each = 8 / F::SUBS;
                                for i in sub * each..(sub + 1) * each {
                                    let $x = _mm256_set1_epi32(words[i]);
                                    let $codes = registers[i];
                                    $sums = $dot;
                                }
                                let products = _mm256_cvtepi32_ps($sums);
                                total = _mm256_fmadd_ps(products, factor[sub], total);
                                if F::MINIMA {
                                    let by = _mm256_set1_ps(f32::from_bits(correction.cast_unsigned()));
                                    sums[row] = _mm256_fnmadd_ps(minimum[sub], by, sums[row]);
                                }
                            }
                            sums[row] =
                                _mm256_fmadd_ps(total, _mm256_set1_ps(scales[row]), sums[row]);
                        }
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    let out = &mut out[HALF * side..][..HALF];
                    // SAFETY: eight floats, as just sliced; the store wants no alignment.
                    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
                }
            }
        }
    };
}

kernel! {
    /// One tile of the weight times the rows of a tile of activations, whose corrections are for unsigned codes: `out [rows, 16]`.
    multiply_vnni, "avx2,fma,f16c,avxvnni", false,
    |sums, codes, x| _mm256_dpbusd_avx_epi32(sums, codes, x)
}

kernel! {
    /// As [`multiply_vnni`] for codes below 64.
    multiply, "avx2,fma,f16c", false,
    |sums, codes, x| dot::<false>(sums, codes, x)
}

kernel! {
    /// As [`multiply_vnni`] for codes of eight bits; there is nothing to correct.
    multiply_signed, "avx2,fma,f16c", true,
    |sums, codes, x| dot::<true>(sums, codes, x)
}

/// One block of activations to codes, and the sums of their halves; its factor. What is not finite gives a factor that is not.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quantise_block(x: &[f32; BLOCK], words: &mut [i32; 8], sums: &mut [i32; 2]) -> f32 {
    let mut values = [_mm256_setzero_ps(); 4];
    for (value, x) in values.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: eight floats; the load wants no alignment.
        *value = unsafe { _mm256_loadu_ps(x.as_ptr()) };
    }
    // As integers, so that what is no number is the largest.
    let size = |value| _mm256_and_si256(_mm256_castps_si256(value), _mm256_set1_epi32(i32::MAX));
    let [a, b, c, d] = values;
    let top = _mm256_max_epu32(
        _mm256_max_epu32(size(a), size(b)),
        _mm256_max_epu32(size(c), size(d)),
    );
    let top = _mm_max_epu32(
        _mm256_castsi256_si128(top),
        _mm256_extracti128_si256::<1>(top),
    );
    let top = _mm_max_epu32(top, _mm_shuffle_epi32::<0b01_00_11_10>(top));
    let top = _mm_max_epu32(top, _mm_shuffle_epi32::<0b10_11_00_01>(top));
    let largest = f32::from_bits(_mm_cvtsi128_si32(top).cast_unsigned());
    let inverse = 127.0 / largest;
    // The inverse of zero, or of the smallest numbers, is infinite: they are as good as zero.
    let (scale, inverse) = if inverse == f32::INFINITY {
        (0.0, 0.0)
    } else {
        (largest / 127.0, inverse)
    };
    let inverse = _mm256_set1_ps(inverse);
    let round = |value| _mm256_cvtps_epi32(_mm256_mul_ps(value, inverse));
    let [a, b, c, d] = values.map(round);
    let (low, high) = (_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    // Within a half of a register: fours of a, b, c, d.
    let all = _mm256_packs_epi16(low, high);
    let all = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: eight words; the store wants no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), all) };
    let ones = _mm256_set1_epi16(1);
    for (sum, part) in sums.iter_mut().zip([low, high]) {
        let four = _mm256_madd_epi16(part, ones);
        let four = _mm_add_epi32(
            _mm256_castsi256_si128(four),
            _mm256_extracti128_si256::<1>(four),
        );
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
        *sum = _mm_cvtsi128_si32(one);
    }
    scale
}
