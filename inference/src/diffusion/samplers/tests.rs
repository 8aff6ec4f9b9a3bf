//! The samplers against diffusers and k-diffusion themselves (fixtures of tests/reference/make_samplers.py), and the promises of
//! the state machine.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::*;
use crate::diffusion::schedule::SchedulerConfig;
use crate::diffusion::spec::{Convention, ScheduleKind, Spacing};

const SEED: u64 = 1234;
const COUNT: usize = 36;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference/samplers/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn schedules() -> BTreeMap<String, TrainingSchedule> {
    let configs: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fixture("configs.json")).unwrap();
    let schedule = |value: serde_json::Value| {
        TrainingSchedule::new(&SchedulerConfig::from_json(&value.to_string()).unwrap()).unwrap()
    };
    configs
        .into_iter()
        .map(|(name, value)| (name, schedule(value)))
        .collect()
}

/// The closed-form model of the fixtures.
fn model(eval: &Eval) -> Vec<f32> {
    let t = f64::from(eval.timestep);
    let answer = |(place, x): (usize, &f32)| {
        (0.6 * (t / 400.0).cos() * f64::from(*x) + 0.4 * (0.7 * place as f64 + t / 150.0).sin())
            as f32
    };
    eval.input.iter().enumerate().map(answer).collect()
}

fn start(spec: &SamplerSpec, training: &TrainingSchedule) -> Denoising {
    let beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, COUNT);
    Denoising::new(spec, training, beginning).unwrap()
}

fn spec(
    sampler: SamplerKind,
    schedule: ScheduleKind,
    convention: Convention,
    steps: usize,
) -> SamplerSpec {
    SamplerSpec {
        sampler,
        schedule,
        convention,
        spacing: None,
        steps,
    }
}

