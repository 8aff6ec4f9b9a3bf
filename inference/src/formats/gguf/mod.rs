//! GGUF, the format of llama.cpp: typed metadata (which hold the tokenizer too), then tensors, often quantised.
//!
//! Specification: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3, little endian.

mod read;
mod value;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::FormatError;
use super::weights::{Storage, TensorData, WeightMap, check_shape};
use read::{Header, Reader, TensorInfo};

pub use value::{GgufArray, GgufMetadata, GgufValue};

/// Alignment of the tensors where `general.alignment` says nothing.
const DEFAULT_ALIGNMENT: u32 = 32;
/// Most parts of a split model.
const MAX_PARTS: u32 = 1024;

/// A GGUF file, or all parts of a split one.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// Metadata by key; of a split model those of the first part.
    pub metadata: GgufMetadata,
    /// Tensors by name, dimensions outermost first (GGUF itself names the innermost first).
    pub tensors: WeightMap,
}

/// Whether the first bytes are those of a GGUF file.
#[must_use]
pub fn looks_like_gguf(start: &[u8]) -> bool {
    start.starts_with(b"GGUF")
}

/// Maps a file and checks all of its header. Where the file is one part of a split model
/// (`name-00001-of-00003.gguf`), the others are read from the same folder.
///
/// # Errors
/// Every fault by name; see [`FormatError`].
pub fn read_gguf(path: &Path) -> Result<Gguf, FormatError> {
    let file = read_storage(&Storage::map(path)?)?;
    match file.metadata.opt_u32("split.count")? {
        Some(parts) if parts > 1 => read_split(path, file, parts),
        _ => Ok(file),
    }
}

/// Reads the header of bytes in memory; `source` is shown in messages.
///
/// # Errors
/// As [`read_gguf`].
pub fn read_gguf_bytes(source: &Path, bytes: Vec<u8>) -> Result<Gguf, FormatError> {
    read_storage(&Storage::owned(source, bytes))
}

fn read_storage(storage: &Arc<Storage>) -> Result<Gguf, FormatError> {
    let path = storage.source();
    let bytes = storage.bytes();
    let Header {
        version,
        metadata,
        tensors: infos,
        length,
    } = Reader::new(path, bytes).header()?;
    let key = "general.alignment";
    let alignment = metadata.opt_u32(key)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        return Err(metadata.wrong(key, &alignment.to_string(), "a power of two"));
    }
    let mut tensors = WeightMap::new(path);
    // A file without tensors (a vocabulary) may end before the padding.
    let start = length.next_multiple_of(alignment as usize).min(bytes.len());
    let ranges = check_layout(path, &infos, alignment, bytes.len() - start)?;
    for (info, range) in infos.iter().zip(ranges) {
        let range = start + range.start..start + range.end;
        let tensor = TensorData::from_storage(
            Arc::clone(storage),
            &info.name,
            &info.shape,
            info.dtype,
            range,
        )?;
        if tensors.insert(info.name.clone(), tensor).is_some() {
            return Err(FormatError::DuplicateTensor {
                path: path.into(),
                tensor: info.name.clone(),
            });
        }
    }
    Ok(Gguf {
        version,
        metadata,
        tensors,
    })
}

/// Tensors must be aligned, in bounds and apart. Gaps are allowed: alignment makes them.
fn check_layout(
    path: &Path,
    infos: &[TensorInfo],
    alignment: u32,
    available: usize,
) -> Result<Vec<std::ops::Range<usize>>, FormatError> {
    let mut ranges = Vec::with_capacity(infos.len());
    for info in infos {
        let length = check_shape(path, &info.name, &info.shape, info.dtype)?;
        if !info.offset.is_multiple_of(alignment.into()) {
            return Err(FormatError::Implausible {
                path: path.into(),
                what: format!("the offset of tensor `{}`", super::error::brief(&info.name)),
                found: info.offset,
                limit: format!("not a multiple of the alignment {alignment}"),
            });
        }
        let start = usize::try_from(info.offset).unwrap_or(usize::MAX);
        let end = start.checked_add(length).filter(|end| *end <= available);
        let Some(end) = end else {
            return Err(FormatError::OutOfBounds {
                path: path.into(),
                tensor: info.name.clone(),
                start: info.offset,
                end: info.offset.saturating_add(length as u64),
                available: available as u64,
            });
        };
        ranges.push(start..end);
    }
    let mut order: Vec<usize> = (0..infos.len())
        .filter(|i| !ranges[*i].is_empty())
        .collect();
    order.sort_by_key(|i| ranges[*i].start);
    for pair in order.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if ranges[second].start < ranges[first].end {
            return Err(FormatError::Overlap {
                path: path.into(),
                first: infos[first].name.clone(),
                second: infos[second].name.clone(),
            });
        }
    }
    Ok(ranges)
}

/// `base-00002-of-00005.gguf` to `base` and 5.
fn split_name(path: &Path) -> Option<(String, u32)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, total) = name.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let numeric = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (numeric(number) && numeric(total)).then_some((base.to_owned(), total.parse().ok()?))
}

fn part_path(path: &Path, base: &str, number: u32, total: u32) -> PathBuf {
    path.with_file_name(format!("{base}-{number:05}-of-{total:05}.gguf"))
}

fn read_split(path: &Path, file: Gguf, parts: u32) -> Result<Gguf, FormatError> {
    let key = "split.count";
    if parts > MAX_PARTS {
        let wanted = format!("at most {MAX_PARTS}");
        return Err(file.metadata.wrong(key, &parts.to_string(), &wanted));
    }
    let Some((base, total)) = split_name(path) else {
        return Err(FormatError::Shard {
            path: path.into(),
            shard: path.display().to_string(),
            reason: format!(
                "is one of {parts} parts but is not named `NAME-00001-of-{parts:05}.gguf`, so the others cannot be found"
            ),
        });
    };
    if total != parts {
        return Err(file.metadata.wrong(
            key,
            &parts.to_string(),
            &format!("{total} as in the file name"),
        ));
    }
    let first_path = part_path(path, &base, 1, total);
    let mut metadata = None;
    let mut tensors = WeightMap::new(first_path.as_path());
    for number in 1..=total {
        let part = part_path(path, &base, number, total);
        let fault = |reason: String| FormatError::Shard {
            path: path.into(),
            shard: part.display().to_string(),
            reason,
        };
        if !part.is_file() {
            return Err(fault("is missing".into()));
        }
        let read = read_storage(&Storage::map(&part)?)?;
        // The parts count from zero in their metadata and from one in their names.
        let claimed = read.metadata.opt_u32("split.no")?;
        if claimed != Some(number - 1) || read.metadata.opt_u32(key)? != Some(parts) {
            return Err(fault("does not belong to the same model".into()));
        }
        for (name, tensor) in read.tensors.iter() {
            if tensors.insert(name, tensor.clone()).is_some() {
                return Err(FormatError::DuplicateTensor {
                    path: part.clone(),
                    tensor: name.into(),
                });
            }
        }
        metadata.get_or_insert(read.metadata);
    }
    let metadata = metadata.unwrap_or(file.metadata);
    if let Some(count) = metadata.opt_u32("split.tensors.count")?
        && count as usize != tensors.len()
    {
        let wanted = format!("{} as in the parts", tensors.len());
        return Err(metadata.wrong("split.tensors.count", &count.to_string(), &wanted));
    }
    Ok(Gguf {
        version: file.version,
        metadata,
        tensors,
    })
}

#[cfg(test)]
mod tests;
