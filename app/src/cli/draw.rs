//! `diptych draw`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::diffusion::{Convention, ScheduleKind, Spacing};
use diptych_inference::engine::{
    Event, ImageRequest, InitPicture, LoraUse, Mask, ModelRef, Outcome, Request, Variation,
};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use serde::Serialize;

use super::additions;
use super::args::{DrawArgs, Global};
use super::basics;
use super::client::{Client, Ending};
use super::error::{CliError, Result};
use super::from::{self, Base};
use super::interrupt::Interrupts;
use super::noise::{self, Dump, Noise};
use super::out;
use super::progress::Progress;
use super::record::Recorder;
use super::refiner::Refiner;
use super::save::{self, Existing};
use super::trace::Keeper;
use super::words::Words;
use crate::defaults::{self, Defaults};
use crate::pictures::{self, Blob, Pixels};
use crate::presets;

const STRENGTH: f32 = 0.75;
/// How many times the pixels that a model is used to a picture may have to be drawn over in its own size.
const MOST_TIMES: f64 = 4.0;
/// How far a mask's edges are softened where nobody says, in pixels.
const MASK_BLUR: f32 = 4.0;

/// A line of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    latents: Option<&'a Path>,
    seed: u64,
    width: u32,
    height: u32,
    steps: u32,
    /// Fewer than `steps` if it was cancelled.
    steps_done: u32,
    cancelled: bool,
    seconds: f32,
    executor: &'a str,
    device: &'a str,
    request: &'a ImageRequest,
}

/// Draws.
///
/// # Errors
/// Wrong usage, faulty files, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &DrawArgs) -> Result<()> {
    if let Some(out) = &args.out {
        save::check_target(out)?;
    }
    if let Some(dump) = &args.dump_latents {
        save::check_file_target(dump)?;
    }
    let targets = [
        ("--out", &args.out),
        ("--dump-latents", &args.dump_latents),
        ("--trace", &args.way.trace),
        ("--proof", &args.way.proof),
    ];
    let targets = targets.map(|(option, file)| (option, file.as_deref()));
    save::check_distinct(&targets, args.count)?;
    let base = from::read(global, args)?;
    let named = base.as_ref().and_then(|base| base.model.clone());
    let path = global.model_path(args.basic.model.as_ref().or(named.as_ref()), "sketch")?;
    let defaults = defaults::of_model(&path).map_err(CliError::failed)?;
    let noise = args
        .latents
        .as_deref()
        .map(|path| noise::read(path, args.count))
        .transpose()?;
    let begin = beginning(args, base.as_ref())?;
    let interrupts = Interrupts::install()?;
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, interrupts)?;
    let vae = args.vae.as_ref();
    let ((model, info), vae_is_part) = args.basic.open(&client, &path, vae)?;
    let mut request = match &base {
        Some(base) => from::request(args, base, &defaults, model, &info, begin.as_ref())?,
        None => request(args, &defaults, model, &info, begin.as_ref())?,
    };
    if let Some(base) = &base {
        base.prepare(&client, &mut request)?;
    }
    for (file, weight) in &args.lora {
        let (lora, info) = client.add_model(file)?;
        if info.kind() != ModelKind::Lora {
            return Err(CliError::Failed(format!(
                "{}: it is {}; --lora takes a LoRA, LoCon or LoHa",
                file.display(),
                info.described()
            )));
        }
        // What is said counts for one that was there before; tags in the prompt add more, as they do in the window.
        request.loras.retain(|known| known.model.name != lora.name);
        request.loras.push(LoraUse {
            model: lora,
            weight: *weight,
        });
    }
    if let Some(path) = args.vae.as_ref().filter(|_| !vae_is_part) {
        let (vae, info) = client.add_model(path)?;
        if info.kind() != ModelKind::Autoencoder {
            return Err(CliError::Failed(format!(
                "{}: it is {}; --vae takes an autoencoder (VAE)",
                path.display(),
                info.described()
            )));
        }
        request.vae = Some(vae);
    }
    let mut blobs = base.as_ref().map(Base::blobs).unwrap_or_default();
    blobs.extend(additions::add(&args.additions, &client, &mut request)?);
    if let Some(begin) = begin {
        let (from, to) = (begin.size, (request.width, request.height));
        let chosen = args.basic.size.is_some() || base.is_some();
        // More than what the model's multiples take off.
        if !chosen && begin.mask.is_none() && from.0 > 2 * to.0.max(1) {
            out::remark(&format!(
                "note: the picture to begin from has {}x{} pixels and is drawn over at {}x{}, which the model is used to; --size asks for another size",
                from.0, from.1, to.0, to.1
            ));
        }
        let (init, data) = begin.ready(to);
        blobs.extend(data);
        request.init = Some(init);
    }
    for blob in &blobs {
        client.send_blob(blob.name.0.clone(), blob.data.clone())?;
    }
    if let Some(emphasis) = args.words.emphasis(args.prompt_syntax) {
        request.emphasis = emphasis;
    }
    let words = Words::new(global, args, base.is_some())?;
    request.trace = args.way.trace.is_some() || args.way.proof.is_some();
    let refiner = args.additions.refiner.open(&client)?;
    let refined = |request: ImageRequest| match &refiner {
        Some(refiner) => refiner.finish(request),
        None => Ok(request),
    };
    let jobs: Result<Vec<_>> = (0..args.count)
        .map(|number| {
            let (request, _) = request_of(&request, number, &words);
            let file = file_of(args, &request, number);
            Ok((refined(request)?, file))
        })
        .collect();
    let jobs = jobs?.into_iter();
    let recorder = match args.no_history {
        true => Recorder::none(),
        false => Recorder::start(global, jobs),
    };
    let mut session = Session {
        args,
        client: &client,
        noise: noise.unwrap_or_default(),
        recorder,
        blobs,
        words,
        state: base.and_then(|base| base.state),
        refiner,
    };
    for number in 0..args.count {
        progress.begin(number + 1, args.count);
        session.draw(number, &request, &mut progress)?;
    }
    Ok(())
}

