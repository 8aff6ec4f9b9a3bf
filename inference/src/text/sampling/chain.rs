//! From logits to the tokens that may be drawn: the steps in their order. The sampler draws from what they leave, and the preview shows it.

use std::collections::HashMap;

use super::dry;
use super::mask::TokenMask;
use super::params::{BANNED, SamplingParams, SamplingStage};
use super::pool::{Candidate, Pool};
use super::{Filter, bounded};
use crate::text::TextError;

/// What the steps leave.
pub(super) enum Left {
    /// Draw from these.
    Draw(Pool),
    /// There is no choice: greedy, or temperature 0.
    Best(Candidate),
    /// What is known of the row does not settle it.
    Unsettled,
}

/// The steps, by settings.
pub(super) struct Chain<'a> {
    pub params: &'a SamplingParams,
    /// Tokens that end the sequences that DRY looks at.
    pub breaks: &'a dyn Fn(u32) -> bool,
    /// What a grammar allows.
    pub allowed: Option<&'a TokenMask>,
    /// Whether all that it allows is among the candidates.
    pub all_allowed_known: bool,
}

impl Chain<'_> {
    /// Applies the steps. `recent` are the tokens so far, the newest last; `exclude` is asked once whether XTC acts, where it is on; `seen` is told what
    /// is left after each step.
    ///
    /// # Errors
    /// If grammar or bans leave nothing.
    pub fn run(
        &self,
        mut pool: Pool,
        recent: &[u32],
        exclude: &mut dyn FnMut(f32) -> bool,
        seen: &mut dyn FnMut(Filter, &Pool),
    ) -> Result<Left, TextError> {
        let params = self.params;
        if let Some(allowed) = self.allowed {
            pool.candidates.retain(|c| allowed.allows(c.id));
            if self.all_allowed_known {
                pool.rest = None;
            }
            if let Some(rest) = &mut pool.rest {
                rest.masked();
                if pool.candidates.is_empty() {
                    return Ok(Left::Unsettled);
                }
            }
            seen(Filter::Grammar, &pool);
            if pool.candidates.is_empty() {
                return Err(TextError::NothingAllowed);
            }
        }
        if params.greedy {
            return Ok(best(&pool));
        }
        self.bias(&mut pool);
        seen(Filter::Bias, &pool);
        if pool.candidates.is_empty() {
            return match pool.rest {
                None => Err(TextError::LogitsNotFinite),
                Some(_) => Ok(Left::Unsettled),
            };
        }
        let still = params.is_still();
        for &stage in &params.order {
            let mut settled = true;
            match stage {
                SamplingStage::Penalties => self.penalise(&mut pool, recent),
                SamplingStage::Dry => self.discourage_repetitions(&mut pool, recent),
                SamplingStage::TopNSigma if params.top_n_sigma > 0.0 => {
                    settled = pool.keep_sigmas(f64::from(params.top_n_sigma));
                }
                SamplingStage::TopK
                    if params.top_k > 0
                        && (params.top_k < pool.candidates.len() || pool.rest.is_some()) =>
                {
                    settled = pool.keep_best(params.top_k);
                }
                SamplingStage::Typical if params.typical_p < 1.0 => {
                    settled = pool.keep_typical(f64::from(params.typical_p));
                }
                SamplingStage::TopP if params.top_p < 1.0 => {
                    settled = pool.keep_top_p(f64::from(params.top_p));
                }
                SamplingStage::MinP if params.min_p > 0.0 => {
                    settled = pool.keep_min_p(f64::from(params.min_p));
                }
                SamplingStage::Xtc if !still && params.may_exclude() => {
                    if exclude(params.xtc_probability) {
                        settled = pool.exclude_top_choices(f64::from(params.xtc_threshold));
                    }
                }
                SamplingStage::Temperature if still => return Ok(best(&pool)),
                SamplingStage::Temperature => pool.temperature = f64::from(params.temperature),
                // Switched off.
                SamplingStage::TopNSigma
                | SamplingStage::TopK
                | SamplingStage::Typical
                | SamplingStage::TopP
                | SamplingStage::MinP
                | SamplingStage::Xtc => continue,
            }
            if !settled {
                return Ok(Left::Unsettled);
            }
            seen(Filter::Stage(stage), &pool);
        }
        Ok(Left::Draw(pool))
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
        let params = self.params;
        if !params.penalises() {
            return;
        }
        let (penalty, frequency, presence) = (
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        );
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
        let params = self.params;
        if params.dry_multiplier == 0.0 {
            return;
        }
        let window = params.dry_tokens(recent);
        let found = dry::repetitions(window, params.dry_allowed_length, self.breaks);
        for candidate in &mut pool.candidates {
            if let Some(length) = found.get(&candidate.id) {
                let beyond = (length - params.dry_allowed_length) as f32;
                let penalty = params.dry_multiplier * params.dry_base.powf(beyond);
                candidate.logit = bounded(candidate.logit - penalty);
            }
        }
    }
}

/// The best, if it is known to be that.
fn best(pool: &Pool) -> Left {
    let best = pool.best();
    if pool.is_certain(&best) {
        Left::Best(best)
    } else {
        Left::Unsettled
    }
}
