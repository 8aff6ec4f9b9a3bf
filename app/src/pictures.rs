//! Pictures and masks as the engine takes them, out of files.
//!
//! A picture is held in three bytes a pixel, and becomes numbers for the engine, which take twelve, only in a size that is bounded: large ones
//! are brought to the size that is drawn as bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{BlobRef, HostTensor};
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};
use sha2::{Digest as _, Sha256};

/// Longest side of a picture that is read.
const MOST_SIDE: u32 = 16_384;
/// Most pixels of one: what cameras make, and little enough that a small file that swells cannot take all memory.
const MOST_PIXELS: u64 = 1 << 26;
/// Most bytes that one may take unpacked: the largest of three or four 8-bit channels.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;
/// Most pixels of a picture that is given to the engine in its own size, as those are that a part is drawn of.
pub const MOST_WHOLE: u64 = 1 << 25;
/// From so many pixels on a picture that is drawn over as a whole is brought to the size that is drawn as bytes, as Pillow does it; the engine scales smaller
/// ones as numbers.
const MOST_SCALED_AS_NUMBERS: u64 = 1 << 22;
/// How much larger than wanted a picture is after the quick part of scaling it down, as Pillow's `reducing_gap` has it.
const GAP: u32 = 3;
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
    /// It takes more memory than a picture may.
    #[error(
        "{path}: unpacked, this picture takes {bytes} MB, more than {most} MB; save it with 8 bits a channel, or make it smaller first",
        path = .path.display(),
        bytes = .bytes.div_ceil(1_000_000),
        most = MOST_BYTES / 1_000_000
    )]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// What it takes.
        bytes: u64,
    },
    /// It has more pixels than can be kept in its own size.
    #[error(
        "{path}: this picture has {width}x{height} pixels; {what} it may have {most} million at most, so make it smaller first",
        path = .path.display(),
        most = MOST_WHOLE / 1_000_000
    )]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// What its own size is needed for, such as "to be made larger".
        what: &'static str,
    },
    /// It would be extended too far.
    #[error(
        "extended so far, the picture would be larger than {most} pixels a side or {pixels} million in all",
        most = MOST_SIDE,
        pixels = MOST_WHOLE / 1_000_000
    )]
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
        Self {
            name: name_of(values.iter().copied()),
            data: Arc::new(HostTensor::f32(shape, values)),
        }
    }
}

/// The SHA-256 of numbers, by which requests refer to them.
fn name_of(values: impl Iterator<Item = f32>) -> BlobRef {
    const AT_ONCE: usize = 1 << 14;
    let mut hash = Sha256::new();
    let mut bytes = Vec::with_capacity(AT_ONCE);
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
        if bytes.len() >= AT_ONCE {
            hash.update(&bytes);
            bytes.clear();
        }
    }
    hash.update(&bytes);
    let digits = hash.finalize();
    BlobRef(digits.iter().map(|byte| format!("{byte:02x}")).collect())
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
    if decoder.total_bytes() > MOST_BYTES {
        return Err(PictureError::TooMuch {
            path: path.to_owned(),
            bytes: decoder.total_bytes(),
        });
    }
    if is_jpeg && !jpeg_ends(&std::fs::read(path).map_err(closed)?) {
        return Err(refused("the file ends within the picture"));
    }
    let orientation = decoder.orientation().map_err(fault)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(fault)?;
    // Eight bits a channel before it is turned, which takes its memory twice.
    let mut picture = match picture.color().has_alpha() {
        true => DynamicImage::from(picture.into_rgba8()),
        false => DynamicImage::from(picture.into_rgb8()),
    };
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
    let (rgb, alpha) = parted(picture.into_rgba8().into_raw());
    Ok(Pixels {
        width,
        height,
        rgb,
        alpha: Some(alpha),
    })
}

