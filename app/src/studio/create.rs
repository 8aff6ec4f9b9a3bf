//! Drawing: the form with all settings of a picture, what lies on the canvas, and settings taken from other pictures.

pub mod again;
pub mod brush;
pub mod control;
mod deeds;
pub mod desk;
pub mod enlarge;
mod entries;
mod files;
pub mod form;
pub mod guest;
mod ideas;
pub mod kinds;
pub mod length;
pub mod lists;
pub mod matter;
mod order;
mod reading;
pub mod start;
pub mod steps;
pub mod strip;
mod undo;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use diptych_inference::engine::{Event, ModelRef, Picture};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use serde::{Deserialize, Serialize};

use super::command::QueueCommand;
use super::drafts::{draft, take_up};
use super::gallery::{Gallery, Item};
use super::house::House;
use super::log::Level;
use super::models::{Model, Shelf};
use super::queue::TaskHead;
use super::route::NewPicture;
use super::session::EngineState;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{Origin, PictureId, Target, TaskId};
use crate::recall::Part;

pub use again::{Again, AgainCommand};
pub use brush::{MaskCommand, Paint, Tool};
pub use control::{ControlChoice, ControlCommand};
pub use desk::{Desk, StartCommand};
pub use enlarge::{Enlarge, EnlargeCommand};
pub use entries::entries;
pub use form::{Aspect, Form, LoraChoice, SecondPass, SeedMode};
pub use guest::{Guest, GuestSource};
pub use ideas::ideas;
pub use lists::{Lists, ListsCommand};
pub use matter::{Matter, MatterCommand};
pub use order::Order;
pub use start::{Fit, Start};
pub use steps::{Branching, Steps, StepsCommand};
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
    /// Choose what draws in a file or folder, as soon as it is known.
    ExpectModel(PathBuf),
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
    /// The picture to begin from.
    Start(StartCommand),
    /// A picture could not be read to begin from.
    StartRefused,
    /// What of it is drawn anew.
    Mask(MaskCommand),
    /// Add a LoRA to the list.
    AddLora(ModelRef),
    /// Take one out of it, by its place.
    RemoveLora(usize),
    /// Use another autoencoder; `None` is the model's own.
    UseVae(Option<ModelRef>),
    /// Steps that were kept, and branches.
    Steps(StepsCommand),
    /// ControlNets.
    Control(ControlCommand),
    /// Make a picture larger.
    Enlarge(EnlargeCommand),
    /// Lists of words.
    Lists(ListsCommand),
    /// An order has been made ready.
    Ordered(Box<Order>),
    /// Show the picture that this one came from.
    ShowOrigin,
    /// Which words of a picture matter.
    Matter(MatterCommand),
    /// Whether a picture can be made again.
    Again(AgainCommand),
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
    /// By how much the start picture is extended.
    pub extend: bool,
    /// The second pass.
    pub second: bool,
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
    /// The brush.
    pub paint: Paint,
    /// What is known of the start picture.
    pub desk: Desk,
    /// The picture from elsewhere.
    pub guest: Option<Guest>,
    /// Steps that were kept.
    pub steps: Steps,
    /// How pictures are made larger.
    pub enlarge: Enlarge,
    /// Lists of words.
    pub lists: Lists,
    /// Which words of a picture matter.
    pub matter: Matter,
    /// Whether pictures can be made again.
    pub again: Again,
    branching: Option<Branching>,
    /// Orders that threads make ready.
    ordering: usize,
    /// Pictures that threads read for ControlNets.
    guides_taken: usize,
    /// Pictures that were chosen for ControlNets in this run, by hash.
    guides: HashMap<String, Arc<Picture>>,
    /// A ControlNet that was chosen and is to be added once it is known.
    expected_control: Option<PathBuf>,
    /// What the canvas is to do next; it takes it.
    pub zoom: Option<Zoom>,
    /// What the engine remarked about the last order.
    pub remarks: Vec<String>,
    history: Arc<Vec<String>>,
    /// A model that was dropped and is to be chosen once it is known.
    expected: Option<PathBuf>,
    undo: FormHistory,
    length: length::Length,
}

const DRAFT: &str = "create";
const FOLDS: &str = "create.folds";
const BRUSH: &str = "create.brush";
const ENLARGE: &str = "create.enlarge";
/// Prompts that Alt+Up goes back to.
const MOST_PROMPTS: usize = 300;

impl Create {
    /// Earlier prompts, newest first, each once.
    pub fn history(&self) -> Arc<Vec<String>> {
        self.history.clone()
    }

