//! All pictures of the library, newest first: searched, sorted, chosen, marked, thrown away and taken back.

pub mod select;
pub mod sift;

use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::Picture;

use super::command::{AppCommand, Entry, UiCommand};
use super::create::CreateCommand;
use super::drafts::draft;
use super::effects::{Effect, focus};
use super::house::House;
use super::keys::{Chord, Place};
use super::log::Level;
use super::route::NewPicture;
use super::view::Workspace;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, PictureRecord, now};
use crate::recall::Part;
use crate::theme::Icon;

pub use select::{Pick, Selection};
pub use sift::{Order, Sieve};

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
    /// What of them is shown, and how.
    pub sieve: Sieve,
    /// The chosen ones.
    pub selection: Selection,
    items: Vec<Item>,
    /// Grows with every change of the pictures.
    revision: u64,
    sifted: Option<(u64, Sieve, Vec<usize>)>,
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
    /// Take several pictures back.
    RestoreAll(Vec<PictureId>),
    /// Choose a picture.
    Pick(PictureId, Pick),
    /// Choose what lies so many places further.
    Step(i32),
    /// Choose all that are shown.
    PickAll,
    /// Choose none.
    PickNone,
    /// Mark the chosen ones, or take the mark away if all have it.
    FavouriteChosen,
    /// Throw the chosen ones away.
    TrashChosen,
    /// Take the chosen ones back.
    RestoreChosen,
    /// Show the chosen one in Create.
    OpenChosen,
    /// Take settings of the chosen one.
    RecallChosen(Part),
    /// Ask where to save the chosen one.
    SaveChosen,
    /// Copy the chosen one.
    CopyChosen,
    /// Show the chosen one's file in its folder.
    RevealChosen,
    /// Show the trash, or leave it.
    ShowTrash(bool),
    /// Show favourites alone, or all.
    ShowFavourites(bool),
    /// Delete what is in the trash for good.
    EmptyTrash,
    /// Give the search field the keyboard.
    Search,
    /// Sizes of tiles in points.
    Tile(f32),
    /// Show or hide the details.
    Details,
}

const DRAFT: &str = "gallery";
/// Sizes of tiles that can be chosen, in points.
pub const TILES: std::ops::RangeInclusive<f32> = 88.0..=360.0;

impl Gallery {
    /// The pictures, newest first.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// A picture.
    pub fn get(&self, id: PictureId) -> Option<&Item> {
        self.index(id).and_then(|index| self.items.get(index))
    }

    /// Ids grow with time and the newest come first, apart from pictures of other windows, which are looked for one by one.
    fn index(&self, id: PictureId) -> Option<usize> {
        let guess = self
            .items
            .binary_search_by_key(&std::cmp::Reverse(id), |item| {
                std::cmp::Reverse(item.record.id)
            });
        guess
            .ok()
            .or_else(|| self.items.iter().position(|item| item.record.id == id))
    }

    fn get_mut(&mut self, id: PictureId) -> Option<&mut Item> {
        self.revision += 1;
        let index = self.index(id)?;
        self.items.get_mut(index)
    }

    /// Indices of the pictures that are shown, in their order.
    pub fn shown(&mut self) -> &[usize] {
        let fresh = self
            .sifted
            .as_ref()
            .is_some_and(|(revision, sieve, _)| *revision == self.revision && *sieve == self.sieve);
        if !fresh {
            let found = self.sieve.sift(&self.items);
            self.sifted = Some((self.revision, self.sieve.clone(), found));
        }
        self.sifted.as_ref().map_or(&[], |(_, _, found)| found)
    }

    fn shown_ids(&mut self) -> Vec<PictureId> {
        let shown = self.shown().to_vec();
        shown
            .into_iter()
            .filter_map(|index| self.items.get(index).map(|item| item.record.id))
            .collect()
    }

    /// How many pictures are in the trash.
    pub fn trashed(&self) -> usize {
        self.items.iter().filter(|item| item.record.trashed).count()
    }

    /// The picture that was chosen last.
    pub fn chosen(&self) -> Option<&Item> {
        self.get(self.selection.last()?)
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
            .chain(std::mem::take(&mut self.items))
            .collect();
        self.items
            .sort_by_key(|item| std::cmp::Reverse(item.record.id));
        self.items.dedup_by_key(|item| item.record.id);
        self.revision += 1;
        if let Some(sieve) = restored
            .drafts
            .get(DRAFT)
            .and_then(|text| serde_json::from_str::<Sieve>(text).ok())
        {
            self.sieve = sieve.healed();
        }
    }

