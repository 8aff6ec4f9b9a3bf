//! Settings that change in the middle of a picture: branches of it, and requests that tell how they branched.

use std::collections::VecDeque;

use super::{ImageCheckpoint, ImageJob};
use crate::diffusion::Denoising;
use crate::engine::{Branched, ImageRequest, InitPicture};
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::{Context, JobError};

/// Changes of settings within one picture.
const MOST_BRANCHES: usize = 64;

/// The settings in force after each number of steps, the first ones first.
pub(super) type Chain = VecDeque<(usize, ImageRequest)>;

/// What a request asks for one after the other.
///
/// # Errors
/// Changes of what must stay as it is, or in another order than that of the steps.
pub(super) fn chain(request: ImageRequest) -> Result<Chain, JobError> {
    let mut chain = Chain::new();
    let mut rest = Some(request);
    while let Some(mut request) = rest.take() {
        if chain.len() > MOST_BRANCHES {
            return Err(JobError::Request(format!(
                "the settings change more than {MOST_BRANCHES} times within this picture"
            )));
        }
        let mut step = 0;
        if let Some(branched) = &request.branched {
            step = branched.step as usize;
            let mut earlier = branched.from.clone();
            // What is sent while drawing is asked for by the last request alone.
            (earlier.preview, earlier.trace) = (request.preview, request.trace);
            earlier.keep_latents = request.keep_latents;
            rest = Some(*earlier);
        }
        if step > request.steps as usize {
            return Err(JobError::Request(format!(
                "a picture of {} steps cannot branch after step {step}",
                request.steps
            )));
        }
        // The branch is remembered by the last of the chain only, which is the one that is handed over.
        if !chain.is_empty() {
            request.branched = None;
        }
        chain.push_front((step, request));
    }
    let pairs = chain.iter().zip(chain.iter().skip(1));
    for ((earlier, before), (later, after)) in pairs {
        if earlier > later {
            return Err(JobError::Request(
                "the branches of this picture are not in the order of its steps".into(),
            ));
        }
        if let Some(fault) = unchangeable(before, after) {
            return Err(JobError::Request(fault));
        }
    }
    Ok(chain)
}

/// The settings that were in force when `done` steps were done and the next had not begun.
fn in_force(request: &ImageRequest, done: usize) -> ImageRequest {
    let mut request = request.clone();
    while let Some(branched) = request
        .branched
        .take_if(|branched| branched.step as usize >= done)
    {
        request = *branched.from;
    }
    request
}

/// What cannot change while a picture is drawn, in a person's words, if it does.
fn unchangeable(old: &ImageRequest, new: &ImageRequest) -> Option<String> {
    let changes = [
        ("size", (old.width, old.height) != (new.width, new.height)),
        ("number of steps", old.steps != new.steps),
        ("sampler", old.sampler != new.sampler),
        ("schedule", old.schedule != new.schedule),
        ("convention", old.convention != new.convention),
        ("spacing", old.spacing != new.spacing),
        ("seed", old.seed != new.seed),
        ("source of noise", old.noise_source != new.noise_source),
        ("variation", old.variation != new.variation),
        ("noise to start from", old.noise != new.noise),
        (
            "seed of the other end",
            old.toward.as_ref().map(|t| (t.seed, t.amount.to_bits()))
                != new.toward.as_ref().map(|t| (t.seed, t.amount.to_bits())),
        ),
        (
            "picture to begin from",
            !same_beginning(old.init.as_ref(), new.init.as_ref()),
        ),
    ];
    let (what, _) = changes.into_iter().find(|(_, changed)| *changed)?;
    Some(format!(
        "the {what} cannot change in the middle of a picture; prompts, guidance, LoRAs, VAE, mask and model can"
    ))
}

/// Whether two pictures lead to latents of one meaning: only the mask may change, and only where it does not choose the part that is
/// drawn. A mask may also be laid on a picture that began from nothing: what it keeps then comes from the picture given.
fn same_beginning(old: Option<&InitPicture>, new: Option<&InitPicture>) -> bool {
    let part = |init: &InitPicture| init.mask.clone().filter(|mask| mask.only_masked.is_some());
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => {
            old.picture == new.picture && old.strength == new.strength && part(old) == part(new)
        }
        (None, Some(new)) => new.mask.is_some() && part(new).is_none(),
        (Some(_), None) => false,
    }
}

/// A request without what has no influence on the picture; what it branched from is kept.
fn bare(request: &ImageRequest) -> ImageRequest {
    let mut request = request.clone();
    (request.keep_latents, request.preview, request.trace) = (false, false, false);
    let loras = request.loras.iter_mut().map(|lora| &mut lora.model);
    let additions = loras.chain(&mut request.vae).chain(&mut request.embeddings);
    for model in additions.chain([&mut request.model]) {
        model.hash = None;
    }
    request.template = None;
    if let Some(branched) = &mut request.branched {
        *branched.from = bare(&branched.from);
    }
    request
}

/// The settings alone.
fn essence(request: &ImageRequest) -> ImageRequest {
    ImageRequest {
        branched: None,
        ..bare(request)
    }
}

