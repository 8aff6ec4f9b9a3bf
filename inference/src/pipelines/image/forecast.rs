//! What drawing a picture needs, before anything of it runs: first pass and second, ControlNets, upscaler, and models that take over later.

use super::decode::previews_by_decoder;
use super::vae::{SHORTAGE, Way};
use super::{ImageJob, control};
use crate::diffusion::Convention;
use crate::engine::{Hires, HiresUpscaler, ImageRequest};
use crate::models::ControlNet;
use crate::pipelines::forecast::Work;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::prompt;
use crate::pipelines::store::{Form, PlanKey, Shortage};
use crate::pipelines::upscale::{self, Upscaler};
use crate::pipelines::{Context, JobError};
use std::sync::Arc;

/// All that one request needs.
struct Needs {
    request: ImageRequest,
    model: Arc<ImageModel>,
    guides: Arc<Vec<control::Guide>>,
    /// Steps of the first pass.
    steps: usize,
    /// The second pass and its steps.
    second: Option<(ImageRequest, Hires, usize)>,
    upscaler: Option<Arc<Upscaler>>,
    /// Bytes of the latents and what belongs to them, where they are on the device, in the first pass and in the second.
    resident: [u64; 2],
}

impl ImageJob {
    /// Forecasts the memory of this job, with all that takes over later ([`crate::engine::Branched`]); models are loaded for that, so that what is wrong
    /// with one of them is told before anything runs.
    ///
    /// # Errors
    /// From loading what takes over later; from tokenizers, or from building graphs.
    pub(super) fn forecast(
        &mut self,
        context: &mut Context<'_>,
        model: &Arc<ImageModel>,
    ) -> Result<(), JobError> {
        let guides = self.guides(context, model)?;
        let mut all = vec![self.needs(context, self.request.clone(), model, guides)?];
        // Those after the first, as they will be entered.
        let later: Vec<ImageRequest> = self.later.iter().map(|(_, r)| r.clone()).collect();
        for request in later {
            let mut job = Self::new(request);
            let model = job.model(context)?;
            let guides = job.guides(context, &model)?;
            let request = job.request.clone();
            all.push(job.needs(context, request, &model, guides)?);
        }
        let mut works = Vec::new();
        for (place, needs) in all.iter().enumerate() {
            let last = place + 1 == all.len();
            needs.works(context, place == 0, last, &mut works)?;
        }
        context.store.forecast(works)
    }

    fn needs(
        &self,
        context: &mut Context<'_>,
        request: ImageRequest,
        model: &Arc<ImageModel>,
        guides: Arc<Vec<control::Guide>>,
    ) -> Result<Needs, JobError> {
        self.latent_shape(model)?;
        let hires = request.hires.clone();
        let upscaler = match hires.as_ref().map(|hires| &hires.upscaler) {
            Some(HiresUpscaler::Model(upscaler)) => {
                Some(context.store.upscaler(upscaler, &mut ())?)
            }
            _ => None,
        };
        let steps = self.steps_of(&request, model)? as usize;
        let second = match hires {
            Some(hires) => {
                let second = self.second_request(model, &hires);
                let steps = self.steps_of(&second, model)? as usize;
                Some((second, hires, steps))
            }
            None => None,
        };
        let mut resident = [0; 2];
        let passes = std::iter::once(&request).chain(second.as_ref().map(|(second, ..)| second));
        for (bytes, request) in resident.iter_mut().zip(passes) {
            *bytes = super::resident::bytes(context.store, model, request);
        }
        Ok(Needs {
            request,
            steps,
            model: Arc::clone(model),
            guides,
            second,
            upscaler,
            resident,
        })
    }
}

