//! Random weights in the bytes of their type.
//!
//! Quantised blocks are not the result of quantising anything: their codes are random bits, and their factors are set so that the values
//! which the block stands for have the deviation wanted and a mean of zero. Factors vary from block to block, as they do in
//! real files. Formats: `ggml-common.h` and `ggml-quants.c` of llama.cpp.

use std::io::Write;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Fill, Planned};
use crate::formats::StorageDtype;
use crate::formats::dequant::dequantize_into;

/// Elements that are made at a time by one thread; a multiple of every block's length.
const PIECE: usize = 1 << 16;
/// Pieces that are made before they are written.
const PIECES: usize = 64;

/// Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }

    /// From -1 to 1.
    fn even(&mut self) -> f32 {
        ((self.next() >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }
}

/// Every piece of every tensor has a stream of its own, so that they can be made in any order.
fn stream(seed: u64, name: &str, piece: u64) -> SplitMix {
    // FNV-1a.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut mixed = SplitMix(seed ^ hash);
    let start = mixed.next() ^ piece.wrapping_mul(0xd134_2543_de82_ef95);
    SplitMix(start)
}

/// Writes a tensor's bytes; `progress` is told of each stretch and returns whether to go on.
pub(super) fn write(
    planned: &Planned,
    seed: u64,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> bool,
) -> std::io::Result<()> {
    let spec = &planned.spec;
    let elements = spec.elements().unwrap_or(0);
    let unit = match planned.fill {
        Fill::Weights(_) => 1.0 / unit_deviation(spec.dtype),
        _ => 1.0,
    };
    let maker = Maker {
        fill: &planned.fill,
        dtype: spec.dtype,
        unit,
    };
    let mut buffer = Vec::new();
    let mut first = 0;
    while first < elements {
        let count = (elements - first).min(PIECE * PIECES);
        let bytes = spec.dtype.bytes_for(count).ok_or_else(|| {
            std::io::Error::other(format!("`{}` is no whole number of blocks", spec.name))
        })?;
        buffer.resize(bytes, 0);
        let piece_bytes = spec.dtype.bytes_for(PIECE).unwrap_or(bytes).max(1);
        buffer
            .par_chunks_mut(piece_bytes)
            .enumerate()
            .for_each(|(index, bytes)| {
                let start = first + index * PIECE;
                let mut random = stream(seed, &spec.name, (start / PIECE) as u64);
                maker.make(start, bytes, &mut random);
            });
        out.write_all(&buffer)?;
        if !progress(bytes as u64) {
            return Err(std::io::Error::from(std::io::ErrorKind::Interrupted));
        }
        first += count;
    }
    Ok(())
}

struct Maker<'a> {
    fill: &'a Fill,
    dtype: StorageDtype,
    /// Factor of a block whose values have a deviation of 1.
    unit: f32,
}

impl Maker<'_> {
    /// Fills `bytes`, the elements of a tensor from `first` on.
    fn make(&self, first: usize, bytes: &mut [u8], random: &mut SplitMix) {
        match self.dtype {
            StorageDtype::F32 => {
                for (index, four) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *four = self.value(first + index, random).to_le_bytes();
                }
            }
            StorageDtype::F16 | StorageDtype::Bf16 => {
                let values: Vec<f32> = (0..bytes.len() / 2)
                    .map(|index| self.value(first + index, random))
                    .collect();
                put_halves(self.dtype, &values, bytes);
            }
            StorageDtype::I64 => {
                for (index, eight) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                    *eight = ((first + index) as i64).to_le_bytes();
                }
            }
            dtype => {
                let deviation = match self.fill {
                    Fill::Weights(deviation) => *deviation,
                    _ => 1.0,
                };
                random.fill(bytes);
                for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
                    seal(dtype, block, deviation * self.unit, random.next());
                }
            }
        }
    }

    fn value(&self, index: usize, random: &mut SplitMix) -> f32 {
        match self.fill {
            // Of even numbers from -1 to 1 the deviation is 1 / sqrt(3).
            Fill::Weights(deviation) => deviation * 3f32.sqrt() * random.even(),
            Fill::Gains => 1.0 + 0.1 * random.even(),
            Fill::Offsets => 0.02 * random.even(),
            Fill::Floats(values) => values.get(index).copied().unwrap_or(0.0),
            Fill::Count => index as f32,
        }
    }
}

