//! "Use these settings": from a picture, ours or another program's, to the settings that would draw it here.
//!
//! What cannot be taken over is told in a person's words, never left out in silence. Nothing here knows the window.

mod chance;
mod models;
mod names;
mod remarks;

use std::path::{Path, PathBuf};

use diptych_inference::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::{
    ControlUse, Hires, ImageRequest, InitPicture, LoraUse, ModelRef, Request, Variation,
};
use diptych_inference::formats::FormatError;
use diptych_inference::formats::metadata::{PictureInfo, a1111};
use diptych_inference::formats::picture::{inspect_picture, inspect_picture_bytes};
use diptych_inference::text::prompt::{Emphasis, PromptSyntax};

/// Steps that can be asked for.
pub const STEPS: std::ops::RangeInclusive<u32> = 1..=1000;
/// Guidance that can be asked for.
pub const GUIDANCE: std::ops::RangeInclusive<f32> = 0.0..=100.0;
/// Longest side that can be asked for, in pixels.
pub const LONGEST_SIDE: u32 = 4096;

/// What of a picture's settings is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// The seed alone.
    Seed,
    /// Prompt and negative prompt.
    Prompt,
    /// All but the seed.
    Remix,
}

impl Part {
    fn seed(self) -> bool {
        matches!(self, Self::All | Self::Seed)
    }

    fn prompt(self) -> bool {
        matches!(self, Self::All | Self::Prompt | Self::Remix)
    }

    fn rest(self) -> bool {
        matches!(self, Self::All | Self::Remix)
    }
}

/// A model that can be drawn with.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownModel {
    /// How requests name it, with its hash where that is known.
    pub model: ModelRef,
    /// Its file or folder.
    pub path: PathBuf,
    /// The name that it gives itself.
    pub title: Option<String>,
    /// What sides of pictures must be multiples of.
    pub factor: u32,
}

/// What settings are taken over into.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The models that can be drawn with.
    pub models: &'a [KnownModel],
    /// Names of the LoRAs that are here.
    pub loras: &'a [String],
    /// The chosen model.
    pub model: Option<&'a str>,
    /// The chosen sampler.
    pub sampler: SamplerKind,
    /// The chosen schedule.
    pub schedule: ScheduleKind,
}

/// Settings that were found and can be used; `None` keeps what is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// The program that made the picture.
    pub software: Option<String>,
    /// What to draw.
    pub prompt: Option<String>,
    /// What to keep out; empty if there was nothing.
    pub negative: Option<String>,
    /// Width and height in pixels, as the model can draw them.
    pub size: Option<(u32, u32)>,
    /// Sampler steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f32>,
    /// Sampler.
    pub sampler: Option<SamplerKind>,
    /// Schedule.
    pub schedule: Option<ScheduleKind>,
    /// Convention.
    pub convention: Option<Convention>,
    /// Timestep spacing; the inner `None` is the convention's own.
    pub spacing: Option<Option<Spacing>>,
    /// How much of the spread that guidance adds is taken back.
    pub guidance_rescale: Option<f32>,
    /// Which of the text encoder's layers is the last, counted from its end.
    pub clip_skip: Option<u32>,
    /// Seed.
    pub seed: Option<u64>,
    /// Whose random numbers the noise is made of.
    pub noise_source: Option<NoiseSource>,
    /// Another seed mixed in; the inner `None` is none.
    pub variation: Option<Option<Variation>>,
    /// The model among those that are known.
    pub model: Option<ModelRef>,
    /// LoRAs beside those that the prompt names.
    pub loras: Option<Vec<LoraUse>>,
    /// An autoencoder in place of the model's own; the inner `None` is its own.
    pub vae: Option<Option<ModelRef>>,
    /// The picture that it was drawn over; the inner `None` is none.
    pub init: Option<Option<InitPicture>>,
    /// What it was guided by.
    pub controls: Option<Vec<ControlUse>>,
    /// Its second pass; the inner `None` is none.
    pub hires: Option<Option<Hires>>,
    /// What could not be taken over and why, in whole sentences.
    pub notes: Vec<String>,
    /// How the prompts are read.
    pub prompt_syntax: Option<PromptSyntax>,
    /// What weights in them do.
    pub emphasis: Option<Emphasis>,
}

