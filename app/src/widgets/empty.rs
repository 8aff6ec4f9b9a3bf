//! Empty states: what a view says when there is nothing in it yet.

use egui::{Align, Layout, RichText, Ui, Vec2};

use super::button::Button;
use crate::theme::{self, Icon, paint_icon};

/// An icon, a title, a sentence, and a button that begins.
#[must_use = "show it in a ui"]
pub struct EmptyState<'a> {
    icon: Icon,
    title: &'a str,
    sentence: &'a str,
    action: Option<(&'a str, Icon, Option<&'a str>)>,
    second: Option<&'a str>,
}

/// Which button of an empty state was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyAction {
    /// The main one.
    First,
    /// The other.
    Second,
}

impl<'a> EmptyState<'a> {
    /// Without a button.
    pub fn new(icon: Icon, title: &'a str, sentence: &'a str) -> Self {
        Self {
            icon,
            title,
            sentence,
            action: None,
            second: None,
        }
    }

    /// The button that begins, with its shortcut.
    pub fn action(mut self, text: &'a str, icon: Icon, shortcut: Option<&'a str>) -> Self {
        self.action = Some((text, icon, shortcut));
        self
    }

    /// A second, quiet button.
    pub fn second(mut self, text: &'a str) -> Self {
        self.second = Some(text);
        self
    }

    /// Shows it in the middle of all the room there is.
    pub fn show(self, ui: &mut Ui) -> Option<EmptyAction> {
        let t = theme::tokens(ui.ctx());
        let room = ui.available_rect_before_wrap();
        let width = room.width().min(380.0);
        // Estimated: what lies in the middle need not do so to the pixel.
        let height = if self.action.is_some() { 196.0 } else { 140.0 };
        let top = ((room.height() - height) * 0.45).max(t.size.gap_s);
        let mut pressed = None;
        ui.with_layout(Layout::top_down(Align::Center), |ui| {
            ui.add_space(top);
            ui.set_max_width(room.width());
            let disc = 72.0;
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(disc), egui::Sense::hover());
            ui.painter()
                .circle_filled(rect.center(), disc / 2.0, t.bg_hover);
            let size = t.size.icon_xl - 8.0;
            paint_icon(ui.painter(), rect.center(), size, self.icon, t.text_muted);
            ui.add_space(t.size.gap_s);
            ui.scope(|ui| {
                ui.set_max_width(width);
                let font = theme::semibold(ui.ctx(), t.size.font_title + 1.0);
                ui.label(RichText::new(self.title).font(font).color(t.text));
                ui.spacing_mut().item_spacing.y = 0.0;
                ui.label(RichText::new(self.sentence).color(t.text_muted));
            });
            if let Some((text, icon, shortcut)) = self.action {
                ui.add_space(t.size.gap_m);
                let mut button = Button::primary(text).icon(icon);
                if let Some(shortcut) = shortcut {
                    button = button.keys(shortcut);
                }
                if ui.add(button).clicked() {
                    pressed = Some(EmptyAction::First);
                }
            }
            if let Some(text) = self.second
                && ui.add(Button::quiet(text)).clicked()
            {
                pressed = Some(EmptyAction::Second);
            }
        });
        pressed
    }
}
