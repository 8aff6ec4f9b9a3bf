//! Attention with online softmax over blocks of keys (Milakov and Gimelshein 2018; Dao et al. 2022): a task holds one
//! tile of queries and one block of scores, however long the sequences are.

use super::few;
use super::math;
use super::matmul::{Into, Mat, MatMut, multiply};
use super::parallel::{Poll, Shared, for_tasks, threads, with_scratch};
use crate::graph::{ExecError, HIDDEN};

/// Queries in a tile.
const QUERIES: usize = 64;
/// Keys in a block.
const KEYS: usize = 512;

/// Sizes of one attention op; see [`crate::graph::Op::Attention`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

/// What is added to the scores; see [`crate::graph::Op::Attention`].
#[derive(Clone, Copy)]
pub(super) struct Mask<'a> {
    values: &'a [f32],
    /// Elements from one batch, and from one head, to the next; 0 where all share one.
    strides: [usize; 2],
}

impl<'a> Mask<'a> {
    /// Of values `[B or 1, heads or 1, Lq, Lk]`.
    pub(super) fn new(values: &'a [f32], shape: &[usize]) -> Self {
        let stride = |axis: usize| match shape.get(axis) {
            None | Some(1) => 0,
            Some(_) => shape.iter().skip(axis + 1).product(),
        };
        Self {
            values,
            strides: [stride(0), stride(1)],
        }
    }

    /// Rows of one head, from row `first` on.
    fn rows(self, item: usize, head: usize, first: usize, keys: usize) -> &'a [f32] {
        &self.values[item * self.strides[0] + head * self.strides[1] + first * keys..]
    }
}

/// Running softmax of a tile of queries: maximum and sum a row, and the weighted values so far.
pub(super) struct Online<'a> {
    maxima: &'a mut [f32],
    sums: &'a mut [f32],
    /// `[rows, head_dim]`
    values: &'a mut [f32],
    head_dim: usize,
}

impl<'a> Online<'a> {
    /// Floats of memory that a tile needs.
    pub(super) const fn len(rows: usize, head_dim: usize) -> usize {
        rows * (head_dim + 2)
    }

    /// Over memory of [`Online::len`] floats.
    pub(super) fn new(memory: &'a mut [f32], rows: usize, head_dim: usize) -> Self {
        let (maxima, rest) = memory.split_at_mut(rows);
        let (sums, values) = rest.split_at_mut(rows);
        maxima.fill(f32::NEG_INFINITY);
        sums.fill(0.0);
        values.fill(0.0);
        Self {
            maxima,
            sums,
            values,
            head_dim,
        }
    }

    /// Takes the scores of a block of keys, `[rows, keys]` (negative infinity: not seen), and turns them into weights for
    /// [`Online::gather`].
    pub(super) fn weigh(&mut self, scores: &mut [f32], keys: usize) {
        let states = self
            .maxima
            .iter_mut()
            .zip(self.sums.iter_mut())
            .zip(self.values.chunks_mut(self.head_dim));
        for (((maximum, sum), value), scores) in states.zip(scores.chunks_mut(keys)) {
            let highest = math::max(scores);
            if highest > *maximum {
                // What was gathered so far was relative to a lower maximum; the first time there is nothing.
                let correction = math::exp(*maximum - highest);
                *sum *= correction;
                math::scale(value, correction);
                *maximum = highest;
            }
            // A row that has seen nothing yet would give infinity minus infinity.
            let shift = if *maximum == f32::NEG_INFINITY {
                0.0
            } else {
                *maximum
            };
            *sum += math::exp_and_sum(scores, shift);
        }
    }

    /// Adds the values of some keys, `[keys, head_dim]`, by their weights `[rows, keys]`.
    pub(super) fn gather(&mut self, weights: Mat<'_>, values: Mat<'_>) {
        let mut gathered =
            MatMut::rows(self.values, self.maxima.len(), self.head_dim, self.head_dim);
        multiply(&mut gathered, Into::Add, weights, values, 1.0);
    }

