//! Safetensors: a length, a JSON header, and the tensors' bytes one after the other.
//!
//! Format: <https://huggingface.co/docs/safetensors>. The header is read by our own reader rather than by the crate
//! of that name, because that one takes the last of two tensors of the same name and does not say which tensor is at fault.

mod header;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::error::FormatError;
use super::torch::{looks_like_torch, read_torch};
use super::weights::{Storage, StorageDtype, TensorData, WeightMap, check_shape};
use header::Entry;

pub use write::{write_safetensors, write_streamed, write_tensors};

/// Longest header that is read; the reference implementation's own limit.
pub const MAX_HEADER: u64 = 100_000_000;
/// Longest index of a sharded model that is read.
const MAX_INDEX: u64 = 64 << 20;
/// Most shards a model may have.
const MAX_SHARDS: usize = 4096;

/// The content of one file, or of all shards of one model.
#[derive(Clone, Debug)]
pub struct Safetensors {
    /// All tensors by name.
    pub tensors: WeightMap,
    /// The `__metadata__` of the header: free text such as `modelspec.architecture` or `ss_network_dim`.
    pub metadata: BTreeMap<String, String>,
}

/// Whether the first bytes of a file (nine are enough) can be the beginning of a safetensors file.
#[must_use]
pub fn looks_like_safetensors(start: &[u8], file_length: u64) -> bool {
    let Some((length, rest)) = start.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    (2..=MAX_HEADER).contains(&length)
        && rest.first() == Some(&b'{')
        && file_length.checked_sub(8).is_some_and(|n| length <= n)
}

/// Maps one file and checks all of its header.
///
/// # Errors
/// Every fault of the header by name; see [`FormatError`].
pub fn read_safetensors(path: &Path) -> Result<Safetensors, FormatError> {
    read_storage(&Storage::map(path)?)
}

/// As [`read_safetensors`], of bytes in memory; `source` is shown in messages.
///
/// # Errors
/// As [`read_safetensors`].
pub fn read_safetensors_bytes(source: &Path, bytes: Vec<u8>) -> Result<Safetensors, FormatError> {
    read_storage(&Storage::owned(source, bytes))
}

fn read_storage(storage: &Arc<Storage>) -> Result<Safetensors, FormatError> {
    let path = storage.source();
    let bytes = storage.bytes();
    let truncated = |what: &str, needed: u64, available: usize| FormatError::Truncated {
        path: path.into(),
        what: what.into(),
        needed,
        available: available as u64,
    };
    let (length, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| truncated("the length of the header", 8, bytes.len()))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(FormatError::HeaderTooLarge {
            path: path.into(),
            claimed: length,
            limit: MAX_HEADER,
        });
    }
    // At most MAX_HEADER, so it fits.
    let (header, data) = rest
        .split_at_checked(length as usize)
        .ok_or_else(|| truncated("the header", length, rest.len()))?;
    let header = header::parse(path, header)?;
    check_layout(path, &header.entries, data.len())?;
    let base = bytes.len() - data.len();
    let mut tensors = WeightMap::new(path);
    for Entry {
        name,
        dtype,
        shape,
        start,
        end,
    } in header.entries
    {
        // Within the data, by `check_layout`.
        let range = base + start as usize..base + end as usize;
        let tensor = TensorData::from_storage(Arc::clone(storage), &name, &shape, dtype, range)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(FormatError::DuplicateTensor {
                path: path.into(),
                tensor: name,
            });
        }
    }
    Ok(Safetensors {
        tensors,
        metadata: header.metadata,
    })
}

/// Tensors must fill the data exactly: in bounds, of the size that shape and type need, without overlap or hole.
fn check_layout(path: &Path, entries: &[Entry], available: usize) -> Result<(), FormatError> {
    for entry in entries {
        let needed = check_shape(path, &entry.name, &entry.shape, entry.dtype)?;
        if entry.start > entry.end || entry.end > available as u64 {
            return Err(FormatError::OutOfBounds {
                path: path.into(),
                tensor: entry.name.clone(),
                start: entry.start,
                end: entry.end,
                available: available as u64,
            });
        }
        let found = (entry.end - entry.start) as usize;
        if found != needed {
            return Err(FormatError::SizeMismatch {
                path: path.into(),
                tensor: entry.name.clone(),
                dtype: entry.dtype,
                shape: entry.shape.clone(),
                needed,
                found,
            });
        }
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| (entry.start, entry.end));
    let mut at = 0;
    let mut before = "";
    for entry in order {
        if entry.start < at {
            return Err(FormatError::Overlap {
                path: path.into(),
                first: before.into(),
                second: entry.name.clone(),
            });
        }
        hole(path, at, entry.start)?;
        at = entry.end;
        before = &entry.name;
    }
    hole(path, at, available as u64)
}

