//! `x * weight^T + bias`, by how the weight is kept: candle's matrix product (oracle), candle's quantised product, or
//! panels of the weight as it lies in its file.

use candle_core::backend::BackendStorage;
use candle_core::quantized::QTensor;
use candle_core::{CpuStorage, CustomOp1, Layout};

use super::decode::decode;
use super::matmul::{Into, Mat, MatMut, multiply};
use super::parallel::{Poll, Shared, for_tasks, threads, with_scratch};
use super::weights::{Loaded, Weight};
use crate::formats::weights::TensorData;
use crate::graph::ExecError;

/// Rows of `x` that one task takes.
const ROWS: usize = 256;
/// Most elements of a decoded panel: 1 MiB.
const PANEL: usize = 256 * 1024;
/// Operations in one call of candle, which cannot be stopped.
const CALL_FLOPS: usize = 8_000_000_000;

/// Sizes: `x [m, k]`, `weight [n, k]`, `out [m, n]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
}

/// `out = x * weight^T + bias`.
pub(super) fn linear(
    label: &str,
    out: &mut [f32],
    x: &[f32],
    weight: &Weight,
    bias: Option<&[f32]>,
    sizes: Sizes,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    match &weight.loaded {
        Loaded::Matrix(matrix) => by_candle(label, out, x, bias, sizes, poll, |x, m| {
            let (left, right) = (
                Layout::contiguous((m, sizes.k)),
                Layout::contiguous((sizes.n, sizes.k)).transpose(0, 1)?,
            );
            x.matmul(matrix, (1, m, sizes.n, sizes.k), &left, &right)
        }),
        Loaded::Quantised(matrix) => by_candle(label, out, x, bias, sizes, poll, |x, m| {
            Ok(QTensor::cpu_fwd(matrix, x, &Layout::contiguous((m, sizes.k)))?.0)
        }),
        Loaded::Floats(floats) => {
            by_panels(out, x, Panels::Floats(floats.as_slice()), bias, sizes, poll)
        }
        Loaded::File(tensor) => by_panels(out, x, Panels::File(tensor), bias, sizes, poll),
    }
}

/// Bands of rows through one of candle's products, which makes a new vector each time.
fn by_candle(
    label: &str,
    out: &mut [f32],
    x: &[f32],
    bias: Option<&[f32]>,
    sizes: Sizes,
    poll: &mut Poll<'_>,
    product: impl Fn(&CpuStorage, usize) -> candle_core::Result<CpuStorage>,
) -> Result<(), ExecError> {
    let error = |message: String| ExecError::Backend {
        context: format!("linear at {label}"),
        message,
    };
    let Sizes { k, n, .. } = sizes;
    let band = candle_rows(sizes);
    for (out, x) in out.chunks_mut(band * n).zip(x.chunks(band * k)) {
        poll.check()?;
        let result =
            product(&CpuStorage::F32(x.to_vec()), x.len() / k).map_err(|e| error(e.to_string()))?;
        let CpuStorage::F32(values) = result else {
            return Err(error("the product is not in f32".into()));
        };
        for (out, values) in out.chunks_mut(n).zip(values.chunks(n)) {
            match bias {
                Some(bias) => {
                    for ((out, value), bias) in out.iter_mut().zip(values).zip(bias) {
                        *out = value + bias;
                    }
                }
                None => out.copy_from_slice(values),
            }
        }
    }
    Ok(())
}

/// Rows that go through candle in one call.
fn candle_rows(sizes: Sizes) -> usize {
    (CALL_FLOPS / (2 * sizes.k * sizes.n).max(1)).clamp(1, sizes.m.max(1))
}

/// Where panels of a weight come from.
#[derive(Clone, Copy)]
enum Panels<'a> {
    Floats(&'a [f32]),
    File(&'a TensorData),
}

/// Rows of the weight in a panel: several panels for each thread, each worth decoding and small enough to stay in the cache.
fn panel_rows(Sizes { m, k, n }: Sizes) -> usize {
    let wanted = (4 * threads()).div_ceil(m.div_ceil(ROWS));
    n.div_ceil(wanted.max(1))
        .next_multiple_of(16)
        .min((PANEL / k.max(1)).max(16))
        .clamp(16, 256)
}

/// Tiles of `ROWS` rows times panels; weights that are not floats are decoded panel by panel, so that f16 and bf16 ones stay as
/// small as they are in their file.
fn by_panels(
    out: &mut [f32],
    x: &[f32],
    weight: Panels<'_>,
    bias: Option<&[f32]>,
    sizes: Sizes,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let Sizes { m, k, n } = sizes;
    let panel = panel_rows(sizes);
    let tiles = m.div_ceil(ROWS);
    let shared = Shared::new(out);
    let failed = std::sync::OnceLock::new();
    let flops = 2.0 * (ROWS.min(m) * panel * k) as f64;
    for_tasks(tiles * n.div_ceil(panel), flops, poll, |task| {
        let (first, column) = (task % tiles * ROWS, task / tiles * panel);
        let (rows, columns) = (ROWS.min(m - first), panel.min(n - column));
        // SAFETY: a task has its own rows and columns of the output.
        let mut out = unsafe { MatMut::tile(&shared, first * n + column, rows, columns, n) };
        let into = match bias {
            Some(bias) => {
                for row in 0..rows {
                    out.row(row)
                        .copy_from_slice(&bias[column..column + columns]);
                }
                Into::Add
            }
            None => Into::Replace,
        };
        let x = Mat::rows(&x[first * k..], rows, k, k);
        match weight {
            Panels::Floats(weight) => {
                let weight = Mat::rows(&weight[column * k..], columns, k, k);
                multiply(&mut out, into, x, weight.transposed(), 1.0);
            }
            Panels::File(tensor) => with_scratch(columns * k, |scratch| {
                match decode(tensor, column * k, scratch) {
                    Ok(()) => multiply(
                        &mut out,
                        into,
                        x,
                        Mat::rows(scratch, columns, k, k).transposed(),
                        1.0,
                    ),
                    Err(error) => drop(failed.set(error)),
                }
            }),
        }
    })?;
    failed.into_inner().map_or(Ok(()), Err)
}

/// Bytes that all threads together hold while it runs.
pub(super) fn scratch(kept: super::weights::Kept, sizes: Sizes) -> u64 {
    use super::weights::Kept;
    let Sizes { k, n, .. } = sizes;
    let floats = match kept {
        Kept::Matrix => candle_rows(sizes) * (k + n),
        // With the rows in candle's 8-bit blocks.
        Kept::Quantised => candle_rows(sizes) * (k + n + k.div_ceil(3)),
        Kept::Floats => 0,
        Kept::File => threads() * panel_rows(sizes) * k,
    };
    4 * floats as u64
}
