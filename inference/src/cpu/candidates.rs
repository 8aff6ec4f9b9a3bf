//! The likeliest tokens of rows of logits, and sums over all of them; see [`crate::graph::candidates`].

use super::math::{exp, multiversion};
use super::parallel::for_chunks;
use crate::graph::candidates::{EXTRAS, FARTHEST, KEPT, PART_WORDS, PARTS, ROW_WORDS};

/// Tokens of a part between two additions to sums in f64.
const RUN: usize = 32;

/// What [`crate::graph::Op::Candidates`] tells of each row of `logits [rows, width]` into `out [rows, ROW_WORDS]`.
pub(crate) fn candidates(
    out: &mut [f32],
    logits: &[f32],
    width: usize,
    tokens: usize,
    extras: &[u32],
    inverse_temperatures: &[f32],
) {
    for_chunks(out, ROW_WORDS, |row, out| {
        let Some(logits) = logits.get(row * width..row * width + tokens) else {
            return;
        };
        let wanted = extras
            .get(row * EXTRAS..(row + 1) * EXTRAS)
            .unwrap_or_default();
        let inverse = inverse_temperatures.get(row).copied().unwrap_or(1.0);
        let (parts, given) = out.split_at_mut(PARTS * PART_WORDS);
        one(parts, logits, inverse);
        for (given, &id) in given.iter_mut().zip(wanted) {
            *given = logits.get(id as usize).copied().unwrap_or(0.0);
        }
    });
}

/// The parts of one row.
fn one(out: &mut [f32], logits: &[f32], inverse: f32) {
    let mut largest = [f32::NEG_INFINITY; PARTS];
    let mut best = vec![Best::default(); PARTS];
    let mut least = [f32::NEG_INFINITY; PARTS];
    for (group, chunk) in logits.chunks(PARTS).enumerate() {
        // Nearly always there is nothing among them that is better than what is kept.
        if !raise(&mut largest, &least, chunk) {
            continue;
        }
        for (part, ((&logit, best), least)) in
            chunk.iter().zip(&mut best).zip(&mut least).enumerate()
        {
            if logit > *least && logit < f32::INFINITY {
                *least = best.take(logit, (group * PARTS + part) as u32);
            }
        }
    }
    let mut sums = Sums::new();
    for run in logits.chunks(PARTS * RUN) {
        add(&mut sums, &largest, inverse, run);
    }
    let words = out.chunks_exact_mut(PART_WORDS);
    for (part, (words, best)) in words.zip(&best).enumerate() {
        let (told, rest) = words.split_at_mut(KEPT);
        let (numbers, rest) = rest.split_at_mut(KEPT);
        told.copy_from_slice(&best.logits.map(|logit| logit.max(f32::MIN)));
        for (place, (number, id)) in numbers.iter_mut().zip(best.ids).enumerate() {
            *number = if place < best.count { id as f32 } else { -1.0 };
        }
        let count = sums.count[part];
        rest.copy_from_slice(&[
            if count > 0.0 { largest[part] } else { f32::MIN },
            sums.exp[part] as f32,
            sums.at[part] as f32,
            sums.x_exp[part] as f32,
            sums.x[part] as f32,
            sums.x_squared[part] as f32,
            count as f32,
            sums.odd[part] as f32,
        ]);
    }
}

/// The best tokens of a part, best first.
#[derive(Clone)]
struct Best {
    logits: [f32; KEPT],
    ids: [u32; KEPT],
    count: usize,
}

impl Default for Best {
    fn default() -> Self {
        Self {
            logits: [f32::NEG_INFINITY; KEPT],
            ids: [0; KEPT],
            count: 0,
        }
    }
}

impl Best {
    /// Takes in a token that is better than the last one and comes after all others; gives the logit that the next one has to beat.
    fn take(&mut self, logit: f32, id: u32) -> f32 {
        let place = self
            .logits
            .iter()
            .take_while(|other| **other >= logit)
            .count();
        if place < KEPT {
            self.logits.copy_within(place..KEPT - 1, place + 1);
            self.ids.copy_within(place..KEPT - 1, place + 1);
            self.logits[place] = logit;
            self.ids[place] = id;
            self.count = (self.count + 1).min(KEPT);
        }
        self.logits[KEPT - 1]
    }
}

multiversion! {
    /// Raises the largest finite logit of each part; whether any logit is above what has to be beaten.
    fn raise(largest: &mut [f32; PARTS], least: &[f32; PARTS], logits: &[f32]) -> bool {
        let mut any = false;
        for ((largest, least), &logit) in largest.iter_mut().zip(least).zip(logits) {
            let finite = if logit < f32::INFINITY { logit } else { f32::NEG_INFINITY };
            *largest = if finite > *largest { finite } else { *largest };
            any |= finite > *least;
        }
        any
    }
}

/// Sums of the parts.
struct Sums {
    exp: [f64; PARTS],
    at: [f64; PARTS],
    x_exp: [f64; PARTS],
    x: [f64; PARTS],
    x_squared: [f64; PARTS],
    count: [f64; PARTS],
    odd: [f64; PARTS],
}

impl Sums {
    fn new() -> Self {
        let none = [0.0; PARTS];
        Self {
            exp: none,
            at: none,
            x_exp: none,
            x: none,
            x_squared: none,
            count: none,
            odd: none,
        }
    }
}

multiversion! {
    /// Adds a run of tokens, first in f32.
    fn add(sums: &mut Sums, largest: &[f32; PARTS], inverse: f32, run: &[f32]) {
        let none = [0.0f32; PARTS];
        let (mut e, mut at, mut xe, mut sx, mut xx, mut count, mut odd) = (none, none, none, none, none, none, none);
        let same = inverse == 1.0;
        for chunk in run.chunks(PARTS) {
            for (part, &logit) in chunk.iter().enumerate() {
                let distance = logit - largest[part];
                let is_near = distance >= -FARTHEST && logit < f32::INFINITY;
                let is_nothing = logit == f32::NEG_INFINITY;
                let x = if is_near { distance } else { 0.0 };
                let one = if is_near { 1.0f32 } else { 0.0 };
                let y = exp(x) * one;
                e[part] += y;
                if !same {
                    at[part] += exp(x * inverse) * one;
                }
                xe[part] += x * y;
                sx[part] += x;
                xx[part] += x * x;
                count[part] += one;
                odd[part] += if is_near || is_nothing { 0.0 } else { 1.0 };
            }
        }
        let at = if same { &e } else { &at };
        for (totals, run) in [
            (&mut sums.exp, &e),
            (&mut sums.at, at),
            (&mut sums.x_exp, &xe),
            (&mut sums.x, &sx),
            (&mut sums.x_squared, &xx),
            (&mut sums.count, &count),
            (&mut sums.odd, &odd),
        ] {
            for (total, part) in totals.iter_mut().zip(run) {
                *total += f64::from(*part);
            }
        }
    }
}
