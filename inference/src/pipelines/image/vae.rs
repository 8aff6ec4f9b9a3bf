//! The autoencoder in a job: at once, or in parts where that takes too much memory.
//!
//! Parts overlap by a quarter and are blended ([`crate::pipelines::tiles`]). The autoencoder's group norms see each part's own statistics, so that a picture made in
//! parts is not that made at once; overlap and blending hide the difference.

use super::ImageJob;
use crate::graph::{ExecError, HostTensor};
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::raster::{Area, Raster};
use crate::pipelines::store::PlanKey;
use crate::pipelines::tiles::Tiles;
use crate::pipelines::{Context, JobError};

/// Parts of the latents have at least so many pixels a side.
const LEAST_TILE: usize = 8;
/// Largest parts that are tried where a picture does not fit into memory at once.
const FIRST_TILE: usize = 64;

/// What is made of a picture or of latents.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
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

    /// In parts of the request's size where it says one, else at once; where that does not fit into memory, in ever smaller parts.
    fn vae(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
        input: &Raster,
        way: Way,
    ) -> Result<Vec<f32>, JobError> {
        let factor = model.factor();
        let (h, w) = match way {
            Way::Decode => (input.height, input.width),
            Way::Encode => (input.height / factor, input.width / factor),
        };
        let mut tile = match self.request.vae_tile {
            Some(pixels) => (pixels as usize / factor).max(LEAST_TILE),
            None => context
                .store
                .vae_tile((&self.request.model.name, way.name(), h, w))
                .unwrap_or(h.max(w)),
        };
        let mut smaller = false;
        loop {
            let result = if tile >= h.max(w) {
                self.vae_part(context, model, input, way)
            } else {
                self.vae_in_tiles(context, model, input, (way, [h, w], tile))
            };
            match result {
                Err(JobError::Exec(ExecError::OutOfMemory { .. })) if tile > LEAST_TILE => {
                    tile = (tile.min(h.max(w)) / 2).clamp(LEAST_TILE, FIRST_TILE);
                    smaller = true;
                    tracing::info!(
                        "the autoencoder goes on with parts of {} pixels",
                        tile * factor
                    );
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
        (way, [h, w], tile): (Way, [usize; 2], usize),
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
            let values = self.vae_part(context, model, &input.crop(area), way)?;
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
        way: Way,
    ) -> Result<Vec<f32>, JobError> {
        let (height, width) = (input.height, input.width);
        let (key, name) = match way {
            Way::Decode => (PlanKey::Decode(height, width), "latent"),
            Way::Encode => (PlanKey::EncodePicture(height, width), "picture"),
        };
        let owner = &self.request.model.name;
        let plan =
            context
                .store
                .plan_while(
                    context.interrupt,
                    owner,
                    model.vae_changes(),
                    key,
                    || match way {
                        Way::Decode => model.vae().decode_graph(height, width),
                        Way::Encode => model.vae().encode_graph(height, width),
                    },
                )?;
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
