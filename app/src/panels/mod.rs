//! The window's panels: they read the studio and answer with commands.
//!
//! A panel is a function `show(ui, studio, gui)`. Text fields edit the studio's state in place; everything else that a
//! person does is pushed as a [`UiCommand`] and done after the frame.

pub mod chat;
pub mod compare;
pub mod create;
pub mod drop;
pub mod gallery;
pub mod keys;
pub mod lists;
pub mod log;
pub mod models;
pub mod palette;
pub mod queue;
pub mod rail;
pub mod settings;
pub mod toasts;

use std::sync::Arc;

use egui::Rect;

use crate::studio::command::{Entry, UiCommand};
use crate::theme::Tokens;

/// What panels are given beside the studio.
pub struct Gui<'a> {
    /// Colours and sizes.
    pub tokens: Arc<Tokens>,
    /// All commands of the palette, with their keys.
    pub entries: &'a [Entry],
    /// What the person did in this frame.
    pub commands: Vec<UiCommand>,
    /// The field that is to take the keyboard now (see [`crate::studio::effects::focus`]); a panel that has it takes it.
    pub focus: Option<&'static str>,
    /// Whether a panel has taken the files that were dropped in this frame.
    pub dropped: bool,
    /// Where notices may lie: a part of the workspace in which nothing is pressed next. `None` is all of it.
    pub notices: Option<Rect>,
}

impl Gui<'_> {
    /// Has a command done after the frame.
    pub fn send(&mut self, command: impl Into<UiCommand>) {
        self.commands.push(command.into());
    }

    /// The keys of a command, for tooltips: `Ctrl+K`.
    pub fn keys(&self, command: &UiCommand) -> Option<String> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.command == *command)?;
        entry.keys.first().map(|chord| chord.text())
    }

    /// Whether a field is to take the keyboard now. Tells so once.
    pub fn takes_focus(&mut self, name: &'static str) -> bool {
        let wanted = self.focus == Some(name);
        if wanted {
            self.focus = None;
        }
        wanted
    }
}
