//! Choosing the next token from a row of logits.
//!
//! The order is that of llama.cpp's default chain: repetition penalty, top-k, top-p, min-p, temperature, draw. Filters therefore look at the
//! model's own distribution (after the penalty), and temperature acts on what they left. What is reported beside the token, its probability
//! and the best alternatives, is the model's softmax at temperature 1 before all of that.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::TextError;
use super::rng::TokenRng;

/// Sampling settings. Everything "off" draws from the model's own distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the best token (after the penalty), 1 leaves the distribution as it is.
    pub temperature: f32,
    /// Keep only the best `top_k` tokens; 0 is off.
    pub top_k: usize,
    /// Keep the fewest best tokens whose probabilities sum to at least this; 1 is off.
    pub top_p: f32,
    /// Keep tokens at least this times as probable as the best; 0 is off (Nguyen et al. 2024).
    pub min_p: f32,
    /// Positive logits of recent tokens are divided by this, others multiplied (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    /// How many recent tokens the penalty looks at.
    pub repetition_window: usize,
    /// Always the best token of the model: no penalty, no filter, no chance; the lowest id of equals.
    pub greedy: bool,
    /// How many of the model's best tokens to report beside the chosen one.
    pub alternatives: usize,
}

impl Default for SamplingParams {
    /// The values that llama.cpp has: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty over the last 64 tokens.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            repetition_window: 64,
            greedy: false,
            alternatives: 5,
        }
    }
}

impl SamplingParams {
    /// # Errors
    /// [`TextError::SamplingRange`] for settings that mean nothing.
    pub fn check(&self) -> Result<(), TextError> {
        let settings = [
            (
                "temperature",
                self.temperature,
                (0.0..=100.0).contains(&self.temperature),
                "0 to 100",
            ),
            (
                "top-p",
                self.top_p,
                (0.0..=1.0).contains(&self.top_p),
                "0 to 1",
            ),
            (
                "min-p",
                self.min_p,
                (0.0..=1.0).contains(&self.min_p),
                "0 to 1",
            ),
            (
                "repetition penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
                "above 0 to 100",
            ),
        ];
        for (name, value, ok, allowed) in settings {
            if !ok {
                return Err(TextError::SamplingRange {
                    name,
                    value,
                    allowed,
                });
            }
        }
        Ok(())
    }
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

/// A token that may be chosen. The order is best first, the lower id of equals first.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    id: u32,
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Draws tokens. Settings and generator together are the whole state; save it to go on later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenSampler {
    params: SamplingParams,
    rng: TokenRng,
}

impl TokenSampler {
    /// # Errors
    /// [`TextError::SamplingRange`] for settings that mean nothing.
    pub fn new(params: SamplingParams, seed: u64) -> Result<Self, TextError> {
        params.check()?;
        Ok(Self {
            params,
            rng: TokenRng::new(seed),
        })
    }

