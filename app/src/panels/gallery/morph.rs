//! The dialog that makes a way between two pictures.

use egui::{Align, Context, Id, Label, Layout, Rect, RichText, ScrollArea, Sense, Ui, pos2, vec2};

use crate::morph::Form;
use crate::panels::Gui;
use crate::panels::create::facts;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::gallery::morph::{FRAMES, MILLISECONDS, Plan, Way};
use crate::studio::gallery::{GalleryCommand, Item, MorphCommand};
use crate::theme::{self, Icon, paint_icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::modal::Dialog;
use crate::widgets::number::NumberField;
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::progress::Progress;
use crate::widgets::segmented::Segmented;
use crate::widgets::thumbnails::paint_thumbnail;
use crate::widgets::tip;
use crate::widgets::toggle::Switch;

/// Width of the dialog.
const WIDTH: f32 = 520.0;
/// Largest side of the pictures in it, and the room between them.
const PICTURE: f32 = 148.0;
const BETWEEN: f32 = 18.0;

/// Shows it while it is open.
pub fn show(ctx: &Context, studio: &Studio, gui: &mut Gui<'_>) {
    let morph = &studio.gallery.morph;
    let Some(way) = morph.way.as_ref().filter(|_| morph.open) else {
        return;
    };
    let dialog = Dialog::new("morph", "Morph between two pictures").width(WIDTH);
    let closed = dialog.show(ctx, |ui| content(ui, studio, gui, way)).closed;
    if closed {
        send(gui, MorphCommand::Close);
    }
}

fn send(gui: &mut Gui<'_>, command: MorphCommand) {
    gui.send(GalleryCommand::Morph(command));
}

fn content(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, way: &Way) {
    let tokens = gui.tokens.clone();
    let plan = studio.gallery.morph.plan;
    let busy = studio.gallery.morph.is_busy();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
    // Small windows have no room for all of it; what begins it is always there.
    let room = (ui.available_height() - 84.0).max(120.0);
    ScrollArea::vertical().max_height(room).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
        pictures(ui, gui, way, &plan, busy);
        let differing = way.differing();
        let note = match differing.as_slice() {
            [] => "Words and seed go from the one to the other; all other settings are the same."
                .to_owned(),
            some => format!(
                "Words and seed go from the one to the other. They differ in {} too: there the first is followed.",
                listed(some)
            ),
        };
        ui.add(Label::new(RichText::new(note).color(tokens.text_muted)).wrap());
        if busy {
            return;
        }
        let now = settings(ui, plan);
        if now != plan {
            send(gui, MorphCommand::Set(now));
        }
    });
    if busy {
        let share = way.drawn.len() as f32 / plan.frames.max(1) as f32;
        ui.add(Progress::new("Progress of the way", Some(share)));
    }
    foot(ui, studio, gui, way, &plan);
}

/// The two ends, and between them what was drawn last.
fn pictures(ui: &mut Ui, gui: &mut Gui<'_>, way: &Way, plan: &Plan, busy: bool) {
    let tokens = gui.tokens.clone();
    let side = ((ui.available_width() - 2.0 * BETWEEN) / 3.0).min(PICTURE);
    let size = vec2(ui.available_width(), side);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let left = rect.center().x - (3.0 * side + 2.0 * BETWEEN) / 2.0;
    let place = |number: f32| {
        let corner = pos2(left + number * (side + BETWEEN), rect.top());
        Rect::from_min_size(corner, vec2(side, side))
    };
    let store = PictureStore::of(ui.ctx());
    let sheet = |ui: &mut Ui, number: u8, source: Option<PictureSource>, name: &str| {
        let (area, id) = (place(f32::from(number)), Id::unique(("morph", number)));
        let response = ui.interact(area, id, Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, name));
        ui.painter()
            .rect_filled(area, tokens.corner_m(), tokens.canvas_bg);
        if let Some(source) = source {
            paint_thumbnail(ui, &store, &source, area.shrink(4.0), true);
        }
        response
    };
    for (number, item, what) in [(0, &way.from, "From"), (2, &way.to, "To")] {
        let name = format!("{what}: {}", facts::name(item));
        let response = sheet(ui, number, facts::source(item), &name);
        tip(
            response,
            &facts::short(&item.record.request.prompt, 160),
            None,
        );
    }
    let middle = place(1.0);
    let last = way.drawn.last().map(PictureSource::memory);
    let name = match way.drawn.len() {
        0 => "Between them: nothing is drawn yet".to_owned(),
        count => format!("Between them: picture {count} of {}", plan.frames),
    };
    let empty = last.is_none();
    sheet(ui, 1, last, &name);
    if empty {
        let painter = ui.painter();
        paint_icon(
            painter,
            middle.center(),
            28.0,
            Icon::Morph,
            tokens.text_faint,
        );
    }
    for gap in [0.0, 1.0] {
        let at = pos2(place(gap).right() + BETWEEN / 2.0, rect.center().y);
        paint_icon(
            ui.painter(),
            at,
            14.0,
            Icon::ChevronRight,
            tokens.text_faint,
        );
    }
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
        let line = |ui: &mut Ui, item: &Item| {
            let words = facts::short(&item.record.request.prompt, 60);
            let words = format!("{words} (seed {})", item.record.request.seed);
            let words = RichText::new(words).small().color(tokens.text_muted);
            ui.add(Label::new(words).truncate());
        };
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let swap = IconButton::new(Icon::Swap, "Begin with the other one")
                .small()
                .unless(busy.then_some("It is being drawn"));
            if ui.add(swap).clicked() {
                send(gui, MorphCommand::Swap);
            }
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                line(ui, &way.from);
                line(ui, &way.to);
            });
        });
    });
}

