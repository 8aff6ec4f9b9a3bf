//! Quantised weights kept packed, multiplied with activations rounded to 8 bits a block of 32 by vector kernels of our own: every
//! type of GGUF that is read, each weight once in memory, in an order that suits the kernels.
//!
//! Products of integers are exact and sums of blocks are in f32, so the only error beside that of f32 is the rounding of activations, as in
//! llama.cpp and candle (which round some types' activations in blocks of 256).
//!
//! * `layout.rs`: how tiles of sixteen rows lie in memory; `repack.rs`: from a file's blocks to tiles.
//! * `rows.rs`: activations to 8-bit blocks.
//! * `avx512.rs`, `avx2.rs`: the kernels. Elsewhere candle multiplies.

mod avx2;
mod avx512;
mod layout;
mod repack;
mod rows;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use self::layout::{Format as _, LANES, Tiles, with_format};
use self::rows::{Correct, ROWS, Rows, Tile};
use super::decode::bad;
use super::linear::Sizes;
use super::parallel::{Poll, Shared, for_tasks, threads, zeros};
use crate::formats::weights::{StorageDtype, TensorData};
use crate::graph::ExecError;

/// Bytes of weights that a task goes through for each tile of activations: what stays in a core's own cache.
const PANEL: usize = 256 << 10;

/// What the kernels use of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// AVX-512 with its dot product of bytes.
    Avx512,
    /// AVX2 with its dot product of bytes.
    Avx2Vnni,
    Avx2,
}

impl Tier {
    const ALL: [Self; 3] = [Self::Avx512, Self::Avx2Vnni, Self::Avx2];

    fn is_there(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        avx2 && match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx2Vnni => is_x86_feature_detected!("avxvnni"),
            Self::Avx2 => true,
        }
    }

    fn best() -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.is_there())
    }

    /// Whether codes of 8 bits are signed, so that there is no offset to take off.
    fn is_signed(self, offset: i32) -> bool {
        self == Self::Avx2 && offset == 128
    }
}

