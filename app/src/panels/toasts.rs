//! Notices in the corner.

use egui::{Context, Rect};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::log::Level;
use crate::widgets::toast::{Toast, ToastKind, Toasts};

/// Shows the notices over everything in `room`; new ones are taken from the log.
pub fn show(
    ctx: &Context,
    room: Rect,
    toasts: &mut Toasts<UiCommand>,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
) {
    for notice in studio.house.log.take_notices() {
        let kind = match notice.level {
            Level::Info => ToastKind::Info,
            Level::Success => ToastKind::Success,
            Level::Warning => ToastKind::Warning,
            Level::Error => ToastKind::Error,
        };
        let mut toast = Toast::new(kind, notice.title).cause(notice.text);
        if let Some((text, command)) = notice.action {
            toast = toast.action(text, command);
        }
        toasts.push(toast);
    }
    if let Some(command) = toasts.show(ctx, room) {
        gui.send(command);
    }
}
