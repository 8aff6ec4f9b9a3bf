//! The state of the studio, and everything that can be done with it. No window is needed to run it.
//!
//! [`Studio`] holds the parts (create, gallery, chat, compare) and the [`House`] that they share: the engine's session,
//! the library's keeper, the queue, the models, settings and the log. Whatever a person does is a [`UiCommand`];
//! whatever the engine or the library says comes in through [`Studio::tick`]. Nothing here waits: not for the disk,
//! not for the engine.

pub mod chat;
pub mod command;
pub mod compare;
pub mod create;
mod drafts;
pub mod effects;
pub mod gallery;
pub mod house;
pub mod keys;
pub mod log;
pub mod models;
pub mod queue;
#[cfg(test)]
#[allow(clippy::panic)]
mod reach;
pub mod route;
pub mod session;
pub mod settings;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use diptych_inference::engine::{DeviceChoice, ModelRef};

use crate::library::keeper::LibraryEvent;
use crate::library::records::TaskId;
use chat::Chat;
use command::{AppCommand, UiCommand};
use compare::{Compare, CompareCommand};
use create::{Create, Current};
use drafts::Drafts;
use gallery::Gallery;
use house::House;

use view::{Drawer, Overlay, View, Workspace};

/// Wakes the window from another thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How the studio is to be opened.
pub struct StudioOptions {
    /// Folder of the library.
    pub data: PathBuf,
    /// Folder of the program's own models, fonts and icons.
    pub assets: PathBuf,
    /// The device of the command line, which goes before the settings'.
    pub device: Option<DeviceChoice>,
    /// Whether to look for models in the folders of other programs.
    pub look_elsewhere: bool,
    /// Whether jobs that an earlier run left go on by themselves: the window was only opened anew.
    pub go_on: bool,
    /// Called when something came in while nobody was looking.
    pub wake: Wake,
}

/// The whole studio.
pub struct Studio {
    /// What all parts share.
    pub house: House,
    /// Which workspace is shown, and what lies over it.
    pub view: View,
    /// Drawing.
    pub create: Create,
    /// All pictures.
    pub gallery: Gallery,
    /// Conversations.
    pub chat: Chat,
    /// Prompt variants side by side.
    pub compare: Compare,
    drafts: Drafts,
}

impl Studio {
    /// Opens it: starts the library's thread; the engine follows as soon as the settings are read.
    pub fn open(options: StudioOptions) -> Self {
        Self {
            house: House::open(options),
            view: View::default(),
            create: Create::default(),
            gallery: Gallery::default(),
            chat: Chat::default(),
            compare: Compare::default(),
            drafts: Drafts::default(),
        }
    }

    /// Whether a job, and how it stands, is what the person sees on the canvas now.
    pub fn looks_at(&self, job: TaskId) -> bool {
        let covered = self.create.paint.open && self.create.form.start.is_some();
        let current = self.create.current(&self.gallery, &self.house);
        self.view.workspace == Workspace::Create
            && !covered
            && matches!(current, Current::Job(task) if task.head.id == job)
    }

    /// Takes in what has come, and does what is due. To be called before each frame; never waits.
    pub fn tick(&mut self) {
        while let Some(event) = self.house.next_library_event() {
            self.on_library(event);
        }
        for _ in 0..MOST_EVENTS {
            let Some(event) = self.house.next_engine_event() else {
                break;
            };
            route::engine_event(self, event);
        }
        while let Some(command) = self.house.next_command() {
            self.run(command);
        }
        self.create.tick(&self.gallery, &mut self.house);
        self.chat.tick(&mut self.house);
        self.compare.tick(&mut self.house);
        self.house.tick();
        self.save_drafts(false);
    }

    /// Does what a person wants.
    pub fn apply(&mut self, command: UiCommand) {
        self.run(command);
        while let Some(command) = self.house.next_command() {
            self.run(command);
        }
    }

    fn run(&mut self, command: UiCommand) {
        tracing::debug!("{command:?}");
        match command {
            UiCommand::App(command) => self.run_app(command),
            UiCommand::Create(command) => {
                self.create.apply(command, &self.gallery, &mut self.house);
            }
            UiCommand::Gallery(command) => self.gallery.apply(command, &mut self.house),
            UiCommand::Chat(command) => self.chat.apply(command, &mut self.house),
            UiCommand::Compare(CompareCommand::VariantsOfCreate) => {
                let command = self.variants_of_create();
                self.compare.apply(command, &mut self.house);
            }
            UiCommand::Compare(command) => self.compare.apply(command, &mut self.house),
            UiCommand::Queue(command) => {
                if let Some(ended) = self.house.run_queue(command) {
                    route::discarded(self, &ended);
                }
            }
            UiCommand::Models(command) => self.house.run_models(command),
            UiCommand::Settings(command) => self.house.run_settings(command),
        }
    }

    /// Asks for variants of the prompt in Create.
    fn variants_of_create(&self) -> CompareCommand {
        CompareCommand::AskVariants(self.create.form.prompt.clone(), self.chat_model())
    }

    /// The model that one talks with in Chat.
    pub fn chat_model(&self) -> Option<ModelRef> {
        let settings = self.chat.settings(&self.house);
        let model = self.chat.model_of(&settings, &self.house)?;
        model.model.clone()
    }

