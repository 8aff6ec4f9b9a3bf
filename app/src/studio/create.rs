//! Drawing: the form with all settings of a picture, and which picture is shown.

use diptych_inference::diffusion::{Convention, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::{Event, ImageRequest, ModelRef, Request};
use diptych_inference::text::prompt::PromptSyntax;
use serde::{Deserialize, Serialize};

use super::command::{Entry, QueueCommand};
use super::drafts::draft;
use super::gallery::Gallery;
use super::house::House;
use super::keys::{Chord, Place};
use super::models::Model;
use super::queue::TaskHead;
use super::route::NewPicture;
use crate::library::Restored;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{PictureId, Target};
use crate::theme::Icon;

/// Where the seed comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// A new one for each order.
    #[default]
    Random,
    /// The one in the form.
    Locked,
}

/// All that a person can say about a picture. `None` is the model's own choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Form {
    /// What to draw.
    pub prompt: String,
    /// What to keep out.
    pub negative: String,
    /// The model; `None` is the first that draws.
    pub model: Option<ModelRef>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Sampler steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f32>,
    /// Sampler.
    pub sampler: Option<SamplerKind>,
    /// Schedule.
    pub schedule: Option<ScheduleKind>,
    /// Convention.
    pub convention: Option<Convention>,
    /// Timestep spacing.
    pub spacing: Option<Spacing>,
    /// Where the seed comes from.
    pub seed_mode: SeedMode,
    /// The seed, or the last one.
    pub seed: u64,
    /// Pictures of an order; each has the next seed.
    pub count: u32,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative: String::new(),
            model: None,
            size: None,
            steps: None,
            guidance: None,
            sampler: None,
            schedule: None,
            convention: None,
            spacing: None,
            seed_mode: SeedMode::Random,
            seed: 0,
            count: 1,
        }
    }
}

/// Drawing.
#[derive(Debug, Default)]
pub struct Create {
    /// The form.
    pub form: Form,
    /// The picture that is shown; `None` is the newest, or what is being drawn.
    pub shown: Option<PictureId>,
}

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
    /// Take a text as the prompt.
    TakePrompt(String),
    /// Show a picture.
    Show(Option<PictureId>),
}

const DRAFT: &str = "create";
const STEPS: u32 = 20;
const GUIDANCE: f32 = 7.0;
const SIDE: u32 = 512;

impl Form {
    /// The model that it means: the chosen one, else the first that draws.
    pub fn model<'a>(&self, house: &'a House) -> Option<&'a Model> {
        match &self.model {
            Some(model) => house.shelf.find(model),
            None => house.shelf.drawing().next(),
        }
    }

    /// Width and height: the person's, else the model's.
    pub fn size(&self, model: &Model) -> (u32, u32) {
        self.size.unwrap_or_else(|| {
            let side = model.native_side().unwrap_or(SIDE);
            (
                model.defaults.width.unwrap_or(side),
                model.defaults.height.unwrap_or(side),
            )
        })
    }

    /// The request for a seed.
    pub fn request(&self, model: &Model, seed: u64) -> Option<ImageRequest> {
        let defaults = &model.defaults;
        let (width, height) = self.size(model);
        let own = defaults.convention.unwrap_or_default();
        let convention = self.convention.unwrap_or(own);
        Some(ImageRequest {
            model: model.model.clone()?,
            prompt: self.prompt.clone(),
            negative_prompt: self.negative.clone(),
            prompt_syntax: PromptSyntax::default(),
            width,
            height,
            steps: self.steps.or(defaults.steps).unwrap_or(STEPS),
            guidance: self.guidance.or(defaults.guidance).unwrap_or(GUIDANCE),
            sampler: self
                .sampler
                .or(defaults.sampler)
                .unwrap_or(SamplerKind::DpmPp2M),
            schedule: self
                .schedule
                .or(defaults.schedule)
                .unwrap_or(ScheduleKind::Karras),
            convention,
            spacing: self
                .spacing
                .or(defaults.spacing.filter(|_| convention == own)),
            seed,
            noise: None,
            keep_latents: false,
            preview: true,
        })
    }
}

impl Create {
    pub(super) fn restore(&mut self, restored: &Restored, _house: &mut House) {
        if let Some(form) = restored
            .drafts
            .get(DRAFT)
            .and_then(|text| serde_json::from_str(text).ok())
        {
            self.form = form;
        }
    }

    pub(super) fn drafts(&self) -> Vec<(String, String)> {
        draft(DRAFT, &self.form).into_iter().collect()
    }

    pub(super) fn apply(&mut self, command: CreateCommand, _gallery: &Gallery, house: &mut House) {
        match command {
            CreateCommand::Generate { front } => self.generate(front, house),
            CreateCommand::Stop => {
                let running = house
                    .queue
                    .of_target(|target| *target == Target::Gallery)
                    .find(|task| task.stage.is_live())
                    .map(|task| task.head.id);
                if let Some(id) = running {
                    house.command(QueueCommand::Cancel(id));
                }
            }
            CreateCommand::TakePrompt(prompt) => self.form.prompt = prompt,
            CreateCommand::Show(picture) => self.shown = picture,
        }
    }

    fn generate(&mut self, front: bool, house: &mut House) {
        if self.form.seed_mode == SeedMode::Random {
            self.form.seed = crate::cli::new_seed();
        }
        for number in 0..self.form.count.max(1) {
            let seed = self.form.seed.wrapping_add(u64::from(number));
            let request = self
                .form
                .model(house)
                .and_then(|model| self.form.request(model, seed));
            if let Some(request) = request {
                house.submit(Request::Image(request), Target::Gallery, front);
            }
        }
        self.shown = None;
    }

    pub(super) fn available(
        &self,
        command: &CreateCommand,
        _gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        match command {
            CreateCommand::Generate { .. } if self.form.model(house).is_none() => {
                Err("There is no model to draw with yet".to_owned())
            }
            CreateCommand::Generate { .. } if self.form.prompt.trim().is_empty() => {
                Err("Say what to draw first".to_owned())
            }
            CreateCommand::Stop
                if !house
                    .queue
                    .live()
                    .any(|task| task.head.target == Target::Gallery) =>
            {
                Err("Nothing is being drawn".to_owned())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn undo(&mut self, _back: bool, _house: &mut House) {}

    pub(super) fn on_event(&mut self, _head: &TaskHead, _event: &Event, _house: &mut House) {}

    pub(super) fn on_discarded(&mut self, _head: &TaskHead, _house: &mut House) {}

    pub(super) fn on_picture(&mut self, _new: &NewPicture, _house: &mut House) {}

    pub(super) fn on_library(&mut self, _event: &LibraryEvent, _house: &mut House) {}
}

/// Commands of Create in the palette.
pub fn entries() -> Vec<Entry> {
    use egui::Key;
    vec![
        Entry::new(
            CreateCommand::Generate { front: false },
            "Draw",
            Icon::Sparkle,
        )
        .key(Place::Create, Chord::ctrl(Key::Enter)),
        Entry::new(
            CreateCommand::Generate { front: true },
            "Draw before all others",
            Icon::Sparkle,
        )
        .key(Place::Create, Chord::ctrl(Key::Enter).shift()),
        Entry::new(CreateCommand::Stop, "Stop drawing", Icon::Stop)
            .key(Place::Create, Chord::plain(Key::Escape)),
    ]
}
