//! The engine's thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::handle::EngineOptions;
use super::outbox::Outbox;
use super::protocol::{Command, Event, Failure, FoundModel, JobId, Place};
use super::queue::Queue;
use super::registry::Registry;
use super::request::Request;
use crate::graph::{ExecError, Executor, Interrupt};
use crate::pipelines::{self, Context, JobError, ModelStore, Pipeline, Progress};

/// How often a full outbox is tried again while there is nothing else to do.
const RETRY: Duration = Duration::from_millis(5);
/// How long the last events are offered to a client that does not take them.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A job and how far it is.
struct Job {
    pipeline: Box<dyn Pipeline>,
    is_chat: bool,
    started: bool,
    /// Times in a row that the device was lost under this job; a job that kills every device must not run forever.
    losses: u32,
}

/// Commands as they come, and those which were read while a job was running.
struct Inbox {
    receiver: Receiver<Command>,
    waiting: VecDeque<Command>,
    closed: bool,
}

impl Inbox {
    /// Reads what has come without waiting.
    fn fill(&mut self) {
        loop {
            match self.receiver.try_recv() {
                Ok(command) => self.waiting.push_back(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Waits for a command.
    fn wait(&mut self, timeout: Duration) {
        match self.receiver.recv_timeout(timeout) {
            Ok(command) => self.waiting.push_back(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.closed = true,
        }
    }
}

/// Ends the running job's work within a step when a command that concerns it has come.
struct Watch<'a> {
    inbox: &'a mut Inbox,
    job: JobId,
}

impl Interrupt for Watch<'_> {
    fn poll(&mut self) -> bool {
        self.inbox.fill();
        self.inbox.closed
            || self.inbox.waiting.iter().any(|command| match command {
                Command::Cancel(job) => *job == self.job,
                Command::Shutdown => true,
                _ => false,
            })
    }
}

struct Worker {
    inbox: Inbox,
    outbox: Outbox,
    queue: Queue<Job>,
    store: ModelStore,
    options: EngineOptions,
    questions: questions::Questions,
    /// The job that was advanced last.
    busy: Option<JobId>,
}

fn open(options: &EngineOptions) -> Result<Box<dyn Executor>, ExecError> {
    pipelines::open_executor(
        options.device,
        options.memory_budget,
        options.cache.as_deref(),
    )
}

/// Body of the engine's thread.
pub fn run(options: &EngineOptions, commands: Receiver<Command>, mut outbox: Outbox) {
    let executor = match catch_unwind(|| open(options)) {
        Ok(Ok(executor)) => executor,
        Ok(Err(error)) => {
            outbox.push(Event::StartFailed(Failure {
                message: error.to_string(),
                bug: false,
            }));
            return;
        }
        Err(panic) => {
            let message = format!("opening the device failed: {}", panic_text(panic.as_ref()));
            outbox.push(Event::StartFailed(Failure { message, bug: true }));
            return;
        }
    };
    outbox.push(Event::Ready {
        executor: executor.kind(),
        device: executor.device_name(),
    });
    let mut store = ModelStore::new(executor, Registry::default(), options.assets.clone());
    store.set_kv_choice(options.kv_type);
    store.set_longest_context(options.longest_context);
    store.keep_hashes_in(options.cache.clone());
    let inbox = Inbox {
        receiver: commands,
        waiting: VecDeque::new(),
        closed: false,
    };
    Worker {
        inbox,
        outbox,
        queue: Queue::default(),
        store,
        options: options.clone(),
        questions: questions::Questions::default(),
        busy: None,
    }
    .run();
}

impl Worker {
    fn run(mut self) {
        loop {
            self.inbox.fill();
            while let Some(command) = self.inbox.waiting.pop_front() {
                if matches!(command, Command::Shutdown) {
                    return self.stop();
                }
                self.apply(command);
            }
            if self.inbox.closed || self.outbox.is_closed() {
                return self.stop();
            }
            let all_sent = self.outbox.flush();
            let asked = self.answer_questions();
            // Tokens before denoising steps: a person reads along.
            let next = self
                .queue
                .next_where(|job| job.is_chat)
                .or_else(|| self.queue.next_where(|_| true));
            if let Some(busy) = self.busy.take_if(|busy| next != Some(*busy)) {
                self.rest(busy);
                continue;
            }
            match next {
                Some(job) => {
                    self.busy = Some(job);
                    self.advance_answers(job);
                }
                None if asked => {}
                None => self.inbox.wait(if all_sent {
                    Duration::from_secs(3600)
                } else {
                    RETRY
                }),
            }
        }
    }

    fn add_models(&mut self, add: impl FnOnce(&mut Registry) -> Vec<FoundModel>) {
        let found = catch_unwind(AssertUnwindSafe(|| add(self.store.registry_mut())));
        let found = found.unwrap_or_else(|panic| {
            let panic = panic_text(panic.as_ref());
            tracing::error!("looking for models failed: {panic}");
            Vec::new()
        });
        self.outbox.push(Event::Models(found));
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::AddModels(paths) => self.add_models(|registry| registry.add(&paths)),
            Command::AddParts(parts) => {
                self.add_models(|registry| vec![registry.add_parts(&parts)]);
            }
            Command::Blob { hash, data } => {
                let queue = &self.queue;
                let needed = |hash: &str| queue.contents().any(|job| job.pipeline.needs_blob(hash));
                self.store.insert_blob(hash, data, &needed);
            }
            Command::Submit {
                job,
                request,
                place,
            } => {
                let is_chat = matches!(*request, Request::Chat(_));
                self.enqueue(job, pipelines::start(*request), is_chat, place);
            }
            Command::Resume { job, checkpoint } => match pipelines::resume(&checkpoint) {
                Ok((pipeline, is_chat)) => self.enqueue(job, pipeline, is_chat, Place::Back),
                Err(error) => self.fail(job, error.to_string(), false),
            },
            Command::Branch {
                job,
                step_state,
                request,
            } => match pipelines::branch(&step_state, *request) {
                Ok(pipeline) => self.enqueue(job, pipeline, false, Place::Back),
                Err(error) => self.fail(job, error.to_string(), false),
            },
            Command::Cancel(job) => {
                if let Some(mut content) = self.queue.remove(job) {
                    let partial = self.partial(job, content.pipeline.as_mut());
                    content.pipeline.release(&mut self.store);
                    self.outbox.push(Event::Cancelled { job, partial });
                    self.queue_changed();
                }
            }
            Command::Pause(job) => self.set_paused(job, true),
            Command::Unpause(job) => self.set_paused(job, false),
            Command::PauseAll => self.queue.set_all_paused(true),
            Command::UnpauseAll => self.queue.set_all_paused(false),
            Command::Move { job, to } => {
                if self.queue.move_to(job, to) {
                    self.queue_changed();
                }
            }
            Command::Unload(model) => {
                self.store.unload(&model);
                self.report_memory();
            }
            Command::Measure { tag, request } => self.questions.measure(tag, request),
            Command::Tokenize { tag, model, text } => self.tokenize(tag, &model, &text),
            Command::Distribution { tag, request } => self.questions.distribution(tag, *request),
            Command::ReportMemory => self.report_memory(),
            // Taken care of before.
            Command::Shutdown => {}
        }
    }

    fn report_memory(&mut self) {
        self.outbox.push(Event::Memory(self.store.memory()));
        self.outbox.push(Event::Loaded(self.store.loaded()));
    }

    fn set_paused(&mut self, job: JobId, paused: bool) {
        if self.queue.set_paused(job, paused) {
            self.outbox.push(Event::Paused { job, paused });
        }
    }

    fn enqueue(&mut self, job: JobId, pipeline: Box<dyn Pipeline>, is_chat: bool, place: Place) {
        let content = Job {
            pipeline,
            is_chat,
            started: false,
            losses: 0,
        };
        match self.queue.insert(job, content, place) {
            Some(place) => {
                self.outbox.push(Event::Queued { job, place });
                self.queue_changed();
            }
            None => tracing::error!(
                "job number {} is in use; the later job was not taken",
                job.0
            ),
        }
    }

    fn queue_changed(&mut self) {
        let order = self.queue.order();
        self.outbox.push(Event::QueueChanged(order));
    }

    /// What a job has made so far; a panic while gathering it only loses the partial result.
    fn partial(&mut self, job: JobId, pipeline: &mut dyn Pipeline) -> Option<super::Outcome> {
        let Self {
            inbox,
            outbox,
            store,
            ..
        } = self;
        let mut watch = Watch { inbox, job };
        let mut context = Context {
            job,
            store,
            outbox,
            interrupt: &mut watch,
        };
        catch_unwind(AssertUnwindSafe(|| pipeline.partial(&mut context)))
            .ok()
            .flatten()
    }

    fn advance(&mut self, job: JobId) {
        let Self {
            inbox,
            outbox,
            store,
            queue,
            ..
        } = self;
        let Some(content) = queue.get_mut(job) else {
            return;
        };
        if !content.started {
            content.started = true;
            outbox.push(Event::Started { job });
        }
        let mut watch = Watch { inbox, job };
        let mut context = Context {
            job,
            store,
            outbox,
            interrupt: &mut watch,
        };
        let result = catch_unwind(AssertUnwindSafe(|| content.pipeline.step(&mut context)));
        self.settle(job, result);
    }

    /// A job that does not go on just now leaves nothing under way.
    fn rest(&mut self, job: JobId) {
        let Self {
            inbox,
            outbox,
            store,
            queue,
            ..
        } = self;
        let Some(content) = queue.get_mut(job) else {
            return;
        };
        let mut watch = Watch { inbox, job };
        let mut context = Context {
            job,
            store,
            outbox,
            interrupt: &mut watch,
        };
        let result = catch_unwind(AssertUnwindSafe(|| content.pipeline.rest(&mut context)));
        match result {
            Ok(Ok(())) => {}
            other => self.settle(job, other.map(|result| result.map(|()| Progress::Working))),
        }
    }

    /// Draws the consequences of a step.
    fn settle(&mut self, job: JobId, result: std::thread::Result<Result<Progress, JobError>>) {
        match result {
            Ok(Ok(Progress::Working)) => {
                if let Some(content) = self.queue.get_mut(job) {
                    content.losses = 0;
                }
            }
            Ok(Ok(Progress::Finished(outcome))) => {
                self.forget(job);
                self.outbox.push(Event::Finished { job, outcome });
                self.queue_changed();
            }
            // The command that stopped the step waits in the inbox and is applied next.
            Ok(Err(JobError::Exec(ExecError::Interrupted))) => {}
            Ok(Err(JobError::Exec(ExecError::DeviceLost { reason }))) => {
                self.count_loss(job, &reason);
                self.rebuild(reason);
            }
            Ok(Err(error)) => {
                self.forget(job);
                self.fail(job, error.to_string(), false);
            }
            Err(panic) => {
                let message = format!("an error in Diptych itself: {}", panic_text(panic.as_ref()));
                // What the panic left behind in the models' plans is not to be trusted.
                self.store.reset();
                self.forget(job);
                self.fail(job, message, true);
            }
        }
    }

    /// Ends a job under which the device is lost again and again.
    fn count_loss(&mut self, job: JobId, reason: &str) {
        let Some(content) = self.queue.get_mut(job) else {
            return;
        };
        content.losses += 1;
        if content.losses > 2 {
            let message =
                format!("the graphics device was lost three times under this job ({reason})");
            self.forget(job);
            self.fail(job, message, false);
        }
    }

    fn forget(&mut self, job: JobId) {
        if let Some(mut content) = self.queue.remove(job) {
            content.pipeline.release(&mut self.store);
        }
    }

    fn fail(&mut self, job: JobId, message: String, bug: bool) {
        tracing::error!(job = job.0, "{message}");
        self.outbox.push(Event::Failed {
            job,
            failure: Failure { message, bug },
        });
        self.queue_changed();
    }

    /// Opens the device anew after it was lost; jobs go on from their last step.
    fn rebuild(&mut self, reason: String) {
        self.outbox.push(Event::DeviceLost { reason });
        let opened = catch_unwind(|| open(&self.options));
        match opened {
            Ok(Ok(executor)) => {
                let device = executor.device_name();
                self.store.replace_executor(executor);
                for content in self.queue.contents_mut() {
                    content.pipeline.device_lost();
                }
                self.questions.device_lost();
                self.outbox.push(Event::DeviceRebuilt { device });
            }
            Ok(Err(error)) => self.fail_all(&format!(
                "the graphics device was lost and cannot be opened again: {error}"
            )),
            Err(_) => self.fail_all("the graphics device was lost and cannot be opened again"),
        }
    }

    fn fail_all(&mut self, message: &str) {
        for (job, _) in self.queue.drain() {
            self.fail(job, message.to_owned(), false);
        }
    }

    fn stop(mut self) {
        for (job, _) in self.queue.drain() {
            self.outbox.push(Event::Cancelled { job, partial: None });
        }
        self.outbox.push(Event::Stopped);
        let deadline = Instant::now() + LAST_WORDS;
        while !self.outbox.flush() && Instant::now() < deadline {
            std::thread::sleep(RETRY);
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
mod eviction_tests;
#[cfg(test)]
#[path = "foresight_tests.rs"]
mod foresight_tests;
#[cfg(test)]
#[path = "memory_tests.rs"]
mod memory_tests;
#[path = "questions.rs"]
mod questions;
#[cfg(test)]
#[path = "resident_tests.rs"]
mod resident_tests;
#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
#[path = "together.rs"]
mod together;