#[test]
fn every_step_equals_the_reference() {
    let schedules = schedules();
    let (bytes, more) = (fixture("steps.safetensors"), fixture("more.safetensors"));
    let files = [&bytes, &more].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let (mut worst, mut cases) = (BTreeMap::<String, f32>::new(), 0);
    let mut faults = Vec::new();
    for (name, view) in files.iter().flat_map(SafeTensors::tensors) {
        let parts: Vec<&str> = name.split('/').collect();
        let [config, convention, sampler, schedule, spacing, steps] = parts[..] else {
            continue;
        };
        cases += 1;
        let training = &schedules[config];
        let spec = SamplerSpec {
            sampler: SamplerKind::parse(sampler).unwrap().0,
            schedule: ScheduleKind::parse(schedule).unwrap(),
            convention: Convention::parse(convention).unwrap(),
            spacing: (spacing != "none").then(|| Spacing::parse(spacing).unwrap()),
            steps: steps.parse().unwrap(),
        };
        let want = floats(view.data());
        let mut run = start(&spec, training);
        assert_eq!(want.len(), run.total_steps() * COUNT, "{name}");
        let mut dumps = want.chunks_exact(COUNT);
        let mut evals = 0;
        while let Some(eval) = run.next_eval() {
            evals += 1;
            if !run.give(&model(&eval)).unwrap().outer_step_finished {
                continue;
            }
            let want = dumps.next().unwrap();
            let scale = want
                .iter()
                .fold(0.0f32, |most, value| most.max(value.abs()));
            let error = run
                .latents()
                .iter()
                .zip(want)
                .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
                / scale;
            // Where the first latents are thousands of times larger than the picture, the references' own f32 holds no more.
            // A Brownian path is cut at a millionth: where our noise levels differ in their last digit, it is cut elsewhere.
            let path = run.noise.path.is_some();
            let least = if path { 1e-3 } else { 1e-4 };
            let allowed = (4.0 * f32::EPSILON * run.table().levels[0]).clamp(least, 1e-3);
            if error.is_nan() || error > allowed {
                faults.push(format!(
                    "{name}, step {}: relative error {error:e}",
                    run.step_index() - 1
                ));
                break;
            }
            let extreme = if run.table().levels[0] > 100.0 {
                ", first sigma over 100"
            } else {
                ""
            };
            let entry = worst
                .entry(format!("{convention} {}{extreme}", spec.sampler.label()))
                .or_default();
            *entry = entry.max(error);
        }
        if faults.is_empty() {
            assert!(
                dumps.next().is_none() && run.is_finished(),
                "{name}: too few steps"
            );
            assert_eq!(evals, run.total_evals(), "{name}");
            assert_eq!(run.final_latents(), run.latents(), "{name}");
        }
    }
    println!("samplers: {cases} runs, worst relative error at any step: {worst:#?}");
    assert!(
        faults.is_empty(),
        "{} of {cases} runs:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(cases > 450, "the fixture is too small: {cases} runs");
}

/// Runs that begin from a picture, with and without a mask.
#[test]
fn every_step_from_a_picture_equals_the_reference() {
    let (bytes, schedules) = (fixture("more.safetensors"), schedules());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| floats(file.tensor(name).unwrap().data());
    let (init, mask) = (get("init"), get("mask"));
    let (mut worst, mut cases, mut faults) = (BTreeMap::<String, f32>::new(), 0, Vec::new());
    for (name, view) in file.tensors() {
        let parts: Vec<&str> = name.split('/').collect();
        let [kind, convention, sampler, strength] = parts[..] else {
            continue;
        };
        cases += 1;
        let convention = Convention::parse(convention).unwrap();
        let schedule = match convention {
            Convention::KDiffusion => ScheduleKind::Karras,
            Convention::Diffusers => ScheduleKind::Normal,
        };
        let spec = spec(
            SamplerKind::parse(sampler).unwrap().0,
            schedule,
            convention,
            8,
        );
        let mut beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, COUNT);
        beginning.init = Some((init.clone(), strength.parse().unwrap()));
        beginning.mask = (kind == "mask").then(|| mask.clone());
        let mut run = Denoising::new(&spec, &schedules["sd_eps"], beginning).unwrap();
        let want = floats(view.data());
        assert_eq!(want.len(), run.total_steps() * COUNT, "{name}");
        let mut dumps = want.chunks_exact(COUNT);
        while let Some(eval) = run.next_eval() {
            if !run.give(&model(&eval)).unwrap().outer_step_finished {
                continue;
            }
            let want = dumps.next().unwrap();
            let scale = want
                .iter()
                .fold(0.0f32, |most, value| most.max(value.abs()));
            let pairs = run.latents().iter().zip(want);
            let error = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / scale;
            let allowed = if run.noise.path.is_some() { 1e-3 } else { 1e-4 };
            if error.is_nan() || error > allowed {
                faults.push(format!("{name}, step {}: {error:e}", run.step_index() - 1));
                break;
            }
            let entry = worst.entry(format!("{kind} {}", parts[1])).or_default();
            *entry = entry.max(error);
        }
    }
    println!("from pictures: {cases} runs, worst relative error at any step: {worst:#?}");
    assert!(
        faults.is_empty(),
        "{} of {cases} runs:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(cases > 100, "the fixture is too small: {cases} runs");
}

#[test]
fn strengths_that_make_no_sense_are_refused() {
    let training = &schedules()["sd_eps"];
    for (strength, convention) in [
        (0.0, Convention::KDiffusion),
        (-1.0, Convention::KDiffusion),
        (1.5, Convention::Diffusers),
        (f32::NAN, Convention::KDiffusion),
        (0.1, Convention::Diffusers),
    ] {
        let spec = spec(SamplerKind::Euler, ScheduleKind::Normal, convention, 5);
        let mut beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, COUNT);
        beginning.init = Some((vec![0.0; COUNT], strength));
        let error = Denoising::new(&spec, training, beginning)
            .unwrap_err()
            .to_string();
        assert!(error.contains("strength"), "{error}");
    }
    let spec = spec(
        SamplerKind::Euler,
        ScheduleKind::Normal,
        Convention::KDiffusion,
        5,
    );
    let mut beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, COUNT);
    beginning.init = Some((vec![0.0; 3], 0.5));
    assert!(Denoising::new(&spec, training, beginning).is_err());
}

