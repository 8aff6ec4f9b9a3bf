//! `draw --from`: settings out of a picture of any program or out of a trace, changed by what is said beside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::engine::{HiresUpscaler, ImageRequest, InitPicture, ModelRef, Request};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use diptych_inference::formats::metadata::PictureInfo;
use diptych_inference::formats::trace::{Trace, is_trace};
use diptych_inference::text::prompt::split_lora_tags;

use super::args::{DrawArgs, Global};
use super::basics;
use super::client::Client;
use super::draw::{self, Begin};
use super::error::{CliError, Result};
use super::models::{self, Entry};
use super::out;
use super::trace::{blobs_in, request_in};
use crate::defaults::Defaults;
use crate::pictures::Blob;
use crate::recall::{self, Against, KnownModel, Part, Recalled};

/// Settings from elsewhere.
pub(super) struct Base {
    /// The settings, of our own pictures and traces whole, of others' as far as they were understood.
    pub request: ImageRequest,
    /// What of them was found, where they are those of another program.
    recalled: Option<Recalled>,
    /// How it was drawn over another picture, where that is not kept with it.
    init: Option<Over>,
    /// Where the model lies, if it is here.
    pub model: Option<PathBuf>,
    /// The models of this machine.
    known: Vec<Entry>,
    /// Data that the request refers to.
    blobs: Vec<Blob>,
    /// Where the picture goes on from.
    pub state: Option<Arc<[u8]>>,
}

/// How a picture was drawn over another one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Over {
    /// How much of the other one was given up.
    pub strength: Option<f32>,
    /// How far the mask's edges were softened, in pixels.
    pub blur: Option<f32>,
    /// Only what was masked was drawn, with so many pixels around it.
    pub only_masked: Option<u32>,
}

impl Over {
    fn of(init: &InitPicture) -> Self {
        Self {
            strength: Some(init.strength),
            blur: init.mask.as_ref().map(|mask| mask.blur),
            only_masked: init.mask.as_ref().and_then(|mask| mask.only_masked),
        }
    }

    /// What AUTOMATIC1111 and we ourselves write beside a picture. With a second pass, the strength is that pass's.
    fn told(info: &PictureInfo) -> Self {
        let get = |key: &str| info.extra.get(key).map(|value| value.trim());
        let number = |key: &str| get(key)?.parse::<f32>().ok().filter(|n| n.is_finite());
        let passes = info.extra.keys().any(|key| key.starts_with("Hires"));
        let part = get("Inpaint area").is_some_and(|area| area.eq_ignore_ascii_case("only masked"));
        let around = get("Masked area padding").and_then(|pixels| pixels.parse().ok());
        Self {
            strength: number("Denoising strength")
                .filter(|strength| !passes && (0.0..=1.0).contains(strength)),
            blur: number("Mask blur").filter(|blur| (0.0..=1000.0).contains(blur)),
            only_masked: part.then(|| around.unwrap_or(32)),
        }
    }
}

/// Reads what `--from` names.
///
/// # Errors
/// Files that cannot be read or tell no settings; models that are not here.
pub(super) fn read(global: &Global, args: &DrawArgs) -> Result<Option<Base>> {
    let Some(path) = &args.way.from else {
        return Ok(None);
    };
    super::client::check_readable(path)?;
    let known = models::known(global);
    if is_trace(path) {
        return of_trace(path, args, known).map(Some);
    }
    if args.way.step.is_some() {
        return Err(CliError::Usage(format!(
            "{}: --step goes on from a step of a trace, and this is none; draw with --trace to have one",
            path.display()
        )));
    }
    let info = recall::read_file(path).map_err(CliError::failed)?;
    of_picture(path, args, known, &info).map(Some)
}

