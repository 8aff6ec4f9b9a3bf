//! ControlNets of the form: which, by what picture, how much of each and in which part of the steps.

use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::{
    BlobRef, ControlKind, ControlUse, ModelRef, Picture, Preprocessor,
};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use diptych_inference::tools::family_of_width;
use serde::{Deserialize, Serialize};

use super::guest::{self, GuestSource};
use super::kinds;
use super::reading::{Pixel, Supplied, pixels_of, short, supply};
use super::{Create, CreateCommand, Current};
use crate::library::records::PictureId;
use crate::studio::command::{AppCommand, ModelsCommand, UiCommand};
use crate::studio::effects::AskKind;
use crate::studio::gallery::Gallery;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::models::Model;
use crate::studio::view::Workspace;

/// How much of a ControlNet can be added.
pub const CONTROL_WEIGHTS: std::ops::RangeInclusive<f32> = -2.0..=2.0;
/// Thresholds of edges, in 255ths.
pub const EDGES: std::ops::RangeInclusive<f32> = 0.0..=1000.0;
/// What ControlNet's own annotator has for them.
pub const USUAL_EDGES: (f32, f32) = (100.0, 200.0);
/// Most of them in one picture.
const MOST: usize = 8;
/// Endings of files that hold ControlNets.
const ENDINGS: &[&str] = &["safetensors", "sft", "ckpt", "pt", "pth", "bin"];

/// What is made of the picture first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Nothing.
    #[default]
    AsItIs,
    /// Its edges.
    Edges,
    /// Its negative.
    Inverted,
}

/// A picture that guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guide {
    /// SHA-256 of its pixels as the engine takes them: the name of its file in the library.
    pub picture: String,
    /// What to call it.
    pub name: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// A ControlNet of the form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlChoice {
    /// Tells it from others while its picture is being read.
    pub key: u64,
    /// Its file or folder.
    pub model: ModelRef,
    /// Whether it is used at all.
    pub on: bool,
    /// The picture.
    pub guide: Option<Guide>,
    /// What is made of it first.
    pub seen: Seen,
    /// What kind of picture it is, for a net that is made for several.
    pub kind: Option<ControlKind>,
    /// Gradients from here on continue an edge, in 255ths.
    pub low: f32,
    /// Gradients from here on begin one.
    pub high: f32,
    /// How much of it is added; 1 is as it was trained.
    pub weight: f32,
    /// From which share of the steps on, 0 to 1.
    pub start: f32,
    /// Up to which share of the steps, 0 to 1.
    pub end: f32,
}

impl Default for ControlChoice {
    fn default() -> Self {
        Self {
            key: 0,
            model: ModelRef::named(""),
            on: true,
            guide: None,
            seen: Seen::AsItIs,
            kind: None,
            low: USUAL_EDGES.0,
            high: USUAL_EDGES.1,
            weight: 1.0,
            start: 0.0,
            end: 1.0,
        }
    }
}

impl ControlChoice {
    /// The request's part; nothing if it is off or has no picture.
    pub fn used(&self) -> Option<ControlUse> {
        let guide = self.guide.as_ref().filter(|_| self.on)?;
        Some(ControlUse {
            model: self.model.clone(),
            picture: BlobRef(guide.picture.clone()),
            weight: self.weight,
            start: self.start,
            end: self.end,
            kind: self.kind,
            preprocessor: match self.seen {
                Seen::AsItIs => Preprocessor::None,
                Seen::Edges => Preprocessor::Canny {
                    low: self.low.min(self.high),
                    high: self.high.max(self.low),
                },
                Seen::Inverted => Preprocessor::Invert,
            },
        })
    }