#[test]
fn cumulative_alphas_equal_the_reference() {
    let (bytes, schedules) = (fixture("steps.safetensors"), schedules());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(schedules.len(), 6);
    for (name, training) in schedules {
        let want = floats(file.tensor(&format!("alphas/{name}")).unwrap().data());
        let stride = (training.train_steps() / 20).max(1);
        let got: Vec<f32> = training
            .alphas_cumprod()
            .iter()
            .copied()
            .step_by(stride)
            .collect();
        assert_eq!(got.len(), want.len(), "{name}");
        for (got, want) in got.iter().zip(&want) {
            assert!(
                (got - want).abs() <= 2e-7,
                "{name}: {got} instead of {want}"
            );
        }
    }
}

/// Stored after every single evaluation, a run reaches the same bytes as one left alone.
#[test]
fn a_stored_run_goes_on_to_the_very_same_latents() {
    let training = &schedules()["sd_v"];
    for convention in [Convention::KDiffusion, Convention::Diffusers] {
        for sampler in SamplerKind::ALL {
            let spec = spec(sampler, ScheduleKind::Normal, convention, 6);
            if StepTable::new(&spec, training).is_err() {
                continue; // diffusers does not have them all
            }
            let mut whole = start(&spec, training);
            let mut stored = whole.clone();
            while let Some(eval) = whole.next_eval() {
                let text = serde_json::to_string(&stored).unwrap();
                stored = serde_json::from_str(&text).unwrap();
                assert_eq!(stored.next_eval(), Some(eval.clone()));
                let out = model(&eval);
                assert_eq!(whole.give(&out).unwrap(), stored.give(&out).unwrap());
                assert_eq!(whole, stored);
            }
            assert_eq!(whole.latents(), stored.latents());
        }
    }
}

#[test]
fn a_damaged_state_is_refused() {
    let training = &schedules()["sd_eps"];
    let mut run = start(
        &spec(
            SamplerKind::Heun,
            ScheduleKind::Karras,
            Convention::KDiffusion,
            4,
        ),
        training,
    );
    let eval = run.next_eval().unwrap();
    assert!(!run.give(&model(&eval)).unwrap().outer_step_finished);
    let good = serde_json::to_value(&run).unwrap();
    assert!(serde_json::from_value::<Denoising>(good.clone()).is_ok());
    let damages: [(&str, serde_json::Value); 7] = [
        ("/done", 5.into()),
        ("/done", 3.into()),
        ("/latents", serde_json::json!([1, 2])),
        ("/half/ahead", serde_json::json!([])),
        ("/kept", serde_json::json!([[1]])),
        ("/table/next_levels", serde_json::json!([1])),
        ("/sampler", "Euler".into()),
    ];
    for (place, value) in damages {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value;
        let error = serde_json::from_value::<Denoising>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains("damaged"), "{place}: {error}");
    }
}

#[test]
fn unusable_predictions_are_refused_and_change_nothing() {
    let training = &schedules()["sd_eps"];
    let mut run = start(
        &spec(
            SamplerKind::EulerAncestral,
            ScheduleKind::Normal,
            Convention::KDiffusion,
            1,
        ),
        training,
    );
    let before = run.clone();
    assert!(matches!(
        run.give(&[0.0; 3]),
        Err(DiffusionError::Length {
            got: 3,
            want: COUNT,
            ..
        })
    ));
    let mut out = vec![0.0; COUNT];
    out[7] = f32::NAN;
    assert!(matches!(
        run.give(&out),
        Err(DiffusionError::NotFinite {
            step: 0,
            index: 7,
            ..
        })
    ));
    assert_eq!(run, before);
    out[7] = 0.0;
    assert!(run.give(&out).unwrap().outer_step_finished);
    assert!(run.is_finished() && run.next_eval().is_none());
    assert_eq!(run.give(&out), Err(DiffusionError::Finished(1)));
}

