//! What a model thought while it wrote an answer: for every token its probability, and the others that it might have
//! written. Kept beside the message in few bytes: about 25 a token with five alternatives.

use std::collections::HashMap;
use std::ops::Range;

use diptych_inference::engine::TokenEvent;
use serde::{Deserialize, Serialize};

/// The form of [`Trace::encode`].
const FORM: u8 = 1;
/// Steps of the logarithm of a probability: one is 0.05 per cent of it.
const STEPS: f32 = 2048.0;
/// Most alternatives of a token that are kept.
const MOST_OTHERS: usize = 32;

/// A probability as it is kept: its logarithm in steps of 1/2048, down to about 1e-14. The largest number is "not known".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Likelihood(u16);

impl Likelihood {
    /// Of text that the model did not write itself.
    pub const UNKNOWN: Self = Self(u16::MAX);

    /// Of a probability from 0 to 1.
    #[must_use]
    pub fn new(probability: f32) -> Self {
        if probability.is_nan() {
            return Self::UNKNOWN;
        }
        let steps = -probability.clamp(f32::MIN_POSITIVE, 1.0).ln() * STEPS;
        Self(steps.round().min(f32::from(u16::MAX - 1)) as u16)
    }

    /// The probability, if it is known.
    #[must_use]
    pub fn probability(self) -> Option<f32> {
        (self != Self::UNKNOWN).then(|| (-f32::from(self.0) / STEPS).exp())
    }
}

/// What choosing a token would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordKind {
    /// Add text.
    Text,
    /// End the answer.
    End,
    /// Nothing by itself: a part of a character, or a control token.
    Part,
}

/// A token that could have been written; each is kept once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Word {
    /// The text that it adds; how the vocabulary spells it where it adds none.
    pub text: String,
    /// What choosing it would do.
    pub kind: WordKind,
}

/// An alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Other {
    word: u32,
    likelihood: Likelihood,
}

/// One token that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    /// Where its text ends in the answer, in bytes.
    end: u32,
    likelihood: Likelihood,
    /// Where its alternatives begin.
    others: u32,
}

/// What was thought of every token of an answer.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    words: Vec<Word>,
    tokens: Vec<Token>,
    others: Vec<Other>,
    /// Where a word is; made when it is needed.
    index: HashMap<Word, u32>,
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        (&self.words, &self.tokens, &self.others) == (&other.words, &other.tokens, &other.others)
    }
}

