//! The files that a person names: checked before any work, then written whole or not at all.

use std::path::{Path, PathBuf};

use diptych_inference::engine::{ImageRequest, Picture};

use super::error::{CliError, Result};
use crate::library::files;
pub use crate::library::files::{Existing, name_of, numbered};

/// Endings of other formats, in which a PNG must not be hidden.
const OTHER_FORMATS: [&str; 9] = [
    "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "jxl",
];

/// A picture as a PNG file with the request that reproduces it.
///
/// # Errors
/// If the picture is no picture.
pub fn encode(
    picture: &Picture,
    request: &ImageRequest,
    steps_done: Option<u32>,
) -> Result<Vec<u8>> {
    files::encode(picture, request, steps_done).map_err(CliError::failed)
}

/// Writes a file whole or not at all, and gives its name once it is safely on the disk.
///
/// # Errors
/// Whatever the disk says; no half file is left behind.
pub fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<PathBuf> {
    files::write(path, bytes, existing).map_err(CliError::failed)
}

/// Checks a name for pictures before any work is done for it.
///
/// # Errors
/// Wrong usage for names of other formats; a failure if the folder is not there or the name is taken by something else
/// than a file.
pub fn check_target(path: &Path) -> Result<()> {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    if let Some(ending) = ending.filter(|ending| OTHER_FORMATS.contains(&ending.as_str())) {
        return Err(CliError::Usage(format!(
            "{}: pictures are written as PNG, not as {ending}",
            path.display()
        )));
    }
    check_file_target(path)
}

/// Checks the name of any file to be written.
///
/// # Errors
/// As [`check_target`], for files of any kind.
pub fn check_file_target(path: &Path) -> Result<()> {
    if path.file_name().is_none() {
        return Err(CliError::Usage(format!(
            "'{}' is no name for a file",
            path.display()
        )));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(CliError::Failed(format!(
                "{}: this is a folder; name a file in it",
                path.display()
            )));
        }
        Ok(meta) if !meta.is_file() => {
            return Err(CliError::Failed(format!(
                "{}: this is no ordinary file and is not replaced",
                path.display()
            )));
        }
        _ => {}
    }
    let folder = files::folder_of(path);
    if !folder.is_dir() {
        return Err(CliError::Failed(format!(
            "{}: there is no folder {}",
            path.display(),
            folder.display()
        )));
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_devices_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.png"), folder.path().join("link.png"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new", Existing::Replace).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(link.is_symlink());
        assert!(check_target(Path::new("/dev/null")).is_err());
        assert!(check_target(folder.path()).is_err());
        assert!(matches!(
            check_target(&folder.path().join("a.jpg")),
            Err(CliError::Usage(_))
        ));
    }
}
