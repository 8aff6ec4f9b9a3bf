//! The steps of a picture whose trace was kept: looked at one by one, and gone on from with other settings.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use diptych_inference::engine::{Branched, ImageRequest, Picture, Request};
use diptych_inference::formats::trace::{StepFacts, Trace};
use serde::{Deserialize, Serialize};

use super::start::{Quiet, Start};
use super::{Create, CreateCommand, Form, Shown};
use crate::library::Restored;
use crate::library::records::PictureId;
use crate::library::traces::trace_path;
use crate::recall::{self, Part};
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::create::form::SeedMode;
use crate::studio::create::strip::Current;
use crate::studio::effects::{Effect, focus};
use crate::studio::gallery::Gallery;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::view::Workspace;

/// The key of the branch's draft.
const DRAFT: &str = "create.branch";
/// Largest side of a step's picture.
const MOST_SIDE: u32 = 4096;

/// What a person wants of the steps, and what threads answer.
#[derive(Clone, Debug, PartialEq)]
pub enum StepsCommand {
    /// These pictures have their steps.
    Known(Vec<PictureId>),
    /// The steps of a picture have been read, or cannot be.
    Read(PictureId, Result<Box<Opened>, String>),
    /// Go so many steps on, or back.
    By(i32),
    /// Show the first of them.
    First,
    /// Show the picture itself.
    Last,
    /// Show this one, by its place.
    To(usize),
    /// Go on from the step that is shown with other settings.
    Branch,
    /// Give that up, and take the settings of before.
    Leave,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is known of it.
    pub facts: StepFacts,
    /// What the picture was foreseen to be; none at the beginning.
    pub picture: Option<Quiet<Picture>>,
}

/// The steps of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Them, from the beginning to the end.
    pub steps: Vec<Step>,
}

/// What is known of steps.
#[derive(Debug, Default)]
pub struct Steps {
    known: HashSet<PictureId>,
    opened: Option<(PictureId, Opened)>,
    reading: Option<PictureId>,
    trouble: Option<(PictureId, String)>,
    /// Which of the opened ones is shown, by its place; the picture itself if there is none.
    place: Option<usize>,
}

impl Steps {
    /// Whether a picture has its steps.
    pub fn has(&self, picture: PictureId) -> bool {
        self.known.contains(&picture)
    }

    /// The steps of a picture, once they are read.
    pub fn of(&self, picture: PictureId) -> Option<&[Step]> {
        let (of, opened) = self.opened.as_ref()?;
        (*of == picture).then_some(opened.steps.as_slice())
    }

    /// Why the steps of a picture cannot be shown.
    pub fn trouble(&self, picture: PictureId) -> Option<&str> {
        let (of, reason) = self.trouble.as_ref()?;
        (*of == picture).then_some(reason.as_str())
    }

    /// Which step of a picture is shown, by its place: the last, if none was chosen.
    pub fn place(&self, picture: PictureId) -> Option<usize> {
        let last = self.of(picture)?.len().checked_sub(1)?;
        Some(self.place.unwrap_or(last).min(last))
    }

    /// The step of a picture that is shown in its place; `None` shows the picture itself.
    pub fn shown(&self, picture: PictureId) -> Option<&Step> {
        let steps = self.of(picture)?;
        let place = self.place(picture)?;
        (place + 1 < steps.len())
            .then(|| steps.get(place))
            .flatten()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.reading.is_some()
    }
}

/// A branch that is being worded: where it leaves another picture, and what the form was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branching {
    /// The other picture.
    pub of: PictureId,
    /// Steps that were done in it.
    pub step: u32,
    /// Its steps in all.
    pub total: u32,
    /// How it was drawn up to there.
    pub request: ImageRequest,
    /// The form of before.
    pub before: Box<Form>,
    /// What was foreseen there.
    #[serde(skip)]
    pub picture: Option<Quiet<Picture>>,
}

impl Branching {
    /// Whether it began from a picture itself.
    pub fn has_start(&self) -> bool {
        self.request.init.is_some()
    }

