//! Chat: a conversation to tokens, tokens through the decoder, one chosen token at a time back to text.

mod ask;
mod batch;
mod choice;
mod prompt;

pub use ask::{DistributionJob, count_tokens, measure};
pub use batch::{MOST_STREAMS, decode_together};

use std::sync::Arc;
use std::time::Instant;

use super::chat_model::ChatModel;
use super::error::JobError;
use super::forecast;
use super::kv::Sequence;
use super::store::PlanKey;
use super::{Context, ModelStore, Pipeline, Progress};
use crate::engine::{Alternative, ChatRequest, Event, FinishReason, Outcome, Overflow, TokenEvent};
use crate::graph::{HostTensor, NO_SLOT, PlanId, StateId};
use crate::text::grammar::GrammarState;
use crate::text::sampling::{Sampled, TokenSampler};
use crate::text::stop::StopMatcher;
use crate::text::tokenizer::StreamDecoder;
use choice::{Coming, Question, Read, Told, draw_input, row_of, without_ids};
use prompt::Prompt;

/// Rows that plans are made for: one token, short and long pieces of a prompt. A piece is filled up to the next.
const ROWS: [usize; 4] = [1, 16, 64, 256];

/// An answer being written.
pub struct ChatJob {
    request: ChatRequest,
    model: Option<Arc<ChatModel>>,
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    cached_tokens: Option<usize>,
    /// What of `tokens` is in the cache, and in which cache.
    sequence: Option<(StateId, Sequence)>,
    sampler: Option<TokenSampler>,
    grammar: Option<GrammarState>,
    question: Question,
    read: Read,
    /// Tokens left out of the prompt.
    dropped: usize,
    /// Tokens given up while writing.
    shifted: usize,
    decoder: StreamDecoder,
    stops: StopMatcher,
    text: String,
    written: u32,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

impl ChatJob {
    /// A job at its start.
    pub fn new(request: ChatRequest) -> Self {
        let stops = StopMatcher::new(request.stop.clone());
        Self {
            request,
            model: None,
            tokens: Vec::new(),
            prompt_tokens: 0,
            cached_tokens: None,
            sequence: None,
            sampler: None,
            grammar: None,
            question: Question::default(),
            read: Read::default(),
            dropped: 0,
            shifted: 0,
            decoder: StreamDecoder::new(),
            stops,
            text: String::new(),
            written: 0,
            started: None,
            first_token: None,
        }
    }

    fn model(&mut self, context: &mut Context<'_>) -> Result<Arc<ChatModel>, JobError> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let (store, mut loading) = context.loading(&self.request.model.name);
        let model = store.chat_model(&self.request.model, &mut loading)?;
        self.model = Some(Arc::clone(&model));
        Ok(model)
    }

    /// Checks the request and puts the prompt into tokens, the first time.
    fn begin(&mut self, context: &mut Context<'_>, model: &ChatModel) -> Result<(), JobError> {
        if self.sampler.is_some() {
            return Ok(());
        }
        let tokenizer = model.tokenizer();
        let texts = (0..tokenizer.vocab_len() as u32).map(|id| (id, tokenizer.piece(id)));
        let sampler =
            TokenSampler::new(self.request.sampling.clone(), self.request.seed)?.with_texts(texts);
        if let Some(grammar) = &self.request.grammar {
            self.grammar = Some(model.guide()?.follow(grammar)?);
        }
        let prompt = Prompt::new(model, &self.request)?;
        if let Some(warning) = prompt.warning {
            context.warn(warning);
        }
        if prompt.tokens.len() >= model.context_length() {
            return Err(JobError::ContextFull {
                model: self.request.model.name.clone(),
                tokens: prompt.tokens.len(),
                context: model.context_length(),
            });
        }
        self.prompt_tokens = prompt.tokens.len();
        self.dropped = prompt.dropped;
        self.tokens = prompt.tokens;
        self.sampler = Some(sampler);
        self.take_up(model)?;
        while self.tokens.len() >= model.context_length()
            && self.request.overflow == Overflow::Shift
        {
            if !self.shift(context, model)? {
                break;
            }
        }
        let (name, count) = (&self.request.model.name, self.tokens.len());
        forecast::answer(context.store, name, model, (&ROWS, count))
    }