fn settings(ui: &mut Ui, plan: Plan) -> Plan {
    let mut now = plan;
    facts::caption(ui, "Save as");
    Segmented::new("Save as")
        .option(Form::Animated, "Animated PNG")
        .option(Form::Gif, "GIF")
        .option(Form::Strip, "Strip")
        .full_width()
        .show(ui, &mut now.form);
    ui.add(
        NumberField::new("Pictures in all", &mut now.frames, FRAMES)
            .default_value(Plan::default().frames)
            .tooltip("How many pictures the way has, with both ends. More is smoother, and takes longer."),
    );
    if now.form == Form::Strip {
        return now;
    }
    ui.add(
        NumberField::new("Each is shown for", &mut now.milliseconds, MILLISECONDS)
            .step(10.0)
            .unit("ms")
            .default_value(Plan::default().milliseconds),
    );
    ui.add(
        Switch::new(&mut now.back, "And back again")
            .note("It ends where it began: a loop without a jump."),
    );
    now
}

/// How far it is, and what can be done.
fn foot(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, way: &Way, plan: &Plan) {
    let tokens = gui.tokens.clone();
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
            buttons(ui, studio, gui, way, plan);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let (words, colour) = state(studio, way, plan);
                let colour = match colour {
                    true => tokens.danger_text,
                    false => tokens.text_muted,
                };
                if way.written.is_some() {
                    theme::icon_tinted(ui, Icon::Success, 14.0, tokens.success);
                }
                let label = Label::new(RichText::new(&words).small().color(colour)).wrap();
                ui.add(label);
            });
        });
    });
}

/// How far it is, in words, and whether that is a fault.
fn state(studio: &Studio, way: &Way, plan: &Plan) -> (String, bool) {
    let drawn = way.drawn.len();
    if way.is_writing() {
        return ("Writing the file".to_owned(), false);
    }
    if way.is_running() {
        let now = (drawn + 1).min(plan.frames as usize);
        let mut words = format!("Picture {now} of {}", plan.frames);
        let step = way.task().and_then(|task| studio.house.queue.get(task));
        if let Some(task) = step.filter(|task| task.progress.total > 0) {
            let (done, total) = (task.progress.done, task.progress.total);
            words.push_str(&format!("  ·  step {done} of {total}"));
        }
        return (words, false);
    }
    if let Some(path) = &way.written {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = facts::short(&name.to_string_lossy(), 60);
        return (format!("Saved as {name}"), false);
    }
    match &way.trouble {
        Some(reason) if reason.is_empty() => (
            format!("Stopped after {drawn} of {} pictures", plan.frames),
            false,
        ),
        Some(reason) => (reason.clone(), true),
        None => {
            let time = facts::seconds(way.expected(plan.frames));
            match plan.frames as usize - drawn.min(plan.frames as usize) {
                0 => (format!("All {} pictures are drawn", plan.frames), false),
                left => (format!("{left} pictures to draw, about {time}"), false),
            }
        }
    }
}

fn buttons(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, way: &Way, plan: &Plan) {
    if way.is_writing() {
        return;
    }
    if way.is_running() {
        let button = Button::secondary("Stop")
            .icon(Icon::Stop)
            .name("Stop the way");
        if ui.add(button).clicked() {
            send(gui, MorphCommand::Stop);
        }
        return;
    }
    let mut act = |ui: &mut Ui, button: Button<'_>, command: MorphCommand| {
        let command = UiCommand::from(GalleryCommand::Morph(command));
        let reason = studio.available(&command).err();
        if ui.add(button.unless(reason.as_deref())).clicked() {
            gui.send(command);
        }
    };
    let (drawn, left) = (way.drawn.len(), way.drawn.len() < plan.frames as usize);
    let stopped = way.trouble.is_some() && way.has_file();
    match (left, stopped) {
        (true, true) => {
            act(ui, Button::primary("Go on"), MorphCommand::Go);
            if drawn > 1 {
                let words = format!("Save these {drawn}");
                act(ui, Button::secondary(&words), MorphCommand::Save);
            }
        }
        (true, false) => {
            let button = Button::primary("Draw and save…").icon(Icon::Morph);
            act(ui, button, MorphCommand::Choose);
        }
        (false, _) => {
            let button = Button::primary("Save the file…").icon(Icon::Save);
            act(ui, button, MorphCommand::Choose);
        }
    }
    if way.written.is_some() {
        act(
            ui,
            Button::secondary("Show its folder"),
            MorphCommand::Reveal,
        );
    }
}

/// `model, size and steps`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}
