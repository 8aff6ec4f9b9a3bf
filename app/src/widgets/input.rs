//! Text fields: one line, several lines, search.

use egui::{
    Align, Frame, Id, Layout, Margin, Rect, Response, RichText, Stroke, StrokeKind, TextEdit, Ui,
    UiBuilder, Vec2, Widget,
};

use super::button::IconButton;
use super::text;
use crate::theme::{self, Icon, Tokens, mix};

/// A field of one line.
#[must_use = "add it to a ui"]
pub struct TextField<'a> {
    value: &'a mut String,
    label: &'a str,
    label_shown: bool,
    hint: &'a str,
    error: Option<&'a str>,
    icon: Option<Icon>,
    clearable: bool,
    width: Option<f32>,
    id: Option<Id>,
    mono: bool,
}

impl<'a> TextField<'a> {
    /// A field; its label stands above it.
    pub fn new(label: &'a str, value: &'a mut String) -> Self {
        Self {
            value,
            label,
            label_shown: true,
            hint: "",
            error: None,
            icon: None,
            clearable: false,
            width: None,
            id: None,
            mono: false,
        }
    }

    /// A field to search with: a lens, a hint, a button that clears.
    pub fn search(hint: &'a str, value: &'a mut String) -> Self {
        Self::new(hint, value)
            .unlabelled()
            .hint(hint)
            .icon(Icon::Search)
            .clearable()
    }

    /// Keeps the label for screen readers alone.
    pub fn unlabelled(mut self) -> Self {
        self.label_shown = false;
        self
    }

    /// What is shown while the field is empty.
    pub fn hint(mut self, hint: &'a str) -> Self {
        self.hint = hint;
        self
    }

    /// What is wrong with the text, below the field.
    pub fn error(mut self, error: Option<&'a str>) -> Self {
        self.error = error;
        self
    }

    /// Icon before the text.
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// A button that empties the field, while there is text in it.
    pub fn clearable(mut self) -> Self {
        self.clearable = true;
        self
    }

    /// Width in points; otherwise all there is.
    pub fn width(mut self, width: f32) -> Self {
        self.width = Some(width);
        self
    }

    /// An id by which others give it the keyboard (`ctx.memory_mut(|memory| memory.request_focus(id))`).
    pub fn id(mut self, id: Id) -> Self {
        self.id = Some(id);
        self
    }

    /// In the typewriter font: paths, numbers.
    pub fn mono(mut self) -> Self {
        self.mono = true;
        self
    }
}

/// Box of a field.
pub(super) fn field_box(ui: &Ui, t: &Tokens, rect: Rect, focused: bool, wrong: bool) {
    let hovered = ui.rect_contains_pointer(rect) && ui.is_enabled();
    let colour = if wrong {
        t.danger_text
    } else if focused {
        t.focus
    } else if hovered {
        mix(t.stroke_strong, t.stroke_control, 0.6)
    } else {
        t.stroke_strong
    };
    let stroke = Stroke::new(if focused { 1.5 } else { 1.0 }, colour);
    ui.painter()
        .rect(rect, t.corner_m(), t.bg_input, stroke, StrokeKind::Inside);
}

/// The line below a field that says what is wrong.
fn error_line(ui: &mut Ui, t: &Tokens, error: &str) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = t.size.gap_xs;
        theme::icon_tinted(ui, Icon::Error, 14.0, t.danger_text);
        let font = theme::regular(t.size.font_caption);
        ui.add(egui::Label::new(RichText::new(error).font(font).color(t.danger_text)).wrap());
    });
}