/// The request for the first picture.
pub(super) fn request(
    args: &DrawArgs,
    defaults: &Defaults,
    model: ModelRef,
    info: &ModelInfo,
    begin: Option<&Begin>,
) -> Result<ImageRequest> {
    // Only a part of the picture is drawn, in the model's own size; or else all of it in its own.
    let whole = begin.filter(|_| args.only_masked.is_none());
    let whole = whole.map(|begin| begin.drawn_size(basics::own_size(defaults, info)));
    let prompt = args.prompt.clone().unwrap_or_default();
    let basic = args.basic.request(defaults, model, info, whole, prompt)?;
    let own_convention = defaults.convention.unwrap_or_default();
    let convention = args.convention.unwrap_or(own_convention);
    // A model's own spacing belongs to its own convention.
    let own_spacing = defaults.spacing.filter(|_| convention == own_convention);
    // What SGM Uniform is elsewhere is a spacing in diffusers.
    let few = presets::in_force(info, args.basic.kind.preset).is_some();
    let trailing = few && convention == Convention::Diffusers && args.basic.schedule.is_none();
    let (schedule, few_spacing) = match trailing {
        true => (ScheduleKind::Normal, Some(Spacing::Trailing)),
        false => (basic.schedule, None),
    };
    Ok(ImageRequest {
        schedule,
        prompt_syntax: args.prompt_syntax.map(Into::into).unwrap_or_default(),
        convention,
        spacing: args.spacing.or(own_spacing).or(few_spacing),
        seed: args.seed.unwrap_or_else(crate::origin::new_seed),
        noise_source: args.noise_source.unwrap_or_default(),
        variation: variation(args)?,
        guidance_rescale: args.guidance_rescale.unwrap_or(0.0),
        clip_skip: args.clip_skip.unwrap_or(1),
        keep_latents: args.dump_latents.is_some(),
        ..basic
    })
}

/// A picture to begin from.
pub(super) struct Begin {
    pixels: Pixels,
    strength: f32,
    /// What of it is drawn anew, and how.
    mask: Option<(Blob, Mask)>,
    size: (u32, u32),
}

impl Begin {
    /// The size in which it is drawn over as a whole, where nobody says: its own; of photographs, which are many times what the model is used to, one of
    /// their shape with as many pixels as the model draws by itself.
    fn drawn_size(&self, own: (u32, u32)) -> (u32, u32) {
        let area = |(width, height): (u32, u32)| f64::from(width) * f64::from(height);
        let ratio = area(self.size) / area(own).max(1.0);
        if self.mask.is_some() || ratio <= MOST_TIMES {
            return self.size;
        }
        let (width, height) = self.size;
        let side = |side: u32| ((f64::from(side) / ratio.sqrt()).round() as u32).max(1);
        (side(width), side(height))
    }

    /// The request's part, and what is to be sent for it, where the picture is drawn at a size.
    fn ready(self, size: (u32, u32)) -> (InitPicture, Vec<Blob>) {
        let pixels = match self.mask {
            // The mask is of the picture's size, and softened in its pixels.
            Some(_) => self.pixels,
            None => self.pixels.drawn_over(size),
        };
        let picture = pixels.blob();
        let (mask, spec) = self.mask.unzip();
        let init = InitPicture {
            picture: picture.name.clone(),
            strength: self.strength,
            mask: spec,
        };
        (init, std::iter::once(picture).chain(mask).collect())
    }
}

