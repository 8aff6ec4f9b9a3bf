//! Pictures: words to embeddings, noise to latents step by step, latents to a picture (Rombach et al. 2022, "High-Resolution
//! Image Synthesis with Latent Diffusion Models"); from nothing, from a picture (Meng et al. 2022, "SDEdit"), or into one.

mod additions;
mod begin;
mod branch;
mod control;
mod decode;
mod forecast;
mod hires;
mod keep;
mod resident;
pub(crate) mod state;
mod vae;
mod words;

pub(super) use forecast::layers_left_out;

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;

use super::batch::Rows;
use super::error::JobError;
use super::image_model::ImageModel;
use super::prompt::{self, Conditioning};
use super::store::{ModelStore, PlanKey};
use super::{Context, Pipeline, Progress};
use crate::diffusion::{Denoising, DrawnNoise, NoiseAhead, compose, guide, rescale};

use crate::engine::{Event, ImageRequest, Outcome, Picture, Request};
use crate::graph::{HostTensor, Interrupt};
use crate::models::ControlNet;

/// Largest width or height in pixels; beyond it sizes are mistakes.
const LARGEST_SIDE: u32 = 16_384;
/// Beyond it a LoRA's weight is a mistake.
const MOST_LORA_WEIGHT: f32 = 100.0;
/// Seconds between checkpoints: often enough to lose little, rarely enough to cost nothing.
const CHECKPOINT_SECONDS: f32 = 2.0;

enum Stage {
    /// Nothing is done yet.
    Start,
    /// Noise is being removed; as it was last seen, where the latents are on the device ([`resident`]).
    Denoise(Box<Denoising>),
    /// What the first pass drew is being made larger.
    Enlarge(Box<super::upscale::Enlargement>),
}

/// A picture being drawn.
pub struct ImageJob {
    request: ImageRequest,
    stage: Stage,
    model: Option<Arc<ImageModel>>,
    conditioning: Option<Arc<Conditioning>>,
    seconds: f32,
    last_checkpoint: Option<Instant>,
    step_seconds: f32,
    /// The picture that it begins from, made ready.
    source: Option<Arc<begin::Source>>,
    /// The request as it was given.
    whole: ImageRequest,
    /// Settings that take over later, each after so many steps.
    later: branch::Chain,
    /// Whether `later` is filled.
    planned: bool,
    /// ControlNets with their pictures.
    guides: Option<Arc<Vec<control::Guide>>>,
    /// In the second pass, the request as it was given.
    first: Option<Box<ImageRequest>>,
    /// Whether it goes on in the second pass, which is still to be entered.
    resumes_second: bool,
    /// The latents, where they are on the device.
    resident: Option<resident::Resident>,
    /// Whether they are to stay on the host.
    at_host: bool,
}

/// What a checkpoint keeps of a picture being drawn.
#[derive(Deserialize)]
pub struct ImageCheckpoint {
    pub(crate) request: ImageRequest,
    denoising: Option<Denoising>,
    seconds: f32,
    /// Whether the run is that of the second pass.
    #[serde(default)]
    second: bool,
}

impl ImageJob {
    /// A job at its start.
    pub fn new(request: ImageRequest) -> Self {
        Self {
            whole: request.clone(),
            later: branch::Chain::new(),
            planned: false,
            request,
            stage: Stage::Start,
            model: None,
            conditioning: None,
            seconds: 0.0,
            last_checkpoint: None,
            step_seconds: 0.0,
            source: None,
            guides: None,
            first: None,
            resumes_second: false,
            resident: None,
            at_host: false,
        }
    }

    /// A job where its checkpoint left it.
    pub fn resume(checkpoint: ImageCheckpoint) -> Self {
        let mut job = Self::new(checkpoint.request);
        if let Some(denoising) = checkpoint.denoising {
            job.stage = Stage::Denoise(Box::new(denoising));
        }
        job.seconds = checkpoint.seconds;
        job.resumes_second = checkpoint.second;
        job
    }

    /// A job that goes on from a state with other settings.
    ///
    /// # Errors
    /// Settings that cannot change in the middle of a picture.
    pub fn branch(state: ImageCheckpoint, request: ImageRequest) -> Result<Self, JobError> {
        branch::branch(state, request)
    }

