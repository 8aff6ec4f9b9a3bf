//! Taking over what can be read of a damaged index.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};

use super::Library;
use super::error::Result;

/// Every table but the index of words, which is made anew; sessions before what belongs to them.
const TABLES: [&str; 11] = [
    "sessions",
    "drafts",
    "settings",
    "pictures",
    "conversations",
    "messages",
    "grids",
    "tasks",
    "message_tokens",
    "chat_presets",
    "picture_origins",
];
/// More rows than any index has: damage may lead round in circles.
const MOST_ROWS: usize = 10_000_000;

impl Library {
    /// Copies every row that can be read and is not there already; gives their number. The other index is not changed.
    ///
    /// # Errors
    /// If this index cannot be written. Faults of the other one are no errors.
    pub(super) fn salvage(&mut self, damaged: &Path) -> Result<usize> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let old = match Connection::open_with_flags(damaged, flags) {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!("{}: {error}", damaged.display());
                return Ok(0);
            }
        };
        self.atomically(|library| {
            let mut count = 0;
            for table in TABLES {
                count += library.salvage_table(&old, table)?;
            }
            library.run("DELETE FROM message_words", [])?;
            library.run(
                "INSERT INTO message_words (rowid, text) SELECT id, text FROM messages WHERE NOT writing",
                [],
            )?;
            Ok(count)
        })
    }

    fn salvage_table(&self, old: &Connection, table: &str) -> Result<usize> {
        let columns: Vec<String> = self.rows(
            "SELECT name FROM pragma_table_info(?1) ORDER BY cid",
            [table],
            |row| row.get(0),
        )?;
        let list = columns.join(", ");
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})");
        let first = columns.first().map_or("rowid", String::as_str);
        let mut count = 0;
        // From both ends, up to the damage.
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {list} FROM {table} ORDER BY {first} {order}");
            let whole = self.copy_rows(old, &sql, |library, values| {
                if table == "drafts" {
                    // The run that typed it may be in the damaged part.
                    library.run(
                        "INSERT OR IGNORE INTO sessions (id, kind, started) VALUES (?1, 'window', 0)",
                        [values.first().cloned().unwrap_or(Value::Null)],
                    )?;
                }
                count += library.run(&insert, params_from_iter(values))?;
                Ok(())
            })?;
            if whole {
                break;
            }
        }
        Ok(count)
    }

    /// Copies the rows of a query; tells whether it came to the end.
    fn copy_rows(
        &self,
        old: &Connection,
        sql: &str,
        mut put: impl FnMut(&Self, &[Value]) -> Result<()>,
    ) -> Result<bool> {
        let Ok(mut statement) = old.prepare(sql) else {
            return Ok(false);
        };
        let width = statement.column_count();
        let Ok(mut rows) = statement.query([]) else {
            return Ok(false);
        };
        for _ in 0..MOST_ROWS {
            let values = match rows.next() {
                Ok(Some(row)) => values(row, width),
                Ok(None) => return Ok(true),
                Err(error) => {
                    tracing::warn!("a damaged part: {error}");
                    return Ok(false);
                }
            };
            let Ok(values) = values else {
                continue;
            };
            match put(self, &values) {
                Err(error) if error.passes() => return Err(error),
                Err(error) => tracing::debug!("not taken over: {error}"),
                Ok(()) => {}
            }
        }
        Ok(false)
    }
}

fn values(row: &Row<'_>, width: usize) -> rusqlite::Result<Vec<Value>> {
    (0..width).map(|column| row.get(column)).collect()
}
