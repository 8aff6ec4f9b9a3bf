//! The zoom in the corner of a canvas, with the two sizes that are wanted most.

use egui::{
    Align2, Button, Frame, Id, Margin, Rect, RichText, Role, Sense, Ui, UiBuilder, WidgetInfo, vec2,
};

use super::interact::CanvasAction;
use super::view::{CanvasView, zoom_text};

/// Size in points.
const SIZE: egui::Vec2 = vec2(168.0, 28.0);
/// Distance from the corner, in points.
const INSET: f32 = 10.0;

/// Shows the zoom with buttons for fitting and for 100 %. Canvases too small for it do without.
pub fn zoom_indicator(ui: &mut Ui, id: Id, viewport: Rect, view: &CanvasView) {
    if viewport.width() < SIZE.x + 2.0 * INSET || viewport.height() < 3.0 * SIZE.y {
        return;
    }
    let corner = viewport.right_bottom() - vec2(INSET, INSET);
    let area = Align2::RIGHT_BOTTOM.anchor_size(corner, SIZE);
    let mut child = ui.new_child(UiBuilder::new().id_salt(id.with("zoom")).max_rect(area));
    let visuals = child.visuals();
    let frame = Frame::new()
        .fill(visuals.window_fill.gamma_multiply(0.92))
        .stroke(visuals.widgets.noninteractive.bg_stroke)
        .corner_radius(SIZE.y / 2.0)
        .inner_margin(Margin::symmetric(6, 2));
    let mut action = None;
    frame.show(&mut child, |ui| {
        ui.set_min_size(SIZE - vec2(12.0, 4.0));
        ui.spacing_mut().item_spacing.x = 2.0;
        ui.spacing_mut().button_padding = vec2(6.0, 2.0);
        ui.horizontal_centered(|ui| {
            let actual = !view.fit && (view.zoom - 1.0).abs() < 1e-4;
            for (text, name, on, wanted) in [
                (
                    "Fit",
                    "Fit the picture to the canvas",
                    view.fit,
                    CanvasAction::Fit,
                ),
                ("100 %", "Actual size", actual, CanvasAction::ActualSize),
            ] {
                let text = RichText::new(text).size(12.0);
                let button = ui.add(Button::selectable(on, text).corner_radius(10.0));
                let keys = if wanted == CanvasAction::Fit {
                    "Ctrl+0"
                } else {
                    "Ctrl+1"
                };
                let button = button.on_hover_text(format!("{name} ({keys})"));
                button.widget_info(|| WidgetInfo::selected(Role::Button, true, on, name));
                if button.clicked() {
                    action = Some(wanted);
                }
            }
            let text = zoom_text(view.zoom);
            let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::hover());
            let colour = ui.visuals().text_color();
            let font = egui::FontId::proportional(12.0);
            let at = rect.right_center() - vec2(6.0, 0.0);
            ui.painter()
                .text(at, Align2::RIGHT_CENTER, &text, font, colour);
            response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Zoom {text}")));
        });
    });
    if let Some(action) = action {
        action.send_to(ui.ctx(), id);
    }
}
