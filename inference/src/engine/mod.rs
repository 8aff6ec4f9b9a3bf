//! The protocol, and the background thread that owns the device and all models.
//!
//! Clients (the window, the command line, the tests) speak to the engine only by [`Command`] and [`Event`] over
//! bounded channels. [`Engine::start`] opens the thread; the [`EngineHandle`] holds both ends.
//!
//! The thread advances one job at a time by one step (a chat token before a denoising step), and takes commands
//! between steps and, through [`crate::graph::Interrupt`], within them. A job that fails or panics is ended with
//! [`Event::Failed`]; the next one runs as if nothing had happened.

mod handle;
mod kv_choice;
mod outbox;
mod protocol;
mod queue;
mod refine;
mod registry;
mod request;
mod worker;

pub use crate::formats::split::ModelParts;
pub use crate::graph::{HostTensor, KvType, MemoryUse};
pub use crate::models::llama::LONGEST_CONTEXT;
pub use crate::pipelines::request_of_state;
pub use handle::{Engine, EngineHandle, EngineOptions};
pub use kv_choice::KvChoice;
pub(crate) use outbox::Outbox;
pub use protocol::{
    Alternative, Command, Event, Failure, FinishReason, FoundModel, JobId, Ledger, Outcome,
    Perplexity, Picture, Place, TokenEvent,
};
pub use registry::{Registry, RegistryError};
pub use request::{
    BlobRef, Branched, ChatPrompt, ChatRequest, ControlKind, ControlUse, Hires, HiresUpscaler,
    ImageRequest, InitPicture, LoraUse, Mask, Measure, ModelRef, Overflow, Preprocessor,
    PromptTemplate, Request, ScoreRequest, Toward, UpscaleRequest, Variation, Written,
};

use serde::{Deserialize, Serialize};

/// Which device computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A discrete GPU, else an integrated one, else the CPU. Software GPUs are passed over: the CPU is faster.
    #[default]
    Auto,
    /// Any adapter that wgpu offers; an error where there is none.
    Gpu,
    /// The CPU.
    Cpu,
}