    /// The model, loaded if it is not.
    fn model(&mut self, context: &mut Context<'_>) -> Result<Arc<ImageModel>, JobError> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let (store, mut loading) = context.loading(&self.request.model.name);
        let model = store.image_model(&self.request.model, &mut loading)?;
        if let Some(wanted) = &self.request.model.hash
            && wanted != model.hash()
        {
            let message = format!(
                "the request was made with another '{}' (hash {wanted}, here {}); the picture will differ",
                self.request.model.name,
                model.hash()
            );
            context.warn(message);
        }
        self.request.model.hash = Some(model.hash().to_owned());
        let model = self.changed(context, model)?;
        self.model = Some(Arc::clone(&model));
        Ok(model)
    }

    /// The model with the changes that request and prompt ask for.
    fn changed(
        &mut self,
        context: &mut Context<'_>,
        model: Arc<ImageModel>,
    ) -> Result<Arc<ImageModel>, JobError> {
        let mut uses = additions::loras(&self.request);
        for lora in &uses {
            if !lora.weight.is_finite() || lora.weight.abs() > MOST_LORA_WEIGHT {
                return Err(JobError::Request(format!(
                    "the LoRA '{}' cannot be added {} times; its weight goes from -{MOST_LORA_WEIGHT} to {MOST_LORA_WEIGHT}",
                    lora.model.name, lora.weight
                )));
            }
        }
        uses.retain(|lora| lora.weight != 0.0);
        let words = self.words(context, &model)?;
        self.request.embeddings.clone_from(&words);
        self.note_additions(context)?;
        let changes = additions::by_name(uses, self.request.vae.as_ref(), &words);
        if changes.0.is_empty() && changes.1.is_none() && changes.2.is_empty() {
            return Ok(model);
        }
        let Context {
            store, interrupt, ..
        } = context;
        let mut warnings = Vec::new();
        let name = &self.request.model.name;
        let mut stop = || interrupt.poll();
        let changed = store.changed_model(&model, name, &changes, &mut stop, &mut warnings)?;
        for warning in warnings {
            context.warn(warning);
        }
        Ok(changed)
    }

    /// Latent channels, height and width.
    fn latent_shape(&self, model: &ImageModel) -> Result<[usize; 3], JobError> {
        let factor = model.factor() as u32;
        let ImageRequest { width, height, .. } = self.request;
        for (name, side) in [("width", width), ("height", height)] {
            if side == 0 || side > LARGEST_SIDE || !side.is_multiple_of(factor) {
                return Err(JobError::Request(format!(
                    "{name} {side} cannot be drawn: this model draws multiples of {factor} up to {LARGEST_SIDE}"
                )));
            }
        }
        Ok([
            model.latent_channels(),
            (height / factor) as usize,
            (width / factor) as usize,
        ])
    }

