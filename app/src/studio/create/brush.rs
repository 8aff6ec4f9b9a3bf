//! Painting the mask: tools, strokes, and what is done to all of it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::in_background;
use super::start::Quiet;
use super::{Create, CreateCommand};
use crate::library::files;
use crate::paint::{self, Brush, Mask};
use crate::pictures;
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::effects::AskKind;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::view::Workspace;

/// Widths of the brush in pixels of the picture.
pub const SIZES: std::ops::RangeInclusive<f32> = 1.0..=2000.0;
/// What a press of [ or ] does to the width.
const STEP: f32 = 1.25;

/// What the hand does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// Adds to what is drawn anew.
    #[default]
    Brush,
    /// Takes away from it.
    Eraser,
}

/// What a person wants of the mask.
#[derive(Clone, Debug, PartialEq)]
pub enum MaskCommand {
    /// Paint it, on the canvas.
    Open,
    /// Go back to the pictures.
    Close,
    /// Take a tool.
    Take(Tool),
    /// A wider brush.
    Larger,
    /// A narrower one.
    Smaller,
    /// Mark everything.
    Fill,
    /// Mark what was not.
    Invert,
    /// Mark nothing.
    Clear,
    /// Ask where to save it.
    AskSave,
    /// Save it as a PNG.
    SaveTo(PathBuf),
    /// Ask for a file.
    AskOpen,
    /// Take it from a picture file.
    FromFile(PathBuf),
    /// It has been read from a file, for the start picture of this name.
    Took(String, Quiet<Mask>),
}

/// The brush, and the stroke that is being painted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Paint {
    /// Whether the canvas shows the start picture to be painted on.
    #[serde(skip)]
    pub open: bool,
    /// What the hand does.
    pub tool: Tool,
    /// Width of the brush in pixels of the picture.
    pub size: f32,
    /// How crisp its edge is, 0 to 1.
    pub hardness: f32,
    /// How strongly the mask is shown, 0 to 1.
    pub opacity: f32,
    #[serde(skip)]
    stroke: Option<Stroke>,
    /// Where the last stroke ended, for straight lines.
    #[serde(skip)]
    last: Option<[f32; 2]>,
}

/// A stroke that is not at its end.
#[derive(Debug)]
struct Stroke {
    mask: Mask,
    at: [f32; 2],
    changed: bool,
}

impl Default for Paint {
    fn default() -> Self {
        Self {
            open: false,
            tool: Tool::Brush,
            size: 64.0,
            hardness: 0.7,
            opacity: 0.6,
            stroke: None,
            last: None,
        }
    }
}

impl Paint {
    /// The brush as it is set.
    pub fn brush(&self) -> Brush {
        Brush {
            radius: self.size / 2.0,
            hardness: self.hardness,
            erase: self.tool == Tool::Eraser,
        }
    }

    /// Whether a stroke is being painted.
    pub fn is_painting(&self) -> bool {
        self.stroke.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = false;
        self.drop_stroke();
    }

    pub(super) fn drop_stroke(&mut self) {
        self.stroke = None;
        self.last = None;
    }

    /// Mends what an older version or another hand may have written.
    pub(super) fn heal(&mut self) {
        let or = |value: f32, usual: f32| if value.is_finite() { value } else { usual };
        self.size = or(self.size, 64.0).clamp(*SIZES.start(), *SIZES.end());
        self.hardness = or(self.hardness, 0.7).clamp(0.0, 1.0);
        self.opacity = or(self.opacity, 0.6).clamp(0.1, 1.0);
    }
}

/// A number of pixels that is easy to read.
fn rounded(size: f32) -> f32 {
    let size = if size < 10.0 {
        (size * 2.0).round() / 2.0
    } else {
        size.round()
    };
    size.clamp(*SIZES.start(), *SIZES.end())
}

impl Create {
    /// The mask as it is to be shown: with the stroke that is being painted.
    pub fn shown_mask(&self) -> Option<&Mask> {
        match &self.paint.stroke {
            Some(stroke) => Some(&stroke.mask),
            None => self.mask(),
        }
    }

