//! What a language model thinks of a given text: its logits, or how well it foretells it.
//!
//! Perplexity is as llama.cpp's `llama-perplexity` defines it, so that numbers can be compared: the text's tokens are cut into chunks of the context's length (what is
//! left at the end is dropped), each chunk begins anew (its first token gives way to the beginning of text, where the model has one), and of each chunk only the tokens
//! of its second half are scored, which have at least half a context before them. It is the exponential of the mean negative logarithm of the
//! probability of the tokens scored.

use std::sync::Arc;
use std::time::Instant;

use super::chat_model::ChatModel;
use super::error::JobError;
use super::store::PlanKey;
use super::{Context, ModelStore, Pipeline, Progress};
use crate::engine::{ChatPrompt, Event, Measure, Outcome, Perplexity, ScoreRequest};
use crate::graph::{HostTensor, KV_PAGE, NO_SLOT, StateId};
use crate::models::llama::LlamaShape;

/// Rows of a run.
const ROWS: usize = 64;
/// Most bytes of logits that are handed over.
const MOST_BYTES: usize = 2 << 30;

/// A text being scored.
pub struct ScoreJob {
    request: ScoreRequest,
    model: Option<Arc<ChatModel>>,
    /// Tokens of the whole text.
    tokens: Vec<u32>,
    /// Tokens of a chunk, and how many chunks there are.
    chunk: usize,
    chunks: usize,
    /// The first token of a chunk whose logits are wanted.
    from: usize,
    /// Rows of all chunks that are done.
    done: usize,
    state: Option<StateId>,
    logits: Vec<f32>,
    /// Negative logarithms of the probabilities of tokens scored: their sum, the sum of their squares, their number.
    sums: (f64, f64, u64),
    started: Option<Instant>,
}

impl ScoreJob {
    /// A job at its start.
    pub fn new(request: ScoreRequest) -> Self {
        Self {
            request,
            model: None,
            tokens: Vec::new(),
            chunk: 0,
            chunks: 0,
            from: 0,
            done: 0,
            state: None,
            logits: Vec::new(),
            sums: (0.0, 0.0, 0),
            started: None,
        }
    }

    /// Loads the model and cuts the text.
    fn begin(&mut self, context: &mut Context<'_>) -> Result<Arc<ChatModel>, JobError> {
        let (store, mut loading) = context.loading(&self.request.model.name);
        let model = store.chat_model(&self.request.model, &mut loading)?;
        let (tokens, warning) = match &self.request.prompt {
            ChatPrompt::Messages(messages) => model.encode_messages(messages, self.request.time)?,
            ChatPrompt::Raw(text) => (model.encode_raw(text)?, None),
        };
        if let Some(warning) = warning {
            context.warn(warning);
        }
        let most = model.context_length();
        match self.request.measure {
            Measure::Logits => {
                if tokens.is_empty() {
                    return Err(JobError::Request("there is no text".into()));
                }
                if tokens.len() > most {
                    return Err(JobError::ContextFull {
                        model: self.request.model.name.clone(),
                        tokens: tokens.len(),
                        context: most,
                    });
                }
                let bytes = tokens.len().saturating_mul(4 * model.llama().vocab_size());
                if bytes > MOST_BYTES {
                    return Err(JobError::Request(format!(
                        "the logits of {} tokens are {} MiB; at most {} MiB are handed over, so give a shorter text",
                        tokens.len(),
                        bytes >> 20,
                        MOST_BYTES >> 20
                    )));
                }
                (self.chunk, self.chunks, self.from) = (tokens.len(), 1, 0);
            }
            Measure::Perplexity { context: length } => {
                let length = length as usize;
                if !(4..=most).contains(&length) {
                    return Err(JobError::Request(format!(
                        "a context of {length} tokens cannot be scored; '{}' takes 4 to {most}",
                        self.request.model.name
                    )));
                }
                if tokens.len() < 2 * length {
                    return Err(JobError::Request(format!(
                        "the text has {} tokens; perplexity over a context of {length} needs at least {} (a longer text, or a shorter --context)",
                        tokens.len(),
                        2 * length
                    )));
                }
                (self.chunk, self.chunks) = (length, tokens.len() / length);
                // The last token of the first half is the first to foretell.
                self.from = length / 2;
            }
        }
        self.tokens = tokens;
        self.started = Some(Instant::now());
        self.model = Some(Arc::clone(&model));
        Ok(model)
    }

