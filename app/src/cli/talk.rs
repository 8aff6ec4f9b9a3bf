//! What `chat` and `complete` share: a request for text, its streaming, and its report.

use diptych_inference::engine::{
    ChatPrompt, ChatRequest, Event, FinishReason, ModelRef, Outcome, Overflow, Request, TokenEvent,
};
use diptych_inference::text::grammar::Grammar;
use diptych_inference::text::sampling::SamplingParams;
use serde::Serialize;

use super::args::SamplingArgs;
use super::client::{Client, Ending};
use super::error::{CliError, Result};
use super::out;
use super::progress::Progress;
use crate::defaults::Defaults;

/// How tokens are chosen: as the person says, else as the model wants, else as llama.cpp does.
pub fn sampling(args: &SamplingArgs, defaults: &Defaults) -> SamplingParams {
    let usual = SamplingParams::default();
    SamplingParams {
        temperature: args
            .temperature
            .or(defaults.temperature)
            .unwrap_or(usual.temperature),
        top_k: args.top_k.or(defaults.top_k).unwrap_or(usual.top_k),
        top_p: args.top_p.or(defaults.top_p).unwrap_or(usual.top_p),
        min_p: args.min_p.or(defaults.min_p).unwrap_or(usual.min_p),
        repetition_penalty: args
            .repetition_penalty
            .or(defaults.repetition_penalty)
            .unwrap_or(usual.repetition_penalty),
        repetition_window: args.repetition_window.unwrap_or(usual.repetition_window),
        frequency_penalty: args.frequency_penalty.unwrap_or(usual.frequency_penalty),
        presence_penalty: args.presence_penalty.unwrap_or(usual.presence_penalty),
        typical_p: args.typical_p.unwrap_or(usual.typical_p),
        top_n_sigma: args.top_n_sigma.unwrap_or(usual.top_n_sigma),
        xtc_probability: args.xtc_probability.unwrap_or(usual.xtc_probability),
        xtc_threshold: args.xtc_threshold.unwrap_or(usual.xtc_threshold),
        dry_multiplier: args.dry_multiplier.unwrap_or(usual.dry_multiplier),
        dry_base: args.dry_base.unwrap_or(usual.dry_base),
        dry_allowed_length: args.dry_allowed_length.unwrap_or(usual.dry_allowed_length),
        dry_window: args.dry_window.unwrap_or(usual.dry_window),
        dry_breakers: match args.dry_breaker.as_slice() {
            [] => usual.dry_breakers.clone(),
            given => given.to_vec(),
        },
        logit_bias: args.logit_bias.clone(),
        order: args.samplers.clone().unwrap_or_else(|| usual.order.clone()),
        greedy: args.greedy,
        ..usual
    }
}

/// Everything of a request but the prompt.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The model.
    pub model: ModelRef,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Seed of the first answer; each further one takes the next.
    pub seed: u64,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Seconds since 1970, for templates that tell the date; the same for a whole conversation, so that its beginning
    /// stays the same.
    pub time: i64,
    /// What the answers look like.
    pub grammar: Option<Grammar>,
    /// What the model may call.
    pub tools: Vec<serde_json::Value>,
    /// What becomes of a conversation that is too long.
    pub overflow: Overflow,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// An answer with all that is known about it; a line of `--json`.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The whole text.
    pub text: String,
    /// Why it ended.
    pub reason: FinishReason,
    /// Token by token.
    pub tokens: Vec<TokenEvent>,
    /// Seed of the choice.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of them, taken from the cache of an earlier turn.
    pub cached_tokens: u32,
    /// Tokens that were left out, because the context was full.
    pub dropped_tokens: u32,
    /// Tokens that the context holds now.
    pub context_used: u32,
    /// Tokens that it can hold.
    pub context_length: u32,
    /// How long it took.
    pub timings: Timings,
    /// `cpu` or `gpu`.
    pub executor: &'static str,
    /// The device in a person's words.
    pub device: String,
}

/// How long an answer took.
#[derive(Debug, Serialize)]
pub struct Timings {
    /// Until the first token, loading included.
    pub first_token_seconds: f32,
    /// Writing the rest.
    pub decode_seconds: f32,
    /// Of the rest; `null` where there is no rest to speak of.
    pub tokens_per_second: Option<f32>,
}

/// Has an answer written. Text goes to stdout as it comes, unless it is only to be reported.
///
/// # Errors
/// Why the job failed.
pub fn write(
    client: &Client,
    manner: &Manner,
    turn: u32,
    prompt: ChatPrompt,
    stream: bool,
) -> Result<Answer> {
    let seed = manner.seed.wrapping_add(u64::from(turn));
    let request = ChatRequest {
        sampling: manner.sampling.clone(),
        seed,
        max_tokens: manner.max_tokens,
        time: manner.time,
        grammar: manner.grammar.clone(),
        tools: manner.tools.clone(),
        overflow: manner.overflow,
        ..ChatRequest::new(manner.model.clone(), prompt)
    };
    // A script that takes JSON wants no progress.
    let mut progress = Progress::new(!stream);
    let mut tokens: Vec<TokenEvent> = Vec::new();
    let ending = client.run(Request::Chat(request), |event| {
        match event {
            Event::Tokens { tokens: more, .. } => {
                progress.release();
                tokens.extend(more.iter().cloned());
                let text: String = more.iter().map(|token| token.text.as_str()).collect();
                if stream && !text.is_empty() {
                    out::text(&text)?;
                }
            }
            Event::TextTail { text, .. } if stream => {
                progress.clear();
                out::text(text)?;
            }
            Event::Loading { .. } if turn > 0 => {}
            other => progress.watch(other),
        }
        Ok(())
    });
    progress.clear();
    let outcome = match ending? {
        Ending::Finished(outcome) | Ending::Cancelled(Some(outcome)) => outcome,
        Ending::Cancelled(None) => return Err(CliError::Interrupted),
    };
    let Outcome::Chat {
        text,
        reason,
        prompt_tokens,
        cached_tokens,
        tokens: written,
        dropped_tokens,
        context_used,
        context_length,
        first_token_seconds,
        decode_seconds,
    } = outcome
    else {
        return Err(CliError::Failed(
            "the engine answered with something that is no text; please report it".into(),
        ));
    };
    let rest = written.saturating_sub(1);
    Ok(Answer {
        text,
        reason,
        tokens,
        seed,
        prompt_tokens,
        cached_tokens,
        dropped_tokens,
        context_used,
        context_length,
        timings: Timings {
            first_token_seconds,
            decode_seconds,
            tokens_per_second: (rest > 0 && decode_seconds > 0.0)
                .then(|| rest as f32 / decode_seconds),
        },
        executor: client.executor(),
        device: client.device().to_owned(),
    })
}

/// What to say, and how to end, when an answer ended before its end.
///
/// # Errors
/// A failure for a full context, an interruption for a cancelled answer.
pub fn verdict(answer: &Answer) -> Result<()> {
    match answer.reason {
        FinishReason::ContextFull => Err(CliError::Failed(format!(
            "the context of {} tokens is full, so the text ends here; start a new conversation, shorten this one, or leave out what is oldest by --shift",
            answer.context_length
        ))),
        FinishReason::Cancelled => Err(CliError::Interrupted),
        FinishReason::End | FinishReason::Stop | FinishReason::Length => Ok(()),
    }
}
