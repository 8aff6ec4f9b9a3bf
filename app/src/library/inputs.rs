//! What pictures are drawn over: start pictures and masks, each in a file named by its content, so that a request that
//! names one can be repeated.

use std::path::{Path, PathBuf};

use super::error::{LibraryError, Result};
use super::files::{self, Existing};
use super::{Library, index};

/// Folder of the inputs in the library's folder.
pub const INPUTS: &str = "inputs";
/// Digits of a content's hash.
pub(super) const DIGITS: usize = 64;

/// The file of an input in a library's folder; `None` if `hash` is no SHA-256 in hexadecimal, whoever wrote it.
pub fn input_path(folder: &Path, hash: &str) -> Option<PathBuf> {
    let plain = hash.len() == DIGITS
        && hash
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| folder.join(INPUTS).join(format!("{hash}.png")))
}

impl Library {
    /// Keeps an input: a PNG whose pixels, as the engine takes them, have this hash. One that is there already stays.
    ///
    /// # Errors
    /// Whatever the disk says; a name that is no hash.
    pub fn put_input(&mut self, hash: &str, png: &[u8]) -> Result<()> {
        let Some(path) = input_path(self.folder(), hash) else {
            return Err(LibraryError::Record {
                what: "a start picture",
                reason: format!("'{hash}' is no hash"),
            });
        };
        if path.metadata().is_ok_and(|meta| meta.len() > 0) {
            // Used just now: not to be cleaned away before a record names it.
            let touched = std::fs::File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(std::time::SystemTime::now()));
            if let Err(error) = touched {
                tracing::debug!("{}: {error}", path.display());
            }
            return Ok(());
        }
        let folder = files::folder_of(&path);
        if !folder.is_dir() {
            std::fs::create_dir_all(folder)
                .map_err(|error| LibraryError::io(folder, "make", error))?;
            files::sync_folder(&index::absolute(files::folder_of(folder)));
        }
        files::write(&path, png, Existing::Replace).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn inputs_are_kept_once_and_only_under_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let mut library = Library::open(folder.path(), "test").unwrap();
        let hash = "0123456789abcdef".repeat(4);
        library.put_input(&hash, b"one").unwrap();
        library.put_input(&hash, b"two").unwrap();
        let path = input_path(library.folder(), &hash).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"one");
        for bad in [
            "",
            "../../../../etc/passwd",
            &"A".repeat(64),
            &"a".repeat(63),
        ] {
            assert!(input_path(folder.path(), bad).is_none());
            assert!(library.put_input(bad, b"x").is_err());
        }
    }
}
