//! Text to image: words to embeddings, noise to latents step by step, latents to a picture
//! (Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models").

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::error::JobError;
use super::image_model::ImageModel;
use super::prompt::{self, Conditioning};
use super::store::PlanKey;
use super::{CHECKPOINT_VERSION, Checkpoint, Context, Pipeline, Progress};
use crate::diffusion::{Beginning, Denoising, NoiseRng, SamplerSpec, guide, rescale, vary};
use crate::engine::{Event, ImageRequest, Outcome, Picture, Request};
use crate::graph::HostTensor;

/// Largest width or height in pixels; beyond it sizes are mistakes.
const LARGEST_SIDE: u32 = 16_384;
/// Seconds between checkpoints: often enough to lose little, rarely enough to cost nothing.
const CHECKPOINT_SECONDS: f32 = 2.0;
/// Previews are decoded by the VAE itself up to this many latent pixels, where that costs less than a tenth of a step.
const PREVIEW_BY_DECODER: usize = 16 * 16;

enum Stage {
    /// Nothing is done yet.
    Start,
    /// Noise is being removed.
    Denoise(Box<Denoising>),
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
}

/// What a checkpoint keeps of a picture being drawn.
#[derive(Serialize, Deserialize)]
pub struct ImageCheckpoint {
    request: ImageRequest,
    denoising: Option<Denoising>,
    seconds: f32,
}

impl ImageJob {
    /// A job at its start.
    pub fn new(request: ImageRequest) -> Self {
        Self {
            request,
            stage: Stage::Start,
            model: None,
            conditioning: None,
            seconds: 0.0,
            last_checkpoint: None,
            step_seconds: 0.0,
        }
    }

    /// A job where its checkpoint left it.
    pub fn resume(checkpoint: ImageCheckpoint) -> Self {
        let mut job = Self::new(checkpoint.request);
        if let Some(denoising) = checkpoint.denoising {
            job.stage = Stage::Denoise(Box::new(denoising));
        }
        job.seconds = checkpoint.seconds;
        job
    }

