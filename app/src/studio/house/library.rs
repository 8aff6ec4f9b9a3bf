//! The studio and its library: what is kept, and what was left of an earlier run.

use std::sync::Arc;

use diptych_inference::engine::Picture;

use super::House;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, Target, TaskId, TaskRecord, TaskState, now};
use crate::library::{self, Library, NewPicture, Restored};
use crate::report;
use crate::studio::command::QueueCommand;
use crate::studio::create::{CreateCommand, StepsCommand};
use crate::studio::effects::Effect;
use crate::studio::log::Level;
use crate::studio::queue::{Progress, Stage, Task, TaskHead};
use crate::studio::settings::{self, Settings};

impl House {
    pub(in crate::studio) fn next_library_event(&self) -> Option<LibraryEvent> {
        self.keeper.events().try_recv().ok()
    }

    /// Has the library keep something; never waits. What cannot be kept now is tried again until it can.
    pub fn save(
        &self,
        what: impl Into<String>,
        op: impl FnMut(&mut Library) -> library::Result<Option<LibraryEvent>> + Send + 'static,
    ) {
        self.keeper.save(what, op);
    }

    /// Asks the library something; the answer comes as a [`LibraryEvent`].
    pub fn look_up(
        &self,
        what: impl Into<String>,
        op: impl FnMut(&mut Library) -> library::Result<Option<LibraryEvent>> + Send + 'static,
    ) {
        self.keeper.ask(what, op);
    }

    /// Waits until the library has kept everything that it was given so far, at most for a while; not for the window's
    /// thread. Returns whether it has.
    pub fn flush(&self, within: std::time::Duration) -> bool {
        self.keeper.flush(within)
    }

    pub(in crate::studio) fn save_draft(&self, key: String, value: impl Into<Arc<str>>) {
        let value = value.into();
        self.keeper.save("what you typed", move |library| {
            library.put_draft(&key, &value)?;
            Ok(Some(LibraryEvent::DraftSaved {
                key: key.clone(),
                at: now(),
            }))
        });
    }

    /// Has the library keep what changed since; other windows may have changed other settings meanwhile.
    pub(super) fn save_settings(&self, before: &Settings) {
        let (before, now) = (before.clone(), self.settings.clone());
        self.keeper.save("settings", move |library| {
            library.together(|library| {
                let kept = library.settings()?.remove(settings::KEY);
                let kept = settings::merged(kept, &before, &now);
                library.put_setting(settings::KEY, &kept)
            })?;
            Ok(None)
        });
    }

    pub(super) fn save_task(&self, task: &Task) {
        let Some(session) = self.keeper.session() else {
            return;
        };
        let record = TaskRecord {
            id: task.head.id,
            session,
            request: (*task.head.request).clone(),
            target: task.head.target.clone(),
            state: match task.stage {
                Stage::Waiting => TaskState::Waiting,
                Stage::Loading { .. } | Stage::Running => TaskState::Running,
                Stage::Paused | Stage::Interrupted => TaskState::Paused,
                Stage::Failed(_) => TaskState::Failed,
            },
            position: task.position,
            progress: (task.progress.done > 0).then_some((task.progress.done, task.progress.total)),
            checkpoint: task.checkpoint.as_ref().map(|bytes| bytes.to_vec()),
            created: task.created,
        };
        self.keeper.save("the queue", move |library| {
            library.put_task(&record)?;
            Ok(None)
        });
    }

    pub(super) fn forget_task(&self, id: TaskId) {
        self.keeper.save("the queue", move |library| {
            library.remove_task(id)?;
            Ok(None)
        });
    }

