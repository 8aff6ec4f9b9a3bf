//! What a picture file says about how it was made, and the writing of such files.
//!
//! Read are the texts of PNG files and the EXIF data of JPEG and WebP files; pixels are never decoded. What the texts mean is
//! the business of [`super::metadata`].

pub mod animation;
mod encode;
mod exif;
mod jpeg;
mod png_text;
mod webp;

use std::path::Path;

use super::error::FormatError;
use super::json::read_small_file;
use super::metadata::{PictureInfo, interpret};

pub use encode::{ai_disclosure, encode_png};

/// Longest picture file that is read.
const MAX_FILE: u64 = 1 << 30;
/// Longest single text, unpacked.
const MAX_TEXT: usize = 16 << 20;
/// Longest sum of all texts of a file, unpacked.
const MAX_TEXTS: usize = 48 << 20;

/// What was found in a picture file before its meaning is looked at.
#[derive(Default, Debug)]
pub(crate) struct Found {
    /// Texts by key, in the order of the file. EXIF's user comment has the key `parameters`.
    pub texts: Vec<(String, String)>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// The first fault. Texts before it count all the same.
    pub fault: Option<FormatError>,
    /// Sum of the lengths of the texts.
    length: usize,
}

impl Found {
    /// Notes a fault if it is the first.
    fn fault(&mut self, fault: FormatError) {
        self.fault.get_or_insert(fault);
    }

    /// Keeps a text if the sum of all stays within bounds.
    fn text(&mut self, path: &Path, key: &str, text: String) {
        self.length = self.length.saturating_add(text.len());
        if self.length > MAX_TEXTS || self.texts.len() >= 1024 {
            return self.fault(FormatError::DecompressionBomb {
                path: path.into(),
                what: "the text in the picture".into(),
                limit: MAX_TEXTS as u64,
            });
        }
        self.texts.push((key.to_owned(), text));
    }
}

/// Reads how a picture was made. The format is told by content, not by name.
///
/// # Errors
/// Files that are no PNG, JPEG or WebP; damaged ones, unless what we need comes before the damage;
/// [`FormatError::NoGenerationData`] if there is nothing to find.
pub fn inspect_picture(path: &Path) -> Result<PictureInfo, FormatError> {
    inspect_picture_bytes(path, &read_small_file(path, MAX_FILE)?)
}

/// As [`inspect_picture`], of bytes in memory; `path` is named in messages.
///
/// # Errors
/// As [`inspect_picture`].
pub fn inspect_picture_bytes(path: &Path, bytes: &[u8]) -> Result<PictureInfo, FormatError> {
    let found = if png_text::is_png(bytes) {
        png_text::read(path, bytes)
    } else if jpeg::is_jpeg(bytes) {
        jpeg::read(path, bytes)
    } else if webp::is_webp(bytes) {
        webp::read(path, bytes)
    } else {
        let reason = if bytes.is_empty() {
            "the file is empty"
        } else {
            "it is no PNG, JPEG or WebP file"
        };
        return Err(FormatError::InvalidPicture {
            path: path.into(),
            reason: reason.into(),
        });
    };
    match interpret(&found.texts) {
        Some(mut info) => {
            if let (None, None, Some((width, height))) = (info.width, info.height, found.size) {
                (info.width, info.height) = (Some(width), Some(height));
            }
            Ok(info)
        }
        None => Err(found
            .fault
            .unwrap_or(FormatError::NoGenerationData { path: path.into() })),
    }
}

/// Every text in a PNG file by key, in the order of the file; also those after the pixels.
///
/// # Errors
/// If the file is no PNG, or damaged before its end.
pub fn png_texts(path: &Path, bytes: &[u8]) -> Result<Vec<(String, String)>, FormatError> {
    if !png_text::is_png(bytes) {
        return Err(FormatError::InvalidPicture {
            path: path.into(),
            reason: "it is no PNG file".into(),
        });
    }
    let found = png_text::read(path, bytes);
    match found.fault {
        Some(fault) => Err(fault),
        None => Ok(found.texts),
    }
}

fn invalid(path: &Path, reason: impl Into<String>) -> FormatError {
    FormatError::InvalidPicture {
        path: path.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
