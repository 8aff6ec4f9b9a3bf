//! Latents to pictures: the result, and previews of it.

use std::sync::Arc;

use super::ImageJob;
use crate::engine::Picture;
use crate::graph::HostTensor;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::store::PlanKey;
use crate::pipelines::{Context, JobError};

/// Previews are decoded by the VAE itself up to this many latent pixels, where that costs less than a tenth of a step.
const PREVIEW_BY_DECODER: usize = 16 * 16;

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
        let [c, h, w] = self.latent_shape(model)?;
        let plan = context.store.plan(
            &self.request.model.name,
            model.vae_changes(),
            PlanKey::Decode(h, w),
            || model.vae().decode_graph(h, w),
        )?;
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
