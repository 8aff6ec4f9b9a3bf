//! PyTorch's own files (`.ckpt`, `.pt`, `.pth`, `.bin`), read without running anything.
//!
//! torch stores weights as a Python pickle that *describes* tensors, beside their bytes: since version 1.6 in a ZIP archive, before that one after the
//! other. A pickle is a program; torch runs it. Here it is read by a [machine](machine) that can only build plain values, and a file that names
//! anything else is refused. Bytes of tensors are used where they lie.

mod machine;
#[cfg(test)]
mod tests;
mod zip;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::error::FormatError;
use super::safetensors::Safetensors;
use super::weights::{Storage, StorageDtype, TensorData, WeightMap};
use machine::{Fault, Id, StorageRef, Value};

/// Longest pickle, without the tensors' bytes.
const MOST_PICKLE: usize = 256 << 20;
/// Longest name of a tensor.
const LONGEST_NAME: usize = 4096;
/// Most tensors, and values looked at for them.
const MOST_TENSORS: usize = 1 << 20;
/// Bytes of all tensors' names together: names of nested dictionaries are joined, so that few bytes of a file can make many long ones.
const MOST_NAMES: usize = 64 << 20;
/// How many times a file's length its turned and cut tensors may take together where they are brought into the usual order. Once is what they take,
/// unless layers share a matrix.
const MOST_ORDERED: usize = 2;
/// Dictionaries within dictionaries are followed so far.
const DEEPEST: usize = 8;
/// Keys under which training programs put the weights, the first that is there counts.
const WEIGHTS: [&str; 4] = ["state_dict", "params_ema", "params", "model_state_dict"];
/// The number with which files of old torch begin.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether the first bytes of a file are those of torch's formats.
#[must_use]
pub fn looks_like_torch(start: &[u8]) -> bool {
    let name = start.get(30..).unwrap_or(&[]);
    let zipped = start.starts_with(b"PK\x03\x04") && name.windows(8).any(|w| w == b"data.pkl");
    zipped || start.starts_with(OLD_MAGIC)
}

/// All tensors of a file, under the names that nested dictionaries give them, joined by dots.
///
/// # Errors
/// Damaged files; pickles that hold anything but weights, by name; tensors that do not lie within the file.
pub fn read_torch(path: &Path) -> Result<Safetensors, FormatError> {
    read_storage(&Storage::map(path)?)
}

/// The same of the bytes of a file; `source` is named in errors.
///
/// # Errors
/// As [`read_torch`].
pub fn read_torch_bytes(source: &Path, bytes: Vec<u8>) -> Result<Safetensors, FormatError> {
    read_storage(&Storage::owned(source, bytes))
}

fn read_storage(storage: &Arc<Storage>) -> Result<Safetensors, FormatError> {
    let path = storage.source();
    let fault = |reason: String| FormatError::InvalidPickle {
        path: path.into(),
        reason,
    };
    let bytes = storage.bytes();
    let (values, root, places) = if bytes.starts_with(OLD_MAGIC) {
        old(path, bytes)?
    } else {
        archive(path, bytes)?
    };
    let mut reader = Reader {
        path,
        storage,
        values: &values,
        places,
        tensors: WeightMap::new(path),
        visited: 0,
        names: MOST_NAMES,
        ordered: bytes.len().saturating_mul(MOST_ORDERED),
    };
    let root = reader.weights(root);
    reader.collect(root, "", 0)?;
    if reader.tensors.is_empty() {
        return Err(fault("there are no weights in it".into()));
    }
    Ok(Safetensors {
        tensors: reader.tensors,
        metadata: BTreeMap::new(),
    })
}

type Pickled = (Vec<Value>, Id, BTreeMap<String, Range<usize>>);

fn pickle(path: &Path, bytes: &[u8]) -> Result<(Vec<Value>, Id, usize), FormatError> {
    if bytes.is_empty() {
        return Err(FormatError::InvalidPickle {
            path: path.into(),
            reason: "it is cut off".into(),
        });
    }
    let bytes = bytes.get(..bytes.len().min(MOST_PICKLE)).unwrap_or(bytes);
    machine::read(bytes).map_err(|fault| match fault {
        Fault::Damaged(reason) => FormatError::InvalidPickle {
            path: path.into(),
            reason,
        },
        Fault::Unsafe(what) => FormatError::UnsafePickle {
            path: path.into(),
            what,
        },
    })
}

