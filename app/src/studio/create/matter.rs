//! Which words of a picture matter: it is drawn again without each of its phrases, and with another seed to measure by; nothing of that is kept but how far
//! the picture moves.

use std::ops::Range;
use std::sync::Arc;

use diptych_inference::engine::{Event, HostTensor, ImageRequest, Request};
use diptych_inference::text::prompt::phrases::{phrases, without};

use super::{Create, Current};
use crate::ablation::{NOTHING, moved};
use crate::library::records::{PictureId, Target, TaskId};
use crate::studio::command::{QueueCommand, UiCommand};
use crate::studio::gallery::{Gallery, Item};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::queue::TaskHead;

/// What a person wants of it.
#[derive(Clone, Debug, PartialEq)]
pub enum MatterCommand {
    /// Ask about the picture that is shown.
    Ask,
    /// Close the dialog; what runs goes on.
    Close,
    /// Find it out.
    Begin,
    /// Find out no more.
    Stop,
    /// Put the prompt without what does next to nothing into the form.
    Shorten,
}

/// A phrase, and what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it stands in the prompt.
    pub place: Range<usize>,
    /// It.
    pub text: String,
    /// How far the picture moves without it, with another seed's move as 1; `None` if that is not known yet.
    pub share: Option<f64>,
}

impl Part {
    /// Whether it does next to nothing.
    pub fn does_nothing(&self) -> bool {
        self.share.is_some_and(|share| share < NOTHING)
    }
}

/// One question.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The picture that it is about.
    pub of: PictureId,
    /// How that was made.
    request: ImageRequest,
    /// Its phrases, in their order.
    pub parts: Vec<Part>,
    /// Seconds that the picture took.
    seconds: f32,
    /// Pictures drawn so far: the whole one, one with another seed, and one without each phrase.
    pub drawn: usize,
    /// The latents of the whole one.
    whole: Option<Arc<HostTensor>>,
    /// How far another seed moves them.
    other_seed: f64,
    /// The latents of the one that is being drawn, as they were last heard of.
    last: Option<Arc<HostTensor>>,
    task: Option<TaskId>,
    /// Why it ended early.
    pub trouble: Option<String>,
}

impl Inquiry {
    /// About a picture; its prompt has words.
    fn about(item: &Item) -> Self {
        let prompt = &item.record.request.prompt;
        let part = |place: Range<usize>| Part {
            text: prompt.get(place.clone()).unwrap_or_default().to_owned(),
            place,
            share: None,
        };
        Self {
            of: item.record.id,
            parts: phrases(prompt, false).into_iter().map(part).collect(),
            request: ImageRequest {
                keep_latents: true,
                preview: false,
                trace: false,
                // What is composed is decided before it is made larger.
                hires: None,
                stop_after: item.record.steps_done,
                template: None,
                ..item.record.request.clone()
            },
            seconds: item.record.seconds,
            drawn: 0,
            whole: None,
            other_seed: 0.0,
            last: None,
            task: None,
            trouble: None,
        }
    }

    /// The prompt that it is about.
    pub fn prompt(&self) -> &str {
        &self.request.prompt
    }

    /// Pictures that are drawn for it.
    pub fn total(&self) -> usize {
        self.parts.len() + 2
    }

    /// Whether it is under way.
    pub fn is_running(&self) -> bool {
        self.task.is_some()
    }

    /// Whether all is known.
    pub fn is_done(&self) -> bool {
        self.drawn == self.total()
    }

    /// Seconds that all of it is expected to take.
    pub fn expected(&self) -> f32 {
        self.seconds * self.total() as f32
    }

    /// The prompt without what does next to nothing, if that is another one with words.
    pub fn shortened(&self) -> Option<String> {
        let mut prompt = self.prompt().to_owned();
        for part in self.parts.iter().rev().filter(|part| part.does_nothing()) {
            prompt = without(&prompt, &part.place);
        }
        (self.is_done() && prompt != self.prompt() && !prompt.trim().is_empty()).then_some(prompt)
    }

    /// What is drawn next.
    fn next(&self) -> Option<ImageRequest> {
        let request = self.request.clone();
        Some(match self.drawn {
            0 => request,
            1 => ImageRequest {
                seed: request.seed.wrapping_add(1),
                ..request
            },
            drawn => ImageRequest {
                prompt: without(self.prompt(), &self.parts.get(drawn - 2)?.place),
                ..request
            },
        })
    }

