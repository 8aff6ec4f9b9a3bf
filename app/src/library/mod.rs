//! Everything a person makes, kept: an SQLite index, picture files, drafts and the queue.
//!
//! A library is a folder: `library.db` (the index, in WAL mode), `pictures/YYYY-MM/*.png`, `inputs/` (what pictures were drawn over), `traces/` (every step of pictures), and `sessions/`, where each
//! running instance holds the lock of a file. What a method of [`Library`] has returned from is on the disk
//! (`synchronous=FULL`) and survives the end of the program and of the machine. Several instances may use one library at
//! once. [`Keeper`] does the same from a thread of its own, for clients that never wait for the disk.

mod adopt;
mod chats;
mod clean;
pub mod error;
pub mod files;
mod index;
pub mod inputs;
pub mod keeper;
mod notes;
mod pictures;
pub mod records;
mod rescue;
mod salvage;
mod schema;
mod sessions;
mod tasks;
#[cfg(test)]
mod tests;
pub mod time;
mod tokens;
pub mod trace;
pub mod traces;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use adopt::Restored;
pub use chats::Found;
pub use error::{LibraryError, Result};
pub use keeper::{Keeper, LibraryEvent};
pub use pictures::{NewPicture, PictureQuery};
use records::{PictureId, SessionId};

/// Name of the index in the library's folder.
pub const INDEX: &str = "library.db";
/// Folder of the pictures in the library's folder.
pub const PICTURES: &str = "pictures";

/// A library that is open. Every method waits for the disk.
#[derive(Debug)]
pub struct Library {
    folder: PathBuf,
    db: Connection,
    session: SessionId,
    /// `None` if it was opened only to look.
    lock: Option<sessions::Lock>,
    /// Pictures whose file is safe; if the index could not take one, the next try needs no second file.
    written: HashMap<PictureId, PathBuf>,
    /// What a person is to be told.
    notices: Vec<String>,
    batch: Batch,
    /// Whether the step of the batch that is being done has changed something.
    in_step: bool,
    /// The index file as it was when it was opened.
    identity: Option<index::Identity>,
    /// Held by those libraries that are read from a copy.
    _copy: Option<tempfile::TempDir>,
}

/// Whether several changes are to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// Each change is a transaction of its own.
    Off,
    /// A transaction begins with the next change.
    Ready,
    /// It has begun.
    Begun,
}

/// How much an index is trusted when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// A small one is looked through, a large one is believed.
    Usual,
    /// It is looked through.
    Checked,
    /// It is set aside, whatever it looks like.
    None,
}

impl Library {
    /// Opens the library in a folder, which is made where it is missing, and marks this run of the program as living.
    /// `kind` tells what runs: `window`, `draw`, ...
    ///
    /// A damaged index is set aside under another name, and a new one begun, of the pictures that are there; see
    /// [`Library::take_notices`].
    ///
    /// # Errors
    /// Libraries of newer versions, damaged ones that another instance uses, and whatever the disk says.
    pub fn open(folder: &Path, kind: &str) -> Result<Self> {
        Self::open_as(folder, kind, SessionId::new(), Trust::Usual)
    }

    /// As [`Library::open`], for a session whose number is known already.
    fn open_as(folder: &Path, kind: &str, session: SessionId, trust: Trust) -> Result<Self> {
        let folder = index::make_folders(folder)?;
        let opening = sessions::Lock::to_open(&folder)?;
        let mut notices = Vec::new();
        let (db, fresh) = index::open_or_rescue(&folder, trust, &mut notices)?;
        let mut library = Self {
            identity: index::Identity::of(&folder.join(INDEX)),
            lock: Some(sessions::Lock::of_session(&folder, session)?),
            folder,
            db,
            session,
            written: HashMap::new(),
            notices,
            batch: Batch::Off,
            in_step: false,
            _copy: None,
        };
        let saved = library.finish_rescue()?;
        if fresh || saved.is_some() {
            library.index_all_pictures(saved)?;
        }
        library.begin_session(kind)?;
        library.forget_the_gone();
        drop(opening);
        Ok(library)
    }

    /// Opens a library only to look. Nothing is changed, others may write meanwhile, and one that is not there is empty.
    ///
    /// # Errors
    /// Libraries of newer versions, damaged ones, and whatever the disk says.
    pub fn open_read_only(folder: &Path) -> Result<Self> {
        let folder = index::absolute(folder);
        let (db, copy) = index::open_to_look(&folder)?;
        Ok(Self {
            folder,
            db,
            session: SessionId(0),
            lock: None,
            written: HashMap::new(),
            notices: Vec::new(),
            batch: Batch::Off,
            in_step: false,
            identity: None,
            _copy: copy,
        })
    }

