//! Buttons with text, and buttons with an icon alone.

use egui::{Color32, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, Widget, WidgetInfo};

use super::base::{self, ControlSize};
use crate::theme::{self, Icon, Tokens, mix, paint_icon};

/// How much a button asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonKind {
    /// The one main action of a view.
    Primary,
    /// Any other action.
    Secondary,
    /// Actions in bars and rows: nothing but text until the pointer is there.
    Quiet,
    /// What cannot be taken back.
    Danger,
}

/// A button with text, and perhaps an icon and a shortcut.
#[must_use = "add it to a ui"]
pub struct Button<'a> {
    text: &'a str,
    kind: ButtonKind,
    size: ControlSize,
    icon: Option<Icon>,
    trailing: Option<Icon>,
    shortcut: Option<&'a str>,
    show_keys: bool,
    tooltip: &'a str,
    enabled: bool,
    reason: Option<&'a str>,
    selected: Option<bool>,
    full_width: bool,
    name: Option<&'a str>,
}

impl<'a> Button<'a> {
    /// A button of the kind given.
    pub fn new(kind: ButtonKind, text: &'a str) -> Self {
        Self {
            text,
            kind,
            size: ControlSize::Medium,
            icon: None,
            trailing: None,
            shortcut: None,
            show_keys: false,
            tooltip: "",
            enabled: true,
            reason: None,
            selected: None,
            full_width: false,
            name: None,
        }
    }

    /// The main action.
    pub fn primary(text: &'a str) -> Self {
        Self::new(ButtonKind::Primary, text)
    }

    /// Any action.
    pub fn secondary(text: &'a str) -> Self {
        Self::new(ButtonKind::Secondary, text)
    }

    /// An action of a bar or a row.
    pub fn quiet(text: &'a str) -> Self {
        Self::new(ButtonKind::Quiet, text)
    }

    /// What cannot be taken back.
    pub fn danger(text: &'a str) -> Self {
        Self::new(ButtonKind::Danger, text)
    }

    /// Height.
    pub fn size(mut self, size: ControlSize) -> Self {
        self.size = size;
        self
    }

    /// 24 points high.
    pub fn small(self) -> Self {
        self.size(ControlSize::Small)
    }

    /// 38 points high.
    pub fn large(self) -> Self {
        self.size(ControlSize::Large)
    }

    /// Icon before the text.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// Icon after the text, such as a chevron.
    pub fn trailing(mut self, icon: Icon) -> Self {
        self.trailing = Some(icon);
        self
    }

    /// Shortcut, told in the tooltip.
    pub fn shortcut(mut self, shortcut: &'a str) -> Self {
        self.shortcut = Some(shortcut);
        self
    }

    /// Shortcut, shown on the button itself.
    pub fn keys(mut self, shortcut: &'a str) -> Self {
        self.shortcut = Some(shortcut);
        self.show_keys = true;
        self
    }

    /// What it does, in a sentence.
    pub fn tooltip(mut self, text: &'a str) -> Self {
        self.tooltip = text;
        self
    }

    /// Whether it can be pressed.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Cannot be pressed, for a reason that the tooltip tells; `None` can.
    pub fn unless(mut self, reason: Option<&'a str>) -> Self {
        self.reason = reason;
        self
    }

