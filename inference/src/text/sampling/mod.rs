//! Choosing the next token from a row of logits.
//!
//! The order is that of llama.cpp's default chain, and can be changed ([`SamplingParams::order`]): logit bias, penalties, DRY, top-n-sigma, top-k, typical,
//! top-p, min-p, XTC, temperature, draw. By default filters therefore look at the model's own distribution (after the penalties), and temperature acts on what
//! they left. What is reported beside the token, its probability and the best alternatives, is the model's softmax at temperature 1 before all of that.

mod chain;
mod dry;
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
use pool::{Candidate, Pool, Softmax, best_first};

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
    /// Logits that are NaN count as minus infinity. One random number is used per call, and one for XTC where it is on; none when greedy or at
    /// temperature 0.
    ///
    /// # Errors
    /// [`TextError::NoLogits`], or [`TextError::LogitsNotFinite`] if no token that is not banned has a logit above minus infinity.
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
        let pool = Pool {
            candidates: candidates(logits)?,
            temperature: 1.0,
        };
        let model = pool.softmax();
        let alternatives = self.alternatives(&pool, &model);
        let id = self.choose(pool, recent, allowed)?;
        let probability = logits
            .get(id as usize)
            .map_or(0.0, |&logit| model.probability(clean(logit)));
        Ok(Sampled {
            id,
            probability: probability as f32,
            alternatives,
        })
    }

    fn alternatives(&self, pool: &Pool, model: &Softmax) -> Vec<TokenProbability> {
        let count = self.params.alternatives.min(pool.candidates.len());
        if count == 0 {
            return Vec::new();
        }
        let mut sorted = pool.clone();
        sorted.keep_best(count);
        sorted
            .candidates
            .into_iter()
            .map(|c| TokenProbability {
                id: c.id,
                probability: model.probability(c.logit) as f32,
            })
            .collect()
    }

    /// Draws from what the steps leave.
    fn choose(
        &mut self,
        pool: Pool,
        recent: &[u32],
        allowed: Option<&TokenMask>,
    ) -> Result<u32, TextError> {
        let Self {
            params,
            rng,
            breakers,
        } = self;
        let chain = Chain {
            params,
            breaks: &|id| breakers.contains(&id),
            allowed,
        };
        let mut exclude = |probability: f32| rng.unit_f64() < f64::from(probability);
        let mut pool = match chain.run(pool, recent, &mut exclude, &mut |_, _| {})? {
            Left::Draw(pool) => pool,
            Left::Best(best) => return Ok(best.id),
        };
        // A fixed order makes the draw independent of how the filters left the list.
        pool.candidates.sort_unstable_by(best_first);
        let softmax = pool.softmax();
        let mut left = rng.unit_f64() * softmax.total();
        for candidate in &pool.candidates {
            left -= softmax.weight(candidate.logit);
            if left < 0.0 {
                return Ok(candidate.id);
            }
        }
        // Rounding may leave a crumb after the last weight; the best token has weight 1 and is never wrong.
        Ok(pool.best().id)
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

/// Tokens with a number above minus infinity.
fn candidates(logits: &[f32]) -> Result<Vec<Candidate>, TextError> {
    if logits.is_empty() {
        return Err(TextError::NoLogits);
    }
    let candidates: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| !logit.is_nan() && **logit > f32::NEG_INFINITY)
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
