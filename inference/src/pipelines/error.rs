//! Why a job fails.

use super::sound::Maker;
use crate::diffusion::DiffusionError;
use crate::engine::RegistryError;
use crate::formats::FormatError;
use crate::graph::{ExecError, GraphError};
use crate::models::ModelError;
use crate::text::TextError;

/// A job could not be done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The request asks for something impossible.
    #[error("{0}")]
    Request(String),
    /// The model is of another kind than the job needs.
    #[error("'{model}' is {is}; {needed} is needed here")]
    WrongModel {
        /// The model's name.
        model: String,
        /// What it is.
        is: String,
        /// What the job needs.
        needed: &'static str,
    },
    /// A checkpoint that cannot be read.
    #[error(
        "this job cannot be continued: its checkpoint is not readable ({0}); start it again from its settings"
    )]
    Checkpoint(String),
    /// The conversation does not fit the model.
    #[error(
        "the conversation takes {tokens} tokens, and the context of '{model}' holds {context}; start a new conversation, \
         or shorten this one"
    )]
    ContextFull {
        /// The model's name.
        model: String,
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// From the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// From a file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// From a model's configuration or weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// From building a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// From the executor.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// From the sampler.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// From tokenizer or template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A network made NaN or infinities.
    #[error("{}{maker} {value}, which is no number: {reason}", model.as_ref().map(|name| format!("'{name}': ")).unwrap_or_default())]
    NotNumbers {
        /// The model's name, once it is known.
        model: Option<String>,
        /// Which of its networks, and when.
        maker: Maker,
        /// What it made.
        value: f32,
        /// What is to blame, and what can be done.
        reason: String,
    },
}
