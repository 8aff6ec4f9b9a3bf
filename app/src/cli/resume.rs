//! `diptych resume`: a picture that was stopped, finished as it would have been.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use diptych_inference::engine::{Event, Outcome, Request, request_of_state};
use diptych_inference::formats::picture::inspect_picture;
use diptych_inference::formats::trace::{Trace, is_trace};
use serde::Serialize;

use super::args::Global;
use super::client::{Client, Ending, check_readable};
use super::error::{CliError, Result};
use super::from;
use super::interrupt::Interrupts;
use super::models;
use super::out;
use super::progress::Progress;
use super::record::Recorder;
use super::save::{self, Existing};
use super::trace::{Keeper, blobs_in};
use crate::proof::picture_hash;

/// Largest checkpoint that is read.
const MOST_BYTES: u64 = 1 << 30;

/// `diptych resume`.
#[derive(Clone, Debug, Args)]
pub struct ResumeArgs {
    /// A trace (draw --trace), which grows on, or a checkpoint
    pub file: PathBuf,
    /// The PNG file to write; without it a name is made of prompt and seed, and no file is overwritten
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The model that it was begun with, where it is not among those of 'diptych models'
    #[arg(short, long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A LoRA or VAE that it was begun with; may be repeated
    #[arg(long, value_name = "PATH")]
    pub with: Vec<PathBuf>,
    /// Leave this picture out of the history
    #[arg(long)]
    pub no_history: bool,
    /// Print a line of JSON, rather than the path
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a std::path::Path,
    resumed_at: Option<u32>,
    steps: u32,
    seed: u64,
    picture_sha256: String,
}

/// Finishes a picture.
///
/// # Errors
/// Files that are neither, models that are not here, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &ResumeArgs) -> Result<()> {
    check_readable(&args.file)?;
    if let Some(out) = &args.out {
        save::check_target(out)?;
        save::check_distinct(&[("FILE", Some(&args.file)), ("--out", Some(out))], 1)?;
    }
    if let Ok(info) = inspect_picture(&args.file)
        && info.request.is_some()
    {
        return Err(CliError::Failed(format!(
            "{}: this is a picture, which cannot be resumed; resume takes a trace or a checkpoint. 'diptych draw --from' draws the picture again",
            args.file.display()
        )));
    }
    let trace = match is_trace(&args.file) {
        true => Some(Trace::open(&args.file).map_err(CliError::failed)?),
        false => None,
    };
    let last = trace.as_ref().and_then(|trace| trace.steps().last());
    let at = last.map(|step| step.index);
    let state: Arc<[u8]> = match (&trace, at) {
        (Some(trace), Some(index)) => trace.state(index).map_err(CliError::failed)?.into(),
        (Some(_), None) => {
            return Err(CliError::Failed(format!(
                "{}: this trace was stopped before its first step; draw it again with --from",
                args.file.display()
            )));
        }
        (None, _) => read_checkpoint(&args.file)?.into(),
    };
    let mut request = request_of_state(&state)
        .map_err(|error| CliError::Failed(format!("{}: {error}", args.file.display())))?;
    let known = models::known(global);
    let path = match &args.model {
        Some(path) => path.clone(),
        None => from::model_of(&known, &request, &args.file)?,
    };
    let interrupts = Interrupts::install()?;
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, interrupts)?;
    let (model, _) = client.add_model(&path)?;
    if model.name != request.model.name {
        return Err(CliError::Failed(format!(
            "{}: it was begun with '{}', not with '{}'; to continue with another model, draw with --from and --step",
            args.file.display(),
            request.model.name,
            model.name
        )));
    }
    for path in &args.with {
        client.add_model(path)?;
    }
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
    let mut keeper = trace
        .as_ref()
        .map(|trace| Keeper::append(trace, &client))
        .transpose()?;
    if let Some(at) = at {
        progress.say(&format!("going on after step {at} of {}", request.steps));
    }
    let named = match &args.out {
        Some(out) => out.clone(),
        None => save::name_of(&request.prompt, request.seed),
    };
    let mut recorder = match args.no_history {
        true => Recorder::none(),
        false => Recorder::start(global, std::iter::once((request.clone(), named))),
    };
    recorder.begin(0);
    let ending = client.go_on(state, None, |event: &Event| {
        progress.watch(event);
        if let Event::Step { index, total, .. } = event {
            recorder.step(*index, *total);
        }
        if let Some(keeper) = &mut keeper {
            keeper.watch(event);
        }
        Ok(())
    })?;
    progress.clear();
    let outcome = match ending {
        Ending::Finished(outcome) => outcome,
        Ending::Cancelled(_) => {
            if let Some(keeper) = &mut keeper {
                keeper.stopped();
            }
            return Err(CliError::Interrupted);
        }
    };
    if let Some(keeper) = &mut keeper {
        keeper.finish(&outcome)?;
    }
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
    (request.keep_latents, request.preview, request.trace) = (false, false, false);
    let bytes = save::encode(&picture, &request, None)?;
    let path = match &args.out {
        Some(out) => save::write(out, &bytes, Existing::Replace)?,
        None => {
            let name = save::name_of(&request.prompt, request.seed);
            save::write(&name, &bytes, Existing::Keep)?
        }
    };
    recorder.keep(0, &picture, &request, None, seconds, &path);
    if !args.json {
        return out::line(&path.display().to_string());
    }
    out::json(&Report {
        path: &path,
        resumed_at: at,
        steps: request.steps,
        seed: request.seed,
        picture_sha256: picture_hash(&picture.rgb),
    })
}

fn read_checkpoint(path: &std::path::Path) -> Result<Vec<u8>> {
    let fault = |error: std::io::Error| CliError::at(path, "read", error);
    let meta = std::fs::metadata(path).map_err(fault)?;
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(CliError::Failed(format!(
            "{}: this is neither a trace nor a checkpoint of a picture",
            path.display()
        )));
    }
    std::fs::read(path).map_err(fault)
}
