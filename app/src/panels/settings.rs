//! The drawer "Settings".

use std::collections::BTreeMap;
use std::path::Path;

use diptych_inference::engine::{DeviceChoice, KvChoice, KvType};
use diptych_inference::formats::detect::Remembers;
use diptych_inference::tools::full_conversation;
use egui::{Align, Layout, RichText, ScrollArea, Ui};

use super::Gui;
use crate::folders::OWNERS;
use crate::studio::Studio;
use crate::studio::command::{AppCommand, ModelsCommand};
use crate::studio::effects::Effect;
use crate::studio::models::{ADDED, BUILT_IN, Model};
use crate::studio::session::EngineState;
use crate::studio::settings::{CONTEXTS, PERCENTS, SCALES, SettingsCommand};
use crate::studio::view::Drawer;
use crate::theme::{self, Icon, ThemeChoice};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::chip::{Chip, ChipTone};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::number::NumberField;
use crate::widgets::progress::Progress;
use crate::widgets::section::{card, divider, drawer_header};
use crate::widgets::segmented::Segmented;
use crate::widgets::toggle::Switch;
use crate::widgets::{text, tip};
use crate::words;

/// A gigabyte, as cards are sold by.
const GB: u64 = 1_000_000_000;
/// Least and most gigabytes of a budget.
const BUDGET: std::ops::RangeInclusive<f64> = 0.5..=512.0;

/// Shows the drawer's contents.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    if drawer_header(ui, "Settings", |_| {}) {
        gui.send(AppCommand::CloseDrawer);
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        appearance(ui, studio, gui);
        divider(ui);
        computing(ui, studio, gui);
        conversations(ui, studio, gui);
        divider(ui);
        folders(ui, studio, gui);
        divider(ui);
        library(ui, studio);
    });
}

fn appearance(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let settings = &studio.house.settings;
    text::title(ui, "Appearance");
    let mut theme = settings.theme;
    let chosen = Segmented::new("Theme")
        .option_icon(ThemeChoice::System, "System", Icon::Monitor)
        .option_icon(ThemeChoice::Dark, "Dark", Icon::Moon)
        .option_icon(ThemeChoice::Light, "Light", Icon::Sun)
        .full_width()
        .show(ui, &mut theme);
    if chosen.changed() {
        gui.send(SettingsCommand::Theme(theme));
    }
    let percents: Vec<u32> = PERCENTS
        .into_iter()
        .filter(|percent| SCALES.contains(&(*percent as f32 / 100.0)))
        .collect();
    let names: Vec<String> = percents
        .iter()
        .map(|percent| format!("{percent} %"))
        .collect();
    let items: Vec<ComboItem<'_>> = names.iter().map(|name| ComboItem::new(name)).collect();
    let now = (settings.scale * 100.0).round() as u32;
    let at = percents.iter().position(|percent| *percent == now);
    let hint = format!("{now} %");
    ui.add_space(gui.tokens.size.gap_xs);
    if let Some(at) = Combo::new("Size of everything", &items, at)
        .hint(&hint)
        .show(ui)
        && let Some(percent) = percents.get(at)
    {
        gui.send(SettingsCommand::Scale(*percent as f32 / 100.0));
    }
}