    /// Computes the next rows; gives their first place within its chunk, their number, and the logits of those that are wanted.
    fn compute(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
    ) -> Result<(usize, usize, Vec<f32>), JobError> {
        let name = self.request.model.name.clone();
        let pages = self.chunk.div_ceil(KV_PAGE);
        let state = match self.state {
            Some(state) => state,
            None => {
                let shape = model.llama().kv_shape(pages);
                let state = context.store.create_state(&name, shape)?;
                *self.state.insert(state)
            }
        };
        let (chunk, at) = (self.done / self.chunk, self.done % self.chunk);
        // A run is either before the rows that are wanted or among them.
        let end = match at < self.from {
            true => self.from,
            false => self.chunk,
        };
        let count = (end - at).min(ROWS);
        let outputs = if at < self.from { 0 } else { ROWS };
        let plan = context.store.plan_while(
            context.interrupt,
            &name,
            0,
            PlanKey::Score(outputs, pages),
            || {
                Ok(model.llama().graph(&LlamaShape {
                    rows: ROWS,
                    outputs,
                    sequences: 1,
                    pages_per_sequence: pages,
                    pages,
                })?)
            },
        )?;
        let begin = chunk * self.chunk + at;
        let mut ids = self
            .tokens
            .get(begin..begin + count)
            .unwrap_or_default()
            .to_vec();
        let perplexity = matches!(self.request.measure, Measure::Perplexity { .. });
        if let (true, 0, Some(bos), Some(first)) = (
            perplexity && model.tokenizer().add_bos_default(),
            at,
            model.tokenizer().bos(),
            ids.first_mut(),
        ) {
            *first = bos;
        }
        ids.resize(ROWS, 0);
        // Rows beyond the piece are padding. Pages lie in order.
        let mut places: Vec<u32> = (at..at + count).map(|place| place as u32).collect();
        places.resize(ROWS, NO_SLOT);
        let rows = |values: Vec<u32>| HostTensor::u32([ROWS], values);
        let mut inputs = vec![
            ("ids", rows(ids)),
            ("positions", rows(places.clone())),
            ("write_slots", rows(places)),
            ("sequences", rows(vec![0; ROWS])),
            (
                "block_tables",
                HostTensor::u32([1, pages], (0..pages as u32).collect()),
            ),
        ];
        if outputs > 0 {
            inputs.push(("output_rows", rows((0..ROWS as u32).collect())));
        }
        let results = context
            .store
            .run(plan, &inputs, &[state], context.interrupt)?;
        let mut logits = results
            .into_iter()
            .next()
            .map(HostTensor::into_f32)
            .unwrap_or_default();
        logits.truncate(count * model.llama().vocab_size());
        Ok((at, count, logits))
    }

    /// Adds up what the rows from `at` of a chunk say of the tokens after them.
    fn score(&mut self, model: &ChatModel, begin: usize, at: usize, logits: &[f32]) {
        // Rows of the table beyond the vocabulary are padding of the file.
        let known = model.tokenizer().vocab_len();
        let vocab = model.llama().vocab_size();
        for (row, logits) in logits.chunks(vocab).enumerate() {
            if at + row + 1 >= self.chunk {
                break;
            }
            let Some(&next) = self.tokens.get(begin + row + 1) else {
                break;
            };
            let logits = &logits[..known.min(logits.len())];
            let loss = negative_log_probability(logits, next);
            self.sums.0 += loss;
            self.sums.1 += loss * loss;
            self.sums.2 += 1;
        }
    }

    fn perplexity(&self, model: &ChatModel) -> Outcome {
        let (sum, squares, count) = self.sums;
        let n = count.max(1) as f64;
        let mean = sum / n;
        let variance = (squares / n - mean * mean).max(0.0);
        let perplexity = mean.exp();
        let error = match count {
            0 | 1 => 0.0,
            _ => (variance / (n - 1.0)).sqrt() * perplexity,
        };
        Outcome::Perplexity(Perplexity {
            perplexity,
            error,
            tokens: self.tokens.len() as u64,
            context: self.chunk as u32,
            chunks: (self.done / self.chunk.max(1)) as u32,
            scored: count,
            beginning: model.tokenizer().add_bos_default(),
            seconds: self
                .started
                .map_or(0.0, |started| started.elapsed().as_secs_f32()),
        })
    }
}

/// `-ln` of a token's probability.
fn negative_log_probability(logits: &[f32], token: u32) -> f64 {
    let Some(&chosen) = logits.get(token as usize) else {
        return f64::INFINITY;
    };
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - largest).exp())
        .sum();
    sum.ln() - f64::from(chosen - largest)
}

impl Pipeline for ScoreJob {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        let model = match &self.model {
            Some(model) => Arc::clone(model),
            None => self.begin(context)?,
        };
        let began = Instant::now();
        let (at, count, logits) = self.compute(context, &model)?;
        match self.request.measure {
            Measure::Logits => self.logits.extend(logits),
            Measure::Perplexity { .. } => self.score(&model, self.done, at, &logits),
        }
        self.done += count;
        let all = self.chunk * self.chunks;
        let steps = |rows: usize| u32::try_from(rows.div_ceil(ROWS)).unwrap_or(u32::MAX);
        context.emit(Event::Step {
            job: context.job,
            index: steps(self.done),
            total: steps(all),
            seconds: began.elapsed().as_secs_f32(),
            preview: None,
        });
        if self.done < all {
            return Ok(Progress::Working);
        }
        Ok(Progress::Finished(match self.request.measure {
            Measure::Perplexity { .. } => self.perplexity(&model),
            Measure::Logits => {
                let shape = [self.tokens.len(), model.llama().vocab_size()];
                let logits = HostTensor::f32(shape, std::mem::take(&mut self.logits));
                Outcome::Logits {
                    ids: std::mem::take(&mut self.tokens),
                    logits: Arc::new(logits),
                }
            }
        }))
    }

    fn partial(&mut self, _context: &mut Context<'_>) -> Option<Outcome> {
        let model = self.model.clone()?;
        let scored = matches!(self.request.measure, Measure::Perplexity { .. }) && self.sums.2 > 0;
        scored.then(|| self.perplexity(&model))
    }

    fn device_lost(&mut self) {
        self.state = None;
        self.restart();
    }

    fn release(&mut self, store: &mut ModelStore) {
        if let Some(state) = self.state.take() {
            store.executor_mut().drop_state(state);
        }
    }
}

impl ScoreJob {
    /// Goes back to the beginning: what lay in the cache is gone.
    fn restart(&mut self) {
        self.done = 0;
        self.sums = (0.0, 0.0, 0);
        self.logits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let logits = [1.0f32, 2.0, -1.0];
        let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        for (token, logit) in logits.iter().enumerate() {
            let wanted = -(f64::from(*logit).exp() / sum).ln();
            let got = negative_log_probability(&logits, token as u32);
            assert!((got - wanted).abs() < 1e-9, "{got} {wanted}");
        }
        assert!(negative_log_probability(&logits, 3).is_infinite());
    }
}
