//! Making a finished picture larger with an upscaler.

use diptych_inference::engine::{BlobRef, ImageRequest, ModelRef, Request, UpscaleRequest};
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use serde::{Deserialize, Serialize};

use super::guest::GuestSource;
use super::reading::{Pixel, Supplied, pixels_of, short, supply};
use super::{Create, CreateCommand, Current, Shown};
use crate::library::records::{PictureId, Target};
use crate::studio::command::UiCommand;
use crate::studio::gallery::Gallery;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::models::{Model, Shelf};

/// How often larger a picture can be made.
pub const TIMES: std::ops::RangeInclusive<f32> = 1.0..=8.0;
/// Sides of the parts that are worked at one after the other, in pixels; 0 is all at once.
pub const TILES: [u32; 5] = [0, 128, 192, 256, 512];

/// What a person wants, and what threads answer.
#[derive(Clone, Debug, PartialEq)]
pub enum EnlargeCommand {
    /// Ask how the picture that is shown is to be made larger.
    Ask,
    /// Leave it as it is.
    Close,
    /// Do it so from now on.
    Set(Enlarge),
    /// Make the picture that is shown larger.
    Shown,
    /// Make a picture of the library larger.
    Picture(PictureId),
    /// Its pixels have been read.
    Took(Box<Supplied>, Box<Source>),
    /// They cannot be.
    Refused,
}

/// What is made larger.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    of: Option<PictureId>,
    request: ImageRequest,
    foreign: bool,
}

/// How pictures are made larger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enlarge {
    /// The upscaler; `None` is the first there is.
    pub model: Option<ModelRef>,
    /// How often larger; `None` is the upscaler's own scale.
    pub times: Option<f32>,
    /// Side of the parts, in pixels; `None` is what suits memory.
    pub tile: Option<u32>,
    /// Whether the person is being asked.
    #[serde(skip)]
    pub open: bool,
    #[serde(skip)]
    taking: usize,
}

impl Enlarge {
    /// The upscaler that it means.
    pub fn upscaler<'a>(&self, shelf: &'a Shelf) -> Option<&'a Model> {
        match &self.model {
            Some(model) => shelf.find(model).filter(|model| is_upscaler(model)),
            None => upscalers(shelf).into_iter().next(),
        }
    }

    /// Whether a picture is being read.
    pub fn is_busy(&self) -> bool {
        self.taking > 0
    }

    /// Mends what an older version or another hand may have written.
    pub fn heal(&mut self) {
        self.times = self.times.filter(|times| TIMES.contains(times));
        self.tile = self.tile.filter(|tile| TILES.contains(tile));
    }
}

fn is_upscaler(model: &Model) -> bool {
    let kind = model.info.as_ref().map(ModelInfo::kind);
    kind == Some(ModelKind::Upscaler) && model.model.is_some() && model.refused.is_none()
}

/// Upscalers that can be used, by name.
pub fn upscalers(shelf: &Shelf) -> Vec<&Model> {
    let mut found: Vec<&Model> = shelf.models().iter().filter(|m| is_upscaler(m)).collect();
    found.sort_by_key(|model| model.name().to_lowercase());
    found
}

/// How often larger an upscaler makes pictures by itself.
pub fn own_times(model: &Model) -> Option<f32> {
    model.detail("scale")?.parse().ok()
}

impl Create {
    pub(super) fn run_enlarge(
        &mut self,
        command: EnlargeCommand,
        gallery: &Gallery,
        house: &mut House,
    ) {
        match command {
            EnlargeCommand::Set(wanted) => {
                let Enlarge { open, taking, .. } = self.enlarge;
                self.enlarge = Enlarge {
                    open,
                    taking,
                    ..wanted
                };
                self.enlarge.heal();
            }
            EnlargeCommand::Ask => self.enlarge.open = true,
            EnlargeCommand::Close => self.enlarge.open = false,
            EnlargeCommand::Shown => match self.current(gallery, house) {
                Current::Picture(item) => {
                    let id = item.record.id;
                    self.enlarge_picture(id, gallery, house);
                }
                Current::Guest(guest) => {
                    let from = match &guest.source {
                        GuestSource::File(path) => Pixel::File(path.clone()),
                        GuestSource::Memory(picture) => Pixel::Memory(picture.clone()),
                        GuestSource::Nowhere => return,
                    };
                    let name = guest.name.clone();
                    let info = guest.info.as_ref().ok();
                    let own = info.and_then(|info| {
                        let request = serde_json::from_value(info.request.clone()?).ok()?;
                        super::steps::image(&request).cloned()
                    });
                    let foreign = own.is_none();
                    // Without settings the picture has its name and nothing else.
                    let request = own.unwrap_or_else(|| {
                        ImageRequest::new(ModelRef::named(""), short(guest.title()), 1, 1)
                    });
                    let source = Source {
                        of: None,
                        request,
                        foreign,
                    };
                    self.enlarge_from(name, from, source, house);
                }
                Current::Job(_) | Current::Nothing => {}
            },
            EnlargeCommand::Picture(id) => self.enlarge_picture(id, gallery, house),
            EnlargeCommand::Took(supplied, source) => {
                self.enlarge.taking = self.enlarge.taking.saturating_sub(1);
                self.enlarge_now(*supplied, *source, house);
            }
            EnlargeCommand::Refused => {
                self.enlarge.taking = self.enlarge.taking.saturating_sub(1);
            }
        }
    }

