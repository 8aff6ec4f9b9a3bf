use super::*;

fn open() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        alternatives: 3,
        ..SamplingParams::default()
    }
}

/// Draws `n` tokens and compares their counts with `want` by a chi-square test.
fn assert_distribution(params: SamplingParams, logits: &[f32], recent: &[u32], want: &[f64]) {
    let seed: u64 = rand::random();
    println!("seed {seed} for {params:?}");
    let n = 40_000;
    let mut sampler = TokenSampler::new(params, seed).unwrap();
    let mut counts = vec![0u32; logits.len()];
    for _ in 0..n {
        counts[sampler.sample(logits, recent).unwrap().id as usize] += 1;
    }
    let mut chi2 = 0.0;
    let mut cells = 0;
    for (&count, &p) in counts.iter().zip(want) {
        if p == 0.0 {
            assert_eq!(count, 0, "{counts:?} against {want:?}");
            continue;
        }
        let expected = p * f64::from(n);
        assert!(expected > 20.0, "the test itself needs larger cells");
        chi2 += (f64::from(count) - expected).powi(2) / expected;
        cells += 1;
    }
    // Up to 7 degrees of freedom: P(chi2 > 60) < 2e-10, so that all such tests together fail less than once in a hundred million runs.
    assert!(
        cells <= 8 && chi2 < 60.0,
        "chi2 {chi2}: {counts:?} against {want:?}"
    );
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|l| l.exp()).sum();
    logits.iter().map(|l| l.exp() / sum).collect()
}

const LOGITS: [f32; 5] = [1.0, 2.0, 0.5, -1.0, 1.5];

#[test]
fn draws_follow_the_models_distribution_and_temperature() {
    let wide = LOGITS.map(f64::from);
    assert_distribution(open(), &LOGITS, &[], &softmax(&wide));
    let hot = SamplingParams {
        temperature: 2.0,
        ..open()
    };
    assert_distribution(hot, &LOGITS, &[], &softmax(&wide.map(|l| l / 2.0)));
}

#[test]
fn filters_leave_what_they_promise() {
    let inf = f64::NEG_INFINITY;
    let top_k = SamplingParams { top_k: 2, ..open() };
    assert_distribution(top_k, &LOGITS, &[], &softmax(&[inf, 2.0, inf, inf, 1.5]));
    // Probabilities: 0.17, 0.46, 0.10, 0.02, 0.28: the best two sum to 0.74, three to 0.91.
    let top_p = SamplingParams {
        top_p: 0.75,
        ..open()
    };
    assert_distribution(top_p, &LOGITS, &[], &softmax(&[1.0, 2.0, inf, inf, 1.5]));
    let top_p = SamplingParams {
        top_p: 0.0,
        ..open()
    };
    assert_distribution(top_p, &LOGITS, &[], &[0.0, 1.0, 0.0, 0.0, 0.0]);
    // 0.5 times the best: logits down to 2 - ln 2 = 1.31.
    let min_p = SamplingParams {
        min_p: 0.5,
        ..open()
    };
    assert_distribution(min_p, &LOGITS, &[], &softmax(&[inf, 2.0, inf, inf, 1.5]));
    // Temperature acts after the filters.
    let both = SamplingParams {
        min_p: 0.5,
        temperature: 3.0,
        ..open()
    };
    assert_distribution(
        both,
        &LOGITS,
        &[],
        &softmax(&[inf, 2.0 / 3.0, inf, inf, 0.5]),
    );
}

#[test]
fn top_p_looks_beyond_the_first_sorted_block() {
    let all = (0..5000).rev().map(|id| Candidate { logit: 0.0, id });
    let mut pool = Pool::whole(all.collect());
    assert!(pool.keep_top_p(0.5));
    let many = pool.candidates;
    // 5000 equal probabilities of 0.0002; rounding decides about the last one.
    assert!((2500..=2501).contains(&many.len()), "{}", many.len());
    assert!(many.iter().enumerate().all(|(n, c)| c.id as usize == n));
}

