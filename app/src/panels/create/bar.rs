//! The bar above the canvas: what is shown, and what can be done with it.

use egui::{Align, Label, Layout, RichText, Ui};

use crate::library::records::Origin;
use crate::panels::Gui;
use crate::recall::Part;
use crate::studio::Studio;
use crate::studio::command::{QueueCommand, UiCommand};
use crate::studio::compare::CompareCommand;
use crate::studio::create::{CreateCommand, Current, EnlargeCommand, MatterCommand, StartCommand};
use crate::studio::queue::Stage;
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::chip::{Chip, ChipTone};
use crate::widgets::menu::{self, MenuItem};

/// The ways to take settings over.
pub(super) const RECALLS: [CreateCommand; 4] = [
    CreateCommand::Recall(Part::All),
    CreateCommand::Recall(Part::Remix),
    CreateCommand::Recall(Part::Prompt),
    CreateCommand::Recall(Part::Seed),
];

/// What can be made of a picture, from the right to the left.
const WORK: [CreateCommand; 3] = [
    CreateCommand::SaveAs,
    CreateCommand::Start(StartCommand::FromShown),
    CreateCommand::Enlarge(EnlargeCommand::Ask),
];
/// The question which words of it do something.
pub(super) const MATTER: CreateCommand = CreateCommand::Matter(MatterCommand::Ask);
/// How the way to Compare is called.
const COMPARE: &str = "Compare with other words";
/// Buttons of a picture.
const BUTTONS: f32 = 9.0;

/// Width of menus.
pub const MENU: f32 = 290.0;

/// Width of the title that leaves room for where a picture came from, in words.
const ORIGIN: f32 = 300.0;
/// Width below which there is no title.
const LEAST_TITLE: f32 = 48.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, current: &Current<'_>) {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        match current {
            Current::Nothing => {}
            Current::Picture(_) => picture(ui, studio, gui, current),
            Current::Job(task) => {
                let id = task.head.id;
                let (label, icon) = match task.stage {
                    Stage::Failed(_) | Stage::Interrupted => ("Remove", Icon::Close),
                    Stage::Waiting => ("Remove", Icon::Close),
                    _ => ("Stop this picture", Icon::Stop),
                };
                if ui.add(IconButton::new(icon, label)).clicked() {
                    gui.send(QueueCommand::Cancel(id));
                }
                let asleep = matches!(task.stage, Stage::Paused | Stage::Interrupted);
                if asleep
                    && ui
                        .add(Button::secondary("Resume").small().icon(Icon::Play))
                        .clicked()
                {
                    gui.send(QueueCommand::Resume(id));
                }
                if task.is_picture() {
                    use_settings(ui, studio, gui, false);
                }
            }
            Current::Guest(_) => {
                button(ui, studio, gui, CreateCommand::Dismiss);
                let start = CreateCommand::Start(StartCommand::FromShown);
                button(ui, studio, gui, start);
                button(ui, studio, gui, CreateCommand::Enlarge(EnlargeCommand::Ask));
            }
        }
        ui.add_space(6.0);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            title(ui, studio, gui, current);
        });
    });
}

fn title(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, current: &Current<'_>) {
    let tokens = gui.tokens.clone();
    // Beside a drawer in a small window the buttons take all there is.
    if ui.available_width() < LEAST_TITLE {
        return;
    }
    ui.spacing_mut().item_spacing.x = 8.0;
    let words = match current {
        Current::Nothing => "",
        Current::Job(task) => task.title(),
        Current::Picture(item) => &item.record.request.prompt,
        Current::Guest(guest) => guest.title(),
    };
    if let Current::Picture(item) = current
        && let Some(done) = item.record.steps_done
    {
        let total = item.record.request.steps;
        let words = format!("Stopped after {done} of {total} steps");
        ui.add(Chip::new(&words).tone(ChipTone::Warning).icon(Icon::Stop));
    }
    if let Current::Picture(item) = current
        && let Some(origin) = &item.record.origin
    {
        let words = super::facts::origin(origin);
        let known = studio
            .create
            .origin(&studio.gallery, &studio.house)
            .is_some();
        let icon = match origin {
            Origin::Branch { .. } => Icon::Branch,
            Origin::Enlarged { .. } => Icon::Enlarge,
        };
        // A narrow bar has no room for words.
        if ui.available_width() < ORIGIN {
            let button = IconButton::new(icon, &words)
                .unless((!known).then_some("The picture that it came from is not in the library"));
            if ui.add(button).clicked() {
                gui.send(CreateCommand::ShowOrigin);
            }
        } else if known {
            let button = Button::quiet(&words).small().icon(icon);
            if ui
                .add(button.tooltip("Show the picture that it came from"))
                .clicked()
            {
                gui.send(CreateCommand::ShowOrigin);
            }
        } else {
            ui.add(Chip::new(&words).tone(ChipTone::Accent).icon(icon));
        }
    }
    if matches!(current, Current::Guest(_)) {
        ui.add(Chip::new("Not in the library").tone(ChipTone::Accent));
    }
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let font = theme::medium(ui.ctx(), tokens.size.font_body);
    let text = RichText::new(line).font(font).color(tokens.text);
    ui.add(Label::new(text).truncate().selectable(false));
}

