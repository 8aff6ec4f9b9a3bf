//! The noise levels and timesteps of one run, step by step, in either convention.

use serde::{Deserialize, Serialize};

use super::bits;
use super::error::{DiffusionError, Result};
use super::schedule::{BetaSchedule, PredictionType, TrainingSchedule, linspace_f32};
use super::spec::{Convention, SamplerKind, SamplerSpec, ScheduleKind, Spacing};

/// In what form latents are held between steps. `x0` is the clean picture's latent, `noise` has unit variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatentSpace {
    /// `x0 + sigma * noise`; divided by `sqrt(sigma^2 + 1)` before the network sees it.
    VarianceExploding,
    /// `sqrt(a) * x0 + sqrt(1 - a) * noise`, which the network sees as it is.
    VariancePreserving,
}

/// The plan of one run. A noise level is a sigma, or for DDIM a cumulative alpha.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTable {
    /// The form of the latents.
    pub space: LatentSpace,
    /// What the network is told, one per step; whole numbers or not, by convention.
    #[serde(with = "bits::f32_vec")]
    pub timesteps: Vec<f32>,
    /// Noise level at which each step starts.
    #[serde(with = "bits::f32_vec")]
    pub levels: Vec<f32>,
    /// Noise level at which each step ends.
    #[serde(with = "bits::f32_vec")]
    pub next_levels: Vec<f32>,
    /// Factor from noise of unit variance to the first latents.
    pub initial_scale: f32,
}

impl StepTable {
    /// The plan for a request on a model.
    ///
    /// # Errors
    /// [`DiffusionError::Steps`] when there are none or too many, [`DiffusionError::Unsupported`] for a combination which the
    /// convention does not have.
    pub fn new(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<Self> {
        let most = most_steps(spec, training);
        if spec.steps == 0 || spec.steps > most {
            return Err(DiffusionError::Steps {
                steps: spec.steps,
                sampler: spec.sampler.label(),
                most,
            });
        }
        if spec.sampler == SamplerKind::Ddim && spec.schedule == ScheduleKind::Karras {
            return Err(DiffusionError::Unsupported {
                what: "DDIM with the Karras schedule".into(),
                remedy: "use Euler with Karras, which is the same method in the sigma form, or DDIM with Normal",
            });
        }
        let table = match (spec.convention, spec.sampler) {
            (Convention::KDiffusion, SamplerKind::Ddim) => ddim_compvis(spec, training),
            (Convention::KDiffusion, _) => kdiffusion(spec, training),
            (Convention::Diffusers, SamplerKind::Ddim) => ddim_diffusers(spec, training),
            (Convention::Diffusers, SamplerKind::DpmPp2M) => dpm_diffusers(spec, training),
            (Convention::Diffusers, _) => sigmas_diffusers(spec, training),
        }?;
        let stands = table
            .levels
            .iter()
            .zip(&table.next_levels)
            .any(|(level, next)| next >= level);
        if spec.sampler == SamplerKind::DpmPp2M && stands {
            return Err(DiffusionError::Unsupported {
                what: format!(
                    "DPM++ 2M in {} steps, two of which start at one noise level,",
                    spec.steps
                ),
                remedy: "choose fewer steps, another spacing or the Karras schedule",
            });
        }
        Ok(table)
    }

    /// Outer steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// A table over noise levels sigma, the last step ending at zero.
    fn of_sigmas(
        space: LatentSpace,
        timesteps: Vec<f32>,
        levels: Vec<f32>,
        initial_scale: f32,
    ) -> Self {
        let next_levels = levels.iter().skip(1).copied().chain([0.0]).collect();
        Self {
            space,
            timesteps,
            levels,
            next_levels,
            initial_scale,
        }
    }
}

/// The spacing in force: the request's, else the configuration's (diffusers only), else the program's own default.
fn spacing_of(spec: &SamplerSpec, training: &TrainingSchedule) -> Spacing {
    let default = if spec.sampler == SamplerKind::Ddim {
        Spacing::Leading
    } else {
        Spacing::Linspace
    };
    let configured = training
        .spacing()
        .filter(|_| spec.convention == Convention::Diffusers);
    spec.spacing.or(configured).unwrap_or(default)
}

fn most_steps(spec: &SamplerSpec, training: &TrainingSchedule) -> usize {
    let all = training.train_steps();
    let one_short = spec.convention == Convention::Diffusers
        && spec.sampler == SamplerKind::DpmPp2M
        && spec.schedule == ScheduleKind::Normal
        && spacing_of(spec, training) != Spacing::Trailing;
    // diffusers' DPM++ takes one timestep more than it uses; with none to spare, two steps would stand at one noise level.
    if one_short { all - 1 } else { all }
}

fn kdiffusion(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let table = training.sigmas(Convention::KDiffusion);
    let levels: Vec<f32> = match spec.schedule {
        ScheduleKind::Karras => {
            let (least, greatest) = table.range();
            karras(f64::from(least), f64::from(greatest), spec.steps)
                .into_iter()
                .map(|sigma| sigma as f32)
                .collect()
        }
        ScheduleKind::Normal => {
            let last = (training.train_steps() - 1) as f32;
            let timesteps = match spacing_of(spec, training) {
                Spacing::Linspace => linspace_f32(last, 0.0, spec.steps),
                Spacing::Leading => leading(
                    training.train_steps() / spec.steps,
                    spec.steps,
                    training.steps_offset(),
                ),
                Spacing::Trailing => trailing(training.train_steps(), spec.steps),
            };
            timesteps
                .into_iter()
                .map(|timestep| table.at_log(timestep))
                .collect()
        }
    };
    let timesteps = levels
        .iter()
        .map(|sigma| table.timestep(f64::from(*sigma)) as f32)
        .collect();
    let scale = levels.first().copied().unwrap_or(1.0);
    Ok(StepTable::of_sigmas(
        LatentSpace::VarianceExploding,
        timesteps,
        levels,
        scale,
    ))
}

/// EulerDiscreteScheduler, EulerAncestralDiscreteScheduler and HeunDiscreteScheduler.
fn sigmas_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    if spec.sampler == SamplerKind::Heun && training.zero_snr() {
        return Err(DiffusionError::Unsupported {
            what: "Heun in the diffusers convention on a model with zero terminal SNR".into(),
            remedy: "diffusers' Heun ignores rescale_betas_zero_snr; choose the kdiffusion convention or another sampler",
        });
    }
    if spec.sampler == SamplerKind::EulerAncestral && spec.schedule == ScheduleKind::Karras {
        // EulerAncestralDiscreteScheduler has no use_karras_sigmas: it drops the key and runs the normal schedule.
        return Err(DiffusionError::Unsupported {
            what: "Euler a with the Karras schedule in the diffusers convention".into(),
            remedy: "diffusers' scheduler has no such option; choose the kdiffusion convention or the Normal schedule",
        });
    }
    let (steps, all) = (spec.steps, training.train_steps());
    let spacing = spacing_of(spec, training);
    let table = training.sigmas(Convention::Diffusers);
    let mut timesteps = match spacing {
        Spacing::Linspace => linspace_falling(all, steps),
        Spacing::Leading => leading(all / steps, steps, training.steps_offset()),
        Spacing::Trailing => trailing(all, steps),
    };
    let mut sigmas: Vec<f64> = timesteps
        .iter()
        .map(|timestep| table.at_linear(*timestep))
        .collect();
    if spec.schedule == ScheduleKind::Karras {
        // Between the levels that the spacing reaches, not the model's.
        let (greatest, least) = (
            sigmas.first().copied().unwrap_or(1.0),
            sigmas.last().copied().unwrap_or(1.0),
        );
        sigmas = karras(least, greatest, steps);
        timesteps = sigmas
            .iter()
            .map(|sigma| table.timestep(*sigma) as f32)
            .collect();
    }
    let levels: Vec<f32> = sigmas.into_iter().map(|sigma| sigma as f32).collect();
    let greatest = levels.iter().copied().fold(0.0, f32::max);
    let scale = if spacing == Spacing::Leading {
        (greatest * greatest + 1.0).sqrt()
    } else {
        greatest
    };
    Ok(StepTable::of_sigmas(
        LatentSpace::VarianceExploding,
        timesteps,
        levels,
        scale,
    ))
}

