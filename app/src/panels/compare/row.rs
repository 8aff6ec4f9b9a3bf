//! The head of a row: the prompt with its differing words marked, and what else is different here.

use std::ops::Range;

use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use egui::text::{LayoutJob, TextFormat};
use egui::{
    Align, Color32, Frame, Layout, Margin, Rect, ScrollArea, Stroke, StrokeKind, TextBuffer,
    TextEdit, Ui, UiBuilder, vec2,
};

use super::common;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::compare::{CompareCommand, Variant};
use crate::studio::effects::focus;
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::number::NumberField;

pub(super) fn show(
    ui: &mut Ui,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
    rect: Rect,
    index: usize,
    marks: &[Range<usize>],
) {
    let tokens = gui.tokens.clone();
    let bar = tokens.size.control_s + 4.0;
    let field = Rect::from_min_max(rect.min, rect.max - vec2(0.0, bar));
    let tools = Rect::from_min_max(egui::pos2(rect.min.x, rect.max.y - bar + 4.0), rect.max);
    prompt(ui, studio, gui, field, index, marks);
    let layout = Layout::left_to_right(Align::Center);
    ui.scope_builder(UiBuilder::new().max_rect(tools).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        tools_ui(ui, studio, gui, index);
    });
}

fn prompt(
    ui: &mut Ui,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
    rect: Rect,
    index: usize,
    marks: &[Range<usize>],
) {
    let tokens = gui.tokens.clone();
    let Some(variant) = studio.compare.grid.setup.variants.get_mut(index) else {
        return;
    };
    let painter = ui.painter().clone();
    painter.rect_filled(rect, tokens.corner_m(), tokens.bg_input);
    let id = ui.scope_id().with(("compare prompt", variant.id));
    let font = theme::regular(tokens.size.font_body + 0.5);
    let soft = tokens.diff_soft(index);
    let text_colour = tokens.text;
    let mut layouter = |ui: &Ui, text: &dyn TextBuffer, width: f32| {
        let job = marked(text.as_str(), marks, &font, text_colour, soft, width);
        ui.fonts_mut(|fonts| fonts.layout_job(job))
    };
    let hint = if index == 0 {
        "What to draw"
    } else {
        "The same with other words"
    };
    let name = format!("Prompt {}", index + 1);
    let builder = UiBuilder::new().max_rect(rect.shrink(1.0));
    let focused = ui
        .scope_builder(builder, |ui| {
            ui.set_clip_rect(rect.intersect(ui.clip_rect()));
            let scroll = ScrollArea::vertical()
                .id_salt(("prompt", variant.id))
                .max_height(rect.height() - 2.0)
                .auto_shrink(false);
            scroll
                .show(ui, |ui| {
                    let edit = TextEdit::multiline(&mut variant.prompt)
                        .id(id)
                        .frame(Frame::new().inner_margin(Margin::symmetric(10, 8)))
                        .hint_text(egui::RichText::new(hint).color(tokens.text_faint))
                        .desired_width(f32::INFINITY)
                        .desired_rows(3)
                        .layouter(&mut layouter);
                    let response = ui.add(edit).accessible_name(name);
                    if index == 0 && gui.takes_focus(focus::VARIANT) {
                        response.request_focus();
                    }
                    response.has_focus()
                })
                .inner
        })
        .inner;
    let colour = if focused {
        tokens.focus
    } else {
        tokens.stroke_strong
    };
    let width = if focused { 1.5 } else { 1.0 };
    painter.rect_stroke(
        rect,
        tokens.corner_m(),
        Stroke::new(width, colour),
        StrokeKind::Inside,
    );
}

/// Text with some words on a soft ground.
pub(super) fn marked(
    text: &str,
    marks: &[Range<usize>],
    font: &egui::FontId,
    colour: Color32,
    ground: Color32,
    width: f32,
) -> LayoutJob {
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let plain = TextFormat::simple(font.clone(), colour);
    let hot = TextFormat {
        background: ground,
        expand_bg: 2.0,
        ..plain.clone()
    };
    let mut at = 0;
    for mark in marks {
        // The text may have been changed since the words were compared.
        let (start, end) = (mark.start.max(at), mark.end.min(text.len()));
        if start >= end || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
            continue;
        }
        job.append(text.get(at..start).unwrap_or_default(), 0.0, plain.clone());
        job.append(text.get(start..end).unwrap_or_default(), 0.0, hot.clone());
        at = end;
    }
    job.append(text.get(at..).unwrap_or_default(), 0.0, plain);
    job
}

