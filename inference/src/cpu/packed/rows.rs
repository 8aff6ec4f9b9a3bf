//! Activations in blocks of 32 as 8-bit integers with a factor in f32, in the order in which the kernels read them.

use std::sync::{Mutex, PoisonError};

use super::avx2::quantise_block;
use super::layout::{BLOCK, Format};
use crate::cpu::parallel::zeros;
use crate::cpu::team::share;
use crate::graph::ExecError;

/// Rows that go through a kernel together, at most.
pub(super) const ROWS: usize = 8;
/// Activations from which on they are spread over the cores.
const PARALLEL_FROM: usize = 1 << 16;

/// Rows of activations for one call of a kernel, block after block, and of each block row after row.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Eight words of four codes, first code lowest, for each block of each row.
    pub(super) words: &'a [i32],
    /// A factor for each block of each row.
    pub(super) scales: &'a [f32],
    /// For each part of a block with its own factor in the weight: what the kernel adds to the integer products to take off the
    /// weight's offset; or, for types with minima, the sum of the activations, as the bits of an f32.
    pub(super) corrections: &'a [i32],
}

/// Superblocks of which a tile of the weight and one of activations have all that a kernel reads.
#[inline]
pub(super) fn supers<F: Format>(heads: &[u8], bodies: &[u8], x: Tile<'_>, rows: usize) -> usize {
    let activations = [
        x.words.len() / 8,
        x.scales.len(),
        x.corrections.len() / F::SUBS,
    ];
    let weights = (heads.len() / F::HEAD).min(bodies.len() / F::BODY);
    activations
        .into_iter()
        .fold(weights, |least, count| least.min(count / (rows * F::SUPER)))
}

/// What corrections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Correct {
    /// Codes of the weight are so much too large.
    Offset(i32),
    /// The weight has minima.
    Minima,
}

/// All rows of activations, tile after tile.
pub(super) struct Rows {
    words: Vec<i32>,
    scales: Vec<f32>,
    corrections: Vec<i32>,
    k: usize,
    subs: usize,
}

/// The tiles of `m` rows: first row and number of rows, for which there are kernels.
pub(super) fn tiles(m: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rows = match m - first {
            0 => return None,
            left @ 1..4 => left,
            4..ROWS => 4,
            _ => ROWS,
        };
        first += rows;
        Some((first - rows, rows))
    })
}

/// Bytes of `m` rows of `k` activations.
pub(super) fn bytes(m: usize, k: usize, subs: usize) -> usize {
    m * (k + k / BLOCK * (4 + 4 * subs))
}

impl Rows {
    /// `x [m, k]` in blocks, `k` a multiple of 32 and not zero; `subs` corrections (1 or 2) for each.
    pub(super) fn new(
        label: &str,
        x: &[f32],
        k: usize,
        subs: usize,
        correct: Correct,
    ) -> Result<Self, ExecError> {
        let blocks = x.len() / BLOCK;
        let mut rows = Self {
            words: zeros(label, 8 * blocks)?,
            scales: zeros(label, blocks)?,
            corrections: zeros(label, subs * blocks)?,
            k,
            subs,
        };
        let fill = |x: &[f32], words: &mut [i32], scales: &mut [f32], corrections: &mut [i32]| {
            for (first, count) in tiles(x.len() / k) {
                let at = first * k / BLOCK;
                let len = count * k / BLOCK;
                // SAFETY: only called where there is a kernel, and all of them need AVX2.
                unsafe {
                    quantise(
                        &x[first * k..][..count * k],
                        k,
                        (subs, correct),
                        &mut words[8 * at..][..8 * len],
                        &mut scales[at..][..len],
                        &mut corrections[subs * at..][..subs * len],
                    );
                }
            }
        };
        if x.len() < PARALLEL_FROM {
            fill(x, &mut rows.words, &mut rows.scales, &mut rows.corrections);
        } else {
            // Each part is taken once.
            let each = ROWS * k;
            let parts: Vec<_> = x
                .chunks(each)
                .zip(rows.words.chunks_mut(each / 4))
                .zip(rows.scales.chunks_mut(each / BLOCK))
                .zip(rows.corrections.chunks_mut(subs * each / BLOCK))
                .map(|part| Mutex::new(Some(part)))
                .collect();
            share(parts.len(), &|index| {
                let part = parts.get(index).map(|part| part.lock());
                let taken =
                    part.and_then(|part| part.unwrap_or_else(PoisonError::into_inner).take());
                if let Some((((x, words), scales), corrections)) = taken {
                    fill(x, words, scales, corrections);
                }
            });
        }
        Ok(rows)
    }

    /// One of [`tiles`].
    pub(super) fn tile(&self, first: usize, rows: usize) -> Tile<'_> {
        let (at, len) = (first * self.k / BLOCK, rows * self.k / BLOCK);
        Tile {
            words: &self.words[8 * at..][..8 * len],
            scales: &self.scales[at..][..len],
            corrections: &self.corrections[self.subs * at..][..self.subs * len],
        }
    }
}

/// The rows of a tile.
#[target_feature(enable = "avx2")]
fn quantise(
    x: &[f32],
    k: usize,
    (subs, correct): (usize, Correct),
    words: &mut [i32],
    scales: &mut [f32],
    corrections: &mut [i32],
) {
    let rows = x.len() / k;
    for (row, x) in x.chunks_exact(k).enumerate() {
        let words = words.as_chunks_mut::<8>().0.iter_mut();
        let targets = words
            .zip(scales.iter_mut())
            .zip(corrections.chunks_exact_mut(subs))
            .skip(row)
            .step_by(rows);
        for (x, ((words, scale), corrections)) in x.as_chunks::<BLOCK>().0.iter().zip(targets) {
            let mut sums = [0; 2];
            *scale = quantise_block(x, words, &mut sums);
            if subs == 1 {
                sums = [sums[0] + sums[1], 0];
            }
            for (correction, sum) in corrections.iter_mut().zip(sums) {
                *correction = match correct {
                    // Codes are at most 128 in size, offsets as well.
                    Correct::Offset(offset) => -offset * sum,
                    Correct::Minima => (*scale * sum as f32).to_bits().cast_signed(),
                };
            }
        }
    }
}
