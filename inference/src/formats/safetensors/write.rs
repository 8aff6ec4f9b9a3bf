//! Writing safetensors: latents, and small models for tests.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::formats::atomic::write_atomically;
use crate::formats::error::FormatError;
use crate::formats::weights::TensorData;

/// Writes f32 tensors `(name, shape, values)` in the given order. The file appears whole or not at all.
///
/// # Errors
/// Values that do not fill their shape, repeated names, and what the operating system says.
pub fn write_safetensors<N, S, V>(path: &Path, tensors: &[(N, S, V)]) -> Result<(), FormatError>
where
    N: AsRef<str>,
    S: AsRef<[usize]>,
    V: AsRef<[f32]>,
{
    let tensors: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, values)| {
            TensorData::from_f32(name.as_ref(), shape.as_ref(), values.as_ref())
        })
        .collect();
    write_tensors(path, &tensors?, &BTreeMap::new())
}

/// Writes tensors as they are stored, under their names, with the `__metadata__` given.
///
/// # Errors
/// Repeated names, types that safetensors does not have, and what the operating system says.
pub fn write_tensors(
    path: &Path,
    tensors: &[TensorData],
    metadata: &BTreeMap<String, String>,
) -> Result<(), FormatError> {
    let header = header_bytes(path, tensors, metadata)?;
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in tensors {
            out.write_all(tensor.bytes())?;
        }
        Ok(())
    })
}

fn header_bytes(
    path: &Path,
    tensors: &[TensorData],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FormatError> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut at = 0;
    for tensor in tensors {
        if crate::formats::StorageDtype::from_safetensors(tensor.dtype().name()).is_none() {
            return Err(FormatError::CannotEncode {
                what: format!("tensor `{}`", tensor.name()),
                reason: format!("safetensors has no {}", tensor.dtype()),
            });
        }
        let end = at + tensor.bytes().len();
        let entry = json!({
            "dtype": tensor.dtype().name(),
            "shape": tensor.shape(),
            "data_offsets": [at, end],
        });
        if header.insert(tensor.name().into(), entry).is_some() {
            return Err(FormatError::DuplicateTensor {
                path: path.into(),
                tensor: tensor.name().into(),
            });
        }
        at = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    // Spaces bring the data to a multiple of eight, as the reference implementation does.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
