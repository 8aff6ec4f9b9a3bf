//! The settings that commands share which draw several pictures for one answer.

use std::path::PathBuf;

use clap::Args;
use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::engine::{ImageRequest, Outcome, Picture, Request};
use std::sync::Arc;

use super::args::{Global, guidance, sampler, size};
use super::client::Client;
use super::draw;
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use crate::defaults;

/// Settings of all pictures.
#[derive(Clone, Debug, Args)]
pub struct ShortArgs {
    /// Diffusers folder or single-file checkpoint (default: the built-in 'sketch')
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// What to keep out
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub negative: String,
    /// Seed of the noise (default: a new one, told)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Sampler steps
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// Guidance scale; 1 is no guidance and twice as fast
    #[arg(short, long, value_parser = guidance, allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// The sampler; AUTOMATIC1111's and ComfyUI's names are understood
    #[arg(long, value_parser = sampler)]
    pub sampler: Option<(SamplerKind, Option<ScheduleKind>)>,
    /// The schedule, such as Normal or Karras
    #[arg(long, value_parser = |name: &str| ScheduleKind::parse(name).map_err(|error| error.to_string()))]
    pub schedule: Option<ScheduleKind>,
    /// Size of every picture in pixels
    #[arg(short, long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    pub size: Option<(u32, u32)>,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Starts the engine with the model, and gives the request that all pictures begin with.
///
/// # Errors
/// Wrong usage, models that cannot be drawn with.
pub(super) fn start(
    global: &Global,
    args: &ShortArgs,
    prompt: &str,
) -> Result<(Client, ImageRequest)> {
    let path = global.model_path(args.model.as_ref(), "sketch")?;
    let defaults = defaults::of_model(&path).map_err(CliError::failed)?;
    let client = Client::start(global.engine_options()?, Interrupts::install()?)?;
    let (model, info) = client.add_model(&path)?;
    if !info.is_text_to_image() {
        return Err(CliError::Failed(format!(
            "{}: it is {}; drawing needs a text-to-image model",
            path.display(),
            info.describe()
        )));
    }
    let own = defaults.sampler.unwrap_or(SamplerKind::DpmPp2M);
    let (sampler, joined) = args.sampler.unwrap_or((own, None));
    let (width, height) = draw::size(args.size, &defaults, &info)?;
    let request = ImageRequest {
        negative_prompt: args.negative.clone(),
        steps: args.steps.or(defaults.steps).unwrap_or(draw::STEPS),
        guidance: args
            .guidance
            .or(defaults.guidance)
            .unwrap_or(draw::GUIDANCE),
        sampler,
        schedule: args
            .schedule
            .or(joined)
            .or(defaults.schedule)
            .unwrap_or(ScheduleKind::Karras),
        convention: defaults.convention.unwrap_or_default(),
        spacing: defaults.spacing,
        seed: args.seed.unwrap_or_else(super::new_seed),
        ..ImageRequest::new(model, prompt, width, height)
    };
    Ok((client, request))
}

/// The picture in what a job made.
///
/// # Errors
/// If it made something else.
pub(super) fn picture_of(outcome: Outcome) -> Result<(Arc<Picture>, ImageRequest)> {
    if let Outcome::Image {
        picture, request, ..
    } = outcome
        && let Request::Image(request) = *request
    {
        return Ok((picture, request));
    }
    Err(CliError::Failed(
        "the engine answered with something that is no picture; please report it".into(),
    ))
}
