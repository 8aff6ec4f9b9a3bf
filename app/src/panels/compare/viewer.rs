//! Two cells, large.

use egui::{Align, Frame, Layout, Margin, Ui, vec2};

use super::cell;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::compare::{CellAt, CompareCommand};
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::compare_view::{CompareView, Side, compare_controls};
use crate::widgets::pictures::PictureStore;
use crate::widgets::text;

pub(super) fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Some((first, second)) = studio.compare.pair() else {
        gui.send(CompareCommand::ToggleView);
        return;
    };
    let bar = Frame::new().inner_margin(Margin::symmetric(tokens.size.gap_l as i8, 0));
    bar.show(ui, |ui| {
        let size = vec2(ui.available_width(), tokens.size.bar_height);
        ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_height(tokens.size.bar_height);
            controls(ui, studio, gui, first, second);
        });
    });
    let names = [name(studio, first), name(studio, second)];
    let sources = [first, second].map(|at| {
        let cell = studio.compare.grid.cell(at)?;
        cell::source(cell, &studio.house)
    });
    let [Some(a), Some(b)] = sources else {
        ui.centered_and_justified(|ui| text::muted(ui, "The pictures are being saved…"));
        return;
    };
    let area = ui.available_rect_before_wrap();
    gui.notices = Some(area);
    ui.painter().rect_filled(area, 0.0, tokens.canvas_bg);
    let store = PictureStore::of(ui.ctx());
    let view = CompareView::new(
        "cells",
        Side {
            source: &a,
            name: &names[0],
        },
        Side {
            source: &b,
            name: &names[1],
        },
    );
    view.show(ui, &store, &mut studio.compare.look.state);
}

/// Prompt and seed of a cell.
fn name(studio: &Studio, at: CellAt) -> String {
    let Some(cell) = studio.compare.grid.cell(at) else {
        return String::new();
    };
    let request = &cell.request;
    let row = studio.compare.grid.setup.variant(at.row);
    let own = row.map(|row| row.own_text()).unwrap_or_default();
    let own = if own.is_empty() {
        own
    } else {
        format!(", {own}")
    };
    format!("{}  ·  seed {}{own}", request.prompt.trim(), request.seed)
}

fn controls(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, first: CellAt, second: CellAt) {
    let toggle = UiCommand::from(CompareCommand::ToggleView);
    let keys = gui.keys(&toggle).unwrap_or_default();
    let back = Button::quiet("Grid").icon(Icon::ArrowLeft).keys(&keys);
    if ui.add(back.tooltip("Back to the grid")).clicked() {
        gui.send(toggle);
    }
    compare_controls(ui, &mut studio.compare.look.state);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let tokens = gui.tokens.clone();
        for (letter, at) in [("B", second), ("A", first)] {
            let best = studio.compare.grid.winner == Some(at);
            let icon = if best { Icon::StarFilled } else { Icon::Star };
            let colour = if best { tokens.warning } else { tokens.text };
            let label = if best {
                format!("{letter} is the best")
            } else {
                format!("Mark {letter} as the best")
            };
            let star = IconButton::new(icon, &label).colour(colour);
            if ui.add(star).clicked() {
                gui.send(CompareCommand::Winner(at));
            }
            text::label(ui, letter);
        }
    });
}