    /// Paints on, in pixels of the start picture; begins a stroke if there is none. With `straight` it begins where the last one
    /// ended.
    pub fn paint_to(&mut self, place: [f32; 2], straight: bool) {
        let brush = self.paint.brush();
        if self.paint.stroke.is_none() {
            let Some(start) = self.form.start.as_ref().filter(|start| start.size.0 > 0) else {
                return;
            };
            let (width, height) = start.size;
            let mask = start.mask.clone();
            self.paint.stroke = Some(Stroke {
                mask: mask.unwrap_or_else(|| Mask::new(width, height)),
                at: self.paint.last.filter(|_| straight).unwrap_or(place),
                changed: false,
            });
        }
        if let Some(stroke) = &mut self.paint.stroke {
            stroke.changed |= stroke.mask.paint(&brush, stroke.at, place);
            stroke.at = place;
            self.paint.last = Some(place);
        }
    }

    /// Lifts the brush: the stroke is a step of undo.
    pub fn end_stroke(&mut self, house: &House) {
        let Some(stroke) = self.paint.stroke.take() else {
            return;
        };
        // Settings that were taken over meanwhile may have brought another picture.
        let size = self.form.start.as_ref().map(|start| start.size);
        if stroke.changed && size == Some(stroke.mask.size()) {
            self.set_mask(Some(stroke.mask), house);
        }
    }

    fn set_mask(&mut self, mask: Option<Mask>, house: &House) {
        self.change(house, |form| {
            if let Some(start) = &mut form.start {
                start.mask = mask;
            }
        });
    }

    pub(super) fn paint(&mut self, command: MaskCommand, house: &mut House) {
        let size = self.form.start.as_ref().map(|start| start.size);
        match command {
            MaskCommand::Open => {
                if size.is_some() {
                    self.paint.open = true;
                    house.command(AppCommand::Show(Workspace::Create));
                }
            }
            MaskCommand::Close => self.paint.close(),
            MaskCommand::Take(tool) => self.paint.tool = tool,
            MaskCommand::Larger => {
                self.paint.size = rounded((self.paint.size * STEP).max(self.paint.size + 0.5));
            }
            MaskCommand::Smaller => self.paint.size = rounded(self.paint.size / STEP),
            MaskCommand::Fill => {
                if let Some((width, height)) = size {
                    let mut mask = Mask::new(width, height);
                    mask.fill(255);
                    self.set_mask(Some(mask), house);
                }
            }
            MaskCommand::Invert => {
                if let Some((width, height)) = size {
                    let mask = self.mask().cloned();
                    let mut mask = mask.unwrap_or_else(|| Mask::new(width, height));
                    mask.invert();
                    self.set_mask(Some(mask), house);
                }
            }
            MaskCommand::Clear => self.set_mask(None, house),
            MaskCommand::AskSave => {
                let kind = AskKind::SaveFile {
                    name: "mask.png".to_owned(),
                    what: "PNG picture",
                    endings: &["png"],
                };
                house.ask("Save the mask as", kind, |path| {
                    UiCommand::Create(CreateCommand::Mask(MaskCommand::SaveTo(path)))
                });
            }
            MaskCommand::SaveTo(path) => {
                if let Some(mask) = self.mask().cloned() {
                    in_background(house, "The mask was not saved", move |reply| {
                        let (path, existing) = files::as_png(path)?;
                        let png = paint::to_png(&mask).map_err(|error| error.to_string())?;
                        let written = files::write(&path, &png, existing);
                        let written = written.map_err(|error| error.to_string())?;
                        reply.notice(Level::Success, "Saved", written.display().to_string());
                        Ok(())
                    });
                }
            }
            MaskCommand::AskOpen => {
                let kind = AskKind::OpenFile {
                    what: "Pictures",
                    endings: super::guest::PICTURE_ENDINGS,
                };
                house.ask("Load a mask", kind, |path| {
                    UiCommand::Create(CreateCommand::Mask(MaskCommand::FromFile(path)))
                });
            }
            MaskCommand::FromFile(path) => {
                let Some(start) = &self.form.start else {
                    return;
                };
                let (picture, size) = (start.picture.clone(), start.size);
                in_background(house, "The mask was not loaded", move |reply| {
                    let (mask, given) = read(&path, size)?;
                    if given != size {
                        let text = format!(
                            "It has {} × {} pixels and was brought to the picture's {} × {}.",
                            given.0, given.1, size.0, size.1
                        );
                        reply.notice(Level::Info, "The mask has another size", text);
                    }
                    let took = MaskCommand::Took(picture, Quiet(Arc::new(mask)));
                    reply.command(UiCommand::Create(CreateCommand::Mask(took)));
                    Ok(())
                });
            }
            MaskCommand::Took(picture, mask) => {
                let same = |start: &&super::Start| start.picture == picture;
                if self.form.start.as_ref().filter(same).is_some() {
                    self.set_mask(Some((*mask.0).clone()), house);
                }
            }
        }
    }
}

