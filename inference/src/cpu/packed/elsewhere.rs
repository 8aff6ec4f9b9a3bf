//! In place of the kernels for packed weights on processors for which there are none: no weight is kept so, and candle multiplies.

use super::decode::bad;
use super::linear::Sizes;
use super::parallel::Poll;
use crate::formats::weights::{StorageDtype, TensorData};
use crate::graph::ExecError;

/// A weight in tiles, of which there are none here.
pub(super) enum Packed {}

/// Bytes that a weight takes in tiles.
pub(super) fn bytes(_tensor: &TensorData) -> Option<u64> {
    None
}

/// Bytes that all threads together hold while a product runs.
pub(super) fn scratch(_dtype: StorageDtype, _sizes: Sizes) -> u64 {
    0
}

impl Packed {
    /// Always an error: [`bytes`] gives none.
    pub(super) fn new(tensor: &TensorData) -> Result<Self, ExecError> {
        Err(bad(
            tensor,
            "this processor has no kernel for packed weights",
        ))
    }

    /// Of no weight.
    pub(super) fn multiply(
        &self,
        _label: &str,
        _out: &mut [f32],
        _x: &[f32],
        _bias: Option<&[f32]>,
        _sizes: Sizes,
        _poll: &mut Poll<'_>,
    ) -> Result<(), ExecError> {
        match *self {}
    }
}
