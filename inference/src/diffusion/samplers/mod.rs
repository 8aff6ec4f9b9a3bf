//! Denoising as a state machine: it says what the network must see, takes the network's prediction, and steps.
//!
//! Nothing here calls a model, so the engine may pause, branch or store a run between any two predictions.

mod steps;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::bits;
use super::error::{DiffusionError, Result};
use super::noise::TorchCpuRng;
use super::schedule::{PredictionType, TrainingSchedule};
use super::spec::{SamplerKind, SamplerSpec};
use super::table::{LatentSpace, StepTable};
use steps::{Prediction, Stride};

/// One question to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Eval {
    /// The latents as the network must see them, already scaled; as many values as the latents.
    pub input: Vec<f32>,
    /// The timestep it must be told, on the scale of its training; not always whole.
    pub timestep: f32,
}

/// What an answer of the network led to.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDone {
    /// False only after the first of Heun's two evaluations.
    pub outer_step_finished: bool,
    /// The clean picture's latents as predicted from here, before the VAE factor; for previews.
    pub denoised: Vec<f32>,
}

/// Between Heun's two evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeunHalf {
    /// Where the Euler step led.
    #[serde(with = "bits::f32_vec")]
    ahead: Vec<f32>,
    /// The derivative at the step's start.
    #[serde(with = "bits::f32_vec")]
    derivative: Vec<f32>,
}

/// A picture being denoised. Serialisable at any moment; restored, it goes on to the very same latents.
///
/// The order of calls is `next_eval`, network, `give`, and again, until `next_eval` gives nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredDenoising", into = "StoredDenoising")]
pub struct Denoising {
    sampler: SamplerKind,
    prediction: PredictionType,
    table: StepTable,
    rng: TorchCpuRng,
    /// Outer steps done.
    done: usize,
    latents: Vec<f32>,
    /// The picture as predicted last; DPM++ 2M also steps by it.
    denoised: Option<Vec<f32>>,
    half: Option<HeunHalf>,
}

#[derive(Serialize, Deserialize)]
struct StoredDenoising {
    sampler: SamplerKind,
    prediction: PredictionType,
    table: StepTable,
    rng: TorchCpuRng,
    done: usize,
    #[serde(with = "bits::f32_vec")]
    latents: Vec<f32>,
    #[serde(with = "bits::f32_vec_option")]
    denoised: Option<Vec<f32>>,
    half: Option<HeunHalf>,
}

impl From<Denoising> for StoredDenoising {
    fn from(run: Denoising) -> Self {
        let Denoising {
            sampler,
            prediction,
            table,
            rng,
            done,
            latents,
            denoised,
            half,
        } = run;
        Self {
            sampler,
            prediction,
            table,
            rng,
            done,
            latents,
            denoised,
            half,
        }
    }
}

impl TryFrom<StoredDenoising> for Denoising {
    type Error = DiffusionError;

    fn try_from(stored: StoredDenoising) -> Result<Self> {
        let StoredDenoising {
            sampler,
            prediction,
            table,
            rng,
            done,
            latents,
            denoised,
            half,
        } = stored;
        let (steps, count) = (table.timesteps.len(), latents.len());
        if steps == 0
            || table.levels.len() != steps
            || table.next_levels.len() != steps
            || done > steps
        {
            return Err(DiffusionError::DamagedState(
                "its steps do not fit its table",
            ));
        }
        let half_fits = half
            .as_ref()
            .is_none_or(|half| half.ahead.len() == count && half.derivative.len() == count);
        if !half_fits
            || denoised
                .as_ref()
                .is_some_and(|denoised| denoised.len() != count)
        {
            return Err(DiffusionError::DamagedState("its buffers differ in length"));
        }
        if half.is_some() && (sampler != SamplerKind::Heun || done + 1 >= steps) {
            return Err(DiffusionError::DamagedState(
                "it stands in the middle of a step that has no middle",
            ));
        }
        if sampler == SamplerKind::DpmPp2M && done > 0 && denoised.is_none() {
            return Err(DiffusionError::DamagedState(
                "it lacks the prediction that its next step needs",
            ));
        }
        Ok(Self {
            sampler,
            prediction,
            table,
            rng,
            done,
            latents,
            denoised,
            half,
        })
    }
}

impl Denoising {
    /// Starts a picture from nothing but noise.
    ///
    /// `noise` has unit variance and the order and size of the latents (NCHW); it is scaled here as the convention wants.
    /// `rng` gives the noise of ancestral samplers: pass the generator as the initial draw left it, or a fresh one if the
    /// noise came from elsewhere. Each image of a batch has a generator of its own.
    ///
    /// # Errors
    /// As [`StepTable::new`].
    pub fn new(
        spec: &SamplerSpec,
        training: &TrainingSchedule,
        noise: Vec<f32>,
        rng: TorchCpuRng,
    ) -> Result<Self> {
        let table = StepTable::new(spec, training)?;
        let mut latents = noise;
        for value in &mut latents {
            *value *= table.initial_scale;
        }
        let prediction = training.prediction();
        Ok(Self {
            sampler: spec.sampler,
            prediction,
            table,
            rng,
            done: 0,
            latents,
            denoised: None,
            half: None,
        })
    }

    /// What the network must see now; nothing when all steps are done.
    pub fn next_eval(&self) -> Option<Eval> {
        let (latents, stride) = match &self.half {
            Some(half) => (&half.ahead, self.stride(self.done + 1)?),
            None => (&self.latents, self.stride(self.done)?),
        };
        let input = match self.table.space {
            LatentSpace::VarianceExploding => {
                let scale = (stride.from * stride.from + 1.0).sqrt();
                latents.iter().map(|value| value / scale).collect()
            }
            LatentSpace::VariancePreserving => latents.clone(),
        };
        Some(Eval {
            input,
            timestep: stride.timestep,
        })
    }

