//! What the thread answers beside its jobs: the cost of a prompt, and the distribution of a next token.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::request::{ChatRequest, ModelRef};
use super::{Event, JobId, Outbox, Watch, Worker, panic_text};
use crate::graph::ExecError;
use crate::pipelines::{self, Context, DistributionJob, JobError};
use crate::text::sampling::Distribution;

/// Questions of a kind that may wait; the oldest go unanswered beyond that, with an error.
const MOST: usize = 64;
/// The number that stands for no job; clients count from 1.
const NO_JOB: JobId = JobId(0);

/// Questions that wait.
#[derive(Default)]
pub struct Questions {
    ledgers: VecDeque<(u64, Box<ChatRequest>)>,
    distributions: VecDeque<(u64, DistributionJob)>,
}

impl Questions {
    /// Takes a question after the cost of a prompt, in place of an earlier one with the same tag.
    pub fn measure(&mut self, tag: u64, request: Box<ChatRequest>) {
        self.ledgers.retain(|(waiting, _)| *waiting != tag);
        self.ledgers.push_back((tag, request));
    }

    /// Takes a question after a distribution, in place of an earlier one with the same tag that has not begun.
    pub fn distribution(&mut self, tag: u64, request: ChatRequest) {
        let begun = self.distributions.pop_front();
        self.distributions.retain(|(waiting, _)| *waiting != tag);
        if let Some(begun) = begun {
            self.distributions.push_front(begun);
        }
        self.distributions
            .push_back((tag, DistributionJob::new(request)));
    }

    /// The device was replaced.
    pub fn device_lost(&mut self) {
        for (_, job) in &mut self.distributions {
            job.device_lost();
        }
    }
}

impl Worker {
    /// Answers what can be answered at once, and goes on with one distribution by one piece. Returns whether there is more to do.
    pub(super) fn answer_questions(&mut self) -> bool {
        while let Some((tag, request)) = self.questions.ledgers.pop_front() {
            let ledger = match self.questions.ledgers.len() < MOST {
                true => self.guarded(|worker| pipelines::measure(&mut worker.store, &request)),
                false => Err(too_many()),
            };
            self.outbox.push(Event::Measured { tag, ledger });
        }
        if let Some((tag, mut job)) = self.questions.distributions.pop_front() {
            let result = match self.questions.distributions.len() < MOST {
                true => self.think(&mut job),
                false => Some(Err(too_many())),
            };
            match result {
                None => self.questions.distributions.push_front((tag, job)),
                Some(result) => {
                    job.release(&mut self.store);
                    self.outbox.push(Event::Distribution { tag, result });
                }
            }
        }
        !self.questions.distributions.is_empty()
    }

    pub(super) fn tokenize(&mut self, tag: u64, model: &ModelRef, text: &str) {
        let result = self.guarded(|worker| pipelines::count_tokens(&mut worker.store, model, text));
        let at_once = result.as_ref().map_or(None, |(_, at_once)| *at_once);
        let result = result.map(|(tokens, _)| tokens);
        self.outbox.push(Event::Tokenized {
            tag,
            result,
            at_once,
        });
    }

    /// One piece of a distribution; `None` where there are more to come.
    fn think(&mut self, job: &mut DistributionJob) -> Option<Result<Distribution, String>> {
        let Self { inbox, store, .. } = self;
        let mut watch = Watch { inbox, job: NO_JOB };
        // What concerns a job (loading, warnings) is told when the question becomes one.
        let mut outbox = Outbox::nowhere();
        let mut context = Context {
            job: NO_JOB,
            store,
            outbox: &mut outbox,
            interrupt: &mut watch,
        };
        match catch_unwind(AssertUnwindSafe(|| job.step(&mut context))) {
            Ok(Ok(None)) => None,
            Ok(Ok(Some(distribution))) => Some(Ok(distribution)),
            // The engine is about to end.
            Ok(Err(JobError::Exec(ExecError::Interrupted))) => {
                Some(Err("the engine is ending".into()))
            }
            Ok(Err(JobError::Exec(ExecError::DeviceLost { reason }))) => {
                self.rebuild(reason.clone());
                Some(Err(format!(
                    "the graphics device was lost ({reason}); ask again"
                )))
            }
            Ok(Err(error)) => Some(Err(error.to_string())),
            Err(panic) => {
                self.store.reset();
                Some(Err(internal(panic.as_ref())))
            }
        }
    }

    fn guarded<T>(
        &mut self,
        answer: impl FnOnce(&mut Self) -> Result<T, JobError>,
    ) -> Result<T, String> {
        match catch_unwind(AssertUnwindSafe(|| answer(self))) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(panic) => Err(internal(panic.as_ref())),
        }
    }
}

fn too_many() -> String {
    "too many questions wait; ask again".into()
}

fn internal(panic: &(dyn std::any::Any + Send)) -> String {
    format!("an error in Diptych itself: {}", panic_text(panic))
}