    /// The prompts' embeddings.
    fn conditioning(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Arc<Conditioning>, JobError> {
        if let Some(conditioning) = &self.conditioning {
            return Ok(Arc::clone(conditioning));
        }
        let conditioning = prompt::encode(context, model, &self.request)?;
        self.conditioning = Some(Arc::clone(&conditioning));
        Ok(conditioning)
    }

    /// Asks the network: `sample`, which is left out where it is on the device, at a timestep. `go` runs it.
    fn ask<T>(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        (sample, timestep): (Option<Vec<f32>>, f32),
        go: impl FnOnce(
            &mut ModelStore,
            &Rows<'_>,
            &[(&str, HostTensor)],
            &mut dyn Interrupt,
        ) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let conditioning = self.conditioning(context, model)?;
        let evaluation = match self.present() {
            // In the second pass the words are those that the first ended with.
            Some(_) if self.first.is_some() => u32::MAX,
            Some(run) => run.evals_done() as u32,
            None => 0,
        };
        let words = conditioning
            .at(evaluation)
            .ok_or_else(|| JobError::Request("the prompt says nothing".into()))?;
        let [_, h, w] = self.latent_shape(model)?;
        let channels = model.unet().config().in_channels;
        let (batch, length) = (conditioning.batch, conditioning.length);
        let mut inputs = vec![
            (
                "time",
                (model.unet())
                    .guided_time_features(&vec![timestep; batch], self.request.guidance)?,
            ),
            ("context", words.embeddings.clone()),
        ];
        if let Some(sample) = sample {
            let sample = HostTensor::f32([batch, channels, h, w], sample.repeat(batch));
            inputs.push(("sample", sample));
        }
        if let Some(added) = &words.added {
            inputs.push(("added", added.clone()));
        }
        let active = self.active_guides(context, model)?;
        for (name, tensor) in &active.inputs {
            inputs.push((name, tensor.clone()));
        }
        let nets: Vec<&ControlNet> = active.nets.iter().map(Arc::as_ref).collect();
        let rows = Rows {
            name: &self.request.model.name,
            changes: model.changes(),
            count: batch,
            key: &|batch| match nets.is_empty() {
                true => PlanKey::Denoise(batch, h, w, length),
                false => PlanKey::DenoiseControlled(batch, h, w, length, active.known_by),
            },
            build: &|batch| {
                let sizes = [batch, h, w, length];
                Ok(model.unet().controlled_graph(sizes, &nets)?)
            },
        };
        go(context.store, &rows, &inputs, context.interrupt)
    }

    /// One evaluation of the network, with guidance.
    fn predict(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        input: &[f32],
        timestep: f32,
    ) -> Result<Vec<f32>, JobError> {
        let conditioning = self.conditioning(context, model)?;
        let [c, h, w] = self.latent_shape(model)?;
        let mut sample = input.to_vec();
        if model.unet().config().in_channels > c {
            sample.extend_from_slice(&self.source(context, model)?.extra_channels);
        }
        let asked = (Some(sample), timestep);
        let output = self.ask(context, model, asked, |store, rows, inputs, interrupt| {
            store.run_rows(rows, inputs, interrupt)
        })?;
        let prediction = output
            .into_iter()
            .next()
            .map(HostTensor::into_f32)
            .unwrap_or_default();
        Ok(match prediction.split_at_checked(c * h * w) {
            Some((without, with)) if conditioning.guided && conditioning.weights != [1.0] => {
                let parts: Vec<(&[f32], f32)> = with
                    .chunks(c * h * w)
                    .zip(conditioning.weights.iter().copied())
                    .collect();
                let (mut guided, mean) = compose(without, &parts, self.request.guidance);
                if self.request.guidance_rescale > 0.0 {
                    rescale(&mut guided, &mean, self.request.guidance_rescale);
                }
                guided
            }
            Some((without, with)) if conditioning.guided => {
                let mut guided = guide(without, with, self.request.guidance);
                if self.request.guidance_rescale > 0.0 {
                    rescale(&mut guided, with, self.request.guidance_rescale);
                }
                guided
            }
            _ => prediction,
        })
    }

    fn outcome(&self, picture: Picture) -> Outcome {
        Outcome::Image {
            picture: Arc::new(picture),
            request: Box::new(Request::Image(self.told_request())),
            seconds: self.seconds,
        }
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        self.plan_branches()?;
        if self.resident.is_some()
            && (self.present()).is_some_and(|run| self.changes_at(run.step_index()))
        {
            self.come_back(context, true)?;
        }
        self.apply_branches(context)?;
        let model = self.model(context)?;
        self.reenter_second(&model);
        if let Some(progress) = self.advance_resident(context, &model)? {
            return Ok(progress);
        }
        let eval = match &self.stage {
            Stage::Start => {
                self.check_hires(context, &model)?;
                self.guides(context, &model)?;
                self.latent_shape(&model)?;
                self.forecast(context, &model)?;
                let denoising = self.begin(context, &model)?;
                self.conditioning(context, &model)?;
                self.stage = Stage::Denoise(Box::new(denoising));
                self.trace(context, None);
                return Ok(Progress::Working);
            }
            Stage::Denoise(denoising) => denoising.next_eval().filter(|_| self.asks_on(denoising)),
            Stage::Enlarge(_) => return self.enlarge(context, &model),
        };
        let Some(eval) = eval else {
            let Stage::Denoise(denoising) = &self.stage else {
                return Ok(Progress::Working);
            };
            let latents = denoising.final_latents();
            // Asked to end within the first pass, it has no second.
            let stop = self.request.stop_after.map(|steps| steps as usize);
            let ends = stop.is_some_and(|stop| denoising.step_index() >= stop);
            if let Some(hires) = self.request.hires.clone().filter(|_| !ends) {
                return self.begin_second(context, &model, &latents, &hires);
            }
            let picture = self.finish(context, &model, &latents)?;
            return Ok(Progress::Finished(self.outcome(picture)));
        };
        let started = Instant::now();
        let ahead = match &self.stage {
            Stage::Denoise(denoising) => denoising.noise_ahead(),
            Stage::Start | Stage::Enlarge(_) => None,
        };
        let (prediction, noise) = meanwhile(ahead, || {
            self.predict(context, &model, &eval.input, eval.timestep)
        });
        let prediction = prediction?;
        let Stage::Denoise(denoising) = &mut self.stage else {
            return Ok(Progress::Working);
        };
        if let Some(noise) = noise {
            denoising.take_noise(noise);
        }
        let done = denoising.give(&prediction)?;
        self.step_seconds += started.elapsed().as_secs_f32();
        if !done.outer_step_finished {
            return Ok(Progress::Working);
        }
        let place = (
            denoising.step_index() as u32,
            denoising.total_steps() as u32,
        );
        self.tell_step(context, &model, place, (Some(&done.denoised), true))?;
        Ok(Progress::Working)
    }

    /// Tells of a step that is done: how many of how many are, and the picture that is predicted, where somebody wants to see it. `whole`: the run is here as it
    /// is after that step.
    fn tell_step(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        place: (u32, u32),
        (denoised, whole): (Option<&[f32]>, bool),
    ) -> Result<(), JobError> {
        let (index, total) = self.place_in_passes(model, place)?;
        if self.request.keep_latents
            && let (Stage::Denoise(denoising), true) = (&self.stage, whole)
        {
            let [c, h, w] = self.latent_shape(model)?;
            let latents = Arc::new(HostTensor::f32([1, c, h, w], denoising.latents().to_vec()));
            context.emit(Event::Latents {
                job: context.job,
                step: index - 1,
                latents,
            });
        }
        let preview = match denoised {
            Some(denoised) if self.request.preview && index < total || self.request.trace => {
                self.preview(context, model, denoised)
            }
            _ => None,
        };
        if whole {
            self.trace(context, preview.as_ref());
        }
        let seconds = std::mem::take(&mut self.step_seconds);
        context.emit(Event::Step {
            job: context.job,
            index,
            total,
            seconds,
            preview,
        });
        if whole {
            self.checkpoint(context);
        }
        Ok(())
    }
}

/// Draws the noise of a step while the network is at work, so that the device does not wait for it; what cannot be drawn beside is drawn after.
fn meanwhile<T>(ahead: Option<NoiseAhead>, work: impl FnOnce() -> T) -> (T, Option<DrawnNoise>) {
    let Some(ahead) = ahead else {
        return (work(), None);
    };
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name("noise of a step".into());
        let beside = named.spawn_scoped(scope, move || ahead.draw());
        let done = work();
        (done, beside.ok().and_then(|thread| thread.join().ok()))
    })
}

