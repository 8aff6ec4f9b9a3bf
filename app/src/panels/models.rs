//! The drawer "Models".

use diptych_inference::engine::ModelRef;
use egui::{Align, Color32, Label, Layout, Margin, RichText, ScrollArea, Stroke, StrokeKind, Ui};

use super::Gui;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::command::{AppCommand, ModelsCommand};
use crate::studio::create::CreateCommand;
use crate::studio::house::House;
use crate::studio::models::Model;
use crate::studio::view::Workspace;
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::chip::{Chip, ChipTone};
use crate::widgets::empty::{EmptyAction, EmptyState};
use crate::widgets::input::TextField;
use crate::widgets::section::drawer_header;
use crate::widgets::segmented::Segmented;
use crate::widgets::text;
use crate::words;

/// Which models are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    All,
    Draw,
    Chat,
    Unusable,
}

/// What the drawer remembers between frames.
#[derive(Clone, Default)]
struct Shown {
    search: String,
    kind: Kind,
}

impl Shown {
    fn holds(&self, model: &Model) -> bool {
        let of_kind = match self.kind {
            Kind::All => true,
            Kind::Draw => model.draws(),
            Kind::Chat => model.chats(),
            Kind::Unusable => model.refused.is_some(),
        };
        let about = model.info.as_ref().map(|info| info.describe());
        let text = format!(
            "{} {} {} {}",
            model.name(),
            about.unwrap_or_default(),
            model.source,
            model.path.display()
        )
        .to_lowercase();
        of_kind
            && self
                .search
                .to_lowercase()
                .split_whitespace()
                .all(|word| text.contains(word))
    }
}

/// Shows the drawer's contents.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let id = ui.make_persistent_id("models drawer");
    let mut shown: Shown = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let scanning = studio.house.shelf.scanning;
    let closed = drawer_header(ui, "Models", |ui| {
        let reason = scanning.then_some("Folders are being looked into");
        let again = IconButton::new(Icon::Refresh, "Look for models again")
            .small()
            .unless(reason);
        if ui.add(again).clicked() {
            gui.send(ModelsCommand::Rescan);
        }
    });
    if closed {
        gui.send(AppCommand::CloseDrawer);
    }
    well(ui, &t, gui);
    let models = studio.house.shelf.models();
    ui.add_space(t.size.gap_xs);
    ui.add(TextField::search("Search models", &mut shown.search));
    Segmented::new("Kind of model")
        .option(Kind::All, "All")
        .option_icon(Kind::Draw, "Draw", Icon::Image)
        .option_icon(Kind::Chat, "Chat", Icon::Chat)
        .option(Kind::Unusable, "Unusable")
        .full_width()
        .show(ui, &mut shown.kind);
    let listed: Vec<&Model> = models.iter().filter(|model| shown.holds(model)).collect();
    let count = if scanning {
        format!(
            "{}, still looking…",
            words::plural(listed.len(), "model", "models")
        )
    } else {
        words::plural(listed.len(), "model", "models")
    };
    text::caption(ui, &count);
    if listed.is_empty() && !scanning {
        empty(ui, gui, &mut shown, models.is_empty());
    } else {
        let chosen = studio.create.form.model(&studio.house);
        let chosen = chosen.map(|model| model.path.clone());
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = t.size.gap_s;
            let mut source = "";
            for model in listed {
                if model.source != source {
                    source = &model.source;
                    ui.add_space(t.size.gap_xs);
                    text::label(ui, source);
                }
                let used = chosen.as_ref() == Some(&model.path);
                entry(ui, gui, model, used, &studio.house);
            }
        });
    }
    ui.data_mut(|data| data.insert_temp(id, shown));
}

/// Where files are dropped, with buttons for those who cannot drop.
fn well(ui: &mut Ui, t: &Tokens, gui: &mut Gui<'_>) {
    let over = ui.input(|input| !input.raw.hovered_files.is_empty());
    let frame = egui::Frame::new()
        .fill(if over {
            t.accent_soft
        } else {
            Color32::TRANSPARENT
        })
        .corner_radius(t.corner_l())
        .inner_margin(Margin::same(t.size.gap_m as i8));
    let shown = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let colour = if over { t.accent_text } else { t.text_muted };
            theme::icon_tinted(ui, Icon::Drop, t.size.icon_l, colour);
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                text::strong(ui, "Drop a model here");
                text::caption(ui, "safetensors, GGUF, or a folder of a model");
            });
        });
        ui.horizontal(|ui| {
            if ui
                .add(Button::secondary("Open file…").small().icon(Icon::Plus))
                .clicked()
            {
                gui.send(ModelsCommand::ChooseFile);
            }
            if ui
                .add(Button::secondary("Add folder…").small().icon(Icon::Folder))
                .clicked()
            {
                gui.send(ModelsCommand::ChooseFolder);
            }
        });
    });
    dashed(
        ui,
        shown.response.rect,
        if over {
            t.accent_text
        } else {
            t.stroke_control
        },
    );
}

/// A dashed outline: something can be put here.
fn dashed(ui: &Ui, rect: egui::Rect, colour: Color32) {
    let rect = rect.shrink(0.5);
    let corners = [
        rect.left_top(),
        rect.right_top(),
        rect.right_bottom(),
        rect.left_bottom(),
        rect.left_top(),
    ];
    let dashes = egui::Shape::dashed_line(&corners, Stroke::new(1.0, colour), 4.0, 4.0);
    ui.painter().extend(dashes);
}

