//! Notices in the corner.

use egui::{Context, Rect, Vec2, vec2};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::log::Level;
use crate::widgets::toast::{Toast, ToastKind, Toasts};

/// Least size of a part of a workspace for notices to stay within it.
const LEAST: Vec2 = vec2(300.0, 150.0);

/// Shows the notices over the workspace, which takes all of `room`, in the part of it that its panel names; new ones are taken from the log.
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
    let room = gui
        .notices
        .filter(|part| part.width() >= LEAST.x && part.height() >= LEAST.y)
        .unwrap_or(room);
    if let Some(command) = toasts.show(ctx, room) {
        gui.send(command);
    }
}
