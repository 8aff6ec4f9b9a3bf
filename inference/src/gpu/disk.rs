//! What the executor keeps on disk between runs of the program: things that can be made again, and that a damaged file must not spoil.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::device::AdapterReport;
use crate::formats::{FormatError, atomic::write_atomically};

/// Bytes of the checksum at a file's beginning.
const CHECKSUM: usize = 32;
/// Larger files are not ours.
const LARGEST: u64 = 256 << 20;

/// Names an adapter with its driver and this build of the program, in sixteen digits.
pub fn device_key(report: &AdapterReport) -> String {
    let mut hash = Sha256::new();
    for part in [
        &report.name,
        &report.backend,
        &report.driver,
        env!("CARGO_PKG_VERSION"),
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The content of a file that [`write_checked`] wrote; nothing if there is none, or it is not whole.
pub fn read_checked(path: &Path) -> Option<Vec<u8>> {
    let length = std::fs::metadata(path).ok()?.len();
    if length > LARGEST {
        tracing::warn!("{}: {length} bytes; not read", path.display());
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (checksum, content) = bytes.split_at_checked(CHECKSUM)?;
    if Sha256::digest(content).as_slice() != checksum {
        tracing::warn!("{}: damaged; it is made again", path.display());
        return None;
    }
    Some(content.to_vec())
}

/// Writes a file with a checksum of its content, whole or not at all; makes its folder.
///
/// # Errors
/// From the file system.
pub fn write_checked(path: &Path, content: &[u8]) -> Result<(), FormatError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| FormatError::io(folder, "create", error))?;
    }
    write_atomically(path, |out| {
        out.write_all(Sha256::digest(content).as_slice())?;
        out.write_all(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/file.bin");
        assert_eq!(read_checked(&path), None);
        write_checked(&path, b"content").unwrap();
        assert_eq!(read_checked(&path).as_deref(), Some(&b"content"[..]));
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 5, 32, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read_checked(&path), None, "{length}");
        }
        let mut changed = whole;
        changed[34] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(read_checked(&path), None);
    }
}
