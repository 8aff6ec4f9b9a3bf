//! What the command line tells the library: the jobs that it works at, and the pictures that it made. A library that cannot
//! be written is said once, and hinders nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych_inference::engine::{ImageRequest, Picture, Request};

use super::args::Global;
use super::out;
use crate::folders;
use crate::library::records::{PictureId, Target, TaskId, TaskRecord, TaskState, now};
use crate::library::{self, Library, NewPicture};

/// How often the library is told how far a job is.
const BETWEEN_STEPS: Duration = Duration::from_secs(1);

/// The library, as long as it takes what it is told.
pub struct Recorder {
    library: Option<Library>,
    /// Jobs in their order; those that are done are forgotten by the library.
    tasks: Vec<TaskRecord>,
    running: Option<TaskId>,
    told: Instant,
    /// Whether trouble was said.
    warned: bool,
}

impl Recorder {
    /// Tells nobody anything.
    pub fn none() -> Self {
        Self {
            library: None,
            tasks: Vec::new(),
            running: None,
            told: Instant::now(),
            warned: false,
        }
    }

    /// Opens the library and puts the jobs into its queue: each a request, and the file that its picture will go to.
    pub fn start(global: &Global, jobs: impl Iterator<Item = (ImageRequest, PathBuf)>) -> Self {
        let mut recorder = Self::none();
        let opened = folders::data(global.data_dir.as_deref())
            .map_err(|error| error.to_string())
            .and_then(|folder| Library::open(&folder, "draw").map_err(|error| error.to_string()));
        let mut library = match opened {
            Ok(library) => library,
            Err(error) => {
                recorder.warn(&error);
                return recorder;
            }
        };
        for notice in library.take_notices() {
            out::remark(&format!("note: {notice}"));
        }
        let session = library.session();
        let job = |(request, path): (ImageRequest, PathBuf)| TaskRecord {
            id: TaskId::new(),
            session,
            request: Request::Image(request),
            // Records are JSON, which has no other names than those in Unicode.
            target: Target::File {
                path: whole(&path).to_string_lossy().into_owned().into(),
            },
            state: TaskState::Waiting,
            position: 0.0,
            progress: None,
            checkpoint: None,
            created: now(),
        };
        recorder.tasks = jobs.map(job).collect();
        for (place, task) in (1u32..).zip(&mut recorder.tasks) {
            task.position = f64::from(place);
        }
        let tasks = &recorder.tasks;
        let told =
            library.together(|library| tasks.iter().try_for_each(|task| library.put_task(task)));
        recorder.library = Some(library);
        recorder.check(told);
        recorder
    }

    /// One of the jobs begins; they are counted from 0.
    pub fn begin(&mut self, number: u32) {
        let (Some(library), Some(task)) = (&mut self.library, self.tasks.get_mut(number as usize))
        else {
            return;
        };
        task.state = TaskState::Running;
        self.running = Some(task.id);
        self.told = Instant::now();
        let told = library.put_task(task);
        self.check(told);
    }

    /// How far the running job is.
    pub fn step(&mut self, done: u32, total: u32) {
        if self.told.elapsed() < BETWEEN_STEPS {
            return;
        }
        if let (Some(library), Some(id)) = (&mut self.library, self.running) {
            self.told = Instant::now();
            let told = library.put_checkpoint(id, &[], Some((done, total)));
            self.check(told);
        }
    }

    /// A job is done and its picture is in a file.
    pub fn keep(
        &mut self,
        number: u32,
        picture: &Arc<Picture>,
        request: &ImageRequest,
        steps_done: Option<u32>,
        seconds: f32,
        path: &Path,
    ) {
        self.running = None;
        let Some(library) = &mut self.library else {
            return;
        };
        let kept = library.save_picture(NewPicture {
            id: PictureId::new(),
            picture: Arc::clone(picture),
            request: request.clone(),
            steps_done,
            seconds,
            grid: None,
            origin: None,
            done: self.tasks.get(number as usize).map(|task| task.id),
            file: Some(path.to_owned()),
        });
        self.check(kept.map(|_| ()));
    }

    /// A library that once refused is left alone: the pictures are files all the same.
    fn check(&mut self, told: library::Result<()>) {
        if let Err(error) = told {
            self.warn(&error.to_string());
            self.library = None;
        }
    }

    fn warn(&mut self, error: &str) {
        if !self.warned {
            self.warned = true;
            out::remark(&format!(
                "warning: the pictures are not kept in the history: {error}"
            ));
        }
    }
}

impl Drop for Recorder {
    /// What was not done by now nobody waits for: it failed, which was said, or was stopped. Only a run that was killed
    /// leaves jobs behind.
    fn drop(&mut self) {
        let (Some(library), tasks) = (&mut self.library, &self.tasks) else {
            return;
        };
        let forgotten = library.together(|library| {
            tasks
                .iter()
                .try_for_each(|task| library.remove_task(task.id))
        });
        if let Err(error) = forgotten {
            tracing::warn!("the queue: {error}");
        }
    }
}

/// A name that means the same from everywhere.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
