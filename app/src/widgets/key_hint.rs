//! Key caps: `Ctrl` `K`.

use egui::{
    FontId, Painter, Pos2, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, Widget,
    WidgetInfo,
};

use super::base;
use crate::theme;

const GAP: f32 = 3.0;
const PADDING: f32 = 5.0;
const HEIGHT: f32 = 18.0;

/// The keys of a shortcut as caps. Takes what egui's `KeyboardShortcut::format` gives.
#[must_use = "add it to a ui"]
pub struct KeyHint<'a> {
    shortcut: &'a str,
    disabled: bool,
}

/// The keys of a shortcut: parts between plus signs, where a plus sign itself may be the last.
pub fn keys(shortcut: &str) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    let mut rest = shortcut;
    while !rest.is_empty() {
        // A key has at least one character, so that `Ctrl++` is Ctrl and plus.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        match rest.get(first..).and_then(|after| after.find('+')) {
            Some(at) => {
                let (key, after) = rest.split_at(first + at);
                keys.push(key.trim());
                rest = after.strip_prefix('+').unwrap_or_default();
            }
            None => {
                keys.push(rest.trim());
                rest = "";
            }
        }
    }
    keys
}

/// What is written on a cap.
fn cap(key: &str) -> &str {
    match key {
        "Enter" => "Enter",
        "ArrowUp" | "Up" => "↑",
        "ArrowDown" | "Down" => "↓",
        "ArrowLeft" | "Left" => "←",
        "ArrowRight" | "Right" => "→",
        "Escape" => "Esc",
        other => other,
    }
}

impl<'a> KeyHint<'a> {
    /// Of a shortcut such as `Ctrl+K`.
    pub fn new(shortcut: &'a str) -> Self {
        Self {
            shortcut,
            disabled: false,
        }
    }

    /// Of something that cannot be done now.
    pub(super) fn disabled(self) -> Self {
        Self {
            disabled: true,
            ..self
        }
    }

    fn widths(&self, ui: &Ui) -> Vec<(std::sync::Arc<egui::Galley>, f32)> {
        let t = theme::tokens(ui.ctx());
        let font = FontId::new(t.size.font_caption - 0.5, egui::FontFamily::Proportional);
        keys(self.shortcut)
            .into_iter()
            .map(|key| {
                let galley = base::line(ui, cap(key), font.clone());
                let width = (galley.size().x + 2.0 * PADDING).max(HEIGHT).ceil();
                (galley, width)
            })
            .collect()
    }

    /// Width in points.
    pub fn width(&self, ui: &Ui) -> f32 {
        let caps = self.widths(ui);
        let gaps = caps.len().saturating_sub(1) as f32 * GAP;
        caps.iter().map(|(_, width)| width).sum::<f32>() + gaps
    }

    /// Paints the caps with their right edge at `right`, centred on `y`.
    pub fn paint_right(&self, ui: &Ui, painter: &Painter, right: f32, y: f32) {
        let t = theme::tokens(ui.ctx());
        let mut x = right - self.width(ui);
        for (galley, width) in self.widths(ui) {
            let rect =
                Rect::from_min_size(Pos2::new(x, y - HEIGHT / 2.0), Vec2::new(width, HEIGHT));
            let (fill, line) = (t.bg_panel, t.stroke_strong);
            painter.rect(
                rect,
                t.corner_s(),
                fill,
                Stroke::new(1.0, line),
                StrokeKind::Inside,
            );
            let left = rect.center().x - galley.size().x / 2.0;
            let colour = if self.disabled {
                t.text_disabled
            } else {
                t.text_muted
            };
            base::paint_line(painter, galley, left, y, colour);
            x += width + GAP;
        }
    }
}

impl Widget for KeyHint<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let size = Vec2::new(self.width(ui), HEIGHT);
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        let shortcut = self.shortcut.to_owned();
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &shortcut));
        if ui.is_rect_visible(rect) {
            self.paint_right(ui, ui.painter(), rect.right(), rect.center().y);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortcuts_fall_into_keys() {
        assert_eq!(keys("Ctrl+K"), ["Ctrl", "K"]);
        assert_eq!(keys("Ctrl+Shift+Enter"), ["Ctrl", "Shift", "Enter"]);
        assert_eq!(keys("Ctrl++"), ["Ctrl", "+"]);
        assert_eq!(keys("+"), ["+"]);
        assert_eq!(keys("?"), ["?"]);
        assert!(keys("").is_empty());
    }
}
