//! Files dropped on the window, and pictures pasted into it.

use std::sync::Arc;

use diptych_inference::engine::Picture;
use egui::{ColorImage, Context, Event};

use super::Gui;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::attach::is_text;
use crate::studio::create::CreateCommand;
use crate::studio::create::guest::is_picture;
use crate::studio::view::Workspace;

/// Takes what was dropped or pasted in this frame: pictures are looked at, texts are attached where one chats,
/// conversations are imported, models are added.
pub fn take(ctx: &Context, workspace: Workspace, gui: &mut Gui<'_>) {
    let (files, pasted) = ctx.input(|input| {
        let pasted = input.events.iter().find_map(|event| match event {
            Event::PasteImage(picture) => Some(picture.clone()),
            _ => None,
        });
        (input.raw.dropped_files.clone(), pasted)
    });
    let files = if gui.dropped { Vec::new() } else { files };
    for file in files {
        let path = file.path().to_owned();
        if is_picture(&path) {
            gui.send(CreateCommand::Look(path));
        } else if workspace == Workspace::Chat && is_text(&path) {
            gui.send(ChatCommand::AttachFile(path));
        } else {
            gui.send(ChatCommand::Dropped(path));
        }
    }
    if let Some(picture) = pasted.and_then(|image| plain(&image)) {
        gui.send(CreateCommand::Paste(Arc::new(picture)));
    }
}

/// A pasted picture on white: the clipboard's may be transparent.
fn plain(image: &ColorImage) -> Option<Picture> {
    let [width, height] = image.size;
    let over_white = |channel: u8, alpha: u8| channel.saturating_add(255 - alpha);
    let rgb = image
        .pixels
        .iter()
        .flat_map(|pixel| {
            [pixel.r(), pixel.g(), pixel.b()].map(|channel| over_white(channel, pixel.a()))
        })
        .collect();
    Some(Picture {
        width: u32::try_from(width).ok().filter(|width| *width > 0)?,
        height: u32::try_from(height).ok().filter(|height| *height > 0)?,
        rgb,
    })
}
