//! Commands to the engine and events from it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::request::{ChatRequest, ImageRequest, ModelRef, Request};
use crate::formats::detect::ModelInfo;
use crate::formats::split::ModelParts;
use crate::graph::{HostTensor, KvType, MemoryUse};
use crate::text::sampling::Distribution;

/// A job's number. Clients choose it ([`super::EngineHandle::next_job`]), so that no answer has to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u64);

/// Where a job goes in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Behind all others.
    #[default]
    Back,
    /// Before all that wait.
    Front,
}

/// What clients tell the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Look at files or folders and take the models found into the registry; answered by [`Event::Models`].
    AddModels(Vec<PathBuf>),
    /// Take a model whose networks lie in separate files into the registry; answered by [`Event::Models`] with that one. Parts that are not
    /// named are looked for beside the U-Net.
    AddParts(Box<ModelParts>),
    /// Keep data that requests refer to by [`super::BlobRef`] (the SHA-256 of `data`'s little-endian bytes).
    Blob {
        /// SHA-256 in hexadecimal.
        hash: String,
        /// The data.
        data: Arc<HostTensor>,
    },
    /// Queue a job.
    Submit {
        /// The job's number, not used before.
        job: JobId,
        /// What to do.
        request: Box<Request>,
        /// Where in the queue.
        place: Place,
    },
    /// Go on with a job from a checkpoint ([`Event::Checkpoint`]), perhaps of an earlier run of the program.
    Resume {
        /// The job's number, not used before in this run.
        job: JobId,
        /// Opaque bytes.
        checkpoint: Arc<[u8]>,
    },
    /// Draw a picture from a step of an earlier one on, with other settings ([`Event::TraceStep`]). Prompts, guidance, LoRAs, VAE, mask
    /// and model may differ from the earlier request; what else differs fails the job. The same settings give the same picture.
    Branch {
        /// The job's number, not used before in this run.
        job: JobId,
        /// Opaque bytes.
        step_state: Arc<[u8]>,
        /// The settings from there on; `branched` is filled in by the engine.
        request: Box<ImageRequest>,
    },
    /// End a job, keeping what it has; answered by [`Event::Cancelled`].
    Cancel(JobId),
    /// Put a job to sleep: it keeps its place and others go on.
    Pause(JobId),
    /// Wake a job that was put to sleep.
    Unpause(JobId),
    /// Let no job run until [`Command::UnpauseAll`].
    PauseAll,
    /// Let jobs run again.
    UnpauseAll,
    /// Move a waiting job to a place in the queue; 0 is the next to run.
    Move {
        /// The job.
        job: JobId,
        /// Its new index among the waiting jobs.
        to: usize,
    },
    /// Give a model's memory back; answered as [`Command::ReportMemory`].
    Unload(ModelRef),
    /// Ask for [`Event::Memory`] and [`Event::Loaded`].
    ReportMemory,
    /// Ask what a chat request's prompt would cost, before it is sent; answered by [`Event::Measured`]. The model's file is opened if it is not, and
    /// nothing is computed. Of questions with the same tag that wait only the latest is answered.
    Measure {
        /// The client's own number, given back.
        tag: u64,
        /// The request.
        request: Box<ChatRequest>,
    },
    /// Ask how many tokens a text has as a part of a message, or as a prompt of a model that draws; answered by [`Event::Tokenized`]. Every such question is
    /// answered.
    Tokenize {
        /// The client's own number, given back.
        tag: u64,
        /// A chat model, or one that draws.
        model: ModelRef,
        /// The text.
        text: String,
    },
    /// Ask what the model thinks of the first token of an answer; answered by [`Event::Distribution`]. It computes the prompt, as far as that is not in the
    /// cache, a piece at a time between the steps of jobs. Of questions with the same tag that wait only the latest is answered.
    Distribution {
        /// The client's own number, given back.
        tag: u64,
        /// The request; its sampling is left to [`crate::text::sampling::preview`].
        request: Box<ChatRequest>,
    },
    /// End the thread. Running and waiting jobs are cancelled.
    Shutdown,
}

/// One written token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenEvent {
    /// Id in the model's vocabulary.
    pub id: u32,
    /// The token as the vocabulary spells it.
    pub piece: String,
    /// Text that became complete with it; empty while a character or a stop text is incomplete.
    pub text: String,
    /// Probability under the model (temperature 1, before any filter).
    pub probability: f32,
    /// The likeliest tokens at this place, with their pieces and probabilities.
    pub alternatives: Vec<Alternative>,
}

/// A token that could have been written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// Id in the model's vocabulary.
    pub id: u32,
    /// The token as the vocabulary spells it.
    pub piece: String,
    /// The text that it would have added: with U+FFFD for bytes that are no whole character, empty for control tokens.
    pub text: String,
    /// Whether the answer would have ended with it.
    pub ends: bool,
    /// Probability under the model.
    pub probability: f32,
}

