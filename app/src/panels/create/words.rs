//! What a prompt with variants and lists comes to, and the way to the lists.

use egui::{Label, Ui};

use super::additions;
use crate::panels::Gui;
use crate::studio::command::AppCommand;
use crate::studio::create::{Create, SeedMode};
use crate::studio::house::House;
use crate::studio::view::Drawer;
use crate::theme::Icon;
use crate::widgets::button::Button;

/// Shows it below the prompt, where that leaves something open.
pub fn expansion(ui: &mut Ui, create: &Create, house: &House, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Some(trial) = create.trial(house) else {
        return;
    };
    let when = match create.form.seed_mode {
        SeedMode::Locked => format!("With seed {}: ", create.form.seed),
        SeedMode::Random => "For instance: ".to_owned(),
    };
    let small = tokens.size.font_caption;
    let mut words = egui::text::LayoutJob::default();
    let text = |colour| egui::TextFormat::simple(crate::theme::regular(small), colour);
    words.append(&when, 0.0, text(tokens.text_faint));
    words.append(trial.prompt.trim(), 0.0, text(tokens.text_muted));
    if !trial.negative.trim().is_empty() && trial.negative != create.form.negative {
        words.append("  ·  without ", 0.0, text(tokens.text_faint));
        words.append(trial.negative.trim(), 0.0, text(tokens.text_muted));
    }
    ui.add(Label::new(words).wrap().selectable(true));
    for remark in &trial.remarks {
        additions::warning(ui, &tokens, remark);
    }
    lists(ui, gui);
}

/// The way to the lists.
pub fn lists(ui: &mut Ui, gui: &mut Gui<'_>) {
    let button = Button::quiet("Word lists")
        .small()
        .icon(Icon::Text)
        .tooltip(
            "Lists that __name__ in a prompt takes a line from; {a|b} takes one of its variants.",
        );
    if ui.add(button).clicked() {
        gui.send(AppCommand::Drawer(Drawer::Lists));
    }
}
