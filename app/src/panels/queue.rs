//! The strip at the bottom: what runs, what waits, what computes, and whether all is saved.

use std::time::Instant;

use diptych_inference::engine::MemoryUse;
use egui::{Align, Layout, Rect, ScrollArea, Ui, UiBuilder, vec2};

use super::Gui;
use crate::library::records::Target;
use crate::studio::Studio;
use crate::studio::command::{AppCommand, ModelsCommand, QueueCommand};
use crate::studio::queue::{Queue, Stage, Task};
use crate::studio::session::EngineState;
use crate::studio::view::Drawer;
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, ButtonKind, IconButton};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::progress::Progress;
use crate::widgets::tip;
use crate::words;

/// Height of the bar that is always there.
pub const BAR: f32 = 34.0;
/// Height of a row of the list.
const ROW: f32 = 36.0;
/// Share of a row that tells how far its job is, at most.
const DETAIL: f32 = 0.6;
/// Height of everything when the list is unfolded.
pub const OPEN: f32 = 232.0;

/// Shows the strip.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let whole = ui.max_rect();
    ui.painter()
        .hline(whole.x_range(), whole.top(), (1.0, tokens.stroke));
    let bar = Rect::from_min_size(whole.min, vec2(whole.width(), BAR));
    let inner = bar.shrink2(vec2(tokens.size.gap_s, 0.0));
    ui.scope_builder(
        UiBuilder::new()
            .max_rect(inner)
            .layout(Layout::left_to_right(Align::Center)),
        |ui| bar_contents(ui, studio, gui),
    );
    if studio.view.queue_open {
        let list = Rect::from_min_max(bar.left_bottom(), whole.max);
        let inner = list.shrink2(vec2(tokens.size.gap_s, 0.0));
        ui.scope_builder(UiBuilder::new().max_rect(inner), |ui| {
            list_contents(ui, studio, gui);
        });
    }
}

fn bar_contents(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
    let open = studio.view.queue_open;
    let queue = &studio.house.queue;
    let count = queue.tasks().len();
    let label = match count {
        0 => "Queue".to_owned(),
        count => format!("Queue ({count})"),
    };
    let keys = gui.keys(&AppCommand::ToggleQueue.into());
    let fold = Button::new(ButtonKind::Quiet, &label)
        .small()
        .icon(if open {
            Icon::ChevronDown
        } else {
            Icon::ChevronUp
        })
        .tooltip(if open {
            "Hide the queue"
        } else {
            "Show the queue"
        })
        .shortcut(keys.as_deref().unwrap_or_default());
    if ui.add(fold).clicked() {
        gui.send(AppCommand::ToggleQueue);
    }
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        engine(ui, studio, gui);
        let queue = &studio.house.queue;
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.set_clip_rect(ui.max_rect().intersect(ui.clip_rect()));
            running(ui, queue, gui);
        });
    });
}

/// The job that runs, in one line.
fn running(ui: &mut Ui, queue: &Queue, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Some(task) = queue.running() else {
        let held = queue
            .tasks()
            .iter()
            .filter(|task| !task.stage.is_live())
            .count();
        let text = match (queue.tasks().len(), held) {
            (0, _) => String::new(),
            _ if queue.all_paused => "Paused".to_owned(),
            (_, 0) => "Waiting".to_owned(),
            (_, 1) => "One job waits for your word".to_owned(),
            (_, held) => format!("{held} jobs wait for your word"),
        };
        ui.label(egui::RichText::new(text).color(tokens.text_muted));
        return;
    };
    let cancel = QueueCommand::Cancel(task.head.id);
    if ui
        .add(IconButton::new(Icon::Stop, "Stop this job").small())
        .clicked()
    {
        gui.send(cancel);
    }
    let share = task.progress.share();
    ui.add(Progress::new("Progress of the running job", share).width(120.0));
    let most = ui.available_width() * DETAIL;
    cut(
        ui,
        &detail(task),
        most,
        tokens.size.font_caption,
        tokens.text_muted,
    );
    let room = ui.available_width() - tokens.size.gap_m;
    if room > 60.0 {
        elided(ui, one_line(task.title()), room, tokens.text);
    }
}

