//! Menus: rows with an icon, a text and a shortcut, in a pop-up below a button or at the pointer.

use egui::{
    Color32, Popup, PopupCloseBehavior, RectAlign, Response, Role, Sense, Ui, Vec2, Widget,
    WidgetInfo,
};

use super::base;
use super::key_hint::KeyHint;
use crate::theme::{self, Icon, mix, paint_icon};

/// A row of a menu.
#[must_use = "add it to a ui"]
pub struct MenuItem<'a> {
    text: &'a str,
    icon: Option<Icon>,
    shortcut: Option<&'a str>,
    checked: Option<bool>,
    danger: bool,
    reason: Option<&'a str>,
}

impl<'a> MenuItem<'a> {
    /// A row with text alone.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            icon: None,
            shortcut: None,
            checked: None,
            danger: false,
            reason: None,
        }
    }

    /// Icon before the text.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// Shortcut at the right.
    pub fn shortcut(mut self, shortcut: Option<&'a str>) -> Self {
        self.shortcut = shortcut;
        self
    }

    /// A tick where it is on.
    pub fn checked(mut self, checked: bool) -> Self {
        self.checked = Some(checked);
        self
    }

    /// What cannot be taken back.
    pub fn danger(mut self) -> Self {
        self.danger = true;
        self
    }

    /// Cannot be chosen, for a reason that the tooltip tells; `None` can.
    pub fn unless(mut self, reason: Option<&'a str>) -> Self {
        self.reason = reason;
        self
    }

    fn show(&self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let font = theme::regular(t.size.font_body);
        let galley = base::line(ui, self.text, font);
        let keys = self.shortcut.map(KeyHint::new);
        let keys_width = keys.as_ref().map_or(0.0, |keys| keys.width(ui) + 24.0);
        let lead = t.size.icon_s + 18.0;
        let wanted = lead + galley.size().x + keys_width + 10.0;
        let size = Vec2::new(wanted.max(ui.available_width()).max(180.0), 28.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let enabled = base::can_be_used(ui);
        response.widget_info(|| match self.checked {
            Some(on) => WidgetInfo::selected(Role::MenuItemCheckBox, enabled, on, self.text),
            None => WidgetInfo::labeled(Role::MenuItem, enabled, self.text),
        });
        if ui.is_rect_visible(rect) {
            let over = response.hovered() || response.has_focus();
            let (fill, colour) = match (self.danger, over) {
                _ if !enabled => (Color32::TRANSPARENT, t.text_disabled),
                (true, true) => (t.danger, t.on_danger),
                (true, false) => (Color32::TRANSPARENT, t.danger_text),
                (false, true) => (t.bg_active, t.text),
                (false, false) => (Color32::TRANSPARENT, t.text),
            };
            let painter = ui.painter();
            painter.rect_filled(rect, t.corner_m(), fill);
            let y = rect.center().y;
            let icon = match self.checked {
                Some(true) => Some(Icon::Check),
                Some(false) => None,
                None => self.icon,
            };
            if let Some(icon) = icon {
                let tint = if self.danger || !enabled {
                    colour
                } else {
                    mix(t.text_muted, colour, 0.3)
                };
                let centre = egui::pos2(rect.left() + 9.0 + t.size.icon_s / 2.0, y);
                paint_icon(painter, centre, t.size.icon_s, icon, tint);
            }
            base::paint_line(painter, galley, rect.left() + lead, y, colour);
            if let Some(keys) = keys {
                let keys = if enabled { keys } else { keys.disabled() };
                keys.paint_right(ui, painter, rect.right() - 7.0, y);
            }
        }
        response
    }
}

impl Widget for MenuItem<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let response = ui.add_enabled(self.reason.is_none(), |ui: &mut Ui| self.show(ui));
        base::tip(response, self.reason.unwrap_or_default(), None)
    }
}

/// A small heading inside a menu.
pub fn heading(ui: &mut Ui, text: &str) {
    let t = theme::tokens(ui.ctx());
    ui.horizontal(|ui| {
        ui.add_space(9.0);
        super::text::caption(ui, text);
    });
    ui.add_space(-t.size.gap_xs);
}

/// A hairline between the groups of a menu.
pub fn separator(ui: &mut Ui) {
    let t = theme::tokens(ui.ctx());
    let size = Vec2::new(ui.available_width(), 9.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let y = rect.center().y.round() + 0.5;
    let line = egui::Stroke::new(1.0, t.stroke_strong);
    ui.painter()
        .hline(rect.expand2(Vec2::new(4.0, 0.0)).x_range(), y, line);
}

fn style<'a>(popup: Popup<'a>, ui: &Ui) -> Popup<'a> {
    let t = theme::tokens(ui.ctx());
    popup
        .frame(base::popup_frame(&t))
        .gap(t.size.gap_xs)
        .style(|style: &mut egui::Style| style.spacing.item_spacing.y = 1.0)
}

/// A menu that the button behind `response` opens and closes; any click closes it.
pub fn below<R>(ui: &Ui, response: &Response, content: impl FnOnce(&mut Ui) -> R) -> Option<R> {
    style(Popup::menu(response), ui)
        .show(content)
        .map(|shown| shown.inner)
}

/// A menu at the pointer, for clicks with the secondary button.
pub fn context<R>(ui: &Ui, response: &Response, content: impl FnOnce(&mut Ui) -> R) -> Option<R> {
    style(Popup::context_menu(response), ui)
        .show(content)
        .map(|shown| shown.inner)
}

/// A menu below something that was clicked elsewhere; `open` tells whether it stands open, and is told when it closes.
pub fn anchored<R>(
    ui: &Ui,
    response: &Response,
    open: &mut bool,
    content: impl FnOnce(&mut Ui) -> R,
) -> Option<R> {
    style(Popup::menu(response), ui)
        .open_bool(open)
        .show(content)
        .map(|shown| shown.inner)
}

/// A pop-up with any content that the button behind `response` opens; clicks inside leave it open.
pub fn popover<R>(
    ui: &Ui,
    response: &Response,
    width: f32,
    content: impl FnOnce(&mut Ui) -> R,
) -> Option<R> {
    let t = theme::tokens(ui.ctx());
    Popup::from_toggle_button_response(response)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .align(RectAlign::BOTTOM_END)
        .gap(t.size.gap_xs)
        .frame(base::popup_frame(&t).inner_margin(egui::Margin::same(t.size.gap_m as i8)))
        .show(|ui| {
            ui.set_width(width);
            content(ui)
        })
        .map(|shown| shown.inner)
}
