//! Text by its rank: headings, titles, labels, captions.

use egui::{Label, Response, RichText, Ui};

use crate::theme;

/// Heading of a page.
pub fn heading(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::semibold(ui.ctx(), t.size.font_heading);
    ui.add(Label::new(RichText::new(text).font(font).color(t.text)))
}

/// Title of a panel, a dialog or a card.
pub fn title(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::semibold(ui.ctx(), t.size.font_title);
    ui.add(Label::new(RichText::new(text).font(font).color(t.text)))
}

/// Body text that matters.
pub fn strong(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::medium(ui.ctx(), t.size.font_body);
    ui.add(Label::new(RichText::new(text).font(font).color(t.text)))
}

/// Body text.
pub fn body(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    ui.add(Label::new(RichText::new(text).color(t.text)))
}

/// Body text of second rank.
pub fn muted(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    ui.add(Label::new(RichText::new(text).color(t.text_muted)))
}

/// Heading of a group of fields or rows.
pub fn label(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::medium(ui.ctx(), t.size.font_caption + 0.5);
    ui.add(Label::new(
        RichText::new(text).font(font).color(t.text_muted),
    ))
}

/// Label above a field. It is painted only: the field itself carries the name, and is to be met once by screen readers.
pub(super) fn field_label(ui: &mut Ui, text: &str) {
    let t = theme::tokens(ui.ctx());
    let font = theme::medium(ui.ctx(), t.size.font_caption + 0.5);
    let galley = super::base::line_within(ui, text, font, ui.available_width());
    let (rect, _) = ui.allocate_exact_size(galley.size(), egui::Sense::hover());
    ui.painter().galley(rect.min, galley, t.text_muted);
}

/// Small text: units, times, counts.
pub fn caption(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::regular(t.size.font_caption);
    ui.add(Label::new(
        RichText::new(text).font(font).color(t.text_faint),
    ))
}

/// A path or a name that a machine reads, cut in the middle of the view where it is too long; whole in the tooltip.
pub fn path(ui: &mut Ui, text: &str) -> Response {
    let t = theme::tokens(ui.ctx());
    let font = theme::mono(t.size.font_caption);
    let label = Label::new(RichText::new(text).font(font).color(t.text_faint)).truncate();
    ui.add(label)
}
