//! File formats that models and pictures come in. Every parser treats its input as hostile.

pub mod dequant;
pub mod dtype;
#[allow(dead_code)] // the file readers come next
pub mod error;
#[allow(dead_code)] // the file readers come next
pub mod weights;

pub use error::FormatError;
pub use weights::{StorageDtype, TensorData, TensorKey, WeightMap};
