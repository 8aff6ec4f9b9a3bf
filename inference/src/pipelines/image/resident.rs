//! Latents that stay on the device from one step to the next.
//!
//! Where the executor keeps vectors ([`crate::graph::DeviceVectors`]), a picture is denoised there as a whole: the network's input is made of the latents on
//! the device, its answer stays there, and guidance and the sampler's update are one sum of vectors, whose factors come from the sampler itself
//! ([`crate::diffusion::Outline`]). So every sampler, guidance of one or several prompts with or without rescaling, masks, networks made for inpainting and
//! ControlNets go this way; the CPU executor does not, nor do latents too large for one binding or more prompts than have room in a program. Which way is
//! settled when denoising begins, by request and device alone.
//!
//! The device has the next evaluation to do before the host waits for the one before, so that it does not run dry, and never more than that one: its first
//! submit is sent, then what the one before led to is taken in and told, then the rest is sent. What somebody wants to see (a preview, a trace, a checkpoint) is asked for with the evaluation and comes while the next runs; where nobody looks nothing is read.
//! [`Stage::Denoise`] holds the run as it was last seen: from there it goes on when the device is lost, from there to the very same picture.

use std::sync::Arc;
use std::time::Instant;

use super::begin::Source;
use super::{CHECKPOINT_SECONDS, ImageJob, Stage, meanwhile};
use crate::diffusion::{Denoising, DiffusionError, Mixture, Outline, RunVector};
use crate::engine::ImageRequest;
use crate::graph::{Answer, ExecError, Piece, Rescale, Sums, VectorsId};
use crate::pipelines::batch::FedRows;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::prompt::{self, Conditioning};
use crate::pipelines::{Context, JobError, ModelStore, Progress};

/// The network's input lies where its answer counts in sums.
const QUESTION: usize = RunVector::Answer.index();
/// The first row of the network's answer; what an inpainting network sees beside the latents lies behind the last.
const ROWS: usize = RunVector::COUNT;
/// Rows that have room in the words that tell of a sum.
const MOST_ROWS: usize = 32;

/// Vectors that make up a run where they are the most: latents, prediction, and what multistep methods keep.
const MOST_SEEN: usize = 2 + RunVector::MOST_KEPT;

/// A run whose vectors lie on the device.
pub(super) struct Resident {
    set: VectorsId,
    /// As it is once all is done that the device was told.
    outline: Outline,
    /// The latest evaluation, not waited for yet.
    pending: Option<Pending>,
    /// When the one before was done.
    done: Instant,
}

/// An evaluation that the device was told to do.
struct Pending {
    /// The run after it.
    outline: Outline,
    sight: Sight,
    /// Whether a whole step is done with it.
    step_done: bool,
}

/// What is seen of an evaluation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Nothing.
    None,
    /// The predicted picture.
    Picture,
    /// All.
    Whole,
}

impl Resident {
    /// The run, to ask how far it is.
    pub fn run(&self) -> &Denoising {
        self.outline.run()
    }
}

/// Rows of the answer and how they are put together.
struct Guidance {
    weights: Vec<f32>,
    means: Vec<f32>,
    share: f32,
}

impl Guidance {
    /// As [`crate::diffusion::guide`], [`crate::diffusion::compose`] and [`crate::diffusion::rescale`] do it.
    fn new(conditioning: &Conditioning, scale: f32, share: f32) -> Self {
        let (mut weights, mut means) = (vec![0.0], Vec::new());
        if conditioning.guided {
            let all: f32 = conditioning.weights.iter().sum();
            weights.extend(conditioning.weights.iter().map(|weight| weight * scale));
            means.push(0.0);
            means.extend(conditioning.weights.iter().map(|weight| weight / all));
        }
        Self {
            weights,
            means,
            share,
        }
    }

    fn rescale(&self) -> Option<Rescale<'_>> {
        (self.share > 0.0 && !self.means.is_empty()).then_some(Rescale {
            means: &self.means,
            share: self.share,
        })
    }
}

/// Vectors, elements of each, and vectors that are seen at most, of a picture in latents of a height and width.
fn sizes(model: &ImageModel, rows: usize, [height, width]: [usize; 2]) -> [usize; 3] {
    let (channels, plane) = (model.latent_channels(), height * width);
    let beside = model.unet().config().in_channels.saturating_sub(channels);
    let vectors = ROWS + rows + beside.div_ceil(channels.max(1));
    [vectors, channels * plane, MOST_SEEN]
}

