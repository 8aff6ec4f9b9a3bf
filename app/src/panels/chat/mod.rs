//! The workspace "Chat".

use egui::Ui;

use super::Gui;
use crate::studio::Studio;

/// Shows the workspace.
pub fn show(ui: &mut Ui, _studio: &mut Studio, _gui: &mut Gui<'_>) {
    ui.heading("Chat");
}
