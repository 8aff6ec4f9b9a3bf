//! What a device tells of a row gives the same tokens as the row itself.

use super::*;
use crate::cpu::testing::{Random, run_once};
use crate::cpu::{CpuExecutor, CpuMode};
use crate::graph::candidates::{CandidateRow, EXTRAS};
use crate::graph::{GraphBuilder, HostTensor, NO_SLOT};

/// What the CPU tells of a row.
fn told(logits: &[f32], asked: &[u32], inverse: f32) -> CandidateRow {
    let g = GraphBuilder::new("candidates");
    let x = g.input("logits", &[1, logits.len()]).unwrap();
    let extras = g.input_u32("extras", &[1, EXTRAS]).unwrap();
    let temperatures = g.input("inverse_temperatures", &[1]).unwrap();
    let y = g
        .candidates(&x, &extras, &temperatures, logits.len())
        .unwrap();
    g.output("candidates", &y);
    let mut asked = asked.to_vec();
    asked.resize(EXTRAS, NO_SLOT);
    let inputs = [
        (
            "logits",
            HostTensor::f32([1, logits.len()], logits.to_vec()),
        ),
        ("extras", HostTensor::u32([1, EXTRAS], asked)),
        ("inverse_temperatures", HostTensor::f32([1], vec![inverse])),
    ];
    let mut executor = CpuExecutor::new(CpuMode::Oracle);
    let out = run_once(&mut executor, g.finish(), &inputs).unwrap();
    CandidateRow::read(out[0].as_f32(), logits.len()).unwrap()
}

/// Chooses both ways; whether what was told settled it.
fn both(
    params: &SamplingParams,
    seed: u64,
    logits: &[f32],
    recent: &[u32],
    allowed: Option<&TokenMask>,
) -> bool {
    let mut whole = TokenSampler::new(params.clone(), seed).unwrap();
    let mut known = whole.clone();
    let wanted = whole.sample_allowed(logits, recent, allowed);
    let Some(asked) = known.wants(recent, allowed) else {
        return false;
    };
    let row = told(logits, &asked, known.inverse_temperature());
    let before = known.clone();
    match known.sample_known(&row, &asked, recent, allowed) {
        Ok(None) => {
            assert_eq!(known, before, "nothing was drawn");
            false
        }
        Ok(Some(got)) => {
            let wanted = wanted.unwrap();
            assert_eq!(got.id, wanted.id, "{params:?}");
            assert_eq!(known, whole, "as many random numbers");
            let ids = |sampled: &Sampled| {
                sampled
                    .alternatives
                    .iter()
                    .map(|a| a.id)
                    .collect::<Vec<_>>()
            };
            assert_eq!(ids(&got), ids(&wanted));
            let near = |a: f32, b: f32| (a - b).abs() <= 4e-5 * b + 1e-12;
            assert!(
                near(got.probability, wanted.probability),
                "{got:?} {wanted:?}"
            );
            for (a, b) in got.alternatives.iter().zip(&wanted.alternatives) {
                assert!(near(a.probability, b.probability), "{a:?} {b:?}");
            }
            true
        }
        Err(error) => {
            assert_eq!(Err(error), wanted);
            true
        }
    }
}

/// Logits as models have them: most far below a few; some settings round them, so that many are equal.
fn logits(random: &mut Random, len: usize) -> Vec<f32> {
    let unit = |random: &mut Random| (random.bits() >> 40) as f32 / (1u64 << 24) as f32;
    let spread = 1.0 + 8.0 * unit(random);
    let step = [0.0, 0.0, 0.25, 1.0][random.within(0, 3)];
    (0..len)
        .map(|_| {
            // Roughly a normal distribution.
            let sum: f32 = (0..6).map(|_| unit(random) - 0.5).sum();
            let logit = sum * spread - 4.0;
            let logit = if step > 0.0 {
                (logit / step).round() * step
            } else {
                logit
            };
            match random.within(0, 200) {
                0 => f32::NEG_INFINITY,
                1 => -logit,
                _ => logit,
            }
        })
        .collect()
}