    /// What a form's request comes to: what may change is the form's, the rest stays as it was.
    pub fn request(&self, form: ImageRequest) -> ImageRequest {
        let from = in_force(&self.request, self.step);
        ImageRequest {
            model: form.model,
            prompt: form.prompt,
            negative_prompt: form.negative_prompt,
            guidance: form.guidance,
            guidance_rescale: form.guidance_rescale,
            clip_skip: form.clip_skip,
            loras: form.loras,
            vae: form.vae,
            init: form.init,
            preview: true,
            trace: form.trace,
            template: None,
            branched: Some(Branched {
                step: self.step,
                from: Box::new(from.clone()),
            }),
            ..from
        }
    }
}

/// The settings that were in force when so many steps were done, as the engine has it: a later change had not come yet.
fn in_force(request: &ImageRequest, done: u32) -> ImageRequest {
    let mut request = request.clone();
    while let Some(branched) = request.branched.take_if(|branched| branched.step >= done) {
        request = *branched.from;
    }
    (request.preview, request.trace, request.keep_latents) = (false, false, false);
    request
}

/// Reads all steps of a trace and makes pictures of them. Takes its time: for a thread of its own.
///
/// # Errors
/// Traces that are gone or damaged.
fn read(path: &Path) -> Result<Opened, String> {
    let trace = Trace::open(path).map_err(|error| error.to_string())?;
    let steps = trace.steps().map(|facts| {
        let png = trace.preview(facts.index).ok();
        let picture = png
            .filter(|png| !png.is_empty())
            .and_then(|png| decode(&png));
        Step {
            facts: facts.clone(),
            picture: picture.map(|picture| Quiet(Arc::new(picture))),
        }
    });
    let steps: Vec<Step> = steps.collect();
    match steps.is_empty() {
        true => Err(format!("{}: no step was kept", path.display())),
        false => Ok(Opened { steps }),
    }
}

