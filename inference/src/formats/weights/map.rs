//! The tensors of a model part by name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StorageDtype, TensorData};
use crate::formats::error::FormatError;

/// All tensors of one model part by name, and where they came from.
#[derive(Clone, Debug, Default)]
pub struct WeightMap {
    source: PathBuf,
    tensors: BTreeMap<String, TensorData>,
}

impl WeightMap {
    /// An empty map; `source` (file or folder) is named in messages.
    #[must_use]
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            tensors: BTreeMap::new(),
        }
    }

    /// Adds a tensor under `name`; gives back the one that it replaces.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorData) -> Option<TensorData> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<TensorData> {
        self.tensors.remove(name)
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorData> {
        self.tensors.get(name)
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether the name of any tensor begins with `prefix`.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let mut rest = self.tensors.range::<str, _>(from);
        rest.next()
            .is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All names and tensors in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The file or folder that the tensors came from.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Stored bytes of all tensors.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|t| t.byte_count() as u64).sum()
    }

    /// Elements of all tensors.
    #[must_use]
    pub fn total_elements(&self) -> u64 {
        self.tensors.values().map(|t| t.elements() as u64).sum()
    }

    /// The tensors whose names begin with `prefix`, without it.
    #[must_use]
    pub fn filter_prefix(&self, prefix: &str) -> Self {
        let tensors = self
            .tensors
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
            .filter(|(rest, _)| !rest.is_empty())
            .map(|(rest, tensor)| (rest.to_owned(), tensor.clone()))
            .collect();
        Self {
            source: self.source.clone(),
            tensors,
        }
    }

    /// The tensor `name`, which must have exactly `shape` and a type that can be computed with.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`], [`FormatError::WrongShape`], [`FormatError::UnsupportedDtype`].
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<TensorData, FormatError> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| FormatError::MissingTensor {
                path: self.source.clone(),
                tensor: name.into(),
                wanted: shape.into(),
            })?;
        if tensor.shape() != shape {
            return Err(FormatError::WrongShape {
                path: self.source.clone(),
                tensor: name.into(),
                found: tensor.shape().into(),
                wanted: shape.into(),
            });
        }
        if !tensor.dtype().is_float_weight() {
            return Err(FormatError::UnsupportedDtype {
                path: self.source.clone(),
                tensor: name.into(),
                dtype: tensor.dtype(),
            });
        }
        Ok(tensor.clone())
    }
}

/// How many tensors, elements and bytes of one type a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DtypeCount {
    /// The type.
    pub dtype: StorageDtype,
    /// Tensors of it.
    pub tensors: usize,
    /// Elements of them.
    pub elements: u64,
    /// Bytes of them.
    pub bytes: u64,
}