impl Recalled {
    /// What was taken over, in words: `prompt`, `size`, ...
    pub fn taken(&self) -> Vec<&'static str> {
        let all = [
            ("prompt", self.prompt.is_some()),
            (
                "negative prompt",
                self.negative.as_ref().is_some_and(|text| !text.is_empty()),
            ),
            ("model", self.model.is_some()),
            ("size", self.size.is_some()),
            ("steps", self.steps.is_some()),
            ("guidance", self.guidance.is_some()),
            ("sampler", self.sampler.is_some()),
            ("schedule", self.schedule.is_some()),
            ("seed", self.seed.is_some()),
            (
                "LoRAs",
                self.loras.as_ref().is_some_and(|loras| !loras.is_empty()),
            ),
            ("VAE", self.vae.as_ref().is_some_and(Option::is_some)),
            (
                "start picture",
                self.init.as_ref().is_some_and(Option::is_some),
            ),
            (
                "ControlNets",
                self.controls.as_ref().is_some_and(|all| !all.is_empty()),
            ),
            (
                "second pass",
                self.hires.as_ref().is_some_and(Option::is_some),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, taken)| taken.then_some(name))
            .collect()
    }

    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Reads how a picture file was made.
///
/// # Errors
/// What is wrong with the file, or that it tells nothing.
pub fn read_file(path: &Path) -> Result<PictureInfo, FormatError> {
    inspect_picture(path)
}

/// As [`read_file`], of a picture that was pasted or dropped; `name` is said in messages.
///
/// # Errors
/// As [`read_file`].
pub fn read_bytes(name: &str, bytes: &[u8]) -> Result<PictureInfo, FormatError> {
    inspect_picture_bytes(Path::new(name), bytes)
}

/// Settings that were copied as text: AUTOMATIC1111's form, or nothing.
pub fn read_text(text: &str) -> Option<PictureInfo> {
    let info = a1111::parse(text);
    // Any text is a prompt; only one with settings behind it is more than that.
    (info.steps.is_some() && (info.sampler.is_some() || info.seed.is_some())).then_some(info)
}

/// Finds out what of a picture's settings can be used here.
pub fn recall(info: &PictureInfo, part: Part, against: &Against<'_>) -> Recalled {
    let mut recalled = Recalled {
        software: info.software.clone(),
        ..Recalled::default()
    };
    match own_request(info) {
        Some(Ok(request)) => from_request(&mut recalled, &request, part, against),
        Some(Err(())) => {
            recalled.note(
                "Another version of Diptych made this picture; what its text tells was taken over",
            );
            from_texts(&mut recalled, info, part, against);
        }
        None => from_texts(&mut recalled, info, part, against),
    }
    recalled
}

/// Finds out what of a request can be used here, such as that of a picture in the library.
pub fn recall_request(request: &ImageRequest, part: Part, against: &Against<'_>) -> Recalled {
    let mut recalled = Recalled {
        software: Some("Diptych".into()),
        ..Recalled::default()
    };
    from_request(&mut recalled, request, part, against);
    recalled
}

/// The request that our own pictures carry.
fn own_request(info: &PictureInfo) -> Option<Result<ImageRequest, ()>> {
    let value = info.request.clone()?;
    Some(match serde_json::from_value(value) {
        Ok(Request::Image(request)) => Ok(request),
        _ => Err(()),
    })
}

