//! How weights lie on the device, and their way there from the bytes of a file.
//!
//! A weight is a matrix of rows (the first dimension) and columns (all others); vectors are one row. It is cut by rows
//! into shards that fit one binding each. The layouts of the formats are described in the shaders that read them; what
//! they have in common: rows are whole chunks of four elements, and a shard's length is a multiple of 16 bytes.

use std::ops::Range;

use diptych_shaders::WeightFormat;

use super::KernelLimits;
use crate::formats::{StorageDtype, TensorData};
use crate::graph::ExecError;

/// The layout of one weight on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedLayout {
    /// The weight's own shape.
    pub shape: Vec<usize>,
    /// How elements are stored.
    pub format: WeightFormat,
    /// The first dimension; 1 for vectors.
    pub rows: usize,
    /// Elements a row.
    pub cols: usize,
    /// Rows of each shard, in order.
    pub shards: Vec<Range<usize>>,
}

/// Blocks of a packed format: elements, words in the main section.
fn block_of(format: WeightFormat) -> Option<(usize, usize)> {
    match format {
        WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => None,
        WeightFormat::Q8_0 => Some((32, 8)),
        WeightFormat::Q4_0 => Some((32, 4)),
        WeightFormat::Q4K => Some((256, 36)),
        WeightFormat::Q6K => Some((256, 52)),
        WeightFormat::Q4_1 => Some((32, 5)),
        WeightFormat::Q5_0 => Some((32, 5)),
        WeightFormat::Q5_1 => Some((32, 6)),
        WeightFormat::Q2K => Some((256, 21)),
        WeightFormat::Q3K => Some((256, 27)),
        WeightFormat::Q5K => Some((256, 44)),
        WeightFormat::Iq4Nl => Some((32, 4)),
        WeightFormat::Iq4Xs => Some((256, 34)),
    }
}

/// Whether a format keeps its blocks' scales in a section of their own.
fn has_scales(format: WeightFormat) -> bool {
    matches!(
        format,
        WeightFormat::Q8_0
            | WeightFormat::Q4_0
            | WeightFormat::Q6K
            | WeightFormat::Q5_0
            | WeightFormat::Q3K
            | WeightFormat::Iq4Nl
    )
}

impl PackedLayout {
    /// The layout for a weight.
    ///
    /// Vectors are kept in f32, whatever their storage: they are small, and kernels then need one way to read them. Quantised
    /// tensors of three and more dimensions (convolutions) become f32, too.
    ///
    /// # Errors
    /// If the storage type is no weight type, or one row does not fit a binding.
    pub fn of(weight: &TensorData, limits: &KernelLimits) -> Result<Self, ExecError> {
        let unsupported = |detail: String| ExecError::Unsupported {
            executor: "gpu",
            label: weight.name().to_owned(),
            detail: format!(
                "the weight of shape {:?} and type {}: {detail}",
                weight.shape(),
                weight.dtype()
            ),
        };
        let (rows, cols) = match weight.shape() {
            [] => (1, 1),
            [len] => (1, *len),
            [rows, rest @ ..] => (*rows, rest.iter().product()),
        };
        let stored = match weight.dtype() {
            StorageDtype::F32 => WeightFormat::F32,
            // Every float of 8 bits is one of 16.
            StorageDtype::F16 | StorageDtype::F8E4m3 | StorageDtype::F8E5m2 => WeightFormat::F16,
            StorageDtype::Bf16 => WeightFormat::Bf16,
            StorageDtype::Q8_0 => WeightFormat::Q8_0,
            StorageDtype::Q4_0 => WeightFormat::Q4_0,
            StorageDtype::Q4K => WeightFormat::Q4K,
            StorageDtype::Q6K => WeightFormat::Q6K,
            StorageDtype::Q4_1 => WeightFormat::Q4_1,
            StorageDtype::Q5_0 => WeightFormat::Q5_0,
            StorageDtype::Q5_1 => WeightFormat::Q5_1,
            StorageDtype::Q2K => WeightFormat::Q2K,
            StorageDtype::Q3K => WeightFormat::Q3K,
            StorageDtype::Q5K => WeightFormat::Q5K,
            StorageDtype::Iq4Nl => WeightFormat::Iq4Nl,
            StorageDtype::Iq4Xs => WeightFormat::Iq4Xs,
            _ => return Err(unsupported("this type cannot be computed with".into())),
        };
        let format = match weight.shape().len() {
            0 | 1 => WeightFormat::F32,
            2 => stored,
            _ if block_of(stored).is_some() => WeightFormat::F32,
            _ => stored,
        };
        let mut layout = Self {
            shape: weight.shape().to_vec(),
            format,
            rows,
            cols,
            shards: Vec::new(),
        };
        // As many rows as fit, counted with the section of scales and its padding; whole tiles of 64 if there are.
        let limit = limits.max_storage_binding & !15;
        let per_row = layout.bytes_for(1).max(1);
        let mut most = usize::try_from(limit / per_row)
            .unwrap_or(usize::MAX)
            .min(rows.max(1))
            .max(1);
        while most < rows && layout.bytes_for(most + 1) <= limit {
            most += 1;
        }
        if most < rows && most > 64 {
            most -= most % 64;
        }
        if layout.bytes_for(most) > limit {
            return Err(unsupported(format!(
                "one row needs {per_row} bytes, and one binding holds {limit}"
            )));
        }
        layout.shards = (0..rows)
            .step_by(most)
            .map(|row| row..(row + most).min(rows))
            .collect();
        Ok(layout)
    }

