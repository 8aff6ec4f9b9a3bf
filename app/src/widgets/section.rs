//! Sections that fold, and cards.

use egui::collapsing_header::CollapsingState;
use egui::{Frame, InnerResponse, Margin, Response, Role, Sense, Stroke, Ui, Vec2, WidgetInfo};

use super::base;
use crate::theme::{self, Icon, mix, paint_icon};

/// A header that folds what lies below it. Whether it is open is remembered while the program runs.
#[must_use = "show it in a ui"]
pub struct Section<'a> {
    title: &'a str,
    open: bool,
    note: &'a str,
}

impl<'a> Section<'a> {
    /// Open at first.
    pub fn new(title: &'a str) -> Self {
        Self {
            title,
            open: true,
            note: "",
        }
    }

    /// Folded at first.
    pub fn closed(mut self) -> Self {
        self.open = false;
        self
    }

    /// A few words at the right, such as what is set inside.
    pub fn note(mut self, note: &'a str) -> Self {
        self.note = note;
        self
    }

    /// Shows header and, where it is open, content.
    pub fn show<R>(self, ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> Option<R> {
        let t = theme::tokens(ui.ctx());
        let id = ui.make_persistent_id(("section", self.title));
        let mut state = CollapsingState::load_with_default_open(ui.ctx(), id, self.open);
        let size = Vec2::new(ui.available_width(), t.size.control_m);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        if response.clicked() {
            state.toggle(ui);
        }
        let open = state.is_open();
        let enabled = ui.is_enabled();
        response.widget_info(|| {
            WidgetInfo::selected(Role::DisclosureTriangle, enabled, open, self.title)
        });
        if ui.is_rect_visible(rect) {
            header(
                ui,
                &response,
                self.title,
                self.note,
                state.openness(ui.ctx()),
            );
        }
        state
            .show_body_unindented(ui, content)
            .map(|shown| shown.inner)
    }
}

fn header(ui: &Ui, response: &Response, title: &str, note: &str, openness: f32) {
    let t = theme::tokens(ui.ctx());
    let rect = response.rect;
    let over = base::hover(ui, response);
    let colour = mix(t.text_muted, t.text, over);
    let y = rect.center().y;
    let icon = if openness > 0.5 {
        Icon::ChevronDown
    } else {
        Icon::ChevronRight
    };
    let painter = ui.painter();
    paint_icon(
        painter,
        egui::pos2(rect.left() + 7.0, y),
        14.0,
        icon,
        colour,
    );
    let font = theme::semibold(ui.ctx(), t.size.font_body);
    let galley = base::line(ui, title, font);
    let right = base::paint_line(painter, galley, rect.left() + 20.0, y, t.text);
    if !note.is_empty() {
        let room = rect.right() - right - t.size.gap_m;
        let note = base::line_within(ui, note, theme::regular(t.size.font_caption), room);
        let left = rect.right() - note.size().x;
        base::paint_line(painter, note, left, y, t.text_faint);
    }
    base::focus_ring(
        ui,
        response,
        rect.shrink2(Vec2::new(0.0, 3.0)),
        t.size.radius_s,
    );
}

/// A raised area around what belongs together.
pub fn card<R>(ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> InnerResponse<R> {
    let t = theme::tokens(ui.ctx());
    Frame::new()
        .fill(t.bg_raised)
        .stroke(Stroke::new(1.0, t.stroke))
        .corner_radius(t.corner_l())
        .inner_margin(Margin::same(t.size.gap_m as i8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            content(ui)
        })
}

/// A hairline with room around it.
pub fn divider(ui: &mut Ui) {
    let t = theme::tokens(ui.ctx());
    let size = Vec2::new(ui.available_width(), 9.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let line = Stroke::new(1.0, t.stroke);
    ui.painter()
        .hline(rect.x_range(), rect.center().y.round() + 0.5, line);
}

/// Head of a drawer: its title, actions at the right, and a cross. Answers whether the cross was pressed.
pub fn drawer_header(ui: &mut Ui, title: &str, actions: impl FnOnce(&mut Ui)) -> bool {
    let t = theme::tokens(ui.ctx());
    let mut closed = false;
    ui.horizontal(|ui| {
        super::text::heading(ui, title);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let name = format!("Close {}", title.to_lowercase());
            let close = super::button::IconButton::new(Icon::Close, &name).small();
            closed = ui.add(close).clicked();
            actions(ui);
        });
    });
    ui.add_space(t.size.gap_s);
    closed
}
