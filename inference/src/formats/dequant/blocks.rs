//! Blocks of the less usual quantised types of ggml, one at a time to f32.
//!
//! As `gguf.quants` of the Python package `gguf` computes them: the order of the floating-point operations is its order, so results are bit-equal.

use super::f16_at;

/// Values of the four-bit codes of IQ4_NL and IQ4_XS.
const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

fn iq4(code: u8) -> f32 {
    f32::from(IQ4_VALUES[usize::from(code & 15)])
}

/// `d: f16, m: f16, qs: [u8; 16]`; low nibbles are the first 16 values; value = d * q + m.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (i, q) in block[4..].iter().enumerate() {
        out[i] = d * f32::from(q & 15) + m;
        out[i + 16] = d * f32::from(q >> 4) + m;
    }
}

/// Five-bit values: low nibbles and high nibbles of `qs: [u8; 16]`, their fifth bits in `qh: u32`.
fn fives(qh: &[u8], qs: &[u8]) -> [u8; 32] {
    let high = |i: usize| (qh[i / 8] >> (i % 8) & 1) << 4;
    std::array::from_fn(|i| {
        let nibble = if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 };
        nibble | high(i)
    })
}

/// `d: f16, qh: u32, qs: [u8; 16]`; value = d * (q - 16).
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (value, q) in out.iter_mut().zip(fives(&block[2..6], &block[6..])) {
        *value = d * (f32::from(q) - 16.0);
    }
}

/// `d: f16, m: f16, qh: u32, qs: [u8; 16]`; value = d * q + m.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (value, q) in out.iter_mut().zip(fives(&block[4..8], &block[8..])) {
        *value = d * f32::from(q) + m;
    }
}

/// `scales: [u8; 16], qs: [u8; 64], d: f16, dmin: f16`; sixteen sub-blocks of 16 with a nibble of scale and one of minimum;
/// value = d * scale * q - dmin * minimum.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (at, value) in out.iter_mut().enumerate() {
        let scales = block[at / 16];
        // Each half of 128 values: four rows of 32 in the bit pairs of 32 bytes.
        let q = block[16 + at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
        *value = d * f32::from(scales & 15) * f32::from(q) - dmin * f32::from(scales >> 4);
    }
}

/// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`; sixteen sub-blocks of 16 with 6-bit scales;
/// value = d * (scale - 32) * (q - 4 where the mask's bit is 0).
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 108);
    let packed = &block[96..108];
    let scales: [f32; 16] = std::array::from_fn(|i| {
        let low = packed[i % 8] >> (i / 8 * 4) & 15;
        let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        d * (f32::from(low | high << 4) - 32.0)
    });
    for (at, value) in out.iter_mut().enumerate() {
        let q = block[32 + at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
        let high = block[at % 32] >> (at / 32) & 1;
        let q = f32::from(q) - if high == 0 { 4.0 } else { 0.0 };
        *value = scales[at / 16] * q;
    }
}

/// `d: f16, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`; as Q4_K with a fifth bit of each value in `qh`.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = super::scale_and_minimum(&block[4..16], sub);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (i, value) in out.iter_mut().enumerate() {
            let low = block[48 + sub / 2 * 32 + i] >> (sub % 2 * 4) & 15;
            let high = (block[16 + i] >> sub & 1) << 4;
            *value = scale * f32::from(low | high) - minimum;
        }
    }
}

/// `d: f16, qs: [u8; 16]`; low nibbles are the first 16 values; value = d * table[q].
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (i, q) in block[2..].iter().enumerate() {
        out[i] = d * iq4(*q);
        out[i + 16] = d * iq4(q >> 4);
    }
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [u8; 128]`; eight sub-blocks of 32 with 6-bit scales;
/// value = d * (scale - 32) * table[q].
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (sub, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + sub / 2] >> (sub % 2 * 4) & 15;
        let scale = low | ((high >> (2 * sub) & 3) as u8) << 4;
        let scale = d * (f32::from(scale) - 32.0);
        for (i, q) in block[8 + sub * 16..][..16].iter().enumerate() {
            out[i] = scale * iq4(*q);
            out[i + 16] = scale * iq4(q >> 4);
        }
    }
}
