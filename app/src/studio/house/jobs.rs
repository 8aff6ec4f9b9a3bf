//! Jobs: given to the engine, heard of, put to sleep, moved, ended.

use std::sync::Arc;

use diptych_inference::engine::{Command, Event, HiresUpscaler, ModelRef, Place, Request};

use super::House;
use crate::library::records::{Target, TaskId, now};
use crate::studio::command::{ModelsCommand, QueueCommand};
use crate::studio::log::Level;
use crate::studio::queue::{Progress, Stage, Task, TaskHead};

/// Whether a job needs a model.
fn needs(request: &Request, model: &ModelRef) -> bool {
    std::iter::once(request.model())
        .chain(added(request))
        .any(|needed| needed.name == model.name)
}

/// What is added to the model: LoRAs, an autoencoder, ControlNets, an upscaler.
fn added(request: &Request) -> impl Iterator<Item = &ModelRef> {
    let image = match request {
        Request::Image(request) => Some(request),
        Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => None,
    };
    image.into_iter().flat_map(|request| {
        let loras = request.loras.iter().map(|lora| &lora.model);
        let controls = request.controls.iter().map(|control| &control.model);
        let upscaler = request
            .hires
            .iter()
            .filter_map(|hires| match &hires.upscaler {
                HiresUpscaler::Model(model) => Some(model),
                HiresUpscaler::Latent | HiresUpscaler::Lanczos => None,
            });
        loras.chain(&request.vae).chain(controls).chain(upscaler)
    })
}

impl House {
    /// Queues a job. It is in the library before the engine is told.
    pub fn submit(&mut self, request: Request, target: Target, front: bool) -> TaskId {
        self.submit_branch(request, target, front, None)
    }

    /// As [`House::submit`], of a picture that goes on from a step of another one.
    pub fn submit_branch(
        &mut self,
        request: Request,
        target: Target,
        front: bool,
        branch_state: Option<Arc<[u8]>>,
    ) -> TaskId {
        let id = TaskId::new();
        let task = Task {
            head: TaskHead {
                id,
                request: Arc::new(request),
                target,
            },
            stage: Stage::Waiting,
            progress: Progress::default(),
            warnings: Vec::new(),
            created: now(),
            position: self.queue.last_position(),
            job: None,
            checkpoint: None,
            branch_state,
            unsaved_checkpoint: None,
        };
        self.queue.push(task);
        if front {
            let to = self.queue.begun();
            self.queue.move_to(id, to);
        }
        if let Some(task) = self.queue.get(id) {
            self.save_task(task);
        }
        self.give_to_engine(id);
        id
    }

    /// Gives a job to the engine, if its model is known there.
    pub(super) fn give_to_engine(&mut self, id: TaskId) {
        let Some(index) = self.queue.index(id) else {
            return;
        };
        if self.session.is_none() {
            return;
        }
        let Some(task) = self.queue.tasks().get(index) else {
            return;
        };
        let request = &task.head.request;
        let known = std::iter::once(request.model())
            .chain(added(request))
            .all(|model| self.shelf.find(model).is_some());
        if task.job.is_some() || task.stage != Stage::Waiting || !(known || self.shelf.ready) {
            return;
        }
        if !self.send_inputs(id) {
            return;
        }
        let Some(task) = self.queue.get(id) else {
            return;
        };
        let Some(session) = &self.session else {
            return;
        };
        let job = session.next_job();
        let command = match (&task.checkpoint, &task.branch_state, &*task.head.request) {
            (Some(checkpoint), ..) => Command::Resume {
                job,
                checkpoint: checkpoint.clone(),
            },
            (None, Some(state), Request::Image(request)) => Command::Branch {
                job,
                step_state: state.clone(),
                request: Box::new(request.clone()),
            },
            _ => Command::Submit {
                job,
                request: Box::new((*task.head.request).clone()),
                place: Place::Back,
            },
        };
        if !self.send(command) {
            return;
        }
        if let Some(task) = self.queue.get_mut(id) {
            task.job = Some(job);
        }
        // The engine's order is that of the queue.
        let tasks = self.queue.tasks();
        let at_engine = |tasks: &[Task]| tasks.iter().filter(|task| task.job.is_some()).count();
        let to = at_engine(tasks.get(..index).unwrap_or_default());
        if to + 1 < at_engine(tasks) {
            self.send(Command::Move { job, to });
        }
    }