    /// Takes up what an earlier run has written: sampler, grammar, stop texts and unfinished characters then stand where they stood at its end.
    fn take_up(&mut self, model: &ChatModel) -> Result<(), JobError> {
        let Some(written) = &self.request.written else {
            return Ok(());
        };
        let ids = model.check_ids(written.tokens.clone())?;
        let tokenizer = model.tokenizer();
        for &id in &ids {
            if let Some(grammar) = &mut self.grammar {
                grammar.take(id)?;
            }
            if !tokenizer.is_special(id) {
                let complete = self.decoder.push(tokenizer.piece(id));
                self.stops.push(&complete);
            }
        }
        if let Some(sampler) = &mut self.sampler {
            sampler.skip(ids.len());
        }
        self.written = ids.len() as u32;
        self.tokens.extend(ids);
        Ok(())
    }

    /// Makes room in a full context: half of the tokens after the kept beginning are given up, the oldest ones, and the others are computed anew where
    /// they stand now. So they mean what they would in a shorter conversation; that costs one token of prompt for each token written. Returns whether
    /// there was anything to give up.
    fn shift(&mut self, context: &mut Context<'_>, model: &ChatModel) -> Result<bool, JobError> {
        self.give_back(context.store);
        let dropped = prompt::shift(model, &self.request, &mut self.tokens)?;
        self.shifted += dropped;
        Ok(dropped > 0)
    }

    /// Tokens that an earlier run has written.
    fn begun_with(&self) -> usize {
        self.request
            .written
            .as_ref()
            .map_or(0, |written| written.tokens.len())
    }

    /// Leaves what was computed in the cache.
    fn give_back(&mut self, store: &mut ModelStore) {
        let Some((state, sequence)) = self.sequence.take() else {
            return;
        };
        if let Some(chat) = store.existing_chat_state(&self.request.model.name)
            && chat.state == state
        {
            chat.cache.keep(sequence);
        }
    }

    /// Computes a piece; gives what the device tells of the logits after the last token once all are computed, and the plan that keeps them.
    fn logits(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
    ) -> Result<Option<(PlanId, Vec<f32>)>, JobError> {
        let Some((plan, words)) = self.compute(context, model)? else {
            return Ok(None);
        };
        let computed = self
            .sequence
            .as_ref()
            .map_or(0, |(_, sequence)| sequence.len());
        if computed < self.tokens.len() {
            return Ok(None);
        }
        if let Some((state, sequence)) = &self.sequence
            && self.written as usize == self.begun_with()
            && let Some(chat) = context.store.existing_chat_state(&self.request.model.name)
            && chat.state == *state
        {
            chat.cache.share(sequence);
        }
        Ok(Some((plan, words)))
    }

    /// Makes sure that there is a sequence in the model's present cache; copies a shared page if need be.
    fn sequence(&mut self, context: &mut Context<'_>) -> Result<(StateId, Sequence), JobError> {
        let name = &self.request.model.name;
        let chat = context.store.chat_state(name)?;
        let state = chat.state;
        if let Some((of, sequence)) = self.sequence.take()
            && of == state
        {
            return Ok((state, sequence));
        }
        let (sequence, copy) = chat
            .cache
            .begin(&self.tokens)
            .map_err(|_| cache_full(name))?;
        self.cached_tokens.get_or_insert(sequence.len());
        if let Some(copy) = copy
            && let Err(error) = context
                .store
                .executor_mut()
                .copy_kv_page(state, copy.from, copy.to)
        {
            context.store.chat_state(name)?.cache.release(sequence);
            return Err(error.into());
        }
        Ok((state, sequence))
    }