    /// Makes it a toggle that is on or off.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = Some(selected);
        self
    }

    /// As wide as there is room.
    pub fn full_width(mut self) -> Self {
        self.full_width = true;
        self
    }

    /// Name for screen readers, where the text alone does not tell enough.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    fn show(&self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let icon_size = self.size.icon(&t);
        let gap = 6.0;
        let font = theme::medium(ui.ctx(), self.size.font(&t));
        let galley = base::line(ui, self.text, font);
        let keys = self
            .shortcut
            .filter(|_| self.show_keys)
            .map(|keys| base::line(ui, keys, theme::regular(t.size.font_caption)));
        let padding = self.size.padding();
        let mut wanted = 2.0 * padding + galley.size().x;
        for _ in self.icon.iter().chain(&self.trailing) {
            wanted += icon_size + gap;
        }
        if let Some(keys) = &keys {
            wanted += keys.size().x + 10.0;
        }
        let height = self.size.height(&t);
        let width = if self.full_width {
            ui.available_width().max(wanted)
        } else {
            wanted
        };
        let (rect, response) =
            ui.allocate_exact_size(Vec2::new(width.ceil(), height), Sense::click());
        let name = self.name.unwrap_or(self.text);
        let enabled = base::can_be_used(ui);
        response.widget_info(|| match self.selected {
            Some(selected) => WidgetInfo::selected(Role::Button, enabled, selected, name),
            None => WidgetInfo::labeled(Role::Button, enabled, name),
        });
        if ui.is_rect_visible(rect) {
            let look = Look::of(&t, self.kind, self.selected == Some(true), enabled);
            let over = base::hover(ui, &response);
            let pressed = response.is_pointer_button_down_on();
            let text = look.paint(ui, &t, rect, over, pressed);
            // What is beside the text is a little quieter, but not on colours, where it would be too faint.
            let quiet = match enabled && look.text[0] == t.text {
                true => t.text_muted,
                false => text,
            };
            base::focus_ring(ui, &response, rect, t.size.radius_m);
            let painter = ui.painter();
            let y = rect.center().y;
            let mut x = if self.full_width && keys.is_none() && self.trailing.is_none() {
                rect.left() + (rect.width() - wanted) / 2.0 + padding
            } else {
                rect.left() + padding
            };
            // An icon fills its square less than text fills its line.
            if let Some(icon) = self.icon {
                let centre = egui::pos2(x + icon_size / 2.0 - 1.0, y);
                paint_icon(painter, centre, icon_size, icon, text);
                x += icon_size + gap - 1.0;
            }
            base::paint_line(painter, galley, x, y, text);
            let mut right = rect.right() - padding;
            if let Some(icon) = self.trailing {
                let centre = egui::pos2(right - icon_size / 2.0 + 2.0, y);
                paint_icon(painter, centre, icon_size, icon, quiet);
                right -= icon_size + gap;
            }
            if let Some(keys) = keys {
                let left = right - keys.size().x;
                base::paint_line(painter, keys, left, y, quiet);
            }
        }
        response
    }
}

impl Widget for Button<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let enabled = self.enabled && self.reason.is_none();
        let response = ui.add_enabled(enabled, |ui: &mut Ui| self.show(ui));
        let shortcut = self.shortcut.filter(|_| !self.show_keys);
        base::tip(response, self.reason.unwrap_or(self.tooltip), shortcut)
    }
}

/// Colours of a button at rest and under the pointer.
struct Look {
    fill: [Color32; 2],
    pressed: Color32,
    stroke: Color32,
    text: [Color32; 2],
}

impl Look {
    fn of(t: &Tokens, kind: ButtonKind, selected: bool, enabled: bool) -> Self {
        let clear = Color32::TRANSPARENT;
        if !enabled {
            let (fill, stroke) = match kind {
                _ if selected => (t.bg_disabled, clear),
                ButtonKind::Primary | ButtonKind::Danger => (t.bg_disabled, clear),
                ButtonKind::Secondary => (clear, t.stroke_strong),
                ButtonKind::Quiet => (clear, clear),
            };
            return Self {
                fill: [fill, fill],
                pressed: fill,
                stroke,
                text: [t.text_disabled, t.text_disabled],
            };
        }
        if selected {
            return Self {
                fill: [t.accent_soft, mix(t.accent_soft, t.accent, 0.15)],
                pressed: mix(t.accent_soft, t.accent, 0.18),
                stroke: clear,
                text: [t.accent_text, t.accent_text],
            };
        }
        match kind {
            ButtonKind::Primary => Self {
                fill: [t.accent, t.accent_hover],
                pressed: mix(t.accent, Color32::BLACK, 0.15),
                stroke: clear,
                text: [t.on_accent, t.on_accent],
            },
            ButtonKind::Danger => Self {
                fill: [t.danger, t.danger_hover],
                pressed: mix(t.danger, Color32::BLACK, 0.15),
                stroke: clear,
                text: [t.on_danger, t.on_danger],
            },
            ButtonKind::Secondary => Self {
                fill: [t.bg_raised, t.bg_hover],
                pressed: t.bg_active,
                stroke: t.stroke_strong,
                text: [t.text, t.text],
            },
            ButtonKind::Quiet => Self {
                fill: [t.bg_hover.gamma_multiply(0.0), t.bg_hover],
                pressed: t.bg_active,
                stroke: clear,
                text: [t.text_muted, t.text],
            },
        }
    }

