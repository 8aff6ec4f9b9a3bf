//! Typed metadata values of a GGUF file, and accessors that name what is missing or of the wrong type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::formats::error::FormatError;

/// One metadata value.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)] // the names are GGUF's own
pub enum GgufValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(GgufArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array; all elements have one type.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)] // the names are GGUF's own
pub enum GgufArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<GgufArray>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl GgufArray {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type in words, for messages: `an array of strings`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "an array of u8",
            Self::I8(_) => "an array of i8",
            Self::U16(_) => "an array of u16",
            Self::I16(_) => "an array of i16",
            Self::U32(_) => "an array of u32",
            Self::I32(_) => "an array of i32",
            Self::F32(_) => "an array of f32",
            Self::Bool(_) => "an array of bools",
            Self::String(_) => "an array of strings",
            Self::Array(_) => "an array of arrays",
            Self::U64(_) => "an array of u64",
            Self::I64(_) => "an array of i64",
            Self::F64(_) => "an array of f64",
        }
    }

    /// Integers of any width as i64; `None` for other types and numbers beyond i64.
    #[must_use]
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        fn widen<T: Copy + Into<i64>>(values: &[T]) -> Vec<i64> {
            values.iter().map(|v| (*v).into()).collect()
        }
        match self {
            Self::U8(v) => Some(widen(v)),
            Self::I8(v) => Some(widen(v)),
            Self::U16(v) => Some(widen(v)),
            Self::I16(v) => Some(widen(v)),
            Self::U32(v) => Some(widen(v)),
            Self::I32(v) => Some(widen(v)),
            Self::I64(v) => Some(v.clone()),
            Self::U64(v) => v.iter().map(|v| i64::try_from(*v).ok()).collect(),
            _ => None,
        }
    }

    /// Floats as f32; `None` for other types.
    #[must_use]
    pub fn to_floats(&self) -> Option<Vec<f32>> {
        match self {
            Self::F32(v) => Some(v.clone()),
            Self::F64(v) => Some(v.iter().map(|v| *v as f32).collect()),
            _ => None,
        }
    }
}

impl GgufValue {
    /// The type in words, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "a u8",
            Self::I8(_) => "an i8",
            Self::U16(_) => "a u16",
            Self::I16(_) => "an i16",
            Self::U32(_) => "a u32",
            Self::I32(_) => "an i32",
            Self::F32(_) => "an f32",
            Self::Bool(_) => "a bool",
            Self::String(_) => "a string",
            Self::Array(array) => array.type_name(),
            Self::U64(_) => "a u64",
            Self::I64(_) => "an i64",
            Self::F64(_) => "an f64",
        }
    }

    /// An integer of any width; `None` for other types and numbers beyond i64.
    #[must_use]
    pub fn to_int(&self) -> Option<i64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::I64(v) => Some(v),
            Self::U64(v) => i64::try_from(v).ok(),
            _ => None,
        }
    }

    /// A float; `None` for other types.
    #[must_use]
    pub fn to_float(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// One line for listings: numbers and short texts as they are, arrays as type and length.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::U8(v) => v.to_string(),
            Self::I8(v) => v.to_string(),
            Self::U16(v) => v.to_string(),
            Self::I16(v) => v.to_string(),
            Self::U32(v) => v.to_string(),
            Self::I32(v) => v.to_string(),
            Self::F32(v) => v.to_string(),
            Self::Bool(v) => v.to_string(),
            Self::String(v) => crate::formats::error::brief(v),
            Self::Array(v) => format!("{} ({})", v.type_name(), v.len()),
            Self::U64(v) => v.to_string(),
            Self::I64(v) => v.to_string(),
            Self::F64(v) => v.to_string(),
        }
    }
}

macro_rules! from_plain {
    ($($plain:ty => $variant:ident),* $(,)?) => {$(
        impl From<$plain> for GgufValue {
            fn from(value: $plain) -> Self {
                Self::$variant(value)
            }
        }
        impl From<Vec<$plain>> for GgufValue {
            fn from(values: Vec<$plain>) -> Self {
                Self::Array(GgufArray::$variant(values))
            }
        }
    )*};
}
from_plain!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    String => String, u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

/// All metadata of a file by key.
#[derive(Clone, Debug, Default)]
pub struct GgufMetadata {
    source: PathBuf,
    values: BTreeMap<String, GgufValue>,
}