    /// Computes the next piece of `tokens` that is not in the cache; gives the plan and what it tells of the logits after the piece's last token. Nothing
    /// where the cache went away for the plan's sake: it is to be tried again.
    fn compute(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
    ) -> Result<Option<(PlanId, Vec<f32>)>, JobError> {
        let name = self.request.model.name.clone();
        let (state, mut sequence) = self.sequence(context)?;
        let start = sequence.len();
        let most = ROWS[ROWS.len() - 1];
        let count = (self.tokens.len() - start).min(most);
        let rows = ROWS.into_iter().find(|&rows| rows >= count).unwrap_or(most);
        let draws = rows == 1 && context.store.executor().runs_ahead();
        let plan = (context.store).plan_while(
            context.interrupt,
            &name,
            0,
            PlanKey::Language(rows),
            || model.choosing_graph(&model.shape(rows), draws),
        );
        // Making the plan may have cost the cache its place.
        let chat = context.store.chat_state(&name)?;
        if chat.state != state {
            return Ok(None);
        }
        if let Err(error) = self.ask(start + count == self.tokens.len()) {
            self.sequence = Some((state, sequence));
            return Err(error);
        }
        let piece = &self.tokens[start..start + count];
        let slots = match (plan.is_ok(), chat.cache.extend(&mut sequence, piece)) {
            (true, Ok(slots)) => slots,
            (_, result) => {
                chat.cache.truncate(&mut sequence, start);
                self.sequence = Some((state, sequence));
                plan?;
                result.map_err(|_| cache_full(&name))?;
                return Ok(None);
            }
        };
        let plan = plan?;
        let pages = model.pages_per_sequence();
        let mut inputs = inputs(piece, start, &slots, rows, &sequence, pages);
        inputs.extend(choice::inputs(std::iter::once(&self.question), 1));
        let mut next = None;
        if draws {
            inputs.push(draw_input(std::iter::once(self.drawn_by(0)), 1));
            next = self.foreseen(model, &sequence).map(|coming| {
                let Coming { position, slot, .. } = coming;
                let mut next =
                    without_ids(self::inputs(&[0], position, &[slot], 1, &sequence, pages));
                next.extend(choice::inputs(std::iter::once(&coming.question), 1));
                next.push(draw_input(std::iter::once(coming.settings), 1));
                next
            });
        }
        let given = (inputs.as_slice(), next.as_deref());
        let result = choice::run(context.store, (plan, state), given, context.interrupt);
        if result.is_err()
            && let Ok(chat) = context.store.chat_state(&name)
            && chat.state == state
        {
            // What was not computed is not in the cache.
            chat.cache.truncate(&mut sequence, start);
        }
        self.sequence = Some((state, sequence));
        let told = result?.into_iter().next().map(HostTensor::into_f32);
        Ok(told.map(|words| (plan, words)))
    }

    fn token_event(&mut self, model: &ChatModel, sampled: &Sampled) -> (TokenEvent, bool) {
        let tokenizer = model.tokenizer();
        let piece = |id: u32| tokenizer.piece_text(id).unwrap_or_default().to_owned();
        // Control tokens are no text.
        let bytes = if tokenizer.is_special(sampled.id) {
            &[]
        } else {
            tokenizer.piece(sampled.id)
        };
        let complete = self.decoder.push(bytes);
        let outcome = self.stops.push(&complete);
        self.text.push_str(&outcome.text);
        let alternatives = sampled
            .alternatives
            .iter()
            .map(|other| Alternative {
                id: other.id,
                piece: piece(other.id),
                text: if tokenizer.is_special(other.id) {
                    String::new()
                } else {
                    String::from_utf8_lossy(tokenizer.piece(other.id)).into_owned()
                },
                ends: tokenizer.is_end(other.id),
                probability: other.probability,
            })
            .collect();
        let event = TokenEvent {
            id: sampled.id,
            piece: piece(sampled.id),
            text: outcome.text,
            probability: sampled.probability,
            alternatives,
        };
        (event, outcome.stopped.is_some())
    }

    fn finish(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
        reason: FinishReason,
    ) -> Outcome {
        if reason != FinishReason::Stop {
            // Text held back as the possible beginning of a stop text, and bytes of an unfinished character.
            let rest = self.decoder.finish();
            let outcome = self.stops.push(&rest);
            let mut tail = outcome.text;
            if outcome.stopped.is_none() {
                tail.push_str(&self.stops.finish());
            }
            if !tail.is_empty() {
                self.text.push_str(&tail);
                context.emit(Event::TextTail {
                    job: context.job,
                    text: tail,
                });
            }
        }
        self.tell_what_was_read();
        let now = Instant::now();
        let seconds =
            |from: Option<Instant>, to: Instant| from.map_or(0.0, |from| (to - from).as_secs_f32());
        Outcome::Chat {
            text: self.text.clone(),
            reason,
            prompt_tokens: self.prompt_tokens as u32,
            cached_tokens: self.cached_tokens.unwrap_or(0) as u32,
            tokens: self.written,
            dropped_tokens: (self.dropped + self.shifted) as u32,
            context_used: self.tokens.len() as u32,
            context_length: model.context_length() as u32,
            first_token_seconds: seconds(self.started, self.first_token.unwrap_or(now)),
            decode_seconds: seconds(self.first_token, now),
        }
    }
}

impl Pipeline for ChatJob {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        self.started.get_or_insert_with(Instant::now);
        let model = self.model(context)?;
        self.begin(context, &model)?;
        if self.written >= self.request.max_tokens {
            return Ok(Progress::Finished(self.finish(
                context,
                &model,
                FinishReason::Length,
            )));
        }
        if self.tokens.len() >= model.context_length()
            && !(self.request.overflow == Overflow::Shift && self.shift(context, &model)?)
        {
            return Ok(Progress::Finished(self.finish(
                context,
                &model,
                FinishReason::ContextFull,
            )));
        }
        let Some((plan, words)) = self.logits(context, &model)? else {
            return Ok(Progress::Working);
        };
        let told = Told {
            kept: (plan, 0),
            words: row_of(&words, 0),
        };
        self.choose(context, &model, &told)
    }