fn computing(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let settings = &studio.house.settings;
    text::title(ui, "Computing");
    let mut device = settings.device;
    let chosen = Segmented::new("Device")
        .option_icon(DeviceChoice::Auto, "Best", Icon::Bolt)
        .option_icon(DeviceChoice::Gpu, "GPU", Icon::Gpu)
        .option_icon(DeviceChoice::Cpu, "CPU", Icon::Cpu)
        .full_width()
        .show(ui, &mut device);
    if chosen.changed() {
        gui.send(SettingsCommand::Device(device));
    }
    card(ui, |ui| {
        let (icon, name, chip, tone) = match &studio.house.engine {
            EngineState::Starting => (
                Icon::Clock,
                "The device is being opened",
                "Starting",
                ChipTone::Plain,
            ),
            EngineState::Ready { executor, device } => {
                let icon = if *executor == "gpu" {
                    Icon::Gpu
                } else {
                    Icon::Cpu
                };
                (icon, device.as_str(), "Ready", ChipTone::Success)
            }
            EngineState::Lost(_) => (
                Icon::Warning,
                "The device was lost and is being opened again",
                "Lost",
                ChipTone::Warning,
            ),
            EngineState::Failed(_) => (Icon::Error, "Nothing computes", "Failed", ChipTone::Danger),
        };
        ui.horizontal(|ui| {
            theme::icon_tinted(ui, icon, t.size.icon_m, t.text_muted);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.add(Chip::new(chip).tone(tone));
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let font = theme::medium(ui.ctx(), t.size.font_body);
                    let name = RichText::new(name).font(font).color(t.text);
                    ui.add(egui::Label::new(name).truncate());
                });
            });
        });
        match &studio.house.engine {
            EngineState::Failed(why) | EngineState::Lost(why) => {
                text::muted(ui, why);
            }
            EngineState::Starting | EngineState::Ready { .. } => {}
        }
        if let Some(memory) = &studio.house.memory {
            let used = memory.weights + memory.activations + memory.states;
            let share = used as f32 / memory.budget.max(1) as f32;
            ui.add(Progress::new("Memory in use", Some(share)));
            ui.horizontal(|ui| {
                text::caption(ui, &format!("{} in use", words::bytes(used)));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let most = format!("{} at most so far", words::bytes(memory.peak));
                    let allowed = format!("{} allowed", words::bytes(memory.budget));
                    text::caption(ui, &allowed).on_hover_text(most);
                });
            });
        }
    });
    let mut limited = settings.memory_budget.is_some();
    let switch = Switch::new(&mut limited, "Limit memory")
        .note("Otherwise the studio takes what the device can give.");
    if ui.add(switch).changed() {
        let budget = studio.house.memory.map_or(4 * GB, |memory| memory.budget);
        let budget = budget.max(GB / 2) / (GB / 2) * (GB / 2);
        gui.send(SettingsCommand::MemoryBudget(limited.then_some(budget)));
    }
    if let Some(budget) = settings.memory_budget {
        // Every change opens the device again, so only what was let go of is a change.
        let id = ui.make_persistent_id("memory budget");
        let typed: Option<f64> = ui.data(|data| data.get_temp(id));
        let mut gigabytes = typed.unwrap_or(budget as f64 / GB as f64);
        let field = NumberField::new("Most memory", &mut gigabytes, BUDGET)
            .step(0.5)
            .unit("GB")
            .logarithmic();
        let response = ui.add(field);
        if response.changed() {
            ui.data_mut(|data| data.insert_temp(id, gigabytes));
        }
        let held = response.dragged() || response.is_pointer_button_down_on();
        if !held && ui.data(|data| data.get_temp::<f64>(id)).is_some() {
            ui.data_mut(|data| data.remove::<f64>(id));
            let bytes = (gigabytes * GB as f64) as u64;
            gui.send(SettingsCommand::MemoryBudget(Some(bytes)));
        }
    }
}

/// How what conversations leave in memory is kept, and what that means for the model that answers.
fn conversations(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    ui.add_space(t.size.gap_xs);
    let label = text::label(ui, "Memory of conversations");
    tip(
        label,
        "What a chat model remembers of a conversation (its keys and values, the KV cache). Smaller numbers take less memory, so that longer conversations and larger models fit.",
        None,
    );
    let settings = &studio.house.settings;
    let mut kv_type = settings.kv_type;
    let chosen = Segmented::new("Memory of conversations")
        .option(KvChoice::Auto, "Automatic")
        .option(KvChoice::F32, "32-bit")
        .option(KvChoice::F16, "16-bit")
        .option(KvChoice::Q8, "8-bit")
        .full_width()
        .show(ui, &mut kv_type);
    let meaning = match kv_type {
        KvChoice::Auto => "32-bit (exact) where it fits beside the model, else 16-bit.",
        KvChoice::F32 => "Exact.",
        KvChoice::F16 => "Half the memory; answers hardly change.",
        KvChoice::Q8 => "About a quarter of the memory (q8_0); answers may change a little.",
    };
    let settled = kv_type.settled().unwrap_or(KvType::F32);
    let chat = studio.chat.settings(&studio.house);
    let model = studio.chat.model_of(&chat, &studio.house);
    let kept = model.and_then(|model| Some((model, model.info.as_ref()?.remembers()?)));
    let words = match kept {
        Some((model, kept)) => format!(
            "{meaning} {}",
            full(&model.name(), kept, settings.context, kv_type)
        ),
        None => meaning.to_owned(),
    };
    ui.add(egui::Label::new(RichText::new(words).color(t.text_muted)).wrap());
    if chosen.changed() {
        gui.send(SettingsCommand::KvType(kv_type));
    }
    let names = CONTEXTS.map(|tokens| format!("{} tokens", words::count(tokens)));
    let sizes = CONTEXTS.map(|tokens| match kept {
        // Beyond the model's own context nothing more is taken.
        Some((_, kept)) if kept.tokens > tokens as usize / 2 => {
            words::bytes(full_conversation(kept, tokens as usize, settled).1)
        }
        _ => String::new(),
    });
    let items: Vec<ComboItem<'_>> = names
        .iter()
        .zip(&sizes)
        .map(|(name, size)| ComboItem {
            trailing: size,
            ..ComboItem::new(name)
        })
        .collect();
    let at = CONTEXTS
        .iter()
        .position(|tokens| *tokens == settings.context);
    ui.add_space(t.size.gap_xs);
    if let Some(tokens) = Combo::new("Longest conversation", &items, at)
        .show(ui)
        .and_then(|at| CONTEXTS.get(at))
    {
        gui.send(SettingsCommand::Context(*tokens));
    }
}

