//! Questions to the engine beside answers: what a message would cost, how long attached texts are, and what the model
//! thinks of the next word.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych_inference::engine::{ChatPrompt, ChatRequest, Command, Event, Ledger, Overflow};
use diptych_inference::text::sampling::{Distribution, SamplingParams};
use diptych_inference::text::template::ChatMessage;

use super::Chat;
use super::talk::Loaded;
use super::tree;
use crate::library::records::{
    Attachment, ConversationId, Message, MessageId, MessageState, Role, now,
};
use crate::studio::house::House;
use crate::studio::session::EngineState;

/// Nobody is asked before nothing was typed for so long.
pub const PAUSE: Duration = Duration::from_millis(450);
/// Numbers of the questions; those about texts come behind.
const LEDGER: u64 = 1;
const SANDBOX: u64 = 2;
const TEXTS: u64 = 16;

/// A question that is asked anew when what it is about has changed and then rested.
#[derive(Debug)]
struct Question<T> {
    seen: Option<u64>,
    since: Option<Instant>,
    asked: Option<u64>,
    answer: Option<Result<T, String>>,
}

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self {
            seen: None,
            since: None,
            asked: None,
            answer: None,
        }
    }
}

impl<T> Question<T> {
    /// Whether it is to be asked now; `of` tells what it is about.
    fn is_due(&mut self, of: u64, now: Instant) -> bool {
        if self.seen != Some(of) {
            self.seen = Some(of);
            self.since = Some(now);
        }
        self.asked != Some(of) && self.since.is_none_or(|since| now >= since + PAUSE)
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether it is about to be asked.
    fn waits(&self) -> bool {
        self.seen.is_some() && self.asked != self.seen
    }
}

/// Where the next word is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// An answer.
    pub message: MessageId,
    /// How many bytes of it are given.
    pub bytes: usize,
}

/// All questions.
#[derive(Debug, Default)]
pub(super) struct Asks {
    ledger: Question<Ledger>,
    sandbox: Question<Arc<Distribution>>,
    /// Tokens of texts by model and text; `None` is asked for.
    counts: HashMap<(String, u64), Option<u32>>,
    counting: HashMap<u64, (String, u64)>,
    next: u64,
}

