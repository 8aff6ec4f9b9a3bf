//! Files dropped on the window, and pictures pasted into it.

use egui::{Context, Event};

use super::Gui;
use crate::studio::command::ModelsCommand;

/// Takes what was dropped or pasted in this frame.
pub fn take(ctx: &Context, gui: &mut Gui<'_>) {
    let (files, pasted) = ctx.input(|input| {
        let pasted = input.events.iter().find_map(|event| match event {
            Event::PasteImage(picture) => Some(picture.clone()),
            _ => None,
        });
        (input.raw.dropped_files.clone(), pasted)
    });
    for file in files {
        gui.send(ModelsCommand::Add(file.path().to_owned()));
    }
    drop(pasted);
}
