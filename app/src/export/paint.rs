//! A plain picture to draw on.

use diptych_inference::engine::Picture;

/// An opaque colour: red, green, blue.
pub type Colour = [u8; 3];

/// Pixels to draw on.
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// All of one colour.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self {
            width,
            height,
            rgb: colour.repeat(width * height),
        }
    }

    /// Lays a colour over a pixel as densely as `coverage` says, 0 to 1. Places outside are left out.
    pub fn blend(&mut self, x: i64, y: i64, colour: Colour, coverage: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        let Some(pixel) = self.rgb.get_mut(at..at + 3) else {
            return;
        };
        let part = coverage.clamp(0.0, 1.0);
        for (value, colour) in pixel.iter_mut().zip(colour) {
            let mixed = f32::from(*value) * (1.0 - part) + f32::from(colour) * part;
            *value = mixed.round() as u8;
        }
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        for y in y..(y + height).min(self.height) {
            for x in x..(x + width).min(self.width) {
                self.blend(x as i64, y as i64, colour, 1.0);
            }
        }
    }

    /// Draws a frame of `thick` pixels around a rectangle, outside of it.
    pub fn frame(&mut self, [x, y, width, height]: [usize; 4], thick: usize, colour: Colour) {
        let (left, top) = (x.saturating_sub(thick), y.saturating_sub(thick));
        let (wide, high) = (width + 2 * thick, height + 2 * thick);
        self.fill(left, top, wide, thick, colour);
        self.fill(left, y + height, wide, thick, colour);
        self.fill(left, top, thick, high, colour);
        self.fill(x + width, top, thick, high, colour);
    }

    /// Puts pixels there: `rgb` row by row, `width` wide.
    pub fn put(&mut self, x: usize, y: usize, width: usize, rgb: &[u8]) {
        for (row, line) in rgb.chunks_exact(width.max(1) * 3).enumerate() {
            let y = y + row;
            if y >= self.height || x + width > self.width {
                return;
            }
            let at = (y * self.width + x) * 3;
            if let Some(target) = self.rgb.get_mut(at..at + line.len()) {
                target.copy_from_slice(line);
            }
        }
    }

    /// The picture.
    pub fn finish(self) -> Picture {
        Picture {
            width: u32::try_from(self.width).unwrap_or(u32::MAX),
            height: u32::try_from(self.height).unwrap_or(u32::MAX),
            rgb: self.rgb,
        }
    }
}