fn decode(png: &[u8]) -> Option<Picture> {
    let mut reader =
        image::ImageReader::with_format(std::io::Cursor::new(png), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    let image = reader.decode().ok()?.into_rgb8();
    Some(Picture {
        width: image.width(),
        height: image.height(),
        rgb: image.into_raw(),
    })
}

/// The state of a step, to go on from.
///
/// # Errors
/// Traces that are gone or damaged.
pub(super) fn state(folder: &Path, picture: PictureId, step: u32) -> Result<Arc<[u8]>, String> {
    let path = trace_path(folder, picture);
    let trace = Trace::open(&path).map_err(|error| error.to_string())?;
    let state = trace.state(step).map_err(|error| error.to_string())?;
    Ok(state.into())
}

impl Create {
    /// The branch that is being worded.
    pub fn branching(&self) -> Option<&Branching> {
        self.branching.as_ref()
    }

    pub(super) fn restore_branch(&mut self, restored: &Restored) {
        let draft = restored.drafts.get(DRAFT);
        self.branching = draft
            .and_then(|text| serde_json::from_str::<Option<Branching>>(text).ok())
            .flatten();
    }

    pub(super) fn branch_draft(&self) -> Option<(String, String)> {
        crate::studio::drafts::draft(DRAFT, &self.branching)
    }

    /// Reads the steps of the picture that is shown, if it has them.
    pub(super) fn tick_steps(&mut self, gallery: &Gallery, house: &mut House) {
        let shown = match self.current(gallery, house) {
            Current::Picture(item) => Some(item.record.id),
            _ => None,
        };
        let steps = &mut self.steps;
        let opened = steps.opened.as_ref().map(|(of, _)| *of);
        if opened != shown && opened.is_some() {
            (steps.opened, steps.place) = (None, None);
        }
        let Some(picture) = shown.filter(|picture| steps.has(*picture)) else {
            return;
        };
        if opened == shown || steps.reading.is_some() || steps.trouble(picture).is_some() {
            return;
        }
        let (path, reply) = (trace_path(&house.data, picture), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-steps".into())
            .spawn(move || {
                let read = StepsCommand::Read(picture, read(&path).map(Box::new));
                reply.command(UiCommand::Create(CreateCommand::Steps(read)));
            });
        match spawned {
            Ok(_) => steps.reading = Some(picture),
            Err(error) => {
                steps.trouble = Some((picture, format!("the system gives no thread: {error}")));
            }
        }
    }

    pub(super) fn run_steps(
        &mut self,
        command: StepsCommand,
        gallery: &Gallery,
        house: &mut House,
    ) {
        match command {
            StepsCommand::Known(pictures) => self.steps.known.extend(pictures),
            StepsCommand::Read(picture, read) => {
                self.steps.reading = None;
                match read {
                    Ok(opened) => {
                        self.steps.place = None;
                        if let Some(branching) = &mut self.branching
                            && branching.of == picture
                            && branching.picture.is_none()
                        {
                            let at = |step: &&Step| step.facts.index == branching.step;
                            let step = opened.steps.iter().find(at);
                            branching.picture = step.and_then(|step| step.picture.clone());
                        }
                        self.steps.opened = Some((picture, *opened));
                    }
                    Err(reason) => self.steps.trouble = Some((picture, reason)),
                }
            }
            StepsCommand::By(by) => {
                let Some((picture, last)) = self.opened_steps(gallery, house) else {
                    return;
                };
                let place = self.steps.place(picture).unwrap_or(last);
                let to = place.saturating_add_signed(by as isize).min(last);
                self.steps.place = Some(to);
            }
            StepsCommand::First => self.steps.place = Some(0),
            StepsCommand::Last => self.steps.place = None,
            StepsCommand::To(place) => self.steps.place = Some(place),
            StepsCommand::Branch => self.branch(gallery, house),
            StepsCommand::Leave => {
                if let Some(branching) = self.branching.take() {
                    self.paint.close();
                    self.form = *branching.before;
                    self.undo.begin(&self.form);
                }
            }
        }
    }

    /// The picture that is shown and the place of its last step, if its steps are there.
    fn opened_steps(&self, gallery: &Gallery, house: &House) -> Option<(PictureId, usize)> {
        let Current::Picture(item) = self.current(gallery, house) else {
            return None;
        };
        let picture = item.record.id;
        let last = self.steps.of(picture)?.len().checked_sub(1)?;
        Some((picture, last))
    }

    /// Words a branch of the picture that is shown, from the step that is shown.
    fn branch(&mut self, gallery: &Gallery, house: &mut House) {
        let Current::Picture(item) = self.current(gallery, house) else {
            return;
        };
        let (picture, request) = (item.record.id, item.record.request.clone());
        let Some(step) = self.steps.shown(picture).cloned() else {
            return;
        };
        let before = match self.branching.take() {
            // From one branch to the next: what was before both.
            Some(other) => other.before,
            None => Box::new(self.form.clone()),
        };
        self.paint.close();
        self.form.take(&plain(&request), false);
        self.form.start = request.init.as_ref().map(Start::of);
        self.form.count = 1;
        self.form.seed_mode = SeedMode::Locked;
        if let Some(model) = self.form.model(house) {
            self.form.settle(model);
        }
        self.undo.begin(&self.form);
        self.branching = Some(Branching {
            of: picture,
            step: step.facts.index,
            total: step.facts.total,
            request,
            before,
            picture: step.picture,
        });
        self.shown = Shown::Picture(picture);
        house.command(AppCommand::Show(Workspace::Create));
        house.effect(Effect::Focus(focus::PROMPT));
    }

    pub(super) fn steps_available(
        &self,
        command: &StepsCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let say = |possible: bool, reason: &str| match possible {
            true => Ok(()),
            false => Err(reason.to_owned()),
        };
        match command {
            StepsCommand::By(_) | StepsCommand::First | StepsCommand::Last => say(
                self.opened_steps(gallery, house).is_some(),
                "The steps of this picture were not kept",
            ),
            StepsCommand::Branch => {
                let Some((picture, _)) = self.opened_steps(gallery, house) else {
                    return Err("The steps of this picture were not kept".to_owned());
                };
                let Some(step) = self.steps.shown(picture) else {
                    return Err("Go back to an earlier step first".to_owned());
                };
                let request = gallery.get(picture).map(|item| &item.record.request);
                let second = request.is_some_and(|request| {
                    request.hires.is_some() && step.facts.index > request.steps
                });
                say(
                    !second,
                    "This is a step of the second pass; branch from one of the first",
                )
            }
            StepsCommand::Leave => say(self.branching.is_some(), "No branch is being worded"),
            StepsCommand::Known(_) | StepsCommand::Read(..) | StepsCommand::To(_) => Ok(()),
        }
    }

    /// Whether the form's start picture and mask fit the branch.
    pub(super) fn can_branch(&self, branching: &Branching) -> Result<(), String> {
        let start = self.form.start.as_ref();
        match (&branching.request.init, start) {
            (None, None) => Ok(()),
            (None, Some(start)) if start.only_masked => {
                Err("A branch draws all of the picture, not only the masked part".to_owned())
            }
            (None, Some(start)) if start.size.0 > 0 && !start.is_masked() => {
                Err("Paint what is to be drawn anew first, or take the mask away".to_owned())
            }
            (None, Some(_)) => Ok(()),
            (Some(init), Some(start)) if start.picture == init.picture.0 => Ok(()),
            (Some(_), _) => {
                Err("The picture to begin from cannot change in the middle of a picture".to_owned())
            }
        }
    }
}

/// All settings of a request, as they are: nothing is looked for or made fit.
fn plain(request: &ImageRequest) -> recall::Recalled {
    let against = recall::Against {
        models: &[],
        loras: &[],
        model: None,
        sampler: request.sampler,
        schedule: request.schedule,
    };
    let mut recalled = recall::recall_request(request, Part::All, &against);
    recalled.model = Some(request.model.clone());
    recalled.size = Some((request.width, request.height));
    recalled
}

/// Tells of what goes wrong while the state of a step is read: the picture is then drawn from its beginning.
pub(super) fn tell_slow_way(house: &mut House, reason: String) {
    let title = "The steps cannot be read; the branch is drawn from its beginning";
    house.log.notify(Level::Warning, title, reason);
}

/// Whether a request is one of a picture.
pub(super) fn image(request: &Request) -> Option<&ImageRequest> {
    match request {
        Request::Image(request) => Some(request),
        Request::Chat(_) | Request::Upscale(_) | Request::Score(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use diptych_inference::engine::ModelRef;

    use super::*;

    fn branching(request: ImageRequest, step: u32) -> Branching {
        Branching {
            of: PictureId(1),
            step,
            total: 8,
            request,
            before: Box::default(),
            picture: None,
        }
    }

    #[test]
    fn a_branch_changes_only_what_may_change() {
        let first = ImageRequest {
            steps: 8,
            seed: 5,
            preview: true,
            trace: true,
            ..ImageRequest::new(ModelRef::named("m"), "a fox", 64, 64)
        };
        let form = ImageRequest {
            guidance: 3.0,
            steps: 30,
            ..ImageRequest::new(ModelRef::named("m"), "a cat", 128, 64)
        };
        let branch = branching(first.clone(), 3).request(form.clone());
        assert_eq!((branch.prompt.as_str(), branch.guidance), ("a cat", 3.0));
        assert_eq!(
            (branch.width, branch.height, branch.steps, branch.seed),
            (64, 64, 8, 5)
        );
        let from = branch.branched.as_ref().unwrap();
        assert_eq!((from.step, from.from.prompt.as_str()), (3, "a fox"));
        assert!(!from.from.trace && !from.from.preview);
        // A branch of the branch, before and after the place where it left.
        let earlier = branching(branch.clone(), 2).request(form.clone());
        let from = earlier.branched.unwrap();
        assert_eq!((from.step, from.from.prompt.as_str()), (2, "a fox"));
        assert_eq!(from.from.branched, None);
        let later = branching(branch, 6).request(form);
        let from = later.branched.unwrap();
        assert_eq!((from.step, from.from.prompt.as_str()), (6, "a cat"));
        assert_eq!(from.from.branched.unwrap().step, 3);
    }
}
