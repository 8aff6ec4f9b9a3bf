//! The second pass (AUTOMATIC1111's "hires fix"): what was drawn is made larger, and drawn over in the larger size.
//!
//! The noise of the second pass is the seed's own for its size, as if it were a picture to begin from.

use std::sync::Arc;

use super::{ImageJob, LARGEST_SIDE, Stage, begin};
use crate::diffusion::{Beginning, Denoising};
use crate::engine::{BlobRef, Hires, HiresUpscaler, ImageRequest, InitPicture};
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::Raster;
use crate::pipelines::upscale::Enlargement;
use crate::pipelines::{Context, JobError, Progress};

/// Beyond it a factor is a mistake.
const MOST_SCALE: f32 = 8.0;

/// A side made larger, rounded down. By the decimal number that was meant, as Python counts: 720 times 1.3 are 936, for which floats of 32 bits have no
/// 1.3.
fn scaled(side: u32, scale: f32) -> u32 {
    let scale: f64 = scale.to_string().parse().unwrap_or(1.0);
    (f64::from(side) * scale) as u32
}

impl ImageJob {
    /// Refuses settings of the second pass that cannot be used, and loads its upscaler, before anything runs.
    pub(super) fn check_hires(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<(), JobError> {
        let Some(hires) = self.request.hires.clone() else {
            return Ok(());
        };
        let wrong = |message: String| Err(JobError::Request(message));
        if !(hires.scale > 1.0 && hires.scale <= MOST_SCALE) {
            return wrong(format!(
                "a second pass {} times as large cannot be drawn; choose a number above 1 up to {MOST_SCALE}",
                hires.scale
            ));
        }
        if !(hires.strength > 0.0 && hires.strength <= 1.0) {
            return wrong(format!(
                "a second pass of strength {} cannot be drawn; it goes from above 0 (hardly anything changes) to 1 (nothing stays)",
                hires.strength
            ));
        }
        if hires.steps == Some(0) {
            return wrong("a second pass of no steps cannot be drawn; choose at least one".into());
        }
        if self.request.init.as_ref().is_some_and(|i| i.mask.is_some()) {
            return wrong(
                "a second pass cannot be drawn under a mask; leave out one of the two".into(),
            );
        }
        let (width, height) = self.second_size(model, &hires);
        if width.max(height) > LARGEST_SIDE {
            return wrong(format!(
                "a second pass of {width}x{height} pixels cannot be drawn; the longest side is {LARGEST_SIDE}"
            ));
        }
        // A strength that leaves no step to do is told now.
        self.steps_of(&self.second_request(model, &hires), model)?;
        if let HiresUpscaler::Model(upscaler) = &hires.upscaler {
            let (store, mut loading) = context.loading(&upscaler.name);
            let net = store.upscaler(upscaler, &mut loading)?;
            if let Some(Hires {
                upscaler: HiresUpscaler::Model(kept),
                ..
            }) = &mut self.request.hires
            {
                kept.hash = Some(net.hash().to_owned());
            }
        }
        Ok(())
    }

    /// Width and height of the second pass, as the model can draw them.
    fn second_size(&self, model: &ImageModel, hires: &Hires) -> (u32, u32) {
        let factor = (model.factor() as u32).max(1);
        let side = |side: u32| (scaled(side, hires.scale) / factor).max(1) * factor;
        (side(self.request.width), side(self.request.height))
    }

    /// What the second pass is, as a request of its own.
    pub(super) fn second_request(&self, model: &ImageModel, hires: &Hires) -> ImageRequest {
        let (width, height) = self.second_size(model, hires);
        // Steps are counted through both passes.
        let first = self
            .steps_of(&self.request, model)
            .unwrap_or(self.request.steps);
        ImageRequest {
            stop_after: self
                .request
                .stop_after
                .map(|stop| stop.saturating_sub(first)),
            width,
            height,
            steps: hires.steps.unwrap_or(self.request.steps),
            init: Some(InitPicture {
                // Never looked for: what is drawn over is at hand.
                picture: BlobRef("first pass".into()),
                strength: hires.strength,
                mask: None,
            }),
            noise: None,
            hires: None,
            ..self.request.clone()
        }
    }

    /// Outer steps that a request takes.
    pub(super) fn steps_of(
        &self,
        request: &ImageRequest,
        model: &ImageModel,
    ) -> Result<u32, JobError> {
        let mut beginning = Beginning::of_seed(request.noise_source, request.seed, 1);
        beginning.init = request.init.as_ref().map(|init| (vec![0.0], init.strength));
        let run = Denoising::new(&begin::sampler_spec(request), model.training(), beginning)?;
        Ok(run.total_steps() as u32)
    }

    /// Where step `index` of the present pass's `total` is in all passes, and how many there are in all.
    pub(super) fn place_in_passes(
        &self,
        model: &ImageModel,
        (index, total): (u32, u32),
    ) -> Result<(u32, u32), JobError> {
        if let Some(first) = &self.first {
            let before = self.steps_of(first, model)?;
            return Ok((before + index, before + total));
        }
        match &self.request.hires {
            Some(hires) => {
                let after = self.steps_of(&self.second_request(model, hires), model)?;
                Ok((index, total + after))
            }
            None => Ok((index, total)),
        }
    }

    /// Goes on in the second pass, after a checkpoint that was made in it.
    pub(super) fn reenter_second(&mut self, model: &ImageModel) {
        if !std::mem::take(&mut self.resumes_second) {
            return;
        }
        if let Some(hires) = self.request.hires.clone() {
            let second = self.second_request(model, &hires);
            let first = std::mem::replace(&mut self.request, second);
            self.first = Some(Box::new(first));
        }
    }

    /// After the last step of the first pass: what was drawn is made larger, and the second pass begins.
    pub(super) fn begin_second(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &[f32],
        hires: &Hires,
    ) -> Result<Progress, JobError> {
        // A branch may have changed it since the beginning.
        self.check_hires(context, model)?;
        let second = self.second_request(model, hires);
        let (width, height) = (second.width as usize, second.height as usize);
        match &hires.upscaler {
            HiresUpscaler::Latent => {
                let [_, h, w] = self.latent_shape(model)?;
                let latents = Raster {
                    width: w,
                    height: h,
                    values: latents.to_vec(),
                };
                let factor = model.factor();
                let larger = latents.interpolated(width / factor, height / factor).values;
                self.enter_second(second, begin::Source::of_latents(larger), context, model)
            }
            HiresUpscaler::Lanczos => {
                let picture = self.decoded(context, model, latents)?;
                self.draw_over(second, &picture, context, model)
            }
            HiresUpscaler::Model(upscaler) => {
                let picture = self.decoded(context, model, latents)?;
                let net = context.store.upscaler(upscaler, &mut ())?;
                let work = Enlargement::new(net, &upscaler.name, &picture, None)?;
                self.stage = Stage::Enlarge(Box::new(work));
                Ok(Progress::Working)
            }
        }
    }

    /// One part of the enlargement; after the last the second pass begins.
    pub(super) fn enlarge(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Progress, JobError> {
        let Stage::Enlarge(work) = &mut self.stage else {
            return Ok(Progress::Working);
        };
        let Some(larger) = work.step(context.store, context.interrupt)? else {
            return Ok(Progress::Working);
        };
        let Some(hires) = self.request.hires.clone() else {
            return Ok(Progress::Working);
        };
        let second = self.second_request(model, &hires);
        self.draw_over(second, &larger, context, model)
    }

    /// Begins the second pass from a picture.
    fn draw_over(
        &mut self,
        second: ImageRequest,
        picture: &Raster,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Progress, JobError> {
        let picture = picture.resized(second.width as usize, second.height as usize);
        let encoded = self.encode(context, model, &picture)?;
        self.enter_second(second, begin::Source::of_encoded(encoded), context, model)
    }

    fn enter_second(
        &mut self,
        second: ImageRequest,
        source: begin::Source,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Progress, JobError> {
        let first = std::mem::replace(&mut self.request, second);
        self.first = Some(Box::new(first));
        // All that was made for the first pass's size.
        (self.guides, self.conditioning, self.source) = (None, None, None);
        let begun = self.begin_from(source, context, model);
        match begun {
            Ok(denoising) => self.stage = Stage::Denoise(Box::new(denoising)),
            Err(error) => {
                // After an interruption it is done again, from the first pass.
                if let Some(first) = self.first.take() {
                    self.request = *first;
                }
                (self.guides, self.conditioning, self.source) = (None, None, None);
                return Err(error);
            }
        }
        Ok(Progress::Working)
    }

    fn begin_from(
        &mut self,
        mut source: begin::Source,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Denoising, JobError> {
        if model.unet().config().in_channels > model.latent_channels() {
            // Its network was made for inpainting: all is masked.
            source.extra_channels = self.nothing(context, model)?.extra_channels;
        }
        self.source = Some(Arc::new(source));
        let denoising = self.begin(context, model)?;
        self.conditioning(context, model)?;
        Ok(denoising)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_those_of_the_decimal_number() {
        for (side, scale, wanted) in [
            (720, 1.3, 936),
            (640, 1.3, 832),
            (512, 1.1, 563),
            (1000, 1.001, 1000),
            (512, 2.0, 1024),
            (600, 1.01, 606),
        ] {
            assert_eq!(scaled(side, scale), wanted, "{side} x {scale}");
        }
    }
}