/// A tile of the weight, its factors and its codes, times a tile of activations: `out [rows, 16]`.
///
/// # Safety
/// The processor has what the kernel's tier says.
type Kernel = unsafe fn(&[u8], &[u8], Tile<'_>, &mut [[f32; LANES]]);

/// The kernel for so many rows, which [`rows::tiles`] gives.
fn kernel(tier: Tier, dtype: StorageDtype, rows: usize) -> Option<Kernel> {
    macro_rules! choose {
        ($($name:ident)::*, $format:ident) => {
            match rows {
                1 => $($name)::*::<$format, 1> as Kernel,
                2 => $($name)::*::<$format, 2>,
                3 => $($name)::*::<$format, 3>,
                4 => $($name)::*::<$format, 4>,
                ROWS => $($name)::*::<$format, ROWS>,
                _ => return None,
            }
        };
    }
    Some(with_format!(
        dtype,
        F => match tier {
            Tier::Avx512 => choose!(avx512::multiply, F),
            Tier::Avx2Vnni => choose!(avx2::multiply_vnni, F),
            Tier::Avx2 if F::OFFSET == 128 => choose!(avx2::multiply_signed, F),
            Tier::Avx2 => choose!(avx2::multiply, F),
        },
        return None
    ))
}

/// 64 bytes where a cache line starts.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A weight `[n, k]` in tiles.
pub(super) struct Packed {
    lines: Vec<Line>,
    dtype: StorageDtype,
    n: usize,
    k: usize,
    tiles: Tiles,
    tier: Tier,
}

/// Bytes that a weight takes in tiles; `None` if it cannot be kept so, or this processor has no kernel for it.
pub(super) fn bytes(tensor: &TensorData) -> Option<u64> {
    Tier::best()?;
    let &[n, k] = tensor.shape() else { return None };
    let tiles = Tiles::new(tensor.dtype(), n, k)?;
    Some((tiles.count * tiles.bytes) as u64)
}

/// Bytes that all threads together hold while a product runs.
pub(super) fn scratch(dtype: StorageDtype, sizes: Sizes) -> u64 {
    let subs = with_format!(dtype, F => F::SUBS, 1);
    rows::bytes(sizes.m, sizes.k, subs) as u64
}

impl Packed {
    /// Brings a weight into tiles, in parallel.
    ///
    /// # Errors
    /// A weight for which [`bytes`] gives none, or no memory.
    pub(super) fn new(tensor: &TensorData) -> Result<Self, ExecError> {
        let Some(tier) = Tier::best() else {
            return Err(bad(
                tensor,
                "this processor has no kernel for packed weights",
            ));
        };
        Self::for_tier(tensor, tier)
    }

    fn for_tier(tensor: &TensorData, tier: Tier) -> Result<Self, ExecError> {
        let &[n, k] = tensor.shape() else {
            return Err(bad(tensor, "is no matrix"));
        };
        let dtype = tensor.dtype();
        let tiles = Tiles::new(dtype, n, k)
            .ok_or_else(|| bad(tensor, "is of no type that is kept packed"))?;
        let mut lines = zeros::<Line>(tensor.name(), tiles.count * tiles.bytes / 64)?;
        let row = tensor.bytes().len() / n.max(1);
        lines
            .par_chunks_mut(tiles.bytes / 64)
            .zip(tensor.bytes().par_chunks(LANES * row.max(1)))
            .for_each(|(lines, rows)| {
                repack::tile(dtype, rows, k, tiles, bytemuck::cast_slice_mut(lines));
            });
        Ok(Self {
            lines,
            dtype,
            n,
            k,
            tiles,
            tier,
        })
    }

    /// `out = x * weight^T + bias`.
    pub(super) fn multiply(
        &self,
        label: &str,
        out: &mut [f32],
        x: &[f32],
        bias: Option<&[f32]>,
        sizes: Sizes,
        poll: &mut Poll<'_>,
    ) -> Result<(), ExecError> {
        let Sizes { m, k, n } = sizes;
        let fail = || ExecError::Backend {
            context: format!("linear at {label}"),
            message: "the weight does not belong to its shape".into(),
        };
        if (k, n) != (self.k, self.n) || x.len() != m * k || out.len() != m * n {
            return Err(fail());
        }
        poll.check()?;
        let (subs, minima, offset) = with_format!(
            self.dtype,
            F => (F::SUBS, F::MINIMA, F::OFFSET),
            return Err(fail())
        );
        let correct = match minima {
            true => Correct::Minima,
            false if self.tier.is_signed(offset) => Correct::Offset(0),
            false => Correct::Offset(offset),
        };
        let rows = Rows::new(label, x, k, subs, correct)?;
        let mut calls = Vec::new();
        for (first, count) in rows::tiles(m) {
            let kernel = kernel(self.tier, self.dtype, count).ok_or_else(fail)?;
            calls.push((first, count, kernel));
        }
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        // Several panels for each thread, each small enough to stay in its cache.
        let panel = (PANEL / self.tiles.bytes)
            .min(self.tiles.count.div_ceil(4 * threads()))
            .max(1);
        let shared = Shared::new(out);
        let flops = 2.0 * (m * panel * LANES * k) as f64;
        for_tasks(self.tiles.count.div_ceil(panel), flops, poll, |task| {
            let tiles = bytes.chunks_exact(self.tiles.bytes).enumerate();
            let mut made = [[0.0; LANES]; ROWS];
            for &(first, count, kernel) in &calls {
                let x = rows.tile(first, count);
                for (index, tile) in tiles.clone().skip(task * panel).take(panel) {
                    let (heads, bodies) = tile.split_at(self.tiles.head);
                    // SAFETY: the tier was found on this processor.
                    unsafe { kernel(heads, bodies, x, &mut made) };
                    let column = index * LANES;
                    let columns = LANES.min(n - column);
                    for (row, made) in made.iter().enumerate().take(count) {
                        // SAFETY: a task has its own columns.
                        let out = unsafe { shared.slice((first + row) * n + column, columns) };
                        match bias {
                            Some(bias) => {
                                let sums = made.iter().zip(&bias[column..]);
                                for (out, (made, bias)) in out.iter_mut().zip(sums) {
                                    *out = made + bias;
                                }
                            }
                            None => out.copy_from_slice(&made[..columns]),
                        }
                    }
                }
            }
        })
    }
}
