//! Unigram (Kudo 2018): of all ways to spell a text by tokens the likeliest, found by Viterbi's algorithm.

use super::json::charsmap::Charsmap;
use super::vocab::{GgufVocab, TokenKind, Vocab};
use crate::text::TextError;

/// How much less likely an unknown character is than the least likely token.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Longest token in bytes; real ones have some dozens.
const LONGEST_TOKEN: usize = 1024;
/// The mark that stands for a space.
const SPACE: char = '\u{2581}';

/// What Unigram needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct Unigram {
    /// Tokens sorted by text, so that those with a common beginning are one range.
    sorted: Vec<u32>,
    /// Where in `sorted` each first byte begins; 257 entries.
    starts: Vec<u32>,
    scores: Vec<f64>,
    unk: Option<u32>,
    unknown_score: f64,
    bytes: Option<Box<[Option<u32>; 256]>>,
}

#[derive(Clone, Copy)]
struct Best {
    score: f64,
    from: usize,
    token: Option<u32>,
}

impl Unigram {
    /// `usable` tells which tokens ordinary text may become.
    pub(crate) fn new(
        vocab: &Vocab,
        scores: Vec<f64>,
        unk: Option<u32>,
        bytes: Option<[Option<u32>; 256]>,
        usable: impl Fn(u32) -> bool,
    ) -> Result<Self, TextError> {
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(TextError::BadScore { id: id as u32 });
        }
        if vocab.longest() > LONGEST_TOKEN {
            return Err(TextError::TooLarge {
                what: format!(
                    "a token of {} bytes (at most {LONGEST_TOKEN})",
                    vocab.longest()
                ),
            });
        }
        let text = |id: &u32| vocab.text(*id).unwrap_or_default();
        let mut sorted: Vec<u32> = vocab
            .texts()
            .filter(|(id, text)| !text.is_empty() && usable(*id))
            .map(|(id, _)| id)
            .collect();
        sorted.sort_unstable_by_key(|id| text(id));
        let starts = (0..=256u32)
            .map(|first| {
                sorted.partition_point(|id| u32::from(text(id).as_bytes()[0]) < first) as u32
            })
            .collect();
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self {
            sorted,
            starts,
            scores,
            unk,
            unknown_score: least.min(f64::MAX) - UNKNOWN_PENALTY,
            bytes: bytes.map(Box::new),
        })
    }

    /// Tokens that `text` begins with.
    fn prefixes(&self, vocab: &Vocab, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let bytes = |id: u32| vocab.text(id).unwrap_or_default().as_bytes();
        let Some(&first) = text.first() else { return };
        let first = usize::from(first);
        let (mut low, mut high) = (self.starts[first] as usize, self.starts[first + 1] as usize);
        let mut depth = 1;
        while low < high {
            if bytes(self.sorted[low]).len() == depth {
                found(depth, self.sorted[low]);
                low += 1;
                continue;
            }
            let Some(&next) = text.get(depth) else { return };
            let range = &self.sorted[low..high];
            let begin = range.partition_point(|id| bytes(*id)[depth] < next);
            let end = begin + range[begin..].partition_point(|id| bytes(*id)[depth] <= next);
            (low, high) = (low + begin, low + end);
            depth += 1;
        }
    }

    /// Encodes a stretch. Neighbouring unknown characters are one unknown token.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
        for (at, c) in text.char_indices() {
            let so_far = match at {
                0 => 0.0,
                _ => best[at].map_or(0.0, |best| best.score),
            };
            let mut offer = |end: usize, score: f64, token: Option<u32>| {
                let better = best[end].is_none_or(|known| score > known.score);
                if better {
                    best[end] = Some(Best {
                        score,
                        from: at,
                        token,
                    });
                }
            };
            let mut has_single = false;
            self.prefixes(vocab, &text.as_bytes()[at..], |length, id| {
                let score = self.scores.get(id as usize).copied().unwrap_or(0.0);
                offer(at + length, so_far + score, Some(id));
                has_single |= length == c.len_utf8();
            });
            if !has_single {
                offer(at + c.len_utf8(), so_far + self.unknown_score, None);
            }
        }
        // From the end back; unknown neighbours join.
        let mut spans: Vec<(std::ops::Range<usize>, Option<u32>)> = Vec::new();
        let mut end = text.len();
        while end > 0 {
            // Every character's end is reached, if only as unknown.
            let Some(node) = best[end] else { return };
            let token = node.token.filter(|id| Some(*id) != self.unk);
            match spans.last_mut() {
                Some((span, None)) if token.is_none() => span.start = node.from,
                _ => spans.push((node.from..end, token)),
            }
            end = node.from;
        }
        for (span, token) in spans.into_iter().rev() {
            match (token, &self.bytes) {
                (Some(id), _) => out.push(id),
                (None, Some(bytes)) => {
                    let ids = text[span].bytes().map(|byte| bytes[usize::from(byte)]);
                    if ids.clone().all(|id| id.is_some()) {
                        out.extend(ids.flatten());
                    } else {
                        out.extend(self.unk);
                    }
                }
                (None, None) => out.extend(self.unk),
            }
        }
    }
}

