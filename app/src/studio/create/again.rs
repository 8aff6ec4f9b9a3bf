//! Whether a picture can be made again: it is drawn anew from its record, and compared step by step with what was kept; nothing of that is
//! kept but what came of it.

use std::collections::HashMap;
use std::path::Path;

use diptych_inference::engine::{Event, ImageRequest, Outcome, Request};
use diptych_inference::formats::trace::{Trace, is_trace};

use super::reading::{self, Pixel, pixels_of};
use super::{Create, CreateCommand, Current};
use crate::library::records::{Origin, PictureId, Target, TaskId};
use crate::library::traces::trace_path;
use crate::proof::{Proof, Verdict, compare, picture_hash};
use crate::studio::command::{QueueCommand, UiCommand};
use crate::studio::gallery::{Gallery, Item};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::queue::TaskHead;
use crate::studio::session::EngineState;

/// What a person wants of it, and what a thread answers.
#[derive(Clone, Debug, PartialEq)]
pub enum AgainCommand {
    /// Check the picture that is shown.
    Check,
    /// Check a picture of the library.
    Of(PictureId),
    /// Check it no more.
    Stop,
    /// What came of it.
    Told(PictureId, Answer),
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Both were compared.
    Compared(Verdict),
    /// It could not be drawn or read.
    Trouble(String),
    /// The person stopped it.
    Stopped,
}

/// A check under way.
#[derive(Debug)]
struct Check {
    /// The picture.
    item: Item,
    /// The job; none once it is drawn, while it is compared.
    task: Option<TaskId>,
    /// Hashes of the steps that were drawn anew.
    steps: Vec<(u32, [u8; 32])>,
}

/// What is known of pictures made again.
#[derive(Debug, Default)]
pub struct Again {
    check: Option<Check>,
    answers: HashMap<PictureId, Answer>,
}

impl Again {
    /// What came of a picture's latest check in this run.
    pub fn answer(&self, picture: PictureId) -> Option<&Answer> {
        self.answers.get(&picture)
    }

    /// The picture that is being checked, and the job that draws it; no job is left while it is compared.
    pub fn running(&self) -> Option<(PictureId, Option<TaskId>)> {
        let check = self.check.as_ref()?;
        Some((check.item.record.id, check.task))
    }

    fn end(&mut self, answer: Answer) {
        if let Some(check) = self.check.take() {
            self.answers.insert(check.item.record.id, answer);
        }
    }
}

/// Whether a record tells all that a picture needs to be made again.
fn possible(item: &Item) -> Result<(), String> {
    match &item.record.origin {
        Some(origin) if origin.is_foreign() => {
            Err("Nobody knows how the picture was made that this one was made of".to_owned())
        }
        Some(Origin::Enlarged { .. }) => {
            Err("It was made larger; check the picture that it came from".to_owned())
        }
        _ if item.record.steps_done.is_some() => {
            Err("It was stopped before its end; only finished pictures can be checked".to_owned())
        }
        _ => Ok(()),
    }
}

/// What is kept of a picture: the hashes of its steps, if they were kept, and of itself.
fn kept(request: &ImageRequest, pixels: Pixel, trace: &Path) -> Result<Proof, String> {
    let rgb = reading::read(pixels)?.rgb;
    if !is_trace(trace) {
        return Ok(Proof::of_picture(Some(request), &rgb));
    }
    let trace = Trace::open(trace).map_err(|error| error.to_string())?;
    let mut proof = Proof::of_trace(&trace);
    // Of the file as it is now, not as it was when the trace ended.
    proof.finish(picture_hash(&rgb));
    Ok(proof)
}

/// What was drawn anew, to be compared.
struct Drawn {
    request: ImageRequest,
    rgb: Vec<u8>,
    steps: Vec<(u32, [u8; 32])>,
    executor: String,
    device: String,
}

