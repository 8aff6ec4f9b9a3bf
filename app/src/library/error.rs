//! Why the library could not do something: which file, why, and what helps.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Result of a library's work.
pub type Result<T> = std::result::Result<T, LibraryError>;

/// A fault of the library or of the files that it writes.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A file or folder cannot be made, read or written.
    #[error("{}: cannot {action}: {source}{}", path.display(), remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Too many files have this name already.
    #[error("{}: there are {count} files of this name already; move some of them elsewhere", path.display())]
    NamesTaken {
        /// The name.
        path: PathBuf,
        /// How many there are.
        count: u32,
    },
    /// A picture that is no picture.
    #[error("the picture cannot be put into a file: {0}")]
    Encode(String),
    /// No space for the index.
    #[error("{}: the disk is full: free some space", .0.display())]
    Full(PathBuf),
    /// The index may not be written.
    #[error("{}: it may not be written: make the file and its folder writable, or name another folder with --data-dir", .0.display())]
    ReadOnly(PathBuf),
    /// Another program holds the index for longer than one waits.
    #[error("{}: another program holds the library: wait for it or end it", .0.display())]
    Busy(PathBuf),
    /// The index cannot be opened or the disk fails under it.
    #[error("{}: the disk does not do its part ({reason}): see that it has space and is in order", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The index was made by a later version of this program.
    #[error(
        "{}: this library was made by a newer version of Diptych (format {found}, this one knows {known}): use that version, or name \
         another folder with --data-dir",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest that is known here.
        known: i64,
    },
    /// The index is damaged.
    #[error("{}: the library's index is damaged ({reason}): start Diptych again, which sets it aside and begins a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The index is damaged, and other windows use it.
    #[error("{}: the library's index is damaged ({reason}) and in use: close all other windows of Diptych, then start again", path.display())]
    DamagedInUse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The index was removed or moved away while it was open.
    #[error("{}: the library's index was moved away or removed while it was open: leave it where it is while Diptych runs", .0.display())]
    Gone(PathBuf),
    /// The folder's file system cannot lock files.
    #[error("{}: files cannot be locked here ({source}): name a folder on a disk of this machine with --data-dir", path.display())]
    NoLocks {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A library that was opened only to look.
    #[error("{}: the library was opened for reading only", .0.display())]
    OnlyReading(PathBuf),
    /// The database refuses for a reason of ours.
    #[error("{}: the library's index refuses: {source}; please report it", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A record that cannot be put into words, or read back.
    #[error("{what} cannot be kept: {reason}; please report it")]
    Record {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl LibraryError {
    /// A fault at a file or folder.
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }

    /// A fault of the database file.
    pub(super) fn database(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let reason = source.to_string();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(path),
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Busy(path),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => {
                Self::Disk { path, reason }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, reason }
            }
            _ => Self::Database { path, source },
        }
    }

    /// Whether the same may succeed later, when there is space again, the disk is back, or the other program has ended.
    pub fn passes(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Busy(_)
            | Self::Disk { .. }
            | Self::DamagedInUse { .. }
            | Self::Gone(_)
            | Self::NoLocks { .. } => true,
            Self::NamesTaken { .. }
            | Self::Encode(_)
            | Self::Newer { .. }
            | Self::Damaged { .. }
            | Self::OnlyReading(_)
            | Self::Database { .. }
            | Self::Record { .. } => false,
        }
    }
}

/// What helps, where the cause tells.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free some space",
        io::ErrorKind::FileTooLarge => ": allow larger files, or name another folder",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            ": make it writable, or name another folder"
        }
        _ => "",
    }
}
