//! The bounded reader of a GGUF header.

use std::path::Path;

use super::value::{GgufArray, GgufMetadata, GgufValue};
use crate::formats::dtype::StorageDtype;
use crate::formats::error::{FormatError, brief};

/// Most tensors in a file.
const MAX_TENSORS: u64 = 1 << 18;
/// Longest metadata key, as the specification says.
const MAX_KEY: usize = 65_535;
/// Longest tensor name; the specification says 64, some converters write longer ones.
const MAX_NAME: usize = 1024;
/// Most dimensions of a tensor, as in ggml.
const MAX_DIMS: u32 = 4;
/// Deepest nesting of arrays. No known file nests at all.
const MAX_DEPTH: usize = 4;
/// Memory that all metadata may take, so that a file of empty strings does not become many times its size.
/// The largest vocabularies in use take about 30 MB.
const MEMORY_BUDGET: usize = 256 << 20;
/// Memory charged for each string or key beside its bytes.
const STRING_COST: usize = 48;

/// One tensor as the header describes it; the offset counts from the start of the data.
pub(super) struct TensorInfo {
    pub name: String,
    /// Outermost first: the file's order turned round.
    pub shape: Vec<usize>,
    pub dtype: StorageDtype,
    pub offset: u64,
}

pub(super) struct Header {
    pub version: u32,
    pub metadata: GgufMetadata,
    pub tensors: Vec<TensorInfo>,
    /// Length of the header in bytes.
    pub length: usize,
}

