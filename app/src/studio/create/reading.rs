//! Start pictures and masks read and written; for threads other than the window's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{HostTensor, Picture};
use serde::{Deserialize, Serialize};

use super::start::{self, Quiet};
use crate::library::inputs::input_path;
use crate::paint::{self, Mask};
use crate::pictures::{self, Pixels};
use crate::studio::gallery::Item;
use crate::studio::house::House;

/// Most characters of a start picture's name.
const NAME: usize = 60;

/// A picture that was read to begin from.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// What to call it.
    pub name: String,
    /// Hash of its pixels.
    pub hash: String,
    /// Its pixels.
    pub picture: Quiet<Picture>,
    /// Its file for the library.
    pub png: Quiet<Vec<u8>>,
}

/// A start picture out of the library, with its mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Hash of its pixels.
    pub hash: String,
    /// Its pixels, or why there are none.
    pub picture: Result<Quiet<Picture>, String>,
    /// What was painted, or why that is lost.
    pub mask: Result<Option<Mask>, String>,
}

/// The mask as the drafts keep it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MaskDraft {
    /// The picture that it belongs to.
    pub picture: String,
    /// A PNG in hexadecimal.
    pub png: String,
}

/// Where a picture's pixels are.
pub enum Pixel {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Memory(Arc<Picture>),
}

/// Those of a picture of the library.
pub fn pixels_of(item: &Item) -> Pixel {
    match &item.memory {
        Some(picture) => Pixel::Memory(picture.clone()),
        None => Pixel::File(item.record.path.clone()),
    }
}

/// Reads a picture to begin from.
///
/// # Errors
/// Files that are no pictures, or too large.
pub fn take(name: String, from: Pixel) -> Result<Taken, String> {
    let pixels = read(from)?;
    let hash = pixels.name().0;
    let png = start::png_of(&pixels)?;
    let picture = Picture {
        width: pixels.width,
        height: pixels.height,
        rgb: pixels.rgb,
    };
    Ok(Taken {
        name,
        hash,
        picture: Quiet(Arc::new(picture)),
        png: Quiet(Arc::new(png)),
    })
}

/// A picture that was read for a job beside the form's start picture: to guide a ControlNet, or to be made larger.
#[derive(Clone, Debug, PartialEq)]
pub struct Supplied {
    /// What to call it.
    pub name: String,
    /// Hash of its pixels.
    pub hash: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Its pixels.
    pub picture: Quiet<Picture>,
    /// It for the engine.
    data: Quiet<HostTensor>,
    /// Its file for the library.
    png: Quiet<Vec<u8>>,
}

impl Supplied {
    /// Gives the library and the engine what jobs will name.
    pub fn hand_over(&self, house: &mut House) {
        let (hash, png) = (self.hash.clone(), self.png.clone());
        house.save("a picture to draw from", move |library| {
            library.put_input(&hash, &png.0)?;
            Ok(None)
        });
        house.hold_input(self.hash.clone(), self.data.0.clone());
    }
}

/// Reads a picture for a job. Takes its time: for a thread of its own.
///
/// # Errors
/// Files that are no pictures, or too large.
pub fn supply(name: String, from: Pixel) -> Result<Supplied, String> {
    let pixels = read(from)?;
    let png = start::png_of(&pixels)?;
    let blob = pixels.blob();
    let (width, height) = (pixels.width, pixels.height);
    let rgb = pixels.rgb;
    Ok(Supplied {
        name,
        hash: blob.name.0,
        size: (width, height),
        picture: Quiet(Arc::new(Picture { width, height, rgb })),
        data: Quiet(blob.data),
        png: Quiet(Arc::new(png)),
    })
}

/// The pixels of a picture, on white; of a very large one, in a size that can be painted on and drawn over.
pub(super) fn read(from: Pixel) -> Result<Pixels, String> {
    let pixels = match from {
        Pixel::File(path) => {
            let pixels = pictures::read(&path).map_err(|error| error.to_string())?;
            pixels.on_white()
        }
        Pixel::Memory(picture) => Pixels {
            width: picture.width,
            height: picture.height,
            rgb: picture.rgb.clone(),
            alpha: None,
        },
    };
    Ok(pixels.within(pictures::MOST_WHOLE))
}