    /// Paints the body, answers the colour of what lies on it.
    fn paint(&self, ui: &Ui, t: &Tokens, rect: egui::Rect, over: f32, pressed: bool) -> Color32 {
        let [rest, hovered] = self.fill;
        let fill = if pressed {
            self.pressed
        } else {
            mix(rest, hovered, over)
        };
        ui.painter().rect(
            rect,
            t.corner_m(),
            fill,
            Stroke::new(1.0, self.stroke),
            StrokeKind::Inside,
        );
        let [rest, hovered] = self.text;
        mix(rest, hovered, over)
    }
}

/// A square button with an icon alone. Its label is its name and its tooltip.
#[must_use = "add it to a ui"]
pub struct IconButton<'a> {
    icon: Icon,
    label: &'a str,
    kind: ButtonKind,
    size: ControlSize,
    shortcut: Option<&'a str>,
    enabled: bool,
    reason: Option<&'a str>,
    selected: Option<bool>,
    colour: Option<Color32>,
}

impl<'a> IconButton<'a> {
    /// Quiet, 30 points.
    pub fn new(icon: Icon, label: &'a str) -> Self {
        Self {
            icon,
            label,
            kind: ButtonKind::Quiet,
            size: ControlSize::Medium,
            shortcut: None,
            enabled: true,
            reason: None,
            selected: None,
            colour: None,
        }
    }

    /// Another kind than quiet.
    pub fn kind(mut self, kind: ButtonKind) -> Self {
        self.kind = kind;
        self
    }

    /// Height and width.
    pub fn size(mut self, size: ControlSize) -> Self {
        self.size = size;
        self
    }

    /// 24 points.
    pub fn small(self) -> Self {
        self.size(ControlSize::Small)
    }

    /// Shortcut, told in the tooltip.
    pub fn shortcut(mut self, shortcut: &'a str) -> Self {
        self.shortcut = Some(shortcut);
        self
    }

    /// Whether it can be pressed.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Cannot be pressed, for a reason that the tooltip tells; `None` can.
    pub fn unless(mut self, reason: Option<&'a str>) -> Self {
        self.reason = reason;
        self
    }

    /// Makes it a toggle that is on or off.
    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = Some(selected);
        self
    }

    /// Colour of the icon, where it means something.
    pub fn colour(mut self, colour: Color32) -> Self {
        self.colour = Some(colour);
        self
    }

    fn show(&self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let side = self.size.height(&t);
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::click());
        let enabled = base::can_be_used(ui);
        response.widget_info(|| match self.selected {
            Some(selected) => WidgetInfo::selected(Role::Button, enabled, selected, self.label),
            None => WidgetInfo::labeled(Role::Button, enabled, self.label),
        });
        if ui.is_rect_visible(rect) {
            let look = Look::of(&t, self.kind, self.selected == Some(true), enabled);
            let over = base::hover(ui, &response);
            let pressed = response.is_pointer_button_down_on();
            let text = look.paint(ui, &t, rect, over, pressed);
            base::focus_ring(ui, &response, rect, t.size.radius_m);
            let size = match self.size {
                ControlSize::Small => t.size.icon_s,
                ControlSize::Medium => t.size.icon_m,
                ControlSize::Large => t.size.icon_l,
            };
            let colour = self.colour.filter(|_| enabled).unwrap_or(text);
            paint_icon(ui.painter(), rect.center(), size, self.icon, colour);
        }
        response
    }
}

impl Widget for IconButton<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let enabled = self.enabled && self.reason.is_none();
        let response = ui.add_enabled(enabled, |ui: &mut Ui| self.show(ui));
        base::tip(response, self.reason.unwrap_or(self.label), self.shortcut)
    }
}
