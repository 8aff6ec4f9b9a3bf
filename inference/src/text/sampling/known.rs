//! Sampling from what a device tells of a row: its likeliest tokens, those that were asked for, and sums over all.
//!
//! Every step asks itself whether what is known settles it, whatever the tokens are that were not told. It knows of them that each comes, by logit and then by
//! number, after a token that was told, and what they sum up to, within the error of sums in f32. Where that settles a step, it does what it would have done
//! to the whole row; where it does not, the whole row is to be read. The random numbers are the same either way, and so is the token.

use std::collections::BTreeSet;

use super::dry;
use super::mask::TokenMask;
use super::params::SamplingStage;
use super::pool::{Candidate, Pool, Softmax, best_first};
use super::{Sampled, TokenSampler};
use crate::graph::candidates::{CandidateRow, EXTRAS};
use crate::text::TextError;

/// Relative error that sums may have: those of f32 over a part, of powers that a device computes with some error (WGSL allows 3 + 2|x| units in the last
/// place for `exp(x)`).
const ERROR: f64 = 2e-5;
/// Relative error of sums in f64 that are taken in another order.
const ROUNDING: f64 = 1e-9;

/// Lower and upper bound.
type Range = [f64; 2];

/// What is known of the tokens that were not told.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    /// Each comes after this one.
    bound: Candidate,
    /// Whether all of them may still be chosen: no grammar has been asked.
    whole: bool,
    /// The logit that sums are relative to.
    top: f64,
    /// Of `exp(logit - top)`.
    exp: Range,
    /// A temperature, and the sum of `exp((logit - top) / temperature)`.
    at: (f64, Range),
    /// Of `(logit - top) exp(logit - top)`.
    x_exp: Range,
    /// Of `logit - top`.
    x: Range,
    /// Of `(logit - top)^2`.
    x_squared: Range,
    count: f64,
}

impl Rest {
    /// A grammar was asked: some of the tokens may be out.
    pub(super) fn masked(&mut self) {
        self.whole = false;
        self.exp[0] = 0.0;
        self.at.1[0] = 0.0;
    }

    /// Sum of the weights at a temperature, relative to `top`, if it is known.
    fn weight(&self, temperature: f64, top: f64) -> Option<Range> {
        let sums = match temperature {
            1.0 => self.exp,
            other if other == self.at.0 => self.at.1,
            _ => return None,
        };
        let shift = ((self.top - top) / temperature).exp();
        let range = sums.map(|sum| sum * shift);
        range[1].is_finite().then_some(range)
    }
}

/// A row of which the best is known.
pub(super) struct KnownRow {
    pub(super) pool: Pool,
    pub(super) model: Softmax,
}

impl KnownRow {
    /// `ids` are those that were asked for, `temperature` that of the row. `None` where the row holds what is no number, or nothing at all.
    pub(super) fn new(row: &CandidateRow, ids: &[u32], temperature: f64) -> Option<Self> {
        if row.sums.iter().any(|part| part.odd > 0) {
            return None;
        }
        let asked = ids.iter().copied().zip(row.extras.iter().copied());
        let asked = asked.filter(|(id, _)| (*id as usize) < row.len);
        let mut known: Vec<(u32, f32)> = row.tokens.iter().copied().chain(asked).collect();
        known.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
        known.sort_unstable_by_key(|(id, _)| *id);
        known.dedup_by_key(|(id, _)| *id);
        let candidates: Vec<Candidate> = known
            .into_iter()
            .map(|(id, logit)| Candidate {
                logit: logit + 0.0,
                id,
            })
            .collect();
        let mut pool = Pool::whole(candidates);
        if pool.candidates.is_empty() {
            return None;
        }
        let model = pool.softmax();
        let Some((id, logit)) = row.bound else {
            return Some(Self { pool, model });
        };
        let bound = Candidate {
            logit: logit + 0.0,
            id,
        };
        let top = f64::from(pool.best().logit);
        let rest = rest(row, &pool.candidates, bound, (top, temperature));
        let sum = model.total() + rest.exp.iter().sum::<f64>() / 2.0;
        pool.rest = Some(rest);
        Some(Self {
            pool,
            model: Softmax::of(top, sum),
        })
    }
}

