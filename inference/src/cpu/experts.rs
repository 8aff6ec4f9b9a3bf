//! Mixtures of experts: only the experts that rows were sent to are computed.

use super::linear::{self, Sizes};
use super::parallel::{Poll, zeros};
use crate::formats::weights::TensorData;
use crate::graph::ExecError;

/// Numbers and weights of the `used` experts of each row of `logits [rows, experts]` into `out [rows, 2 * used]`.
pub(super) fn route(out: &mut [f32], logits: &[f32], experts: usize, normalised: bool) {
    let rows = logits.len() / experts.max(1);
    let width = out.len() / rows.max(1);
    let used = width / 2;
    for (out, logits) in out
        .chunks_mut(width.max(1))
        .zip(logits.chunks(experts.max(1)))
    {
        let (numbers, weights) = out.split_at_mut(used);
        let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        // Each is the next after the one before, by logit and then by number. Where logits are no numbers there may be none; any
        // expert is then as good as another.
        let mut last = (f32::INFINITY, -1i64);
        for (place, (number, weight)) in numbers.iter_mut().zip(weights.iter_mut()).enumerate() {
            let mut best: Option<(f32, usize)> = None;
            for (index, &logit) in logits.iter().enumerate() {
                let is_after = logit < last.0 || logit == last.0 && index as i64 > last.1;
                if is_after && best.is_none_or(|(most, _)| logit > most) {
                    best = Some((logit, index));
                }
            }
            let (logit, index) = best.unwrap_or((f32::NAN, place));
            last = (logit, index as i64);
            *number = index as f32;
            *weight = (logit - largest).exp();
        }
        let sum: f32 = match normalised {
            true => weights.iter().sum(),
            false => logits.iter().map(|logit| (logit - largest).exp()).sum(),
        };
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

/// The operands of [`linear`].
pub(super) struct Operands<'a> {
    pub x: &'a [f32],
    pub routes: &'a [f32],
    /// Experts that a row uses.
    pub used: usize,
    /// One matrix for all experts, or one for each.
    pub weights: &'a [&'a TensorData],
    pub experts: usize,
    /// Elements of a row of `x`.
    pub k: usize,
    /// Elements of a row of the result.
    pub n: usize,
}

/// Each row through the matrices of its experts: rows of one expert are gathered, multiplied together and put back.
pub(super) fn linear(
    label: &str,
    out: &mut [f32],
    operands: &Operands<'_>,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let Operands {
        x,
        routes,
        used,
        weights,
        experts,
        k,
        n,
    } = *operands;
    let rows = routes.len() / (2 * used).max(1);
    // Whether each row of `x` is for one expert already.
    let apart = x.len() == rows * used * k && used > 1;
    let mut of_expert: Vec<Vec<usize>> = vec![Vec::new(); experts];
    for (row, route) in routes.chunks(2 * used).enumerate() {
        for (place, number) in route.iter().take(used).enumerate() {
            // Numbers are made by `route` and below `experts`.
            if let Some(list) = of_expert.get_mut(*number as usize) {
                list.push(row * used + place);
            }
        }
    }
    let most = of_expert.iter().map(Vec::len).max().unwrap_or(0);
    let mut gathered = zeros::<f32>(label, most * k)?;
    let mut made = zeros::<f32>(label, most * n)?;
    for (expert, list) in of_expert.iter().enumerate() {
        if list.is_empty() {
            continue;
        }
        poll.check()?;
        for (to, &pair) in gathered.chunks_mut(k).zip(list) {
            let from = if apart { pair } else { pair / used };
            to.copy_from_slice(&x[from * k..][..k]);
        }
        let (weight, first) = match weights {
            [all] => (*all, expert * n),
            each => (each[expert], 0),
        };
        let sizes = Sizes {
            m: list.len(),
            k,
            n,
        };
        let made = &mut made[..list.len() * n];
        linear::rows_of(
            label,
            made,
            &gathered[..list.len() * k],
            weight,
            first,
            sizes,
            poll,
        )?;
        for (from, &pair) in made.chunks(n).zip(list) {
            out[pair * n..][..n].copy_from_slice(from);
        }
    }
    Ok(())
}

/// Bytes that [`linear`] holds while it runs, at the most.
pub(super) fn scratch(pairs: usize, k: usize, n: usize) -> u64 {
    4 * (pairs * (k + n)) as u64 + linear::rows_scratch(Sizes { m: pairs, k, n })
}

/// What the experts of a row made, added up by their weights.
pub(super) fn combine(out: &mut [f32], y: &[f32], routes: &[f32], used: usize, n: usize) {
    let rows = out.chunks_mut(n).zip(routes.chunks(2 * used));
    for ((out, route), y) in rows.zip(y.chunks(used * n)) {
        for (place, y) in y.chunks(n).enumerate() {
            let weight = route[used + place];
            for (out, y) in out.iter_mut().zip(y) {
                *out = if place == 0 {
                    weight * y
                } else {
                    *out + weight * y
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_logits_are_chosen_and_weighed() {
        let logits = [0.0, 2.0, 1.0, 2.0, -1.0, -1.0, -1.0, -1.0];
        let mut out = [0.0; 8];
        route(&mut out, &logits, 4, true);
        assert_eq!(out[..2], [1.0, 3.0]);
        assert_eq!(out[2..4], [0.5, 0.5]);
        assert_eq!(out[4..6], [0.0, 1.0]);
        route(&mut out, &logits, 4, false);
        assert_eq!(out[6..], [0.25, 0.25]);
        let sum: f32 = logits[..4].iter().map(|l| l.exp()).sum();
        assert!((out[2] - 2f32.exp() / sum).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_number_still_names_experts() {
        let mut out = [9.0; 4];
        route(&mut out, &[f32::NAN, f32::NAN, f32::NAN], 3, true);
        assert_eq!(out[..2], [0.0, 1.0]);
    }
}
