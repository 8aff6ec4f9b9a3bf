//! The preview against the sampler's own draws.

use super::*;

fn distribution(logits: &[f32], recent: &[u32], allowed: Option<TokenMask>) -> Distribution {
    // Token 5 is a line break, the others are letters.
    let text = |id: u32| -> &'static [u8] { if id == 5 { b"\n" } else { b"a" } };
    Distribution::new(
        logits.to_vec(),
        recent.to_vec(),
        allowed,
        |id| format!("<{id}>"),
        text,
    )
    .unwrap()
}

/// Forty thousand draws and the preview agree in every token, within five standard deviations.
fn agrees(params: &SamplingParams, logits: &[f32], recent: &[u32], allowed: Option<TokenMask>) {
    let seed: u64 = rand::random();
    println!("seed {seed}, {params:?}");
    let bars = preview(&distribution(logits, recent, allowed.clone()), params).unwrap();
    let sum: f32 = bars.iter().map(|bar| bar.after).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}: {bars:?}");
    let texts = (0..logits.len() as u32).map(|id| (id, if id == 5 { &b"\n"[..] } else { b"a" }));
    let mut sampler = TokenSampler::new(params.clone(), seed)
        .unwrap()
        .with_texts(texts);
    let n = 40_000;
    let mut counts = vec![0u32; logits.len()];
    for _ in 0..n {
        let sampled = sampler
            .sample_allowed(logits, recent, allowed.as_ref())
            .unwrap();
        counts[sampled.id as usize] += 1;
    }
    for bar in &bars {
        let count = f64::from(counts[bar.id as usize]);
        let p = f64::from(bar.after);
        let deviation = (f64::from(n) * p * (1.0 - p)).sqrt();
        assert!(
            (count - f64::from(n) * p).abs() <= 5.0 * deviation + 1.0,
            "token {}: drawn {count} times of {n}, shown {p}; {bars:?}",
            bar.id
        );
        if bar.after == 0.0 {
            assert!(bar.removed_by.is_some(), "{bar:?}");
        }
    }
}

const LOGITS: [f32; 8] = [2.0, 1.6, 1.5, 0.9, 0.2, 0.0, -1.0, -2.5];

fn open() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..SamplingParams::default()
    }
}

#[test]
fn bars_are_what_the_sampler_draws() {
    let recent = [1, 0, 2, 5, 0, 2, 5, 0];
    let cases = [
        open(),
        SamplingParams::default(),
        SamplingParams {
            temperature: 2.5,
            ..open()
        },
        SamplingParams {
            top_k: 3,
            temperature: 0.6,
            ..open()
        },
        SamplingParams {
            top_p: 0.6,
            ..open()
        },
        SamplingParams {
            min_p: 0.4,
            ..open()
        },
        SamplingParams {
            typical_p: 0.5,
            ..open()
        },
        SamplingParams {
            top_n_sigma: 1.0,
            ..open()
        },
        SamplingParams {
            xtc_probability: 0.4,
            xtc_threshold: 0.15,
            ..open()
        },
        SamplingParams {
            repetition_penalty: 1.8,
            frequency_penalty: 0.3,
            ..open()
        },
        SamplingParams {
            dry_multiplier: 1.5,
            dry_allowed_length: 1,
            ..open()
        },
        SamplingParams {
            dry_multiplier: 1.5,
            dry_allowed_length: 1,
            dry_breakers: Vec::new(),
            ..open()
        },
        SamplingParams {
            logit_bias: vec![(0, -100.0), (7, 4.0)],
            ..open()
        },
        SamplingParams {
            order: vec![SamplingStage::Temperature, SamplingStage::TopP],
            temperature: 3.0,
            top_p: 0.7,
            ..open()
        },
        SamplingParams {
            temperature: 0.0,
            ..open()
        },
        SamplingParams {
            greedy: true,
            ..open()
        },
    ];
    for params in &cases {
        agrees(params, &LOGITS, &recent, None);
    }
    agrees(&open(), &LOGITS, &[], Some(TokenMask::of([3, 4, 7])));
    let greedy = SamplingParams {
        greedy: true,
        ..open()
    };
    agrees(&greedy, &LOGITS, &[], Some(TokenMask::of([3, 4, 7])));
}

#[test]
fn each_bar_names_the_step_that_removed_it() {
    let params = SamplingParams {
        logit_bias: vec![(1, -100.0)],
        top_k: 4,
        min_p: 0.5,
        ..open()
    };
    let allowed = TokenMask::of([0, 1, 2, 3, 4, 5, 6]);
    let bars = preview(&distribution(&LOGITS, &[], Some(allowed)), &params).unwrap();
    let removed: Vec<_> = bars.iter().map(|bar| bar.removed_by).collect();
    let (top_k, min_p) = (SamplingStage::TopK, SamplingStage::MinP);
    assert_eq!(
        removed,
        [
            None,
            Some(Filter::Bias),
            None,
            Some(Filter::Stage(min_p)),
            Some(Filter::Stage(min_p)),
            Some(Filter::Stage(top_k)),
            Some(Filter::Stage(top_k)),
            Some(Filter::Grammar),
        ]
    );
    // What the model thinks is shown of all, whatever the settings.
    let sum: f32 = bars.iter().map(|bar| bar.before).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn a_long_tail_counts_although_it_is_not_shown() {
    let mut logits = vec![0.0f32; 5000];
    logits[17] = 3.0;
    let distribution = distribution(&logits, &[], None);
    assert_eq!(distribution.candidates.len(), LIKELIEST);
    assert_eq!(distribution.candidates[0].id, 17);
    let all = (3.0f64.exp() + 4999.0).ln();
    assert!((f64::from(distribution.log_sum_exp) - all).abs() < 1e-4);
    let bars = preview(&distribution, &open()).unwrap();
    let want = 3.0f64.exp() / (3.0f64.exp() + 4999.0);
    assert!((f64::from(bars[0].after) - want).abs() < 1e-6, "{bars:?}");
    assert!(bars[0].before == bars[0].after);
}

#[test]
fn nothing_left_and_nonsense_are_errors() {
    let none = distribution(&LOGITS, &[], Some(TokenMask::default()));
    assert_eq!(preview(&none, &open()), Err(TextError::NothingAllowed));
    let wrong = SamplingParams {
        top_p: 2.0,
        ..open()
    };
    assert!(preview(&distribution(&LOGITS, &[], None), &wrong).is_err());
}

#[test]
fn a_mask_holds_for_every_draw_and_the_models_opinion_stays() {
    let allowed = TokenMask::of([6, 7]);
    let mut sampler = TokenSampler::new(open(), 1).unwrap();
    let free = sampler.clone().sample(&LOGITS, &[]).unwrap();
    let mut drawn = [0; 8];
    for _ in 0..2000 {
        let sampled = sampler
            .sample_allowed(&LOGITS, &[], Some(&allowed))
            .unwrap();
        drawn[sampled.id as usize] += 1;
        assert!(sampled.probability < 0.05, "{sampled:?}");
        assert_eq!(sampled.alternatives, free.alternatives);
    }
    assert!(
        drawn[6] > 0 && drawn[7] > 0 && drawn[6] + drawn[7] == 2000,
        "{drawn:?}"
    );
}
