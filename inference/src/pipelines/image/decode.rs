//! Latents to pictures: the result, and previews of it.

use std::sync::Arc;

use super::ImageJob;
use crate::engine::Picture;
use crate::pipelines::image_model::{Autoencoder, ImageModel};
use crate::pipelines::raster::Raster;
use crate::pipelines::sound::{Maker, require_numbers};
use crate::pipelines::{Context, JobError};

/// Previews are decoded by the VAE itself up to this many latent pixels, where that costs less than a tenth of a step.
const PREVIEW_BY_DECODER: usize = 16 * 16;

/// Whether previews of latents of this height and width are decoded by the VAE itself: a distilled one always costs next to nothing.
pub(super) fn previews_by_decoder(vae: &Autoencoder, height: usize, width: usize) -> bool {
    vae.is_tiny() || height * width <= PREVIEW_BY_DECODER
}

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
        if previews_by_decoder(model.vae(), h, w) {
            return self.decode(context, model, denoised).ok().map(Arc::new);
        }
        // Nothing but the XL family is told more than the text.
        let factors = match model.unet().config().added {
            Some(_) => &FACTORS_XL,
            None => &FACTORS,
        };
        linear_preview(denoised, [c, h, w], factors).map(Arc::new)
    }
}

/// -1..1 to 0..255, as diffusers rounds.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// How much red, green and blue each channel of Stable Diffusion's latents is: the linear map that A1111 calls "Approx cheap" (fitted by K. Turner).
const FACTORS: [[f32; 3]; 4] = [
    [0.298, 0.207, 0.208],
    [0.187, 0.286, 0.173],
    [-0.158, 0.189, 0.264],
    [-0.184, -0.271, -0.473],
];
/// The same for the latents of the XL family, whose channels mean something else (A1111's too).
const FACTORS_XL: [[f32; 3]; 4] = [
    [0.3448, 0.4168, 0.4395],
    [-0.1953, -0.0290, 0.0250],
    [0.1074, 0.0886, -0.0163],
    [-0.3730, -0.2499, -0.2088],
];

/// What four-channel latents look like, one pixel each.
fn linear_preview(
    latents: &[f32],
    [c, h, w]: [usize; 3],
    of_channels: &[[f32; 3]; 4],
) -> Option<Picture> {
    if c != 4 || latents.len() != c * h * w {
        return None;
    }
    let mut rgb = Vec::with_capacity(3 * h * w);
    for pixel in 0..h * w {
        let mut colours = [0f32; 3];
        for (channel, factors) in of_channels.iter().enumerate() {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_colours() {
        // Two pixels: the first channel alone, then the last alone.
        let latents = [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        let seen = |factors| linear_preview(&latents, [4, 1, 2], factors).unwrap().rgb;
        let byte = |value: f32| ((value + 0.5) * 255.0).round() as u8;
        assert_eq!(seen(&FACTORS)[..3], [0.298, 0.207, 0.208].map(byte));
        assert_eq!(seen(&FACTORS_XL)[..3], [0.3448, 0.4168, 0.4395].map(byte));
        assert_eq!(seen(&FACTORS_XL)[3..], [-0.373, -0.2499, -0.2088].map(byte));
        assert!(linear_preview(&[0.0; 16], [16, 1, 1], &FACTORS).is_none());
    }
}