    /// Chunks of four elements a row; what kernels call `weight_stride`.
    pub fn chunks(&self) -> usize {
        self.cols.div_ceil(4)
    }

    /// Words of the main section for a number of rows; there the section of scales begins.
    pub(super) fn main_words(&self, rows: usize) -> usize {
        match (block_of(self.format), self.format) {
            (Some((len, words)), _) => rows * (self.cols / len) * words,
            (None, WeightFormat::F32) => rows * self.chunks() * 4,
            (None, _) => rows * self.chunks() * 2,
        }
    }

    /// Cuts the rows of a shard so that `columns` columns times one part are no long dispatch. Parts begin at whole tiles, where the
    /// sections of packed formats are aligned, too.
    pub(super) fn parts(
        &self,
        rows: usize,
        columns: usize,
        limits: &KernelLimits,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        const TILE: usize = 64;
        let per_row = 2 * (columns * self.cols).max(1) as u64;
        let most = usize::try_from(limits.max_dispatch_flops / per_row).unwrap_or(usize::MAX);
        let most = (most / TILE * TILE).max(TILE);
        let aligned = (self.main_words(TILE) as u64 * 4).is_multiple_of(limits.storage_alignment);
        let most = if aligned { most } else { rows.max(1) };
        (0..rows)
            .step_by(most)
            .map(move |row| row..rows.min(row.saturating_add(most)))
    }

    /// Where row `row` of a shard of `rows` rows begins, in bytes, and from there the first word of the section of scales. `row` is one
    /// at which a part begins, see [`Self::parts`].
    pub(super) fn start_of(&self, row: usize, rows: usize) -> (u64, usize) {
        let before = self.main_words(row);
        let scales = match block_of(self.format) {
            // Two of them to a word.
            Some((len, _)) if has_scales(self.format) => row * (self.cols / len) / 2,
            _ => 0,
        };
        (before as u64 * 4, self.main_words(rows) - before + scales)
    }

    fn bytes_for(&self, rows: usize) -> u64 {
        let mut words = self.main_words(rows) as u64;
        if let (Some((len, _)), true) = (block_of(self.format), has_scales(self.format)) {
            words += (rows as u64 * (self.cols / len) as u64).div_ceil(2);
        }
        (words * 4).next_multiple_of(16)
    }

    /// Bytes of one shard, a multiple of 16; 0 if there is no such shard.
    pub fn shard_bytes(&self, shard: usize) -> u64 {
        self.shards
            .get(shard)
            .map_or(0, |rows| self.bytes_for(rows.len()))
    }

    /// Bytes of all shards.
    pub fn total_bytes(&self) -> u64 {
        (0..self.shards.len())
            .map(|shard| self.shard_bytes(shard))
            .sum()
    }

