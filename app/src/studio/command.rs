//! Everything that a person can do, in one enum: buttons, menus, shortcuts and the palette all speak it.

use std::path::PathBuf;

use diptych_inference::engine::ModelRef;

use super::chat::ChatCommand;
use super::compare::CompareCommand;
use super::create::CreateCommand;
use super::gallery::GalleryCommand;
use super::keys::{Chord, Place};
use super::settings::SettingsCommand;
use super::view::{Drawer, Workspace};
use crate::library::records::TaskId;
use crate::theme::Icon;

/// What a person wants.
#[derive(Clone, Debug, PartialEq)]
pub enum UiCommand {
    /// The window itself.
    App(AppCommand),
    /// Drawing.
    Create(CreateCommand),
    /// Pictures.
    Gallery(GalleryCommand),
    /// Conversations.
    Chat(ChatCommand),
    /// Side by side.
    Compare(CompareCommand),
    /// Jobs.
    Queue(QueueCommand),
    /// Models.
    Models(ModelsCommand),
    /// Settings.
    Settings(SettingsCommand),
}

/// The window itself.
#[derive(Clone, Debug, PartialEq)]
pub enum AppCommand {
    /// Show a workspace.
    Show(Workspace),
    /// Open a drawer, or close it if it is open.
    Drawer(Drawer),
    /// Close the drawer.
    CloseDrawer,
    /// Open or close the palette.
    Palette,
    /// Open or close the list of keys.
    Keys,
    /// Close what lies over the window.
    CloseOverlay,
    /// Open or close the queue strip.
    ToggleQueue,
    /// Take the last change back.
    Undo,
    /// Make it again.
    Redo,
    /// Give the field in which one writes the keyboard: the prompt, the message, the search.
    Write,
    /// Fill the screen, or no longer.
    FullScreen,
    /// Close the window.
    Quit,
}

/// Jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueCommand {
    /// End a job; what it has is kept.
    Cancel(TaskId),
    /// Put a job to sleep.
    Pause(TaskId),
    /// Wake a job; also one that an earlier run of the program left, or that failed.
    Resume(TaskId),
    /// Move a job to a place among those that wait; 0 is next.
    Move(TaskId, usize),
    /// Let no job run.
    PauseAll,
    /// Let jobs run again, also those that an earlier run left.
    ResumeAll,
    /// End everything that waits or runs.
    CancelAll,
    /// Take that back: the jobs begin again, from their last checkpoint.
    UndoCancelAll,
    /// Begin jobs again that the engine has ended meanwhile.
    BeginAgain,
}

/// Models.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelsCommand {
    /// Look again.
    Rescan,
    /// Ask for a folder and add it.
    ChooseFolder,
    /// Ask for a model file and add it.
    ChooseFile,
    /// Add a file or folder.
    Add(PathBuf),
    /// No longer look into a folder.
    RemoveFolder(PathBuf),
    /// Give the memory of a model back; it is loaded again when it is needed.
    Unload(ModelRef),
    /// The same of all that no job needs.
    UnloadAll,
}

macro_rules! from {
    ($($part:ident($command:ty)),* $(,)?) => {$(
        impl From<$command> for UiCommand {
            fn from(command: $command) -> Self {
                Self::$part(command)
            }
        }
    )*};
}

from!(
    App(AppCommand),
    Create(CreateCommand),
    Gallery(GalleryCommand),
    Chat(ChatCommand),
    Compare(CompareCommand),
    Queue(QueueCommand),
    Models(ModelsCommand),
    Settings(SettingsCommand),
);

/// A command as menus, the palette and the list of keys show it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The command.
    pub command: UiCommand,
    /// What it does, in a few words.
    pub label: &'static str,
    /// Its picture.
    pub icon: Icon,
    /// Its keys; the first is shown.
    pub keys: Vec<Chord>,
    /// Where its keys work.
    pub place: Place,
}

