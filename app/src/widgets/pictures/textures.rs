//! Pictures on the GPU: tiles of levels, uploaded when they are first drawn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use egui::{
    Color32, ColorImage, Context, Mesh, Painter, Rect, TextureHandle, TextureOptions, pos2,
};

use super::decode::Pixels;
use super::difference::DifferenceNumbers;

/// Pictures up to this size are one texture, if the device allows it.
const LARGEST_WHOLE: usize = 4096;
/// Side of a tile of larger ones, without the border that it shares with its neighbours.
const TILE: usize = 1022;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TileKey {
    level: usize,
    x: usize,
    y: usize,
    crisp: bool,
}

/// A picture that can be drawn.
pub struct ShownPicture {
    pixels: Arc<Pixels>,
    tiles: Mutex<HashMap<TileKey, TextureHandle>>,
}

impl std::fmt::Debug for ShownPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownPicture")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl ShownPicture {
    pub(super) fn new(pixels: Arc<Pixels>) -> Self {
        Self {
            pixels,
            tiles: Mutex::default(),
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.pixels.size()
    }

    /// Whether nothing shines through.
    pub fn opaque(&self) -> bool {
        self.pixels.opaque
    }

    /// For differences: the numbers.
    pub fn numbers(&self) -> Option<DifferenceNumbers> {
        self.pixels.numbers
    }

    /// The pixels.
    pub fn pixels(&self) -> &Arc<Pixels> {
        &self.pixels
    }

    /// Bytes here and on the device.
    pub(super) fn bytes(&self) -> usize {
        let tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        self.pixels.bytes() + tiles.values().map(TextureHandle::byte_size).sum::<usize>()
    }

    /// Draws the picture onto `target` (points), `zoom` physical pixels for each of its own.
    ///
    /// Shrunk pictures are blended from the two nearest halves; `crisp` shows every pixel as a square.
    pub fn paint(&self, painter: &Painter, target: Rect, zoom: f32, crisp: bool, tint: Color32) {
        let last = self.pixels.levels.len().saturating_sub(1);
        let place = (1.0 / zoom.max(1e-6)).log2().clamp(0.0, last as f32);
        let (level, part) = (place.floor() as usize, place.fract());
        if !self.pixels.opaque {
            // Two layers of a transparent picture would be too dense.
            return self.paint_level(painter, target, place.round() as usize, crisp, tint);
        }
        self.paint_level(painter, target, level, crisp, tint);
        if part > 0.01 && level < last {
            let upper = tint.gamma_multiply(part);
            self.paint_level(painter, target, level + 1, false, upper);
        }
    }

    fn paint_level(
        &self,
        painter: &Painter,
        target: Rect,
        level: usize,
        crisp: bool,
        tint: Color32,
    ) {
        let Some(image) = self.pixels.levels.get(level) else {
            return;
        };
        let [width, height] = image.size;
        let ctx = painter.ctx();
        let most = ctx.input(|input| input.max_texture_side);
        let whole = width.max(height) <= most.min(LARGEST_WHOLE);
        let tile = if whole {
            width.max(height).max(1)
        } else {
            TILE.min(most.saturating_sub(2)).max(1)
        };
        let visible = target.intersect(painter.clip_rect());
        if !visible.is_positive() {
            return;
        }
        let at = |x: usize, y: usize| {
            pos2(
                egui::lerp(target.x_range(), x as f32 / width as f32),
                egui::lerp(target.y_range(), y as f32 / height as f32),
            )
        };
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        for tile_y in 0..height.div_ceil(tile) {
            for tile_x in 0..width.div_ceil(tile) {
                let (x, y) = (tile_x * tile, tile_y * tile);
                let (end_x, end_y) = ((x + tile).min(width), (y + tile).min(height));
                let area = Rect::from_min_max(at(x, y), at(end_x, end_y));
                if !area.intersects(visible) {
                    continue;
                }
                // One more pixel on each side, so that neighbours are blended over the seam.
                let border = usize::from(!whole);
                let from = [x.saturating_sub(border), y.saturating_sub(border)];
                let to = [(end_x + border).min(width), (end_y + border).min(height)];
                let size = [to[0] - from[0], to[1] - from[1]];
                let key = TileKey {
                    level,
                    x: tile_x,
                    y: tile_y,
                    crisp,
                };
                let texture = tiles
                    .entry(key)
                    .or_insert_with(|| upload(ctx, image, from, size, crisp));
                let share = |x: usize, y: usize| {
                    pos2(
                        (x - from[0]) as f32 / size[0] as f32,
                        (y - from[1]) as f32 / size[1] as f32,
                    )
                };
                let uv = Rect::from_min_max(share(x, y), share(end_x, end_y));
                let mut mesh = Mesh::with_texture(texture.id());
                mesh.add_rect_with_uv(area, uv, tint);
                painter.add(mesh);
            }
        }
    }
}

fn upload(
    ctx: &Context,
    image: &Arc<ColorImage>,
    from: [usize; 2],
    size: [usize; 2],
    crisp: bool,
) -> TextureHandle {
    let options = if crisp {
        TextureOptions::NEAREST
    } else {
        TextureOptions::LINEAR
    };
    let image = if size == image.size {
        Arc::clone(image)
    } else {
        Arc::new(image.region_by_pixels(from, size))
    };
    ctx.load_texture("picture", image, options)
}

/// Draws a whole texture.
pub fn paint_texture(painter: &Painter, texture: &TextureHandle, target: Rect, tint: Color32) {
    let mut mesh = Mesh::with_texture(texture.id());
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    mesh.add_rect_with_uv(target, uv, tint);
    painter.add(mesh);
}