impl GgufMetadata {
    /// No metadata; `source` is named in messages.
    #[must_use]
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            values: BTreeMap::new(),
        }
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Adds a value; gives back the one that it replaces.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Into<GgufValue>,
    ) -> Option<GgufValue> {
        self.values.insert(key.into(), value.into())
    }

    /// The value of `key`, if there is one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.values.get(key)
    }

    /// All keys and values, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GgufValue)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`].
    pub fn require(&self, key: &str) -> Result<&GgufValue, FormatError> {
        self.get(key).ok_or_else(|| FormatError::MissingKey {
            path: self.source.clone(),
            key: key.into(),
        })
    }

    /// The error for a value of `key` that makes no sense.
    #[must_use]
    pub fn wrong(&self, key: &str, found: &str, wanted: &str) -> FormatError {
        FormatError::WrongMetadata {
            path: self.source.clone(),
            key: key.into(),
            found: found.into(),
            wanted: wanted.into(),
        }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        read: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>, FormatError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => {
                let found = match value {
                    GgufValue::Array(array) => array.type_name().to_owned(),
                    other => format!("{} ({})", other.type_name(), other.summary()),
                };
                Err(self.wrong(key, &found, wanted))
            }
        }
    }

    fn present<T>(&self, key: &str, value: Option<T>) -> Result<T, FormatError> {
        value.ok_or_else(|| FormatError::MissingKey {
            path: self.source.clone(),
            key: key.into(),
        })
    }

    /// The text of `key`, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] if it is there with another type.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, FormatError> {
        self.typed(key, "a string", |value| match value {
            GgufValue::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The text of `key`.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`], [`FormatError::WrongMetadata`].
    pub fn str(&self, key: &str) -> Result<&str, FormatError> {
        self.present(key, self.opt_str(key)?)
    }

    /// The non-negative integer of `key` of any width, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types, negative numbers and numbers beyond u32.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, FormatError> {
        self.typed(key, "a whole number from 0 to 4294967295", |value| {
            u32::try_from(value.to_int()?).ok()
        })
    }

    /// The non-negative integer of `key`.
    ///
    /// # Errors
    /// As [`Self::opt_u32`], and [`FormatError::MissingKey`].
    pub fn u32(&self, key: &str) -> Result<u32, FormatError> {
        self.present(key, self.opt_u32(key)?)
    }

    /// The float of `key`, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, FormatError> {
        self.typed(key, "a float", GgufValue::to_float)
    }

    /// The float of `key`.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`], [`FormatError::WrongMetadata`].
    pub fn f32(&self, key: &str) -> Result<f32, FormatError> {
        self.present(key, self.opt_f32(key)?)
    }

    /// The truth value of `key`, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, FormatError> {
        self.typed(key, "a bool", |value| match value {
            GgufValue::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// The array of `key`, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] if it is no array.
    pub fn opt_array(&self, key: &str) -> Result<Option<&GgufArray>, FormatError> {
        self.typed(key, "an array", |value| match value {
            GgufValue::Array(array) => Some(array),
            _ => None,
        })
    }

    /// The array of strings of `key`, if the key is there. An empty array of any type counts.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types.
    pub fn opt_strings(&self, key: &str) -> Result<Option<&[String]>, FormatError> {
        self.typed(key, "an array of strings", |value| match value {
            GgufValue::Array(GgufArray::String(values)) => Some(values.as_slice()),
            GgufValue::Array(other) if other.is_empty() => Some(&[][..]),
            _ => None,
        })
    }

    /// The array of strings of `key`.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`], [`FormatError::WrongMetadata`].
    pub fn strings(&self, key: &str) -> Result<&[String], FormatError> {
        self.present(key, self.opt_strings(key)?)
    }

    /// The array of integers of `key` of any width, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types.
    pub fn opt_ints(&self, key: &str) -> Result<Option<Vec<i64>>, FormatError> {
        self.typed(key, "an array of integers", |value| match value {
            GgufValue::Array(array) => array.to_ints(),
            _ => None,
        })
    }

    /// The array of floats of `key`, if the key is there.
    ///
    /// # Errors
    /// [`FormatError::WrongMetadata`] for other types.
    pub fn opt_floats(&self, key: &str) -> Result<Option<Vec<f32>>, FormatError> {
        self.typed(key, "an array of floats", |value| match value {
            GgufValue::Array(array) => array.to_floats(),
            _ => None,
        })
    }

    /// `general.architecture`, such as `llama`.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`], [`FormatError::WrongMetadata`].
    pub fn architecture(&self) -> Result<&str, FormatError> {
        self.str("general.architecture")
    }
}