fn of_trace(path: &Path, args: &DrawArgs, known: Vec<Entry>) -> Result<Base> {
    let trace = Trace::open(path).map_err(CliError::failed)?;
    let mut request = request_in(&trace, &trace.head().request)?;
    let state = match args.way.step {
        None => None,
        Some(step) => {
            if args.count > 1 {
                return Err(CliError::Usage(
                    "a branch is one picture, since its noise is that of the trace; leave --count out".into(),
                ));
            }
            if !trace.steps().any(|known| known.index == step) {
                let last = trace.steps().map(|step| step.index).max();
                return Err(CliError::Usage(format!(
                    "{}: there is no step {step} in this trace; it has {}",
                    path.display(),
                    last.map_or("none".into(), |last| format!("0 to {last}"))
                )));
            }
            Some(trace.state(step).map_err(CliError::failed)?.into())
        }
    };
    if args.way.trace.as_deref() == Some(path) {
        return Err(CliError::Usage(format!(
            "{}: this trace would be replaced by that of its branch; name another file with --trace",
            path.display()
        )));
    }
    (request.keep_latents, request.preview, request.trace) = (false, false, false);
    let model = find(&known, &request.model.name, draws);
    let blobs = blobs_in(&trace)?;
    Ok(Base {
        init: request.init.as_ref().map(Over::of),
        request,
        recalled: None,
        model: require(args, model, path)?,
        known,
        blobs,
        state,
    })
}

fn of_picture(path: &Path, args: &DrawArgs, known: Vec<Entry>, info: &PictureInfo) -> Result<Base> {
    let own = info.request.clone().map(serde_json::from_value::<Request>);
    if let Some(Ok(Request::Image(mut request))) = own {
        (request.keep_latents, request.preview, request.trace) = (false, false, false);
        let init = request.init.take();
        if init.is_some() && args.init.is_none() {
            out::remark(
                "note: it was drawn over another picture, which is not kept with it; name that with --init",
            );
        }
        if request.noise.take().is_some() && args.latents.is_none() {
            out::remark(
                "note: it began with noise from a file, which is not kept with it; the seed's noise is used",
            );
        }
        if !std::mem::take(&mut request.controls).is_empty() && args.additions.control.is_empty() {
            out::remark(
                "note: it was guided by other pictures (ControlNet), which are not kept with it; name them with --control",
            );
        }
        let model = find(&known, &request.model.name, draws);
        return Ok(Base {
            request,
            recalled: None,
            init: init.as_ref().map(Over::of),
            model: require(args, model, path)?,
            known,
            blobs: Vec::new(),
            state: None,
        });
    }
    let usable = || known.iter().filter(|entry| entry.usable);
    let models: Vec<KnownModel> = usable().filter_map(known_model).collect();
    let loras: Vec<String> = usable()
        .filter(|entry| is(entry, |kind| kind == ModelKind::Lora))
        .map(|entry| entry.name.clone())
        .collect();
    let recalled = recall::recall(
        info,
        Part::All,
        &Against {
            models: &models,
            loras: &loras,
            model: None,
            sampler: SamplerKind::DpmPp2M,
            schedule: ScheduleKind::Karras,
        },
    );
    for note in &recalled.notes {
        out::remark(&format!("note: {note}"));
    }
    let taken = recalled.taken();
    if taken.is_empty() {
        return Err(CliError::Failed(format!(
            "{}: the picture tells no settings that could be used",
            path.display()
        )));
    }
    out::remark(&format!(
        "from {}: {}",
        recalled.software.as_deref().unwrap_or("another program"),
        taken.join(", ")
    ));
    let name = recalled.model.as_ref().map(|model| model.name.clone());
    let model = name.and_then(|name| {
        let found = models.iter().find(|known| known.model.name == name);
        found.map(|known| known.path.clone())
    });
    let request = ImageRequest::new(ModelRef::named(""), "", 0, 0);
    Ok(Base {
        request,
        model: require(args, model, path)?,
        recalled: Some(recalled),
        init: Some(Over::told(info)),
        known,
        blobs: Vec::new(),
        state: None,
    })
}

/// The settings must have a model: the one named, or the one found.
fn require(args: &DrawArgs, found: Option<PathBuf>, path: &Path) -> Result<Option<PathBuf>> {
    if args.basic.model.is_none() && found.is_none() {
        return Err(CliError::Failed(format!(
            "{}: the model that it was made with is not among those of this machine; name one with --model",
            path.display()
        )));
    }
    Ok(found)
}