impl Trace {
    /// Tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Bytes of the answer that it tells of.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.tokens.last().map_or(0, |last| last.end as usize)
    }

    /// The bytes of the answer that came with a token; empty where a character was not complete yet.
    #[must_use]
    pub fn range(&self, token: usize) -> Range<usize> {
        let end = |token: Option<&Token>| token.map_or(0, |token| token.end as usize);
        let before = token.checked_sub(1).and_then(|at| self.tokens.get(at));
        end(before)..end(self.tokens.get(token))
    }

    /// The probability of a token, if it is known.
    #[must_use]
    pub fn probability(&self, token: usize) -> Option<f32> {
        self.tokens.get(token)?.likelihood.probability()
    }

    /// What could have been written in place of a token, likeliest first; the token itself may be among them.
    pub fn others(&self, token: usize) -> impl Iterator<Item = (&Word, f32)> {
        let begin = |at: usize| self.tokens.get(at).map(|token| token.others as usize);
        let from = begin(token).unwrap_or(self.others.len());
        let to = begin(token + 1).unwrap_or(self.others.len());
        let found = self.others.get(from..to.max(from)).unwrap_or_default();
        found.iter().filter_map(|other| {
            let word = self.words.get(other.word as usize)?;
            Some((word, other.likelihood.probability()?))
        })
    }

    /// Whether an answer may go another way at a token: it begins and ends with whole characters.
    #[must_use]
    pub fn can_fork(&self, token: usize) -> bool {
        let whole = |at: usize| !self.range(at).is_empty();
        whole(token) && token.checked_sub(1).is_none_or(whole)
    }

    fn word(&mut self, word: Word) -> u32 {
        if self.index.len() != self.words.len() {
            let known = self.words.iter().cloned().zip(0..);
            self.index = known.collect();
        }
        if let Some(&at) = self.index.get(&word) {
            return at;
        }
        let at = self.words.len() as u32;
        self.words.push(word.clone());
        self.index.insert(word, at);
        at
    }

    /// Adds a token that the engine told of.
    pub fn push(&mut self, token: &TokenEvent) {
        let others = self.others.len() as u32;
        for other in token.alternatives.iter().take(MOST_OTHERS) {
            let kind = if other.ends {
                WordKind::End
            } else if other.text.is_empty() || other.text.contains('\u{fffd}') {
                WordKind::Part
            } else {
                WordKind::Text
            };
            let text = match kind {
                WordKind::Text => &other.text,
                WordKind::End | WordKind::Part => &other.piece,
            };
            let word = self.word(Word {
                text: text.clone(),
                kind,
            });
            self.others.push(Other {
                word,
                likelihood: Likelihood::new(other.probability),
            });
        }
        self.add(token.text.len(), Likelihood::new(token.probability), others);
    }

    /// Adds text of which nothing is known.
    pub fn push_plain(&mut self, bytes: usize) {
        let others = self.others.len() as u32;
        self.add(bytes, Likelihood::UNKNOWN, others);
    }

    fn add(&mut self, bytes: usize, likelihood: Likelihood, others: u32) {
        let end = (self.covered() + bytes).min(u32::MAX as usize) as u32;
        self.tokens.push(Token {
            end,
            likelihood,
            others,
        });
    }

    /// Up to a token, and then one of its alternatives in its place. `None` if there is none.
    #[must_use]
    pub fn forked(&self, token: usize, word: &Word) -> Option<Self> {
        let (_, likely) = self.others(token).find(|(other, _)| *other == word)?;
        let begin = self.tokens.get(token)?.others as usize;
        let mut fork = self.clone();
        let end = self
            .tokens
            .get(token + 1)
            .map_or(self.others.len(), |next| next.others as usize);
        fork.others.truncate(end);
        fork.tokens.truncate(token);
        if word.kind == WordKind::Text {
            fork.add(word.text.len(), Likelihood::new(likely), begin as u32);
        }
        fork.tidied()
    }

    /// With what was thought of the first bytes, which is not known here, from an earlier trace that knows it.
    #[must_use]
    pub fn begun_with(&self, earlier: &Self, bytes: usize) -> Self {
        let unknown = self.range(0) == (0..bytes) && self.probability(0).is_none();
        let known = (0..earlier.len()).find(|&at| earlier.range(at).end == bytes);
        let (true, Some(last)) = (unknown, known) else {
            return self.clone();
        };
        let mut whole = earlier.clone();
        let others = whole.tokens.get(last + 1).map(|next| next.others as usize);
        whole.others.truncate(others.unwrap_or(whole.others.len()));
        whole.tokens.truncate(last + 1);
        for at in 1..self.len() {
            let others = whole.others.len() as u32;
            for other in self.raw_others(at) {
                if let Some(word) = self.words.get(other.word as usize) {
                    let word = whole.word(word.clone());
                    whole.others.push(Other { word, ..*other });
                }
            }
            let likelihood = self
                .tokens
                .get(at)
                .map_or(Likelihood::UNKNOWN, |t| t.likelihood);
            whole.add(self.range(at).len(), likelihood, others);
        }
        whole.tidied().unwrap_or_else(|| self.clone())
    }

    /// With the words alone that are used.
    fn tidied(mut self) -> Option<Self> {
        let words = std::mem::take(&mut self.words);
        self.index.clear();
        let mut others = std::mem::take(&mut self.others);
        for other in &mut others {
            other.word = self.word(words.get(other.word as usize)?.clone());
        }
        self.others = others;
        Some(self)
    }

    /// As few bytes, for the library.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        number(&mut bytes, self.words.len());
        for word in &self.words {
            bytes.push(match word.kind {
                WordKind::Text => 0,
                WordKind::End => 1,
                WordKind::Part => 2,
            });
            number(&mut bytes, word.text.len());
            bytes.extend_from_slice(word.text.as_bytes());
        }
        number(&mut bytes, self.tokens.len());
        for at in 0..self.tokens.len() {
            let range = self.range(at);
            number(&mut bytes, range.len());
            let likelihood = self.tokens.get(at).map_or(u16::MAX, |t| t.likelihood.0);
            bytes.extend_from_slice(&likelihood.to_le_bytes());
            let others = self.raw_others(at);
            bytes.push(others.len() as u8);
            for other in others {
                number(&mut bytes, other.word as usize);
                bytes.extend_from_slice(&other.likelihood.0.to_le_bytes());
            }
        }
        bytes
    }

    fn raw_others(&self, token: usize) -> &[Other] {
        let begin = |at: usize| self.tokens.get(at).map(|token| token.others as usize);
        let from = begin(token).unwrap_or(self.others.len());
        let to = begin(token + 1).unwrap_or(self.others.len());
        self.others.get(from..to.max(from)).unwrap_or_default()
    }

    /// What [`Trace::encode`] made; `None` if the bytes are something else, or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut source = Source(bytes);
        if source.byte()? != FORM {
            return None;
        }
        let mut trace = Self::default();
        for _ in 0..source.number()? {
            let kind = match source.byte()? {
                0 => WordKind::Text,
                1 => WordKind::End,
                2 => WordKind::Part,
                _ => return None,
            };
            let length = source.number()?;
            let text = std::str::from_utf8(source.take(length)?).ok()?.to_owned();
            trace.words.push(Word { text, kind });
        }
        for _ in 0..source.number()? {
            let length = source.number()?;
            let likelihood = Likelihood(source.short()?);
            let others = trace.others.len() as u32;
            for _ in 0..source.byte()? {
                let word = u32::try_from(source.number()?).ok()?;
                if word as usize >= trace.words.len() {
                    return None;
                }
                trace.others.push(Other {
                    word,
                    likelihood: Likelihood(source.short()?),
                });
            }
            trace.covered().checked_add(length)?;
            trace.add(length, likelihood, others);
        }
        source.0.is_empty().then_some(trace)
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn number(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// A trace as files of conversations have it: words, and for each token its length in bytes, its probability (none where
/// it is not known) and its alternatives as index of the word and probability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlainTrace {
    /// Words that the tokens refer to.
    pub words: Vec<Word>,
    /// Its tokens.
    pub tokens: Vec<PlainToken>,
}

