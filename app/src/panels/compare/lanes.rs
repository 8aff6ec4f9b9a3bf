//! One message in several lanes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use egui::{
    Align, Frame, Id, Label, Layout, Margin, Rect, RichText, ScrollArea, Ui, UiBuilder, pos2, vec2,
};

use crate::library::records::Target;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::thoughts::parts;
use crate::studio::command::UiCommand;
use crate::studio::compare::{CompareCommand, Lane, LaneState, Leaves, MOST_LANES};
use crate::studio::effects::focus;
use crate::studio::queue::Stage;
use crate::theme::{self, Icon};
use crate::widgets::button::IconButton;
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::input::{TextArea, TextField};
use crate::widgets::markdown::{Action, Look, Markdown};
use crate::widgets::menu;
use crate::widgets::number::NumberField;
use crate::widgets::{self, text};

/// Height of the composer, in points.
const COMPOSER: f32 = 68.0;
/// Height of a lane's model and settings, in points.
const HEAD: f32 = 64.0;

pub(super) fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let area = ui.available_rect_before_wrap();
    let inner = area.shrink2(vec2(tokens.size.gap_l, tokens.size.gap_m));
    let composer = Rect::from_min_max(pos2(inner.min.x, inner.max.y - COMPOSER), inner.max);
    let mut lanes = Rect::from_min_max(
        inner.min,
        composer.right_top() - vec2(0.0, tokens.size.gap_m),
    );
    let asked = studio.compare.lanes.asked.clone();
    if !asked.is_empty() {
        let head = lanes.with_max_y(lanes.min.y + 24.0);
        let font = theme::semibold(ui.ctx(), tokens.size.font_title);
        let label = Label::new(RichText::new(asked.replace('\n', " ")).font(font)).truncate();
        ui.scope_builder(UiBuilder::new().max_rect(head), |ui| ui.add(label));
        lanes.min.y += 32.0;
    }
    gui.notices = Some(lanes.with_min_y(lanes.min.y + HEAD));
    let count = studio.compare.lanes.lanes.len();
    let differences = studio.compare.lanes.differences();
    let shared = texts(ui);
    let mut texts = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if texts.0 != studio.compare.lanes.id.0 {
        *texts = (studio.compare.lanes.id.0, HashMap::new());
    }
    let room = count < MOST_LANES;
    let add = if room {
        tokens.size.control_m + tokens.size.gap_s
    } else {
        0.0
    };
    let gap = tokens.size.gap_s;
    let width = (lanes.width() - add - gap * count.saturating_sub(1) as f32) / count.max(1) as f32;
    for index in 0..count {
        let x = lanes.min.x + index as f32 * (width + gap);
        let rect = Rect::from_min_size(pos2(x, lanes.min.y), vec2(width, lanes.height()));
        ui.scope_builder(
            UiBuilder::new().id_salt(("lane", index)).max_rect(rect),
            |ui| {
                let leaves = differences.get(index).and_then(Option::as_ref);
                lane(ui, studio, gui, index, rect, leaves, &mut texts.1);
            },
        );
    }
    if room {
        let x = lanes.max.x - tokens.size.control_m;
        let size = vec2(tokens.size.control_m, tokens.size.control_m);
        let rect = Rect::from_min_size(pos2(x, lanes.min.y + 6.0), size);
        ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
            if ui.add(IconButton::new(Icon::Plus, "Add a lane")).clicked() {
                gui.send(CompareCommand::AddLane);
            }
        });
    }
    ui.scope_builder(UiBuilder::new().max_rect(composer), |ui| {
        compose(ui, studio, gui);
    });
    ui.allocate_rect(area, egui::Sense::hover());
}