/// What computes, what it holds, and whether all is saved.
fn engine(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let (icon, text, tip) = match &studio.house.engine {
        EngineState::Starting => (
            Icon::Clock,
            "Starting".to_owned(),
            "The device is being opened".to_owned(),
        ),
        EngineState::Ready { executor, device } => {
            let icon = if *executor == "cpu" {
                Icon::Cpu
            } else {
                Icon::Gpu
            };
            let short = if *executor == "cpu" {
                "CPU".to_owned()
            } else {
                device.clone()
            };
            (icon, short, format!("Computing on {device}"))
        }
        EngineState::Lost(reason) => (Icon::Warning, "Device lost".to_owned(), reason.clone()),
        EngineState::Failed(reason) => (Icon::Error, "Not running".to_owned(), reason.clone()),
    };
    let device = Button::new(ButtonKind::Quiet, &text)
        .small()
        .icon(icon)
        .tooltip(&tip);
    if ui.add(device).clicked() {
        gui.send(AppCommand::Drawer(Drawer::Settings));
    }
    if let Some(memory) = &studio.house.memory {
        let used = memory.weights + memory.activations + memory.states;
        if used > 0 {
            let text = format!("{} of {}", words::bytes(used), words::bytes(memory.budget));
            let button = Button::new(ButtonKind::Quiet, &text)
                .small()
                .tooltip("Memory of models and their work, of what may be used");
            let button = ui.add(button);
            menu::below(ui, &button, |ui| {
                ui.set_min_width(240.0);
                ui.set_max_width(340.0);
                loaded(ui, studio, gui);
                let lines = told(memory);
                if !lines.is_empty() {
                    menu::separator(ui);
                }
                for line in lines {
                    menu::heading(ui, &line);
                }
            });
        }
    }
    if let Some(trouble) = &studio.house.library_trouble {
        let button = Button::new(ButtonKind::Quiet, "Not saved")
            .small()
            .icon(Icon::Warning)
            .tooltip(trouble);
        if ui.add(button).clicked() {
            gui.send(AppCommand::Drawer(Drawer::Log));
        }
    }
}

/// The most that was taken so far and was foreseen, and what lies in main memory beside the device.
fn told(memory: &MemoryUse) -> Vec<String> {
    let mut lines = Vec::new();
    if memory.forecast > 0 {
        lines.push(format!(
            "At most {} were taken, {} were foreseen",
            words::bytes(memory.peak),
            words::bytes(memory.forecast)
        ));
    }
    let converted = memory.beside.max(memory.beside_forecast);
    if converted > 0 {
        lines.push(format!(
            "Converted while loading: {} more in main memory",
            words::bytes(converted)
        ));
    }
    if memory.streamed > 0 {
        lines.push(format!(
            "Sent anew in every step: {} that did not fit",
            words::bytes(memory.streamed)
        ));
    }
    lines
}

/// The models that are in memory, and the way out of it.
fn loaded(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let models = &studio.house.loaded;
    if models.is_empty() {
        menu::heading(ui, "No model is in memory");
        return;
    }
    menu::heading(ui, "Models in memory");
    for model in models {
        let reason = studio.house.can_unload(model).err();
        let label = format!("Unload {}", model.name);
        let item = MenuItem::new(&label)
            .icon(Icon::Model)
            .unless(reason.as_deref());
        if ui.add(item).clicked() {
            gui.send(ModelsCommand::Unload(model.clone()));
        }
    }
    if models.len() > 1 {
        menu::separator(ui);
        let reason = studio.available(&ModelsCommand::UnloadAll.into()).err();
        let item = MenuItem::new("Unload all")
            .icon(Icon::Close)
            .unless(reason.as_deref());
        if ui.add(item).clicked() {
            gui.send(ModelsCommand::UnloadAll);
        }
    }
}

