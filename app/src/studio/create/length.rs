//! How long the prompt is in the model's own tokens: asked when nothing was typed for a moment.

use std::time::{Duration, Instant};

use diptych_inference::engine::{Command, Event, ModelRef};

use super::Create;
use crate::studio::house::House;
use crate::studio::session::EngineState;

/// Nobody is asked before nothing was typed for so long.
pub const PAUSE: Duration = Duration::from_millis(250);
/// Numbers of these questions begin here; those of conversations are below.
const FIRST: u64 = 1 << 32;

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    model: ModelRef,
    prompt: String,
}

/// What is known of the prompt's length.
#[derive(Debug, Default)]
pub(super) struct Length {
    seen: Option<Subject>,
    since: Option<Instant>,
    asked: Option<(u64, Subject)>,
    next: u64,
    /// Of the latest answer: the model, tokens, and how many are read at once.
    known: Option<(ModelRef, u32, u32)>,
}

impl Create {
    /// Tokens of the prompt, and how many the model reads in as many readings as they need; while the prompt is being typed, of what it was a moment
    /// ago. `None` where the model was not asked yet.
    pub fn prompt_tokens(&self, house: &House) -> Option<(usize, usize)> {
        let model = self.form.model(house)?.model.as_ref()?;
        let (of, tokens, at_once) = self.length.known.as_ref()?;
        if of != model || *at_once == 0 {
            return None;
        }
        let tokens = if self.form.prompt.trim().is_empty() {
            0
        } else {
            *tokens
        };
        let readings = tokens.div_ceil(*at_once).max(1);
        Some((tokens as usize, (readings * at_once) as usize))
    }

    /// Whether it is about to be asked; then a frame is needed after [`PAUSE`].
    pub fn will_ask(&self) -> bool {
        let asked = self.length.asked.as_ref().map(|(_, subject)| subject);
        self.length.seen.is_some() && self.length.seen.as_ref() != asked
    }

    pub(super) fn ask_length(&mut self, house: &mut House) {
        if !matches!(house.engine, EngineState::Ready { .. }) || !house.shelf.ready {
            return;
        }
        let Some(model) = self.form.model(house).and_then(|model| model.model.clone()) else {
            return;
        };
        let length = &mut self.length;
        let prompt = &self.form.prompt;
        let same = |of: &Subject| of.model == model && of.prompt == *prompt;
        if !length.seen.as_ref().is_some_and(same) {
            length.seen = Some(Subject {
                model: model.clone(),
                prompt: prompt.clone(),
            });
            length.since = Some(Instant::now());
        }
        let asked = length.asked.as_ref();
        let rested = length.since.is_none_or(|since| since.elapsed() >= PAUSE);
        if !rested || asked.is_some_and(|(_, of)| same(of)) {
            return;
        }
        let tag = FIRST + length.next;
        let command = Command::Tokenize {
            tag,
            model,
            text: prompt.clone(),
        };
        if house.ask_engine(command) {
            length.next += 1;
            length.asked = length.seen.clone().map(|subject| (tag, subject));
        }
    }

    /// Takes in what the engine answers.
    pub(in crate::studio) fn answered(&mut self, event: &Event) {
        match event {
            Event::Tokenized {
                tag,
                result,
                at_once,
            } => {
                let asked = self.length.asked.as_ref();
                if let Some((_, subject)) = asked.filter(|(asked, _)| asked == tag) {
                    // What cannot be read is told when it is drawn.
                    self.length.known = match (result, at_once) {
                        (Ok(tokens), Some(at_once)) => {
                            Some((subject.model.clone(), *tokens, *at_once))
                        }
                        _ => None,
                    };
                }
            }
            // The new engine knows nothing of what the old one was asked.
            Event::Ready { .. } => self.length.asked = None,
            _ => {}
        }
    }
}
