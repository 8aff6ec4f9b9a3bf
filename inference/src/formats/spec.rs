//! Tensors that are written one after another, each made when its turn comes.

use std::io::Write;

use super::weights::{StorageDtype, TensorData};

/// Name, shape and type of a tensor whose bytes are not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub dtype: StorageDtype,
}

impl TensorSpec {
    /// A tensor to be written.
    pub fn new(name: impl Into<String>, shape: &[usize], dtype: StorageDtype) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            dtype,
        }
    }

    /// What a tensor that is there is.
    #[must_use]
    pub fn of(tensor: &TensorData) -> Self {
        Self::new(tensor.name(), tensor.shape(), tensor.dtype())
    }

    /// Number of elements; 1 for a scalar. `None` if that cannot be counted.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        let multiply = |product: usize, dim: &usize| product.checked_mul(*dim);
        self.shape.iter().try_fold(1, multiply)
    }

    /// Bytes that the elements need. `None` if rows are no whole blocks of the type, or that cannot be counted.
    #[must_use]
    pub fn bytes(&self) -> Option<usize> {
        // Blocks never reach over rows.
        self.dtype
            .bytes_for(self.shape.last().copied().unwrap_or(1))?;
        self.dtype.bytes_for(self.elements()?)
    }
}

/// Where the bytes of a streamed tensor go; counts them.
pub(crate) struct Counted<'a> {
    out: &'a mut dyn Write,
    written: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written += count;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Has `fill` write the bytes of a tensor; an error if they are not as many as the header promised.
pub(crate) fn write_promised(
    out: &mut dyn Write,
    spec: &TensorSpec,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<usize> {
    let mut counted = Counted { out, written: 0 };
    fill(&mut counted)?;
    match spec.bytes() {
        Some(promised) if promised == counted.written => Ok(promised),
        promised => Err(std::io::Error::other(format!(
            "tensor `{}` came with {} bytes instead of {promised:?}",
            spec.name, counted.written
        ))),
    }
}
