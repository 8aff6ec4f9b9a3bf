//! The autoencoder in a job: at once, or in parts where that takes too much memory.
//!
//! Parts overlap by a quarter and are blended ([`crate::pipelines::tiles`]). The autoencoder's group norms see each part's own statistics, so that a picture made in
//! parts is not that made at once; overlap and blending hide the difference.

use super::ImageJob;
use crate::engine::ImageRequest;
use crate::graph::{ExecError, HostTensor, PlanId};
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::{Area, Raster};
use crate::pipelines::store::{Form, ModelStore, PlanKey, Shortage};
use crate::pipelines::tiles::Tiles;
use crate::pipelines::{Context, JobError};

/// Parts of the latents have at least so many pixels a side.
const LEAST_TILE: usize = 8;
/// Parts of the latents that are tried where they do not fit into memory at once, largest first.
const TILES: [usize; 4] = [64, 32, 16, LEAST_TILE];
/// The autoencoder's weights are small and used once in a picture: streamed, it still sees the picture whole.
pub(super) const SHORTAGE: Shortage = Shortage::Stream;

/// What is made of a picture or of latents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Decode,
    Encode,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Encode => "encode",
        }
    }

    /// Sides of the parts of latents of `h` x `w` that are tried, largest first: the request's, where it says one, else all at once; then ever smaller
    /// ones. What was found too large for this picture before is left out.
    pub(super) fn parts(
        self,
        store: &ModelStore,
        request: &ImageRequest,
        model: &ImageModel,
        [h, w]: [usize; 2],
    ) -> Vec<usize> {
        let first = match request.vae_tile {
            Some(pixels) => (pixels as usize / model.factor().max(1)).max(LEAST_TILE),
            None => store
                .vae_tile((&request.model.name, self.name(), h, w))
                .unwrap_or(h.max(w)),
        };
        let most = first.min(h.max(w)) / 2;
        std::iter::once(first)
            .chain(TILES.into_iter().filter(|tile| *tile <= most))
            .collect()
    }

    /// What is planned for each of these parts.
    pub(super) fn forms<'a>(
        self,
        model: &'a ImageModel,
        [h, w]: [usize; 2],
        parts: &[usize],
    ) -> Vec<Form<'a>> {
        let (vae, factor) = (model.vae(), model.factor().max(1));
        let form = |tile: &usize| {
            let (h, w) = (h.min(*tile), w.min(*tile));
            match self {
                Self::Encode => {
                    let (height, width) = (h * factor, w * factor);
                    Form::new(PlanKey::EncodePicture(height, width), move || {
                        vae.encode_graph(height, width)
                    })
                }
                Self::Decode => Form::new(PlanKey::Decode(h, w), move || vae.decode_graph(h, w)),
            }
        };
        parts.iter().map(form).collect()
    }
}

impl ImageJob {
    /// Latents `[c, h, w]`, in the autoencoder's own scale, to a picture of three channels, about -1 to 1.
    ///
    /// # Errors
    /// From the executor; memory that does not suffice even for small parts.
    pub(super) fn vae_decode(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        latents: &Raster,
    ) -> Result<Vec<f32>, JobError> {
        self.vae(context, model, latents, Way::Decode)
    }

    /// A picture in -1 to 1, whose sides are multiples of the autoencoder's factor, to its latents' means and deviations.
    ///
    /// # Errors
    /// As [`Self::vae_decode`].
    pub(super) fn vae_encode(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        picture: &Raster,
    ) -> Result<(Vec<f32>, Vec<f32>), JobError> {
        let mut both = self.vae(context, model, picture, Way::Encode)?;
        let deviation = both.split_off(both.len() / 2);
        Ok((both, deviation))
    }

