//! Finding special tokens in text: longer ones first, as llama.cpp does it.

use std::ops::Range;

use super::vocab::{TokenKind, Vocab};
use crate::text::TextError;

/// A stretch of text: ordinary, or one special token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    Text(Range<usize>),
    Token(u32),
}

/// Searches for all special tokens at once.
#[derive(Debug)]
pub(crate) struct SpecialFinder {
    /// Sorted by text.
    tokens: Vec<Special>,
    /// Where in `tokens` each first byte begins; 257 entries.
    starts: Vec<u32>,
    /// White space after a special token belongs to it (Phi-3).
    swallow_after: bool,
}

#[derive(Debug)]
struct Special {
    text: Box<[u8]>,
    id: u32,
    /// Found even where special tokens are to be taken literally: user-defined tokens are text.
    always: bool,
    swallow_after: bool,
}

impl SpecialFinder {
    /// Takes control, user-defined and unknown tokens of `vocab`.
    pub(crate) fn from_vocab(vocab: &Vocab, swallow_after: bool) -> Self {
        Self::new(Self::readable(vocab), swallow_after)
    }

    /// Tokens of `vocab` that are read from text where they are spelled: `(text, id, always)`.
    pub(crate) fn readable(vocab: &Vocab) -> impl Iterator<Item = (&str, u32, bool)> {
        let texts = vocab.texts().filter(|(_, text)| !text.is_empty());
        texts.filter_map(|(id, text)| {
            let always = match vocab.kind(id)? {
                TokenKind::UserDefined => true,
                TokenKind::Control | TokenKind::Unknown => false,
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => return None,
            };
            Some((text, id, always))
        })
    }

    /// Takes `(text, id, always)`.
    pub(crate) fn new<'a>(
        tokens: impl Iterator<Item = (&'a str, u32, bool)>,
        swallow_after: bool,
    ) -> Self {
        let mut tokens: Vec<Special> = tokens
            .map(|(text, id, always)| Special {
                text: text.as_bytes().into(),
                id,
                always,
                swallow_after: swallow_after && !matches!(text, "<unk>" | "<s>" | "<|endoftext|>"),
            })
            .collect();
        tokens.sort_by(|a, b| a.text.cmp(&b.text));
        let starts = (0..=256u32)
            .map(|first| tokens.partition_point(|t| u32::from(t.text[0]) < first) as u32)
            .collect();
        Self {
            tokens,
            starts,
            swallow_after,
        }
    }

    #[cfg(test)]
    fn split(&self, text: &str, parse_special: bool) -> Result<Vec<Fragment>, TextError> {
        self.split_around(text, parse_special, &[])
    }

    /// Cuts `text`. With `parse_special` off only user-defined tokens are found; one that has a place of `literal` (sorted) within it is text.
    pub(crate) fn split_around(
        &self,
        text: &str,
        parse_special: bool,
        literal: &[usize],
    ) -> Result<Vec<Fragment>, TextError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut hits = self.all_hits(text.as_bytes(), parse_special)?;
        hits.retain(|(range, _)| !is_within(literal, range));
        let hits = self.without_overlaps(hits, text.len());
        if hits.is_empty() {
            return Ok(vec![Fragment::Text(0..text.len())]);
        }
        let mut fragments = Vec::with_capacity(2 * hits.len() + 1);
        let mut at = 0;
        for (range, token) in hits {
            if range.start < at {
                continue; // swallowed white space that was itself a token
            }
            if range.start > at {
                fragments.push(Fragment::Text(at..range.start));
            }
            let special = &self.tokens[token];
            fragments.push(Fragment::Token(special.id));
            at = range.end;
            if self.swallow_after && special.swallow_after {
                let rest = &text.as_bytes()[at..];
                at += rest
                    .iter()
                    .take_while(|b| b.is_ascii_whitespace() || **b == 0x0B)
                    .count();
            }
        }
        if at < text.len() {
            fragments.push(Fragment::Text(at..text.len()));
        }
        Ok(fragments)
    }

    /// Everything in a text that spells one of the tokens, by its place, in the order of the beginnings; with the token's id.
    pub(crate) fn spelled(&self, text: &str) -> Result<Vec<(Range<usize>, u32)>, TextError> {
        let hits = self.all_hits(text.as_bytes(), true)?.into_iter();
        Ok(hits
            .map(|(range, token)| (range, self.tokens[token].id))
            .collect())
    }

    /// Where in a text one of the tokens begins whose rest would stand behind the text.
    pub(crate) fn begun(&self, text: &str) -> Vec<usize> {
        let starts = text.char_indices().map(|(start, _)| start);
        starts
            .filter(|&start| {
                let part = &text.as_bytes()[start..];
                let longer = self.tokens.partition_point(|token| *token.text <= *part);
                let next = self.tokens.get(longer);
                next.is_some_and(|token| token.text.starts_with(part))
            })
            .collect()
    }

    /// All occurrences, in the order of their beginnings.
    fn all_hits(
        &self,
        text: &[u8],
        parse_special: bool,
    ) -> Result<Vec<(Range<usize>, usize)>, TextError> {
        let mut all: Vec<(Range<usize>, usize)> = Vec::new();
        let limit = 4 * text.len() + 4096;
        let mut work = 0usize;
        for at in 0..text.len() {
            let first = usize::from(text[at]);
            let (mut low, mut high) =
                (self.starts[first] as usize, self.starts[first + 1] as usize);
            let mut depth = 0;
            // Among sorted texts, those that begin with text[at..at + depth] are one range, the exact match its first.
            while low < high {
                work += 1;
                if work > 64 * limit {
                    return Err(TextError::SpecialOverlap);
                }
                if let Some(token) = self.tokens.get(low)
                    && token.text.len() == depth
                {
                    if token.always || parse_special {
                        all.push((at..at + depth, low));
                        if all.len() > limit {
                            return Err(TextError::SpecialOverlap);
                        }
                    }
                    low += 1;
                    continue;
                }
                let Some(&next) = text.get(at + depth) else {
                    break;
                };
                let range = &self.tokens[low..high];
                let begin = range.partition_point(|t| t.text[depth] < next);
                let end = range.partition_point(|t| t.text[depth] <= next);
                (low, high) = (low + begin, low + end);
                depth += 1;
            }
        }
        Ok(all)
    }

    /// Those that do not overlap, in the order of the text: longer tokens take their places before shorter ones.
    fn without_overlaps(
        &self,
        mut all: Vec<(Range<usize>, usize)>,
        len: usize,
    ) -> Vec<(Range<usize>, usize)> {
        if all.len() < 2 {
            return all;
        }
        all.sort_by_key(|(range, token)| {
            (
                usize::MAX - range.len(),
                self.tokens[*token].id,
                range.start,
            )
        });
        let mut taken = vec![false; len];
        all.retain(|(range, _)| {
            // Longer tokens are placed already, so an overlap shows at one of the ends.
            if taken[range.start] || taken[range.end - 1] {
                return false;
            }
            taken[range.clone()].fill(true);
            true
        });
        all.sort_by_key(|(range, _)| range.start);
        all
    }
}

