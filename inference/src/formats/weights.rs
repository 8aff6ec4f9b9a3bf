//! Named tensors of a model part, as they lie in a file: typed, shaped, bounds-checked views of mapped memory.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;

use super::dequant::dequantize_into;
use super::error::FormatError;

pub use super::dtype::StorageDtype;
pub use map::{DtypeCount, WeightMap};

mod joined;
mod map;

/// The bytes of one file, mapped, or of one tensor made in memory, at once or when they are first asked for.
pub(crate) struct Storage {
    id: u64,
    source: PathBuf,
    bytes: Bytes,
}

type Make = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
    /// So that a file can be looked at without its weights being computed.
    Later {
        length: usize,
        made: OnceLock<Vec<u8>>,
        make: Make,
    },
    /// Those of several tensors, one behind the other; copied together only if somebody wants them in one piece.
    Joined {
        parts: Vec<TensorData>,
        length: usize,
        /// Whether they are 32-bit floats, whatever the parts are.
        floats: bool,
        made: OnceLock<Vec<u8>>,
    },
}

static NEXT_STORAGE: AtomicU64 = AtomicU64::new(1);

impl Storage {
    fn with_bytes(source: PathBuf, bytes: Bytes) -> Arc<Self> {
        let id = NEXT_STORAGE.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, source, bytes })
    }

    /// Maps a regular file. An empty one gives no bytes. Folders, pipes and devices are refused.
    pub(crate) fn map(path: &Path) -> Result<Arc<Self>, FormatError> {
        regular_file(path)?;
        let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
        let meta = file
            .metadata()
            .map_err(|e| FormatError::io(path, "open", e))?;
        if meta.len() == 0 {
            return Ok(Self::with_bytes(path.into(), Bytes::Owned(Vec::new())));
        }
        // SAFETY: the map is read-only and private to us. Another program that changes the file while it is mapped
        // can change what we read (never what we trust: all lengths are checked against the map's own length), and one that
        // shortens it ends us, as it ends every program that maps models.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|e| FormatError::io(path, "map into memory", e))?;
        Ok(Self::with_bytes(path.into(), Bytes::Mapped(map)))
    }

    /// Bytes made in memory; `source` is shown in messages.
    pub(crate) fn owned(source: impl Into<PathBuf>, bytes: Vec<u8>) -> Arc<Self> {
        Self::with_bytes(source.into(), Bytes::Owned(bytes))
    }

    /// `length` bytes that are made when they are first asked for; `make` must give as many.
    fn later(source: &Path, length: usize, make: Make) -> Arc<Self> {
        let made = OnceLock::new();
        Self::with_bytes(source.into(), Bytes::Later { length, made, make })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
            Bytes::Later { length, made, make } => made.get_or_init(|| {
                let mut bytes = make();
                bytes.resize(*length, 0);
                bytes
            }),
            Bytes::Joined {
                parts,
                floats,
                made,
                ..
            } => made.get_or_init(|| joined::bytes(parts, *floats)),
        }
    }

    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Mapped(map) => map.len(),
            Bytes::Owned(bytes) => bytes.len(),
            Bytes::Later { length, .. } | Bytes::Joined { length, .. } => *length,
        }
    }

    pub(crate) fn source(&self) -> &Path {
        &self.source
    }

    /// Whether its bytes lie in this process's own memory rather than in a mapped file, or will once they are asked for.
    fn is_made(&self) -> bool {
        !matches!(self.bytes, Bytes::Mapped(_) | Bytes::Joined { .. })
    }

    /// Whether they do now.
    fn is_there(&self) -> bool {
        match &self.bytes {
            Bytes::Mapped(_) => false,
            Bytes::Owned(_) => true,
            Bytes::Later { made, .. } | Bytes::Joined { made, .. } => made.get().is_some(),
        }
    }
}

/// What is known of a regular file; folders, pipes and devices are refused. Asked before opening: opening a pipe would wait for a writer.
pub(crate) fn regular_file(path: &Path) -> Result<Metadata, FormatError> {
    let meta = std::fs::metadata(path).map_err(|e| FormatError::io(path, "open", e))?;
    if !meta.is_file() {
        return Err(FormatError::WrongFileKind {
            path: path.into(),
            wanted: "a regular file",
        });
    }
    Ok(meta)
}