/// Additions often have the name of the model that they were made for.
fn draws(kind: ModelKind) -> bool {
    !matches!(
        kind,
        ModelKind::Lora | ModelKind::ControlNet | ModelKind::Embedding | ModelKind::Upscaler
    )
}

fn is(entry: &Entry, wanted: impl Fn(ModelKind) -> bool) -> bool {
    entry.facts.as_ref().is_some_and(|facts| wanted(facts.kind))
}

/// Where a model of a name lies.
fn find(known: &[Entry], name: &str, wanted: impl Fn(ModelKind) -> bool) -> Option<PathBuf> {
    let fits = |entry: &&Entry| entry.usable && entry.name == name && is(entry, &wanted);
    known.iter().find(fits).map(|entry| entry.path.clone())
}

fn known_model(entry: &Entry) -> Option<KnownModel> {
    let facts = entry.facts.as_ref()?;
    let factor = facts.details.get(basics::FACTOR)?.parse().ok()?;
    Some(KnownModel {
        model: ModelRef::named(entry.name.clone()),
        path: entry.path.clone(),
        title: facts.title.clone(),
        factor,
    })
}

/// The request: the settings from elsewhere, changed by what is said on the command line.
///
/// # Errors
/// Sizes that the model cannot draw.
pub(super) fn request(
    args: &DrawArgs,
    base: &Base,
    defaults: &Defaults,
    model: ModelRef,
    info: &ModelInfo,
    begin: Option<&Begin>,
) -> Result<ImageRequest> {
    let fresh = draw::request(args, defaults, model.clone(), info, begin)?;
    let mut request = match &base.recalled {
        None => ImageRequest {
            model,
            ..base.request.clone()
        },
        Some(recalled) => filled(recalled, &fresh),
    };
    // What is said counts, what is not stays.
    if let Some(prompt) = &args.prompt {
        request.prompt.clone_from(prompt);
        request.template = None;
    }
    if let Some(negative) = &args.basic.negative {
        request.negative_prompt.clone_from(negative);
        request.template = None;
    }
    if args.basic.size.is_some() {
        (request.width, request.height) = (fresh.width, fresh.height);
    }
    if let Some((sampler, joined)) = args.basic.sampler {
        request.sampler = sampler;
        request.schedule = joined.unwrap_or(request.schedule);
    }
    request.prompt_syntax = args.prompt_syntax.map_or(request.prompt_syntax, Into::into);
    request.steps = args.basic.steps.unwrap_or(request.steps);
    request.guidance = args.basic.guidance.unwrap_or(request.guidance);
    request.schedule = args.basic.schedule.unwrap_or(request.schedule);
    request.convention = args.convention.unwrap_or(request.convention);
    request.spacing = args.spacing.or(request.spacing);
    request.seed = args.seed.unwrap_or(request.seed);
    request.noise_source = args.noise_source.unwrap_or(request.noise_source);
    request.guidance_rescale = args.guidance_rescale.unwrap_or(request.guidance_rescale);
    request.clip_skip = args.clip_skip.unwrap_or(request.clip_skip);
    if args.variation_seed.is_some() || args.variation_strength.is_some() {
        request.variation = draw::variation(args)?;
    }
    request.keep_latents = args.dump_latents.is_some();
    Ok(request)
}

/// A new request with what was found in another program's picture.
fn filled(recalled: &Recalled, fresh: &ImageRequest) -> ImageRequest {
    let mut request = fresh.clone();
    let from = recalled.clone();
    (request.width, request.height) = from.size.unwrap_or((fresh.width, fresh.height));
    request.prompt = from.prompt.unwrap_or_default();
    request.negative_prompt = from.negative.unwrap_or_default();
    request.steps = from.steps.unwrap_or(fresh.steps);
    request.guidance = from.guidance.unwrap_or(fresh.guidance);
    request.sampler = from.sampler.unwrap_or(fresh.sampler);
    request.schedule = from.schedule.unwrap_or(fresh.schedule);
    if let Some(convention) = from.convention {
        request.convention = convention;
        request.spacing = from.spacing.flatten();
    }
    request.guidance_rescale = from.guidance_rescale.unwrap_or(0.0);
    request.clip_skip = from.clip_skip.unwrap_or(1);
    request.prompt_syntax = from.prompt_syntax.unwrap_or_default();
    request.emphasis = from.emphasis.unwrap_or_default();
    request.seed = from.seed.unwrap_or(fresh.seed);
    request.noise_source = from.noise_source.unwrap_or(fresh.noise_source);
    request.variation = from.variation.flatten();
    request
}

