//! Check boxes and switches.

use egui::{Color32, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, Widget, WidgetInfo};

use super::base;
use crate::theme::{self, Icon, mix, paint_icon};

const BOX: f32 = 16.0;
const SWITCH: Vec2 = Vec2::new(32.0, 18.0);

/// A check box with its text.
#[must_use = "add it to a ui"]
pub struct Checkbox<'a> {
    value: &'a mut bool,
    text: &'a str,
}

impl<'a> Checkbox<'a> {
    /// For a value.
    pub fn new(value: &'a mut bool, text: &'a str) -> Self {
        Self { value, text }
    }
}

impl Widget for Checkbox<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let font = theme::regular(t.size.font_body);
        let room = ui.available_width() - BOX - t.size.gap_s;
        let galley = base::line_within(ui, self.text, font, room);
        let size = Vec2::new(BOX + t.size.gap_s + galley.size().x, t.size.control_s);
        let (rect, mut response) = ui.allocate_exact_size(size, Sense::click());
        if response.clicked() {
            *self.value = !*self.value;
            response.mark_changed();
        }
        let (enabled, on) = (base::can_be_used(ui), *self.value);
        response.widget_info(|| WidgetInfo::selected(Role::CheckBox, enabled, on, self.text));
        if ui.is_rect_visible(rect) {
            let over = base::hover(ui, &response);
            let square = egui::Rect::from_center_size(
                egui::pos2(rect.left() + BOX / 2.0, rect.center().y),
                Vec2::splat(BOX),
            );
            let (fill, line) = if !enabled {
                (t.bg_disabled, t.text_disabled)
            } else if on {
                let fill = mix(t.accent, t.accent_hover, over);
                (fill, fill)
            } else {
                let fill = mix(t.bg_input, t.bg_hover, over);
                (fill, mix(t.stroke_control, t.text_muted, over))
            };
            let stroke = Stroke::new(1.25, line);
            ui.painter()
                .rect(square, t.corner_s(), fill, stroke, StrokeKind::Inside);
            if on {
                let tick = if enabled {
                    t.on_accent
                } else {
                    t.text_disabled
                };
                paint_icon(ui.painter(), square.center(), 13.0, Icon::Check, tick);
            }
            base::focus_ring(ui, &response, square, t.size.radius_s);
            let x = square.right() + t.size.gap_s;
            let colour = if enabled { t.text } else { t.text_disabled };
            base::paint_line(ui.painter(), galley, x, rect.center().y, colour);
        }
        response
    }
}

/// A switch: its text at the left, the knob at the right edge.
#[must_use = "add it to a ui"]
pub struct Switch<'a> {
    value: &'a mut bool,
    text: &'a str,
    note: &'a str,
    bare: bool,
}

impl<'a> Switch<'a> {
    /// For a value.
    pub fn new(value: &'a mut bool, text: &'a str) -> Self {
        Self {
            value,
            text,
            note: "",
            bare: false,
        }
    }

    /// A second line that says what it does.
    pub fn note(mut self, note: &'a str) -> Self {
        self.note = note;
        self
    }

    /// The knob alone; the text is its name.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }
}

impl Widget for Switch<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let width = if self.bare {
            SWITCH.x
        } else {
            ui.available_width().max(120.0)
        };
        let room = width - SWITCH.x - t.size.gap_m;
        let galley = base::line_within(ui, self.text, theme::regular(t.size.font_body), room);
        let note = (!self.note.is_empty() && !self.bare).then(|| {
            let font = theme::regular(t.size.font_caption);
            ui.painter()
                .layout(self.note.to_owned(), font, Color32::PLACEHOLDER, room)
        });
        let note_height = note.as_ref().map_or(0.0, |note| note.size().y);
        let height = if self.bare {
            SWITCH.y
        } else {
            (galley.size().y + note_height + 8.0).max(t.size.control_m)
        };
        let (rect, mut response) = ui.allocate_exact_size(Vec2::new(width, height), Sense::click());
        if response.clicked() {
            *self.value = !*self.value;
            response.mark_changed();
        }
        let (enabled, on) = (base::can_be_used(ui), *self.value);
        response.widget_info(|| WidgetInfo::selected(Role::Switch, enabled, on, self.text));
        if ui.is_rect_visible(rect) {
            let over = base::hover(ui, &response);
            let at =
                ui.ctx()
                    .animate_bool_with_time(response.id.with("knob"), on, t.size.time_normal);
            let track = egui::Rect::from_center_size(
                egui::pos2(rect.right() - SWITCH.x / 2.0, rect.center().y),
                SWITCH,
            );
            let painter = ui.painter();
            let off = mix(t.bg_input, t.bg_hover, over);
            let fill = mix(off, mix(t.accent, t.accent_hover, over), at);
            let line = mix(t.stroke_control, t.accent, at);
            let (fill, line) = match enabled {
                true => (fill, line),
                false => (t.bg_disabled, t.text_disabled),
            };
            let stroke = Stroke::new(1.25, line);
            painter.rect(track, SWITCH.y / 2.0, fill, stroke, StrokeKind::Inside);
            let travel = SWITCH.x - SWITCH.y;
            let knob = egui::pos2(
                track.left() + SWITCH.y / 2.0 + travel * at,
                track.center().y,
            );
            let colour = match enabled {
                true => mix(t.stroke_control, t.on_accent, at),
                false => t.text_disabled,
            };
            painter.circle_filled(knob, 5.5 + 0.5 * at, colour);
            base::focus_ring(ui, &response, track, SWITCH.y / 2.0);
            if !self.bare {
                let top = rect.center().y - (galley.size().y + note_height) / 2.0;
                let below = top + galley.size().y;
                let shade = |usual| if enabled { usual } else { t.text_disabled };
                painter.galley(egui::pos2(rect.left(), top), galley, shade(t.text));
                if let Some(note) = note {
                    painter.galley(egui::pos2(rect.left(), below), note, shade(t.text_faint));
                }
            }
        }
        response
    }
}
