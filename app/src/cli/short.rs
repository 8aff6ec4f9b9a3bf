//! The settings that commands share which draw several pictures for one answer.

use std::sync::Arc;

use clap::Args;
use diptych_inference::engine::{ImageRequest, Outcome, Picture, Request};

use super::args::Global;
use super::basics::BasicArgs;
use super::client::Client;
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use crate::defaults;

/// Settings of all pictures.
#[derive(Clone, Debug, Args)]
pub struct ShortArgs {
    /// Model and settings.
    #[command(flatten)]
    pub basic: BasicArgs,
    /// Seed of the noise (default: a new one, told)
    #[arg(long)]
    pub seed: Option<u64>,
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
    let path = global.model_path(args.basic.model.as_ref(), "sketch")?;
    let defaults = defaults::of_model(&path).map_err(CliError::failed)?;
    let client = Client::start(global.engine_options()?, Interrupts::install()?)?;
    let (model, info) = args.basic.open(&client, &path, None)?.0;
    let request = ImageRequest {
        seed: args.seed.unwrap_or_else(crate::origin::new_seed),
        ..args.basic.request(&defaults, model, &info, None, prompt)?
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
