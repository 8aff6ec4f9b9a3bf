//! Pictures and masks as the engine takes them, out of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{BlobRef, HostTensor};
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};
use sha2::{Digest as _, Sha256};

/// Longest side of a picture that is read.
const MOST_SIDE: u32 = 16_384;
/// Most bytes that a decoder may take.
const MOST_BYTES: u64 = 2 << 30;

/// Why a picture cannot be given to the engine.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened.
    #[error("{path}: cannot open: {error}", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It is no file.
    #[error("{path}: this is no file", path = .0.display())]
    NoFile(PathBuf),
    /// It is no picture, or too large a one.
    #[error("{path}: cannot be read as a picture ({reason}); give a PNG, JPEG or WebP file of at most {most} pixels a side", path = .path.display(), most = MOST_SIDE)]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },
    /// It would be extended too far.
    #[error("extended so far, the picture would be larger than {most} pixels a side", most = MOST_SIDE)]
    TooWide,
}

/// Result of reading a picture.
pub type Result<T> = std::result::Result<T, PictureError>;

/// Data for the engine, and what requests call them.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What requests refer to it by.
    pub name: BlobRef,
    /// The data.
    pub data: Arc<HostTensor>,
}

impl Blob {
    /// Named by the SHA-256 of its numbers.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        let mut hash = Sha256::new();
        for value in &values {
            hash.update(value.to_le_bytes());
        }
        let digits = hash.finalize();
        Self {
            name: BlobRef(digits.iter().map(|byte| format!("{byte:02x}")).collect()),
            data: Arc::new(HostTensor::f32(shape, values)),
        }
    }
}

/// A picture as bytes, `width * height` of three each.
#[derive(Clone, Debug)]
pub struct Pixels {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green and blue, rows from the top.
    pub rgb: Vec<u8>,
    /// How opaque each pixel is, where the file says so.
    pub alpha: Option<Vec<u8>>,
}

/// Reads a PNG, JPEG or WebP file, turned as its orientation says.
///
/// # Errors
/// Files that cannot be read, are no pictures, or would need too much memory.
pub fn read(path: &Path) -> Result<Pixels> {
    let fault = |error: image::ImageError| PictureError::Decode {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let closed = |error: std::io::Error| PictureError::Open {
        path: path.to_owned(),
        error,
    };
    let meta = std::fs::metadata(path).map_err(closed)?;
    if !meta.is_file() {
        return Err(PictureError::NoFile(path.to_owned()));
    }
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(closed)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fault)?;
    let orientation = decoder.orientation().map_err(fault)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fault)?;
    picture.apply_orientation(orientation);
    let alpha = picture.color().has_alpha();
    let rgba = picture.to_rgba8();
    let (width, height) = rgba.dimensions();
    let pixels = || rgba.pixels();
    Ok(Pixels {
        width,
        height,
        rgb: pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        alpha: alpha.then(|| pixels().map(|p| p[3]).collect()),
    })
}

impl Pixels {
    /// As the engine takes pictures: `[3, height, width]` in 0 to 1.
    pub fn blob(&self) -> Blob {
        let channel = |c: usize| {
            self.rgb
                .iter()
                .skip(c)
                .step_by(3)
                .map(|v| f32::from(*v) / 255.0)
        };
        let values = (0..3).flat_map(channel).collect();
        Blob::new([3, self.height as usize, self.width as usize], values)
    }

    /// As the engine takes masks: `[1, height, width]`, white is drawn anew. A picture with transparency whose colours say
    /// nothing is read by it: what is transparent is drawn anew, as people cut holes into pictures.
    pub fn mask(&self) -> Blob {
        let uniform = self.rgb.iter().all(|value| Some(value) == self.rgb.first());
        let values = match &self.alpha {
            Some(alpha) if uniform => alpha.iter().map(|v| 1.0 - f32::from(*v) / 255.0).collect(),
            _ => self
                .rgb
                .chunks_exact(3)
                .map(|p| {
                    let [r, g, b] = [0, 1, 2].map(|c| p.get(c).map_or(0.0, |v| f32::from(*v)));
                    // ITU-R BT.601, as Pillow turns colours to grey.
                    (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
                })
                .collect(),
        };
        Blob::new([1, self.height as usize, self.width as usize], values)
    }

    /// Widened by so many pixels on the left, above, on the right and below, with its edges repeated; and the mask of what was added.
    ///
    /// # Errors
    /// If it would become too large.
    pub fn widened(&self, [left, top, right, bottom]: [u32; 4]) -> Result<(Self, Blob)> {
        let add = |side: u32, a: u32, b: u32| {
            let sum = side.checked_add(a)?.checked_add(b)?;
            (sum <= MOST_SIDE).then_some(sum)
        };
        let sides = add(self.width, left, right).zip(add(self.height, top, bottom));
        let Some((width, height)) = sides else {
            return Err(PictureError::TooWide);
        };
        let (mut rgb, mut mask) = (Vec::new(), Vec::new());
        for y in 0..height {
            for x in 0..width {
                let inside =
                    (left..left + self.width).contains(&x) && (top..top + self.height).contains(&y);
                mask.push(if inside { 0.0 } else { 1.0 });
                let old_x = x.saturating_sub(left).min(self.width - 1) as usize;
                let old_y = y.saturating_sub(top).min(self.height - 1) as usize;
                let start = 3 * (old_y * self.width as usize + old_x);
                rgb.extend(self.rgb.iter().skip(start).take(3));
            }
        }
        let pixels = Self {
            width,
            height,
            rgb,
            alpha: None,
        };
        Ok((
            pixels,
            Blob::new([1, height as usize, width as usize], mask),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dots() -> Pixels {
        Pixels {
            width: 2,
            height: 1,
            rgb: vec![255, 0, 0, 0, 0, 255],
            alpha: Some(vec![0, 255]),
        }
    }

    #[test]
    fn pictures_and_masks_are_planes_from_0_to_1() {
        let blob = dots().blob();
        assert_eq!(blob.data.shape, [3, 1, 2]);
        assert_eq!(blob.data.as_f32(), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(blob.name.0.len(), 64);
        let mask = dots().mask();
        assert!((mask.data.as_f32()[0] - 0.299).abs() < 1e-6);
        let cut = Pixels {
            rgb: vec![9; 6],
            ..dots()
        };
        assert_eq!(cut.mask().data.as_f32(), [1.0, 0.0]);
    }

    #[test]
    fn a_widened_picture_repeats_its_edges() {
        let (wide, mask) = dots().widened([1, 0, 2, 1]).unwrap();
        assert_eq!((wide.width, wide.height), (5, 2));
        assert_eq!(wide.rgb[0..6], [255, 0, 0, 255, 0, 0]);
        assert_eq!(wide.rgb[27..30], [0, 0, 255]);
        let inside = mask.data.as_f32().iter().filter(|v| **v == 0.0).count();
        assert_eq!(inside, 2);
        assert!(dots().widened([u32::MAX, 0, 0, 0]).is_err());
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\nnothing").unwrap();
        for path in [
            path,
            folder.path().to_owned(),
            folder.path().join("none.png"),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
