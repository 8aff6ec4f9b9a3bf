//! Pictures made larger by an upscaler, part by part.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::error::JobError;
use super::forecast::Work;
use super::raster::Raster;
use super::sound::{self, Maker, require_numbers};
use super::store::{ModelStore, PlanKey};
use super::tiles::{Canvas, Part, Tiles};
use super::{Context, Pipeline, Progress};
use crate::engine::{Event, Outcome, Request, UpscaleRequest};
use crate::formats::upscaler::{UpscalerConfig, open_upscaler};
use crate::graph::{ExecError, Graph, HostTensor, Interrupt};
use crate::models::{RrdbNet, SrVgg};

/// Pixels a side of each part where nobody says.
pub const TILE: usize = 192;
/// The least that parts have a side; below it there is not memory enough for anything.
const LEAST_TILE: usize = 32;
/// Pixels that neighbouring parts have in common.
const OVERLAP: usize = 32;
/// Most pixels of a result; sums of 16 bytes are kept for each.
const MOST_PIXELS: usize = 1 << 26;

/// A network that makes pictures larger.
pub enum Upscaler {
    /// ESRGAN's.
    Rrdb(Box<RrdbNet>, String),
    /// Real-ESRGAN's small one.
    Compact(Box<SrVgg>, String),
}

impl Upscaler {
    /// Loads a file; `hash` is its own.
    ///
    /// # Errors
    /// If it is faulty, or holds another network.
    pub fn open(path: &Path, hash: String) -> Result<Self, JobError> {
        let file = open_upscaler(path)?;
        sound::check("upscaler", path, &file.weights)?;
        Ok(match file.config {
            UpscalerConfig::Rrdb(config) => {
                Self::Rrdb(Box::new(RrdbNet::new(config, file.weights)?), hash)
            }
            UpscalerConfig::Compact(config) => {
                Self::Compact(Box::new(SrVgg::new(config, file.weights)?), hash)
            }
        })
    }

    /// Its shape.
    pub fn config(&self) -> UpscalerConfig {
        match self {
            Self::Rrdb(net, _) => UpscalerConfig::Rrdb(*net.config()),
            Self::Compact(net, _) => UpscalerConfig::Compact(*net.config()),
        }
    }

    /// First ten digits of the SHA-256 of its file.
    pub fn hash(&self) -> &str {
        match self {
            Self::Rrdb(_, hash) | Self::Compact(_, hash) => hash,
        }
    }

    /// The graph for a part of a picture.
    pub(super) fn graph(&self, height: usize, width: usize) -> Result<Graph, JobError> {
        Ok(match self {
            Self::Rrdb(net, _) => net.graph(height, width)?,
            Self::Compact(net, _) => net.graph(height, width)?,
        })
    }
}

/// The plan for the parts that a picture of this size is made larger in, where nobody says otherwise, and their height and width.
pub(super) fn first_part(net: &Upscaler, height: usize, width: usize) -> (PlanKey, [usize; 2]) {
    let multiple = net.config().multiple();
    let part = |side: usize| side.div_ceil(multiple).min((TILE / multiple).max(1)) * multiple;
    let (height, width) = (part(height), part(width));
    (PlanKey::Upscale(height, width), [height, width])
}

/// A picture being made larger; one part at a time.
pub(super) struct Enlargement {
    net: Arc<Upscaler>,
    name: String,
    /// The size that was given, before it was filled up.
    given: (usize, usize),
    /// The picture, filled up to a multiple of what the network takes.
    picture: Raster,
    /// Whether smaller parts may be tried.
    automatic: bool,
    tile: usize,
    tiles: Tiles,
    waiting: Vec<Part>,
    total: usize,
    canvas: Canvas,
}

impl Enlargement {
    /// Begins; `tile` pixels a side, 0 for all at once.
    ///
    /// # Errors
    /// A result that would be too large.
    pub fn new(
        net: Arc<Upscaler>,
        name: &str,
        picture: &Raster,
        tile: Option<u32>,
    ) -> Result<Self, JobError> {
        let config = net.config();
        let (scale, multiple) = (config.scale(), config.multiple());
        let pixels = picture
            .width
            .checked_mul(picture.height)
            .and_then(|pixels| pixels.checked_mul(scale * scale));
        if pixels.is_none_or(|pixels| pixels > MOST_PIXELS) {
            return Err(JobError::Request(format!(
                "a picture of {}x{} made {scale} times as large would have more than {} million pixels; make it smaller first",
                picture.width,
                picture.height,
                MOST_PIXELS / 1_000_000
            )));
        }
        let filled = filled(picture, multiple);
        let tile = match tile {
            Some(0) => filled.width.max(filled.height),
            Some(tile) => (tile as usize).max(LEAST_TILE),
            None => TILE,
        };
        let mut enlargement = Self {
            name: name.to_owned(),
            given: (picture.width, picture.height),
            automatic: true,
            tile,
            tiles: Tiles::new(1, 1, 1, 0),
            waiting: Vec::new(),
            total: 0,
            canvas: Tiles::new(1, 1, 1, 0).canvas(0, 1),
            picture: filled,
            net,
        };
        enlargement.divide();
        Ok(enlargement)
    }

