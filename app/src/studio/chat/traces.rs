//! What the model thought of the tokens of its answers: looked up where it is shown, and the answers that go another way
//! at one of them.

use std::collections::HashMap;
use std::sync::Arc;

use diptych_inference::engine::FinishReason;

use super::Chat;
use super::answers::{Begin, keep_conversation, keep_message, keep_trace};
use crate::library::keeper::LibraryEvent;
use crate::library::records::{MessageId, MessageState};
use crate::library::trace::{Trace, Word, WordKind};
use crate::studio::house::House;

/// Most answers whose tokens are held in memory.
const MOST_HELD: usize = 400;

/// What is known of an answer's tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// The library was asked.
    Asked,
    /// Nothing was kept.
    Nothing,
    /// This.
    Trace(Arc<Trace>),
}

/// Answers' tokens, as far as they were looked at.
#[derive(Debug, Default)]
pub(super) struct Traces {
    known: HashMap<MessageId, Known>,
    wanted: Vec<MessageId>,
}

/// The tokens of an answer, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub enum TraceOf<'a> {
    /// They are being looked up.
    Coming,
    /// They were not kept.
    Nothing,
    /// These.
    Known(&'a Trace),
}

impl Chat {
    pub(super) fn kept_trace(&self, message: MessageId) -> Option<&Trace> {
        match self.traces.known.get(&message) {
            Some(Known::Trace(trace)) => Some(trace),
            _ => None,
        }
    }

    /// The tokens of an answer. Those that are not known yet are to be asked for by [`Chat::want_traces`].
    pub fn trace(&self, message: MessageId) -> TraceOf<'_> {
        let kept = self.kept_trace(message);
        let written = self.writing(message).map(|writing| &writing.trace);
        // An answer that is written once more has more than what is written of it so far.
        match (written, kept) {
            (Some(written), Some(kept)) if kept.covered() > written.covered() => {
                TraceOf::Known(kept)
            }
            (Some(trace), _) | (None, Some(trace)) => TraceOf::Known(trace),
            (None, None) => match self.traces.known.get(&message) {
                Some(Known::Nothing) => TraceOf::Nothing,
                _ => TraceOf::Coming,
            },
        }
    }

    /// Has the tokens of answers looked up, if nobody did yet.
    pub fn want_traces(&mut self, messages: impl IntoIterator<Item = MessageId>) {
        for message in messages {
            if !self.traces.known.contains_key(&message) {
                self.traces.wanted.push(message);
            }
        }
    }

    pub(super) fn look_up_traces(&mut self, house: &House) {
        if self.traces.wanted.is_empty() {
            return;
        }
        if self.traces.known.len() > MOST_HELD {
            // All of them are in the library.
            self.traces.known.clear();
        }
        for message in std::mem::take(&mut self.traces.wanted) {
            if self.traces.known.contains_key(&message) {
                continue;
            }
            self.traces.known.insert(message, Known::Asked);
            house.look_up("what the model thought", move |library| {
                let trace = library.tokens(message)?.map(Arc::new);
                Ok(Some(LibraryEvent::Tokens { message, trace }))
            });
        }
    }

    pub(super) fn take_trace(&mut self, message: MessageId, trace: Option<Arc<Trace>>) {
        let known = trace.map_or(Known::Nothing, Known::Trace);
        if self.kept_trace(message).is_none() {
            self.traces.known.insert(message, known);
        }
    }

    /// Takes what is known now; the library was told.
    pub(super) fn know_trace(&mut self, message: MessageId, trace: Trace, given: usize) {
        let trace = match self.kept_trace(message) {
            Some(earlier) => trace.begun_with(earlier, given),
            None if given > 0 && trace.probability(0).is_none() => {
                // The library knows the beginning.
                self.traces.known.remove(&message);
                return;
            }
            None => trace,
        };
        let trace = Known::Trace(Arc::new(trace));
        self.traces.known.insert(message, trace);
    }

    /// Lets an answer go another way at a token: a sibling begins with the same words up to there, then has the other
    /// one, and the model goes on from it.
    pub(super) fn fork(
        &mut self,
        message: MessageId,
        token: usize,
        word: &Word,
        house: &mut House,
    ) {
        let Some(id) = self.current.filter(|&id| !self.is_writing(id)) else {
            return;
        };
        let Some(trace) = self.kept_trace(message) else {
            return;
        };
        if word.kind == WordKind::Part || !trace.can_fork(token) {
            return;
        }
        let begin = trace.range(token).start;
        let Some(fork) = trace.forked(token, word) else {
            return;
        };
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        let Some(mut text) = talk
            .tree
            .get(message)
            .and_then(|old| old.text.get(..begin))
            .map(str::to_owned)
        else {
            return;
        };
        let model = talk.tree.get(message).and_then(|old| old.info.clone());
        let Some(sibling) = talk.tree.regenerate(message) else {
            return;
        };
        if word.kind == WordKind::Text {
            text.push_str(&word.text);
        }
        let given = text.len();
        let Some(answer) = talk.tree.get_mut(sibling) else {
            return;
        };
        answer.text = text;
        keep_trace(sibling, fork.clone(), 0, house);
        self.take_trace(sibling, Some(Arc::new(fork)));
        self.to_end += 1;
        if word.kind == WordKind::Text {
            self.write(id, sibling, Begin::Given, house);
            return;
        }
        // The model wants to say no more.
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        if let Some(answer) = talk.tree.get_mut(sibling) {
            answer.state = MessageState::Done;
            let info = answer.info.get_or_insert_default();
            info.given = u32::try_from(given).unwrap_or(0);
            info.reason = Some(FinishReason::End);
            info.model = model.and_then(|info| info.model);
            keep_message(answer, house);
        }
        talk.conversation.leaf = talk.tree.leaf();
        talk.touch();
        keep_conversation(talk, house);
    }
}
