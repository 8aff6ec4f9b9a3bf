//! What a model thought before it answered: a line that unfolds.

use egui::{Id, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::base;
use super::markdown::{Look, Markdown};
use crate::theme::{self, Icon, mix, paint_icon};

/// Indentation of the unfolded text, in points.
const INDENT: f32 = 16.0;

/// Shows it, folded at first; `writing` says that it is not at its end. Whether it is open is remembered while the program runs.
pub fn show(ui: &mut Ui, id: Id, text: &str, writing: bool, laid: &mut Markdown, look: &Look) {
    let t = theme::tokens(ui.ctx());
    let mut open = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or(false);
    let words = match (text.split_whitespace().count(), writing) {
        (0, _) => "Thinking".to_owned(),
        (count, true) => format!("Thinking, {count} words so far"),
        (1, false) => "Thought, 1 word".to_owned(),
        (count, false) => format!("Thought, {count} words"),
    };
    let font = theme::medium(ui.ctx(), t.size.font_caption + 0.5);
    let galley = base::line(ui, &words, font);
    let size = vec2(galley.size().x + 26.0, t.size.control_s);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let response = ui.interact(rect, id.with("header"), Sense::click());
    if response.clicked() {
        open = !open;
        ui.data_mut(|data| data.insert_temp(id, open));
    }
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::DisclosureTriangle, enabled, open, &words));
    let colour = mix(t.text_muted, t.text, base::hover(ui, &response));
    let icon = if open {
        Icon::ChevronDown
    } else {
        Icon::ChevronRight
    };
    let middle = rect.center().y;
    paint_icon(
        ui.painter(),
        pos2(rect.left() + 7.0, middle),
        14.0,
        icon,
        colour,
    );
    base::paint_line(ui.painter(), galley, rect.left() + 20.0, middle, colour);
    if response.has_focus() {
        let ring = Stroke::new(1.5, t.focus);
        ui.painter()
            .rect_stroke(rect, t.corner_m(), ring, StrokeKind::Outside);
    }
    if open && !text.is_empty() {
        ui.add_space(4.0);
        let mut dim = look.clone();
        dim.text = look.dim;
        laid.set(text, writing);
        let top = ui.cursor().min;
        let inner = Rect::from_min_size(
            top + vec2(INDENT, 0.0),
            vec2((ui.available_width() - INDENT).max(60.0), 0.0),
        );
        let shown = ui.scope_builder(egui::UiBuilder::new().max_rect(inner), |ui| {
            laid.show(ui, id.with("text"), &dim, None);
        });
        let bar = Rect::from_min_max(
            pos2(top.x + 6.0, top.y),
            pos2(top.x + 8.0, shown.response.rect.bottom()),
        );
        ui.painter().rect_filled(bar, 1, look.line);
    }
    // The answer stands off from what was only thought.
    ui.add_space(if open { 14.0 } else { 6.0 });
}