    /// What a request used.
    pub fn of(used: &ControlUse) -> Self {
        let (seen, (low, high)) = match used.preprocessor {
            Preprocessor::None => (Seen::AsItIs, USUAL_EDGES),
            Preprocessor::Invert => (Seen::Inverted, USUAL_EDGES),
            Preprocessor::Canny { low, high } => (Seen::Edges, (low, high)),
        };
        Self {
            key: crate::origin::new_seed(),
            model: ModelRef::named(used.model.name.clone()),
            guide: Some(Guide {
                picture: used.picture.0.clone(),
                name: "From a picture's settings".to_owned(),
                size: (0, 0),
            }),
            seen,
            kind: used.kind,
            low,
            high,
            weight: used.weight,
            start: used.start,
            end: used.end,
            ..Self::default()
        }
    }

    /// Mends what an older version or another hand may have written.
    pub fn heal(&mut self) {
        let within = |value: f32, range: &std::ops::RangeInclusive<f32>, usual: f32| match value {
            value if value.is_finite() => value.clamp(*range.start(), *range.end()),
            _ => usual,
        };
        self.weight = within(self.weight, &(-100.0..=100.0), 1.0);
        self.low = within(self.low, &EDGES, USUAL_EDGES.0);
        self.high = within(self.high, &EDGES, USUAL_EDGES.1);
        self.start = within(self.start, &(0.0..=0.99), 0.0);
        self.end = within(self.end, &(0.01..=1.0), 1.0);
        if self.start >= self.end {
            (self.start, self.end) = (0.0, 1.0);
        }
    }
}

/// What a person wants of ControlNets, and what threads answer. Numbers are their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlCommand {
    /// Add one.
    Add(ModelRef),
    /// Ask for a file to add.
    AskFile,
    /// Add what is in a file, as soon as it is known.
    Expect(PathBuf),
    /// Take one away.
    Remove(u64),
    /// Guide it by the picture that is shown.
    FromShown(u64),
    /// Guide it by a picture of the library.
    FromPicture(u64, PictureId),
    /// Ask for a picture file.
    AskPicture(u64),
    /// Guide it by a picture file.
    FromFile(u64, PathBuf),
    /// A picture has been read.
    Took(u64, Box<Supplied>),
    /// It could not be.
    Refused,
}

/// The family of a model that draws, as additions name it.
pub fn family(model: &Model) -> Option<&'static str> {
    family_of_width(model.detail("text width")?.parse().ok()?)
}

/// Why a LoRA or ControlNet cannot be added to a model, as far as their files tell; in the engine's words.
pub fn mismatch(what: &str, addition: &Model, model: Option<&Model>) -> Option<String> {
    if let Some(reason) = &addition.refused {
        return Some(reason.clone());
    }
    if addition.model.is_none() {
        return Some("It is being read".to_owned());
    }
    let (theirs, ours) = (addition.detail("for")?, family(model?)?);
    (theirs != ours).then(|| format!("this {what} is for {theirs}; the loaded model is {ours}"))
}

fn is_control(model: &Model) -> bool {
    model.info.as_ref().map(ModelInfo::kind) == Some(ModelKind::ControlNet)
}

impl Create {
    /// Why a ControlNet of the form cannot be used.
    pub fn control_trouble(&self, choice: &ControlChoice, house: &House) -> Option<String> {
        match house.shelf.find(&choice.model) {
            Some(control) => mismatch("ControlNet", control, self.form.model(house)),
            None if house.shelf.ready => Some("it is not here; add its file in Models".to_owned()),
            None => None,
        }
    }

    /// The pixels of a picture that was just chosen to guide by.
    pub fn guide(&self, guide: &Guide) -> Option<&Arc<Picture>> {
        self.guides.get(&guide.picture)
    }

    /// Whether a picture is being read to guide by.
    pub fn takes_guides(&self) -> bool {
        self.guides_taken > 0
    }

    /// Whether all ControlNets that are on can be used.
    pub(super) fn can_guide(&self, house: &House) -> Result<(), String> {
        for choice in self.form.controls.iter().filter(|choice| choice.on) {
            let name = &choice.model.name;
            if let Some(trouble) = self.control_trouble(choice, house) {
                return Err(format!("'{name}': {trouble}"));
            }
            if choice.guide.is_none() {
                return Err(format!("Choose a picture for '{name}', or switch it off"));
            }
            if let Some(trouble) = kinds::trouble(choice, house.shelf.find(&choice.model)) {
                return Err(format!("'{name}': {trouble}"));
            }
        }
        Ok(())
    }

