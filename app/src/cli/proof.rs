//! `diptych proof`: whether two pictures are the same step by step, and from where on they are not.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::Request;
use diptych_inference::formats::trace::{Trace, is_trace};

use super::args::Global;
use super::client::{Client, Ending, check_readable};
use super::error::{CliError, Result};
use super::from;
use super::interrupt::Interrupts;
use super::models;
use super::out;
use super::progress::Progress;
use super::short::picture_of;
use super::trace::{blobs_in, request_in};
use crate::proof::{Proof, compare, picture_hash};

/// `diptych proof`.
#[derive(Clone, Debug, Args)]
pub struct ProofArgs {
    /// A proof (draw --proof), a trace (draw --trace) or a picture
    pub first: PathBuf,
    /// What it is compared with; without it, it is drawn again
    pub second: Option<PathBuf>,
    /// The model to draw again with, where it is not among those of 'diptych models'
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Compares.
///
/// # Errors
/// Files that are no proofs; pictures that differ (exit code 1).
pub fn run(global: &Global, args: &ProofArgs) -> Result<()> {
    let first = read(&args.first)?;
    let second = match &args.second {
        Some(path) => read(path)?,
        None => again(global, args, &first)?,
    };
    let verdict = compare(&first, &second);
    if args.json {
        out::json_pretty(&verdict)?;
    } else {
        out::line(&verdict.told())?;
    }
    if verdict.identical {
        Ok(())
    } else {
        Err(CliError::Said)
    }
}

/// The proof in a file: of its own, of a trace, or of a picture, which has no steps.
fn read(path: &Path) -> Result<Proof> {
    check_readable(path)?;
    Proof::read(path).map_err(CliError::Failed)
}

/// Draws what a proof is of once more.
fn again(global: &Global, args: &ProofArgs, proof: &Proof) -> Result<Proof> {
    let untold = || {
        CliError::Failed(format!(
            "{}: it does not tell the settings to draw it again with; name a second file to compare it with",
            args.first.display()
        ))
    };
    let value = proof.request().cloned().ok_or_else(untold)?;
    let trace = match is_trace(&args.first) {
        true => Some(Trace::open(&args.first).map_err(CliError::failed)?),
        false => None,
    };
    let mut request = match &trace {
        Some(trace) => request_in(trace, &value)?,
        None => match serde_json::from_value(value) {
            Ok(Request::Image(request)) => request,
            _ => return Err(untold()),
        },
    };
    let beside = request.init.is_some() || request.noise.is_some() || !request.controls.is_empty();
    if trace.is_none() && beside {
        return Err(CliError::Failed(format!(
            "{}: it was drawn over or guided by pictures (or noise) that are not kept with it, so it cannot be drawn again from it alone; \
             prove its trace (draw --trace), or name a second file to compare it with",
            args.first.display()
        )));
    }
    let known = models::known(global);
    let path = match &args.model {
        Some(path) => path.clone(),
        None => from::model_of(&known, &request, &args.first)?,
    };
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, Interrupts::install()?)?;
    request.model.name = client.add_model(&path)?.0.name;
    from::prepare(&known, &client, &mut request)?;
    for blob in trace
        .as_ref()
        .map(blobs_in)
        .transpose()?
        .into_iter()
        .flatten()
    {
        client.send_blob(blob.name.0, blob.data)?;
    }
    (request.trace, request.preview, request.keep_latents) = (true, false, false);
    let mut second =
        Proof::begin(&request, client.executor(), client.device()).map_err(CliError::failed)?;
    let ending = client.run(Request::Image(request), |event| {
        progress.watch(event);
        second.watch(event, None);
        Ok(())
    });
    progress.clear();
    let Ending::Finished(outcome) = ending? else {
        return Err(CliError::Interrupted);
    };
    let (picture, _) = picture_of(outcome)?;
    second.finish(picture_hash(&picture.rgb));
    Ok(second)
}
