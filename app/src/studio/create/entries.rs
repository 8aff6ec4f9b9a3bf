//! What of Create stands in the palette.

use super::CreateCommand;
use crate::recall::Part;
use crate::studio::command::Entry;
use crate::studio::keys::{Chord, Place};
use crate::theme::Icon;

/// Commands of Create in the palette.
pub fn entries() -> Vec<Entry> {
    use CreateCommand as C;
    use egui::Key;
    let key =
        |command: C, label, icon, chord| Entry::new(command, label, icon).key(Place::Create, chord);
    vec![
        key(
            C::Generate { front: false },
            "Generate",
            Icon::Sparkle,
            Chord::ctrl(Key::Enter),
        ),
        key(
            C::Generate { front: true },
            "Generate before all others",
            Icon::Bolt,
            Chord::ctrl(Key::Enter).shift(),
        ),
        key(
            C::Stop,
            "Stop drawing",
            Icon::Stop,
            Chord::plain(Key::Escape),
        ),
        Entry::new(C::DrawSomething, "Draw something", Icon::Dice),
        key(
            C::Step(-1),
            "Newer picture",
            Icon::ArrowLeft,
            Chord::plain(Key::ArrowLeft),
        ),
        key(
            C::Step(1),
            "Older picture",
            Icon::ArrowRight,
            Chord::plain(Key::ArrowRight),
        ),
        Entry::new(C::Show(None), "Show the newest picture", Icon::Image),
        key(
            C::Recall(Part::All),
            "Use all settings of the picture",
            Icon::Import,
            Chord::plain(Key::A),
        ),
        key(
            C::Recall(Part::Seed),
            "Use the picture's seed",
            Icon::Seed,
            Chord::plain(Key::S),
        ),
        key(
            C::Recall(Part::Prompt),
            "Use the picture's prompt",
            Icon::Text,
            Chord::plain(Key::P),
        ),
        key(
            C::Recall(Part::Remix),
            "Remix: all settings but the seed",
            Icon::Swap,
            Chord::plain(Key::R),
        ),
        key(
            C::SaveAs,
            "Save the picture as…",
            Icon::Save,
            Chord::ctrl(Key::S),
        ),
        key(C::Copy, "Copy the picture", Icon::Copy, Chord::ctrl(Key::C)),
        Entry::new(C::CopyPrompt, "Copy the picture's prompt", Icon::Text),
        Entry::new(C::Reveal, "Show the picture's file", Icon::FolderOpen),
        key(
            C::Favourite,
            "Mark the picture as a favourite",
            Icon::Star,
            Chord::plain(Key::Period),
        ),
        key(
            C::Trash,
            "Move the picture to the trash",
            Icon::Trash,
            Chord::plain(Key::Delete),
        ),
        key(
            C::Details,
            "Show or hide the picture's settings",
            Icon::Info,
            Chord::plain(Key::I),
        ),
        key(
            C::ZoomFit,
            "Fit the picture",
            Icon::Fit,
            Chord::ctrl(Key::Num0),
        ),
        key(
            C::ZoomActual,
            "Show the picture at 100 %",
            Icon::ActualSize,
            Chord::ctrl(Key::Num1),
        ),
        Entry::new(C::SwapSize, "Swap width and height", Icon::Swap),
        Entry::new(C::RandomSeed, "Random seeds", Icon::Dice),
        Entry::new(C::LockSeed, "Keep the last seed", Icon::Lock),
        Entry::new(C::Reset, "Reset to the model's settings", Icon::Undo),
        key(
            C::Open,
            "Open a picture to use its settings…",
            Icon::FolderOpen,
            Chord::ctrl(Key::O),
        ),
        Entry::new(C::Dismiss, "Put the opened picture away", Icon::Close),
    ]
}
