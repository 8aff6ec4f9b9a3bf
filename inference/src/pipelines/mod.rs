//! Jobs as serialisable state machines: text to image, chat, what a model thinks of a text.
//!
//! The engine calls [`Pipeline::step`] again and again; each call does a bounded piece of work (one network evaluation,
//! one token). So pausing, interleaving and resuming need nothing of their own.

mod batch;
mod canny;
mod chat;
mod chat_model;
#[cfg(test)]
mod chat_model_tests;
mod error;
mod forecast;
mod image;
mod image_model;
pub mod kv;
mod merge;
mod morph;
mod prompt;
mod prompt_tokens;
mod raster;
mod score;
mod sound;
mod store;
mod tiles;
mod upscale;

pub use chat::{ChatJob, DistributionJob, MOST_STREAMS, count_tokens, decode_together, measure};
pub use chat_model::ChatModel;
pub use error::JobError;
pub use image_model::ImageModel;
pub use store::{ModelStore, PlanKey};

use std::path::Path;

use serde::Deserialize;

use crate::cpu::{CpuExecutor, CpuMode};
use crate::engine::{DeviceChoice, Event, ImageRequest, JobId, Outcome, Request};
use crate::gpu::{AdapterChoice, GpuExecutor, LimitPolicy};
use crate::graph::{ExecError, Executor, Interrupt};

/// What a step of a job led to.
pub enum Progress {
    /// There is more to do.
    Working,
    /// The job is done.
    Finished(Outcome),
}

/// What a job may use while it is advanced.
pub struct Context<'a> {
    /// The job's number.
    pub job: JobId,
    /// Models and the executor.
    pub store: &'a mut ModelStore,
    /// Where events go.
    pub(crate) outbox: &'a mut crate::engine::Outbox,
    /// Asked within long work whether to stop.
    pub interrupt: &'a mut dyn Interrupt,
}

impl Context<'_> {
    /// Tells the client something.
    pub fn emit(&mut self, event: Event) {
        self.outbox.push(event);
    }

    /// Tells the client something that takes its time to be made, by a thread beside; what is told later comes later.
    pub fn emit_made(&mut self, make: impl FnOnce() -> Option<Event> + Send + 'static) {
        self.outbox.push_made(make);
    }

    /// The models, and what is told while one of this name is loaded.
    pub fn loading<'b>(&'b mut self, model: &'b str) -> (&'b mut ModelStore, JobLoading<'b>) {
        let loading = JobLoading {
            job: self.job,
            model,
            outbox: self.outbox,
            interrupt: self.interrupt,
        };
        (self.store, loading)
    }

    /// Tells the client what a person should know.
    pub fn warn(&mut self, message: impl Into<String>) {
        let message = message.into();
        tracing::warn!(job = self.job.0, "{message}");
        self.emit(Event::Warning {
            job: self.job,
            message,
        });
    }
}

/// Is told when files are read, and can stop it.
pub trait Loading {
    /// So many bytes of weights will be read.
    fn begins(&mut self, bytes: u64);

    /// Whether to stop; loading then ends with [`ExecError::Interrupted`].
    fn stop(&mut self) -> bool;
}

/// Nobody is told, and nothing stops it.
impl Loading for () {
    fn begins(&mut self, _bytes: u64) {}

    fn stop(&mut self) -> bool {
        false
    }
}

/// A job's client is told.
pub struct JobLoading<'a> {
    job: JobId,
    model: &'a str,
    outbox: &'a mut crate::engine::Outbox,
    interrupt: &'a mut dyn Interrupt,
}

impl Loading for JobLoading<'_> {
    fn begins(&mut self, bytes: u64) {
        self.outbox.push(Event::Loading {
            job: self.job,
            model: self.model.to_owned(),
            bytes,
        });
    }

    fn stop(&mut self) -> bool {
        self.interrupt.poll()
    }
}

