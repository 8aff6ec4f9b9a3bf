//! `x * weight^T + bias`, by how the weight is kept: candle's matrix product (oracle), packed tiles, candle's quantised product, or
//! panels of the weight as it lies in its file.

use candle_core::backend::BackendStorage;
use candle_core::quantized::QTensor;
use candle_core::{CpuStorage, CustomOp1, Layout};
use half::{bf16, f16};
use rayon::prelude::*;

use super::decode::decode_bytes;
use super::few;
use super::math::{dot, dot_bf16, dot_f16};
use super::matmul::{Into, Mat, MatMut, multiply};
use super::packed;
use super::parallel::{CHUNK, Poll, Shared, for_tasks, threads, with_scratch, zeros};
use super::weights::{Kept, Loaded, Weight};
use crate::formats::weights::{StorageDtype, TensorData};
use crate::graph::ExecError;

/// Rows of `x` that one task takes.
const ROWS: usize = 512;
/// Rows of `x` up to which the weight is read row by row, without or with [`few::products`]: the time goes into reading it.
const FEW: usize = 4;
/// Most elements of a decoded panel: 2.5 MiB.
const PANEL: usize = 640 * 1024;
/// Operations in one call of candle, which cannot be stopped.
const CALL_FLOPS: usize = 8_000_000_000;
/// Rows of `x` from which a Q4_0 weight is decoded panel by panel: candle has no packed kernel for it on x86, and takes
/// several times as long for many rows.
const MANY_FOR_Q4_0: usize = 16;

/// Sizes: `x [m, k]`, `weight [n, k]`, `out [m, n]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
}

/// The operands of a product besides the weight, and its destination.
struct Operands<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    sizes: Sizes,
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
    let operands = Operands {
        out,
        x,
        bias,
        sizes,
    };
    let bytes = match &weight.loaded {
        Loaded::Floats(floats) => {
            return operands.by_panels(label, Panels::Floats(floats.as_slice()), poll);
        }
        Loaded::File(tensor) => {
            return operands.by_panels(label, Panels::Blocks(tensor.dtype(), tensor.bytes()), poll);
        }
        Loaded::Matrix(matrix) => {
            return operands.by_candle(label, poll, |x, m| {
                let left = Layout::contiguous((m, sizes.k));
                let right = Layout::contiguous((sizes.n, sizes.k)).transpose(0, 1)?;
                x.matmul(matrix, (1, m, sizes.n, sizes.k), &left, &right)
            });
        }
        Loaded::Packed(matrix) => {
            return matrix.multiply(label, operands.out, x, bias, sizes, poll);
        }
        Loaded::Quantised(matrix, dtype) => {
            if !is_decoded(*dtype, sizes.m) {
                return operands.by_candle(label, poll, |x, m| {
                    Ok(QTensor::cpu_fwd(matrix, x, &Layout::contiguous((m, sizes.k)))?.0)
                });
            }
            (
                *dtype,
                matrix
                    .data()
                    .map_err(|error| failure(label, error.to_string()))?,
            )
        }
    };
    operands.by_panels(label, Panels::Blocks(bytes.0, &bytes.1), poll)
}

/// `out = x * weight[first..first + n]^T`, the weight as it lies in its file.
pub(super) fn rows_of(
    label: &str,
    out: &mut [f32],
    x: &[f32],
    weight: &TensorData,
    first: usize,
    sizes: Sizes,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let part = weight.slice_rows(first, sizes.n)?;
    let operands = Operands {
        out,
        x,
        bias: None,
        sizes,
    };
    operands.by_panels(label, Panels::Blocks(part.dtype(), part.bytes()), poll)
}

/// Bytes that all threads together hold while [`rows_of`] runs.
pub(super) fn rows_scratch(sizes: Sizes) -> u64 {
    scratch(Kept::File, StorageDtype::F32, sizes)
}

/// Whether a quantised weight is decoded for so many rows rather than given to candle.
fn is_decoded(dtype: StorageDtype, m: usize) -> bool {
    cfg!(target_arch = "x86_64") && dtype == StorageDtype::Q4_0 && m >= MANY_FOR_Q4_0
}

fn failure(label: &str, message: String) -> ExecError {
    ExecError::Backend {
        context: format!("linear at {label}"),
        message,
    }
}

