//! Blocks of a GGUF file into tiles; see [`super::layout`].

use half::f16;

use super::layout::{BITS, BLOCK, BYTES, Codes, Format, LANES, NIBBLES, PAIRS, Tiles, with_format};
use crate::formats::weights::StorageDtype;

/// A superblock of one row: factors, minima, and the codes of up to 256 columns.
struct Super {
    factor: [u8; 2],
    minimum: [u8; 2],
    factors: [u8; 16],
    minima: [u8; 16],
    codes: [u8; 256],
}

/// Fills a tile with up to sixteen rows of a weight; rows that are not there count as zeros. `rows` are the bytes of whole rows, `k` columns each.
pub(super) fn tile(dtype: StorageDtype, rows: &[u8], k: usize, tiles: Tiles, out: &mut [u8]) {
    with_format!(dtype, F => fill::<F>(dtype, rows, k, tiles, out), ());
}

fn fill<F: Format>(dtype: StorageDtype, rows: &[u8], k: usize, tiles: Tiles, out: &mut [u8]) {
    let bytes = dtype.block_bytes();
    let supers = k / (BLOCK * F::SUPER);
    let (heads, bodies) = out.split_at_mut(tiles.head);
    let targets = heads
        .chunks_exact_mut(F::HEAD)
        .zip(bodies.chunks_exact_mut(F::BODY));
    let mut one = Super {
        factor: [0; 2],
        minimum: [0; 2],
        factors: [0; 16],
        minima: [0; 16],
        codes: [0; 256],
    };
    // Of each block: its registers as the kernels want them, a lane of four codes a row.
    let mut registers = [[[0u8; 4 * LANES]; 8]; 8];
    for (at, (head, body)) in targets.take(supers).enumerate() {
        registers.as_flattened_mut().as_flattened_mut().fill(0);
        head.fill(0);
        let blocks = rows.chunks_exact(supers * bytes);
        for (lane, row) in blocks.enumerate().take(LANES) {
            read(dtype, &row[at * bytes..][..bytes], &mut one);
            head[2 * lane..][..2].copy_from_slice(&one.factor);
            if F::MINIMA {
                head[2 * LANES + 2 * lane..][..2].copy_from_slice(&one.minimum);
            }
            if F::NARROW > 0 {
                for part in 0..F::SUPER * F::SUBS {
                    let (block, sub) = (part / F::SUBS, part % F::SUBS);
                    let to = F::WIDE + block * F::NARROW + sub * LANES + lane;
                    head[to] = one.factors[part];
                    if F::MINIMA {
                        head[to + F::SUBS * LANES] = one.minima[part];
                    }
                }
            }
            let words = one.codes.as_chunks::<4>().0;
            for (block, words) in registers.iter_mut().zip(words.chunks(8)).take(F::SUPER) {
                for (register, word) in block.iter_mut().zip(words) {
                    register[4 * lane..][..4].copy_from_slice(word);
                }
            }
        }
        let parts = body.chunks_exact_mut(F::CODES.bytes());
        for (part, registers) in parts.zip(&registers) {
            planes(F::CODES, registers, part);
        }
    }
}

/// The registers of 32 columns as planes.
fn planes(codes: Codes, registers: &[[u8; 64]; 8], out: &mut [u8]) {
    match codes {
        Codes::Byte => out.copy_from_slice(&registers.as_flattened()[..BYTES]),
        Codes::Nibble | Codes::Table => nibbles(registers, out),
        Codes::Five => {
            let (low, high) = out.split_at_mut(NIBBLES);
            nibbles(registers, low);
            bits(registers, 4, high);
        }
        Codes::Six => {
            let (low, high) = out.split_at_mut(NIBBLES);
            nibbles(registers, low);
            pairs(registers, 4, high);
        }
        Codes::Pair => pairs(registers, 0, out),
        Codes::Three => {
            let (low, high) = out.split_at_mut(PAIRS);
            pairs(registers, 0, low);
            bits(registers, 2, high);
        }
    }
}

fn nibbles(registers: &[[u8; 64]; 8], out: &mut [u8]) {
    let (low, high) = registers.split_at(4);
    for ((out, low), high) in out.as_chunks_mut::<64>().0.iter_mut().zip(low).zip(high) {
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            *out = low & 15 | high << 4;
        }
    }
}

fn pairs(registers: &[[u8; 64]; 8], shift: u32, out: &mut [u8]) {
    let out = out.as_chunks_mut::<64>().0;
    for (out, four) in out.iter_mut().zip(registers.as_chunks::<4>().0) {
        let [a, b, c, d] = four;
        for (i, out) in out.iter_mut().enumerate() {
            let two = |codes: &[u8; 64]| codes[i] >> shift & 3;
            *out = two(a) | two(b) << 2 | two(c) << 4 | two(d) << 6;
        }
    }
}

fn bits(registers: &[[u8; 64]; 8], shift: u32, out: &mut [u8]) {
    debug_assert_eq!(out.len(), BITS);
    for (out, codes) in out.as_chunks_mut::<8>().0.iter_mut().zip(registers) {
        for (out, codes) in out.iter_mut().zip(codes.as_chunks::<8>().0) {
            *out = (0..8).fold(0, |all, i| all | (codes[i] >> shift & 1) << i);
        }
    }
}

/// Sixteen bytes of nibbles to 32 codes: the low ones first.
fn halves(qs: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(16);
    for ((q, low), high) in qs.iter().zip(low).zip(high) {
        *low = q & 15;
        *high = q >> 4;
    }
}

