//! Sessions: their beginning and end, and taking over what the dead ones left.

use std::collections::{BTreeMap, HashMap};

use diptych_inference::engine::Request;
use rusqlite::params;
use serde_json::Value;

use super::error::Result;
use super::pictures::PictureQuery;
use super::records::{
    ChatPreset, Conversation, ConversationId, GridRecord, MessageId, MessageState, PictureRecord,
    SessionId, Target, TaskRecord, TaskState, now,
};
use super::{Library, sessions};

/// Newest pictures that are given at the start.
const PICTURES_AT_START: usize = 500;
/// What windows are called in [`Library::open`].
pub const WINDOW: &str = "window";

/// Everything that a window starts from.
#[derive(Clone, Debug)]
pub struct Restored {
    /// This run of the program.
    pub session: SessionId,
    /// Text that was typed, by the window's own keys.
    pub drafts: BTreeMap<String, String>,
    /// Jobs of this session, with those taken over, in the order of the queue.
    pub tasks: Vec<TaskRecord>,
    /// Answers that were being written when their session died; they are [`MessageState::Stopped`] now.
    pub interrupted: Vec<(ConversationId, MessageId)>,
    /// Settings.
    pub settings: BTreeMap<String, Value>,
    /// All conversations: pinned ones first, then the one changed last.
    pub conversations: Vec<Conversation>,
    /// All grids, the one changed last first.
    pub grids: Vec<GridRecord>,
    /// Presets of chat, by name.
    pub presets: Vec<ChatPreset>,
    /// The newest 500 pictures that are not thrown away.
    pub pictures: Vec<PictureRecord>,
    /// What the person is to be told, such as that a damaged index was set aside.
    pub notices: Vec<String>,
}

/// A row of `sessions`.
struct Session {
    id: SessionId,
    kind: String,
    ended: bool,
    adopted: bool,
    alive: bool,
}

impl Library {
    pub(super) fn begin_session(&mut self, kind: &str) -> Result<()> {
        self.atomically(|library| {
            library.run(
                // It is there already if the index had to be opened anew.
                "INSERT INTO sessions (id, kind, started) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET ended = NULL",
                params![library.session.0, kind, now()],
            )?;
            Ok(())
        })
    }

    /// Notes that this session ended in peace; nothing more is noted of one that leaves nothing.
    pub(super) fn end_session(&mut self) -> Result<()> {
        self.atomically(|library| {
            let id = library.session.0;
            library.run(
                "UPDATE sessions SET ended = ?2 WHERE id = ?1",
                params![id, now()],
            )?;
            library.forget_empty(library.session)
        })
    }

    fn forget_empty(&self, session: SessionId) -> Result<()> {
        self.run(
            "DELETE FROM sessions WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM drafts WHERE session = ?1)
             AND NOT EXISTS (SELECT 1 FROM tasks WHERE session = ?1)
             AND NOT EXISTS (SELECT 1 FROM messages WHERE session = ?1 AND writing)",
            [session.0],
        )?;
        Ok(())
    }

    /// Removes lock files that nobody holds. Only while no other instance is being opened.
    pub(super) fn forget_the_gone(&self) {
        for session in sessions::all(&self.folder) {
            if session != self.session && !sessions::lives(&self.folder, session) {
                sessions::forget(&self.folder, session);
            }
        }
    }

    fn sessions(&self) -> Result<Vec<Session>> {
        let rows = self.rows(
            "SELECT id, kind, ended IS NOT NULL, adopted FROM sessions",
            [],
            |row| {
                Ok(Session {
                    id: SessionId(row.get(0)?),
                    kind: row.get(1)?,
                    ended: row.get(2)?,
                    adopted: row.get(3)?,
                    alive: false,
                })
            },
        )?;
        Ok(rows
            .into_iter()
            .map(|session| Session {
                alive: self.lives(session.id),
                ..session
            })
            .collect())
    }

    /// Takes over what dead sessions left, in one transaction, so that two instances that start together share it without
    /// doubles, and gives everything that a window starts from.
    ///
    /// - Jobs become this session's; those that waited or ran are [`TaskState::Paused`].
    /// - Text comes from the window in which something was typed last: from any window that was killed, or, if no other
    ///   window lives, from one that was closed. So a window that is killed beside another one gets its text back, and a
    ///   second window that is opened beside the first is empty. Text of further windows that were killed waits for the next
    ///   window.
    /// - Answers in state [`MessageState::Writing`] become [`MessageState::Stopped`].
    /// - Pictures whose file was safe, but whose row was not, are put into the index, and their jobs are done.
    ///
    /// # Errors
    /// Whatever the disk says; then nothing was taken over.
    pub fn adopt(&mut self) -> Result<Restored> {
        self.index_lost_pictures()?;
        let interrupted = self.atomically(|library| {
            let sessions = library.sessions()?;
            library.adopt_drafts(&sessions)?;
            library.adopt_tasks()?;
            let interrupted = library.stop_messages(&sessions)?;
            // Another window may still take the deletion of a message back.
            let alone = |session: &Session| !session.alive || session.id == library.session;
            if sessions.iter().all(alone) {
                library.forget_tokens()?;
            }
            for session in sessions.iter().filter(|session| !session.alive) {
                library.forget_empty(session.id)?;
            }
            library.run(
                "UPDATE sessions SET adopted = 1 WHERE id = ?1",
                [library.session.0],
            )?;
            Ok(interrupted)
        })?;
        let session = self.session;
        let mut tasks: Vec<TaskRecord> = self.tasks()?.into_iter().map(|(task, _)| task).collect();
        tasks.retain(|task| task.session == session);
        tasks.sort_by(|a, b| a.position.total_cmp(&b.position));
        for task in &mut tasks {
            self.take_up_answer(task)?;
        }
        let drafts = self.drafts()?;
        self.restored(session, drafts, tasks, interrupted)
    }

