//! Choosing the next token from a row of logits.
//!
//! The order is that of llama.cpp's default chain, and can be changed ([`SamplingParams::order`]): logit bias, penalties, DRY, top-n-sigma, top-k, typical,
//! top-p, min-p, XTC, temperature, draw. By default filters therefore look at the model's own distribution (after the penalties), and temperature acts on what
//! they left. What is reported beside the token, its probability and the best alternatives, is the model's softmax at temperature 1 before all of that.

mod chain;
mod dry;
mod foresight;
mod known;
#[cfg(test)]
mod known_tests;
mod mask;
mod params;
mod pool;
mod preview;
#[cfg(test)]
mod preview_tests;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::TextError;
use super::rng::TokenRng;
use chain::{Chain, Left};
use pool::{Candidate, Pool, Softmax};

pub use mask::TokenMask;
pub use params::{BANNED, SamplingParams, SamplingStage};
pub use preview::{Bar, Distribution, LIKELIEST, LikelyToken, preview};

/// What may take a token out of the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The request's grammar does not allow it here.
    Grammar,
    /// A logit bias bans it.
    Bias,
    /// A step of the chain.
    Stage(SamplingStage),
    /// It is not the best, and only the best is taken: greedy, or temperature 0.
    Best,
}

/// A token and what the model itself thought of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenProbability {
    /// The token.
    pub id: u32,
    /// Its probability by the model's softmax at temperature 1, before penalties and filters.
    pub probability: f32,
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The token.
    pub id: u32,
    /// Its probability by the model's softmax at temperature 1, before penalties and filters.
    pub probability: f32,
    /// The model's best tokens, best first, the lower id of equals first; the chosen one may be among them.
    pub alternatives: Vec<TokenProbability>,
}

/// Chooses tokens by settings and a seed. It can be saved in a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenSampler {
    params: SamplingParams,
    rng: TokenRng,
    /// Tokens that end the sequences that DRY looks at.
    #[serde(default)]
    breakers: HashSet<u32>,
}

impl TokenSampler {
    /// # Errors
    /// [`TextError::SamplingRange`] and [`TextError::SamplingOrder`] for settings that mean nothing.
    pub fn new(params: SamplingParams, seed: u64) -> Result<Self, TextError> {
        params.check()?;
        Ok(Self {
            params,
            rng: TokenRng::new(seed),
            breakers: HashSet::new(),
        })
    }

    /// Says which tokens end the sequences that DRY looks at: those whose texts have one of [`SamplingParams::dry_breakers`] in them. `texts` are all
    /// tokens with their texts.
    #[must_use]
    pub fn with_texts<'a>(mut self, texts: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        if self.params.dry_multiplier > 0.0 {
            let breakers = &self.params.dry_breakers;
            self.breakers = texts
                .filter(|(_, text)| ends_sequences(breakers, text))
                .map(|(id, _)| id)
                .collect();
        }
        self
    }

    /// The settings.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Passes over the random numbers of as many choices: what comes then is what would have come behind those.
    pub fn skip(&mut self, choices: usize) {
        let params = &self.params;
        let drawn = if params.greedy || params.is_still() {
            0
        } else {
            1 + usize::from(params.may_exclude())
        };
        for _ in 0..choices.saturating_mul(drawn) {
            self.rng.next_u64();
        }
    }

    /// Chooses a token. `recent` are the tokens of the context so far (prompt included), the newest last.
    ///
    /// One random number is used per call, and one for XTC where it is on; none when greedy or at
    /// temperature 0.
    ///
    /// # Errors
    /// [`TextError::NoLogits`], or [`TextError::LogitsNotFinite`] if a logit is NaN, or no token that is not banned has one above minus infinity.
    pub fn sample(&mut self, logits: &[f32], recent: &[u32]) -> Result<Sampled, TextError> {
        self.sample_allowed(logits, recent, None)
    }

    /// As [`Self::sample`], of those tokens alone that are `allowed`. What is reported stays the model's own opinion, on all tokens.
    ///
    /// # Errors
    /// As [`Self::sample`], and [`TextError::NothingAllowed`].
    pub fn sample_allowed(
        &mut self,
        logits: &[f32],
        recent: &[u32],
        allowed: Option<&TokenMask>,
    ) -> Result<Sampled, TextError> {
        let pool = Pool::whole(candidates(logits)?);
        let model = pool.softmax();
        let alternatives = self.alternatives(&pool, &model).unwrap_or_default();
        // Of a whole row nothing is unknown.
        let id = self
            .choose(pool, recent, (allowed, true))?
            .ok_or(TextError::LogitsNotFinite)?;
        let probability = logits
            .get(id as usize)
            .map_or(0.0, |&logit| model.probability(clean(logit)));
        Ok(Sampled {
            id,
            probability: probability as f32,
            alternatives,
        })
    }

    /// The model's best tokens; `None` where it is not known which they are.
    fn alternatives(&self, pool: &Pool, model: &Softmax) -> Option<Vec<TokenProbability>> {
        let count = self.params.alternatives.min(pool.candidates.len());
        if count == 0 {
            return Some(Vec::new());
        }
        let mut sorted = pool.clone();
        if !sorted.keep_best(count) {
            return None;
        }
        let told = sorted
            .candidates
            .into_iter()
            .map(|c| TokenProbability {
                id: c.id,
                probability: model.probability(c.logit) as f32,
            })
            .collect();
        Some(told)
    }

    /// Draws from what the steps leave; `None` where that depends on what is not known of the row. With what a grammar allows comes whether all of it is
    /// among the candidates.
    fn choose(
        &mut self,
        pool: Pool,
        recent: &[u32],
        (allowed, all_allowed_known): (Option<&TokenMask>, bool),
    ) -> Result<Option<u32>, TextError> {
        let Self {
            params,
            rng,
            breakers,
        } = self;
        let chain = Chain {
            params,
            breaks: &|id| breakers.contains(&id),
            allowed,
            all_allowed_known,
        };
        let mut exclude = |probability: f32| rng.unit_f64() < f64::from(probability);
        let mut pool = match chain.run(pool, recent, &mut exclude, &mut |_, _| {})? {
            Left::Draw(pool) => pool,
            Left::Best(best) => return Ok(Some(best.id)),
            Left::Unsettled => return Ok(None),
        };
        Ok(pool.draw(rng.unit_f64()))
    }
}

/// Whether a token with this text ends the sequences that DRY looks at.
fn ends_sequences(breakers: &[String], text: &[u8]) -> bool {
    breakers
        .iter()
        .map(|breaker| breaker.as_bytes())
        .filter(|breaker| !breaker.is_empty())
        .any(|breaker| text.windows(breaker.len()).any(|part| part == breaker))
}

/// Infinities become the largest numbers, so that differences stay numbers.
fn clean(logit: f32) -> f32 {
    logit.min(f32::MAX)
}

/// A large penalty may overflow; the order is what counts.
fn bounded(logit: f32) -> f32 {
    logit.clamp(f32::MIN, f32::MAX)
}

/// Tokens with a number above minus infinity. One that is NaN means that none can be trusted.
fn candidates(logits: &[f32]) -> Result<Vec<Candidate>, TextError> {
    if logits.is_empty() {
        return Err(TextError::NoLogits);
    }
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err(TextError::LogitsNotFinite);
    }
    let candidates: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
        .map(|(id, &logit)| Candidate {
            // -0 and 0 are equal: ties go to the lowest id.
            logit: clean(logit) + 0.0,
            id: id as u32,
        })
        .collect();
    if candidates.is_empty() {
        return Err(TextError::LogitsNotFinite);
    }
    Ok(candidates)
}
