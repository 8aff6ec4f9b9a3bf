//! Questions about a chat request that are answered without writing: its tokens, and the distribution of the first one.

use super::ChatJob;
use super::choice::{Told, row_of, whole_row};
use super::prompt::{self, Prompt};
use crate::engine::{ChatRequest, Ledger, ModelRef, Overflow};
use crate::pipelines::{Context, JobError, ModelStore};
use crate::text::sampling::Distribution;

/// What a request's prompt would cost. The model's file is opened if it is not; nothing is computed.
///
/// # Errors
/// If the model cannot be used, or from its template.
pub fn measure(store: &mut ModelStore, request: &ChatRequest) -> Result<Ledger, JobError> {
    let model = store.chat_model(&request.model, &mut ())?;
    let Prompt {
        mut tokens,
        mut dropped,
        ..
    } = Prompt::new(&model, request)?;
    let context = model.context_length();
    if tokens.len() < context
        && let Some(written) = &request.written
    {
        // What was written before is taken up, and read again with the prompt.
        tokens.extend(model.check_ids(written.tokens.clone())?);
        while tokens.len() >= context && request.overflow == Overflow::Shift {
            match prompt::shift(&model, request, &mut tokens)? {
                0 => break,
                more => dropped += more,
            }
        }
    }
    let cached = store
        .existing_chat_state(&request.model.name)
        .map_or(0, |chat| chat.cache.cached(&tokens));
    let tokens = tokens.len();
    let free = context.saturating_sub(tokens);
    Ok(Ledger {
        tokens: tokens as u32,
        cached: cached as u32,
        new: (tokens - cached) as u32,
        dropped: dropped as u32,
        context_length: context as u32,
        reserved: request.max_tokens.min(free as u32),
        kv_type: model.llama().kv_type(),
    })
}

/// Tokens of a text as a part of a message; of a model that draws, those of a prompt, and how many of them it reads at once.
///
/// # Errors
/// If the model cannot be used, or the text is too long.
pub fn count_tokens(
    store: &mut ModelStore,
    model: &ModelRef,
    text: &str,
) -> Result<(u32, Option<u32>), JobError> {
    if let Some((tokens, at_once)) = store.prompt_length(model, text)? {
        return Ok((tokens, Some(at_once)));
    }
    let model = store.chat_model(model, &mut ())?;
    Ok((model.encode_part(text)?.len() as u32, None))
}

/// What a model thinks of the first token of an answer: a job that computes a prompt and writes nothing.
pub struct DistributionJob(ChatJob);

impl DistributionJob {
    /// A job at its start.
    #[must_use]
    pub fn new(request: ChatRequest) -> Self {
        Self(ChatJob::new(request))
    }

    /// Computes the next piece of the prompt; after the last one the distribution.
    ///
    /// # Errors
    /// As a chat would fail. After [`crate::graph::ExecError::DeviceLost`] it can be tried again.
    pub fn step(&mut self, context: &mut Context<'_>) -> Result<Option<Distribution>, JobError> {
        let job = &mut self.0;
        let model = job.model(context)?;
        job.begin(context, &model)?;
        let Some((plan, words)) = job.logits(context, &model)? else {
            return Ok(None);
        };
        let told = Told {
            kept: (plan, 0),
            words: row_of(&words, 0),
        };
        // The window shows what settings would do to all of them.
        let logits = whole_row(context, &model, &told)?;
        let allowed = job.allowed();
        let tokenizer = model.tokenizer();
        let distribution = Distribution::new(
            logits,
            job.tokens.clone(),
            allowed,
            |id| tokenizer.piece_text(id).unwrap_or_default().to_owned(),
            |id| tokenizer.piece(id),
        )?;
        Ok(Some(distribution))
    }

    /// The device was replaced.
    pub fn device_lost(&mut self) {
        self.0.sequence = None;
    }

    /// Leaves what was computed in the cache.
    pub fn release(&mut self, store: &mut ModelStore) {
        self.0.give_back(store);
    }
}
