//! A mask over a picture: tinted, uploaded tile by tile as it changes; and the ring of the brush.

use std::sync::{Arc, Mutex, PoisonError};

use egui::{
    Color32, ColorImage, Context, Id, Mesh, Painter, Pos2, Rect, Stroke, TextureHandle,
    TextureOptions, pos2, vec2,
};

use crate::paint::{Area, Mask, TILE};

/// Tiles of a texture, across and down.
const BLOCK: usize = 8;
/// Side of a texture in pixels.
const SIDE: usize = BLOCK * TILE;

/// A texture and what it shows.
struct Block {
    area: Area,
    texture: TextureHandle,
}

/// The textures of a mask, kept from frame to frame.
#[derive(Default)]
struct Shown {
    size: (u32, u32),
    blocks: Vec<Option<Block>>,
    /// What was uploaded: the tiles themselves, so that another allocation is another content.
    tiles: Vec<Option<Arc<[u8]>>>,
    /// Bytes that were uploaded by the last call.
    uploaded: usize,
}

type Kept = Arc<Mutex<Shown>>;

/// Draws a mask into a rectangle. Only tiles that are other ones than in the last frame are uploaded; where nothing is
/// masked there is no texture. Gives the bytes that were uploaded.
pub fn paint_mask(painter: &Painter, id: Id, mask: &Mask, rect: Rect, colour: Color32) -> usize {
    let ctx = painter.ctx().clone();
    let kept: Kept =
        ctx.data_mut(|data| data.get_temp_mut_or_insert_with(id, Kept::default).clone());
    let mut shown = kept.lock().unwrap_or_else(PoisonError::into_inner);
    shown.update(&ctx, mask);
    let (width, height) = mask.size();
    let scale = vec2(
        rect.width() / width.max(1) as f32,
        rect.height() / height.max(1) as f32,
    );
    for block in shown.blocks.iter().flatten() {
        let area = block.area;
        let from = rect.min + vec2(area.x as f32, area.y as f32) * scale;
        let place = Rect::from_min_size(from, vec2(area.width as f32, area.height as f32) * scale);
        if !place.intersects(painter.clip_rect()) {
            continue;
        }
        let mut mesh = Mesh::with_texture(block.texture.id());
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        mesh.add_rect_with_uv(place, whole, colour);
        painter.add(mesh);
    }
    shown.uploaded
}

impl Shown {
    fn update(&mut self, ctx: &Context, mask: &Mask) {
        self.uploaded = 0;
        let (width, height) = (mask.size().0 as usize, mask.size().1 as usize);
        let across = width.div_ceil(SIDE);
        if self.size != mask.size() {
            self.size = mask.size();
            self.tiles.clear();
            self.blocks.clear();
            self.blocks
                .resize_with(across * height.div_ceil(SIDE), || None);
        }
        let mut fresh: Vec<Vec<(Area, Arc<[u8]>)>> = Vec::new();
        fresh.resize_with(self.blocks.len(), Vec::new);
        for (index, (area, tile)) in mask.tiles().enumerate() {
            if index >= self.tiles.len() {
                self.tiles.push(None);
            }
            let Some(known) = self.tiles.get_mut(index) else {
                continue;
            };
            if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, tile)) {
                continue;
            }
            // Nothing where there was nothing needs no texture.
            let blank = known.is_none() && tile.iter().all(|value| *value == 0);
            *known = Some(Arc::clone(tile));
            let block = area.y / SIDE * across + area.x / SIDE;
            if blank && self.blocks.get(block).is_none_or(Option::is_none) {
                continue;
            }
            if let Some(fresh) = fresh.get_mut(block) {
                fresh.push((area, Arc::clone(tile)));
            }
        }
        for (index, tiles) in fresh.into_iter().enumerate() {
            if tiles.is_empty() {
                continue;
            }
            let (x, y) = (index % across.max(1) * SIDE, index / across.max(1) * SIDE);
            let area = Area {
                x,
                y,
                width: SIDE.min(width - x),
                height: SIDE.min(height - y),
            };
            let Some(slot) = self.blocks.get_mut(index) else {
                continue;
            };
            let new = slot.is_none();
            let many = tiles.len() * 2 > BLOCK * BLOCK;
            if new || many {
                // In one go: what of it is not fresh is known.
                let image = whole(mask, area);
                self.uploaded += image.pixels.len() * 4;
                match slot {
                    Some(block) => block.texture.set(image, TextureOptions::LINEAR),
                    None => {
                        let name = format!("mask {x} {y}");
                        let texture = ctx.load_texture(name, image, TextureOptions::LINEAR);
                        *slot = Some(Block { area, texture });
                    }
                }
                continue;
            }
            if let Some(block) = slot {
                for (tile_area, tile) in tiles {
                    let image = image_of(&tile, [tile_area.width, tile_area.height]);
                    self.uploaded += image.pixels.len() * 4;
                    let at = [tile_area.x - area.x, tile_area.y - area.y];
                    block.texture.set_partial(at, image, TextureOptions::LINEAR);
                }
            }
        }
    }
}

