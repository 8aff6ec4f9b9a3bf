//! The card of the picture to begin from: what it is, how much of it stays, how it is fitted, what of it is drawn anew.

use egui::{Align, Label, Layout, RichText, Sense, Ui, Vec2, vec2};

use super::{bar, facts};
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::start::{
    MOST_BLUR, MOST_EXTENSION, MOST_PADDING, USUAL_BLUR, USUAL_PADDING, USUAL_STRENGTH,
};
use crate::studio::create::{Create, CreateCommand, Fit, Form, MaskCommand, Start, StartCommand};
use crate::studio::models::Model;
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::menu;
use crate::widgets::number::NumberField;
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::section;
use crate::widgets::segmented::Segmented;
use crate::widgets::thumbnails::paint_thumbnail;
use crate::widgets::toggle::Checkbox;

/// Side of the small picture.
const SIDE: f32 = 68.0;

/// Shows it, or the way to it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let gap = gui.tokens.size.gap_xs;
    if studio.create.form.start.is_none() {
        invite(ui, studio, gui);
        return;
    }
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = gap;
        facts::caption(ui, "Start picture");
        section::card(ui, |ui| card(ui, studio, gui));
    });
}

/// Nothing is chosen yet.
fn invite(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let reads = studio.create.desk.takes();
    let words = if reads {
        "Reading the picture…"
    } else {
        "Begin from a picture"
    };
    let button = Button::quiet(words)
        .small()
        .icon(Icon::Start)
        .trailing(Icon::ChevronDown)
        .enabled(!reads);
    let response = ui.add(button);
    menu::below(ui, &response, |ui| choices(ui, studio, gui));
}

/// Where a start picture can come from.
fn choices(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    ui.set_max_width(bar::MENU);
    bar::menu_item(
        ui,
        studio,
        gui,
        CreateCommand::Start(StartCommand::FromShown),
    );
    bar::menu_item(ui, studio, gui, CreateCommand::Start(StartCommand::Ask));
}

fn card(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
    head(ui, studio, gui);
    let Studio { create, house, .. } = studio;
    let trouble = create.form.start.as_ref().and_then(|start| {
        let reason = create.desk.trouble(start)?;
        Some(reason.to_owned())
    });
    if let Some(reason) = trouble {
        let words = format!("It cannot be used: {reason}. Choose another one, or take it away.");
        note(ui, &tokens, &words);
        return;
    }
    let Some(model) = create.form.model(house) else {
        return;
    };
    let size = create.form.size(model);
    let Create {
        form, folds, paint, ..
    } = create;
    let painting = paint.open;
    let Some(start) = &mut form.start else {
        return;
    };
    let field = NumberField::new("Strength", &mut start.strength, 0.01..=1.0)
        .step(0.01)
        .default_value(USUAL_STRENGTH)
        .tooltip(
            "How much of the picture is given up for what the words say. At 1 little of it stays.",
        );
    ui.add(field);
    fitting(ui, &tokens, start, size, gui);
    mask(ui, &tokens, start, painting, gui);
    if extension(ui, &tokens, start, &mut folds.extend) {
        follow(form, model);
    }
}

/// The new picture gets the shape of the extended one.
fn follow(form: &mut Form, model: &Model) {
    if let Some(start) = &form.start {
        form.size = Some(start.drawn_size(model));
        form.settle(model);
    }
}

/// Thumbnail, name, size, and what else can be done with it.
fn head(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let create = &studio.create;
    let Some(start) = &create.form.start else {
        return;
    };
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(SIDE), Sense::hover());
        ui.painter()
            .rect_filled(rect, tokens.corner_m(), tokens.bg_input);
        let name = format!("Start picture: {}", start.name);
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &name));
        if let Some(picture) = create.desk.picture(start) {
            let source = PictureSource::memory(picture);
            let store = PictureStore::of(ui.ctx());
            paint_thumbnail(ui, &store, &source, rect.shrink(2.0), true);
        } else if create.desk.trouble(start).is_some() {
            let (at, colour) = (rect.center(), tokens.warning);
            theme::paint_icon(ui.painter(), at, 24.0, Icon::Warning, colour);
        }
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 3.0;
            let buttons = tokens.size.control_s * 2.0 + 6.0;
            ui.horizontal(|ui| {
                let room = (ui.available_width() - buttons).max(20.0);
                let font = theme::medium(ui.ctx(), tokens.size.font_body);
                let words = RichText::new(&start.name).font(font).color(tokens.text);
                let line = vec2(room, tokens.size.control_s);
                ui.allocate_ui_with_layout(line, Layout::left_to_right(Align::Center), |ui| {
                    ui.set_min_width(room);
                    ui.add(Label::new(words).truncate().selectable(false));
                });
                ui.spacing_mut().item_spacing.x = 2.0;
                let other = ui.add(IconButton::new(Icon::More, "Another start picture").small());
                menu::below(ui, &other, |ui| choices(ui, studio, gui));
                let away = CreateCommand::Start(StartCommand::Remove);
                if ui
                    .add(IconButton::new(Icon::Close, "Take the start picture away").small())
                    .clicked()
                {
                    gui.send(away);
                }
            });
            let words = match start.size {
                (0, _) => "Being read…".to_owned(),
                (width, height) => format!("{width} × {height}"),
            };
            if create.desk.trouble(start).is_none() {
                ui.label(RichText::new(words).small().color(tokens.text_muted));
            }
            let command = UiCommand::from(CreateCommand::Mask(MaskCommand::Open));
            if create.paint.open {
                let done = CreateCommand::Mask(MaskCommand::Close);
                let button = Button::secondary("Finish painting").small();
                if ui.add(button.icon(Icon::Check)).clicked() {
                    gui.send(done);
                }
            } else if create.desk.trouble(start).is_none() {
                let reason = studio.available(&command).err();
                let keys = gui.keys(&command).unwrap_or_default();
                let painted = start.mask.as_ref().is_some_and(|mask| !mask.is_empty());
                let words = if painted {
                    "Edit the mask"
                } else {
                    "Paint a mask"
                };
                let button = Button::secondary(words)
                    .small()
                    .icon(Icon::Brush)
                    .shortcut(&keys)
                    .tooltip("Choose by hand what is drawn anew; the rest stays as it is.")
                    .unless(reason.as_deref());
                if ui.add(button).clicked() {
                    gui.send(command);
                }
            }
        });
    });
}

