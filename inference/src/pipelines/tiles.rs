//! Pictures in parts: where they lie, and how they are laid together so that no seam shows.
//!
//! Parts overlap. Within an overlap each counts the less the nearer its own edge is, and not at all right at the edge, where a network that sees
//! no further knows least; so what one part makes goes over into what the next makes without a line. This is blending, not exact: networks
//! with norms over the whole picture see each part's own statistics. Where parts differ in brightness, the overlap hides it.

/// How parts lie along one side of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Length of the side.
    pub length: usize,
    /// Length of each part; the side's where that is shorter.
    pub tile: usize,
    /// Least that neighbours have in common.
    pub overlap: usize,
}

impl Tiling {
    /// Parts of `tile` for a side of `length`, of which neighbours have at least `overlap` in common; both are brought to what is possible.
    pub fn new(length: usize, tile: usize, overlap: usize) -> Self {
        let tile = tile.clamp(1, length.max(1));
        Self {
            length,
            tile,
            overlap: overlap.min(tile / 2),
        }
    }

    /// Where the parts begin; all are of one length, and the last ends with the side.
    pub fn starts(self) -> Vec<usize> {
        let rest = self.length.saturating_sub(self.tile);
        let step = (self.tile - self.overlap).max(1);
        let count = rest.div_ceil(step) + 1;
        // Spread evenly, so that no two lie closer together than others.
        (0..count)
            .map(|part| (part * rest) / (count - 1).max(1))
            .collect()
    }

    /// How much each place of the part that begins at `start` counts, for a side that is `factor` times as long as this one.
    fn weights(self, start: usize, factor: usize) -> Vec<f32> {
        let (tile, overlap) = (self.tile * factor, (self.overlap * factor) as f32);
        // A quarter of the overlap at the very edge does not count.
        let edge = overlap / 4.0;
        let ramp = |distance: usize| {
            let inside = distance as f32 + 0.5 - edge;
            // Never nothing at all: where parts overlap by nothing, each pixel is still somebody's.
            (inside / (overlap - 2.0 * edge).max(1e-6)).clamp(1e-6, 1.0)
        };
        let (first, last) = (start == 0, start + self.tile >= self.length);
        (0..tile)
            .map(|place| {
                let before = if first { 1.0 } else { ramp(place) };
                let after = if last { 1.0 } else { ramp(tile - 1 - place) };
                before.min(after)
            })
            .collect()
    }
}

/// Where one part lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
}

/// A picture in parts.
#[derive(Clone, Debug)]
pub struct Tiles {
    /// Across and down.
    sides: [Tiling; 2],
}

impl Tiles {
    /// Of a picture of `width` x `height`, with parts of at most `tile` a side that overlap by `overlap`.
    pub fn new(width: usize, height: usize, tile: usize, overlap: usize) -> Self {
        Self {
            sides: [width, height].map(|side| Tiling::new(side, tile, overlap)),
        }
    }

    /// Width and height of each part.
    pub fn size(&self) -> (usize, usize) {
        let [across, down] = self.sides;
        (across.tile, down.tile)
    }

    /// All parts, row by row.
    pub fn parts(&self) -> Vec<Part> {
        let [across, down] = self.sides.map(Tiling::starts);
        down.iter()
            .flat_map(|&y| across.iter().map(move |&x| Part { x, y }))
            .collect()
    }

    /// A picture to lay results upon, `factor` times as large.
    pub fn canvas(&self, channels: usize, factor: usize) -> Canvas {
        let [width, height] = self.sides.map(|side| side.length * factor);
        Canvas {
            tiles: self.clone(),
            factor,
            width,
            sums: vec![0.0; channels * width * height],
            shares: vec![0.0; width * height],
        }
    }
}

/// What becomes of the parts.
pub struct Canvas {
    tiles: Tiles,
    factor: usize,
    width: usize,
    sums: Vec<f32>,
    shares: Vec<f32>,
}

