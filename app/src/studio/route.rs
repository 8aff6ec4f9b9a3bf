//! What the engine says, brought to those whom it concerns.

use std::sync::Arc;

use diptych_inference::engine::{Event, ImageRequest, Outcome, Picture, Request};

use super::Studio;
use super::log::Level;
use super::queue::{Task, TaskHead, title};
use crate::library::records::{GridId, Origin, PictureId, Target};

/// A picture that was just drawn; the library is about to keep it.
#[derive(Clone, Debug)]
pub struct NewPicture {
    /// Its number.
    pub id: PictureId,
    /// The job that made it.
    pub head: TaskHead,
    /// The picture.
    pub picture: Arc<Picture>,
    /// What reproduces it.
    pub request: ImageRequest,
    /// For a picture that was stopped: the steps that were done.
    pub steps_done: Option<u32>,
    /// Seconds that it took.
    pub seconds: f32,
    /// The grid that it belongs to.
    pub grid: Option<GridId>,
    /// Where it came from, if not from words alone.
    pub origin: Option<Origin>,
}

/// Most characters of a job's title in a notice.
const TITLE: usize = 60;

/// Takes in one event.
pub fn engine_event(studio: &mut Studio, event: Event) {
    if event.job().is_none() {
        studio.chat.answered(&event);
        studio.create.answered(&event);
        studio.house.on_engine(event);
        return;
    }
    let Some((head, ended)) = studio.house.hear(&event) else {
        return;
    };
    match &event {
        Event::TraceStep { .. } if !head.target.is_asked() => {
            studio.house.trace_step(&head, &event);
            return;
        }
        Event::Finished { outcome, .. } => keep(studio, &head, outcome, None),
        Event::Cancelled { partial, .. } => {
            let done = ended.as_ref().map_or(0, |task| task.progress.done);
            match partial {
                Some(outcome) => keep(studio, &head, outcome, Some(done)),
                None => {
                    studio.house.forget(head.id);
                    studio.house.drop_trace(&head);
                }
            }
        }
        Event::Failed { failure, .. } => {
            let what = match *head.request {
                Request::Image(_) => "The picture could not be drawn",
                Request::Chat(_) => "The answer could not be written",
                Request::Upscale(_) => "The picture could not be made larger",
                Request::Score(_) => "The text could not be scored",
            };
            // Told where it was asked, or where it is looked at.
            let asked = head.target.is_asked() || studio.looks_at(head.id);
            let about: String = title(&head.request).chars().take(TITLE).collect();
            let text = if failure.bug {
                format!(
                    "{} Please report it. Other jobs are not affected.",
                    failure.message
                )
            } else {
                failure.message.clone()
            };
            tracing::debug!("failed: {about}");
            match asked {
                true => studio.house.log.write(Level::Error, what, text),
                false => studio.house.log.notify(Level::Error, what, text),
            }
        }
        Event::Warning { message, .. } => {
            studio
                .house
                .log
                .write(Level::Warning, title(&head.request), message.clone());
        }
        _ => {}
    }
    studio.create.on_event(&head, &event, &mut studio.house);
    studio.gallery.on_event(&head, &event, &mut studio.house);
    studio.chat.on_event(&head, &event, &mut studio.house);
    studio.compare.on_event(&head, &event, &mut studio.house);
}

/// A job that never reached the engine was thrown away.
pub fn discarded(studio: &mut Studio, task: &Task) {
    studio.house.drop_trace(&task.head);
    studio.create.on_discarded(&task.head, &mut studio.house);
    studio.gallery.on_discarded(&task.head);
    studio.chat.on_discarded(&task.head, &mut studio.house);
    studio.compare.on_discarded(&task.head, &mut studio.house);
}

/// What is drawn goes among the pictures; what is made larger keeps the settings of what it was made of.
fn keep(studio: &mut Studio, head: &TaskHead, outcome: &Outcome, steps_done: Option<u32>) {
    if head.target.is_asked() {
        studio.house.forget(head.id);
        return;
    }
    let Outcome::Image {
        picture,
        request,
        seconds,
    } = outcome
    else {
        studio.house.forget(head.id);
        return;
    };
    let (mut request, origin) = match ((**request).clone(), &head.target) {
        (Request::Image(request), Target::Branch { of, step }) => {
            let (of, step) = (*of, *step);
            (request, Some(Origin::Branch { of, step }))
        }
        (Request::Image(request), _) => (request, None),
        (
            Request::Upscale(upscale),
            Target::Enlarged {
                of,
                request,
                foreign,
            },
        ) => {
            let origin = Origin::Enlarged {
                of: *of,
                with: upscale.model.name.clone(),
                foreign: *foreign,
            };
            ((**request).clone(), Some(origin))
        }
        _ => {
            tracing::error!("a picture of a request that is none");
            studio.house.forget(head.id);
            return;
        }
    };
    // What was sent along is no part of what makes the picture.
    request.trace = false;
    let grid = match head.target {
        Target::Cell { grid, .. } => Some(grid),
        _ => None,
    };
    let new = crate::library::NewPicture {
        id: PictureId::new(),
        picture: picture.clone(),
        request,
        steps_done,
        seconds: *seconds,
        grid,
        origin,
        done: Some(head.id),
        file: None,
    };
    let told = NewPicture {
        id: new.id,
        head: head.clone(),
        picture: picture.clone(),
        request: new.request.clone(),
        steps_done,
        seconds: *seconds,
        grid,
        origin: new.origin.clone(),
    };
    studio.house.keep_picture(new);
    studio.house.keep_trace(&told);
    studio.gallery.on_picture(&told, &mut studio.house);
    studio.create.on_picture(&told, &mut studio.house);
    studio.compare.on_picture(&told, &mut studio.house);
}