    /// An answer goes on from the tokens that were kept, by the random numbers that come next, as the message itself would be gone on with.
    fn take_up_answer(&self, task: &mut TaskRecord) -> Result<()> {
        let (Target::Answer { message, .. }, Request::Chat(request)) =
            (&task.target, &mut task.request)
        else {
            return Ok(());
        };
        let Some(message) = self.message(*message)? else {
            return Ok(());
        };
        let Some(info) = message.info else {
            return Ok(());
        };
        let same = info.seed == request.seed
            && info
                .model
                .is_some_and(|model| model.name == request.model.name);
        let known = request.written.as_ref().map_or(0, |old| old.tokens.len());
        if let Some(written) = info.written.filter(|_| same)
            && written.tokens.len() > known
            && written.bytes >= info.given
            && message.text.is_char_boundary(written.bytes as usize)
        {
            request.written = Some(written);
        }
        Ok(())
    }

    fn restored(
        &mut self,
        session: SessionId,
        drafts: BTreeMap<String, String>,
        tasks: Vec<TaskRecord>,
        interrupted: Vec<(ConversationId, MessageId)>,
    ) -> Result<Restored> {
        Ok(Restored {
            session,
            drafts,
            tasks,
            interrupted,
            settings: self.settings()?,
            conversations: self.conversations()?,
            grids: self.grids()?,
            presets: self.presets()?,
            pictures: self.pictures(&PictureQuery {
                limit: PICTURES_AT_START,
                ..PictureQuery::default()
            })?,
            notices: self.take_notices(),
        })
    }

    /// What [`Library::adopt`] would give, but the jobs, from a library that cannot be written. Nothing is taken over.
    pub(super) fn look_at_all(&mut self, session: SessionId) -> Result<Restored> {
        let heir = self.whose_drafts(&self.sessions()?)?;
        let drafts = match heir {
            Some(dead) => self.drafts_of(dead)?,
            None => BTreeMap::new(),
        };
        self.restored(session, drafts, Vec::new(), Vec::new())
    }

    /// The dead session whose text is to be taken over.
    fn whose_drafts(&self, sessions: &[Session]) -> Result<Option<SessionId>> {
        let changed: HashMap<i64, i64> = self
            .rows(
                "SELECT session, max(changed) FROM drafts GROUP BY session",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?
            .into_iter()
            .collect();
        if changed.contains_key(&self.session.0) {
            return Ok(None);
        }
        // One that has not taken over anything yet is no reason to leave the text to nobody.
        let other_window = sessions.iter().any(|session| {
            session.kind == WINDOW && session.alive && session.adopted && session.id != self.session
        });
        let left = sessions
            .iter()
            .filter(|session| session.kind == WINDOW && !session.alive)
            .filter(|session| !session.ended || !other_window)
            .filter_map(|session| Some((changed.get(&session.id.0)?, session.id)));
        Ok(left.max().map(|(_, id)| id))
    }

    fn adopt_drafts(&self, sessions: &[Session]) -> Result<()> {
        if let Some(dead) = self.whose_drafts(sessions)? {
            self.run(
                "UPDATE drafts SET session = ?1 WHERE session = ?2",
                [self.session.0, dead.0],
            )?;
        }
        Ok(())
    }

    fn adopt_tasks(&mut self) -> Result<()> {
        for (task, alive) in self.tasks()? {
            if alive {
                continue;
            }
            let state = match task.state {
                TaskState::Waiting | TaskState::Running => TaskState::Paused,
                kept => kept,
            };
            self.put_task(&TaskRecord {
                session: self.session,
                state,
                ..task
            })?;
        }
        Ok(())
    }

    fn stop_messages(&mut self, sessions: &[Session]) -> Result<Vec<(ConversationId, MessageId)>> {
        let alive = |id: i64| {
            sessions
                .iter()
                .any(|session| session.alive && session.id.0 == id)
        };
        let mut stopped = Vec::new();
        for mut message in self.messages_left(|session| !alive(session))? {
            message.state = MessageState::Stopped;
            self.put_message(&message)?;
            stopped.push((message.conversation, message.id));
        }
        Ok(stopped)
    }
}
