//! Latents to pictures: the result, and previews of it.

use std::sync::Arc;

use super::ImageJob;
use crate::engine::Picture;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::Raster;
use crate::pipelines::sound::{Maker, require_numbers};
use crate::pipelines::{Context, JobError};

/// Previews are decoded by the VAE itself up to this many latent pixels, where that costs less than a tenth of a step.
pub(super) const PREVIEW_BY_DECODER: usize = 16 * 16;

impl ImageJob {
    /// The picture that is handed over: what was drawn, laid into the picture that it began from where that is asked for.
    pub(super) fn finish(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
    ) -> Result<Picture, JobError> {
        let drawn = self.decode(context, model, latents)?;
        if self.request.init.is_none() {
            return Ok(drawn);
        }
        let source = self.source(context, model)?;
        Ok(source.lay_back(drawn))
    }

    /// Latents to a picture.
    fn decode(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
    ) -> Result<Picture, JobError> {
        let [_, h, w] = self.latent_shape(model)?;
        let values = self.decoded_values(context, model, latents)?;
        let (width, height) = (w * model.factor(), h * model.factor());
        let pixels = width * height;
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

    /// Latents to a picture in 0 to 1, as fine as the autoencoder makes it.
    pub(super) fn decoded(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
    ) -> Result<Raster, JobError> {
        let [_, h, w] = self.latent_shape(model)?;
        let values = self.decoded_values(context, model, latents)?;
        let unit = |value: f32| (value / 2.0 + 0.5).clamp(0.0, 1.0);
        Ok(Raster {
            width: w * model.factor(),
            height: h * model.factor(),
            values: values.into_iter().map(unit).collect(),
        })
    }

    /// What the autoencoder makes of latents, about -1 to 1.
    fn decoded_values(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
    ) -> Result<Vec<f32>, JobError> {
        let [_, h, w] = self.latent_shape(model)?;
        require_numbers(latents, Maker::Steps(None))?;
        let scaled = latents
            .iter()
            .map(|latent| latent / model.vae().scaling() + model.vae().shift())
            .collect();
        let latents = Raster {
            width: w,
            height: h,
            values: scaled,
        };
        let values = self.vae_decode(context, model, &latents)?;
        require_numbers(&values, Maker::Decoder)?;
        Ok(values)
    }

    /// What the picture looks like so far, small.
    pub(super) fn preview(
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
