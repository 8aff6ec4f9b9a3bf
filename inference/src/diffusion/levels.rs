//! How noise levels are spread: the schedules of k-diffusion, AUTOMATIC1111 and ComfyUI, and timesteps by spacing.

use super::beta::quantile;
use super::error::{DiffusionError, Result};
use super::schedule::{TrainingSchedule, linspace_f32};
use super::spec::{Convention, SamplerKind, SamplerSpec, ScheduleKind, Spacing};

/// Both parameters of the beta schedule's distribution, in all programs.
const BETA_SHAPE: f64 = 0.6;

/// Samplers whose schedule has one level more than steps, the last before zero left out: DPM2 and DPM2 a in AUTOMATIC1111 and
/// ComfyUI, DPM++ 3M SDE in the first, UniPC in the second.
pub(super) fn drops_last(sampler: SamplerKind) -> bool {
    matches!(
        sampler,
        SamplerKind::Dpm2
            | SamplerKind::Dpm2Ancestral
            | SamplerKind::DpmPp3MSde
            | SamplerKind::UniPc
    )
}

/// Where an ancestral step goes down to, and the deviation of the noise that is added there (eta 1). In single precision and in
/// the references' order: at high noise levels the difference keeps only the digits that theirs has.
pub(super) fn ancestral(from: f32, to: f32) -> (f32, f32) {
    let (from2, to2) = (from * from, to * to);
    let up = (to2 * (from2 - to2) / from2).max(0.0).sqrt().min(to);
    let down = (to2 - up * up).max(0.0).sqrt();
    (down, up)
}

/// A noise level as k-diffusion's DPM++ SDE has it back from its logarithm. In single precision it is another: of 4518 by up to two thousandths, by which its Brownian
/// path is cut elsewhere.
pub(super) fn through_logarithm(level: f32) -> f32 {
    f64::from(f64::from(level).ln() as f32).exp() as f32
}

/// The noise levels of k-diffusion's samplers, noisiest first, without the closing zero. Schedules that pick from the model's own
/// levels may give one more or, for the beta schedule, fewer than asked for.
pub(super) fn of_schedule(
    spec: &SamplerSpec,
    training: &TrainingSchedule,
    spacing: Spacing,
) -> Vec<f32> {
    let drops = drops_last(spec.sampler);
    let mut levels = spread(
        spec.schedule,
        training,
        spacing,
        spec.steps + usize::from(drops),
    );
    if drops && levels.len() > 1 {
        levels.pop();
    }
    levels
}

fn spread(
    schedule: ScheduleKind,
    training: &TrainingSchedule,
    spacing: Spacing,
    steps: usize,
) -> Vec<f32> {
    let table = training.sigmas(Convention::KDiffusion);
    let (least, greatest) = table.range();
    let (least64, greatest64) = (f64::from(least), f64::from(greatest));
    let all = training.train_steps();
    let last = (all - 1) as f32;
    let own = |index: usize| table.values.get(index).copied().unwrap_or(greatest);
    match schedule {
        ScheduleKind::Normal => {
            let timesteps = match spacing {
                Spacing::Linspace => linspace_f32(last, 0.0, steps),
                Spacing::Leading => leading(all / steps, steps, training.steps_offset()),
                Spacing::Trailing => trailing(all, steps),
            };
            timesteps
                .into_iter()
                .map(|timestep| table.at_log(timestep))
                .collect()
        }
        ScheduleKind::Karras => karras(least64, greatest64, steps)
            .into_iter()
            .map(|sigma| sigma as f32)
            .collect(),
        ScheduleKind::Exponential => exponential(least64, greatest64, steps)
            .into_iter()
            .map(|sigma| sigma as f32)
            .collect(),
        ScheduleKind::SgmUniform => {
            let mut timesteps = linspace_f32(last, 0.0, steps + 1);
            timesteps.truncate(steps);
            timesteps
                .into_iter()
                .map(|timestep| table.at_log(timestep))
                .collect()
        }
        ScheduleKind::Simple => (0..steps)
            .map(|step| {
                let back = 1 + (step as f64 * (all as f64 / steps as f64)) as usize;
                own(all.saturating_sub(back))
            })
            .collect(),
        ScheduleKind::DdimUniform => {
            let stride = (all / steps).max(1);
            let mut levels: Vec<f32> = (1..all).step_by(stride).map(own).collect();
            levels.reverse();
            levels
        }
        ScheduleKind::Beta => {
            let mut levels: Vec<f32> = Vec::with_capacity(steps);
            let mut before = None;
            for step in 0..steps {
                let share = quantile(1.0 - step as f64 / steps as f64, BETA_SHAPE);
                let timestep = (share * f64::from(last)).round_ties_even() as usize;
                if before != Some(timestep) {
                    levels.push(own(timestep));
                }
                before = Some(timestep);
            }
            levels
        }
    }
}

/// The schedules that diffusers' sigma-based schedulers spread between two levels.
pub(super) fn between_diffusers(spec: &SamplerSpec, least: f64, greatest: f64) -> Result<Vec<f64>> {
    let steps = spec.steps;
    match spec.schedule {
        ScheduleKind::Karras => Ok(karras(least, greatest, steps)),
        ScheduleKind::Exponential => Ok(exponential(least, greatest, steps)),
        ScheduleKind::Beta => Ok((0..steps)
            .map(|step| {
                let place = step as f64 / steps.saturating_sub(1).max(1) as f64;
                least + quantile(1.0 - place, BETA_SHAPE) * (greatest - least)
            })
            .collect()),
        ScheduleKind::Normal
        | ScheduleKind::SgmUniform
        | ScheduleKind::Simple
        | ScheduleKind::DdimUniform => Err(DiffusionError::Unsupported {
            what: format!(
                "the {} schedule in the diffusers convention",
                spec.schedule.label()
            ),
            remedy: "diffusers has spacings instead (trailing is nearest); choose Normal with a spacing, or the kdiffusion convention",
        }),
    }
}

/// Evenly in the logarithm, falling from `greatest` to `least`.
fn exponential(least: f64, greatest: f64, steps: usize) -> Vec<f64> {
    let (from, to) = (greatest.ln(), least.ln());
    let places = steps.saturating_sub(1).max(1) as f64;
    (0..steps)
        .map(|step| (from + (to - from) * step as f64 / places).exp())
        .collect()
}

/// Karras et al. (2022), equation 5, rho 7, falling from `greatest` to `least`; without the closing zero.
pub(super) fn karras(least: f64, greatest: f64, steps: usize) -> Vec<f64> {
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
pub(super) fn linspace_falling_f64(all: usize, count: usize) -> impl Iterator<Item = f64> {
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

pub(super) fn linspace_falling(all: usize, count: usize) -> Vec<f32> {
    linspace_falling_f64(all, count)
        .map(|timestep| timestep as f32)
        .collect()
}

pub(super) fn leading(stride: usize, count: usize, offset: usize) -> Vec<f32> {
    (0..count)
        .rev()
        .map(|index| (index * stride + offset) as f32)
        .collect()
}

/// numpy's `arange(all, 0, -all / count)`, rounded, less one; exactly `count` of them, where numpy's rounding of the stride
/// sometimes makes one more.
pub(super) fn trailing(all: usize, count: usize) -> Vec<f32> {
    let start = all as f64;
    let step = (start - start / count as f64) - start;
    (0..count)
        .map(|index| ((start + index as f64 * step).round_ties_even() - 1.0).max(0.0) as f32)
        .collect()
}