/// What is left of the sums when that of the known tokens is taken away.
fn rest(
    row: &CandidateRow,
    known: &[Candidate],
    bound: Candidate,
    (top, temperature): (f64, f64),
) -> Rest {
    // exp, at, x_exp, x, x_squared, count
    let mut all = [0.0f64; 6];
    for part in row.sums.iter().filter(|part| part.count > 0) {
        let n = f64::from(part.count);
        let shift = f64::from(part.largest) - top;
        let [exp, at, x_exp, x, x_squared] = [
            part.exp,
            part.exp_at_temperature,
            part.x_exp,
            part.x,
            part.x_squared,
        ]
        .map(f64::from);
        let scale = shift.exp();
        let of_part = [
            scale * exp,
            (shift / temperature).exp() * at,
            scale * (x_exp + shift * exp),
            x + n * shift,
            x_squared + 2.0 * shift * x + n * shift * shift,
            n,
        ];
        for (all, part) in all.iter_mut().zip(of_part) {
            *all += part;
        }
    }
    let mut told = [0.0f64; 6];
    for candidate in known {
        let x = f64::from(candidate.logit) - top;
        let of_one = [x.exp(), (x / temperature).exp(), x * x.exp(), x, x * x, 1.0];
        for (told, one) in told.iter_mut().zip(of_one) {
            *told += one;
        }
    }
    // All sums are of one sign, so that an error in them is one in the whole.
    let range = |place: usize, sign: f64| -> Range {
        let (all, told) = (sign * all[place], sign * told[place]);
        let low = (all * (1.0 - ERROR) - told).max(0.0);
        let high = (all * (1.0 + ERROR) - told).max(low);
        if sign > 0.0 {
            [low, high]
        } else {
            [-high, -low]
        }
    };
    Rest {
        bound,
        whole: true,
        top,
        exp: range(0, 1.0),
        at: (temperature, range(1, 1.0)),
        x_exp: range(2, -1.0),
        x: range(3, -1.0),
        x_squared: range(4, 1.0),
        count: (all[5] - told[5]).max(0.0),
    }
}

impl TokenSampler {
    /// The tokens whose logits the next choice needs, however unlikely they are: those that biases and penalties concern, and, where they are few, all that
    /// a grammar allows. `None` where they are more than can be asked for: then it takes the whole row.
    #[must_use]
    pub fn wants(&self, recent: &[u32], allowed: Option<&TokenMask>) -> Option<Vec<u32>> {
        let params = &self.params;
        let mut ids: BTreeSet<u32> = BTreeSet::new();
        if !params.greedy {
            ids.extend(params.logit_bias.iter().map(|(id, _)| *id));
            if params.order.contains(&SamplingStage::Penalties) && params.penalises() {
                let first = recent.len() - recent.len().min(params.repetition_window);
                ids.extend(recent.get(first..).unwrap_or_default());
            }
            if params.order.contains(&SamplingStage::Dry) && params.dry_multiplier != 0.0 {
                let window = params.dry_tokens(recent);
                let breaks = |id| self.breakers.contains(&id);
                let found = dry::repetitions(window, params.dry_allowed_length, breaks);
                ids.extend(found.keys());
            }
        }
        if let Some(allowed) = allowed
            && allowed.count() + ids.len() <= EXTRAS
        {
            ids.extend(allowed.ids());
        }
        (ids.len() <= EXTRAS).then(|| ids.into_iter().collect())
    }

    /// By what the device is to multiply logits when it sums up their powers.
    #[must_use]
    pub fn inverse_temperature(&self) -> f32 {
        (1.0 / self.summed_temperature()) as f32
    }

    fn summed_temperature(&self) -> f64 {
        match f64::from(self.params.temperature) {
            // Nothing is drawn then; or numbers beyond f32.
            temperature if temperature < 1e-3 => 1.0,
            temperature => temperature,
        }
    }

    /// As [`Self::sample_allowed`], from what a device told of the row: `asked` are the tokens of [`Self::wants`], by which the device was asked, and
    /// [`Self::inverse_temperature`]. `None` where that does not settle the choice: the whole row gives the token that follows then, with the same random
    /// numbers. The token is the one that the whole row gives; probabilities that are told differ from its by no more than 4e-5 of themselves.
    ///
    /// # Errors
    /// As [`Self::sample_allowed`].
    pub fn sample_known(
        &mut self,
        row: &CandidateRow,
        asked: &[u32],
        recent: &[u32],
        allowed: Option<&TokenMask>,
    ) -> Result<Option<Sampled>, TextError> {
        let Some(known) = KnownRow::new(row, asked, self.summed_temperature()) else {
            return Ok(None);
        };
        let KnownRow { pool, model } = known;
        let Some(alternatives) = self.alternatives(&pool, &model) else {
            return Ok(None);
        };
        let logits: Vec<(u32, f32)> = pool.candidates.iter().map(|c| (c.id, c.logit)).collect();
        let all_allowed_asked = allowed.is_some_and(|allowed| {
            allowed.count() <= EXTRAS && allowed.ids().all(|id| asked.binary_search(&id).is_ok())
        });
        let before = self.rng.clone();
        let Some(id) = self.choose(pool, recent, (allowed, all_allowed_asked))? else {
            self.rng = before;
            return Ok(None);
        };
        let chosen = logits.iter().find(|(other, _)| *other == id);
        let probability = chosen.map_or(0.0, |&(_, logit)| model.probability(logit));
        Ok(Some(Sampled {
            id,
            probability: probability as f32,
            alternatives,
        }))
    }
}

