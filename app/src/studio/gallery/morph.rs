//! The way between two pictures: what lies between them is drawn picture by picture, and becomes one file; nothing of it is among the pictures.

use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::{Event, ImageRequest, Outcome, Picture, Request};

use super::{Gallery, GalleryCommand, Item};
use crate::library::files;
use crate::library::records::{Origin, Target, TaskId};
use crate::morph::{Form, Shape, Stop, encode, frame};
use crate::studio::command::{AppCommand, QueueCommand, UiCommand};
use crate::studio::effects::{AskKind, Effect};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::queue::TaskHead;
use crate::studio::view::Workspace;
use crate::words;

/// How many pictures a way may have.
pub const FRAMES: std::ops::RangeInclusive<u32> = 2..=240;
/// For how long each may be shown, in milliseconds.
pub const MILLISECONDS: std::ops::RangeInclusive<u16> = 20..=2000;
/// Bytes of the pictures that are held until the file is written.
const MOST_BYTES: u64 = 2_000_000_000;

/// What a person wants of it, and what threads answer.
#[derive(Clone, Debug, PartialEq)]
pub enum MorphCommand {
    /// Ask about the two pictures that are chosen.
    Ask,
    /// Close the dialog; what runs goes on.
    Close,
    /// Begin where it ended.
    Swap,
    /// Make it so.
    Set(Plan),
    /// Ask for the file, then draw what is not drawn yet and write it.
    Choose,
    /// This is the file.
    To(PathBuf),
    /// Go on with drawing, into the file that was chosen.
    Go,
    /// Draw no more of it.
    Stop,
    /// Write what there is.
    Save,
    /// The file is written, or cannot be.
    Written(Result<PathBuf, String>),
    /// Show the file in its folder.
    Reveal,
}

/// How a way is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the file is.
    pub form: Form,
    /// Pictures in all.
    pub frames: u32,
    /// For each of them.
    pub milliseconds: u16,
    /// Whether it goes back to its beginning.
    pub back: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            form: Form::default(),
            frames: 16,
            milliseconds: 120,
            back: false,
        }
    }
}

impl Plan {
    fn healed(self) -> Self {
        Self {
            frames: self.frames.clamp(*FRAMES.start(), *FRAMES.end()),
            milliseconds: self
                .milliseconds
                .clamp(*MILLISECONDS.start(), *MILLISECONDS.end()),
            ..self
        }
    }
}

/// A way between two pictures.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where it begins; size, model and all else are of this one.
    pub from: Item,
    /// Where it ends.
    pub to: Item,
    /// What is drawn so far, from the beginning on.
    pub drawn: Vec<Arc<Picture>>,
    /// What reproduces the first of them.
    told: Option<ImageRequest>,
    /// The file that was chosen.
    file: Option<(PathBuf, files::Existing)>,
    /// The file that was written.
    pub written: Option<PathBuf>,
    /// Why it ended early; empty if the person stopped it.
    pub trouble: Option<String>,
    task: Option<TaskId>,
    writing: bool,
}

impl Way {
    fn between(from: Item, to: Item) -> Self {
        Self {
            from,
            to,
            drawn: Vec::new(),
            told: None,
            file: None,
            written: None,
            trouble: None,
            task: None,
            writing: false,
        }
    }

    /// Whether it is being drawn.
    pub fn is_running(&self) -> bool {
        self.task.is_some()
    }

    /// Whether its file is being written.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// The job that draws the next picture of it.
    pub fn task(&self) -> Option<TaskId> {
        self.task
    }

    /// Whether the file that it goes into is known.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Seconds that what is left of so many pictures is expected to take.
    pub fn expected(&self, frames: u32) -> f32 {
        let left = frames.saturating_sub(self.drawn.len() as u32);
        self.from.record.seconds * left as f32
    }