    pub(super) fn run_control(
        &mut self,
        command: ControlCommand,
        gallery: &Gallery,
        house: &mut House,
    ) {
        match command {
            ControlCommand::Add(model) => self.add_control(model, house),
            ControlCommand::AskFile => {
                let kind = AskKind::OpenFile {
                    what: "ControlNets",
                    endings: ENDINGS,
                };
                house.ask("A ControlNet", kind, |path| {
                    UiCommand::Create(CreateCommand::Control(ControlCommand::Expect(path)))
                });
            }
            ControlCommand::Expect(path) => {
                house.command(ModelsCommand::Add(path.clone()));
                self.expected_control = Some(path);
            }
            ControlCommand::Remove(key) => self.change(house, |form| {
                form.controls.retain(|choice| choice.key != key);
            }),
            ControlCommand::FromShown(key) => match self.current(gallery, house) {
                Current::Picture(item) => {
                    let name = short(&item.record.request.prompt);
                    self.guide_by(key, name, pixels_of(item), house);
                }
                Current::Guest(guest) => {
                    let name = guest.name.clone();
                    let from = match &guest.source {
                        GuestSource::File(path) => Pixel::File(path.clone()),
                        GuestSource::Memory(picture) => Pixel::Memory(picture.clone()),
                        GuestSource::Nowhere => return,
                    };
                    self.guide_by(key, name, from, house);
                }
                Current::Job(_) | Current::Nothing => {}
            },
            ControlCommand::FromPicture(key, picture) => {
                if let Some(item) = gallery.get(picture) {
                    let name = short(&item.record.request.prompt);
                    self.guide_by(key, name, pixels_of(item), house);
                }
            }
            ControlCommand::AskPicture(key) => {
                let kind = AskKind::OpenFile {
                    what: "Pictures",
                    endings: guest::PICTURE_ENDINGS,
                };
                house.ask("A picture to guide by", kind, move |path| {
                    UiCommand::Create(CreateCommand::Control(ControlCommand::FromFile(key, path)))
                });
            }
            ControlCommand::FromFile(key, path) => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                let name = name.to_string_lossy().into_owned();
                self.guide_by(key, name, Pixel::File(path), house);
            }
            ControlCommand::Took(key, supplied) => {
                self.guides_taken = self.guides_taken.saturating_sub(1);
                let guide = Guide {
                    picture: supplied.hash.clone(),
                    name: supplied.name.clone(),
                    size: supplied.size,
                };
                supplied.hand_over(house);
                // Until its file is written, and as long as it is in the form.
                let used = &self.form.controls;
                self.guides.retain(|hash, _| {
                    let mut guides = used.iter().filter_map(|choice| choice.guide.as_ref());
                    guides.any(|guide| guide.picture == *hash)
                });
                self.guides.insert(supplied.hash, supplied.picture.0);
                self.change(house, |form| {
                    let mut choices = form.controls.iter_mut();
                    if let Some(choice) = choices.find(|choice| choice.key == key) {
                        choice.guide = Some(guide);
                    }
                });
            }
            ControlCommand::Refused => {
                self.guides_taken = self.guides_taken.saturating_sub(1);
            }
        }
    }

    fn add_control(&mut self, model: ModelRef, house: &mut House) {
        if self.form.controls.len() >= MOST {
            let title = format!("There are {MOST} ControlNets already");
            house.log.notify(Level::Info, title, "");
            return;
        }
        let choice = ControlChoice {
            key: crate::origin::new_seed(),
            model,
            ..ControlChoice::default()
        };
        self.change(house, |form| form.controls.push(choice));
    }

    fn guide_by(&mut self, key: u64, name: String, from: Pixel, house: &mut House) {
        house.command(AppCommand::Show(Workspace::Create));
        let reply = house.reply();
        let failure = "The picture cannot guide";
        let spawned = std::thread::Builder::new()
            .name("diptych-guide".into())
            .spawn(move || {
                let command = match supply(name, from) {
                    Ok(supplied) => ControlCommand::Took(key, Box::new(supplied)),
                    Err(reason) => {
                        reply.notice(Level::Error, failure, reason);
                        ControlCommand::Refused
                    }
                };
                reply.command(UiCommand::Create(CreateCommand::Control(command)));
            });
        match spawned {
            Ok(_) => self.guides_taken += 1,
            Err(error) => {
                let text = format!("the system gives no thread: {error}");
                house.log.notify(Level::Error, failure, text);
            }
        }
    }

    /// Forgets the kind of picture of nets that turn out to be made for one kind only, as of settings that were made with another file of that name.
    pub(super) fn settle_kinds(&mut self, house: &House) {
        for choice in &mut self.form.controls {
            let net = house.shelf.find(&choice.model);
            let read = net.is_some_and(|net| net.info.is_some());
            if choice.kind.is_some() && read && kinds::known(net).is_empty() {
                choice.kind = None;
            }
        }
    }

    /// Adds what a person chose as a ControlNet once it is known, or tells why not.
    pub(super) fn look_for_control(&mut self, house: &mut House) {
        let Some(path) = &self.expected_control else {
            return;
        };
        let models = house.shelf.models().iter();
        let mut here = models.filter(|model| model.path.starts_with(path));
        let Some(found) = here.find(|model| model.model.is_some() || model.refused.is_some())
        else {
            if !house.shelf.scanning && house.shelf.ready && !path.exists() {
                self.expected_control = None;
            }
            return;
        };
        let name = found.name();
        let told = match (&found.model, &found.refused) {
            (Some(model), None) if is_control(found) => Ok(model.clone()),
            (_, Some(reason)) => Err(reason.clone()),
            _ => {
                let what = found.info.as_ref().map(ModelInfo::describe);
                let what = what.unwrap_or_else(|| "something else".to_owned());
                Err(format!("It is {what}."))
            }
        };
        self.expected_control = None;
        match told {
            Ok(model) => self.add_control(ModelRef::named(model.name), house),
            Err(reason) => {
                let title = format!("'{name}' is no ControlNet that can be used");
                house.log.notify(Level::Warning, title, reason);
            }
        }
    }

    pub(super) fn control_available(
        &self,
        command: &ControlCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        match command {
            ControlCommand::FromShown(_) => match self.current(gallery, house) {
                Current::Picture(_) => Ok(()),
                Current::Guest(guest) if guest.source != GuestSource::Nowhere => Ok(()),
                Current::Guest(_) => Err("These are settings without a picture".to_owned()),
                Current::Job(_) => Err("The picture is not finished".to_owned()),
                Current::Nothing => Err("There is no picture yet".to_owned()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_become_uses_and_come_back() {
        let mut choice = ControlChoice {
            model: ModelRef::named("canny"),
            seen: Seen::Edges,
            kind: Some(ControlKind::Soft),
            low: 300.0,
            high: 50.0,
            weight: 0.7,
            end: 0.8,
            ..ControlChoice::default()
        };
        assert_eq!(choice.used(), None, "without a picture");
        choice.guide = Some(Guide {
            picture: "ab".into(),
            name: "edges".into(),
            size: (8, 8),
        });
        let used = choice.used();
        let canny = Preprocessor::Canny {
            low: 50.0,
            high: 300.0,
        };
        assert_eq!(used.as_ref().map(|used| used.preprocessor), Some(canny));
        let kind = used.as_ref().and_then(|used| used.kind);
        assert_eq!(kind, Some(ControlKind::Soft));
        let back = used.as_ref().map(ControlChoice::of);
        assert_eq!(back.and_then(|back| back.used()), used);
        choice.on = false;
        assert_eq!(choice.used(), None);
        (choice.weight, choice.start, choice.end) = (f32::NAN, 0.9, 0.1);
        choice.heal();
        assert_eq!((choice.weight, choice.start, choice.end), (1.0, 0.0, 1.0));
    }
}
