//! Chips: small words about a thing, or a filter that is on or off.

use egui::{Color32, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, Widget, WidgetInfo};

use super::base;
use crate::theme::{self, Icon, mix, paint_icon};

const HEIGHT: f32 = 22.0;

/// What a chip is coloured for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ChipTone {
    /// Grey.
    #[default]
    Plain,
    /// The accent.
    Accent,
    /// Well done.
    Success,
    /// Take care.
    Warning,
    /// Gone wrong.
    Danger,
    /// A comparison's column.
    Column(usize),
}

/// A small word.
#[must_use = "add it to a ui"]
pub struct Chip<'a> {
    text: &'a str,
    tone: ChipTone,
    icon: Option<Icon>,
    selected: Option<bool>,
    removable: bool,
    tooltip: &'a str,
}

impl<'a> Chip<'a> {
    /// A grey word that does nothing.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            tone: ChipTone::Plain,
            icon: None,
            selected: None,
            removable: false,
            tooltip: "",
        }
    }

    /// Another colour.
    pub fn tone(mut self, tone: ChipTone) -> Self {
        self.tone = tone;
        self
    }

    /// Icon before the word.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// Makes it a filter that can be switched.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = Some(selected);
        self
    }

    /// A click takes it away: shows a cross.
    pub fn removable(mut self) -> Self {
        self.removable = true;
        self
    }

    /// More about it.
    pub fn tooltip(mut self, text: &'a str) -> Self {
        self.tooltip = text;
        self
    }
}

impl Widget for Chip<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let font = theme::medium(ui.ctx(), t.size.font_caption);
        let room = (ui.available_width() - 40.0).max(40.0);
        let galley = base::line_within(ui, self.text, font, room);
        let cut = galley.elided;
        let icon = 13.0;
        let mut width = galley.size().x + 16.0;
        if self.icon.is_some() {
            width += icon + 4.0;
        }
        if self.removable {
            width += icon + 3.0;
        }
        let acts = self.selected.is_some() || self.removable;
        let sense = if acts { Sense::click() } else { Sense::hover() };
        let (rect, response) = ui.allocate_exact_size(Vec2::new(width.ceil(), HEIGHT), sense);
        let enabled = ui.is_enabled();
        response.widget_info(|| match self.selected {
            Some(on) => WidgetInfo::selected(Role::Button, enabled, on, self.text),
            None if self.removable => {
                WidgetInfo::labeled(Role::Button, enabled, format!("Remove {}", self.text))
            }
            None => WidgetInfo::labeled(Role::Label, enabled, self.text),
        });
        if ui.is_rect_visible(rect) {
            let over = if acts {
                base::hover(ui, &response)
            } else {
                0.0
            };
            let clear = Color32::TRANSPARENT;
            let (fill, line, colour) = match (self.selected, self.tone) {
                (Some(true), _) => (t.accent_soft, clear, t.accent_text),
                (Some(false), _) => (t.bg_panel, t.stroke_strong, t.text_muted),
                (None, ChipTone::Plain) => (t.bg_hover, clear, t.text_muted),
                (None, ChipTone::Accent) => (t.accent_soft, clear, t.accent_text),
                (None, ChipTone::Success) => (t.success_soft, clear, t.success),
                (None, ChipTone::Warning) => (t.warning_soft, clear, t.warning),
                (None, ChipTone::Danger) => (t.danger_soft, clear, t.danger_text),
                (None, ChipTone::Column(column)) => (t.diff_soft(column), clear, t.text),
            };
            let fill = mix(fill, t.bg_active, 0.7 * over);
            let painter = ui.painter();
            let stroke = Stroke::new(1.0, line);
            painter.rect(rect, HEIGHT / 2.0, fill, stroke, StrokeKind::Inside);
            let y = rect.center().y;
            let mut x = rect.left() + 8.0;
            if let Some(drawing) = self.icon {
                let tint = match self.tone {
                    ChipTone::Column(column) => t.diff(column),
                    _ => colour,
                };
                paint_icon(painter, egui::pos2(x + icon / 2.0, y), icon, drawing, tint);
                x += icon + 4.0;
            }
            let right = base::paint_line(painter, galley, x, y, colour);
            if self.removable {
                let at = egui::pos2(right + 3.0 + icon / 2.0, y);
                paint_icon(painter, at, icon, Icon::Close, colour);
            }
            base::focus_ring(ui, &response, rect, HEIGHT / 2.0);
        }
        match (cut, self.tooltip.is_empty()) {
            (true, true) => base::tip(response, self.text, None),
            (true, false) => base::tip(response, &format!("{}\n{}", self.text, self.tooltip), None),
            (false, _) => base::tip(response, self.tooltip, None),
        }
    }
}