    /// Begins anew with parts of the present size. Sides of parts and places where they begin are multiples of what the network takes.
    fn divide(&mut self) {
        let multiple = self.net.config().multiple();
        let units = |pixels: usize| (pixels / multiple).max(1);
        // In units, so that all is a multiple.
        self.tiles = Tiles::new(
            units(self.picture.width),
            units(self.picture.height),
            units(self.tile),
            units(OVERLAP),
        );
        self.waiting = self.tiles.parts();
        self.waiting.reverse();
        self.total = self.waiting.len();
        self.canvas = self.tiles.canvas(3, multiple * self.net.config().scale());
    }

    /// The plan for its parts, and their height and width.
    fn part(&self) -> (PlanKey, [usize; 2]) {
        let multiple = self.net.config().multiple();
        let (wide, tall) = self.tiles.size();
        let (width, height) = (wide * multiple, tall * multiple);
        (PlanKey::Upscale(height, width), [height, width])
    }

    /// Parts done, and all.
    pub fn progress(&self) -> (usize, usize) {
        (self.total - self.waiting.len(), self.total)
    }

    /// Does one part; gives the whole after the last.
    ///
    /// # Errors
    /// From the executor; numbers that are none.
    pub fn step(
        &mut self,
        store: &mut ModelStore,
        interrupt: &mut dyn Interrupt,
    ) -> Result<Option<Raster>, JobError> {
        let Some(&part) = self.waiting.last() else {
            return Ok(Some(self.whole()));
        };
        let multiple = self.net.config().multiple();
        let (key, [height, width]) = self.part();
        let net = &self.net;
        let plan =
            match store.plan_while(interrupt, &self.name, 0, key, || net.graph(height, width)) {
                Err(JobError::Exec(ExecError::OutOfMemory { .. }))
                    if self.automatic && self.tile > LEAST_TILE =>
                {
                    // Smaller parts need less at once.
                    self.tile = (width.max(height).min(self.tile) / 2).max(LEAST_TILE);
                    tracing::info!("the upscaler goes on with parts of {} pixels", self.tile);
                    self.divide();
                    return Ok(None);
                }
                plan => plan?,
            };
        let area = super::raster::Area {
            x: part.x * multiple,
            y: part.y * multiple,
            width,
            height,
        };
        let values = self.picture.crop(area).values;
        let inputs = [("picture", HostTensor::f32([1, 3, height, width], values))];
        let output = store.run(plan, &inputs, &[], interrupt)?;
        let output = output.into_iter().next().map(HostTensor::into_f32);
        let values = output.unwrap_or_default();
        require_numbers(&values, Maker::Upscaler).map_err(|error| error.of_model(&self.name))?;
        self.canvas.lay(&values, part);
        self.waiting.pop();
        Ok(self.waiting.is_empty().then(|| self.whole()))
    }

    /// All parts laid together, without what was filled up.
    fn whole(&self) -> Raster {
        let scale = self.net.config().scale();
        let values = self.canvas.finish();
        let whole = Raster {
            width: self.picture.width * scale,
            height: self.picture.height * scale,
            values: values.into_iter().map(|v| v.clamp(0.0, 1.0)).collect(),
        };
        whole.crop(super::raster::Area {
            x: 0,
            y: 0,
            width: self.given.0 * scale,
            height: self.given.1 * scale,
        })
    }
}

/// With its last rows and columns repeated, the nearest first, to a multiple of `multiple`.
fn filled(picture: &Raster, multiple: usize) -> Raster {
    let up = |side: usize| side.next_multiple_of(multiple.max(1));
    let (width, height) = (up(picture.width), up(picture.height));
    if (width, height) == (picture.width, picture.height) {
        return picture.clone();
    }
    let mirrored = |place: usize, side: usize| match place.checked_sub(side) {
        None => place,
        Some(beyond) => side.saturating_sub(2 + beyond),
    };
    let plane = picture.width * picture.height;
    let planes = picture.values.chunks_exact(plane.max(1));
    let values = planes
        .flat_map(|plane| {
            (0..height).flat_map(move |y| {
                let row = mirrored(y, picture.height) * picture.width;
                (0..width).map(move |x| {
                    let place = row + mirrored(x, picture.width);
                    plane.get(place).copied().unwrap_or(0.0)
                })
            })
        })
        .collect();
    Raster {
        width,
        height,
        values,
    }
}

