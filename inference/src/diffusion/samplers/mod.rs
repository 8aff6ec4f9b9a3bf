//! Denoising as a state machine: it says what the network must see, takes the network's prediction, and steps.
//!
//! Nothing here calls a model, so the engine may pause, branch or store a run between any two predictions.

mod ahead;
mod outline;
mod packed;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod unipc;

use serde::{Deserialize, Serialize};

use super::bits;
use super::brownian::BrownianPath;
use super::error::{DiffusionError, Result};
use super::levels::{ancestral, through_logarithm};
use super::schedule::{PredictionType, TrainingSchedule};
use super::source::{NoiseRng, NoiseSource};
use super::spec::{Convention, SamplerKind, SamplerSpec};
use super::table::{LatentSpace, Midpoint, StepTable};
pub use ahead::{DrawnNoise, NoiseAhead};
pub use outline::{Mixture, Outline, Question, RunVector};
use state::StoredDenoising;
use steps::{Prediction, Stride};

/// Derivatives that linear multistep looks back upon.
const LMS_ORDER: usize = 4;

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
    /// False only after the first of two evaluations of one step.
    pub outer_step_finished: bool,
    /// The clean picture's latents as predicted from here, before the VAE factor; for previews.
    pub denoised: Vec<f32>,
}

/// Which parts of a picture are drawn anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repaint {
    /// For each value of the latents: 1 is drawn anew, 0 is kept, anything between is mixed.
    #[serde(with = "bits::f32_vec")]
    pub mask: Vec<f32>,
    /// The latents to keep, in the network's scale.
    #[serde(with = "bits::f32_vec")]
    pub init: Vec<f32>,
    /// The noise that the run began with, of unit variance.
    #[serde(with = "bits::f32_vec")]
    pub noise: Vec<f32>,
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Noise of unit variance in the order and size of the latents (NCHW); scaled here as the convention wants.
    pub noise: Vec<f32>,
    /// Draws the noise of later steps: as the initial draw left it, or fresh if the noise came from elsewhere.
    pub rng: NoiseRng,
    /// Seed and source of samplers whose noise is a path over noise levels.
    pub seed: (u64, NoiseSource),
    /// Latents to begin from rather than from nothing, and how much of the way is gone anew: above 0 up to 1.
    pub init: Option<(Vec<f32>, f32)>,
    /// Which parts are drawn anew; all if there is none.
    pub mask: Option<Vec<f32>>,
}

impl Beginning {
    /// From nothing but a seed's noise; `count` values of latents.
    pub fn of_seed(source: NoiseSource, seed: u64, count: usize) -> Self {
        let mut rng = NoiseRng::new(source, seed);
        Self {
            noise: rng.randn(count),
            rng,
            seed: (seed, source),
            init: None,
            mask: None,
        }
    }
}

/// Between two evaluations of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Half {
    /// The latents that the network is asked about.
    #[serde(with = "bits::f32_vec")]
    ahead: Vec<f32>,
    /// What the first evaluation gave: for Heun the derivative, else the predicted picture.
    #[serde(with = "bits::f32_vec")]
    first: Vec<f32>,
}

/// Noise that samplers add on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StepNoise {
    rng: NoiseRng,
    path: Option<BrownianPath>,
    /// What the next evaluation needs, drawn while the network was at work.
    #[serde(skip)]
    drawn: Option<DrawnNoise>,
}

/// A picture being denoised. Serialisable at any moment; restored, it goes on to the very same latents.
///
/// The order of calls is `next_eval`, network, `give`, and again, until `next_eval` gives nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredDenoising", into = "StoredDenoising")]
pub struct Denoising {
    sampler: SamplerKind,
    convention: Convention,
    prediction: PredictionType,
    table: StepTable,
    noise: StepNoise,
    /// Outer steps done.
    done: usize,
    latents: Vec<f32>,
    /// The picture as predicted last.
    denoised: Option<Vec<f32>>,
    half: Option<Half>,
    /// What multistep methods keep of earlier steps, the latest first: predicted pictures, for LMS derivatives; UniPC
    /// keeps its corrected latents before them.
    kept: Vec<Vec<f32>>,
    repaint: Option<Repaint>,
}

