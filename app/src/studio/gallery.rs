//! All pictures of the library, newest first: searched, sorted, chosen, marked, thrown away and taken back.

mod entries;
pub mod morph;
pub mod select;
pub mod sift;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::Picture;

use super::command::{AppCommand, UiCommand};
use super::create::CreateCommand;
use super::drafts::draft;
use super::effects::{Effect, focus};
use super::house::House;
use super::log::Level;
use super::route::NewPicture;
use super::view::Workspace;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, PictureRecord, now};
use crate::library::{PictureQuery, Restored};
use crate::recall::Part;

pub use entries::entries;
pub use morph::{Morph, MorphCommand};
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
    /// Whether the person is asked about emptying the trash.
    pub emptying: bool,
    /// The way between two pictures.
    pub morph: Morph,
    items: Vec<Item>,
    /// Grows with every change of the pictures.
    revision: u64,
    sifted: Option<(u64, Sieve, Arc<[usize]>)>,
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
    /// Ask whether to delete what is in the trash for good.
    AskEmptyTrash,
    /// Leave it there.
    KeepTrash,
    /// Delete what is in the trash for good.
    EmptyTrash,
    /// Give the search field the keyboard.
    Search,
    /// Sizes of tiles in points.
    Tile(f32),
    /// Show or hide the details.
    Details,
    /// The way between two pictures.
    Morph(MorphCommand),
    /// Pictures that the library was asked for.
    Older {
        /// A page of them, the newest first.
        records: Vec<PictureRecord>,
        /// Whether they lie in the trash.
        trashed: bool,
    },
}

const DRAFT: &str = "gallery";
/// Pictures that are asked for at once: the library's thread has other things to do in between.
const PAGE: usize = 1000;
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
    pub fn shown(&mut self) -> Arc<[usize]> {
        let fresh = self
            .sifted
            .as_ref()
            .is_some_and(|(revision, sieve, _)| *revision == self.revision && *sieve == self.sieve);
        if let Some((_, _, found)) = self.sifted.as_ref().filter(|_| fresh) {
            return found.clone();
        }
        let found: Arc<[usize]> = self.sieve.sift(&self.items).into();
        self.sifted = Some((self.revision, self.sieve.clone(), found.clone()));
        found
    }

    fn shown_ids(&mut self) -> Vec<PictureId> {
        let shown = self.shown();
        shown
            .iter()
            .filter_map(|index| self.items.get(*index).map(|item| item.record.id))
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

    pub(super) fn restore(&mut self, restored: &Restored, house: &mut House) {
        let oldest = restored.pictures.last().map(|picture| picture.id);
        Self::ask(oldest, false, house);
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
            origin: new.origin.clone(),
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

    /// Asks for a page of what was not given at the start; it comes as [`GalleryCommand::Older`].
    fn ask(before: Option<PictureId>, trashed: bool, house: &House) {
        let query = PictureQuery {
            trashed,
            before,
            limit: PAGE,
            ..PictureQuery::default()
        };
        let reply = house.reply();
        house.look_up("older pictures", move |library| {
            let records = library.pictures(&query)?;
            reply.command(GalleryCommand::Older { records, trashed });
            Ok(None)
        });
    }

    /// Takes a page, and asks for the next one; behind the last are those in the trash.
    fn take(&mut self, records: Vec<PictureRecord>, trashed: bool, house: &House) {
        let known: HashSet<PictureId> = self.items.iter().map(|item| item.record.id).collect();
        let (count, last) = (records.len(), records.last().map(|record| record.id));
        let new = records
            .into_iter()
            .filter(|record| !known.contains(&record.id));
        self.items.extend(new.map(|record| Item {
            record,
            memory: None,
        }));
        self.items
            .sort_by_key(|item| std::cmp::Reverse(item.record.id));
        self.revision += 1;
        if count >= PAGE {
            Self::ask(last, trashed, house);
        } else if !trashed {
            Self::ask(None, true, house);
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
            GalleryCommand::AskEmptyTrash => {
                self.sieve.trash = true;
                self.selection.clear();
                self.emptying = self.trashed() > 0;
                house.command(AppCommand::Show(Workspace::Gallery));
            }
            GalleryCommand::KeepTrash => self.emptying = false,
            GalleryCommand::EmptyTrash => {
                self.emptying = false;
                self.empty_trash(house);
            }
            GalleryCommand::Search => house.effect(Effect::Focus(focus::SEARCH)),
            GalleryCommand::Tile(side) => {
                self.sieve.tile = side.clamp(*TILES.start(), *TILES.end());
            }
            GalleryCommand::Older { records, trashed } => self.take(records, trashed, house),
            GalleryCommand::Details => self.sieve.details = !self.sieve.details,
            GalleryCommand::Morph(command) => self.run_morph(command, house),
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
    pub(super) fn available(&self, command: &GalleryCommand, house: &House) -> Result<(), String> {
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
            GalleryCommand::AskEmptyTrash | GalleryCommand::EmptyTrash => {
                say(self.trashed() > 0, "The trash is empty")
            }
            GalleryCommand::PickNone => say(!self.selection.is_empty(), "No picture is chosen"),
            GalleryCommand::Morph(command) => self.morph_available(command, house),
            _ => Ok(()),
        }
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        draft(DRAFT, &self.sieve).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
