//! A compare grid as one labelled picture: prompts at the left, seeds above, settings below. No window is needed.

mod paint;
mod sheet;
mod text;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Picture};
use diptych_inference::formats::picture::{ai_disclosure, encode_png};

pub use sheet::{Fonts, render};

use crate::library::error::LibraryError;
use crate::library::files;

/// Key of the PNG text that tells prompts, seeds and requests of a grid as JSON.
pub const GRID_KEY: &str = "diptych-grid";

/// On what the pictures lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SheetStyle {
    /// Dark grey.
    #[default]
    Dark,
    /// White.
    Light,
}

/// A picture of a sheet.
#[derive(Clone, Debug)]
pub struct SheetCell {
    /// Its pixels, if they are at hand; else they are read from the file.
    pub picture: Option<Arc<Picture>>,
    /// Its file.
    pub path: Option<PathBuf>,
    /// What reproduces it.
    pub request: ImageRequest,
    /// Whether it is marked as the best.
    pub best: bool,
}

/// A row of a sheet.
#[derive(Clone, Debug)]
pub struct SheetRow {
    /// The prompt.
    pub prompt: String,
    /// Byte ranges of the prompt that differ from the other rows.
    pub differing: Vec<Range<usize>>,
    /// What else is different in this row.
    pub note: String,
    /// A cell for each seed; `None` is not drawn.
    pub cells: Vec<Option<SheetCell>>,
}

/// A grid to be exported.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Its name; may be empty.
    pub title: String,
    /// The rows.
    pub rows: Vec<SheetRow>,
    /// The seeds of the columns.
    pub seeds: Vec<u64>,
    /// On what they lie.
    pub style: SheetStyle,
}

/// Why a grid cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing is drawn.
    #[error("there is no picture in the grid yet; draw it first")]
    Empty,
    /// A font of the assets.
    #[error("{}: the font cannot be read: {reason}; install the program again, or name its assets with --assets", path.display())]
    Font {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A picture of the grid.
    #[error("{}: the picture cannot be read: {reason}; draw its cell again", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The sheet is too large.
    #[error(
        "the grid would be a picture of {width} by {height}; take fewer rows, columns or smaller pictures"
    )]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// It cannot be made a PNG file.
    #[error("the grid cannot be encoded: {0}; please report this")]
    Encode(String),
    /// It has the name of something else.
    #[error("{0}")]
    Name(String),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] LibraryError),
}

/// The sheet as a PNG file.
///
/// # Errors
/// If fonts or pictures cannot be read, or there is nothing in it.
pub fn encode(sheet: &Sheet, assets: &Path) -> Result<Vec<u8>, ExportError> {
    let fonts = Fonts::load(assets)?;
    let picture = render(sheet, &fonts)?;
    let requests: Vec<Vec<Option<&ImageRequest>>> = sheet
        .rows
        .iter()
        .map(|row| {
            let cells = row.cells.iter();
            cells
                .map(|cell| cell.as_ref().map(|cell| &cell.request))
                .collect()
        })
        .collect();
    let grid = serde_json::json!({
        "software": format!("Diptych {}", env!("CARGO_PKG_VERSION")),
        "title": sheet.title,
        "prompts": sheet.rows.iter().map(|row| &row.prompt).collect::<Vec<_>>(),
        "seeds": sheet.seeds,
        "requests": requests,
    });
    let texts = [(GRID_KEY.to_owned(), grid.to_string()), ai_disclosure()];
    encode_png(&picture.rgb, picture.width, picture.height, &texts)
        .map_err(|error| ExportError::Encode(error.to_string()))
}

/// Writes the sheet to a file, whole or not at all; gives its name, which ends with `.png`. Where that ending had to be added,
/// a file that has the name stays.
///
/// # Errors
/// As [`encode`], and whatever the disk says.
pub fn write(sheet: &Sheet, assets: &Path, path: &Path) -> Result<PathBuf, ExportError> {
    let bytes = encode(sheet, assets)?;
    let (path, existing) = files::as_png(path.to_owned()).map_err(ExportError::Name)?;
    Ok(files::write(&path, &bytes, existing)?)
}

#[cfg(test)]
mod tests;
