//! What of Create stands in the palette.

use super::control::ControlCommand;
use super::lists::ListsCommand;
use super::{
    AgainCommand, CreateCommand, EnlargeCommand, MaskCommand, MatterCommand, StartCommand,
    StepsCommand, Tool,
};
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
        key(
            C::Start(StartCommand::FromShown),
            "Use the picture as a start",
            Icon::Start,
            Chord::plain(Key::U),
        ),
        Entry::new(
            C::Start(StartCommand::Ask),
            "Open a picture to begin from…",
            Icon::FolderOpen,
        ),
        Entry::new(
            C::Start(StartCommand::Match),
            "Give the picture the start picture's shape",
            Icon::Crop,
        ),
        Entry::new(
            C::Start(StartCommand::Remove),
            "Take the start picture away",
            Icon::Close,
        ),
        key(
            C::Mask(MaskCommand::Open),
            "Paint a mask",
            Icon::Brush,
            Chord::plain(Key::M),
        ),
        Entry::new(
            C::Mask(MaskCommand::Close),
            "Finish painting the mask",
            Icon::Check,
        ),
        key(
            C::Mask(MaskCommand::Take(Tool::Brush)),
            "Brush: what is drawn anew",
            Icon::Brush,
            Chord::plain(Key::B),
        ),
        key(
            C::Mask(MaskCommand::Take(Tool::Eraser)),
            "Eraser: what is kept",
            Icon::Eraser,
            Chord::plain(Key::E),
        ),
        key(
            C::Mask(MaskCommand::Smaller),
            "Narrower brush",
            Icon::Minus,
            Chord::plain(Key::OpenBracket),
        ),
        key(
            C::Mask(MaskCommand::Larger),
            "Wider brush",
            Icon::Plus,
            Chord::plain(Key::CloseBracket),
        ),
        Entry::new(C::Mask(MaskCommand::Fill), "Fill the mask", Icon::Fill),
        Entry::new(
            C::Mask(MaskCommand::Invert),
            "Invert the mask",
            Icon::Invert,
        ),
        Entry::new(C::Mask(MaskCommand::Clear), "Clear the mask", Icon::Trash),
        Entry::new(C::Mask(MaskCommand::AskOpen), "Load a mask…", Icon::Import),
        Entry::new(
            C::Mask(MaskCommand::AskSave),
            "Save the mask as…",
            Icon::Export,
        ),
        key(
            C::Steps(StepsCommand::By(-1)),
            "Step before in the picture's making",
            Icon::ChevronLeft,
            Chord::plain(Key::ArrowLeft).shift(),
        ),
        key(
            C::Steps(StepsCommand::By(1)),
            "Next step in the picture's making",
            Icon::ChevronRight,
            Chord::plain(Key::ArrowRight).shift(),
        ),
        Entry::new(
            C::Steps(StepsCommand::First),
            "Show the first step of the picture",
            Icon::ArrowLeft,
        ),
        Entry::new(
            C::Steps(StepsCommand::Last),
            "Show the picture after all steps",
            Icon::ArrowRight,
        ),
        key(
            C::Steps(StepsCommand::Branch),
            "Branch from the step that is shown",
            Icon::Branch,
            Chord::plain(Key::N),
        ),
        Entry::new(
            C::Steps(StepsCommand::Leave),
            "Leave the branch",
            Icon::Close,
        ),
        Entry::new(
            C::ShowOrigin,
            "Show the picture that this one came from",
            Icon::Link,
        ),
        Entry::new(
            C::Control(ControlCommand::AskFile),
            "Add a ControlNet from a file…",
            Icon::Plus,
        ),
        Entry::new(
            C::UseVae(None),
            "Use the model's own autoencoder",
            Icon::Model,
        ),
        Entry::new(
            C::Lists(ListsCommand::AskFolder),
            "Use another folder of word lists…",
            Icon::Folder,
        ),
        Entry::new(
            C::Lists(ListsCommand::Reveal),
            "Show the folder of word lists",
            Icon::FolderOpen,
        ),
        Entry::new(
            C::Enlarge(EnlargeCommand::Ask),
            "Make the picture larger…",
            Icon::Enlarge,
        ),
        Entry::new(
            C::Matter(MatterCommand::Ask),
            "Which words matter…",
            Icon::Text,
        ),
        Entry::new(
            C::Again(AgainCommand::Check),
            "Check that the picture can be made again",
            Icon::Refresh,
        ),
    ]
}
