//! What was thought of the tokens of answers, and presets of chat.

use rusqlite::params;

use super::Library;
use super::error::Result;
use super::notes::read;
use super::pictures::json;
use super::records::{ChatPreset, MessageId, PresetId};
use super::trace::Trace;

impl Library {
    /// Keeps what was thought of the tokens of an answer, in place of what was kept of it before. It stays when the message
    /// is deleted, so that the deletion can be taken back, until the next [`Library::adopt`].
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_tokens(&mut self, message: MessageId, trace: &Trace) -> Result<()> {
        let bytes = trace.encode();
        self.atomically(|library| {
            library.run(
                "INSERT INTO message_tokens (id, tokens) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET tokens = excluded.tokens",
                params![message.0, bytes],
            )?;
            Ok(())
        })
    }

    /// What was thought of the tokens of an answer; `None` if nothing was kept, or it is damaged.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn tokens(&self, message: MessageId) -> Result<Option<Trace>> {
        let rows: Vec<Vec<u8>> = self.rows(
            "SELECT tokens FROM message_tokens WHERE id = ?1",
            [message.0],
            |row| row.get(0),
        )?;
        Ok(rows.first().and_then(|bytes| {
            let trace = Trace::decode(bytes);
            if trace.is_none() {
                tracing::warn!("the tokens of message {message} cannot be read");
            }
            trace
        }))
    }

    /// Forgets the tokens of messages that are gone.
    pub(super) fn forget_tokens(&mut self) -> Result<()> {
        self.atomically(|library| {
            library.run(
                "DELETE FROM message_tokens WHERE id NOT IN (SELECT id FROM messages)",
                [],
            )?;
            Ok(())
        })
    }

    /// Keeps a preset, in place of what was kept of it before.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_preset(&mut self, preset: &ChatPreset) -> Result<()> {
        let record = json("a preset", preset)?;
        self.atomically(|library| {
            library.run(
                "INSERT INTO chat_presets (id, record) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET record = excluded.record",
                params![preset.id.0, record],
            )?;
            Ok(())
        })
    }

    /// Forgets a preset.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn delete_preset(&mut self, id: PresetId) -> Result<()> {
        self.atomically(|library| {
            library.run("DELETE FROM chat_presets WHERE id = ?1", [id.0])?;
            Ok(())
        })
    }

    /// All presets, by name.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn presets(&self) -> Result<Vec<ChatPreset>> {
        let rows: Vec<(i64, String)> = self.rows(
            "SELECT id, record FROM chat_presets ORDER BY id",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let mut presets: Vec<ChatPreset> = rows
            .into_iter()
            .filter_map(|(id, text)| read("preset", id, &text))
            .collect();
        presets.sort_by_cached_key(|preset| preset.name.to_lowercase());
        Ok(presets)
    }
}