    pub(super) fn on_picture(&mut self, new: &NewPicture, _house: &mut House) {
        let record = PictureRecord {
            id: new.id,
            path: PathBuf::new(),
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
        self.revision += 1;
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
                let favourite = self.get(id).is_some_and(|item| !item.record.favourite);
                self.set_favourite(id, favourite, house);
            }
            GalleryCommand::Trash(id) => self.trash(&[id], house),
            GalleryCommand::Restore(id) => self.set_trashed(id, false, house),
            GalleryCommand::RestoreAll(ids) => {
                for id in ids {
                    self.set_trashed(id, false, house);
                }
            }
            GalleryCommand::Pick(id, pick) => {
                let shown = self.shown_ids();
                self.selection.pick(id, pick, &shown);
            }
            GalleryCommand::Step(by) => {
                let shown = self.shown_ids();
                self.selection.step(by, &shown);
            }
            GalleryCommand::PickAll => {
                let shown = self.shown_ids();
                self.selection.all(&shown);
            }
            GalleryCommand::PickNone => self.selection.clear(),
            GalleryCommand::FavouriteChosen => {
                let ids = self.selection.ids();
                let marked =
                    |id: &PictureId| self.get(*id).is_some_and(|item| item.record.favourite);
                let favourite = !ids.iter().all(marked);
                for id in ids {
                    self.set_favourite(id, favourite, house);
                }
            }
            GalleryCommand::TrashChosen => self.trash_chosen(house),
            GalleryCommand::RestoreChosen => {
                for id in self.selection.ids() {
                    self.set_trashed(id, false, house);
                }
                self.selection.clear();
            }
            GalleryCommand::ShowTrash(trash) => {
                self.sieve.trash = trash;
                self.selection.clear();
            }
            GalleryCommand::ShowFavourites(favourites) => {
                self.sieve.favourites = favourites;
                self.selection.clear();
            }
            GalleryCommand::EmptyTrash => self.empty_trash(house),
            GalleryCommand::Search => house.effect(Effect::Focus(focus::SEARCH)),
            GalleryCommand::Tile(side) => {
                self.sieve.tile = side.clamp(*TILES.start(), *TILES.end());
            }
            GalleryCommand::Details => self.sieve.details = !self.sieve.details,
            command => self.pass_on(&command, house),
        }
    }

    /// What Create does with the chosen picture.
    fn pass_on(&self, command: &GalleryCommand, house: &mut House) {
        let Some(item) = self.chosen() else {
            return;
        };
        let id = item.record.id;
        match command {
            GalleryCommand::OpenChosen => {
                house.command(CreateCommand::Show(Some(id)));
            }
            GalleryCommand::RecallChosen(part) => {
                house.command(CreateCommand::RecallOf(id, *part));
            }
            GalleryCommand::SaveChosen => {
                house.command(CreateCommand::SaveAsOf(id));
            }
            GalleryCommand::CopyChosen => {
                house.command(CreateCommand::CopyOf(id));
            }
            GalleryCommand::RevealChosen if item.is_saved() => {
                let path = item.record.path.clone();
                house.effect(Effect::Reveal(path));
            }
            _ => {}
        }
    }

    fn set_favourite(&mut self, id: PictureId, favourite: bool, house: &mut House) {
        if let Some(item) = self.get_mut(id) {
            item.record.favourite = favourite;
            house.save("a mark", move |library| {
                library.set_favourite(id, favourite)?;
                Ok(None)
            });
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

    /// Throws pictures away and offers to take them back.
    fn trash(&mut self, ids: &[PictureId], house: &mut House) {
        for id in ids {
            self.set_trashed(*id, true, house);
        }
        let title = match ids.len() {
            0 => return,
            1 => "Moved to the trash".to_owned(),
            count => format!("{count} pictures moved to the trash"),
        };
        let back: UiCommand = GalleryCommand::RestoreAll(ids.to_vec()).into();
        let action = Some(("Undo".to_owned(), back));
        house.log.notify_with(Level::Info, title, "", action);
    }

    fn trash_chosen(&mut self, house: &mut House) {
        let ids = self.selection.ids();
        let shown = self.shown_ids();
        // The one behind the last is chosen next, as when one leafs on.
        let last = shown.iter().rposition(|id| ids.contains(id));
        let left = |id: &&PictureId| !ids.contains(id);
        let next = last.and_then(|last| {
            let (before, after) = shown.split_at((last + 1).min(shown.len()));
            after
                .iter()
                .find(left)
                .or_else(|| before.iter().rev().find(left))
        });
        self.selection.clear();
        if let Some(next) = next {
            self.selection.pick(*next, Pick::Only, &shown);
        }
        self.trash(&ids, house);
    }

    fn empty_trash(&mut self, house: &mut House) {
        let gone = self.trashed();
        self.items.retain(|item| !item.record.trashed);
        self.revision += 1;
        self.selection.clear();
        self.sieve.trash = false;
        house.save("the trash", |library| {
            library.empty_trash()?;
            Ok(None)
        });
        let title = match gone {
            1 => "A picture was deleted".to_owned(),
            count => format!("{count} pictures were deleted"),
        };
        house.log.notify(Level::Success, title, "");
    }

    /// Whether a command can be done now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn available(&self, command: &GalleryCommand, _house: &House) -> Result<(), String> {
        let say = |possible: bool, reason: &str| match possible {
            true => Ok(()),
            false => Err(reason.to_owned()),
        };
        match command {
            GalleryCommand::FavouriteChosen
            | GalleryCommand::OpenChosen
            | GalleryCommand::RecallChosen(_)
            | GalleryCommand::SaveChosen
            | GalleryCommand::CopyChosen
            | GalleryCommand::RevealChosen => say(self.chosen().is_some(), "No picture is chosen"),
            GalleryCommand::TrashChosen => {
                let some = self.chosen().is_some_and(|item| !item.record.trashed);
                say(some, "No picture is chosen")
            }
            GalleryCommand::RestoreChosen => {
                let some = self.chosen().is_some_and(|item| item.record.trashed);
                say(some, "No picture of the trash is chosen")
            }
            GalleryCommand::EmptyTrash => say(self.trashed() > 0, "The trash is empty"),
            GalleryCommand::PickNone => say(!self.selection.is_empty(), "No picture is chosen"),
            _ => Ok(()),
        }
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        draft(DRAFT, &self.sieve).into_iter().collect()
    }
}

