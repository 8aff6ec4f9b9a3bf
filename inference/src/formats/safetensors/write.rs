//! Writing safetensors: latents, and small models for tests.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::formats::atomic::write_atomically;
use crate::formats::error::FormatError;
use crate::formats::spec::{TensorSpec, write_promised};
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
    let specs: Vec<TensorSpec> = tensors.iter().map(TensorSpec::of).collect();
    let header = header_bytes(path, &specs, metadata)?;
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in tensors {
            out.write_all(tensor.bytes())?;
        }
        Ok(())
    })
}

/// Writes tensors that are made one by one: `fill` is called with the index of each in turn and writes its bytes. The file
/// appears whole or not at all.
///
/// # Errors
/// As [`write_tensors`]; errors of `fill`, and if it writes more or less than is needed.
pub fn write_streamed(
    path: &Path,
    specs: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
    fill: &mut dyn FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FormatError> {
    let header = header_bytes(path, specs, metadata)?;
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (index, spec) in specs.iter().enumerate() {
            write_promised(out, spec, |out| fill(index, out))?;
        }
        Ok(())
    })
}

fn header_bytes(
    path: &Path,
    specs: &[TensorSpec],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FormatError> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut at = 0;
    for spec in specs {
        let fault = |reason: String| FormatError::CannotEncode {
            what: format!("tensor `{}`", spec.name),
            reason,
        };
        if crate::formats::StorageDtype::from_safetensors(spec.dtype.name()).is_none() {
            return Err(fault(format!("safetensors has no {}", spec.dtype)));
        }
        let bytes = spec
            .dtype
            .bytes_for(spec.elements().unwrap_or(usize::MAX))
            .ok_or_else(|| fault(format!("{:?} is no shape of {}", spec.shape, spec.dtype)))?;
        let end = at + bytes;
        let entry = json!({
            "dtype": spec.dtype.name(),
            "shape": spec.shape,
            "data_offsets": [at, end],
        });
        if header.insert(spec.name.clone(), entry).is_some() {
            return Err(FormatError::DuplicateTensor {
                path: path.into(),
                tensor: spec.name.clone(),
            });
        }
        at = end;
    }
    let mut bytes = Value::Object(header).to_string().into_bytes();
    // Spaces bring the data to a multiple of eight, as the reference implementation does.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}
