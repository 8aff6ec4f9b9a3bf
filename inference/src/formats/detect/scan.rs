//! Looking through folders for models: read-only, without end in neither depth nor number.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::probe::{Magic, is_further_part, magic, probe, probe_folder};
use super::{ModelInfo, ModelLayout};
use crate::formats::error::FormatError;

/// Deepest folder below the one given.
const MAX_DEPTH: usize = 12;
/// Most files and folders that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// What [`visit`] hands over: path, and what lies there.
type Found = (PathBuf, Result<ModelInfo, FormatError>);

/// All models at a path: the file or model folder itself, or those in the folder and below it, in order of path.
///
/// Told are also models that cannot be used, damaged ones and folders that cannot be read; other files are passed over, unless the
/// path is one of them. Links are followed, each place is visited once.
#[must_use]
pub fn scan(path: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let end: ControlFlow<()> = visit(path, &mut |path, info| {
        found.push((path, info));
        ControlFlow::Continue(())
    });
    debug_assert!(end.is_continue());
    found
}

/// As [`scan`], but hands over each model as soon as it is found, until told to break.
pub fn visit<B>(
    path: &Path,
    take: &mut dyn FnMut(PathBuf, Result<ModelInfo, FormatError>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if !path.is_dir() {
        return take(path.into(), guarded(path, || probe(path)));
    }
    Walk {
        seen: HashSet::new(),
        entries: 0,
        take,
    }
    .folder(path, 0)
}

/// Looks at one file or folder. A panic there is a fault of ours, and must not hide all the others of a folder: it is told as what it is.
pub(crate) fn guarded<T>(
    path: &Path,
    look: impl FnOnce() -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| {
        tracing::error!("looking at {} failed unexpectedly", path.display());
        Err(FormatError::UnknownFormat {
            path: path.into(),
            reason: "looking at it failed unexpectedly, which is a fault of this program; it is passed over"
                .into(),
        })
    })
}

struct Walk<'a, B> {
    /// Real paths of what was visited.
    seen: HashSet<PathBuf>,
    entries: usize,
    take: &'a mut dyn FnMut(PathBuf, Result<ModelInfo, FormatError>) -> ControlFlow<B>,
}

impl<B> Walk<'_, B> {
    /// Whether a place was not visited before.
    fn is_new(&mut self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|real| self.seen.insert(real))
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> ControlFlow<B> {
        if depth > MAX_DEPTH || !self.is_new(folder) {
            return ControlFlow::Continue(());
        }
        let mut only_gguf = false;
        match guarded(folder, || probe_folder(folder)) {
            // Beside the weights of a network the same may lie as GGUF.
            Ok(Some(info)) if info.layout() == ModelLayout::ComponentFolder => {
                (self.take)(folder.into(), Ok(info))?;
                only_gguf = true;
            }
            Ok(Some(info)) => return (self.take)(folder.into(), Ok(info)),
            Ok(None) => {}
            Err(fault) => return (self.take)(folder.into(), Err(fault)),
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) => {
                let fault = FormatError::io(folder, "list", e);
                return (self.take)(folder.into(), Err(fault));
            }
        };
        let mut paths = Vec::new();
        for entry in entries.flatten() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                break;
            }
            // Hidden places hold version control and half-finished downloads.
            if !entry.file_name().to_string_lossy().starts_with('.') {
                paths.push(entry.path());
            }
        }
        paths.sort();
        // Hugging Face's cache keeps the files in `blobs` and links with their names in `snapshots`.
        if paths.iter().any(|path| path.ends_with("snapshots")) {
            paths.retain(|path| !path.ends_with("blobs"));
        }
        for path in paths {
            if path.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if !only_gguf || magic(&path).is_ok_and(|magic| magic == Magic::Gguf) {
                self.file(&path)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn file(&mut self, path: &Path) -> ControlFlow<B> {
        if is_further_part(path) {
            return ControlFlow::Continue(());
        }
        let index = path.to_string_lossy().ends_with(".safetensors.index.json");
        // What cannot be opened or is no model is passed over here; given by itself it is told about.
        let is_model = index || magic(path).is_ok_and(|magic| magic != Magic::None);
        // A damaged model may not even begin as it should.
        let named = path
            .extension()
            .is_some_and(|e| e == "safetensors" || e == "gguf");
        if (is_model || named && path.is_file()) && self.is_new(path) {
            return (self.take)(path.into(), guarded(path, || probe(path)));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What panics while it is looked at is told as unreadable; whoever walks goes on.
    #[test]
    fn a_panic_is_told_like_any_other_fault() {
        let path = Path::new("odd.ckpt");
        let shape = [usize::MAX, 2];
        let error = guarded(path, || Ok(shape.iter().copied().reduce(|a, b| a * b)))
            .expect_err("an overflow")
            .to_string();
        assert!(
            error.contains("odd.ckpt") && error.contains("unexpectedly"),
            "{error}"
        );
        assert_eq!(guarded(path, || Ok(7)).ok(), Some(7));
    }
}
