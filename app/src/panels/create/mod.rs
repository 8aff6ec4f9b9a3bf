//! The workspace "Create".

use egui::Ui;

use super::Gui;
use crate::studio::Studio;
use crate::studio::create::CreateCommand;
use crate::studio::effects::focus;

/// Shows the workspace.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let label = ui.label("Prompt");
    let prompt = ui
        .text_edit_multiline(&mut studio.create.form.prompt)
        .labelled_by(label.id);
    if gui.takes_focus(focus::PROMPT) {
        prompt.request_focus();
    }
    let draw = CreateCommand::Generate { front: false };
    let available = studio.available(&draw.clone().into());
    let button = ui.add_enabled(available.is_ok(), egui::Button::new("Draw"));
    if button.clicked() {
        gui.send(draw);
    }
    if let Err(reason) = available {
        button.on_disabled_hover_text(reason);
    }
    for item in studio.gallery.items() {
        ui.label(format!(
            "{} ({}x{}, seed {})",
            item.record.request.prompt,
            item.record.width,
            item.record.height,
            item.record.request.seed
        ));
    }
}
