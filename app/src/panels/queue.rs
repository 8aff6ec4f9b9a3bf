//! The strip at the bottom: what runs, what waits, what computes.

use egui::Ui;

use super::Gui;
use crate::studio::Studio;

/// Shows the strip.
pub fn show(ui: &mut Ui, studio: &mut Studio, _gui: &mut Gui<'_>) {
    ui.horizontal(|ui| {
        for task in studio.house.queue.tasks() {
            ui.label(format!("{} {}", task.stage.label(), task.title()));
        }
    });
}
