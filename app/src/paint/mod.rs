//! Masks: which parts of a picture are drawn anew, painted by hand.
//!
//! A mask lies in tiles that its copies share, so that a step of undo costs what its stroke touched, and whoever shows it
//! can tell what has changed by which tiles are other ones. Nothing here knows the window or the studio.

mod brush;
mod file;

use std::ops::Range;
use std::sync::Arc;

pub use brush::Brush;
pub use file::{MaskError, from_png, to_png};

/// Side of a tile in pixels.
pub const TILE: usize = 128;
/// Longest side of a mask, as of the pictures that are read.
pub const MOST_SIDE: u32 = 16_384;

/// A part of a mask in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// How much of each pixel is drawn anew: 0 is kept, 255 is drawn anew, anything between is mixed.
#[derive(Clone)]
pub struct Mask {
    width: u32,
    height: u32,
    /// Rows from the top; those at the right and lower edges are as small as need be.
    tiles: Vec<Tile>,
}

/// A square of a mask.
#[derive(Clone)]
struct Tile {
    bytes: Arc<[u8]>,
    /// Of all values.
    sum: u32,
}

impl Tile {
    fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let sum = bytes.iter().map(|value| u32::from(*value)).sum();
        Self { bytes, sum }
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({}x{})", self.width, self.height)
    }
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        let mut tiles = self.tiles.iter().zip(&other.tiles);
        self.size() == other.size()
            && tiles.all(|(a, b)| {
                Arc::ptr_eq(&a.bytes, &b.bytes) || (a.sum == b.sum && a.bytes == b.bytes)
            })
    }
}

impl Mask {
    /// A mask that keeps everything. Sides are taken within 1 and [`MOST_SIDE`].
    pub fn new(width: u32, height: u32) -> Self {
        let mut mask = Self {
            width: width.clamp(1, MOST_SIDE),
            height: height.clamp(1, MOST_SIDE),
            tiles: Vec::new(),
        };
        mask.fill(0);
        mask
    }

