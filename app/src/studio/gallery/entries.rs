//! What of the library stands in the palette.

use super::{GalleryCommand, MorphCommand};
use crate::recall::Part;
use crate::studio::command::{AppCommand, Entry};
use crate::studio::keys::{Chord, Place};
use crate::studio::view::Workspace;
use crate::theme::Icon;

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
        Entry::new(G::CopyChosen, "Copy the chosen picture", Icon::Copy),
        Entry::new(
            G::RevealChosen,
            "Show the chosen picture's file",
            Icon::FolderOpen,
        ),
        Entry::new(
            G::Morph(MorphCommand::Ask),
            "Morph between two pictures…",
            Icon::Morph,
        ),
        Entry::new(
            G::ShowFavourites(true),
            "Show favourites alone",
            Icon::StarFilled,
        ),
        Entry::new(
            G::ShowFavourites(false),
            "Show favourites and all others",
            Icon::Star,
        ),
        Entry::new(G::AskEmptyTrash, "Empty the trash…", Icon::Trash),
        Entry::new(G::ShowTrash(true), "Show the trash", Icon::Trash),
        Entry::new(G::ShowTrash(false), "Leave the trash", Icon::Library),
    ]
}