/// Reads the picture to begin from and its mask.
fn beginning(args: &DrawArgs, base: Option<&Base>) -> Result<Option<Begin>> {
    let Some(path) = &args.init else {
        return Ok(None);
    };
    let known = base.map(Base::over).unwrap_or_default();
    let strength = args.strength.or(known.strength).unwrap_or(STRENGTH);
    if strength == 0.0 {
        return Err(CliError::Usage(
            "--strength 0 would change nothing; choose more, up to 1".into(),
        ));
    }
    let mut pixels = pictures::read(path)?.on_white();
    let mut mask = None;
    if let Some(file) = &args.mask {
        const WITH_A_MASK: &str = "to be drawn over with a mask";
        pixels.require_whole(path, WITH_A_MASK)?;
        let given = pictures::read(file)?;
        given.require_whole(file, WITH_A_MASK)?;
        let given = given.mask();
        // With --only-masked it is an error, which the engine tells.
        let black = given.data.as_f32().iter().all(|value| *value == 0.0);
        if black && args.only_masked.or(known.only_masked).is_none() {
            out::remark(&format!(
                "note: {}: the mask is black all over, so nothing is drawn anew; paint white what is to be",
                file.display()
            ));
        }
        mask = Some(given);
    }
    if let Some(sides) = args.outpaint {
        let (wide, added) = pixels
            .widened(sides)
            .map_err(|error| CliError::Usage(format!("--outpaint: {error}")))?;
        (pixels, mask) = (wide, Some(added));
    }
    if mask.is_none() && args.mask_blur.is_some() {
        return Err(CliError::Usage(
            "--mask-blur does nothing without a mask; name one with --mask, or widen the picture with --outpaint"
                .into(),
        ));
    }
    // A picture that is widened is drawn whole.
    let part = known.only_masked.filter(|_| args.mask.is_some());
    let mask = mask.map(|mask| {
        let spec = Mask {
            mask: mask.name.clone(),
            blur: args.mask_blur.or(known.blur).unwrap_or(MASK_BLUR),
            only_masked: args.only_masked.or(part),
        };
        (mask, spec)
    });
    Ok(Some(Begin {
        strength,
        mask,
        size: (pixels.width, pixels.height),
        pixels,
    }))
}

/// The other seed, where one is asked for.
pub(super) fn variation(args: &DrawArgs) -> Result<Option<Variation>> {
    match (args.variation_seed, args.variation_strength) {
        (None, None) => Ok(None),
        (seed, Some(strength)) => Ok(Some(Variation {
            seed: seed.unwrap_or_else(crate::origin::new_seed),
            strength,
        })),
        (Some(_), None) => Err(CliError::Usage(
            "--variation-seed does nothing without --variation-strength, such as 0.3".into(),
        )),
    }
}

/// The request for one of several pictures, and what of its prompts could not be taken as meant; `number` counts from 0. As AUTOMATIC1111 numbers them: variations of one seed,
/// or else one seed after the other.
fn request_of(first: &ImageRequest, number: u32, words: &Words) -> (ImageRequest, Vec<String>) {
    let mut request = first.clone();
    match &mut request.variation {
        Some(variation) if variation.strength > 0.0 => {
            variation.seed = variation.seed.wrapping_add(u64::from(number));
        }
        _ => request.seed = first.seed.wrapping_add(u64::from(number)),
    }
    let warnings = words.apply(&mut request, number);
    (request, warnings)
}

/// The file that one of several pictures goes to, unless there is one of this name that is to stay.
fn file_of(args: &DrawArgs, request: &ImageRequest, number: u32) -> PathBuf {
    match &args.out {
        Some(out) => save::numbered(out, number + 1),
        None => save::name_of(&request.prompt, request.seed),
    }
}

struct Session<'a> {
    args: &'a DrawArgs,
    client: &'a Client,
    noise: Vec<Noise>,
    recorder: Recorder,
    /// Data that the requests refer to.
    blobs: Vec<Blob>,
    words: Words,
    /// Where the pictures go on from, rather than begin.
    state: Option<Arc<[u8]>>,
    /// What finishes them.
    refiner: Option<Refiner>,
}

