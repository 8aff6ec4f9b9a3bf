//! The button that draws; while something is drawn, how far it is and how to stop it.

use egui::{RichText, Ui};

use super::facts;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::create::{CreateCommand, strip};
use crate::studio::queue::Stage;
use crate::theme::{self, Icon};
use crate::widgets::button::Button;
use crate::widgets::progress::Progress;

/// Warnings that are shown; the log has them all.
const MOST: usize = 3;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
    for remark in studio.create.remarks.iter().take(MOST) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            theme::icon_tinted(ui, Icon::Warning, 14.0, tokens.warning);
            ui.add(egui::Label::new(RichText::new(remark).small().color(tokens.warning)).wrap());
        });
    }
    let at_work = strip::jobs(&studio.house)
        .filter(|task| task.stage.is_live())
        .last();
    let waiting = strip::jobs(&studio.house)
        .filter(|task| task.stage == Stage::Waiting)
        .count();
    if let Some(task) = at_work {
        let share = task.progress.share();
        ui.add(Progress::new("Progress of the picture", share).paused(!task.stage.is_live()));
        let behind = match waiting {
            0 => String::new(),
            count if task.stage == Stage::Waiting => format!("  ·  {count} waiting"),
            count => format!("  ·  {count} more"),
        };
        let line = format!("{}{behind}", facts::progress(task));
        ui.label(RichText::new(line).small().color(tokens.text_muted));
    }
    let draw = CreateCommand::Generate { front: false };
    let reason = studio.available(&draw.clone().into()).err();
    let keys = gui.keys(&draw.clone().into()).unwrap_or_default();
    let prepares = studio.create.desk.holds_order();
    if prepares {
        let words = "Getting the start picture ready";
        ui.label(RichText::new(words).small().color(tokens.text_muted));
    }
    let busy = at_work.is_some() || prepares;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
        if busy {
            let stop = Button::secondary("Stop").large().icon(Icon::Stop);
            let keys = gui.keys(&CreateCommand::Stop.into()).unwrap_or_default();
            let stop = stop
                .shortcut(&keys)
                .tooltip("Stop, and keep the picture so far");
            if ui.add(stop).clicked() {
                gui.send(CreateCommand::Stop);
            }
        }
        let (words, icon) = match studio.create.branching() {
            Some(_) => ("Draw the branch", Icon::Branch),
            None => ("Generate", Icon::Sparkle),
        };
        let mut button = Button::primary(words)
            .large()
            .full_width()
            .icon(icon)
            .unless(reason.as_deref());
        button = if busy {
            button.shortcut(&keys)
        } else {
            button.keys(&keys)
        };
        if ui.add(button).clicked() {
            gui.send(draw);
        }
    });
    if let Some(reason) = reason {
        ui.vertical_centered(|ui| {
            ui.label(RichText::new(reason).small().color(tokens.text_muted));
        });
    }
}
