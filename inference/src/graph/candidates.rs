//! The likeliest tokens of a row of logits, and sums over all of them: what a device tells of a row in place of the row.
//!
//! A row is dealt out to [`PARTS`] parts, token by token in turn, so that neighbours in the vocabulary (numbers, spellings of one word) are in different
//! ones. Of each part its [`KEPT`] best tokens are told, and sums over all of its tokens. Whatever is not told comes, in the order of likelihood, after the
//! last token told of its part; so a few hundred of the best of all are known in their order, and it is known how far that goes.

/// Parts of a row.
pub const PARTS: usize = 64;

/// Tokens told of a part.
pub const KEPT: usize = 16;

/// Tokens of a row that can be asked for by their number.
pub const EXTRAS: usize = 256;

/// Numbers that follow the tokens of a part; see [`PartSums`].
pub const SUMS: usize = 8;

/// Numbers told of a part: logits of its best tokens, best first and the lower number first of equals; their numbers, -1 for none; sums.
pub const PART_WORDS: usize = 2 * KEPT + SUMS;

/// Numbers told of a row: its parts, then the logits asked for.
pub const ROW_WORDS: usize = PARTS * PART_WORDS + EXTRAS;

/// Distance below the best logit of a part from which on sums would lose their digits: such rows are counted as odd.
pub const FARTHEST: f32 = 1e4;

/// Sums over the tokens of a part whose logits are finite; `x` is how far a logit is above the part's largest, never above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartSums {
    /// Largest logit; without meaning where `count` is 0.
    pub largest: f32,
    /// Of `exp(x)`.
    pub exp: f32,
    /// Of `exp(x * t)`, where `t` is the row's inverse temperature.
    pub exp_at_temperature: f32,
    /// Of `x * exp(x)`.
    pub x_exp: f32,
    /// Of `x`.
    pub x: f32,
    /// Of `x * x`.
    pub x_squared: f32,
    /// Tokens with a finite logit.
    pub count: u32,
    /// Tokens whose logit is no number, infinite above, or too far below the others.
    pub odd: u32,
}

/// What was told of a row, read.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateRow {
    /// Tokens of the row: numbers are below.
    pub len: usize,
    /// Tokens told with their logits, part after part.
    pub tokens: Vec<(u32, f32)>,
    /// The token that everything not told comes after, by logit and then by number: `None` where all finite tokens are told.
    pub bound: Option<(u32, f32)>,
    /// Sums of the parts.
    pub sums: Vec<PartSums>,
    /// Logits asked for, in that order.
    pub extras: Vec<f32>,
}

impl CandidateRow {
    /// From the [`ROW_WORDS`] numbers that tell of a row of `len` tokens; `None` where there are not as many.
    #[must_use]
    pub fn read(words: &[f32], len: usize) -> Option<Self> {
        if words.len() != ROW_WORDS {
            return None;
        }
        let (parts, extras) = words.split_at(PARTS * PART_WORDS);
        let mut tokens = Vec::with_capacity(PARTS * KEPT);
        let mut bound: Option<(u32, f32)> = None;
        let mut sums = Vec::with_capacity(PARTS);
        for part in parts.chunks_exact(PART_WORDS) {
            let (logits, rest) = part.split_at(KEPT);
            let (numbers, told) = rest.split_at(KEPT);
            let before = tokens.len();
            let found = numbers
                .iter()
                .zip(logits)
                .filter(|(number, _)| **number >= 0.0);
            tokens.extend(found.map(|(number, logit)| (*number as u32, *logit)));
            let &[largest, exp, at, x_exp, x, x_squared, count, odd] = told else {
                return None;
            };
            let (count, odd) = (count as u32, odd as u32);
            if count as usize > tokens.len() - before
                && let Some(&last) = tokens.get(before..).and_then(<[_]>::last)
            {
                // Of two bounds the one that comes first holds for both parts.
                let is_first =
                    |other: (u32, f32)| last.1 > other.1 || last.1 == other.1 && last.0 < other.0;
                if bound.is_none_or(is_first) {
                    bound = Some(last);
                }
            }
            sums.push(PartSums {
                largest,
                exp,
                exp_at_temperature: at,
                x_exp,
                x,
                x_squared,
                count,
                odd,
            });
        }
        Some(Self {
            len,
            tokens,
            bound,
            sums,
            extras: extras.to_vec(),
        })
    }
}