fn compose(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let hint = if studio.compare.lanes.asked.is_empty() {
        "One message to all lanes: what would you like to compare?"
    } else {
        "Another message, or ask the last one again"
    };
    let message = &mut studio.compare.lanes.message;
    let area = TextArea::new("Message to all lanes", message)
        .unlabelled()
        .hint(hint)
        .rows(3, 3);
    let response = ui.add(area);
    if gui.takes_focus(focus::VARIANT) {
        response.request_focus();
    }
}

/// Answers as they are laid out, by their lanes, of one comparison.
type Texts = (i64, HashMap<u32, (Markdown, Markdown)>);

fn texts(ui: &Ui) -> Arc<Mutex<Texts>> {
    let id = Id::unique("lanes' answers");
    ui.data_mut(|data| {
        data.get_temp_mut_or_default::<Arc<Mutex<Texts>>>(id)
            .clone()
    })
}

fn lane(
    ui: &mut Ui,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
    index: usize,
    rect: Rect,
    leaves: Option<&Leaves>,
    texts: &mut HashMap<u32, (Markdown, Markdown)>,
) {
    let tokens = gui.tokens.clone();
    ui.painter()
        .rect_filled(rect, tokens.corner_l(), tokens.bg_raised);
    let top = Rect::from_min_size(rect.min, vec2(rect.width(), 3.0));
    let colour = tokens.diff(index);
    ui.painter_at(top)
        .rect_filled(rect, tokens.corner_l(), colour);
    let frame = Frame::new().inner_margin(Margin::same(tokens.size.gap_m as i8));
    frame.show(ui, |ui| {
        ui.set_clip_rect(rect.intersect(ui.clip_rect()));
        let height = rect.height() - 2.0 * tokens.size.gap_m;
        ui.set_width(rect.width() - 2.0 * tokens.size.gap_m);
        ui.spacing_mut().item_spacing = vec2(tokens.size.gap_s, tokens.size.gap_s);
        let bottom = ui.cursor().min.y + height;
        head(ui, studio, gui, index);
        let foot = tokens.size.control_s + tokens.size.gap_s;
        let room = (bottom - ui.cursor().min.y - foot).max(40.0);
        let Some(lane) = studio.compare.lanes.lanes.get(index) else {
            return;
        };
        ScrollArea::vertical()
            .id_salt(("answer", lane.id))
            .max_height(room)
            .auto_shrink(false)
            .stick_to_bottom(lane.state == LaneState::Writing)
            .show(ui, |ui| {
                let text = texts.entry(lane.id).or_default();
                answer(ui, gui, studio, lane, (index, leaves), text);
            });
        feet(ui, studio, gui, lane);
    });
}

fn head(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, index: usize) {
    let names: Vec<String> = studio
        .house
        .shelf
        .chatting()
        .map(|model| model.name())
        .collect();
    let refs: Vec<_> = studio
        .house
        .shelf
        .chatting()
        .filter_map(|model| model.model.clone())
        .collect();
    let house = &studio.house;
    let Some(lane) = studio.compare.lanes.lanes.get_mut(index) else {
        return;
    };
    let id = lane.id;
    ui.horizontal(|ui| {
        let items: Vec<_> = names.iter().map(|name| ComboItem::new(name)).collect();
        let chosen = match &lane.model {
            Some(model) => refs.iter().position(|other| other.name == model.name),
            None => (!refs.is_empty()).then_some(0),
        };
        let label = format!("Model of lane {}", index + 1);
        let width = (ui.available_width() - 2.0 * 32.0).max(60.0);
        let combo = Combo::new(&label, &items, chosen)
            .unlabelled()
            .hint("Model");
        if let Some(index) = combo.width(width).show(ui) {
            lane.model = refs.get(index).cloned();
        }
        let label = format!("Settings of lane {}", index + 1);
        let own = ui.add(IconButton::new(Icon::Settings, &label).small());
        menu::popover(ui, &own, 280.0, |ui| settings(ui, lane, house));
        let command = UiCommand::from(CompareCommand::RemoveLane(id));
        let label = format!("Remove lane {}", index + 1);
        let only = index == 0 && names.is_empty();
        if !only
            && ui
                .add(IconButton::new(Icon::Close, &label).small())
                .clicked()
        {
            gui.send(command);
        }
    });
    let model = lane.model(house);
    let mut parts = vec![
        format!("temperature {:.2}", lane.temperature_with(model)),
        format!("top-p {:.2}", lane.top_p_with(model)),
    ];
    parts.push(match lane.seed {
        Some(seed) => format!("seed {seed}"),
        None => "new seed".to_owned(),
    });
    if lane.system.is_some() {
        parts.push("own instructions".to_owned());
    }
    text::caption(ui, &parts.join("  ·  "));
}

