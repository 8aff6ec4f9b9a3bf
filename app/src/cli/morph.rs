//! `diptych morph`: the way between prompts and seeds, as an animation or a strip.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use diptych_inference::engine::{ImageRequest, Picture, Request};
use serde::Serialize;

use super::args::Global;
use super::client::Ending;
use super::error::{CliError, Result};
use super::out;
use super::progress::Progress;
use super::save::{self, Existing};
use super::short::{self, ShortArgs, picture_of};
use super::words;
use crate::morph::{Form, Shape, Stop, encode, frame};

/// `diptych morph`.
#[derive(Clone, Debug, Args)]
pub struct MorphArgs {
    /// The file to write: .png (animated) or .gif; with --strip a PNG of all frames side by side
    pub out: PathBuf,
    /// The prompt to begin with
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    pub from: String,
    /// The prompt to end with; may be repeated for a longer way
    #[arg(
        long,
        value_name = "PROMPT",
        required = true,
        allow_hyphen_values = true
    )]
    pub to: Vec<String>,
    /// The seed there, one for each --to (default: the first seed stays)
    #[arg(long, value_name = "N")]
    pub to_seed: Vec<u64>,
    /// Pictures in all
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub frames: u32,
    /// All frames side by side rather than one after the other
    #[arg(long)]
    pub strip: bool,
    /// Go back to the beginning too, for a loop without a jump
    #[arg(long, conflicts_with = "strip")]
    pub back: bool,
    /// Milliseconds for each frame
    #[arg(long, value_name = "MS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(20..))]
    pub milliseconds: u16,
    /// Write every frame to a PNG in this folder too, with the request that draws it
    #[arg(long, value_name = "FOLDER")]
    pub cells: Option<PathBuf>,
    /// The settings of all pictures.
    #[command(flatten)]
    pub short: ShortArgs,
    /// Print a line of JSON, rather than the path
    #[arg(long)]
    pub json: bool,
}

/// What `--json` gives.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    frames: usize,
    width: u32,
    height: u32,
    seed: u64,
    cancelled: bool,
}

/// Draws the way.
///
/// # Errors
/// Wrong usage, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &MorphArgs) -> Result<()> {
    let form = Form::of(&args.out, args.strip).map_err(CliError::Usage)?;
    save::check_file_target(&args.out)?;
    if !args.to_seed.is_empty() && args.to_seed.len() != args.to.len() {
        return Err(CliError::Usage(format!(
            "--to-seed is there {} times and --to {} times; give each --to a seed, or none",
            args.to_seed.len(),
            args.to.len()
        )));
    }
    if let Some(folder) = &args.cells {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::at(folder, "make the folder", error))?;
    }
    let mut progress = Progress::new(args.short.quiet);
    progress.passing("starting");
    let (client, mut first) = short::start(global, &args.short, &args.from)?;
    let args = &settled(global, args, &first);
    first.prompt.clone_from(&args.from);
    form.fits(first.width, args.frames)
        .map_err(CliError::Usage)?;
    let stops = stops(args, &first);
    let mut pictures: Vec<Arc<Picture>> = Vec::new();
    let (mut told, mut cancelled) = (None, false);
    for number in 0..args.frames {
        progress.begin(number + 1, args.frames);
        let request = frame(&first, &stops, number, args.frames);
        let ending = client.run(Request::Image(request), |event| {
            progress.watch(event);
            Ok(())
        });
        progress.clear();
        let Ending::Finished(outcome) = ending? else {
            cancelled = true;
            break;
        };
        let (picture, request) = picture_of(outcome)?;
        if let Some(folder) = &args.cells {
            let bytes = save::encode(&picture, &request, None)?;
            let path = folder.join(format!("{:04}.png", number + 1));
            save::write(&path, &bytes, Existing::Replace)?;
        }
        told.get_or_insert(request);
        pictures.push(picture);
    }
    client.idle();
    let (Some(told), Some(one)) = (told, pictures.first()) else {
        out::remark("cancelled before the first picture; nothing was written");
        return Err(CliError::Interrupted);
    };
    let (width, height) = (one.width, one.height);
    let shape = Shape {
        form,
        milliseconds: args.milliseconds,
        back: args.back,
    };
    let bytes = encode(shape, &pictures, &told).map_err(CliError::Failed)?;
    let path = save::write(&args.out, &bytes, Existing::Replace)?;
    if cancelled {
        out::remark(&format!(
            "cancelled; {} of {} pictures are in {}",
            pictures.len(),
            args.frames,
            path.display()
        ));
    } else {
        progress.say(&format!(
            "seed {}, {} pictures on {}",
            first.seed,
            args.frames,
            client.device()
        ));
    }
    if args.json {
        out::json(&Report {
            path: &path,
            frames: pictures.len(),
            width,
            height,
            seed: first.seed,
            cancelled,
        })?;
    } else {
        out::line(&path.display().to_string())?;
    }
    if cancelled {
        return Err(CliError::Interrupted);
    }
    Ok(())
}

/// The prompts with their variants and lists resolved, once for all frames.
fn settled(global: &Global, args: &MorphArgs, first: &ImageRequest) -> MorphArgs {
    let lists = words::lists(global);
    let seeds = args
        .to_seed
        .iter()
        .copied()
        .chain(std::iter::repeat(first.seed));
    let to = args.to.iter().zip(seeds);
    MorphArgs {
        from: words::resolved(&lists, &args.from, first.seed),
        to: to
            .map(|(prompt, seed)| words::resolved(&lists, prompt, seed))
            .collect(),
        ..args.clone()
    }
}

/// What the way leads through.
fn stops(args: &MorphArgs, first: &ImageRequest) -> Vec<Stop> {
    let seeds = args
        .to_seed
        .iter()
        .copied()
        .chain(std::iter::repeat(first.seed));
    let there = args.to.iter().zip(seeds).map(|(prompt, seed)| Stop {
        prompt: prompt.clone(),
        negative: first.negative_prompt.clone(),
        seed,
    });
    std::iter::once(Stop::of(first)).chain(there).collect()
}