    /// Gives the engine everything that waits for it.
    pub(super) fn give_all(&mut self) {
        let waiting: Vec<TaskId> = self
            .queue
            .tasks()
            .iter()
            .filter(|task| task.job.is_none() && task.stage == Stage::Waiting)
            .map(|task| task.head.id)
            .collect();
        for id in waiting {
            self.give_to_engine(id);
        }
    }

    /// Takes in what the engine says of a job. Gives the job's head, and the job itself if this is its end.
    pub(in crate::studio) fn hear(&mut self, event: &Event) -> Option<(TaskHead, Option<Task>)> {
        let job = event.job()?;
        let task = self.queue.of_job(job)?;
        let before = task.stage.clone();
        task.hear(event);
        let head = task.head.clone();
        let changed = std::mem::discriminant(&before) != std::mem::discriminant(&task.stage);
        match event {
            Event::Finished { .. } | Event::Cancelled { .. } => {
                let ended = self.queue.remove(head.id);
                if self.again.iter().any(|task| task.head.id == head.id) {
                    self.command(QueueCommand::BeginAgain);
                }
                self.send(Command::ReportMemory);
                self.tidy_inputs();
                return Some((head, ended));
            }
            Event::Failed { failure, .. } => {
                task.stage = Stage::Failed(failure.message.clone());
                task.job = None;
                task.checkpoint = None;
                task.progress.started = None;
                let task = task.clone();
                self.save_task(&task);
                self.send(Command::ReportMemory);
                self.tidy_inputs();
                return Some((head, None));
            }
            _ => {}
        }
        if changed && let Some(task) = self.queue.get(head.id) {
            let running = task.stage == Stage::Running;
            self.save_task(task);
            if running {
                // A model may just have been loaded, and others put out for it.
                self.send(Command::ReportMemory);
            }
        }
        Some((head, None))
    }

    pub(in crate::studio) fn forget(&self, id: TaskId) {
        self.forget_task(id);
    }

    /// Does what a person wants of a job. Gives the job back if it ended by that without the engine's help.
    pub(in crate::studio) fn run_queue(&mut self, command: QueueCommand) -> Option<Task> {
        match command {
            QueueCommand::Cancel(id) => return self.cancel(id),
            QueueCommand::Pause(id) => {
                let task = self.queue.get_mut(id)?;
                match task.job {
                    Some(job) => {
                        self.send(Command::Pause(job));
                    }
                    None => {
                        task.stage = Stage::Paused;
                        let task = task.clone();
                        self.save_task(&task);
                    }
                }
            }
            QueueCommand::Resume(id) => self.resume(id),
            QueueCommand::Move(id, to) => {
                let at_engine = self.queue.move_to(id, to)?;
                let task = self.queue.get(id)?;
                let job = task.job;
                self.save_task(task);
                if let Some(job) = job {
                    self.send(Command::Move { job, to: at_engine });
                }
            }
            QueueCommand::PauseAll => {
                self.queue.all_paused = true;
                self.send(Command::PauseAll);
            }
            QueueCommand::ResumeAll => {
                self.queue.all_paused = false;
                self.send(Command::UnpauseAll);
                let ids: Vec<TaskId> = self
                    .queue
                    .tasks()
                    .iter()
                    .filter(|task| matches!(task.stage, Stage::Interrupted | Stage::Paused))
                    .map(|task| task.head.id)
                    .collect();
                for id in ids {
                    self.resume(id);
                }
            }
            QueueCommand::CancelAll => {
                let ids: Vec<TaskId> = self.queue.tasks().iter().map(|task| task.head.id).collect();
                self.again.clear();
                self.cancelled = self.queue.tasks().to_vec();
                let title = match ids.len() {
                    1 => "1 job stopped".to_owned(),
                    count => format!("{count} jobs stopped"),
                };
                for id in ids.into_iter().rev() {
                    self.command(QueueCommand::Cancel(id));
                }
                let undo = ("Undo".to_owned(), QueueCommand::UndoCancelAll.into());
                self.log.notify_with(Level::Info, title, "", Some(undo));
            }
            QueueCommand::UndoCancelAll => {
                self.again.append(&mut self.cancelled);
                self.begin_again();
            }
            QueueCommand::BeginAgain => self.begin_again(),
        }
        None
    }

