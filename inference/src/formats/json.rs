//! Small JSON files (configs, indices), read within bounds.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::FormatError;

/// Longest config file that is read.
pub const MAX_CONFIG: u64 = 16 << 20;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// [`FormatError::Io`], [`FormatError::WrongFileKind`], [`FormatError::HeaderTooLarge`].
pub fn read_small_file(path: &Path, limit: u64) -> Result<Vec<u8>, FormatError> {
    let io = |action| move |e| FormatError::io(path, action, e);
    // Asked before opening: opening a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(io("open"))?;
    if !meta.is_file() {
        return Err(FormatError::WrongFileKind {
            path: path.into(),
            wanted: "a regular file",
        });
    }
    let mut bytes = Vec::new();
    let read = File::open(path)
        .map_err(io("open"))?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read"))?;
    if read as u64 > limit {
        return Err(FormatError::HeaderTooLarge {
            path: path.into(),
            claimed: meta.len(),
            limit,
        });
    }
    Ok(bytes)
}

/// Reads a JSON file of at most `limit` bytes as a `T`; `what` names it in messages.
///
/// # Errors
/// As [`read_small_file`], and [`FormatError::InvalidJson`].
pub fn read_json_as<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    limit: u64,
) -> Result<T, FormatError> {
    let bytes = read_small_file(path, limit)?;
    serde_json::from_slice(&bytes).map_err(|e| FormatError::InvalidJson {
        path: path.into(),
        what: what.into(),
        reason: e.to_string(),
    })
}