#[test]
fn penalty_divides_or_multiplies_once_within_the_window() {
    let params = SamplingParams {
        repetition_penalty: 2.0,
        repetition_window: 3,
        ..open()
    };
    // Token 4 lies before the window; token 1 counts once although it is there twice.
    assert_distribution(
        params,
        &LOGITS,
        &[4, 1, 3, 1],
        &softmax(&[1.0, 1.0, 0.5, -2.0, 1.5]),
    );
}

#[test]
fn greedy_takes_the_lowest_of_equals_and_ignores_the_rest() {
    let params = SamplingParams {
        greedy: true,
        repetition_penalty: 5.0,
        ..SamplingParams::default()
    };
    let mut sampler = TokenSampler::new(params, 1).unwrap();
    let logits = [0.0, 3.0, 3.0, f32::NEG_INFINITY];
    let out = sampler.sample(&logits, &[1, 1]).unwrap();
    assert_eq!(out.id, 1);
    assert_eq!(
        out.alternatives.iter().map(|a| a.id).collect::<Vec<_>>(),
        [1, 2, 0]
    );
    let share = 1.0 / (2.0 + (-3f32).exp());
    assert!((out.probability - share).abs() < 1e-6);
    assert_eq!(sampler.sample(&[-0.0, 0.0], &[]).unwrap().id, 0);
    assert_eq!(
        sampler
            .sample(&[1.0, f32::INFINITY, f32::INFINITY], &[])
            .unwrap()
            .id,
        1
    );
}

#[test]
fn probabilities_are_the_models_own() {
    let params = SamplingParams {
        top_k: 1,
        temperature: 0.1,
        alternatives: 9,
        ..open()
    };
    let out = TokenSampler::new(params, 3)
        .unwrap()
        .sample(&LOGITS, &[])
        .unwrap();
    let want = softmax(&LOGITS.map(f64::from));
    assert_eq!(out.id, 1);
    assert!((f64::from(out.probability) - want[1]).abs() < 1e-6);
    assert_eq!(out.alternatives.len(), 5);
    for alternative in &out.alternatives {
        assert!((f64::from(alternative.probability) - want[alternative.id as usize]).abs() < 1e-6);
    }
}

#[test]
fn bad_logits_and_settings_are_named() {
    let mut sampler = TokenSampler::new(open(), 0).unwrap();
    assert_eq!(sampler.sample(&[], &[]), Err(TextError::NoLogits));
    // One that is no number means that none can be trusted.
    for faulty in [
        [f32::NAN, f32::NEG_INFINITY],
        [f32::NAN, 1.0],
        [f32::NEG_INFINITY; 2],
    ] {
        let result = sampler.sample(&faulty, &[]);
        assert_eq!(result, Err(TextError::LogitsNotFinite));
    }
    let least = [f32::NEG_INFINITY, f32::MIN];
    assert_eq!(sampler.sample(&least, &[]).unwrap().id, 1);
    for bad in [
        SamplingParams {
            temperature: f32::NAN,
            ..open()
        },
        SamplingParams {
            temperature: -1.0,
            ..open()
        },
        SamplingParams {
            top_p: 1.5,
            ..open()
        },
        SamplingParams {
            min_p: -0.1,
            ..open()
        },
        SamplingParams {
            repetition_penalty: 0.0,
            ..open()
        },
        SamplingParams {
            typical_p: 1.01,
            ..open()
        },
        SamplingParams {
            dry_base: 0.5,
            ..open()
        },
        SamplingParams {
            logit_bias: vec![(1, f32::NAN)],
            ..open()
        },
        SamplingParams {
            alternatives: usize::MAX,
            ..open()
        },
    ] {
        assert!(matches!(
            TokenSampler::new(bad, 0),
            Err(TextError::SamplingRange { .. })
        ));
    }
}

#[test]
fn a_seed_gives_the_same_tokens_for_ever() {
    let draw = |seed| {
        let mut sampler = TokenSampler::new(open(), seed).unwrap();
        (0..16)
            .map(|_| sampler.sample(&LOGITS, &[]).unwrap().id)
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(42), draw(42));
    assert_ne!(draw(42), draw(43));
    let mut sampler = TokenSampler::new(open(), 9).unwrap();
    sampler.sample(&LOGITS, &[]).unwrap();
    let saved = serde_json::to_string(&sampler).unwrap();
    let mut restored: TokenSampler = serde_json::from_str(&saved).unwrap();
    for _ in 0..16 {
        assert_eq!(sampler.sample(&LOGITS, &[]), restored.sample(&LOGITS, &[]));
    }
}