/// Reads a start picture and its mask out of the library.
pub fn load(
    folder: &Path,
    hash: String,
    mask_file: Option<String>,
    draft: Option<MaskDraft>,
) -> Loaded {
    let picture = (|| {
        let path = input_path(folder, &hash)
            .ok_or_else(|| "the settings name no picture that could be here".to_owned())?;
        if !path.is_file() {
            return Err(format!(
                "the start picture is not in this library ({} is missing)",
                path.display()
            ));
        }
        let pixels = pictures::read(&path).map_err(|error| error.to_string())?;
        if pixels.name().0 != hash {
            return Err(format!("{}: the start picture was changed", path.display()));
        }
        Ok(Picture {
            width: pixels.width,
            height: pixels.height,
            rgb: pixels.rgb,
        })
    })();
    let mask = (|| {
        if let Some(name) = mask_file {
            let path = input_path(folder, &name)
                .ok_or_else(|| "the settings name no mask that could be here".to_owned())?;
            let bytes = std::fs::read(&path)
                .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
            return paint::from_png(&bytes)
                .map(Some)
                .map_err(|error| error.to_string());
        }
        match draft.filter(|draft| draft.picture == hash && !draft.png.is_empty()) {
            None => Ok(None),
            Some(draft) => {
                let bytes = bytes_of(&draft.png).ok_or("what was painted is damaged")?;
                let mask = paint::from_png(&bytes).map_err(|error| error.to_string())?;
                Ok(Some(mask))
            }
        }
    })();
    Loaded {
        hash,
        picture: picture.map(|picture| Quiet(Arc::new(picture))),
        mask,
    }
}

fn digits_of(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
            _ => None,
        })
        .collect()
}

/// The draft of a mask, which takes its time.
pub fn draft_of(picture: &str, mask: Option<&Mask>) -> String {
    let png = mask
        .and_then(|mask| paint::to_png(mask).ok())
        .map(|png| digits_of(&png))
        .unwrap_or_default();
    let draft = MaskDraft {
        picture: picture.to_owned(),
        png,
    };
    serde_json::to_string(&draft).unwrap_or_default()
}

/// The first words of a prompt.
pub fn short(prompt: &str) -> String {
    let line = prompt.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_painted_goes_through_a_draft() {
        let mut mask = Mask::new(70, 40);
        mask.fill(200);
        let text = draft_of("p", Some(&mask));
        let draft: MaskDraft = serde_json::from_str(&text).unwrap();
        let bytes = bytes_of(&draft.png).unwrap();
        assert_eq!(paint::from_png(&bytes).unwrap(), mask);
        assert_eq!(bytes_of("0g"), None);
        assert_eq!(bytes_of("012"), None);
        let none: MaskDraft = serde_json::from_str(&draft_of("p", None)).unwrap();
        assert_eq!((none.picture.as_str(), none.png.as_str()), ("p", ""));
    }

    #[test]
    fn what_is_transparent_lies_on_white() {
        let pixels = Pixels {
            width: 3,
            height: 1,
            rgb: vec![0, 100, 255, 0, 100, 255, 0, 100, 255],
            alpha: Some(vec![255, 0, 128]),
        };
        let rgb = pixels.on_white().rgb;
        assert_eq!(rgb[..6], [0, 100, 255, 255, 255, 255]);
        assert_eq!(rgb[6..], [127, 177, 255]);
    }

    #[test]
    fn a_missing_picture_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let hash = "a".repeat(64);
        let loaded = load(folder.path(), hash.clone(), Some("b".repeat(64)), None);
        let reason = loaded.picture.unwrap_err();
        assert!(reason.contains("not in this library") && reason.contains(&hash));
        assert!(loaded.mask.is_err());
    }
}
