//! The chunks of WebP files: EXIF and size.
//!
//! Specification: <https://developers.google.com/speed/webp/docs/riff_container>.

use std::path::Path;

use super::{Found, exif};
use crate::formats::error::FormatError;

pub(super) fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP".as_slice())
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut rest = bytes.get(12..).unwrap_or(&[]);
    while !rest.is_empty() {
        let truncated = |needed: usize, available: usize| FormatError::Truncated {
            path: path.into(),
            what: "the next part of the WebP".into(),
            needed: needed as u64,
            available: available as u64,
        };
        let head = rest
            .split_first_chunk::<4>()
            .and_then(|(kind, after)| Some((kind, after.split_first_chunk::<4>()?)));
        let Some((kind, (length, after))) = head else {
            found.fault(truncated(8, rest.len()));
            return found;
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((data, after)) = after.split_at_checked(length) else {
            found.fault(truncated(length, after.len()));
            return found;
        };
        match kind {
            b"EXIF" => exif::read(path, data, &mut found),
            b"VP8X" => found.size = extended_size(data).or(found.size),
            b"VP8 " => found.size = found.size.or(lossy_size(data)),
            b"VP8L" => found.size = found.size.or(lossless_size(data)),
            _ => {}
        }
        // Chunks are padded to even lengths.
        rest = after.get(length % 2..).unwrap_or(&[]);
    }
    found
}

fn extended_size(data: &[u8]) -> Option<(u32, u32)> {
    let raw = data.get(4..)?.first_chunk::<6>()?;
    let width = u32::from_le_bytes([raw[0], raw[1], raw[2], 0]) + 1;
    let height = u32::from_le_bytes([raw[3], raw[4], raw[5], 0]) + 1;
    Some((width, height))
}

fn lossy_size(data: &[u8]) -> Option<(u32, u32)> {
    let raw = data.get(3..)?.first_chunk::<7>()?;
    if raw[..3] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(raw[3], raw[4]), side(raw[5], raw[6])))
}

fn lossless_size(data: &[u8]) -> Option<(u32, u32)> {
    let raw = data.first_chunk::<5>()?;
    if raw[0] != 0x2f {
        return None;
    }
    let bits = u32::from_le_bytes([raw[1], raw[2], raw[3], raw[4]]);
    Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
}
