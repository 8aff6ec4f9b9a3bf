//! What the executor keeps on disk between runs of the program: things that can be made again, and that a damaged file must not spoil.

use std::path::Path;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::device::AdapterReport;
use crate::formats::{FormatError, atomic::write_atomically};

/// Bytes of the checksum at a file's beginning.
const CHECKSUM: usize = 32;
/// Larger files are not ours.
const LARGEST: u64 = 256 << 20;

/// Names an adapter with its driver and this build of the program, in sixteen digits.
pub fn device_key(report: &AdapterReport) -> String {
    static BUILD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        // A program whose file cannot be looked at is told by its version alone.
        let program = std::env::current_exe().ok();
        program.and_then(|path| build_of(&path)).unwrap_or_default()
    });
    let mut hash = Sha256::new();
    for part in [
        report.name.as_bytes(),
        report.backend.as_bytes(),
        report.driver.as_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        BUILD.as_slice(),
    ] {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What tells one build of a program from another of the same version: length and time of its file.
fn build_of(program: &Path) -> Option<Vec<u8>> {
    let file = std::fs::metadata(program).ok()?;
    let time = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut build = file.len().to_le_bytes().to_vec();
    build.extend(time.as_nanos().to_le_bytes());
    Some(build)
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
    fn another_build_of_the_same_version_has_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        assert!(build_of(&path).is_none());
        std::fs::write(&path, b"one build").unwrap();
        let first = build_of(&path);
        assert!(first.is_some());
        assert_eq!(build_of(&path), first);
        // Of the same length, a second later.
        std::fs::write(&path, b"two build").unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        assert_ne!(build_of(&path), first);
    }

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
