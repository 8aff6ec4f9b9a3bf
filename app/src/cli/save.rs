//! The files that a person names: checked before any work, then written whole or not at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use diptych_inference::engine::{ImageRequest, Picture};

use super::error::{CliError, Result};
use crate::library::files;
pub use crate::library::files::{Existing, name_of, numbered};

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
    if let Some(ending) = ending.filter(|ending| files::OTHER_FORMATS.contains(&ending.as_str())) {
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

/// Checks that no two of the files to be written are the same, for so many pictures.
///
/// # Errors
/// Wrong usage, with the names of the options.
pub fn check_distinct(targets: &[(&str, Option<&Path>)], count: u32) -> Result<()> {
    let mut taken: HashMap<PathBuf, &str> = HashMap::new();
    for (option, path) in targets {
        let Some(path) = path else { continue };
        for number in 1..=count {
            let name = numbered(path, number);
            if let Some(other) = taken.insert(real(&name), option)
                && other != *option
            {
                return Err(CliError::Usage(format!(
                    "{}: {other} and {option} name the same file; give each a name of its own",
                    name.display()
                )));
            }
        }
    }
    Ok(())
}

/// The file that a name leads to, which need not be there yet.
fn real(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let folder = files::folder_of(path);
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.join(path.file_name().unwrap_or_default())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn two_outputs_are_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.png"), "").unwrap();
        std::os::unix::fs::symlink(at("a.png"), at("link.png")).unwrap();
        let check = |first: &str, second: &str, count| {
            let (first, second) = (at(first), at(second));
            let targets = [
                ("--out", Some(&*first)),
                ("--trace", Some(&*second)),
                ("--proof", None),
            ];
            check_distinct(&targets, count)
        };
        assert!(check("a.png", "b.png", 3).is_ok());
        for (first, second, count) in [
            ("a.png", "a.png", 1),
            ("a.png", "./a.png", 1),
            ("a.png", "link.png", 1),
            ("new.png", "new.png", 1),
            ("new.png", "new-2.png", 2),
        ] {
            let error = check(first, second, count).unwrap_err().to_string();
            assert!(error.contains("--out and --trace"), "{error}");
        }
        assert!(check("new.png", "new-2.png", 1).is_ok());
    }

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