    /// Settings in which the two differ, beside words and seed: those of the first are taken.
    pub fn differing(&self) -> Vec<&'static str> {
        let (a, b) = (&self.from.record.request, &self.to.record.request);
        [
            ("model", a.model.name != b.model.name),
            ("size", (a.width, a.height) != (b.width, b.height)),
            ("steps", a.steps != b.steps),
            ("guidance", a.guidance != b.guidance),
            (
                "sampler",
                (a.sampler, a.schedule) != (b.sampler, b.schedule),
            ),
            ("LoRAs", a.loras != b.loras),
            ("start picture", a.init != b.init),
            ("ControlNets", a.controls != b.controls),
            ("second pass", a.hires != b.hires),
            ("second seed", a.variation != b.variation),
            ("autoencoder", a.vae != b.vae),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// What all of its pictures have in common.
    fn first(&self) -> ImageRequest {
        ImageRequest {
            keep_latents: false,
            preview: false,
            trace: false,
            stop_after: None,
            template: None,
            ..self.from.record.request.clone()
        }
    }

    /// What is drawn next, if anything is.
    fn next(&self, plan: &Plan) -> Option<ImageRequest> {
        let stops = [&self.from, &self.to].map(|item| Stop::of(&item.record.request));
        let number = self.drawn.len() as u32;
        (number < plan.frames).then(|| frame(&self.first(), &stops, number, plan.frames))
    }

    /// Forgets what was drawn: it was of other pictures, or of other places on the way.
    fn forget(&mut self) {
        self.drawn.clear();
        (self.told, self.file) = (None, None);
        (self.written, self.trouble) = (None, None);
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct Morph {
    /// Whether the dialog is open.
    pub open: bool,
    /// How the next one is made.
    pub plan: Plan,
    /// The latest one.
    pub way: Option<Way>,
}

impl Morph {
    /// Whether something of it is drawn or written.
    pub fn is_busy(&self) -> bool {
        let way = self.way.as_ref();
        way.is_some_and(|way| way.is_running() || way.writing)
    }

    fn end(&mut self, reason: &str) {
        if let Some(way) = &mut self.way {
            way.task = None;
            way.trouble = Some(reason.to_owned());
        }
    }
}

/// Why there is no way between two pictures.
fn possible(from: &Item, to: &Item) -> Result<(), String> {
    for item in [from, to] {
        match &item.record.origin {
            Some(origin) if origin.is_foreign() => {
                return Err("Nobody knows how one of them was made".to_owned());
            }
            Some(Origin::Branch { .. }) => {
                let words = "One of them is a branch, which begins as another picture does";
                return Err(words.to_owned());
            }
            _ => {}
        }
    }
    let [a, b] = [from, to].map(|item| Stop::of(&item.record.request));
    match a == b {
        true => Err("Both have the same words and the same seed".to_owned()),
        false => Ok(()),
    }
}

impl Gallery {
    /// The two pictures that are chosen, the older one first.
    fn two_chosen(&self) -> Result<(&Item, &Item), String> {
        let ids = self.selection.ids();
        let items: Vec<&Item> = ids.iter().filter_map(|id| self.get(*id)).collect();
        match items.as_slice() {
            [from, to] => Ok((from, to)),
            _ => Err("Choose two pictures: click one, then the other with Ctrl".to_owned()),
        }
    }

    pub(super) fn run_morph(&mut self, command: MorphCommand, house: &mut House) {
        match command {
            MorphCommand::Ask => self.ask_morph(house),
            MorphCommand::Close => self.morph.open = false,
            MorphCommand::Swap => {
                if let Some(way) = self.resting() {
                    std::mem::swap(&mut way.from, &mut way.to);
                    way.forget();
                }
            }
            MorphCommand::Set(plan) => {
                let plan = plan.healed();
                let other = plan.frames != self.morph.plan.frames;
                let renamed = plan.form != self.morph.plan.form;
                if let Some(way) = self.resting() {
                    way.written = None;
                    if other {
                        way.forget();
                    }
                    if renamed {
                        // The file that was chosen has another ending.
                        way.file = None;
                    }
                    self.morph.plan = plan;
                }
            }
            MorphCommand::Choose => {
                let form = self.morph.plan.form;
                let (what, endings): (_, &'static [&'static str]) = match form {
                    Form::Animated => ("Animated PNG", &["png"]),
                    Form::Gif => ("GIF", &["gif"]),
                    Form::Strip => ("PNG picture", &["png"]),
                };
                let kind = AskKind::SaveFile {
                    name: format!("morph.{}", form.ending()),
                    what,
                    endings,
                };
                house.ask("Save the way between the pictures", kind, |path| {
                    GalleryCommand::Morph(MorphCommand::To(path)).into()
                });
            }
            MorphCommand::To(path) => {
                let named = self.morph.plan.form.named(path);
                let Some(way) = self.resting() else {
                    return;
                };
                match named {
                    Ok(file) => {
                        way.file = Some(file);
                        self.draw_next(house);
                    }
                    Err(reason) => way.trouble = Some(reason),
                }
            }
            MorphCommand::Go => {
                if self.resting().is_some_and(|way| way.file.is_some()) {
                    self.draw_next(house);
                }
            }
            MorphCommand::Stop => {
                if let Some(task) = self.morph.way.as_ref().and_then(Way::task) {
                    house.command(QueueCommand::Cancel(task));
                }
            }
            MorphCommand::Save => self.write_morph(house),
            MorphCommand::Written(written) => self.morph_written(written, house),
            MorphCommand::Reveal => {
                let way = self.morph.way.as_ref();
                if let Some(path) = way.and_then(|way| way.written.clone()) {
                    house.effect(Effect::Reveal(path));
                }
            }
        }
    }

    /// The way, while nothing of it is under way.
    fn resting(&mut self) -> Option<&mut Way> {
        let way = self.morph.way.as_mut();
        way.filter(|way| !way.is_running() && !way.writing)
    }

    fn ask_morph(&mut self, house: &mut House) {
        if !self.morph.is_busy() {
            let Ok((from, to)) = self.two_chosen() else {
                return;
            };
            let same = |way: &Way| {
                let mut known = [way.from.record.id, way.to.record.id];
                known.sort();
                known == [from.record.id, to.record.id]
            };
            if !self.morph.way.as_ref().is_some_and(same) {
                let way = Way::between(from.clone(), to.clone());
                self.morph.way = Some(way);
            }
        }
        self.morph.open = true;
        house.command(AppCommand::Show(Workspace::Gallery));
    }

    /// Has the next picture of the way drawn, or the file written.
    fn draw_next(&mut self, house: &mut House) {
        let plan = self.morph.plan;
        let Some(way) = &mut self.morph.way else {
            return;
        };
        (way.trouble, way.written) = (None, None);
        match way.next(&plan) {
            Some(request) => {
                let target = Target::Way {
                    from: way.from.record.id,
                    to: way.to.record.id,
                };
                way.task = Some(house.submit(Request::Image(request), target, false));
            }
            None => {
                way.task = None;
                self.write_morph(house);
            }
        }
    }

    /// What the engine says of a picture of the way.
    pub(in crate::studio) fn on_event(
        &mut self,
        head: &TaskHead,
        event: &Event,
        house: &mut House,
    ) {
        let way = self.morph.way.as_mut();
        let Some(way) = way.filter(|way| way.task == Some(head.id)) else {
            return;
        };
        match event {
            Event::Finished { outcome, .. } => {
                let Outcome::Image {
                    picture, request, ..
                } = outcome
                else {
                    return;
                };
                if let Request::Image(request) = &**request {
                    way.told.get_or_insert_with(|| request.clone());
                }
                way.drawn.push(Arc::clone(picture));
                self.draw_next(house);
            }
            Event::Failed { failure, .. } => {
                let reason = failure.message.clone();
                self.morph.end(&reason);
                if !self.morph.open {
                    let title = "The way between the pictures could not be drawn";
                    house.log.notify(Level::Error, title, reason);
                }
                // There is nothing to try again by itself.
                house.command(QueueCommand::Cancel(head.id));
            }
            Event::Cancelled { .. } => self.morph.end(""),
            _ => {}
        }
    }

    pub(in crate::studio) fn on_discarded(&mut self, head: &TaskHead) {
        let way = self.morph.way.as_ref();
        if way.is_some_and(|way| way.task == Some(head.id)) {
            self.morph.end("");
        }
    }

    /// Writes what is drawn into the file that was chosen, on a thread.
    fn write_morph(&mut self, house: &mut House) {
        let plan = self.morph.plan;
        let Some(way) = self.resting() else {
            return;
        };
        let (Some((path, existing)), Some(told)) = (way.file.clone(), way.told.clone()) else {
            return;
        };
        let shape = Shape {
            form: plan.form,
            milliseconds: plan.milliseconds,
            back: plan.back,
        };
        let (drawn, reply) = (way.drawn.clone(), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-morph".into())
            .spawn(move || {
                let written = encode(shape, &drawn, &told).and_then(|bytes| {
                    files::write(&path, &bytes, existing).map_err(|error| error.to_string())
                });
                reply.command(GalleryCommand::Morph(MorphCommand::Written(written)));
            });
        match spawned {
            Ok(_) => (way.writing, way.trouble) = (true, None),
            Err(error) => way.trouble = Some(format!("The system gives no thread: {error}")),
        }
    }

    fn morph_written(&mut self, written: Result<PathBuf, String>, house: &mut House) {
        let open = self.morph.open;
        let Some(way) = &mut self.morph.way else {
            return;
        };
        way.writing = false;
        let (level, title, text) = match &written {
            Ok(path) => {
                let text = path.display().to_string();
                (
                    Level::Success,
                    "The way between the pictures is saved",
                    text,
                )
            }
            Err(reason) => {
                let title = "The way between the pictures could not be saved";
                (Level::Error, title, reason.clone())
            }
        };
        match (open, written.is_ok()) {
            (true, _) => house.log.write(level, title, text),
            (false, true) => {
                let show = UiCommand::Gallery(GalleryCommand::Morph(MorphCommand::Reveal));
                let show = Some(("Show the file".to_owned(), show));
                house.log.notify_with(level, title, text, show);
            }
            (false, false) => house.log.notify(level, title, text),
        }
        match written {
            Ok(path) => way.written = Some(path),
            Err(reason) => way.trouble = Some(reason),
        }
    }

    pub(super) fn morph_available(
        &self,
        command: &MorphCommand,
        house: &House,
    ) -> Result<(), String> {
        match command {
            // What is under way is shown whatever is chosen.
            MorphCommand::Ask if self.morph.is_busy() => Ok(()),
            MorphCommand::Ask => {
                let (from, to) = self.two_chosen()?;
                possible(from, to)
            }
            MorphCommand::Choose | MorphCommand::Go => {
                let Some(way) = &self.morph.way else {
                    return Err("No pictures are chosen".to_owned());
                };
                let (plan, record) = (&self.morph.plan, &way.from.record);
                let request = &record.request;
                // As it is drawn: the record's own size counts a second pass.
                plan.form
                    .fits(record.width.max(request.width), plan.frames)
                    .map_err(capital)?;
                let bytes = 3
                    * u64::from(record.width.max(request.width))
                    * u64::from(record.height.max(request.height))
                    * u64::from(plan.frames);
                if bytes > MOST_BYTES {
                    return Err(format!(
                        "So many pictures of this size take {} of memory; choose fewer",
                        words::bytes(bytes)
                    ));
                }
                let left = way.drawn.len() < plan.frames as usize;
                match house.shelf.find(&request.model) {
                    None if left => Err(format!("The model '{}' is not here", request.model.name)),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// A sentence with a capital at its beginning.
fn capital(words: String) -> String {
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use diptych_inference::engine::ModelRef;

    use super::*;
    use crate::library::records::{PictureId, PictureRecord};

    fn item(prompt: &str, seed: u64) -> Item {
        Item {
            record: PictureRecord {
                id: PictureId::new(),
                path: PathBuf::new(),
                created: 0,
                request: ImageRequest {
                    seed,
                    trace: true,
                    ..ImageRequest::new(ModelRef::named("m"), prompt, 64, 64)
                },
                width: 64,
                height: 64,
                steps_done: None,
                seconds: 2.0,
                favourite: false,
                trashed: false,
                grid: None,
                origin: None,
            },
            memory: None,
        }
    }

    #[test]
    fn a_way_is_drawn_from_one_to_the_other_with_the_settings_of_the_first() {
        let mut way = Way::between(item("a fox", 1), item("a cat", 2));
        way.to.record.request.steps = 50;
        assert_eq!(way.differing(), ["steps"]);
        let plan = Plan {
            frames: 3,
            ..Plan::default()
        };
        assert_eq!(way.expected(plan.frames), 6.0);
        let mut amounts = Vec::new();
        while let Some(next) = way.next(&plan) {
            assert_eq!(
                (next.prompt.as_str(), next.seed, next.steps),
                ("a fox", 1, 20)
            );
            assert!(!next.trace && !next.preview);
            amounts.push(
                next.toward
                    .map(|there| (there.prompt, there.seed, there.amount)),
            );
            let picture = Picture {
                width: 1,
                height: 1,
                rgb: vec![0; 3],
            };
            way.drawn.push(Arc::new(picture));
        }
        let there = |amount| Some(("a cat".to_owned(), 2, amount));
        assert_eq!(amounts, [None, there(0.5), there(1.0)]);
        assert_eq!(way.expected(plan.frames), 0.0);
    }

    #[test]
    fn there_is_no_way_between_the_same_or_what_nobody_knows() {
        assert!(possible(&item("a", 1), &item("a", 2)).is_ok());
        assert!(possible(&item("a", 1), &item("b", 1)).is_ok());
        let same = possible(&item("a", 1), &item("a", 1));
        assert!(same.is_err_and(|reason| reason.contains("same words")));
        let mut branch = item("b", 1);
        branch.record.origin = Some(Origin::Branch {
            of: PictureId(1),
            step: 2,
        });
        assert!(possible(&item("a", 1), &branch).is_err());
        branch.record.origin = Some(Origin::Enlarged {
            of: None,
            with: "x".into(),
            foreign: true,
        });
        assert!(possible(&branch, &item("a", 1)).is_err());
        assert_eq!(capital("a strip".into()), "A strip");
    }
}
