//! The settings that all commands share which draw, what stands for those that nobody gave, and the model that is to draw.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::engine::{ImageRequest, ModelRef};
use diptych_inference::formats::detect::ModelInfo;

use super::args::{guidance, sampler, size};
use super::client::Client;
use super::error::{CliError, Result};
use super::parts::KindArgs;
use crate::defaults::Defaults;
use crate::presets;

/// Where nobody says anything: what AUTOMATIC1111 draws with, but the sampler that most people choose.
const STEPS: u32 = 20;
const GUIDANCE: f32 = 7.0;
const SIDE: u32 = 512;
/// Sizes that a model may have been trained at, for its own word to be taken for it.
const NATIVE_SIDES: std::ops::RangeInclusive<u32> = 256..=2048;

/// Facts about a model by the names that [`ModelInfo::details`] has for them.
const NATIVE_SIZE: &str = "native size";
pub(super) const FACTOR: &str = "size factor";

/// Model and settings.
#[derive(Clone, Debug, Args)]
pub struct BasicArgs {
    /// Diffusers folder, single-file checkpoint, or the U-Net of a model in separate files (default: the built-in 'sketch')
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// What kind of model it is, and its other files.
    #[command(flatten)]
    pub kind: KindArgs,
    /// What to keep out of the picture
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub negative: Option<String>,
    /// Sampler steps
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// Guidance scale; 1 is no guidance and twice as fast
    #[arg(short, long, value_parser = guidance, allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Euler, Euler a, Heun, DPM2, DPM2 a, DPM++ 2S a, DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 3M SDE, LMS, DDIM, UniPC or
    /// LCM; ComfyUI's names and 'DPM++ 2M Karras' are understood too
    #[arg(long, value_parser = sampler)]
    pub sampler: Option<(SamplerKind, Option<ScheduleKind>)>,
    /// Normal, Karras, Exponential, SGM Uniform, Simple, DDIM or Beta; ComfyUI's names are understood too
    #[arg(long, value_parser = |name: &str| ScheduleKind::parse(name).map_err(|error| error.to_string()))]
    pub schedule: Option<ScheduleKind>,
    /// Size in pixels
    #[arg(short, long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    pub size: Option<(u32, u32)>,
}

impl BasicArgs {
    /// Opens the model that is to draw; and tells whether `vae` is now a part of it, where it lies in separate files.
    ///
    /// # Errors
    /// Files that are faulty, or no text-to-image model.
    pub(super) fn open(
        &self,
        client: &Client,
        path: &Path,
        vae: Option<&PathBuf>,
    ) -> Result<((ModelRef, ModelInfo), bool)> {
        let ((model, info), vae_is_part) = self.kind.model(client, path, vae)?;
        if !info.is_text_to_image() {
            return Err(CliError::Failed(format!(
                "{}: it is {}; drawing needs a text-to-image model",
                path.display(),
                info.described()
            )));
        }
        Ok(((model, info), vae_is_part))
    }

    /// A request with what the person gave, else with what the model wants, else with what is usual. `begin`: the size of a picture to begin from.
    ///
    /// # Errors
    /// Sizes that the model cannot draw.
    pub(super) fn request(
        &self,
        defaults: &Defaults,
        model: ModelRef,
        info: &ModelInfo,
        begin: Option<(u32, u32)>,
        prompt: impl Into<String>,
    ) -> Result<ImageRequest> {
        let defaults = &presets::with_preset(defaults.clone(), info, self.kind.preset);
        let own = defaults.sampler.unwrap_or(SamplerKind::DpmPp2M);
        let (sampler, joined) = self.sampler.unwrap_or((own, None));
        let (width, height) = self.size(defaults, info, begin)?;
        Ok(ImageRequest {
            negative_prompt: self.negative.clone().unwrap_or_default(),
            steps: self.steps.or(defaults.steps).unwrap_or(STEPS),
            guidance: self.guidance.or(defaults.guidance).unwrap_or(GUIDANCE),
            sampler,
            schedule: self
                .schedule
                .or(joined)
                .or(defaults.schedule)
                .unwrap_or(ScheduleKind::Karras),
            convention: defaults.convention.unwrap_or_default(),
            spacing: defaults.spacing,
            ..ImageRequest::new(model, prompt, width, height)
        })
    }

    /// Width and height in pixels: the person's, else the beginning's as near as the model can draw it, else the model's.
    ///
    /// # Errors
    /// Sizes that the model cannot draw.
    pub(super) fn size(
        &self,
        defaults: &Defaults,
        info: &ModelInfo,
        begin: Option<(u32, u32)>,
    ) -> Result<(u32, u32)> {
        let factor = factor(info).unwrap_or(1).max(1);
        let multiple = |side: u32| (side / factor).max(1) * factor;
        let begin = begin.map(|(width, height)| (multiple(width), multiple(height)));
        let size = self.size.or(begin);
        let (width, height) = size.unwrap_or_else(|| own_size(defaults, info));
        if !width.is_multiple_of(factor) || !height.is_multiple_of(factor) {
            return Err(CliError::Usage(format!(
                "{width}x{height}: this model draws sizes that are multiples of {factor}"
            )));
        }
        Ok((width, height))
    }
}

/// Width and height that a model draws where nobody says anything.
pub(super) fn own_size(defaults: &Defaults, info: &ModelInfo) -> (u32, u32) {
    let side = native_side(info).unwrap_or(SIDE);
    (
        defaults.width.unwrap_or(side),
        defaults.height.unwrap_or(side),
    )
}

/// What width and height must be multiples of.
pub(super) fn factor(info: &ModelInfo) -> Option<u32> {
    info.details().get(FACTOR)?.parse().ok()
}

/// The side of the squares that a model was trained on, as its configuration says: 512, 768, ...
fn native_side(info: &ModelInfo) -> Option<u32> {
    let (width, height) = info.details().get(NATIVE_SIZE)?.split_once('x')?;
    let side = width.parse().ok()?;
    (width == height && NATIVE_SIDES.contains(&side)).then_some(side)
}
