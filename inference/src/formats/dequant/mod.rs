//! Plain f32 values from every weight type that is read: the oracle that all faster paths are tested against.
//!
//! Block layouts as in ggml (`ggml-common.h`, `ggml-quants.c`); results are bit-equal to `gguf.quants.dequantize`
//! of the Python package `gguf`.

mod blocks;

use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::weights::StorageDtype;

/// Elements from which on the work is spread over the cores.
const PARALLEL_FROM: usize = 1 << 17;
/// Elements a task when spread over the cores; a multiple of every block length.
const TASK_ELEMENTS: usize = 1 << 15;
/// Elements that are copied to aligned memory at once for the f16 conversion.
const HALF_CHUNK: usize = 1024;

/// Expands `bytes` to `out`. Returns false, without a guarantee for `out`, if the type is not a weight type or the
/// lengths do not belong together.
#[must_use]
pub fn dequantize_into(dtype: StorageDtype, bytes: &[u8], out: &mut [f32]) -> bool {
    if !dtype.is_float_weight() || dtype.bytes_for(out.len()) != Some(bytes.len()) {
        return false;
    }
    if out.len() < PARALLEL_FROM {
        expand(dtype, bytes, out);
        return true;
    }
    let task_bytes = TASK_ELEMENTS / dtype.block_len() * dtype.block_bytes();
    out.par_chunks_mut(TASK_ELEMENTS)
        .zip(bytes.par_chunks(task_bytes))
        .for_each(|(out, bytes)| expand(dtype, bytes, out));
    true
}

fn expand(dtype: StorageDtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        StorageDtype::F32 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*raw);
            }
        }
        StorageDtype::F16 => expand_f16(bytes, out),
        StorageDtype::Bf16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*raw)) << 16);
            }
        }
        StorageDtype::Q8_0 => each_block::<34, 32>(bytes, out, q8_0),
        StorageDtype::Q4_0 => each_block::<18, 32>(bytes, out, q4_0),
        StorageDtype::Q4K => each_block::<144, 256>(bytes, out, q4_k),
        StorageDtype::Q6K => each_block::<210, 256>(bytes, out, q6_k),
        StorageDtype::Q4_1 => each_block::<20, 32>(bytes, out, blocks::q4_1),
        StorageDtype::Q5_0 => each_block::<22, 32>(bytes, out, blocks::q5_0),
        StorageDtype::Q5_1 => each_block::<24, 32>(bytes, out, blocks::q5_1),
        StorageDtype::Q2K => each_block::<84, 256>(bytes, out, blocks::q2_k),
        StorageDtype::Q3K => each_block::<110, 256>(bytes, out, blocks::q3_k),
        StorageDtype::Q5K => each_block::<176, 256>(bytes, out, blocks::q5_k),
        StorageDtype::Iq4Nl => each_block::<18, 32>(bytes, out, blocks::iq4_nl),
        StorageDtype::Iq4Xs => each_block::<136, 256>(bytes, out, blocks::iq4_xs),
        StorageDtype::F8E4m3 => {
            for (value, raw) in out.iter_mut().zip(bytes) {
                *value = e4m3(*raw);
            }
        }
        StorageDtype::F8E5m2 => {
            for (value, raw) in out.iter_mut().zip(bytes) {
                *value = half::f16::from_bits(u16::from(*raw) << 8).to_f32();
            }
        }
        // `dequantize_into` lets only weight types through.
        _ => out.fill(f32::NAN),
    }
}

/// A float of 8 bits with four of exponent and three of mantissa, without infinities (Micikevicius et al. 2022, "FP8 Formats for Deep Learning").
fn e4m3(raw: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(raw >> 3 & 15), f32::from(raw & 7));
    let size = match (exponent, raw & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if raw & 0x80 == 0 { size } else { -size }
}

