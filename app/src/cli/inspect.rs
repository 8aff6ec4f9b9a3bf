//! `diptych inspect`.

use std::path::Path;

use diptych_inference::engine::Request;
use diptych_inference::formats::FormatError;
use diptych_inference::formats::metadata::PictureInfo;
use diptych_inference::formats::picture::{inspect_picture, png_texts};
use serde::Serialize;
use serde_json::Value;

use super::args::InspectArgs;
use super::client::check_readable;
use super::error::{CliError, Result};
use super::out;
use crate::export::GRID_KEY;

/// What `--json` gives; `null` where the picture does not tell.
#[derive(Serialize)]
struct Report {
    software: Option<String>,
    prompt: Option<String>,
    negative_prompt: Option<String>,
    seed: Option<u64>,
    steps: Option<u32>,
    sampler: Option<String>,
    schedule: Option<String>,
    cfg_scale: Option<f64>,
    width: Option<u32>,
    height: Option<u32>,
    model: Option<String>,
    model_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
}

/// Tells how a picture was made.
///
/// # Errors
/// If the file is damaged, of another kind, or tells nothing.
pub fn run(args: &InspectArgs) -> Result<()> {
    check_readable(&args.picture)?;
    if args.picture.is_dir() {
        return Err(CliError::Failed(format!(
            "{}: this is a folder; name a picture in it",
            args.picture.display()
        )));
    }
    let read = inspect_picture(&args.picture);
    if let Err(FormatError::NoGenerationData { .. }) = &read
        && let Some(grid) = grid_in(&args.picture)
    {
        return match args.json {
            true => out::json_pretty(&grid),
            false => print_grid(&grid),
        };
    }
    let mut info = read.map_err(CliError::failed)?;
    prefer_own_request(&mut info);
    if args.json {
        return out::json_pretty(&Report {
            software: info.software,
            prompt: info.prompt,
            negative_prompt: info.negative_prompt,
            seed: info.seed,
            steps: info.steps,
            sampler: info.sampler,
            schedule: info.schedule,
            cfg_scale: info.cfg_scale,
            width: info.width,
            height: info.height,
            model: info.model,
            model_hash: info.model_hash,
            request: info.request,
        });
    }
    print(&info)
}

/// AUTOMATIC1111's text cannot hold every prompt exactly (blank lines at the ends, a line that reads like settings); our
/// own request can.
fn prefer_own_request(info: &mut PictureInfo) {
    let Some(request) = info.request.clone() else {
        return;
    };
    if let Ok(Request::Image(request)) = serde_json::from_value(request) {
        info.prompt = Some(request.prompt);
        info.negative_prompt = Some(request.negative_prompt);
        info.seed = Some(request.seed);
    }
}

/// What a grid of ours tells of its cells.
fn grid_in(path: &Path) -> Option<Value> {
    let bytes = std::fs::read(path).ok()?;
    let texts = png_texts(path, &bytes).ok()?;
    let (_, text) = texts.into_iter().find(|(key, _)| key == GRID_KEY)?;
    serde_json::from_str(&text).ok()
}

fn print_grid(grid: &Value) -> Result<()> {
    let row = |key: &str, value: &str| out::line(&format!("{key:<16} {}", out::one_line(value)));
    let list = |key: &str| grid[key].as_array().map_or(&[][..], Vec::as_slice);
    row("software", grid["software"].as_str().unwrap_or("Diptych"))?;
    if let Some(title) = grid["title"].as_str().filter(|title| !title.is_empty()) {
        row("title", title)?;
    }
    for prompt in list("prompts") {
        row("prompt", prompt.as_str().unwrap_or_default())?;
    }
    let seeds: Vec<String> = list("seeds").iter().map(Value::to_string).collect();
    row("seeds", &seeds.join(", "))?;
    let cells = list("requests")
        .iter()
        .filter_map(Value::as_array)
        .flatten();
    let drawn = cells.filter(|cell| !cell.is_null()).count();
    row(
        "pictures",
        &format!("{drawn}; --json tells how each was made"),
    )
}

fn print(info: &PictureInfo) -> Result<()> {
    let size = info
        .width
        .zip(info.height)
        .map(|(width, height)| format!("{width}x{height}"));
    let rows = [
        ("software", info.software.clone()),
        ("prompt", info.prompt.clone()),
        (
            "negative prompt",
            info.negative_prompt.clone().filter(|text| !text.is_empty()),
        ),
        ("seed", info.seed.map(|value| value.to_string())),
        ("steps", info.steps.map(|value| value.to_string())),
        ("sampler", info.sampler.clone()),
        ("schedule", info.schedule.clone()),
        ("guidance", info.cfg_scale.map(|value| value.to_string())),
        ("size", size),
        ("model", info.model.clone()),
        ("model hash", info.model_hash.clone()),
    ];
    let others = info
        .extra
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.clone())));
    for (key, value) in rows.into_iter().chain(others) {
        if let Some(value) = value {
            out::line(&format!(
                "{:<16} {}",
                out::one_line(key),
                out::one_line(&value)
            ))?;
        }
    }
    Ok(())
}