    /// From rows of bytes, from the top; `None` if they are not as many as the size says.
    pub fn from_rows(width: u32, height: u32, rows: &[u8]) -> Option<Self> {
        let mut mask = Self::new(width, height);
        let across = width as usize;
        if mask.size() != (width, height) || rows.len() != across * height as usize {
            return None;
        }
        for index in 0..mask.tiles.len() {
            let area = mask.area(index);
            let part = rows.chunks_exact(across).skip(area.y).take(area.height);
            let bytes: Vec<u8> = part
                .flat_map(|row| row.iter().skip(area.x).take(area.width))
                .copied()
                .collect();
            // Tiles of nothing stay shared.
            if bytes.iter().any(|value| *value > 0)
                && let Some(tile) = mask.tiles.get_mut(index)
            {
                *tile = Tile::new(bytes);
            }
        }
        Some(mask)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn columns(&self) -> usize {
        (self.width as usize).div_ceil(TILE)
    }

    fn lines(&self) -> usize {
        (self.height as usize).div_ceil(TILE)
    }

    /// Where a tile lies.
    fn area(&self, index: usize) -> Area {
        let (x, y) = (index % self.columns() * TILE, index / self.columns() * TILE);
        Area {
            x,
            y,
            width: TILE.min((self.width as usize).saturating_sub(x)),
            height: TILE.min((self.height as usize).saturating_sub(y)),
        }
    }

    /// All tiles with their places; two masks have the same contents where these are the same allocation.
    pub fn tiles(&self) -> impl Iterator<Item = (Area, &Arc<[u8]>)> {
        let tiles = self.tiles.iter().enumerate();
        tiles.map(|(index, tile)| (self.area(index), &tile.bytes))
    }

    /// Numbers of the tiles that an area touches.
    fn touched(&self, x: Range<i64>, y: Range<i64>) -> Vec<usize> {
        let side = TILE as i64;
        let span = |range: Range<i64>, count: usize| {
            let first = range.start.div_euclid(side).clamp(0, count as i64);
            let end = ((range.end - 1).div_euclid(side) + 1).clamp(first, count as i64);
            first as usize..end as usize
        };
        let (columns, lines) = (span(x, self.columns()), span(y, self.lines()));
        lines
            .flat_map(|line| {
                let start = line * self.columns();
                columns.clone().map(move |column| start + column)
            })
            .collect()
    }

    /// Paints a straight piece of a stroke from one place to another, in pixels. Going over the same place twice does no
    /// more than once. Tells whether anything changed.
    pub fn paint(&mut self, brush: &Brush, from: [f32; 2], to: [f32; 2]) -> bool {
        let reach = brush.reach();
        let finite = |place: [f32; 2]| place.iter().all(|value| value.is_finite());
        if !finite(from) || !finite(to) {
            return false;
        }
        let span = |a: f32, b: f32| {
            let (low, high) = (a.min(b) - reach, a.max(b) + reach);
            low.floor() as i64..(high.ceil() as i64).saturating_add(1)
        };
        let (x, y) = (span(from[0], to[0]), span(from[1], to[1]));
        let mut changed = false;
        for index in self.touched(x.clone(), y.clone()) {
            let area = self.area(index);
            let Some(tile) = self.tiles.get_mut(index) else {
                continue;
            };
            let within = |range: &Range<i64>, start: usize, length: usize| {
                let start = start as i64;
                let low = range.start.saturating_sub(start).clamp(0, length as i64);
                let high = range.end.saturating_sub(start).clamp(low, length as i64);
                low as usize..high as usize
            };
            let (xs, ys) = (
                within(&x, area.x, area.width),
                within(&y, area.y, area.height),
            );
            // Looked at before it is written to: a tile that stays as it is stays shared.
            let mut fresh: Option<Vec<u8>> = None;
            for row in ys {
                for column in xs.clone() {
                    let at = [(area.x + column) as f32 + 0.5, (area.y + row) as f32 + 0.5];
                    let cover = brush.cover(at, from, to);
                    if cover == 0 {
                        continue;
                    }
                    let place = row * area.width + column;
                    let old = match &fresh {
                        Some(bytes) => bytes.get(place),
                        None => tile.bytes.get(place),
                    };
                    let Some(&old) = old else {
                        continue;
                    };
                    let new = if brush.erase {
                        old.min(255 - cover)
                    } else {
                        old.max(cover)
                    };
                    if new != old {
                        let bytes = fresh.get_or_insert_with(|| tile.bytes.to_vec());
                        if let Some(value) = bytes.get_mut(place) {
                            *value = new;
                        }
                    }
                }
            }
            if let Some(bytes) = fresh {
                *tile = Tile::new(bytes);
                changed = true;
            }
        }
        changed
    }

    /// Gives every pixel one value.
    pub fn fill(&mut self, value: u8) {
        let whole = Tile::new(vec![value; TILE * TILE]);
        let count = self.columns() * self.lines();
        let tiles = (0..count).map(|index| {
            let area = self.area(index);
            match (area.width, area.height) {
                (TILE, TILE) => whole.clone(),
                (width, height) => Tile::new(vec![value; width * height]),
            }
        });
        self.tiles = tiles.collect();
    }

    /// What was kept is drawn anew, and the other way round.
    pub fn invert(&mut self) {
        for tile in &mut self.tiles {
            let inverse: Vec<u8> = tile.bytes.iter().map(|value| 255 - value).collect();
            *tile = Tile::new(inverse);
        }
    }

    /// Whether everything is kept.
    pub fn is_empty(&self) -> bool {
        self.tiles.iter().all(|tile| tile.sum == 0)
    }

    /// The share of the picture that is drawn anew, 0 to 1.
    pub fn share(&self) -> f32 {
        let sum: u64 = self.tiles.iter().map(|tile| u64::from(tile.sum)).sum();
        let all = u64::from(self.width) * u64::from(self.height) * 255;
        (sum as f64 / all as f64) as f32
    }

    /// One pixel; outside everything is kept.
    pub fn value(&self, x: u32, y: u32) -> u8 {
        if x >= self.width || y >= self.height {
            return 0;
        }
        let (x, y) = (x as usize, y as usize);
        let index = y / TILE * self.columns() + x / TILE;
        let area = self.area(index);
        let place = (y - area.y) * area.width + (x - area.x);
        let value = self.tiles.get(index).and_then(|tile| tile.bytes.get(place));
        value.copied().unwrap_or(0)
    }

    /// As rows of bytes, from the top.
    pub fn to_rows(&self) -> Vec<u8> {
        let across = self.width as usize;
        let mut rows = vec![0; across * self.height as usize];
        for (area, tile) in self.tiles() {
            for (line, bytes) in tile.chunks_exact(area.width.max(1)).enumerate() {
                let start = (area.y + line) * across + area.x;
                if let Some(to) = rows.get_mut(start..start + area.width) {
                    to.copy_from_slice(bytes);
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests;