fn any_params(random: &mut Random) -> SamplingParams {
    let mut unit = || (random.bits() >> 40) as f32 / (1u64 << 24) as f32;
    let mut some = |off: f32, on: f32| {
        if unit() < 0.5 {
            off
        } else {
            on * unit().max(0.01)
        }
    };
    let mut params = SamplingParams {
        temperature: some(1.0, 2.0),
        top_p: some(1.0, 1.0),
        min_p: some(0.0, 0.3),
        typical_p: some(1.0, 1.0),
        top_n_sigma: some(0.0, 3.0),
        xtc_probability: some(0.0, 1.0),
        xtc_threshold: some(0.1, 0.5),
        repetition_penalty: some(1.0, 2.0),
        frequency_penalty: some(0.0, -2.0),
        presence_penalty: some(0.0, 2.0),
        dry_multiplier: some(0.0, 3.0),
        dry_base: 1.5,
        dry_allowed_length: 1,
        ..SamplingParams::default()
    };
    params.top_k = [0, 0, 1, 40, 200][random.within(0, 4)];
    params.repetition_window = random.within(0, 100);
    params.greedy = random.within(0, 9) == 0;
    if random.within(0, 9) == 0 {
        params.temperature = 0.0;
    }
    params.alternatives = [0, 5, 20][random.within(0, 2)];
    if random.within(0, 1) == 0 {
        params.logit_bias = (0..random.within(1, 5))
            .map(|_| {
                (
                    random.within(0, 9000) as u32,
                    [BANNED, 3.0, -2.0, 60.0][random.within(0, 3)],
                )
            })
            .collect();
    }
    for place in 0..params.order.len() {
        if random.within(0, 3) == 0 {
            let other = random.within(0, 8);
            params.order.swap(place, other);
        }
    }
    if random.within(0, 5) == 0 {
        params.order.truncate(random.within(0, 8));
    }
    params
}

#[test]
fn the_token_is_the_one_of_the_whole_row_whatever_the_settings() {
    let mut random = Random::fresh("the_token_is_the_one_of_the_whole_row");
    let mut settled = 0;
    const CASES: usize = 1500;
    for _ in 0..CASES {
        let len = [40, 700, 3000, 9000][random.within(0, 3)];
        let logits = logits(&mut random, len);
        let recent: Vec<u32> = (0..random.within(0, 150))
            .map(|_| random.within(0, (len - 1).min(60)) as u32)
            .collect();
        let mask = match random.within(0, 3) {
            0 => {
                let share = [2, 50, len][random.within(0, 2)];
                let ids = (0..len as u32).filter(|_| random.within(0, share) < 2);
                Some(TokenMask::of(ids.collect::<Vec<_>>()))
            }
            _ => None,
        };
        let params = any_params(&mut random);
        settled += usize::from(both(
            &params,
            random.bits(),
            &logits,
            &recent,
            mask.as_ref(),
        ));
    }
    println!("{settled} of {CASES} were settled");
    assert!(settled > CASES / 2, "{settled}");
}

#[test]
fn usual_settings_do_not_need_the_row() {
    let mut random = Random::fresh("usual_settings_do_not_need_the_row");
    let usual = SamplingParams::default();
    let settings = [
        SamplingParams {
            greedy: true,
            ..usual.clone()
        },
        SamplingParams {
            temperature: 0.0,
            ..usual.clone()
        },
        SamplingParams {
            repetition_penalty: 1.1,
            ..usual.clone()
        },
        SamplingParams {
            dry_multiplier: 0.8,
            ..usual.clone()
        },
        SamplingParams {
            xtc_probability: 0.5,
            ..usual.clone()
        },
        SamplingParams {
            typical_p: 0.9,
            ..usual.clone()
        },
        SamplingParams {
            logit_bias: vec![(7, 4.0), (8, BANNED)],
            ..usual.clone()
        },
        SamplingParams {
            top_k: 0,
            ..usual.clone()
        },
        SamplingParams {
            top_k: 0,
            top_p: 1.0,
            ..usual.clone()
        },
        SamplingParams {
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            top_n_sigma: 1.0,
            ..usual.clone()
        },
        usual,
    ];
    for params in settings {
        let mut settled = 0;
        for _ in 0..20 {
            // A few thousand tokens within a narrow band, and some dozen that stand out.
            let mut logits: Vec<f32> = (0..20_000)
                .map(|_| -2.0 - (random.bits() % 4096) as f32 / 1024.0)
                .collect();
            for _ in 0..50 {
                let place = random.within(0, logits.len() - 1);
                logits[place] = 3.0 + (random.bits() % 8192) as f32 / 1024.0;
            }
            let recent: Vec<u32> = (0..100).map(|_| random.within(0, 50) as u32).collect();
            settled += usize::from(both(&params, random.bits(), &logits, &recent, None));
        }
        // What lies within the error of a threshold is left to the row; with top-n-sigma that is one in thirty.
        assert!(settled >= 13, "{settled} of 20 with {params:?}");
    }
}

#[test]
fn what_is_no_number_is_left_to_the_whole_row() {
    for fault in [f32::NAN, f32::INFINITY] {
        let mut logits: Vec<f32> = (0..5000).map(|at| (at % 97) as f32 / 10.0).collect();
        logits[4321] = fault;
        let mut sampler = TokenSampler::new(SamplingParams::default(), 1).unwrap();
        let row = told(&logits, &[], sampler.inverse_temperature());
        assert_eq!(row.sums.iter().map(|part| part.odd).sum::<u32>(), 1);
        assert_eq!(sampler.sample_known(&row, &[], &[], None), Ok(None));
    }
    let nothing = [f32::NEG_INFINITY; 300];
    let mut sampler = TokenSampler::new(SamplingParams::default(), 1).unwrap();
    let row = told(&nothing, &[], 1.0);
    assert_eq!(sampler.sample_known(&row, &[], &[], None), Ok(None));
}