    /// Takes the network's raw prediction (epsilon or v, after guidance) for the last [`Self::next_eval`], and steps.
    ///
    /// # Errors
    /// [`DiffusionError::Finished`] after the last step, [`DiffusionError::Length`] or [`DiffusionError::NotFinite`] for an
    /// unusable prediction; the state is then unchanged.
    pub fn give(&mut self, model_output: &[f32]) -> Result<StepDone> {
        let total = self.total_steps();
        let stride = self
            .stride(self.done)
            .ok_or(DiffusionError::Finished(total))?;
        if model_output.len() != self.latents.len() {
            let (got, want) = (model_output.len(), self.latents.len());
            return Err(DiffusionError::Length {
                what: "the model's prediction",
                got,
                want,
            });
        }
        if let Some((index, value)) = model_output
            .iter()
            .enumerate()
            .find(|(_, value)| !value.is_finite())
        {
            return Err(DiffusionError::NotFinite {
                step: self.done,
                index,
                value: *value,
            });
        }
        let prediction = Prediction {
            kind: self.prediction,
            values: model_output,
        };
        let (denoised, finished) = match self.sampler {
            SamplerKind::Euler => {
                let denoised = prediction.denoise_exploding(&self.latents, stride.from);
                steps::euler(&mut self.latents, &denoised, stride.from, stride.to);
                (denoised, true)
            }
            SamplerKind::EulerAncestral => {
                let denoised = prediction.denoise_exploding(&self.latents, stride.from);
                steps::euler_ancestral(&mut self.latents, &denoised, stride, &mut self.rng);
                (denoised, true)
            }
            SamplerKind::Heun => self.give_heun(&prediction, stride),
            SamplerKind::DpmPp2M => {
                let denoised = match self.table.space {
                    LatentSpace::VarianceExploding => {
                        prediction.denoise_exploding(&self.latents, stride.from)
                    }
                    LatentSpace::VariancePreserving => {
                        prediction.denoise_preserving_sigma(&self.latents, stride.from)
                    }
                };
                let before = self.done.checked_sub(1).and_then(|step| self.stride(step));
                let history = before
                    .zip(self.denoised.as_deref())
                    .map(|(stride, old)| (stride.from, old));
                steps::dpmpp_2m(
                    &mut self.latents,
                    &denoised,
                    stride,
                    history,
                    self.table.space,
                );
                (denoised, true)
            }
            SamplerKind::Ddim => (steps::ddim(&mut self.latents, &prediction, stride), true),
        };
        if finished {
            self.done += 1;
        }
        self.denoised = Some(denoised.clone());
        Ok(StepDone {
            outer_step_finished: finished,
            denoised,
        })
    }

    fn give_heun(&mut self, prediction: &Prediction<'_>, stride: Stride) -> (Vec<f32>, bool) {
        if let Some(half) = self.half.take() {
            let denoised = prediction.denoise_exploding(&half.ahead, stride.to);
            let second = steps::derivative(&half.ahead, &denoised, stride.to);
            let length = stride.to - stride.from;
            for ((value, first), second) in
                self.latents.iter_mut().zip(&half.derivative).zip(second)
            {
                *value += (first + second) / 2.0 * length;
            }
            return (denoised, true);
        }
        let denoised = prediction.denoise_exploding(&self.latents, stride.from);
        if stride.to == 0.0 || self.done + 1 >= self.total_steps() {
            steps::euler(&mut self.latents, &denoised, stride.from, stride.to);
            return (denoised, true);
        }
        let derivative = steps::derivative(&self.latents, &denoised, stride.from);
        let mut ahead = self.latents.clone();
        steps::euler(&mut ahead, &denoised, stride.from, stride.to);
        self.half = Some(HeunHalf { ahead, derivative });
        (denoised, false)
    }

    fn stride(&self, step: usize) -> Option<Stride> {
        Some(Stride {
            timestep: *self.table.timesteps.get(step)?,
            from: *self.table.levels.get(step)?,
            to: *self.table.next_levels.get(step)?,
        })
    }

    /// The latents after the last finished outer step, in the convention's own space (see [`LatentSpace`]).
    pub fn latents(&self) -> &[f32] {
        &self.latents
    }

    /// The picture's latents before the VAE factor: the result when finished, else the last prediction of it, so that a
    /// run which is stopped early still has a picture to show.
    pub fn final_latents(&self) -> Vec<f32> {
        match &self.denoised {
            Some(denoised) if !self.is_finished() => denoised.clone(),
            _ => self.latents.clone(),
        }
    }

    /// The form in which [`Self::latents`] are held.
    pub fn space(&self) -> LatentSpace {
        self.table.space
    }

    /// The plan: timesteps and noise levels.
    pub fn table(&self) -> &StepTable {
        &self.table
    }

    /// Outer steps finished.
    pub fn step_index(&self) -> usize {
        self.done
    }

    /// Outer steps in all.
    pub fn total_steps(&self) -> usize {
        self.table.steps()
    }

    /// Questions to the network in all: one per outer step, for Heun two except in the last.
    pub fn total_evals(&self) -> usize {
        let steps = self.total_steps();
        if self.sampler == SamplerKind::Heun {
            (2 * steps).saturating_sub(1)
        } else {
            steps
        }
    }

    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.done >= self.total_steps()
    }
}