/// The product of the dimensions, if it fits.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    // With a zero anywhere the product is zero, but the other dimensions must be sane all the same.
    let product = shape
        .iter()
        .filter(|d| **d != 0)
        .try_fold(1usize, |n, d| n.checked_mul(*d))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// Identity of a tensor's content within this process: equal keys mean the same bytes read the same way, so that an
/// executor uploads each tensor once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorKey {
    storage: u64,
    offset: usize,
    length: usize,
    dtype: StorageDtype,
    shape: Arc<[usize]>,
}

/// One tensor in a memory-mapped file (or owned bytes); cheap to clone.
///
/// Shapes are outermost first and row-major, as in safetensors and torch. Invariant: the bytes are exactly as many as
/// shape and dtype need.
#[derive(Clone)]
pub struct TensorData {
    name: Arc<str>,
    shape: Arc<[usize]>,
    dtype: StorageDtype,
    storage: Arc<Storage>,
    range: Range<usize>,
}

impl std::fmt::Debug for TensorData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.dtype.name(), self.shape)
    }
}

impl TensorData {
    /// A view of `range` of `storage`.
    ///
    /// # Errors
    /// Overflowing shape, partial blocks, a range that is not what shape and dtype need or not within the storage.
    pub(crate) fn from_storage(
        storage: Arc<Storage>,
        name: &str,
        shape: &[usize],
        dtype: StorageDtype,
        range: Range<usize>,
    ) -> Result<Self, FormatError> {
        let path = || storage.source().to_path_buf();
        let needed = check_shape(storage.source(), name, shape, dtype)?;
        let found = range
            .end
            .checked_sub(range.start)
            .ok_or(FormatError::OutOfBounds {
                path: path(),
                tensor: name.into(),
                start: range.start as u64,
                end: range.end as u64,
                available: storage.len() as u64,
            })?;
        if found != needed {
            return Err(FormatError::SizeMismatch {
                path: path(),
                tensor: name.into(),
                dtype,
                shape: shape.into(),
                needed,
                found,
            });
        }
        if range.end > storage.len() {
            return Err(FormatError::OutOfBounds {
                path: path(),
                tensor: name.into(),
                start: range.start as u64,
                end: range.end as u64,
                available: storage.len() as u64,
            });
        }
        Ok(Self {
            name: name.into(),
            shape: shape.into(),
            dtype,
            storage,
            range,
        })
    }

    /// A tensor of bytes made in memory, little endian.
    ///
    /// # Errors
    /// If the number of bytes is not what shape and dtype need.
    pub fn new_owned(
        name: &str,
        shape: &[usize],
        dtype: StorageDtype,
        bytes: Vec<u8>,
    ) -> Result<Self, FormatError> {
        let length = bytes.len();
        Self::from_storage(
            Storage::owned("(memory)", bytes),
            name,
            shape,
            dtype,
            0..length,
        )
    }

    /// An F32 tensor made in memory.
    ///
    /// # Errors
    /// If the number of values is not what the shape needs.
    pub fn from_f32(name: &str, shape: &[usize], values: &[f32]) -> Result<Self, FormatError> {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::new_owned(name, shape, StorageDtype::F32, bytes)
    }

    /// A tensor whose bytes are made when they are first asked for, and kept. It is said to lie in the file of `from`.
    ///
    /// # Errors
    /// A shape that makes no tensor of that type.
    pub(crate) fn made_later(
        from: &Self,
        dtype: StorageDtype,
        make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    ) -> Result<Self, FormatError> {
        let length = check_shape(from.source(), &from.name, &from.shape, dtype)?;
        let storage = Storage::later(from.source(), length, Box::new(make));
        Self::from_storage(storage, &from.name, &from.shape, dtype, 0..length)
    }

    /// The name in its file, or the one given by [`Self::renamed`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of it that will lie in this process's own memory once it is used, as those of weights that are converted or merged do; none of one that lies
    /// in a mapped file.
    #[must_use]
    pub fn made_bytes(&self) -> u64 {
        if self.storage.is_made() {
            self.range.len() as u64
        } else {
            0
        }
    }

    /// Bytes of it that lie in this process's own memory now.
    #[must_use]
    pub fn bytes_there(&self) -> u64 {
        if self.storage.is_there() {
            self.range.len() as u64
        } else {
            0
        }
    }

    /// How the elements are stored.
    #[must_use]
    pub fn dtype(&self) -> StorageDtype {
        self.dtype
    }

    /// Number of elements: the product of the shape; 1 for a scalar.
    #[must_use]
    pub fn elements(&self) -> usize {
        // Cannot overflow: checked when the tensor was made.
        self.shape.iter().product()
    }