    /// In the largest parts that fit ([`Way::parts`]).
    fn vae(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        input: &Raster,
        way: Way,
    ) -> Result<Vec<f32>, JobError> {
        let factor = model.factor().max(1);
        let (h, w) = match way {
            Way::Decode => (input.height, input.width),
            Way::Encode => (input.height / factor, input.width / factor),
        };
        let mut parts = way.parts(context.store, &self.request, model, [h, w]);
        let mut smaller = false;
        loop {
            let owner = (self.request.model.name.as_str(), model.vae_changes());
            let forms = way.forms(model, [h, w], &parts);
            let (place, plan) =
                (context.store).first_fitting(owner, forms, SHORTAGE, context.interrupt)?;
            let tile = parts.get(place).copied().unwrap_or(LEAST_TILE);
            smaller |= place > 0;
            let result = if tile >= h.max(w) {
                self.vae_part(context, model, input, (way, plan))
            } else {
                self.vae_in_tiles(context, model, input, (way, plan), ([h, w], tile))
            };
            match result {
                // Other programs have taken what was there.
                Err(JobError::Exec(ExecError::OutOfMemory { .. })) if place + 1 < parts.len() => {
                    context.store.give_up(plan);
                    parts.drain(..=place);
                    smaller = true;
                    tracing::info!("the autoencoder goes on with smaller parts");
                }
                result => {
                    // The next picture need not drive everything out of memory to find out again.
                    if smaller && result.is_ok() && self.request.vae_tile.is_none() {
                        let key = (self.request.model.name.clone(), way.name(), h, w);
                        context.store.keep_vae_tile(key, tile);
                    }
                    return result;
                }
            }
        }
    }

    /// In parts of `tile` latent pixels a side.
    fn vae_in_tiles(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        input: &Raster,
        (way, plan): (Way, PlanId),
        ([h, w], tile): ([usize; 2], usize),
    ) -> Result<Vec<f32>, JobError> {
        let tiles = Tiles::new(w, h, tile, tile / 4);
        let (wide, tall) = tiles.size();
        let factor = model.factor();
        // In the units of the input; the result is larger or smaller.
        let (unit, mut canvas) = match way {
            Way::Decode => (1, tiles.canvas(3, factor)),
            Way::Encode => (factor, tiles.canvas(2 * model.latent_channels(), 1)),
        };
        for part in tiles.parts() {
            let area = Area {
                x: part.x * unit,
                y: part.y * unit,
                width: wide * unit,
                height: tall * unit,
            };
            let values = self.vae_part(context, model, &input.crop(area), (way, plan))?;
            canvas.lay(&values, part);
        }
        Ok(canvas.finish())
    }

    /// One part, or all at once. Encoded, means come before deviations.
    fn vae_part(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        input: &Raster,
        (way, plan): (Way, PlanId),
    ) -> Result<Vec<f32>, JobError> {
        let (height, width) = (input.height, input.width);
        let name = match way {
            Way::Decode => "latent",
            Way::Encode => "picture",
        };
        let channels = input.values.len() / (height * width).max(1);
        let tensor = HostTensor::f32([1, channels, height, width], input.values.clone());
        let outputs = context
            .store
            .run(plan, &[(name, tensor)], &[], context.interrupt)?;
        let mut outputs = outputs.into_iter().map(HostTensor::into_f32);
        let mut values = outputs.next().unwrap_or_default();
        if way == Way::Encode {
            match outputs.next() {
                Some(logvar) => values.extend(logvar.iter().map(|value| (0.5 * value).exp())),
                None => values.resize(2 * values.len(), 0.0),
            }
        }
        let (factor, pixels) = (model.factor(), height * width);
        let wanted = match way {
            Way::Decode => 3 * pixels * factor * factor,
            Way::Encode => 2 * model.latent_channels() * (pixels / (factor * factor)),
        };
        if values.len() != wanted {
            return Err(JobError::Request(format!(
                "the model's autoencoder makes {} values of {width}x{height}, not {wanted}; pictures have three colours",
                values.len()
            )));
        }
        Ok(values)
    }
}