    pub(in crate::studio) fn restore(&mut self, restored: &Restored) {
        let late = std::mem::replace(&mut self.opened, true);
        self.settings = Settings::read(&restored.settings);
        self.effect(Effect::Look);
        for notice in &restored.notices {
            self.log
                .notify(Level::Error, "The library was mended", notice.clone());
        }
        let mut tasks = restored.tasks.clone();
        tasks.sort_by(|a, b| a.position.total_cmp(&b.position));
        let mut left = 0;
        for task in tasks {
            if matches!(task.target, Target::File { .. }) || task.target.is_asked() {
                // The command line's, or a question that nobody waits for any more; whoever asked can ask again.
                self.forget_task(task.id);
                continue;
            }
            left += 1;
            let (done, total) = task.progress.unwrap_or_default();
            self.queue.push(Task {
                head: TaskHead {
                    id: task.id,
                    request: Arc::new(task.request),
                    target: task.target,
                },
                stage: Stage::Interrupted,
                progress: Progress {
                    done,
                    total,
                    ..Progress::default()
                },
                warnings: Vec::new(),
                created: task.created,
                position: task.position,
                job: None,
                checkpoint: task.checkpoint.map(Arc::from),
                branch_state: None,
                unsaved_checkpoint: None,
            });
        }
        if left > 0 && self.go_on {
            self.command(QueueCommand::ResumeAll);
        } else if left > 0 {
            let (title, text) = match left {
                1 => (
                    "A job is left from last time".to_owned(),
                    "It resumes from its last step.",
                ),
                count => (
                    format!("{count} jobs are left from last time"),
                    "They resume from their last steps.",
                ),
            };
            let action = ("Resume".to_owned(), QueueCommand::ResumeAll.into());
            self.log.notify_with(Level::Info, title, text, Some(action));
        }
        self.offer_reports();
        self.clean();
        if !late {
            self.start_engine();
            self.look_for_models();
        }
    }

    /// Removes what no record names any more, and finds out which pictures have their steps. On the library's own thread.
    fn clean(&self) {
        let reply = self.reply();
        self.look_up("files that nothing needs any more", move |library| {
            match library.clean() {
                Ok((0, _)) => {}
                Ok((count, bytes)) => {
                    tracing::info!(
                        "{count} files that nothing needs any more were removed: {bytes} bytes"
                    );
                }
                Err(error) => tracing::warn!("nothing was cleaned up: {error}"),
            }
            let known = library.traces();
            reply.command(CreateCommand::Steps(StepsCommand::Known(known)));
            Ok(None)
        });
    }

    /// Tells of faults that ended an earlier run.
    fn offer_reports(&mut self) {
        let (data, reply) = (self.data.clone(), self.reply());
        let spawned = std::thread::Builder::new().spawn(move || match report::take_new(&data) {
            Ok(reports) => {
                if let Some(report) = reports.last() {
                    reply.notice(
                        Level::Warning,
                        "A fault of Diptych was noted last time",
                        format!(
                            "Nothing that was saved is lost. The report stays on this machine: {}. Please send it to the developers.",
                            report.display()
                        ),
                    );
                }
            }
            Err(error) => tracing::warn!("reports cannot be read: {error}"),
        });
        if let Err(error) = spawned {
            tracing::error!("no thread to look for reports: {error}");
        }
    }

    pub(in crate::studio) fn on_library(&mut self, event: LibraryEvent) {
        match event {
            LibraryEvent::PictureSaved(record) => {
                self.fresh.remove(&record.id);
            }
            LibraryEvent::Trouble { what, message } => {
                self.library_trouble = Some(message.clone());
                self.log
                    .notify(Level::Error, format!("Not saved yet: {what}"), message);
                if !self.opened {
                    // The studio can be used all the same; what it makes waits in memory.
                    self.opened = true;
                    self.start_engine();
                    self.look_for_models();
                }
            }
            LibraryEvent::Recovered => {
                self.library_trouble = None;
                self.log
                    .notify(Level::Success, "Everything is saved again", "");
            }
            LibraryEvent::Failed { what, message } => {
                self.log.notify(Level::Error, what, message);
            }
            _ => {}
        }
    }

    /// Keeps a picture: at once in memory, soon in the library, which answers with [`LibraryEvent::PictureSaved`].
    pub(in crate::studio) fn keep_picture(&mut self, new: NewPicture) {
        self.fresh.insert(new.id, new.picture.clone());
        self.keeper.save("a picture", move |library| {
            let record = library.save_picture(new.clone())?;
            Ok(Some(LibraryEvent::PictureSaved(record.into())))
        });
    }

    /// A picture that was drawn in this run and is not in its file yet.
    pub fn fresh_picture(&self, id: PictureId) -> Option<&Arc<Picture>> {
        self.fresh.get(&id)
    }
}
