//! The drawer "Word lists": the folder of the lists that prompts take lines from, the lists, and one of them to be written.

use egui::{Align, Layout, RichText, ScrollArea, Ui};

use super::Gui;
use crate::studio::Studio;
use crate::studio::command::AppCommand;
use crate::studio::create::{CreateCommand, ListsCommand};
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::input::{TextArea, TextField};
use crate::widgets::row::ListRow;
use crate::widgets::section::{divider, drawer_header};
use crate::widgets::text;

fn send(gui: &mut Gui<'_>, command: ListsCommand) {
    gui.send(CreateCommand::Lists(command));
}

/// Shows the drawer's contents.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    if studio.create.wants_lists(&studio.house) {
        send(gui, ListsCommand::Look);
    }
    let closed = drawer_header(ui, "Word lists", |ui| {
        let again = IconButton::new(Icon::Refresh, "Look again").small();
        if ui.add(again).clicked() {
            send(gui, ListsCommand::Look);
        }
    });
    if closed {
        send(gui, ListsCommand::Close);
        gui.send(AppCommand::CloseDrawer);
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let t = gui.tokens.clone();
        ui.spacing_mut().item_spacing.y = t.size.gap_s;
        if studio.create.lists.open.is_some() {
            writing(ui, studio, gui);
        } else {
            all(ui, studio, gui);
        }
    });
}

fn all(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    text::muted(
        ui,
        "__colours__ in a prompt takes a line of the list “colours”, {red|blue} one of its variants. Which one follows from the seed.",
    );
    let own = studio.house.settings.wildcards.is_none();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        theme::icon_tinted(ui, Icon::Folder, t.size.icon_m, t.text_muted);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let show = IconButton::new(Icon::External, "Show the folder of the lists").small();
            if ui.add(show).clicked() {
                send(gui, ListsCommand::Reveal);
            }
            if !own {
                let back = IconButton::new(Icon::Undo, "Use the studio's own folder").small();
                if ui.add(back).clicked() {
                    send(gui, ListsCommand::UseFolder(None));
                }
            }
            let other = Button::secondary("Choose…")
                .small()
                .name("Choose the folder of the lists");
            if ui.add(other).clicked() {
                send(gui, ListsCommand::AskFolder);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let path = studio.house.wildcards().display().to_string();
                let label = egui::Label::new(RichText::new(&path).small().color(t.text_muted));
                ui.add(label.truncate()).on_hover_text(path);
            });
        });
    });
    divider(ui);
    let lists = &mut studio.create.lists;
    if lists.found.is_empty() {
        let words = match lists.is_looking() {
            true => "Looking for lists…",
            false => {
                "There are no lists in this folder yet. Each is a text file with one entry a line."
            }
        };
        text::muted(ui, words);
    }
    let mut chosen = None;
    for list in &lists.found {
        let lines = match list.lines {
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        };
        let row = ListRow::new(&list.name).icon(Icon::Text).trailing(&lines);
        if ui.add(row).clicked() {
            chosen = Some(list.clone());
        }
    }
    if let Some(list) = chosen {
        send(gui, ListsCommand::Open(list));
    }
    divider(ui);
    text::label(ui, "New list");
    let wanted = lists.check_name();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = t.size.gap_xs;
        let width = ui.available_width() - 92.0;
        let field = TextField::new("Name of the new list", &mut lists.name)
            .unlabelled()
            .hint("colours")
            .width(width);
        let field = ui.add(field);
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        let button = Button::secondary("Begin")
            .icon(Icon::Plus)
            .name("Begin the new list")
            .unless(wanted.as_ref().err().copied());
        if ui.add(button).clicked() || (entered && wanted.is_ok()) {
            send(gui, ListsCommand::New);
        }
    });
    if let Err(reason) = wanted
        && !lists.name.trim().is_empty()
    {
        let words = RichText::new(reason).small().color(t.warning);
        ui.add(egui::Label::new(words).wrap());
    }
}

fn writing(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let Some(open) = &mut studio.create.lists.open else {
        return;
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let back = IconButton::new(Icon::ArrowLeft, "Back to all lists").small();
        if ui.add(back).clicked() {
            send(gui, ListsCommand::Close);
        }
        text::title(ui, &open.list.name);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let (icon, words, colour) = match open.is_kept() {
                true => (Icon::Check, "Saved", t.success),
                false => (Icon::Clock, "Saving…", t.text_faint),
            };
            ui.label(RichText::new(words).small().color(t.text_muted));
            theme::icon_tinted(ui, icon, 13.0, colour);
        });
    });
    let words = format!(
        "One entry a line; # begins a remark. Write __{}__ in a prompt.",
        open.list.name
    );
    text::muted(ui, &words);
    let label = format!("Entries of {}", open.list.name);
    let area = TextArea::new(&label, &mut open.text)
        .unlabelled()
        .hint("red\nblue\ndeep green")
        .rows(12, 24);
    ui.add(area);
}
