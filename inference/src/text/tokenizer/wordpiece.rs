//! WordPiece (Schuster and Nakajima 2012, as BERT has it): each word from the left, always by the longest token that fits.

use super::vocab::{GgufVocab, Vocab};
use crate::text::TextError;
use crate::text::tokenizer::json::normalize::{Bert, is_punctuation};

/// Longest word, in characters, that any setting may allow; longer ones are unknown.
const LONGEST_WORD: usize = 4096;

/// What WordPiece needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct WordPiece {
    /// Before a word's first token in the vocabulary.
    first: &'static str,
    /// Before its further ones.
    rest: Box<str>,
    longest_word: usize,
    unk: u32,
}

impl WordPiece {
    pub(crate) fn new(first: &'static str, rest: &str, longest_word: usize, unk: u32) -> Self {
        Self {
            first,
            rest: rest.into(),
            longest_word: longest_word.min(LONGEST_WORD),
            unk,
        }
    }

    /// Encodes one word.
    pub(crate) fn encode(&self, vocab: &Vocab, word: &str, out: &mut Vec<u32>) {
        let ends: Vec<usize> = word
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .collect();
        if ends.len() > self.longest_word {
            out.push(self.unk);
            return;
        }
        let before = out.len();
        let mut spelled = String::new();
        let (mut at, mut next) = (0, 0);
        while at < word.len() {
            let prefix = if at == 0 { self.first } else { &self.rest };
            spelled.clear();
            spelled.push_str(prefix);
            spelled.push_str(&word[at..]);
            // The mark of a word's beginning, spelled out within one, is no such mark.
            let marked = at > 0 && !self.first.is_empty() && spelled.starts_with(self.first);
            // No token is longer than the longest.
            let found = (next..ends.len()).rev().find_map(|last| {
                let length = prefix.len() + ends[last] - at;
                if length > vocab.longest() || marked {
                    return None;
                }
                Some((last, vocab.own_id(&spelled[..length])?))
            });
            let Some((last, id)) = found else {
                out.truncate(before);
                out.push(self.unk);
                return;
            };
            out.push(id);
            (at, next) = (ends[last], last + 1);
        }
    }
}

/// GGUF's `bert` kind: words begin with U+2581 in the vocabulary, text is lower-cased and freed of accents.
#[derive(Debug)]
pub(crate) struct GgufWordPiece(WordPiece);

impl GgufWordPiece {
    pub(crate) fn new(raw: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let unk = vocab.unk.ok_or_else(|| TextError::MissingList {
            key: "tokenizer.ggml.unknown_token_id",
            model: raw.model.clone(),
        })?;
        Ok(Self(WordPiece::new("\u{2581}", "", LONGEST_WORD, unk)))
    }

    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let bert = Bert {
            clean_text: true,
            handle_chinese_chars: true,
            strip_accents: true,
            lowercase: true,
        };
        let text = bert.apply(text.to_owned());
        for stretch in text.split_whitespace() {
            let mut word = 0;
            for (at, c) in stretch.char_indices() {
                if is_punctuation(c) {
                    if at > word {
                        self.0.encode(vocab, &stretch[word..at], out);
                    }
                    word = at + c.len_utf8();
                    self.0.encode(vocab, &stretch[at..word], out);
                }
            }
            if word < stretch.len() {
                self.0.encode(vocab, &stretch[word..], out);
            }
        }
    }
}