fn tools_ui(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, index: usize) {
    let tokens = gui.tokens.clone();
    let Some(variant) = studio.compare.grid.setup.variants.get(index).cloned() else {
        return;
    };
    let number = (index + 1).to_string();
    let own = variant.own_text();
    let text = if own.is_empty() { "Settings" } else { &own };
    let name = format!("Settings of prompt {number}");
    let room = ui.available_width() - 2.0 * (tokens.size.control_s + 4.0);
    let button = ui
        .scope(|ui| {
            ui.set_max_width(room);
            let cut: String = text.chars().take(26).collect();
            let button = Button::quiet(&cut).small().icon(Icon::Settings);
            ui.add(
                button
                    .name(&name)
                    .selected(variant.has_own())
                    .tooltip("What this prompt wants otherwise than the others"),
            )
        })
        .inner;
    menu::popover(ui, &button, 260.0, |ui| {
        own_settings(ui, studio, gui, index);
    });
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let more_name = format!("More about prompt {number}");
        let more = ui.add(IconButton::new(Icon::More, &more_name).small());
        menu::below(ui, &more, |ui| more_menu(ui, studio, gui, index, &variant));
        let command = CompareCommand::DuplicateVariant(variant.id);
        let reason = studio.available(&command.clone().into()).err();
        let copy_name = format!("Duplicate prompt {number}");
        let copy = IconButton::new(Icon::Copy, &copy_name).small();
        if ui.add(copy.unless(reason.as_deref())).clicked() {
            gui.send(command);
        }
    });
}

fn more_menu(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, index: usize, variant: &Variant) {
    let last = studio.compare.grid.setup.variants.len().saturating_sub(1);
    let command = CompareCommand::AskVariants(variant.prompt.clone(), studio.chat_model());
    let reason = studio.available(&command.clone().into()).err();
    let ask = MenuItem::new("Ask for variants").icon(Icon::Sparkle);
    if ui.add(ask.unless(reason.as_deref())).clicked() {
        gui.send(command);
    }
    menu::separator(ui);
    let no_up = (index == 0).then_some("It is the first");
    let up = MenuItem::new("Move up").icon(Icon::ArrowUp).unless(no_up);
    if ui.add(up).clicked() {
        gui.send(CompareCommand::MoveVariant(
            variant.id,
            index.saturating_sub(1),
        ));
    }
    let no_down = (index == last).then_some("It is the last");
    let down = MenuItem::new("Move down")
        .icon(Icon::ArrowDown)
        .unless(no_down);
    if ui.add(down).clicked() {
        gui.send(CompareCommand::MoveVariant(variant.id, index + 1));
    }
    let command = CompareCommand::RemoveVariant(variant.id);
    let reason = studio.available(&command.clone().into()).err();
    let remove = MenuItem::new("Remove").icon(Icon::Trash).danger();
    if ui.add(remove.unless(reason.as_deref())).clicked() {
        gui.send(command);
    }
}

/// What a prompt may want otherwise.
fn own_settings(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, index: usize) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
    let names: Vec<String> = studio
        .house
        .shelf
        .drawing()
        .map(|model| model.name())
        .collect();
    let refs: Vec<_> = studio
        .house
        .shelf
        .drawing()
        .filter_map(|model| model.model.clone())
        .collect();
    let Some(variant) = studio.compare.grid.setup.variants.get(index) else {
        return;
    };
    let form = studio.compare.grid.setup.form(variant);
    let usual = common::usual(&form, &studio.house);
    let Some(variant) = studio.compare.grid.setup.variants.get_mut(index) else {
        return;
    };
    let mut items = vec![ComboItem::new("As the others")];
    items.extend(names.iter().map(|name| ComboItem::new(name)));
    let chosen = variant.model.as_ref();
    let chosen = chosen.and_then(|model| refs.iter().position(|other| other.name == model.name));
    let chosen = chosen.map_or(0, |index| index + 1);
    if let Some(index) = Combo::new("Model", &items, Some(chosen)).show(ui) {
        variant.model = index
            .checked_sub(1)
            .and_then(|index| refs.get(index).cloned());
    }
    let mut steps = usual.steps;
    if ui
        .add(NumberField::new("Steps", &mut steps, 1..=150))
        .changed()
    {
        variant.steps = Some(steps);
    }
    let mut guidance = usual.guidance;
    let field = NumberField::new("Guidance", &mut guidance, 1.0..=20.0).step(0.5);
    if ui.add(field).changed() {
        variant.guidance = Some(guidance);
    }
    let mut items = vec![ComboItem::new("As the others")];
    items.extend(
        SamplerKind::ALL
            .iter()
            .map(|kind| ComboItem::new(kind.label())),
    );
    let chosen = variant.sampler;
    let chosen = chosen.and_then(|kind| SamplerKind::ALL.iter().position(|other| *other == kind));
    let chosen = chosen.map_or(0, |index| index + 1);
    if let Some(index) = Combo::new("Sampler", &items, Some(chosen)).show(ui) {
        variant.sampler = index
            .checked_sub(1)
            .and_then(|index| SamplerKind::ALL.get(index).copied());
    }
    let mut items = vec![ComboItem::new("As the others")];
    items.extend(
        ScheduleKind::ALL
            .iter()
            .map(|kind| ComboItem::new(kind.label())),
    );
    let chosen = variant.schedule;
    let chosen = chosen.and_then(|kind| ScheduleKind::ALL.iter().position(|other| *other == kind));
    let chosen = chosen.map_or(0, |index| index + 1);
    if let Some(index) = Combo::new("Schedule", &items, Some(chosen)).show(ui) {
        variant.schedule = index
            .checked_sub(1)
            .and_then(|index| ScheduleKind::ALL.get(index).copied());
    }
    if variant.has_own()
        && ui
            .add(Button::quiet("As the others").icon(Icon::Restore))
            .clicked()
    {
        gui.send(CompareCommand::ClearOwn(variant.id));
    }
}
