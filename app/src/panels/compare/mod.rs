//! The workspace "Compare": a grid of prompts and seeds, two cells large, or one message in several lanes.

mod cell;
mod common;
mod grid;
mod lanes;
mod row;
mod viewer;

use egui::{Align, Frame, Layout, Margin, Ui, vec2};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::compare::{CompareCommand, Kind};
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::input::TextField;
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::segmented::Segmented;

/// Bars narrower than this, as beside a drawer, do with fewer words.
const NARROW: f32 = 640.0;
/// Room of the buttons behind the name of a grid.
const BUTTONS: f32 = 390.0;

/// Shows the workspace.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing = vec2(tokens.size.gap_s, 0.0);
    let bar = Frame::new().inner_margin(Margin::symmetric(tokens.size.gap_l as i8, 0));
    bar.show(ui, |ui| {
        let width = ui.available_width();
        ui.allocate_ui_with_layout(
            vec2(width, tokens.size.bar_height),
            Layout::left_to_right(Align::Center),
            |ui| {
                ui.set_min_height(tokens.size.bar_height);
                header(ui, studio, gui);
            },
        );
    });
    let line = ui.max_rect().x_range();
    ui.painter()
        .hline(line, ui.cursor().top(), (1.0, tokens.stroke));
    match studio.compare.look.kind {
        Kind::Pictures if studio.compare.look.viewing => viewer::show(ui, studio, gui),
        Kind::Pictures => {
            if studio.compare.look.settings {
                common::show(ui, studio, gui);
            }
            grid::show(ui, studio, gui);
        }
        Kind::Answers => lanes::show(ui, studio, gui),
    }
}

fn header(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let mut kind = studio.compare.look.kind;
    let narrow = ui.available_width() < NARROW;
    let mut choice = Segmented::new("What to compare")
        .option_icon(Kind::Pictures, "Pictures", Icon::Grid)
        .option_icon(Kind::Answers, "Answers", Icon::Chat);
    if narrow {
        choice = choice.icons_only();
    }
    choice.show(ui, &mut kind);
    if kind != studio.compare.look.kind {
        gui.send(CompareCommand::Show(kind));
    }
    if studio.compare.look.kind == Kind::Pictures {
        let hint = studio.compare.grid.shown_title();
        let title = TextField::new("Name of the grid", &mut studio.compare.grid.title)
            .unlabelled()
            .hint(&hint)
            .width((ui.available_width() - BUTTONS).clamp(64.0, 190.0));
        ui.add(title);
    }
    earlier(ui, studio, gui, narrow);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        run(ui, studio, gui, narrow);
        if studio.compare.look.kind == Kind::Pictures {
            let command = UiCommand::from(CompareCommand::Export);
            let reason = studio.available(&command).err();
            let export = IconButton::new(Icon::Export, "Export the grid as a picture");
            let export = ui.add(export.unless(reason.as_deref()));
            menu::below(ui, &export, |ui| export_menu(ui, studio, gui));
            let open = studio.compare.look.settings;
            let settings = IconButton::new(Icon::Settings, "Settings of all prompts");
            if ui.add(settings.selected(open)).clicked() {
                studio.compare.look.settings = !open;
                studio.compare.look.viewing = false;
            }
        }
    });
}

fn export_menu(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    for (light, text, icon) in [
        (false, "Dark picture…", Icon::Moon),
        (true, "Light picture…", Icon::Sun),
    ] {
        if ui.add(MenuItem::new(text).icon(icon)).clicked() {
            studio.compare.look.export_light = light;
            gui.send(CompareCommand::Export);
        }
    }
}

/// The main button: draw, ask, or stop.
fn run(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, narrow: bool) {
    let compare = &studio.compare;
    let command = UiCommand::from(CompareCommand::Run);
    let reason = studio.available(&command).err();
    let keys = gui.keys(&command).unwrap_or_default();
    let text = match compare.look.kind {
        Kind::Answers => "Ask all".to_owned(),
        Kind::Pictures => match compare.open_cells(&studio.house) {
            0 => "Draw".to_owned(),
            1 => "Draw 1 cell".to_owned(),
            count => format!("Draw {count} cells"),
        },
    };
    let busy = compare.is_busy(&studio.house);
    if !(busy && reason.is_some()) {
        let icon = match compare.look.kind {
            Kind::Pictures => Icon::Play,
            Kind::Answers => Icon::Send,
        };
        let button = Button::primary(&text).icon(icon).unless(reason.as_deref());
        let button = match narrow {
            true => button.shortcut(&keys),
            false => button.keys(&keys),
        };
        if ui.add(button).clicked() {
            gui.send(command);
        }
    }
    if busy {
        let stop = Button::secondary("Stop")
            .icon(Icon::Stop)
            .tooltip("End what runs and waits here; what is there stays");
        if ui.add(stop).clicked() {
            gui.send(CompareCommand::Stop);
        }
    }
}

/// The menu of earlier comparisons.
fn earlier(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, narrow: bool) {
    let compare = &studio.compare;
    let name = match compare.look.kind {
        Kind::Pictures => "Grids",
        Kind::Answers => "Comparisons",
    };
    let button = match narrow {
        true => ui.add(IconButton::new(Icon::Clock, name)),
        false => ui.add(
            Button::quiet(name)
                .icon(Icon::Clock)
                .trailing(Icon::ChevronDown),
        ),
    };
    menu::below(ui, &button, |ui| {
        ui.set_max_width(320.0);
        if ui.add(MenuItem::new("New").icon(Icon::Plus)).clicked() {
            gui.send(CompareCommand::New);
        }
        let open = match compare.look.kind {
            Kind::Pictures => compare.grid.id,
            Kind::Answers => compare.lanes.id,
        };
        let delete = MenuItem::new("Delete this one").icon(Icon::Trash).danger();
        if ui.add(delete).clicked() {
            gui.send(CompareCommand::Delete(open));
        }
        let earlier = compare.earlier_titles();
        if earlier.is_empty() {
            return;
        }
        menu::separator(ui);
        menu::heading(ui, "Earlier");
        egui::ScrollArea::vertical()
            .max_height(360.0)
            .show(ui, |ui| {
                for (id, title) in earlier {
                    if ui.add(MenuItem::new(&title).icon(Icon::Grid)).clicked() {
                        gui.send(CompareCommand::Open(id));
                    }
                }
            });
    });
}
