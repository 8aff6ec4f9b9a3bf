//! The library by itself. Kills are in the whole-program tests.

mod keeper;
mod keeping;
mod kept;
mod troubles;

use std::path::Path;
use std::sync::Arc;

use diptych_inference::diffusion::{Convention, SamplerKind, ScheduleKind};
use diptych_inference::engine::{ImageRequest, ModelRef, Picture, Request};
use diptych_inference::text::prompt::PromptSyntax;
use diptych_inference::text::sampling::SamplingParams;

use super::records::*;
use super::*;

fn request(prompt: &str, seed: u64) -> ImageRequest {
    ImageRequest {
        negative_prompt: "blurry".into(),
        prompt_syntax: PromptSyntax::default(),
        steps: 12,
        guidance: 7.3,
        sampler: SamplerKind::DpmPp2M,
        schedule: ScheduleKind::Karras,
        convention: Convention::default(),
        spacing: None,
        seed,
        ..ImageRequest::new(ModelRef::named("sketch"), prompt, 8, 4)
    }
}

fn new_picture(prompt: &str, seed: u64) -> NewPicture {
    let rgb = (0..8 * 4 * 3)
        .map(|i| (i as u64 * 7).wrapping_add(seed) as u8)
        .collect();
    NewPicture {
        id: PictureId::new(),
        picture: Arc::new(Picture {
            width: 8,
            height: 4,
            rgb,
        }),
        request: request(prompt, seed),
        steps_done: None,
        seconds: 1.5,
        grid: None,
        origin: None,
        done: None,
        file: None,
    }
}

fn task(session: SessionId, seed: u64) -> TaskRecord {
    TaskRecord {
        id: TaskId::new(),
        session,
        request: Request::Image(request("a queued fox", seed)),
        target: Target::Gallery,
        state: TaskState::Waiting,
        position: seed as f64,
        progress: None,
        checkpoint: None,
        created: now(),
    }
}

fn conversation(title: &str, changed: Millis) -> Conversation {
    Conversation {
        id: ConversationId::new(),
        title: title.into(),
        model: None,
        system: String::new(),
        sampling: SamplingParams::default(),
        max_tokens: 100,
        seed: Some(u64::MAX),
        drop_old: false,
        pinned: false,
        created: changed,
        changed,
        leaf: None,
    }
}

fn message(conversation: ConversationId, text: &str, state: MessageState) -> Message {
    Message {
        id: MessageId::new(),
        conversation,
        parent: None,
        role: Role::Assistant,
        text: text.into(),
        attachments: Vec::new(),
        state,
        info: Some(AnswerInfo {
            seed: u64::MAX,
            ..AnswerInfo::default()
        }),
        created: now(),
    }
}

fn window(folder: &Path) -> Library {
    Library::open(folder, adopt::WINDOW).unwrap()
}

/// Ends a library as a kill does: nothing is noted, the lock is gone.
fn kill(mut library: Library) {
    library.lock = None;
    drop(library);
}

fn all() -> PictureQuery {
    PictureQuery::default()
}