/// Whether one of the sorted `places` lies within a range, not at its ends.
pub(crate) fn is_within(places: &[usize], range: &Range<usize>) -> bool {
    let next = places.partition_point(|place| *place <= range.start);
    places.get(next).is_some_and(|place| *place < range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(tokens: &[(&str, bool)], swallow: bool) -> SpecialFinder {
        SpecialFinder::new(
            tokens
                .iter()
                .enumerate()
                .map(|(id, &(text, always))| (text, id as u32, always)),
            swallow,
        )
    }

    #[test]
    fn longer_tokens_win_wherever_they_lie() {
        let f = finder(&[("ab", true), ("bcd", true), ("b", true)], false);
        use Fragment::{Text, Token};
        assert_eq!(f.split("abcd", true).unwrap(), [Text(0..1), Token(1)]);
        assert_eq!(
            f.split("xabb", true).unwrap(),
            [Text(0..1), Token(0), Token(2)]
        );
        assert_eq!(f.split("", true).unwrap(), []);
    }

    #[test]
    fn control_tokens_only_where_asked() {
        let f = finder(&[("<s>", false), ("<u>", true)], false);
        use Fragment::{Text, Token};
        assert_eq!(f.split("a<s><u>", false).unwrap(), [Text(0..4), Token(1)]);
        assert_eq!(
            f.split("a<s><u>", true).unwrap(),
            [Text(0..1), Token(0), Token(1)]
        );
    }

    #[test]
    fn what_is_marked_is_text() {
        let f = finder(&[("<s>", false), ("<u>", true), ("<s><u>", false)], false);
        use Fragment::{Text, Token};
        let split = |literal: &[usize]| f.split_around("<s><u><s>", true, literal).unwrap();
        assert_eq!(split(&[]), [Token(2), Token(0)]);
        // A place at an end of a token is not within it.
        assert_eq!(split(&[0, 3]), [Token(0), Token(1), Token(0)]);
        assert_eq!(split(&[1, 4]), [Text(0..6), Token(0)]);
        assert_eq!(split(&[7]), [Token(2), Text(6..9)]);
        assert_eq!(
            f.spelled("<s><u>").unwrap(),
            [(0..3, 0), (0..6, 2), (3..6, 1)]
        );
    }

    #[test]
    fn white_space_is_swallowed_where_the_family_does_so() {
        let f = finder(&[("<|end|>", false), ("<s>", false)], true);
        use Fragment::{Text, Token};
        assert_eq!(
            f.split("a<|end|> \n b<s> c", true).unwrap(),
            [Text(0..1), Token(0), Text(11..12), Token(1), Text(15..17)]
        );
    }

    #[test]
    fn tokens_that_overlap_without_end_are_refused_quickly() {
        let texts: Vec<String> = (1..2000).map(|n| "a".repeat(n)).collect();
        let tokens: Vec<(&str, bool)> = texts.iter().map(|t| (t.as_str(), true)).collect();
        let f = finder(&tokens, false);
        assert_eq!(
            f.split(&"a".repeat(100_000), true),
            Err(TextError::SpecialOverlap)
        );
    }
}