/// A job that goes on from a state with other settings. With the same settings it is the same picture, bit for bit.
///
/// # Errors
/// Settings that cannot change there.
pub(super) fn branch(
    state: ImageCheckpoint,
    mut request: ImageRequest,
) -> Result<ImageJob, JobError> {
    if state.second {
        return Err(JobError::Request(
            "this is a step of the second pass (hires fix); branch from one of the first pass"
                .into(),
        ));
    }
    let done = state.denoising.as_ref().map_or(0, Denoising::step_index);
    let mut old = in_force(&state.request, done);
    if let Some(fault) = unchangeable(&old, &request) {
        return Err(JobError::Request(fault));
    }
    let whole = state.request;
    request.branched = if request.branched.is_some() && bare(&whole) == bare(&request) {
        // It goes on as it would have, with the changes that are still to come.
        whole.branched
    } else if essence(&old) == essence(&request) {
        old.branched
    } else {
        (old.preview, old.trace, old.keep_latents) = (false, false, false);
        Some(Branched {
            step: done as u32,
            from: Box::new(old),
        })
    };
    chain(request.clone())?;
    Ok(ImageJob::resume(ImageCheckpoint {
        request,
        denoising: state.denoising,
        seconds: state.seconds,
        second: false,
    }))
}

impl ImageJob {
    /// Sets up what is in force now and what comes later, on the first advance.
    pub(super) fn plan_branches(&mut self) -> Result<(), JobError> {
        if self.planned {
            return Ok(());
        }
        let mut chain = chain(self.request.clone())?;
        let done = match &self.stage {
            // In the second pass all that was to come in the first is in force.
            _ if self.resumes_second => usize::MAX,
            super::Stage::Denoise(denoising) => denoising.step_index(),
            super::Stage::Start | super::Stage::Enlarge(_) => 0,
        };
        self.whole = self.request.clone();
        if let Some((_, first)) = chain.pop_front() {
            self.request = first;
        }
        // What took over before these steps is in force; what takes over now is still to be applied, or applied again.
        while let Some((_, next)) = chain.pop_front_if(|(step, _)| *step < done) {
            self.request = next;
        }
        self.later = chain;
        self.planned = true;
        Ok(())
    }

    /// Whether settings take over after so many steps.
    pub(super) fn changes_at(&self, done: usize) -> bool {
        (self.later.front()).is_some_and(|(step, _)| *step <= done)
    }

    /// Applies settings whose time has come. Can be repeated after an interruption.
    pub(super) fn apply_branches(&mut self, context: &mut Context<'_>) -> Result<(), JobError> {
        loop {
            let super::Stage::Denoise(denoising) = &self.stage else {
                return Ok(());
            };
            let done = denoising.step_index();
            let Some((_, next)) = self.later.front().filter(|(step, _)| *step <= done) else {
                return Ok(());
            };
            let next = next.clone();
            let old = std::mem::replace(&mut self.request, next);
            self.forget_prepared();
            if let Err(error) = self.enter_branch(context, &old) {
                self.request = old;
                self.forget_prepared();
                return Err(error);
            }
            self.later.pop_front();
        }
    }

    /// Forgets what was made of the settings.
    fn forget_prepared(&mut self) {
        (self.model, self.conditioning, self.source) = (None, None, None);
        self.guides = None;
    }

    fn enter_branch(
        &mut self,
        context: &mut Context<'_>,
        old: &ImageRequest,
    ) -> Result<(), JobError> {
        super::begin::check_settings(&self.request)?;
        let model = self.model(context)?;
        let fresh = match old.init == self.request.init {
            true => None,
            false => Some(self.begin(context, &model)?),
        };
        let super::Stage::Denoise(denoising) = &mut self.stage else {
            return Ok(());
        };
        check_model(&model, denoising, &self.request)?;
        if let Some(fresh) = fresh {
            denoising.repaint_as(&fresh)?;
        }
        Ok(())
    }

    /// The request that is handed over with the picture: the last of the chain, with the model's hash.
    pub(super) fn told_request(&self) -> ImageRequest {
        let mut told = match (self.later.back(), &self.first) {
            (Some((_, last)), _) => last.clone(),
            (None, Some(first)) => first.as_ref().clone(),
            (None, None) => self.request.clone(),
        };
        if self.planned {
            told.branched.clone_from(&self.whole.branched);
        }
        told
    }
}

/// Refuses a model that the run cannot go on with.
fn check_model(
    model: &ImageModel,
    denoising: &Denoising,
    request: &ImageRequest,
) -> Result<(), JobError> {
    let factor = model.factor().max(1);
    let wanted = model.latent_channels()
        * (request.width as usize / factor)
        * (request.height as usize / factor);
    if denoising.latents().len() != wanted
        || denoising.prediction() != model.training().prediction()
    {
        return Err(JobError::Request(format!(
            "'{}' cannot go on with this picture: it was begun by a model of another kind",
            request.model.name
        )));
    }
    Ok(())
}