impl Drawn {
    fn proof(&self) -> Result<Proof, String> {
        let mut proof = Proof::begin(&self.request, &self.executor, &self.device)
            .map_err(|error| error.to_string())?;
        for (step, sha256) in &self.steps {
            proof.step(*step, sha256, None);
        }
        proof.finish(picture_hash(&self.rgb));
        Ok(proof)
    }
}

impl Create {
    pub(super) fn run_again(
        &mut self,
        command: AgainCommand,
        gallery: &Gallery,
        house: &mut House,
    ) {
        match command {
            AgainCommand::Check => {
                // What comes of it is told among the details.
                self.folds.details = true;
                if let Current::Picture(item) = self.current(gallery, house) {
                    let item = item.clone();
                    self.check_again(&item, house);
                }
            }
            AgainCommand::Of(id) => {
                if let Some(item) = gallery.get(id) {
                    self.check_again(item, house);
                }
            }
            AgainCommand::Stop => {
                if let Some((_, Some(task))) = self.again.running() {
                    house.command(QueueCommand::Cancel(task));
                }
            }
            AgainCommand::Told(of, answer) => {
                if self.again.running().is_some_and(|(known, _)| known == of) {
                    self.tell_again(answer, house);
                }
            }
        }
    }

    fn check_again(&mut self, item: &Item, house: &mut House) {
        if self.again.check.is_some() || possible(item).is_err() {
            return;
        }
        let request = ImageRequest {
            trace: true,
            preview: false,
            keep_latents: false,
            template: None,
            ..item.record.request.clone()
        };
        let of = item.record.id;
        self.again.answers.remove(&of);
        let task = house.submit(Request::Image(request), Target::Again { of }, false);
        self.again.check = Some(Check {
            item: item.clone(),
            task: Some(task),
            steps: Vec::new(),
        });
    }

    /// What the engine says of a picture that is drawn anew.
    pub(super) fn again_heard(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        let check = self.again.check.as_mut();
        let Some(check) = check.filter(|check| check.task == Some(head.id)) else {
            return;
        };
        match event {
            Event::TraceStep { index, sha256, .. } => {
                // From its beginning once more: by an engine that was opened anew.
                check.steps.retain(|(step, _)| step < index);
                check.steps.push((*index, *sha256));
            }
            Event::Finished { outcome, .. } => {
                let Outcome::Image {
                    picture, request, ..
                } = outcome
                else {
                    return;
                };
                let Request::Image(request) = &**request else {
                    return;
                };
                check.task = None;
                let (executor, device) = match &house.engine {
                    EngineState::Ready { executor, device } => {
                        ((*executor).to_owned(), device.clone())
                    }
                    _ => ("unknown".to_owned(), "unknown".to_owned()),
                };
                let drawn = Drawn {
                    request: request.clone(),
                    rgb: picture.rgb.clone(),
                    steps: std::mem::take(&mut check.steps),
                    executor,
                    device,
                };
                let item = check.item.clone();
                if let Err(reason) = compare_on_thread(&item, drawn, house) {
                    self.tell_again(Answer::Trouble(reason), house);
                }
            }
            Event::Failed { failure, .. } => {
                let reason = failure.message.clone();
                self.tell_again(Answer::Trouble(reason), house);
                // There is nothing to try again by itself.
                house.command(QueueCommand::Cancel(head.id));
            }
            Event::Cancelled { .. } => self.again.end(Answer::Stopped),
            _ => {}
        }
    }

    pub(super) fn again_discarded(&mut self, head: &TaskHead) {
        let running = self.again.running();
        if running.is_some_and(|(_, task)| task == Some(head.id)) {
            self.again.end(Answer::Stopped);
        }
    }

