//! The kernel for processors with AVX-512 and its dot product of bytes (VNNI): Intel since Cascade Lake, AMD since Zen 4.
//!
//! Everything is read through pointers that the caller's lengths were checked for once, and all short loops have constant bounds: with slices
//! and iterators within a block the compiler left the codes in memory, and four bits took more than twice as long as eight.

// Loops of constant bounds over arrays stay in registers, iterators over several of them do not.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::layout::{AHEAD, BITS, Codes, Format, IQ4, LANES, NIBBLES, PAIRS};
use super::rows::{Tile, supers};

/// Sixteen floats in f16.
///
/// # Safety
/// 32 bytes can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_halves(at: *const u8) -> __m512 {
    // SAFETY: as the caller says; the load wants no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
}

/// 64 bytes.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_64(at: *const u8) -> __m512i {
    // SAFETY: as the caller says; the load wants no alignment.
    unsafe { _mm512_loadu_si512(at.cast()) }
}

/// Sixteen factors of 8 bits times those of the superblock.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn factors(at: *const u8, wide: __m512) -> __m512 {
    // SAFETY: as the caller says; the load wants no alignment.
    let narrow = _mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(at.cast()) });
    _mm512_mul_ps(_mm512_cvtepi32_ps(narrow), wide)
}

/// The eight registers of 32 columns.
///
/// # Safety
/// The planes of the codes can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn codes<F: Format>(body: *const u8) -> [__m512i; 8] {
    let mut registers = [_mm512_setzero_si512(); 8];
    let fifteen = _mm512_set1_epi8(15);
    // SAFETY: within the planes.
    let line = |at: usize| unsafe { load_64(body.wrapping_add(at)) };
    match F::CODES {
        Codes::Byte => {
            for i in 0..8 {
                registers[i] = line(64 * i);
            }
        }
        Codes::Nibble | Codes::Table | Codes::Five | Codes::Six => {
            for i in 0..4 {
                let both = line(64 * i);
                registers[i] = _mm512_and_si512(both, fifteen);
                registers[i + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), fifteen);
            }
        }
        Codes::Pair | Codes::Three => {
            let three = _mm512_set1_epi8(3);
            for i in 0..2 {
                let all = line(64 * i);
                registers[4 * i] = _mm512_and_si512(all, three);
                registers[4 * i + 1] = _mm512_and_si512(_mm512_srli_epi16::<2>(all), three);
                registers[4 * i + 2] = _mm512_and_si512(_mm512_srli_epi16::<4>(all), three);
                registers[4 * i + 3] = _mm512_and_si512(_mm512_srli_epi16::<6>(all), three);
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
            const { assert!(BITS == 8 * 8) };
            let one = _mm512_set1_epi8(one);
            let masks = body.wrapping_add(plane).cast::<u64>();
            for i in 0..8 {
                // SAFETY: within the plane of bits.
                let mask = unsafe { masks.wrapping_add(i).read_unaligned() };
                registers[i] = _mm512_mask_add_epi8(registers[i], mask, registers[i], one);
            }
        }
        Codes::Six => {
            let high = _mm512_set1_epi8(48);
            // `a | b & c` in one instruction.
            let join = |a, b| _mm512_ternarylogic_epi32::<0xf8>(a, b, high);
            for i in 0..2 {
                let all = line(NIBBLES + 64 * i);
                let at = 4 * i;
                registers[at] = join(registers[at], _mm512_slli_epi16::<4>(all));
                registers[at + 1] = join(registers[at + 1], _mm512_slli_epi16::<2>(all));
                registers[at + 2] = join(registers[at + 2], all);
                registers[at + 3] = join(registers[at + 3], _mm512_srli_epi16::<2>(all));
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
    // One for each part of a block, so that the processor need not wait for one addition before the next.
    let mut sums = [[_mm512_setzero_ps(); ROWS]; 2];
    let mut head = heads.as_ptr();
    let mut body = bodies.as_ptr();
    let mut words = x.words.as_ptr();
    let mut scales = x.scales.as_ptr();
    let mut corrections = x.corrections.as_ptr();
    for _ in 0..supers::<F>(heads, bodies, x, ROWS) {
        // SAFETY: `supers` counts those of which all operands are there, each of the lengths by which the pointers go on.
        unsafe {
            let wide = load_halves(head);
            let wide_minima = if F::MINIMA {
                load_halves(head.wrapping_add(2 * LANES))
            } else {
                wide
            };
            let mut narrow = head.wrapping_add(F::WIDE);
            for _ in 0..F::SUPER {
                for line in 0..F::CODES.bytes() / 64 {
                    // Only an address, which need not be of anything.
                    _mm_prefetch::<_MM_HINT_T0>(body.wrapping_add(AHEAD + 64 * line).cast());
                }
                let registers = codes::<F>(body);
                for sub in 0..F::SUBS {
                    // With many rows there are sums enough, and no registers for more.
                    let set = if ROWS < 8 { sub } else { 0 };
                    let (mut factor, mut minimum) = (wide, wide_minima);
                    if F::NARROW > 0 {
                        factor = factors(narrow.wrapping_add(sub * LANES), wide);
                        if F::MINIMA {
                            let at = narrow.wrapping_add((F::SUBS + sub) * LANES);
                            minimum = factors(at, wide_minima);
                        }
                    }
                    let mut products = [_mm512_setzero_si512(); ROWS];
                    for row in 0..ROWS {
                        let correction = *corrections.wrapping_add(row * F::SUBS + sub);
                        if F::MINIMA {
                            let by = _mm512_set1_ps(f32::from_bits(correction.cast_unsigned()));
                            sums[set][row] = _mm512_fnmadd_ps(minimum, by, sums[set][row]);
                        } else {
                            products[row] = _mm512_set1_epi32(correction);
                        }
                    }
                    // Row after row for each register, so that no product waits for the one before.
                    let each = 8 / F::SUBS;
                    for i in sub * each..(sub + 1) * each {
                        for row in 0..ROWS {
                            let x = _mm512_set1_epi32(*words.wrapping_add(8 * row + i));
                            products[row] = _mm512_dpbusd_epi32(products[row], registers[i], x);
                        }
                    }
                    for row in 0..ROWS {
                        let scale = _mm512_set1_ps(*scales.wrapping_add(row));
                        let product = _mm512_mul_ps(_mm512_cvtepi32_ps(products[row]), factor);
                        sums[set][row] = _mm512_fmadd_ps(product, scale, sums[set][row]);
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
    let [first, second] = sums;
    for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
        // SAFETY: sixteen floats; the store wants no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(first, second)) };
    }
}