    /// Takes in the latents of what was drawn last.
    fn take(&mut self, latents: Arc<HostTensor>) {
        match (self.drawn, &self.whole) {
            (0, _) => self.whole = Some(latents),
            (1, Some(whole)) => self.other_seed = moved(whole, &latents),
            (drawn, Some(whole)) => {
                let share = match self.other_seed > 0.0 {
                    true => moved(whole, &latents) / self.other_seed,
                    false => 0.0,
                };
                if let Some(part) = self.parts.get_mut(drawn - 2) {
                    part.share = Some(share);
                }
            }
            (_, None) => {}
        }
        self.drawn += 1;
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub struct Matter {
    /// Whether the dialog is open.
    pub open: bool,
    /// The latest question.
    pub inquiry: Option<Inquiry>,
}

impl Matter {
    /// Whether something is being found out.
    pub fn is_busy(&self) -> bool {
        self.inquiry.as_ref().is_some_and(Inquiry::is_running)
    }
}

/// Why nothing can be found out about a picture.
fn possible(item: &Item) -> Result<(), String> {
    let origin = item.record.origin.as_ref();
    if origin.is_some_and(|origin| origin.is_foreign()) {
        return Err("Nobody knows how the picture was made that this one was made of".to_owned());
    }
    match phrases(&item.record.request.prompt, false).len() {
        0 => Err("It was drawn without words".to_owned()),
        1 => Err("It was drawn by a single word".to_owned()),
        _ => Ok(()),
    }
}

impl Create {
    pub(super) fn run_matter(
        &mut self,
        command: &MatterCommand,
        gallery: &Gallery,
        house: &mut House,
    ) {
        match command {
            MatterCommand::Ask => {
                self.matter.open = true;
                let Current::Picture(item) = self.current(gallery, house) else {
                    return;
                };
                let known = self.matter.inquiry.as_ref();
                let keep = known.is_some_and(|known| {
                    known.is_running() || known.of == item.record.id && known.trouble.is_none()
                });
                if !keep {
                    self.matter.inquiry = Some(Inquiry::about(item));
                }
            }
            MatterCommand::Close => self.matter.open = false,
            MatterCommand::Begin => {
                if let Some(inquiry) = &mut self.matter.inquiry
                    && !inquiry.is_running()
                    && !inquiry.is_done()
                {
                    inquiry.trouble = None;
                    self.ask_next(house);
                }
            }
            MatterCommand::Stop => {
                if let Some(task) = self.matter.inquiry.as_ref().and_then(|known| known.task) {
                    house.command(QueueCommand::Cancel(task));
                }
            }
            MatterCommand::Shorten => {
                let inquiry = self.matter.inquiry.as_ref();
                if let Some(prompt) = inquiry.and_then(Inquiry::shortened) {
                    self.change(house, |form| form.prompt = prompt);
                    self.matter.open = false;
                }
            }
        }
    }

    /// Has the next picture of the question drawn, or tells that all is known.
    fn ask_next(&mut self, house: &mut House) {
        let open = self.matter.open;
        let Some(inquiry) = &mut self.matter.inquiry else {
            return;
        };
        inquiry.last = None;
        let Some(request) = inquiry.next() else {
            inquiry.task = None;
            if !open {
                let text = inquiry.prompt().to_owned();
                let show = super::CreateCommand::Matter(MatterCommand::Ask);
                let show = ("Show".to_owned(), UiCommand::Create(show));
                let title = "It is known which words matter";
                house
                    .log
                    .notify_with(Level::Success, title, text, Some(show));
            }
            return;
        };
        let target = Target::Words { of: inquiry.of };
        inquiry.task = Some(house.submit(Request::Image(request), target, false));
    }

    /// What the engine says of a picture that is drawn for it.
    pub(super) fn matter_heard(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        let Some(inquiry) = &mut self.matter.inquiry else {
            return;
        };
        if inquiry.task != Some(head.id) {
            return;
        }
        match event {
            Event::Latents { latents, .. } => inquiry.last = Some(Arc::clone(latents)),
            Event::Finished { .. } => match inquiry.last.take() {
                Some(latents) => {
                    inquiry.take(latents);
                    self.ask_next(house);
                }
                None => self.matter_ended("The engine told nothing of the picture."),
            },
            Event::Failed { failure, .. } => {
                let reason = failure.message.clone();
                self.matter_ended(&reason);
                // There is nothing to try again by itself.
                house.command(QueueCommand::Cancel(head.id));
            }
            Event::Cancelled { .. } => self.matter_ended(""),
            _ => {}
        }
    }

    /// It ended before all is known.
    pub(super) fn matter_ended(&mut self, reason: &str) {
        if let Some(inquiry) = &mut self.matter.inquiry {
            inquiry.task = None;
            inquiry.last = None;
            inquiry.trouble = Some(reason.to_owned());
        }
    }

    pub(super) fn matter_discarded(&mut self, head: &TaskHead) {
        let inquiry = self.matter.inquiry.as_ref();
        if inquiry.is_some_and(|known| known.task == Some(head.id)) {
            self.matter_ended("");
        }
    }

    pub(super) fn matter_available(
        &self,
        command: &MatterCommand,
        gallery: &Gallery,
        house: &House,
    ) -> Result<(), String> {
        let inquiry = self.matter.inquiry.as_ref();
        match command {
            MatterCommand::Ask => match self.current(gallery, house) {
                // What is under way is shown whatever is on the canvas.
                _ if self.matter.is_busy() => Ok(()),
                Current::Picture(item) => possible(item),
                Current::Guest(_) => Err("Only pictures of the library can be asked about".into()),
                Current::Job(_) => Err("The picture is not finished".to_owned()),
                Current::Nothing => Err("There is no picture yet".to_owned()),
            },
            MatterCommand::Begin => match inquiry {
                Some(inquiry) if house.shelf.find(&inquiry.request.model).is_none() => Err(
                    format!("The model '{}' is not here", inquiry.request.model.name),
                ),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diptych_inference::engine::ModelRef;

    fn inquiry(prompt: &str) -> Inquiry {
        let part = |place: Range<usize>| Part {
            text: prompt[place.clone()].to_owned(),
            place,
            share: None,
        };
        Inquiry {
            of: PictureId::new(),
            request: ImageRequest::new(ModelRef::named("m"), prompt, 64, 64),
            parts: phrases(prompt, false).into_iter().map(part).collect(),
            seconds: 2.0,
            drawn: 0,
            whole: None,
            other_seed: 0.0,
            last: None,
            task: None,
            trouble: None,
        }
    }

    fn latents(value: f32) -> Arc<HostTensor> {
        Arc::new(HostTensor::f32([2], vec![1.0, value]))
    }

    #[test]
    fn phrases_are_left_out_one_by_one_and_measured_by_another_seed() {
        let mut asked = inquiry("a fox, best quality, in snow");
        assert_eq!((asked.total(), asked.expected()), (5, 10.0));
        let drawn = [0.0, 1.0, 0.5, 0.01, 2.0];
        let mut prompts = Vec::new();
        for value in drawn {
            let next = asked.next().unwrap();
            prompts.push((next.prompt, next.seed.wrapping_sub(asked.request.seed)));
            asked.take(latents(value));
        }
        assert!(asked.next().is_none() && asked.is_done());
        let whole = "a fox, best quality, in snow";
        assert_eq!(prompts[0], (whole.to_owned(), 0));
        assert_eq!(prompts[1], (whole.to_owned(), 1));
        let less = [
            "best quality, in snow",
            "a fox, in snow",
            "a fox, best quality",
        ];
        for ((prompt, seed), wanted) in prompts[2..].iter().zip(less) {
            assert_eq!((prompt.as_str(), *seed), (wanted, 0));
        }
        let shares: Vec<f64> = asked.parts.iter().map(|part| part.share.unwrap()).collect();
        assert!((shares[0] - 0.5).abs() < 1e-6 && (shares[2] - 2.0).abs() < 1e-6);
        let nothing: Vec<bool> = asked.parts.iter().map(Part::does_nothing).collect();
        assert_eq!(nothing, [false, true, false]);
        assert_eq!(asked.shortened().as_deref(), Some("a fox, in snow"));
    }

    #[test]
    fn nothing_is_shortened_before_all_is_known() {
        let mut asked = inquiry("a fox, in snow");
        asked.parts[0].share = Some(0.0);
        assert_eq!(asked.shortened(), None);
        // A picture that no seed moves says nothing of its words.
        for _ in 0..asked.total() {
            asked.take(latents(0.0));
        }
        assert!(asked.is_done() && asked.parts.iter().all(Part::does_nothing));
        assert_eq!(asked.shortened(), None, "nothing would be left");
    }
}