    fn partial(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        let model = self.model.clone()?;
        (self.written > 0).then(|| self.finish(context, &model, FinishReason::Cancelled))
    }

    fn device_lost(&mut self) {
        self.sequence = None;
    }

    fn as_answer(&mut self) -> Option<&mut ChatJob> {
        Some(self)
    }

    fn release(&mut self, store: &mut ModelStore) {
        self.give_back(store);
    }
}

impl ChatJob {
    /// Chooses the next token and tells it.
    fn choose(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
        told: &Told<'_>,
    ) -> Result<Progress, JobError> {
        let Some(sampled) = self.sample(context, model, told)? else {
            return Ok(Progress::Working);
        };
        self.first_token.get_or_insert_with(Instant::now);
        if model.tokenizer().is_end(sampled.id) {
            return Ok(Progress::Finished(self.finish(
                context,
                model,
                FinishReason::End,
            )));
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.take(sampled.id)?;
        }
        self.tokens.push(sampled.id);
        self.written += 1;
        let (event, stopped) = self.token_event(model, &sampled);
        context.emit(Event::Tokens {
            job: context.job,
            tokens: vec![event],
        });
        let reason = match &self.grammar {
            _ if stopped => FinishReason::Stop,
            Some(grammar) if grammar.is_complete() => FinishReason::End,
            _ => return Ok(Progress::Working),
        };
        Ok(Progress::Finished(self.finish(context, model, reason)))
    }
}

fn cache_full(model: &str) -> JobError {
    JobError::Request(format!(
        "the KV cache of '{model}' is full of other conversations that are being answered; wait for them, or cancel one"
    ))
}

/// The inputs of a plan of `rows` rows for a piece of a sequence; rows beyond the piece are padding.
fn inputs(
    piece: &[u32],
    start: usize,
    slots: &[u32],
    rows: usize,
    sequence: &Sequence,
    pages_per_sequence: usize,
) -> Vec<(&'static str, HostTensor)> {
    let padded = |values: Vec<u32>, fill: u32| {
        let mut values = values;
        values.resize(rows, fill);
        HostTensor::u32([rows], values)
    };
    let positions = (start..start + piece.len())
        .map(|position| position as u32)
        .collect();
    let mut table = sequence.pages().to_vec();
    table.resize(pages_per_sequence, 0);
    vec![
        ("ids", padded(piece.to_vec(), 0)),
        ("positions", padded(positions, NO_SLOT)),
        ("write_slots", padded(slots.to_vec(), NO_SLOT)),
        ("sequences", padded(vec![0; piece.len()], 0)),
        (
            "block_tables",
            HostTensor::u32([1, pages_per_sequence], table),
        ),
        (
            "output_rows",
            HostTensor::u32([1], vec![piece.len() as u32 - 1]),
        ),
    ]
}

/// What a stream gives to a run of several.
struct Part {
    /// The job's place among those that were given.
    index: usize,
    /// Where the token stands.
    position: usize,
    token: u32,
    /// Where its keys and values go.
    slot: u32,
}

/// The inputs of a plan for one token of each of several answers, and their tables of pages; rows beyond them are padding.
fn stream_inputs<'a>(
    parts: &[Part],
    tables: impl Iterator<Item = &'a [u32]>,
    streams: usize,
    pages_per_sequence: usize,
) -> Vec<(&'static str, HostTensor)> {
    let padded = |mut values: Vec<u32>, fill: u32| {
        values.resize(streams, fill);
        HostTensor::u32([streams], values)
    };
    let column = |value: fn(&Part) -> u32| parts.iter().map(value).collect();
    let rows = || (0..parts.len() as u32).collect();
    let mut all = Vec::with_capacity(streams * pages_per_sequence);
    for (row, pages) in tables.enumerate() {
        all.extend_from_slice(pages);
        all.resize((row + 1) * pages_per_sequence, 0);
    }
    all.resize(streams * pages_per_sequence, 0);
    vec![
        ("ids", padded(column(|part| part.token), 0)),
        (
            "positions",
            padded(column(|part| part.position as u32), NO_SLOT),
        ),
        ("write_slots", padded(column(|part| part.slot), NO_SLOT)),
        ("sequences", padded(rows(), 0)),
        (
            "block_tables",
            HostTensor::u32([streams, pages_per_sequence], all),
        ),
        ("output_rows", padded(rows(), 0)),
    ]
}