/// DPMSolverMultistepScheduler.
fn dpm_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let (steps, all) = (spec.steps, training.train_steps());
    let table = training.sigmas(Convention::Diffusers);
    let (timesteps, levels) = match spec.schedule {
        ScheduleKind::Karras => {
            let (least, greatest) = table.range();
            let sigmas = karras(f64::from(least), f64::from(greatest), steps);
            let whole = |sigma: &f64| {
                let timestep = table.timestep(*sigma);
                // Rounded, except for the cosine betas, where it is cut off.
                let cosine = training.beta_schedule() == Some(BetaSchedule::SquaredCosine);
                if cosine {
                    timestep.trunc() as f32
                } else {
                    timestep.round_ties_even() as f32
                }
            };
            (
                sigmas.iter().map(whole).collect(),
                sigmas.iter().map(|sigma| *sigma as f32).collect(),
            )
        }
        ScheduleKind::Normal => {
            let mut timesteps: Vec<f32> = match spacing_of(spec, training) {
                Spacing::Linspace => linspace_falling(all, steps + 1)
                    .into_iter()
                    .map(f32::round_ties_even)
                    .collect(),
                Spacing::Leading => leading(all / (steps + 1), steps + 1, training.steps_offset()),
                Spacing::Trailing => trailing(all, steps),
            };
            timesteps.truncate(steps);
            let levels = timesteps
                .iter()
                .map(|timestep| table.at_linear(*timestep) as f32)
                .collect();
            (timesteps, levels)
        }
    };
    Ok(StepTable::of_sigmas(
        LatentSpace::VariancePreserving,
        timesteps,
        levels,
        1.0,
    ))
}