/// Whether a range lies wholly below (`Some(true)`) or at or above (`Some(false)`) a value, with room for rounding.
fn below(range: Range, value: f64) -> Option<bool> {
    let room = ROUNDING * value.abs();
    if range[1] < value - room {
        Some(true)
    } else if range[0] > value + room {
        Some(false)
    } else {
        None
    }
}

/// The steps where not all tokens are known. Each tells whether what is known settles it.
impl Pool {
    /// Whether no unknown token comes before this one.
    pub(super) fn is_certain(&self, candidate: &Candidate) -> bool {
        match &self.rest {
            None => true,
            Some(rest) => best_first(candidate, &rest.bound).is_le(),
        }
    }

    /// How many of the first of the sorted candidates are the first of all.
    fn certain(&self, rest: &Rest) -> usize {
        self.candidates
            .partition_point(|c| best_first(c, &rest.bound).is_le())
    }

    /// The best logit, the weights of all candidates in their order, and the sum of all weights; if they are known.
    fn known_weights(&self, rest: &Rest) -> Option<(f64, Vec<f64>, Range)> {
        let top = f64::from(self.best().logit);
        let unknown = rest.weight(self.temperature, top)?;
        let weight = |c: &Candidate| ((f64::from(c.logit) - top) / self.temperature).exp();
        let weights: Vec<f64> = self.candidates.iter().map(weight).collect();
        let sum: f64 = weights.iter().sum();
        Some((
            top,
            weights,
            [
                (sum + unknown[0]) * (1.0 - ROUNDING),
                (sum + unknown[1]) * (1.0 + ROUNDING),
            ],
        ))
    }

    /// Where the running sum of weights first reaches a share of the sum of all, if that is the same place whatever the sum is, and among the certain.
    fn reaches(&self, rest: &Rest, share: f64, strictly: bool) -> Option<usize> {
        let (_, weights, total) = self.known_weights(rest)?;
        let place = |goal: f64| {
            let mut sum = 0.0;
            weights.iter().position(|weight| {
                sum += weight;
                if strictly { sum > goal } else { sum >= goal }
            })
        };
        let (first, last) = (place(share * total[0])?, place(share * total[1])?);
        (first == last && last < self.certain(rest)).then_some(first)
    }

    pub(super) fn known_best(&mut self, rest: &Rest, count: usize) -> bool {
        self.candidates.sort_unstable_by(best_first);
        let settled = count <= self.certain(rest);
        if settled {
            self.candidates.truncate(count);
            self.rest = None;
        }
        settled
    }

    pub(super) fn known_top_p(&mut self, rest: &Rest, p: f64) -> bool {
        self.candidates.sort_unstable_by(best_first);
        let found = self.reaches(rest, p, false);
        if let Some(place) = found {
            self.candidates.truncate(place + 1);
            self.rest = None;
        }
        found.is_some()
    }

    pub(super) fn known_min_p(&mut self, rest: &Rest, share: f64) -> bool {
        let best = self.best();
        let least = f64::from(best.logit) + share.ln() * self.temperature;
        let settled = self.is_certain(&best) && f64::from(rest.bound.logit) < least;
        if settled {
            self.candidates.retain(|c| f64::from(c.logit) >= least);
            self.rest = None;
        }
        settled
    }

    pub(super) fn known_sigmas(&mut self, rest: &Rest, n: f64) -> bool {
        let best = self.best();
        if !rest.whole || !self.is_certain(&best) {
            return false;
        }
        let count = rest.count + self.candidates.len() as f64;
        let x = |c: &Candidate| f64::from(c.logit) - rest.top;
        let sum: f64 = self.candidates.iter().map(x).sum();
        let squares: f64 = self.candidates.iter().map(|c| x(c).powi(2)).sum();
        let mean = rest.x.map(|rest| (rest + sum) / count);
        let square = rest.x_squared.map(|rest| (rest + squares) / count);
        let largest = mean[0].powi(2).max(mean[1].powi(2));
        let smallest = if mean[0] * mean[1] < 0.0 {
            0.0
        } else {
            mean[0].powi(2).min(mean[1].powi(2))
        };
        let room = ROUNDING * square[1];
        let variance = [
            (square[0] - largest - room).max(0.0),
            (square[1] - smallest + room).max(0.0),
        ];
        let least = [
            f64::from(best.logit) - n * variance[1].sqrt(),
            f64::from(best.logit) - n * variance[0].sqrt(),
        ];
        let is_open = |logit: f64| logit >= least[0] - ROUNDING && logit <= least[1] + ROUNDING;
        let settled = least[0].is_finite()
            && f64::from(rest.bound.logit) < least[0] - ROUNDING
            && !self.candidates.iter().any(|c| is_open(f64::from(c.logit)));
        if settled {
            self.candidates.retain(|c| f64::from(c.logit) >= least[1]);
            self.rest = None;
        }
        settled
    }