impl Denoising {
    /// Starts a picture.
    ///
    /// # Errors
    /// As [`StepTable::new`]; a strength that leaves no step to do; buffers of different lengths.
    pub fn new(
        spec: &SamplerSpec,
        training: &TrainingSchedule,
        beginning: Beginning,
    ) -> Result<Self> {
        let mut table = StepTable::new(spec, training)?;
        let Beginning {
            noise,
            rng,
            seed,
            init,
            mask,
        } = beginning;
        let count = noise.len();
        let others = [
            (
                "the latents to begin from",
                init.as_ref().map(|(l, _)| l.len()),
            ),
            ("the mask", mask.as_ref().map(Vec::len)),
        ];
        for (what, length) in others {
            if let Some(got) = length.filter(|length| *length != count) {
                return Err(DiffusionError::Length {
                    what,
                    got,
                    want: count,
                });
            }
        }
        let mut latents = noise.clone();
        if let Some((init, strength)) = &init {
            let skipped = first_step(spec.convention, table.steps(), *strength)?;
            table.skip(skipped);
            let level = table.levels.first().copied().unwrap_or(0.0);
            let (mut signal, mut spread) = table.signal_and_noise(spec.sampler, level);
            // diffusers' inpainting at full strength begins from nothing but noise.
            if spec.convention == Convention::Diffusers && mask.is_some() && *strength >= 1.0 {
                (signal, spread) = (0.0, table.initial_scale);
            }
            for (x, init) in latents.iter_mut().zip(init) {
                *x = signal * init + spread * *x;
            }
        } else {
            for value in &mut latents {
                *value *= table.initial_scale;
            }
        }
        let stochastic = matches!(
            spec.sampler,
            SamplerKind::DpmPpSde | SamplerKind::DpmPp2MSde | SamplerKind::DpmPp3MSde
        );
        let path = (stochastic && spec.convention == Convention::KDiffusion).then(|| {
            let positive = table.levels.iter().chain(&table.next_levels).copied();
            let least = positive
                .filter(|level| *level > 0.0)
                .fold(f32::MAX, f32::min);
            let greatest = table.levels.iter().copied().fold(0.0, f32::max);
            BrownianPath::new(seed.0, seed.1, least, greatest)
        });
        let repaint = match (mask, init) {
            (Some(mask), Some((init, _))) => Some(Repaint { mask, init, noise }),
            _ => None,
        };
        Ok(Self {
            sampler: spec.sampler,
            convention: spec.convention,
            prediction: training.prediction(),
            table,
            noise: StepNoise {
                rng,
                path,
                drawn: None,
            },
            done: 0,
            latents,
            denoised: None,
            half: None,
            kept: Vec::new(),
            repaint,
        })
    }

    /// What the network must see now; nothing when all steps are done.
    pub fn next_eval(&self) -> Option<Eval> {
        let stride = self.stride(self.done)?;
        let (latents, level, timestep) = match (&self.half, self.midpoint()) {
            (Some(half), Some(middle)) => (&half.ahead, middle.level, middle.timestep),
            _ => (&self.latents, stride.from, stride.timestep),
        };
        let input = match self.table.space {
            LatentSpace::VarianceExploding => {
                let scale = (level * level + 1.0).sqrt();
                latents.iter().map(|value| value / scale).collect()
            }
            LatentSpace::VariancePreserving => latents.clone(),
        };
        Some(Eval { input, timestep })
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
        let network = Prediction {
            kind: self.prediction,
            values: model_output,
        };
        let denoised = self.denoise(&network, stride);
        let noise = self.draw_noise();
        let finished = if self.sampler.asks_twice() {
            self.step_in_halves(&denoised, stride, &noise)
        } else {
            self.step_at_once(&denoised, &network, stride, &noise);
            true
        };
        if finished {
            self.done += 1;
            self.keep_unmasked(stride);
        }
        self.denoised = Some(denoised.clone());
        Ok(StepDone {
            outer_step_finished: finished,
            denoised,
        })
    }