/// A network that knows the answer leads every sampler to it, in one step as in twenty.
#[test]
fn a_perfect_model_is_followed_to_its_picture() {
    let picture: Vec<f32> = (0..COUNT).map(|place| (place as f32 * 0.9).sin()).collect();
    for (name, training) in schedules() {
        for convention in [Convention::KDiffusion, Convention::Diffusers] {
            for sampler in SamplerKind::ALL {
                for steps in [1, 2, 9] {
                    // Trailing, so that even a single step starts at the noisiest timestep.
                    let own = sampler == SamplerKind::Lcm && convention == Convention::Diffusers;
                    let spec = SamplerSpec {
                        spacing: (!own).then_some(Spacing::Trailing),
                        ..spec(sampler, ScheduleKind::Normal, convention, steps)
                    };
                    let Ok(_) = StepTable::new(&spec, &training) else {
                        continue;
                    };
                    let mut run = start(&spec, &training);
                    let mut level = 0.0;
                    while let Some(eval) = run.next_eval() {
                        // Signal and noise factors of what the network sees, from the level in force.
                        level = match (&run.half, run.midpoint()) {
                            (Some(_), Some(middle)) => middle.level,
                            _ => run.table().levels[run.step_index()],
                        };
                        let alpha = if StepTable::holds_alphas(sampler, run.space()) {
                            level
                        } else {
                            1.0 / (level * level + 1.0)
                        };
                        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
                        let out: Vec<f32> = eval
                            .input
                            .iter()
                            .zip(&picture)
                            .map(|(seen, x0)| match training.prediction() {
                                PredictionType::Epsilon => (seen - signal * x0) / noise,
                                // v = (signal * seen - x0) / noise, the definition solved for the noise.
                                PredictionType::VPrediction => (signal * seen - x0) / noise,
                            })
                            .collect();
                        run.give(&out).unwrap();
                    }
                    assert!(level.is_finite());
                    // CompVis' DDIM and diffusers' with set_alpha_to_one = false stop one timestep above the clean picture.
                    let rest = if sampler == SamplerKind::Ddim {
                        0.2
                    } else {
                        2e-2
                    };
                    for (got, want) in run.final_latents().iter().zip(&picture) {
                        let what =
                            format!("{name} {} {} {steps}", convention.label(), sampler.label());
                        assert!(
                            (got - want).abs() <= rest,
                            "{what}: {got} instead of {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn faulty_configurations_are_refused_by_field() {
    let cases = [
        (r#"{"beta_schedule":"sigmoid"}"#, "beta_schedule"),
        (r#"{"prediction_type":"sample"}"#, "prediction_type"),
        (r#"{"num_train_timesteps":1}"#, "num_train_timesteps"),
        (
            r#"{"num_train_timesteps":4000000000}"#,
            "num_train_timesteps",
        ),
        (r#"{"beta_start":0.0}"#, "beta_start"),
        (r#"{"beta_end":1.5}"#, "beta_end"),
        (r#"{"beta_start":1e-30,"beta_end":1e-30}"#, "betas"),
        (r#"{"trained_betas":[0.1,0.2]}"#, "trained_betas"),
        (
            r#"{"trained_betas":[0.1,-0.2],"num_train_timesteps":2}"#,
            "trained_betas",
        ),
        (r#"{"steps_offset":-1}"#, "steps_offset"),
        (r#"{"steps_offset":1000}"#, "steps_offset"),
        (r#"{"timestep_spacing":"log"}"#, "timestep spacing"),
        (r#"{"thresholding":true}"#, "thresholding"),
        (
            r#"{"interpolation_type":"log_linear"}"#,
            "interpolation_type",
        ),
        (r#"{"final_sigmas_type":"sigma_min"}"#, "final_sigmas_type"),
    ];
    for (text, field) in cases {
        let error = TrainingSchedule::new(&SchedulerConfig::from_json(text).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains(field), "{text}: {error}");
    }
    for text in ["", "[]", "{", "{\"beta_start\":\"x\"}", "\"", "{\"a\":\"\\"] {
        assert!(
            matches!(
                SchedulerConfig::from_json(text),
                Err(DiffusionError::ConfigSyntax(_))
            ),
            "{text}"
        );
    }
}

#[test]
fn words_that_python_writes_into_json_are_read() {
    let text = r#"{"lambda_min_clipped": -Infinity, "note": "NaN \" -Infinity", "beta_end": 0.012, "x": [NaN, Infinity],
        "trained_betas": null, "timestep_spacing": "leading", "skip_prk_steps": true, "_class_name": "PNDMScheduler"}"#;
    let config = SchedulerConfig::from_json(text).unwrap();
    assert_eq!(
        (config.beta_end, config.timestep_spacing.as_deref()),
        (0.012, Some("leading"))
    );
}

/// Seconds of the fastest step of a run whose vectors lie on a device: what the host works out while the device is at work.
fn resident_step(spec: &SamplerSpec, schedule: &TrainingSchedule, count: usize) -> f64 {
    let beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, count);
    let mut outline = Denoising::new(spec, schedule, beginning).unwrap().outline();
    let mut fastest = f64::MAX;
    loop {
        let drawn = outline.noise_ahead().map(NoiseAhead::draw);
        let started = std::time::Instant::now();
        let mut next = outline.clone();
        let Some(question) = next.question() else {
            return fastest;
        };
        let mixture = next.give(drawn).unwrap();
        std::hint::black_box((question, mixture));
        outline = next;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
}

/// What the host does between two evaluations, noise apart, which is drawn while the network is at work: a few hundred microseconds where a step of a picture
/// of 1024x1024 takes a fast GPU a hundred times as long. Run by hand, on a machine that does nothing else:
/// `cargo test --release --workspace --lib samplers::tests::what_a_step_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_a_step_costs_the_host() {
    let schedules = schedules();
    for count in [4 * 64 * 64, 4 * 128 * 128] {
        for sampler in SamplerKind::ALL {
            let spec = spec(sampler, ScheduleKind::Normal, Convention::KDiffusion, 12);
            let beginning = Beginning::of_seed(NoiseSource::Cpu, SEED, count);
            let mut run = Denoising::new(&spec, &schedules["sd_eps"], beginning).unwrap();
            let rows = vec![0.3f32; 2 * count];
            let (mut arithmetic, mut noise, mut evals) = (f64::MAX, 0f64, 0);
            loop {
                let started = std::time::Instant::now();
                let Some(eval) = run.next_eval() else { break };
                let both = eval.input.repeat(2);
                let before = started.elapsed().as_secs_f64();
                let started = std::time::Instant::now();
                if let Some(drawn) = run.noise_ahead().map(NoiseAhead::draw) {
                    run.take_noise(drawn);
                }
                noise = noise.max(started.elapsed().as_secs_f64());
                let started = std::time::Instant::now();
                let (without, with) = rows.split_at(count);
                run.give(&crate::diffusion::guide(without, with, 7.5))
                    .unwrap();
                std::hint::black_box(both);
                arithmetic = arithmetic.min(before + started.elapsed().as_secs_f64());
                evals += 1;
            }
            assert!(evals >= 12);
            let resident = resident_step(&spec, &schedules["sd_eps"], count);
            println!(
                "{count} values, {}: {:.0} us between evaluations, {:.0} us where the latents stay on the device, noise up to {:.1} ms beside them",
                sampler.label(),
                1e6 * arithmetic,
                1e6 * resident,
                1e3 * noise
            );
            assert!(arithmetic < 0.01, "{sampler:?}: {arithmetic} s");
        }
    }
}
