//! Choosing the next token from what the device tells of a row of logits, or, where that does not settle it, from the whole row.

use super::ChatJob;
use crate::graph::candidates::{CandidateRow, EXTRAS, ROW_WORDS};
use crate::graph::draw::{DRAW_WORDS, DrawSettings};
use crate::graph::{HostTensor, Interrupt, NO_SLOT, Next, PlanId, StateId};
use crate::pipelines::chat_model::ChatModel;
use crate::pipelines::kv::Sequence;
use crate::pipelines::{Context, JobError, ModelStore};
use crate::text::grammar::GrammarState;
use crate::text::sampling::{Sampled, TokenMask};

/// What the next choice is asked with, made before the run whose logits it is taken from.
#[derive(Default)]
pub(super) struct Question {
    /// Tokens whose logits are wanted; `None`: the whole row.
    asked: Option<Vec<u32>>,
    /// What the grammar allows.
    allowed: Option<TokenMask>,
    inverse_temperature: f32,
}

impl Question {
    /// Which asks for no token by its number.
    fn of_nothing(inverse_temperature: f32) -> Self {
        Self {
            asked: Some(Vec::new()),
            allowed: None,
            inverse_temperature,
        }
    }
}

/// What is known of an answer's next token but one before the next is chosen.
pub(super) struct Coming {
    /// Where the token that the device draws stands.
    pub position: usize,
    /// Where its keys and values go.
    pub slot: u32,
    pub question: Question,
    /// By what the token after it is drawn.
    pub settings: DrawSettings,
}

/// What a run told of a row.
pub(super) struct Told<'a> {
    /// The plan that keeps the whole row, and which row it is.
    pub kept: (PlanId, usize),
    /// What it returned of the row.
    pub words: &'a [f32],
}

/// How choices were made, for the log.
#[derive(Clone, Copy, Default)]
pub(super) struct Read {
    pub choices: u32,
    /// Choices for which the whole row was read.
    pub whole: u32,
    pub bytes: u64,
}

impl ChatJob {
    /// Works out what the choice of the token after all present ones needs. Nothing where no choice is made in this run.
    pub(super) fn ask(&mut self, last: bool) -> Result<(), JobError> {
        self.question = Question::of_nothing(1.0);
        let Some(sampler) = self.sampler.as_ref().filter(|_| last) else {
            return Ok(());
        };
        let allowed = self.grammar.as_mut().map(GrammarState::mask).transpose()?;
        self.question = Question {
            asked: sampler.wants(&self.tokens, allowed.as_ref()),
            inverse_temperature: sampler.inverse_temperature(),
            allowed,
        };
        Ok(())
    }

    /// By what the device draws a token, after `later` others. Where it cannot know that, whatever it draws is of no use.
    pub(super) fn drawn_by(&self, later: usize) -> DrawSettings {
        let settings = self.sampler.as_ref().and_then(|s| s.draw_settings(later));
        settings.unwrap_or(DrawSettings::BEST)
    }

    /// What the run after the coming one is given, but for the token, if it is sure to come unless the answer ends: where the device can draw the token that
    /// is chosen, and there is a place for its keys and values. `sequence` holds all tokens so far.
    pub(super) fn foreseen(&self, model: &ChatModel, sequence: &Sequence) -> Option<Coming> {
        let position = self.tokens.len();
        let goes_on = sequence.len() == position
            && self.written + 1 < self.request.max_tokens
            && position + 1 < model.context_length()
            && self.grammar.is_none();
        let sampler = self.sampler.as_ref().filter(|_| goes_on)?;
        sampler.draw_settings(0)?;
        Some(Coming {
            position,
            slot: sequence.next_slot()?,
            // A choice that can be foreseen asks for no tokens of its own.
            question: Question::of_nothing(sampler.inverse_temperature()),
            settings: self.drawn_by(1),
        })
    }

    /// What the grammar allows next, worked out by [`Self::ask`].
    pub(super) fn allowed(&mut self) -> Option<TokenMask> {
        self.question.allowed.take()
    }