/// Width and height of a picture of another that is made `scale` times as large.
///
/// # Errors
/// More pixels than a result may have.
fn wanted_size((width, height): (usize, usize), scale: f32) -> Result<(usize, usize), JobError> {
    let side = |side: usize| ((side as f32 * scale).round() as usize).max(1);
    let (wide, tall) = (side(width), side(height));
    match wide.checked_mul(tall) {
        Some(pixels) if pixels <= MOST_PIXELS => Ok((wide, tall)),
        _ => Err(JobError::Request(format!(
            "a picture of {width}x{height} made {scale} times as large would have {wide}x{tall} pixels, which is more than {} million; choose a smaller number",
            MOST_PIXELS / 1_000_000
        ))),
    }
}

/// A picture being made larger, as a job.
pub struct UpscaleJob {
    request: UpscaleRequest,
    work: Option<Enlargement>,
    seconds: f32,
}

impl UpscaleJob {
    /// A job at its start.
    pub fn new(request: UpscaleRequest) -> Self {
        Self {
            request,
            work: None,
            seconds: 0.0,
        }
    }

    fn begin(&mut self, context: &mut Context<'_>) -> Result<(), JobError> {
        if let Some(scale) = self.request.scale
            && !(scale > 0.0 && scale <= 16.0)
        {
            return Err(JobError::Request(format!(
                "a picture cannot be made {scale} times as large; choose a number above 0 up to 16"
            )));
        }
        let blob = context.store.blob(&self.request.picture)?;
        let picture = Raster::of_tensor(&blob, 3).ok_or_else(|| {
            JobError::Request(format!(
                "the picture to be made larger has shape {:?}; it must be [3, height, width] of numbers",
                blob.shape
            ))
        })?;
        if let Some(scale) = self.request.scale {
            // Before anything is loaded; the network's own scale says nothing of it.
            wanted_size((picture.width, picture.height), scale)?;
        }
        let (store, mut loading) = context.loading(&self.request.model.name);
        let net = store.upscaler(&self.request.model, &mut loading)?;
        let hash = net.hash().to_owned();
        if let Some(wanted) = self.request.model.hash.as_ref().filter(|w| **w != hash) {
            context.warn(format!(
                "the request was made with another '{}' (hash {wanted}, here {hash}); the picture will differ",
                self.request.model.name
            ));
        }
        let name = &self.request.model.name;
        let work = Enlargement::new(Arc::clone(&net), name, &picture, self.request.tile)?;
        let (key, [height, width]) = work.part();
        let first = Work::new(name, 0, key, || net.graph(height, width));
        context.store.forecast(vec![first])?;
        self.request.model.hash = Some(hash);
        self.work = Some(work);
        Ok(())
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Result<Option<Raster>, JobError> {
        let Some(work) = &mut self.work else {
            self.begin(context)?;
            return Ok(None);
        };
        let started = Instant::now();
        let whole = work.step(context.store, context.interrupt)?;
        let (done, total) = work.progress();
        context.emit(Event::Step {
            job: context.job,
            index: done as u32,
            total: total as u32,
            seconds: started.elapsed().as_secs_f32(),
            preview: None,
        });
        let Some(whole) = whole else {
            return Ok(None);
        };
        Ok(Some(match self.request.scale {
            Some(scale) => {
                let (width, height) = wanted_size(work.given, scale)?;
                whole.resized(width, height)
            }
            None => whole,
        }))
    }
}

impl Pipeline for UpscaleJob {
    fn step(&mut self, context: &mut Context<'_>) -> Result<Progress, JobError> {
        let started = Instant::now();
        let whole = self.advance(context);
        self.seconds += started.elapsed().as_secs_f32();
        Ok(match whole? {
            None => Progress::Working,
            Some(whole) => Progress::Finished(Outcome::Image {
                picture: Arc::new(whole.to_picture()),
                request: Box::new(Request::Upscale(self.request.clone())),
                seconds: self.seconds,
            }),
        })
    }

    fn needs_blob(&self, hash: &str) -> bool {
        self.request.picture.0 == hash
    }

    /// A picture with holes is of no use to anybody.
    fn partial(&mut self, _context: &mut Context<'_>) -> Option<Outcome> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_most_pixels_are_refused() {
        assert_eq!(wanted_size((100, 40), 2.5).unwrap(), (250, 100));
        assert_eq!(wanted_size((512, 512), 16.0).unwrap(), (8192, 8192));
        for (size, scale) in [
            ((513, 512), 16.0),
            ((2048, 2048), 16.0),
            ((1 << 26, 2), 1.0),
        ] {
            let reason = wanted_size(size, scale).unwrap_err().to_string();
            assert!(reason.contains("million"), "{reason}");
        }
    }

    #[test]
    fn pictures_are_filled_up_by_their_mirror() {
        let picture = Raster {
            width: 3,
            height: 1,
            values: vec![1.0, 2.0, 3.0],
        };
        let wide = filled(&picture, 4);
        assert_eq!((wide.width, wide.height), (4, 4));
        assert_eq!(wide.values[..4], [1.0, 2.0, 3.0, 2.0]);
        assert_eq!(filled(&picture, 1), picture);
    }
}