/// The fifth bits of 32 codes.
fn fifths(qh: &[u8], codes: &mut [u8]) {
    for (i, code) in codes.iter_mut().enumerate().take(BLOCK) {
        *code |= (qh[i / 8] >> (i % 8) & 1) << 4;
    }
}

/// The negative of a float in f16: minima are subtracted, and Q4_1 and Q5_1 add theirs.
fn negative(raw: &[u8]) -> [u8; 2] {
    (-f16::from_le_bytes([raw[0], raw[1]])).to_le_bytes()
}

/// The 6-bit factors and minima of eight parts of 32, packed in 12 bytes (Q4_K, Q5_K).
fn sixes(packed: &[u8], one: &mut Super) {
    for sub in 0..4 {
        one.factors[sub] = packed[sub] & 63;
        one.minima[sub] = packed[sub + 4] & 63;
        one.factors[sub + 4] = packed[sub + 8] & 15 | packed[sub] >> 2 & 48;
        one.minima[sub + 4] = packed[sub + 8] >> 4 | packed[sub + 4] >> 2 & 48;
    }
}

/// A block (or superblock) of a file; layouts as in [`crate::formats::dequant`].
fn read(dtype: StorageDtype, block: &[u8], one: &mut Super) {
    let half = |at: usize| [block[at], block[at + 1]];
    match dtype {
        StorageDtype::Q4_0 | StorageDtype::Iq4Nl => {
            one.factor = half(0);
            halves(&block[2..18], &mut one.codes[..32]);
        }
        StorageDtype::Q4_1 => {
            one.factor = half(0);
            one.minimum = negative(&block[2..4]);
            halves(&block[4..20], &mut one.codes[..32]);
        }
        StorageDtype::Q5_0 => {
            one.factor = half(0);
            halves(&block[6..22], &mut one.codes[..32]);
            fifths(&block[2..6], &mut one.codes);
        }
        StorageDtype::Q5_1 => {
            one.factor = half(0);
            one.minimum = negative(&block[2..4]);
            halves(&block[8..24], &mut one.codes[..32]);
            fifths(&block[4..8], &mut one.codes);
        }
        StorageDtype::Q8_0 => {
            one.factor = half(0);
            for (code, q) in one.codes.iter_mut().zip(&block[2..34]) {
                *code = q ^ 128;
            }
        }
        StorageDtype::Q4K | StorageDtype::Q5K => {
            (one.factor, one.minimum) = (half(0), half(2));
            sixes(&block[4..16], one);
            let five = dtype == StorageDtype::Q5K;
            let qs = &block[if five { 48 } else { 16 }..];
            for (pair, codes) in one.codes.as_chunks_mut::<64>().0.iter_mut().enumerate() {
                let (low, high) = codes.split_at_mut(32);
                for ((q, low), high) in qs[32 * pair..].iter().zip(low).zip(high) {
                    *low = q & 15;
                    *high = q >> 4;
                }
            }
            if five {
                for (sub, codes) in one.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    for (code, high) in codes.iter_mut().zip(&block[16..48]) {
                        *code |= (high >> sub & 1) << 4;
                    }
                }
            }
        }
        StorageDtype::Q2K => {
            (one.factor, one.minimum) = (half(80), half(82));
            for (i, packed) in block[..16].iter().enumerate() {
                one.factors[i] = packed & 15;
                one.minima[i] = packed >> 4;
            }
            twos(&block[16..80], &mut one.codes);
        }
        StorageDtype::Q3K => {
            one.factor = half(108);
            let packed = &block[96..108];
            for (i, factor) in one.factors.iter_mut().enumerate() {
                let low = packed[i % 8] >> (i / 8 * 4) & 15;
                let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
                *factor = (low | high << 4).wrapping_sub(32);
            }
            twos(&block[32..96], &mut one.codes);
            for (row, codes) in one.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (code, mask) in codes.iter_mut().zip(&block[..32]) {
                    *code |= (mask >> row & 1) << 2;
                }
            }
        }
        StorageDtype::Q6K => {
            one.factor = half(208);
            one.factors.copy_from_slice(&block[192..208]);
            for (row, codes) in one.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (half, part) = (row / 4, row % 4);
                let low = &block[half * 64 + part % 2 * 32..][..32];
                let high = &block[128 + half * 32..][..32];
                for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
                    *code = low >> (part / 2 * 4) & 15 | (high >> (2 * part) & 3) << 4;
                }
            }
        }
        StorageDtype::Iq4Xs => {
            one.factor = half(0);
            let high = u16::from_le_bytes([block[2], block[3]]);
            for (sub, codes) in one.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let low = block[4 + sub / 2] >> (sub % 2 * 4) & 15;
                let factor = low | ((high >> (2 * sub) & 3) as u8) << 4;
                one.factors[sub] = factor.wrapping_sub(32);
                halves(&block[8 + 16 * sub..][..16], codes);
            }
        }
        // Other types have no tiles.
        _ => {}
    }
}

/// Two halves of 128 codes, each four rows of 32 in the bit pairs of 32 bytes (Q2_K, Q3_K).
fn twos(qs: &[u8], codes: &mut [u8; 256]) {
    for (row, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let shift = row % 4 * 2;
        for (code, q) in codes.iter_mut().zip(&qs[row / 4 * 32..][..32]) {
            *code = q >> shift & 3;
        }
    }
}