/// Bytes that the latents of a request will take on the device, with all that belongs to them; none where they stay on the host.
pub(super) fn bytes(store: &mut ModelStore, model: &ImageModel, request: &ImageRequest) -> u64 {
    let factor = model.factor().max(1);
    let size = [request.height, request.width].map(|side| side as usize / factor);
    let rows = prompt::rows(model, request).max(1);
    let [vectors, elements, seen] = sizes(model, rows, size);
    match store.vectors() {
        Ok(device) if rows <= MOST_ROWS && device.can_hold(vectors, elements) => {
            device.bytes_of_vectors(vectors, elements, seen)
        }
        _ => 0,
    }
}

fn slots(vectors: &[RunVector]) -> Vec<usize> {
    vectors.iter().map(|vector| vector.index()).collect()
}

impl ImageJob {
    /// Whether the network is to be asked again.
    pub(super) fn asks_on(&self, run: &Denoising) -> bool {
        let stop = self.request.stop_after.map(|steps| steps as usize);
        !run.is_finished() && stop.is_none_or(|stop| run.step_index() < stop.max(1))
    }

    /// The run as it stands now, to ask how far it is: where the latents are on the device, its vectors are not those of the run.
    pub(super) fn present(&self) -> Option<&Denoising> {
        match (&self.resident, &self.stage) {
            (Some(resident), _) => Some(resident.run()),
            (None, Stage::Denoise(run)) => Some(run),
            (None, Stage::Start | Stage::Enlarge(_)) => None,
        }
    }