    /// How many bytes they are. Makes none of those that are made when they are asked for.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.range.len()
    }

    /// The stored bytes, little endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // The range was checked against the storage when the tensor was made.
        self.storage.bytes().get(self.range.clone()).unwrap_or(&[])
    }

    /// The file that the tensor lies in.
    #[must_use]
    pub fn source(&self) -> &Path {
        self.storage.source()
    }

    /// All elements in f32.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedDtype`] for types that are no weight types.
    pub fn to_f32(&self) -> Result<Vec<f32>, FormatError> {
        let mut values = vec![0.0; self.elements()];
        if dequantize_into(self.dtype, self.bytes(), &mut values) {
            Ok(values)
        } else {
            Err(self.unsupported())
        }
    }

    /// The elements of `rows` rows (first dimension) from `first_row` on, in f32.
    ///
    /// # Errors
    /// As [`Self::to_f32`] and [`Self::slice_rows`].
    pub fn rows_to_f32(&self, first_row: usize, rows: usize) -> Result<Vec<f32>, FormatError> {
        self.slice_rows(first_row, rows)?.to_f32()
    }

    /// Stable identity of the content.
    #[must_use]
    pub fn key(&self) -> TensorKey {
        TensorKey {
            storage: self.storage.id,
            offset: self.range.start,
            length: self.range.len(),
            dtype: self.dtype,
            shape: Arc::clone(&self.shape),
        }
    }

    /// The same elements under another shape, such as a 1x1 convolution `[out, in, 1, 1]` as a linear `[out, in]`.
    ///
    /// # Errors
    /// If the number of elements differs or rows are no longer whole blocks.
    pub fn with_shape(&self, shape: &[usize]) -> Result<Self, FormatError> {
        if element_count(shape) != Some(self.elements()) {
            return Err(FormatError::WrongShape {
                path: self.source().into(),
                tensor: self.name().into(),
                found: self.shape().into(),
                wanted: shape.into(),
            });
        }
        check_shape(self.source(), &self.name, shape, self.dtype)?;
        Ok(Self {
            shape: shape.into(),
            ..self.clone()
        })
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// A view of `len` rows (first dimension) from `start` on.
    ///
    /// # Errors
    /// If there are not as many rows, the tensor is a scalar, or rows are not whole blocks.
    pub fn slice_rows(&self, start: usize, len: usize) -> Result<Self, FormatError> {
        let wrong = || FormatError::WrongShape {
            path: self.source().into(),
            tensor: self.name().into(),
            found: self.shape().into(),
            wanted: vec![start.saturating_add(len)],
        };
        let (rows, inner) = self.shape.split_first().ok_or_else(wrong)?;
        let end = start.checked_add(len).filter(|end| end <= rows);
        let end = end.ok_or_else(wrong)?;
        let per_row: usize = inner.iter().product();
        // Of a one-dimensional quantised tensor only whole blocks can be cut out.
        let at = |row: usize| self.dtype.bytes_for(row * per_row);
        let (Some(from), Some(to)) = (at(start), at(end)) else {
            return Err(FormatError::PartialBlock {
                path: self.source().into(),
                tensor: self.name().into(),
                dtype: self.dtype,
                shape: self.shape().into(),
            });
        };
        let mut shape = self.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = len;
        }
        let base = self.range.start;
        Self::from_storage(
            Arc::clone(&self.storage),
            &self.name,
            &shape,
            self.dtype,
            base + from..base + to,
        )
    }

    fn unsupported(&self) -> FormatError {
        FormatError::UnsupportedDtype {
            path: self.source().into(),
            tensor: self.name().into(),
            dtype: self.dtype,
        }
    }
}