    /// Has jobs that were ended done all the same. Those that the engine has not ended yet follow when it has.
    fn begin_again(&mut self) {
        for task in std::mem::take(&mut self.again) {
            if self.queue.get(task.head.id).is_some() {
                self.again.push(task);
                continue;
            }
            let id = task.head.id;
            let task = Task {
                stage: Stage::Waiting,
                progress: Progress {
                    done: task.progress.done,
                    total: task.progress.total,
                    ..Progress::default()
                },
                position: self.queue.last_position(),
                job: None,
                unsaved_checkpoint: None,
                ..task
            };
            self.save_task(&task);
            self.queue.push(task);
            self.give_to_engine(id);
        }
    }

    pub(super) fn cancel(&mut self, id: TaskId) -> Option<Task> {
        let task = self.queue.get(id)?;
        if let Some(job) = task.job {
            // The engine answers with what there is so far.
            self.send(Command::Cancel(job));
            return None;
        }
        self.forget_task(id);
        self.queue.remove(id)
    }

    pub(super) fn resume(&mut self, id: TaskId) {
        let Some(task) = self.queue.get_mut(id) else {
            return;
        };
        if let (Some(job), Stage::Paused) = (task.job, &task.stage) {
            self.send(Command::Unpause(job));
            return;
        }
        if task.job.is_some() {
            return;
        }
        task.stage = Stage::Waiting;
        task.warnings.clear();
        let task = task.clone();
        self.save_task(&task);
        self.give_to_engine(id);
    }

    /// Whether a model's memory can be given back now.
    ///
    /// # Errors
    /// Why not.
    pub fn can_unload(&self, model: &ModelRef) -> Result<(), String> {
        if !self.loaded.iter().any(|loaded| loaded.name == model.name) {
            return Err("It is not in memory".to_owned());
        }
        let begun = |task: &Task| task.job.is_some() && task.stage != Stage::Waiting;
        let mut tasks = self.queue.tasks().iter();
        match tasks.any(|task| begun(task) && needs(&task.head.request, model)) {
            true => Err("A job needs it; stop the job first".to_owned()),
            false => Ok(()),
        }
    }

    /// Whether a command about models can be done now.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::studio) fn models_available(
        &self,
        command: &ModelsCommand,
    ) -> Result<(), String> {
        match command {
            ModelsCommand::Unload(model) => self.can_unload(model),
            ModelsCommand::UnloadAll if self.loaded.is_empty() => {
                Err("No model is in memory".to_owned())
            }
            ModelsCommand::UnloadAll => {
                let mut all = self.loaded.iter().map(|model| self.can_unload(model));
                all.find(Result::is_ok).unwrap_or_else(|| {
                    Err("Jobs need all that is in memory; stop them first".to_owned())
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether a command about jobs can be done now.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::studio) fn queue_available(&self, command: &QueueCommand) -> Result<(), String> {
        let none = self.queue.tasks().is_empty();
        match command {
            QueueCommand::CancelAll | QueueCommand::PauseAll if none => {
                Err("Nothing runs or waits".to_owned())
            }
            QueueCommand::PauseAll if self.queue.all_paused => {
                Err("All jobs are paused already".to_owned())
            }
            _ => Ok(()),
        }
    }
}