fn put_halves(dtype: StorageDtype, values: &[f32], bytes: &mut [u8]) {
    let mut put = |bits: &mut dyn Iterator<Item = u16>| {
        for (two, bits) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(bits) {
            *two = bits.to_le_bytes();
        }
    };
    if dtype == StorageDtype::F16 {
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        put(&mut halves.iter().map(|half| half.to_bits()));
    } else {
        let mut halves = vec![bf16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        put(&mut halves.iter().map(|half| half.to_bits()));
    }
}

/// The deviation of the values of sealed random blocks of factor 1; 1 for types without blocks.
fn unit_deviation(dtype: StorageDtype) -> f32 {
    const BLOCKS: usize = 64;
    if dtype.half_factors().is_empty() {
        return 1.0;
    }
    let mut bytes = vec![0; BLOCKS * dtype.block_bytes()];
    let mut random = SplitMix(1);
    random.fill(&mut bytes);
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        seal(dtype, block, 1.0, random.next());
    }
    let mut values = vec![0f32; BLOCKS * dtype.block_len()];
    if !dequantize_into(dtype, &bytes, &mut values) {
        return 1.0;
    }
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (squares / values.len() as f64).sqrt() as f32
}

/// Makes a block of random bits one of real weights: sets its factors to about `factor`, and codes that no quantiser makes to ones
/// that it does. Where codes are not even about zero, the factor has a random sign (as llama.cpp's quantisers give it) or the
/// block's offset makes up for it.
fn seal(dtype: StorageDtype, block: &mut [u8], factor: f32, random: u64) {
    // From 3/4 to 5/4, and a sign.
    let factor = factor * (0.75 + 0.5 * (random >> 48) as f32 / 65536.0);
    let signed = if random & 1 == 0 { factor } else { -factor };
    let mut half = |at: usize, value: f32| {
        if let Some(two) = block.get_mut(at..at + 2) {
            two.copy_from_slice(&f16::from_f32(value).to_le_bytes());
        }
    };
    match dtype {
        StorageDtype::Q8_0 => {
            half(0, factor);
            for code in block.iter_mut().skip(2).filter(|code| **code == 0x80) {
                *code = 0x81;
            }
        }
        StorageDtype::Q4_0 | StorageDtype::Q5_0 | StorageDtype::Iq4Nl | StorageDtype::Iq4Xs => {
            half(0, signed);
        }
        StorageDtype::Q4_1 => {
            half(0, factor);
            half(2, -7.5 * factor);
        }
        StorageDtype::Q5_1 => {
            half(0, factor);
            half(2, -15.5 * factor);
        }
        StorageDtype::Q2K => {
            half(80, factor);
            half(82, 1.5 * factor);
            // Scale and minimum of 16 values in one byte.
            for scales in block.iter_mut().take(16) {
                *scales = (8 + (*scales & 7)) * 0x11;
            }
        }
        StorageDtype::Q3K => half(108, factor),
        StorageDtype::Q4K | StorageDtype::Q5K => {
            let middle = if dtype == StorageDtype::Q4K {
                7.5
            } else {
                15.5
            };
            half(0, factor);
            half(2, middle * factor);
            if let Some(packed) = block.get_mut(4..16) {
                pack_equal_scales(packed);
            }
        }
        StorageDtype::Q6K => {
            half(208, factor);
            for scale in block.iter_mut().skip(192).take(16) {
                let size = 64 + (*scale & 63);
                *scale = if *scale & 64 == 0 {
                    size
                } else {
                    size.wrapping_neg()
                };
            }
        }
        _ => {}
    }
}

/// Eight scales from 32 to 63 and eight minima equal to them, six bits each, in the order of Q4_K and Q5_K.
fn pack_equal_scales(packed: &mut [u8]) {
    let mut scales = [0u8; 8];
    for (scale, byte) in scales.iter_mut().zip(packed.iter()) {
        *scale = 32 + (byte & 31);
    }
    let (low, high) = scales.split_at(4);
    for (index, (low, high)) in low.iter().zip(high).enumerate() {
        let first = low | (high >> 4) << 6;
        for (at, byte) in [
            (index, first),
            (index + 4, first),
            (index + 8, (high & 15) * 0x11),
        ] {
            if let Some(place) = packed.get_mut(at) {
                *place = byte;
            }
        }
    }
}
