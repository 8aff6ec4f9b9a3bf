//! Jobs as the studio sees them: what runs, what waits, what is left of an earlier run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych_inference::engine::{Event, JobId, Picture, Request};

use crate::library::records::{Millis, Target, TaskId};

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// Its model is being loaded.
    Loading {
        /// The model's name.
        model: String,
        /// Bytes of its weights.
        bytes: u64,
    },
    /// It runs.
    Running,
    /// The person put it to sleep.
    Paused,
    /// An earlier run of the program left it; it waits for the person's word.
    Interrupted,
    /// It failed; it waits for the person's word: try again or give up.
    Failed(String),
}

impl Stage {
    /// In a word.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Loading { .. } => "Loading the model",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Interrupted => "Interrupted",
            Self::Failed(_) => "Failed",
        }
    }

    /// Whether it will go on by itself.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Waiting | Self::Loading { .. } | Self::Running)
    }
}

/// What a job has done.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Steps done, or tokens written.
    pub done: u32,
    /// Steps in all; 0 where nobody knows.
    pub total: u32,
    /// Seconds of a step, smoothed.
    pub step_seconds: Option<f32>,
    /// When it began to run, in this run of the program.
    pub started: Option<Instant>,
    /// When the first token came.
    pub first_token: Option<Instant>,
    /// What the picture looks like so far, small.
    pub preview: Option<Arc<Picture>>,
}

impl Progress {
    /// 0 to 1, where it is known.
    pub fn share(&self) -> Option<f32> {
        (self.total > 0).then(|| (self.done as f32 / self.total as f32).min(1.0))
    }

    /// Time until the end, where it can be told.
    pub fn left(&self) -> Option<Duration> {
        let seconds = self.step_seconds? * self.total.checked_sub(self.done)? as f32;
        (self.total > 0).then(|| Duration::from_secs_f32(seconds.clamp(0.0, 1e6)))
    }

    /// Tokens a second since the first one.
    pub fn tokens_per_second(&self, now: Instant) -> Option<f32> {
        let seconds = now.duration_since(self.first_token?).as_secs_f32();
        (self.done > 1 && seconds > 0.0).then(|| (self.done - 1) as f32 / seconds)
    }

    fn step(&mut self, index: u32, total: u32, seconds: f32) {
        self.done = index;
        self.total = total;
        // The first step also warms caches up; later ones tell more.
        self.step_seconds = Some(match self.step_seconds {
            Some(old) if index > 2 => old * 0.7 + seconds * 0.3,
            _ => seconds,
        });
    }
}

/// Which job something is about.
#[derive(Clone, Debug)]
pub struct TaskHead {
    /// Its number.
    pub id: TaskId,
    /// What is to be done.
    pub request: Arc<Request>,
    /// Where the result goes.
    pub target: Target,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Task {
    /// Number, request, target.
    pub head: TaskHead,
    /// How far it is.
    pub stage: Stage,
    /// What it has done.
    pub progress: Progress,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// When it was queued.
    pub created: Millis,
    /// Place among the kept jobs; lower ones come first.
    pub position: f64,
    /// Its number at the engine, once it was given there.
    pub(super) job: Option<JobId>,
    /// What the engine needs to go on with it.
    pub(super) checkpoint: Option<Arc<[u8]>>,
    /// Where a branch begins, until it has a checkpoint of its own; without it, it is drawn from its beginning, to the same picture.
    pub(super) branch_state: Option<Arc<[u8]>>,
    /// If the checkpoint is to be given to the library: steps done in it, and in all.
    pub(super) unsaved_checkpoint: Option<(u32, u32)>,
}

impl Task {
    /// Whether it draws.
    pub fn is_picture(&self) -> bool {
        matches!(*self.head.request, Request::Image(_))
    }

    /// Whether a picture comes of it, drawn or made larger.
    pub fn makes_picture(&self) -> bool {
        matches!(*self.head.request, Request::Image(_) | Request::Upscale(_))
    }

    /// What it is about: the prompt, or the last words of the person.
    pub fn title(&self) -> &str {
        title(&self.head.request)
    }

    /// Takes in what the engine says of it.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Started { .. } => {
                self.stage = Stage::Running;
                self.progress.started.get_or_insert_with(Instant::now);
                if self.checkpoint.is_none() {
                    // From the beginning, perhaps once more: by another engine.
                    self.progress.done = 0;
                    self.progress.first_token = None;
                }
            }
            Event::Loading { model, bytes, .. } => {
                self.stage = Stage::Loading {
                    model: model.clone(),
                    bytes: *bytes,
                };
            }
            Event::Warning { message, .. } if !self.warnings.contains(message) => {
                self.warnings.push(message.clone());
            }
            Event::Step {
                index,
                total,
                seconds,
                preview,
                ..
            } => {
                self.run_again();
                self.progress.step(*index, *total, *seconds);
                if let Some(preview) = preview {
                    self.progress.preview = Some(preview.clone());
                }
            }
            Event::Tokens { tokens, .. } => {
                self.run_again();
                self.progress.first_token.get_or_insert_with(Instant::now);
                let count = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                self.progress.done = self.progress.done.saturating_add(count);
            }
            Event::Paused { paused, .. } => {
                self.stage = match (paused, self.progress.started) {
                    (true, _) => Stage::Paused,
                    (false, Some(_)) => Stage::Running,
                    (false, None) => Stage::Waiting,
                };
            }
            Event::Checkpoint { bytes, .. } => {
                self.checkpoint = Some(bytes.clone());
                self.unsaved_checkpoint = Some((self.progress.done, self.progress.total));
            }
            _ => {}
        }
    }

    /// A step of a job that is being put to sleep does not wake it.
    fn run_again(&mut self) {
        if self.stage != Stage::Paused {
            self.stage = Stage::Running;
        }
    }
}