/// Probabilities of [`LOGITS`]: 0.17, 0.46, 0.10, 0.02, 0.28.
fn without(gone: &[usize]) -> Vec<f64> {
    let logits: Vec<f64> = LOGITS
        .iter()
        .enumerate()
        .map(|(id, logit)| {
            if gone.contains(&id) {
                f64::NEG_INFINITY
            } else {
                f64::from(*logit)
            }
        })
        .collect();
    softmax(&logits)
}

#[test]
fn top_n_sigma_measures_from_the_best() {
    // Mean 0.8, deviation sqrt(1.06) = 1.03: within one of them from 2 down lie 2, 1.5 and 1.
    let params = SamplingParams {
        top_n_sigma: 1.0,
        ..open()
    };
    assert_distribution(params, &LOGITS, &[], &without(&[2, 3]));
    let params = SamplingParams {
        top_n_sigma: 0.5,
        ..open()
    };
    assert_distribution(params, &LOGITS, &[], &without(&[0, 2, 3]));
}

#[test]
fn typical_keeps_what_is_closest_to_the_entropy() {
    // Information: 1.78, 0.78, 2.28, 3.78, 1.28; entropy 1.30. Closest first: 4 (0.28), 0 (0.17), 1 (0.46).
    for (typical_p, gone) in [
        (0.2, vec![0, 1, 2, 3]),
        (0.4, vec![1, 2, 3]),
        (0.5, vec![2, 3]),
        (0.95, vec![3]),
    ] {
        let params = SamplingParams {
            typical_p,
            ..open()
        };
        if typical_p == 0.2 {
            assert_distribution(params, &LOGITS, &[], &[0.0, 0.0, 0.0, 0.0, 1.0]);
        } else {
            assert_distribution(params, &LOGITS, &[], &without(&gone));
        }
    }
}

#[test]
fn xtc_leaves_the_least_of_the_top_choices() {
    // At least 0.15: tokens 1, 4 and 0, of which 0 stays.
    let params = SamplingParams {
        xtc_probability: 1.0,
        xtc_threshold: 0.15,
        ..open()
    };
    assert_distribution(params, &LOGITS, &[], &without(&[1, 4]));
    // One time in four.
    let params = SamplingParams {
        xtc_probability: 0.25,
        xtc_threshold: 0.15,
        ..open()
    };
    let mixed: Vec<f64> = without(&[1, 4])
        .iter()
        .zip(without(&[]))
        .map(|(with, without)| 0.25 * with + 0.75 * without)
        .collect();
    assert_distribution(params, &LOGITS, &[], &mixed);
    // One top choice alone is not excluded.
    let params = SamplingParams {
        xtc_probability: 1.0,
        xtc_threshold: 0.4,
        ..open()
    };
    assert_distribution(params, &LOGITS, &[], &without(&[]));
}

#[test]
fn penalties_count_what_was_written() {
    // Token 1 twice, 4 once.
    let params = SamplingParams {
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..open()
    };
    let wanted = softmax(&[1.0, 2.0 - 2.0 * 0.5 - 0.25, 0.5, -1.0, 1.5 - 0.5 - 0.25]);
    assert_distribution(params, &LOGITS, &[1, 4, 1], &wanted);
}

#[test]
fn dry_grows_with_the_repetition() {
    let params = SamplingParams {
        dry_multiplier: 0.5,
        dry_base: 2.0,
        dry_allowed_length: 2,
        ..open()
    };
    // After "0 2 3" came 1, and now "0 2 3" is there again: 0.5 * 2^(3 - 2).
    let recent = [0, 2, 3, 1, 4, 0, 2, 3];
    let wanted = softmax(&[1.0, 2.0 - 1.0, 0.5, -1.0, 1.5]);
    assert_distribution(params.clone(), &LOGITS, &recent, &wanted);
    // Where token 2 has a line break in it, only "3" is repeated.
    let texts: [&[u8]; 5] = [b"a", b"b", b"c\n", b"d", b"e"];
    let mut sampler = TokenSampler::new(params, 1)
        .unwrap()
        .with_texts((0..).zip(texts));
    assert_eq!(sampler.breakers, HashSet::from([2]));
    let mut free = TokenSampler::new(open(), 1).unwrap();
    for _ in 0..50 {
        assert_eq!(
            sampler.sample(&LOGITS, &recent).unwrap().id,
            free.sample(&LOGITS, &recent).unwrap().id
        );
    }
}

