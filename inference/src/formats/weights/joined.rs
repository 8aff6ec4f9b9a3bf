//! Several tensors as one, without copying them: those of products that have the same input are one weight for an executor that computes them as one.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use super::{Bytes, Storage, StorageDtype, TensorData, TensorKey, check_shape};
use crate::formats::FormatError;

/// The bytes of what is joined, in one piece; as 32-bit floats, or as they are.
pub(super) fn bytes(parts: &[TensorData], floats: bool) -> Vec<u8> {
    let own = |part: &TensorData| match floats {
        // Of a type without numbers there is nothing; whoever wanted them was told when it was joined.
        true => {
            let values = part.to_f32().unwrap_or_default();
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        }
        false => part.bytes().to_vec(),
    };
    parts.iter().flat_map(own).collect()
}

/// What is joined now, by its parts, so that the same parts make the same tensor whoever joins them.
static KNOWN: LazyLock<Mutex<HashMap<Vec<TensorKey>, Weak<Storage>>>> =
    LazyLock::new(Mutex::default);

impl TensorData {
    /// The rows (first dimension) of several tensors, one behind the other. Equal parts give equal [keys](TensorData::key) as long as anybody holds
    /// what was made of them. Vectors of several types become one of 32-bit floats. Nothing is copied unless [`TensorData::bytes`] is asked for; see [`TensorData::pieces`].
    ///
    /// # Errors
    /// If there are none, or they differ in type or in what a row is.
    pub(crate) fn joined(parts: &[Self]) -> Result<Self, FormatError> {
        let wrong = |part: &Self, wanted: &Self| FormatError::WrongShape {
            path: part.source().into(),
            tensor: part.name().into(),
            found: part.shape().into(),
            wanted: wanted.shape().into(),
        };
        let first = parts.first().ok_or_else(|| FormatError::WrongShape {
            path: "(memory)".into(),
            tensor: String::new(),
            found: Vec::new(),
            wanted: vec![1],
        })?;
        let mut rows: usize = 0;
        let mut floats = false;
        for part in parts {
            match (part.shape().split_first(), first.shape().split_first()) {
                (Some((len, row)), Some((_, wanted))) if row == wanted => {
                    rows = rows.saturating_add(*len);
                }
                _ => return Err(wrong(part, first)),
            }
            let alike = part.dtype() == first.dtype();
            if !alike && part.shape().len() > 1 {
                return Err(wrong(part, first));
            }
            floats |= !alike;
        }
        let dtype = if floats {
            StorageDtype::F32
        } else {
            first.dtype()
        };
        let mut shape = first.shape().to_vec();
        if let Some(len) = shape.first_mut() {
            *len = rows;
        }
        let length = check_shape(first.source(), first.name(), &shape, dtype)?;
        // Elements narrower than a byte need not end with one.
        let bytes: usize = parts.iter().map(Self::byte_count).sum();
        if !floats && bytes != length {
            return Err(wrong(first, first));
        }
        let storage = {
            let keys: Vec<TensorKey> = parts.iter().map(Self::key).collect();
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(&keys).and_then(Weak::upgrade) {
                Some(storage) => storage,
                None => {
                    known.retain(|_, storage| storage.strong_count() > 0);
                    let storage = Storage::with_bytes(
                        first.source().into(),
                        Bytes::Joined {
                            parts: parts.to_vec(),
                            length,
                            floats,
                            made: OnceLock::new(),
                        },
                    );
                    known.insert(keys, Arc::downgrade(&storage));
                    storage
                }
            }
        };
        let names: Vec<&str> = parts.iter().map(Self::name).collect();
        Self::from_storage(storage, &names.join(" + "), &shape, dtype, 0..length)
    }

    /// What it was joined from, if it is the whole of something joined.
    pub(crate) fn joined_parts(&self) -> Option<&[Self]> {
        match &self.storage.bytes {
            Bytes::Joined { parts, length, .. } if self.range == (0..*length) => Some(parts),
            _ => None,
        }
    }

    /// The tensors that lie behind `len` rows (first dimension) from `start` on, in order: views of the parts of what was joined, else one view of itself.
    ///
    /// # Errors
    /// As [`TensorData::slice_rows`].
    pub(crate) fn pieces(&self, start: usize, len: usize) -> Result<Vec<Self>, FormatError> {
        let Some(parts) = self.joined_parts() else {
            return Ok(vec![self.slice_rows(start, len)?]);
        };
        let end = start.saturating_add(len);
        let mut pieces = Vec::with_capacity(parts.len());
        let mut begin = 0;
        for part in parts {
            let rows = part.shape().first().copied().unwrap_or(1);
            let (from, to) = (
                start.clamp(begin, begin + rows),
                end.clamp(begin, begin + rows),
            );
            if from < to {
                pieces.push(part.slice_rows(from - begin, to - from)?);
            }
            begin += rows;
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: u8, rows: usize) -> TensorData {
        let bytes = (0..rows * 34)
            .map(|i| first.wrapping_add(i as u8))
            .collect();
        TensorData::new_owned("part", &[rows, 32], StorageDtype::Q8_0, bytes).unwrap()
    }

    #[test]
    fn rows_lie_one_behind_the_other() {
        let parts = [part(1, 3), part(100, 2), part(7, 4)];
        let whole = TensorData::joined(&parts).unwrap();
        assert_eq!(whole.shape(), [9, 32]);
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.bytes())
            .copied()
            .collect();
        for (start, len) in [(0, 9), (2, 2), (3, 2), (1, 8), (8, 1)] {
            let pieces = whole.pieces(start, len).unwrap();
            let found: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| piece.bytes())
                .copied()
                .collect();
            assert_eq!(found, bytes[start * 34..(start + len) * 34]);
        }
        assert_eq!(whole.made_bytes(), 0);
        assert_eq!(whole.bytes(), bytes);
        assert_eq!(whole.pieces(2, 2).unwrap().len(), 2);
    }

    #[test]
    fn the_same_parts_make_the_same_tensor() {
        let parts = [part(1, 3), part(2, 2)];
        let whole = TensorData::joined(&parts).unwrap();
        assert_eq!(TensorData::joined(&parts).unwrap().key(), whole.key());
        let turned = TensorData::joined(&[parts[1].clone(), parts[0].clone()]).unwrap();
        assert_ne!(turned.key(), whole.key());
    }

    #[test]
    fn vectors_of_several_types_are_floats() {
        let halves = half::f16::from_f32(1.5).to_le_bytes().repeat(3);
        let half = TensorData::new_owned("h", &[3], StorageDtype::F16, halves).unwrap();
        let float = TensorData::from_f32("f", &[2], &[2.0, -4.0]).unwrap();
        let whole = TensorData::joined(&[half, float]).unwrap();
        assert_eq!(whole.dtype(), StorageDtype::F32);
        assert_eq!(whole.to_f32().unwrap(), [1.5, 1.5, 1.5, 2.0, -4.0]);
    }

    #[test]
    fn unlike_parts_are_refused() {
        let other = TensorData::from_f32("f", &[2, 32], &[0.0; 64]).unwrap();
        assert!(TensorData::joined(&[part(1, 3), other]).is_err());
        let narrow = TensorData::new_owned("n", &[1, 64], StorageDtype::Q8_0, vec![0; 68]).unwrap();
        assert!(TensorData::joined(&[part(1, 3), narrow]).is_err());
        assert!(TensorData::joined(&[]).is_err());
    }
}
