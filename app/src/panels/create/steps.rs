//! The steps of a picture under the canvas: a bar to go through them, and the way to a branch.

use egui::{Align, Layout, RichText, Ui};

use crate::library::records::PictureId;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::{CreateCommand, StepsCommand};
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::slider::Slider;

/// Height of the bar.
pub const HEIGHT: f32 = 44.0;
/// Bars narrower than this show the button for branches without words.
const WIDE: f32 = 560.0;
/// Room of the words beside the rail.
const WORDS: f32 = 96.0;

fn square(
    ui: &mut Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    step: StepsCommand,
    icon: Icon,
    label: &str,
) {
    let command = UiCommand::from(CreateCommand::Steps(step));
    let reason = studio.available(&command).err();
    let keys = gui.keys(&command).unwrap_or_default();
    let button = IconButton::new(icon, label)
        .small()
        .shortcut(&keys)
        .unless(reason.as_deref());
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

/// Shows it for a picture whose steps were kept.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, picture: PictureId) {
    let tokens = gui.tokens.clone();
    let create = &studio.create;
    let note = |ui: &mut Ui, icon, colour, words: &str| {
        ui.horizontal_centered(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            theme::icon_tinted(ui, icon, 14.0, colour);
            let words = RichText::new(words).small().color(tokens.text_muted);
            ui.add(egui::Label::new(words).truncate());
        });
    };
    if let Some(reason) = create.steps.trouble(picture) {
        let words = format!("Its steps cannot be shown: {reason}");
        return note(ui, Icon::Warning, tokens.warning, &words);
    }
    let Some((steps, place)) = create.steps.of(picture).zip(create.steps.place(picture)) else {
        return note(ui, Icon::Clock, tokens.text_faint, "Reading its steps…");
    };
    let wide = ui.available_width() >= WIDE;
    let last = steps.len().saturating_sub(1);
    let step = steps.get(place);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let command = UiCommand::from(CreateCommand::Steps(StepsCommand::Branch));
        let reason = studio.available(&command).err();
        let tip = "Goes on from this step with other words, guidance, LoRAs or mask.";
        let keys = gui.keys(&command).unwrap_or_default();
        let pressed = if wide {
            let button = Button::secondary("Branch from here")
                .small()
                .icon(Icon::Branch)
                .shortcut(&keys)
                .tooltip(tip)
                .unless(reason.as_deref());
            ui.add(button).clicked()
        } else {
            let button = IconButton::new(Icon::Branch, "Branch from here")
                .small()
                .shortcut(&keys)
                .unless(reason.as_deref());
            ui.add(button).clicked()
        };
        if pressed {
            gui.send(command);
        }
        ui.add_space(4.0);
        square(
            ui,
            studio,
            gui,
            StepsCommand::By(1),
            Icon::ChevronRight,
            "Next step",
        );
        square(
            ui,
            studio,
            gui,
            StepsCommand::By(-1),
            Icon::ChevronLeft,
            "Step before",
        );
        ui.add_space(4.0);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
            let words = match step {
                _ if place >= last => "All steps".to_owned(),
                Some(step) if step.facts.index == 0 => "Only noise".to_owned(),
                Some(step) => format!("Step {} of {}", step.facts.index, step.facts.total),
                None => String::new(),
            };
            let size = egui::vec2(WORDS, ui.available_height());
            ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
                ui.set_min_width(WORDS);
                let words = RichText::new(words).small().color(tokens.text);
                ui.add(egui::Label::new(words).truncate());
            });
            let mut to = place;
            let width = ui.available_width().max(40.0);
            let slider = Slider::new("Step of the picture", &mut to, 0..=last).width(width);
            let moved = ui.add_enabled(last > 0, slider).changed();
            if moved && to >= last {
                gui.send(CreateCommand::Steps(StepsCommand::Last));
            } else if moved {
                gui.send(CreateCommand::Steps(StepsCommand::To(to)));
            }
        });
    });
}