/// The colours of pixels of four bytes, in the memory where they were, and how opaque each is.
fn parted(mut rgba: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let alpha: Vec<u8> = rgba.iter().skip(3).step_by(4).copied().collect();
    for pixel in 0..alpha.len() {
        rgba.copy_within(4 * pixel..4 * pixel + 3, 3 * pixel);
    }
    rgba.truncate(3 * alpha.len());
    rgba.shrink_to_fit();
    (rgba, alpha)
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

    fn count(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Refuses a picture of `path` that is too large to be kept in its own size, which `what` needs.
    ///
    /// # Errors
    /// With the most pixels that it may have.
    pub fn require_whole(&self, path: &Path, what: &'static str) -> Result<()> {
        if self.count() <= MOST_WHOLE {
            return Ok(());
        }
        Err(PictureError::NotWhole {
            path: path.to_owned(),
            width: self.width,
            height: self.height,
            what,
        })
    }

    /// In another size, by Lanczos' kernel, widened where the size shrinks; very much larger ones by means of squares first, which cannot be told from it.
    /// Takes sixteen bytes for each pixel of a picture of its width and the new height at most.
    #[must_use]
    pub fn resized(self, width: u32, height: u32) -> Self {
        let (from, to) = ((self.width, self.height), (width.max(1), height.max(1)));
        if from == to {
            return self;
        }
        let Some(mut image) = RgbImage::from_raw(from.0, from.1, self.rgb) else {
            // As many bytes as its size says are its own promise.
            return Self {
                width: 0,
                height: 0,
                rgb: Vec::new(),
                alpha: None,
            };
        };
        let near = (to.0.saturating_mul(GAP), to.1.saturating_mul(GAP));
        if from.0 > near.0 && from.1 > near.1 {
            image = imageops::thumbnail(&image, near.0, near.1);
        }
        let image = imageops::resize(&image, to.0, to.1, FilterType::Lanczos3);
        Self {
            width: to.0,
            height: to.1,
            rgb: image.into_raw(),
            alpha: None,
        }
    }

    /// Of `most` pixels at most, in its own shape.
    #[must_use]
    pub fn within(self, most: u64) -> Self {
        if self.count() <= most {
            return self;
        }
        let factor = (most as f64 / self.count() as f64).sqrt();
        let side = |side: u32| ((f64::from(side) * factor).floor() as u32).max(1);
        let (width, height) = (side(self.width), side(self.height));
        self.resized(width, height)
    }

    /// As what is drawn over as a whole at a size: a large picture in that size, others as they are, for the engine to scale.
    #[must_use]
    pub fn drawn_over(self, (width, height): (u32, u32)) -> Self {
        let wanted = u64::from(width) * u64::from(height);
        match self.count() > MOST_SCALED_AS_NUMBERS.max(wanted) {
            true => self.resized(width, height),
            false => self,
        }
    }

    /// As the engine takes pictures, `[3, height, width]` in 0 to 1.
    fn values(&self) -> impl Iterator<Item = f32> {
        let channel = |c: usize| {
            let bytes = self.rgb.iter().skip(c).step_by(3);
            bytes.map(|v| f32::from(*v) / 255.0)
        };
        (0..3).flat_map(channel)
    }

    /// What [`Self::blob`] is called, without making it.
    pub fn name(&self) -> BlobRef {
        name_of(self.values())
    }

    /// As the engine takes pictures: `[3, height, width]` in 0 to 1.
    pub fn blob(&self) -> Blob {
        let mut values = Vec::with_capacity(self.rgb.len());
        values.extend(self.values());
        Blob::new([3, self.height as usize, self.width as usize], values)
    }

    /// As the engine takes masks: `[1, height, width]`, white is drawn anew. A picture with transparency whose colours say
    /// nothing is read by it: what is transparent is drawn anew, as people cut holes into pictures.
    pub fn mask(&self) -> Blob {
        Blob::new(
            [1, self.height as usize, self.width as usize],
            self.mask_values().collect(),
        )
    }

    /// The numbers of [`Self::mask`].
    pub fn mask_values(&self) -> impl Iterator<Item = f32> {
        let uniform = self.rgb.iter().all(|value| Some(value) == self.rgb.first());
        let alpha = self.alpha.as_deref().filter(|_| uniform);
        let holes = alpha.unwrap_or_default().iter();
        let holes = holes.map(|v| 1.0 - f32::from(*v) / 255.0);
        let greys = if alpha.is_some() {
            &[]
        } else {
            self.rgb.as_slice()
        };
        let greys = greys.chunks_exact(3).map(|p| {
            let [r, g, b] = [0, 1, 2].map(|c| p.get(c).map_or(0.0, |v| f32::from(*v)));
            // ITU-R BT.601, as Pillow turns colours to grey.
            (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
        });
        holes.chain(greys)
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
        let few =
            |(width, height): &(u32, u32)| u64::from(*width) * u64::from(*height) <= MOST_WHOLE;
        let Some((width, height)) = sides.filter(few) else {
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
        // Sides that may be, and more pixels in all than may be.
        assert!(dots().widened([8_000, 8_000, 0, 0]).is_err());
    }

    #[test]
    fn colours_and_opacity_are_parted_where_they_are() {
        let (rgb, alpha) = parted(vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(rgb, [1, 2, 3, 5, 6, 7, 9, 10, 11]);
        assert_eq!(alpha, [4, 8, 12]);
        assert_eq!(parted(Vec::new()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn large_pictures_are_scaled_as_bytes_and_small_ones_left_to_the_engine() {
        let flat = |width: u32, height: u32| Pixels {
            width,
            height,
            rgb: [10, 120, 250].repeat((width * height) as usize),
            alpha: None,
        };
        let small = flat(64, 32).drawn_over((16, 16));
        assert_eq!((small.width, small.height), (64, 32));
        let large = flat(4096, 1100).drawn_over((64, 48));
        assert_eq!((large.width, large.height), (64, 48));
        assert!(large.rgb.chunks_exact(3).all(|rgb| rgb == [10, 120, 250]));
        assert_eq!(flat(4096, 1100).drawn_over((8192, 1104)).width, 4096);
        let bounded = flat(300, 100).within(1200);
        assert_eq!((bounded.width, bounded.height), (60, 20));
        assert!(flat(6, 6).require_whole(Path::new("a.png"), "x").is_ok());
    }

    /// What is scaled as bytes is what is scaled as numbers, to a rounding or two.
    #[test]
    fn scaling_as_bytes_is_scaling_as_numbers() {
        let (width, height) = (640, 480);
        let value = |x: u32, y: u32, c: u32| {
            let wave = (x as f32 / 37.0).sin() + (y as f32 / (23.0 + c as f32)).cos();
            (127.5 + 60.0 * wave) as u8
        };
        let dots = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = dots
            .flat_map(|(x, y)| [0, 1, 2].map(|c| value(x, y, c)))
            .collect();
        let pixels = Pixels {
            width,
            height,
            rgb,
            alpha: None,
        };
        let mean = |x: u32, y: u32, c: usize| {
            let square = (0..8).flat_map(|dy| (0..8).map(move |dx| (8 * x + dx, 8 * y + dy)));
            let at = |(x, y): (u32, u32)| pixels.rgb[3 * (y * width + x) as usize + c];
            square.map(|place| f32::from(at(place))).sum::<f32>() / 64.0
        };
        let wanted: Vec<f32> = (0..60)
            .flat_map(|y| (0..80).flat_map(move |x| [0, 1, 2].map(|c| (x, y, c))))
            .map(|(x, y, c)| mean(x, y, c))
            .collect();
        // By squares first, then by the kernel.
        let scaled = pixels.resized(80, 60);
        let far = scaled.rgb.iter().zip(wanted);
        let far = far
            .map(|(a, b)| (f32::from(*a) - b).abs())
            .fold(0.0, f32::max);
        assert!(far < 3.0, "{far}");
    }

    #[test]
    fn a_name_is_that_of_the_numbers() {
        assert_eq!(dots().name(), dots().blob().name);
        let many = Blob::new([9000], (0..9000).map(|v| v as f32).collect());
        let mut hash = Sha256::new();
        for value in many.data.as_f32() {
            hash.update(value.to_le_bytes());
        }
        let digits = hash.finalize();
        let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(many.name.0, digits);
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