impl Needs {
    /// Appends the work in the order in which it is done.
    fn works<'a>(
        &'a self,
        context: &Context<'_>,
        first: bool,
        last: bool,
        works: &mut Vec<Work<'a>>,
    ) -> Result<(), JobError> {
        let request = &self.request;
        let (model, factor) = (&self.model, self.model.factor().max(1));
        let size = |request: &ImageRequest| {
            [
                request.height as usize / factor,
                request.width as usize / factor,
            ]
        };
        let [h, w] = size(request);
        let sees_mask = model.unet().config().in_channels > model.latent_channels();
        if first && (request.init.is_some() || sees_mask) {
            works.push(self.autoencoder(context, request, [h, w], true));
        }
        let (chunks, read_again) = prompt::sizes(model, request)?;
        let length = chunks * model.tokenizer().max_length();
        self.words(read_again, works);
        self.hints(request, works);
        let [first_bytes, second_bytes] = self.resident;
        let begun = works.len();
        self.denoise(context, request, [h, w, length, self.steps], works);
        self.previews(context, request, [h, w], works);
        hold(works.get_mut(begun..), first_bytes);
        let Some((second, hires, steps)) = self.second.as_ref().filter(|_| last) else {
            if last {
                works.push(self.autoencoder(context, request, [h, w], false));
            }
            return Ok(());
        };
        if hires.upscaler != HiresUpscaler::Latent {
            works.push(self.autoencoder(context, request, [h, w], false));
        }
        let (width, height) = (request.width as usize, request.height as usize);
        if let (Some(net), HiresUpscaler::Model(name)) = (&self.upscaler, &hires.upscaler) {
            let (key, [height, width]) = upscale::first_part(net, height, width);
            works.push(Work::new(&name.name, 0, key, move || {
                net.graph(height, width)
            }));
        }
        let [h, w] = size(second);
        if hires.upscaler != HiresUpscaler::Latent || sees_mask {
            works.push(self.autoencoder(context, second, [h, w], true));
        }
        self.hints(second, works);
        let begun = works.len();
        self.denoise(context, second, [h, w, length, *steps], works);
        self.previews(context, second, [h, w], works);
        hold(works.get_mut(begun..), second_bytes);
        works.push(self.autoencoder(context, second, [h, w], false));
        Ok(())
    }

    /// The autoencoder, where previews are made by it.
    fn previews<'a>(
        &'a self,
        context: &Context<'_>,
        request: &ImageRequest,
        [h, w]: [usize; 2],
        works: &mut Vec<Work<'a>>,
    ) {
        if (request.preview || request.trace) && previews_by_decoder(self.model.vae(), h, w) {
            works.push(self.autoencoder(context, request, [h, w], false));
        }
    }

    fn work<'a>(&self, changes: u64, forms: Vec<Form<'a>>) -> Work<'a> {
        Work {
            owner: self.request.model.name.clone(),
            changes,
            forms,
            shortage: Shortage::Smaller,
            meanwhile: 0,
        }
    }

    /// ControlNets' pictures.
    fn hints<'a>(&'a self, request: &ImageRequest, works: &mut Vec<Work<'a>>) {
        for guide in self.guides.iter() {
            let factor = guide.net().config().factor().max(1);
            let (h, w) = (
                request.height as usize / factor,
                request.width as usize / factor,
            );
            works.push(Work::new(guide.name(), 0, PlanKey::Hint(h, w), move || {
                Ok(guide.net().hint_graph(h, w)?)
            }));
        }
    }

    /// The text encoders; `read_again` tells how many layers are left out at the end, each once.
    fn words<'a>(&'a self, read_again: Vec<usize>, works: &mut Vec<Work<'a>>) {
        let model = &self.model;
        let (text, length) = (model.text_encoder(), model.tokenizer().max_length());
        for skipped in read_again {
            if model.numbers().is_none() {
                let form = Form::new(PlanKey::Encode(1, length, skipped), move || {
                    Ok(text.graph(1, length, skipped)?)
                });
                works.push(self.work(model.text_changes(), vec![form]));
                continue;
            }
            let left_out = skipped + 1;
            let form = Form::new(PlanKey::EncodeFirst(length, left_out), move || {
                Ok(text.hidden_graph(1, length, left_out)?)
            });
            works.push(self.work(model.text_changes(), vec![form]));
            if let Some(second) = model.second_text() {
                let form = Form::new(PlanKey::EncodeSecond(length, left_out), move || {
                    Ok(second.encoder.hidden_graph(1, length, left_out)?)
                });
                works.push(self.work(model.text_changes(), vec![form]));
            }
        }
    }

    /// The U-Net under the ControlNets that count, which may be others in other steps: all rows at once, else one by one.
    fn denoise<'a>(
        &'a self,
        context: &Context<'_>,
        request: &ImageRequest,
        [h, w, length, steps]: [usize; 4],
        works: &mut Vec<Work<'a>>,
    ) {
        let unet = self.model.unet();
        let mut counts = vec![prompt::rows(&self.model, request).max(1), 1];
        counts.dedup();
        let mut known = Vec::new();
        for step in 0..steps.max(1) {
            let guides = self.guides.iter();
            let active: Vec<&'a control::Guide> = guides
                .filter(|guide| guide.counts(step, steps.max(1)))
                .collect();
            let by = context.store.nets(active.iter().map(|guide| guide.name()));
            if known.contains(&by) {
                continue;
            }
            known.push(by);
            let nets: Vec<&'a ControlNet> = active.iter().map(|guide| guide.net()).collect();
            let forms = counts.iter().map(|&rows| {
                let nets = nets.clone();
                let key = match nets.is_empty() {
                    true => PlanKey::Denoise(rows, h, w, length),
                    false => PlanKey::DenoiseControlled(rows, h, w, length, by),
                };
                Form::new(key, move || {
                    Ok(unet.controlled_graph([rows, h, w, length], &nets)?)
                })
            });
            works.push(self.work(self.model.changes(), forms.collect()));
        }
    }

    /// The autoencoder, in the forms that it will be tried in.
    fn autoencoder<'a>(
        &'a self,
        context: &Context<'_>,
        request: &ImageRequest,
        size: [usize; 2],
        encodes: bool,
    ) -> Work<'a> {
        let way = match encodes {
            true => Way::Encode,
            false => Way::Decode,
        };
        let parts = way.parts(context.store, request, &self.model, size);
        Work {
            shortage: SHORTAGE,
            ..self.work(
                self.model.vae_changes(),
                way.forms(&self.model, size, &parts),
            )
        }
    }
}

/// The job holds so many bytes while it does these.
fn hold(works: Option<&mut [Work<'_>]>, bytes: u64) {
    for work in works.into_iter().flatten() {
        work.meanwhile = bytes;
    }
}

/// Layers left out at the end of the text encoders, for each of the texts that are read.
pub(in crate::pipelines) fn layers_left_out(
    model: &ImageModel,
    request: &ImageRequest,
    guided: bool,
) -> Vec<usize> {
    let skipped = prompt::skipped_layers(model, request);
    // The negative prompt is read with all layers by one convention.
    match guided && request.convention == Convention::Diffusers && skipped > 0 {
        true => vec![0, skipped],
        false => vec![skipped],
    }
}