    /// The model, loaded if it is not.
    fn model(&mut self, context: &mut Context<'_>) -> Result<Arc<ImageModel>, JobError> {
        if let Some(model) = &self.model {
            return Ok(Arc::clone(model));
        }
        let Context {
            job, store, outbox, ..
        } = context;
        let (job, name) = (*job, &self.request.model.name);
        let mut loading = |bytes| {
            outbox.push(Event::Loading {
                job,
                model: name.clone(),
                bytes,
            });
        };
        let model = store.image_model(&self.request.model, &mut loading)?;
        if let Some(wanted) = &self.request.model.hash
            && wanted != model.hash()
        {
            let message = format!(
                "the request was made with another '{name}' (hash {wanted}, here {}); the picture will differ",
                model.hash()
            );
            context.warn(message);
        }
        self.request.model.hash = Some(model.hash().to_owned());
        self.model = Some(Arc::clone(&model));
        Ok(model)
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

    /// Checks the request and draws the noise.
    fn begin(&self, context: &mut Context<'_>, model: &ImageModel) -> Result<Denoising, JobError> {
        let request = &self.request;
        if !request.guidance.is_finite() || request.guidance.abs() > 1e4 {
            return Err(JobError::Request(format!(
                "a guidance scale of {} cannot be used",
                request.guidance
            )));
        }
        check_settings(request)?;
        let shape = self.latent_shape(model)?;
        let elements: usize = shape.iter().product();
        let source = request.noise_source;
        let mut beginning = Beginning::of_seed(source, request.seed, elements);
        if let Some(variation) = request.variation.filter(|v| v.strength != 0.0) {
            let other = source.draw(variation.seed, elements);
            let [_, h, w] = shape;
            beginning.noise = vary(&beginning.noise, &other, variation.strength, h, w);
        }
        if let Some(blob) = &request.noise {
            let given = context.store.blob(blob)?;
            let [c, h, w] = shape;
            if given.shape != [1, c, h, w] && given.shape != shape {
                return Err(JobError::Request(format!(
                    "the given noise has shape {:?}; a picture of {}x{} with this model needs [1, {c}, {h}, {w}]",
                    given.shape, request.width, request.height
                )));
            }
            beginning.noise = given.as_f32().to_vec();
            beginning.rng = NoiseRng::new(source, request.seed);
        }
        let spec = SamplerSpec {
            sampler: request.sampler,
            schedule: request.schedule,
            convention: request.convention,
            spacing: request.spacing,
            steps: request.steps as usize,
        };
        Ok(Denoising::new(&spec, model.training(), beginning)?)
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
        let conditioning = Arc::new(prompt::encode(context, model, &self.request)?);
        self.conditioning = Some(Arc::clone(&conditioning));
        Ok(conditioning)
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
        let (batch, length) = (conditioning.batch, conditioning.length);
        let plan = context.store.plan(
            &self.request.model.name,
            PlanKey::Denoise(batch, h, w, length),
            || Ok(model.unet().graph(batch, h, w, length)?),
        )?;
        let inputs = [
            (
                "sample",
                HostTensor::f32([batch, c, h, w], input.repeat(batch)),
            ),
            ("time", model.unet().time_features(&vec![timestep; batch])),
            ("context", conditioning.embeddings.clone()),
        ];
        let output = context.store.run(plan, &inputs, &[], context.interrupt)?;
        let prediction = output
            .into_iter()
            .next()
            .map(HostTensor::into_f32)
            .unwrap_or_default();
        Ok(match prediction.split_at_checked(c * h * w) {
            Some((without, with)) if batch == 2 => {
                let mut guided = guide(without, with, self.request.guidance);
                if self.request.guidance_rescale > 0.0 {
                    rescale(&mut guided, with, self.request.guidance_rescale);
                }
                guided
            }
            _ => prediction,
        })
    }

    /// Latents to a picture.
    fn decode(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
    ) -> Result<Picture, JobError> {
        let [c, h, w] = self.latent_shape(model)?;
        let plan = context
            .store
            .plan(&self.request.model.name, PlanKey::Decode(h, w), || {
                model.vae().decode_graph(h, w)
            })?;
        let scaled = latents
            .iter()
            .map(|latent| latent / model.vae().scaling() + model.vae().shift())
            .collect();
        let inputs = [("latent", HostTensor::f32([1, c, h, w], scaled))];
        let output = context.store.run(plan, &inputs, &[], context.interrupt)?;
        let values = output
            .into_iter()
            .next()
            .map(HostTensor::into_f32)
            .unwrap_or_default();
        let (width, height) = (w * model.factor(), h * model.factor());
        let pixels = width * height;
        if values.len() != 3 * pixels {
            return Err(JobError::Request(format!(
                "the model's autoencoder makes {} values for {width}x{height} pixels; pictures have three colours",
                values.len()
            )));
        }
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(JobError::Request(format!(
                "the autoencoder made {bad}: the numbers overflowed; try a VAE made for 16-bit numbers, or other settings"
            )));
        }
        let mut rgb = Vec::with_capacity(3 * pixels);
        for pixel in 0..pixels {
            for channel in 0..3 {
                rgb.push(to_byte(values[channel * pixels + pixel]));
            }
        }
        Ok(Picture {
            width: width as u32,
            height: height as u32,
            rgb,
        })
    }

    fn preview(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        denoised: &[f32],
    ) -> Option<Arc<Picture>> {
        let [c, h, w] = self.latent_shape(model).ok()?;
        if h * w <= PREVIEW_BY_DECODER {
            return self.decode(context, model, denoised).ok().map(Arc::new);
        }
        linear_preview(denoised, [c, h, w]).map(Arc::new)
    }

    fn outcome(&self, picture: Picture) -> Outcome {
        Outcome::Image {
            picture: Arc::new(picture),
            request: Box::new(Request::Image(self.request.clone())),
            seconds: self.seconds,
        }
    }