/// Where panels of a weight come from.
#[derive(Clone, Copy)]
enum Panels<'a> {
    Floats(&'a [f32]),
    Blocks(StorageDtype, &'a [u8]),
}

impl Operands<'_> {
    /// Bands of rows through one of candle's products, which makes a new vector each time.
    fn by_candle(
        self,
        label: &str,
        poll: &mut Poll<'_>,
        product: impl Fn(&CpuStorage, usize) -> candle_core::Result<CpuStorage>,
    ) -> Result<(), ExecError> {
        let Sizes { k, n, .. } = self.sizes;
        let band = candle_rows(self.sizes);
        for (out, x) in self.out.chunks_mut(band * n).zip(self.x.chunks(band * k)) {
            poll.check()?;
            let mut rows = zeros::<f32>(label, x.len())?;
            rows.par_chunks_mut(CHUNK)
                .zip(x.par_chunks(CHUNK))
                .for_each(|(copy, x)| copy.copy_from_slice(x));
            let result = product(&CpuStorage::F32(rows), x.len() / k);
            let CpuStorage::F32(values) =
                result.map_err(|error| failure(label, error.to_string()))?
            else {
                return Err(failure(label, "the product is not in f32".into()));
            };
            out.par_chunks_mut(n)
                .zip(values.par_chunks(n))
                .for_each(|(out, values)| match self.bias {
                    Some(bias) => {
                        for ((out, value), bias) in out.iter_mut().zip(values).zip(bias) {
                            *out = value + bias;
                        }
                    }
                    None => out.copy_from_slice(values),
                });
        }
        Ok(())
    }

    /// Weights that are not floats are decoded part by part, so that f16 and bf16 ones stay as small as they are in their file.
    fn by_panels(
        self,
        label: &str,
        weight: Panels<'_>,
        poll: &mut Poll<'_>,
    ) -> Result<(), ExecError> {
        let fits = match weight {
            Panels::Floats(values) => values.len() == self.sizes.k * self.sizes.n,
            Panels::Blocks(dtype, bytes) => {
                dtype.bytes_for(self.sizes.k * self.sizes.n) == Some(bytes.len())
            }
        };
        // Decoding can then only fail for types that are no weights.
        let decodes = !matches!(weight, Panels::Blocks(dtype, _) if !dtype.is_float_weight());
        if !fits || !decodes {
            return Err(failure(
                label,
                "the weight's bytes do not belong to its shape".into(),
            ));
        }
        if self.sizes.m <= FEW.max(few::most()) {
            self.few_rows(weight, poll)
        } else {
            self.many_rows(weight, poll)
        }
    }

    /// Each row of the weight is read once and multiplied with all rows of `x`.
    fn few_rows(self, weight: Panels<'_>, poll: &mut Poll<'_>) -> Result<(), ExecError> {
        let Sizes { m, k, n } = self.sizes;
        let panel = n.div_ceil(4 * threads()).max(16);
        let shared = Shared::new(self.out);
        for_tasks(
            n.div_ceil(panel),
            2.0 * (m * panel * k) as f64,
            poll,
            |task| {
                let (first, len) = (task * panel, panel.min(n - task * panel));
                let put = |column: usize, products: &[f32]| {
                    let bias = self.bias.map_or(0.0, |bias| bias[column]);
                    for (i, product) in products.iter().enumerate() {
                        // SAFETY: a task has its own columns.
                        let out = unsafe { shared.slice(i * n + column, 1) };
                        out.fill(product + bias);
                    }
                };
                let one_by_one = |column: usize, product: &dyn Fn(&[f32]) -> f32| {
                    let mut products = [0.0; FEW];
                    for (product_of, x) in products.iter_mut().zip(self.x.chunks(k)) {
                        *product_of = product(x);
                    }
                    put(column, &products[..m.min(FEW)]);
                };
                let columns = first..first + len;
                macro_rules! rows {
                    ($kind:ident, $weight:expr, $dot:ident) => {{
                        let weight = &$weight[first * k..][..len * k];
                        let together =
                            few::products(few::Rows::$kind(weight), self.x, k, |i, products| {
                                put(first + i, products);
                            });
                        if !together {
                            for (column, row) in columns.zip(weight.chunks(k)) {
                                one_by_one(column, &|x| $dot(x, row));
                            }
                        }
                    }};
                }
                match weight {
                    Panels::Floats(weight) => rows!(F32, weight, dot),
                    Panels::Blocks(dtype, bytes) => {
                        if let Some(weight) = halves::<f16>(dtype == StorageDtype::F16, bytes) {
                            rows!(F16, weight, dot_f16);
                        } else if let Some(weight) =
                            halves::<bf16>(dtype == StorageDtype::Bf16, bytes)
                        {
                            rows!(Bf16, weight, dot_bf16);
                        } else {
                            with_scratch(k, |row| {
                                for column in columns {
                                    let decoded = decode_bytes(dtype, bytes, column * k, row);
                                    assert!(decoded, "the weight's type and length were checked");
                                    let together = few::products(
                                        few::Rows::F32(row),
                                        self.x,
                                        k,
                                        |_, products| {
                                            put(column, products);
                                        },
                                    );
                                    if !together {
                                        one_by_one(column, &|x| dot(x, row));
                                    }
                                }
                            });
                        }
                    }
                }
            },
        )
    }

    /// Tiles of [`ROWS`] rows times panels of the weight.
    fn many_rows(self, weight: Panels<'_>, poll: &mut Poll<'_>) -> Result<(), ExecError> {
        let Sizes { m, k, n } = self.sizes;
        let panel = panel_rows(self.sizes);
        let tiles = m.div_ceil(ROWS);
        let shared = Shared::new(self.out);
        let flops = 2.0 * (ROWS.min(m) * panel * k) as f64;
        for_tasks(tiles * n.div_ceil(panel), flops, poll, |task| {
            let (first, column) = (task % tiles * ROWS, task / tiles * panel);
            let (rows, columns) = (ROWS.min(m - first), panel.min(n - column));
            // SAFETY: a task has its own rows and columns of the output.
            let mut out = unsafe { MatMut::tile(&shared, first * n + column, rows, columns, n) };
            let into = match self.bias {
                Some(bias) => {
                    for row in 0..rows {
                        out.row(row)
                            .copy_from_slice(&bias[column..column + columns]);
                    }
                    Into::Add
                }
                None => Into::Replace,
            };
            let x = Mat::rows(&self.x[first * k..], rows, k, k);
            match weight {
                Panels::Floats(weight) => {
                    let weight = Mat::rows(&weight[column * k..], columns, k, k);
                    multiply(&mut out, into, x, weight.transposed(), 1.0);
                }
                Panels::Blocks(dtype, bytes) => with_scratch(columns * k, |scratch| {
                    // Row by row: a large piece would be shared out once more.
                    for (row, scratch) in scratch.chunks_mut(k).enumerate() {
                        let decoded = decode_bytes(dtype, bytes, (column + row) * k, scratch);
                        assert!(decoded, "the weight's type and length were checked");
                    }
                    multiply(
                        &mut out,
                        into,
                        x,
                        Mat::rows(scratch, columns, k, k).transposed(),
                        1.0,
                    );
                }),
            }
        })
    }
}

