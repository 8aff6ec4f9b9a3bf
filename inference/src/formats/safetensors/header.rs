//! The JSON header of a safetensors file, read as a stream so that nothing larger than the header is ever held and
//! repeated names are seen.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::formats::error::{FormatError, brief};
use crate::formats::weights::StorageDtype;

/// Most tensors in a file; the largest mixtures of experts have some ten thousand.
const MAX_TENSORS: usize = 1 << 18;
/// Most entries of `__metadata__`.
const MAX_METADATA: usize = 1 << 16;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 32;

/// One tensor as the header describes it; offsets count from the end of the header.
pub(super) struct Entry {
    pub name: String,
    pub dtype: StorageDtype,
    pub shape: Vec<usize>,
    pub start: u64,
    pub end: u64,
}

pub(super) struct Header {
    pub entries: Vec<Entry>,
    pub metadata: BTreeMap<String, String>,
}

/// Parses the header; offsets and shapes are not yet checked against the file.
pub(super) fn parse(path: &Path, json: &[u8]) -> Result<Header, FormatError> {
    let invalid = |reason: String| FormatError::InvalidJson {
        path: path.into(),
        what: "safetensors header".into(),
        reason,
    };
    // The reference implementation demands this too: it lets other tools tell the format by its ninth byte.
    if json.first() != Some(&b'{') {
        return Err(invalid("does not begin with `{`".into()));
    }
    let raw: RawHeader = serde_json::from_slice(json).map_err(|e| invalid(e.to_string()))?;
    if let Some(tensor) = raw.duplicate {
        return Err(FormatError::DuplicateTensor {
            path: path.into(),
            tensor,
        });
    }
    let mut entries = Vec::with_capacity(raw.tensors.len());
    for (name, info) in raw.tensors {
        let dtype = StorageDtype::from_safetensors(&info.dtype).ok_or_else(|| {
            FormatError::UnknownDtype {
                path: path.into(),
                tensor: name.clone(),
                dtype: info.dtype.clone(),
            }
        })?;
        let shape: Option<Vec<usize>> = info
            .shape
            .0
            .iter()
            .map(|d| usize::try_from(*d).ok())
            .collect();
        let shape = shape.ok_or_else(|| FormatError::ShapeOverflow {
            path: path.into(),
            tensor: name.clone(),
            shape: Vec::new(),
        })?;
        entries.push(Entry {
            dtype,
            shape,
            start: info.data_offsets.0,
            end: info.data_offsets.1,
            name,
        });
    }
    Ok(Header {
        entries,
        metadata: raw.metadata,
    })
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

/// Dimensions, not more than [`MAX_DIMS`], so that a header of zeros and commas does not grow in memory.
struct Dims(Vec<u64>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DimsVisitor;
        impl<'de> Visitor<'de> for DimsVisitor {
            type Value = Dims;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element::<u64>()? {
                    if dims.len() == MAX_DIMS {
                        return Err(A::Error::custom(format_args!(
                            "a tensor has more than {MAX_DIMS} dimensions"
                        )));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }
        deserializer.deserialize_seq(DimsVisitor)
    }
}

struct RawHeader {
    tensors: Vec<(String, Info)>,
    metadata: BTreeMap<String, String>,
    /// The first name that was seen twice.
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader {
            tensors: Vec::new(),
            metadata: BTreeMap::new(),
            duplicate: None,
        };
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                // The rest is of no use, but must be read to end the object properly.
                header.duplicate.get_or_insert(name);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name == "__metadata__" {
                header.metadata = map.next_value_seed(Metadata)?;
                continue;
            }
            if header.tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_TENSORS} tensors"
                )));
            }
            let info = map
                .next_value::<Info>()
                .map_err(|e| A::Error::custom(format_args!("tensor `{}`: {e}", brief(&name))))?;
            header.tensors.push((name, info));
        }
        Ok(header)
    }
}

/// `__metadata__`: text by text; `null` stands for none.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = BTreeMap<String, String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts in `__metadata__`")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut metadata = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if metadata.len() == MAX_METADATA {
                return Err(A::Error::custom(format_args!(
                    "more than {MAX_METADATA} entries in `__metadata__`"
                )));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }
}