    /// The settings.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Chooses a token. `recent` are the tokens of the context so far (prompt included), the newest last.
    ///
    /// Logits that are NaN count as minus infinity. Exactly one random number is used per call, none when greedy or at temperature 0.
    ///
    /// # Errors
    /// [`TextError::NoLogits`], or [`TextError::LogitsNotFinite`] if no logit is a number above minus infinity.
    pub fn sample(&mut self, logits: &[f32], recent: &[u32]) -> Result<Sampled, TextError> {
        let mut candidates = candidates(logits)?;
        let model = Softmax::new(&candidates);
        let alternatives = self.alternatives(&candidates, &model);
        let id = if self.params.greedy {
            best(&candidates).id
        } else {
            self.penalise(&mut candidates, recent);
            self.choose(candidates)
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

    fn alternatives(&self, candidates: &[Candidate], model: &Softmax) -> Vec<TokenProbability> {
        let count = self.params.alternatives.min(candidates.len());
        if count == 0 {
            return Vec::new();
        }
        let mut sorted = candidates.to_vec();
        keep_best(&mut sorted, count);
        sorted
            .into_iter()
            .map(|c| TokenProbability {
                id: c.id,
                probability: model.probability(c.logit) as f32,
            })
            .collect()
    }

    fn penalise(&self, candidates: &mut [Candidate], recent: &[u32]) {
        let penalty = self.params.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let window = &recent[recent.len() - recent.len().min(self.params.repetition_window)..];
        let seen: std::collections::HashSet<u32> = window.iter().copied().collect();
        for candidate in candidates.iter_mut().filter(|c| seen.contains(&c.id)) {
            candidate.logit = if candidate.logit > 0.0 {
                candidate.logit / penalty
            } else {
                candidate.logit * penalty
            };
            // A large penalty may overflow; the order is what counts.
            candidate.logit = candidate.logit.clamp(f32::MIN, f32::MAX);
        }
    }

    fn choose(&mut self, mut candidates: Vec<Candidate>) -> u32 {
        let params = &self.params;
        if params.temperature == 0.0 {
            return best(&candidates).id;
        }
        if params.top_k > 0 && params.top_k < candidates.len() {
            keep_best(&mut candidates, params.top_k);
        }
        if params.top_p < 1.0 {
            keep_top_p(&mut candidates, f64::from(params.top_p));
        }
        if params.min_p > 0.0 {
            let least = f64::from(best(&candidates).logit) + f64::from(params.min_p).ln();
            candidates.retain(|c| f64::from(c.logit) >= least);
        }
        // A fixed order makes the draw independent of how the filters left the list.
        candidates.sort_unstable_by(best_first);
        let top = f64::from(best(&candidates).logit);
        let temperature = f64::from(params.temperature);
        let weight = |c: &Candidate| ((f64::from(c.logit) - top) / temperature).exp();
        let total: f64 = candidates.iter().map(weight).sum();
        let mut left = self.rng.unit_f64() * total;
        for candidate in &candidates {
            left -= weight(candidate);
            if left < 0.0 {
                return candidate.id;
            }
        }
        // Rounding may leave a crumb after the last weight; the best token has weight 1 and is never wrong.
        best(&candidates).id
    }
}

/// Infinities become the largest numbers, so that differences stay numbers.
fn clean(logit: f32) -> f32 {
    logit.min(f32::MAX)
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

/// The best candidate; token 0 of an empty list, which no caller has.
fn best(candidates: &[Candidate]) -> Candidate {
    candidates
        .iter()
        .copied()
        .min_by(best_first)
        .unwrap_or(Candidate { logit: 0.0, id: 0 })
}

/// Keeps the `count` best, sorted.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, best_first);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(best_first);
}

/// Keeps the fewest best candidates whose probabilities sum to at least `p`, at least one. Sorts only as far as needed.
fn keep_top_p(candidates: &mut Vec<Candidate>, p: f64) {
    let softmax = Softmax::new(candidates);
    let mut sorted = 256;
    loop {
        let whole = sorted >= candidates.len();
        if !whole {
            candidates.select_nth_unstable_by(sorted, best_first);
        }
        let end = sorted.min(candidates.len());
        candidates[..end].sort_unstable_by(best_first);
        let mut sum = 0.0;
        for (n, candidate) in candidates[..end].iter().enumerate() {
            sum += softmax.probability(candidate.logit);
            if sum >= p {
                candidates.truncate(n + 1);
                return;
            }
        }
        if whole {
            return; // rounding: all of them sum to a hair below p
        }
        sorted *= 4;
    }
}

/// The softmax of a list, in f64.
struct Softmax {
    top: f64,
    sum: f64,
}

impl Softmax {
    fn new(candidates: &[Candidate]) -> Self {
        let top = candidates
            .iter()
            .map(|c| f64::from(c.logit))
            .fold(f64::NEG_INFINITY, f64::max);
        let sum = candidates
            .iter()
            .map(|c| (f64::from(c.logit) - top).exp())
            .sum();
        Self { top, sum }
    }

    fn probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.top).exp() / self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> SamplingParams {
        SamplingParams {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            greedy: false,
            alternatives: 3,
        }
    }

    /// Draws `n` tokens and compares their counts with `want` by a chi-square test.
    fn assert_distribution(params: SamplingParams, logits: &[f32], recent: &[u32], want: &[f64]) {
        let seed: u64 = rand::random();
        println!("seed {seed} for {params:?}");
        let n = 40_000;
        let mut sampler = TokenSampler::new(params, seed).unwrap();
        let mut counts = vec![0u32; logits.len()];
        for _ in 0..n {
            counts[sampler.sample(logits, recent).unwrap().id as usize] += 1;
        }
        let mut chi2 = 0.0;
        let mut cells = 0;
        for (&count, &p) in counts.iter().zip(want) {
            if p == 0.0 {
                assert_eq!(count, 0, "{counts:?} against {want:?}");
                continue;
            }
            let expected = p * f64::from(n);
            assert!(expected > 20.0, "the test itself needs larger cells");
            chi2 += (f64::from(count) - expected).powi(2) / expected;
            cells += 1;
        }
        // Up to 7 degrees of freedom: P(chi2 > 60) < 2e-10, so that all such tests together fail less than once in a hundred million runs.
        assert!(
            cells <= 8 && chi2 < 60.0,
            "chi2 {chi2}: {counts:?} against {want:?}"
        );
    }

    fn softmax(logits: &[f64]) -> Vec<f64> {
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        logits.iter().map(|l| l.exp() / sum).collect()
    }

    const LOGITS: [f32; 5] = [1.0, 2.0, 0.5, -1.0, 1.5];

    #[test]
    fn draws_follow_the_models_distribution_and_temperature() {
        let wide = LOGITS.map(f64::from);
        assert_distribution(open(), &LOGITS, &[], &softmax(&wide));
        let hot = SamplingParams {
            temperature: 2.0,
            ..open()
        };
        assert_distribution(hot, &LOGITS, &[], &softmax(&wide.map(|l| l / 2.0)));
    }

    #[test]
    fn filters_leave_what_they_promise() {
        let inf = f64::NEG_INFINITY;
        let top_k = SamplingParams { top_k: 2, ..open() };
        assert_distribution(top_k, &LOGITS, &[], &softmax(&[inf, 2.0, inf, inf, 1.5]));
        // Probabilities: 0.17, 0.46, 0.10, 0.02, 0.28: the best two sum to 0.74, three to 0.91.
        let top_p = SamplingParams {
            top_p: 0.75,
            ..open()
        };
        assert_distribution(top_p, &LOGITS, &[], &softmax(&[1.0, 2.0, inf, inf, 1.5]));
        let top_p = SamplingParams {
            top_p: 0.0,
            ..open()
        };
        assert_distribution(top_p, &LOGITS, &[], &[0.0, 1.0, 0.0, 0.0, 0.0]);
        // 0.5 times the best: logits down to 2 - ln 2 = 1.31.
        let min_p = SamplingParams {
            min_p: 0.5,
            ..open()
        };
        assert_distribution(min_p, &LOGITS, &[], &softmax(&[inf, 2.0, inf, inf, 1.5]));
        // Temperature acts after the filters.
        let both = SamplingParams {
            min_p: 0.5,
            temperature: 3.0,
            ..open()
        };
        assert_distribution(
            both,
            &LOGITS,
            &[],
            &softmax(&[inf, 2.0 / 3.0, inf, inf, 0.5]),
        );
    }

    #[test]
    fn top_p_looks_beyond_the_first_sorted_block() {
        let mut many: Vec<Candidate> = (0..5000)
            .rev()
            .map(|id| Candidate { logit: 0.0, id })
            .collect();
        keep_top_p(&mut many, 0.5);
        // 5000 equal probabilities of 0.0002; rounding decides about the last one.
        assert!((2500..=2501).contains(&many.len()), "{}", many.len());
        assert!(many.iter().enumerate().all(|(n, c)| c.id as usize == n));
    }

    #[test]
    fn penalty_divides_or_multiplies_once_within_the_window() {
        let params = SamplingParams {
            repetition_penalty: 2.0,
            repetition_window: 3,
            ..open()
        };
        // Token 4 lies before the window; token 1 counts once although it is there twice.
        assert_distribution(
            params,
            &LOGITS,
            &[4, 1, 3, 1],
            &softmax(&[1.0, 1.0, 0.5, -2.0, 1.5]),
        );
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals_and_ignores_the_rest() {
        let params = SamplingParams {
            greedy: true,
            repetition_penalty: 5.0,
            ..SamplingParams::default()
        };
        let mut sampler = TokenSampler::new(params, 1).unwrap();
        let out = sampler.sample(&[0.0, 3.0, 3.0, f32::NAN], &[1, 1]).unwrap();
        assert_eq!(out.id, 1);
        assert_eq!(
            out.alternatives.iter().map(|a| a.id).collect::<Vec<_>>(),
            [1, 2, 0]
        );
        let share = 1.0 / (2.0 + (-3f32).exp());
        assert!((out.probability - share).abs() < 1e-6);
        assert_eq!(sampler.sample(&[-0.0, 0.0], &[]).unwrap().id, 0);
        assert_eq!(
            sampler
                .sample(&[1.0, f32::INFINITY, f32::INFINITY], &[])
                .unwrap()
                .id,
            1
        );
    }

    #[test]
    fn probabilities_are_the_models_own() {
        let params = SamplingParams {
            top_k: 1,
            temperature: 0.1,
            alternatives: 9,
            ..open()
        };
        let out = TokenSampler::new(params, 3)
            .unwrap()
            .sample(&LOGITS, &[])
            .unwrap();
        let want = softmax(&LOGITS.map(f64::from));
        assert_eq!(out.id, 1);
        assert!((f64::from(out.probability) - want[1]).abs() < 1e-6);
        assert_eq!(out.alternatives.len(), 5);
        for alternative in &out.alternatives {
            assert!(
                (f64::from(alternative.probability) - want[alternative.id as usize]).abs() < 1e-6
            );
        }
    }

    #[test]
    fn bad_logits_and_settings_are_named() {
        let mut sampler = TokenSampler::new(open(), 0).unwrap();
        assert_eq!(sampler.sample(&[], &[]), Err(TextError::NoLogits));
        assert_eq!(
            sampler.sample(&[f32::NAN, f32::NEG_INFINITY], &[]),
            Err(TextError::LogitsNotFinite)
        );
        assert_eq!(sampler.sample(&[f32::NAN, f32::MIN], &[]).unwrap().id, 1);
        for bad in [
            SamplingParams {
                temperature: f32::NAN,
                ..open()
            },
            SamplingParams {
                temperature: -1.0,
                ..open()
            },
            SamplingParams {
                top_p: 1.5,
                ..open()
            },
            SamplingParams {
                min_p: -0.1,
                ..open()
            },
            SamplingParams {
                repetition_penalty: 0.0,
                ..open()
            },
        ] {
            assert!(matches!(
                TokenSampler::new(bad, 0),
                Err(TextError::SamplingRange { .. })
            ));
        }
    }

    #[test]
    fn a_seed_gives_the_same_tokens_for_ever() {
        let draw = |seed| {
            let mut sampler = TokenSampler::new(open(), seed).unwrap();
            (0..16)
                .map(|_| sampler.sample(&LOGITS, &[]).unwrap().id)
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(42), draw(42));
        assert_ne!(draw(42), draw(43));
        let mut sampler = TokenSampler::new(open(), 9).unwrap();
        sampler.sample(&LOGITS, &[]).unwrap();
        let saved = serde_json::to_string(&sampler).unwrap();
        let mut restored: TokenSampler = serde_json::from_str(&saved).unwrap();
        for _ in 0..16 {
            assert_eq!(sampler.sample(&LOGITS, &[]), restored.sample(&LOGITS, &[]));
        }
    }
}
