//! SentencePiece BPE (Kudo and Richardson 2018) in the form that GGUF's `llama` kind has: merges are driven by token scores.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::vocab::{GgufVocab, TokenKind, Vocab};
use crate::text::TextError;

/// The mark that stands for a space.
const SPACE: &str = "\u{2581}";

/// What a SentencePiece tokenizer needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct Spm {
    scores: Vec<f32>,
    bytes: Vec<Option<u32>>,
    /// Text begins with a space that is not there, so that the first word looks like any other.
    pub(crate) space_prefix: bool,
    /// No token has a space after another character, so that no merge reaches from one word into the next.
    words_apart: bool,
}

/// Most words of one text whose ids are remembered, and the longest of them.
const MEMORY: usize = 1 << 14;
const MEMORY_WORD: usize = 48;

/// A pair of neighbours that would make a token.
struct Pair {
    score: f32,
    left: u32,
    right: u32,
    /// Bytes of both; tells whether the pair still stands when it comes up.
    len: u32,
    token: u32,
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Pair {}
impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pair {
    /// The best score first, the leftmost of equals. Scores are numbers: checked when the vocabulary is read.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .partial_cmp(&other.score)
            .unwrap_or(Ordering::Equal)
            .then(other.left.cmp(&self.left))
    }
}

#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
    token: Option<u32>,
}

const NONE: u32 = u32::MAX;

impl Spm {
    pub(crate) fn new(raw: &GgufVocab, vocab: &Vocab) -> Result<Self, TextError> {
        let scores = raw.scores.clone().ok_or_else(|| TextError::MissingList {
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
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(TextError::BadScore { id: id as u32 });
        }
        let bytes = (0..=255u8)
            .map(|byte| vocab.id(&format!("<0x{byte:02X}>")))
            .collect();
        Ok(Self {
            scores,
            bytes,
            space_prefix: raw.add_space_prefix.unwrap_or(true),
            words_apart: vocab.id(SPACE).is_some()
                && vocab.texts().all(|(_, text)| word_end(text).is_none()),
        })
    }

    /// Encodes a stretch without special tokens; `first` where it begins the text or follows a special token.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, first: bool, out: &mut Vec<u32>) {
        let mut escaped = String::with_capacity(text.len() + 3);
        if first && self.space_prefix {
            escaped.push_str(SPACE);
        }
        for (n, part) in text.split(' ').enumerate() {
            if n > 0 {
                escaped.push_str(SPACE);
            }
            escaped.push_str(part);
        }
        if !self.words_apart {
            return self.merge(vocab, &escaped, out);
        }
        // Most words of a long text come again and again.
        let mut memory: HashMap<&str, std::ops::Range<usize>> = HashMap::new();
        let mut rest = escaped.as_str();
        while !rest.is_empty() {
            let (word, next) = rest.split_at(word_end(rest).unwrap_or(rest.len()));
            rest = next;
            if let Some(ids) = memory.get(word) {
                out.extend_from_within(ids.clone());
                continue;
            }
            let start = out.len();
            self.merge(vocab, word, out);
            if word.len() <= MEMORY_WORD && memory.len() < MEMORY {
                memory.insert(word, start..out.len());
            }
        }
    }

    fn merge(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        // The caller bounds the text, so positions fit u32.
        let mut list: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(n, (start, c))| Symbol {
                start: start as u32,
                len: c.len_utf8() as u32,
                prev: (n as u32).wrapping_sub(1),
                next: n as u32 + 1,
                token: vocab.id(&text[start..start + c.len_utf8()]),
            })
            .collect();
        let Some(last) = list.last_mut() else { return };
        last.next = NONE;

        let mut heap = BinaryHeap::new();
        let push = |heap: &mut BinaryHeap<Pair>, list: &[Symbol], left: u32| {
            if left == NONE {
                return;
            }
            let l = list[left as usize];
            if l.next == NONE {
                return;
            }
            let len = l.len + list[l.next as usize].len;
            if len as usize > vocab.longest() {
                return;
            }
            let (start, end) = (l.start as usize, (l.start + len) as usize);
            if let Some(token) = vocab.id(&text[start..end]) {
                heap.push(Pair {
                    score: self.scores[token as usize],
                    left,
                    right: l.next,
                    len,
                    token,
                });
            }
        };
        for left in 0..list.len() as u32 {
            push(&mut heap, &list, left);
        }
        while let Some(pair) = heap.pop() {
            let (l, r) = (list[pair.left as usize], list[pair.right as usize]);
            // A swallowed symbol has length 0; a grown one makes the sum too long.
            if l.len == 0 || r.len == 0 || l.len + r.len != pair.len {
                continue;
            }
            list[pair.right as usize].len = 0;
            list[pair.left as usize].len = pair.len;
            list[pair.left as usize].next = r.next;
            list[pair.left as usize].token = Some(pair.token);
            if r.next != NONE {
                list[r.next as usize].prev = pair.left;
            }
            push(&mut heap, &list, l.prev);
            push(&mut heap, &list, pair.left);
        }