/// The bytes as 16-bit floats, if they are such and lie at an even address.
fn halves<T: bytemuck::Pod>(is: bool, bytes: &[u8]) -> Option<&[T]> {
    is.then(|| bytemuck::try_cast_slice(bytes).ok()).flatten()
}

/// Rows that go through candle in one call.
fn candle_rows(sizes: Sizes) -> usize {
    (CALL_FLOPS / (2 * sizes.k * sizes.n).max(1)).clamp(1, sizes.m.max(1))
}

/// Rows of the weight in a panel: several panels for each thread, each worth decoding and small enough to stay in the cache.
fn panel_rows(Sizes { m, k, n }: Sizes) -> usize {
    let wanted = (4 * threads()).div_ceil(m.div_ceil(ROWS));
    n.div_ceil(wanted.max(1))
        .next_multiple_of(16)
        .min((PANEL / k.max(1)).max(16))
        .clamp(16, 256)
}

/// Bytes that all threads together hold while it runs.
pub(super) fn scratch(kept: Kept, dtype: StorageDtype, sizes: Sizes) -> u64 {
    let Sizes { m, k, n } = sizes;
    let decoded = threads()
        * if m <= FEW.max(few::most()) {
            k
        } else {
            panel_rows(sizes) * k
        };
    let floats = match kept {
        Kept::Floats => 0,
        Kept::File => decoded,
        Kept::Matrix => candle_rows(sizes) * (k + n),
        Kept::Packed => return packed::scratch(dtype, sizes),
        Kept::Quantised if is_decoded(dtype, m) => decoded,
        // With the rows in candle's 8-bit blocks.
        Kept::Quantised => candle_rows(sizes) * (k + n + k.div_ceil(3)),
    };
    4 * floats as u64
}
