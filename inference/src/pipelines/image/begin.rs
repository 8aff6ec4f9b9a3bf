//! How a picture begins: settings checked, noise drawn, and the picture that it begins from encoded.

use std::sync::Arc;

use super::ImageJob;
use crate::diffusion::{Beginning, Convention, Denoising, NoiseRng, SamplerSpec, vary};
use crate::engine::{ImageRequest, InitPicture, Mask, Picture};
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::morph::arc;
use crate::pipelines::raster::{Area, Raster, View};
use crate::pipelines::sound::{Maker, require_numbers};
use crate::pipelines::{Context, JobError};

/// Beyond it a mask's softness is a mistake, and takes long.
const MOST_BLUR: f32 = 1000.0;

/// A picture to begin from, made ready for one model and size.
#[derive(Default)]
pub(super) struct Source {
    /// What lies under the part that is drawn, where there is a mask.
    under: Option<Under>,
    /// What the encoder says of the part that is drawn: means and deviations of its latents.
    encoded: Option<(Vec<f32>, Vec<f32>)>,
    /// Or its latents themselves, in the network's scale.
    latents: Option<Vec<f32>>,
    /// The mask for each latent value.
    latent_mask: Option<Vec<f32>>,
    /// What an inpainting network sees beside the latents: the mask, and the latents of the picture without what is under it.
    pub extra_channels: Vec<f32>,
}

/// A picture of which some is drawn anew.
struct Under {
    /// The whole picture. Where a part is drawn it is what the request gave and no copy of it: a photograph takes twelve bytes a pixel.
    whole: View,
    /// The part that is drawn; else all of it is.
    part: Option<Area>,
    /// How much of each pixel of that part is drawn anew.
    mask: Raster,
    /// Whether what is kept is put back pixel by pixel at the end.
    lays_back: bool,
}

impl Source {
    /// Of latents that are drawn over, in the network's scale.
    pub fn of_latents(latents: Vec<f32>) -> Self {
        Self {
            latents: Some(latents),
            ..Self::default()
        }
    }

    /// Of what the encoder says of a picture that is drawn over.
    pub fn of_encoded(encoded: (Vec<f32>, Vec<f32>)) -> Self {
        Self {
            encoded: Some(encoded),
            ..Self::default()
        }
    }

    /// The part that is drawn, and the size of the whole, where it is a part.
    pub fn part(&self) -> Option<(Area, (usize, usize))> {
        let under = self.under.as_ref()?;
        let whole = under.whole.all();
        Some((under.part?, (whole.width, whole.height)))
    }

    /// What was drawn, as it is handed over.
    pub fn lay_back(&self, drawn: Picture) -> Picture {
        let lays_back = |under: &&Under| under.part.is_some() || under.lays_back;
        let Some(under) = self.under.as_ref().filter(lays_back) else {
            return drawn;
        };
        let area = under.part.unwrap_or(under.whole.all());
        under.whole.overlaid(&drawn, &under.mask, area)
    }
}

/// The draws of diffusers' pipelines that begin from a picture, from one generator in their order: they take samples of what the
/// encoder says, not its means.
struct DiffusersDraws {
    /// For the picture's latents; none where its inpainting pipeline begins from nothing but noise.
    picture: Option<Vec<f32>>,
    /// For the beginning.
    noise: Vec<f32>,
    /// For the latents of the masked picture.
    masked: Vec<f32>,
    /// For the steps.
    rng: NoiseRng,
}

impl DiffusersDraws {
    fn new(request: &ImageRequest, model: &ImageModel, count: usize) -> Self {
        let mut rng = NoiseRng::new(request.noise_source, request.seed);
        let init = request.init.as_ref();
        let made_for_it = model.unet().config().in_channels > model.latent_channels();
        let masked = init.is_some_and(|init| init.mask.is_some()) || made_for_it;
        let full = init.is_none_or(|init| init.strength >= 1.0);
        let picture = (!(masked && made_for_it && full)).then(|| rng.randn(count));
        let noise = rng.randn(count);
        // The masked picture is encoded whether the network sees it or not.
        let masked = if masked { rng.randn(count) } else { Vec::new() };
        Self {
            picture,
            noise,
            masked,
            rng,
        }
    }