/// Commands about pictures in the palette.
pub fn entries() -> Vec<Entry> {
    use GalleryCommand as G;
    use egui::Key;
    let key = |command: G, label, icon, chord| {
        Entry::new(command, label, icon).key(Place::Gallery, chord)
    };
    vec![
        key(
            G::Search,
            "Search the library",
            Icon::Search,
            Chord::ctrl(Key::F),
        ),
        Entry::new(
            AppCommand::Show(Workspace::Gallery),
            "Show all pictures",
            Icon::Grid,
        ),
        key(
            G::OpenChosen,
            "Open the chosen picture in Create",
            Icon::Image,
            Chord::plain(Key::Enter),
        ),
        key(
            G::PickAll,
            "Choose all pictures",
            Icon::Check,
            Chord::ctrl(Key::A),
        ),
        key(
            G::PickNone,
            "Choose no picture",
            Icon::Close,
            Chord::plain(Key::Escape),
        ),
        key(
            G::FavouriteChosen,
            "Mark the chosen pictures",
            Icon::Star,
            Chord::plain(Key::Period),
        ),
        key(
            G::TrashChosen,
            "Move the chosen pictures to the trash",
            Icon::Trash,
            Chord::plain(Key::Delete),
        ),
        Entry::new(
            G::RestoreChosen,
            "Take the chosen pictures out of the trash",
            Icon::Restore,
        ),
        key(
            G::RecallChosen(Part::All),
            "Use all settings of the chosen picture",
            Icon::Import,
            Chord::plain(Key::A),
        ),
        key(
            G::RecallChosen(Part::Seed),
            "Use the chosen picture's seed",
            Icon::Seed,
            Chord::plain(Key::S),
        ),
        key(
            G::RecallChosen(Part::Prompt),
            "Use the chosen picture's prompt",
            Icon::Text,
            Chord::plain(Key::P),
        ),
        key(
            G::RecallChosen(Part::Remix),
            "Remix the chosen picture",
            Icon::Swap,
            Chord::plain(Key::R),
        ),
        key(
            G::SaveChosen,
            "Save the chosen picture as…",
            Icon::Save,
            Chord::ctrl(Key::S),
        ),
        key(
            G::Details,
            "Show or hide the details of pictures",
            Icon::Info,
            Chord::plain(Key::I),
        ),
        Entry::new(G::ShowTrash(true), "Show the trash", Icon::Trash),
        Entry::new(G::ShowTrash(false), "Leave the trash", Icon::Library),
    ]
}

#[cfg(test)]
mod tests;
