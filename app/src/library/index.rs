//! The index file: opened, checked, made, or read as it lies.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{LibraryError, Result};
use super::{INDEX, PICTURES, Trust, files, rescue, schema, sessions};

/// How long another instance's transaction is waited for by one who only looks.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one who writes asks for its turn, and how many times: about ten seconds. SQLite's own waiting becomes rarer and
/// rarer, so that an instance that writes all the time leaves another one none.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);
const MOST_TRIES: i32 = 9000;
/// Larger indexes are not looked through when they are opened: it would take seconds. Damage shows when it is met.
const LARGEST_CHECKED: u64 = 32 << 20;
/// The log of changes is cut back to this after it grew.
const LARGEST_LOG: i64 = 16 << 20;

/// Which file it is, so that one can tell whether it was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// `None` where there is no file, or the system does not tell.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path)
            .ok()
            .and_then(|meta| identity(&meta))
    }
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some(Identity(meta.dev(), meta.ino()))
}

/// An open file cannot be removed there.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

/// Links resolved, so that two names of one folder are the same library.
pub fn absolute(folder: &Path) -> PathBuf {
    let plain = || std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if cfg!(windows) {
        // Resolved names begin with `\\?\` there, which many programs do not take.
        return plain();
    }
    folder.canonicalize().unwrap_or_else(|_| plain())
}

/// Makes the library's folders; gives the absolute path.
pub fn make_folders(folder: &Path) -> Result<PathBuf> {
    for part in [PICTURES, sessions::FOLDER] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path).map_err(|error| LibraryError::io(&path, "make", error))?;
    }
    let folder = absolute(folder);
    files::sync_folder(&folder);
    Ok(folder)
}

/// Opens the index, sets a damaged one aside, and tells whether it is new.
pub fn open_or_rescue(
    folder: &Path,
    trust: Trust,
    notices: &mut Vec<String>,
) -> Result<(Connection, bool)> {
    let path = folder.join(INDEX);
    if trust == Trust::None && !rescue::is_unfinished(folder) {
        rescue::set_aside(folder, "it fails again and again", notices)?;
    }
    match open_to_write(&path, trust) {
        Err(LibraryError::Damaged { reason, .. }) => {
            rescue::set_aside(folder, &reason, notices)?;
            open_to_write(&path, trust)
        }
        opened => opened,
    }
}

fn open_to_write(path: &Path, trust: Trust) -> Result<(Connection, bool)> {
    let fault = |error| LibraryError::database(path, error);
    let length = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => {
            let source = std::io::Error::other("it is no file");
            return Err(LibraryError::io(path, "open", source));
        }
        Err(_) => 0,
    };
    let mut db = Connection::open(path).map_err(fault)?;
    if db.is_readonly("main").map_err(fault)? {
        return Err(LibraryError::ReadOnly(path.to_owned()));
    }
    db.busy_handler(Some(wait_for_turn)).map_err(fault)?;
    let version = schema::version(&db, path)?;
    schema::check_known(version, path)?;
    let mode: String = db
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(fault)?;
    if mode != "wal" {
        tracing::warn!("{}: written in mode '{mode}'", path.display());
    }
    let settings = format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = {LARGEST_LOG};
         PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;"
    );
    db.execute_batch(&settings).map_err(fault)?;
    if version > 0 && (length <= LARGEST_CHECKED || trust == Trust::Checked) {
        check(&db, path)?;
    }
    schema::migrate(&db, path)?;
    if version == 0 {
        files::sync_folder(files::folder_of(path));
    }
    Ok((db, version == 0))
}

fn wait_for_turn(tries: i32) -> bool {
    std::thread::sleep(BETWEEN_TRIES);
    tries < MOST_TRIES
}

/// Looks through the whole index.
fn check(db: &Connection, path: &Path) -> Result<()> {
    let said: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| LibraryError::database(path, error))?;
    if said == "ok" {
        return Ok(());
    }
    Err(LibraryError::Damaged {
        path: path.to_owned(),
        reason: said.lines().collect::<Vec<_>>().join(" "),
    })
}

/// An index to look into: as it lies, else a copy in a folder that goes with it, else an empty one.
pub fn open_to_look(folder: &Path) -> Result<(Connection, Option<tempfile::TempDir>)> {
    let path = folder.join(INDEX);
    let fault = |error| LibraryError::database(&path, error);
    let nothing = || -> Result<Connection> {
        let db = Connection::open_in_memory().map_err(fault)?;
        schema::migrate(&db, &path)?;
        Ok(db)
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((nothing()?, None));
        }
        Err(error) => return Err(LibraryError::io(&path, "read", error)),
        Ok(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> Result<(Connection, i64)> {
        let db = Connection::open_with_flags(&path, flags).map_err(fault)?;
        db.busy_timeout(PATIENCE).map_err(fault)?;
        let version = schema::version(&db, &path)?;
        Ok((db, version))
    };
    let copy = || -> Result<(Connection, i64, tempfile::TempDir)> {
        let place = tempfile::tempdir()
            .map_err(|error| LibraryError::io(&std::env::temp_dir(), "make a folder in", error))?;
        for ending in ["", "-wal"] {
            let name = format!("{INDEX}{ending}");
            match std::fs::copy(folder.join(&name), place.path().join(&name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound || ending.is_empty() => {
                    return Err(LibraryError::io(&folder.join(&name), "read", error));
                }
                _ => {}
            }
        }
        let db = Connection::open(place.path().join(INDEX)).map_err(fault)?;
        let version = schema::version(&db, &path)?;
        Ok((db, version, place))
    };
    let (mut db, version, mut place) = match open() {
        Ok((db, version)) => (db, version, None),
        // Where nothing may be written beside the index, not even the memory that readers share.
        Err(error) if error.passes() => {
            let (db, version, place) = copy()?;
            (db, version, Some(place))
        }
        Err(error) => return Err(error),
    };
    schema::check_known(version, &path)?;
    if version == 0 {
        return Ok((nothing()?, None));
    }
    if version < schema::LATEST {
        // An older format is brought up to date in a copy.
        if place.is_none() {
            let made = tempfile::tempdir().map_err(|error| {
                LibraryError::io(&std::env::temp_dir(), "make a folder in", error)
            })?;
            let target = made.path().join(INDEX);
            db.execute("VACUUM INTO ?1", [target.to_string_lossy()])
                .map_err(fault)?;
            db = Connection::open(&target).map_err(fault)?;
            place = Some(made);
        }
        schema::migrate(&db, &path)?;
    }
    Ok((db, place))
}
