//! Drawing a picture into a canvas.

use egui::{Color32, Context, Id, Mesh, Painter, Rect, TextureHandle, TextureOptions, pos2, vec2};

use super::interact::CanvasFrame;
use crate::widgets::pictures::{PictureSource, PictureStore, ShownPicture, paint_texture};

/// How enlarged pictures look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Magnify {
    /// Smooth, and from 400 % on with every pixel as a crisp square.
    #[default]
    Auto,
    /// Always smooth.
    Smooth,
    /// Always crisp.
    Crisp,
}

/// From this zoom on pixels are crisp squares.
const CRISP_FROM: f32 = 4.0;
/// A picture that is scaled smoothly to the size shown may have so many pixels.
const MOST_SMOOTH: f32 = 8e6;
/// Side of a square behind transparent pictures, in points.
const SQUARE: f32 = 8.0;

impl Magnify {
    /// Whether pixels are crisp squares at a zoom.
    pub fn crisp(self, zoom: f32) -> bool {
        match self {
            Self::Auto => zoom >= CRISP_FROM,
            Self::Smooth => false,
            Self::Crisp => zoom > 1.0,
        }
    }
}

/// Draws a picture where a canvas has it. Once the size has come to rest, it is scaled to exactly that size off-thread and
/// drawn pixel by pixel.
#[allow(clippy::too_many_arguments, reason = "each is a different thing")]
pub fn paint_picture(
    painter: &Painter,
    store: &PictureStore,
    source: &PictureSource,
    picture: &ShownPicture,
    target: Rect,
    frame: &CanvasFrame,
    magnify: Magnify,
    tint: Color32,
) {
    if !picture.opaque() {
        paint_checkerboard(painter, target);
    }
    let scale = frame.geometry.pixels_per_point;
    let wanted = target.size() * scale;
    let [width, height] = picture.size();
    let zoom = wanted.x / width.max(1) as f32;
    let crisp = magnify.crisp(zoom);
    let unscaled = (wanted - vec2(width as f32, height as f32))
        .abs()
        .max_elem()
        < 0.5;
    if frame.steady && !crisp && !unscaled && wanted.x * wanted.y <= MOST_SMOOTH {
        let size = [wanted.x.round() as usize, wanted.y.round() as usize];
        if let Some(texture) = store.fitted(painter.ctx(), source, size) {
            return paint_texture(painter, &texture, target, tint);
        }
    }
    picture.paint(painter, target, zoom, crisp, tint);
}

/// Squares of two greys behind what is transparent.
pub fn paint_checkerboard(painter: &Painter, target: Rect) {
    let area = target.intersect(painter.clip_rect());
    if !area.is_positive() {
        return;
    }
    let texture = checkerboard(painter.ctx());
    let mut mesh = Mesh::with_texture(texture.id());
    let uv = |point: egui::Pos2| ((point - target.min) / (2.0 * SQUARE)).to_pos2();
    mesh.add_rect_with_uv(
        area,
        Rect::from_min_max(uv(area.min), uv(area.max)),
        Color32::WHITE,
    );
    painter.add(mesh);
}

fn checkerboard(ctx: &Context) -> TextureHandle {
    let id = Id::unique("checkerboard");
    if let Some(texture) = ctx.data(|data| data.get_temp::<TextureHandle>(id)) {
        return texture;
    }
    let (light, dark) = (Color32::from_gray(152), Color32::from_gray(112));
    let image = egui::ColorImage::new([2, 2], vec![light, dark, dark, light]);
    let texture = ctx.load_texture("checkerboard", image, TextureOptions::NEAREST_REPEAT);
    ctx.data_mut(|data| data.insert_temp(id, texture.clone()));
    texture
}

/// The largest rectangle of a picture's shape in the middle of another.
pub fn rect_within(area: Rect, size: [usize; 2]) -> Rect {
    let size = vec2(size[0].max(1) as f32, size[1].max(1) as f32);
    let scale = (area.size() / size).min_elem().max(0.0);
    Rect::from_center_size(area.center(), size * scale)
}

/// The same, put onto physical pixels.
pub fn rect_within_pixels(area: Rect, size: [usize; 2], pixels_per_point: f32) -> Rect {
    let rect = rect_within(area, size);
    let round = |value: f32| (value * pixels_per_point).round() / pixels_per_point;
    let size = vec2(round(rect.width()), round(rect.height()));
    Rect::from_min_size(pos2(round(rect.min.x), round(rect.min.y)), size)
}