    /// Keeps what came of it, and tells it where nobody looks at the details.
    fn tell_again(&mut self, answer: Answer, house: &mut House) {
        let Some(check) = &self.again.check else {
            return;
        };
        let show = CreateCommand::Show(Some(check.item.record.id));
        let show = ("Show".to_owned(), UiCommand::Create(show));
        let (level, title, text) = match &answer {
            Answer::Compared(verdict) if verdict.identical => (
                Level::Success,
                "The picture can be made again",
                verdict.told(),
            ),
            Answer::Compared(verdict) => (
                Level::Warning,
                "The picture came out otherwise",
                verdict.told(),
            ),
            Answer::Trouble(reason) => {
                let title = "The picture could not be made again";
                (Level::Error, title, reason.clone())
            }
            Answer::Stopped => (Level::Info, "The check was stopped", String::new()),
        };
        match self.folds.details {
            true => house.log.write(level, title, text),
            false => house.log.notify_with(level, title, text, Some(show)),
        }
        self.again.end(answer);
    }

    pub(super) fn again_available(
        &self,
        command: &AgainCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let item = match command {
            AgainCommand::Check => match self.current(gallery, house) {
                Current::Picture(item) => item,
                Current::Guest(_) => {
                    return Err("Only pictures of the library can be checked".to_owned());
                }
                Current::Job(_) => return Err("The picture is not finished".to_owned()),
                Current::Nothing => return Err("There is no picture yet".to_owned()),
            },
            AgainCommand::Of(id) => match gallery.get(*id) {
                Some(item) => item,
                None => return Err("The picture is not here any more".to_owned()),
            },
            AgainCommand::Stop | AgainCommand::Told(..) => return Ok(()),
        };
        possible(item)?;
        if let Some((of, _)) = self.again.running() {
            return Err(match of == item.record.id {
                true => "It is being checked".to_owned(),
                false => "Another picture is being checked".to_owned(),
            });
        }
        if let EngineState::Failed(reason) = &house.engine {
            return Err(format!("Nothing can be drawn: {reason}"));
        }
        let model = &item.record.request.model;
        match house.shelf.find(model) {
            Some(_) => Ok(()),
            None => Err(format!("The model '{}' is not here", model.name)),
        }
    }
}

/// Reads what was kept and compares it, on a thread; the answer comes as [`AgainCommand::Told`].
fn compare_on_thread(item: &Item, drawn: Drawn, house: &House) -> Result<(), String> {
    let (of, request) = (item.record.id, item.record.request.clone());
    let (pixels, trace) = (pixels_of(item), trace_path(&house.data, of));
    let reply = house.reply();
    let work = move || {
        let told = kept(&request, pixels, &trace)
            .and_then(|first| Ok(compare(&first, &drawn.proof()?)))
            .map_or_else(Answer::Trouble, Answer::Compared);
        reply.command(CreateCommand::Again(AgainCommand::Told(of, told)));
    };
    let spawned = std::thread::Builder::new()
        .name("diptych-again".into())
        .spawn(work);
    let refused = |error| format!("the system gives no thread: {error}");
    spawned.map(drop).map_err(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use diptych_inference::engine::{ModelRef, Picture};

    use super::*;

    #[test]
    fn a_picture_without_steps_is_compared_by_itself() {
        let request = ImageRequest::new(ModelRef::named("m"), "a fox", 64, 64);
        let picture = |value: u8| Picture {
            width: 1,
            height: 2,
            rgb: vec![value; 6],
        };
        let drawn = Drawn {
            request: request.clone(),
            rgb: picture(7).rgb,
            steps: vec![(0, [0; 32]), (1, [1; 32])],
            executor: "cpu".into(),
            device: "this".into(),
        };
        let told = |value: u8| {
            let pixels = Pixel::Memory(Arc::new(picture(value)));
            let first = kept(&request, pixels, Path::new("/no/trace.dtrace")).unwrap();
            compare(&first, &drawn.proof().unwrap())
        };
        let same = told(7);
        assert!(same.identical && same.steps_compared == 0, "{same:?}");
        assert_eq!(same.told(), "identical: the same picture");
        let other = told(8);
        assert!(!other.identical && other.differs_from_step.is_none());
        assert_eq!(other.same_picture, Some(false));
        assert!(other.told().starts_with("the pictures differ"), "{other:?}");
    }
}
