//! The settings of a conversation.

use egui::{Align, Layout, Margin, RichText, ScrollArea, Ui, UiBuilder};

use super::super::Gui;
use super::{presets, sampler, sandbox};
use crate::library::records::Conversation;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::talk::settings_of;
use crate::studio::chat::words::PRESETS;
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::input::TextArea;
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::number::NumberField;
use crate::widgets::segmented::Segmented;
use crate::widgets::toggle::Switch;
use crate::widgets::{text, tip};

/// Most tokens that can be asked for.
const MOST_TOKENS: u32 = 32_768;
/// Seeds in the field are no larger, so that they can be read and typed.
const LARGEST_SEED: u64 = (1 << 53) - 1;

/// Shows the settings.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    ui.horizontal(|ui| {
        ui.set_height(t.size.bar_height);
        let font = theme::semibold(ui.ctx(), t.size.font_title);
        ui.label(RichText::new("Conversation").font(font).color(t.text));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui
                .add(IconButton::new(Icon::Close, "Close the settings"))
                .clicked()
            {
                gui.send(ChatCommand::ToggleSettings);
            }
        });
    });
    let before = studio.chat.settings(&studio.house);
    let own = settings_of(studio.chat.model_of(&before, &studio.house));
    let mut now = before.clone();
    // The scroll bar lies in the margin of the panel, not over the values.
    let margin = t.size.gap_l;
    let mut room = ui.available_rect_before_wrap();
    room.max.x += margin;
    // Not a scope: what is told to be larger than the panel would move the panel's edge.
    let mut inner = ui.new_child(UiBuilder::new().max_rect(room));
    ScrollArea::vertical()
        .id_salt("chat settings")
        .auto_shrink(false)
        .show(&mut inner, |ui| {
            egui::Frame::new()
                .inner_margin(Margin {
                    right: margin as i8,
                    ..Margin::ZERO
                })
                .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = t.size.gap_s;
            presets::show(ui, studio, gui);
            ui.add_space(t.size.gap_s);
            system(ui, gui, &mut now, &own);
            ui.add_space(t.size.gap_s);
            sampling(ui, &mut now, &own);
            sampler::show(ui, gui, &mut now.sampling, &own.sampling);
            sandbox::show(ui, studio, gui, &now.sampling);
            ui.add_space(t.size.gap_s);
            seed(ui, &mut now);
            ui.add_space(t.size.gap_s);
            ui.add(
                Switch::new(&mut now.drop_old, "Let old messages drop out")
                    .note("When the context is full, the oldest messages are left out, and the conversation continues."),
            );
            ui.add_space(t.size.gap_m);
            let same = now.system == own.system
                && now.sampling == own.sampling
                && now.max_tokens == own.max_tokens
                && !now.drop_old
                && now.seed.is_none();
            let reset = Button::secondary("Reset to the model's own")
                .icon(Icon::Undo)
                .unless(same.then_some("These are the model's own settings"))
                .full_width();
            if ui.add(reset).clicked() {
                gui.send(ChatCommand::ResetSettings);
            }
            ui.add_space(t.size.gap_l);
                });
        });
    if now != before {
        studio.chat.set_settings(now);
    }
}

fn system(ui: &mut Ui, gui: &Gui<'_>, now: &mut Conversation, own: &Conversation) {
    let t = &gui.tokens;
    ui.horizontal(|ui| {
        let label = text::label(ui, "System prompt");
        tip(
            label,
            "Tells the model its part before the conversation begins.",
            None,
        );
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let presets = ui.add(
                Button::quiet("Ready-made")
                    .small()
                    .trailing(Icon::ChevronDown),
            );
            menu::below(ui, &presets, |ui| {
                ui.set_min_width(200.0);
                let item = |ui: &mut Ui, now: &mut Conversation, name: &str, words: &str| {
                    if ui
                        .add(MenuItem::new(name).checked(now.system == words))
                        .clicked()
                    {
                        words.clone_into(&mut now.system);
                    }
                };
                if !own.system.is_empty() {
                    item(ui, now, "The model's own", &own.system);
                }
                item(ui, now, "None", "");
                menu::separator(ui);
                for (name, words) in PRESETS {
                    item(ui, now, name, words);
                }
            });
        });
    });
    ui.add_space(-t.size.gap_xs);
    ui.add(
        TextArea::new("What the model is told first", &mut now.system)
            .unlabelled()
            .hint("You are a helpful assistant.")
            .rows(4, 10),
    );
}

fn sampling(ui: &mut Ui, now: &mut Conversation, own: &Conversation) {
    text::label(ui, "How words are chosen");
    let sampling = &mut now.sampling;
    let defaults = &own.sampling;
    ui.add(
        NumberField::new("Temperature", &mut sampling.temperature, 0.0..=2.0)
            .step(0.05)
            .default_value(defaults.temperature)
            .tooltip("Higher is more surprising, lower more predictable; 0 always takes the likeliest word."),
    );
    ui.add(
        NumberField::new("Top-k", &mut sampling.top_k, 0..=200)
            .default_value(defaults.top_k)
            .tooltip("Chooses among this many of the likeliest words; 0 sets no limit."),
    );
    ui.add(
        NumberField::new("Top-p", &mut sampling.top_p, 0.0..=1.0)
            .step(0.01)
            .default_value(defaults.top_p)
            .tooltip(
                "Chooses among the likeliest words that together have this share; 1 sets no limit.",
            ),
    );
    ui.add(
        NumberField::new("Min-p", &mut sampling.min_p, 0.0..=1.0)
            .step(0.01)
            .default_value(defaults.min_p)
            .tooltip("Leaves out words that are less likely than this share of the likeliest; 0 sets no limit."),
    );
    ui.add(
        NumberField::new(
            "Repetition penalty",
            &mut sampling.repetition_penalty,
            0.5..=2.0,
        )
        .step(0.01)
        .default_value(defaults.repetition_penalty)
        .tooltip("Above 1, words that were just used become less likely; 1 is off."),
    );
    ui.add(
        NumberField::new("Longest answer", &mut now.max_tokens, 1..=MOST_TOKENS)
            .logarithmic()
            .unit("tokens")
            .default_value(own.max_tokens)
            .tooltip("The answer ends after this many tokens; a word has one or two."),
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seed {
    Random,
    Locked,
}

fn seed(ui: &mut Ui, now: &mut Conversation) {
    let label = text::label(ui, "Seed");
    tip(
        label,
        "The number behind the choice of words: the same seed and settings give the same answer; another try takes the next seed.",
        None,
    );
    let mut mode = match now.seed {
        None => Seed::Random,
        Some(_) => Seed::Locked,
    };
    Segmented::new("Seed")
        .option_icon(Seed::Random, "New each time", Icon::Dice)
        .option_icon(Seed::Locked, "Locked", Icon::Lock)
        .full_width()
        .show(ui, &mut mode);
    match mode {
        Seed::Random => now.seed = None,
        Seed::Locked => {
            let mut seed = now.seed.unwrap_or(42).min(LARGEST_SEED);
            ui.add(
                NumberField::new("Number", &mut seed, 0..=LARGEST_SEED)
                    .plain()
                    .tooltip("Any number; each one leads to another answer."),
            );
            now.seed = Some(seed);
        }
    }
}
