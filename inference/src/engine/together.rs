//! Answers of one model that are written at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Inbox, JobId, Worker, panic_text};
use crate::engine::protocol::Command;
use crate::graph::{ExecError, Interrupt};
use crate::pipelines::{ChatJob, JobError, MOST_STREAMS, decode_together};

/// Ends the work of several jobs when a command that concerns one of them has come.
struct WatchAll<'a> {
    inbox: &'a mut Inbox,
    jobs: Vec<JobId>,
}

impl Interrupt for WatchAll<'_> {
    fn poll(&mut self) -> bool {
        self.inbox.fill();
        self.inbox.closed
            || self.inbox.waiting.iter().any(|command| match command {
                Command::Cancel(job) => self.jobs.contains(job),
                Command::Shutdown => true,
                _ => false,
            })
    }
}

impl Worker {
    /// Advances `first`, the next answer, and with it all awake answers of the same model, up to [`MOST_STREAMS`]: those that are not yet writing
    /// one by one, so that each finds in the cache what those before it have computed, and those that are writing by a token each, together.
    pub(super) fn advance_answers(&mut self, first: JobId) {
        let group = self.group(first);
        if group.len() < 2 {
            return self.advance(first);
        }
        let decoding = |worker: &mut Self, job: &JobId| {
            let content = worker.queue.get_mut(*job);
            let answer = content.and_then(|content| content.pipeline.as_answer());
            answer.is_some_and(|answer| answer.is_decoding())
        };
        let (writing, beginning): (Vec<JobId>, Vec<JobId>) =
            group.iter().partition(|job| decoding(self, job));
        if let Some(&next) = beginning.first() {
            self.advance(next);
        }
        match writing.as_slice() {
            [] => {}
            [one] => self.advance(*one),
            many => self.advance_together(many),
        }
    }

    /// The answers that may advance together with `first`, in the order of the queue.
    fn group(&mut self, first: JobId) -> Vec<JobId> {
        let name =
            |answer: Option<&mut ChatJob>| answer.map(|answer| answer.model_name().to_owned());
        let Some(model) = self
            .queue
            .get_mut(first)
            .and_then(|content| name(content.pipeline.as_answer()))
        else {
            return vec![first];
        };
        let awake = self.queue.awake_mut();
        awake
            .filter_map(|(job, content)| {
                (name(content.pipeline.as_answer())? == model).then_some(job)
            })
            .take(MOST_STREAMS)
            .collect()
    }

    fn advance_together(&mut self, jobs: &[JobId]) {
        let Self {
            inbox,
            outbox,
            store,
            queue,
            ..
        } = self;
        let mut answers: Vec<(JobId, &mut ChatJob)> = queue
            .awake_mut()
            .filter(|(job, _)| jobs.contains(job))
            .filter_map(|(job, content)| Some((job, content.pipeline.as_answer()?)))
            .collect();
        let mut watch = WatchAll {
            inbox,
            jobs: jobs.to_vec(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            decode_together(&mut answers, store, outbox, &mut watch)
        }));
        match result {
            Ok(Ok(advanced)) if advanced.is_empty() => {
                if let Some(&first) = jobs.first() {
                    self.advance(first);
                }
            }
            Ok(Ok(advanced)) => {
                for (job, result) in advanced {
                    self.settle(job, Ok(result));
                }
            }
            Ok(Err(JobError::Exec(ExecError::DeviceLost { reason }))) => {
                for &job in jobs {
                    self.count_loss(job, &reason);
                }
                self.rebuild(reason);
            }
            // The command that stopped the step waits in the inbox and is applied next.
            Ok(Err(JobError::Exec(ExecError::Interrupted))) => {}
            Ok(Err(error)) => {
                let message = error.to_string();
                for &job in jobs {
                    self.forget(job);
                    self.fail(job, message.clone(), false);
                }
            }
            Err(panic) => {
                let message = format!("an error in Diptych itself: {}", panic_text(panic.as_ref()));
                self.store.reset();
                for &job in jobs {
                    self.forget(job);
                    self.fail(job, message.clone(), true);
                }
            }
        }
    }
}