fn empty(ui: &mut Ui, gui: &mut Gui<'_>, shown: &mut Shown, none: bool) {
    if none {
        let state = EmptyState::new(
            Icon::Model,
            "No models were found",
            "Even the built-in ones are missing: install the program again, or add a folder of models.",
        );
        if state
            .action("Add folder…", Icon::Folder, None)
            .show(ui)
            .is_some()
        {
            gui.send(ModelsCommand::ChooseFolder);
        }
        return;
    }
    let (title, sentence) = if shown.kind == Kind::Unusable && shown.search.trim().is_empty() {
        (
            "Every model can be used",
            "Nothing that was found had to be refused.",
        )
    } else {
        ("Nothing matches", "No model is called so.")
    };
    let pressed = EmptyState::new(Icon::Filter, title, sentence)
        .second("Show all models")
        .show(ui);
    if pressed == Some(EmptyAction::Second) {
        *shown = Shown::default();
    }
}

fn entry(ui: &mut Ui, gui: &mut Gui<'_>, model: &Model, used: bool, house: &House) {
    let t = gui.tokens.clone();
    let name = model.name();
    let (fill, line) = if used {
        (t.accent_soft, t.accent)
    } else {
        (t.bg_raised, t.stroke)
    };
    let frame = egui::Frame::new()
        .fill(fill)
        .corner_radius(t.corner_l())
        .inner_margin(Margin::same(t.size.gap_m as i8));
    let shown = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        ui.horizontal(|ui| {
            let (icon, colour) = match (model.refused.is_some(), model.draws(), model.chats()) {
                (true, _, _) => (Icon::Warning, t.warning),
                (false, true, _) => (Icon::Image, t.accent_text),
                (false, _, true) => (Icon::Chat, t.accent_text),
                _ => (Icon::Model, t.text_muted),
            };
            theme::icon_tinted(ui, icon, t.size.icon_m, colour);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                action(ui, gui, model, &name, used);
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let font = theme::semibold(ui.ctx(), t.size.font_body);
                    let title = RichText::new(&name).font(font).color(t.text);
                    ui.add(Label::new(title).truncate());
                });
            });
        });
        if let Some(info) = &model.info {
            let mut words = capital(&info.describe());
            if info.file_bytes() > 0 {
                words.push_str(", ");
                words.push_str(&words::bytes(info.file_bytes()));
            }
            let words = RichText::new(words).color(t.text_muted);
            ui.add(Label::new(words).wrap());
            if info.converted_bytes() > 0 {
                let words = converted(info.converted_bytes());
                text::caption(ui, &words);
            }
        }
        if let Some(reason) = &model.refused {
            ui.add(Label::new(RichText::new(reason).color(t.warning)).wrap());
        }
        if let Some(reference) = &model.model
            && house
                .loaded
                .iter()
                .any(|loaded| loaded.name == reference.name)
        {
            in_memory(ui, gui, reference, house);
        }
        let path = model.path.display().to_string();
        text::path(ui, &path).on_hover_text(&path);
    });
    ui.painter().rect_stroke(
        shown.response.rect,
        t.corner_l(),
        Stroke::new(1.0, line),
        StrokeKind::Inside,
    );
}

/// Of a model that is loaded: that it is, and the way out.
fn in_memory(ui: &mut Ui, gui: &mut Gui<'_>, model: &ModelRef, house: &House) {
    ui.horizontal(|ui| {
        ui.add(Chip::new("In memory").icon(Icon::Memory));
        let reason = house.can_unload(model).err();
        let name = format!("Unload {}", model.name);
        let button = Button::quiet("Unload")
            .small()
            .name(&name)
            .tooltip("Give its memory back; it is loaded again when it is needed")
            .unless(reason.as_deref());
        if ui.add(button).clicked() {
            gui.send(ModelsCommand::Unload(model.clone()));
        }
    });
}

/// What weights that are converted while loading take.
fn converted(bytes: u64) -> String {
    format!(
        "Converted while loading: {} more in main memory",
        words::bytes(bytes)
    )
}

/// With a capital at the beginning.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// What can be done with a model: draw with it, chat with it.
fn action(ui: &mut Ui, gui: &mut Gui<'_>, model: &Model, name: &str, used: bool) {
    if model.refused.is_some() {
        ui.add(Chip::new("Unusable").tone(ChipTone::Warning));
        return;
    }
    let Some(reference) = &model.model else {
        ui.add(Chip::new("Reading"));
        return;
    };
    if model.draws() {
        if used {
            ui.add(
                Chip::new("In Create")
                    .tone(ChipTone::Accent)
                    .icon(Icon::Check),
            );
        } else {
            let label = format!("Draw with {name}");
            if ui
                .add(Button::secondary("Draw").small().name(&label))
                .clicked()
            {
                gui.send(CreateCommand::UseModel(Some(reference.clone())));
                gui.send(AppCommand::Show(Workspace::Create));
            }
        }
    } else if model.chats() {
        let label = format!("Chat with {name}");
        let button = Button::secondary("Chat").small().name(&label);
        if ui.add(button).clicked() {
            gui.send(ChatCommand::SetModel(Some(reference.clone())));
            gui.send(AppCommand::Show(Workspace::Chat));
        }
    }
}
