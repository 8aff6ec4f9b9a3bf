//! `diptych morph`: the way between prompts and seeds, as an animation or a strip.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use diptych_inference::engine::{ImageRequest, Picture, Request, Toward};
use diptych_inference::formats::metadata::REQUEST_KEY;
use diptych_inference::formats::picture::animation::{encode_apng, encode_gif};
use diptych_inference::formats::picture::{ai_disclosure, encode_png};
use serde::Serialize;

use super::args::Global;
use super::client::Ending;
use super::error::{CliError, Result};
use super::out;
use super::progress::Progress;
use super::save::{self, Existing};
use super::short::{self, ShortArgs, picture_of};
use super::words;

/// Longest side of a strip.
const LONGEST: u32 = 65_500;

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

/// What the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Animated,
    Gif,
    Strip,
}

fn form(args: &MorphArgs) -> Result<Form> {
    let ending = args
        .out
        .extension()
        .map(|end| end.to_string_lossy().to_lowercase());
    match (ending.as_deref(), args.strip) {
        (Some("png" | "apng"), false) => Ok(Form::Animated),
        (Some("png"), true) => Ok(Form::Strip),
        (Some("gif"), false) => Ok(Form::Gif),
        _ => Err(CliError::Usage(format!(
            "{}: an animation is written as .png or .gif, a strip as .png",
            args.out.display()
        ))),
    }
}

/// Draws the way.
///
/// # Errors
/// Wrong usage, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &MorphArgs) -> Result<()> {
    let form = form(args)?;
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
    if form == Form::Strip && first.width.saturating_mul(args.frames) > LONGEST {
        return Err(CliError::Usage(format!(
            "a strip of {} pictures would be wider than {LONGEST} pixels; choose fewer frames or a smaller size",
            args.frames
        )));
    }
    let mut pictures: Vec<Arc<Picture>> = Vec::new();
    let (mut told, mut cancelled) = (None, false);
    for number in 0..args.frames {
        progress.begin(number + 1, args.frames);
        let request = frame(args, &first, number);
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
    let bytes = encode(args, form, &pictures, &told)?;
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

/// The request for a frame, counted from 0: where on which part of the way it lies.
fn frame(args: &MorphArgs, first: &ImageRequest, number: u32) -> ImageRequest {
    let parts = args.to.len();
    let place = f64::from(number) * parts as f64 / f64::from((args.frames - 1).max(1));
    let part = (place as usize).min(parts.saturating_sub(1));
    let prompt = |stop: usize| match stop.checked_sub(1) {
        None => args.from.clone(),
        Some(stop) => args.to.get(stop).cloned().unwrap_or_default(),
    };
    let seed = |stop: usize| {
        let named = stop.checked_sub(1).and_then(|stop| args.to_seed.get(stop));
        named.copied().unwrap_or(first.seed)
    };
    let amount = (place - part as f64).clamp(0.0, 1.0) as f32;
    ImageRequest {
        prompt: prompt(part),
        seed: seed(part),
        toward: (amount > 0.0).then(|| Toward {
            prompt: prompt(part + 1),
            negative_prompt: first.negative_prompt.clone(),
            seed: seed(part + 1),
            amount,
        }),
        ..first.clone()
    }
}

fn encode(
    args: &MorphArgs,
    form: Form,
    pictures: &[Arc<Picture>],
    told: &ImageRequest,
) -> Result<Vec<u8>> {
    let request = serde_json::to_string(&Request::Image(told.clone())).map_err(CliError::failed)?;
    let text = [(REQUEST_KEY.to_owned(), request), ai_disclosure()];
    let (width, height) = pictures
        .first()
        .map_or((0, 0), |picture| (picture.width, picture.height));
    let mut frames: Vec<&[u8]> = pictures
        .iter()
        .map(|picture| picture.rgb.as_slice())
        .collect();
    if form == Form::Strip {
        let row = 3 * width as usize;
        let lines = (0..height as usize).flat_map(|y| {
            frames
                .iter()
                .flat_map(move |frame| frame.get(y * row..(y + 1) * row).unwrap_or_default())
        });
        let strip: Vec<u8> = lines.copied().collect();
        let wide = width * frames.len() as u32;
        return encode_png(&strip, wide, height, &text).map_err(CliError::failed);
    }
    if args.back && frames.len() > 2 {
        let inner = frames.get(1..frames.len() - 1).unwrap_or_default();
        let back: Vec<&[u8]> = inner.iter().rev().copied().collect();
        frames.extend(back);
    }
    let encoded = match form {
        Form::Gif => encode_gif(
            &frames,
            width,
            height,
            args.milliseconds,
            "Made by Diptych (trainedAlgorithmicMedia)",
        ),
        _ => encode_apng(&frames, width, height, args.milliseconds, &text),
    };
    encoded.map_err(CliError::failed)
}
