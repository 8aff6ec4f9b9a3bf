//! ControlNets: which ones, by which pictures, how much of each and when.

use diptych_inference::engine::ModelRef;
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use egui::{Align, Label, Layout, RichText, Sense, Ui, Vec2, vec2};

use super::{additions, bar, facts};
use crate::library::inputs::input_path;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::control::{CONTROL_WEIGHTS, EDGES, Seen, USUAL_EDGES, mismatch};
use crate::studio::create::guest::is_picture;
use crate::studio::create::kinds;
use crate::studio::create::{ControlChoice, ControlCommand, CreateCommand};
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::chip::{Chip, ChipTone};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::number::NumberField;
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::section;
use crate::widgets::segmented::Segmented;
use crate::widgets::thumbnails::paint_thumbnail;

/// Side of the small picture.
const SIDE: f32 = 60.0;

fn send(gui: &mut Gui<'_>, command: ControlCommand) {
    gui.send(CreateCommand::Control(command));
}

/// Whether there are ControlNets to choose from, or chosen ones.
pub fn has_controls(studio: &Studio) -> bool {
    !studio.create.form.controls.is_empty()
        || !additions::of_kind(&studio.house.shelf, ModelKind::ControlNet).is_empty()
}

/// The list of ControlNets, and the way to more.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        facts::caption(ui, "ControlNet");
        let mut choices = std::mem::take(&mut studio.create.form.controls);
        for choice in &mut choices {
            let trouble = studio.create.control_trouble(choice, &studio.house);
            let shown = section::card(ui, |ui| {
                ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
                card(ui, studio, gui, choice, trouble.as_deref());
            });
            take_dropped(ui, gui, choice.key, shown.response.rect);
        }
        studio.create.form.controls = choices;
        add(ui, studio, gui);
    });
}

/// A picture file that is dropped on the card guides it.
fn take_dropped(ui: &Ui, gui: &mut Gui<'_>, key: u64, rect: egui::Rect) {
    let (dropped, at) = ui.input(|input| {
        let files = input.raw.dropped_files.first();
        let path = files.map(|file| file.path().to_owned());
        (path, input.pointer.latest_pos())
    });
    if let Some(path) = dropped.filter(|path| is_picture(path))
        && at.is_some_and(|at| rect.contains(at))
    {
        gui.dropped = true;
        send(gui, ControlCommand::FromFile(key, path));
    }
}

fn add(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let known = additions::of_kind(&studio.house.shelf, ModelKind::ControlNet);
    let model = studio.create.form.model(&studio.house);
    let rows: Vec<(String, String, String, Option<String>)> = known
        .iter()
        .map(|control| {
            let made_for = match control.detail("for") {
                Some(family) => format!("For {family}"),
                None => "Nobody knows for which model".to_owned(),
            };
            let bytes = control.info.as_ref().map_or(0, ModelInfo::file_bytes);
            let reason = mismatch("ControlNet", control, model);
            (control.name(), made_for, facts::bytes(bytes), reason)
        })
        .collect();
    let mut items: Vec<ComboItem<'_>> = rows
        .iter()
        .map(|(name, second, size, reason)| ComboItem {
            text: name,
            second,
            trailing: size,
            icon: Some(Icon::Model),
            reason: reason.as_deref(),
            ..ComboItem::default()
        })
        .collect();
    items.push(ComboItem {
        text: "Open a file…",
        icon: Some(Icon::FolderOpen),
        ..ComboItem::default()
    });
    let picked = Combo::new("Add a ControlNet", &items, None)
        .unlabelled()
        .hint("Add a ControlNet")
        .show(ui);
    match picked {
        Some(place) if place == known.len() => send(gui, ControlCommand::AskFile),
        Some(place) => {
            if let Some(model) = known.get(place).and_then(|model| model.model.as_ref()) {
                let named = ModelRef::named(model.name.clone());
                send(gui, ControlCommand::Add(named));
            }
        }
        None => {}
    }
}

