//! Choosing the next token from a row of logits.
//!
//! The order is that of llama.cpp's default chain, and can be changed ([`SamplingParams::order`]): logit bias, penalties, DRY, top-n-sigma, top-k, typical,
//! top-p, min-p, XTC, temperature, draw. By default filters therefore look at the model's own distribution (after the penalties), and temperature acts on what
//! they left. What is reported beside the token, its probability and the best alternatives, is the model's softmax at temperature 1 before all of that.

mod dry;
mod params;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::TextError;
use super::rng::TokenRng;
use pool::{Candidate, Pool, Softmax, best_first};

pub use params::{BANNED, SamplingParams, SamplingStage};

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
            let breakers: Vec<&[u8]> = self
                .params
                .dry_breakers
                .iter()
                .map(|text| text.as_bytes())
                .filter(|text| !text.is_empty())
                .collect();
            let breaks = |text: &[u8]| {
                breakers
                    .iter()
                    .any(|breaker| text.windows(breaker.len()).any(|part| part == *breaker))
            };
            self.breakers = texts
                .filter(|(_, text)| breaks(text))
                .map(|(id, _)| id)
                .collect();
        }
        self
    }

    /// The settings.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Chooses a token. `recent` are the tokens of the context so far (prompt included), the newest last.
    ///
    /// Logits that are NaN count as minus infinity. One random number is used per call, and one for XTC where it is on; none when greedy or at
    /// temperature 0.
    ///
    /// # Errors
    /// [`TextError::NoLogits`], or [`TextError::LogitsNotFinite`] if no token that is not banned has a logit above minus infinity.
    pub fn sample(&mut self, logits: &[f32], recent: &[u32]) -> Result<Sampled, TextError> {
        let mut pool = Pool {
            candidates: candidates(logits)?,
            temperature: 1.0,
        };
        let model = pool.softmax();
        let alternatives = self.alternatives(&pool, &model);
        let id = if self.params.greedy {
            pool.best().id
        } else {
            self.bias(&mut pool);
            if pool.candidates.is_empty() {
                return Err(TextError::LogitsNotFinite);
            }
            self.choose(pool, recent)
        };
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

    fn bias(&self, pool: &mut Pool) {
        if self.params.logit_bias.is_empty() {
            return;
        }
        let mut biases: HashMap<u32, f32> = HashMap::new();
        for &(id, bias) in &self.params.logit_bias {
            *biases.entry(id).or_default() += bias;
        }
        pool.candidates
            .retain(|c| biases.get(&c.id).is_none_or(|bias| *bias > BANNED));
        for candidate in &mut pool.candidates {
            if let Some(bias) = biases.get(&candidate.id) {
                candidate.logit = bounded(candidate.logit + bias);
            }
        }
    }

    fn penalise(&self, pool: &mut Pool, recent: &[u32]) {
        let params = &self.params;
        let (penalty, frequency, presence) = (
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        );
        if penalty == 1.0 && frequency == 0.0 && presence == 0.0 {
            return;
        }
        let window = &recent[recent.len() - recent.len().min(params.repetition_window)..];
        let mut seen: HashMap<u32, u32> = HashMap::new();
        for id in window {
            *seen.entry(*id).or_default() += 1;
        }
        for candidate in &mut pool.candidates {
            let Some(&count) = seen.get(&candidate.id) else {
                continue;
            };
            let logit = if candidate.logit > 0.0 {
                candidate.logit / penalty
            } else {
                candidate.logit * penalty
            };
            candidate.logit = bounded(logit - count as f32 * frequency - presence);
        }
    }

    fn discourage_repetitions(&self, pool: &mut Pool, recent: &[u32]) {
        let params = &self.params;
        if params.dry_multiplier == 0.0 {
            return;
        }
        let window = match params.dry_window {
            0 => recent,
            window => &recent[recent.len() - recent.len().min(window)..],
        };
        let breaks = |id| self.breakers.contains(&id);
        let found = dry::repetitions(window, params.dry_allowed_length, breaks);
        for candidate in &mut pool.candidates {
            if let Some(length) = found.get(&candidate.id) {
                let beyond = (length - params.dry_allowed_length) as f32;
                let penalty = params.dry_multiplier * params.dry_base.powf(beyond);
                candidate.logit = bounded(candidate.logit - penalty);
            }
        }
    }

    fn choose(&mut self, mut pool: Pool, recent: &[u32]) -> u32 {
        let still = self.params.temperature == 0.0
            && self.params.order.contains(&SamplingStage::Temperature);
        for stage in self.params.order.clone() {
            let params = &self.params;
            match stage {
                SamplingStage::Penalties => self.penalise(&mut pool, recent),
                SamplingStage::Dry => self.discourage_repetitions(&mut pool, recent),
                SamplingStage::TopNSigma if params.top_n_sigma > 0.0 => {
                    pool.keep_sigmas(f64::from(params.top_n_sigma));
                }
                SamplingStage::TopK if params.top_k > 0 && params.top_k < pool.candidates.len() => {
                    pool.keep_best(params.top_k);
                }
                SamplingStage::Typical if params.typical_p < 1.0 => {
                    pool.keep_typical(f64::from(params.typical_p));
                }
                SamplingStage::TopP if params.top_p < 1.0 => {
                    pool.keep_top_p(f64::from(params.top_p));
                }
                SamplingStage::MinP if params.min_p > 0.0 => {
                    pool.keep_min_p(f64::from(params.min_p));
                }
                // Above a half there cannot be two top choices.
                SamplingStage::Xtc
                    if !still && params.xtc_probability > 0.0 && params.xtc_threshold <= 0.5 =>
                {
                    let (probability, threshold) = (params.xtc_probability, params.xtc_threshold);
                    if self.rng.unit_f64() < f64::from(probability) {
                        pool.exclude_top_choices(f64::from(threshold));
                    }
                }
                SamplingStage::Temperature if still => {
                    return pool.best().id;
                }
                SamplingStage::Temperature => pool.temperature = f64::from(params.temperature),
                // Switched off.
                SamplingStage::TopNSigma
                | SamplingStage::TopK
                | SamplingStage::Typical
                | SamplingStage::TopP
                | SamplingStage::MinP
                | SamplingStage::Xtc => {}
            }
        }
        // A fixed order makes the draw independent of how the filters left the list.
        pool.candidates.sort_unstable_by(best_first);
        let softmax = pool.softmax();
        let mut left = self.rng.unit_f64() * softmax.total();
        for candidate in &pool.candidates {
            left -= softmax.weight(candidate.logit);
            if left < 0.0 {
                return candidate.id;
            }
        }
        // Rounding may leave a crumb after the last weight; the best token has weight 1 and is never wrong.
        pool.best().id
    }
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
