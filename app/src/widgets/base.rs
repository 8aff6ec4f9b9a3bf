//! What the widgets share: text, focus rings, hover, tooltips.

use std::sync::Arc;

use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Color32, Context, CornerRadius, FontId, Frame, Galley, Id, Label, Margin, Painter, Pos2, Rect,
    Response, RichText, Stroke, StrokeKind, Tooltip, Ui,
};

use super::key_hint::KeyHint;
use crate::theme::{self, Tokens};

/// Height of a control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlSize {
    /// 24 points: bars, rows.
    Small,
    /// 30 points: forms.
    #[default]
    Medium,
    /// 38 points: the one main action.
    Large,
}

impl ControlSize {
    /// Height in points.
    pub fn height(self, t: &Tokens) -> f32 {
        match self {
            Self::Small => t.size.control_s,
            Self::Medium => t.size.control_m,
            Self::Large => t.size.control_l,
        }
    }

    pub(super) fn padding(self) -> f32 {
        match self {
            Self::Small => 8.0,
            Self::Medium => 12.0,
            Self::Large => 18.0,
        }
    }

    pub(super) fn font(self, t: &Tokens) -> f32 {
        match self {
            Self::Small => t.size.font_body - 0.5,
            Self::Medium => t.size.font_body,
            Self::Large => t.size.font_body + 1.0,
        }
    }

    pub(super) fn icon(self, t: &Tokens) -> f32 {
        match self {
            Self::Small | Self::Medium => t.size.icon_s,
            Self::Large => t.size.icon_m,
        }
    }
}

/// Text in one line, its colour given when it is painted.
pub(super) fn line(ui: &Ui, text: &str, font: FontId) -> Arc<Galley> {
    ui.painter()
        .layout_no_wrap(text.to_owned(), font, Color32::PLACEHOLDER)
}

/// Text in one line that ends with an ellipsis where it is too wide.
pub(super) fn line_within(ui: &Ui, text: &str, font: FontId, width: f32) -> Arc<Galley> {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, Color32::PLACEHOLDER);
    job.wrap = TextWrapping::truncate_at_width(width.max(0.0));
    ui.painter().layout_job(job)
}

/// Paints a line with its left edge at `x`, centred on `y`; answers its right edge.
pub(super) fn paint_line(
    painter: &Painter,
    galley: Arc<Galley>,
    x: f32,
    y: f32,
    colour: Color32,
) -> f32 {
    let size = galley.size();
    painter.galley(Pos2::new(x, y - size.y / 2.0), galley, colour);
    x + size.x
}

/// A ring around what has the keyboard.
pub(super) fn focus_ring(ui: &Ui, response: &Response, rect: Rect, radius: f32) {
    if response.has_focus() {
        ring(ui, rect, radius);
    }
}

/// The ring itself.
pub(super) fn ring(ui: &Ui, rect: Rect, radius: f32) {
    let t = theme::tokens(ui.ctx());
    ui.painter().rect_stroke(
        rect.expand(1.0),
        CornerRadius::from(radius + 1.0),
        Stroke::new(2.0, t.focus),
        StrokeKind::Outside,
    );
}

/// From 0 at rest to 1 under the pointer, animated for the short time of the tokens.
pub(super) fn hover(ui: &Ui, response: &Response) -> f32 {
    let t = theme::tokens(ui.ctx());
    ui.ctx().animate_bool_with_time(
        response.id.with("hover"),
        response.hovered(),
        t.size.time_fast,
    )
}

/// Whether the widget can be used. If it cannot, what egui does then is undone: it fades everything, which leaves text too faint to be read on
/// light panels. The widget has to take the colours for what is disabled itself.
pub fn can_be_used(ui: &mut Ui) -> bool {
    let enabled = ui.is_enabled();
    let fading = ui.visuals().disabled_alpha();
    if !enabled && fading > 0.0 {
        ui.set_opacity(ui.opacity() / fading);
    }
    enabled
}

/// Frame of menus, pop-ups and toasts.
pub fn popup_frame(t: &Tokens) -> Frame {
    Frame::new()
        .fill(t.bg_raised)
        .stroke(Stroke::new(1.0, t.stroke_strong))
        .corner_radius(t.corner_l())
        .shadow(t.shadow_popup())
        .inner_margin(Margin::same(t.size.gap_xs as i8))
}

/// A tooltip of one sentence, with the shortcut beside it where there is one. Shown on disabled things too.
pub fn tip(response: Response, text: &str, shortcut: Option<&str>) -> Response {
    if text.is_empty() && shortcut.is_none() {
        return response;
    }
    let t = theme::tokens(&response.ctx);
    let mut tooltip = if response.enabled() {
        Tooltip::for_enabled(&response)
    } else {
        Tooltip::for_disabled(&response)
    };
    let frame = popup_frame(&t)
        .fill(t.bg_tooltip)
        .corner_radius(t.corner_m())
        .inner_margin(Margin::symmetric(10, 6));
    tooltip.popup = tooltip.popup.frame(frame);
    tooltip.show(|ui| {
        ui.set_max_width(300.0);
        match shortcut {
            None => {
                ui.add(Label::new(RichText::new(text).color(t.text)));
            }
            Some(shortcut) => {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = t.size.gap_m;
                    if !text.is_empty() {
                        ui.add(Label::new(RichText::new(text).color(t.text)).extend());
                    }
                    ui.add(KeyHint::new(shortcut));
                });
            }
        }
    });
    response
}

/// Whether this is the first pass in which `id` asks.
pub(super) fn first_time(ctx: &Context, id: Id) -> bool {
    let pass = ctx.cumulative_pass_nr();
    ctx.data_mut(|data| {
        let seen: Option<u64> = data.get_temp(id);
        data.insert_temp(id, pass);
        seen.is_none_or(|seen| seen + 1 < pass)
    })
}
