//! What `diptych draw` adds to a model and does with its pictures: ControlNets, learnt words, a second pass.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{
    ControlKind, ControlUse, Hires, HiresUpscaler, ImageRequest, ModelRef, Preprocessor,
};
use diptych_inference::formats::detect::ModelKind;

use super::client::Client;
use super::error::{CliError, Result};
use crate::pictures::{self, Blob};

/// Thresholds that ControlNet's own annotator has for edges.
const CANNY: [f32; 2] = [100.0, 200.0];

/// Options of `diptych draw` beyond the usual.
#[derive(Clone, Debug, Args)]
pub struct AdditionArgs {
    /// A model that finishes the picture.
    #[command(flatten)]
    pub refiner: super::refiner::RefinerArgs,
    /// Guide the drawing by a picture through a ControlNet: its file or folder, the picture, how much of it (1 if nothing is said), and
    /// in which share of the steps, such as pose.safetensors:pose.png:0.7:0-0.8; several are added up. canny(photo.png) takes the
    /// photo's edges (canny(photo.png,100,200) between these thresholds), invert(sketch.png) its negative; a net for several kinds of pictures
    /// (Union) is told which this is: pose(..), depth(..), soft(..), lines(..), normals(..), segments(..), tile(..), repaint(..)
    #[arg(long, value_name = "FILE:IMAGE[:WEIGHT[:START-END]]", value_parser = control)]
    pub control: Vec<ControlArg>,
    /// Add a learnt word (textual inversion): a .pt, .bin or .safetensors file, whose name is written in the prompt where it is to stand
    #[arg(long, value_name = "FILE")]
    pub embedding: Vec<PathBuf>,
    /// Draw a second pass so many times as large, from what the first one drew
    #[arg(long, value_name = "F", value_parser = |text: &str| above(text, 1.0, 8.0))]
    pub hires: Option<f32>,
    /// Sampler steps of the second pass, of which its strength is a share (default: as many as in the first)
    #[arg(long, value_name = "N", requires = "hires", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub hires_steps: Option<u32>,
    /// How much of the first pass is given up in the second: above 0 up to 1
    #[arg(long, value_name = "F", requires = "hires", default_value_t = 0.7, value_parser = |text: &str| above(text, 0.0, 1.0))]
    pub hires_strength: f32,
    /// What makes the first pass larger: latent, lanczos, or the file of an ESRGAN or Real-ESRGAN
    #[arg(
        long,
        value_name = "UPSCALER",
        requires = "hires",
        default_value = "latent"
    )]
    pub upscaler: PathBuf,
    /// Let the autoencoder work in parts of so many pixels a side, which overlap and are blended (default: all at once, parts where memory
    /// does not suffice)
    #[arg(long, value_name = "PIXELS", num_args = 0..=1, default_missing_value = "512", value_parser = clap::value_parser!(u32).range(64..=16_384))]
    pub vae_tile: Option<u32>,
}

/// A number above `low` up to `high`.
fn above(text: &str, low: f32, high: f32) -> std::result::Result<f32, String> {
    match text.trim().parse::<f32>() {
        Ok(value) if value > low && value <= high => Ok(value),
        _ => Err(format!("a number above {low} up to {high}")),
    }
}

/// One `--control`.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlArg {
    /// The ControlNet's file or folder.
    pub file: PathBuf,
    /// The picture.
    pub image: PathBuf,
    /// What is made of it first.
    pub preprocessor: Preprocessor,
    /// What it is, for a net made for several kinds of pictures.
    pub kind: Option<ControlKind>,
    /// How much of it.
    pub weight: f32,
    /// Shares of the steps.
    pub range: (f32, f32),
}

/// Reads a `--control`.
fn control(text: &str) -> std::result::Result<ControlArg, String> {
    let mut rest = text;
    let mut range = (0.0, 1.0);
    let mut weight = 1.0;
    if let Some((head, tail)) = rest.rsplit_once(':')
        && let Some(found) = shares(tail)
    {
        (rest, range) = (head, found);
    }
    if let Some((head, tail)) = rest.rsplit_once(':')
        && let Ok(found) = tail.trim().parse::<f32>()
    {
        (rest, weight) = (head, found);
    }
    if !weight.is_finite() || weight.abs() > 100.0 {
        return Err(format!(
            "{weight} is no sensible weight; 1 is as it was trained"
        ));
    }
    let (file, image) = files(rest).ok_or(
        "a ControlNet and a picture with a colon between them, such as canny.safetensors:edges.png:0.7",
    )?;
    let (image, kind) = kind(image);
    let (image, preprocessor) = preprocessor(image)?;
    Ok(ControlArg {
        kind,
        file: file.into(),
        image: image.into(),
        preprocessor,
        weight,
        range,
    })
}

/// `0.2-0.8`.
fn shares(text: &str) -> Option<(f32, f32)> {
    let (start, end) = text.split_once('-')?;
    let share = |text: &str| text.trim().parse::<f32>().ok();
    Some((share(start)?, share(end)?))
}

/// Two names with a colon between them. Names may have colons too, as after a drive's letter: then it is the one after a name that
/// there is.
fn files(text: &str) -> Option<(&str, &str)> {
    let mut splits = text
        .match_indices(':')
        .map(|(place, _)| (&text[..place], &text[place + 1..]))
        .filter(|(file, image)| !file.is_empty() && !image.is_empty());
    let found = splits.clone().find(|(file, _)| Path::new(file).exists());
    found.or_else(|| splits.next())
}

