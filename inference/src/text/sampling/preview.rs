//! What the settings would do to a distribution, without drawing: the sampler's own steps, run upon logits that were computed once.

use std::collections::HashMap;
use std::sync::Arc;

use super::chain::{Chain, Left};
use super::mask::TokenMask;
use super::params::SamplingParams;
use super::pool::{Pool, Softmax};
use super::{Filter, TokenProbability, candidates, ends_sequences};
use crate::text::TextError;

/// Most candidates that are told with their pieces.
pub const LIKELIEST: usize = 200;

/// A token that may come next.
#[derive(Debug, Clone, PartialEq)]
pub struct LikelyToken {
    /// The token.
    pub id: u32,
    /// As the vocabulary spells it.
    pub piece: String,
    /// The model's logit.
    pub logit: f32,
}

/// What a model thinks of the next token, with all that the steps of sampling look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The likeliest tokens, at most [`LIKELIEST`], best first.
    pub candidates: Vec<LikelyToken>,
    /// Natural logarithm of the sum of `exp(logit)` of all tokens: `exp(logit - log_sum_exp)` is a token's probability.
    pub log_sum_exp: f32,
    /// The tokens so far, the newest last: what the penalties look at.
    pub recent: Vec<u32>,
    /// Texts of the tokens in `recent`, in which DRY looks for breakers.
    recent_texts: Arc<HashMap<u32, Vec<u8>>>,
    /// All logits, by id: filters such as top-n-sigma look at every token.
    logits: Arc<[f32]>,
    /// What the request's grammar allows.
    allowed: Option<Arc<TokenMask>>,
}

impl Distribution {
    /// Of a row of logits. `piece` spells a token for a person, `text` gives the bytes that it stands for.
    ///
    /// # Errors
    /// If no logit is a number.
    pub fn new<'a>(
        logits: Vec<f32>,
        recent: Vec<u32>,
        allowed: Option<TokenMask>,
        piece: impl Fn(u32) -> String,
        text: impl Fn(u32) -> &'a [u8],
    ) -> Result<Self, TextError> {
        let mut pool = Pool::whole(candidates(&logits)?);
        let softmax = pool.softmax();
        pool.keep_best(LIKELIEST);
        let top = pool.best();
        let log_sum_exp = f64::from(top.logit) - softmax.probability(top.logit).ln();
        let candidates = pool.candidates.iter().map(|c| LikelyToken {
            id: c.id,
            piece: piece(c.id),
            logit: c.logit,
        });
        let recent_texts = recent.iter().map(|&id| (id, text(id).to_vec())).collect();
        Ok(Self {
            candidates: candidates.collect(),
            log_sum_exp: log_sum_exp as f32,
            recent,
            recent_texts: Arc::new(recent_texts),
            logits: logits.into(),
            allowed: allowed.map(Arc::new),
        })
    }
}

/// What the settings make of one candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// The token: [`Distribution::candidates`] in their order.
    pub id: u32,
    /// The model's probability, at temperature 1 before all steps.
    pub before: f32,
    /// Probability that it is drawn.
    pub after: f32,
    /// The step that removed it. XTC acts only in some draws: what it removes may still have a probability.
    pub removed_by: Option<Filter>,
}

/// What the settings make of each of [`Distribution::candidates`]: by the very steps that the sampler takes, upon all tokens.
///
/// # Errors
/// Settings that mean nothing; settings that leave no token.
pub fn preview(
    distribution: &Distribution,
    params: &SamplingParams,
) -> Result<Vec<Bar>, TextError> {
    params.check()?;
    let whole = Pool::whole(candidates(&distribution.logits)?);
    let model = whole.softmax();
    let mut bars: Vec<Bar> = distribution
        .candidates
        .iter()
        .map(|c| Bar {
            id: c.id,
            before: model.probability(c.logit) as f32,
            after: 0.0,
            removed_by: None,
        })
        .collect();
    let breaks = |id: u32| {
        let text = distribution.recent_texts.get(&id);
        text.is_some_and(|text| ends_sequences(&params.dry_breakers, text))
    };
    let chain = Chain {
        params,
        breaks: &breaks,
        allowed: distribution.allowed.as_deref(),
        all_allowed_known: true,
    };
    let mut chance = None;
    let without = branch(&chain, distribution, whole.clone(), &mut |probability| {
        chance = Some(f64::from(probability));
        false
    })?;
    let mut branches = vec![(1.0 - chance.unwrap_or(0.0), without)];
    if let Some(chance) = chance {
        let with = branch(&chain, distribution, whole, &mut |_| true)?;
        branches.push((chance, with));
    }
    for (weight, (probabilities, removed)) in branches {
        for token in probabilities {
            if let Some(bar) = bars.iter_mut().find(|bar| bar.id == token.id) {
                bar.after += (weight * f64::from(token.probability)) as f32;
            }
        }
        for bar in &mut bars {
            bar.removed_by = bar.removed_by.or(removed.get(&bar.id).copied());
        }
    }
    Ok(bars)
}

/// Probabilities of the candidates that are left, and what removed the others.
type Branch = (Vec<TokenProbability>, HashMap<u32, Filter>);

fn branch(
    chain: &Chain<'_>,
    distribution: &Distribution,
    pool: Pool,
    exclude: &mut dyn FnMut(f32) -> bool,
) -> Result<Branch, TextError> {
    let ids = || distribution.candidates.iter().map(|c| c.id);
    let mut removed: HashMap<u32, Filter> = HashMap::new();
    let mut count = pool.candidates.len();
    let left = chain.run(pool, &distribution.recent, exclude, &mut |filter, pool| {
        if pool.candidates.len() == count {
            return;
        }
        count = pool.candidates.len();
        let mut gone: HashMap<u32, Filter> = ids()
            .filter(|id| !removed.contains_key(id))
            .map(|id| (id, filter))
            .collect();
        for candidate in &pool.candidates {
            gone.remove(&candidate.id);
        }
        removed.extend(gone);
    })?;
    let (pool, forced) = match left {
        Left::Draw(pool) => (pool, None),
        Left::Best(best) => (Pool::whole(vec![best]), Some(best.id)),
        // Of a whole row nothing is unknown.
        Left::Unsettled => return Err(TextError::LogitsNotFinite),
    };
    if let Some(best) = forced {
        for id in ids().filter(|id| *id != best) {
            removed.entry(id).or_insert(Filter::Best);
        }
    }
    let softmax = Softmax::new(&pool.candidates, pool.temperature);
    let probabilities = pool.candidates.iter().map(|c| TokenProbability {
        id: c.id,
        probability: softmax.probability(c.logit) as f32,
    });
    Ok((probabilities.collect(), removed))
}
