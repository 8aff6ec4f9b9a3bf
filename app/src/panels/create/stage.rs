//! The middle: the bar above the canvas, the canvas, what is known of the picture, and its details.

use diptych_inference::engine::Request;
use egui::{
    Align2, CentralPanel, Frame, Id, Margin, Panel, Rect, RichText, Stroke, Ui, pos2, vec2,
};

use super::{bar, card, facts, steps, welcome};
use crate::library::records::Target;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::QueueCommand;
use crate::studio::create::{
    AgainCommand, CreateCommand, Current, Guest, GuestSource, StartCommand,
};
use crate::studio::queue::{Stage, Task};
use crate::theme::{self, Icon, Tokens, paint_icon};
use crate::widgets::button::Button;
use crate::widgets::canvas::{Canvas, CanvasAction, CanvasView, Magnify};
use crate::widgets::menu;
use crate::widgets::pictures::{PictureSource, PictureStore};

/// Width of the details.
const DETAILS: f32 = 284.0;
/// Height of the line below the canvas.
const INFO: f32 = 30.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    if let Some(zoom) = studio.create.zoom.take() {
        let action = match zoom {
            crate::studio::create::Zoom::Fit => CanvasAction::Fit,
            crate::studio::create::Zoom::Actual => CanvasAction::ActualSize,
        };
        action.send(ui.ctx());
    }
    if studio.create.paint.open && studio.create.form.start.is_some() {
        return super::paint::show(ui, studio, gui);
    }
    let studio = &*studio;
    let current = studio.create.current(&studio.gallery, &studio.house);
    if matches!(current, Current::Nothing) {
        return welcome::show(ui, studio, gui);
    }
    Panel::top("create bar")
        .exact_size(tokens.size.bar_height)
        .resizable(false)
        .show_separator_line(false)
        .frame(
            Frame::new()
                .fill(tokens.bg_panel)
                .inner_margin(Margin::symmetric(12, 0)),
        )
        .show(ui, |ui| bar::show(ui, studio, gui, &current));
    let guest = matches!(current, Current::Guest(_));
    if studio.create.folds.details || guest {
        Panel::right("create details")
            .exact_size(DETAILS.min(ui.available_width() * 0.5))
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(tokens.bg_panel))
            .show(ui, |ui| card::show(ui, studio, gui, &current));
    }
    Panel::bottom("create info")
        .exact_size(INFO)
        .resizable(false)
        .show_separator_line(false)
        .frame(
            Frame::new()
                .fill(tokens.bg_base)
                .inner_margin(Margin::symmetric(14, 0)),
        )
        .show(ui, |ui| info(ui, &tokens, &current));
    if let Current::Picture(item) = &current
        && studio.create.steps.has(item.record.id)
    {
        Panel::bottom("create steps")
            .exact_size(steps::HEIGHT)
            .resizable(false)
            .show_separator_line(false)
            .frame(
                Frame::new()
                    .fill(tokens.bg_panel)
                    .inner_margin(Margin::symmetric(14, 0)),
            )
            .show(ui, |ui| steps::show(ui, studio, gui, item.record.id));
    }
    CentralPanel::no_frame()
        .frame(Frame::new().fill(tokens.canvas_bg))
        .show(ui, |ui| canvas(ui, studio, gui, &current));
}

/// The line below the canvas.
fn info(ui: &mut Ui, tokens: &Tokens, current: &Current<'_>) {
    let words = match current {
        Current::Nothing => String::new(),
        Current::Job(task) => match (&task.stage, &*task.head.request) {
            (Stage::Running | Stage::Waiting | Stage::Loading { .. }, Request::Image(request)) => {
                facts::plan(request)
            }
            _ => facts::progress(task),
        },
        Current::Picture(item) => facts::line(&item.record),
        Current::Guest(guest) => match &guest.info {
            Ok(info) => {
                let by = info.software.as_deref().unwrap_or("another program");
                format!("{}  ·  made with {by}", guest.name)
            }
            Err(_) => guest.name.clone(),
        },
    };
    ui.horizontal_centered(|ui| {
        if let Current::Picture(item) = current {
            let (icon, word, colour) = match item.is_saved() {
                true => (Icon::Check, "Saved", tokens.success),
                false => (Icon::Clock, "Saving…", tokens.text_faint),
            };
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                ui.label(RichText::new(word).small().color(tokens.text_faint));
                theme::icon_tinted(ui, icon, 13.0, colour);
                ui.add_space(8.0);
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    line(ui, tokens, &words);
                });
            });
        } else {
            line(ui, tokens, &words);
        }
    });
}

fn line(ui: &mut Ui, tokens: &Tokens, words: &str) {
    let text = RichText::new(words).small().color(tokens.text_muted);
    ui.add(egui::Label::new(text).truncate().selectable(true));
}

