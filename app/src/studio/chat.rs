//! Conversations with a model.

use diptych_inference::engine::Event;

use super::command::Entry;
use super::house::House;
use super::queue::TaskHead;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;

/// Conversations.
#[derive(Debug, Default)]
pub struct Chat {}

/// What a person wants in Chat.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatCommand {
    /// Begin a conversation.
    New,
}

impl Chat {
    pub(super) fn restore(&mut self, _restored: &Restored, _house: &mut House) {}

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    pub(super) fn apply(&mut self, _command: ChatCommand, _house: &mut House) {}

    pub(super) fn available(&self, _command: &ChatCommand, _house: &House) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    /// Called before each frame.
    pub(super) fn tick(&mut self, _house: &mut House) {}

    /// The window closes: hand over what is half done.
    pub(super) fn close(&mut self, _house: &mut House) {}

    pub(super) fn on_event(&mut self, _head: &TaskHead, _event: &Event, _house: &mut House) {}

    pub(super) fn on_discarded(&mut self, _head: &TaskHead, _house: &mut House) {}

    pub(super) fn on_library(&mut self, _event: &LibraryEvent, _house: &mut House) {}
}

/// Commands of Chat in the palette.
pub fn entries() -> Vec<Entry> {
    Vec::new()
}
