//! Traces of pictures (`.dtrace`): every step that a person wanted kept, one file a picture.

use std::path::{Path, PathBuf};

use super::Library;
use super::records::{PictureId, TaskId};

/// Folder of the traces in the library's folder.
pub const TRACES: &str = "traces";
/// How their names end.
const ENDING: &str = "dtrace";
/// How those of pictures begin that are not finished.
const GROWING: &str = "job-";

/// The trace of a picture.
pub fn trace_path(folder: &Path, picture: PictureId) -> PathBuf {
    folder.join(TRACES).join(format!("{picture}.{ENDING}"))
}

/// The trace of a job, which becomes its picture's.
pub fn growing_path(folder: &Path, task: TaskId) -> PathBuf {
    folder
        .join(TRACES)
        .join(format!("{GROWING}{task}.{ENDING}"))
}

/// Whose trace a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Picture(PictureId),
    Task(TaskId),
}

/// Tells whose trace a file is by its name; `None` if it is none of ours.
pub(super) fn owner(path: &Path) -> Option<Owner> {
    if path.extension().is_none_or(|ending| ending != ENDING) {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    match stem.strip_prefix(GROWING) {
        Some(task) => task.parse().ok().map(|id| Owner::Task(TaskId(id))),
        None => stem.parse().ok().map(|id| Owner::Picture(PictureId(id))),
    }
}

impl Library {
    /// Pictures whose steps are kept.
    pub fn traces(&self) -> Vec<PictureId> {
        let Ok(entries) = std::fs::read_dir(self.folder().join(TRACES)) else {
            return Vec::new();
        };
        let owners = entries.flatten().filter_map(|entry| owner(&entry.path()));
        owners
            .filter_map(|owner| match owner {
                Owner::Picture(id) => Some(id),
                Owner::Task(_) => None,
            })
            .collect()
    }

    /// Removes the trace of a picture that is gone.
    pub(super) fn remove_trace(&self, picture: PictureId) {
        let path = trace_path(self.folder(), picture);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("{}: {error}", path.display());
            }
            _ => {}
        }
    }
}