impl Entry {
    /// An entry without keys.
    pub fn new(command: impl Into<UiCommand>, label: &'static str, icon: Icon) -> Self {
        Self {
            command: command.into(),
            label,
            icon,
            keys: Vec::new(),
            place: Place::Everywhere,
        }
    }

    /// With a key, which works in a place.
    #[must_use]
    pub fn key(mut self, place: Place, chord: Chord) -> Self {
        self.place = place;
        self.keys.push(chord);
        self
    }
}

/// All commands that need no further word; parts with several of the same kind (jobs, pictures) act on the selected one.
pub fn entries() -> Vec<Entry> {
    use egui::Key;
    let mut entries = vec![
        Entry::new(
            AppCommand::Show(Workspace::Create),
            "Go to Create",
            Icon::Image,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Num1).alt()),
        Entry::new(AppCommand::Show(Workspace::Chat), "Go to Chat", Icon::Chat)
            .key(Place::Everywhere, Chord::ctrl(Key::Num2).alt()),
        Entry::new(
            AppCommand::Show(Workspace::Compare),
            "Go to Compare",
            Icon::Columns,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Num3).alt()),
        Entry::new(
            AppCommand::Show(Workspace::Gallery),
            "Go to Library",
            Icon::Library,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Num4).alt()),
        Entry::new(AppCommand::Palette, "Find a command", Icon::Search)
            .key(Place::Everywhere, Chord::ctrl(Key::K)),
        Entry::new(AppCommand::Keys, "Show the keys", Icon::Help)
            .key(Place::Everywhere, Chord::plain(Key::Questionmark)),
        Entry::new(AppCommand::Drawer(Drawer::Models), "Models", Icon::Model),
        Entry::new(AppCommand::Drawer(Drawer::Lists), "Word lists", Icon::Text),
        Entry::new(
            AppCommand::Drawer(Drawer::Settings),
            "Settings",
            Icon::Settings,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Comma)),
        Entry::new(AppCommand::Drawer(Drawer::Log), "Log", Icon::Log),
        Entry::new(
            AppCommand::ToggleQueue,
            "Show or hide the queue",
            Icon::Queue,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::J)),
        Entry::new(QueueCommand::PauseAll, "Pause all jobs", Icon::Pause),
        Entry::new(QueueCommand::ResumeAll, "Resume all jobs", Icon::Play),
        Entry::new(QueueCommand::CancelAll, "Stop all jobs", Icon::Stop),
        Entry::new(
            ModelsCommand::ChooseFile,
            "Open a model file…",
            Icon::Folder,
        ),
        Entry::new(
            ModelsCommand::ChooseFolder,
            "Add a folder of models…",
            Icon::Folder,
        ),
        Entry::new(
            ModelsCommand::Rescan,
            "Look for models again",
            Icon::Refresh,
        ),
        Entry::new(
            ModelsCommand::UnloadAll,
            "Unload all models from memory",
            Icon::Memory,
        ),
        Entry::new(AppCommand::Write, "Go to the field to write in", Icon::Edit)
            .key(Place::Everywhere, Chord::plain(Key::Slash)),
        Entry::new(
            AppCommand::FullScreen,
            "Fill the screen, or no longer",
            Icon::Fit,
        )
        .key(Place::Everywhere, Chord::plain(Key::F11)),
        Entry::new(AppCommand::Undo, "Undo", Icon::Undo)
            .key(Place::Everywhere, Chord::ctrl(Key::Z)),
        Entry::new(AppCommand::Redo, "Redo", Icon::Redo)
            .key(Place::Everywhere, Chord::ctrl(Key::Z).shift())
            .key(Place::Everywhere, Chord::ctrl(Key::Y)),
        Entry::new(AppCommand::Quit, "Quit", Icon::Close)
            .key(Place::Everywhere, Chord::ctrl(Key::Q)),
    ];
    entries.extend(super::create::entries());
    entries.extend(super::gallery::entries());
    entries.extend(super::chat::entries());
    entries.extend(super::compare::entries());
    entries.extend(super::settings::entries());
    entries
}