fn list_contents(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let queue = &studio.house.queue;
    ui.add_space(tokens.size.gap_xs);
    if queue.tasks().is_empty() {
        ui.centered_and_justified(|ui| {
            ui.label(
                egui::RichText::new(
                    "Nothing runs and nothing waits. What you draw and ask appears here.",
                )
                .color(tokens.text_muted),
            );
        });
        return;
    }
    ui.horizontal(|ui| {
        let held = queue.all_paused || queue.tasks().iter().any(|task| !task.stage.is_live());
        if !queue.all_paused
            && ui
                .add(
                    Button::new(ButtonKind::Quiet, "Pause all")
                        .small()
                        .icon(Icon::Pause),
                )
                .clicked()
        {
            gui.send(QueueCommand::PauseAll);
        }
        if held
            && ui
                .add(
                    Button::new(ButtonKind::Quiet, "Resume all")
                        .small()
                        .icon(Icon::Play),
                )
                .clicked()
        {
            gui.send(QueueCommand::ResumeAll);
        }
        if ui
            .add(
                Button::new(ButtonKind::Quiet, "Stop all")
                    .small()
                    .icon(Icon::Close),
            )
            .clicked()
        {
            gui.send(QueueCommand::CancelAll);
        }
    });
    let count = queue.tasks().len();
    let mut moved = None;
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(ui, ROW, count, |ui, rows| {
            for index in rows {
                if let Some(task) = queue.tasks().get(index)
                    && let Some(to) = row(ui, task, index, count, gui)
                {
                    moved = Some((task.head.id, to));
                }
            }
        });
    if let Some((id, to)) = moved {
        gui.send(QueueCommand::Move(id, to));
    }
}

/// A row; gives the index to which its job is to be moved.
fn row(ui: &mut Ui, task: &Task, index: usize, count: usize, gui: &mut Gui<'_>) -> Option<usize> {
    let tokens = gui.tokens.clone();
    let id = task.head.id;
    let mut to = None;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), egui::Sense::hover());
    if index % 2 == 1 {
        ui.painter().rect_filled(
            rect.shrink2(vec2(0.0, 1.0)),
            tokens.corner_s(),
            tokens.bg_panel,
        );
    }
    let inner = rect.shrink2(vec2(tokens.size.gap_s, 0.0));
    let mut ui = ui.new_child(
        UiBuilder::new()
            .id_salt(("task", id))
            .max_rect(inner)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let ui = &mut ui;
    ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
    let (icon, colour) = match &task.stage {
        Stage::Failed(_) => (Icon::Error, tokens.danger_text),
        Stage::Paused | Stage::Interrupted => (Icon::Pause, tokens.text_muted),
        _ if task.makes_picture() => (Icon::Image, tokens.text_muted),
        _ => (Icon::Chat, tokens.text_muted),
    };
    theme::icon_tinted(ui, icon, tokens.size.icon_s, colour);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let title = one_line(task.title());
        let named = |what: &str| format!("{what}: {title}");
        // What has begun is stopped and keeps what it has; what has not is only taken out of the list.
        let begun = task.progress.started.is_some() && task.stage.is_live();
        let label = named(if begun { "Stop" } else { "Remove" });
        if ui
            .add(IconButton::new(Icon::Close, &label).small())
            .clicked()
        {
            gui.send(QueueCommand::Cancel(id));
        }
        let live = task.stage.is_live();
        let (icon, label) = match (&task.stage, live) {
            (_, true) => (Icon::Pause, named("Pause")),
            (Stage::Failed(_), _) => (Icon::Refresh, named("Try again")),
            _ => (Icon::Play, named("Resume")),
        };
        if ui.add(IconButton::new(icon, &label).small()).clicked() {
            gui.send(if live {
                QueueCommand::Pause(id)
            } else {
                QueueCommand::Resume(id)
            });
        }
        let later = named("Move down");
        let earlier = named("Move up");
        let down = IconButton::new(Icon::ArrowDown, &later)
            .small()
            .enabled(index + 1 < count);
        if ui.add(down).clicked() {
            to = Some(index + 1);
        }
        let up = IconButton::new(Icon::ArrowUp, &earlier)
            .small()
            .enabled(index > 0);
        if ui.add(up).clicked() {
            to = Some(index.saturating_sub(1));
        }
        ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
        ui.add_space(tokens.size.gap_xs);
        // What failed may have a long reason: its title is to be read all the same.
        let most = ui.available_width() * DETAIL;
        cut(ui, &detail(task), most, tokens.size.font_caption, colour);
        if task.progress.done > 0 && task.is_picture() {
            let name = named("Progress");
            ui.add(
                Progress::new(&name, task.progress.share())
                    .width(80.0)
                    .paused(!live),
            );
        }
        let room = ui.available_width() - tokens.size.gap_l;
        if room > 40.0 {
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                elided(ui, title.clone(), room, tokens.text);
            });
        }
    });
    to
}