/// GGUF's `t5` kind: Unigram behind SentencePiece's normalizer.
#[derive(Debug)]
pub(crate) struct GgufUnigram {
    unigram: Unigram,
    charsmap: Option<Charsmap>,
    space_prefix: bool,
    merge_spaces: bool,
}

impl GgufUnigram {
    pub(crate) fn new(raw: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let scores = raw.scores.as_ref().ok_or_else(|| TextError::MissingList {
            key: "tokenizer.ggml.scores",
            model: raw.model.clone(),
        })?;
        if scores.len() != vocab.len() {
            return Err(TextError::LengthMismatch {
                key: "tokenizer.ggml.scores",
                got: scores.len(),
                want: vocab.len(),
            });
        }
        let charsmap = match raw.charsmap.as_deref() {
            None | Some([]) => None,
            Some(bytes) => {
                Some(Charsmap::new(bytes).map_err(|reason| TextError::BadCharsmap { reason })?)
            }
        };
        let usable = |id: u32| {
            matches!(
                vocab.kind(id),
                Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused)
            )
        };
        let scores = scores.iter().map(|score| f64::from(*score)).collect();
        Ok(Self {
            unigram: Unigram::new(vocab, scores, vocab.unk, None, usable)?,
            charsmap,
            space_prefix: raw.add_space_prefix.unwrap_or(true),
            merge_spaces: raw.remove_extra_whitespaces.unwrap_or(false),
        })
    }

    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let text = self.normalize(text);
        self.unigram.encode(vocab, &text, out);
    }

    /// Replaces by the rules, then writes spaces as marks: one before the text, runs as one where the file asks for it.
    fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 3);
        let (mut prefixed, mut in_word) = (false, false);
        let mut take = |part: &str| {
            for c in part.chars() {
                if c != ' ' {
                    if !in_word && (self.space_prefix && !prefixed || self.merge_spaces) {
                        out.push(SPACE);
                        prefixed = true;
                    }
                    in_word = true;
                    out.push(c);
                } else {
                    in_word = false;
                    if !self.merge_spaces {
                        out.push(SPACE);
                    }
                }
            }
        };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let rule = self.charsmap.as_ref().and_then(|map| map.longest(rest));
            match rule {
                Some((length, replacement)) => {
                    take(replacement);
                    rest = &rest[length..];
                }
                None => {
                    let (one, next) = rest.split_at(c.len_utf8());
                    take(one);
                    rest = next;
                }
            }
        }
        // SentencePiece sees no difference between a mark that was spelled out and one that stands for a space.
        if self.merge_spaces {
            out.truncate(out.trim_end_matches(SPACE).len());
        }
        out
    }
}
