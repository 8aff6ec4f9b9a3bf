//! The draw of tokens.

use super::bench::{Bench, Case};
use super::{KernelLimits, Random, TINY};
use crate::cpu;
use crate::graph::candidates::{EXTRAS, KEPT, PART_WORDS, PARTS, ROW_WORDS};
use crate::graph::draw::{DRAW_WORDS, DrawSettings};
use crate::graph::{HostTensor, Op};

/// What would be told of rows of logits.
fn told(logits: &[Vec<f32>], inverses: &[f32]) -> Vec<f32> {
    let width = logits[0].len();
    let mut words = vec![0.0; logits.len() * ROW_WORDS];
    let extras = vec![u32::MAX; logits.len() * EXTRAS];
    let flat = logits.concat();
    cpu::candidates::candidates(&mut words, &flat, width, width, &extras, inverses);
    words
}

#[test]
fn a_device_draws_what_the_host_draws() {
    let mut random = Random::new("a_device_draws_what_the_host_draws");
    let (mut all, mut differ) = (0, 0);
    for (rows, width) in [(1, 1), (1, 5), (3, 700), (2, 9001), (40, 2000)] {
        for _ in 0..4 {
            let scale = 1.0 + 9.0 * random.value().abs();
            let mut row = || (0..width).map(|_| scale * random.value()).collect();
            let mut logits: Vec<Vec<f32>> = (0..rows).map(|_| row()).collect();
            // Equal ones: the lower number comes first.
            for row in &mut logits {
                let middle = row.len() / 2;
                row[middle] = 20.0;
                row[0] = 20.0;
            }
            let mut settings = Vec::new();
            for _ in 0..rows {
                let mut one = |values: &[f32]| values[random.below(values.len())];
                settings.push(DrawSettings {
                    top_k: one(&[0.0, 1.0, 2.0, 40.0, 256.0]) as usize,
                    top_p: one(&[0.2, 0.9, 0.95, 1.0]),
                    min_p: one(&[0.0, 0.01, 0.05, 0.9]),
                    temperature: one(&[-1.0, 0.0, 0.5, 0.8, 1.0, 3.0]),
                    unit: random.value().abs().min(0.999),
                });
            }
            let inverse = |settings: &DrawSettings| match settings.temperature {
                t if t > 0.0 => 1.0 / t,
                _ => 1.0,
            };
            let inverses: Vec<f32> = settings.iter().map(inverse).collect();
            let words = told(&logits, &inverses);
            let given: Vec<f32> = settings.iter().flat_map(DrawSettings::words).collect();
            let mut wanted = vec![0.0; rows];
            cpu::draw::draw(&mut wanted, &words, &given);
            let operands = vec![
                HostTensor::f32([rows, ROW_WORDS], words),
                HostTensor::f32([rows, DRAW_WORDS], given),
            ];
            let case = Case::new(Op::Draw, operands, Vec::new(), &[rows]);
            for limits in [KernelLimits::default(), TINY] {
                if (limits.max_storage_binding as usize) < ROW_WORDS * 4 {
                    continue;
                }
                let drawn = Bench::get().run(&case, &limits).output;
                for (row, (got, wanted)) in drawn.iter().zip(&wanted).enumerate() {
                    let (got, wanted) = (got.to_bits(), wanted.to_bits());
                    assert!((got as usize) < width);
                    all += 1;
                    if got != wanted {
                        println!("{:?}: {got} for {wanted}", settings[row]);
                        assert!(settings[row].temperature > 0.0);
                        differ += 1;
                    }
                }
            }
        }
    }
    // A number that falls between two tokens by less than 32 bits tell.
    assert!(differ * 200 <= all, "{differ} of {all}");
}

#[test]
fn of_nothing_the_first_token_is_drawn() {
    // No part tells of a token, and none weighs anything.
    let mut words = vec![0.0; ROW_WORDS];
    for part in words.chunks_mut(PART_WORDS).take(PARTS) {
        part[..KEPT].fill(f32::MIN);
        part[KEPT..2 * KEPT].fill(-1.0);
        part[2 * KEPT] = f32::MIN;
    }
    let settings = DrawSettings {
        top_k: 0,
        top_p: 0.9,
        min_p: 0.1,
        temperature: 0.7,
        unit: 0.5,
    };
    let operands = vec![
        HostTensor::f32([1, ROW_WORDS], words.clone()),
        HostTensor::f32([1, DRAW_WORDS], settings.words().to_vec()),
    ];
    let case = Case::new(Op::Draw, operands, Vec::new(), &[1]);
    let drawn = Bench::get().run(&case, &KernelLimits::default()).output;
    let mut wanted = vec![1.0];
    cpu::draw::draw(&mut wanted, &words, &settings.words());
    assert_eq!((drawn[0].to_bits(), wanted[0].to_bits()), (0, 0));
}
