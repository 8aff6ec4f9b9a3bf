//! Weights to `f32`, whole or in parts.

use half::prelude::*;
use half::{bf16, f16};
use rayon::prelude::*;

use super::parallel::{CHUNK, zeros};
use crate::formats::dequant::dequantize_into;
use crate::formats::weights::{StorageDtype, TensorData};
use crate::graph::ExecError;

/// Decodes the elements from `first` on, as many as `out` takes. `first` and the length of `out` are whole blocks.
///
/// # Errors
/// A type that is no weight type, or elements that the tensor does not have.
pub(super) fn decode(tensor: &TensorData, first: usize, out: &mut [f32]) -> Result<(), ExecError> {
    if decode_bytes(tensor.dtype(), tensor.bytes(), first, out) {
        return Ok(());
    }
    Err(bad(
        tensor,
        "cannot be computed with, or does not have the elements that were asked for",
    ))
}

/// As [`decode`], from the bytes of a tensor; `false` where that gives an error.
#[must_use]
pub(super) fn decode_bytes(
    dtype: StorageDtype,
    bytes: &[u8],
    first: usize,
    out: &mut [f32],
) -> bool {
    let part = (|| {
        let start = dtype.bytes_for(first)?;
        let end = dtype.bytes_for(first.checked_add(out.len())?)?;
        bytes.get(start..end)
    })();
    let Some(bytes) = part else { return false };
    // The processor's own conversions where the bytes lie at even addresses, as they nearly always do.
    match dtype {
        StorageDtype::F32 => {
            if let Ok(values) = bytemuck::try_cast_slice::<u8, f32>(bytes) {
                out.copy_from_slice(values);
                return true;
            }
        }
        StorageDtype::F16 => {
            if let Ok(values) = bytemuck::try_cast_slice::<u8, f16>(bytes) {
                values.convert_to_f32_slice(out);
                return true;
            }
        }
        StorageDtype::Bf16 => {
            if let Ok(values) = bytemuck::try_cast_slice::<u8, bf16>(bytes) {
                widen_bf16(values, out);
                return true;
            }
        }
        _ => {}
    }
    dequantize_into(dtype, bytes, out)
}

super::math::multiversion! {
    fn widen_bf16(values: &[bf16], out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

/// Decodes a whole tensor, in parallel.
pub(super) fn decode_all(tensor: &TensorData) -> Result<Vec<f32>, ExecError> {
    let mut values = zeros::<f32>(tensor.name(), tensor.elements())?;
    // CHUNK is a multiple of every block length.
    values
        .par_chunks_mut(CHUNK)
        .enumerate()
        .try_for_each(|(i, out)| decode(tensor, i * CHUNK, out))?;
    Ok(values)
}

/// The tensor's own bytes as floats, where they are floats at an address that can be read as such.
pub(super) fn as_floats(tensor: &TensorData) -> Option<&[f32]> {
    let native = tensor.dtype() == StorageDtype::F32 && cfg!(target_endian = "little");
    native
        .then(|| bytemuck::try_cast_slice(tensor.bytes()).ok())
        .flatten()
}

pub(super) fn bad(tensor: &TensorData, what: &str) -> ExecError {
    ExecError::Backend {
        context: format!(
            "reading the weight '{}' ({} {:?})",
            tensor.name(),
            tensor.dtype().name(),
            tensor.shape()
        ),
        message: what.to_owned(),
    }
}
