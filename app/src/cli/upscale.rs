//! `diptych upscale`.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{Event, Outcome, Request, UpscaleRequest};
use diptych_inference::formats::detect::ModelKind;
use diptych_inference::formats::metadata::{PictureInfo, a1111};
use diptych_inference::formats::picture::{ai_disclosure, encode_png, inspect_picture};
use serde::Serialize;

use super::additions;
use super::args::Global;
use super::client::{Client, Ending};
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;
use super::progress::Progress;
use super::save::{self, Existing};
use crate::pictures;

/// `diptych upscale`.
#[derive(Clone, Debug, Args)]
pub struct UpscaleArgs {
    /// The picture: PNG, JPEG or WebP
    pub picture: PathBuf,
    /// The PNG file to write; one of the same name is replaced
    pub out: PathBuf,
    /// The upscaler: an ESRGAN or Real-ESRGAN in a .pth or .safetensors file
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// Work at parts of so many pixels a side, which overlap and are blended; 0 takes all at once (default: 192, less where memory is short)
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(..=16_384))]
    pub tile: Option<u32>,
    /// How often larger the result is (default: the upscaler's own scale)
    #[arg(long, value_name = "F", value_parser = scale)]
    pub scale: Option<f32>,
    /// Print a line of JSON, rather than the path
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

fn scale(text: &str) -> std::result::Result<f32, String> {
    match text.trim().parse::<f32>() {
        Ok(scale) if scale > 0.0 && scale <= 16.0 => Ok(scale),
        _ => Err("a number above 0 up to 16".into()),
    }
}

/// A line of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    path: &'a Path,
    width: u32,
    height: u32,
    seconds: f32,
    executor: &'a str,
    device: &'a str,
    request: &'a UpscaleRequest,
}

/// Makes a picture larger.
///
/// # Errors
/// Wrong usage, faulty files, failed jobs, Ctrl+C.
pub fn run(global: &Global, args: &UpscaleArgs) -> Result<()> {
    save::check_target(&args.out)?;
    let pixels = pictures::read(&args.picture)?.on_white();
    pixels.require_whole(&args.picture, "to be made larger")?;
    let interrupts = Interrupts::install()?;
    let mut progress = Progress::new(args.quiet);
    progress.passing("starting");
    let client = Client::start(global.engine_options()?, interrupts)?;
    let wanted = "upscaling takes an ESRGAN or Real-ESRGAN";
    let model = additions::model(&client, &args.model, ModelKind::Upscaler, wanted)?;
    let blob = pixels.blob();
    client.send_blob(blob.name.0.clone(), blob.data)?;
    let request = UpscaleRequest {
        model,
        picture: blob.name,
        tile: args.tile,
        scale: args.scale,
    };
    let ending = client.run(Request::Upscale(request), |event: &Event| {
        progress.watch(event);
        Ok(())
    });
    progress.clear();
    let outcome = match ending? {
        Ending::Finished(outcome) => outcome,
        Ending::Cancelled(_) => {
            out::remark("cancelled; nothing was written");
            return Err(CliError::Interrupted);
        }
    };
    let wrong =
        || CliError::Failed("the engine answered with something else; please report it".into());
    let Outcome::Image {
        picture,
        request,
        seconds,
    } = outcome
    else {
        return Err(wrong());
    };
    let Request::Upscale(request) = *request else {
        return Err(wrong());
    };
    let info = told(&args.picture, &request, (pixels.width, picture.width));
    let texts = [
        ("parameters".to_owned(), a1111::write(&info)),
        ai_disclosure(),
    ];
    let bytes = encode_png(&picture.rgb, picture.width, picture.height, &texts)
        .map_err(CliError::failed)?;
    let path = save::write(&args.out, &bytes, Existing::Replace)?;
    progress.say(&format!(
        "{}x{} in {} on {}",
        picture.width,
        picture.height,
        out::seconds(seconds),
        client.device()
    ));
    if !args.json {
        return out::line(&path.display().to_string());
    }
    out::json(&Report {
        path: &path,
        width: picture.width,
        height: picture.height,
        seconds,
        executor: client.executor(),
        device: client.device(),
        request: &request,
    })
}

/// What the picture told about itself, and what was done to it, in AUTOMATIC1111's words.
fn told(path: &Path, request: &UpscaleRequest, (before, after): (u32, u32)) -> PictureInfo {
    let mut info = inspect_picture(path).unwrap_or_default();
    let mut extra = |key: &str, value: String| info.extra.insert(key.into(), value);
    extra("Postprocess upscaler", request.model.name.clone());
    let times = f64::from(after) / f64::from(before.max(1));
    let hundredths = (times * 100.0).round() / 100.0;
    extra("Postprocess upscale by", hundredths.to_string());
    info.request = None;
    info
}
