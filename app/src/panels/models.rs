//! The drawer "Models".

use egui::Ui;

use super::Gui;
use crate::studio::Studio;

/// Shows the drawer's contents.
pub fn show(ui: &mut Ui, _studio: &mut Studio, _gui: &mut Gui<'_>) {
    ui.heading("Models");
}