fn picture(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, current: &Current<'_>) {
    // Beside a drawer in a small window not all of them have room: then what is seldom needed is in a menu.
    let each = gui.tokens.size.control_m + ui.spacing().item_spacing.x;
    let narrow = ui.available_width() < BUTTONS * each;
    button(ui, studio, gui, CreateCommand::Trash);
    let details = studio.create.folds.details;
    let label = if details {
        "Hide the settings"
    } else {
        "Show all settings"
    };
    let keys = gui.keys(&CreateCommand::Details.into()).unwrap_or_default();
    let info = IconButton::new(Icon::Info, label)
        .selected(details)
        .shortcut(&keys);
    if ui.add(info).clicked() {
        gui.send(CreateCommand::Details);
    }
    let (icon, label) = match narrow {
        true => (Icon::More, "More"),
        false => (Icon::Copy, "Copy"),
    };
    let more = ui.add(IconButton::new(icon, label));
    menu::below(ui, &more, |ui| {
        ui.set_max_width(MENU);
        if narrow {
            if let Current::Picture(item) = current {
                let item_of_menu = MenuItem::new(COMPARE).icon(Icon::Columns);
                if ui.add(item_of_menu).clicked() {
                    let prompt = item.record.request.prompt.clone();
                    gui.send(CompareCommand::AddPrompt(prompt));
                }
            }
            for command in WORK {
                menu_item(ui, studio, gui, command);
            }
            menu::separator(ui);
        }
        menu_item(ui, studio, gui, CreateCommand::Copy);
        menu_item(ui, studio, gui, CreateCommand::CopyPrompt);
        menu::separator(ui);
        menu_item(ui, studio, gui, CreateCommand::Reveal);
    });
    if !narrow {
        for command in WORK {
            button(ui, studio, gui, command);
        }
    }
    use_settings(ui, studio, gui, true);
    if let Current::Picture(item) = current {
        let compare = IconButton::new(Icon::Columns, COMPARE);
        if !narrow && ui.add(compare).clicked() {
            gui.send(CompareCommand::AddPrompt(
                item.record.request.prompt.clone(),
            ));
        }
        let marked = item.record.favourite;
        let (icon, label) = match marked {
            true => (Icon::StarFilled, "Take the favourite's mark away"),
            false => (Icon::Star, "Mark as a favourite"),
        };
        let keys = gui
            .keys(&CreateCommand::Favourite.into())
            .unwrap_or_default();
        let mut star = IconButton::new(icon, label).shortcut(&keys);
        if marked {
            star = star.colour(gui.tokens.warning);
        }
        if ui.add(star).clicked() {
            gui.send(CreateCommand::Favourite);
        }
    }
}

fn use_settings(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, picture: bool) {
    let wide = ui.available_width() > 360.0;
    let response = if wide {
        let button = Button::quiet("Use settings")
            .icon(Icon::Import)
            .trailing(Icon::ChevronDown);
        ui.add(button)
    } else {
        ui.add(IconButton::new(Icon::Import, "Use settings"))
    };
    menu::below(ui, &response, |ui| {
        ui.set_max_width(MENU);
        for command in RECALLS {
            menu_item(ui, studio, gui, command);
        }
        if picture {
            menu::separator(ui);
            menu_item(ui, studio, gui, MATTER);
        }
    });
}

/// The words, picture and keys of a command, as the palette has them.
fn look_of(gui: &Gui<'_>, command: &UiCommand) -> Option<(&'static str, Icon, Option<String>)> {
    let entry = gui.entries.iter().find(|entry| entry.command == *command)?;
    let keys = entry.keys.first().map(|chord| chord.text());
    Some((entry.label, entry.icon, keys))
}

/// A square button for a command of the palette.
pub(super) fn button(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, command: CreateCommand) {
    let command = UiCommand::from(command);
    let Some((label, icon, keys)) = look_of(gui, &command) else {
        return;
    };
    let reason = studio.available(&command).err();
    let mut button = IconButton::new(icon, label).unless(reason.as_deref());
    if let Some(keys) = &keys {
        button = button.shortcut(keys);
    }
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

/// A row of a menu for a command of the palette.
pub(super) fn menu_item(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, command: CreateCommand) {
    let command = UiCommand::from(command);
    let Some((label, icon, keys)) = look_of(gui, &command) else {
        return;
    };
    let reason = studio.available(&command).err();
    let item = MenuItem::new(label)
        .icon(icon)
        .shortcut(keys.as_deref())
        .unless(reason.as_deref());
    if ui.add(item).clicked() {
        gui.send(command);
    }
}
