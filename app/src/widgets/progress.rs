//! Progress: a thin bar.

use egui::{Response, Role, Sense, Ui, Vec2, Widget, WidgetInfo};

use crate::theme;

/// How far something is. It moves only when the number does: nothing spins.
#[must_use = "add it to a ui"]
pub struct Progress<'a> {
    label: &'a str,
    fraction: Option<f32>,
    height: f32,
    width: Option<f32>,
    paused: bool,
}

impl<'a> Progress<'a> {
    /// From 0 to 1; `None` where nobody can tell. The label is its name.
    pub fn new(label: &'a str, fraction: Option<f32>) -> Self {
        Self {
            label,
            fraction,
            height: 4.0,
            width: None,
            paused: false,
        }
    }

    /// Height in points.
    pub fn height(mut self, height: f32) -> Self {
        self.height = height;
        self
    }

    /// Width in points; otherwise all there is.
    pub fn width(mut self, width: f32) -> Self {
        self.width = Some(width);
        self
    }

    /// Grey: it waits.
    pub fn paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }
}

impl Widget for Progress<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let width = self.width.unwrap_or_else(|| ui.available_width());
        let (rect, response) =
            ui.allocate_exact_size(Vec2::new(width, self.height), Sense::hover());
        let fraction = self
            .fraction
            .filter(|fraction| fraction.is_finite())
            .map(|fraction| fraction.clamp(0.0, 1.0));
        response.widget_info(|| WidgetInfo {
            value: fraction.map(|fraction| f64::from((fraction * 100.0).round())),
            ..WidgetInfo::labeled(Role::ProgressIndicator, true, self.label)
        });
        if ui.is_rect_visible(rect) {
            let radius = self.height / 2.0;
            let painter = ui.painter();
            painter.rect_filled(rect, radius, t.bg_active);
            let colour = if self.paused {
                t.text_faint
            } else {
                t.accent_text
            };
            match fraction {
                Some(fraction) => {
                    let smooth = ui.ctx().animate_value_with_time(
                        response.id.with("way"),
                        fraction,
                        t.size.time_normal,
                    );
                    let mut done = rect;
                    // Never shorter than round, once it has begun.
                    let least = if fraction > 0.0 { self.height } else { 0.0 };
                    done.max.x = rect.left() + (rect.width() * smooth).max(least);
                    painter.rect_filled(done, radius, colour);
                }
                None => {
                    painter.rect_filled(rect, radius, t.accent_soft);
                }
            }
        }
        response
    }
}
