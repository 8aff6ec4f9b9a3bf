//! Ops that move elements: permute, concat, slice, nearest-neighbour upsampling, lookups in tables.

use rayon::prelude::*;

use super::decode::decode;
use super::parallel::{CHUNK, Shared, for_chunks};
use super::team::share;
use crate::formats::weights::TensorData;
use crate::graph::ExecError;

/// Side of the square tiles in which a transposition goes; two of them fit the first-level cache.
const TILE: usize = 32;

/// `out` axis `i` is `x` axis `axes[i]`; at most four axes.
pub(super) fn permute(out: &mut [f32], x: &[f32], x_shape: &[usize], axes: &[usize]) {
    // Strides of the input in the order of the output, padded with ones in front.
    let mut strides = vec![1; x_shape.len()];
    for i in (0..x_shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * x_shape[i + 1];
    }
    let mut shape = [1; 4];
    let mut stride = [0; 4];
    let skip = 4 - axes.len().min(4);
    for (i, &axis) in axes.iter().enumerate() {
        (shape[skip + i], stride[skip + i]) = (x_shape[axis], strides[axis]);
    }
    let [d0, d1, d2, d3] = shape;
    let [s0, s1, s2, s3] = stride;
    if s3 == 1 || d3 == 1 {
        // Whole runs stay together.
        let rows = (CHUNK / d3).max(1);
        for_chunks(out, rows * d3, |i, out| {
            for (j, out) in out.chunks_mut(d3).enumerate() {
                let row = i * rows + j;
                let from = row / (d1 * d2) % d0 * s0 + row / d2 % d1 * s1 + row % d2 * s2;
                out.copy_from_slice(&x[from..from + d3]);
            }
        });
        return;
    }
    // The output axis along which the input is contiguous is read together with the last one, in square tiles.
    let near = (0..3)
        .rev()
        .find(|&i| stride[i] == 1 && shape[i] > 1)
        .unwrap_or(2);
    let out_stride = [d1 * d2 * d3, d2 * d3, d3];
    let others: Vec<usize> = (0..3).filter(|&i| i != near).collect();
    let (a, b) = (others[0], others[1]);
    let strips = shape[near].div_ceil(TILE);
    let shared = Shared::new(out);
    share(shape[a] * shape[b] * strips, &|task| {
        let (outer, strip) = (task / strips, task % strips);
        let (i, j) = (outer / shape[b], outer % shape[b]);
        let to = i * out_stride[a] + j * out_stride[b];
        let from = i * stride[a] + j * stride[b];
        let lines = strip * TILE..shape[near].min((strip + 1) * TILE);
        for column in (0..d3).step_by(TILE) {
            let columns = TILE.min(d3 - column);
            for line in lines.clone() {
                // SAFETY: each line of the output belongs to one task only.
                let out = unsafe { shared.slice(to + line * out_stride[near] + column, columns) };
                let from = from + line * stride[near] + column * s3;
                for (out, x) in out.iter_mut().zip(x[from..].iter().step_by(s3)) {
                    *out = *x;
                }
            }
        }
    });
}

/// One operand of a concatenation into `out`, whose rows are `width` long and take `x`'s rows of `len` at `offset`.
pub(super) fn concat_part(out: &mut [f32], x: &[f32], width: usize, offset: usize, len: usize) {
    let rows = (CHUNK / width.max(1)).max(1);
    for_chunks(out, rows * width, |i, out| {
        let x = x.get(i * rows * len..).unwrap_or_default();
        for (out, x) in out.chunks_mut(width).zip(x.chunks(len)) {
            if let Some(part) = out.get_mut(offset..offset + len) {
                part.copy_from_slice(x);
            }
        }
    });
}

/// Takes `len` elements at `offset` out of every row of `width`.
pub(super) fn slice(out: &mut [f32], x: &[f32], width: usize, offset: usize, len: usize) {
    let rows = (CHUNK / len.max(1)).max(1);
    for_chunks(out, rows * len, |i, out| {
        let x = x.get(i * rows * width..).unwrap_or_default();
        for (out, x) in out.chunks_mut(len).zip(x.chunks(width)) {
            if let Some(part) = x.get(offset..offset + len) {
                out.copy_from_slice(part);
            }
        }
    });
}

/// `[planes, h, w] -> [planes, oh, ow]`, source index `floor(i * h / oh)`.
pub(super) fn upsample_nearest(
    out: &mut [f32],
    x: &[f32],
    [h, w]: [usize; 2],
    [oh, ow]: [usize; 2],
) {
    let columns: Vec<usize> = (0..ow).map(|i| i * w / ow).collect();
    for_chunks(out, oh * ow, |plane, out| {
        let x = &x[plane * h * w..][..h * w];
        for (i, row) in out.chunks_mut(ow).enumerate() {
            let from = &x[i * h / oh * w..][..w];
            for (out, &column) in row.iter_mut().zip(&columns) {
                *out = from[column];
            }
        }
    });
}

/// The error for an id or index that points outside of its table.
fn outside(label: &str, what: &str, id: u32, rows: usize) -> ExecError {
    ExecError::Input {
        graph: label.to_owned(),
        name: what.to_owned(),
        detail: format!("{id} points outside of {rows} rows"),
    }
}

fn check_ids(label: &str, what: &str, ids: &[u32], rows: usize) -> Result<(), ExecError> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        Some(&id) => Err(outside(label, what, id, rows)),
        None => Ok(()),
    }
}

/// Rows of a table `[V, D]` of any storage type.
pub(super) fn embedding(
    label: &str,
    out: &mut [f32],
    ids: &[u32],
    table: &TensorData,
    d: usize,
) -> Result<(), ExecError> {
    check_ids(
        label,
        "token id",
        ids,
        table.shape().first().copied().unwrap_or(0),
    )?;
    if let [id] = *ids {
        return decode(table, id as usize * d, out);
    }
    out.par_chunks_mut(d)
        .zip(ids)
        .try_for_each(|(out, &id)| decode(table, id as usize * d, out))
}

/// Chosen rows of `x [rows, D]`.
pub(super) fn gather_rows(
    label: &str,
    out: &mut [f32],
    x: &[f32],
    indices: &[u32],
    d: usize,
) -> Result<(), ExecError> {
    check_ids(label, "row index", indices, x.len() / d.max(1))?;
    let rows = (CHUNK / d.max(1)).max(1);
    for_chunks(out, rows * d, |i, out| {
        let indices = indices.get(i * rows..).unwrap_or_default();
        for (out, &index) in out.chunks_mut(d).zip(indices) {
            out.copy_from_slice(&x[index as usize * d..][..d]);
        }
    });
    Ok(())
}