fn canvas(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, current: &Current<'_>) {
    let tokens = gui.tokens.clone();
    let viewport = ui.available_rect_before_wrap();
    gui.notices = Some(viewport);
    let (source, name) = match current {
        Current::Nothing => (None, String::new()),
        Current::Job(task) => {
            let preview = task.progress.preview.as_ref();
            let failed = matches!(task.stage, Stage::Failed(_));
            let source = preview.filter(|_| !failed).map(PictureSource::memory);
            (source, facts::short(task.title(), 80))
        }
        Current::Picture(item) => {
            let prompt = facts::short(&item.record.request.prompt, 80);
            match studio.create.steps.shown(item.record.id) {
                Some(step) => {
                    let picture = step.picture.as_ref();
                    let source = picture.map(|picture| PictureSource::memory(&picture.0));
                    let name = match step.facts.index {
                        0 => format!("{prompt}, only noise"),
                        index => format!("{prompt}, as foreseen at step {index}"),
                    };
                    (source, name)
                }
                None => (facts::source(item), prompt),
            }
        }
        Current::Guest(guest) => {
            let source = match &guest.source {
                GuestSource::File(path) => Some(PictureSource::file(path)),
                GuestSource::Memory(picture) => Some(PictureSource::memory(picture)),
                GuestSource::Nowhere => None,
            };
            (source, facts::short(guest.title(), 80))
        }
    };
    match (&source, current) {
        (None, Current::Job(task)) => return without_preview(ui, gui, task),
        (None, Current::Guest(_)) => {
            let font = theme::regular(tokens.size.font_body);
            let at = viewport.center();
            let words = "Settings without a picture: look at them at the right";
            ui.painter()
                .text(at, Align2::CENTER_CENTER, words, font, tokens.text_muted);
            return;
        }
        (None, Current::Picture(item)) if studio.create.steps.shown(item.record.id).is_some() => {
            let font = theme::regular(tokens.size.font_body);
            let words = "Nothing is foreseen before the first step";
            let response = ui.allocate_rect(viewport, egui::Sense::hover());
            response.widget_info(|| {
                egui::WidgetInfo::labeled(egui::Role::Image, true, format!("Picture: {name}"))
            });
            ui.painter().text(
                viewport.center(),
                Align2::CENTER_CENTER,
                words,
                font,
                tokens.text_muted,
            );
            return;
        }
        _ => {}
    }
    // Steps are foreseen in few pixels, and are always shown as a whole.
    let stepping = match current {
        Current::Picture(item) => studio.create.steps.shown(item.record.id).is_some(),
        _ => false,
    };
    let id = match stepping {
        true => Id::unique("create step view"),
        false => Id::unique("create canvas view"),
    };
    let mut view = ui
        .data(|data| data.get_temp(id))
        .unwrap_or_else(CanvasView::fitted);
    // Fitted, a picture is looked at as a whole; zoomed in, pixel by pixel.
    let live = matches!(current, Current::Job(_));
    let magnify = if view.fit || live {
        Magnify::Smooth
    } else {
        Magnify::Auto
    };
    let shown = Canvas::new("create", &name)
        .picture(source.as_ref())
        .magnify(magnify)
        .show(ui, &PictureStore::of(ui.ctx()), &mut view);
    ui.data_mut(|data| data.insert_temp(id, view));
    if let Current::Job(task) = current {
        progress_line(ui, &tokens, viewport, task);
    }
    let finished = match current {
        Current::Picture(_) => true,
        Current::Guest(guest) => {
            guest_menu(ui, studio, gui, &shown.frame.response, guest);
            false
        }
        Current::Job(_) | Current::Nothing => false,
    };
    if finished {
        picture_menu(ui, studio, gui, &shown.frame.response);
    }
}

/// What can be done with a picture from elsewhere, at the pointer.
fn guest_menu(
    ui: &Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    response: &egui::Response,
    guest: &Guest,
) {
    menu::context(ui, response, |ui| {
        ui.set_max_width(bar::MENU);
        bar::menu_item(
            ui,
            studio,
            gui,
            CreateCommand::Start(StartCommand::FromShown),
        );
        if guest.info.is_ok() {
            menu::separator(ui);
            for command in bar::RECALLS {
                bar::menu_item(ui, studio, gui, command);
            }
        }
        menu::separator(ui);
        bar::menu_item(ui, studio, gui, CreateCommand::Dismiss);
    });
}