/// What a full conversation takes.
fn full(model: &str, kept: Remembers, longest: u32, kv_type: KvChoice) -> String {
    let takes = |kv_type| full_conversation(kept, longest as usize, kv_type);
    let (tokens, bytes) = takes(kv_type.settled().unwrap_or(KvType::F32));
    let narrower = match kv_type {
        KvChoice::Auto => format!(", {} in 16-bit", words::bytes(takes(KvType::F16).1)),
        _ => String::new(),
    };
    format!(
        "A full conversation of {} tokens takes {} with {model}{narrower}.",
        words::count(tokens as u64),
        words::bytes(bytes),
    )
}

fn folders(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let house = &studio.house;
    ui.horizontal(|ui| {
        text::title(ui, "Models");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let all = Button::quiet("Show all")
                .small()
                .trailing(Icon::ChevronRight);
            if ui.add(all.name("Show all models")).clicked() {
                gui.send(AppCommand::Drawer(Drawer::Models));
            }
        });
    });
    let found = |below: &Path| {
        let count = house
            .shelf
            .models()
            .iter()
            .filter(|model| model.path.starts_with(below))
            .count();
        words::plural(count, "model", "models")
    };
    card(ui, |ui| {
        let own = house.assets.join("models");
        folder(ui, gui, Icon::Model, "Built in", &own, &found(&own), false);
        for path in &house.settings.folders {
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned();
            let icon = if path.extension().is_some() {
                Icon::Model
            } else {
                Icon::Folder
            };
            let count = if house.shelf.scanning {
                "Looking…".to_owned()
            } else {
                found(path)
            };
            folder(ui, gui, icon, &name, path, &count, true);
        }
        for (source, count) in elsewhere(house.shelf.models()) {
            ui.horizontal(|ui| {
                theme::icon_tinted(ui, Icon::Link, t.size.icon_s, t.text_muted);
                text::body(ui, source);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    text::caption(ui, &words::plural(count, "model", "models"));
                });
            });
        }
    });
    ui.horizontal(|ui| {
        let add = Button::secondary("Add folder…").icon(Icon::Plus);
        if ui.add(add).clicked() {
            gui.send(ModelsCommand::ChooseFolder);
        }
        let reason = house
            .shelf
            .scanning
            .then_some("Folders are being looked into");
        let again = Button::secondary("Look again")
            .icon(Icon::Refresh)
            .unless(reason);
        if ui.add(again).clicked() {
            gui.send(ModelsCommand::Rescan);
        }
    });
    let mut elsewhere = house.settings.look_elsewhere;
    let note = format!(
        "Looks where {} keep theirs. Nothing is copied or changed.",
        words::and(&OWNERS)
    );
    let switch = Switch::new(&mut elsewhere, "Use models of other programs").note(&note);
    if ui.add(switch).changed() {
        gui.send(SettingsCommand::LookElsewhere(elsewhere));
    }
}

/// Other programs whose models were found, and how many.
fn elsewhere(models: &[Model]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    let others = models
        .iter()
        .filter(|model| model.source != BUILT_IN && model.source != ADDED);
    for model in others {
        *counts.entry(model.source.as_str()).or_default() += 1;
    }
    counts
}

/// A folder: its name above its path, and how many models are in it.
fn folder(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    icon: Icon,
    name: &str,
    path: &Path,
    count: &str,
    removable: bool,
) {
    let t = gui.tokens.clone();
    ui.horizontal(|ui| {
        theme::icon_tinted(ui, icon, t.size.icon_s, t.text_muted);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if removable {
                let label = format!("Remove {name}");
                if ui
                    .add(IconButton::new(Icon::Close, &label).small())
                    .clicked()
                {
                    gui.send(ModelsCommand::RemoveFolder(path.to_owned()));
                }
            }
            text::caption(ui, count);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                text::body(ui, name);
                text::path(ui, &path.display().to_string())
                    .on_hover_text(path.display().to_string());
            });
        });
    });
}

fn library(ui: &mut Ui, studio: &mut Studio) {
    text::title(ui, "Library");
    text::muted(
        ui,
        "Pictures, conversations and everything you type are kept here.",
    );
    let path = studio.house.data.clone();
    let shown = path.display().to_string();
    if let Some(trouble) = &studio.house.library_trouble {
        let t = theme::tokens(ui.ctx());
        ui.horizontal_top(|ui| {
            theme::icon_tinted(ui, Icon::Warning, t.size.icon_s, t.warning);
            ui.add(egui::Label::new(RichText::new(trouble).color(t.warning)).wrap());
        });
    }
    card(ui, |ui| {
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let open = IconButton::new(Icon::External, "Open the library's folder").small();
                if ui.add(open).clicked() {
                    studio.house.effect(Effect::Reveal(path.clone()));
                }
                let copy = IconButton::new(Icon::Copy, "Copy the library's path").small();
                if ui.add(copy).clicked() {
                    studio.house.effect(Effect::CopyText(shown.clone()));
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    text::path(ui, &shown);
                });
            });
        });
    });
    ui.add_space(8.0);
}
