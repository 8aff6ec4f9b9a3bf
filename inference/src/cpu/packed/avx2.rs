//! The kernels for processors with AVX2, with or without its dot product of bytes (AVX-VNNI: Intel since Alder Lake, AMD since
//! Zen 5); and activations to 8-bit blocks. A tile is gone through twice, eight rows of the weight each time.
//!
//! As in `avx512.rs` all is read through pointers, and short loops have constant bounds.

// Loops of constant bounds over arrays stay in registers, iterators over several of them do not.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::layout::{AHEAD, BLOCK, Codes, Format, IQ4, LANES, NIBBLES, PAIRS};
use super::rows::{Tile, supers};

/// Rows of the weight in a register.
const HALF: usize = LANES / 2;

/// Eight floats in f16.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load_halves(at: *const u8) -> __m256 {
    // SAFETY: as the caller says; the load wants no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(at.cast()) })
}

/// Eight factors of 8 bits times those of the superblock.
///
/// # Safety
/// Eight bytes can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn factors(at: *const u8, wide: __m256) -> __m256 {
    // SAFETY: as the caller says; the load wants no alignment.
    let narrow = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(at.cast()) });
    _mm256_mul_ps(_mm256_cvtepi32_ps(narrow), wide)
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

/// Half of one of the eight registers of 32 columns, the first if `body` is that of the block, the second if it is 32 bytes on; `bits` is the
/// half's place in a word of single bits, 0 or 4 bytes on. Codes of eight bits are signed where `SIGNED`.
///
/// # Safety
/// The planes of the codes can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn code<F: Format, const SIGNED: bool>(body: *const u8, bits: usize, i: usize) -> __m256i {
    // SAFETY: within the planes; the load wants no alignment.
    let line = |at: usize| unsafe { _mm256_loadu_si256(body.wrapping_add(at).cast::<__m256i>()) };
    let flip = if SIGNED { -128 } else { 0 };
    let low = match F::CODES {
        Codes::Byte => return _mm256_xor_si256(line(64 * i), _mm256_set1_epi8(flip)),
        Codes::Nibble | Codes::Table | Codes::Five | Codes::Six => {
            let both = line(i % 4 * 64);
            let part = if i < 4 {
                both
            } else {
                _mm256_srli_epi16::<4>(both)
            };
            _mm256_and_si256(part, _mm256_set1_epi8(15))
        }
        Codes::Pair | Codes::Three => {
            let all = line(i / 4 * 64);
            let part = match i % 4 {
                0 => all,
                1 => _mm256_srli_epi16::<2>(all),
                2 => _mm256_srli_epi16::<4>(all),
                _ => _mm256_srli_epi16::<6>(all),
            };
            _mm256_and_si256(part, _mm256_set1_epi8(3))
        }
    };
    match F::CODES {
        Codes::Byte | Codes::Nibble | Codes::Pair => low,
        Codes::Table => {
            // SAFETY: sixteen bytes of a constant.
            let table = unsafe { _mm_loadu_si128(IQ4.as_ptr().cast()) };
            let table = _mm_xor_si128(table, _mm_set1_epi8(flip));
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), low)
        }
        Codes::Five | Codes::Three => {
            let (plane, one) = if matches!(F::CODES, Codes::Five) {
                (NIBBLES, 16)
            } else {
                (PAIRS, 4)
            };
            // `body` may be half a register on already; words of bits are counted from the block's own start.
            let at = body
                .wrapping_sub(8 * bits)
                .wrapping_add(plane + 8 * i + bits);
            // SAFETY: within the plane of bits.
            let word = unsafe { at.cast::<u32>().read_unaligned() };
            let high = _mm256_and_si256(spread(word), _mm256_set1_epi8(one));
            _mm256_or_si256(low, high)
        }
        Codes::Six => {
            let all = line(NIBBLES + i / 4 * 64);
            let part = match i % 4 {
                0 => _mm256_slli_epi16::<4>(all),
                1 => _mm256_slli_epi16::<2>(all),
                2 => all,
                _ => _mm256_srli_epi16::<2>(all),
            };
            _mm256_or_si256(low, _mm256_and_si256(part, _mm256_set1_epi8(48)))
        }
    }
}

/// How many products of two codes below this type's largest and activations can be added in 16 bits.
const fn together(codes: Codes) -> usize {
    match codes {
        // 8 * 2 * 15 * 127 is below 2^15, and so on.
        Codes::Nibble | Codes::Pair | Codes::Three => 8,
        Codes::Five => 4,
        Codes::Six => 2,
        Codes::Byte | Codes::Table => 1,
    }
}

/// Where the codes of half a block are, and the activations' words.
#[derive(Clone, Copy)]
struct Block {
    body: *const u8,
    /// See [`code`].
    bits: usize,
    words: *const i32,
}

impl Block {
    /// A word of activations in all lanes.
    ///
    /// # Safety
    /// There are so many rows of words.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn x(self, row: usize, i: usize) -> __m256i {
        // SAFETY: as the caller says.
        _mm256_set1_epi32(unsafe { *self.words.wrapping_add(8 * row + i) })
    }
}

/// Adds the products of a part of a block, by the processor's dot product of bytes.
///
/// # Safety
/// The block's planes and words can be read.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn add_vnni<F: Format, const ROWS: usize>(
    products: &mut [__m256i; ROWS],
    block: Block,
    sub: usize,
) {
    let each = 8 / F::SUBS;
    for i in sub * each..(sub + 1) * each {
        // SAFETY: as the caller says.
        unsafe {
            let codes = code::<F, false>(block.body, block.bits, i);
            for row in 0..ROWS {
                products[row] = _mm256_dpbusd_avx_epi32(products[row], codes, block.x(row, i));
            }
        }
    }
}