impl Session<'_> {
    /// Draws and saves one of the pictures; `number` counts from 0.
    fn draw(&mut self, number: u32, first: &ImageRequest, progress: &mut Progress) -> Result<()> {
        let (mut request, warnings) = request_of(first, number, &self.words);
        for warning in warnings {
            progress.say(&format!("note: {warning}"));
        }
        if let Some(noise) = self.noise.get(number as usize).or(self.noise.first()) {
            self.client
                .send_blob(noise.blob.0.clone(), noise.data.clone())?;
            request.noise = Some(noise.blob.clone());
            self.blobs.push(Blob {
                name: noise.blob.clone(),
                data: noise.data.clone(),
            });
        }
        if let Some(refiner) = &self.refiner {
            request = refiner.finish(request)?;
        }
        let way = &self.args.way;
        let mut keeper = Keeper::new(way, number, &request, self.client, &self.blobs)?;
        let mut dump = Dump::default();
        let mut done = 0;
        let recorder = &mut self.recorder;
        recorder.begin(number);
        let watch = |event: &Event| {
            if let Event::Step { index, total, .. } = event {
                done = *index;
                recorder.step(*index, *total);
            }
            dump.watch(event);
            progress.watch(event);
            keeper.watch(event);
            Ok(())
        };
        let ending = match &self.state {
            Some(state) => self
                .client
                .go_on(state.clone(), Some(Box::new(request)), watch),
            None => self.client.run(Request::Image(request), watch),
        };
        progress.clear();
        match ending? {
            Ending::Finished(outcome) => {
                keeper.finish(&outcome)?;
                self.save(number, outcome, None, &dump, progress)
            }
            Ending::Cancelled(Some(outcome)) => {
                self.save(number, outcome, Some(done), &dump, progress)?;
                keeper.stopped();
                Err(CliError::Interrupted)
            }
            Ending::Cancelled(None) => {
                out::remark("cancelled before the first step; nothing was drawn");
                Err(CliError::Interrupted)
            }
        }
    }

    fn save(
        &mut self,
        number: u32,
        outcome: Outcome,
        cancelled_at: Option<u32>,
        dump: &Dump,
        progress: &mut Progress,
    ) -> Result<()> {
        let Outcome::Image {
            picture,
            request,
            seconds,
        } = outcome
        else {
            return Err(CliError::Failed(
                "the engine answered with something that is no picture; please report it".into(),
            ));
        };
        let Request::Image(mut request) = *request else {
            return Err(CliError::Failed(
                "the engine answered with another request; please report it".into(),
            ));
        };
        // What was sent along is no part of what makes the picture.
        (request.keep_latents, request.trace) = (false, false);
        let bytes = save::encode(&picture, &request, cancelled_at)?;
        let existing = match self.args.out {
            Some(_) => Existing::Replace,
            None => Existing::Keep,
        };
        let path = file_of(self.args, &request, number);
        let path = save::write(&path, &bytes, existing)?;
        // Before the path is told: what is told is kept.
        self.recorder
            .keep(number, &picture, &request, cancelled_at, seconds, &path);
        let latents: Option<PathBuf> = match &self.args.dump_latents {
            Some(latents) => Some(dump.write(&save::numbered(latents, number + 1))?),
            None => None,
        };
        match cancelled_at {
            Some(done) => out::remark(&format!(
                "cancelled at step {done} of {}; what was drawn so far is in {}",
                request.steps,
                path.display()
            )),
            None => progress.say(&format!(
                "seed {}, {} steps in {} on {}",
                request.seed,
                request.steps,
                out::seconds(seconds),
                self.client.device()
            )),
        }
        if !self.args.json {
            return out::line(&path.display().to_string());
        }
        out::json(&Report {
            path: &path,
            latents: latents.as_deref(),
            seed: request.seed,
            width: picture.width,
            height: picture.height,
            steps: request.steps,
            steps_done: cancelled_at.unwrap_or(request.steps),
            cancelled: cancelled_at.is_some(),
            seconds,
            executor: self.client.executor(),
            device: self.client.device(),
            request: &request,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photographs_are_drawn_in_the_models_size_and_others_in_their_own() {
        let begin = |width: u32, height: u32| Begin {
            pixels: Pixels {
                width,
                height,
                rgb: Vec::new(),
                alpha: None,
            },
            strength: 0.5,
            mask: None,
            size: (width, height),
        };
        let own = (512, 512);
        assert_eq!(begin(1024, 1024).drawn_size(own), (1024, 1024));
        assert_eq!(begin(64, 48).drawn_size(own), (64, 48));
        assert_eq!(begin(4000, 3000).drawn_size(own), (591, 443));
        assert_eq!(begin(16_384, 1).drawn_size((1, 1)), (128, 1));
    }
}