/// By what something is known within this run of the program.
pub(super) fn hash(parts: impl std::hash::Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn is_ready(house: &House) -> bool {
    matches!(house.engine, EngineState::Ready { .. }) && house.shelf.ready
}

impl Chat {
    /// What the message that is being written would cost, or why that cannot be told. `None` while nothing is written or
    /// nothing is known.
    pub fn ledger(&self) -> Option<&Result<Ledger, String>> {
        let told = self.asks.ledger.answer.as_ref()?;
        (!self.is_blank()).then_some(told)
    }

    /// What the model thinks of the next word, once it was asked.
    pub fn distribution(&self) -> Option<&Result<Arc<Distribution>, String>> {
        self.asks.sandbox.answer.as_ref()
    }

    /// Whether something is about to be asked when nothing more is typed; then a frame is needed after [`PAUSE`].
    pub fn will_ask(&self) -> bool {
        self.asks.ledger.waits() || (self.sandbox_open && self.asks.sandbox.waits())
    }

    /// Tokens of a file of the message that is being written, for the model that answers, once they are known.
    pub fn tokens_of(&self, file: usize, house: &House) -> Option<u32> {
        let hash = *self.attached_hashes().get(file)?;
        let settings = self.settings(house);
        let model = self.model_of(&settings, house)?.model.as_ref()?;
        let key = (model.name.clone(), hash);
        self.asks.counts.get(&key).copied().flatten()
    }

    /// Whether nothing is written, and no file attached.
    fn is_blank(&self) -> bool {
        self.unsent().is_empty() && self.attached().is_empty()
    }

    /// The request of turns, as an answer to them would have it.
    fn request_of(&self, turns: Vec<ChatMessage>, house: &House) -> Option<ChatRequest> {
        let settings = self.settings(house);
        let model = self.model_of(&settings, house)?.model.clone()?;
        Some(ChatRequest {
            sampling: settings.sampling,
            max_tokens: settings.max_tokens,
            time: now() / 1000,
            overflow: if settings.drop_old {
                Overflow::Shift
            } else {
                Overflow::Stop
            },
            ..ChatRequest::new(model, ChatPrompt::Messages(turns))
        })
    }

    /// The turns if what is written were sent now.
    fn turns_to_send(&self, house: &House) -> Vec<ChatMessage> {
        let settings = self.settings(house);
        let unsent = Message {
            id: MessageId(0),
            conversation: self.current.unwrap_or(ConversationId(0)),
            parent: None,
            role: Role::User,
            text: self.unsent().to_owned(),
            attachments: self.attached().to_vec(),
            state: MessageState::Done,
            info: None,
            created: 0,
        };
        let mut branch = self
            .shown()
            .map(|talk| talk.tree.branch())
            .unwrap_or_default();
        branch.push(&unsent);
        tree::prompt(&settings.system, &branch)
    }

    /// The turns before the word that is looked at: of the spot that was chosen, of what is written, or of the last answer.
    fn turns_to_try(&self, house: &House) -> Vec<ChatMessage> {
        if let Some(spot) = self.spot
            && let Some(talk) = self.shown()
            && let Some(answer) = talk.tree.get(spot.message)
            && let Some(given) = answer.text.get(..spot.bytes)
        {
            let mut turns = talk.tree.prompt(&talk.conversation.system, spot.message);
            if !given.is_empty() {
                turns.push(ChatMessage::new("assistant", given));
            }
            return turns;
        }
        if !self.is_blank() {
            return self.turns_to_send(house);
        }
        let Some(talk) = self.shown() else {
            return Vec::new();
        };
        let branch = talk.tree.branch();
        match branch.last() {
            Some(last) if last.role == Role::Assistant => {
                talk.tree.prompt(&talk.conversation.system, last.id)
            }
            _ => tree::prompt(&talk.conversation.system, &branch),
        }
    }

    /// What a question about the conversation depends on, without reading all of it.
    fn subject(&self, house: &House) -> u64 {
        let settings = self.settings(house);
        let model = self
            .model_of(&settings, house)
            .and_then(|model| model.model.as_ref())
            .map(|model| model.name.as_str());
        let files = self
            .attached()
            .iter()
            .map(|file| (&file.name, file.text.len()));
        let files: Vec<_> = files.collect();
        let shown = self.shown().map(|talk| {
            let last = talk.tree.leaf().and_then(|leaf| talk.tree.get(leaf));
            (talk.tree.version(), last.map(|last| last.text.len()))
        });
        hash((
            self.current,
            self.unsent(),
            files,
            shown,
            model,
            settings.system,
            settings.max_tokens,
            settings.drop_old,
        ))
    }

    /// Asks what is due.
    pub(super) fn ask_engine(&mut self, house: &mut House) {
        if !is_ready(house) {
            return;
        }
        let now = Instant::now();
        self.ask_texts(house);
        let busy = self.current.is_some_and(|id| self.is_writing(id));
        let loaded = self.shown().is_none_or(|talk| talk.loaded == Loaded::Yes);
        if busy || !loaded {
            return;
        }
        let blank = self.is_blank();
        if blank && !self.sandbox_open {
            self.asks.ledger.forget();
            return;
        }
        let subject = self.subject(house);
        if blank {
            self.asks.ledger.forget();
        } else if self.asks.ledger.is_due(subject, now) {
            let turns = self.turns_to_send(house);
            if let Some(request) = self.request_of(turns, house) {
                let request = Box::new(request);
                let command = Command::Measure {
                    tag: LEDGER,
                    request,
                };
                if house.ask_engine(command) {
                    self.asks.ledger.asked = Some(subject);
                }
            }
        }
        if !self.sandbox_open {
            return;
        }
        let subject = hash((subject, self.spot.map(|spot| (spot.message, spot.bytes))));
        if self.asks.sandbox.is_due(subject, now) {
            let turns = self.turns_to_try(house);
            if turns.iter().all(|turn| turn.role == "system") {
                self.asks.sandbox.answer = None;
                self.asks.sandbox.asked = Some(subject);
                return;
            }
            if let Some(request) = self.request_of(turns, house) {
                // Which settings are tried is no matter of the model.
                let request = Box::new(ChatRequest {
                    sampling: SamplingParams::default(),
                    ..request
                });
                let command = Command::Distribution {
                    tag: SANDBOX,
                    request,
                };
                if house.ask_engine(command) {
                    self.asks.sandbox.asked = Some(subject);
                }
            }
        }
    }

    /// Asks for the lengths of the texts that are attached.
    fn ask_texts(&mut self, house: &mut House) {
        if self.attached().is_empty() {
            return;
        }
        let settings = self.settings(house);
        let Some(model) = self
            .model_of(&settings, house)
            .and_then(|model| model.model.clone())
        else {
            return;
        };
        let hashes = self.attached_hashes().iter();
        let keyed = hashes.map(|hash| (model.name.clone(), *hash));
        let open: Vec<((String, u64), Attachment)> = keyed
            .zip(self.attached())
            .filter(|(key, _)| !self.asks.counts.contains_key(key))
            .map(|(key, file)| (key, file.clone()))
            .collect();
        for (key, file) in open {
            self.asks.next += 1;
            let tag = TEXTS + self.asks.next;
            let command = Command::Tokenize {
                tag,
                model: model.clone(),
                text: tree::fenced(&file),
            };
            if house.ask_engine(command) {
                self.asks.counts.insert(key.clone(), None);
                self.asks.counting.insert(tag, key);
            }
        }
    }

    /// Takes in what the engine answers.
    pub(in crate::studio) fn answered(&mut self, event: &Event) {
        match event {
            Event::Measured { tag, ledger } if *tag == LEDGER => {
                self.asks.ledger.answer = Some(ledger.clone());
            }
            Event::Distribution { tag, result } if *tag == SANDBOX => {
                let result = result.clone().map(Arc::new);
                self.asks.sandbox.answer = Some(result);
            }
            Event::Tokenized { tag, result, .. } => {
                if let Some(key) = self.asks.counting.remove(tag)
                    && let Ok(count) = result
                {
                    self.asks.counts.insert(key, Some(*count));
                }
            }
            // The new engine knows nothing of what the old one was asked.
            Event::Ready { .. } => {
                self.asks.ledger.forget();
                self.asks.sandbox.forget();
                self.asks.counts.retain(|_, count| count.is_some());
                self.asks.counting.clear();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_while_it_changes() {
        let mut question = Question::<u32>::default();
        let begin = Instant::now();
        for at in 0..10_u64 {
            let now = begin + PAUSE * u32::try_from(at).unwrap() / 3;
            assert!(!question.is_due(at, now));
        }
        let rested = begin + PAUSE * 5;
        assert!(question.waits() && question.is_due(9, rested));
        question.asked = Some(9);
        assert!(!question.is_due(9, rested + PAUSE) && !question.waits());
        assert!(!question.is_due(10, rested + PAUSE));
        assert!(question.is_due(10, rested + PAUSE * 2));
    }
}