#[test]
fn biases_come_first_and_may_ban() {
    let params = SamplingParams {
        logit_bias: vec![(1, -100.0), (0, 1.5)],
        top_k: 2,
        ..open()
    };
    let inf = f64::NEG_INFINITY;
    assert_distribution(
        params.clone(),
        &LOGITS,
        &[],
        &softmax(&[2.5, inf, inf, inf, 1.5]),
    );
    let mut sampler = TokenSampler::new(params, 0).unwrap();
    let banned = sampler.sample(&[f32::NEG_INFINITY, 3.0], &[]);
    assert_eq!(banned, Err(TextError::LogitsNotFinite));
}

#[test]
fn the_order_matters_and_steps_can_be_left_out() {
    use SamplingStage::{MinP, Temperature, TopK};
    let params = |order: &[SamplingStage]| SamplingParams {
        temperature: 0.5,
        min_p: 0.4,
        top_k: 1,
        order: order.to_vec(),
        ..open()
    };
    let inf = f64::NEG_INFINITY;
    // Without temperature 0.4 of the best are logits down to 1.08; with it the halves count: down to 1.54.
    assert_distribution(
        params(&[MinP, Temperature]),
        &LOGITS,
        &[],
        &softmax(&[inf, 4.0, inf, inf, 3.0]),
    );
    assert_distribution(
        params(&[Temperature, MinP]),
        &LOGITS,
        &[],
        &[0.0, 1.0, 0.0, 0.0, 0.0],
    );
    assert_distribution(params(&[]), &LOGITS, &[], &softmax(&LOGITS.map(f64::from)));
    assert_distribution(params(&[TopK]), &LOGITS, &[], &[0.0, 1.0, 0.0, 0.0, 0.0]);
    assert!(matches!(
        TokenSampler::new(params(&[MinP, TopK, MinP]), 0),
        Err(TextError::SamplingOrder { stage: "min_p" })
    ));
    for stage in SamplingStage::ALL {
        assert_eq!(SamplingStage::parse(stage.name()), Some(stage));
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
    }
}

#[test]
fn what_is_passed_over_is_what_would_have_been_drawn() {
    let logits: Vec<f32> = (0..40).map(|at| (at % 7) as f32 * 0.4).collect();
    let settings = [
        open(),
        SamplingParams {
            xtc_probability: 0.5,
            xtc_threshold: 0.02,
            ..open()
        },
        // Above a half XTC has no effect, and draws nothing.
        SamplingParams {
            xtc_probability: 0.5,
            xtc_threshold: 0.6,
            ..open()
        },
        SamplingParams {
            xtc_probability: 0.5,
            temperature: 0.0,
            ..open()
        },
        SamplingParams {
            temperature: 0.0,
            order: vec![SamplingStage::TopK, SamplingStage::Xtc],
            xtc_probability: 0.5,
            ..open()
        },
        SamplingParams {
            greedy: true,
            ..open()
        },
    ];
    for params in settings {
        let mut whole = TokenSampler::new(params.clone(), 5).unwrap();
        let mut drawn: Vec<u32> = Vec::new();
        for _ in 0..30 {
            drawn.push(whole.sample(&logits, &drawn).unwrap().id);
        }
        for cut in [0, 1, 17, 30] {
            let mut resumed = TokenSampler::new(params.clone(), 5).unwrap();
            resumed.skip(cut);
            let mut again = drawn[..cut].to_vec();
            while again.len() < drawn.len() {
                again.push(resumed.sample(&logits, &again).unwrap().id);
            }
            assert_eq!(again, drawn, "{params:?} cut at {cut}");
            assert_eq!(resumed, whole, "{params:?} cut at {cut}");
        }
    }
}