/// `depth(IMAGE)`: a picture and its kind.
fn kind(text: &str) -> (&str, Option<ControlKind>) {
    let found = ControlKind::ALL.into_iter().find_map(|kind| {
        let inner = text.strip_prefix(kind.name())?.strip_prefix('(')?;
        Some((inner.strip_suffix(')')?, Some(kind)))
    });
    found.unwrap_or((text, None))
}

/// A picture, and what is made of it.
fn preprocessor(text: &str) -> std::result::Result<(&str, Preprocessor), String> {
    let within = |name: &str| text.strip_prefix(name)?.strip_suffix(')');
    if let Some(inner) = within("invert(") {
        return Ok((inner, Preprocessor::Invert));
    }
    let Some(inner) = within("canny(") else {
        return Ok((text, Preprocessor::None));
    };
    let numbers: Vec<&str> = inner.rsplitn(3, ',').collect();
    let number = |text: &str| text.trim().parse::<f32>().ok();
    let (image, [low, high]) = match numbers.as_slice() {
        &[high, low, image] => match (number(low), number(high)) {
            (Some(low), Some(high)) => (image, [low, high]),
            _ => (inner, CANNY),
        },
        _ => (inner, CANNY),
    };
    Ok((image, Preprocessor::Canny { low, high }))
}

/// Makes all that is named known to the engine, and adds it to the request; gives the data that it refers to.
///
/// # Errors
/// Files that cannot be read or are something else.
pub fn add(args: &AdditionArgs, client: &Client, request: &mut ImageRequest) -> Result<Vec<Blob>> {
    let mut blobs = Vec::new();
    if !args.control.is_empty() {
        request.controls.clear();
    }
    for given in &args.control {
        let model = model(
            client,
            &given.file,
            ModelKind::ControlNet,
            "--control takes a ControlNet",
        )?;
        let picture = pictures::read(&given.image)?.on_white();
        let picture = picture.within(pictures::MOST_WHOLE).blob();
        request.controls.push(ControlUse {
            model,
            picture: picture.name.clone(),
            weight: given.weight,
            start: given.range.0,
            end: given.range.1,
            preprocessor: given.preprocessor,
            kind: given.kind,
        });
        blobs.push(picture);
    }
    for path in &args.embedding {
        let wanted = "--embedding takes a textual inversion embedding";
        let word = model(client, path, ModelKind::Embedding, wanted)?;
        request.embeddings.push(word);
    }
    if let Some(scale) = args.hires {
        let upscaler = match args.upscaler.to_string_lossy().to_lowercase().as_str() {
            "latent" => HiresUpscaler::Latent,
            "lanczos" => HiresUpscaler::Lanczos,
            _ => {
                let wanted = "--upscaler takes latent, lanczos, or an ESRGAN or Real-ESRGAN";
                HiresUpscaler::Model(model(client, &args.upscaler, ModelKind::Upscaler, wanted)?)
            }
        };
        request.hires = Some(Hires {
            scale,
            steps: args.hires_steps,
            strength: args.hires_strength,
            upscaler,
        });
    }
    if args.vae_tile.is_some() {
        request.vae_tile = args.vae_tile;
    }
    Ok(blobs)
}

/// Makes the one model at a path known.
///
/// # Errors
/// If it is of another kind, with what is `wanted`.
pub fn model(client: &Client, path: &Path, kind: ModelKind, wanted: &str) -> Result<ModelRef> {
    let (model, info) = client.add_model(path)?;
    if info.kind() == kind {
        return Ok(model);
    }
    Err(CliError::Failed(format!(
        "{}: it is {}; {wanted}",
        path.display(),
        info.described()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_read() {
        let plain = control("net.safetensors:a.png").unwrap();
        assert_eq!((plain.weight, plain.range), (1.0, (0.0, 1.0)));
        assert_eq!(plain.image, PathBuf::from("a.png"));
        let all = control("nets/one:canny(b.png,50,150):0.7:0.1-0.8").unwrap();
        assert_eq!(all.file, PathBuf::from("nets/one"));
        assert_eq!(all.image, PathBuf::from("b.png"));
        let (low, high) = (50.0, 150.0);
        assert_eq!(all.preprocessor, Preprocessor::Canny { low, high });
        assert_eq!((all.weight, all.range), (0.7, (0.1, 0.8)));
        let edges = control("one:canny(a,b.png)").unwrap();
        assert_eq!(edges.image, PathBuf::from("a,b.png"));
        let told = control("union:depth(a.png):0.5").unwrap();
        assert_eq!(told.kind, Some(ControlKind::Depth));
        assert_eq!((told.image, told.weight), ("a.png".into(), 0.5));
        let both = control("union:soft(invert(a.png))").unwrap();
        assert_eq!(both.kind, Some(ControlKind::Soft));
        assert_eq!(both.preprocessor, Preprocessor::Invert);
        let negative = control("one:invert(a.png):-1").unwrap();
        assert_eq!(
            (negative.preprocessor, negative.weight),
            (Preprocessor::Invert, -1.0)
        );
        for wrong in ["one", "", ":", "one:", "one:a.png:1e9", ":a.png"] {
            assert!(control(wrong).is_err(), "{wrong}");
        }
    }
}