fn note(ui: &mut Ui, tokens: &Tokens, words: &str) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        theme::icon_tinted(ui, Icon::Warning, 14.0, tokens.warning);
        let words = RichText::new(words).small().color(tokens.text);
        ui.add(Label::new(words).wrap());
    });
}

/// How the picture comes to the size that is drawn.
fn fitting(ui: &mut Ui, tokens: &Tokens, start: &mut Start, size: (u32, u32), gui: &mut Gui<'_>) {
    if start.size.0 == 0 {
        return;
    }
    let crop = Start {
        fit: Fit::Crop,
        ..start.clone()
    };
    if crop.crop(size).is_some() {
        Segmented::new("How the start picture is fitted")
            .small()
            .full_width()
            .option(Fit::Crop, "Cut to shape")
            .option(Fit::Stretch, "Stretch")
            .show(ui, &mut start.fit);
    }
    let words = RichText::new(start.fitting(size)).small();
    ui.add(Label::new(words.color(tokens.text_muted)).wrap());
    if crop.crop(size).is_some() {
        let button = Button::quiet("Draw in its shape").small().icon(Icon::Crop);
        if ui.add(button).clicked() {
            gui.send(CreateCommand::Start(StartCommand::Match));
        }
    }
}

/// What is drawn anew.
fn mask(ui: &mut Ui, tokens: &Tokens, start: &mut Start, painting: bool, gui: &mut Gui<'_>) {
    let share = start.mask.as_ref().map_or(0.0, |mask| mask.share());
    let painted = share > 0.0;
    if !painted && !start.is_extended() && !painting && !start.only_masked {
        return;
    }
    if painted {
        ui.horizontal(|ui| {
            let words = format!("Mask: {} is drawn anew", percent(share));
            ui.label(RichText::new(words).small().color(tokens.text));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let button = IconButton::new(Icon::Trash, "Take the mask away").small();
                if ui.add(button).clicked() {
                    gui.send(CreateCommand::Mask(MaskCommand::Clear));
                }
            });
        });
    }
    let field = NumberField::new("Soft edge", &mut start.blur, 0.0..=MOST_BLUR)
        .step(0.5)
        .unit("px")
        .default_value(USUAL_BLUR)
        .tooltip("How far the mask's edge is softened, in pixels of the start picture.");
    ui.add(field);
    ui.add(Checkbox::new(
        &mut start.only_masked,
        "Only the masked part",
    ));
    if start.only_masked {
        let field = NumberField::new("With around it", &mut start.padding, 0..=MOST_PADDING)
            .unit("px")
            .default_value(USUAL_PADDING)
            .tooltip("How much of the picture around the masked part is drawn with it, so that it fits in.");
        ui.add(field);
    }
}

/// `12 %`; less than a percent is not nothing.
pub(super) fn percent(share: f32) -> String {
    match share * 100.0 {
        share if share <= 0.0 => "0 %".to_owned(),
        share if share < 1.0 => "less than 1 %".to_owned(),
        share => format!("{share:.0} %"),
    }
}

/// By how much it is extended on each side. Tells whether that changed.
fn extension(ui: &mut Ui, tokens: &Tokens, start: &mut Start, open: &mut bool) -> bool {
    if start.size.0 == 0 {
        return false;
    }
    let shown = *open || start.is_extended();
    let icon = if shown {
        Icon::ChevronUp
    } else {
        Icon::ChevronDown
    };
    let button = Button::quiet("Extend the picture")
        .small()
        .trailing(icon)
        .selected(shown)
        .tooltip("Adds room around the picture, which is drawn anew.");
    if ui.add(button).clicked() {
        *open = !shown;
        if shown && start.is_extended() {
            start.extend = [0; 4];
            return true;
        }
    }
    if !*open && !start.is_extended() {
        return false;
    }
    let before = start.extend;
    let [left, top, right, bottom] = &mut start.extend;
    for pair in [
        [("Left", left), ("Right", right)],
        [("Top", top), ("Bottom", bottom)],
    ] {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_xs;
            let each = ((ui.available_width() - tokens.size.gap_xs) / 2.0).floor();
            for (label, value) in pair {
                let field = NumberField::new(label, value, 0..=MOST_EXTENSION)
                    .step(8.0)
                    .unit("px")
                    .default_value(0)
                    .width(each)
                    .plain();
                ui.add(field);
            }
        });
    }
    start.extend != before
}