fn archive(path: &Path, bytes: &[u8]) -> Result<Pickled, FormatError> {
    let fault = |reason: String| FormatError::InvalidPickle {
        path: path.into(),
        reason,
    };
    let entries = zip::entries(bytes).map_err(fault)?;
    let main = entries.iter().find_map(|(name, range)| {
        let folder = name.strip_suffix("data.pkl")?;
        Some((folder.to_owned(), range.clone()))
    });
    let (folder, range) = main.ok_or_else(|| fault("it has no data.pkl".into()))?;
    let order = entries.get(&format!("{folder}byteorder"));
    if order.and_then(|range| bytes.get(range.clone())) == Some(b"big".as_slice()) {
        return Err(fault("its numbers are big-endian".into()));
    }
    let (values, root, _) = pickle(path, bytes.get(range).unwrap_or(&[]))?;
    let data = format!("{folder}data/");
    let places = entries
        .into_iter()
        .filter_map(|(name, range)| Some((name.strip_prefix(&data)?.to_owned(), range)))
        .collect();
    Ok((values, root, places))
}

/// Before version 1.6: magic number, version, system, the pickle, the storages' keys, and for each its length and bytes.
fn old(path: &Path, bytes: &[u8]) -> Result<Pickled, FormatError> {
    let fault = |reason: &str| FormatError::InvalidPickle {
        path: path.into(),
        reason: reason.into(),
    };
    let mut at = OLD_MAGIC.len();
    for _ in 0..2 {
        at += pickle(path, bytes.get(at..).unwrap_or(&[]))?.2;
    }
    let (values, root, length) = pickle(path, bytes.get(at..).unwrap_or(&[]))?;
    at += length;
    let (keys, list, length) = pickle(path, bytes.get(at..).unwrap_or(&[]))?;
    at += length;
    let sizes: BTreeMap<&str, usize> = values
        .iter()
        .filter_map(|value| match value {
            Value::Storage(storage) => {
                Some((storage.key.as_ref(), element_type(storage)?.block_bytes()))
            }
            _ => None,
        })
        .collect();
    let Some(Value::List(list)) = keys.get(list) else {
        return Err(fault("the list of its storages is missing"));
    };
    let mut places = BTreeMap::new();
    for id in list {
        let key = match keys.get(*id) {
            Some(Value::Text(key)) => key.to_string(),
            Some(Value::Int(key)) => key.to_string(),
            _ => return Err(fault("a storage has no name")),
        };
        let count = bytes.get(at..at + 8).and_then(|raw| raw.try_into().ok());
        let count = count
            .map(u64::from_le_bytes)
            .and_then(|n| usize::try_from(n).ok());
        let size = sizes.get(key.as_str()).copied();
        let end = count
            .zip(size)
            .and_then(|(count, size)| (at + 8).checked_add(count.checked_mul(size)?));
        let end = end.filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| fault("it is cut off within a storage"))?;
        places.insert(key, at + 8..end);
        at = end;
    }
    Ok((values, root, places))
}

/// The type of a storage's elements by torch's class.
fn element_type(storage: &StorageRef) -> Option<StorageDtype> {
    Some(match storage.class.as_ref() {
        "FloatStorage" => StorageDtype::F32,
        "HalfStorage" => StorageDtype::F16,
        "BFloat16Storage" => StorageDtype::Bf16,
        "DoubleStorage" => StorageDtype::F64,
        "LongStorage" => StorageDtype::I64,
        "IntStorage" => StorageDtype::I32,
        "ShortStorage" => StorageDtype::I16,
        "CharStorage" => StorageDtype::I8,
        "ByteStorage" => StorageDtype::U8,
        "BoolStorage" => StorageDtype::Bool,
        _ => return None,
    })
}

struct Reader<'a> {
    path: &'a Path,
    storage: &'a Arc<Storage>,
    values: &'a [Value],
    places: BTreeMap<String, Range<usize>>,
    tensors: WeightMap,
    /// Values looked at: a dictionary may be in others again and again.
    visited: usize,
    /// Bytes that names may still take.
    names: usize,
    /// Bytes that tensors brought into the usual order may still take.
    ordered: usize,
}

