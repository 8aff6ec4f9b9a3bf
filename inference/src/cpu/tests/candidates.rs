//! What is told of rows of logits, and that the rows can be read afterwards.

use std::sync::Arc;

use crate::cpu::testing::Random;
use crate::cpu::{CpuExecutor, CpuMode};
use crate::graph::candidates::{CandidateRow, EXTRAS, KEPT, PARTS, ROW_WORDS};
use crate::graph::{Executor, GraphBuilder, HostTensor, NO_SLOT, NeverInterrupt, Run};

#[test]
fn the_best_are_told_and_the_row_can_be_read_until_the_next_run() {
    let mut random = Random::fresh("the_best_are_told_and_the_row_can_be_read");
    let (rows, width, tokens) = (3, 7003, 7000);
    let g = GraphBuilder::new("candidates");
    let x = g.input("x", &[rows, width]).unwrap();
    let extras = g.input_u32("extras", &[rows, EXTRAS]).unwrap();
    let temperatures = g.input("temperatures", &[rows]).unwrap();
    let logits = g.affine(&x, 2.0, 0.0).unwrap();
    let told = g
        .candidates(&logits, &extras, &temperatures, tokens)
        .unwrap();
    g.output("told", &told);
    g.keep("logits", &logits);
    let mut executor = CpuExecutor::new(CpuMode::Fast);
    let plan = executor.prepare(Arc::new(g.finish())).unwrap();
    assert!(
        executor.read_kept(plan, 0, 0).is_err(),
        "nothing was run yet"
    );
    for _ in 0..3 {
        // Rounded, so that many are equal.
        let values: Vec<f32> = (0..rows * width)
            .map(|_| (40.0 * random.float()).round() / 8.0)
            .collect();
        let asked: Vec<u32> = (0..rows * EXTRAS)
            .map(|place| {
                if place % 2 == 0 {
                    NO_SLOT
                } else {
                    random.within(0, tokens - 1) as u32
                }
            })
            .collect();
        let inputs = [
            ("x", HostTensor::f32([rows, width], values.clone())),
            ("extras", HostTensor::u32([rows, EXTRAS], asked.clone())),
            ("temperatures", HostTensor::f32([rows], vec![1.0, 2.0, 0.5])),
        ];
        let run = Run {
            inputs: &inputs,
            states: &[],
            interrupt: &mut NeverInterrupt,
        };
        let out = executor.run(plan, run).unwrap();
        assert_eq!(out.len(), 1, "what is kept is not returned");
        for (row, words) in out[0].as_f32().chunks(ROW_WORDS).enumerate() {
            let told = CandidateRow::read(words, tokens).unwrap();
            let logits: Vec<f32> = values[row * width..][..tokens]
                .iter()
                .map(|v| v * 2.0)
                .collect();
            let kept = executor.read_kept(plan, 0, row).unwrap();
            assert_eq!(kept[..tokens], logits);
            let mut wanted = Vec::new();
            for part in 0..PARTS {
                let all = logits.iter().enumerate().skip(part).step_by(PARTS);
                let mut all: Vec<(u32, f32)> = all.map(|(id, l)| (id as u32, *l)).collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                all.truncate(KEPT);
                wanted.extend(all);
            }
            // -0 and 0 are equal here and there.
            assert_eq!(told.tokens, wanted);
            let inverse = [1.0f64, 2.0, 0.5][row];
            let sum: f64 = told
                .sums
                .iter()
                .map(|s| f64::from(s.exp_at_temperature) * (inverse * f64::from(s.largest)).exp())
                .sum();
            let exact: f64 = logits.iter().map(|l| (inverse * f64::from(*l)).exp()).sum();
            assert!((sum / exact - 1.0).abs() < 1e-5, "{sum} {exact}");
            for (got, id) in told.extras.iter().zip(&asked[row * EXTRAS..]) {
                assert_eq!(*got, logits.get(*id as usize).copied().unwrap_or(0.0));
            }
        }
        assert!(executor.read_kept(plan, 0, rows).is_err());
        assert!(executor.read_kept(plan, 1, 0).is_err());
    }
}