    fn sample(&self, mean: &mut [f32], deviation: &[f32]) {
        let noise = self.picture.iter().flatten();
        for ((x, deviation), noise) in mean.iter_mut().zip(deviation).zip(noise) {
            *x += deviation * noise;
        }
    }
}

/// How a request is sampled.
pub(super) fn sampler_spec(request: &ImageRequest) -> SamplerSpec {
    SamplerSpec {
        sampler: request.sampler,
        schedule: request.schedule,
        convention: request.convention,
        spacing: request.spacing,
        steps: request.steps as usize,
    }
}

impl ImageJob {
    /// Checks the request and draws the noise.
    pub(super) fn begin(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Denoising, JobError> {
        check_settings(&self.request)?;
        let shape = self.latent_shape(model)?;
        let elements: usize = shape.iter().product();
        let source = match &self.request.init {
            Some(_) => Some(self.source(context, model)?),
            None => None,
        };
        let request = &self.request;
        let mut beginning = Beginning::of_seed(request.noise_source, request.seed, elements);
        if let (Some(source), Some(init)) = (&source, &request.init)
            && let Some((mean, deviation)) = &source.encoded
        {
            let mut latents = mean.clone();
            let mut pure = false;
            if request.convention == Convention::Diffusers {
                let draws = DiffusersDraws::new(request, model, elements);
                draws.sample(&mut latents, deviation);
                pure = draws.picture.is_none();
                (beginning.noise, beginning.rng) = (draws.noise, draws.rng);
            }
            let (scaling, shift) = (model.vae().scaling(), model.vae().shift());
            latents.iter_mut().for_each(|x| *x = (*x - shift) * scaling);
            beginning.init = (!pure).then_some((latents, init.strength));
            beginning.mask.clone_from(&source.latent_mask);
        }
        if let (Some(source), Some(init)) = (&source, &request.init)
            && let Some(latents) = &source.latents
        {
            beginning.init = Some((latents.clone(), init.strength));
        }
        if let Some(variation) = request.variation.filter(|v| v.strength != 0.0) {
            let other = request.noise_source.draw(variation.seed, elements);
            let [_, h, w] = shape;
            beginning.noise = vary(&beginning.noise, &other, variation.strength, h, w);
        }
        if let Some(toward) = &request.toward {
            let other = request.noise_source.draw(toward.seed, elements);
            beginning.noise = arc(&beginning.noise, &other, toward.amount);
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
            if request.init.is_none() {
                beginning.rng = NoiseRng::new(request.noise_source, request.seed);
            }
        }
        Ok(Denoising::new(
            &sampler_spec(request),
            model.training(),
            beginning,
        )?)
    }

    /// The picture that it begins from, made ready if it is not.
    pub(super) fn source(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Arc<Source>, JobError> {
        if let Some(source) = &self.source {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(match &self.request.init {
            // What the second pass began from is in its latents.
            Some(_) if self.first.is_some() => self.nothing(context, model)?,
            Some(init) => self.prepare(context, model, &init.clone())?,
            None => self.nothing(context, model)?,
        });
        self.source = Some(Arc::clone(&source));
        Ok(source)
    }

    fn prepare(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        init: &InitPicture,
    ) -> Result<Source, JobError> {
        let (width, height) = (self.request.width as usize, self.request.height as usize);
        let blob = context.store.blob(&init.picture)?;
        let given = View::of_tensor(&blob, 3).ok_or_else(|| {
            JobError::Request(format!(
                "the picture to begin from has shape {:?}; it must be [3, height, width] of numbers",
                blob.shape
            ))
        })?;
        let Some(spec) = &init.mask else {
            let part = given.crop(given.all()).into_resized(width, height);
            let encoded = Some(self.encode(context, model, &part)?);
            let all = Raster {
                width,
                height,
                values: vec![1.0; width * height],
            };
            let extra_channels = self.extra_channels(context, model, &part, &all)?;
            return Ok(Source {
                encoded,
                extra_channels,
                ..Source::default()
            });
        };
        let (under, part) = self.under(context, spec, given)?;
        let part_mask = under.mask.resized(width, height);
        let channels = model.latent_channels();
        let factor = model.factor();
        let diffusers = self.request.convention == Convention::Diffusers;
        let latent_mask = if diffusers {
            part_mask.binary().decimated(factor)
        } else {
            part_mask.averaged(factor)
        };
        let encoded = Some(self.encode(context, model, &part)?);
        let extra_channels = self.extra_channels(context, model, &part, &part_mask)?;
        // diffusers leaves a U-Net that was made for inpainting alone: it sees what it is to keep.
        let made_for_it = model.unet().config().in_channels > channels;
        let latent_mask =
            (!(diffusers && made_for_it)).then(|| latent_mask.values.repeat(channels));
        Ok(Source {
            under: Some(under),
            encoded,
            latents: None,
            latent_mask,
            extra_channels,
        })
    }

    /// The picture of which some is drawn anew, in the size in which the result is handed over, with its softened mask; and the part of it that is drawn, in
    /// the size in which it is.
    fn under(
        &self,
        context: &mut Context<'_>,
        spec: &Mask,
        given: View,
    ) -> Result<(Under, Raster), JobError> {
        let mask_blob = context.store.blob(&spec.mask)?;
        let mask = View::of_tensor(&mask_blob, 1).ok_or_else(|| {
            JobError::Request(format!(
                "the mask has shape {:?}; it must be [1, height, width] of numbers",
                mask_blob.shape
            ))
        })?;
        let all = given.all();
        if mask.all() != all {
            return Err(JobError::Request(format!(
                "the mask has {}x{} pixels and the picture {}x{}; they must be of one size",
                mask.all().width,
                mask.all().height,
                all.width,
                all.height
            )));
        }
        let (width, height) = (self.request.width as usize, self.request.height as usize);
        let lays_back = self.request.convention != Convention::Diffusers;
        let Some(padding) = spec.only_masked else {
            let mask = mask
                .crop(all)
                .blurred(spec.blur)
                .into_resized(width, height);
            let part = given.crop(all).into_resized(width, height);
            let whole = match (all.width, all.height) == (width, height) {
                true => given,
                false => View::of_raster(part.clone()),
            };
            let under = Under {
                whole,
                part: None,
                mask,
                lays_back,
            };
            return Ok((under, part));
        };
        let empty = || {
            JobError::Request(
                "the mask is empty, so there is nothing to draw; paint what is to be drawn anew"
                    .into(),
            )
        };
        // Only where it is, for photographs are large and what is painted in them is small.
        let (soft, around) = mask.softened(spec.blur).ok_or_else(empty)?;
        let bounds = soft.bounds().ok_or_else(empty)?.within(around);
        let area = bounds.widened(padding as usize, (width, height), (all.width, all.height));
        let part = given.crop(area).into_resized(width, height);
        let under = Under {
            part: Some(area),
            mask: match around == area {
                true => soft,
                false => soft.framed(around, area),
            },
            whole: given,
            lays_back,
        };
        Ok((under, part))
    }

    /// For a network that was made for inpainting, drawing from nothing: all is masked, and under it is grey.
    pub(super) fn nothing(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Source, JobError> {
        let (width, height) = (self.request.width as usize, self.request.height as usize);
        let flat = |value: f32, channels: usize| Raster {
            width,
            height,
            values: vec![value; channels * width * height],
        };
        let extra_channels = self.extra_channels(context, model, &flat(0.5, 3), &flat(1.0, 1))?;
        Ok(Source {
            extra_channels,
            ..Source::default()
        })
    }

    /// Mask and masked picture for a U-Net of nine channels; nothing for others.
    fn extra_channels(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        part: &Raster,
        mask: &Raster,
    ) -> Result<Vec<f32>, JobError> {
        if model.unet().config().in_channels == model.latent_channels() {
            return Ok(Vec::new());
        }
        let hard = mask.binary();
        let plane = hard.values.len();
        let mut masked = part.clone();
        for (place, value) in masked.values.iter_mut().enumerate() {
            // What is under the mask is the middle grey, which is 0 for the encoder.
            let under = hard
                .values
                .get(place % plane.max(1))
                .copied()
                .unwrap_or(0.0);
            *value = *value * (1.0 - under) + 0.5 * under;
        }
        let (mut mean, deviation) = self.encode(context, model, &masked)?;
        if self.request.convention == Convention::Diffusers {
            let draws = DiffusersDraws::new(&self.request, model, mean.len());
            for ((x, deviation), noise) in mean.iter_mut().zip(deviation).zip(&draws.masked) {
                *x += deviation * noise;
            }
        }
        let (scaling, shift) = (model.vae().scaling(), model.vae().shift());
        let mut channels = hard.decimated(model.factor()).values;
        channels.extend(mean.iter().map(|x| (x - shift) * scaling));
        Ok(channels)
    }

    /// Means and deviations of a picture's latents, in the autoencoder's own scale.
    pub(super) fn encode(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        picture: &Raster,
    ) -> Result<(Vec<f32>, Vec<f32>), JobError> {
        let signed = Raster {
            values: picture.values.iter().map(|v| 2.0 * v - 1.0).collect(),
            ..*picture
        };
        let (mean, deviation) = self.vae_encode(context, model, &signed)?;
        require_numbers(&mean, Maker::Encoder)?;
        require_numbers(&deviation, Maker::Encoder)?;
        Ok((mean, deviation))
    }
}

/// Refuses settings that no model can be drawn with.
pub(super) fn check_settings(request: &ImageRequest) -> Result<(), JobError> {
    let share = |name: &str, value: f32| {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(JobError::Request(format!(
            "a {name} of {value} cannot be used; it goes from 0 to 1"
        )))
    };
    share("guidance rescale", request.guidance_rescale)?;
    if let Some(toward) = &request.toward {
        share("way to another picture", toward.amount)?;
    }
    if let Some(variation) = &request.variation {
        share("variation strength", variation.strength)?;
    }
    if request.clip_skip == 0 {
        return Err(JobError::Request(
            "a CLIP skip of 0 cannot be used; 1 takes all layers of the text encoder, 2 all but the last".into(),
        ));
    }
    if let Some(init) = &request.init {
        if !(init.strength > 0.0 && init.strength <= 1.0) {
            return Err(JobError::Request(format!(
                "a strength of {} cannot be used; it goes from above 0 (hardly anything changes) to 1 (nothing stays)",
                init.strength
            )));
        }
        let blur = init.mask.as_ref().map_or(0.0, |mask| mask.blur);
        if !(0.0..=MOST_BLUR).contains(&blur) {
            return Err(JobError::Request(format!(
                "a mask blur of {blur} cannot be used; it goes from 0 to {MOST_BLUR}"
            )));
        }
    }
    if request.vae_tile.is_some_and(|tile| tile < 64) {
        return Err(JobError::Request(
            "the autoencoder cannot work in parts of fewer than 64 pixels; choose larger ones, or leave it out".into(),
        ));
    }
    if !request.guidance.is_finite() || request.guidance.abs() > 1e4 {
        return Err(JobError::Request(format!(
            "a guidance scale of {} cannot be used",
            request.guidance
        )));
    }
    Ok(())
}