    /// One evaluation on the device, if the latents stay there. With the last one they come back.
    pub(super) fn advance_resident(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Option<Progress>, JobError> {
        if self.resident.is_none() && !self.settle_in(context, model)? {
            return Ok(None);
        }
        let asks_on = self.present().is_some_and(|run| self.asks_on(run));
        if !asks_on {
            self.come_back(context, true)?;
            return Ok(None);
        }
        match self.evaluate_there(context, model) {
            Ok(()) => Ok(Some(Progress::Working)),
            Err(JobError::Exec(error @ ExecError::OutOfMemory { .. })) => {
                tracing::info!("the latents go on on the host: {error}");
                self.leave(context.store);
                self.at_host = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Brings the latents to the device, if they can stay there.
    fn settle_in(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<bool, JobError> {
        let Stage::Denoise(run) = &self.stage else {
            return Ok(false);
        };
        if self.at_host || !self.asks_on(run) || context.store.vectors().is_err() {
            return Ok(false);
        }
        let count = run.latents().len();
        let conditioning = self.conditioning(context, model)?;
        let rows = conditioning.batch;
        // Rows that no guidance puts together are refused on the host.
        let all_count = rows == 1 + usize::from(conditioning.guided) * conditioning.weights.len();
        let beside = self.beside(context, model)?;
        let extra = (beside.as_ref()).map_or(&[][..], |source| &source.extra_channels);
        let [_, height, width] = self.latent_shape(model)?;
        let [vectors, elements, seen] = sizes(model, rows, [height, width]);
        let device = context.store.vectors()?;
        let fits = elements == count && device.can_hold(vectors, elements);
        if !all_count || rows > MOST_ROWS || !fits {
            tracing::info!("the latents stay on the host: {rows} rows of {elements} elements");
            self.at_host = true;
            return Ok(false);
        }
        let name = &self.request.model.name;
        let set = match context
            .store
            .create_vectors(name, [vectors, elements, seen])
        {
            Ok(set) => set,
            Err(JobError::Exec(error @ ExecError::OutOfMemory { .. })) => {
                tracing::info!("the latents stay on the host: {error}");
                self.at_host = true;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let Stage::Denoise(run) = &self.stage else {
            return Ok(false);
        };
        self.resident = Some(Resident {
            set,
            outline: run.outline(),
            pending: None,
            done: Instant::now(),
        });
        let device = context.store.vectors()?;
        let mut written = Ok(());
        for (vector, values) in run.vectors() {
            let first = vector.index() * elements;
            written = written.and_then(|()| device.write_vectors(set, first, values));
        }
        if !extra.is_empty() {
            let first = (ROWS + rows) * elements;
            written = written.and_then(|()| device.write_vectors(set, first, extra));
        }
        if let Err(error) = written {
            self.leave(context.store);
            return Err(error.into());
        }
        Ok(true)
    }

    /// What the network sees beside the latents is of this, if it sees anything.
    fn beside(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Option<Arc<Source>>, JobError> {
        if model.unet().config().in_channels == model.latent_channels() {
            return Ok(None);
        }
        self.source(context, model).map(Some)
    }

    /// Tells the device to do the next evaluation, then waits for the one before.
    fn evaluate_there(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<(), JobError> {
        let Some(resident) = &self.resident else {
            return Ok(());
        };
        let (set, mut outline) = (resident.set, resident.outline.clone());
        let Some(question) = outline.question() else {
            return Ok(());
        };
        let conditioning = self.conditioning(context, model)?;
        let beside = self.beside(context, model)?;
        let extra = beside.map_or(0, |source| source.extra_channels.len());
        let elements = outline.count();
        let mut row = vec![Piece {
            from: QUESTION * elements,
            to: 0,
            len: elements,
        }];
        if extra > 0 {
            row.push(Piece {
                from: (ROWS + conditioning.batch) * elements,
                to: elements,
                len: extra,
            });
        }
        let fed = FedRows {
            set,
            input: "sample",
            row,
            into: ROWS * elements,
            answer: elements,
        };
        let scaled = Sums {
            reads: &[question.of.index()],
            writes: &[QUESTION],
            factors: &[[question.scale, 0.0, 0.0]],
            mask: None,
            answer: None,
        };
        context.store.vectors()?.sum(set, &scaled)?;
        let (asked, noise) = meanwhile(outline.noise_ahead(), || {
            // With its first submit the device has something to do while the host takes in what the evaluation before led to.
            let asked = (None, question.timestep);
            self.ask(context, model, asked, |store, rows, inputs, interrupt| {
                store.run_rows_fed(rows, inputs, (&fed, true), interrupt)
            })?;
            let pending = self.resident.as_mut();
            if let Some(before) = pending.and_then(|resident| resident.pending.take()) {
                self.await_one(context, model, before, true)?;
            }
            let asked = (None, question.timestep);
            self.ask(context, model, asked, |store, rows, inputs, interrupt| {
                store.run_rows_fed(rows, inputs, (&fed, false), interrupt)
            })
        });
        asked?;
        let number = outline.run().step_index() as u32;
        let mixture = outline.give(noise)?;
        let step_done = mixture.outer_step_finished;
        self.take_in(context.store, set, &conditioning, &mixture, number)?;
        let sight = self.sight(model, outline.run(), step_done)?;
        let seen = match sight {
            Sight::None => Vec::new(),
            Sight::Picture => vec![RunVector::Denoised],
            Sight::Whole => outline.state(),
        };
        context.store.vectors()?.look(set, &slots(&seen))?;
        if let Some(resident) = &mut self.resident {
            resident.pending = Some(Pending {
                outline: outline.clone(),
                sight,
                step_done,
            });
            resident.outline = outline;
        }
        Ok(())
    }

    /// Guidance and the sampler's update.
    fn take_in(
        &self,
        store: &mut ModelStore,
        set: VectorsId,
        conditioning: &Conditioning,
        mixture: &Mixture,
        number: u32,
    ) -> Result<(), JobError> {
        let request = &self.request;
        let guidance = Guidance::new(conditioning, request.guidance, request.guidance_rescale);
        let device = store.vectors()?;
        if let Some(noise) = &mixture.noise {
            device.write_vectors(set, RunVector::Noise.index() * noise.len(), noise)?;
        }
        // The answer is the last of the sources.
        let reads = mixture.sources.iter().copied();
        let reads: Vec<RunVector> = reads.filter(|v| *v != RunVector::Answer).collect();
        let sums = Sums {
            reads: &slots(&reads),
            writes: &slots(&mixture.targets),
            factors: &mixture.factors,
            mask: mixture.masked.then_some(RunVector::Mask.index()),
            answer: Some(Answer {
                first: ROWS,
                weights: &guidance.weights,
                rescale: guidance.rescale(),
                number,
            }),
        };
        Ok(device.sum(set, &sums)?)
    }

    /// What is to be seen of an evaluation that leads to `run`.
    fn sight(
        &self,
        model: &ImageModel,
        run: &Denoising,
        step_done: bool,
    ) -> Result<Sight, JobError> {
        let request = &self.request;
        if !self.asks_on(run) || step_done && self.changes_at(run.step_index()) {
            return Ok(Sight::Whole);
        }
        if !step_done {
            return Ok(Sight::None);
        }
        let stored = self
            .last_checkpoint
            .is_none_or(|last| last.elapsed().as_secs_f32() >= CHECKPOINT_SECONDS);
        if request.trace || request.keep_latents || stored {
            return Ok(Sight::Whole);
        }
        let place = (run.step_index() as u32, run.total_steps() as u32);
        let (index, total) = self.place_in_passes(model, place)?;
        Ok(match request.preview && index < total {
            true => Sight::Picture,
            false => Sight::None,
        })
    }

    /// Waits for an evaluation, and tells of it.
    fn await_one(
        &mut self,
        context: &mut Context<'_>,
        model: &ImageModel,
        pending: Pending,
        aloud: bool,
    ) -> Result<(), JobError> {
        let Some(resident) = &mut self.resident else {
            return Ok(());
        };
        let looked = context.store.vectors()?.looked(resident.set)?;
        self.step_seconds += resident.done.elapsed().as_secs_f32();
        resident.done = Instant::now();
        refuse(looked.fault)?;
        let mut vectors = looked.vectors;
        let seen = match pending.sight {
            Sight::None => None,
            Sight::Picture => vectors.pop(),
            Sight::Whole => {
                let run = self.seen(&pending.outline, vectors);
                let picture = run.as_ref().and_then(Denoising::prediction_of_picture);
                let picture = picture.map(<[f32]>::to_vec);
                if let Some(run) = run {
                    self.stage = Stage::Denoise(Box::new(run));
                }
                picture
            }
        };
        if !aloud || !pending.step_done {
            return Ok(());
        }
        let run = pending.outline.run();
        let place = (run.step_index() as u32, run.total_steps() as u32);
        let whole = pending.sight == Sight::Whole;
        self.tell_step(context, model, place, (seen.as_deref(), whole))
    }

    /// The run of an outline, with its vectors as they were looked at.
    fn seen(&self, outline: &Outline, vectors: Vec<Vec<f32>>) -> Option<Denoising> {
        let Stage::Denoise(earlier) = &self.stage else {
            return None;
        };
        let mut known: Vec<(RunVector, Vec<f32>)> =
            outline.state().into_iter().zip(vectors).collect();
        Some(outline.filled(earlier, |wanted| {
            let found = known.iter_mut().find(|(vector, _)| *vector == wanted);
            found.map_or_else(Vec::new, |(_, values)| std::mem::take(values))
        }))
    }

    /// Brings the latents back to the host, and waits for what the device was told; of the steps that were still to be told of it tells, if `aloud`. Nothing
    /// stays on the device, whatever happens.
    pub(super) fn come_back(
        &mut self,
        context: &mut Context<'_>,
        aloud: bool,
    ) -> Result<(), JobError> {
        let result = self.fetch(context, aloud);
        self.leave(context.store);
        result
    }

    fn fetch(&mut self, context: &mut Context<'_>, aloud: bool) -> Result<(), JobError> {
        let model = self.model(context)?;
        let Some(resident) = &mut self.resident else {
            return Ok(());
        };
        let mut whole = false;
        if let Some(pending) = resident.pending.take() {
            whole = pending.sight == Sight::Whole;
            self.await_one(context, &model, pending, aloud)?;
        }
        let Some(resident) = &self.resident else {
            return Ok(());
        };
        if whole {
            return Ok(());
        }
        let (set, outline) = (resident.set, resident.outline.clone());
        let device = context.store.vectors()?;
        device.look(set, &slots(&outline.state()))?;
        let looked = device.looked(set)?;
        refuse(looked.fault)?;
        if let Some(run) = self.seen(&outline, looked.vectors) {
            self.stage = Stage::Denoise(Box::new(run));
        }
        Ok(())
    }

    /// Gives back what is on the device.
    pub(super) fn leave(&mut self, store: &mut ModelStore) {
        if let Some(resident) = self.resident.take()
            && let Ok(device) = store.vectors()
        {
            device.drop_vectors(resident.set);
        }
    }
}

/// An answer that was no number ends the picture.
fn refuse(fault: Option<(u32, usize, f32)>) -> Result<(), JobError> {
    match fault {
        None => Ok(()),
        Some((step, index, value)) => Err(DiffusionError::NotFinite {
            step: step as usize,
            index,
            value,
        }
        .into()),
    }
}
