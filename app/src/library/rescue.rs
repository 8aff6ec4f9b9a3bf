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

/// Tells, in the library's folder, the name of a damaged index from which not everything was taken over yet.
const UNFINISHED: &str = "library-salvage.txt";

/// Puts a damaged index aside under another name. Nothing is deleted; [`Library::finish_rescue`] takes over what can be read
/// of it.
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
    let aside = free_name(folder, "library-damaged")?;
    // Should the program be killed from here on, the next one knows what is to be done.
    let name = aside.file_name().unwrap_or_default().to_string_lossy();
    if !is_unfinished(folder) {
        let note = folder.join(UNFINISHED);
        files::write(&note, name.as_bytes(), files::Existing::Replace)?;
    }
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
        "The library's index was damaged ({reason}). It is kept as {}; a new one was begun.",
        aside.display()
    );
    tracing::error!("{notice}");
    notices.push(notice);
    Ok(())
}

/// Whether an index was set aside from which not everything was taken over yet.
pub fn is_unfinished(folder: &Path) -> bool {
    folder.join(UNFINISHED).exists()
}

/// A name of the time in the library's folder that is not taken.
fn free_name(folder: &Path, beginning: &str) -> Result<PathBuf> {
    let stamp = time::stamp(now());
    let names = (1..=MOST_NAMES).map(|number| {
        let number = match number {
            1 => String::new(),
            number => format!("-{number}"),
        };
        folder.join(format!("{beginning}-{stamp}{number}.db"))
    });
    names
        .into_iter()
        .find(|name| !name.exists())
        .ok_or_else(|| LibraryError::NamesTaken {
            path: folder.join(INDEX),
            count: MOST_NAMES,
        })
}

fn walk(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
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
        if kind.is_dir() && depth > 0 {
            walk(&path, depth - 1, found);
        } else if kind.is_file() {
            found.push(path);
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
    /// Takes over what can be read of an index that was set aside, and tells how much that was; `None` if there is none.
    pub(super) fn finish_rescue(&mut self) -> Result<Option<usize>> {
        let note = self.folder.join(UNFINISHED);
        let Ok(name) = std::fs::read_to_string(&note) else {
            return Ok(None);
        };
        let mut saved = None;
        // A name and nothing else, so that it leads nowhere else.
        if let Some(name) = Path::new(name.trim()).file_name() {
            let aside = self.folder.join(name);
            if aside.is_file() {
                saved = Some(self.salvage(&aside)?);
            }
        }
        std::fs::remove_file(&note).map_err(|error| LibraryError::io(&note, "remove", error))?;
        Ok(saved)
    }

    /// Puts every picture of the library's folder into the index, oldest first, by what it tells about itself. Tells the person
    /// what there is again, with what was `saved` of an earlier index.
    pub(super) fn index_all_pictures(&mut self, saved: Option<usize>) -> Result<()> {
        let found = self.index_pictures_since(Duration::ZERO)?;
        if found == 0 && saved.is_none() {
            return Ok(());
        }
        let saved = saved.map_or(String::new(), |saved| {
            format!("{saved} of its entries could be read. ")
        });
        let pictures = match self.known_paths()?.len() {
            1 => "One picture is".to_owned(),
            count => format!("{count} pictures are"),
        };
        self.notices
            .push(format!("{saved}{pictures} in the library again."));
        Ok(())
    }

    /// Puts pictures into the index whose file was safe when a run of the program was killed, but whose row was not, and
    /// clears away the beginnings of files. A job that such a picture is the result of is done.
    pub(super) fn index_lost_pictures(&mut self) -> Result<()> {
        let alone = sessions::all(&self.folder)
            .into_iter()
            .all(|session| session == self.session || !self.lives(session));
        let settled = if alone { Duration::ZERO } else { SETTLED };
        self.index_pictures_since(settled).map(|_| ())
    }

    fn index_pictures_since(&mut self, settled: Duration) -> Result<usize> {
        let mut lying = Vec::new();
        walk(&self.folder.join(PICTURES), DEPTH, &mut lying);
        let known: std::collections::HashSet<PathBuf> = self.known_paths()?.into_iter().collect();
        lying.retain(|path| !known.contains(path));
        let mut unknown = Vec::new();
        for path in lying {
            // One that is gone meanwhile is no concern.
            let Ok(changed) = std::fs::metadata(&path).and_then(|meta| meta.modified()) else {
                continue;
            };
            let age = changed.elapsed().unwrap_or_default();
            if is_temporary(&path) && age >= ABANDONED {
                // If it stays it does no harm.
                let _ = std::fs::remove_file(&path);
            } else if is_png(&path) && age >= settled {
                unknown.push((changed, path));
            }
        }
        unknown.sort();
        let mut count = 0;
        for (changed, path) in unknown {
            let Some(told) = files::told(&path) else {
                tracing::debug!("{}: no picture of ours", path.display());
                continue;
            };
            self.atomically(|library| {
                library.forget_task_of(&told.request)?;
                library.index_file(PictureId::new(), &path, millis(changed), &told)
            })?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes an index that was removed while it was open again, from what is still open: to its place, or beside it if
    /// there is another one by now. Then lets go of it.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(super) fn bring_back(&mut self) -> Result<Option<String>> {
        self.abandon_batch();
        let folder = super::index::make_folders(&self.folder)?;
        let _opening = sessions::Lock::to_open(&folder)?;
        let path = self.index_path();
        let mut notice = None;
        let target = if path.exists() {
            let beside = free_name(&folder, "library-removed")?;
            notice = Some(format!(
                "The library's index was replaced by another one while it was open. What it held is kept as {}.",
                beside.display()
            ));
            beside
        } else {
            // Logs of the one that was removed must never meet the new one.
            for ending in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.join(format!("{INDEX}{ending}")));
            }
            path
        };
        let new = folder.join(format!("{INDEX}.new"));
        let _ = std::fs::remove_file(&new);
        self.db
            .execute("VACUUM INTO ?1", [new.to_string_lossy()])
            .map_err(|error| self.fault(error))?;
        let synced = std::fs::File::open(&new).and_then(|file| file.sync_all());
        synced
            .and_then(|()| std::fs::rename(&new, &target))
            .map_err(|error| LibraryError::io(&target, "write", error))?;
        files::sync_folder(&folder);
        Ok(notice)
    }
}