    /// This run of the program; 0 for a library that was opened only to look.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The library's folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the person is to be told about the opening (a damaged index that was set aside); each once.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The database, for tests of its state.
    pub fn database(&self) -> &Connection {
        &self.db
    }

    fn index_path(&self) -> PathBuf {
        self.folder.join(INDEX)
    }

    /// A fault of the database, with its file's name.
    fn fault(&self, error: rusqlite::Error) -> LibraryError {
        LibraryError::database(&self.index_path(), error)
    }

    fn sql(&self, sql: &str) -> Result<()> {
        self.db
            .execute_batch(sql)
            .map_err(|error| self.fault(error))
    }

    /// Runs one statement; gives the number of rows that it changed.
    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|error| self.fault(error))
    }

    /// All rows of a query.
    fn rows<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let fault = |error| self.fault(error);
        let mut statement = self.db.prepare_cached(sql).map_err(fault)?;
        let rows = statement.query_map(values, read).map_err(fault)?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(fault)
    }

    /// Does several things whole or not at all, and waits for the disk once.
    ///
    /// # Errors
    /// The first failure; then none of them was done.
    pub fn together<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.atomically(work)
    }

    /// Does several things whole or not at all: as a transaction, or as a part of the batch that is open.
    fn atomically<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.lock.is_none() {
            return Err(LibraryError::OnlyReading(self.index_path()));
        }
        self.check_place()?;
        match self.batch {
            Batch::Begun if self.db.is_autocommit() => return Err(self.rolled_back()),
            Batch::Ready => {
                self.sql("BEGIN IMMEDIATE")?;
                self.batch = Batch::Begun;
            }
            _ => {}
        }
        if self.batch == Batch::Begun && !self.in_step {
            self.sql("SAVEPOINT step")?;
            self.in_step = true;
        }
        let alone = self.db.is_autocommit();
        self.sql(if alone {
            "BEGIN IMMEDIATE"
        } else {
            "SAVEPOINT part"
        })?;
        let done = work(self).and_then(|value| {
            self.sql(if alone { "COMMIT" } else { "RELEASE part" })?;
            Ok(value)
        });
        if done.is_err() && !self.db.is_autocommit() {
            // The first fault is the one to tell; SQLite may have rolled back already.
            let undo = match alone {
                true => "ROLLBACK",
                false => "ROLLBACK TO part; RELEASE part",
            };
            let _ = self.db.execute_batch(undo);
        }
        done
    }

    /// From now on changes are gathered, until [`Library::commit_batch`] makes them safe together: one wait for the disk
    /// instead of many.
    fn begin_batch(&mut self) {
        self.batch = Batch::Ready;
    }

    /// Ends a step of the batch, which is whole or not at all.
    fn end_step(&mut self, well: bool) {
        let changed = std::mem::take(&mut self.in_step);
        // SQLite may have rolled back everything; the next change, or the commit, will find out.
        if changed && !self.db.is_autocommit() {
            let end = match well {
                true => "RELEASE step",
                false => "ROLLBACK TO step; RELEASE step",
            };
            if let Err(error) = self.sql(end) {
                tracing::warn!("{error}");
                self.abandon_batch();
                self.batch = Batch::Begun;
            }
        }
    }

    /// # Errors
    /// If nothing of the batch was kept.
    fn commit_batch(&mut self) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, Batch::Off);
        if batch != Batch::Begun {
            return Ok(());
        }
        if self.db.is_autocommit() {
            return Err(self.rolled_back());
        }
        let committed = self.sql("COMMIT");
        if committed.is_err() {
            self.abandon_batch();
        }
        committed
    }

    /// SQLite itself has rolled back what came before in a batch.
    fn rolled_back(&self) -> LibraryError {
        LibraryError::Disk {
            path: self.index_path(),
            reason: "a transaction was rolled back".into(),
        }
    }

    /// Forgets the changes of the batch.
    fn abandon_batch(&mut self) {
        self.batch = Batch::Off;
        self.in_step = false;
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Gives back the space that the log of changes takes, as far as that goes.
    fn tidy(&self) {
        let tidied = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = tidied {
            tracing::debug!("the log of changes stays: {error}");
        }
    }

    /// Sees that the index is still where it was: what is written into a file that was removed is lost.
    fn check_place(&self) -> Result<()> {
        let path = self.index_path();
        if self.identity.is_some() && index::Identity::of(&path) != self.identity {
            return Err(LibraryError::Gone(path));
        }
        Ok(())
    }
}

impl Library {
    /// Lets go of an index that cannot be used any more. Nothing is noted in it.
    fn let_go(mut self) {
        self.abandon_batch();
        self.lock = None;
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        self.abandon_batch();
        if let Err(error) = self.end_session() {
            tracing::debug!("the session's end could not be noted: {error}");
        }
        sessions::forget(&self.folder, self.session);
    }
}
