//! Text of one galley that can be selected, with links in it.

use std::ops::Range;
use std::sync::Arc;

use egui::accesskit::Role;
use egui::text::{ByteIndex, LayoutJob, LayoutSection};
use egui::text_selection::LabelSelectionState;
use egui::{
    Color32, CursorIcon, Galley, Id, OpenUrl, Pos2, Rect, Response, Sense, Stroke, StrokeKind, Ui,
    WidgetInfo, vec2,
};

use super::blocks::Inlines;
use super::look::Look;

/// Most links of one text that can be followed.
const MOST_LINKS: usize = 256;

/// A text ready to be laid out, and where its links are.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// The text with its formats; the width to wrap at is set when it is laid out.
    pub job: LayoutJob,
    /// Characters and targets of the links that may be opened.
    pub links: Vec<(Range<usize>, String)>,
}

impl Text {
    /// Formats text; `dimmed` is for quotes.
    pub fn new(inlines: &Inlines, look: &Look, heading: Option<u8>, dimmed: bool) -> Self {
        let mut text = Self::default();
        let mut chars = 0;
        for span in &inlines.spans {
            let part = inlines.text.get(span.range.clone()).unwrap_or_default();
            let target = span
                .link
                .and_then(|link| inlines.links.get(link))
                .filter(|target| may_open(target));
            let mut format = look.format(span.emphasis, target.is_some(), heading);
            if dimmed && target.is_none() {
                format.color = look.dim;
            }
            text.job.append(part, 0.0, format);
            let count = part.chars().count();
            if let Some(target) = target {
                let room = text.links.len() < MOST_LINKS;
                match text.links.last_mut() {
                    Some((range, last)) if range.end == chars && last == target => {
                        range.end += count;
                    }
                    _ if room => {
                        text.links.push((chars..chars + count, target.clone()));
                    }
                    _ => {}
                }
            }
            chars += count;
        }
        text
    }

    /// Puts a colour behind some bytes of the text.
    pub fn mark(&mut self, range: &Range<usize>, colour: Color32) {
        let sections = std::mem::take(&mut self.job.sections);
        for section in sections {
            let whole = section.byte_range.start.0..section.byte_range.end.0;
            let from = range.start.clamp(whole.start, whole.end);
            let to = range.end.clamp(from, whole.end);
            let mut leading = section.leading_space;
            for (part, marked) in [
                (whole.start..from, false),
                (from..to, true),
                (to..whole.end, false),
            ] {
                if part.is_empty() {
                    continue;
                }
                let mut format = section.format.clone();
                if marked {
                    format.background = colour;
                }
                self.job.sections.push(LayoutSection {
                    leading_space: std::mem::take(&mut leading),
                    byte_range: ByteIndex(part.start)..ByteIndex(part.end),
                    format,
                });
            }
        }
    }

    /// Lays the text out; the galleys of texts seen in the last frame are kept by egui.
    pub fn galley(&self, ui: &Ui, width: f32) -> Arc<Galley> {
        let mut job = self.job.clone();
        job.wrap.max_width = width;
        ui.fonts_mut(|fonts| fonts.layout_job(job))
    }

    /// Draws it, and opens the links that are clicked.
    pub fn show(&self, ui: &Ui, id: Id, pos: Pos2, galley: Arc<Galley>, color: Color32) {
        selectable(ui, id, pos, Arc::clone(&galley), color);
        for (index, (range, target)) in self.links.iter().enumerate() {
            link(ui, id.with(("link", index)), pos, &galley, range, target);
        }
    }
}

/// Whether a link's target is one that the platform may be asked to open.
pub fn may_open(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        ["http", "https", "mailto"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    }) && !target.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Draws a galley that can be selected and copied, over several of them too.
pub fn selectable(ui: &Ui, id: Id, pos: Pos2, galley: Arc<Galley>, color: Color32) -> Response {
    let rect = Rect::from_min_size(pos, galley.size());
    let response = ui.interact(rect, id, Sense::click_and_drag() - Sense::FOCUSABLE);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, ui.is_enabled(), galley.text()));
    LabelSelectionState::label_text_selection(ui, &response, pos, galley, color, Stroke::NONE);
    response
}

/// Where some characters of a galley are, one rectangle for each row.
pub(in crate::widgets) fn rects(galley: &Galley, range: &Range<usize>) -> Vec<Rect> {
    let mut found = Vec::new();
    let mut start = 0;
    for row in &galley.rows {
        let count = row.char_count_including_newline().0;
        let from = range.start.max(start);
        let to = range.end.min(start + row.char_count_excluding_newline().0);
        if from < to {
            let rect = row.rect();
            let x = |column: usize| row.pos.x + row.x_offset(egui::text::CharIndex(column - start));
            found.push(Rect::from_x_y_ranges(x(from)..=x(to), rect.y_range()));
        }
        start += count;
    }
    found
}

fn link(ui: &Ui, id: Id, pos: Pos2, galley: &Galley, range: &Range<usize>, target: &str) {
    let mut parts = rects(galley, range)
        .into_iter()
        .map(|rect| rect.translate(pos.to_vec2()))
        .enumerate();
    let Some((_, first)) = parts.next() else {
        return;
    };
    let mut response = ui.interact(first, id, Sense::click());
    for (row, rect) in parts {
        let sense = Sense::click() - Sense::FOCUSABLE;
        response |= ui.interact(rect, id.with(row), sense);
    }
    response.widget_info(|| {
        let words = galley.job.text.chars();
        let words: String = words.skip(range.start).take(range.len()).collect();
        WidgetInfo::labeled(Role::Link, ui.is_enabled(), words)
    });
    if response.hovered() {
        ui.set_cursor_icon(CursorIcon::PointingHand);
    }
    if response.has_focus() {
        let stroke = ui.visuals().selection.stroke;
        let rect = first.expand2(vec2(2.0, 0.0));
        ui.painter()
            .rect_stroke(rect, 3, stroke, StrokeKind::Outside);
    }
    if response.clicked() {
        ui.open_url(OpenUrl::new_tab(target));
    }
    response.on_hover_text(target);
}

/// Whether some text is selected; then nothing that may be part of it is left out.
pub fn selecting(ui: &Ui) -> bool {
    ui.plugin_or_default::<LabelSelectionState>()
        .lock()
        .has_selection()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_schemes_are_opened() {
        for target in ["https://a.b/c?d#e", "HTTP://x", "mailto:a@b"] {
            assert!(may_open(target), "{target}");
        }
        for target in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "//host/share",
            "C:\\x",
            "https://a b",
            "https://a\nb",
            "",
        ] {
            assert!(!may_open(target), "{target}");
        }
    }
}
