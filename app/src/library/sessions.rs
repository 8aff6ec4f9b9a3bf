//! Which runs of the program live. Each holds the lock of a file of its own for as long as it runs; the system lets go of
//! it however the run ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{LibraryError, Result};
use super::records::SessionId;

/// Folder of the lock files, in the library's folder.
pub const FOLDER: &str = "sessions";
/// Held while a library is being opened, so that two do not make, mend or migrate it at once.
const OPENING: &str = "opening.lock";
/// Longest wait for another instance that opens the library.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    /// Held, never read.
    _file: File,
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| LibraryError::io(path, "make", error))
}

/// The lock file of a session.
pub fn path_of(folder: &Path, session: SessionId) -> PathBuf {
    folder.join(FOLDER).join(format!("{session}.lock"))
}

impl Lock {
    /// Marks a session as living.
    ///
    /// # Errors
    /// If the file cannot be made or locked.
    pub fn of_session(folder: &Path, session: SessionId) -> Result<Self> {
        let path = path_of(folder, session);
        let file = create(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LibraryError::Busy(path)),
            Err(TryLockError::Error(source)) => Err(LibraryError::NoLocks { path, source }),
        }
    }

    /// Waits for the turn to open the library.
    ///
    /// # Errors
    /// If another instance takes very long, or files cannot be locked.
    pub fn to_open(folder: &Path) -> Result<Self> {
        let path = folder.join(FOLDER).join(OPENING);
        let file = create(&path)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(LibraryError::Busy(path)),
                Err(TryLockError::Error(source)) => {
                    return Err(LibraryError::NoLocks { path, source });
                }
            }
        }
    }
}

/// Whether a session lives. When in doubt it does, so that nothing is taken from it.
pub fn lives(folder: &Path, session: SessionId) -> bool {
    held(&path_of(folder, session))
}

fn held(path: &Path) -> bool {
    match File::open(path) {
        // Shared, so that two who look at once do not take each other for the session.
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// The lock files that are there, with the sessions they belong to.
pub fn all(folder: &Path) -> Vec<SessionId> {
    let entries = std::fs::read_dir(folder.join(FOLDER));
    let names = entries.into_iter().flatten().flatten();
    let ids = names.filter_map(|entry| {
        let name = entry.file_name();
        let id = name.to_str()?.strip_suffix(".lock")?.parse().ok()?;
        Some(SessionId(id))
    });
    ids.collect()
}

/// Removes a session's lock file. Only for sessions that are dead or about to be.
pub fn forget(folder: &Path, session: SessionId) {
    let path = path_of(folder, session);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::debug!("{}: left there: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_as_long_as_it_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let (one, other) = (SessionId::new(), SessionId::new());
        let lock = Lock::of_session(folder.path(), one).unwrap();
        assert!(lives(folder.path(), one));
        assert!(!lives(folder.path(), other));
        assert!(matches!(
            Lock::of_session(folder.path(), one),
            Err(LibraryError::Busy(_))
        ));
        drop(lock);
        assert!(!lives(folder.path(), one));
        assert_eq!(all(folder.path()), [one]);
        forget(folder.path(), one);
        forget(folder.path(), one);
        assert_eq!(all(folder.path()), []);
    }
}