        let mut at = 0;
        // Words begin with a known token, so a run of unknown characters never reaches beyond one.
        let mut after_unknown = false;
        while at != NONE {
            let symbol = list[at as usize];
            at = symbol.next;
            if let Some(token) = symbol.token {
                out.push(token);
                after_unknown = false;
                continue;
            }
            // Only single characters are unknown: whatever was merged is a token.
            let bytes =
                &text.as_bytes()[symbol.start as usize..(symbol.start + symbol.len) as usize];
            let spelled = bytes.iter().map(|&byte| self.bytes[usize::from(byte)]);
            if spelled.clone().all(|token| token.is_some()) {
                out.extend(spelled.flatten());
                after_unknown = false;
            } else {
                // A vocabulary without bytes: SentencePiece writes one unknown token for a run of unknown characters.
                if !after_unknown && let Some(unk) = vocab.unk {
                    out.push(unk);
                }
                after_unknown = true;
            }
        }
    }

    /// The bytes that a token stands for.
    pub(crate) fn piece(vocab: &Vocab, id: u32) -> Vec<u8> {
        let (Some(text), Some(kind)) = (vocab.text(id), vocab.kind(id)) else {
            return Vec::new();
        };
        match kind {
            TokenKind::Normal => text.replace(SPACE, " ").into_bytes(),
            TokenKind::Byte => match byte_value(text) {
                Some(byte) => vec![byte],
                None => text.as_bytes().to_vec(),
            },
            TokenKind::Unused => Vec::new(),
            TokenKind::Unknown | TokenKind::Control | TokenKind::UserDefined => {
                text.as_bytes().to_vec()
            }
        }
    }
}

/// Where the first word ends: before a space that follows another character.
fn word_end(text: &str) -> Option<usize> {
    let lead = text.len() - text.trim_start_matches('\u{2581}').len();
    text[lead..].find(SPACE).map(|at| lead + at)
}

/// Reads `<0xXX>`.
pub(super) fn byte_value(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_before_the_space_that_follows_them() {
        assert_eq!(word_end("▁▁ab▁c"), Some("▁▁ab".len()));
        assert_eq!(word_end("ab▁"), Some(2));
        assert_eq!(word_end("▁▁ab"), None);
        assert_eq!(word_end("▁▁"), None);
        assert_eq!(word_end(""), None);
    }

    /// Cutting a text into words first is only a matter of speed.
    #[test]
    fn words_give_what_the_whole_text_gives() {
        let tokens = [
            "<unk>",
            "▁",
            "▁▁",
            "a",
            "b",
            "ab",
            "▁a",
            "▁ab",
            "ba",
            "aba",
            "▁b",
            "▁▁▁▁",
        ];
        let mut raw = GgufVocab {
            model: "llama".to_owned(),
            tokens: tokens.map(str::to_owned).to_vec(),
            scores: Some(vec![
                0.0, -9.0, -2.0, -9.0, -9.0, -3.0, -1.0, -5.0, -4.0, -0.5, -1.0, -7.0,
            ]),
            ..GgufVocab::default()
        };
        let vocab = Vocab::new(&mut raw, (None, None, Some(0))).unwrap();
        raw.tokens = tokens.map(str::to_owned).to_vec();
        let apart = Spm::new(&raw, &vocab).unwrap();
        assert!(apart.words_apart);
        let mut whole = Spm::new(&raw, &vocab).unwrap();
        whole.words_apart = false;
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = crate::text::rng::TokenRng::new(seed);
        for _ in 0..2000 {
            let text: String = (0..rng.next_u64() % 30)
                .map(|_| [' ', ' ', 'a', 'b', 'a', 'x'][(rng.next_u64() % 6) as usize])
                .collect();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            apart.encode(&vocab, &text, true, &mut one);
            whole.encode(&vocab, &text, true, &mut other);
            assert_eq!(one, other, "{text:?}");
        }
    }
}
