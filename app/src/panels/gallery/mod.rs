//! The workspace "Library": all pictures, searched, sorted, chosen.

mod grid;
mod morph;
mod side;
mod top;

use egui::{CentralPanel, Frame, Margin, Panel, Ui};

use super::Gui;
use crate::studio::Studio;
use crate::studio::gallery::GalleryCommand;
use crate::studio::view::Workspace;
use crate::theme::Icon;
use crate::widgets::empty::{EmptyAction, EmptyState};

/// Width of the details.
const DETAILS: f32 = 300.0;

/// Shows the workspace.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    Panel::top("gallery top")
        .resizable(false)
        .show_separator_line(false)
        .frame(
            Frame::new()
                .fill(tokens.bg_panel)
                .inner_margin(Margin::symmetric(14, 7)),
        )
        .show(ui, |ui| top::show(ui, studio, gui));
    let chosen = studio.gallery.chosen().is_some();
    if studio.gallery.sieve.details && chosen {
        Panel::right("gallery details")
            .exact_size(DETAILS.min(ui.available_width() * 0.45))
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(tokens.bg_panel))
            .show(ui, |ui| side::show(ui, studio, gui));
    }
    CentralPanel::no_frame()
        .frame(Frame::new().fill(tokens.bg_base))
        .show(ui, |ui| {
            gui.notices = Some(ui.max_rect());
            if studio.gallery.shown().is_empty() {
                empty(ui, studio, gui);
            } else {
                grid::show(ui, studio, gui);
            }
        });
    morph::show(ui.ctx(), studio, gui);
}

/// Nothing is there, or nothing passes.
fn empty(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let sieve = &mut studio.gallery.sieve;
    if sieve.is_narrow() {
        let state = EmptyState::new(
            Icon::Search,
            "Nothing matches",
            "No picture has all of these words and marks.",
        )
        .action("Show all pictures", Icon::Close, None);
        if state.show(ui) == Some(EmptyAction::First) {
            sieve.text.clear();
            sieve.favourites = false;
        }
    } else if sieve.trash {
        let state = EmptyState::new(
            Icon::Trash,
            "The trash is empty",
            "Pictures that you throw away wait here until you empty it.",
        )
        .action("Back to the library", Icon::Library, None);
        if state.show(ui) == Some(EmptyAction::First) {
            gui.send(GalleryCommand::ShowTrash(false));
        }
    } else {
        let state = EmptyState::new(
            Icon::Library,
            "Your pictures gather here",
            "Every picture that you draw is kept with all of its settings.",
        )
        .action("Draw the first one", Icon::Sparkle, None);
        if state.show(ui) == Some(EmptyAction::First) {
            gui.send(crate::studio::command::AppCommand::Show(Workspace::Create));
        }
    }
}
