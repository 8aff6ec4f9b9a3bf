//! Ranked pair merging, the heart of BPE (Sennrich et al. 2016), by a heap: a word of n symbols costs O(n log n).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::vocab::{MAX_MERGES, Vocab};
use crate::text::TextError;
use crate::text::error::excerpt;

/// Most strings that merges may mention without their being tokens. Trained vocabularies have none or a few.
const MAX_EXTRA: usize = 1 << 18;

/// The merge list, over interned symbols. A symbol below the vocabulary's length is that token; others are strings that merges
/// mention but the vocabulary lacks.
#[derive(Debug)]
pub(crate) struct Merges {
    pairs: HashMap<(u32, u32), (u32, u32)>,
    extra: HashMap<Box<str>, u32>,
    extra_texts: Vec<Box<str>>,
    vocab_len: u32,
}

#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    prev: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Merges {
    /// Reads `left right` lines, best first.
    pub(crate) fn new<'a>(
        vocab: &Vocab,
        lines: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Self, TextError> {
        let mut merges = Self::empty(vocab, lines.len())?;
        for (index, line) in lines.enumerate() {
            let bad = || TextError::BadMerge {
                index,
                text: excerpt(line),
            };
            let (left, right) = line.split_once(' ').ok_or_else(bad)?;
            if left.is_empty() || right.is_empty() || right.contains(' ') {
                return Err(bad());
            }
            merges.add(vocab, index as u32, left, right, right)?;
        }
        Ok(merges)
    }

    /// Takes pairs, best first; the right one of a pair loses `prefix` when they join.
    pub(crate) fn from_pairs<'a>(
        vocab: &Vocab,
        pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        prefix: &str,
    ) -> Result<Self, TextError> {
        let mut merges = Self::empty(vocab, pairs.len())?;
        for (index, (left, right)) in pairs.enumerate() {
            if left.is_empty() || right.is_empty() {
                let text = excerpt(&format!("{left} {right}"));
                return Err(TextError::BadMerge { index, text });
            }
            let bare = right.strip_prefix(prefix).unwrap_or(right);
            merges.add(vocab, index as u32, left, right, bare)?;
        }
        Ok(merges)
    }

    fn empty(vocab: &Vocab, count: usize) -> Result<Self, TextError> {
        if count > MAX_MERGES {
            return Err(TextError::TooLarge {
                what: format!("{count} merges (at most {MAX_MERGES})"),
            });
        }
        Ok(Self {
            pairs: HashMap::with_capacity(count),
            extra: HashMap::new(),
            extra_texts: Vec::new(),
            vocab_len: vocab.len() as u32, // below MAX_TOKENS
        })
    }

    fn add(
        &mut self,
        vocab: &Vocab,
        rank: u32,
        left: &str,
        right: &str,
        bare: &str,
    ) -> Result<(), TextError> {
        let pair = (self.intern(vocab, left), self.intern(vocab, right));
        let whole = self.intern(vocab, &format!("{left}{bare}"));
        if self.extra_texts.len() > MAX_EXTRA {
            return Err(TextError::TooLarge {
                what: format!("merges of more than {MAX_EXTRA} strings that are no tokens"),
            });
        }
        // A pair listed twice keeps its better rank.
        self.pairs.entry(pair).or_insert((rank, whole));
        Ok(())
    }

    fn intern(&mut self, vocab: &Vocab, text: &str) -> u32 {
        if let Some(id) = self.symbol(vocab, text) {
            return id;
        }
        // MAX_EXTRA + MAX_TOKENS fits easily.
        let id = self.vocab_len + self.extra_texts.len() as u32;
        self.extra.insert(text.into(), id);
        self.extra_texts.push(text.into());
        id
    }

    /// The symbol for a text, if the vocabulary or the merges know it.
    pub(crate) fn symbol(&self, vocab: &Vocab, text: &str) -> Option<u32> {
        vocab.id(text).or_else(|| self.extra.get(text).copied())
    }

    /// The text of a symbol which is not a token.
    pub(crate) fn extra_text(&self, symbol: u32) -> Option<&str> {
        let index = symbol.checked_sub(self.vocab_len)?;
        self.extra_texts.get(index as usize).map(AsRef::as_ref)
    }

    /// Merges `symbols` in place: always the best-ranked neighbours first, the leftmost of equals.
    ///
    /// `u32::MAX` stands for a symbol that nothing merges with.
    pub(crate) fn run(&self, symbols: &mut Vec<u32>) {
        match symbols.len() {
            0 | 1 => {}
            2..=16 => self.run_short(symbols),
            _ => self.run_long(symbols),
        }
    }

    /// Quadratic, but without a heap: faster for the words of ordinary text.
    fn run_short(&self, symbols: &mut Vec<u32>) {
        loop {
            let mut best: Option<((u32, u32), usize)> = None;
            for (at, pair) in symbols.windows(2).enumerate() {
                if let Some(&merge) = self.pairs.get(&(pair[0], pair[1]))
                    && best.is_none_or(|(found, _)| merge.0 < found.0)
                {
                    best = Some((merge, at));
                }
            }
            let Some(((_, whole), at)) = best else { return };
            symbols[at] = whole;
            symbols.remove(at + 1);
        }
    }

    fn run_long(&self, symbols: &mut Vec<u32>) {
        let last = symbols.len() as u32 - 1; // texts are below 2^31 bytes
        let mut list: Vec<Symbol> = symbols
            .iter()
            .enumerate()
            .map(|(at, &id)| Symbol {
                id,
                prev: (at as u32).wrapping_sub(1),
                next: if at as u32 == last {
                    NONE
                } else {
                    at as u32 + 1
                },
            })
            .collect();
        // (rank, left position, left id, right id, merged id): the ids tell whether the entry is still true when it comes up.
        let mut heap = BinaryHeap::new();
        let push = |heap: &mut BinaryHeap<_>, list: &[Symbol], left: u32| {
            if left == NONE {
                return;
            }
            let l = list[left as usize];
            if l.next == NONE {
                return;
            }
            let right = list[l.next as usize].id;
            if let Some(&(rank, whole)) = self.pairs.get(&(l.id, right)) {
                heap.push(Reverse((rank, left, l.id, right, whole)));
            }
        };
        for at in 0..last {
            push(&mut heap, &list, at);
        }
        while let Some(Reverse((_, left, left_id, right_id, whole))) = heap.pop() {
            let l = list[left as usize];
            if l.id != left_id || l.next == NONE || list[l.next as usize].id != right_id {
                continue;
            }
            let r = list[l.next as usize];
            // A swallowed symbol can never match an entry again.
            list[l.next as usize].id = NONE;
            list[l.next as usize].next = NONE;
            list[left as usize].id = whole;
            list[left as usize].next = r.next;
            if r.next != NONE {
                list[r.next as usize].prev = left;
            }
            push(&mut heap, &list, l.prev);
            push(&mut heap, &list, left);
        }
        symbols.clear();
        let mut at = 0;
        while at != NONE {
            symbols.push(list[at as usize].id);
            at = list[at as usize].next;
        }
    }
}
