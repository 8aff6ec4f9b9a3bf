//! Pictures and masks as the engine takes them, out of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{BlobRef, HostTensor};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use sha2::{Digest as _, Sha256};

/// Longest side of a picture that is read.
const MOST_SIDE: u32 = 16_384;
/// Most pixels of one: what cameras make, and little enough that a small file that swells cannot take all memory (16 bytes a pixel are taken on the way).
const MOST_PIXELS: u64 = 1 << 26;
/// Most bytes that a decoder may take: twice the largest picture of four 16-bit channels.
const MOST_BYTES: u64 = 16 * MOST_PIXELS;
/// Longest file that is read: no picture of [`MOST_PIXELS`] needs more.
const MOST_FILE: u64 = 1 << 30;

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
    /// It has more pixels than are read.
    #[error(
        "{path}: this picture has {width}x{height} pixels, more than {most} million; make it smaller first",
        path = .path.display(),
        most = MOST_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
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
    let refused = |reason: &str| PictureError::Decode {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    match meta.len() {
        0 => return Err(refused("the file is empty")),
        1..=MOST_FILE => {}
        _ => return Err(refused("the file is larger than any picture that is read")),
    }
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(closed)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder().map_err(fault)?;
    // Before anything is made ready for them.
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(refused("it has no pixels"));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(PictureError::TooLarge {
            path: path.to_owned(),
            width,
            height,
        });
    }
    if is_jpeg && !jpeg_ends(&std::fs::read(path).map_err(closed)?) {
        return Err(refused("the file ends within the picture"));
    }
    let orientation = decoder.orientation().map_err(fault)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fault)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    if !picture.color().has_alpha() {
        return Ok(Pixels {
            width,
            height,
            rgb: picture.into_rgb8().into_raw(),
            alpha: None,
        });
    }
    let rgba = picture.into_rgba8();
    let pixels = || rgba.pixels();
    Ok(Pixels {
        width,
        height,
        rgb: pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        alpha: Some(pixels().map(|p| p[3]).collect()),
    })
}

/// Whether the picture in a JPEG file comes to its end. The decoder fills what is missing with grey, as viewers do; drawn from, that would be taken for a part
/// of the picture. What stands before the pixels is left to the decoder, and what stands behind the end to nobody.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments, each with its length, up to the first scan (ITU-T T.81, B.1.1).
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        match marker {
            // Filling before a marker.
            0xff => at += 1,
            0xda => {
                // Within pixels 0xff is never followed by this.
                let scans = bytes.get(at..).unwrap_or_default();
                return scans.windows(2).any(|pair| pair == [0xff, 0xd9]);
            }
            _ => at += 2 + length.max(2),
        }
    }
    true
}

impl Pixels {
    /// On white, where something shines through: what lies below are colours that nobody saw.
    #[must_use]
    pub fn on_white(mut self) -> Self {
        if let Some(alpha) = self.alpha.take() {
            for (rgb, alpha) in self.rgb.chunks_exact_mut(3).zip(alpha) {
                for value in rgb {
                    let (over, alpha) = (u32::from(*value), u32::from(alpha));
                    *value = ((over * alpha + 255 * (255 - alpha) + 127) / 255).min(255) as u8;
                }
            }
        }
        self
    }

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
    fn what_shines_through_is_white() {
        let pixels = dots().on_white();
        assert_eq!(pixels.rgb, [255, 255, 255, 0, 0, 255]);
        assert_eq!(pixels.alpha, None);
        assert_eq!(pixels.clone().on_white().rgb, pixels.rgb);
    }

    #[test]
    fn a_jpeg_ends_where_its_marker_says() {
        // With a picture of its own in a segment before the scan.
        let segment = [0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xda];
        let start = [&[0xff, 0xd8][..], &segment].concat();
        let whole = [
            &start[..],
            &[0xff, 0xff, 0xda, 0, 2, 1, 2, 0xff, 0, 3, 0xff, 0xd9, 9],
        ]
        .concat();
        assert!(jpeg_ends(&whole));
        for end in start.len() + 6..whole.len() - 1 {
            assert!(!jpeg_ends(&whole[..end]), "{end}");
        }
        // What has no scan is the decoder's to refuse.
        assert!(jpeg_ends(&start) && jpeg_ends(&[]));
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
