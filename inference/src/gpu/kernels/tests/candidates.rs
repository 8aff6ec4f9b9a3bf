//! What is told of rows of logits in place of the rows.

use super::bench::{Bench, Case};
use super::{KernelLimits, Random, TINY};
use crate::graph::candidates::{CandidateRow, EXTRAS, FARTHEST, KEPT, PARTS, ROW_WORDS};
use crate::graph::{HostTensor, NO_SLOT, Op};

/// Compares what is told of a row with what it holds.
fn judge(row: &CandidateRow, logits: &[f32], asked: &[u32], inverse: f32, name: &str) {
    let comes_first =
        |a: &(u32, f32), b: &(u32, f32)| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0));
    let mut wanted = Vec::new();
    let mut bound: Option<(u32, f32)> = None;
    for (part, sums) in row.sums.iter().enumerate() {
        let all = logits.iter().enumerate().skip(part).step_by(PARTS);
        let mut finite: Vec<(u32, f32)> = all
            .clone()
            .filter(|(_, logit)| logit.is_finite())
            .map(|(id, logit)| (id as u32, *logit))
            .collect();
        finite.sort_by(comes_first);
        let Some(&(_, largest)) = finite.first() else {
            assert_eq!(sums.count, 0, "{name}");
            continue;
        };
        let near: Vec<f64> = finite
            .iter()
            .filter(|(_, logit)| logit - largest >= -FARTHEST)
            .map(|(_, logit)| f64::from(logit - largest))
            .collect();
        let far = finite.len() - near.len();
        let odd = all
            .filter(|(_, logit)| logit.is_nan() || **logit == f32::INFINITY)
            .count();
        assert_eq!(
            (sums.count as usize, sums.odd as usize),
            (near.len(), odd + far),
            "{name}"
        );
        assert_eq!(sums.largest, largest, "{name}");
        let inverse = f64::from(inverse);
        let sum = |of: &dyn Fn(f64) -> f64| near.iter().map(|x| of(*x)).sum::<f64>();
        for (got, wanted) in [
            (sums.exp, sum(&|x| x.exp())),
            (sums.exp_at_temperature, sum(&|x| (x * inverse).exp())),
            (sums.x_exp, sum(&|x| x * x.exp())),
            (sums.x, sum(&|x| x)),
            (sums.x_squared, sum(&|x| x * x)),
        ] {
            // Half of what the sampler allows for.
            let error = (f64::from(got) - wanted).abs() / wanted.abs().max(1e-20);
            assert!(error < 1e-5, "{name}, part {part}: {got} for {wanted}");
        }
        if finite.len() > KEPT {
            let last = finite[KEPT - 1];
            bound = match bound {
                Some(other) if comes_first(&other, &last).is_lt() => Some(other),
                _ => Some(last),
            };
        }
        wanted.extend(finite.into_iter().take(KEPT));
    }
    assert_eq!(row.tokens, wanted, "{name}");
    if row.sums.iter().all(|part| part.odd == 0) {
        assert_eq!(row.bound, bound, "{name}");
    }
    for (place, &id) in asked.iter().enumerate() {
        let wanted = logits.get(id as usize).copied().unwrap_or(0.0);
        let got = row.extras[place];
        assert!(
            got == wanted || wanted.is_nan(),
            "{name}: {got} for {wanted}"
        );
    }
}

#[test]
fn the_best_of_each_part_and_sums_over_all_are_told() {
    let mut random = Random::new("the_best_of_each_part_and_sums_over_all_are_told");
    for (rows, width, tokens) in [
        (1, 1, 1),
        (1, 63, 60),
        (2, 1500, 1499),
        (3, 5000, 5000),
        (9, 2048, 2000),
        (1, 40_001, 40_000),
    ] {
        for kind in ["plain", "ties", "faults"] {
            let mut values: Vec<f32> = (0..rows * width).map(|_| 12.0 * random.value()).collect();
            if kind == "ties" {
                values.iter_mut().for_each(|value| *value = value.round());
            }
            if kind == "faults" {
                let count = values.len();
                for fault in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e9, -0.0] {
                    values[random.below(count)] = fault;
                }
            }
            // What lies behind the tokens must not be seen.
            for row in values.chunks_mut(width) {
                row[tokens..].fill(1000.0);
            }
            let asked: Vec<u32> = (0..rows * EXTRAS)
                .map(|place| match place % 3 {
                    0 => NO_SLOT,
                    _ => random.below(tokens + 3) as u32,
                })
                .collect();
            let inverses: Vec<f32> = (0..rows)
                .map(|_| 0.3 + random.value().abs() * 4.0)
                .collect();
            let operands = vec![
                HostTensor::f32([rows, width], values.clone()),
                HostTensor::u32([rows, EXTRAS], asked.clone()),
                HostTensor::f32([rows], inverses.clone()),
            ];
            let op = Op::Candidates { tokens };
            let case = Case::new(op, operands, Vec::new(), &[rows, ROW_WORDS]);
            for limits in [KernelLimits::default(), TINY] {
                let largest = width * 4 + 512;
                if (limits.max_storage_binding as usize) < largest {
                    continue;
                }
                let name = format!("{kind} {rows}x{width}, {limits:?}");
                let outcome = Bench::get().run(&case, &limits);
                for (row, words) in outcome.output.chunks(ROW_WORDS).enumerate() {
                    let told = CandidateRow::read(words, tokens).unwrap();
                    let logits = &values[row * width..][..tokens];
                    let asked = &asked[row * EXTRAS..][..EXTRAS];
                    // A token that is none is told as 0.
                    let asked: Vec<u32> = asked
                        .iter()
                        .map(|&id| if id as usize >= tokens { NO_SLOT } else { id })
                        .collect();
                    judge(&told, logits, &asked, inverses[row], &name);
                }
            }
        }
    }
}
