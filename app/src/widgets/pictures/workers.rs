//! The threads that decode and scale. What was wanted last is done first, for that is what a person looks at.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use egui::ColorImage;

use super::decode::{self, Pixels};
use super::resample::{Filter, resample, size_within};
use super::source::{PictureError, PictureSource};

/// Jobs that may wait; beyond them the one that was wanted longest ago is given up.
const MOST_WAITING: usize = 512;

/// What a job makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum JobKey {
    /// A picture with all its levels.
    Pixels(PictureSource),
    /// A small picture that fits a square of so many pixels.
    Thumbnail(PictureSource, usize),
    /// A picture in exactly the size that is shown.
    Fitted(PictureSource, [usize; 2]),
    /// Whether a file changed.
    Modified(PictureSource),
}

/// A job with what is known already.
#[derive(Debug)]
pub(super) struct Job {
    pub key: JobKey,
    /// Pixels of the source, or of the two sources of a difference.
    pub known: [Option<Arc<Pixels>>; 2],
}

/// What a job made.
#[derive(Debug)]
pub(super) enum Product {
    Pixels(Pixels),
    Thumbnail {
        image: ColorImage,
        /// Of the whole picture.
        size: [usize; 2],
        modified: Option<SystemTime>,
    },
    Fitted(ColorImage),
    Modified(Option<SystemTime>),
}

pub(super) type Done = (JobKey, Result<Product, PictureError>);

#[derive(Default)]
struct State {
    /// With the number of the pass in which each was wanted last.
    waiting: Vec<(u64, Job)>,
    done: Vec<Done>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few threads. They end when this is dropped, each after the job it is at.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// Without a single thread the work is done at once by whoever asks for it.
    threads: usize,
}

impl Pool {
    pub(super) fn start(threads: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            wake,
        });
        let started = (0..threads.max(1)).filter(|index| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("diptych-pictures-{index}"))
                .spawn(move || work(&shared))
                .map_err(|error| tracing::warn!("no thread for decoding pictures: {error}"))
                .is_ok()
        });
        let threads = started.count();
        Self { shared, threads }
    }

    /// Queues a job. Gives back what had to be given up for it, to be asked for anew.
    pub(super) fn push(&self, stamp: u64, job: Job) -> Option<JobKey> {
        if self.threads == 0 {
            let done = (job.key.clone(), run(job));
            self.shared.lock().done.push(done);
            (self.shared.wake)();
            return None;
        }
        let mut state = self.shared.lock();
        state.waiting.push((stamp, job));
        let given_up = if state.waiting.len() > MOST_WAITING {
            let oldest = state
                .waiting
                .iter()
                .enumerate()
                .min_by_key(|(_, (stamp, _))| *stamp);
            let index = oldest.map(|(index, _)| index);
            index.map(|index| state.waiting.swap_remove(index).1.key)
        } else {
            None
        };
        drop(state);
        self.shared.work.notify_one();
        given_up
    }

    /// Says that jobs are still wanted.
    pub(super) fn touch<'a>(&self, stamp: u64, keys: impl Iterator<Item = &'a JobKey> + Clone) {
        let mut state = self.shared.lock();
        for (wanted, job) in &mut state.waiting {
            if keys.clone().any(|key| *key == job.key) {
                *wanted = stamp;
            }
        }
    }

    /// What was done since the last call.
    pub(super) fn take(&self) -> Vec<Done> {
        std::mem::take(&mut self.shared.lock().done)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.waiting.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

fn work(shared: &Shared) {
    let mut state = shared.lock();
    while !state.ended {
        // Of those wanted in the same pass, the first asked for is the first on the screen.
        let mut next: Option<(usize, u64)> = None;
        for (index, (stamp, _)) in state.waiting.iter().enumerate() {
            if next.is_none_or(|(_, newest)| *stamp > newest) {
                next = Some((index, *stamp));
            }
        }
        let Some((index, _)) = next else {
            state = shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (_, job) = state.waiting.remove(index);
        drop(state);
        let done = (job.key.clone(), run(job));
        state = shared.lock();
        if !state.ended {
            state.done.push(done);
            drop(state);
            (shared.wake)();
            state = shared.lock();
        }
    }
}

/// Does a job. Decoders read files from anywhere: should one panic, only its picture is lost.
fn run(job: Job) -> Result<Product, PictureError> {
    let key = job.key.clone();
    catch_unwind(AssertUnwindSafe(|| make(job))).unwrap_or_else(|_| {
        let source = match key {
            JobKey::Pixels(source)
            | JobKey::Thumbnail(source, _)
            | JobKey::Fitted(source, _)
            | JobKey::Modified(source) => source,
        };
        Err(PictureError::Damaged {
            path: source.path().unwrap_or("picture".as_ref()).into(),
            reason: "the decoder failed on it".into(),
        })
    })
}

fn make(job: Job) -> Result<Product, PictureError> {
    let [first, second] = job.known;
    match job.key {
        JobKey::Pixels(source) => decode::pixels(&source, [first, second]).map(Product::Pixels),
        JobKey::Thumbnail(source, side) => {
            let (base, modified) = match first.as_deref() {
                Some(pixels) => (level_for(pixels, [side, side]), pixels.modified),
                None => {
                    let (base, modified) = decode::base(&source)?;
                    (Some(Arc::new(base)), modified)
                }
            };
            let base = base.unwrap_or_default();
            let size = first.as_deref().map_or(base.size, Pixels::size);
            let [width, height] = size_within(size, side.max(1));
            let image = if [width, height] == base.size {
                Arc::unwrap_or_clone(base)
            } else {
                resample(&base, width, height, Filter::Cubic)
            };
            Ok(Product::Thumbnail {
                image,
                size,
                modified,
            })
        }
        JobKey::Fitted(source, [width, height]) => {
            let base = match first.as_deref().and_then(Pixels::base) {
                Some(base) => Arc::clone(base),
                None => Arc::new(decode::base(&source)?.0),
            };
            Ok(Product::Fitted(resample(
                &base,
                width,
                height,
                Filter::Cubic,
            )))
        }
        JobKey::Modified(source) => match source.path() {
            Some(path) => decode::modified(path).map(Product::Modified),
            None => Ok(Product::Modified(None)),
        },
    }
}

/// The smallest level that is at least as large as wanted, so that shrinking a large picture is quick.
fn level_for(pixels: &Pixels, wanted: [usize; 2]) -> Option<Arc<ColorImage>> {
    let enough =
        |level: &&Arc<ColorImage>| level.size[0] >= 2 * wanted[0] || level.size[1] >= 2 * wanted[1];
    let level = pixels.levels.iter().rev().find(enough);
    level.or_else(|| pixels.base()).cloned()
}
