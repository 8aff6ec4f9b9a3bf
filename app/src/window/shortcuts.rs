//! Which commands were pressed in this frame.

use egui::{Context, Event, Key};

use crate::studio::Studio;
use crate::studio::command::{AppCommand, Entry, UiCommand};
use crate::studio::keys::Chord;

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
        // Most frames have no key in them; what a command needs is not asked for nothing.
        .filter(|(chord, _)| is_pressed(ctx, *chord))
        .filter(|(chord, _)| !has_use_for(ctx, *chord))
        .collect();
    // Ctrl+Shift+Z before Ctrl+Z: egui's matching lets further modifiers pass.
    chords.sort_by_key(|(chord, _)| {
        std::cmp::Reverse(u8::from(chord.ctrl) + u8::from(chord.shift) + u8::from(chord.alt))
    });
    let mut commands = Vec::new();
    for (chord, entry) in chords {
        if studio.available(&entry.command).is_ok()
            && ctx.input_mut(|input| input.consume_shortcut(&chord.shortcut()))
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

/// Keys that do their work again and again while they are held: steps, sizes, undo. A held Ctrl+Enter draws one picture, not many.
fn repeats(chord: Chord) -> bool {
    match chord.key {
        Key::ArrowUp
        | Key::ArrowDown
        | Key::ArrowLeft
        | Key::ArrowRight
        | Key::OpenBracket
        | Key::CloseBracket
        | Key::Plus
        | Key::Equals
        | Key::Minus => true,
        Key::Z | Key::Y => chord.ctrl,
        _ => false,
    }
}

/// Whether a key is pressed in this frame, as egui's shortcuts see it.
fn is_pressed(ctx: &Context, chord: Chord) -> bool {
    let wanted = chord.shortcut();
    ctx.input(|input| {
        input.events.iter().any(|event| {
            matches!(event, Event::Key { key, modifiers, repeat, pressed: true, .. }
                if *key == wanted.logical_key
                    && modifiers.matches_logically(wanted.modifiers)
                    && (!*repeat || repeats(chord)))
        })
    })
}

/// Whether what is open or has the keyboard has a use for a key of its own: menus and dialogs close with Esc, buttons are pressed
/// with Enter, sliders are moved with arrows.
fn has_use_for(ctx: &Context, chord: Chord) -> bool {
    if ctx.memory(|memory| memory.top_modal_layer().is_some()) {
        return true;
    }
    if chord.ctrl || chord.alt {
        return false;
    }
    let open = egui::Popup::is_any_open(ctx);
    let focused = ctx.memory(|memory| memory.focused().is_some());
    match chord.key {
        Key::Enter
        | Key::Space
        | Key::ArrowUp
        | Key::ArrowDown
        | Key::ArrowLeft
        | Key::ArrowRight => open || focused,
        _ => open,
    }
}
