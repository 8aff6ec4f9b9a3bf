//! A byte-level BPE vocabulary of any size, made of nothing.
//!
//! It begins with the 256 bytes, so that it spells any text and gives it back. Then come merges, each of two tokens that are there already:
//! white space, numbers, characters of other scripts where the vocabulary is large, and for the rest pieces of words, the likeliest by
//! the frequencies of English letters first. So a text has about as many tokens as with a real vocabulary of that size.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::text::tokenizer::byte_to_char;

/// Vocabularies from this size on have numbers and characters of other scripts.
const LARGE: usize = 60_000;

/// A token that steers the model.
const CONTROL: i32 = 3;
/// Ordinary text.
const NORMAL: i32 = 1;
/// Filler.
const UNUSED: i32 = 5;

/// What `tokenizer.ggml.*` holds.
pub(super) struct Vocabulary {
    pub tokens: Vec<String>,
    pub types: Vec<i32>,
    pub merges: Vec<String>,
}

/// How unlikely each letter is in English, in tenths of a bit.
const COSTS: [(u8, u32); 26] = [
    (b'e', 30),
    (b't', 35),
    (b'a', 36),
    (b'o', 37),
    (b'i', 38),
    (b'n', 39),
    (b's', 40),
    (b'h', 40),
    (b'r', 41),
    (b'd', 45),
    (b'l', 46),
    (b'c', 52),
    (b'u', 52),
    (b'm', 54),
    (b'w', 54),
    (b'f', 55),
    (b'g', 56),
    (b'y', 57),
    (b'p', 57),
    (b'b', 61),
    (b'v', 67),
    (b'k', 70),
    (b'j', 94),
    (b'x', 94),
    (b'q', 100),
    (b'z', 104),
];

fn is_vowel(letter: u8) -> bool {
    matches!(letter, b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| byte_to_char(byte)).collect()
}

/// Grows a vocabulary.
struct Growth {
    most: usize,
    tokens: Vec<String>,
    known: HashSet<String>,
    merges: Vec<String>,
}

impl Growth {
    /// Adds the token that two make; does nothing if it is there or there is no more room.
    fn merge(&mut self, left: &str, right: &str) {
        let whole = format!("{left}{right}");
        if self.tokens.len() < self.most
            && self.known.contains(left)
            && self.known.contains(right)
            && self.known.insert(whole.clone())
        {
            self.merges.push(format!("{left} {right}"));
            self.tokens.push(whole);
        }
    }

    fn merge_bytes(&mut self, left: &[u8], right: &[u8]) {
        self.merge(&spelled(left), &spelled(right));
    }

    fn white_space(&mut self) {
        for byte in *b" \n\t" {
            for length in [1, 2, 4, 8] {
                let half = vec![byte; length];
                self.merge_bytes(&half, &half);
            }
        }
    }

    fn numbers(&mut self) {
        for tens in b'0'..=b'9' {
            for ones in b'0'..=b'9' {
                self.merge_bytes(&[tens], &[ones]);
            }
        }
        for hundreds in 0..100 {
            let [tens, ones] = [hundreds / 10, hundreds % 10].map(|digit| b'0' + digit);
            for last in b'0'..=b'9' {
                self.merge_bytes(&[tens, ones], &[last]);
            }
        }
    }

    /// Latin with accents, Greek, Cyrillic; kana and the common ideographs.
    fn scripts(&mut self) {
        for range in [0xa0..0x530, 0x3040..0x3100, 0x4e00..0xa000] {
            for c in range.filter_map(char::from_u32) {
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).as_bytes();
                for end in 1..bytes.len() {
                    self.merge_bytes(&bytes[..end], &bytes[end..=end]);
                }
            }
        }
    }

    /// Pieces of words, likeliest first, until there is no more room.
    fn words(&mut self) {
        // (how unlikely, the token that it continues, the letter)
        let mut next: BinaryHeap<Reverse<(u32, usize, u8)>> = BinaryHeap::new();
        let beginning = |byte: u8| self.known_index(&[byte]);
        let starts = [
            (beginning(b' '), 0),
            (beginning(b'e'), 60),
            (beginning(b'a'), 60),
            (beginning(b'i'), 60),
            (beginning(b'o'), 60),
            (beginning(b's'), 70),
            (beginning(b't'), 70),
            (beginning(b'r'), 70),
            (beginning(b'n'), 70),
            (beginning(b'l'), 75),
        ];
        for (token, cost) in starts {
            push_letters(&mut next, &self.tokens, token, cost);
        }
        while self.tokens.len() < self.most {
            let Some(Reverse((cost, from, letter))) = next.pop() else {
                return;
            };
            let before = self.tokens.len();
            let (left, right) = (self.tokens[from].clone(), spelled(&[letter]));
            self.merge(&left, &right);
            if self.tokens.len() > before {
                push_letters(&mut next, &self.tokens, before, cost);
            }
        }
    }

    fn known_index(&self, bytes: &[u8]) -> usize {
        let text = spelled(bytes);
        // Only asked for single bytes, which come first.
        let found = self.tokens.iter().position(|token| *token == text);
        found.unwrap_or(0)
    }
}

/// Puts the continuations of a token by each letter into the queue. Two vowels or two consonants in a row are unlikelier.
fn push_letters(
    next: &mut BinaryHeap<Reverse<(u32, usize, u8)>>,
    tokens: &[String],
    token: usize,
    cost: u32,
) {
    let last = tokens.get(token).and_then(|text| text.bytes().last());
    for (letter, own) in COSTS {
        let alike = last
            .is_some_and(|last| last.is_ascii_lowercase() && is_vowel(last) == is_vowel(letter));
        next.push(Reverse((
            cost + own + if alike { 20 } else { 0 },
            token,
            letter,
        )));
    }
}

impl Vocabulary {
    /// `plain` tokens of text, then the special ones by name, then fillers up to `total`.
    pub(super) fn new(plain: usize, specials: &[String], total: usize) -> Self {
        let bytes: Vec<String> = (0..=u8::MAX).map(|byte| spelled(&[byte])).collect();
        let mut growth = Growth {
            most: plain,
            known: bytes.iter().cloned().collect(),
            tokens: bytes,
            merges: Vec::new(),
        };
        growth.white_space();
        if plain >= LARGE {
            growth.numbers();
            growth.scripts();
        }
        growth.words();
        let Growth {
            mut tokens, merges, ..
        } = growth;
        let mut types = vec![NORMAL; tokens.len()];
        tokens.extend(specials.iter().cloned());
        types.resize(tokens.len(), CONTROL);
        while tokens.len() < total {
            tokens.push(format!("[PAD{}]", tokens.len()));
            types.push(UNUSED);
        }
        Self {
            tokens,
            types,
            merges,
        }
    }

    /// The id of a token.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let place = self.tokens.iter().rposition(|token| token == text)?;
        u32::try_from(place).ok()
    }
}
