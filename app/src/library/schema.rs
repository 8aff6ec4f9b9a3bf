//! The index's tables, and how older ones become today's.

use std::path::Path;

use rusqlite::Connection;

use super::error::{LibraryError, Result};

/// Each brings the index one format further; formats are counted from 1. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &[TABLES, SEARCH, TOKENS, ORIGINS];

/// The latest format.
pub const LATEST: i64 = MIGRATIONS.len() as i64;

/// Records are kept as JSON where nothing but the program itself looks into them, so that they can grow new fields.
const TABLES: &str = "
-- One run of the program. It lives as long as it holds the lock of its file in 'sessions'.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    started INTEGER NOT NULL,
    -- When it ended in peace; NULL while it runs, and after it was killed.
    ended INTEGER,
    -- Whether it has taken over what the dead left.
    adopted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE drafts (
    session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    -- Grows with every change, whatever the clock does.
    changed INTEGER NOT NULL,
    PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE pictures (
    -- Order in which they were kept, whatever the clock did.
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL UNIQUE,
    -- Relative to the library's folder if it lies there; bytes if it is no Unicode.
    path ANY NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    request TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    steps_done INTEGER,
    seconds REAL NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0,
    trashed INTEGER NOT NULL DEFAULT 0,
    grid INTEGER,
    -- What is searched, in lower case.
    words TEXT NOT NULL
) STRICT;
CREATE INDEX pictures_by_grid ON pictures (grid) WHERE grid IS NOT NULL;
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    pinned INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    words TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
-- No reference to the conversation: an answer may still be written while another window deletes it.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    -- Who wrote it last.
    session INTEGER NOT NULL,
    writing INTEGER NOT NULL,
    text TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX messages_by_conversation ON messages (conversation);
CREATE INDEX messages_in_writing ON messages (session) WHERE writing;
CREATE TABLE grids (
    id INTEGER PRIMARY KEY,
    changed INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    position REAL NOT NULL,
    record TEXT NOT NULL,
    done INTEGER,
    total INTEGER,
    checkpoint BLOB
) STRICT;
CREATE INDEX tasks_by_session ON tasks (session);
";

/// Search within words, in any script: three characters are enough. It keeps no text of its own.
const SEARCH: &str = "
CREATE VIRTUAL TABLE message_words USING fts5(
    text, content='', contentless_delete=1, tokenize='trigram remove_diacritics 1'
);
INSERT INTO message_words (rowid, text) SELECT id, text FROM messages WHERE NOT writing;
";

/// What was thought of the tokens of answers, apart from the messages: it is large, and seldom looked at. Presets of chat.
const TOKENS: &str = "
CREATE TABLE message_tokens (
    -- That of the message.
    id INTEGER PRIMARY KEY,
    tokens BLOB NOT NULL
) STRICT;
CREATE TABLE chat_presets (
    id INTEGER PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;
";

/// Which pictures came from others, and how. A table of its own, so that what is left of a damaged older index can be taken over.
const ORIGINS: &str = "
CREATE TABLE picture_origins (
    -- That of the picture.
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL
) STRICT;
";

/// The format of an index; 0 is an empty file.
pub fn version(db: &Connection, path: &Path) -> Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| LibraryError::database(path, error))
}

/// Refuses an index of a later program.
///
/// # Errors
/// [`LibraryError::Newer`].
pub fn check_known(found: i64, path: &Path) -> Result<()> {
    if (0..=LATEST).contains(&found) {
        return Ok(());
    }
    Err(LibraryError::Newer {
        path: path.to_owned(),
        found,
        known: LATEST,
    })
}

/// Brings an index to the latest format, each step whole or not at all.
///
/// # Errors
/// [`LibraryError::Newer`], and whatever the disk says.
pub fn migrate(db: &Connection, path: &Path) -> Result<()> {
    migrate_to(db, path, LATEST)
}

/// As [`migrate`], up to an earlier format.
pub(super) fn migrate_to(db: &Connection, path: &Path, format: i64) -> Result<()> {
    let fault = |error| LibraryError::database(path, error);
    let begun = version(db, path)?;
    check_known(begun, path)?;
    for (number, step) in (1i64..).zip(MIGRATIONS) {
        if number <= begun || number > format {
            continue;
        }
        let sql = format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;");
        if let Err(error) = db.execute_batch(&sql) {
            // The first fault is the one to tell.
            let _ = db.execute_batch("ROLLBACK");
            return Err(fault(error));
        }
    }
    Ok(())
}