    /// The clean latents that the network predicts, with what is to be kept of a picture put back.
    fn denoise(&self, network: &Prediction<'_>, stride: Stride) -> Vec<f32> {
        let (latents, level) = match (&self.half, self.midpoint()) {
            (Some(half), Some(middle)) => (&half.ahead, middle.level),
            _ => (&self.latents, stride.from),
        };
        let mut denoised = match self.table.space {
            LatentSpace::VarianceExploding => network.denoise_exploding(latents, level),
            LatentSpace::VariancePreserving
                if StepTable::holds_alphas(self.sampler, self.table.space) =>
            {
                network.denoise_preserving_alpha(latents, level)
            }
            LatentSpace::VariancePreserving => network.denoise_preserving_sigma(latents, level),
        };
        // AUTOMATIC1111 mixes what is kept into every prediction, diffusers into the latents after each step.
        if let (Some(repaint), Convention::KDiffusion) = (&self.repaint, self.convention) {
            repaint.mix(&mut denoised, &repaint.init);
        }
        denoised
    }

    /// Puts back what is kept of a picture after a step.
    fn keep_unmasked(&mut self, stride: Stride) {
        let Some(repaint) = &self.repaint else {
            return;
        };
        let last = self.done >= self.table.steps();
        if last {
            repaint.mix(&mut self.latents, &repaint.init);
        } else if self.convention == Convention::Diffusers {
            let next = self.table.levels.get(self.done).copied();
            let level = next.unwrap_or(stride.to);
            let (signal, spread) = self.table.signal_and_noise(self.sampler, level);
            let noisy: Vec<f32> = repaint
                .init
                .iter()
                .zip(&repaint.noise)
                .map(|(init, noise)| signal * init + spread * noise)
                .collect();
            repaint.mix(&mut self.latents, &noisy);
        }
    }

    /// Methods that ask the network twice, with the noise of [`Self::noise_span`]. Gives whether the step is done.
    fn step_in_halves(&mut self, denoised: &[f32], stride: Stride, noise: &[f32]) -> bool {
        let (from, to) = (stride.from, stride.to);
        let Some(middle) = self.midpoint() else {
            steps::euler(&mut self.latents, denoised, from, to);
            return true;
        };
        let Some(half) = self.half.take() else {
            let mut ahead = self.latents.clone();
            let first = match self.sampler {
                SamplerKind::Heun => {
                    steps::euler(&mut ahead, denoised, from, to);
                    steps::derivative(&self.latents, denoised, from)
                }
                SamplerKind::DpmPp2SAncestral => {
                    steps::dpm_step(&mut ahead, denoised, from, middle.level);
                    denoised.to_vec()
                }
                SamplerKind::DpmPpSde => {
                    let from = through_logarithm(from);
                    steps::sde_half(&mut ahead, denoised, from, middle.level, noise);
                    denoised.to_vec()
                }
                _ => {
                    steps::euler(&mut ahead, denoised, from, middle.level);
                    denoised.to_vec()
                }
            };
            self.half = Some(Half { ahead, first });
            return false;
        };
        match self.sampler {
            SamplerKind::Heun => {
                let second = steps::derivative(&half.ahead, denoised, middle.level);
                let length = to - from;
                for ((x, first), second) in self.latents.iter_mut().zip(&half.first).zip(second) {
                    *x += (first + second) / 2.0 * length;
                }
            }
            SamplerKind::DpmPp2SAncestral => {
                let (down, up) = ancestral(from, to);
                steps::dpm_step(&mut self.latents, denoised, from, down);
                steps::add(&mut self.latents, noise, f64::from(up));
            }
            SamplerKind::DpmPpSde => {
                // With r = 1/2 the first prediction drops out of the mixture.
                let (from, to) = (through_logarithm(from), through_logarithm(to));
                steps::sde_half(&mut self.latents, denoised, from, to, noise);
            }
            SamplerKind::Dpm2Ancestral => {
                let (down, up) = ancestral(from, to);
                let slope = steps::derivative(&half.ahead, denoised, middle.level);
                steps::add(&mut self.latents, &slope, f64::from(down - from));
                steps::add(&mut self.latents, noise, f64::from(up));
            }
            _ => {
                let slope = steps::derivative(&half.ahead, denoised, middle.level);
                steps::add(&mut self.latents, &slope, f64::from(to - from));
            }
        }
        true
    }