/// Length, probability, alternatives.
pub type PlainToken = (u32, Option<f64>, Vec<(u32, f64)>);

/// Five digits tell neighbouring steps apart.
fn digits(probability: f32) -> f64 {
    format!("{probability:.4e}").parse().unwrap_or_default()
}

impl From<&Trace> for PlainTrace {
    fn from(trace: &Trace) -> Self {
        let tokens = (0..trace.len()).map(|at| {
            let others = trace.raw_others(at).iter().map(|other| {
                let likely = other.likelihood.probability().unwrap_or_default();
                (other.word, digits(likely))
            });
            let length = trace.range(at).len() as u32;
            (length, trace.probability(at).map(digits), others.collect())
        });
        Self {
            words: trace.words.clone(),
            tokens: tokens.collect(),
        }
    }
}

impl PlainTrace {
    /// The trace of an answer of so many bytes; `None` if it cannot be that of it.
    #[must_use]
    pub fn trace(self, answer: &str) -> Option<Trace> {
        let mut trace = Trace {
            words: self.words,
            ..Trace::default()
        };
        for (length, probability, others) in self.tokens {
            let begin = trace.others.len() as u32;
            for (word, probability) in others.into_iter().take(MOST_OTHERS) {
                trace.words.get(word as usize)?;
                trace.others.push(Other {
                    word,
                    likelihood: Likelihood::new(probability as f32),
                });
            }
            let end = trace.covered().checked_add(length as usize)?;
            if !answer.is_char_boundary(end) {
                return None;
            }
            let likelihood = match probability {
                Some(probability) => Likelihood::new(probability as f32),
                None => Likelihood::UNKNOWN,
            };
            trace.add(length as usize, likelihood, begin);
        }
        Some(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diptych_inference::engine::Alternative;
    use proptest::prelude::*;

    fn event(text: &str, probability: f32, others: &[(&str, f32)]) -> TokenEvent {
        TokenEvent {
            id: 1,
            piece: text.to_owned(),
            text: text.to_owned(),
            probability,
            alternatives: others
                .iter()
                .map(|&(text, probability)| Alternative {
                    id: 2,
                    piece: format!("<{text}>"),
                    text: text.to_owned(),
                    ends: text.is_empty(),
                    probability,
                })
                .collect(),
        }
    }

    fn fox() -> Trace {
        let mut trace = Trace::default();
        trace.push(&event("a ", 0.9, &[("a ", 0.9), ("the ", 0.05)]));
        trace.push(&event("", 0.5, &[("\u{fffd}", 0.5)]));
        trace.push(&event("ф", 0.4, &[]));
        trace.push(&event("ox", 0.25, &[("og", 0.5), ("ox", 0.25), ("", 0.1)]));
        trace.push(&event("!", 1.0, &[("!", 1.0)]));
        trace
    }

    #[test]
    fn tokens_tell_their_text_probability_and_alternatives() {
        let trace = fox();
        assert_eq!((trace.len(), trace.covered()), (5, 7));
        assert_eq!(trace.range(2), 2..4);
        assert!((trace.probability(3).unwrap() - 0.25).abs() < 1e-4);
        let others: Vec<(&str, WordKind)> = trace
            .others(3)
            .map(|(word, _)| (word.text.as_str(), word.kind))
            .collect();
        let text = WordKind::Text;
        assert_eq!(others, [("og", text), ("ox", text), ("<>", WordKind::End)]);
        assert_eq!(trace.others(1).next().unwrap().0.kind, WordKind::Part);
        assert_eq!(trace.others(9).count(), 0);
        let forks: Vec<bool> = (0..5).map(|at| trace.can_fork(at)).collect();
        assert_eq!(forks, [true, false, false, true, true]);
    }

    #[test]
    fn a_fork_keeps_what_came_before() {
        let trace = fox();
        let word = trace.others(3).next().unwrap().0.clone();
        let fork = trace.forked(3, &word).unwrap();
        assert_eq!((fork.len(), fork.covered()), (4, 6));
        assert!((fork.probability(3).unwrap() - 0.5).abs() < 1e-3);
        assert_eq!(fork.others(3).count(), 3);
        assert_eq!(fork.others(0).next(), trace.others(0).next());
        assert!(fork.words.iter().all(|word| word.text != "!"));
        let end = trace.others(3).last().unwrap().0.clone();
        assert_eq!(trace.forked(3, &end).unwrap().len(), 3);
        assert_eq!(trace.forked(0, &word), None);
    }

    #[test]
    fn a_beginning_that_was_known_earlier_stays_known() {
        let whole = fox();
        let mut later = Trace::default();
        later.push_plain(4);
        later.push(&event("ox", 0.25, &[("og", 0.5), ("ox", 0.25), ("", 0.1)]));
        later.push(&event("!", 1.0, &[("!", 1.0)]));
        assert_eq!(later.begun_with(&whole, 4), whole);
        // It ends within a token there.
        assert_eq!(later.begun_with(&whole, 3), later);
        assert_eq!(whole.begun_with(&later, 4), whole);
    }

    #[test]
    fn it_is_small() {
        let mut trace = Trace::default();
        for at in 0..4000 {
            let words: Vec<String> = (0..5)
                .map(|n| format!("word{} ", (at * 7 + n) % 900))
                .collect();
            let others: Vec<(&str, f32)> = words.iter().map(|word| (word.as_str(), 0.1)).collect();
            trace.push(&event("word ", 0.3, &others));
        }
        let bytes = trace.encode().len();
        assert!(bytes < 4000 * 28, "{bytes}");
    }

    #[test]
    fn probabilities_are_near_enough() {
        for probability in [1.0, 0.999, 0.5, 0.031, 1e-5, 1e-9] {
            let kept = Likelihood::new(probability).probability().unwrap();
            assert!(
                (kept / probability - 1.0).abs() < 3e-4,
                "{probability} {kept}"
            );
            let again = Likelihood::new(digits(kept) as f32);
            assert_eq!(again, Likelihood::new(probability));
        }
        assert_eq!(Likelihood::new(f32::NAN).probability(), None);
        assert!(Likelihood::new(0.0).probability().unwrap() < 1e-13);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(parts in prop::collection::vec(("[a-dф ]{0,3}", 0_f32..=1.0, 0..6_usize), 0..40)) {
            let mut trace = Trace::default();
            let mut text = String::new();
            for (part, probability, count) in &parts {
                let others = [("a", 0.5), ("", 0.1), ("\u{fffd}", 0.2), ("b ", 0.01), ("c", 0.0), ("a", 0.3)];
                trace.push(&event(part, *probability, &others[..*count]));
                text.push_str(part);
            }
            let bytes = trace.encode();
            prop_assert_eq!(Trace::decode(&bytes), Some(trace.clone()));
            // A file keeps it too.
            let json = serde_json::to_string(&PlainTrace::from(&trace)).unwrap();
            let plain: PlainTrace = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(plain.trace(&text), Some(trace));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Trace::decode(&bytes[..cut]), None);
            }
        }

        #[test]
        fn rubbish_is_refused_or_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = FORM;
            }
            if let Some(trace) = Trace::decode(&bytes) {
                for at in 0..trace.len() {
                    prop_assert!(trace.range(at).end <= trace.covered());
                    trace.others(at).count();
                }
            }
        }
    }
}
