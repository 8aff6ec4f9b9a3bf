//! Small pictures to be clicked: film strips, grids, lists.

use egui::{
    Color32, CornerRadius, Id, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo,
};

use super::canvas::paint::{paint_checkerboard, rect_within_pixels};
use super::pictures::{Loaded, PictureSource, PictureStore, paint_texture};

/// From this enlargement on pixels are drawn as crisp squares.
const CRISP_FROM: f32 = 4.0;

/// A small picture.
#[derive(Clone, Debug)]
pub struct Thumbnail<'a> {
    source: &'a PictureSource,
    name: &'a str,
    size: Vec2,
    selected: bool,
    sense: Sense,
    smooth: bool,
}

impl<'a> Thumbnail<'a> {
    /// A small picture of so many points; `name` tells what it shows.
    pub fn new(source: &'a PictureSource, name: &'a str, size: Vec2) -> Self {
        Self {
            source,
            name,
            size,
            selected: false,
            sense: Sense::click(),
            smooth: true,
        }
    }

    /// Whether it has the ring of what is chosen.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = selected;
        self
    }

    /// What can be done to it; clicking, if not said otherwise.
    pub fn sense(mut self, sense: Sense) -> Self {
        self.sense = sense;
        self
    }

    /// Whether small pictures are enlarged smoothly; if not, in crisp pixels.
    pub fn smooth(mut self, smooth: bool) -> Self {
        self.smooth = smooth;
        self
    }

    /// Shows it.
    pub fn show(self, ui: &mut Ui, store: &PictureStore) -> Response {
        let (rect, response) = ui.allocate_exact_size(self.size, self.sense);
        self.dress(ui, store, rect, response)
    }

    /// Shows it in a rectangle.
    pub fn show_in(self, ui: &mut Ui, store: &PictureStore, rect: Rect, id: Id) -> Response {
        let response = ui.interact(rect, id, self.sense);
        self.dress(ui, store, rect, response)
    }

    fn dress(&self, ui: &Ui, store: &PictureStore, rect: Rect, response: Response) -> Response {
        if ui.is_rect_visible(rect) {
            let visuals = ui.visuals();
            let inner = rect.shrink(3.0);
            let painter = ui.painter_at(rect);
            if !paint_thumbnail(ui, store, self.source, inner, self.smooth) {
                painter.rect_filled(inner, 4.0, visuals.faint_bg_color);
            }
            let ring = if self.selected {
                Stroke::new(2.0, visuals.selection.stroke.color)
            } else if response.has_focus() {
                Stroke::new(2.0, visuals.widgets.active.fg_stroke.color)
            } else if response.hovered() {
                Stroke::new(1.0, visuals.widgets.hovered.fg_stroke.color)
            } else {
                Stroke::NONE
            };
            painter.rect_stroke(rect, CornerRadius::same(5), ring, StrokeKind::Inside);
        }
        let (name, selected) = (self.name, self.selected);
        response
            .widget_info(|| WidgetInfo::selected(Role::Button, ui.is_enabled(), selected, name));
        response
    }
}

/// Draws a picture as large as it fits into the middle of an area; says whether there was anything to draw. A picture that
/// cannot be shown is drawn as a broken frame, whose reason the caller may tell.
pub fn paint_thumbnail(
    ui: &Ui,
    store: &PictureStore,
    source: &PictureSource,
    area: Rect,
    smooth: bool,
) -> bool {
    let scale = ui.pixels_per_point();
    let side = (area.width().max(area.height()) * scale).ceil().max(1.0) as usize;
    // A few sizes only, so that a window that is being resized does not decode for every one.
    let side = side.next_multiple_of(64);
    let painter = ui.painter_at(area);
    match store.thumbnail(ui.ctx(), source, side) {
        Loaded::Loading => false,
        Loaded::Ready(thumbnail) => {
            let target = rect_within_pixels(area, thumbnail.size, scale);
            let zoom = target.width() * scale / thumbnail.size[0].max(1) as f32;
            if zoom >= 1.0 {
                // There are fewer pixels than places for them: the canvas's ways to enlarge do it better.
                if let Loaded::Ready(picture) = store.picture(ui.ctx(), source) {
                    if !picture.opaque() {
                        paint_checkerboard(&painter, target);
                    }
                    let wanted = (target.size() * scale).round();
                    let wanted = [wanted.x as usize, wanted.y as usize];
                    let fitted = if smooth {
                        store.fitted(ui.ctx(), source, wanted)
                    } else {
                        None
                    };
                    match fitted {
                        Some(texture) => paint_texture(&painter, &texture, target, Color32::WHITE),
                        None => {
                            let crisp = !smooth && zoom >= CRISP_FROM;
                            picture.paint(&painter, target, zoom, crisp, Color32::WHITE);
                        }
                    }
                    return true;
                }
            }
            paint_texture(&painter, &thumbnail.texture, target, Color32::WHITE);
            true
        }
        Loaded::Failed(_) => {
            let colour = ui.visuals().error_fg_color.gamma_multiply(0.6);
            let stroke = Stroke::new(1.0, colour);
            painter.rect_stroke(area, 4.0, stroke, StrokeKind::Inside);
            let mark = Rect::from_center_size(area.center(), Vec2::splat(12.0));
            painter.line_segment([mark.left_top(), mark.right_bottom()], stroke);
            painter.line_segment([mark.right_top(), mark.left_bottom()], stroke);
            true
        }
    }
}
