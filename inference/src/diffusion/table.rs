//! The noise levels and timesteps of one run, step by step, in either convention.

use serde::{Deserialize, Serialize};

use super::bits;
use super::error::{DiffusionError, Result};
use super::levels::{self, karras, leading, linspace_falling, linspace_falling_f64, trailing};
use super::schedule::{BetaSchedule, PredictionType, TrainingSchedule};
use super::spec::{Convention, SamplerKind, SamplerSpec, ScheduleKind, Spacing};

/// In what form latents are held between steps. `x0` is the clean picture's latent, `noise` has unit variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatentSpace {
    /// `x0 + sigma * noise`; divided by `sqrt(sigma^2 + 1)` before the network sees it.
    VarianceExploding,
    /// `sqrt(a) * x0 + sqrt(1 - a) * noise`, which the network sees as it is.
    VariancePreserving,
}

/// A second question to the network within a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Midpoint {
    /// What the network is told.
    #[serde(with = "bits::f32_one")]
    pub timestep: f32,
    /// Noise level at which it is asked.
    #[serde(with = "bits::f32_one")]
    pub level: f32,
}

/// The plan of one run. A noise level is a sigma, or for DDIM and diffusers' LCM a cumulative alpha.
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
    /// The second question of each step, where there is one; as many as steps.
    pub midpoints: Vec<Option<Midpoint>>,
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
        if spec.sampler == SamplerKind::Ddim && spec.schedule != ScheduleKind::Normal {
            return Err(DiffusionError::Unsupported {
                what: format!("DDIM with the {} schedule", spec.schedule.label()),
                remedy: "use Euler with this schedule, which is the same method in the sigma form, or DDIM with Normal",
            });
        }
        let mut table = match (spec.convention, spec.sampler) {
            (Convention::KDiffusion, SamplerKind::Ddim) => ddim_compvis(spec, training),
            (Convention::KDiffusion, _) => kdiffusion(spec, training),
            (Convention::Diffusers, SamplerKind::Ddim) => ddim_diffusers(spec, training),
            (Convention::Diffusers, SamplerKind::Lcm) => lcm_diffusers(spec, training),
            (
                Convention::Diffusers,
                SamplerKind::DpmPp2M | SamplerKind::DpmPp2MSde | SamplerKind::UniPc,
            ) => dpm_diffusers(spec, training),
            (
                Convention::Diffusers,
                SamplerKind::Euler
                | SamplerKind::EulerAncestral
                | SamplerKind::Heun
                | SamplerKind::Lms,
            ) => sigmas_diffusers(spec, training),
            (Convention::Diffusers, sampler) => Err(DiffusionError::Unsupported {
                what: format!("{} in the diffusers convention", sampler.label()),
                remedy: "diffusers has no such scheduler that gives the same picture twice; choose the kdiffusion convention",
            }),
        }?;
        table.midpoints = midpoints(spec.sampler, training, &table, spec.convention);
        let stands = table
            .levels
            .iter()
            .zip(&table.next_levels)
            .any(|(level, next)| next >= level);
        if divides_by_stride(spec.sampler) && stands {
            return Err(DiffusionError::Unsupported {
                what: format!(
                    "{} in {} steps, two of which start at one noise level,",
                    spec.sampler.label(),
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

    /// The same plan without its first `count` steps, for pictures that do not begin as pure noise.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.steps());
        self.timesteps.drain(..count);
        self.levels.drain(..count.min(self.levels.len()));
        self.next_levels.drain(..count.min(self.next_levels.len()));
        self.midpoints.drain(..count.min(self.midpoints.len()));
    }

    /// Whether noise levels are cumulative alphas rather than sigmas.
    pub(super) fn holds_alphas(sampler: SamplerKind, space: LatentSpace) -> bool {
        space == LatentSpace::VariancePreserving
            && matches!(sampler, SamplerKind::Ddim | SamplerKind::Lcm)
    }

    /// Factors of the clean picture and of noise of unit variance in the latents at a noise level.
    pub(super) fn signal_and_noise(&self, sampler: SamplerKind, level: f32) -> (f32, f32) {
        match self.space {
            LatentSpace::VarianceExploding => (1.0, level),
            LatentSpace::VariancePreserving if Self::holds_alphas(sampler, self.space) => {
                (level.sqrt(), (1.0 - level).sqrt())
            }
            LatentSpace::VariancePreserving => {
                let signal = 1.0 / (level * level + 1.0).sqrt();
                (signal, level * signal)
            }
        }
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
            midpoints: Vec::new(),
            initial_scale,
        }
    }
}

/// Whether the method divides by the length of its steps, so that none may be of no length.
fn divides_by_stride(sampler: SamplerKind) -> bool {
    matches!(
        sampler,
        SamplerKind::DpmPp2M
            | SamplerKind::DpmPp2MSde
            | SamplerKind::DpmPp3MSde
            | SamplerKind::Lms
            | SamplerKind::UniPc
    )
}

/// Where each step asks the network again: Heun at its end, the midpoint methods halfway in the logarithm of sigma, to the level
/// that the step goes down to before noise is added.
fn midpoints(
    sampler: SamplerKind,
    training: &TrainingSchedule,
    table: &StepTable,
    convention: Convention,
) -> Vec<Option<Midpoint>> {
    let sigmas = training.sigmas(convention);
    let at = |level: f32| Midpoint {
        timestep: sigmas.timestep(f64::from(level)) as f32,
        level,
    };
    let halfway = |from: f32, to: f32| {
        let logs = (f64::from(from).ln() as f32, f64::from(to).ln() as f32);
        f64::from(logs.0 + 0.5 * (logs.1 - logs.0)).exp() as f32
    };
    let steps = table.levels.iter().zip(&table.next_levels).enumerate();
    steps
        .map(|(step, (&from, &to))| match sampler {
            _ if to <= 0.0 => None,
            SamplerKind::Heun => Some(Midpoint {
                timestep: *table.timesteps.get(step + 1)?,
                level: to,
            }),
            SamplerKind::Dpm2 | SamplerKind::DpmPpSde => Some(at(halfway(from, to))),
            SamplerKind::Dpm2Ancestral | SamplerKind::DpmPp2SAncestral => {
                let (down, _) = levels::ancestral(from, to);
                (down > 0.0).then(|| at(halfway(from, down)))
            }
            _ => None,
        })
        .collect()
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
    if spec.convention == Convention::Diffusers && spec.sampler == SamplerKind::Lcm {
        return LCM_STEPS.min(all);
    }
    let one_short = spec.convention == Convention::Diffusers
        && matches!(
            spec.sampler,
            SamplerKind::DpmPp2M | SamplerKind::DpmPp2MSde | SamplerKind::UniPc
        )
        && spec.schedule == ScheduleKind::Normal
        && spacing_of(spec, training) != Spacing::Trailing;
    // diffusers' DPM++ takes one timestep more than it uses; with none to spare, two steps would stand at one noise level.
    let one_short =
        one_short || spec.convention == Convention::KDiffusion && levels::drops_last(spec.sampler);
    if one_short { all - 1 } else { all }
}

/// Steps that latent consistency models are distilled with (`original_inference_steps`).
const LCM_STEPS: usize = 50;

/// k-diffusion's samplers over any of the schedules.
fn kdiffusion(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let table = training.sigmas(Convention::KDiffusion);
    let levels = levels::of_schedule(spec, training, spacing_of(spec, training));
    let timesteps = levels
        .iter()
        .map(|sigma| table.timestep(f64::from(*sigma)) as f32)
        .collect();
    let scale = levels.first().copied().unwrap_or(1.0);
    let mut table = StepTable::of_sigmas(LatentSpace::VarianceExploding, timesteps, levels, scale);
    if let (SamplerKind::UniPc, Some(last)) = (spec.sampler, table.next_levels.last_mut()) {
        // ComfyUI's UniPC ends where its logarithms still are finite.
        *last = UNIPC_LAST;
    }
    Ok(table)
}

/// Noise level at which ComfyUI's UniPC ends.
const UNIPC_LAST: f32 = 0.001;

/// EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler and LMSDiscreteScheduler.
fn sigmas_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    if matches!(spec.sampler, SamplerKind::Heun | SamplerKind::Lms) && training.zero_snr() {
        return Err(DiffusionError::Unsupported {
            what: format!(
                "{} in the diffusers convention on a model with zero terminal SNR",
                spec.sampler.label()
            ),
            remedy: "diffusers' scheduler ignores rescale_betas_zero_snr; choose the kdiffusion convention or another sampler",
        });
    }
    if spec.sampler == SamplerKind::EulerAncestral && spec.schedule != ScheduleKind::Normal {
        // EulerAncestralDiscreteScheduler has no use_karras_sigmas: it drops the key and runs the normal schedule.
        return Err(DiffusionError::Unsupported {
            what: format!(
                "Euler a with the {} schedule in the diffusers convention",
                spec.schedule.label()
            ),
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
    if spec.schedule != ScheduleKind::Normal {
        // Between the levels that the spacing reaches, not the model's.
        let (greatest, least) = (
            sigmas.first().copied().unwrap_or(1.0),
            sigmas.last().copied().unwrap_or(1.0),
        );
        sigmas = levels::between_diffusers(spec, least, greatest)?;
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

/// DPMSolverMultistepScheduler, also on the stochastic equation, and UniPCMultistepScheduler.
fn dpm_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    let (steps, all) = (spec.steps, training.train_steps());
    let table = training.sigmas(Convention::Diffusers);
    let (timesteps, levels) = match spec.schedule {
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
        ScheduleKind::Karras => {
            let (least, greatest) = table.range();
            let sigmas = karras(f64::from(least), f64::from(greatest), steps);
            let whole = |sigma: &f64| {
                let timestep = table.timestep(*sigma);
                // Rounded, except for the cosine betas, where it is cut off.
                let cosine = training.beta_schedule() == Some(BetaSchedule::SquaredCosine);
                if cosine && spec.sampler != SamplerKind::UniPc {
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
        _ => {
            let (least, greatest) = table.range();
            let sigmas = levels::between_diffusers(spec, f64::from(least), f64::from(greatest))?;
            // Cut off here, not rounded.
            let whole = |sigma: &f64| table.timestep(*sigma).trunc() as f32;
            (
                sigmas.iter().map(whole).collect(),
                sigmas.iter().map(|sigma| *sigma as f32).collect(),
            )
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
        midpoints: Vec::new(),
        initial_scale: 1.0,
    })
}

/// LCMScheduler: of the timesteps that the model was distilled with, evenly as many as there are steps.
fn lcm_diffusers(spec: &SamplerSpec, training: &TrainingSchedule) -> Result<StepTable> {
    if spec.schedule != ScheduleKind::Normal || spec.spacing.is_some() {
        return Err(DiffusionError::Unsupported {
            what: "LCM in the diffusers convention with a schedule or spacing of your choice"
                .into(),
            remedy: "it has timesteps of its own; choose Normal without a spacing, or the kdiffusion convention",
        });
    }
    let (steps, all) = (spec.steps, training.train_steps());
    let original = LCM_STEPS.min(all);
    let stride = all / original;
    let timesteps: Vec<f32> = (0..steps)
        .map(|step| {
            // numpy's linspace without its end, cut off, counted from the noisiest.
            let index = (step as f64 * (original as f64 / steps as f64)) as usize;
            ((original - index.min(original - 1)) * stride - 1) as f32
        })
        .collect();
    let alphas = training.alphas_cumprod();
    let level = |timestep: &f32| alphas.get(*timestep as usize).copied().unwrap_or(1.0);
    let levels: Vec<f32> = timesteps.iter().map(level).collect();
    if training.prediction() == PredictionType::Epsilon && levels.contains(&0.0) {
        return Err(DiffusionError::Unsupported {
            what: "LCM on a noise-predicting model from a timestep of zero signal".into(),
            remedy: "noise prediction says nothing about the picture there; choose the kdiffusion convention",
        });
    }
    let last = levels.last().copied();
    let next_levels = levels.iter().skip(1).copied().chain(last).collect();
    Ok(StepTable {
        space: LatentSpace::VariancePreserving,
        timesteps,
        levels,
        next_levels,
        midpoints: Vec::new(),
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
        midpoints: Vec::new(),
        initial_scale: 1.0,
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