    fn run_app(&mut self, command: AppCommand) {
        match command {
            AppCommand::Show(workspace) => {
                self.view.workspace = workspace;
                self.view.overlay = None;
                if workspace == view::Workspace::Chat && self.chat.shown().is_none() {
                    // Whoever comes to begin a conversation types at once.
                    let composer = effects::focus::COMPOSER;
                    self.house.effect(effects::Effect::Focus(composer));
                }
            }
            AppCommand::Drawer(drawer) => {
                self.view.drawer = (self.view.drawer != Some(drawer)).then_some(drawer);
                self.view.overlay = None;
                if drawer == Drawer::Log {
                    self.house.log.read();
                }
            }
            AppCommand::CloseDrawer => self.view.drawer = None,
            AppCommand::Palette => {
                self.view.overlay =
                    (self.view.overlay != Some(Overlay::Palette)).then_some(Overlay::Palette);
            }
            AppCommand::Keys => {
                self.view.overlay =
                    (self.view.overlay != Some(Overlay::Keys)).then_some(Overlay::Keys);
            }
            AppCommand::CloseOverlay => self.view.overlay = None,
            AppCommand::ToggleQueue => self.view.queue_open = !self.view.queue_open,
            AppCommand::Undo => self.undo(true),
            AppCommand::Redo => self.undo(false),
            AppCommand::Write => {
                self.view.overlay = None;
                let field = match self.view.workspace {
                    view::Workspace::Create => effects::focus::PROMPT,
                    view::Workspace::Chat => effects::focus::COMPOSER,
                    view::Workspace::Compare => effects::focus::VARIANT,
                    view::Workspace::Gallery => effects::focus::SEARCH,
                };
                self.house.effect(effects::Effect::Focus(field));
            }
            AppCommand::FullScreen => self.house.effect(effects::Effect::FullScreen),
            AppCommand::Quit => self.house.effect(effects::Effect::Quit),
        }
    }

    fn undo(&mut self, back: bool) {
        match self.view.workspace {
            view::Workspace::Create => self.create.undo(back, &mut self.house),
            view::Workspace::Compare => self.compare.undo(back, &mut self.house),
            view::Workspace::Chat => self.chat.undo(back, &mut self.house),
            view::Workspace::Gallery => self.gallery.undo(back, &mut self.house),
        }
    }

    /// Whether a command can be done now.
    ///
    /// # Errors
    /// Why not, in a person's words.
    pub fn available(&self, command: &UiCommand) -> Result<(), String> {
        match command {
            UiCommand::Create(command) => {
                self.create.available(command, &self.gallery, &self.house)
            }
            UiCommand::Gallery(command) => self.gallery.available(command, &self.house),
            UiCommand::Chat(command) => self.chat.available(command, &self.house),
            UiCommand::Compare(CompareCommand::VariantsOfCreate) => {
                let command = self.variants_of_create();
                self.compare.available(&command, &self.house)
            }
            UiCommand::Compare(command) => self.compare.available(command, &self.house),
            UiCommand::Queue(command) => self.house.queue_available(command),
            UiCommand::Models(command) => self.house.models_available(command),
            UiCommand::App(_) | UiCommand::Settings(_) => Ok(()),
        }
    }

    fn on_library(&mut self, event: LibraryEvent) {
        match event {
            LibraryEvent::Opened(restored) => {
                // If the library opens late, what was typed meanwhile goes before what it had.
                let late = self.house.is_open();
                self.house.restore(&restored);
                self.gallery.restore(&restored, &mut self.house);
                if !late {
                    self.drafts.begin(&restored.drafts);
                    self.view.restore(&restored);
                    self.house.effect(effects::Effect::Size);
                    self.create.restore(&restored, &mut self.house);
                }
                self.chat.restore(&restored, &mut self.house);
                self.compare.restore(&restored, &mut self.house);
            }
            event => {
                self.gallery.on_library(&event, &mut self.house);
                self.create.on_library(&event, &mut self.house);
                self.chat.on_library(&event, &mut self.house);
                self.compare.on_library(&event, &mut self.house);
                self.house.on_library(event);
            }
        }
    }

    /// Gives the library the texts and settings that changed since, at most a few times a second.
    fn save_drafts(&mut self, at_once: bool) {
        if !self.house.is_open() || !self.drafts.due(Instant::now(), at_once) {
            return;
        }
        let mut drafts = self.create.drafts();
        drafts.extend(self.compare.drafts());
        drafts.extend(self.gallery.drafts());
        drafts.extend(self.view.drafts());
        let drafts = drafts.into_iter().map(|(key, text)| (key, text.into()));
        let mut drafts: Vec<(String, std::sync::Arc<str>)> = drafts.collect();
        drafts.extend(self.chat.drafts());
        for (key, value) in self.drafts.changed(drafts) {
            self.house.save_draft(key, value);
        }
    }

    /// The last word before the window closes: everything is handed to the library, which may take this long.
    pub fn close(&mut self, within: std::time::Duration) {
        self.save_drafts(true);
        self.create.close(&mut self.house);
        self.chat.close(&mut self.house);
        self.compare.close(&self.house);
        if !self.house.close(within) {
            tracing::error!("the library did not take everything in time");
        }
    }

    /// Whether nothing runs, waits or is being saved.
    pub fn is_idle(&self) -> bool {
        self.house.is_idle() && self.create.is_idle() && !self.gallery.morph.is_busy()
    }

    /// Opens or closes a drawer without a command; for tests and screenshots.
    pub fn set_drawer(&mut self, drawer: Option<Drawer>) {
        self.view.drawer = drawer;
    }
}

/// Events that are taken in before a frame; the rest waits for the next one, so that the window stays smooth.
const MOST_EVENTS: usize = 512;