/// How far a job is, in a few words.
fn detail(task: &Task) -> String {
    let progress = &task.progress;
    let place = match task.head.target {
        Target::Cell { .. } | Target::Lane { .. } | Target::Variants { .. } => "Compare · ",
        Target::Words { .. } => "Words · ",
        Target::Again { .. } => "Check · ",
        Target::Way { .. } => "Morph · ",
        _ => "",
    };
    match &task.stage {
        Stage::Loading { model, bytes: size } => {
            format!("Loading {model} ({})", words::bytes(*size))
        }
        Stage::Running if task.makes_picture() && progress.total > 0 => {
            let (unit, each) = match task.is_picture() {
                true => ("Step", "step"),
                false => ("Part", "part"),
            };
            let mut text = format!("{place}{unit} {} of {}", progress.done, progress.total);
            if let Some(seconds) = progress.step_seconds {
                text.push_str(&format!(" · {} a {each}", words::seconds(seconds)));
            }
            if let Some(left) = progress.left().filter(|_| progress.done > 1) {
                text.push_str(&format!(" · {} left", words::seconds(left.as_secs_f32())));
            }
            text
        }
        Stage::Running if task.is_picture() => format!("{place}Reading the prompt"),
        Stage::Running if task.makes_picture() => format!("{place}Beginning"),
        Stage::Running => match progress.tokens_per_second(Instant::now()) {
            Some(speed) => format!("{place}{} tokens · {speed:.0} tokens/s", progress.done),
            None => format!("{place}Reading the conversation"),
        },
        Stage::Interrupted if progress.total > 0 => {
            format!(
                "{place}Interrupted at step {} of {}",
                progress.done, progress.total
            )
        }
        Stage::Failed(reason) => one_line(reason),
        stage => format!("{place}{}", stage.label()),
    }
}

/// A few words that are no wider than this; whole in the tooltip where they had to be cut.
fn cut(ui: &mut Ui, text: &str, most: f32, size: f32, colour: egui::Color32) {
    let words = egui::RichText::new(text).color(colour).size(size);
    let galley = egui::WidgetText::from(words).into_galley(
        ui,
        Some(egui::TextWrapMode::Truncate),
        most.max(40.0),
        egui::TextStyle::Body,
    );
    let (rect, response) = ui.allocate_exact_size(galley.size(), egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, text));
    let elided = galley.elided;
    ui.painter().galley(rect.min, galley, colour);
    if elided {
        tip(response, text, None);
    }
}

/// Text in one line from the left that ends with an ellipsis where it is too wide.
fn elided(ui: &mut Ui, text: String, width: f32, colour: egui::Color32) {
    let galley = egui::WidgetText::from(text.clone()).into_galley(
        ui,
        Some(egui::TextWrapMode::Truncate),
        width,
        egui::TextStyle::Body,
    );
    let (rect, response) =
        ui.allocate_exact_size(vec2(width, galley.size().y), egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &text));
    let cut = galley.elided;
    ui.painter().galley(rect.min, galley, colour);
    if cut {
        response.on_hover_text(text);
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
