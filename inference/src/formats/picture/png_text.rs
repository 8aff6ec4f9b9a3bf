//! The text chunks of PNG files: `tEXt`, `zTXt`, `iTXt`, and `eXIf`, anywhere in the file.
//!
//! Specification: <https://www.w3.org/TR/png-3/>, sections 11.3.3 and 11.3.4.5.

use std::io::Read as _;
use std::path::Path;

use super::{Found, MAX_TEXT, exif, invalid};
use crate::formats::error::{FormatError, brief};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

pub(super) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE)
}

/// Walks all chunks. Damage ends the walk and is noted.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut rest = bytes.get(SIGNATURE.len()..).unwrap_or(&[]);
    let mut first = true;
    loop {
        let (chunk, after) = match next_chunk(path, rest) {
            Ok(next) => next,
            Err(fault) => {
                found.fault(fault);
                return found;
            }
        };
        rest = after;
        if first && &chunk.kind != b"IHDR" {
            found.fault(invalid(path, "the PNG header (IHDR) is missing"));
            return found;
        }
        first = false;
        match &chunk.kind {
            b"IHDR" => match header(chunk.data) {
                Some(size) => found.size = Some(size),
                None => found.fault(invalid(path, "the PNG header (IHDR) makes no sense")),
            },
            b"IEND" => return found,
            b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf" if !chunk.intact => {
                found.fault(invalid(path, "the checksum of a text does not fit"));
            }
            b"tEXt" => text(path, chunk.data, &mut found),
            b"zTXt" => compressed(path, chunk.data, &mut found),
            b"iTXt" => international(path, chunk.data, &mut found),
            b"eXIf" => exif::read(path, chunk.data, &mut found),
            _ => {}
        }
    }
}

struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    /// Whether the checksum fits.
    intact: bool,
}

fn next_chunk<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Chunk<'a>, &'a [u8]), FormatError> {
    let truncated = |what: &str, needed: usize, available: usize| FormatError::Truncated {
        path: path.into(),
        what: what.into(),
        needed: needed as u64,
        available: available as u64,
    };
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated("the next part of the PNG", 12, bytes.len()))?;
    let (kind, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated("the next part of the PNG", 12, bytes.len()))?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > i32::MAX as usize || !kind.iter().all(u8::is_ascii_alphabetic) {
        return Err(invalid(path, "the chain of PNG chunks is broken"));
    }
    let what = || format!("the PNG chunk {}", String::from_utf8_lossy(kind));
    let (data, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| truncated(&what(), length, rest.len()))?;
    let (sum, after) = after
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated(&what(), length.saturating_add(4), rest.len()))?;
    let mut hasher = crc32fast::Hasher::new();
    // Pixels are not ours to check.
    let ours = matches!(kind, b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf");
    if ours {
        hasher.update(kind);
        hasher.update(data);
    }
    let intact = !ours || hasher.finalize() == u32::from_be_bytes(*sum);
    Ok((
        Chunk {
            kind: *kind,
            data,
            intact,
        },
        after,
    ))
}

fn header(data: &[u8]) -> Option<(u32, u32)> {
    let width = u32::from_be_bytes(*data.first_chunk::<4>()?);
    let height = u32::from_be_bytes(*data.get(4..)?.first_chunk::<4>()?);
    let sane = |n: u32| n > 0 && i32::try_from(n).is_ok();
    (data.len() == 13 && sane(width) && sane(height)).then_some((width, height))
}

/// Splits at the first zero byte.
fn split_zero(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|b| *b == 0)?;
    Some((data.get(..at)?, data.get(at + 1..)?))
}

/// Keyword and what follows it; keywords have 1 to 79 bytes.
fn keyword<'a>(path: &Path, data: &'a [u8], found: &mut Found) -> Option<(String, &'a [u8])> {
    match split_zero(data) {
        Some((key, rest)) if (1..=79).contains(&key.len()) => Some((latin1(key), rest)),
        _ => {
            found.fault(invalid(path, "a text without a keyword"));
            None
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// By the specification these texts are Latin-1, but many programs write UTF-8. Text that is valid UTF-8 with any other than
/// ASCII is hardly ever meant as Latin-1.
fn latin1_or_utf8(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => latin1(bytes),
    }
}

fn text(path: &Path, data: &[u8], found: &mut Found) {
    if let Some((key, rest)) = keyword(path, data, found) {
        if rest.len() > MAX_TEXT {
            return found.fault(bomb(path, &key));
        }
        found.text(path, &key, latin1_or_utf8(rest));
    }
}

fn bomb(path: &Path, key: &str) -> FormatError {
    FormatError::DecompressionBomb {
        path: path.into(),
        what: format!("the text `{}`", brief(key)),
        limit: MAX_TEXT as u64,
    }
}

/// Unpacks, but never more than [`MAX_TEXT`].
fn inflate(path: &Path, key: &str, packed: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(packed)
        .take(MAX_TEXT as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|e| {
            let key = brief(key);
            invalid(path, format!("the text `{key}` cannot be unpacked ({e})"))
        })?;
    if unpacked.len() > MAX_TEXT {
        return Err(bomb(path, key));
    }
    Ok(unpacked)
}

fn compressed(path: &Path, data: &[u8], found: &mut Found) {
    let Some((key, rest)) = keyword(path, data, found) else {
        return;
    };
    let Some((0, packed)) = rest.split_first().map(|(method, packed)| (*method, packed)) else {
        return found.fault(invalid(path, "a text is packed by an unknown method"));
    };
    match inflate(path, &key, packed) {
        Ok(text) => found.text(path, &key, latin1_or_utf8(&text)),
        Err(fault) => found.fault(fault),
    }
}

/// Keyword, flag, method, language, translated keyword, text.
fn international(path: &Path, data: &[u8], found: &mut Found) {
    let Some((key, rest)) = keyword(path, data, found) else {
        return;
    };
    let parts = rest.split_first_chunk::<2>().and_then(|(flags, rest)| {
        let (_language, rest) = split_zero(rest)?;
        let (_translated, text) = split_zero(rest)?;
        Some((*flags, text))
    });
    let text = match parts {
        Some(([0, _], text)) if text.len() > MAX_TEXT => Err(bomb(path, &key)),
        Some(([0, _], text)) => Ok(text.to_vec()),
        Some(([1, 0], packed)) => inflate(path, &key, packed),
        _ => Err(invalid(path, "an international text is not complete")),
    };
    match text.map(String::from_utf8) {
        Ok(Ok(text)) => found.text(path, &key, text),
        Ok(Err(_)) => found.fault(FormatError::NotUtf8 {
            path: path.into(),
            what: format!("the text `{}`", brief(&key)),
        }),
        Err(fault) => found.fault(fault),
    }
}
