//! Rows of lists.

use egui::{Color32, Response, Role, Sense, Ui, Vec2, Widget, WidgetInfo};

use super::base;
use crate::theme::{self, Icon, mix, paint_icon};

/// A row: an icon, a title, a second line, a few words at the right.
#[must_use = "add it to a ui"]
pub struct ListRow<'a> {
    title: &'a str,
    second: &'a str,
    trailing: &'a str,
    icon: Option<(Icon, Option<Color32>)>,
    selected: bool,
    enabled: bool,
    highlight: bool,
    inset: f32,
}

impl<'a> ListRow<'a> {
    /// With a title alone.
    pub fn new(title: &'a str) -> Self {
        Self {
            title,
            second: "",
            trailing: "",
            icon: None,
            selected: false,
            enabled: true,
            highlight: false,
            inset: 0.0,
        }
    }

    /// A second line.
    pub fn second(mut self, text: &'a str) -> Self {
        self.second = text;
        self
    }

    /// A few words at the right.
    pub fn trailing(mut self, text: &'a str) -> Self {
        self.trailing = text;
        self
    }

    /// Icon at the left.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some((icon, None));
        self
    }

    /// Icon at the left, in a colour that means something.
    pub fn icon_tinted(mut self, icon: Icon, colour: Color32) -> Self {
        self.icon = Some((icon, Some(colour)));
        self
    }

    /// Whether it is the chosen one.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = selected;
        self
    }

    /// Whether it can be chosen.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Drawn as if the pointer were there: for lists that arrow keys walk.
    pub fn highlight(mut self, highlight: bool) -> Self {
        self.highlight = highlight;
        self
    }

    /// Room kept at the right, where the caller puts buttons of the row.
    pub fn inset(mut self, points: f32) -> Self {
        self.inset = points;
        self
    }

    fn show(&self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let height = if self.second.is_empty() { 32.0 } else { 46.0 };
        let size = Vec2::new(ui.available_width(), height);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let (enabled, selected) = (base::can_be_used(ui), self.selected);
        let shade = |usual| if enabled { usual } else { t.text_disabled };
        response
            .widget_info(|| WidgetInfo::selected(Role::ListItem, enabled, selected, self.title));
        let mut cut = false;
        if ui.is_rect_visible(rect) {
            let over = if self.highlight {
                1.0
            } else {
                base::hover(ui, &response)
            };
            let rest = if selected {
                t.accent_soft
            } else {
                t.bg_hover.gamma_multiply(0.0)
            };
            let hovered = if selected {
                mix(t.accent_soft, t.accent, 0.12)
            } else {
                t.bg_hover
            };
            let painter = ui.painter();
            painter.rect_filled(rect, t.corner_m(), mix(rest, hovered, over));
            let y = rect.center().y;
            let mut x = rect.left() + 10.0;
            if let Some((icon, colour)) = self.icon {
                let colour = colour.unwrap_or(if selected {
                    t.accent_text
                } else {
                    t.text_muted
                });
                let centre = egui::pos2(x + t.size.icon_m / 2.0, y);
                paint_icon(painter, centre, t.size.icon_m, icon, shade(colour));
                x += t.size.icon_m + 10.0;
            }
            let mut right = rect.right() - 10.0 - self.inset;
            if !self.trailing.is_empty() {
                let font = theme::regular(t.size.font_caption);
                let galley = base::line_within(ui, self.trailing, font, (right - x) * 0.5);
                right -= galley.size().x;
                base::paint_line(painter, galley, right, y, shade(t.text_faint));
                right -= t.size.gap_m;
            }
            let font = theme::medium(ui.ctx(), t.size.font_body);
            let title = base::line_within(ui, self.title, font, right - x);
            cut = title.elided;
            if self.second.is_empty() {
                base::paint_line(painter, title, x, y, shade(t.text));
            } else {
                base::paint_line(painter, title, x, y - 8.5, shade(t.text));
                let font = theme::regular(t.size.font_caption);
                let second = base::line_within(ui, self.second, font, right - x);
                base::paint_line(painter, second, x, y + 8.5, shade(t.text_faint));
            }
            base::focus_ring(ui, &response, rect.shrink(1.0), t.size.radius_m);
        }
        match cut {
            true => base::tip(response, self.title, None),
            false => response,
        }
    }
}

impl Widget for ListRow<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        ui.add_enabled(self.enabled, |ui: &mut Ui| self.show(ui))
    }
}
