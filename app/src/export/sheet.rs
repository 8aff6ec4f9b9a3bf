//! The layout of a sheet.

use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Picture};
use egui::ColorImage;

use super::paint::{Canvas, Colour};
pub use super::text::Fonts;
use super::text::TextStyle;
use super::{ExportError, Sheet, SheetCell, SheetStyle};
use crate::widgets::pictures::resample::{Filter, resample};

/// Small pictures are enlarged by a whole factor, up to about this side.
const SIDE: usize = 288;
/// Larger ones are shrunk to this.
const LARGEST_SIDE: usize = 768;
/// Longest side of a sheet.
const LARGEST_SHEET: usize = 16_384;
/// Most lines of the footer.
const FOOTER_LINES: usize = 8;

struct Colours {
    ground: Colour,
    well: Colour,
    text: Colour,
    muted: Colour,
    marked: Colour,
    best: Colour,
}

const DARK: Colours = Colours {
    ground: [23, 24, 27],
    well: [34, 36, 40],
    text: [232, 233, 236],
    muted: [152, 156, 164],
    marked: [255, 190, 92],
    best: [255, 190, 92],
};

const LIGHT: Colours = Colours {
    ground: [255, 255, 255],
    well: [238, 239, 242],
    text: [28, 30, 34],
    muted: [98, 103, 112],
    marked: [176, 84, 0],
    best: [222, 128, 0],
};

/// Draws a sheet.
///
/// # Errors
/// If there is nothing in it, a picture cannot be read, or it would be too large.
pub fn render(sheet: &Sheet, fonts: &Fonts) -> Result<Picture, ExportError> {
    let colours = match sheet.style {
        SheetStyle::Dark => &DARK,
        SheetStyle::Light => &LIGHT,
    };
    let pictures = read_all(sheet)?;
    let natural = pictures
        .iter()
        .flatten()
        .flatten()
        .map(|picture| [picture.width as usize, picture.height as usize]);
    let natural = natural
        .reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])])
        .ok_or(ExportError::Empty)?;
    let cell = cell_size(natural);
    let em = (cell[0] as f32 / 16.0).clamp(14.0, 26.0);
    let style = |size: f32, strong, colour| TextStyle {
        size,
        strong,
        colour,
        marked: colours.marked,
    };
    let gap = (em * 0.7).round() as usize;
    let margin = (em * 1.8).round() as usize;
    let label = (cell[0] as f32 * 0.9).clamp(em * 13.0, em * 20.0).round() as usize;
    let columns = sheet.seeds.len();
    let width = 2 * margin + label + gap + columns * (cell[0] + gap) - gap.min(columns * gap);
    let inner = (width - 2 * margin) as f32;

    let title = (!sheet.title.is_empty()).then(|| {
        let style = style(em * 1.45, true, colours.text);
        fonts.lay(&sheet.title, &[], style, inner, 2)
    });
    let seed_style = style(em * 0.85, false, colours.muted);
    let line = (seed_style.size * 1.35).round() as usize;
    let footer = fonts.lay(
        &footer(sheet),
        &[],
        style(em * 0.85, false, colours.muted),
        inner,
        FOOTER_LINES,
    );
    let rows: Vec<_> = sheet
        .rows
        .iter()
        .map(|row| {
            let lines = (2.0 * cell[1] as f32 / (em * 1.35)) as usize;
            let text_width = (label - gap) as f32;
            let prompt_style = style(em, false, colours.text);
            let prompt = fonts.lay(&row.prompt, &row.differing, prompt_style, text_width, lines);
            let note = (!row.note.is_empty()).then(|| {
                let style = style(em * 0.85, false, colours.muted);
                fonts.lay(&row.note, &[], style, text_width, 3)
            });
            let text = prompt.height() + note.as_ref().map_or(0.0, |note| note.height() + em * 0.4);
            let height = cell[1].max(text.ceil() as usize);
            (prompt, note, height)
        })
        .collect();

    let head = title
        .as_ref()
        .map_or(0, |title| (title.height() + em) as usize);
    let body: usize = rows.iter().map(|(_, _, height)| height + gap).sum();
    let top = margin + head;
    let first = top + line + gap / 2;
    let foot = first + body + gap;
    let height = foot + footer.height().ceil() as usize + margin;
    if width > LARGEST_SHEET || height > LARGEST_SHEET {
        return Err(ExportError::TooLarge { width, height });
    }

    let mut canvas = Canvas::new(width, height, colours.ground);
    if let Some(title) = &title {
        fonts.paint(&mut canvas, title, margin as f32, margin as f32);
    }
    let left = margin + label + gap;
    for (column, seed) in sheet.seeds.iter().enumerate() {
        let x = (left + column * (cell[0] + gap)) as f32;
        let laid = fonts.lay(&format!("Seed {seed}"), &[], seed_style, cell[0] as f32, 1);
        fonts.paint(&mut canvas, &laid, x, top as f32);
    }
    let mut y = first;
    for ((prompt, note, height), (row, pictures)) in
        rows.iter().zip(sheet.rows.iter().zip(&pictures))
    {
        fonts.paint(&mut canvas, prompt, margin as f32, y as f32 - em * 0.15);
        if let Some(note) = note {
            let below = y as f32 + prompt.height() + em * 0.25;
            fonts.paint(&mut canvas, note, margin as f32, below);
        }
        for (column, (cell_of_row, picture)) in row.cells.iter().zip(pictures).enumerate() {
            let x = left + column * (cell[0] + gap);
            match picture {
                Some(picture) => {
                    let (size, rgb) = scaled(picture, cell);
                    let at = [x + (cell[0] - size[0]) / 2, y + (cell[1] - size[1]) / 2];
                    canvas.put(at[0], at[1], size[0], &rgb);
                    if cell_of_row.as_ref().is_some_and(|cell| cell.best) {
                        let thick = (gap / 3).clamp(2, 5);
                        canvas.frame([at[0], at[1], size[0], size[1]], thick, colours.best);
                    }
                }
                None => {
                    canvas.fill(x, y, cell[0], cell[1], colours.well);
                    let style = style(em * 0.85, false, colours.muted);
                    let note = fonts.lay("Not drawn", &[], style, cell[0] as f32, 1);
                    let left = x as f32 + (cell[0] as f32 - note.width()) / 2.0;
                    let top = y as f32 + (cell[1] as f32 - note.height()) / 2.0;
                    fonts.paint(&mut canvas, &note, left, top);
                }
            }
        }
        y += height + gap;
    }
    fonts.paint(&mut canvas, &footer, margin as f32, foot as f32);
    Ok(canvas.finish())
}