    /// A token's information less the entropy is the mean logit less its own.
    pub(super) fn known_typical(&mut self, rest: &Rest, p: f64) -> bool {
        let found = self.typical(rest, p);
        let settled = found.is_some();
        if let Some(kept) = found {
            self.candidates = kept;
            self.rest = None;
        }
        settled
    }

    fn typical(&self, rest: &Rest, p: f64) -> Option<Vec<Candidate>> {
        if !rest.whole || self.temperature != 1.0 {
            return None;
        }
        let (top, weights, total) = self.known_weights(rest)?;
        let x = |c: &Candidate| f64::from(c.logit) - top;
        let known: f64 = (self.candidates.iter().zip(&weights))
            .map(|(c, w)| x(c) * w)
            .sum();
        // Relative to another top, sums of what is not known shift.
        let shift = rest.top - top;
        let unknown = rest.weight(1.0, top)?;
        let moved = rest.x_exp.map(|sum| sum * shift.exp());
        let across = unknown.map(|weight| weight * shift);
        let sums = [
            known + moved[0] + across[0].min(across[1]),
            known + moved[1] + across[0].max(across[1]),
        ];
        // The quotient of two ranges.
        let means = [
            sums[0] / total[0],
            sums[0] / total[1],
            sums[1] / total[0],
            sums[1] / total[1],
        ];
        let mean = [
            means.iter().copied().fold(f64::INFINITY, f64::min),
            means.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ];
        let middle = f64::midpoint(mean[0], mean[1]);
        let doubt = (mean[1] - mean[0]) + ROUNDING * (1.0 + middle.abs());
        let mut judged: Vec<(f64, f64, Candidate)> = (self.candidates.iter().zip(&weights))
            .map(|(c, weight)| ((x(c) - middle).abs(), *weight, *c))
            .collect();
        judged.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| best_first(&a.2, &b.2)));
        let mut sum = 0.0;
        let last = judged.iter().position(|(_, weight, _)| {
            sum += weight;
            sum > p * total[0]
        })?;
        // The last one kept must be that whatever the sum and the mean are.
        let until: f64 = judged
            .get(..last)?
            .iter()
            .map(|(_, weight, _)| weight)
            .sum();
        let is_apart = |a: usize, b: usize| match (judged.get(a), judged.get(b)) {
            (Some(a), Some(b)) => a.2.logit == b.2.logit || b.0 - a.0 > 2.0 * doubt,
            _ => true,
        };
        let unknown_from = middle - (f64::from(rest.bound.logit) - top);
        let settled = sum > p * total[1] * (1.0 + ROUNDING)
            && until <= p * total[0] * (1.0 - ROUNDING)
            && is_apart(last, last + 1)
            && (last == 0 || is_apart(last - 1, last))
            && unknown_from > judged.get(last)?.0 + 2.0 * doubt;
        settled.then(|| judged.into_iter().take(last + 1).map(|(.., c)| c).collect())
    }

    pub(super) fn known_top_choices(&mut self, rest: &Rest, threshold: f64) -> bool {
        self.candidates.sort_unstable_by(best_first);
        let Some((top, weights, total)) = self.known_weights(rest) else {
            return false;
        };
        let goal = total.map(|total| threshold * total);
        let mut count = 0;
        for weight in &weights {
            match below([*weight, *weight], goal[1]) {
                Some(false) => count += 1,
                _ if below([*weight, *weight], goal[0]) == Some(true) => break,
                _ => return false,
            }
        }
        let bound = ((f64::from(rest.bound.logit) - top) / self.temperature).exp();
        let settled = below([0.0, bound], goal[0]) == Some(true) && count <= self.certain(rest);
        if settled && count > 1 {
            self.candidates.drain(..count - 1);
        }
        settled
    }

    /// The token at a place of the distribution, if it is known.
    pub(super) fn known_draw(&mut self, rest: &Rest, unit: f64) -> Option<u32> {
        self.candidates.sort_unstable_by(best_first);
        let place = self.reaches(rest, unit, true)?;
        self.candidates.get(place).map(|c| c.id)
    }
}
