//! The draw of a token from what is told of a row of logits ([`super::candidates`]): the steps that most answers are drawn with, done where the logits are,
//! so that a device can go on with the token that it drew before the host has heard of it.
//!
//! The steps are those of [`crate::text::sampling`] in their usual order: top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024), temperature, the draw.
//! A device computes them in 32 bits and looks at the [`MOST_DRAWN_FROM`] best tokens at most, so its token is a foresight: the choice is the sampler's, which
//! computes in 64 bits and can see the whole row.

/// Numbers by which a token is drawn: top-k (0 is off), top-p (1 is off), min-p (0 is off), temperature (0 takes the best; below 0 is a row that is
/// padding, for which 0 is drawn), a number from 0 to 1, and three
/// that are not used.
pub const DRAW_WORDS: usize = 8;

/// Tokens that are drawn from at most.
pub const MOST_DRAWN_FROM: usize = 256;

/// By what a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawSettings {
    /// Only so many of the best, at most [`MOST_DRAWN_FROM`]; 0 is off.
    pub top_k: usize,
    /// Only the fewest best whose probabilities sum to at least this; 1 is off.
    pub top_p: f32,
    /// Only those at least this times as probable as the best; 0 is off.
    pub min_p: f32,
    /// Divides the logits; 0 takes the best; below 0 the row is padding.
    pub temperature: f32,
    /// Uniform in `[0, 1)`: which it is.
    pub unit: f32,
}

impl DrawSettings {
    /// Always the best token.
    pub const BEST: Self = Self {
        top_k: 1,
        top_p: 1.0,
        min_p: 0.0,
        temperature: 0.0,
        unit: 0.0,
    };

    /// Token 0, whatever is told.
    pub const PADDING: Self = Self {
        temperature: -1.0,
        ..Self::BEST
    };

    /// As [`super::Op::Draw`] takes them.
    #[must_use]
    pub fn words(&self) -> [f32; DRAW_WORDS] {
        let top_k = self.top_k.min(MOST_DRAWN_FROM) as f32;
        [
            top_k,
            self.top_p,
            self.min_p,
            self.temperature,
            self.unit,
            0.0,
            0.0,
            0.0,
        ]
    }

    /// What [`Self::words`] gave; a top-k that is no count is off.
    #[must_use]
    pub fn read(words: &[f32]) -> Option<Self> {
        let &[top_k, top_p, min_p, temperature, unit, ..] = words else {
            return None;
        };
        Some(Self {
            top_k: (top_k as usize).min(MOST_DRAWN_FROM),
            top_p,
            min_p,
            temperature,
            unit,
        })
    }
}