/// The size of all cells: small pictures by a whole factor, large ones shrunk.
fn cell_size([width, height]: [usize; 2]) -> [usize; 2] {
    let longest = width.max(height).max(1);
    if longest > LARGEST_SIDE {
        let side = |length: usize| (length * LARGEST_SIDE / longest).max(1);
        return [side(width), side(height)];
    }
    let factor = (SIDE / longest).max(1);
    [width * factor, height * factor]
}

/// A picture as large as it fits a cell.
fn scaled(picture: &Picture, cell: [usize; 2]) -> ([usize; 2], Vec<u8>) {
    let size = [picture.width as usize, picture.height as usize];
    let ratio = (cell[0] as f64 / size[0] as f64).min(cell[1] as f64 / size[1] as f64);
    let wanted = size.map(|side| ((side as f64 * ratio).round() as usize).max(1));
    let wanted = [wanted[0].min(cell[0]), wanted[1].min(cell[1])];
    if wanted == size {
        return (size, picture.rgb.clone());
    }
    let image = ColorImage::from_rgb(size, &picture.rgb);
    let image = resample(&image, wanted[0], wanted[1], Filter::Cubic);
    let rgb = image
        .pixels
        .iter()
        .flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()]);
    (wanted, rgb.collect())
}

/// Model and settings that all cells share; a row's own are beside its prompt.
fn footer(sheet: &Sheet) -> String {
    let mut requests = sheet
        .rows
        .iter()
        .flat_map(|row| row.cells.iter().flatten())
        .map(|cell| &cell.request);
    let Some(first) = requests.next() else {
        return String::new();
    };
    let rest: Vec<&ImageRequest> = requests.collect();
    let mut parts = Vec::new();
    let mut shared = |text: &dyn Fn(&ImageRequest) -> String| {
        let own = text(first);
        if !own.is_empty() && rest.iter().all(|request| text(request) == own) {
            parts.push(own);
        }
    };
    shared(&|request| match &request.model.hash {
        Some(hash) => format!("{} ({hash})", request.model.name),
        None => request.model.name.clone(),
    });
    shared(&|request| format!("{} × {}", request.width, request.height));
    shared(&|request| format!("{} steps", request.steps));
    shared(&|request| format!("guidance {}", request.guidance));
    shared(&|request| format!("{}, {}", request.sampler.label(), request.schedule.label()));
    let mut text = parts.join("   ·   ");
    let negative = first.negative_prompt.trim();
    let same = |request: &&ImageRequest| request.negative_prompt == first.negative_prompt;
    if !negative.is_empty() && rest.iter().all(same) {
        text.push_str(&format!("\nWithout: {negative}"));
    }
    text.push_str(&format!("\nDiptych {}", env!("CARGO_PKG_VERSION")));
    text
}

fn read_all(sheet: &Sheet) -> Result<Vec<Vec<Option<Arc<Picture>>>>, ExportError> {
    let read = |cell: &Option<SheetCell>| cell.as_ref().map(read).transpose();
    sheet
        .rows
        .iter()
        .map(|row| row.cells.iter().map(read).collect())
        .collect()
}

fn read(cell: &SheetCell) -> Result<Arc<Picture>, ExportError> {
    if let Some(picture) = &cell.picture {
        return Ok(Arc::clone(picture));
    }
    let path = cell.path.clone().unwrap_or_default();
    let fault = |reason: String| ExportError::Picture {
        path: path.clone(),
        reason,
    };
    let bytes = std::fs::read(&path).map_err(|error| fault(error.to_string()))?;
    let image = image::load_from_memory(&bytes).map_err(|error| fault(error.to_string()))?;
    let rgb = image.into_rgb8();
    Ok(Arc::new(Picture {
        width: rgb.width(),
        height: rgb.height(),
        rgb: rgb.into_raw(),
    }))
}
