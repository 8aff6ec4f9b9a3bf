//! What is done with the picture that is shown: settings taken over, saved, copied, marked, thrown away.

use diptych_inference::engine::{ModelRef, Request};

use super::strip::{self, Current, Shown};
use super::{Create, CreateCommand, Zoom, files, guest};
use crate::library::records::PictureId;
use crate::recall::{self, Against, KnownModel, Part, Recalled};
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::effects::{AskKind, Effect};
use crate::studio::gallery::{Gallery, GalleryCommand, Item};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::view::Workspace;

impl Create {
    /// Does what is about the picture that is shown.
    pub(super) fn look(&mut self, command: CreateCommand, gallery: &Gallery, house: &mut House) {
        match command {
            CreateCommand::Show(picture) => {
                self.shown = picture.map_or(Shown::Newest, Shown::Picture);
                if picture.is_some() {
                    house.command(AppCommand::Show(Workspace::Create));
                }
            }
            CreateCommand::ShowJob(id) => self.shown = Shown::Job(id),
            CreateCommand::ShowOrigin => {
                if let Some(item) = self.origin(gallery, house) {
                    self.shown = Shown::Picture(item.record.id);
                }
            }
            CreateCommand::Step(by) => {
                if let Some(to) = strip::neighbour(self.shown, by, gallery, house) {
                    self.shown = to;
                }
            }
            CreateCommand::Recall(part) => {
                if let Some(recalled) = self.recall_current(part, gallery, house) {
                    self.take(&recalled, part, house);
                }
            }
            CreateCommand::RecallOf(id, part) => self.recall_of(id, part, gallery, house),
            CreateCommand::SaveAs => {
                if let Current::Picture(item) = self.current(gallery, house) {
                    let item = item.clone();
                    files::ask(&item, house);
                }
            }
            CreateCommand::SaveAsOf(id) => {
                if let Some(item) = gallery.get(id) {
                    files::ask(item, house);
                }
            }
            CreateCommand::SaveTo(id, path) => {
                if let Some(item) = gallery.get(id) {
                    files::save(item, path, house);
                }
            }
            CreateCommand::Copy => {
                if let Current::Picture(item) = self.current(gallery, house) {
                    let item = item.clone();
                    files::copy(&item, house);
                }
            }
            CreateCommand::CopyOf(id) => {
                if let Some(item) = gallery.get(id) {
                    files::copy(item, house);
                }
            }
            CreateCommand::Copied(picture) => {
                house.effect(Effect::CopyPicture(picture));
                house.log.notify(Level::Success, "Picture copied", "");
            }
            CreateCommand::CopyPrompt => {
                if let Some(prompt) = self.current_prompt(gallery, house) {
                    house.effect(Effect::CopyText(prompt));
                    house.log.notify(Level::Success, "Prompt copied", "");
                }
            }
            CreateCommand::Reveal => {
                if let Some(item) = self.picture(gallery, house).filter(|item| item.is_saved()) {
                    let path = item.record.path.clone();
                    house.effect(Effect::Reveal(path));
                }
            }
            CreateCommand::Favourite => {
                if let Some(id) = self.picture(gallery, house).map(|item| item.record.id) {
                    house.command(GalleryCommand::Favourite(id));
                }
            }
            CreateCommand::Trash => self.trash(gallery, house),
            CreateCommand::Details => self.folds.details = !self.folds.details,
            CreateCommand::ZoomFit => self.zoom = Some(Zoom::Fit),
            CreateCommand::ZoomActual => self.zoom = Some(Zoom::Actual),
            CreateCommand::Open => {
                let kind = AskKind::OpenFile {
                    what: "Pictures",
                    endings: guest::PICTURE_ENDINGS,
                };
                house.ask("Open a picture", kind, |path| {
                    UiCommand::Create(CreateCommand::Look(path))
                });
            }
            CreateCommand::Look(path) => {
                house.command(AppCommand::Show(Workspace::Create));
                guest::invite(path, house);
            }
            CreateCommand::Paste(picture) => {
                house.command(AppCommand::Show(Workspace::Create));
                self.welcome(super::Guest::pasted(picture));
            }
            CreateCommand::Welcome(guest) => self.welcome(*guest),
            CreateCommand::PasteSettings(text) => {
                if let Some(guest) = super::Guest::from_text(&text) {
                    self.welcome(guest);
                }
            }
            CreateCommand::Dismiss => {
                self.guest = None;
                self.shown = Shown::Newest;
            }
            _ => tracing::error!("a command of the form came to the canvas"),
        }
    }

    fn welcome(&mut self, guest: super::Guest) {
        self.guest = Some(guest);
        self.shown = Shown::Guest;
    }

