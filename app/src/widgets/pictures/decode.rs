//! Files and pictures in memory to pixels, on worker threads.

use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use egui::ColorImage;
use image::{DynamicImage, ImageDecoder as _, ImageReader, Limits};

use super::difference::{self, DifferenceNumbers};
use super::resample::{is_opaque, levels};
use super::source::{PictureError, PictureSource};

/// Longest side that is decoded, in pixels.
const LONGEST_SIDE: u32 = 32_768;
/// Most memory for decoding one picture, in bytes.
const MOST_MEMORY: u64 = 2 << 30;

/// Pixels of a picture and of its halves.
#[derive(Debug)]
pub struct Pixels {
    /// The picture, then each level half of the one before.
    pub levels: Vec<Arc<ColorImage>>,
    /// Whether nothing shines through.
    pub opaque: bool,
    /// When the file was changed last.
    pub modified: Option<SystemTime>,
    /// For differences: the numbers.
    pub numbers: Option<DifferenceNumbers>,
}

impl Pixels {
    pub(super) fn new(base: ColorImage, modified: Option<SystemTime>) -> Self {
        Self {
            opaque: is_opaque(&base),
            levels: levels(base),
            modified,
            numbers: None,
        }
    }

    /// The picture itself.
    pub fn base(&self) -> Option<&Arc<ColorImage>> {
        self.levels.first()
    }

    /// Width and height in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.base().map_or([1, 1], |base| base.size)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.pixels.len() * 4).sum()
    }
}

/// The time at which a file was changed last; `None` where the system does not tell.
///
/// # Errors
/// If there is no such file.
pub(super) fn modified(path: &Path) -> Result<Option<SystemTime>, PictureError> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.modified().ok()),
        Err(error) => Err(of_io(path, &error)),
    }
}

fn of_io(path: &Path, error: &std::io::Error) -> PictureError {
    match error.kind() {
        ErrorKind::NotFound => PictureError::Gone(path.into()),
        _ => PictureError::Unreadable {
            path: path.into(),
            reason: error.to_string(),
        },
    }
}

/// The pixels of a picture without its halves.
pub(super) fn base(
    source: &PictureSource,
) -> Result<(ColorImage, Option<SystemTime>), PictureError> {
    match source {
        PictureSource::File(path) => {
            let modified = modified(path)?;
            Ok((file(path)?, modified))
        }
        PictureSource::Memory(picture) => Ok((memory(picture)?, None)),
        PictureSource::Difference(wanted) => {
            let (a, b) = (base(&wanted.a)?.0, base(&wanted.b)?.0);
            Ok((difference::picture(&a, &b, gain(wanted)).0, None))
        }
    }
}

/// All that is needed to show a picture. `known` are the pixels of a difference's two pictures where they are known.
pub(super) fn pixels(
    source: &PictureSource,
    known: [Option<Arc<Pixels>>; 2],
) -> Result<Pixels, PictureError> {
    if let PictureSource::Difference(wanted) = source {
        let [known_a, known_b] = known;
        let of = |known: Option<Arc<Pixels>>, source| match known.as_deref().and_then(Pixels::base)
        {
            Some(base) => Ok(Arc::clone(base)),
            None => base(source).map(|(base, _)| Arc::new(base)),
        };
        let (a, b) = (of(known_a, &wanted.a)?, of(known_b, &wanted.b)?);
        let (image, numbers) = difference::picture(&a, &b, gain(wanted));
        let mut pixels = Pixels::new(image, None);
        pixels.numbers = Some(numbers);
        return Ok(pixels);
    }
    let (base, modified) = base(source)?;
    Ok(Pixels::new(base, modified))
}

fn gain(wanted: &super::source::Difference) -> f32 {
    f32::from(wanted.gain_tenths) / 10.0
}

/// The pixels of a picture in memory.
pub(super) fn memory(picture: &super::source::MemoryPicture) -> Result<ColorImage, PictureError> {
    let picture = &picture.0;
    let needed = u64::from(picture.width) * u64::from(picture.height) * 3;
    if needed == 0 || needed != picture.rgb.len() as u64 {
        return Err(PictureError::Malformed {
            width: picture.width,
            height: picture.height,
            bytes: picture.rgb.len(),
        });
    }
    let size = [picture.width as usize, picture.height as usize];
    Ok(ColorImage::from_rgb(size, &picture.rgb))
}

fn file(path: &Path) -> Result<ColorImage, PictureError> {
    let damaged = |error: image::ImageError| match error {
        image::ImageError::IoError(error)
            if !matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::InvalidData
            ) =>
        {
            of_io(path, &error)
        }
        error => PictureError::Damaged {
            path: path.into(),
            reason: error.to_string(),
        },
    };
    let opened = std::fs::File::open(path).map_err(|error| of_io(path, &error))?;
    let mut reader = ImageReader::new(BufReader::new(opened))
        .with_guessed_format()
        .map_err(|error| of_io(path, &error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    let size = [picture.width() as usize, picture.height() as usize];
    Ok(if picture.color().has_alpha() {
        ColorImage::from_rgba_unmultiplied(size, picture.into_rgba8().as_raw())
    } else {
        ColorImage::from_rgb(size, picture.into_rgb8().as_raw())
    })
}