    /// As [`Online::gather`] for a few rows of weights, `stride` elements apart, and values as they are kept; `false` where that is not possible.
    pub(super) fn gather_few(
        &mut self,
        weights: &[f32],
        stride: usize,
        values: few::Rows<'_>,
    ) -> bool {
        few::add_rows(self.values, values, weights, stride, self.head_dim)
    }

    /// Writes a row's result; zeros if it has seen no key.
    pub(super) fn finish(&self, row: usize, out: &mut [f32]) {
        let sum = self.sums[row];
        let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
        for (out, value) in out.iter_mut().zip(&self.values[row * self.head_dim..]) {
            *out = value * factor;
        }
    }
}

/// `q [B, Lq, heads*d], k, v [B, Lk, kv_heads*d] -> out [B, Lq, heads*d]`.
pub(super) fn attention(
    out: &mut [f32],
    [q, k, v]: [&[f32]; 3],
    mask: Option<Mask<'_>>,
    sizes: Sizes,
    scale: f32,
    causal: bool,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let Sizes {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        head_dim: d,
    } = sizes;
    let (q_stride, kv_stride) = (heads * d, kv_heads * d);
    let tiles = queries.div_ceil(QUERIES);
    let shared = Shared::new(out);
    let flops = 4.0 * (QUERIES.min(queries) * keys * d) as f64;
    for_tasks(batch * heads * tiles, flops, poll, |task| {
        let (item, head, first) = (
            task / (heads * tiles),
            task / tiles % heads,
            task % tiles * QUERIES,
        );
        let rows = QUERIES.min(queries - first);
        let kv_at = item * keys * kv_stride + head / (heads / kv_heads) * d;
        let q_at = (item * queries + first) * q_stride + head * d;
        let tile = Mat::rows(&q[q_at..], rows, d, q_stride);
        // Keys after the last query of the tile are seen by none.
        let visible = if causal { keys.min(first + rows) } else { keys };
        with_scratch(rows * KEYS.min(keys) + Online::len(rows, d), |scratch| {
            let (scores, state) = scratch.split_at_mut(rows * KEYS.min(keys));
            let mut online = Online::new(state, rows, d);
            for start in (0..visible).step_by(KEYS) {
                let len = KEYS.min(visible - start);
                let scores = &mut scores[..rows * len];
                let at = kv_at + start * kv_stride;
                let block = Mat::rows(&k[at..], len, d, kv_stride);
                let mut product = MatMut::rows(scores, rows, len, len);
                multiply(&mut product, Into::Replace, tile, block.transposed(), scale);
                if let Some(mask) = mask {
                    let rows = mask.rows(item, head, first, keys).chunks(keys);
                    for (scores, mask) in scores.chunks_mut(len).zip(rows) {
                        math::add_mask(scores, &mask[start..start + len], HIDDEN);
                    }
                }
                if causal {
                    for (row, scores) in scores.chunks_mut(len).enumerate() {
                        let seen = (first + row + 1).saturating_sub(start).min(len);
                        scores[seen..].fill(f32::NEG_INFINITY);
                    }
                }
                online.weigh(scores, len);
                online.gather(
                    Mat::rows(scores, rows, len, len),
                    Mat::rows(&v[at..], len, d, kv_stride),
                );
            }
            for row in 0..rows {
                // SAFETY: a task has its own queries of its own head.
                let out = unsafe { shared.slice(q_at + row * q_stride, d) };
                online.finish(row, out);
            }
        });
    })
}

/// Bytes that all threads together hold while it runs.
pub(super) fn scratch(sizes: Sizes) -> u64 {
    let rows = QUERIES.min(sizes.queries);
    let each = rows * KEYS.min(sizes.keys) + Online::len(rows, sizes.head_dim);
    let tasks = sizes.batch * sizes.heads * sizes.queries.div_ceil(QUERIES);
    4 * each as u64 * threads().min(tasks) as u64
}
