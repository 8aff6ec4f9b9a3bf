//! The tokens that may still be chosen, and the steps that weigh and filter them.

use std::cmp::Ordering;

use super::known::Rest;

/// A token that may be chosen. The order is best first, the lower id of equals first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub logit: f32,
    pub id: u32,
}

pub(super) fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Candidates, never none, and what their logits are divided by.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub candidates: Vec<Candidate>,
    /// Above 0.
    pub temperature: f64,
    /// What is known of tokens that are not among the candidates, where there are such.
    pub rest: Option<Rest>,
}

/// The steps tell whether they could be taken: where all tokens are known they always can.
impl Pool {
    /// All tokens, at temperature 1.
    pub fn whole(candidates: Vec<Candidate>) -> Self {
        Self {
            candidates,
            temperature: 1.0,
            rest: None,
        }
    }

    /// The best candidate; token 0 of an empty list, which no caller has.
    pub fn best(&self) -> Candidate {
        self.candidates
            .iter()
            .copied()
            .min_by(best_first)
            .unwrap_or(Candidate { logit: 0.0, id: 0 })
    }

    pub fn softmax(&self) -> Softmax {
        Softmax::new(&self.candidates, self.temperature)
    }

    /// Keeps the `count` best, sorted.
    pub fn keep_best(&mut self, count: usize) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_best(&rest, count);
        }
        if count < self.candidates.len() {
            self.candidates.select_nth_unstable_by(count, best_first);
            self.candidates.truncate(count);
        }
        self.candidates.sort_unstable_by(best_first);
        true
    }

    /// Keeps the fewest best candidates whose probabilities sum to at least `p`, at least one. Sorts only as far as needed.
    pub fn keep_top_p(&mut self, p: f64) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_top_p(&rest, p);
        }
        let softmax = self.softmax();
        let candidates = &mut self.candidates;
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
                    return true;
                }
            }
            if whole {
                return true; // rounding: all of them sum to a hair below p
            }
            sorted *= 4;
        }
    }

    /// Keeps those at least `share` times as probable as the best.
    pub fn keep_min_p(&mut self, share: f64) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_min_p(&rest, share);
        }
        let least = f64::from(self.best().logit) + share.ln() * self.temperature;
        self.candidates.retain(|c| f64::from(c.logit) >= least);
        true
    }

    /// Keeps those at most `n` standard deviations of all logits below the best (Tang et al. 2024).
    pub fn keep_sigmas(&mut self, n: f64) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_sigmas(&rest, n);
        }
        let count = self.candidates.len() as f64;
        let logits = || self.candidates.iter().map(|c| f64::from(c.logit));
        let mean = logits().sum::<f64>() / count;
        let variance = logits().map(|l| (l - mean).powi(2)).sum::<f64>() / count;
        let least = f64::from(self.best().logit) - n * variance.sqrt();
        // Of infinite spread nothing can be said.
        if least.is_finite() {
            self.candidates.retain(|c| f64::from(c.logit) >= least);
        }
        true
    }

    /// Keeps those whose information is closest to the entropy, until their probabilities sum to more than `p` (Meister et al. 2022).
    pub fn keep_typical(&mut self, p: f64) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_typical(&rest, p);
        }
        let softmax = self.softmax();
        let mut judged: Vec<(f64, f64, Candidate)> = self
            .candidates
            .iter()
            .map(|c| {
                let information = -softmax.log_probability(c.logit);
                (information, (-information).exp(), *c)
            })
            .collect();
        let entropy: f64 = judged
            .iter()
            .filter(|(_, probability, _)| *probability > 0.0)
            .map(|(information, probability, _)| information * probability)
            .sum();
        for (information, ..) in &mut judged {
            *information = (*information - entropy).abs();
        }
        judged.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| best_first(&a.2, &b.2)));
        let mut sum = 0.0;
        let mut kept = judged.len();
        for (n, (_, probability, _)) in judged.iter().enumerate() {
            sum += probability;
            if sum > p {
                kept = n + 1;
                break;
            }
        }
        self.candidates = judged[..kept].iter().map(|(.., c)| *c).collect();
        true
    }

    /// Excludes all whose probability is at least `threshold`, but for the least probable of them.
    pub fn exclude_top_choices(&mut self, threshold: f64) -> bool {
        if let Some(rest) = self.rest.clone() {
            return self.known_top_choices(&rest, threshold);
        }
        let softmax = self.softmax();
        self.candidates.sort_unstable_by(best_first);
        let top = self
            .candidates
            .iter()
            .take_while(|c| softmax.probability(c.logit) >= threshold)
            .count();
        if top > 1 {
            self.candidates.drain(..top - 1);
        }
        true
    }

    /// Draws by a number from 0 to 1; `None` where it depends on what is not known.
    pub fn draw(&mut self, unit: f64) -> Option<u32> {
        if let Some(rest) = self.rest.clone() {
            return self.known_draw(&rest, unit);
        }
        // A fixed order makes the draw independent of how the filters left the list.
        self.candidates.sort_unstable_by(best_first);
        let softmax = self.softmax();
        let mut left = unit * softmax.total();
        for candidate in &self.candidates {
            left -= softmax.weight(candidate.logit);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        // Rounding may leave a crumb after the last weight; the best token has weight 1 and is never wrong.
        Some(self.best().id)
    }
}

/// The softmax of a list, in f64.
pub(super) struct Softmax {
    top: f64,
    sum: f64,
    temperature: f64,
}

impl Softmax {
    /// At temperature 1, by its largest logit and the sum of the weights relative to that.
    pub fn of(top: f64, sum: f64) -> Self {
        Self {
            top,
            sum,
            temperature: 1.0,
        }
    }

    pub fn new(candidates: &[Candidate], temperature: f64) -> Self {
        let top = candidates
            .iter()
            .map(|c| f64::from(c.logit))
            .fold(f64::NEG_INFINITY, f64::max);
        let sum = candidates
            .iter()
            .map(|c| ((f64::from(c.logit) - top) / temperature).exp())
            .sum();
        Self {
            top,
            sum,
            temperature,
        }
    }

    /// Relative to the best's.
    pub fn weight(&self, logit: f32) -> f64 {
        ((f64::from(logit) - self.top) / self.temperature).exp()
    }

    /// The sum of all weights.
    pub fn total(&self) -> f64 {
        self.sum
    }

    pub fn probability(&self, logit: f32) -> f64 {
        self.weight(logit) / self.sum
    }

    fn log_probability(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.top) / self.temperature - self.sum.ln()
    }
}
