//! Files that appear whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::FormatError;

/// Attempts to find a free temporary name before giving up.
const ATTEMPTS: u32 = 64;

/// Writes a file through `fill` into a temporary neighbour, which then takes the place of `path`.
///
/// The data reaches the disk before the rename, so that after a crash or a full disk `path` holds either what it held
/// before or all of the new content.
///
/// # Errors
/// [`FormatError::Io`]; the temporary file is then gone.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FormatError> {
    let (temporary, file) = create_neighbour(path)?;
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 16, file);
        fill(&mut out)?;
        out.into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    written.map_err(|e| {
        // The first fault is the one to tell; a left-over that cannot be removed either adds nothing.
        let _ = std::fs::remove_file(&temporary);
        FormatError::io(path, "write", e)
    })
}

fn create_neighbour(path: &Path) -> Result<(PathBuf, File), FormatError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let invalid = || {
        let kind = std::io::ErrorKind::InvalidInput;
        FormatError::io(path, "write", std::io::Error::new(kind, "is no file name"))
    };
    let name = path.file_name().ok_or_else(invalid)?.to_string_lossy();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
        {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => last = Some(e),
            Err(e) => return Err(FormatError::io(path, "write", e)),
        }
    }
    Err(last.map_or_else(invalid, |e| FormatError::io(path, "write", e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half of the n")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere/a.bin");
        let message = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(
            message.contains("nowhere") && message.contains("write"),
            "{message}"
        );
    }
}
