//! Drawers: they slide in from the right over the window, and out again.

use egui::{
    Align, Align2, Area, Context, Frame, Id, Layout, Margin, Modal, Order, Sense, Stroke, Ui,
    UiKind, Vec2,
};

use super::button::IconButton;
use super::text;
use crate::theme::{self, Icon};

/// A drawer with a title and a cross.
#[must_use = "show it"]
pub struct Drawer<'a> {
    id: &'a str,
    title: &'a str,
    width: f32,
}

impl<'a> Drawer<'a> {
    /// A drawer; its id tells it from others.
    pub fn new(id: &'a str, title: &'a str) -> Self {
        Self {
            id,
            title,
            width: 440.0,
        }
    }

    /// Width in points; it gives way in small windows.
    pub fn width(mut self, width: f32) -> Self {
        self.width = width;
        self
    }

    /// Shows it while it is open, and for the moment in which it closes. Call it in every pass. Sets `open` to false where
    /// the person closes it: by the cross, by Esc, or by a click beside it.
    pub fn show<R>(
        self,
        ctx: &Context,
        open: &mut bool,
        content: impl FnOnce(&mut Ui) -> R,
    ) -> Option<R> {
        let t = theme::tokens(ctx);
        let id = Id::unique(("drawer", self.id));
        let way = ctx.animate_bool_with_time_and_easing(
            id.with("way"),
            *open,
            t.size.time_normal,
            egui::emath::easing::cubic_out,
        );
        if way <= 0.0 {
            return None;
        }
        let room = ctx.content_rect();
        let width = self.width.min(room.width() - 2.0 * t.size.gap_xl).round();
        let margin = t.size.gap_l;
        let area = Area::new(id)
            .kind(UiKind::Modal)
            .sense(Sense::hover())
            .order(Order::Foreground)
            .constrain(false)
            .default_size(Vec2::new(width, room.height()))
            .anchor(Align2::RIGHT_TOP, Vec2::new(width * (1.0 - way), 0.0));
        let frame = Frame::new()
            .fill(t.bg_panel)
            .stroke(Stroke::new(1.0, t.stroke_strong))
            .shadow(t.shadow_dialog())
            .inner_margin(Margin::same(margin as i8));
        let shown = Modal::new(id)
            .area(area)
            .backdrop_color(t.scrim.gamma_multiply(way))
            .frame(frame)
            .show(ctx, |ui| {
                ui.set_width(width - 2.0 * margin);
                ui.set_height(room.height() - 2.0 * margin);
                let mut closed = false;
                ui.horizontal(|ui| {
                    text::heading(ui, self.title);
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        let close = IconButton::new(Icon::Close, "Close").shortcut("Esc");
                        closed = ui.add(close).clicked();
                    });
                });
                ui.add_space(t.size.gap_s);
                (content(ui), closed)
            });
        let beside = shown.should_close();
        let (inner, cross) = shown.inner;
        if *open && (cross || beside) {
            *open = false;
            ctx.request_repaint();
        }
        Some(inner)
    }
}