/// As [`add_vnni`] for codes below 64: pairs of products are added in 16 bits as long as they fit.
///
/// # Safety
/// The block's planes and words can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_plain<F: Format, const ROWS: usize>(
    products: &mut [__m256i; ROWS],
    block: Block,
    sub: usize,
) {
    let each = 8 / F::SUBS;
    let group = if together(F::CODES) < each {
        together(F::CODES)
    } else {
        each
    };
    for part in 0..each / group {
        let mut pairs = [_mm256_setzero_si256(); ROWS];
        for within in 0..group {
            let i = sub * each + part * group + within;
            // SAFETY: as the caller says.
            unsafe {
                let codes = code::<F, false>(block.body, block.bits, i);
                for row in 0..ROWS {
                    let two = _mm256_maddubs_epi16(codes, block.x(row, i));
                    pairs[row] = _mm256_add_epi16(pairs[row], two);
                }
            }
        }
        for row in 0..ROWS {
            let four = _mm256_madd_epi16(pairs[row], _mm256_set1_epi16(1));
            products[row] = _mm256_add_epi32(products[row], four);
        }
    }
}

/// As [`add_vnni`] for codes of eight bits, which are signed here.
///
/// # Safety
/// The block's planes and words can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_signed<F: Format, const ROWS: usize>(
    products: &mut [__m256i; ROWS],
    block: Block,
    sub: usize,
) {
    let each = 8 / F::SUBS;
    for i in sub * each..(sub + 1) * each {
        // SAFETY: as the caller says.
        unsafe {
            let codes = code::<F, true>(block.body, block.bits, i);
            let sizes = _mm256_abs_epi8(codes);
            for row in 0..ROWS {
                let x = _mm256_sign_epi8(block.x(row, i), codes);
                let four = _mm256_madd_epi16(_mm256_maddubs_epi16(sizes, x), _mm256_set1_epi16(1));
                products[row] = _mm256_add_epi32(products[row], four);
            }
        }
    }
}

macro_rules! kernel {
    ($(#[$meta:meta])* $name:ident, $features:literal, $add:ident) => {
        $(#[$meta])*
        #[target_feature(enable = $features)]
        pub(super) fn $name<F: Format, const ROWS: usize>(
            heads: &[u8],
            bodies: &[u8],
            x: Tile<'_>,
            out: &mut [[f32; LANES]],
        ) {
            let count = supers::<F>(heads, bodies, x, ROWS);
            for side in 0..2 {
                let mut sums = [_mm256_setzero_ps(); ROWS];
                let mut head = heads.as_ptr();
                let mut body = bodies.as_ptr();
                let mut words = x.words.as_ptr();
                let mut scales = x.scales.as_ptr();
                let mut corrections = x.corrections.as_ptr();
                for _ in 0..count {
                    // SAFETY: `supers` counts those of which all operands are there, each of the lengths by which the pointers go on.
                    unsafe {
                        let wide = load_halves(head.wrapping_add(2 * HALF * side));
                        let wide_minima = if F::MINIMA {
                            load_halves(head.wrapping_add(2 * LANES + 2 * HALF * side))
                        } else {
                            wide
                        };
                        let mut narrow = head.wrapping_add(F::WIDE + HALF * side);
                        for _ in 0..F::SUPER {
                            if side == 0 {
                                for line in 0..F::CODES.bytes() / 64 {
                                    // Only an address, which need not be of anything.
                                    let ahead = body.wrapping_add(AHEAD + 64 * line);
                                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                                }
                            }
                            let block = Block {
                                body: body.wrapping_add(32 * side),
                                bits: 4 * side,
                                words,
                            };
                            for sub in 0..F::SUBS {
                                let (mut factor, mut minimum) = (wide, wide_minima);
                                if F::NARROW > 0 {
                                    factor = factors(narrow.wrapping_add(sub * LANES), wide);
                                    if F::MINIMA {
                                        let at = narrow.wrapping_add((F::SUBS + sub) * LANES);
                                        minimum = factors(at, wide_minima);
                                    }
                                }
                                let mut products = [_mm256_setzero_si256(); ROWS];
                                for row in 0..ROWS {
                                    let correction = *corrections.wrapping_add(row * F::SUBS + sub);
                                    if F::MINIMA {
                                        let by = f32::from_bits(correction.cast_unsigned());
                                        let by = _mm256_set1_ps(by);
                                        sums[row] = _mm256_fnmadd_ps(minimum, by, sums[row]);
                                    } else {
                                        products[row] = _mm256_set1_epi32(correction);
                                    }
                                }
                                $add::<F, ROWS>(&mut products, block, sub);
                                for row in 0..ROWS {
                                    let scale = _mm256_set1_ps(*scales.wrapping_add(row));
                                    let product = _mm256_cvtepi32_ps(products[row]);
                                    let product = _mm256_mul_ps(product, factor);
                                    sums[row] = _mm256_fmadd_ps(product, scale, sums[row]);
                                }
                            }
                            narrow = narrow.wrapping_add(F::NARROW);
                            body = body.wrapping_add(F::CODES.bytes());
                            words = words.wrapping_add(8 * ROWS);
                            scales = scales.wrapping_add(ROWS);
                            corrections = corrections.wrapping_add(F::SUBS * ROWS);
                        }
                        head = head.wrapping_add(F::HEAD);
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
    multiply_vnni, "avx2,fma,f16c,avxvnni", add_vnni
}

kernel! {
    /// As [`multiply_vnni`] for codes below 64.
    multiply, "avx2,fma,f16c", add_plain
}

kernel! {
    /// As [`multiply_vnni`] for codes of eight bits; there is nothing to correct.
    multiply_signed, "avx2,fma,f16c", add_signed
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