impl Reader<'_> {
    fn fault(&self, reason: String) -> FormatError {
        FormatError::InvalidPickle {
            path: self.path.into(),
            reason,
        }
    }

    /// A key; `None` if it is none, and an error if it is absurdly long.
    fn key(&self, id: Id) -> Result<Option<Cow<'_, str>>, FormatError> {
        match self.values.get(id) {
            Some(Value::Text(text)) if text.len() > LONGEST_NAME => Err(self.absurd()),
            Some(Value::Text(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Value::Int(number)) => Ok(Some(Cow::Owned(number.to_string()))),
            _ => Ok(None),
        }
    }

    fn absurd(&self) -> FormatError {
        self.fault("its dictionaries are absurdly large".into())
    }

    /// The dictionary of weights within what training programs put around it.
    fn weights(&self, root: Id) -> Id {
        let Some(Value::Dict(pairs)) = self.values.get(root) else {
            return root;
        };
        let inner = WEIGHTS.iter().find_map(|name| {
            pairs.iter().rev().find_map(|(key, value)| {
                let is = matches!(self.values.get(*key), Some(Value::Text(key)) if key.as_ref() == *name)
                    && matches!(self.values.get(*value), Some(Value::Dict(_)));
                is.then_some(*value)
            })
        });
        inner.unwrap_or(root)
    }

    fn collect(&mut self, id: Id, name: &str, depth: usize) -> Result<(), FormatError> {
        if name.len() > LONGEST_NAME {
            return Err(self.absurd());
        }
        let values = self.values;
        match values.get(id) {
            Some(Value::Dict(pairs)) if depth < DEEPEST => {
                for (key, value) in pairs {
                    // Also those that hold nothing: they take time.
                    self.visited += 1;
                    if self.visited > MOST_TENSORS {
                        return Err(self.absurd());
                    }
                    let Some(key) = self.key(*key)? else {
                        continue;
                    };
                    let name = if name.is_empty() {
                        key.into_owned()
                    } else {
                        format!("{name}.{key}")
                    };
                    self.collect(*value, &name, depth + 1)?;
                }
            }
            Some(Value::Tensor {
                storage,
                offset,
                shape,
                strides,
            }) => {
                let left = self.names.checked_sub(name.len());
                self.names = left.ok_or_else(|| self.absurd())?;
                let tensor = self.tensor(name, *storage, *offset, shape, strides)?;
                self.tensors.insert(name, tensor);
            }
            _ => {}
        }
        Ok(())
    }

    fn tensor(
        &mut self,
        name: &str,
        storage: Id,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<TensorData, FormatError> {
        let brief = super::error::brief(name);
        let Some(Value::Storage(described)) = self.values.get(storage) else {
            return Err(self.fault(format!("the tensor `{brief}` has no storage")));
        };
        let Some(dtype) = element_type(described) else {
            return Err(self.fault(format!(
                "the tensor `{brief}` is of the type {}",
                super::error::brief(&described.class)
            )));
        };
        let outside = || self.fault(format!("the tensor `{brief}` lies outside of its storage"));
        let place = self
            .places
            .get(described.key.as_ref())
            .ok_or_else(outside)?;
        let size = dtype.block_bytes();
        let held = place.len() / size;
        let elements: Option<usize> = match shape.contains(&0) {
            true => Some(0),
            false => shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)),
        };
        let elements = elements.ok_or_else(outside)?;
        // The last element that is reached.
        let reach = shape
            .iter()
            .zip(strides)
            .try_fold(offset, |sum, (length, stride)| {
                sum.checked_add(length.saturating_sub(1).checked_mul(*stride)?)
            });
        if elements > 0 && reach.is_none_or(|last| last >= held) || elements > held.max(1) {
            return Err(outside());
        }
        if elements == 0 || is_contiguous(shape, strides) {
            let start = place.start + if elements == 0 { 0 } else { offset * size };
            let range = start..start + elements * size;
            return TensorData::from_storage(Arc::clone(self.storage), name, shape, dtype, range);
        }
        // Turned or cut tensors are brought into the usual order.
        let bytes = self.storage.bytes().get(place.clone()).unwrap_or(&[]);
        let left = self.ordered.checked_sub(elements * size);
        self.ordered = left.ok_or_else(|| {
            self.fault(format!(
                "its turned and cut tensors, of which one is `{brief}`, take more than {MOST_ORDERED} times the file"
            ))
        })?;
        let mut ordered = Vec::with_capacity(elements * size);
        let mut at = vec![0usize; shape.len()];
        for _ in 0..elements {
            let element: usize = at.iter().zip(strides).map(|(at, stride)| at * stride).sum();
            let start = (offset + element) * size;
            ordered.extend_from_slice(bytes.get(start..start + size).unwrap_or(&[]));
            for (at, length) in at.iter_mut().zip(shape).rev() {
                *at += 1;
                if *at < *length {
                    break;
                }
                *at = 0;
            }
        }
        TensorData::new_owned(name, shape, dtype, ordered)
    }
}

/// Whether elements lie one after the other in the order of their indices.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut wanted = Some(1usize);
    shape.iter().zip(strides).rev().all(|(length, stride)| {
        let fits = *length == 1 || Some(*stride) == wanted;
        wanted = wanted.and_then(|wanted| wanted.checked_mul(*length));
        fits
    })
}