    /// Packs one shard into `out`, which is cleared first and then holds [`PackedLayout::shard_bytes`] bytes.
    ///
    /// # Errors
    /// If the weight is not the one that the layout was made for.
    pub fn pack_shard(
        &self,
        weight: &TensorData,
        shard: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ExecError> {
        let rows = self.shards.get(shard).cloned().unwrap_or(0..0);
        let length = usize::try_from(self.shard_bytes(shard)).unwrap_or(0);
        out.clear();
        out.reserve(length);
        // A vector is one row here, and its first dimension there.
        let (first, count) = match weight.shape() {
            [] => (0, 0),
            [len] => (0, *len),
            _ => (rows.start, rows.len()),
        };
        let pieces = match weight.shape() {
            [] => vec![weight.clone()],
            _ => weight.pieces(first, count)?,
        };
        let elements: usize = pieces.iter().map(TensorData::elements).sum();
        if elements != rows.len() * self.cols {
            return Err(ExecError::Backend {
                context: format!("packing '{}'", weight.name()),
                message: format!(
                    "shape {:?} is not that of the layout, {} x {}",
                    weight.shape(),
                    self.rows,
                    self.cols
                ),
            });
        }
        match self.format {
            WeightFormat::Q5_0 => sections::<22>(&pieces, 0, 2..22, out),
            WeightFormat::Q3K => sections::<110>(&pieces, 108, 0..108, out),
            WeightFormat::Iq4Nl => sections::<18>(&pieces, 0, 2..18, out),
            WeightFormat::Q8_0 => sections::<34>(&pieces, 0, 2..34, out),
            WeightFormat::Q4_0 => sections::<18>(&pieces, 0, 2..18, out),
            WeightFormat::Q6K => sections::<210>(&pieces, 208, 0..208, out),
            _ => {
                for piece in &pieces {
                    self.pack_plain(piece, out)?;
                }
            }
        }
        out.resize(length, 0);
        Ok(())
    }

    /// Packs rows of a format without a section of scales.
    fn pack_plain(&self, view: &TensorData, out: &mut Vec<u8>) -> Result<(), ExecError> {
        match self.format {
            WeightFormat::F32 if view.dtype() == StorageDtype::F32 => {
                self.pad_rows(view.bytes(), 4, out);
            }
            WeightFormat::F32 => {
                let values = view.to_f32()?;
                self.pad_rows(bytemuck::cast_slice(&values), 4, out);
            }
            WeightFormat::F16
                if matches!(view.dtype(), StorageDtype::F8E4m3 | StorageDtype::F8E5m2) =>
            {
                let values = view.to_f32()?;
                let halves: Vec<u8> = values
                    .iter()
                    .flat_map(|value| half::f16::from_f32(*value).to_le_bytes())
                    .collect();
                self.pad_rows(&halves, 2, out);
            }
            WeightFormat::F16 | WeightFormat::Bf16 => self.pad_rows(view.bytes(), 2, out),
            _ => out.extend_from_slice(view.bytes()),
        }
        Ok(())
    }

    /// Rows of plain elements of `size` bytes, padded with zeros to whole chunks of four.
    fn pad_rows(&self, bytes: &[u8], size: usize, out: &mut Vec<u8>) {
        // Of a single row, which may come in several pieces, the end is filled up.
        if self.cols.is_multiple_of(4) || self.rows == 1 {
            out.extend_from_slice(bytes);
            return;
        }
        let padding = (self.chunks() * 4 - self.cols) * size;
        for row in bytes.chunks_exact((self.cols * size).max(1)) {
            out.extend_from_slice(row);
            out.extend(std::iter::repeat_n(0, padding));
        }
    }
}

/// First the quants of all blocks, then their f16 scales.
fn sections<const BYTES: usize>(
    pieces: &[TensorData],
    scale: usize,
    quants: Range<usize>,
    out: &mut Vec<u8>,
) {
    for piece in pieces {
        for block in piece.bytes().as_chunks::<BYTES>().0 {
            out.extend_from_slice(&block[quants.clone()]);
        }
    }
    for piece in pieces {
        for block in piece.bytes().as_chunks::<BYTES>().0 {
            out.extend_from_slice(&block[scale..scale + 2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_fit_and_cover_all_rows() {
        let limits = KernelLimits {
            max_storage_binding: 4096,
            ..KernelLimits::default()
        };
        let bytes = vec![7; 300 * 3 * 34];
        let weight = TensorData::new_owned("w", &[300, 96], StorageDtype::Q8_0, bytes).unwrap();
        let layout = PackedLayout::of(&weight, &limits).unwrap();
        assert!(layout.shards.len() > 1);
        let mut next = 0;
        for (index, rows) in layout.shards.iter().enumerate() {
            assert_eq!(rows.start, next);
            next = rows.end;
            assert!(layout.shard_bytes(index) <= 4096);
            let mut out = vec![1];
            layout.pack_shard(&weight, index, &mut out).unwrap();
            assert_eq!(out.len() as u64, layout.shard_bytes(index));
        }
        assert_eq!(next, 300);
        let wide = TensorData::from_f32("wide", &[2, 2000], &[0.0; 4000]).unwrap();
        assert!(PackedLayout::of(&wide, &limits).is_err());
    }

    #[test]
    fn vectors_in_pieces_are_one_row() {
        let part = |values: &[f32]| TensorData::from_f32("v", &[values.len()], values).unwrap();
        let whole = TensorData::joined(&[part(&[1.0, 2.0, 3.0]), part(&[4.0, 5.0])]).unwrap();
        let layout = PackedLayout::of(&whole, &KernelLimits::default()).unwrap();
        let mut out = Vec::new();
        layout.pack_shard(&whole, 0, &mut out).unwrap();
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&out);
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn odd_rows_are_padded() {
        let weight =
            TensorData::new_owned("w", &[2, 3], StorageDtype::F16, (1..=12).collect()).unwrap();
        let layout = PackedLayout::of(&weight, &KernelLimits::default()).unwrap();
        let mut out = Vec::new();
        layout.pack_shard(&weight, 0, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0]);
    }
}
