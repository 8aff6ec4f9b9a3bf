//! Nothing is forgotten in the palette: every command is listed here, with its name there or the reason why it has none. A new command does not compile
//! until it is listed, and one that is listed as being in the palette fails the test until it is.

use std::collections::BTreeSet;

use super::chat::{ChatCommand as Chat, Deed};
use super::command::{
    AppCommand as App, ModelsCommand as Models, QueueCommand as Queue, UiCommand, entries,
};
use super::compare::CompareCommand as Compare;
use super::create::CreateCommand as Create;
use super::create::again::AgainCommand as Again;
use super::create::brush::MaskCommand as Mask;
use super::create::control::ControlCommand as Control;
use super::create::desk::StartCommand as Start;
use super::create::enlarge::EnlargeCommand as Enlarge;
use super::create::lists::ListsCommand as Lists;
use super::create::matter::MatterCommand as Matter;
use super::create::steps::StepsCommand as Steps;
use super::gallery::GalleryCommand as Gallery;
use super::gallery::morph::MorphCommand as Morph;
use super::settings::SettingsCommand as Settings;

/// Where a command is found by somebody without a pointer.
enum Reach {
    /// In the palette, under this key.
    Palette(&'static str),
    /// Among what the palette makes of models, presets, conversations and comparisons.
    Listed,
    /// Not there, because …
    Elsewhere(#[allow(dead_code, reason = "for those who read this file")] &'static str),
}

/// A match over all commands of a kind, and the keys of those that belong into the palette.
macro_rules! reach {
    ($name:ident, $keys:ident, $type:ty;
        palette { $($key:literal: $pattern:pat),* $(,)? }
        listed { $($listed:pat),* $(,)? }
        elsewhere { $($why:literal: $other:pat),* $(,)? }
    ) => {
        const $keys: &[&str] = &[$($key),*];

        fn $name(command: &$type) -> Reach {
            match command {
                $($pattern => Reach::Palette($key),)*
                $($listed => Reach::Listed,)*
                $($other => Reach::Elsewhere($why),)*
            }
        }
    };
}

reach! { app, APP, App;
    palette {
        "show": App::Show(_), "drawer": App::Drawer(_), "palette": App::Palette, "keys": App::Keys, "queue": App::ToggleQueue, "undo": App::Undo,
        "redo": App::Redo, "write": App::Write, "full screen": App::FullScreen, "quit": App::Quit,
    }
    listed {}
    elsewhere { "Esc": App::CloseDrawer | App::CloseOverlay }
}

reach! { create, CREATE, Create;
    palette {
        "generate": Create::Generate { front: false }, "generate first": Create::Generate { front: true }, "stop": Create::Stop,
        "something": Create::DrawSomething, "reset": Create::Reset, "swap": Create::SwapSize, "random": Create::RandomSeed, "lock": Create::LockSeed,
        "newest": Create::Show(None), "step": Create::Step(_), "recall": Create::Recall(_), "save": Create::SaveAs, "copy": Create::Copy,
        "copy prompt": Create::CopyPrompt, "reveal": Create::Reveal, "favourite": Create::Favourite, "trash": Create::Trash, "details": Create::Details,
        "fit": Create::ZoomFit, "actual": Create::ZoomActual, "open": Create::Open, "dismiss": Create::Dismiss, "own vae": Create::UseVae(None),
        "origin": Create::ShowOrigin,
        "start shown": Create::Start(Start::FromShown), "start ask": Create::Start(Start::Ask), "start remove": Create::Start(Start::Remove),
        "start match": Create::Start(Start::Match),
        "mask": Create::Mask(Mask::Open), "mask close": Create::Mask(Mask::Close), "tool": Create::Mask(Mask::Take(_)),
        "wider": Create::Mask(Mask::Larger), "narrower": Create::Mask(Mask::Smaller), "fill": Create::Mask(Mask::Fill),
        "invert": Create::Mask(Mask::Invert), "clear": Create::Mask(Mask::Clear), "mask save": Create::Mask(Mask::AskSave),
        "mask load": Create::Mask(Mask::AskOpen),
        "by": Create::Steps(Steps::By(_)), "first": Create::Steps(Steps::First), "last": Create::Steps(Steps::Last),
        "branch": Create::Steps(Steps::Branch), "leave": Create::Steps(Steps::Leave),
        "control file": Create::Control(Control::AskFile), "enlarge": Create::Enlarge(Enlarge::Ask),
        "matter": Create::Matter(Matter::Ask), "again": Create::Again(Again::Check),
        "lists folder": Create::Lists(Lists::AskFolder), "lists reveal": Create::Lists(Lists::Reveal),
    }
    listed { Create::UseModel(_), Create::UseVae(Some(_)), Create::AddLora(_), Create::Control(Control::Add(_)) }
    elsewhere {
        "comes with a text of its own": Create::DrawPrompt(_) | Create::TakePrompt(_) | Create::PasteSettings(_) | Create::Paste(_),
        "of one picture in a strip or grid, which arrow keys choose": Create::Show(Some(_)) | Create::ShowJob(_) | Create::RecallOf(..)
            | Create::SaveAsOf(_) | Create::CopyOf(_) | Create::Start(Start::FromPicture(_)) | Create::Enlarge(Enlarge::Picture(_))
            | Create::Steps(Steps::To(_)) | Create::Again(Again::Of(_)),
        "follows from a dialog, a dropped file or a thread": Create::ExpectModel(_) | Create::SaveTo(..) | Create::Copied(_) | Create::Look(_)
            | Create::Welcome(_) | Create::StartRefused | Create::Ordered(_)
            | Create::Start(Start::FromFile(_) | Start::Took(_) | Start::Loaded(_) | Start::Widened(..) | Start::Prepared(..) | Start::MaskWritten(..))
            | Create::Mask(Mask::SaveTo(_) | Mask::FromFile(_) | Mask::Took(..))
            | Create::Steps(Steps::Known(_) | Steps::Read(..)) | Create::Again(Again::Told(..))
            | Create::Enlarge(Enlarge::Took(..) | Enlarge::Refused)
            | Create::Control(Control::Expect(_) | Control::Took(..) | Control::Refused | Control::FromFile(..))
            | Create::Lists(Lists::Look | Lists::Found(..) | Lists::Opened(..) | Lists::Kept(..) | Lists::UseFolder(_) | Lists::Tried(_)),
        "a button in a list or dialog, which Tab reaches": Create::RemoveLora(_)
            | Create::Control(Control::Remove(_) | Control::FromShown(_) | Control::FromPicture(..) | Control::AskPicture(_))
            | Create::Enlarge(Enlarge::Close | Enlarge::Set(_) | Enlarge::Shown)
            | Create::Matter(Matter::Close | Matter::Begin | Matter::Stop | Matter::Shorten)
            | Create::Again(Again::Stop)
            | Create::Lists(Lists::Open(_) | Lists::Close | Lists::New),
    }
}

reach! { gallery, GALLERY, Gallery;
    palette {
        "all": Gallery::PickAll, "none": Gallery::PickNone, "favourite": Gallery::FavouriteChosen, "trash": Gallery::TrashChosen,
        "restore": Gallery::RestoreChosen, "open": Gallery::OpenChosen, "recall": Gallery::RecallChosen(_), "save": Gallery::SaveChosen,
        "copy": Gallery::CopyChosen, "reveal": Gallery::RevealChosen, "show trash": Gallery::ShowTrash(_),
        "show favourites": Gallery::ShowFavourites(_), "empty": Gallery::AskEmptyTrash, "search": Gallery::Search, "details": Gallery::Details,
        "morph": Gallery::Morph(Morph::Ask),
    }
    listed {}
    elsewhere {
        "of one picture": Gallery::Favourite(_) | Gallery::Trash(_) | Gallery::Restore(_) | Gallery::RestoreAll(_) | Gallery::Pick(..),
        "arrow keys": Gallery::Step(_),
        "a slider, which Tab reaches": Gallery::Tile(_),
        "the answer to a question": Gallery::EmptyTrash | Gallery::KeepTrash,
        "from the library": Gallery::Older { .. },
        "a control of its dialog, which Tab reaches": Gallery::Morph(Morph::Close | Morph::Swap | Morph::Set(_) | Morph::Choose | Morph::Go
            | Morph::Stop | Morph::Save | Morph::Reveal),
        "follows from a dialog or a thread": Gallery::Morph(Morph::To(_) | Morph::Written(_)),
    }
}

reach! { chat, CHAT, Chat;
    palette {
        "new": Chat::New, "send": Chat::Send, "stop": Chat::Stop, "again": Chat::RegenerateLast, "several": Chat::RegenerateSeveral,
        "confidence": Chat::ToggleConfidence, "export": Chat::ExportShown(_), "export all": Chat::ExportAll, "import": Chat::Import,
        "attach": Chat::Attach, "name preset": Chat::NamePreset(None), "step": Chat::StepLast(_), "settings": Chat::ToggleSettings,
        "list": Chat::ToggleList, "reset": Chat::ResetSettings,
        "continue": Chat::OfShown(Deed::Continue), "copy": Chat::OfShown(Deed::CopyAnswer), "reword answer": Chat::OfShown(Deed::RewordAnswer),
        "to create": Chat::OfShown(Deed::ToCreate), "reword question": Chat::OfShown(Deed::RewordQuestion),
        "delete last": Chat::OfShown(Deed::DeleteLast), "rename": Chat::OfShown(Deed::Rename), "pin": Chat::OfShown(Deed::Pin),
        "delete": Chat::OfShown(Deed::Delete),
    }
    listed { Chat::Open(_), Chat::UsePreset(_), Chat::SetModel(_) }
    elsewhere {
        "of one message or conversation; the palette has the same for what is shown": Chat::Regenerate(_) | Chat::Continue(_) | Chat::Fork(..)
            | Chat::TryAt(_) | Chat::Export(..) | Chat::Step(..) | Chat::BeginEdit(_) | Chat::DeleteMessage(_) | Chat::Delete(_)
            | Chat::BeginRename(_) | Chat::Pin(_) | Chat::Copy(_) | Chat::ToCreate(_) | Chat::Reveal(..),
        "comes with a text of its own": Chat::Ask(_),
        "follows from a dialog, a dropped file or a thread": Chat::ExportTo(..) | Chat::ImportFrom(_) | Chat::Imported(_) | Chat::Dropped(_)
            | Chat::AttachFile(_) | Chat::Attached(..),
        "Enter and Esc in a field": Chat::ConfirmEdit | Chat::CancelEdit | Chat::ConfirmRename | Chat::CancelRename | Chat::ConfirmPreset
            | Chat::CancelPreset,
        "Undo": Chat::Undelete(_) | Chat::RestorePreset(_),
        "a button in a list, which Tab reaches": Chat::Detach(_) | Chat::NamePreset(Some(_)) | Chat::UpdatePreset(_) | Chat::DeletePreset(_),
    }
}

reach! { compare, COMPARE, Compare;
    palette {
        "show": Compare::Show(_), "new": Compare::New, "example": Compare::Example, "add": Compare::AddVariant,
        "variants": Compare::VariantsOfCreate, "seed": Compare::AddSeed, "seeds": Compare::NewSeeds, "run": Compare::Run, "stop": Compare::Stop,
        "unselect": Compare::Unselect, "view": Compare::ToggleView, "mode": Compare::NextMode, "swap": Compare::Swap, "export": Compare::Export,
        "lane": Compare::AddLane, "run chosen": Compare::RunChosen, "winner": Compare::WinnerChosen, "use": Compare::UseChosen,
        "delete": Compare::DeleteShown,
    }
    listed { Compare::Open(_) }
    elsewhere {
        "of one row, column, cell or lane, which Tab reaches; the palette has the same for what is chosen": Compare::DuplicateVariant(_)
            | Compare::RemoveVariant(_) | Compare::MoveVariant(..) | Compare::ClearOwn(_) | Compare::RemoveSeed(_) | Compare::MoveSeed(..)
            | Compare::SetSeed(..) | Compare::RunCell(_) | Compare::Select(_) | Compare::Winner(_) | Compare::UseInCreate(_)
            | Compare::DuplicateLane(_) | Compare::RemoveLane(_) | Compare::AskLane(_) | Compare::CopyLane(_) | Compare::LaneToCreate(_)
            | Compare::Delete(_),
        "comes with a text of its own": Compare::AskVariants(..) | Compare::AddPrompt(_),
        "Undo": Compare::Undelete(_),
        "follows from a dialog": Compare::ExportTo(_),
    }
}

reach! { queue, QUEUE, Queue;
    palette { "pause all": Queue::PauseAll, "resume all": Queue::ResumeAll, "stop all": Queue::CancelAll }
    listed {}
    elsewhere {
        "of one job in the queue, which Tab reaches; what is shown is stopped by Esc": Queue::Cancel(_) | Queue::Pause(_) | Queue::Resume(_)
            | Queue::Move(..),
        "Undo": Queue::UndoCancelAll,
        "from the engine": Queue::BeginAgain,
    }
}

reach! { models, MODELS, Models;
    palette {
        "rescan": Models::Rescan, "folder": Models::ChooseFolder, "file": Models::ChooseFile, "unload all": Models::UnloadAll,
    }
    listed { Models::Unload(_) }
    elsewhere {
        "follows from a dialog": Models::Add(_),
        "a button in Settings, which Tab reaches": Models::RemoveFolder(_),
    }
}

reach! { settings, SETTINGS, Settings;
    palette {
        "theme": Settings::Theme(_), "larger": Settings::Larger, "smaller": Settings::Smaller, "device": Settings::Device(_),
    }
    listed {}
    elsewhere {
        "a value in Settings, which the palette opens": Settings::Scale(_) | Settings::MemoryBudget(_) | Settings::KvType(_) | Settings::Context(_)
            | Settings::LookElsewhere(_) | Settings::Wildcards(_),
    }
}

fn reach(command: &UiCommand) -> (&'static str, Reach) {
    match command {
        UiCommand::App(command) => ("app", app(command)),
        UiCommand::Create(command) => ("create", create(command)),
        UiCommand::Gallery(command) => ("gallery", gallery(command)),
        UiCommand::Chat(command) => ("chat", chat(command)),
        UiCommand::Compare(command) => ("compare", compare(command)),
        UiCommand::Queue(command) => ("queue", queue(command)),
        UiCommand::Models(command) => ("models", models(command)),
        UiCommand::Settings(command) => ("settings", settings(command)),
    }
}

#[test]
fn the_palette_has_every_command_that_needs_no_pointer() {
    let mut reached = BTreeSet::new();
    for entry in entries() {
        match reach(&entry.command) {
            (part, Reach::Palette(key)) => drop(reached.insert((part, key))),
            (part, _) => panic!(
                "'{}' of {part} is in the palette, but not listed so here",
                entry.label
            ),
        }
    }
    let all = [
        ("app", APP),
        ("create", CREATE),
        ("gallery", GALLERY),
        ("chat", CHAT),
        ("compare", COMPARE),
        ("queue", QUEUE),
        ("models", MODELS),
        ("settings", SETTINGS),
    ];
    let wanted: BTreeSet<_> = all
        .into_iter()
        .flat_map(|(part, keys)| keys.iter().map(move |key| (part, *key)))
        .collect();
    let forgotten: Vec<_> = wanted.difference(&reached).collect();
    assert!(forgotten.is_empty(), "not in the palette: {forgotten:?}");
}

#[test]
fn no_two_commands_are_called_alike() {
    let mut labels = BTreeSet::new();
    for entry in entries() {
        assert!(
            labels.insert(entry.label),
            "two commands are called '{}'",
            entry.label
        );
    }
}