/// What can be done with the picture, at the pointer.
pub(super) fn picture_menu(ui: &Ui, studio: &Studio, gui: &mut Gui<'_>, response: &egui::Response) {
    let entries: [&[CreateCommand]; 5] = [
        &[CreateCommand::Start(StartCommand::FromShown)],
        &[
            CreateCommand::Copy,
            CreateCommand::CopyPrompt,
            CreateCommand::SaveAs,
            CreateCommand::Reveal,
        ],
        &bar::RECALLS,
        &[bar::MATTER, CreateCommand::Again(AgainCommand::Check)],
        &[CreateCommand::Favourite, CreateCommand::Trash],
    ];
    menu::context(ui, response, |ui| {
        ui.set_max_width(bar::MENU);
        for (number, group) in entries.into_iter().enumerate() {
            if number > 0 {
                menu::separator(ui);
            }
            for command in group {
                bar::menu_item(ui, studio, gui, command.clone());
            }
        }
    });
}

/// A thin line along the upper edge of the canvas.
fn progress_line(ui: &Ui, tokens: &Tokens, viewport: Rect, task: &Task) {
    let Some(share) = task.progress.share() else {
        return;
    };
    let painter = ui.painter_at(viewport);
    let mut bar = Rect::from_min_size(viewport.min, vec2(viewport.width(), 3.0));
    painter.rect_filled(bar, 0.0, tokens.bg_active);
    bar.set_width(viewport.width() * share);
    painter.rect_filled(bar, 0.0, tokens.accent_text);
}

/// A job that has nothing to show yet, or failed.
fn without_preview(ui: &mut Ui, gui: &mut Gui<'_>, task: &Task) {
    let tokens = gui.tokens.clone();
    let viewport = ui.available_rect_before_wrap();
    progress_line(ui, &tokens, viewport, task);
    let Stage::Failed(reason) = &task.stage else {
        return waiting_frame(ui, &tokens, viewport, task);
    };
    let width = viewport.width().min(440.0) - 32.0;
    let left = viewport.center().x - width / 2.0;
    let top = viewport.top() + (viewport.height() * 0.28 - 60.0).max(12.0);
    let rect = Rect::from_min_max(pos2(left, top), pos2(left + width, viewport.bottom()));
    ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| {
        // A long reason in a low window.
        let scroll = egui::ScrollArea::vertical().auto_shrink([false, false]);
        scroll.show(ui, |ui| {
            ui.vertical_centered(|ui| {
                theme::icon_tinted(ui, Icon::Error, 32.0, tokens.danger_text);
                let font = theme::semibold(ui.ctx(), tokens.size.font_title);
                let words = match task.is_picture() {
                    true => "The picture could not be drawn",
                    false => "The picture could not be made larger",
                };
                ui.label(RichText::new(words).font(font).color(tokens.text));
                ui.add(
                    egui::Label::new(RichText::new(reason).color(tokens.text_muted))
                        .selectable(true),
                );
                ui.add_space(tokens.size.gap_s);
                let id = task.head.id;
                if ui
                    .add(Button::secondary("Try again").icon(Icon::Refresh))
                    .clicked()
                {
                    gui.send(QueueCommand::Resume(id));
                }
                if ui.add(Button::quiet("Remove").icon(Icon::Close)).clicked() {
                    gui.send(QueueCommand::Cancel(id));
                }
            });
        });
    });
}

/// An empty sheet of the picture's shape.
fn waiting_frame(ui: &Ui, tokens: &Tokens, viewport: Rect, task: &Task) {
    let ratio = match (&*task.head.request, &task.head.target) {
        (Request::Image(request), _) => request.width as f32 / request.height.max(1) as f32,
        (Request::Upscale(_), Target::Enlarged { request, .. }) => {
            request.width as f32 / request.height.max(1) as f32
        }
        _ => return,
    };
    let room = viewport.shrink(24.0).size().max(vec2(40.0, 40.0));
    let size = if room.x / ratio <= room.y {
        vec2(room.x, room.x / ratio)
    } else {
        vec2(room.y * ratio, room.y)
    };
    let sheet = Rect::from_center_size(viewport.center(), size);
    let painter = ui.painter_at(viewport);
    painter.rect_filled(sheet, tokens.corner_m(), tokens.bg_raised);
    let line = Stroke::new(1.0, tokens.stroke);
    painter.rect_stroke(sheet, tokens.corner_m(), line, egui::StrokeKind::Inside);
    let middle = sheet.center();
    paint_icon(
        &painter,
        middle - vec2(0.0, 16.0),
        28.0,
        Icon::Sparkle,
        tokens.text_faint,
    );
    let font = theme::regular(tokens.size.font_body);
    let words = facts::progress(task);
    painter.text(
        middle + vec2(0.0, 14.0),
        Align2::CENTER_CENTER,
        words,
        font,
        tokens.text_muted,
    );
}
