//! The segments of JPEG files up to the pixels: EXIF, comments, size.

use std::path::Path;

use super::{Found, exif, invalid};
use crate::formats::error::FormatError;

pub(super) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8, 0xff])
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut rest = bytes.get(2..).unwrap_or(&[]);
    loop {
        match segment(path, rest) {
            Ok(Some((marker, data, after))) => {
                take(path, marker, data, &mut found);
                rest = after;
            }
            Ok(None) => return found,
            Err(fault) => {
                found.fault(fault);
                return found;
            }
        }
    }
}

type Segment<'a> = (u8, &'a [u8], &'a [u8]);

/// The next segment, or none when the pixels begin.
fn segment<'a>(path: &Path, bytes: &'a [u8]) -> Result<Option<Segment<'a>>, FormatError> {
    let truncated = |needed: usize, available: usize| FormatError::Truncated {
        path: path.into(),
        what: "the next part of the JPEG".into(),
        needed: needed as u64,
        available: available as u64,
    };
    let Some((0xff, rest)) = bytes.split_first().map(|(b, rest)| (*b, rest)) else {
        return Err(if bytes.is_empty() {
            truncated(2, 0)
        } else {
            invalid(path, "the chain of JPEG segments is broken")
        });
    };
    // Any number of 0xff may come before the marker.
    let fill = rest.iter().take_while(|b| **b == 0xff).count();
    let rest = rest.get(fill..).unwrap_or(&[]);
    let (marker, rest) = rest
        .split_first()
        .ok_or_else(|| truncated(2, bytes.len()))?;
    match marker {
        // Start of the pixels, end of the picture.
        0xda | 0xd9 => return Ok(None),
        // Markers without content.
        0x01 | 0xd0..=0xd8 => return Ok(Some((*marker, &[], rest))),
        _ => {}
    }
    let length = rest
        .first_chunk::<2>()
        .ok_or_else(|| truncated(2, rest.len()))?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length < 2 {
        return Err(invalid(
            path,
            "a JPEG segment is shorter than its own length",
        ));
    }
    let (data, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| truncated(length, rest.len()))?;
    Ok(Some((*marker, data.get(2..).unwrap_or(&[]), after)))
}

fn take(path: &Path, marker: u8, data: &[u8], found: &mut Found) {
    match marker {
        0xe1 if data.starts_with(b"Exif\0\0") => exif::read(path, data, found),
        0xfe => {
            let text = String::from_utf8_lossy(data);
            found.text(path, "comment", text.trim_end_matches('\0').to_owned());
        }
        // Start of frame: precision, height, width. Not 0xc4, 0xc8 and 0xcc, which are tables.
        0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
            if let Some([_, h1, h0, w1, w0]) = data.first_chunk::<5>() {
                let width = u16::from_be_bytes([*w1, *w0]);
                let height = u16::from_be_bytes([*h1, *h0]);
                found.size = Some((width.into(), height.into()));
            }
        }
        _ => {}
    }
}
