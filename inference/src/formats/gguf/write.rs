//! Writing GGUF version 3: small models for tests, and synthesised ones.

use std::io::Write;
use std::path::Path;

use super::DEFAULT_ALIGNMENT;
use super::value::{GgufArray, GgufValue};
use crate::formats::atomic::write_atomically;
use crate::formats::error::FormatError;
use crate::formats::spec::{TensorSpec, write_promised};
use crate::formats::weights::TensorData;

/// A GGUF file to be: metadata and tensors in the order given.
#[derive(Default)]
pub struct GgufWriter {
    metadata: Vec<(String, GgufValue)>,
    tensors: Vec<TensorData>,
}

impl GgufWriter {
    /// A file of the architecture given, such as `llama`.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        let mut writer = Self::default();
        writer.set("general.architecture", architecture);
        writer
    }

    /// Sets a metadata value; a later one takes the place of an earlier one.
    pub fn set(&mut self, key: &str, value: impl Into<GgufValue>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Adds a tensor under its own name, stored as it is.
    pub fn tensor(&mut self, tensor: TensorData) -> &mut Self {
        self.tensors.push(tensor);
        self
    }

    /// Writes the file; it appears whole or not at all.
    ///
    /// # Errors
    /// Types that GGUF does not have, more than four dimensions, repeated names, and what the operating system says.
    pub fn write(&self, path: &Path) -> Result<(), FormatError> {
        let header = self.header(path, &self.specs())?;
        write_atomically(path, |out| self.write_parts(&header, out))
    }

    /// Writes a file whose tensors are made one by one: `fill` is called with the index of each in turn and writes its bytes. The
    /// file appears whole or not at all. Tensors added by [`Self::tensor`] have no place in it.
    ///
    /// # Errors
    /// As [`Self::write`]; rows that are no whole blocks; errors of `fill`, and if it writes more or less than is needed.
    pub fn write_streamed(
        &self,
        path: &Path,
        specs: &[TensorSpec],
        fill: &mut dyn FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), FormatError> {
        let header = self.header(path, specs)?;
        write_atomically(path, |out| {
            out.write_all(&header)?;
            for (index, spec) in specs.iter().enumerate() {
                let bytes = write_promised(out, spec, |out| fill(index, out))?;
                pad(bytes, out)?;
            }
            Ok(())
        })
    }

    fn specs(&self) -> Vec<TensorSpec> {
        self.tensors.iter().map(TensorSpec::of).collect()
    }

    /// The file in memory.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let path = Path::new("(memory)");
        let header = self.header(path, &self.specs())?;
        let mut bytes = Vec::new();
        self.write_parts(&header, &mut bytes)
            .map_err(|e| FormatError::io(path, "write", e))?;
        Ok(bytes)
    }

    fn header(&self, path: &Path, specs: &[TensorSpec]) -> Result<Vec<u8>, FormatError> {
        let mut names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(FormatError::DuplicateTensor {
                path: path.into(),
                tensor: pair[0].into(),
            });
        }
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((specs.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0u64;
        for spec in specs {
            let fault = |reason: String| FormatError::CannotEncode {
                what: format!("tensor `{}`", spec.name),
                reason,
            };
            let kind = spec
                .dtype
                .ggml_id()
                .ok_or_else(|| fault(format!("GGUF has no {}", spec.dtype)))?;
            if spec.shape.len() > 4 {
                return Err(fault("GGUF has at most four dimensions".into()));
            }
            let bytes = spec.bytes().ok_or_else(|| {
                fault(format!(
                    "rows of {:?} are no whole blocks of {}",
                    spec.shape, spec.dtype
                ))
            })?;
            put_string(&mut out, &spec.name);
            out.extend((spec.shape.len() as u32).to_le_bytes());
            for dim in spec.shape.iter().rev() {
                out.extend((*dim as u64).to_le_bytes());
            }
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += bytes as u64;
            offset = offset.next_multiple_of(DEFAULT_ALIGNMENT.into());
        }
        out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        Ok(out)
    }

    fn write_parts(&self, header: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(header)?;
        for tensor in &self.tensors {
            let bytes = tensor.bytes();
            out.write_all(bytes)?;
            pad(bytes.len(), out)?;
        }
        Ok(())
    }
}

/// Zeros from the end of a tensor of `bytes` bytes to where the next one begins.
fn pad(bytes: usize, out: &mut dyn Write) -> std::io::Result<()> {
    let padding = bytes.next_multiple_of(DEFAULT_ALIGNMENT as usize) - bytes;
    out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..padding])
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &GgufValue) {
    macro_rules! plain {
        ($kind:expr, $value:expr) => {{
            out.extend(u32::to_le_bytes($kind));
            out.extend($value.to_le_bytes());
        }};
    }
    match value {
        GgufValue::U8(v) => plain!(0, v),
        GgufValue::I8(v) => plain!(1, v),
        GgufValue::U16(v) => plain!(2, v),
        GgufValue::I16(v) => plain!(3, v),
        GgufValue::U32(v) => plain!(4, v),
        GgufValue::I32(v) => plain!(5, v),
        GgufValue::F32(v) => plain!(6, v),
        GgufValue::Bool(v) => plain!(7, u8::from(*v)),
        GgufValue::String(text) => {
            out.extend(8u32.to_le_bytes());
            put_string(out, text);
        }
        GgufValue::Array(array) => {
            out.extend(9u32.to_le_bytes());
            put_array(out, array);
        }
        GgufValue::U64(v) => plain!(10, v),
        GgufValue::I64(v) => plain!(11, v),
        GgufValue::F64(v) => plain!(12, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &GgufArray) {
    let count = (array.len() as u64).to_le_bytes();
    macro_rules! plain {
        ($kind:expr, $values:expr) => {{
            out.extend(u32::to_le_bytes($kind));
            out.extend(count);
            for value in $values {
                out.extend(value.to_le_bytes());
            }
        }};
    }
    match array {
        GgufArray::U8(v) => plain!(0, v),
        GgufArray::I8(v) => plain!(1, v),
        GgufArray::U16(v) => plain!(2, v),
        GgufArray::I16(v) => plain!(3, v),
        GgufArray::U32(v) => plain!(4, v),
        GgufArray::I32(v) => plain!(5, v),
        GgufArray::F32(v) => plain!(6, v),
        GgufArray::Bool(v) => plain!(7, v.iter().map(|v| u8::from(*v))),
        GgufArray::String(v) => {
            out.extend(8u32.to_le_bytes());
            out.extend(count);
            for text in v {
                put_string(out, text);
            }
        }
        GgufArray::Array(v) => {
            out.extend(9u32.to_le_bytes());
            out.extend(count);
            for inner in v {
                put_array(out, inner);
            }
        }
        GgufArray::U64(v) => plain!(10, v),
        GgufArray::I64(v) => plain!(11, v),
        GgufArray::F64(v) => plain!(12, v),
    }
}
