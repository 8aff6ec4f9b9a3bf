//! The messages of the branch that is shown.

use egui::{Id, Ui};

use super::super::Gui;
use super::message::{self, Row, Shapes};
use super::{COLUMN, View};
use crate::library::records::{Message, MessageId, Role};
use crate::studio::Studio;
use crate::studio::chat::thoughts::parts;
use crate::studio::chat::traces::TraceOf;
use crate::widgets::markdown::{Look, selected_text, selecting};
use crate::widgets::message_list::Rows;

/// Texts that stay laid out; further ones are let go when they are off the page.
const MOST_TEXTS: usize = 400;

/// Shows them.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, view: &mut View) {
    let reveal = studio.chat.reveal.take();
    let to_end = studio.chat.to_end;
    let mut editing = studio.chat.editing.take();
    let mut wanted = Vec::new();
    if let Some(talk) = studio.chat.shown() {
        let id = talk.id();
        // Only what is on the page is looked up.
        let path = talk.tree.path();
        let list = view.lists.entry(id).or_default();
        if std::mem::replace(&mut view.to_end, to_end) != to_end {
            list.follow();
        }
        if let Some(message) = reveal {
            list.reveal(key(message));
        }
        let look = Look::of(ui);
        let selected = selected_text(ui.ctx());
        let rows = Rows {
            count: path.len(),
            version: talk.tree.version(),
            key: &|index| path.get(index).map_or(0, |&id| key(id)),
            estimate: &|index, width| {
                let message = path.get(index).and_then(|&id| talk.tree.get(id));
                message.map_or(60.0, |message| estimate(message, width))
            },
            widest: COLUMN,
            margin: gui.tokens.size.gap_l,
            padding: gui.tokens.size.gap_m,
            selecting: selecting(ui),
        };
        let texts = &mut view.texts;
        let thoughts = &mut view.thoughts;
        let tokens = &mut view.tokens;
        let picked = &mut view.picked;
        if !studio.chat.confidence {
            *picked = None;
        }
        let mut drawn = Vec::new();
        list.show(ui, Id::unique("messages").with(id), &rows, |ui, index| {
            let Some(shown) = path.get(index).and_then(|&id| talk.tree.get(id)) else {
                return;
            };
            drawn.push(shown.id);
            let row = Row {
                message: shown,
                place: talk.tree.place(shown.id),
                last: index + 1 == path.len(),
                busy: studio.chat.is_writing(id),
                look: &look,
                selected: &selected,
                trace: (studio.chat.confidence && shown.role == Role::Assistant)
                    .then(|| studio.chat.trace(shown.id)),
            };
            if matches!(row.trace, Some(TraceOf::Coming)) {
                wanted.push(shown.id);
            }
            let mut shapes = Shapes {
                text: texts.entry(shown.id).or_default(),
                thought: thoughts.entry(shown.id).or_default(),
                tokens: tokens.entry(shown.id).or_default(),
                picked,
            };
            message::show(ui, &studio.house, gui, &row, &mut shapes, &mut editing);
        });
        if texts.len() > MOST_TEXTS {
            texts.retain(|id, _| drawn.contains(id));
            thoughts.retain(|id, _| drawn.contains(id));
            tokens.retain(|id, _| drawn.contains(id));
        }
    }
    if !wanted.is_empty() {
        studio.chat.want_traces(wanted);
        ui.request_repaint();
    }
    studio.chat.editing = editing;
}

fn key(id: MessageId) -> u64 {
    id.0.cast_unsigned()
}

/// About how high a message is.
fn estimate(message: &Message, width: f32) -> f32 {
    let per_line = (width / 7.0).max(10.0);
    // Thoughts are folded.
    let lines: f32 = parts(&message.text, false)
        .answer
        .lines()
        .take(2000)
        .map(|line| (line.len() as f32 / per_line).ceil().max(0.6))
        .sum();
    let around = match message.role {
        Role::User => 60.0,
        Role::Assistant => 76.0,
    };
    around + lines * 22.0
}
