//! Tables of steps: well-known values, every step count, and what is refused.

use super::super::schedule::SchedulerConfig;
use super::*;

fn spec(sampler: SamplerKind, convention: Convention, steps: usize) -> SamplerSpec {
    SamplerSpec {
        sampler,
        schedule: ScheduleKind::Normal,
        convention,
        spacing: None,
        steps,
    }
}

fn stable_diffusion() -> TrainingSchedule {
    TrainingSchedule::new(&SchedulerConfig::stable_diffusion(PredictionType::Epsilon)).unwrap()
}

#[test]
fn well_known_values_of_stable_diffusion() {
    let training = stable_diffusion();
    let table = StepTable::new(
        &spec(SamplerKind::Euler, Convention::KDiffusion, 20),
        &training,
    )
    .unwrap();
    assert!(
        (table.levels[0] - 14.6146).abs() < 1e-3,
        "{}",
        table.levels[0]
    );
    assert!(
        (table.levels[19] - 0.0292).abs() < 1e-4,
        "{}",
        table.levels[19]
    );
    assert_eq!(table.next_levels[19], 0.0);
    assert_eq!(table.initial_scale, table.levels[0]);
    let table = StepTable::new(
        &spec(SamplerKind::Ddim, Convention::KDiffusion, 20),
        &training,
    )
    .unwrap();
    assert_eq!((table.timesteps[0], table.timesteps[19]), (951.0, 1.0));
    assert_eq!(table.next_levels[19], training.alphas_cumprod()[0]);
}

#[test]
fn absurd_step_counts_are_refused_by_name() {
    let training = stable_diffusion();
    for convention in [Convention::KDiffusion, Convention::Diffusers] {
        for sampler in SamplerKind::ALL {
            for steps in [0, 1001, 1_000_000, usize::MAX] {
                let error =
                    StepTable::new(&spec(sampler, convention, steps), &training).unwrap_err();
                assert!(matches!(error, DiffusionError::Steps { .. }), "{error}");
                assert!(error.to_string().contains("choose 1 to"), "{error}");
            }
        }
    }
}

/// Every step count gives as many steps, finite levels that never rise, and timesteps within the model.
#[test]
fn every_step_count_gives_a_usable_table() {
    let training = stable_diffusion();
    let mut made = 0;
    for convention in [Convention::KDiffusion, Convention::Diffusers] {
        for sampler in SamplerKind::ALL {
            for schedule in [ScheduleKind::Normal, ScheduleKind::Karras] {
                for spacing in [Spacing::Leading, Spacing::Linspace, Spacing::Trailing] {
                    for steps in (1..=130).chain([233, 334, 499, 500, 501, 998, 999, 1000]) {
                        let spec = SamplerSpec {
                            sampler,
                            schedule,
                            convention,
                            spacing: Some(spacing),
                            steps,
                        };
                        let table = match StepTable::new(&spec, &training) {
                            Ok(table) => table,
                            Err(error) => {
                                assert!(!error.to_string().is_empty());
                                continue;
                            }
                        };
                        made += 1;
                        assert_eq!(table.timesteps.len(), steps, "{spec:?}");
                        assert_eq!(
                            (table.levels.len(), table.next_levels.len()),
                            (steps, steps),
                            "{spec:?}"
                        );
                        assert!(
                            table.timesteps.iter().all(|t| (0.0..=1000.0).contains(t)),
                            "{spec:?}"
                        );
                        let rising = sampler == SamplerKind::Ddim;
                        for (level, next) in table.levels.iter().zip(&table.next_levels) {
                            assert!(level.is_finite() && *level > 0.0, "{spec:?}");
                            let falls = if rising { next >= level } else { next <= level };
                            assert!(falls, "{spec:?}: {level} to {next}");
                            if sampler == SamplerKind::DpmPp2M {
                                assert!(
                                    next < level,
                                    "{spec:?}: {level} to {next} would divide by zero"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(made > 5000, "only {made} tables could be made");
}

#[test]
fn what_diffusers_lacks_is_refused_by_name() {
    let training = stable_diffusion();
    let karras = |sampler| SamplerSpec {
        schedule: ScheduleKind::Karras,
        ..spec(sampler, Convention::Diffusers, 10)
    };
    for sampler in [SamplerKind::Ddim, SamplerKind::EulerAncestral] {
        let error = StepTable::new(&karras(sampler), &training)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("Karras") && error.contains("not possible"),
            "{error}"
        );
    }
    let config = SchedulerConfig {
        rescale_betas_zero_snr: Some(true),
        ..SchedulerConfig::stable_diffusion(PredictionType::Epsilon)
    };
    let training = TrainingSchedule::new(&config).unwrap();
    for (sampler, spacing) in [
        (SamplerKind::Heun, Spacing::Trailing),
        (SamplerKind::Ddim, Spacing::Trailing),
    ] {
        let spec = SamplerSpec {
            spacing: Some(spacing),
            ..spec(sampler, Convention::Diffusers, 10)
        };
        let error = StepTable::new(&spec, &training).unwrap_err();
        assert!(
            matches!(error, DiffusionError::Unsupported { .. }),
            "{error}"
        );
    }
}