    /// Methods that ask the network once, with the noise of [`Self::noise_span`].
    fn step_at_once(
        &mut self,
        denoised: &[f32],
        network: &Prediction<'_>,
        stride: Stride,
        noise: &[f32],
    ) {
        let (from, to) = (stride.from, stride.to);
        let space = self.table.space;
        let before = |back: usize| {
            let step = self.done.checked_sub(back)?;
            self.table.levels.get(step).copied()
        };
        let (level1, level2) = (before(1), before(2));
        match self.sampler {
            SamplerKind::EulerAncestral => {
                let (down, up) = ancestral(from, to);
                steps::euler(&mut self.latents, denoised, from, down);
                if to > 0.0 {
                    steps::add(&mut self.latents, noise, f64::from(up));
                }
            }
            SamplerKind::DpmPp2M => {
                let history = level1.zip(self.kept.first().map(Vec::as_slice));
                steps::dpmpp_2m(&mut self.latents, denoised, stride, history, space);
                self.keep(denoised.to_vec(), 1);
            }
            SamplerKind::DpmPp2MSde => {
                let history = level1.zip(self.kept.first().map(Vec::as_slice));
                steps::dpmpp_2m_sde(&mut self.latents, denoised, stride, history, noise, space);
                self.keep(denoised.to_vec(), 1);
            }
            SamplerKind::DpmPp3MSde => {
                let history: Vec<(f32, &[f32])> = [level1, level2]
                    .into_iter()
                    .zip(&self.kept)
                    .filter_map(|(level, picture)| Some((level?, picture.as_slice())))
                    .collect();
                steps::dpmpp_3m_sde(&mut self.latents, denoised, stride, &history, noise);
                self.keep(denoised.to_vec(), 2);
            }
            SamplerKind::Lms => {
                self.keep(steps::derivative(&self.latents, denoised, from), LMS_ORDER);
                let derivatives: Vec<&[f32]> = self.kept.iter().map(Vec::as_slice).collect();
                let levels: Vec<f32> = (0..derivatives.len()).filter_map(before_of(self)).collect();
                steps::lms(&mut self.latents, &derivatives, &levels, to);
            }
            SamplerKind::Ddim => {
                let said = (self.repaint.is_none() || self.convention == Convention::Diffusers)
                    .then_some(network);
                steps::ddim(&mut self.latents, denoised, said, stride);
            }
            SamplerKind::UniPc => self.step_unipc(denoised, stride),
            SamplerKind::Lcm => self.step_lcm(denoised, stride, noise),
            _ => steps::euler(&mut self.latents, denoised, from, to),
        }
    }

    /// UniPC: the step before is corrected by what the network now says, then the next one is predicted.
    fn step_unipc(&mut self, denoised: &[f32], stride: Stride) {
        let total = self.table.steps();
        let variant = match self.convention {
            Convention::KDiffusion => unipc::Variant {
                order: total.saturating_sub(1).clamp(1, 3),
                exponential: false,
            },
            Convention::Diffusers => unipc::Variant {
                order: 2,
                exponential: true,
            },
        };
        // Orders grow with the history and fall towards the end.
        let order = |step: usize| variant.order.min(total - step).min(step + 1);
        let scale = |level: f32| match self.table.space {
            LatentSpace::VarianceExploding => 1.0,
            LatentSpace::VariancePreserving => steps::signal_and_noise(f64::from(level)).0 as f32,
        };
        let signal = scale(stride.from);
        let mut latents: Vec<f32> = self.latents.iter().map(|x| x / signal).collect();
        if let (Some(step), Some((corrected, pictures))) =
            (self.done.checked_sub(1), self.kept.split_first())
        {
            let levels: Vec<f32> = (1..=pictures.len()).filter_map(before_of(self)).collect();
            let known = unipc::Known {
                levels: &levels,
                pictures: pictures.iter().map(Vec::as_slice).collect(),
            };
            latents = unipc::step(
                corrected,
                &known,
                stride.from,
                Some(denoised),
                order(step),
                variant,
            );
        }
        let mut pictures: Vec<Vec<f32>> = vec![denoised.to_vec()];
        pictures.extend(self.kept.iter().skip(1).take(variant.order - 1).cloned());
        let levels: Vec<f32> = (0..pictures.len()).filter_map(before_of(self)).collect();
        let known = unipc::Known {
            levels: &levels,
            pictures: pictures.iter().map(Vec::as_slice).collect(),
        };
        let next = unipc::step(&latents, &known, stride.to, None, order(self.done), variant);
        let signal = scale(stride.to);
        self.latents = next.into_iter().map(|x| x * signal).collect();
        self.kept = std::iter::once(latents).chain(pictures).collect();
    }

