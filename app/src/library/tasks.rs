//! The queue: jobs that are not done.

use diptych_inference::engine::{Hires, HiresUpscaler, ImageRequest, ModelRef, Request};
use rusqlite::{OptionalExtension as _, params};

use super::error::Result;
use super::notes::read;
use super::pictures::json;
use super::records::{SessionId, TaskId, TaskRecord};
use super::{Library, sessions};

impl Library {
    /// Keeps a job, in place of what was kept of it before. Without a checkpoint in the record, the one that is kept stays.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_task(&mut self, task: &TaskRecord) -> Result<()> {
        let record = json("a job", task)?;
        let (done, total) = task.progress.unzip();
        self.atomically(|library| {
            library.run(
                "INSERT INTO tasks (id, session, position, record, done, total, checkpoint) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET session = excluded.session, position = excluded.position, record = excluded.record,
                    done = excluded.done, total = excluded.total, checkpoint = coalesce(excluded.checkpoint, checkpoint)",
                params![
                    task.id.0,
                    task.session.0,
                    task.position,
                    record,
                    done,
                    total,
                    task.checkpoint
                ],
            )?;
            Ok(())
        })
    }

    /// Keeps what the engine needs to go on with a job, and how far it is. Empty bytes forget it. Nothing happens if the job
    /// is not kept (any more).
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn put_checkpoint(
        &mut self,
        id: TaskId,
        bytes: &[u8],
        progress: Option<(u32, u32)>,
    ) -> Result<()> {
        let (done, total) = progress.unzip();
        let checkpoint = (!bytes.is_empty()).then_some(bytes);
        self.atomically(|library| {
            library.run(
                "UPDATE tasks SET checkpoint = ?2, done = ?3, total = ?4 WHERE id = ?1",
                params![id.0, checkpoint, done, total],
            )?;
            Ok(())
        })
    }

    /// Forgets a job that is done, or not wanted any more.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn remove_task(&mut self, id: TaskId) -> Result<()> {
        self.atomically(|library| {
            library.run("DELETE FROM tasks WHERE id = ?1", [id.0])?;
            Ok(())
        })
    }

    /// The jobs of all sessions, each session's in the order of its queue; with whether the session lives.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn tasks(&self) -> Result<Vec<(TaskRecord, bool)>> {
        let tasks = self.rows(
            "SELECT id, session, position, record, done, total, checkpoint FROM tasks ORDER BY session, position, id",
            [],
            |row| {
                let id: i64 = row.get(0)?;
                let text: String = row.get(3)?;
                let Some(task) = read::<TaskRecord>("job", id, &text) else {
                    return Ok(None);
                };
                let done: Option<u32> = row.get(4)?;
                Ok(Some(TaskRecord {
                    session: SessionId(row.get(1)?),
                    position: row.get(2)?,
                    progress: done.zip(row.get(5)?),
                    checkpoint: row.get(6)?,
                    ..task
                }))
            },
        )?;
        let mut known = std::collections::HashMap::new();
        let with_life = |task: TaskRecord| {
            let alive = *known
                .entry(task.session)
                .or_insert_with(|| self.lives(task.session));
            (task, alive)
        };
        Ok(tasks.into_iter().flatten().map(with_life).collect())
    }

    /// Whether a session lives.
    pub(super) fn lives(&self, session: SessionId) -> bool {
        (self.lock.is_some() && session == self.session) || sessions::lives(&self.folder, session)
    }

    /// Removes one job of a dead session that asks for exactly this picture.
    pub(super) fn forget_task_of(&mut self, request: &ImageRequest) -> Result<()> {
        // What is sent along with a job is no part of what makes its picture.
        let named = |model: &ModelRef| ModelRef::named(&model.name);
        let bare = |request: &ImageRequest| {
            let mut bare = request.clone();
            (bare.keep_latents, bare.preview, bare.trace) = (false, false, false);
            // Hashes are found while drawing, and so are learnt words.
            bare.model = named(&bare.model);
            bare.embeddings.clear();
            for control in &mut bare.controls {
                control.model = named(&control.model);
            }
            if let Some(Hires {
                upscaler: HiresUpscaler::Model(model),
                ..
            }) = &mut bare.hires
            {
                *model = named(model);
            }
            bare
        };
        let wanted = bare(request);
        let fits = |task: &TaskRecord| match &task.request {
            Request::Image(request) => bare(request) == wanted,
            Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => false,
        };
        let tasks = self.tasks()?;
        match tasks.iter().find(|(task, alive)| !alive && fits(task)) {
            Some((task, _)) => self.remove_task(task.id),
            None => Ok(()),
        }
    }

    /// The kind of a session.
    pub fn kind_of(&self, session: SessionId) -> Result<Option<String>> {
        self.db
            .query_row(
                "SELECT kind FROM sessions WHERE id = ?1",
                [session.0],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| self.fault(error))
    }
}