fn expand_f16(bytes: &[u8], out: &mut [f32]) {
    // The file's bytes may lie at odd addresses, and the fast conversion wants a slice of u16.
    let mut aligned = [half::f16::ZERO; HALF_CHUNK];
    for (out, bytes) in out.chunks_mut(HALF_CHUNK).zip(bytes.chunks(HALF_CHUNK * 2)) {
        for (half, raw) in aligned.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = half::f16::from_le_bytes(*raw);
        }
        aligned[..out.len()].convert_to_f32_slice(out);
    }
}

fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, values) in bytes
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<LEN>().0)
    {
        one(block, values);
    }
}

fn f16_at<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `d: f16, qs: [i8; 32]`; value = d * q.
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (value, q) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(q.cast_signed());
    }
}

/// `d: f16, qs: [u8; 16]`; low nibbles are the first 16 values; value = d * (q - 8).
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (i, q) in block[2..].iter().enumerate() {
        out[i] = d * (f32::from(q & 0x0f) - 8.0);
        out[i + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// The 6-bit scale and minimum of one of eight sub-blocks, packed in 12 bytes (Q4_K, Q5_K).
fn scale_and_minimum(packed: &[u8], sub: usize) -> (u8, u8) {
    if sub < 4 {
        return (packed[sub] & 0x3f, packed[sub + 4] & 0x3f);
    }
    (
        (packed[sub + 4] & 0x0f) | ((packed[sub - 4] >> 2) & 0x30),
        (packed[sub + 4] >> 4) | ((packed[sub] >> 2) & 0x30),
    )
}

/// `d: f16, dmin: f16, scales: [u8; 12], qs: [u8; 128]`; eight sub-blocks of 32 with 6-bit scale and minimum;
/// value = d * scale * q - dmin * minimum.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let dmin = f16_at(block, 2);
    for sub in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], sub);
        let scale = d * f32::from(scale);
        let minimum = dmin * f32::from(minimum);
        // Two neighbouring sub-blocks share 32 bytes: low nibbles, then high nibbles.
        let qs = &block[16 + (sub / 2) * 32..][..32];
        let shift = (sub % 2) * 4;
        for (value, q) in out[sub * 32..][..32].iter_mut().zip(qs) {
            *value = scale * f32::from((q >> shift) & 0x0f) - minimum;
        }
    }
}

/// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`; sixteen sub-blocks of 16; value = d * scale * (q - 32).
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16_at(block, 208);
    for row in 0..8 {
        // Each half of 128 values has four rows of 32: low nibbles of 64 bytes, then their high nibbles;
        // the upper two bits of row r are bits 2r of 32 bytes of `qh`.
        let (half, part) = (row / 4, row % 4);
        let ql = &block[half * 64 + (part % 2) * 32..][..32];
        let qh = &block[128 + half * 32..][..32];
        let (low_shift, high_shift) = ((part / 2) * 4, part * 2);
        for i in 0..32 {
            let q = ((ql[i] >> low_shift) & 0x0f) | (((qh[i] >> high_shift) & 3) << 4);
            let at = row * 32 + i;
            let scale = d * f32::from(block[192 + at / 16].cast_signed());
            out[at] = scale * (f32::from(q) - 32.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero, the smallest, one, the largest, a negative and what is no number, as torch reads them.
    #[test]
    fn floats_of_8_bits() {
        let mut out = [0.0; 6];
        let bytes = [0x00, 0x01, 0x38, 0x7e, 0xb9, 0xff];
        assert!(dequantize_into(StorageDtype::F8E4m3, &bytes, &mut out));
        assert_eq!(out[..5], [0.0, 0.001_953_125, 1.0, 448.0, -1.125]);
        assert!(out[5].is_nan());
        let bytes = [0x00, 0x01, 0x3c, 0x7b, 0xbd, 0x7f];
        assert!(dequantize_into(StorageDtype::F8E5m2, &bytes, &mut out));
        assert_eq!(out[..5], [0.0, 2f32.powi(-16), 1.0, 57344.0, -1.25]);
        assert!(out[5].is_nan());
    }
}