impl Base {
    /// How it was drawn over another picture.
    pub fn over(&self) -> Over {
        self.init.unwrap_or_default()
    }

    /// Data that the request refers to.
    pub fn blobs(&self) -> Vec<Blob> {
        self.blobs.clone()
    }

    /// Makes the LoRAs and the VAE known that the request names, where they are among this machine's.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn prepare(&self, client: &Client, request: &mut ImageRequest) -> Result<()> {
        prepare(&self.known, client, request)
    }
}

/// Makes the LoRAs and the VAE known that a request names, where they are among this machine's.
///
/// # Errors
/// If one of them cannot be used.
pub(super) fn prepare(known: &[Entry], client: &Client, request: &mut ImageRequest) -> Result<()> {
    let (_, tags) = split_lora_tags(&request.prompt, request.prompt_syntax);
    let mut names: Vec<String> = tags.into_iter().map(|(name, _)| name).collect();
    names.extend(request.loras.iter().map(|lora| lora.model.name.clone()));
    for name in names {
        if let Some(path) = find(known, &name, |kind| kind == ModelKind::Lora) {
            client.add_model(&path)?;
        }
    }
    if let Some(vae) = &request.vae
        && let Some(path) = find(known, &vae.name, |kind| kind == ModelKind::Autoencoder)
    {
        client.add_model(&path)?;
    }
    let mut others: Vec<(&str, ModelKind)> = Vec::new();
    for control in &request.controls {
        others.push((&control.model.name, ModelKind::ControlNet));
    }
    for word in &request.embeddings {
        others.push((&word.name, ModelKind::Embedding));
    }
    if let Some(HiresUpscaler::Model(model)) = request.hires.as_ref().map(|h| &h.upscaler) {
        others.push((&model.name, ModelKind::Upscaler));
    }
    for (name, wanted) in others {
        if let Some(path) = find(known, name, |kind| kind == wanted) {
            client.add_model(&path)?;
        }
    }
    if let Some(branched) = &mut request.branched {
        // Another model may have begun it.
        if let Some(path) = find(known, &branched.from.model.name, draws) {
            client.add_model(&path)?;
        }
        prepare(known, client, &mut branched.from)?;
    }
    Ok(())
}

/// Where the model of a request lies, for those who have no settings to change.
///
/// # Errors
/// If it is not among this machine's.
pub(super) fn model_of(known: &[Entry], request: &ImageRequest, file: &Path) -> Result<PathBuf> {
    let name = &request.model.name;
    find(known, name, draws).ok_or_else(|| {
        CliError::Failed(format!(
            "{}: it was made with '{name}', which is not among the models of this machine; name it with --model",
            file.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_was_drawn_over_another_picture_is_read() {
        let told = |extra: &[(&str, &str)]| {
            let extra = extra
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Over::told(&PictureInfo {
                extra: extra.collect(),
                ..PictureInfo::default()
            })
        };
        let all = told(&[
            ("Denoising strength", "0.35"),
            ("Mask blur", "8"),
            ("Inpaint area", "Only masked"),
            ("Masked area padding", "48"),
        ]);
        assert_eq!(
            (all.strength, all.blur, all.only_masked),
            (Some(0.35), Some(8.0), Some(48))
        );
        // The strength of a second pass is none of a first picture.
        let passes = told(&[("Denoising strength", "0.35"), ("Hires upscale", "2")]);
        assert_eq!(passes, Over::default());
        assert_eq!(told(&[("Denoising strength", "many")]), Over::default());
    }
}
