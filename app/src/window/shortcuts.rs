//! Which commands were pressed in this frame.

use egui::Context;

use crate::studio::Studio;
use crate::studio::command::{AppCommand, Entry, UiCommand};

/// Takes the keys of commands out of the input and gives the commands. Keys that a text field has a use for are left to
/// it while it has the keyboard.
pub fn pressed(ctx: &Context, studio: &Studio, entries: &[Entry]) -> Vec<UiCommand> {
    let typing = ctx.text_edit_focused();
    let covered = studio.view.overlay.is_some();
    let mut chords: Vec<_> = entries
        .iter()
        .filter(|entry| entry.place.holds(studio.view.workspace))
        .filter(|entry| !covered || matches!(entry.command, UiCommand::App(_)))
        .flat_map(|entry| entry.keys.iter().map(move |chord| (*chord, entry)))
        .filter(|(chord, _)| !(typing && chord.is_for_text()))
        .collect();
    // Ctrl+Shift+Z before Ctrl+Z: egui's matching lets further modifiers pass.
    chords.sort_by_key(|(chord, _)| {
        std::cmp::Reverse(u8::from(chord.ctrl) + u8::from(chord.shift) + u8::from(chord.alt))
    });
    let mut commands = Vec::new();
    for (chord, entry) in chords {
        if ctx.input_mut(|input| input.consume_shortcut(&chord.shortcut()))
            && studio.available(&entry.command).is_ok()
        {
            commands.push(entry.command.clone());
        }
    }
    if covered && ctx.input_mut(|input| input.consume_key(egui::Modifiers::NONE, egui::Key::Escape))
    {
        commands.push(AppCommand::CloseOverlay.into());
    }
    commands
}