/// An RGB picture, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes, rows from the top.
    pub rgb: Vec<u8>,
}

/// What a chat request's prompt would cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Tokens of the prompt, and those that the request begins with, after `dropped`. At `context_length` or above, the request would be refused.
    pub tokens: u32,
    /// Of them, those whose keys and values are in the cache.
    pub cached: u32,
    /// Of them, those that have to be computed.
    pub new: u32,
    /// Tokens of the conversation that would be left out to make it fit; only where the request allows it.
    pub dropped: u32,
    /// Tokens that the model's context holds.
    pub context_length: u32,
    /// How much of the request's `max_tokens` fits behind the prompt.
    pub reserved: u32,
    /// How the model's cache keeps keys and values.
    pub kv_type: KvType,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer.
    End,
    /// One of the request's stop texts came.
    Stop,
    /// `max_tokens` were written.
    Length,
    /// The model's context is full.
    ContextFull,
    /// The job was cancelled.
    Cancelled,
}

/// What a job made.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A picture, with the request that reproduces it (model hash filled in).
    Image {
        /// The picture.
        picture: Arc<Picture>,
        /// The request.
        request: Box<Request>,
        /// Seconds from start to end, waiting not counted.
        seconds: f32,
    },
    /// An answer.
    Chat {
        /// The whole text, behind that of the tokens that the request began with.
        text: String,
        /// Why it ended.
        reason: FinishReason,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of them, taken from the cache of an earlier turn.
        cached_tokens: u32,
        /// Tokens written, those that the request began with among them.
        tokens: u32,
        /// Tokens that were left out of the prompt or given up while writing, because the context was full and the request allowed it.
        dropped_tokens: u32,
        /// Tokens that the context holds at the end.
        context_used: u32,
        /// The model's context length in tokens.
        context_length: u32,
        /// Seconds until the first token.
        first_token_seconds: f32,
        /// Seconds of writing the rest.
        decode_seconds: f32,
    },
    /// What the model thinks of each place in a text.
    Logits {
        /// Tokens of the text.
        ids: Vec<u32>,
        /// f32 `[tokens, vocabulary]`: row `i` foretells token `i + 1`.
        logits: Arc<HostTensor>,
    },
    /// How well the model foretells a text.
    Perplexity(Perplexity),
}

/// How well a model foretells a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// The exponential of the mean negative logarithm of the probability of a token.
    pub perplexity: f64,
    /// Its standard error.
    pub error: f64,
    /// Tokens of the text.
    pub tokens: u64,
    /// Tokens of a chunk.
    pub context: u32,
    /// Chunks that were scored.
    pub chunks: u32,
    /// Tokens that were scored: those of each chunk's second half.
    pub scored: u64,
    /// Whether each chunk begins with the beginning of text.
    pub beginning: bool,
    /// Seconds, loading not counted.
    pub seconds: f32,
}

/// A failure in a person's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What failed, why, and what can be done.
    pub message: String,
    /// Whether our own code is at fault (a caught panic), rather than a file or a setting.
    pub bug: bool,
}