fn settings(ui: &mut Ui, lane: &mut Lane, house: &crate::studio::house::House) {
    ui.spacing_mut().item_spacing.y = 8.0;
    let model = lane.model(house);
    let mut temperature = lane.temperature_with(model);
    let mut top_p = lane.top_p_with(model);
    let field = NumberField::new("Temperature", &mut temperature, 0.0..=2.0).step(0.05);
    if ui.add(field).changed() {
        lane.temperature = Some(temperature);
    }
    let field = NumberField::new("Top-p", &mut top_p, 0.05..=1.0).step(0.05);
    if ui.add(field).changed() {
        lane.top_p = Some(top_p);
    }
    let mut most = lane.max_tokens.unwrap_or(512);
    if ui
        .add(NumberField::new("Most tokens", &mut most, 1..=8192))
        .changed()
    {
        lane.max_tokens = Some(most);
    }
    let id = ui.scope_id().with(("lane seed", lane.id));
    let mut seed: String = ui
        .data(|data| data.get_temp(id))
        .unwrap_or_else(|| lane.seed.map(|seed| seed.to_string()).unwrap_or_default());
    let wrong = !seed.trim().is_empty() && seed.trim().parse::<u64>().is_err();
    let field = TextField::new("Seed", &mut seed)
        .hint("A new one each time")
        .error(wrong.then_some("A seed is a whole number"))
        .mono();
    if ui.add(field).changed() {
        lane.seed = seed.trim().parse().ok();
        ui.data_mut(|data| data.insert_temp(id, seed));
    }
    let own = model
        .and_then(|model| model.defaults.system.clone())
        .unwrap_or_default();
    let mut system = lane.system.clone().unwrap_or_else(|| own.clone());
    let area = TextArea::new("Instructions", &mut system)
        .hint("What the model is told about its part")
        .rows(2, 6);
    if ui.add(area).changed() {
        lane.system = (system != own).then_some(system);
    }
}

fn answer(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    studio: &Studio,
    lane: &Lane,
    (index, leaves): (usize, Option<&Leaves>),
    (text, thought): &mut (Markdown, Markdown),
) {
    let tokens = gui.tokens.clone();
    ui.set_width(ui.available_width());
    match &lane.state {
        LaneState::Failed(reason) => {
            let text = RichText::new(reason).color(tokens.danger_text);
            ui.add(Label::new(text).wrap());
        }
        LaneState::Empty => {
            text::muted(ui, "The answer will be written here.");
        }
        LaneState::Writing if lane.answer.is_empty() => {
            let waiting = job(studio, lane).map(|task| task.stage.clone());
            let text = match waiting {
                Some(Stage::Loading { model, .. }) => format!("Loading {model}…"),
                Some(Stage::Running) => "Reading the message…".to_owned(),
                _ => "Waiting for its turn…".to_owned(),
            };
            text::muted(ui, &text);
        }
        _ => {
            if let Some(leaves) = leaves {
                difference(ui, gui, lane, index, leaves);
            }
            let mark = leaves.map(|leaves| (leaves.range.clone(), tokens.diff_soft(index)));
            let writing = lane.state == LaneState::Writing;
            let parts = parts(&lane.answer, writing);
            let look = Look::of(ui);
            let id = ui.scope_id().with("text");
            if let Some(words) = parts.thought {
                let writing = writing && parts.open;
                widgets::thought::show(ui, id.with("thought"), words, writing, thought, &look);
            }
            let mark = mark.and_then(|(range, colour)| {
                let begin = range.start.checked_sub(parts.begin)?;
                Some((begin..range.end - parts.begin, colour))
            });
            text.set(parts.answer, writing);
            text.mark(mark.filter(|(range, _)| !range.is_empty()));
            let action = text.show(ui, id, &look, Some("Use as prompt"));
            if let Some(Action::Code(code)) = action {
                gui.send(ChatCommand::ToCreate(code));
            }
        }
    }
}