    fn enlarge_picture(&mut self, id: PictureId, gallery: &Gallery, house: &mut House) {
        let Some(item) = gallery.get(id) else {
            return;
        };
        let source = Source {
            of: Some(id),
            request: item.record.request.clone(),
            foreign: item
                .record
                .origin
                .as_ref()
                .is_some_and(|origin| origin.is_foreign()),
        };
        let name = short(&item.record.request.prompt);
        self.enlarge_from(name, pixels_of(item), source, house);
    }

    fn enlarge_from(&mut self, name: String, from: Pixel, source: Source, house: &mut House) {
        let reply = house.reply();
        let failure = "The picture cannot be made larger";
        let spawned = std::thread::Builder::new()
            .name("diptych-enlarge".into())
            .spawn(move || {
                let command = match supply(name, from) {
                    Ok(supplied) => EnlargeCommand::Took(Box::new(supplied), Box::new(source)),
                    Err(reason) => {
                        reply.notice(Level::Error, failure, reason);
                        EnlargeCommand::Refused
                    }
                };
                reply.command(UiCommand::Create(CreateCommand::Enlarge(command)));
            });
        match spawned {
            Ok(_) => self.enlarge.taking += 1,
            Err(error) => {
                let text = format!("the system gives no thread: {error}");
                house.log.notify(Level::Error, failure, text);
            }
        }
    }

    fn enlarge_now(&mut self, supplied: Supplied, source: Source, house: &mut House) {
        let upscaler = self.enlarge.upscaler(&house.shelf);
        let Some(model) = upscaler.and_then(|upscaler| upscaler.model.clone()) else {
            let title = "The picture cannot be made larger";
            house
                .log
                .notify(Level::Warning, title, "The upscaler is not here any more.");
            return;
        };
        let Source {
            of,
            mut request,
            foreign,
        } = source;
        if foreign {
            (request.width, request.height) = supplied.size;
            request.model = model.clone();
        }
        let upscale = UpscaleRequest {
            model,
            picture: BlobRef(supplied.hash.clone()),
            tile: self.enlarge.tile,
            scale: self.enlarge.times,
        };
        supplied.hand_over(house);
        let target = Target::Enlarged {
            of,
            request: Box::new(request),
            foreign,
        };
        self.enlarge.open = false;
        house.submit(Request::Upscale(upscale), target, false);
        self.shown = Shown::Newest;
        self.guest = None;
    }

    pub(super) fn enlarge_available(
        &self,
        command: &EnlargeCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let upscales = matches!(command, EnlargeCommand::Shown | EnlargeCommand::Picture(_));
        if matches!(command, EnlargeCommand::Shown | EnlargeCommand::Ask) {
            match self.current(gallery, house) {
                Current::Picture(_) => {}
                Current::Guest(guest) if guest.source != GuestSource::Nowhere => {}
                Current::Guest(_) => {
                    return Err("These are settings without a picture".to_owned());
                }
                Current::Job(_) => return Err("The picture is not finished".to_owned()),
                Current::Nothing => return Err("There is no picture yet".to_owned()),
            }
        }
        if !upscales {
            return Ok(());
        }
        match (self.enlarge.upscaler(&house.shelf), &self.enlarge.model) {
            (Some(_), _) => Ok(()),
            (None, Some(model)) => Err(format!(
                "The upscaler '{}' is not here; choose another one",
                model.name
            )),
            (None, None) => Err("There is no upscaler; add an ESRGAN file in Models".to_owned()),
        }
    }
}
