//! Added tokens: found in text before anything else is done with it, the leftmost first and of those the longest.

use std::ops::Range;

use super::super::special::is_within;
use super::file::AddedToken;
use crate::text::TextError;

/// One token to look for.
#[derive(Debug)]
struct Wanted {
    text: Box<[u8]>,
    id: u32,
    special: bool,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// Tokens that are looked for at once.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Sorted by text.
    tokens: Vec<Wanted>,
    /// Where in `tokens` each first byte begins; 257 entries, or none where there is no token.
    starts: Vec<u32>,
}

/// A stretch of text, or a token in its place.
pub(super) type Part = (Range<usize>, Option<u32>);

impl Added {
    /// `tokens` with the texts that are looked for.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (String, &'a AddedToken)>) -> Self {
        let mut tokens: Vec<Wanted> = tokens
            .filter(|(text, _)| !text.is_empty())
            .map(|(text, token)| Wanted {
                text: text.into_bytes().into(),
                id: token.id,
                special: token.special,
                single_word: token.single_word,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
            })
            .collect();
        tokens.sort_by(|a, b| a.text.cmp(&b.text));
        let starts = (0..=256u32)
            .map(|first| tokens.partition_point(|t| u32::from(t.text[0]) < first) as u32)
            .collect();
        Self { tokens, starts }
    }

    /// The longest token that `text` begins with.
    fn longest_at(&self, text: &[u8], work: &mut usize) -> Option<&Wanted> {
        let first = usize::from(*text.first()?);
        let (mut low, mut high) = (
            *self.starts.get(first)? as usize,
            *self.starts.get(first + 1)? as usize,
        );
        let mut depth = 1;
        let mut longest = None;
        while low < high {
            *work += 1;
            let token = &self.tokens[low];
            if token.text.len() == depth {
                longest = Some(token);
                low += 1;
                continue;
            }
            let Some(&next) = text.get(depth) else { break };
            let range = &self.tokens[low..high];
            let begin = range.partition_point(|t| t.text[depth] < next);
            let end = begin + range[begin..].partition_point(|t| t.text[depth] <= next);
            (low, high) = (low + begin, low + end);
            depth += 1;
        }
        longest
    }

    /// Cuts `text`. Where special tokens are to be taken literally they are passed over, and so is what has one of the places `literal` within it.
    pub(super) fn split(
        &self,
        text: &str,
        parse_special: bool,
        literal: &[usize],
    ) -> Result<Vec<Part>, TextError> {
        let mut parts = Vec::new();
        if self.tokens.is_empty() {
            if !text.is_empty() {
                parts.push((0..text.len(), None));
            }
            return Ok(parts);
        }
        let most = 256 * text.len() + 4096;
        let mut work = 0;
        // Where the last part ends, and where the search goes on.
        let (mut taken, mut at) = (0, 0);
        while at < text.len() {
            if work > most {
                return Err(TextError::SpecialOverlap);
            }
            let Some(token) = self.longest_at(&text.as_bytes()[at..], &mut work) else {
                at += 1;
                continue;
            };
            let (mut start, mut end) = (at, at + token.text.len());
            if is_within(literal, &(start..end)) {
                at += 1;
                continue;
            }
            at = end;
            if token.special && !parse_special || start < taken {
                continue;
            }
            // Token texts are UTF-8, so that they begin and end between characters.
            let (before, after) = (&text[..start], &text[end..]);
            if token.single_word
                && (before.chars().next_back().is_some_and(is_word)
                    || after.chars().next().is_some_and(is_word))
            {
                continue;
            }
            if token.lstrip {
                start = before.trim_end().len().max(taken);
            }
            if token.rstrip {
                end += after.len() - after.trim_start().len();
            }
            if start > taken {
                parts.push((taken..start, None));
            }
            parts.push((start..end, Some(token.id)));
            taken = end;
            at = at.max(taken);
        }
        if taken < text.len() {
            parts.push((taken..text.len(), None));
        }
        Ok(parts)
    }
}

/// What `\w` matches, nearly: letters, digits, the underscore.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