fn from_request(
    recalled: &mut Recalled,
    request: &ImageRequest,
    part: Part,
    against: &Against<'_>,
) {
    if part.prompt() {
        recalled.prompt = Some(request.prompt.clone());
        // The prompt alone takes no LoRAs out of the list.
        if part.rest() || !request.loras.is_empty() {
            recalled.loras = Some(request.loras.clone());
        }
        recalled.negative = Some(request.negative_prompt.clone());
        remarks::loras(recalled, against);
    }
    if part.prompt() {
        recalled.prompt_syntax = Some(request.prompt_syntax);
        recalled.emphasis = Some(request.emphasis);
    }
    if part.seed() {
        recalled.seed = Some(request.seed);
        recalled.noise_source = Some(request.noise_source);
        recalled.variation = Some(request.variation);
        if request.noise.is_some() {
            recalled.note("It began with noise from a file, which is not in the picture; the seed's noise is used");
        }
    }
    if part.rest() {
        let factor = models::take(
            recalled,
            Some(&request.model.name),
            request.model.hash.as_deref(),
            against,
        );
        size(recalled, request.width, request.height, factor);
        steps(recalled, request.steps);
        guidance(recalled, f64::from(request.guidance));
        recalled.sampler = Some(request.sampler);
        recalled.schedule = Some(request.schedule);
        recalled.convention = Some(request.convention);
        recalled.spacing = Some(request.spacing);
        recalled.guidance_rescale = Some(request.guidance_rescale);
        recalled.vae = Some(request.vae.clone());
        recalled.init = Some(request.init.clone());
        recalled.clip_skip = Some(request.clip_skip);
        recalled.hires = Some(request.hires.clone());
        recalled.controls = Some(request.controls.clone());
        if let Some(branched) = &request.branched {
            recalled.note(format!(
                "It branched from another picture after step {}; the settings from there on were taken over",
                branched.step
            ));
        }
    }
}

fn from_texts(recalled: &mut Recalled, info: &PictureInfo, part: Part, against: &Against<'_>) {
    if part.prompt() {
        recalled.prompt = info.prompt.clone();
        recalled.negative = info.negative_prompt.clone();
        if info.prompt.is_none() {
            recalled.note("The picture does not tell its prompt");
        }
        remarks::prompt(recalled, info);
        chance::take_emphasis(recalled, info);
        remarks::loras(recalled, against);
    }
    if part.seed() {
        recalled.seed = info.seed;
        match info.seed {
            Some(_) => chance::take(recalled, info),
            None => recalled.note("The picture does not tell its seed"),
        }
    }
    if !part.rest() {
        return;
    }
    let factor = models::take(
        recalled,
        info.model.as_deref(),
        info.model_hash.as_deref(),
        against,
    );
    if let Some((width, height)) = info.width.zip(info.height) {
        size(recalled, width, height, factor);
    }
    if let Some(count) = info.steps {
        steps(recalled, count);
    }
    if let Some(scale) = info.cfg_scale {
        guidance(recalled, scale);
    }
    names::take(recalled, info, against);
    chance::take_rest(recalled, info);
    remarks::rest(recalled, info);
}

/// Takes a size, made fit for the model.
fn size(recalled: &mut Recalled, width: u32, height: u32, factor: u32) {
    let factor = factor.clamp(1, LONGEST_SIDE);
    let fit = |side: u32| {
        let longest = LONGEST_SIDE - LONGEST_SIDE % factor;
        let nearest = (side.saturating_add(factor / 2) / factor).saturating_mul(factor);
        nearest.clamp(factor, longest)
    };
    let fitting = (fit(width), fit(height));
    if fitting != (width, height) {
        let why = if width.max(height) > LONGEST_SIDE {
            format!("is larger than {LONGEST_SIDE}")
        } else {
            format!("does not fit the model, whose sizes are multiples of {factor}")
        };
        let (w, h) = fitting;
        recalled.note(format!("The size {width} × {height} {why}; took {w} × {h}"));
    }
    recalled.size = Some(fitting);
}

fn steps(recalled: &mut Recalled, count: u32) {
    let usable = count.clamp(*STEPS.start(), *STEPS.end());
    if usable != count {
        recalled.note(format!("{count} steps cannot be drawn; took {usable}"));
    }
    recalled.steps = Some(usable);
}

fn guidance(recalled: &mut Recalled, scale: f64) {
    let scale = scale as f32;
    if GUIDANCE.contains(&scale) {
        recalled.guidance = Some(scale);
    } else {
        recalled.note(format!("A guidance of {scale} cannot be used; kept yours"));
    }
}

#[cfg(test)]
mod tests;
