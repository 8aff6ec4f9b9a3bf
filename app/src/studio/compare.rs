//! Prompt variants side by side.

use diptych_inference::engine::Event;

use super::command::Entry;
use super::house::House;
use super::queue::TaskHead;
use super::route::NewPicture;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;

/// Side by side.
#[derive(Debug, Default)]
pub struct Compare {}

/// What a person wants in Compare.
#[derive(Clone, Debug, PartialEq)]
pub enum CompareCommand {
    /// Begin a grid.
    New,
}

impl Compare {
    pub(super) fn restore(&mut self, _restored: &Restored, _house: &mut House) {}

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    pub(super) fn apply(&mut self, _command: CompareCommand, _house: &mut House) {}

    pub(super) fn available(
        &self,
        _command: &CompareCommand,
        _house: &House,
    ) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    /// Called before each frame.
    pub(super) fn tick(&mut self, _house: &mut House) {}

    pub(super) fn on_event(&mut self, _head: &TaskHead, _event: &Event, _house: &mut House) {}

    pub(super) fn on_discarded(&mut self, _head: &TaskHead, _house: &mut House) {}

    pub(super) fn on_picture(&mut self, _new: &NewPicture, _house: &mut House) {}

    pub(super) fn on_library(&mut self, _event: &LibraryEvent, _house: &mut House) {}
}

/// Commands of Compare in the palette.
pub fn entries() -> Vec<Entry> {
    Vec::new()
}