/// Says with which token the answer goes its own way; it is marked in the text too.
fn difference(ui: &mut Ui, gui: &Gui<'_>, lane: &Lane, index: usize, leaves: &Leaves) {
    let tokens = &gui.tokens;
    let words = lane.answer.get(leaves.range.clone()).unwrap_or_default();
    let words = words.replace('\n', "↵");
    let told = match (index, words.is_empty()) {
        (0, true) => format!("The others continue after token {}", leaves.token - 1),
        (0, false) => format!("The others differ from token {}, “{words}”", leaves.token),
        (_, true) => format!("Ends after token {}, lane 1 continues", leaves.token - 1),
        (_, false) => format!("Differs from lane 1 from token {}, “{words}”", leaves.token),
    };
    let font = theme::regular(tokens.size.font_caption);
    let label = RichText::new(told).font(font).color(tokens.text_muted);
    ui.add(Label::new(label).truncate());
    ui.add_space(tokens.size.gap_xs);
}

fn job<'a>(studio: &'a Studio, lane: &Lane) -> Option<&'a crate::studio::queue::Task> {
    let target = Target::Lane {
        grid: studio.compare.lanes.id,
        lane: lane.id,
    };
    studio
        .house
        .queue
        .of_target(move |other| *other == target)
        .last()
}

fn feet(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, lane: &Lane) {
    ui.horizontal(|ui| {
        let speed = match lane.state {
            LaneState::Writing => {
                let task = job(studio, lane);
                task.and_then(|task| task.progress.tokens_per_second(Instant::now()))
            }
            _ => lane.info.tokens_per_second(),
        };
        let mut parts = Vec::new();
        if lane.info.tokens > 0 {
            parts.push(format!("{} tokens", lane.info.tokens));
        }
        if let Some(speed) = speed {
            parts.push(format!("{speed:.0}/s"));
        }
        if lane.state == LaneState::Stopped {
            parts.push("stopped".to_owned());
        }
        text::caption(ui, &parts.join("  ·  "));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let number = studio
                .compare
                .lanes
                .lanes
                .iter()
                .position(|other| other.id == lane.id)
                .map_or(0, |index| index + 1);
            let nothing = lane
                .answer
                .trim()
                .is_empty()
                .then_some("There is no answer yet");
            for (icon, label, command) in [
                (
                    Icon::Image,
                    "Use as prompt in Create",
                    CompareCommand::LaneToCreate(lane.id),
                ),
                (
                    Icon::Copy,
                    "Copy the answer",
                    CompareCommand::CopyLane(lane.id),
                ),
            ] {
                let name = format!("{label}: lane {number}");
                let button = IconButton::new(icon, &name).small().unless(nothing);
                if ui.add(button).clicked() {
                    gui.send(command);
                }
            }
            let asked = studio.compare.lanes.asked.is_empty();
            let none = asked.then_some("Nothing was asked yet");
            let name = format!("Ask again: lane {number}");
            let again = IconButton::new(Icon::Refresh, &name).small().unless(none);
            if ui.add(again).clicked() {
                gui.send(CompareCommand::AskLane(lane.id));
            }
        });
    });
}
