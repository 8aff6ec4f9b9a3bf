//! Drawing: the form with all settings of a picture, what lies on the canvas, and settings taken from other pictures.

mod deeds;
mod files;
pub mod form;
pub mod guest;
mod ideas;
pub mod strip;
mod undo;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use diptych_inference::engine::{Event, ModelRef, Picture, Request};
use serde::{Deserialize, Serialize};

use super::command::{Entry, QueueCommand};
use super::drafts::draft;
use super::gallery::Gallery;
use super::house::House;
use super::keys::{Chord, Place};
use super::queue::TaskHead;
use super::route::NewPicture;
use super::session::EngineState;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, Target, TaskId};
use crate::recall::Part;
use crate::theme::Icon;

pub use form::{Aspect, Form, SeedMode};
pub use guest::{Guest, GuestSource};
pub use ideas::ideas;
pub use strip::{Current, Shown, Tile};
use undo::FormHistory;

/// What a person wants in Create.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateCommand {
    /// Draw what the form says.
    Generate {
        /// Before all others.
        front: bool,
    },
    /// Stop what is being drawn; the picture so far is kept.
    Stop,
    /// Draw an idea of ours: the way to the first picture.
    DrawSomething,
    /// Take a text as the prompt, and draw it.
    DrawPrompt(String),
    /// Take a text as the prompt.
    TakePrompt(String),
    /// Choose a model; `None` is the studio's choice.
    UseModel(Option<ModelRef>),
    /// Go back to the model's own settings.
    Reset,
    /// Turn the picture by a quarter: width becomes height.
    SwapSize,
    /// Draw each order with a new seed.
    RandomSeed,
    /// Keep the last seed.
    LockSeed,
    /// Show a picture; `None` is the newest, or what is being drawn.
    Show(Option<PictureId>),
    /// Show a job.
    ShowJob(TaskId),
    /// Show what lies so many places further in the filmstrip; older is more.
    Step(i32),
    /// Take settings of what is shown.
    Recall(Part),
    /// Take settings of a picture of the library.
    RecallOf(PictureId, Part),
    /// Ask where to save the picture that is shown.
    SaveAs,
    /// Ask where to save a picture of the library.
    SaveAsOf(PictureId),
    /// Save a picture.
    SaveTo(PictureId, PathBuf),
    /// Copy the picture that is shown.
    Copy,
    /// Copy a picture of the library.
    CopyOf(PictureId),
    /// A picture's pixels for the clipboard have been read.
    Copied(Arc<Picture>),
    /// Copy the prompt of what is shown.
    CopyPrompt,
    /// Show the picture's file in its folder.
    Reveal,
    /// Mark the picture that is shown, or take the mark away.
    Favourite,
    /// Throw the picture that is shown away.
    Trash,
    /// Show or hide all settings of what is shown.
    Details,
    /// Show all of the picture.
    ZoomFit,
    /// Show the picture pixel by pixel.
    ZoomActual,
    /// Ask for a picture file to look at.
    Open,
    /// Look at a picture file.
    Look(PathBuf),
    /// Look at a picture that was pasted.
    Paste(Arc<Picture>),
    /// A picture from elsewhere has been read.
    Welcome(Box<Guest>),
    /// Take settings that were pasted as text.
    PasteSettings(String),
    /// Put the picture from elsewhere away.
    Dismiss,
}

/// What is unfolded in Create.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Folds {
    /// The negative prompt, although it is empty.
    pub negative: bool,
    /// Settings that few people touch.
    pub more: bool,
    /// All settings of the picture that is shown.
    pub details: bool,
}

/// A wish to the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    /// All of the picture.
    Fit,
    /// Pixel by pixel.
    Actual,
}

/// Drawing.
#[derive(Debug, Default)]
pub struct Create {
    /// The form.
    pub form: Form,
    /// What is shown.
    pub shown: Shown,
    /// What is unfolded.
    pub folds: Folds,
    /// The picture from elsewhere.
    pub guest: Option<Guest>,
    /// What the canvas is to do next; it takes it.
    pub zoom: Option<Zoom>,
    /// What the engine remarked about the last order.
    pub remarks: Vec<String>,
    history: Vec<String>,
    undo: FormHistory,
}

const DRAFT: &str = "create";
const FOLDS: &str = "create.folds";
/// Prompts that Alt+Up goes back to.
const MOST_PROMPTS: usize = 300;

