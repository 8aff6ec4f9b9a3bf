//! The next word: what the model thinks of it, and what the settings make of that, without writing anything.

use std::sync::{Arc, Mutex, PoisonError};

use diptych_inference::text::sampling::{
    Bar, Distribution, Filter, SamplingParams, SamplingStage, preview,
};
use egui::{Color32, Id, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::super::Gui;
use super::sampler;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::theme;
use crate::widgets::button::Button;
use crate::widgets::section::Section;
use crate::widgets::token_view::percent;
use crate::widgets::{text, tip};

/// Most candidates that are shown.
const MOST: usize = 14;
const ROW: f32 = 22.0;
/// Width of the candidates' names and of their figures.
const NAME: f32 = 84.0;
const FIGURE: f32 = 56.0;

/// What was made of a distribution last: settings change less often than frames are drawn.
struct Made {
    of: Option<(Arc<Distribution>, SamplingParams)>,
    bars: Result<Vec<Bar>, String>,
}

fn made(ui: &Ui) -> Arc<Mutex<Made>> {
    let id = Id::unique("next word");
    ui.data_mut(|data| {
        data.get_temp_mut_or_insert_with(id, || {
            Arc::new(Mutex::new(Made {
                of: None,
                bars: Ok(Vec::new()),
            }))
        })
        .clone()
    })
}

/// Shows the section.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, sampling: &SamplingParams) {
    let open = Section::new("Next word")
        .closed()
        .show(ui, |ui| content(ui, studio, gui, sampling))
        .is_some();
    if open != studio.chat.sandbox_open {
        studio.chat.sandbox_open = open;
        ui.request_repaint();
    }
}

fn content(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, sampling: &SamplingParams) {
    ui.spacing_mut().item_spacing.y = 4.0;
    let at = match studio.chat.spot {
        Some(_) => "At the token that you chose in the answer.",
        None => "At the beginning of the next answer, or of the last one.",
    };
    text::caption(ui, at);
    if studio.chat.spot.is_some() {
        let back = Button::quiet("At the beginning of the answer").small();
        if ui.add(back).clicked() {
            gui.send(ChatCommand::TryAt(None));
        }
    }
    match studio.chat.distribution() {
        None => {
            text::muted(
                ui,
                "Write or send a message, and see here what the model would begin its answer with.",
            );
        }
        Some(Err(reason)) => {
            let t = &gui.tokens;
            let words = egui::RichText::new(reason).color(t.danger_text);
            ui.add(egui::Label::new(words).wrap());
        }
        Some(Ok(distribution)) => {
            let made = made(ui);
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            let same = made
                .of
                .as_ref()
                .is_some_and(|(of, with)| Arc::ptr_eq(of, distribution) && with == sampling);
            if !same {
                made.bars = preview(distribution, sampling).map_err(|error| error.to_string());
                made.of = Some((Arc::clone(distribution), sampling.clone()));
            }
            match &made.bars {
                Ok(bars) => bars_ui(ui, gui, distribution, bars),
                Err(reason) => {
                    let words = egui::RichText::new(reason).color(gui.tokens.danger_text);
                    ui.add(egui::Label::new(words).wrap());
                }
            }
        }
    }
}

/// The piece as a person reads it: vocabularies write a space as Ġ or ▁, a line break as Ċ.
fn spelled(piece: &str) -> String {
    piece
        .replace(['Ġ', '▁'], " ")
        .replace(['Ċ', '\n'], "↵")
        .chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

fn filter_name(filter: Filter) -> String {
    match filter {
        Filter::Grammar => "grammar".to_owned(),
        Filter::Bias => "bias".to_owned(),
        Filter::Best => "only the best".to_owned(),
        Filter::Stage(SamplingStage::Temperature) => "temperature 0".to_owned(),
        Filter::Stage(stage) => sampler::name(stage).to_lowercase(),
    }
}

fn bars_ui(ui: &mut Ui, gui: &Gui<'_>, distribution: &Distribution, bars: &[Bar]) {
    let shown: Vec<_> = distribution
        .candidates
        .iter()
        .zip(bars)
        .take(MOST)
        .collect();
    let most = shown
        .iter()
        .map(|(_, bar)| bar.before.max(bar.after))
        .fold(0.0_f32, f32::max)
        .max(1e-6);
    for (candidate, bar) in &shown {
        row(ui, gui, &spelled(&candidate.piece), bar, most);
    }
    let left = bars.iter().filter(|bar| bar.after > 0.0).count();
    let words = match left {
        1 => "1 word is left to choose.".to_owned(),
        left => format!("{left} words are left to choose from."),
    };
    text::caption(ui, &words);
    text::caption(
        ui,
        "Outlined: the model's own opinion. Filled: with these settings.",
    );
}

fn row(ui: &mut Ui, gui: &Gui<'_>, name: &str, bar: &Bar, most: f32) {
    let t = &gui.tokens;
    let size = vec2(ui.available_width(), ROW);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let out = bar.after <= 0.0;
    let filter = bar.removed_by.map(filter_name).unwrap_or_default();
    let before = percent(bar.before);
    let told = if out {
        format!("“{name}”: taken out by {filter}, was {before}")
    } else {
        format!("“{name}”: {}, was {before}", percent(bar.after))
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &told));
    let painter = ui.painter();
    let line = |text: &str, colour: Color32, room: f32| {
        let font = theme::regular(t.size.font_caption + 0.5);
        let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font, colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room);
        painter.layout_job(job)
    };
    let colour = if out { t.text_faint } else { t.text };
    let galley = line(&format!("“{name}”"), colour, NAME - 6.0);
    let y = rect.center().y;
    painter.galley(pos2(rect.left(), y - galley.size().y / 2.0), galley, colour);
    let figure = if out { filter } else { percent(bar.after) };
    let galley = line(
        &figure,
        if out { t.text_faint } else { t.text_muted },
        FIGURE,
    );
    let at = pos2(rect.right() - galley.size().x, y - galley.size().y / 2.0);
    painter.galley(at, galley, colour);
    let room = Rect::from_min_max(
        pos2(rect.left() + NAME, y - 5.0),
        pos2(rect.right() - FIGURE - 6.0, y + 5.0),
    );
    let part = |share: f32| {
        let width = (room.width() * share / most).clamp(1.0, room.width().max(1.0));
        Rect::from_min_size(room.min, vec2(width, room.height()))
    };
    if !out {
        painter.rect_filled(part(bar.after), 2.0, t.accent_text);
    }
    let edge = Stroke::new(
        1.0,
        if out {
            t.stroke_strong
        } else {
            t.stroke_control
        },
    );
    painter.rect_stroke(part(bar.before), 2.0, edge, StrokeKind::Inside);
    tip(response, &told, None);
}
