//! What the engine says, brought to those whom it concerns.

use std::sync::Arc;

use diptych_inference::engine::{Event, ImageRequest, Outcome, Picture, Request};

use super::Studio;
use super::log::Level;
use super::queue::{Task, TaskHead, title};
use crate::library::records::{GridId, PictureId, Target};

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
        Event::Finished { outcome, .. } => keep(studio, &head, outcome, None),
        Event::Cancelled { partial, .. } => {
            let done = ended.as_ref().map_or(0, |task| task.progress.done);
            match partial {
                Some(outcome) => keep(studio, &head, outcome, Some(done)),
                None => studio.house.forget(head.id),
            }
        }
        Event::Failed { failure, .. } => {
            let what = match *head.request {
                Request::Image(_) => "The picture could not be drawn",
                Request::Chat(_) => "The answer could not be written",
                Request::Upscale(_) => "The picture could not be made larger",
                Request::Score(_) => "The text could not be scored",
            };
            let about: String = title(&head.request).chars().take(TITLE).collect();
            let text = if failure.bug {
                format!("{} Please report it. Other jobs go on.", failure.message)
            } else {
                failure.message.clone()
            };
            tracing::debug!("failed: {about}");
            studio.house.log.notify(Level::Error, what, text);
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
    studio.chat.on_event(&head, &event, &mut studio.house);
    studio.compare.on_event(&head, &event, &mut studio.house);
}

/// A job that never reached the engine was thrown away.
pub fn discarded(studio: &mut Studio, task: &Task) {
    studio.create.on_discarded(&task.head, &mut studio.house);
    studio.chat.on_discarded(&task.head, &mut studio.house);
    studio.compare.on_discarded(&task.head, &mut studio.house);
}

fn keep(studio: &mut Studio, head: &TaskHead, outcome: &Outcome, steps_done: Option<u32>) {
    let Outcome::Image {
        picture,
        request,
        seconds,
    } = outcome
    else {
        studio.house.forget(head.id);
        return;
    };
    let Request::Image(request) = (**request).clone() else {
        tracing::error!("a picture of a request that is none");
        studio.house.forget(head.id);
        return;
    };
    let grid = match head.target {
        Target::Cell { grid, .. } => Some(grid),
        _ => None,
    };
    let id = studio.house.keep_picture(
        picture.clone(),
        request.clone(),
        steps_done,
        *seconds,
        grid,
        head.id,
    );
    let new = NewPicture {
        id,
        head: head.clone(),
        picture: picture.clone(),
        request,
        steps_done,
        seconds: *seconds,
        grid,
    };
    studio.gallery.on_picture(&new, &mut studio.house);
    studio.create.on_picture(&new, &mut studio.house);
    studio.compare.on_picture(&new, &mut studio.house);
}