    fn checkpoint(&mut self, context: &mut Context<'_>) {
        let Stage::Denoise(denoising) = &self.stage else {
            return;
        };
        if self
            .last_checkpoint
            .is_some_and(|last| last.elapsed().as_secs_f32() < CHECKPOINT_SECONDS)
        {
            return;
        }
        let image = ImageCheckpoint {
            request: self.request.clone(),
            denoising: Some(denoising.as_ref().clone()),
            seconds: self.seconds,
        };
        match serde_json::to_vec(&Checkpoint {
            version: CHECKPOINT_VERSION,
            image,
        }) {
            Ok(bytes) => context.emit(Event::Checkpoint {
                job: context.job,
                bytes: bytes.into(),
            }),
            Err(error) => tracing::warn!("no checkpoint: {error}"),
        }
        self.last_checkpoint = Some(Instant::now());
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        let model = self.model(context)?;
        let eval = match &self.stage {
            Stage::Start => {
                let denoising = self.begin(context, &model)?;
                self.conditioning(context, &model)?;
                self.stage = Stage::Denoise(Box::new(denoising));
                return Ok(Progress::Working);
            }
            Stage::Denoise(denoising) => denoising.next_eval(),
        };
        let Some(eval) = eval else {
            let Stage::Denoise(denoising) = &self.stage else {
                return Ok(Progress::Working);
            };
            let latents = denoising.final_latents();
            let picture = self.decode(context, &model, &latents)?;
            return Ok(Progress::Finished(self.outcome(picture)));
        };
        let started = Instant::now();
        let prediction = self.predict(context, &model, &eval.input, eval.timestep)?;
        let Stage::Denoise(denoising) = &mut self.stage else {
            return Ok(Progress::Working);
        };
        let done = denoising.give(&prediction)?;
        self.step_seconds += started.elapsed().as_secs_f32();
        if !done.outer_step_finished {
            return Ok(Progress::Working);
        }
        let (index, total) = (
            denoising.step_index() as u32,
            denoising.total_steps() as u32,
        );
        if self.request.keep_latents {
            let [c, h, w] = self.latent_shape(&model)?;
            let Stage::Denoise(denoising) = &self.stage else {
                return Ok(Progress::Working);
            };
            let latents = Arc::new(HostTensor::f32([1, c, h, w], denoising.latents().to_vec()));
            context.emit(Event::Latents {
                job: context.job,
                step: index - 1,
                latents,
            });
        }
        let preview = match self.request.preview && index < total {
            true => self.preview(context, &model, &done.denoised),
            false => None,
        };
        let seconds = std::mem::take(&mut self.step_seconds);
        context.emit(Event::Step {
            job: context.job,
            index,
            total,
            seconds,
            preview,
        });
        self.checkpoint(context);
        Ok(Progress::Working)
    }
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
            other => other,
        }
    }

    fn partial(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        let model = self.model.clone()?;
        let Stage::Denoise(denoising) = &self.stage else {
            return None;
        };
        if denoising.step_index() == 0 {
            return None;
        }
        let latents = denoising.final_latents();
        match self.decode(context, &model, &latents) {
            Ok(picture) => Some(self.outcome(picture)),
            Err(error) => {
                tracing::warn!("no partial picture: {error}");
                None
            }
        }
    }
}

/// Refuses settings that no model can be drawn with.
fn check_settings(request: &ImageRequest) -> Result<(), JobError> {
    let share = |name: &str, value: f32| {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(JobError::Request(format!(
            "a {name} of {value} cannot be used; it goes from 0 to 1"
        )))
    };
    share("guidance rescale", request.guidance_rescale)?;
    if let Some(variation) = &request.variation {
        share("variation strength", variation.strength)?;
    }
    if request.clip_skip == 0 {
        return Err(JobError::Request(
            "a CLIP skip of 0 cannot be used; 1 takes all layers of the text encoder, 2 all but the last".into(),
        ));
    }
    Ok(())
}

/// -1..1 to 0..255, as diffusers rounds.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// What four-channel latents of Stable Diffusion look like, one pixel each: the linear map that A1111 calls
/// "Approx cheap" (fitted by K. Turner).
fn linear_preview(latents: &[f32], [c, h, w]: [usize; 3]) -> Option<Picture> {
    const FACTORS: [[f32; 3]; 4] = [
        [0.298, 0.207, 0.208],
        [0.187, 0.286, 0.173],
        [-0.158, 0.189, 0.264],
        [-0.184, -0.271, -0.473],
    ];
    if c != 4 || latents.len() != c * h * w {
        return None;
    }
    let mut rgb = Vec::with_capacity(3 * h * w);
    for pixel in 0..h * w {
        let mut colours = [0f32; 3];
        for (channel, factors) in FACTORS.iter().enumerate() {
            let latent = latents[channel * h * w + pixel];
            colours
                .iter_mut()
                .zip(factors)
                .for_each(|(colour, factor)| *colour += latent * factor);
        }
        rgb.extend(colours.map(to_byte));
    }
    Some(Picture {
        width: w as u32,
        height: h as u32,
        rgb,
    })
}