/// What a request is about, in its own words.
pub fn title(request: &Request) -> &str {
    use diptych_inference::engine::ChatPrompt;
    let prompt = match request {
        Request::Image(request) => return &request.prompt,
        Request::Upscale(request) => return &request.model.name,
        Request::Chat(request) => &request.prompt,
        Request::Score(request) => &request.prompt,
    };
    match prompt {
        ChatPrompt::Messages(messages) => messages
            .last()
            .map_or("", |message| message.content.as_str()),
        ChatPrompt::Raw(text) => text,
    }
}

/// All jobs that are not done, in their order.
#[derive(Debug, Default)]
pub struct Queue {
    tasks: Vec<Task>,
    /// Whether no job runs until the person says so.
    pub all_paused: bool,
}

impl Queue {
    /// The jobs in their order.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// A job.
    pub fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.head.id == id)
    }

    /// The job that runs now.
    pub fn running(&self) -> Option<&Task> {
        self.tasks
            .iter()
            .find(|task| matches!(task.stage, Stage::Running | Stage::Loading { .. }))
    }

    /// Jobs that run or wait for their turn.
    pub fn live(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.stage.is_live())
    }

    /// The jobs of a target, in their order.
    pub fn of_target<'a>(
        &'a self,
        wanted: impl Fn(&Target) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Task> {
        self.tasks
            .iter()
            .filter(move |task| wanted(&task.head.target))
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.head.id == id)
    }

    pub(super) fn of_job(&mut self, job: JobId) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.job == Some(job))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.tasks.iter_mut()
    }

    pub(super) fn push(&mut self, task: Task) {
        self.tasks.push(task);
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        let index = self.index(id)?;
        Some(self.tasks.remove(index))
    }

    pub(super) fn index(&self, id: TaskId) -> Option<usize> {
        self.tasks.iter().position(|task| task.head.id == id)
    }

    /// A position behind all.
    pub(super) fn last_position(&self) -> f64 {
        self.tasks
            .last()
            .map_or(1.0, |task| task.position.floor() + 1.0)
    }

    /// Jobs at the head of the queue that have begun; what is moved to the front comes behind them.
    pub(super) fn begun(&self) -> usize {
        self.tasks
            .iter()
            .take_while(|task| matches!(task.stage, Stage::Running | Stage::Loading { .. }))
            .count()
    }

    /// Moves a job to an index and gives it a position between its new neighbours. Returns its index among those that the
    /// engine has.
    pub(super) fn move_to(&mut self, id: TaskId, to: usize) -> Option<usize> {
        let task = self.remove(id)?;
        let to = to.min(self.tasks.len());
        self.tasks.insert(to, task);
        let before = to.checked_sub(1).and_then(|index| self.tasks.get(index));
        let after = self.tasks.get(to + 1);
        let position = match (before, after) {
            (Some(before), Some(after)) => f64::midpoint(before.position, after.position),
            (Some(before), None) => before.position + 1.0,
            (None, Some(after)) => after.position - 1.0,
            (None, None) => 1.0,
        };
        let at_engine = self.tasks[..to]
            .iter()
            .filter(|task| task.job.is_some())
            .count();
        if let Some(task) = self.tasks.get_mut(to) {
            task.position = position;
        }
        Some(at_engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diptych_inference::engine::{ChatPrompt, ChatRequest, ModelRef};

    fn task(position: f64, job: Option<u64>) -> Task {
        Task {
            head: TaskHead {
                id: TaskId::new(),
                request: Arc::new(Request::Chat(ChatRequest::new(
                    ModelRef::named("muse"),
                    ChatPrompt::Raw(String::new()),
                ))),
                target: Target::Gallery,
            },
            stage: Stage::Waiting,
            progress: Progress::default(),
            warnings: Vec::new(),
            created: 0,
            position,
            job: job.map(JobId),
            checkpoint: None,
            branch_state: None,
            unsaved_checkpoint: None,
        }
    }

    #[test]
    fn moved_jobs_lie_between_their_neighbours() {
        let mut queue = Queue::default();
        for (position, job) in [(1.0, Some(1)), (2.0, None), (3.0, Some(2)), (4.0, Some(3))] {
            queue.push(task(position, job));
        }
        let last = queue.tasks()[3].head.id;
        assert_eq!(queue.move_to(last, 1), Some(1));
        let positions: Vec<_> = queue.tasks().iter().map(|task| task.position).collect();
        assert_eq!(positions, [1.0, 1.5, 2.0, 3.0]);
        assert_eq!(queue.move_to(last, 99), Some(2));
        assert!(queue.tasks()[3].position > 3.0);
        assert_eq!(queue.move_to(last, 0), Some(0));
        assert!(queue.tasks()[0].position < 1.0);
    }

    #[test]
    fn time_left_follows_the_steps() {
        let mut progress = Progress::default();
        assert_eq!(progress.left(), None);
        progress.step(1, 10, 5.0);
        progress.step(2, 10, 1.0);
        assert_eq!(progress.left(), Some(Duration::from_secs(8)));
        assert_eq!(progress.share(), Some(0.2));
    }
}