impl Canvas {
    /// Lays on what was made of a part: planes of its size times the factor.
    pub fn lay(&mut self, values: &[f32], part: Part) {
        let [across, down] = self.tiles.sides;
        let wide = across.weights(part.x, self.factor);
        let tall = down.weights(part.y, self.factor);
        let plane = self.shares.len().max(1);
        let (left, top) = (part.x * self.factor, part.y * self.factor);
        for (y, tall) in tall.iter().enumerate() {
            let row = (top + y) * self.width + left;
            for (x, wide) in wide.iter().enumerate() {
                let weight = tall * wide;
                if let Some(share) = self.shares.get_mut(row + x) {
                    *share += weight;
                }
            }
        }
        let size = wide.len() * tall.len();
        let layers = values.chunks_exact(size.max(1));
        for (layer, sums) in layers.zip(self.sums.chunks_exact_mut(plane)) {
            for (y, (line, tall)) in layer.chunks_exact(wide.len().max(1)).zip(&tall).enumerate() {
                let row = (top + y) * self.width + left;
                let sums = sums.iter_mut().skip(row);
                for ((sum, value), wide) in sums.zip(line).zip(&wide) {
                    *sum += value * tall * wide;
                }
            }
        }
    }

    /// The whole, all parts laid on.
    pub fn finish(&self) -> Vec<f32> {
        let plane = self.shares.len().max(1);
        let planes = self.sums.chunks_exact(plane);
        let mean = |(sum, share): (&f32, &f32)| sum / share.max(f32::MIN_POSITIVE);
        planes
            .flat_map(|sums| sums.iter().zip(&self.shares).map(mean))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipelines::raster::{Area, Raster};

    #[test]
    fn parts_cover_a_side_and_overlap() {
        for (length, tile, overlap) in [
            (100, 32, 8),
            (32, 32, 8),
            (33, 32, 8),
            (7, 32, 8),
            (1000, 64, 0),
            (65, 64, 32),
            (5, 1, 0),
        ] {
            let tiling = Tiling::new(length, tile, overlap);
            let starts = tiling.starts();
            assert_eq!(starts[0], 0);
            assert_eq!(starts[starts.len() - 1] + tiling.tile, length);
            for pair in starts.windows(2) {
                assert!(
                    pair[0] + tiling.tile >= pair[1] + tiling.overlap,
                    "{tiling:?} {pair:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_and_laid_back_is_the_whole() {
        let (width, height) = (53, 31);
        let whole: Vec<f32> = (0..2 * width * height)
            .map(|n| (n % 97) as f32 - 40.0)
            .collect();
        let raster = Raster {
            width,
            height,
            values: whole.clone(),
        };
        for (tile, overlap) in [(16, 6), (20, 0), (64, 8), (31, 15)] {
            let tiles = Tiles::new(width, height, tile, overlap);
            let mut canvas = tiles.canvas(2, 1);
            let (wide, tall) = tiles.size();
            for part in tiles.parts() {
                let area = Area {
                    x: part.x,
                    y: part.y,
                    width: wide,
                    height: tall,
                };
                canvas.lay(&raster.crop(area).values, part);
            }
            let back = canvas.finish();
            for (got, want) in back.iter().zip(&whole) {
                assert!((got - want).abs() < 1e-3, "{tile} {overlap}: {got} {want}");
            }
        }
    }

    /// Two flat parts of different brightness: the step between them is spread over the overlap.
    #[test]
    fn a_difference_of_brightness_leaves_no_line() {
        let tiles = Tiles::new(48, 8, 32, 16);
        let mut canvas = tiles.canvas(1, 2);
        for (place, part) in tiles.parts().into_iter().enumerate() {
            canvas.lay(&vec![place as f32; 64 * 16], part);
        }
        let row: Vec<f32> = canvas.finish().into_iter().take(96).collect();
        let steps = row.windows(2).map(|pair| pair[1] - pair[0]);
        let steepest = steps.fold(0.0f32, f32::max);
        assert!((0.01..0.1).contains(&steepest), "{steepest}");
        assert_eq!((row[0], row[95]), (0.0, 1.0));
    }
}