impl Create {
    /// Earlier prompts, newest first, each once.
    pub fn history(&self) -> &[String] {
        &self.history
    }

    /// What lies on the canvas.
    pub fn current<'a>(&'a self, gallery: &'a Gallery, house: &'a House) -> Current<'a> {
        strip::current(self.shown, self.guest.as_ref(), gallery, house)
    }

    /// Whether undo has a step to take.
    pub fn can_undo(&self, back: bool) -> bool {
        self.undo.can(back, &self.form)
    }

    pub(super) fn restore(&mut self, restored: &Restored, _house: &mut House) {
        let read = |key: &str| restored.drafts.get(key).map(String::as_str);
        if let Some(form) = read(DRAFT).and_then(|text| serde_json::from_str(text).ok()) {
            self.form = form;
            self.form.heal();
        }
        if let Some(folds) = read(FOLDS).and_then(|text| serde_json::from_str(text).ok()) {
            self.folds = folds;
        }
        self.undo.begin(&self.form);
        for picture in &restored.pictures {
            if self.history.len() >= MOST_PROMPTS {
                break;
            }
            let prompt = &picture.request.prompt;
            if !prompt.is_empty() && !self.history.contains(prompt) {
                self.history.push(prompt.clone());
            }
        }
    }

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        draft(DRAFT, &self.form)
            .into_iter()
            .chain(draft(FOLDS, &self.folds))
            .collect()
    }

    /// Called before each frame.
    pub(super) fn tick(&mut self) {
        self.undo.watch(&self.form, Instant::now());
    }

    pub(super) fn apply(&mut self, command: CreateCommand, gallery: &Gallery, house: &mut House) {
        match command {
            CreateCommand::Generate { front } => self.generate(front, house),
            CreateCommand::Stop => {
                if let Some(id) = at_work(house) {
                    house.command(QueueCommand::Cancel(id));
                }
            }
            CreateCommand::DrawSomething => {
                let idea = ideas::any(self.form.model(house), &self.history);
                self.change(house, |form| form.prompt = idea);
                self.generate(false, house);
            }
            CreateCommand::DrawPrompt(prompt) => {
                self.change(house, |form| form.prompt = prompt);
                self.generate(false, house);
            }
            CreateCommand::TakePrompt(prompt) => self.change(house, |form| form.prompt = prompt),
            CreateCommand::UseModel(model) => self.change(house, |form| form.model = model),
            CreateCommand::Reset => self.change(house, Form::reset),
            CreateCommand::SwapSize => {
                let size = self.form.model(house).map(|model| self.form.size(model));
                if let Some((width, height)) = size {
                    self.change(house, |form| form.size = Some((height, width)));
                }
            }
            CreateCommand::RandomSeed => {
                self.change(house, |form| form.seed_mode = SeedMode::Random);
            }
            CreateCommand::LockSeed => {
                self.change(house, |form| form.seed_mode = SeedMode::Locked);
            }
            command => self.look(command, gallery, house),
        }
    }

    /// Changes the form in one step of undo.
    fn change(&mut self, house: &House, change: impl FnOnce(&mut Form)) {
        self.undo.mark(&self.form);
        change(&mut self.form);
        if let Some(model) = self.form.model(house) {
            self.form.settle(model);
        }
        self.undo.mark(&self.form);
    }

    fn generate(&mut self, front: bool, house: &mut House) {
        if self.form.seed_mode == SeedMode::Random {
            self.form.seed = crate::cli::new_seed();
        }
        self.undo.mark(&self.form);
        let requests: Vec<Request> = match self.form.model(house) {
            Some(model) => (0..self.form.count.clamp(1, form::MOST_PICTURES))
                .filter_map(|number| {
                    let seed = self.form.seed.wrapping_add(u64::from(number));
                    self.form.request(model, seed).map(Request::Image)
                })
                .collect(),
            None => return,
        };
        self.remarks.clear();
        // Each one goes before the others; the first is to be drawn first all the same.
        let ordered: Vec<Request> = match front {
            true => requests.into_iter().rev().collect(),
            false => requests,
        };
        for request in ordered {
            house.submit(request, Target::Gallery, front);
        }
        self.remember(&self.form.prompt.clone());
        self.shown = Shown::Newest;
        self.guest = None;
    }

    fn remember(&mut self, prompt: &str) {
        if prompt.trim().is_empty() {
            return;
        }
        self.history.retain(|known| known != prompt);
        self.history.insert(0, prompt.to_owned());
        self.history.truncate(MOST_PROMPTS);
    }

    /// Whether a command can be done now.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn available(
        &self,
        command: &CreateCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let say = |possible: bool, reason: &str| match possible {
            true => Ok(()),
            false => Err(reason.to_owned()),
        };
        match command {
            CreateCommand::Generate { .. } => {
                self.can_draw(house)?;
                let empty = self.form.prompt.trim().is_empty();
                say(!empty, "Write what to draw first")
            }
            CreateCommand::DrawSomething | CreateCommand::DrawPrompt(_) => self.can_draw(house),
            CreateCommand::Stop => say(at_work(house).is_some(), "Nothing is being drawn"),
            CreateCommand::Reset => say(self.form.is_changed(), "Nothing was changed"),
            CreateCommand::LockSeed => say(
                self.form.seed_mode == SeedMode::Random,
                "The seed is locked already",
            ),
            CreateCommand::RandomSeed => say(
                self.form.seed_mode == SeedMode::Locked,
                "Seeds are random already",
            ),
            CreateCommand::Step(by) => {
                let to = strip::neighbour(self.shown, *by, gallery, house);
                say(to.is_some(), "There are no more pictures")
            }
            CreateCommand::Recall(_) | CreateCommand::CopyPrompt | CreateCommand::Details => {
                match self.current(gallery, house) {
                    Current::Nothing => Err("There is no picture yet".to_owned()),
                    Current::Guest(guest) => guest.info.as_ref().map(|_| ()).map_err(Clone::clone),
                    Current::Job(_) | Current::Picture(_) => Ok(()),
                }
            }
            CreateCommand::SaveAs
            | CreateCommand::Copy
            | CreateCommand::Favourite
            | CreateCommand::Trash => {
                let picture = matches!(self.current(gallery, house), Current::Picture(_));
                say(picture, "No finished picture is shown")
            }
            CreateCommand::Reveal => match self.current(gallery, house) {
                Current::Picture(item) if item.is_saved() => Ok(()),
                Current::Picture(_) => Err("The picture is being saved".to_owned()),
                _ => Err("No finished picture is shown".to_owned()),
            },
            CreateCommand::Dismiss => {
                say(self.guest.is_some(), "No picture from elsewhere is shown")
            }
            _ => Ok(()),
        }
    }

    fn can_draw(&self, house: &House) -> Result<(), String> {
        if !house.is_open() {
            return Err("The library is being opened".to_owned());
        }
        if let EngineState::Failed(reason) = &house.engine {
            return Err(format!("Nothing can be drawn: {reason}"));
        }
        if self.form.model(house).is_some() {
            return Ok(());
        }
        let looking = house.shelf.scanning || !house.shelf.ready;
        match &self.form.model {
            _ if looking => Err("Models are being looked for".to_owned()),
            Some(model) => Err(format!(
                "The model '{}' is not here; choose another one",
                model.name
            )),
            None => Err("There is no model that draws; add one in Models".to_owned()),
        }
    }

    pub(super) fn undo(&mut self, back: bool, _house: &mut House) {
        self.undo.step(back, &mut self.form);
    }

    pub(super) fn on_event(&mut self, head: &TaskHead, event: &Event, _house: &mut House) {
        if head.target != Target::Gallery {
            return;
        }
        if let Event::Warning { message, .. } = event
            && !self.remarks.contains(message)
        {
            self.remarks.push(message.clone());
        }
    }

    pub(super) fn on_discarded(&mut self, head: &TaskHead, _house: &mut House) {
        if self.shown == Shown::Job(head.id) {
            self.shown = Shown::Newest;
        }
    }

    pub(super) fn on_picture(&mut self, new: &NewPicture, _house: &mut House) {
        if self.shown == Shown::Job(new.head.id) {
            self.shown = Shown::Picture(new.id);
        }
        if new.grid.is_some() {
            self.remember(&new.request.prompt);
        }
    }

    pub(super) fn on_library(&mut self, _event: &LibraryEvent, _house: &mut House) {}
}

/// The job that draws for the gallery now, else the next one.
fn at_work(house: &House) -> Option<TaskId> {
    let live = strip::jobs(house).filter(|task| task.stage.is_live());
    live.last().map(|task| task.head.id)
}

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