impl Create {
    pub(super) fn mask_available(&self, command: &MaskCommand) -> Result<(), String> {
        let Some(start) = &self.form.start else {
            return Err("Choose a picture to begin from first".to_owned());
        };
        if self.desk.picture(start).is_none() {
            let reason = self.desk.trouble(start);
            return Err(reason
                .unwrap_or("The start picture is being read")
                .to_owned());
        }
        let painted = start.mask.as_ref().is_some_and(|mask| !mask.is_empty());
        match command {
            MaskCommand::Clear | MaskCommand::AskSave if !painted => {
                Err("Nothing is painted".to_owned())
            }
            MaskCommand::Take(_)
            | MaskCommand::Larger
            | MaskCommand::Smaller
            | MaskCommand::Close
            | MaskCommand::Fill
            | MaskCommand::Invert
                if !self.paint.open =>
            {
                Err("The mask is not being painted".to_owned())
            }
            MaskCommand::Open if self.paint.open => Err("It is being painted".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A mask out of a picture file, in the size of the start picture; and the size that it had.
fn read(path: &std::path::Path, size: (u32, u32)) -> Result<(Mask, (u32, u32)), String> {
    let pixels = pictures::read(path).map_err(|error| error.to_string())?;
    let given = (pixels.width, pixels.height);
    let bytes = pixels.mask_values().map(|v| (v * 255.0).round() as u8);
    let bytes: Vec<u8> = bytes.collect();
    let fault = || format!("{}: the mask has too few pixels", path.display());
    let image = image::GrayImage::from_raw(given.0, given.1, bytes).ok_or_else(fault)?;
    let filter = image::imageops::FilterType::Triangle;
    let image = match given == size {
        true => image,
        false => image::imageops::resize(&image, size.0.max(1), size.1.max(1), filter),
    };
    let mask = Mask::from_rows(image.width(), image.height(), &image).ok_or_else(fault)?;
    Ok((mask, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brush_grows_and_shrinks_within_its_bounds() {
        let mut size = 1.0_f32;
        for _ in 0..60 {
            let larger = rounded((size * STEP).max(size + 0.5));
            assert!(larger > size || larger == *SIZES.end());
            size = larger;
        }
        assert_eq!(size, *SIZES.end());
        for _ in 0..80 {
            size = rounded(size / STEP);
        }
        assert_eq!(size, *SIZES.start());
    }

    #[test]
    fn masks_of_other_sizes_are_brought_to_the_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let mut mask = Mask::new(20, 10);
        mask.fill(255);
        std::fs::write(&path, paint::to_png(&mask).unwrap()).unwrap();
        let (read_mask, given) = read(&path, (64, 64)).unwrap();
        assert_eq!((read_mask.size(), given), ((64, 64), (20, 10)));
        assert_eq!(read_mask.share(), 1.0);
        std::fs::write(&path, b"no").unwrap();
        assert!(read(&path, (4, 4)).unwrap_err().contains("mask.png"));
    }
}
