//! The way between prompts and seeds: what its pictures are drawn of, and the file that they become.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Picture, Request, Toward};
use diptych_inference::formats::metadata::REQUEST_KEY;
use diptych_inference::formats::picture::animation::{encode_apng, encode_gif};
use diptych_inference::formats::picture::{ai_disclosure, encode_png};
use serde::{Deserialize, Serialize};

use crate::library::files::Existing;

/// Longest side of a strip, in pixels.
pub const LONGEST: u32 = 65_500;

/// What the file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// An animated PNG.
    #[default]
    Animated,
    /// A GIF.
    Gif,
    /// A PNG with all pictures side by side.
    Strip,
}

impl Form {
    /// By the ending of a name.
    ///
    /// # Errors
    /// Endings of other formats, in a person's words.
    pub fn of(path: &Path, strip: bool) -> Result<Self, String> {
        match (ending(path).as_deref(), strip) {
            (Some("png" | "apng"), false) => Ok(Self::Animated),
            (Some("png"), true) => Ok(Self::Strip),
            (Some("gif"), false) => Ok(Self::Gif),
            _ => Err(format!(
                "{}: an animation is written as .png or .gif, a strip as .png",
                path.display()
            )),
        }
    }

    /// How names of such files end.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Animated | Self::Strip => "png",
            Self::Gif => "gif",
        }
    }

    /// The name that a person gave, with its ending. Whoever chose a name without one was not asked about the file that has it, which
    /// therefore stays.
    ///
    /// # Errors
    /// Names that end as other formats do, in a person's words.
    pub fn named(self, path: PathBuf) -> Result<(PathBuf, Existing), String> {
        let own = self.ending();
        match ending(&path).as_deref() {
            Some(other) if other == own || (other == "apng" && self == Self::Animated) => {
                Ok((path, Existing::Replace))
            }
            Some("png" | "apng" | "gif" | "jpg" | "jpeg" | "webp") => Err(format!(
                "{}: this is written as {}; choose a name that ends in .{own}",
                path.display(),
                own.to_uppercase()
            )),
            _ => {
                let mut name = path.into_os_string();
                name.push(".");
                name.push(own);
                Ok((PathBuf::from(name), Existing::Keep))
            }
        }
    }

    /// Whether so many pictures of a width fit into it.
    ///
    /// # Errors
    /// Strips that no program would open.
    pub fn fits(self, width: u32, frames: u32) -> Result<(), String> {
        match self == Self::Strip && width.saturating_mul(frames) > LONGEST {
            true => Err(format!(
                "a strip of {frames} pictures would be wider than {LONGEST} pixels; choose fewer frames or a smaller size"
            )),
            false => Ok(()),
        }
    }
}

fn ending(path: &Path) -> Option<String> {
    let ending = path.extension()?;
    Some(ending.to_string_lossy().to_lowercase())
}

/// A place that the way leads through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The prompt there.
    pub prompt: String,
    /// The negative prompt there.
    pub negative: String,
    /// The seed there.
    pub seed: u64,
}

impl Stop {
    /// Where a picture lies.
    #[must_use]
    pub fn of(request: &ImageRequest) -> Self {
        Self {
            prompt: request.prompt.clone(),
            negative: request.negative_prompt.clone(),
            seed: request.seed,
        }
    }
}

/// The request for a picture of the way, counted from 0: between which stops it lies, and how far. All other settings are those of `first`.
#[must_use]
pub fn frame(first: &ImageRequest, stops: &[Stop], number: u32, frames: u32) -> ImageRequest {
    let parts = stops.len().saturating_sub(1);
    let place = f64::from(number) * parts as f64 / f64::from(frames.saturating_sub(1).max(1));
    let part = (place as usize).min(parts.saturating_sub(1));
    let Some(here) = stops.get(part) else {
        return first.clone();
    };
    let amount = (place - part as f64).clamp(0.0, 1.0) as f32;
    let there = stops.get(part + 1).filter(|_| amount > 0.0);
    ImageRequest {
        prompt: here.prompt.clone(),
        negative_prompt: here.negative.clone(),
        seed: here.seed,
        toward: there.map(|there| Toward {
            prompt: there.prompt.clone(),
            negative_prompt: there.negative.clone(),
            seed: there.seed,
            amount,
        }),
        ..first.clone()
    }
}

/// How the file shows the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What it is.
    pub form: Form,
    /// For each picture; not of strips.
    pub milliseconds: u16,
    /// Whether it goes back to its beginning picture by picture; not of strips.
    pub back: bool,
}