/// What the engine tells its client. Every submitted job ends with exactly one of `Finished`, `Failed`, `Cancelled`.
#[derive(Clone, Debug)]
pub enum Event {
    /// The engine is ready.
    Ready {
        /// `cpu` or `gpu`.
        executor: &'static str,
        /// The device in a person's words.
        device: String,
    },
    /// The engine could not start; the thread has ended.
    StartFailed(Failure),
    /// What was found under the paths of [`Command::AddModels`], usable or not.
    Models(Vec<FoundModel>),
    /// A job waits; the number is how many are before it.
    Queued {
        /// The job.
        job: JobId,
        /// Jobs before it.
        place: usize,
    },
    /// The waiting jobs in their order, after any change.
    QueueChanged(Vec<JobId>),
    /// A job has begun.
    Started {
        /// The job.
        job: JobId,
    },
    /// A model is being loaded for a job.
    Loading {
        /// The job.
        job: JobId,
        /// The model's name.
        model: String,
        /// Bytes of its weights.
        bytes: u64,
    },
    /// Something a person should know, while the job goes on.
    Warning {
        /// The job.
        job: JobId,
        /// In a person's words.
        message: String,
    },
    /// Step `index` of `total` of a picture is done. A later step replaces an earlier one that was not yet taken.
    Step {
        /// The job.
        job: JobId,
        /// Steps done.
        index: u32,
        /// Steps in all.
        total: u32,
        /// Seconds that this step took.
        seconds: f32,
        /// What the picture looks like so far, small.
        preview: Option<Arc<Picture>>,
    },
    /// Latents after a step, `[channels, height, width]`, in the convention's own space; only if asked for.
    Latents {
        /// The job.
        job: JobId,
        /// Index of the step, from 0.
        step: u32,
        /// `[1, C, h, w]`.
        latents: Arc<HostTensor>,
    },
    /// Where a picture stands at its beginning and after each step, with all that is needed to go on from there; only if asked for.
    /// None of them is left out, however slow the client.
    TraceStep {
        /// The job.
        job: JobId,
        /// Steps done; 0 is the beginning.
        index: u32,
        /// Steps in all.
        total: u32,
        /// Noise level (sigma) at which the next step begins; 0 at the end.
        sigma: f32,
        /// SHA-256 of the latents, as little-endian f32.
        sha256: [u8; 32],
        /// Opaque bytes for [`Command::Branch`] and [`Command::Resume`].
        bytes: Arc<[u8]>,
        /// The picture as predicted in the last step, small; none at the beginning, and for models whose latents are not understood.
        preview: Option<Arc<Picture>>,
    },
    /// Tokens written since the last such event.
    Tokens {
        /// The job.
        job: JobId,
        /// In order.
        tokens: Vec<TokenEvent>,
    },
    /// The end of an answer's text that was held back because a stop text or a character might have been beginning;
    /// comes after the last token, if at all.
    TextTail {
        /// The job.
        job: JobId,
        /// The text.
        text: String,
    },
    /// All that is needed to go on with a job after a crash; opaque, replaces earlier ones of the same job.
    Checkpoint {
        /// The job.
        job: JobId,
        /// Opaque bytes for [`Command::Resume`].
        bytes: Arc<[u8]>,
    },
    /// A job was put to sleep or woken.
    Paused {
        /// The job.
        job: JobId,
        /// Asleep or awake.
        paused: bool,
    },
    /// A job is done.
    Finished {
        /// The job.
        job: JobId,
        /// What it made.
        outcome: Outcome,
    },
    /// A job failed; others go on.
    Failed {
        /// The job.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// A job was cancelled.
    Cancelled {
        /// The job.
        job: JobId,
        /// The picture as far as it was drawn, or the text as far as it was written.
        partial: Option<Outcome>,
    },
    /// Memory in use.
    Memory(MemoryUse),
    /// Models whose weights are in memory, by the names that requests call them; comes after each [`Event::Memory`].
    Loaded(Vec<ModelRef>),
    /// Answers [`Command::Measure`].
    Measured {
        /// The question's number.
        tag: u64,
        /// The prompt's cost, or why it cannot be told.
        ledger: Result<Ledger, String>,
    },
    /// Answers [`Command::Tokenize`].
    Tokenized {
        /// The question's number.
        tag: u64,
        /// Tokens of the text, or why they cannot be told.
        result: Result<u32, String>,
        /// Of a model that draws: tokens that it reads at once; longer prompts are read in parts.
        at_once: Option<u32>,
    },
    /// Answers [`Command::Distribution`].
    Distribution {
        /// The question's number.
        tag: u64,
        /// The distribution, or why there is none.
        result: Result<Distribution, String>,
    },
    /// The device is gone; a new one is being made and running jobs go on from their last step.
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// There is a device again.
    DeviceRebuilt {
        /// The device in a person's words.
        device: String,
    },
    /// The last event; the thread ends.
    Stopped,
}

/// One entry of the registry.
#[derive(Clone, Debug)]
pub struct FoundModel {
    /// How requests name it; `None` if it cannot be used.
    pub model: Option<ModelRef>,
    /// Where it lies (for the person at this machine only; never written into results).
    pub path: PathBuf,
    /// What it is, or why it cannot be used.
    pub info: Result<ModelInfo, String>,
}

impl Event {
    /// The job that an event is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Queued { job, .. }
            | Self::Started { job }
            | Self::Loading { job, .. }
            | Self::Warning { job, .. }
            | Self::Step { job, .. }
            | Self::Latents { job, .. }
            | Self::TraceStep { job, .. }
            | Self::Tokens { job, .. }
            | Self::TextTail { job, .. }
            | Self::Checkpoint { job, .. }
            | Self::Paused { job, .. }
            | Self::Finished { job, .. }
            | Self::Failed { job, .. }
            | Self::Cancelled { job, .. } => Some(*job),
            Self::Ready { .. }
            | Self::StartFailed(_)
            | Self::Models(_)
            | Self::QueueChanged(_)
            | Self::Memory(_)
            | Self::Loaded(_)
            | Self::Measured { .. }
            | Self::Tokenized { .. }
            | Self::Distribution { .. }
            | Self::DeviceLost { .. }
            | Self::DeviceRebuilt { .. }
            | Self::Stopped => None,
        }
    }
}
