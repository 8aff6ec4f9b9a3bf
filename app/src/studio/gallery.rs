//! All pictures of the library, newest first.

use std::sync::Arc;

use diptych_inference::engine::Picture;

use super::command::Entry;
use super::house::House;
use super::route::NewPicture;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, PictureRecord, now};

/// A picture as the window has it.
#[derive(Clone, Debug)]
pub struct Item {
    /// What the library keeps of it; the path is empty until it is saved.
    pub record: PictureRecord,
    /// The picture itself, while it is not in its file yet.
    pub memory: Option<Arc<Picture>>,
}

impl Item {
    /// Whether it lies safely in the library.
    pub fn is_saved(&self) -> bool {
        self.memory.is_none()
    }
}

/// All pictures.
#[derive(Debug, Default)]
pub struct Gallery {
    items: Vec<Item>,
}

/// What a person wants with pictures.
#[derive(Clone, Debug, PartialEq)]
pub enum GalleryCommand {
    /// Mark a picture, or take the mark away.
    Favourite(PictureId),
    /// Throw a picture away; it can be taken back.
    Trash(PictureId),
    /// Take a picture back.
    Restore(PictureId),
}

impl Gallery {
    /// The pictures, newest first.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// A picture.
    pub fn get(&self, id: PictureId) -> Option<&Item> {
        self.items.iter().find(|item| item.record.id == id)
    }

    fn get_mut(&mut self, id: PictureId) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.record.id == id)
    }

    pub(super) fn restore(&mut self, restored: &Restored, _house: &mut House) {
        self.items = restored
            .pictures
            .iter()
            .cloned()
            .map(|record| Item {
                record,
                memory: None,
            })
            .collect();
        self.items
            .sort_by_key(|item| std::cmp::Reverse(item.record.id));
    }

    pub(super) fn on_picture(&mut self, new: &NewPicture, _house: &mut House) {
        let record = PictureRecord {
            id: new.id,
            path: std::path::PathBuf::new(),
            created: now(),
            request: new.request.clone(),
            width: new.picture.width,
            height: new.picture.height,
            steps_done: new.steps_done,
            seconds: new.seconds,
            favourite: false,
            trashed: false,
            grid: new.grid,
        };
        self.items.insert(
            0,
            Item {
                record,
                memory: Some(new.picture.clone()),
            },
        );
    }

    pub(super) fn on_library(&mut self, event: &LibraryEvent, _house: &mut House) {
        if let LibraryEvent::PictureSaved(record) = event
            && let Some(item) = self.get_mut(record.id)
        {
            item.record.path.clone_from(&record.path);
            item.record.created = record.created;
            item.memory = None;
        }
    }

    pub(super) fn apply(&mut self, command: GalleryCommand, house: &mut House) {
        match command {
            GalleryCommand::Favourite(id) => {
                if let Some(item) = self.get_mut(id) {
                    item.record.favourite = !item.record.favourite;
                    let favourite = item.record.favourite;
                    house.save("a mark", move |library| {
                        library.set_favourite(id, favourite)?;
                        Ok(None)
                    });
                }
            }
            GalleryCommand::Trash(id) => self.set_trashed(id, true, house),
            GalleryCommand::Restore(id) => self.set_trashed(id, false, house),
        }
    }

    fn set_trashed(&mut self, id: PictureId, trashed: bool, house: &mut House) {
        if let Some(item) = self.get_mut(id) {
            item.record.trashed = trashed;
            house.save("the trash", move |library| {
                library.set_trashed(id, trashed)?;
                Ok(None)
            });
        }
    }

    pub(super) fn available(
        &self,
        _command: &GalleryCommand,
        _house: &House,
    ) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Commands about pictures in the palette.
pub fn entries() -> Vec<Entry> {
    Vec::new()
}
