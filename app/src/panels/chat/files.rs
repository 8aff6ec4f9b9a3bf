//! Text files that are given along with messages.

use egui::{Align, Layout, Ui};

use super::super::Gui;
use crate::library::records::Attachment;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::theme::Icon;
use crate::widgets::chip::Chip;
use crate::words;

/// Most characters of a file's beginning that are shown.
const BEGINNING: usize = 240;

/// In tokens, once they are counted.
fn size(file: &Attachment, tokens: Option<u32>) -> String {
    match tokens {
        Some(tokens) => format!("{} tokens", words::count(tokens)),
        None => words::bytes(file.text.len() as u64),
    }
}

/// The first words of a file.
fn beginning(file: &Attachment) -> String {
    let mut beginning: String = file.text.chars().take(BEGINNING).collect();
    if beginning.len() < file.text.len() {
        beginning.push('…');
    }
    beginning
}

/// Files of the message that is being written; a click takes one away.
pub fn attached(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    if studio.chat.attached().is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(6.0, 6.0);
        for (index, file) in studio.chat.attached().iter().enumerate() {
            let tokens = studio.chat.tokens_of(index, &studio.house);
            let words = format!("{} · {}", file.name, size(file, tokens));
            let beginning = beginning(file);
            let chip = Chip::new(&words)
                .icon(Icon::Text)
                .removable()
                .tooltip(&beginning);
            if ui.push_id(index, |ui| ui.add(chip)).inner.clicked() {
                gui.send(ChatCommand::Detach(index));
            }
        }
    });
    ui.add_space(gui.tokens.size.gap_xs);
}

/// Files that were sent with a message, at the right.
pub fn given(ui: &mut Ui, files: &[Attachment]) {
    if files.is_empty() {
        return;
    }
    ui.with_layout(
        Layout::right_to_left(Align::Center).with_main_wrap(true),
        |ui| {
            ui.spacing_mut().item_spacing = egui::vec2(6.0, 6.0);
            for (index, file) in files.iter().enumerate() {
                let words = format!("{} · {}", file.name, size(file, None));
                let beginning = beginning(file);
                let chip = Chip::new(&words).icon(Icon::Text).tooltip(&beginning);
                ui.push_id(index, |ui| ui.add(chip));
            }
        },
    );
    ui.add_space(6.0);
}