impl Widget for TextField<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let id = self
            .id
            .unwrap_or_else(|| ui.make_persistent_id(("text field", self.label)));
        let width = self.width.unwrap_or_else(|| ui.available_width());
        let show = |ui: &mut Ui| {
            ui.spacing_mut().item_spacing.y = t.size.gap_xs;
            if self.label_shown {
                text::field_label(ui, self.label);
            }
            let (_, rect) = ui.allocate_space(Vec2::new(width, t.size.control_m));
            let focused = ui.memory(|memory| memory.has_focus(id));
            field_box(ui, &t, rect, focused, self.error.is_some());
            let inner = rect.shrink2(Vec2::new(9.0, 1.0));
            let builder = UiBuilder::new()
                .max_rect(inner)
                .layout(Layout::left_to_right(Align::Center));
            let response = ui.scope_builder(builder, |ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                if let Some(icon) = self.icon {
                    theme::icon_tinted(ui, icon, t.size.icon_s, t.text_faint);
                }
                let clear = self.clearable && !self.value.is_empty();
                let room = ui.available_width() - if clear { 24.0 } else { 0.0 };
                let font = if self.mono {
                    theme::mono(t.size.font_body - 0.5)
                } else {
                    theme::regular(t.size.font_body)
                };
                let hint = RichText::new(self.hint).color(t.text_faint);
                let mut response = ui
                    .add(
                        TextEdit::singleline(self.value)
                            .id(id)
                            .frame(Frame::NONE)
                            .font(font)
                            .text_color(t.text)
                            .hint_text(hint)
                            .align(egui::Align2::LEFT_CENTER)
                            .desired_width(room),
                    )
                    .accessible_name(self.label);
                if clear {
                    ui.spacing_mut().item_spacing.x = 0.0;
                    let name = format!("Clear {}", self.label.to_lowercase());
                    if ui
                        .add(IconButton::new(Icon::Close, &name).small())
                        .clicked()
                    {
                        self.value.clear();
                        response.mark_changed();
                        response.request_focus();
                    }
                }
                response
            });
            if let Some(error) = self.error {
                error_line(ui, &t, error);
            }
            response.inner
        };
        ui.allocate_ui_with_layout(
            Vec2::new(width, t.size.control_m),
            Layout::top_down(Align::Min),
            show,
        )
        .inner
    }
}

/// A field of several lines, which grows with its text.
#[must_use = "add it to a ui"]
pub struct TextArea<'a> {
    value: &'a mut String,
    label: &'a str,
    label_shown: bool,
    hint: &'a str,
    error: Option<&'a str>,
    rows: usize,
    most_rows: usize,
    id: Option<Id>,
}

impl<'a> TextArea<'a> {
    /// A field of three rows; its label stands above it.
    pub fn new(label: &'a str, value: &'a mut String) -> Self {
        Self {
            value,
            label,
            label_shown: true,
            hint: "",
            error: None,
            rows: 3,
            most_rows: 12,
            id: None,
        }
    }

    /// Keeps the label for screen readers alone.
    pub fn unlabelled(mut self) -> Self {
        self.label_shown = false;
        self
    }

    /// What is shown while the field is empty.
    pub fn hint(mut self, hint: &'a str) -> Self {
        self.hint = hint;
        self
    }

    /// What is wrong with the text, below the field.
    pub fn error(mut self, error: Option<&'a str>) -> Self {
        self.error = error;
        self
    }

    /// Rows that it has at least, and rows after which it scrolls.
    pub fn rows(mut self, least: usize, most: usize) -> Self {
        self.rows = least;
        self.most_rows = most.max(least);
        self
    }

    /// An id by which others give it the keyboard.
    pub fn id(mut self, id: Id) -> Self {
        self.id = Some(id);
        self
    }
}

impl Widget for TextArea<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let id = self
            .id
            .unwrap_or_else(|| ui.make_persistent_id(("text area", self.label)));
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = t.size.gap_xs;
            if self.label_shown {
                text::field_label(ui, self.label);
            }
            let ground = ui.painter().add(egui::Shape::Noop);
            let font = theme::regular(t.size.font_body + 0.5);
            let row = ui.fonts_mut(|fonts| fonts.row_height(&font));
            let frame = Frame::new().inner_margin(Margin::symmetric(10, 8));
            let shown = frame.show(ui, |ui| {
                egui::ScrollArea::vertical()
                    .id_salt(id)
                    .max_height(row * self.most_rows as f32)
                    .min_scrolled_height(row * self.rows as f32)
                    .show(ui, |ui| {
                        let hint = RichText::new(self.hint).color(t.text_faint);
                        ui.add(
                            TextEdit::multiline(self.value)
                                .id(id)
                                .frame(Frame::NONE)
                                .font(font)
                                .text_color(t.text)
                                .hint_text(hint)
                                .desired_rows(self.rows)
                                .desired_width(f32::INFINITY),
                        )
                        .accessible_name(self.label)
                    })
                    .inner
            });
            let rect = shown.response.rect;
            let focused = shown.inner.has_focus();
            let wrong = self.error.is_some();
            let colour = match (wrong, focused) {
                (true, _) => t.danger_text,
                (false, true) => t.focus,
                (false, false) => t.stroke_strong,
            };
            let stroke = Stroke::new(if focused { 1.5 } else { 1.0 }, colour);
            let ground_shape = egui::epaint::RectShape::new(
                rect,
                t.corner_m(),
                t.bg_input,
                stroke,
                StrokeKind::Inside,
            );
            ui.painter().set(ground, ground_shape);
            if let Some(error) = self.error {
                error_line(ui, &t, error);
            }
            shown.inner
        })
        .inner
    }
}