/// Bytes that shape and dtype need, or why they make no tensor.
pub(crate) fn check_shape(
    source: &Path,
    name: &str,
    shape: &[usize],
    dtype: StorageDtype,
) -> Result<usize, FormatError> {
    let overflow = || FormatError::ShapeOverflow {
        path: source.into(),
        tensor: name.into(),
        shape: shape.into(),
    };
    let elements = element_count(shape).ok_or_else(overflow)?;
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_len()) && !dtype.packs_across_rows() {
        return Err(FormatError::PartialBlock {
            path: source.into(),
            tensor: name.into(),
            dtype,
            shape: shape.into(),
        });
    }
    dtype.bytes_for(elements).ok_or_else(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(rows: usize, columns: usize) -> TensorData {
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        TensorData::from_f32("w", &[rows, columns], &values).unwrap()
    }

    #[test]
    fn rows_can_be_cut_out_and_reshaped() {
        let t = ramp(4, 6);
        assert_eq!(t.elements(), 24);
        assert_eq!(
            t.rows_to_f32(2, 1).unwrap(),
            [12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
        );
        let cut = t.slice_rows(1, 2).unwrap();
        assert_eq!(cut.shape(), [2, 6]);
        assert_eq!(cut.slice_rows(1, 1).unwrap().to_f32().unwrap()[0], 12.0);
        assert_eq!(t.with_shape(&[3, 8]).unwrap().shape(), [3, 8]);
        assert!(matches!(
            t.with_shape(&[5, 5]),
            Err(FormatError::WrongShape { .. })
        ));
        assert!(t.slice_rows(3, 2).is_err());
        assert!(t.slice_rows(usize::MAX, 2).is_err());
        assert!(t.slice_rows(4, 0).unwrap().to_f32().unwrap().is_empty());
    }

    #[test]
    fn keys_tell_content_apart() {
        let t = ramp(4, 6);
        assert_eq!(t.key(), t.clone().key());
        assert_eq!(t.key(), t.renamed("other").key());
        assert_ne!(t.key(), ramp(4, 6).key());
        assert_ne!(t.key(), t.with_shape(&[24]).unwrap().key());
        assert_ne!(
            t.slice_rows(0, 1).unwrap().key(),
            t.slice_rows(1, 1).unwrap().key()
        );
    }

    #[test]
    fn impossible_tensors_are_refused() {
        let make = |shape: &[usize], dtype, bytes| {
            TensorData::new_owned("w", shape, dtype, vec![0; bytes]).unwrap_err()
        };
        assert!(matches!(
            make(&[usize::MAX, 2], StorageDtype::F32, 8),
            FormatError::ShapeOverflow { .. }
        ));
        assert!(matches!(
            make(&[usize::MAX, 2, 0], StorageDtype::F32, 0),
            FormatError::ShapeOverflow { .. }
        ));
        assert!(matches!(
            make(&[usize::MAX / 2], StorageDtype::F32, 8),
            FormatError::ShapeOverflow { .. }
        ));
        assert!(matches!(
            make(&[2, 2], StorageDtype::F16, 7),
            FormatError::SizeMismatch {
                needed: 8,
                found: 7,
                ..
            }
        ));
        assert!(matches!(
            make(&[2, 16], StorageDtype::Q8_0, 34),
            FormatError::PartialBlock { .. }
        ));
    }

    #[test]
    fn quantised_rows_are_cut_at_blocks() {
        let t =
            TensorData::new_owned("q", &[3, 64], StorageDtype::Q8_0, vec![1; 3 * 2 * 34]).unwrap();
        assert_eq!(t.slice_rows(1, 2).unwrap().bytes().len(), 4 * 34);
        let flat = t.with_shape(&[192]).unwrap();
        assert!(flat.slice_rows(32, 64).is_ok());
        assert!(matches!(
            flat.slice_rows(1, 64),
            Err(FormatError::PartialBlock { .. })
        ));
    }

    #[test]
    fn require_names_file_tensor_and_shapes() {
        let mut map = WeightMap::new("model.safetensors");
        map.insert("a.weight", ramp(4, 6));
        map.insert(
            "a.ids",
            TensorData::new_owned("a.ids", &[2], StorageDtype::I64, vec![0; 16]).unwrap(),
        );
        map.insert("b.weight", ramp(1, 1));
        assert!(map.require("a.weight", &[4, 6]).is_ok());
        let wrong = map.require("a.weight", &[6, 4]).unwrap_err().to_string();
        for part in ["model.safetensors", "a.weight", "[4, 6]", "[6, 4]"] {
            assert!(wrong.contains(part), "{wrong}");
        }
        let missing = map.require("c", &[1]).unwrap_err().to_string();
        assert!(missing.contains("`c`") && missing.contains("missing"));
        let ids = map.require("a.ids", &[2]).unwrap_err().to_string();
        assert!(ids.contains("I64"), "{ids}");
        let a = map.filter_prefix("a.");
        assert_eq!(a.names().collect::<Vec<_>>(), ["ids", "weight"]);
        assert_eq!(map.total_elements(), 24 + 2 + 1);
    }
}