impl Pipeline for ImageJob {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        let started = Instant::now();
        let result = self.advance(context);
        self.seconds += started.elapsed().as_secs_f32();
        match result {
            Ok(Progress::Finished(Outcome::Image {
                picture, request, ..
            })) => Ok(Progress::Finished(Outcome::Image {
                picture,
                request,
                seconds: self.seconds,
            })),
            Err(error) => Err(self.explained(context, error)),
            other => other,
        }
    }

    fn needs_blob(&self, hash: &str) -> bool {
        [&self.request, &self.whole]
            .into_iter()
            .any(|request| request.refers_to(hash))
    }

    fn rest(&mut self, context: &mut Context<'_>) -> Result<(), JobError> {
        match self.resident {
            Some(_) => self.come_back(context, true),
            None => Ok(()),
        }
    }

    fn device_lost(&mut self) {
        // The vectors went with their device; the stage is as it was last seen.
        self.resident = None;
    }

    fn release(&mut self, store: &mut ModelStore) {
        self.leave(store);
    }

    fn partial(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        let model = self.model.clone()?;
        if self.resident.is_some()
            && let Err(error) = self.come_back(context, false)
        {
            tracing::warn!("the picture is shown as it was last seen: {error}");
        }
        let Stage::Denoise(denoising) = &self.stage else {
            return None;
        };
        if denoising.step_index() == 0 {
            return None;
        }
        let latents = denoising.final_latents();
        match self.finish(context, &model, &latents) {
            Ok(picture) => Some(self.outcome(picture)),
            Err(error) => {
                tracing::warn!("no partial picture: {error}");
                None
            }
        }
    }
}