/// The pictures as a file that tells the request of the first, and by what it was made.
///
/// # Errors
/// If there are none, or of several sizes, or more than the format holds.
pub fn encode(
    shape: Shape,
    pictures: &[Arc<Picture>],
    told: &ImageRequest,
) -> Result<Vec<u8>, String> {
    let request = serde_json::to_string(&Request::Image(told.clone()));
    let request = request.map_err(|error| error.to_string())?;
    let text = [(REQUEST_KEY.to_owned(), request), ai_disclosure()];
    let (width, height) = pictures
        .first()
        .map_or((0, 0), |picture| (picture.width, picture.height));
    let mut frames: Vec<&[u8]> = pictures
        .iter()
        .map(|picture| picture.rgb.as_slice())
        .collect();
    if shape.form == Form::Strip {
        let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        shape.form.fits(width, count)?;
        let row = 3 * width as usize;
        let lines = (0..height as usize).flat_map(|y| {
            frames
                .iter()
                .flat_map(move |frame| frame.get(y * row..(y + 1) * row).unwrap_or_default())
        });
        let strip: Vec<u8> = lines.copied().collect();
        let wide = width.saturating_mul(count);
        return encode_png(&strip, wide, height, &text).map_err(|error| error.to_string());
    }
    if shape.back && frames.len() > 2 {
        let inner = frames.get(1..frames.len() - 1).unwrap_or_default();
        let back: Vec<&[u8]> = inner.iter().rev().copied().collect();
        frames.extend(back);
    }
    let encoded = match shape.form {
        Form::Gif => encode_gif(
            &frames,
            width,
            height,
            shape.milliseconds,
            "Made by Diptych (trainedAlgorithmicMedia)",
        ),
        _ => encode_apng(&frames, width, height, shape.milliseconds, &text),
    };
    encoded.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use diptych_inference::engine::ModelRef;

    use super::*;

    fn stop(prompt: &str, seed: u64) -> Stop {
        Stop {
            prompt: prompt.into(),
            negative: format!("no {prompt}"),
            seed,
        }
    }

    #[test]
    fn pictures_lie_between_the_stops() {
        let first = ImageRequest::new(ModelRef::named("m"), "a", 64, 64);
        let stops = [stop("a", 1), stop("b", 2), stop("c", 2)];
        let told: Vec<_> = (0..5)
            .map(|number| {
                let frame = frame(&first, &stops, number, 5);
                let toward = frame.toward;
                (
                    frame.prompt,
                    frame.seed,
                    toward.map(|to| (to.prompt, to.seed, to.amount)),
                )
            })
            .collect();
        let half = |prompt: &str| Some((prompt.to_owned(), 2, 0.5));
        assert_eq!(told[0], ("a".to_owned(), 1, None));
        assert_eq!(told[1], ("a".to_owned(), 1, half("b")));
        assert_eq!(told[2], ("b".to_owned(), 2, None));
        assert_eq!(told[3], ("b".to_owned(), 2, half("c")));
        assert_eq!(told[4].2.as_ref().unwrap().2, 1.0, "the very end");
        let middle = frame(&first, &stops, 1, 5);
        assert_eq!(middle.negative_prompt, "no a");
        assert_eq!(middle.toward.unwrap().negative_prompt, "no b");
    }

    #[test]
    fn names_have_the_ending_of_what_is_written() {
        let path = |name: &str| PathBuf::from(name);
        let named = |form: Form, name: &str| form.named(path(name));
        assert_eq!(
            named(Form::Gif, "way.gif").unwrap(),
            (path("way.gif"), Existing::Replace)
        );
        assert_eq!(
            named(Form::Strip, "way").unwrap(),
            (path("way.png"), Existing::Keep)
        );
        assert_eq!(
            named(Form::Animated, "v1.2").unwrap(),
            (path("v1.2.png"), Existing::Keep)
        );
        let refused = named(Form::Gif, "way.png").unwrap_err();
        assert!(refused.contains("ends in .gif"), "{refused}");
        assert!(named(Form::Strip, "way.apng").is_err());
        assert_eq!(Form::of(Path::new("a.APNG"), false), Ok(Form::Animated));
        assert!(Form::of(Path::new("a.gif"), true).is_err());
    }

    #[test]
    fn a_strip_lies_side_by_side() {
        let picture = |value: u8| {
            Arc::new(Picture {
                width: 1,
                height: 2,
                rgb: vec![value; 6],
            })
        };
        let told = ImageRequest::new(ModelRef::named("m"), "a", 8, 8);
        let shape = Shape {
            form: Form::Strip,
            milliseconds: 100,
            back: true,
        };
        let bytes = encode(shape, &[picture(1), picture(9)], &told).unwrap();
        let image = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (2, 2));
        assert_eq!(image.into_raw(), [1, 1, 1, 9, 9, 9, 1, 1, 1, 9, 9, 9]);
        assert!(encode(shape, &[], &told).is_err());
        assert!(Form::Strip.fits(512, 200).is_err());
        assert!(Form::Gif.fits(512, 200).is_ok());
    }
}
