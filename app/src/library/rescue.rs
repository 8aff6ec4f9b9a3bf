//! What can be saved when the index cannot be read any more, and pictures that the index does not know.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::{LibraryError, Result};
use super::records::{Millis, PictureId, now};
use super::{INDEX, Library, PICTURES, files, sessions, time};

/// Folders within folders that are looked through for pictures.
const DEPTH: u32 = 4;
/// Files younger than this may be in the hands of another instance.
const SETTLED: Duration = Duration::from_secs(10);
/// Temporary files older than this belong to nobody.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Names that are tried.
const MOST_NAMES: u32 = 1000;

/// Puts a damaged index aside under another name. Nothing is deleted.
///
/// # Errors
/// If another instance uses it, or the disk refuses.
pub fn set_aside(folder: &Path, reason: &str, notices: &mut Vec<String>) -> Result<()> {
    let path = folder.join(INDEX);
    if sessions::all(folder)
        .into_iter()
        .any(|session| sessions::lives(folder, session))
    {
        return Err(LibraryError::DamagedInUse {
            path,
            reason: reason.to_owned(),
        });
    }
    let stamp = time::stamp(now());
    let free = (1..=MOST_NAMES).map(|number| {
        let number = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        folder.join(format!("library-damaged-{stamp}{number}.db"))
    });
    let aside = free
        .into_iter()
        .find(|name| !name.exists())
        .ok_or_else(|| LibraryError::NamesTaken {
            path: path.clone(),
            count: MOST_NAMES,
        })?;
    // The log first: it must never meet the new index. What readers share is of no use to anybody.
    for ending in ["-shm", "-wal", ""] {
        let from = folder.join(format!("{INDEX}{ending}"));
        let mut to = aside.clone().into_os_string();
        to.push(ending);
        match std::fs::rename(&from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LibraryError::io(&from, "set aside", error));
            }
            _ => {}
        }
    }
    files::sync_folder(folder);
    let notice = format!(
        "The library's index was damaged ({reason}). It is kept as {}; a new one was begun from the pictures in {}.",
        aside.display(),
        folder.join(PICTURES).display()
    );
    tracing::error!("{notice}");
    notices.push(notice);
    Ok(())
}

/// A file in the library's folder of pictures.
struct Lying {
    path: PathBuf,
    changed: SystemTime,
}

fn walk(folder: &Path, depth: u32, found: &mut Vec<Lying>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!("{}: cannot be looked through: {error}", folder.display());
            return;
        }
    };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, found);
            }
        } else if kind.is_file()
            && let Ok(changed) = entry.metadata().and_then(|meta| meta.modified())
        {
            found.push(Lying { path, changed });
        }
    }
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok();
    since
        .and_then(|since| Millis::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

fn is_png(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("png"))
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        name.starts_with(files::TEMPORARY_PREFIX) && name.ends_with(files::TEMPORARY_SUFFIX)
    })
}

impl Library {
    /// Puts every picture of the library's folder into the index, oldest first, by what it tells about itself.
    pub(super) fn index_all_pictures(&mut self) -> Result<()> {
        let known = self.index_pictures_since(Duration::ZERO)?;
        if known > 0 {
            self.notices.push(match known {
                1 => "One picture that was there already is in the library again.".to_owned(),
                known => {
                    format!("{known} pictures that were there already are in the library again.")
                }
            });
        }
        Ok(())
    }

    /// Puts pictures into the index whose file was safe when a run of the program was killed, but whose row was not, and
    /// clears away the beginnings of files. A job that such a picture is the result of is done.
    pub(super) fn index_lost_pictures(&mut self) -> Result<()> {
        self.index_pictures_since(SETTLED).map(|_| ())
    }

    fn index_pictures_since(&mut self, settled: Duration) -> Result<usize> {
        let mut lying = Vec::new();
        walk(&self.folder.join(PICTURES), DEPTH, &mut lying);
        let age = |file: &Lying| file.changed.elapsed().unwrap_or_default();
        for file in &lying {
            if is_temporary(&file.path) && age(file) >= ABANDONED {
                // If it stays it does no harm.
                let _ = std::fs::remove_file(&file.path);
            }
        }
        let known: std::collections::HashSet<PathBuf> = self.known_paths()?.into_iter().collect();
        lying.retain(|file| {
            is_png(&file.path) && age(file) >= settled && !known.contains(&file.path)
        });
        lying.sort_by(|a, b| (a.changed, &a.path).cmp(&(b.changed, &b.path)));
        let mut count = 0;
        for file in lying {
            let Some(told) = files::told(&file.path) else {
                tracing::debug!("{}: no picture of ours", file.path.display());
                continue;
            };
            self.atomically(|library| {
                library.forget_task_of(&told.request)?;
                library.index_file(PictureId::new(), &file.path, millis(file.changed), &told)
            })?;
            count += 1;
        }
        Ok(count)
    }
}