    /// Latent consistency: the predicted picture, with fresh noise but in the last step.
    fn step_lcm(&mut self, denoised: &[f32], stride: Stride, noise: &[f32]) {
        let mut picture = denoised.to_vec();
        let (mut signal, mut spread) = (1.0, stride.to);
        if self.table.space == LatentSpace::VariancePreserving {
            // The boundary condition: nothing is changed where there is no noise (sigma_data 0.5, timesteps times ten).
            let time = f64::from(stride.timestep) * 10.0;
            let skip = 0.25 / (time * time + 0.25);
            let out = time / (time * time + 0.25).sqrt();
            steps::blend(&mut picture, out, &self.latents, skip);
            signal = stride.to.sqrt();
            spread = (1.0 - stride.to).sqrt();
        }
        // There is none after the last step.
        for (x, noise) in picture.iter_mut().zip(noise) {
            *x = signal * *x + spread * noise;
        }
        self.latents = picture;
    }

    /// Puts a buffer before those that are kept, and lets the oldest go.
    fn keep(&mut self, buffer: Vec<f32>, most: usize) {
        self.kept.insert(0, buffer);
        self.kept.truncate(most);
    }

    fn midpoint(&self) -> Option<Midpoint> {
        self.table.midpoints.get(self.done).copied().flatten()
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

    /// The picture as predicted last, if it was.
    pub fn prediction_of_picture(&self) -> Option<&[f32]> {
        self.denoised.as_deref()
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

    /// Questions to the network in all.
    pub fn total_evals(&self) -> usize {
        let twice = self.table.midpoints.iter().flatten().count();
        self.total_steps() + twice
    }

    /// Whether all steps are done.
    pub fn is_finished(&self) -> bool {
        self.done >= self.total_steps()
    }
}

/// The level at which the step `back` before the present one began.
fn before_of(run: &Denoising) -> impl Fn(usize) -> Option<f32> + '_ {
    move |back| {
        let step = run.done.checked_sub(back)?;
        run.table.levels.get(step).copied()
    }
}

impl Repaint {
    /// Keeps `latents` where the mask is 1 and takes `kept` where it is 0.
    fn mix(&self, latents: &mut [f32], kept: &[f32]) {
        for ((x, mask), kept) in latents.iter_mut().zip(&self.mask).zip(kept) {
            *x = *x * mask + kept * (1.0 - mask);
        }
    }
}

/// How many of the steps are left out where a picture is begun from: all but a share `strength` of them.
///
/// AUTOMATIC1111 (`setup_img2img_steps`) does one step more than that share and takes strengths above 0.999 as that; diffusers
/// (`get_timesteps`) does as many as the share, rounded down.
fn first_step(convention: Convention, steps: usize, strength: f32) -> Result<usize> {
    let wrong = |what: String, remedy| Err(DiffusionError::Unsupported { what, remedy });
    if !(strength > 0.0 && strength <= 1.0) {
        return wrong(
            format!("a strength of {strength}"),
            "it must be above 0 and up to 1",
        );
    }
    // The decimal number that was meant: 0.7 of ten steps are seven.
    let strength: f64 = strength.to_string().parse().unwrap_or(1.0);
    match convention {
        Convention::KDiffusion => {
            let anew = (strength.min(0.999) * steps as f64) as usize;
            Ok(steps.saturating_sub(anew + 1))
        }
        Convention::Diffusers => {
            let anew = ((steps as f64 * strength) as usize).min(steps);
            if anew == 0 {
                return wrong(
                    format!("a strength of {strength} in {steps} steps"),
                    "not one step would be done: choose more steps or a higher strength",
                );
            }
            Ok(steps - anew)
        }
    }
}
