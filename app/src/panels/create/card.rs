//! All settings of what is shown; of a picture from elsewhere, what of it can be used here.

use diptych_inference::engine::{ImageRequest, Request};
use egui::{Align, Label, Layout, Margin, RichText, ScrollArea, Ui, vec2};

use super::{again, facts};
use crate::library::records::PictureRecord;
use crate::panels::Gui;
use crate::recall::Part;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::{CreateCommand, Current, Guest, StartCommand};
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::Button;
use crate::widgets::text;

/// Width of the names.
const NAMES: f32 = 86.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, current: &Current<'_>) {
    ScrollArea::vertical()
        .id_salt("create details")
        .auto_shrink([false, false])
        .show(ui, |ui| {
            egui::Frame::new()
                .inner_margin(Margin::same(14))
                .show(ui, |ui| match current {
                    Current::Nothing => {}
                    Current::Job(task) => {
                        if let Request::Image(request) = &*task.head.request {
                            all(ui, &gui.tokens, request, None);
                        }
                    }
                    Current::Picture(item) => {
                        all(ui, &gui.tokens, &item.record.request, Some(&item.record));
                        again::show(ui, studio, gui, item);
                    }
                    Current::Guest(guest) => visitor(ui, studio, gui, guest),
                });
        });
}

/// All of a request, and what is known of the picture.
pub fn all(ui: &mut Ui, tokens: &Tokens, request: &ImageRequest, record: Option<&PictureRecord>) {
    ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
    passage(ui, tokens, "Prompt", &request.prompt);
    if !request.negative_prompt.is_empty() {
        passage(ui, tokens, "Negative prompt", &request.negative_prompt);
    }
    table(ui, tokens, &facts::settings(request));
    if let Some(record) = record {
        crate::widgets::section::divider(ui);
        table(ui, tokens, &facts::circumstances(record));
    }
}

fn passage(ui: &mut Ui, tokens: &Tokens, title: &str, words: &str) {
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        text::label(ui, title);
        ui.add(
            Label::new(RichText::new(words).color(tokens.text))
                .wrap()
                .selectable(true),
        );
    });
}

fn table<T: AsRef<str>>(ui: &mut Ui, tokens: &Tokens, rows: &[(T, String)]) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 5.0;
        for (name, value) in rows {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
                let size = vec2(NAMES, ui.text_style_height(&egui::TextStyle::Body));
                ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Min), |ui| {
                    ui.set_min_width(NAMES);
                    ui.set_max_width(NAMES);
                    let name = RichText::new(name.as_ref()).color(tokens.text_muted);
                    ui.add(Label::new(name).truncate());
                });
                let value = RichText::new(value).color(tokens.text);
                ui.add(Label::new(value).wrap().selectable(true));
            });
        }
    });
}

/// The way to drawing over it.
fn begin_from(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, main: bool) {
    let command = UiCommand::from(CreateCommand::Start(StartCommand::FromShown));
    let reason = studio.available(&command).err();
    let button = match main {
        true => Button::primary("Begin from this picture"),
        false => Button::secondary("Begin from this picture"),
    };
    let keys = gui.keys(&command).unwrap_or_default();
    let button = button
        .icon(Icon::Start)
        .full_width()
        .shortcut(&keys)
        .tooltip("Draws over it: some of it stays, the rest follows the words.")
        .unless(reason.as_deref());
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

/// A picture from elsewhere.
fn visitor(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, guest: &Guest) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
    let info = match &guest.info {
        Ok(info) => info,
        Err(reason) => {
            ui.horizontal(|ui| {
                theme::icon_tinted(ui, Icon::Info, 16.0, tokens.text_muted);
                text::strong(ui, "No settings to take over");
            });
            ui.add(Label::new(RichText::new(reason).color(tokens.text_muted)).wrap());
            begin_from(ui, studio, gui, true);
            return;
        }
    };
    let take = Button::primary("Use these settings")
        .icon(Icon::Import)
        .full_width();
    if ui.add(take).clicked() {
        gui.send(CreateCommand::Recall(Part::All));
    }
    begin_from(ui, studio, gui, false);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let parts = [
            ("Remix", Icon::Swap, Part::Remix, "Everything but the seed"),
            ("Prompt", Icon::Text, Part::Prompt, "The prompts alone"),
            ("Seed", Icon::Seed, Part::Seed, "The seed alone"),
        ];
        for (label, icon, part, tip) in parts {
            let command = CreateCommand::Recall(part);
            let keys = gui.keys(&command.clone().into()).unwrap_or_default();
            let button = Button::secondary(label).small().icon(icon).tooltip(tip);
            if ui
                .add(button.shortcut(&keys).name(&format!("Use: {label}")))
                .clicked()
            {
                gui.send(command);
            }
        }
    });
    if let Some(preview) = studio
        .create
        .preview_of_guest(&studio.gallery, &studio.house)
        && !preview.notes.is_empty()
    {
        egui::Frame::new()
            .fill(tokens.warning_soft)
            .corner_radius(tokens.corner_m())
            .inner_margin(Margin::same(10))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.spacing_mut().item_spacing.y = 6.0;
                for note in &preview.notes {
                    ui.horizontal_top(|ui| {
                        ui.spacing_mut().item_spacing.x = 6.0;
                        theme::icon_tinted(ui, Icon::Warning, 14.0, tokens.warning);
                        ui.add(Label::new(RichText::new(note).small().color(tokens.text)).wrap());
                    });
                }
            });
    }
    if let Some(prompt) = &info.prompt {
        passage(ui, &tokens, "Prompt", prompt);
    }
    if let Some(negative) = info
        .negative_prompt
        .as_ref()
        .filter(|text| !text.is_empty())
    {
        passage(ui, &tokens, "Negative prompt", negative);
    }
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let size = info.width.zip(info.height);
    let rows = [
        ("Made with", info.software.clone()),
        (
            "Size",
            size.map(|(width, height)| format!("{width} × {height}")),
        ),
        ("Seed", number(info.seed)),
        ("Steps", number(info.steps.map(u64::from))),
        ("Guidance", info.cfg_scale.map(|value| value.to_string())),
        ("Sampler", info.sampler.clone()),
        ("Schedule", info.schedule.clone()),
        ("Model", info.model.clone()),
        ("Model hash", info.model_hash.clone()),
    ];
    let mut rows: Vec<(&str, String)> = rows
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let extra = info
        .extra
        .iter()
        .map(|(name, value)| (name.as_str(), facts::short(value, 200)));
    rows.extend(extra);
    table(ui, &tokens, &rows);
}