    /// The choice, and whether the whole row was needed.
    pub(super) fn sample(
        &mut self,
        context: &mut Context<'_>,
        model: &ChatModel,
        told: &Told<'_>,
    ) -> Result<Option<Sampled>, JobError> {
        let tokens = model.tokenizer().vocab_len();
        let Some(sampler) = &mut self.sampler else {
            return Ok(None);
        };
        let Question { asked, allowed, .. } = &self.question;
        self.read.choices += 1;
        self.read.bytes += 4 * told.words.len() as u64;
        if let (Some(asked), Some(row)) = (asked, CandidateRow::read(told.words, tokens))
            && let Some(sampled) =
                sampler.sample_known(&row, asked, &self.tokens, allowed.as_ref())?
        {
            return Ok(Some(sampled));
        }
        let logits = whole_row(context, model, told)?;
        self.read.whole += 1;
        self.read.bytes += 4 * logits.len() as u64;
        let sampled = sampler.sample_allowed(&logits, &self.tokens, allowed.as_ref())?;
        Ok(Some(sampled))
    }

    /// Says in the log what was read from the device.
    pub(super) fn tell_what_was_read(&self) {
        let Read {
            choices,
            whole,
            bytes,
        } = self.read;
        if choices > 0 {
            tracing::debug!(
                choices,
                whole_rows = whole,
                bytes_a_token = bytes / u64::from(choices),
                "read from the device to choose tokens"
            );
        }
    }
}

/// The logits of the tokens: rows of the table beyond the vocabulary are padding of the file, and left out.
pub(super) fn whole_row(
    context: &mut Context<'_>,
    model: &ChatModel,
    told: &Told<'_>,
) -> Result<Vec<f32>, JobError> {
    let (plan, row) = told.kept;
    let mut logits = context.store.executor_mut().read_kept(plan, 0, row)?;
    logits.truncate(model.tokenizer().vocab_len());
    Ok(logits)
}

/// The inputs by which the device is asked, of `rows` rows; rows beyond the questions are padding.
pub(super) fn inputs<'a>(
    questions: impl Iterator<Item = &'a Question>,
    rows: usize,
) -> [(&'static str, HostTensor); 2] {
    let mut extras = Vec::with_capacity(rows * EXTRAS);
    let mut temperatures = Vec::with_capacity(rows);
    for (row, question) in questions.take(rows).enumerate() {
        extras.extend(question.asked.iter().flatten().take(EXTRAS));
        extras.resize((row + 1) * EXTRAS, NO_SLOT);
        temperatures.push(question.inverse_temperature);
    }
    extras.resize(rows * EXTRAS, NO_SLOT);
    temperatures.resize(rows, 1.0);
    [
        ("extras", HostTensor::u32([rows, EXTRAS], extras)),
        (
            "inverse_temperatures",
            HostTensor::f32([rows], temperatures),
        ),
    ]
}

/// The input by which tokens are drawn, of `rows` rows; those beyond the settings are padding.
pub(super) fn draw_input(
    settings: impl Iterator<Item = DrawSettings>,
    rows: usize,
) -> (&'static str, HostTensor) {
    let all = settings.chain(std::iter::repeat(DrawSettings::PADDING));
    let words: Vec<f32> = all.take(rows).flat_map(|one| one.words()).collect();
    ("draw", HostTensor::f32([rows, DRAW_WORDS], words))
}

/// Inputs of a run whose tokens the device draws: those that are known.
pub(super) fn without_ids(
    mut inputs: Vec<(&'static str, HostTensor)>,
) -> Vec<(&'static str, HostTensor)> {
    inputs.retain(|(name, _)| *name != "ids");
    inputs
}

/// Inputs by their names.
type Named<'a> = &'a [(&'a str, HostTensor)];

/// Runs a plan, and tells what it will be given next, if that is known.
pub(super) fn run(
    store: &mut ModelStore,
    (plan, state): (PlanId, StateId),
    (inputs, next): (Named<'_>, Option<Named<'_>>),
    interrupt: &mut dyn Interrupt,
) -> Result<Vec<HostTensor>, JobError> {
    let Some(inputs_then) = next else {
        return store.run(plan, inputs, &[state], interrupt);
    };
    let next = Next {
        inputs: inputs_then,
        input: "ids",
        output: "drawn",
    };
    store.run_then(plan, (inputs, &next), &[state], interrupt)
}

/// What the device told of a row.
pub(super) fn row_of(words: &[f32], row: usize) -> &[f32] {
    words
        .get(row * ROW_WORDS..(row + 1) * ROW_WORDS)
        .unwrap_or_default()
}
