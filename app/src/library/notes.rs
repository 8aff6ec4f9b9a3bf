//! Small things: text typed, settings, compare grids.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Library;
use super::error::Result;
use super::pictures::json;
use super::records::{GridId, GridRecord, PictureId, SessionId, now};

/// Reads a record back; one that cannot be read (of a program that knew more) is left out, and said in the log.
pub(super) fn read<T: DeserializeOwned>(what: &str, id: i64, text: &str) -> Option<T> {
    serde_json::from_str(text)
        .map_err(|error| tracing::warn!("{what} {id} cannot be read: {error}"))
        .ok()
}

impl Library {
    /// Keeps text that is typed and not used yet, under a key of the window's own.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_draft(&mut self, key: &str, value: &str) -> Result<()> {
        self.atomically(|library| {
            // The clock may have gone back; what is typed last counts all the same.
            library.run(
                "INSERT INTO drafts (session, key, value, changed)
                 VALUES (?1, ?2, ?3, max(?4, (SELECT coalesce(max(changed), 0) + 1 FROM drafts)))
                 ON CONFLICT DO UPDATE SET value = excluded.value, changed = excluded.changed",
                params![library.session.0, key, value, now()],
            )?;
            Ok(())
        })
    }

    /// This session's text.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn drafts(&self) -> Result<BTreeMap<String, String>> {
        self.drafts_of(self.session)
    }

    pub(super) fn drafts_of(&self, session: SessionId) -> Result<BTreeMap<String, String>> {
        let rows = self.rows(
            "SELECT key, value FROM drafts WHERE session = ?1",
            [session.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows.into_iter().collect())
    }

    /// Keeps a setting, for all instances.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_setting(&mut self, key: &str, value: &Value) -> Result<()> {
        let text = json("a setting", value)?;
        self.atomically(|library| {
            library.run(
                "INSERT INTO settings (key, value) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
                params![key, text],
            )?;
            Ok(())
        })
    }

    /// All settings.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn settings(&self) -> Result<BTreeMap<String, Value>> {
        let rows: Vec<(String, String)> =
            self.rows("SELECT key, value FROM settings", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let read_one = |(key, text): (String, String)| {
            let value = read("setting", 0, &text)?;
            Some((key, value))
        };
        Ok(rows.into_iter().filter_map(read_one).collect())
    }

    /// Keeps a grid, in place of what was kept of it before.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_grid(&mut self, grid: &GridRecord) -> Result<()> {
        let record = json("a grid", grid)?;
        self.atomically(|library| {
            library.run(
                "INSERT INTO grids (id, changed, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET changed = excluded.changed, record = excluded.record",
                params![grid.id.0, grid.changed, record],
            )?;
            Ok(())
        })
    }

    /// All grids, the one changed last first.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn grids(&self) -> Result<Vec<GridRecord>> {
        let rows: Vec<(i64, String)> = self.rows(
            "SELECT id, record FROM grids ORDER BY changed DESC, id DESC",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, text)| read("grid", id, &text))
            .collect())
    }

    /// Notes that pictures belong to a grid, as after a grid was brought back.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_pictures_into_grid(&mut self, grid: GridId, pictures: &[PictureId]) -> Result<()> {
        self.atomically(|library| {
            for picture in pictures {
                library.run(
                    "UPDATE pictures SET grid = ?1 WHERE id = ?2 AND grid IS NULL",
                    [grid.0, picture.0],
                )?;
            }
            Ok(())
        })
    }

    /// Forgets a grid; its pictures stay.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn delete_grid(&mut self, id: GridId) -> Result<()> {
        self.atomically(|library| {
            library.run("DELETE FROM grids WHERE id = ?1", [id.0])?;
            library.run("UPDATE pictures SET grid = NULL WHERE grid = ?1", [id.0])?;
            Ok(())
        })
    }
}