fn image_of(bytes: &[u8], size: [usize; 2]) -> ColorImage {
    let pixels = bytes.iter().map(|value| Color32::from_white_alpha(*value));
    ColorImage::new(size, pixels.collect())
}

/// All of a block.
fn whole(mask: &Mask, area: Area) -> ColorImage {
    let mut pixels = vec![Color32::TRANSPARENT; area.width * area.height];
    let within = |tile: &Area| {
        (area.x..area.x + area.width).contains(&tile.x)
            && (area.y..area.y + area.height).contains(&tile.y)
    };
    for (tile_area, tile) in mask.tiles().filter(|(tile, _)| within(tile)) {
        for (line, bytes) in tile.chunks_exact(tile_area.width.max(1)).enumerate() {
            let start = (tile_area.y - area.y + line) * area.width + tile_area.x - area.x;
            if let Some(to) = pixels.get_mut(start..start + bytes.len()) {
                for (to, value) in to.iter_mut().zip(bytes) {
                    *to = Color32::from_white_alpha(*value);
                }
            }
        }
    }
    ColorImage::new([area.width, area.height], pixels)
}

/// The ring of the brush: dark and light, so that it is seen on anything; a second one where its crisp part ends.
pub fn paint_brush(painter: &Painter, at: Pos2, radius: f32, hardness: f32) {
    let outer = radius.max(1.5);
    let ring = |radius: f32, strength: u8| {
        let dark = Stroke::new(2.5, Color32::from_black_alpha(strength / 2));
        let light = Stroke::new(1.0, Color32::from_white_alpha(strength));
        painter.circle_stroke(at, radius, dark);
        painter.circle_stroke(at, radius, light);
    };
    ring(outer, 230);
    let inner = outer * hardness;
    if outer - inner > 4.0 && inner > 3.0 {
        ring(inner, 110);
    }
    if outer < 4.0 {
        painter.circle_filled(at, 1.0, Color32::WHITE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::paint::Brush;

    fn uploads(ctx: &Context, mask: &Mask) -> usize {
        let mut bytes = 0;
        let _ = ctx.run_ui(egui::RawInput::default(), |ui| {
            let area = Rect::from_min_size(Pos2::ZERO, vec2(500.0, 500.0));
            let painter = ui.painter_at(area);
            bytes = paint_mask(&painter, Id::unique("test mask"), mask, area, Color32::RED);
        });
        bytes
    }

    #[test]
    fn only_what_a_stroke_touched_is_uploaded() {
        let ctx = Context::default();
        let mut mask = Mask::new(4096, 4096);
        assert_eq!(uploads(&ctx, &mask), 0, "nothing is masked");
        let brush = Brush {
            radius: 40.0,
            hardness: 1.0,
            erase: false,
        };
        mask.paint(&brush, [200.0, 200.0], [200.0, 200.0]);
        assert_eq!(
            uploads(&ctx, &mask),
            SIDE * SIDE * 4,
            "a block's texture is made"
        );
        assert_eq!(uploads(&ctx, &mask), 0, "nothing changed");
        mask.paint(&brush, [200.0, 200.0], [215.0, 200.0]);
        let bytes = uploads(&ctx, &mask);
        assert!((1..=4 * TILE * TILE * 4).contains(&bytes), "{bytes}");
        let before = mask.clone();
        mask.fill(255);
        assert_eq!(uploads(&ctx, &mask), 4096 * 4096 * 4);
        // Undone: the tiles of before are there again.
        assert!(uploads(&ctx, &before) > 0);
        assert_eq!(uploads(&ctx, &before), 0);
        // Another picture's mask takes the place.
        assert_eq!(uploads(&ctx, &Mask::new(10, 10)), 0);
    }
}
