//! Text drawn without a window, with the program's own fonts.

use std::ops::Range;
use std::path::Path;

use ab_glyph::{Font as _, FontVec, Glyph, GlyphId, PxScale, ScaleFont as _, point};

use super::ExportError;
use super::paint::{Canvas, Colour};

/// The fonts of a sheet.
pub struct Fonts {
    regular: FontVec,
    strong: FontVec,
}

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    /// Pixels of an em.
    pub size: f32,
    /// Whether it is set in the strong weight.
    pub strong: bool,
    /// Its colour.
    pub colour: Colour,
    /// The colour of marked words.
    pub marked: Colour,
}

/// A character with its place.
#[derive(Clone, Copy, Debug)]
struct Placed {
    c: char,
    x: f32,
    line: usize,
    marked: bool,
}

/// Text broken into lines.
#[derive(Clone, Debug)]
pub struct Laid {
    placed: Vec<Placed>,
    style: TextStyle,
    lines: usize,
    line_height: f32,
    ascent: f32,
    width: f32,
}

impl Laid {
    /// Height in pixels.
    pub fn height(&self) -> f32 {
        self.lines as f32 * self.line_height
    }

    /// Width of the longest line in pixels.
    pub fn width(&self) -> f32 {
        self.width
    }
}

impl Fonts {
    /// Reads the fonts of the assets.
    ///
    /// # Errors
    /// If they are not there, or are no fonts.
    pub fn load(assets: &Path) -> Result<Self, ExportError> {
        let load = |name: &str| {
            let path = assets.join("fonts").join(name);
            let bytes = std::fs::read(&path).map_err(|error| ExportError::Font {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            FontVec::try_from_vec(bytes).map_err(|error| ExportError::Font {
                path: path.clone(),
                reason: error.to_string(),
            })
        };
        Ok(Self {
            regular: load("Inter-Regular.otf")?,
            strong: load("Inter-SemiBold.otf")?,
        })
    }

    fn font(&self, strong: bool) -> &FontVec {
        if strong { &self.strong } else { &self.regular }
    }

    /// Breaks text into lines of at most `width` pixels, and at most `lines` lines; what is too long ends with an ellipsis.
    /// `marked` are byte ranges of the text.
    pub fn lay(
        &self,
        text: &str,
        marked: &[Range<usize>],
        style: TextStyle,
        width: f32,
        lines: usize,
    ) -> Laid {
        let font = self.font(style.strong);
        let scaled = font.as_scaled(scale(font, style.size));
        let mut placed: Vec<Placed> = Vec::new();
        let (mut x, mut line) = (0.0_f32, 0);
        let mut before: Option<GlyphId> = None;
        for (at, c) in text.trim_end().char_indices() {
            if c == '\n' {
                (x, line, before) = (0.0, line + 1, None);
                continue;
            }
            let c = match c {
                c if c.is_whitespace() || c.is_control() => ' ',
                c => c,
            };
            let glyph = self.glyph(font, c);
            let kern = before.map_or(0.0, |before| scaled.kern(before, glyph));
            let advance = scaled.h_advance(glyph);
            if x + kern + advance > width && x > 0.0 && c != ' ' {
                line += 1;
                // The word that does not fit moves down, unless it is a whole line itself.
                let start = placed.iter().rposition(|p| p.c == ' ' || p.line < line - 1);
                let start = start.map_or(0, |space| space + 1);
                let moved = placed.get(start).map(|first| first.x).filter(|x| *x > 0.0);
                x = match moved {
                    Some(from) => {
                        for p in placed.iter_mut().skip(start) {
                            p.line = line;
                            p.x -= from;
                        }
                        x - from
                    }
                    None => 0.0,
                };
            } else {
                x += kern;
            }
            placed.push(Placed {
                c,
                x,
                line,
                marked: marked.iter().any(|range| range.contains(&at)),
            });
            x += advance;
            before = Some(glyph);
        }
        let most = lines.max(1);
        if line >= most {
            placed.retain(|p| p.line < most);
            let dots = scaled.h_advance(self.glyph(font, '…'));
            while placed.last().is_some_and(|p| {
                p.line == most - 1
                    && (p.x + scaled.h_advance(self.glyph(font, p.c)) + dots > width || p.c == ' ')
            }) {
                placed.pop();
            }
            let x = placed
                .last()
                .filter(|p| p.line == most - 1)
                .map_or(0.0, |p| p.x + scaled.h_advance(self.glyph(font, p.c)));
            placed.push(Placed {
                c: '…',
                x,
                line: most - 1,
                marked: false,
            });
            line = most - 1;
        }
        let end = |p: &Placed| p.x + scaled.h_advance(self.glyph(font, p.c));
        Laid {
            width: placed.iter().map(end).fold(0.0, f32::max),
            placed,
            style,
            lines: line + 1,
            line_height: (style.size * 1.35).round(),
            ascent: style.size * 1.02,
        }
    }

    /// A character of the font; what it lacks is shown as a hollow box.
    fn glyph(&self, font: &FontVec, c: char) -> GlyphId {
        let glyph = font.glyph_id(c);
        if glyph.0 == 0 {
            font.glyph_id('\u{25a1}')
        } else {
            glyph
        }
    }

    /// Draws laid text with its upper left corner at a place.
    pub fn paint(&self, canvas: &mut Canvas, laid: &Laid, x: f32, y: f32) {
        let font = self.font(laid.style.strong);
        let scale = scale(font, laid.style.size);
        for p in &laid.placed {
            if p.c == ' ' {
                continue;
            }
            let baseline = y + laid.ascent + p.line as f32 * laid.line_height;
            let glyph: Glyph = self
                .glyph(font, p.c)
                .with_scale_and_position(scale, point(x + p.x, baseline.round()));
            let Some(outline) = font.outline_glyph(glyph) else {
                continue;
            };
            let colour = if p.marked {
                laid.style.marked
            } else {
                laid.style.colour
            };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                let (x, y) = (
                    corner.x as i64 + i64::from(dx),
                    corner.y as i64 + i64::from(dy),
                );
                canvas.blend(x, y, colour, coverage);
            });
        }
    }
}

/// Pixels of an em to the height that the rasteriser scales by.
fn scale(font: &FontVec, size: f32) -> PxScale {
    let em = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size * font.height_unscaled() / em)
}
