//! The workspace "Create": settings at the left, the canvas in the middle, the filmstrip below.

mod action;
mod additions;
pub mod again;
pub mod bar;
mod branch;
pub mod card;
mod controls;
pub mod facts;
mod film;
mod larger;
mod matter;
mod model;
mod paint;
mod second;
mod settings;
mod stage;
mod start;
mod steps;
mod welcome;
mod words;

use egui::{CentralPanel, Context, Event, Frame, Margin, Panel, Ui};

use super::Gui;
use crate::studio::Studio;
use crate::studio::create::CreateCommand;

/// Width of the settings, and of them in a narrow window.
const SETTINGS: f32 = 344.0;
const SETTINGS_NARROW: f32 = 308.0;
/// Windows narrower than this count as narrow.
const NARROW: f32 = 1060.0;
/// Height of the filmstrip.
const FILM: f32 = 98.0;

/// Shows the workspace.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let narrow = ui.available_width() < NARROW;
    let width = if narrow { SETTINGS_NARROW } else { SETTINGS };
    Panel::left("create settings")
        .exact_size(width)
        .resizable(false)
        .show_separator_line(false)
        .frame(Frame::new().fill(tokens.bg_panel))
        .show(ui, |ui| {
            Panel::bottom("create action")
                .resizable(false)
                .show_separator_line(false)
                .frame(Frame::new().fill(tokens.bg_panel).inner_margin(Margin {
                    left: 16,
                    right: 16,
                    top: 10,
                    bottom: 14,
                }))
                .show(ui, |ui| action::show(ui, studio, gui));
            CentralPanel::no_frame().show(ui, |ui| settings::show(ui, studio, gui));
        });
    let some = !studio.gallery.items().is_empty() || !studio.house.queue.tasks().is_empty();
    if some {
        Panel::bottom("create film")
            .exact_size(FILM)
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(tokens.bg_base))
            .show(ui, |ui| film::show(ui, studio, gui));
    }
    CentralPanel::no_frame()
        .frame(Frame::new().fill(tokens.canvas_bg))
        .show(ui, |ui| {
            gui.notices = Some(ui.max_rect());
            stage::show(ui, studio, gui);
        });
    larger::show(ui.ctx(), studio, gui);
    matter::show(ui.ctx(), studio, gui);
    copy_key(ui.ctx(), studio, gui);
}

/// Systems turn Ctrl+C into a word of its own, which no list of keys hears.
fn copy_key(ctx: &Context, studio: &Studio, gui: &mut Gui<'_>) {
    let copied = ctx.input(|input| {
        input
            .events
            .iter()
            .any(|event| matches!(event, Event::Copy))
    });
    let command = CreateCommand::Copy;
    if copied
        && !ctx.text_edit_focused()
        && !egui::Popup::is_any_open(ctx)
        && studio.available(&command.clone().into()).is_ok()
    {
        gui.send(command);
    }
}