/// A position in the file's bytes that never leaves them.
pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            path,
            bytes,
            at: 0,
            budget: MEMORY_BUDGET,
        }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(length);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or_else(|| FormatError::Truncated {
            path: self.path.into(),
            what: what.into(),
            needed: length as u64,
            available: self.remaining() as u64,
        })?;
        self.at += length;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FormatError> {
        let mut raw = [0; N];
        raw.copy_from_slice(self.take(N, what)?);
        Ok(raw)
    }

    fn u32(&mut self, what: &str) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn implausible(&self, what: &str, found: u64, limit: String) -> FormatError {
        FormatError::Implausible {
            path: self.path.into(),
            what: what.into(),
            found,
            limit,
        }
    }

    /// A count of things of at least `least` bytes each, which must fit in what is left of the file.
    fn count(&self, found: u64, least: usize, what: &str) -> Result<usize, FormatError> {
        let most = self.remaining() / least.max(1);
        usize::try_from(found)
            .ok()
            .filter(|n| *n <= most)
            .ok_or_else(|| {
                self.implausible(
                    what,
                    found,
                    format!("but the rest of the file has room for {most}"),
                )
            })
    }

    /// Charges memory that is about to be taken.
    fn spend(&mut self, bytes: usize, what: &str) -> Result<(), FormatError> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.implausible(
                &format!("the memory for `{what}`"),
                bytes as u64,
                format!("with which all metadata take more than {MEMORY_BUDGET} bytes"),
            )),
        }
    }

    fn string(&mut self, longest: usize, what: &str) -> Result<String, FormatError> {
        let length = self.u64(what)?;
        let length = self.count(length, 1, &format!("the length of {what}"))?;
        if length > longest {
            return Err(self.implausible(
                &format!("the length of {what}"),
                length as u64,
                format!("at most {longest} is allowed"),
            ));
        }
        let raw = self.take(length, what)?;
        self.spend(length + STRING_COST, what)?;
        let text = std::str::from_utf8(raw).map_err(|_| FormatError::NotUtf8 {
            path: self.path.into(),
            what: what.into(),
        })?;
        Ok(text.to_owned())
    }

    fn bool(&mut self, what: &str) -> Result<bool, FormatError> {
        match self.array::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.implausible(what, other.into(), "but a bool is 0 or 1".into())),
        }
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<GgufValue, FormatError> {
        Ok(match kind {
            0 => GgufValue::U8(u8::from_le_bytes(self.array(key)?)),
            1 => GgufValue::I8(i8::from_le_bytes(self.array(key)?)),
            2 => GgufValue::U16(u16::from_le_bytes(self.array(key)?)),
            3 => GgufValue::I16(i16::from_le_bytes(self.array(key)?)),
            4 => GgufValue::U32(u32::from_le_bytes(self.array(key)?)),
            5 => GgufValue::I32(i32::from_le_bytes(self.array(key)?)),
            6 => GgufValue::F32(f32::from_le_bytes(self.array(key)?)),
            7 => GgufValue::Bool(self.bool(key)?),
            8 => GgufValue::String(self.string(usize::MAX, key)?),
            9 => GgufValue::Array(self.list(key, 0)?),
            10 => GgufValue::U64(u64::from_le_bytes(self.array(key)?)),
            11 => GgufValue::I64(i64::from_le_bytes(self.array(key)?)),
            12 => GgufValue::F64(f64::from_le_bytes(self.array(key)?)),
            other => return Err(self.unknown_type(key, other)),
        })
    }

    fn unknown_type(&self, key: &str, kind: u32) -> FormatError {
        FormatError::WrongMetadata {
            path: self.path.into(),
            key: key.into(),
            found: format!("of the unknown type {kind}"),
            wanted: "one of the types 0 to 12".into(),
        }
    }

    fn numbers<const N: usize, T>(
        &mut self,
        count: u64,
        key: &str,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        let count = self.count(count, N, &format!("the length of the array `{key}`"))?;
        self.spend(count * N, key)?;
        let raw = self.take(count * N, key)?;
        Ok(raw
            .as_chunks::<N>()
            .0
            .iter()
            .map(|raw| read(*raw))
            .collect())
    }

    fn list(&mut self, key: &str, depth: usize) -> Result<GgufArray, FormatError> {
        if depth == MAX_DEPTH {
            return Err(self.implausible(
                &format!("the nesting of the array `{key}`"),
                depth as u64 + 1,
                format!("at most {MAX_DEPTH} levels are read"),
            ));
        }
        let kind = self.u32(key)?;
        let count = self.u64(key)?;
        Ok(match kind {
            0 => GgufArray::U8(self.numbers(count, key, u8::from_le_bytes)?),
            1 => GgufArray::I8(self.numbers(count, key, i8::from_le_bytes)?),
            2 => GgufArray::U16(self.numbers(count, key, u16::from_le_bytes)?),
            3 => GgufArray::I16(self.numbers(count, key, i16::from_le_bytes)?),
            4 => GgufArray::U32(self.numbers(count, key, u32::from_le_bytes)?),
            5 => GgufArray::I32(self.numbers(count, key, i32::from_le_bytes)?),
            6 => GgufArray::F32(self.numbers(count, key, f32::from_le_bytes)?),
            7 => {
                let count = self.count(count, 1, &format!("the length of the array `{key}`"))?;
                self.spend(count, key)?;
                let flags: Result<_, _> = (0..count).map(|_| self.bool(key)).collect();
                GgufArray::Bool(flags?)
            }
            8 => {
                let count = self.count(count, 8, &format!("the length of the array `{key}`"))?;
                // Reserved at once, because growth by doubling would take up to three times as much for a moment.
                self.spend(count * size_of::<String>(), key)?;
                let mut strings = Vec::with_capacity(count);
                for _ in 0..count {
                    strings.push(self.string(usize::MAX, key)?);
                }
                GgufArray::String(strings)
            }
            9 => {
                let count = self.count(count, 12, &format!("the length of the array `{key}`"))?;
                self.spend(count * size_of::<GgufArray>(), key)?;
                let mut lists = Vec::with_capacity(count);
                for _ in 0..count {
                    lists.push(self.list(key, depth + 1)?);
                }
                GgufArray::Array(lists)
            }
            10 => GgufArray::U64(self.numbers(count, key, u64::from_le_bytes)?),
            11 => GgufArray::I64(self.numbers(count, key, i64::from_le_bytes)?),
            12 => GgufArray::F64(self.numbers(count, key, f64::from_le_bytes)?),
            other => return Err(self.unknown_type(key, other)),
        })
    }

    fn version(&mut self) -> Result<u32, FormatError> {
        let magic = self.array::<4>("the magic number")?;
        if &magic != b"GGUF" {
            return Err(FormatError::UnknownFormat {
                path: self.path.into(),
                reason: "does not begin with `GGUF`".into(),
            });
        }
        let version = self.u32("the version")?;
        // A version has never been above 65535, so these zeros mean the other byte order.
        if version != 0 && version & 0xffff == 0 {
            return Err(FormatError::BigEndian {
                path: self.path.into(),
            });
        }
        if version != 2 && version != 3 {
            return Err(FormatError::UnsupportedVersion {
                path: self.path.into(),
                format: "GGUF",
                version: version.into(),
                supported: "2 and 3 are",
            });
        }
        Ok(version)
    }

    fn tensor(&mut self) -> Result<TensorInfo, FormatError> {
        let name = self.string(MAX_NAME, "a tensor name")?;
        if name.is_empty() {
            return Err(self.implausible("the length of a tensor name", 0, "it is empty".into()));
        }
        let shown = format!("tensor `{}`", brief(&name));
        let dims = self.u32(&shown)?;
        if dims > MAX_DIMS {
            return Err(self.implausible(
                &format!("the number of dimensions of {shown}"),
                dims.into(),
                format!("at most {MAX_DIMS} are allowed"),
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let dim = self.u64(&shown)?;
            let dim = usize::try_from(dim)
                .ok()
                .filter(|d| isize::try_from(*d).is_ok());
            shape.push(dim.ok_or_else(|| FormatError::ShapeOverflow {
                path: self.path.into(),
                tensor: name.clone(),
                shape: shape.clone(),
            })?);
        }
        // GGUF names the innermost dimension first.
        shape.reverse();
        let kind = self.u32(&shown)?;
        let dtype = StorageDtype::from_ggml(kind).ok_or_else(|| FormatError::UnknownDtype {
            path: self.path.into(),
            tensor: name.clone(),
            dtype: kind.to_string(),
        })?;
        let offset = self.u64(&shown)?;
        Ok(TensorInfo {
            name,
            shape,
            dtype,
            offset,
        })
    }

    /// Reads all of the header.
    pub(super) fn header(mut self) -> Result<Header, FormatError> {
        let version = self.version()?;
        let tensor_count = self.u64("the number of tensors")?;
        let key_count = self.u64("the number of metadata keys")?;
        // Key length, one byte of key, type, one byte of value.
        let key_count = self.count(key_count, 8 + 1 + 4 + 1, "the number of metadata keys")?;
        let mut metadata = GgufMetadata::new(self.path);
        for _ in 0..key_count {
            let key = self.string(MAX_KEY, "a metadata key")?;
            if key.is_empty() {
                return Err(self.implausible(
                    "the length of a metadata key",
                    0,
                    "it is empty".into(),
                ));
            }
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key)?;
            if metadata.get(&key).is_some() {
                return Err(FormatError::DuplicateKey {
                    path: self.path.into(),
                    key,
                });
            }
            self.spend(size_of::<GgufValue>(), "the metadata")?;
            metadata.insert(key, value);
        }
        if tensor_count > MAX_TENSORS {
            return Err(self.implausible(
                "the number of tensors",
                tensor_count,
                format!("at most {MAX_TENSORS} are read"),
            ));
        }
        // Name length, one byte of name, number of dimensions, type, offset.
        let tensor_count = self.count(tensor_count, 8 + 1 + 4 + 4 + 8, "the number of tensors")?;
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(self.tensor()?);
        }
        Ok(Header {
            version,
            metadata,
            tensors,
            length: self.at,
        })
    }
}
