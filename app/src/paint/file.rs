//! Masks as PNG files: grey, white is drawn anew.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _, ImageFormat, ImageReader, Limits};

use super::{MOST_SIDE, Mask};

/// Most bytes that a decoder may take: a mask of the largest size, twice.
const MOST_BYTES: u64 = 512 << 20;

/// Why a mask cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It is no PNG, or too large.
    #[error("the mask cannot be read ({0}); give a PNG file of at most {MOST_SIDE} pixels a side")]
    Read(String),
    /// The encoder's words.
    #[error("the mask cannot be put into a file: {0}")]
    Write(String),
}

/// The mask as a grey PNG.
///
/// # Errors
/// The encoder's.
pub fn to_png(mask: &Mask) -> Result<Vec<u8>, MaskError> {
    let (width, height) = mask.size();
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up)
        .write_image(&mask.to_rows(), width, height, ExtendedColorType::L8)
        .map_err(|error| MaskError::Write(error.to_string()))?;
    Ok(bytes)
}

/// A mask of what [`to_png`] wrote.
///
/// # Errors
/// What is no PNG or too large.
pub fn from_png(bytes: &[u8]) -> Result<Mask, MaskError> {
    let fault = |error: image::ImageError| MaskError::Read(error.to_string());
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let grey = reader.decode().map_err(fault)?.into_luma8();
    let (width, height) = grey.dimensions();
    Mask::from_rows(width, height, &grey)
        .ok_or_else(|| MaskError::Read(format!("it has {width}x{height} pixels")))
}