    fn picture<'a>(&'a self, gallery: &'a Gallery, house: &'a House) -> Option<&'a Item> {
        match self.current(gallery, house) {
            Current::Picture(item) => Some(item),
            _ => None,
        }
    }

    fn current_prompt(&self, gallery: &Gallery, house: &House) -> Option<String> {
        match self.current(gallery, house) {
            Current::Nothing => None,
            Current::Job(task) => Some(task.title().to_owned()),
            Current::Picture(item) => Some(item.record.request.prompt.clone()),
            Current::Guest(guest) => guest.info.as_ref().ok()?.prompt.clone(),
        }
    }

    fn trash(&mut self, gallery: &Gallery, house: &mut House) {
        let Some(id) = self.picture(gallery, house).map(|item| item.record.id) else {
            return;
        };
        // What is older takes its place, as when one leafs on.
        let next = strip::neighbour(Shown::Picture(id), 1, gallery, house)
            .or_else(|| strip::neighbour(Shown::Picture(id), -1, gallery, house));
        self.shown = match self.shown {
            Shown::Newest => Shown::Newest,
            _ => next.unwrap_or_default(),
        };
        house.command(GalleryCommand::Trash(id));
    }

    fn recall_current(&self, part: Part, gallery: &Gallery, house: &House) -> Option<Recalled> {
        let known = known_models(gallery, house);
        let against = self.against(&known, house);
        match self.current(gallery, house) {
            Current::Nothing => None,
            Current::Job(task) => match &*task.head.request {
                Request::Image(request) => Some(recall::recall_request(request, part, &against)),
                Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => None,
            },
            Current::Picture(item) => {
                Some(recall::recall_request(&item.record.request, part, &against))
            }
            Current::Guest(guest) => {
                let info = guest.info.as_ref().ok()?;
                Some(recall::recall(info, part, &against))
            }
        }
    }

    fn recall_of(&mut self, id: PictureId, part: Part, gallery: &Gallery, house: &mut House) {
        let Some(item) = gallery.get(id) else {
            return;
        };
        let known = known_models(gallery, house);
        let against = self.against(&known, house);
        let recalled = recall::recall_request(&item.record.request, part, &against);
        self.take(&recalled, part, house);
        house.command(AppCommand::Show(Workspace::Create));
    }

    /// What the settings of a picture from elsewhere would be here, for looking at them before.
    pub fn preview_of_guest(&self, gallery: &Gallery, house: &House) -> Option<Recalled> {
        let info = self.guest.as_ref()?.info.as_ref().ok()?;
        let known = known_models(gallery, house);
        Some(recall::recall(
            info,
            Part::All,
            &self.against(&known, house),
        ))
    }

    fn against<'a>(&'a self, known: &'a Known, house: &'a House) -> Against<'a> {
        let model = self.form.model(house);
        let chosen = model.and_then(|model| self.form.request(model, 0));
        let name = model.and_then(|model| model.model.as_ref());
        Against {
            models: &known.models,
            loras: &known.loras,
            model: name.map(|model| model.name.as_str()),
            sampler: chosen.as_ref().map_or(
                diptych_inference::diffusion::SamplerKind::DpmPp2M,
                |request| request.sampler,
            ),
            schedule: chosen.map(|request| request.schedule).unwrap_or_default(),
        }
    }

    fn take(&mut self, recalled: &Recalled, part: Part, house: &mut House) {
        self.change(house, |form| form.take(recalled, part == Part::Remix));
        let taken = recalled.taken();
        let title = match taken.len() {
            0 => "Nothing could be taken over".to_owned(),
            _ => format!("Took over {}", join(&taken)),
        };
        if recalled.notes.is_empty() {
            house.log.notify(Level::Success, title, "");
        } else {
            house
                .log
                .notify(Level::Warning, title, recalled.notes.join(". ") + ".");
        }
    }
}

/// `a, b and c`.
fn join(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}

/// What settings can name.
struct Known {
    models: Vec<KnownModel>,
    loras: Vec<String>,
}

/// The models that draw, with the hashes that pictures tell of them; and the LoRAs.
fn known_models(gallery: &Gallery, house: &House) -> Known {
    let hash_of = |name: &str| {
        let requests = gallery
            .items()
            .iter()
            .map(|item| &item.record.request.model);
        requests
            .filter(|model| model.name == name)
            .find_map(|model| model.hash.clone())
    };
    let models = house
        .shelf
        .drawing()
        .filter_map(|model| {
            let known = model.model.as_ref()?;
            Some(KnownModel {
                model: ModelRef {
                    name: known.name.clone(),
                    hash: known.hash.clone().or_else(|| hash_of(&known.name)),
                },
                path: model.path.clone(),
                title: model
                    .info
                    .as_ref()
                    .and_then(|info| info.name().map(str::to_owned)),
                factor: model.size_factor(),
            })
        })
        .collect();
    Known {
        models,
        loras: super::loras(&house.shelf),
    }
}