/// DDIMScheduler at eta 0: each step ends a fixed stride below its start, wherever the next one starts.
fn ddim_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let (steps, all) = (spec.steps, training.train_steps());
    let timesteps: Vec<f32> = match spacing_of(spec, training) {
        Spacing::Linspace => linspace_falling_f64(all, steps)
            .map(|timestep| timestep.round_ties_even() as f32)
            .collect(),
        Spacing::Leading => leading(all / steps, steps, training.steps_offset()),
        Spacing::Trailing => trailing(all, steps),
    };
    let alphas = training.alphas_cumprod();
    let stride = all / steps;
    let mut levels = Vec::with_capacity(steps);
    let mut next_levels = Vec::with_capacity(steps);
    for timestep in &timesteps {
        let index = *timestep as usize;
        let Some(alpha) = alphas.get(index) else {
            return Err(DiffusionError::Unsupported {
                what: format!(
                    "DDIM in {steps} steps with leading spacing and an offset of {}",
                    training.steps_offset()
                ),
                remedy: "its first timestep lies beyond the model's last; choose fewer steps or another spacing",
            });
        };
        levels.push(*alpha);
        let before = index
            .checked_sub(stride)
            .and_then(|index| alphas.get(index));
        next_levels.push(before.copied().unwrap_or(training.final_alpha()));
    }
    if training.prediction() == PredictionType::Epsilon && levels.contains(&0.0) {
        return Err(DiffusionError::Unsupported {
            what: "DDIM on a noise-predicting model from a timestep of zero signal".into(),
            remedy: "noise prediction says nothing about the picture there; choose leading spacing or the kdiffusion convention",
        });
    }
    let space = LatentSpace::VariancePreserving;
    Ok(StepTable {
        space,
        timesteps,
        levels,
        next_levels,
        initial_scale: 1.0,
    })
}

/// CompVis' DDIMSampler at eta 0: each step ends where the next one starts, the last at timestep 0.
fn ddim_compvis(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let (steps, all) = (spec.steps, training.train_steps());
    let timesteps = match spacing_of(spec, training) {
        // A single step starts at the noisiest timestep, as with k-diffusion's sigmas.
        Spacing::Linspace if steps == 1 => vec![(all - 1) as f32],
        Spacing::Linspace => linspace_falling_f64(all, steps)
            .map(|timestep| timestep.round_ties_even() as f32)
            .collect(),
        // Always plus one here, whatever the configuration's offset.
        Spacing::Leading => leading(all / steps, steps, 1),
        Spacing::Trailing => trailing(all, steps),
    };
    let timesteps: Vec<f32> = timesteps
        .into_iter()
        .map(|timestep| timestep.min((all - 1) as f32))
        .collect();
    let alphas = training.nonzero_alphas(Convention::KDiffusion);
    let alpha_at = |timestep: f32| alphas.get(timestep as usize).copied().unwrap_or(1.0);
    let levels: Vec<f32> = timesteps
        .iter()
        .map(|timestep| alpha_at(*timestep))
        .collect();
    let next_levels = levels
        .iter()
        .skip(1)
        .copied()
        .chain([alpha_at(0.0)])
        .collect();
    let space = LatentSpace::VariancePreserving;
    Ok(StepTable {
        space,
        timesteps,
        levels,
        next_levels,
        initial_scale: 1.0,
    })
}

/// Karras et al. (2022), equation 5, rho 7, falling from `greatest` to `least`; without the closing zero.
fn karras(least: f64, greatest: f64, steps: usize) -> Vec<f64> {
    let (low, high) = (least.powf(1.0 / 7.0), greatest.powf(1.0 / 7.0));
    let ramp = |index: usize| {
        if steps < 2 {
            0.0
        } else {
            index as f64 / (steps - 1) as f64
        }
    };
    (0..steps)
        .map(|index| (high + ramp(index) * (low - high)).powi(7))
        .collect()
}

/// numpy's `linspace(0, all - 1, count)` reversed. A single point lies at 0, as numpy has it.
fn linspace_falling_f64(all: usize, count: usize) -> impl Iterator<Item = f64> {
    let last = (all - 1) as f64;
    let step = if count < 2 {
        0.0
    } else {
        last / (count - 1) as f64
    };
    (0..count).rev().map(move |index| {
        if count > 1 && index == count - 1 {
            last
        } else {
            index as f64 * step
        }
    })
}

fn linspace_falling(all: usize, count: usize) -> Vec<f32> {
    linspace_falling_f64(all, count)
        .map(|timestep| timestep as f32)
        .collect()
}

fn leading(stride: usize, count: usize, offset: usize) -> Vec<f32> {
    (0..count)
        .rev()
        .map(|index| (index * stride + offset) as f32)
        .collect()
}

/// numpy's `arange(all, 0, -all / count)`, rounded, less one; exactly `count` of them, where numpy's rounding of the stride
/// sometimes makes one more.
fn trailing(all: usize, count: usize) -> Vec<f32> {
    let start = all as f64;
    let step = (start - start / count as f64) - start;
    (0..count)
        .map(|index| ((start + index as f64 * step).round_ties_even() - 1.0).max(0.0) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
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
}
