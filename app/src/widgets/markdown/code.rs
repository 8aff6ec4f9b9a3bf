//! A block of code: its language, a button that copies it, and sideways scrolling.

use std::sync::Arc;

use egui::text::LayoutJob;
use egui::{
    Align, Button, Color32, Galley, Id, Layout, Rect, RichText, ScrollArea, StrokeKind, Ui,
    UiBuilder, pos2, vec2,
};

use super::highlight;
use super::look::Look;
use super::text;

/// Height of the line with language and buttons, in points.
const HEAD: f32 = 30.0;
/// Space around the code, in points.
const PADDING: f32 = 12.0;
/// Seconds that "Copied" is shown.
const SHOWN: f64 = 1.6;

/// The code with its colours.
pub fn job(language: &str, code: &str, look: &Look) -> LayoutJob {
    let mut job = LayoutJob::default();
    job.wrap.max_width = f32::INFINITY;
    let mut at = 0;
    for (range, token) in highlight::tokens(language, code) {
        let between = code.get(at..range.start).unwrap_or_default();
        if !between.is_empty() {
            job.append(between, 0.0, look.code_format(None));
        }
        let part = code.get(range.clone()).unwrap_or_default();
        job.append(part, 0.0, look.code_format(Some(token)));
        at = range.end;
    }
    let rest = code.get(at..).unwrap_or_default();
    if !rest.is_empty() || at == 0 {
        job.append(rest, 0.0, look.code_format(None));
    }
    job
}

/// Height of a block with this galley.
pub fn height(galley: &Galley) -> f32 {
    HEAD + galley.size().y + PADDING
}

/// What a block of code is shown with.
pub struct Code<'a> {
    /// The language; may be empty.
    pub language: &'a str,
    /// The code.
    pub code: &'a str,
    /// A second button beside "Copy code".
    pub button: Option<&'a str>,
}

impl Code<'_> {
    /// Draws it; true if the second button was clicked.
    pub fn show(&self, ui: &mut Ui, id: Id, rect: Rect, galley: Arc<Galley>, look: &Look) -> bool {
        ui.painter().rect(
            rect,
            8,
            look.fill,
            egui::Stroke::new(1.0, look.line),
            StrokeKind::Inside,
        );
        let head = Rect::from_min_max(
            rect.min + vec2(PADDING, 0.0),
            pos2(rect.right() - 6.0, rect.top() + HEAD),
        );
        let mut clicked = false;
        let layout = Layout::right_to_left(Align::Center);
        let builder = UiBuilder::new()
            .max_rect(head)
            .scope_id(id.with("head"))
            .layout(layout);
        ui.scope_builder(builder, |ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            clicked = self.buttons(ui, id);
            let builder = Layout::left_to_right(Align::Center);
            ui.with_layout(builder, |ui| {
                let name = if self.language.is_empty() {
                    "Code"
                } else {
                    self.language
                };
                let label = RichText::new(name).small().color(look.dim);
                ui.add(egui::Label::new(label).selectable(false).truncate());
            });
        });
        let body = Rect::from_min_max(
            pos2(rect.left() + 1.0, rect.top() + HEAD),
            pos2(rect.right() - 1.0, rect.bottom()),
        );
        ui.scope_builder(
            UiBuilder::new().max_rect(body).scope_id(id.with("body")),
            |ui| {
                ScrollArea::horizontal()
                    .id_salt("code")
                    .auto_shrink(false)
                    .show(ui, |ui| {
                        let start = ui.max_rect().min + vec2(PADDING - 1.0, 0.0);
                        let size = galley.size() + vec2(2.0 * PADDING, 0.0);
                        ui.allocate_rect(
                            Rect::from_min_size(ui.max_rect().min, size),
                            egui::Sense::hover(),
                        );
                        text::selectable(ui, id.with("text"), start, galley, Color32::PLACEHOLDER);
                    });
            },
        );
        clicked
    }

    fn buttons(&self, ui: &mut Ui, id: Id) -> bool {
        let key = id.with("copied");
        let now = ui.input(|input| input.time);
        let copied = ui
            .data(|data| data.get_temp::<f64>(key))
            .is_some_and(|at| now - at < SHOWN);
        let label = if copied { "Copied" } else { "Copy code" };
        if small(ui, label) {
            ui.copy_text(self.code.to_owned());
            ui.data_mut(|data| data.insert_temp(key, now));
            ui.request_repaint_after_secs(SHOWN as f32 + 0.05);
        }
        self.button.is_some_and(|label| small(ui, label))
    }
}

fn small(ui: &mut Ui, label: &str) -> bool {
    ui.add(Button::new(RichText::new(label).small()).frame_when_inactive(false))
        .clicked()
}