fn card(
    ui: &mut Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    choice: &mut ControlChoice,
    trouble: Option<&str>,
) {
    let tokens = gui.tokens.clone();
    let name = choice.model.name.clone();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let room = (ui.available_width() - tokens.size.control_s - 4.0).max(20.0);
        let line = vec2(room, tokens.size.control_s);
        ui.allocate_ui_with_layout(line, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(room);
            ui.set_max_width(room);
            let tip = match choice.on {
                true => "A click leaves it out for now",
                false => "A click adds it again",
            };
            let mut chip = Chip::new(&name).selected(choice.on).tooltip(tip);
            if trouble.is_some() {
                chip = chip.tone(ChipTone::Warning).icon(Icon::Warning);
            }
            if ui.add(chip).clicked() {
                choice.on = !choice.on;
            }
        });
        let away = format!("Take {name} out of the list");
        if ui
            .add(IconButton::new(Icon::Close, &away).small())
            .clicked()
        {
            send(gui, ControlCommand::Remove(choice.key));
        }
    });
    if let Some(trouble) = trouble {
        additions::warning(ui, &tokens, trouble);
    }
    if !choice.on {
        return;
    }
    picture(ui, studio, gui, choice, &tokens);
    Segmented::new(&format!("What {name} sees"))
        .small()
        .full_width()
        .option(Seen::AsItIs, "As it is")
        .option(Seen::Edges, "Its edges")
        .option(Seen::Inverted, "Negative")
        .show(ui, &mut choice.seen);
    kind(ui, studio, choice);
    let each = ((ui.available_width() - tokens.size.gap_xs) / 2.0).floor();
    if choice.seen == Seen::Edges {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_xs;
            let fields = [
                ("Faint from", &mut choice.low, USUAL_EDGES.0, "faint edges"),
                ("Clear from", &mut choice.high, USUAL_EDGES.1, "clear edges"),
            ];
            for (label, value, usual, what) in fields {
                let full = format!("Threshold of {what} for {name}");
                let field = NumberField::new(label, value, 0.0..=255.0_f32.max(*EDGES.start()))
                    .name(&full)
                    .step(1.0)
                    .default_value(usual)
                    .width(each)
                    .plain()
                    .tooltip("Edges begin where brightness changes this much, and go on while it changes as much as the lower number.");
                ui.add(field);
            }
        });
    }
    let full = format!("Strength of {name}");
    let (least, most) = (*CONTROL_WEIGHTS.start(), *CONTROL_WEIGHTS.end());
    let range = least.min(choice.weight)..=most.max(choice.weight);
    let field = NumberField::new("Strength", &mut choice.weight, range)
        .name(&full)
        .step(0.05)
        .default_value(1.0)
        .tooltip("How much of what it says is added; 1 is as it was trained.");
    ui.add(field);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = tokens.size.gap_xs;
        let (mut from, mut to) = ((choice.start * 100.0).round(), (choice.end * 100.0).round());
        let begins = format!("Where {name} begins");
        let ends = format!("Where {name} ends");
        let field = NumberField::new("From", &mut from, 0.0..=(to - 1.0).max(0.0))
            .name(&begins)
            .unit("%")
            .step(1.0)
            .default_value(0.0)
            .width(each)
            .plain()
            .tooltip("From which share of the steps on it guides.");
        if ui.add(field).changed() {
            choice.start = from / 100.0;
        }
        let field = NumberField::new("To", &mut to, (from + 1.0).min(100.0)..=100.0)
            .name(&ends)
            .unit("%")
            .step(1.0)
            .default_value(100.0)
            .width(each)
            .plain()
            .tooltip("Up to which share of the steps it guides.");
        if ui.add(field).changed() {
            choice.end = to / 100.0;
        }
    });
}

/// What kind of picture it is, for a net that is made for several.
fn kind(ui: &mut Ui, studio: &Studio, choice: &mut ControlChoice) {
    let known = kinds::known(studio.house.shelf.find(&choice.model));
    if known.is_empty() {
        return;
    }
    let items: Vec<ComboItem<'_>> = known
        .iter()
        .map(|kind| {
            let (text, second) = kinds::words(*kind);
            ComboItem {
                text,
                second,
                ..ComboItem::default()
            }
        })
        .collect();
    let at = kinds::told(choice).and_then(|told| known.iter().position(|kind| *kind == told));
    let label = format!("Kind of picture for {}", choice.model.name);
    let combo = Combo::new(&label, &items, at)
        .unlabelled()
        .hint("What kind of picture is it?");
    if let Some(kind) = combo.show(ui).and_then(|place| known.get(place)) {
        choice.kind = Some(*kind);
    }
}

/// The picture that guides, and where another one can come from.
fn picture(
    ui: &mut Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    choice: &ControlChoice,
    tokens: &Tokens,
) {
    let name = &choice.model.name;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(SIDE), Sense::hover());
        ui.painter()
            .rect_filled(rect, tokens.corner_m(), tokens.bg_input);
        let told = match &choice.guide {
            Some(guide) => format!("Picture for {name}: {}", guide.name),
            None => format!("No picture for {name} yet"),
        };
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &told));
        let source = choice.guide.as_ref().and_then(|guide| {
            // Its file may not be written yet.
            let here = studio.create.guide(guide).map(PictureSource::memory);
            let path = || input_path(&studio.house.data, &guide.picture);
            here.or_else(|| path().map(PictureSource::file))
        });
        match source {
            Some(source) => {
                let store = PictureStore::of(ui.ctx());
                paint_thumbnail(ui, &store, &source, rect.shrink(2.0), true);
            }
            None => {
                let at = rect.center();
                theme::paint_icon(ui.painter(), at, 20.0, Icon::Image, tokens.text_faint);
            }
        }
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            let (words, size) = match &choice.guide {
                Some(guide) => {
                    let size = match guide.size {
                        (0, _) => String::new(),
                        (width, height) => format!("{width} × {height}"),
                    };
                    (guide.name.clone(), size)
                }
                None if studio.create.takes_guides() => {
                    ("Reading the picture…".into(), String::new())
                }
                None => ("Choose a picture, or drop one here".into(), String::new()),
            };
            let words = match size.is_empty() {
                true => words,
                false => format!("{size}  ·  {words}"),
            };
            // An invitation is read as a whole, a name is cut.
            let label = match choice.guide {
                Some(_) => Label::new(RichText::new(words).color(tokens.text)).truncate(),
                None => Label::new(RichText::new(words).small().color(tokens.text_muted)).wrap(),
            };
            ui.add(label.selectable(false));
            let words = match choice.guide {
                Some(_) => "Another picture",
                None => "Choose a picture",
            };
            let full = format!("{words} for {name}");
            let button = Button::secondary(words)
                .small()
                .trailing(Icon::ChevronDown)
                .name(&full);
            let response = ui.add(button);
            menu::below(ui, &response, |ui| sources(ui, studio, gui, choice.key));
        });
    });
}

/// Where a picture can come from.
fn sources(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, key: u64) {
    ui.set_max_width(bar::MENU);
    let shown = UiCommand::from(CreateCommand::Control(ControlCommand::FromShown(key)));
    let reason = studio.available(&shown).err();
    let item = MenuItem::new("The picture that is shown")
        .icon(Icon::Image)
        .unless(reason.as_deref());
    if ui.add(item).clicked() {
        gui.send(shown);
    }
    if ui
        .add(MenuItem::new("Open a picture…").icon(Icon::FolderOpen))
        .clicked()
    {
        send(gui, ControlCommand::AskPicture(key));
    }
}
