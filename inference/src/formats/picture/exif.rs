//! The few fields of EXIF that hold generation data.
//!
//! EXIF is a TIFF file within a file: <https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf>. Only the first
//! directory and the one that its tag 0x8769 points to are read, so there is nothing to loop through.

use std::path::Path;

use super::{Found, MAX_TEXT, invalid};

const IMAGE_DESCRIPTION: u16 = 0x010e;
const MAKE: u16 = 0x010f;
const MODEL: u16 = 0x0110;
const SOFTWARE: u16 = 0x0131;
const EXIF_DIRECTORY: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
/// Most entries of a directory that are looked at.
const MAX_ENTRIES: u16 = 512;

struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn u16(&self, at: usize) -> Option<u16> {
        let raw = *self.bytes.get(at..)?.first_chunk::<2>()?;
        Some(if self.big_endian {
            u16::from_be_bytes(raw)
        } else {
            u16::from_le_bytes(raw)
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let raw = *self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.big_endian {
            u32::from_be_bytes(raw)
        } else {
            u32::from_le_bytes(raw)
        })
    }

    /// Tag and position of each entry of the directory at `at`.
    fn entries(&self, at: usize) -> Vec<(u16, usize)> {
        let count = self.u16(at).unwrap_or(0).min(MAX_ENTRIES);
        let position = |i: u16| at.checked_add(2 + 12 * usize::from(i));
        (0..count)
            .map_while(|i| {
                let at = position(i)?;
                Some((self.u16(at)?, at))
            })
            .collect()
    }

    /// The bytes of an entry of the types BYTE, ASCII or UNDEFINED.
    fn data(&self, entry: usize) -> Option<&'a [u8]> {
        if !matches!(self.u16(entry + 2)?, 1 | 2 | 7) {
            return None;
        }
        let count = self.u32(entry + 4)? as usize;
        let at = if count <= 4 {
            entry + 8
        } else {
            self.u32(entry + 8)? as usize
        };
        self.bytes.get(at..at.checked_add(count)?)
    }
}

/// Reads EXIF data, with or without the leading `Exif\0\0`.
pub(super) fn read(path: &Path, bytes: &[u8], found: &mut Found) {
    let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
    let big_endian = match bytes.first_chunk::<4>() {
        Some(b"MM\0*") => true,
        Some(b"II*\0") => false,
        _ => return found.fault(invalid(path, "its EXIF data do not begin as they must")),
    };
    let tiff = Tiff { bytes, big_endian };
    let Some(first) = tiff.u32(4) else {
        return found.fault(invalid(path, "its EXIF data are cut off"));
    };
    let mut entries = tiff.entries(first as usize);
    let inner = entries.iter().find(|(tag, _)| *tag == EXIF_DIRECTORY);
    if let Some(inner) = inner.and_then(|(_, at)| tiff.u32(at + 8)) {
        entries.extend(tiff.entries(inner as usize));
    }
    for (tag, at) in entries {
        let Some(data) = tiff.data(at).filter(|data| data.len() <= MAX_TEXT) else {
            continue;
        };
        match tag {
            USER_COMMENT => {
                if let Some(text) = user_comment(data, big_endian) {
                    found.text(path, "parameters", text);
                }
            }
            // ComfyUI's WebP files: `prompt:{...}`, `workflow:{...}`.
            MAKE | MODEL => {
                let text = plain(data);
                match text.split_once(':') {
                    Some((key @ ("prompt" | "workflow"), value)) => {
                        found.text(path, key, value.to_owned());
                    }
                    _ => found.text(path, if tag == MAKE { "Make" } else { "Model" }, text),
                }
            }
            IMAGE_DESCRIPTION => found.text(path, "Description", plain(data)),
            SOFTWARE => found.text(path, "Software", plain(data)),
            _ => {}
        }
    }
}

fn plain(data: &[u8]) -> String {
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    String::from_utf8_lossy(data.get(..end).unwrap_or(data)).into_owned()
}

/// Eight bytes name the encoding.
fn user_comment(data: &[u8], big_endian: bool) -> Option<String> {
    let (encoding, text) = data.split_first_chunk::<8>()?;
    match encoding {
        b"UNICODE\0" => Some(utf16(text, big_endian)),
        b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0" => Some(plain(text)),
        // Some programs leave the encoding out.
        _ => Some(plain(data)),
    }
}

/// The byte order should be that of the file but is big endian in most files that programs of this kind write. Text is
/// mostly ASCII, or at least of one script, so the right order gives more characters below 0x3000.
fn utf16(bytes: &[u8], big_endian: bool) -> String {
    let pairs = bytes.as_chunks::<2>().0;
    let low = |order: fn([u8; 2]) -> u16| pairs.iter().filter(|p| order(**p) < 0x3000).count();
    let (big, little) = (low(u16::from_be_bytes), low(u16::from_le_bytes));
    let order = match big.cmp(&little) {
        std::cmp::Ordering::Greater => u16::from_be_bytes,
        std::cmp::Ordering::Less => u16::from_le_bytes,
        std::cmp::Ordering::Equal if big_endian => u16::from_be_bytes,
        std::cmp::Ordering::Equal => u16::from_le_bytes,
    };
    let units: Vec<u16> = pairs.iter().map(|pair| order(*pair)).collect();
    let text = String::from_utf16_lossy(&units);
    text.trim_start_matches('\u{feff}')
        .trim_end_matches('\0')
        .to_owned()
}
