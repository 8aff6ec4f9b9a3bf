//! Dialogs: the window waits behind a veil until they are answered.

use egui::{
    Align, Context, Frame, Id, Key, Layout, Margin, Modal, Modifiers, RichText, Stroke, Ui,
};

use super::base;
use super::button::{Button, ButtonKind, IconButton};
use super::{number, text};
use crate::theme::{self, Icon};

/// A dialog with a title and a cross.
#[must_use = "show it"]
pub struct Dialog<'a> {
    id: &'a str,
    title: &'a str,
    width: f32,
}

/// What came of a dialog in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogResponse<R> {
    /// What the content answered.
    pub inner: R,
    /// Whether it was closed: by the cross, by Esc, or by a click beside it.
    pub closed: bool,
}

impl<'a> Dialog<'a> {
    /// A dialog; its id tells it from others.
    pub fn new(id: &'a str, title: &'a str) -> Self {
        Self {
            id,
            title,
            width: 420.0,
        }
    }

    /// Width in points; it gives way in small windows.
    pub fn width(mut self, width: f32) -> Self {
        self.width = width;
        self
    }

    /// Shows it in this pass. Call it for as long as it is open.
    pub fn show<R>(self, ctx: &Context, content: impl FnOnce(&mut Ui) -> R) -> DialogResponse<R> {
        let t = theme::tokens(ctx);
        let room = ctx.content_rect();
        let width = self.width.min(room.width() - 2.0 * t.size.gap_xl);
        let frame = Frame::new()
            .fill(t.bg_panel)
            .stroke(Stroke::new(1.0, t.stroke_strong))
            .corner_radius(t.size.radius_l + 2.0)
            .shadow(t.shadow_dialog())
            .inner_margin(Margin::same(20));
        let id = Id::unique(("dialog", self.id));
        let shown = Modal::new(id)
            .area(Modal::default_area(id).default_size(room.size()))
            .backdrop_color(t.scrim)
            .frame(frame)
            .show(ctx, |ui| {
                ui.set_width(width - 40.0);
                ui.set_max_height(room.height() - 2.0 * t.size.gap_xl);
                let mut closed = false;
                ui.horizontal(|ui| {
                    text::title(ui, self.title);
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        let close = IconButton::new(Icon::Close, "Close")
                            .shortcut("Esc")
                            .small();
                        closed = ui.add(close).clicked();
                    });
                });
                ui.add_space(t.size.gap_xs);
                (content(ui), closed)
            });
        // Esc in a number gives up what is typed there; only the next one closes the dialog.
        let gives_up = number::is_typed(ctx) && ctx.input(|input| input.key_pressed(Key::Escape));
        let beside = shown.should_close() && !gives_up;
        let (inner, cross) = shown.inner;
        let closed = cross || beside;
        DialogResponse { inner, closed }
    }
}

/// Buttons of a dialog, at the right; the first drawn is the rightmost.
pub fn buttons<R>(ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> R {
    let t = theme::tokens(ui.ctx());
    ui.add_space(t.size.gap_m);
    ui.with_layout(Layout::right_to_left(Align::Center), content)
        .inner
}

/// What a person is asked before something is done.
#[must_use = "show it"]
pub struct Confirm<'a> {
    /// Tells it from others.
    pub id: &'a str,
    /// The question.
    pub title: &'a str,
    /// What will happen, and whether it can be taken back.
    pub text: &'a str,
    /// What the button that does it says.
    pub yes: &'a str,
    /// Whether it cannot be taken back.
    pub danger: bool,
}

impl Confirm<'_> {
    /// Shows the question; `Some` once it is answered. Enter says yes, Esc says no.
    pub fn show(self, ctx: &Context) -> Option<bool> {
        let t = theme::tokens(ctx);
        let mut answer = None;
        let first = base::first_time(ctx, Id::unique(("confirm", self.id)));
        let response = Dialog::new(self.id, self.title).show(ctx, |ui| {
            ui.label(RichText::new(self.text).color(t.text_muted));
            buttons(ui, |ui| {
                let kind = if self.danger {
                    ButtonKind::Danger
                } else {
                    ButtonKind::Primary
                };
                let yes = ui.add(Button::new(kind, self.yes));
                if first {
                    yes.request_focus();
                }
                if yes.clicked() {
                    answer = Some(true);
                }
                if ui.add(Button::quiet("Cancel")).clicked() {
                    answer = Some(false);
                }
            });
        });
        if answer.is_none() && response.closed {
            answer = Some(false);
        }
        answer
    }
}

/// Whether Enter with the platform's command key was pressed: the default of dialogs whose fields take Enter themselves.
pub fn submitted(ui: &Ui) -> bool {
    ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::Enter))
}