    /// What lies on the canvas.
    pub fn current<'a>(&'a self, gallery: &'a Gallery, house: &'a House) -> Current<'a> {
        strip::current(self.shown, self.guest.as_ref(), gallery, house)
    }

    /// The picture that the one shown came from, if it is here.
    pub fn origin<'a>(&self, gallery: &'a Gallery, house: &House) -> Option<&'a Item> {
        let Current::Picture(item) = self.current(gallery, house) else {
            return None;
        };
        gallery.get(item.record.origin.as_ref()?.of()?)
    }

    /// Whether undo has a step to take.
    pub fn can_undo(&self, back: bool) -> bool {
        self.undo.can(back, &self.form)
    }

    pub(super) fn restore(&mut self, restored: &Restored, _house: &mut House) {
        let read = |key: &str| restored.drafts.get(key).map(String::as_str);
        let begun = Self::default();
        if let Some(form) = read(DRAFT).and_then(|text| take_up(text, &begun.form, &self.form)) {
            self.form = form;
            self.form.heal();
        }
        if let Some(folds) = read(FOLDS).and_then(|text| take_up(text, &begun.folds, &self.folds)) {
            self.folds = folds;
        }
        if let Some(paint) = read(BRUSH).and_then(|text| take_up(text, &begun.paint, &self.paint)) {
            self.paint = paint;
            self.paint.heal();
        }
        if let Some(enlarge) =
            read(ENLARGE).and_then(|text| take_up(text, &begun.enlarge, &self.enlarge))
        {
            self.enlarge = enlarge;
            self.enlarge.heal();
        }
        self.restore_branch(restored);
        self.desk.restore(restored);
        self.undo.begin(&self.form);
        for picture in &restored.pictures {
            let history = Arc::make_mut(&mut self.history);
            if history.len() >= MOST_PROMPTS {
                break;
            }
            let prompt = &picture.request.prompt;
            if !prompt.is_empty() && !history.contains(prompt) {
                history.push(prompt.clone());
            }
        }
    }

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        draft(DRAFT, &self.form)
            .into_iter()
            .chain(draft(FOLDS, &self.folds))
            .chain(draft(BRUSH, &self.paint))
            .chain(draft(ENLARGE, &self.enlarge))
            .chain(self.branch_draft())
            .collect()
    }

    /// Called before each frame.
    pub(super) fn tick(&mut self, gallery: &Gallery, house: &mut House) {
        self.tick_start(house);
        self.tick_steps(gallery, house);
        self.tick_lists(house);
        self.look_for_control(house);
        self.settle_kinds(house);
        self.undo.watch(&self.form, Instant::now());
        self.ask_length(house);
        if let Some(path) = &self.expected {
            let path = path.clone();
            self.look_for(&path, house);
        }
    }

    /// Chooses what was dropped once it is known, or tells why it cannot be used.
    fn look_for(&mut self, path: &Path, house: &mut House) {
        let models = house.shelf.models().iter();
        let here: Vec<_> = models
            .filter(|model| model.path.starts_with(path))
            .collect();
        if let Some(model) = here.iter().find(|model| model.draws()) {
            let (name, model) = (model.name(), model.model.clone());
            self.expected = None;
            self.change(house, |form| form.model = model);
            house
                .log
                .notify(Level::Success, format!("'{name}' is chosen"), "");
        } else if let Some(model) = here.iter().find(|model| model.chats()) {
            let title = format!("'{}' is a chat model", model.name());
            self.expected = None;
            house
                .log
                .notify(Level::Success, title, "It can be chosen in Chat.");
        } else if let Some(model) = here.iter().find(|model| model.refused.is_some()) {
            let title = format!("'{}' cannot be used", model.name());
            let reason = model.refused.clone().unwrap_or_default();
            self.expected = None;
            house.log.notify(Level::Warning, title, reason);
        }
    }

    pub(super) fn apply(&mut self, command: CreateCommand, gallery: &Gallery, house: &mut House) {
        match command {
            CreateCommand::Generate { front } => self.generate(front, house),
            CreateCommand::Stop => {
                if self.desk.drop_orders() {
                    return;
                }
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
            CreateCommand::ExpectModel(path) => {
                self.expected = Some(path);
            }
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
            CreateCommand::Start(command) => self.start(command, gallery, house),
            CreateCommand::StartRefused => self.start_refused(),
            CreateCommand::Mask(command) => self.paint(command, house),
            CreateCommand::AddLora(model) => self.change(house, |form| {
                form.loras.push(LoraChoice {
                    model,
                    weight: 1.0,
                    on: true,
                });
            }),
            CreateCommand::RemoveLora(place) => self.change(house, |form| {
                if place < form.loras.len() {
                    form.loras.remove(place);
                }
            }),
            CreateCommand::UseVae(vae) => self.change(house, |form| form.vae = vae),
            CreateCommand::Steps(command) => self.run_steps(command, gallery, house),
            CreateCommand::Control(command) => self.run_control(command, gallery, house),
            CreateCommand::Enlarge(command) => self.run_enlarge(command, gallery, house),
            CreateCommand::Lists(command) => self.run_lists(command, house),
            CreateCommand::Matter(command) => self.run_matter(&command, gallery, house),
            CreateCommand::Again(command) => self.run_again(command, gallery, house),
            CreateCommand::Ordered(order) => self.ordered(*order, house),
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

    fn remember(&mut self, prompt: &str) {
        if prompt.trim().is_empty() {
            return;
        }
        let history = Arc::make_mut(&mut self.history);
        history.retain(|known| known != prompt);
        history.insert(0, prompt.to_owned());
        history.truncate(MOST_PROMPTS);
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
        let painting = self.paint.open && self.form.start.is_some();
        if painting && self.is_about_the_picture(command) {
            return Err("Finish painting the mask first".to_owned());
        }
        match command {
            CreateCommand::Generate { .. } => {
                self.can_draw(house)?;
                let empty = self.form.prompt.trim().is_empty();
                say(!empty, "Write what to draw first")?;
                self.can_begin()?;
                match &self.branching {
                    Some(branching) => self.can_branch(branching),
                    None => self.can_guide(house),
                }
            }
            CreateCommand::Steps(command) => self.steps_available(command, gallery, house),
            CreateCommand::Control(command) => self.control_available(command, gallery, house),
            CreateCommand::Enlarge(command) => self.enlarge_available(command, gallery, house),
            CreateCommand::Matter(command) => self.matter_available(command, gallery, house),
            CreateCommand::Again(command) => self.again_available(command, gallery, house),
            CreateCommand::ShowOrigin => {
                let origin = self.origin(gallery, house);
                say(
                    origin.is_some(),
                    "It came from no other picture that is here",
                )
            }
            CreateCommand::Start(command) => self.start_available(command, gallery, house),
            CreateCommand::Mask(command) => self.mask_available(command),
            CreateCommand::DrawSomething | CreateCommand::DrawPrompt(_) => self.can_draw(house),
            CreateCommand::Stop => say(
                at_work(house).is_some() || self.desk.holds_order(),
                "Nothing is being drawn",
            ),
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
                    Current::Picture(item)
                        if !matches!(command, CreateCommand::Details)
                            && item.record.origin.as_ref().is_some_and(Origin::is_foreign) =>
                    {
                        Err(
                            "Nobody knows how the picture was made that this one was made of"
                                .to_owned(),
                        )
                    }
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

    /// Whether nothing of it is under way or not kept yet.
    pub(super) fn is_idle(&self) -> bool {
        !self.desk.is_busy(self.mask())
            && !self.steps.is_busy()
            && !self.lists.is_busy()
            && !self.enlarge.is_busy()
            && !self.matter.is_busy()
            && self.again.running().is_none()
            && self.ordering == 0
            && self.guides_taken == 0
    }

    pub(super) fn undo(&mut self, back: bool, _house: &mut House) {
        self.paint.drop_stroke();
        self.undo.step(back, &mut self.form);
    }

    pub(super) fn on_event(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        match head.target {
            Target::Words { .. } => return self.matter_heard(head, event, house),
            Target::Again { .. } => return self.again_heard(head, event, house),
            _ => {}
        }
        if !head.target.is_gallery() {
            return;
        }
        if let Event::Warning { message, .. } = event
            && !self.remarks.contains(message)
        {
            self.remarks.push(message.clone());
        }
    }

    pub(super) fn on_discarded(&mut self, head: &TaskHead, _house: &mut House) {
        self.matter_discarded(head);
        self.again_discarded(head);
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

/// Names of the LoRAs that prompts can name.
pub fn loras(shelf: &Shelf) -> Vec<String> {
    let is_lora = |model: &&Model| {
        let kind = model.info.as_ref().map(ModelInfo::kind);
        kind == Some(ModelKind::Lora) && model.model.is_some()
    };
    let loras = shelf.models().iter().filter(is_lora);
    loras
        .filter_map(|model| Some(model.model.as_ref()?.name.clone()))
        .collect()
}

/// The job that draws for the gallery now, else the next one.
fn at_work(house: &House) -> Option<TaskId> {
    let live = strip::jobs(house).filter(|task| task.stage.is_live());
    live.last().map(|task| task.head.id)
}