fn hole(path: &Path, at: u64, next: u64) -> Result<(), FormatError> {
    if at == next {
        return Ok(());
    }
    Err(FormatError::Hole {
        path: path.into(),
        at,
        length: next - at,
    })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads a sharded model by its `*.safetensors.index.json`.
///
/// # Errors
/// [`FormatError::Shard`] for missing shards, names that lead out of the folder, and tensors that are not where the index
/// says; all faults of the shards.
pub fn read_sharded(index_path: &Path) -> Result<Safetensors, FormatError> {
    let index: Index = super::json::read_json_as(index_path, "index", MAX_INDEX)?;
    let fault = |shard: &str, reason: String| FormatError::Shard {
        path: index_path.into(),
        shard: shard.into(),
        reason,
    };
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if shards.len() > MAX_SHARDS {
        return Err(FormatError::Implausible {
            path: index_path.into(),
            what: "the number of shards".into(),
            found: shards.len() as u64,
            limit: format!("at most {MAX_SHARDS} are read"),
        });
    }
    let folder = index_path.parent().unwrap_or(Path::new(""));
    let mut opened = BTreeMap::new();
    let mut metadata = BTreeMap::new();
    for shard in shards {
        // Only plain names: an index must not make us open files elsewhere.
        let mut parts = Path::new(shard).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) {
            return Err(fault(shard, "is not a plain file name".into()));
        }
        let path = folder.join(shard);
        if !path.exists() {
            return Err(fault(shard, "is missing".into()));
        }
        let file = read_safetensors(&path)?;
        metadata.extend(file.metadata);
        opened.insert(shard, file.tensors);
    }
    let mut tensors = WeightMap::new(index_path);
    for (name, shard) in &index.weight_map {
        let tensor = opened
            .get(shard.as_str())
            .and_then(|file| file.get(name))
            .ok_or_else(|| {
                fault(
                    shard,
                    format!("does not hold the tensor `{}`", super::error::brief(name)),
                )
            })?;
        tensors.insert(name.clone(), tensor.clone());
    }
    Ok(Safetensors { tensors, metadata })
}

/// Reads a file (safetensors or, told by its content, torch's own formats) or, if it is a JSON index, the shards that it names.
///
/// # Errors
/// As [`read_safetensors`], [`read_sharded`] and [`read_torch`].
pub fn read_any(path: &Path) -> Result<Safetensors, FormatError> {
    if path.to_string_lossy().ends_with(".index.json") {
        return read_sharded(path);
    }
    let storage = Storage::map(path)?;
    if looks_like_torch(storage.bytes().get(..256).unwrap_or(storage.bytes())) {
        return read_torch(path);
    }
    read_storage(&storage)
}

/// The weights of a folder: `stem.safetensors`, the shards of `stem.safetensors.index.json`, or a variant such as
/// `stem.fp16.safetensors`, in this order. `None` if there is none of them.
///
/// # Errors
/// As [`read_any`].
pub fn find_in_folder(folder: &Path, stem: &str) -> Option<PathBuf> {
    const VARIANTS: [&str; 4] = ["", ".fp16", ".bf16", ".non_ema"];
    for variant in VARIANTS {
        let names = [
            format!("{stem}{variant}.safetensors"),
            format!("{stem}.safetensors.index{variant}.json"),
            format!("{stem}{variant}.safetensors.index.json"),
        ];
        if let Some(found) = names.iter().map(|n| folder.join(n)).find(|p| p.is_file()) {
            return Some(found);
        }
    }
    None
}

/// Tensors, elements and bytes by type, most bytes first.
#[must_use]
pub fn count_dtypes(tensors: &WeightMap) -> Vec<super::weights::DtypeCount> {
    let mut counts: BTreeMap<StorageDtype, super::weights::DtypeCount> = BTreeMap::new();
    for (_, tensor) in tensors.iter() {
        let count = counts
            .entry(tensor.dtype())
            .or_insert(super::weights::DtypeCount {
                dtype: tensor.dtype(),
                tensors: 0,
                elements: 0,
                bytes: 0,
            });
        count.tensors += 1;
        count.elements += tensor.elements() as u64;
        count.bytes += tensor.byte_count() as u64;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.bytes));
    counts
}

#[cfg(test)]
mod tests;