/// A job.
pub trait Pipeline: Send {
    /// Does a bounded piece of work. After [`ExecError::Interrupted`] or [`ExecError::DeviceLost`] the same piece can be
    /// done again.
    ///
    /// # Errors
    /// Ends the job.
    fn step(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError>;

    /// What there is so far, for a job that is cancelled.
    fn partial(&mut self, context: &mut Context<'_>) -> Option<Outcome>;

    /// The device was replaced; what was kept on it is gone.
    fn device_lost(&mut self) {}

    /// Whether it refers to data of this hash ([`crate::engine::BlobRef`]).
    fn needs_blob(&self, _hash: &str) -> bool {
        false
    }

    /// The answer of a chat, which may advance together with others.
    fn as_answer(&mut self) -> Option<&mut ChatJob> {
        None
    }

    /// Another job goes on, or none: what the device was told is waited for and told of, and nothing of this job is under way any more.
    ///
    /// # Errors
    /// As [`Pipeline::step`].
    fn rest(&mut self, _context: &mut Context<'_>) -> Result<(), JobError> {
        Ok(())
    }

    /// Gives back what the job holds in the store.
    fn release(&mut self, _store: &mut ModelStore) {}
}

/// Makes a job of a request.
#[must_use]
pub fn start(request: Request) -> Box<dyn Pipeline> {
    match request {
        Request::Image(request) => Box::new(image::ImageJob::new(request)),
        Request::Chat(request) => Box::new(chat::ChatJob::new(request)),
        Request::Upscale(request) => Box::new(upscale::UpscaleJob::new(request)),
        Request::Score(request) => Box::new(score::ScoreJob::new(request)),
    }
}

/// What a job needed to go on after a crash, as earlier versions wrote it.
#[derive(Deserialize)]
struct Checkpoint {
    version: u32,
    image: image::ImageCheckpoint,
}

const CHECKPOINT_VERSION: u32 = 2;

/// Makes a job of the checkpoint of an earlier one; the flag tells whether it is a chat.
///
/// # Errors
/// If the bytes are no checkpoint of this version.
pub fn resume(bytes: &[u8]) -> Result<(Box<dyn Pipeline>, bool), JobError> {
    if image::state::is_state(bytes) {
        let state = image::state::read(bytes)?;
        return Ok((Box::new(image::ImageJob::resume(state)), false));
    }
    // As earlier versions wrote it.
    let checkpoint: Checkpoint =
        serde_json::from_slice(bytes).map_err(|error| JobError::Checkpoint(error.to_string()))?;
    if checkpoint.version != CHECKPOINT_VERSION {
        let detail = format!(
            "version {}, this program reads {CHECKPOINT_VERSION}",
            checkpoint.version
        );
        return Err(JobError::Checkpoint(detail));
    }
    Ok((Box::new(image::ImageJob::resume(checkpoint.image)), false))
}

/// Makes a job that goes on from a step of an earlier one ([`Event::TraceStep`]) with other settings.
///
/// # Errors
/// If the bytes are no state of this version, or settings differ that cannot change in the middle of a picture.
pub fn branch(bytes: &[u8], request: ImageRequest) -> Result<Box<dyn Pipeline>, JobError> {
    let state = image::state::read(bytes)?;
    Ok(Box::new(image::ImageJob::branch(state, request)?))
}

/// The request that a step's state was made by; for clients that have nothing but the state.
///
/// # Errors
/// If the bytes are no state of this version.
pub fn request_of_state(bytes: &[u8]) -> Result<ImageRequest, JobError> {
    Ok(image::state::read(bytes)?.request)
}

/// Opens the executor for a device choice; what it makes of kernels is kept in `cache`.
///
/// # Errors
/// If there is no such device. `auto` ends at the CPU, which is always there; `gpu` never falls back.
pub fn open_executor(
    device: DeviceChoice,
    budget: Option<u64>,
    cache: Option<&Path>,
) -> Result<Box<dyn Executor>, ExecError> {
    let gpu = |choice| -> Result<GpuExecutor, ExecError> {
        let executor = GpuExecutor::open(choice, LimitPolicy::Adapter, budget)?;
        Ok(match cache {
            Some(folder) => executor.with_cache(folder),
            None => executor,
        })
    };
    match device {
        DeviceChoice::Cpu => Ok(Box::new(CpuExecutor::with_budget(CpuMode::Fast, budget))),
        DeviceChoice::Gpu => Ok(Box::new(gpu(AdapterChoice::Any)?)),
        DeviceChoice::Auto => match gpu(AdapterChoice::Hardware) {
            Ok(executor) => Ok(Box::new(executor)),
            Err(error) => {
                tracing::info!("no GPU: {error}");
                Ok(Box::new(CpuExecutor::with_budget(CpuMode::Fast, budget)))
            }
        },
    }
}
