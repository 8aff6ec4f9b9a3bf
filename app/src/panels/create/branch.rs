//! The settings of a branch: what may change from a step on. The rest is told, and stays as it was.

use egui::{Align, Label, Layout, RichText, Sense, Ui, Vec2, vec2};

use super::{additions, facts, settings, start};
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::form::own_request;
use crate::studio::create::start::{MOST_BLUR, USUAL_BLUR};
use crate::studio::create::{CreateCommand, MaskCommand, StartCommand, StepsCommand};
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::number::NumberField;
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::section;
use crate::widgets::thumbnails::paint_thumbnail;

/// Side of the small picture.
const SIDE: f32 = 52.0;

/// Where the branch leaves, and the way back.
pub fn head(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Some(branching) = studio.create.branching() else {
        return;
    };
    section::card(ui, |ui| {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
            let (rect, response) = ui.allocate_exact_size(Vec2::splat(SIDE), Sense::hover());
            ui.painter()
                .rect_filled(rect, tokens.corner_m(), tokens.bg_input);
            let name = format!("The picture at step {}", branching.step);
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &name));
            match &branching.picture {
                Some(picture) => {
                    let source = PictureSource::memory(&picture.0);
                    let store = PictureStore::of(ui.ctx());
                    paint_thumbnail(ui, &store, &source, rect.shrink(2.0), true);
                }
                None => {
                    let at = rect.center();
                    theme::paint_icon(ui.painter(), at, 22.0, Icon::Branch, tokens.text_faint);
                }
            }
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                ui.horizontal(|ui| {
                    let room = (ui.available_width() - tokens.size.control_s - 4.0).max(20.0);
                    let line = vec2(room, tokens.size.control_s);
                    ui.allocate_ui_with_layout(line, Layout::left_to_right(Align::Center), |ui| {
                        ui.set_min_width(room);
                        let font = theme::medium(ui.ctx(), tokens.size.font_body);
                        let words = format!("Branch after step {}", branching.step);
                        let words = RichText::new(words).font(font).color(tokens.text);
                        ui.add(Label::new(words).truncate().selectable(false));
                    });
                    let away = IconButton::new(Icon::Close, "Leave the branch").small();
                    if ui.add(away).clicked() {
                        gui.send(CreateCommand::Steps(StepsCommand::Leave));
                    }
                });
                let of = facts::short(&branching.request.prompt, 60);
                let words = RichText::new(format!("of “{of}”")).small();
                ui.add(Label::new(words.color(tokens.text_muted)).wrap());
            });
        });
    });
}

/// What may change, below the prompts.
pub fn rest(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    if additions::has_loras(studio) {
        additions::loras(ui, studio, gui);
    }
    {
        let Studio { create, house, .. } = studio;
        let own = create.form.model(house).and_then(own_request);
        if let Some(own) = own {
            settings::guidance(ui, &tokens, &mut create.form, &own);
            ui.scope(|ui| {
                ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
                settings::rescale_and_skip(ui, &mut create.form, &own);
            });
        }
    }
    mask(ui, studio, gui);
    additions::vae(ui, studio, gui);
    let Some(branching) = studio.create.branching() else {
        return;
    };
    let request = &branching.request;
    let words = format!(
        "Size {} × {}, {} steps, {} and seed {} stay as they were.",
        request.width,
        request.height,
        request.steps,
        request.sampler.label(),
        request.seed
    );
    let words = RichText::new(words).small().color(tokens.text_muted);
    ui.add(Label::new(words).wrap());
}

/// What of the picture is drawn anew from that step on.
fn mask(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Some(branching) = studio.create.branching() else {
        return;
    };
    let (of, has_start) = (branching.of, branching.has_start());
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        let Some(chosen) = &studio.create.form.start else {
            let reads = studio.create.desk.takes();
            let button = Button::quiet("Change only a part of it")
                .small()
                .icon(Icon::Brush)
                .enabled(!reads && !has_start)
                .tooltip("Keeps the finished picture where no mask is painted.");
            if ui.add(button).clicked() {
                gui.send(CreateCommand::Start(StartCommand::FromPicture(of)));
            }
            return;
        };
        facts::caption(ui, "Mask");
        let share = chosen.mask.as_ref().map_or(0.0, |mask| mask.share());
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            let open = studio.create.paint.open;
            let command = match open {
                true => UiCommand::from(CreateCommand::Mask(MaskCommand::Close)),
                false => UiCommand::from(CreateCommand::Mask(MaskCommand::Open)),
            };
            let words = match (open, share > 0.0) {
                (true, _) => "Finish painting",
                (_, true) => "Edit the mask",
                _ => "Paint a mask",
            };
            let reason = studio.available(&command).err();
            let button = Button::secondary(words)
                .small()
                .icon(Icon::Brush)
                .unless(reason.as_deref());
            if ui.add(button).clicked() {
                gui.send(command);
            }
            let told = format!("{} is drawn anew", start::percent(share));
            ui.label(RichText::new(told).small().color(tokens.text_muted));
            if !has_start {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let away = IconButton::new(Icon::Close, "Change all of the picture").small();
                    if ui.add(away).clicked() {
                        gui.send(CreateCommand::Start(StartCommand::Remove));
                    }
                });
            }
        });
        if share > 0.0
            && let Some(chosen) = &mut studio.create.form.start
        {
            let field = NumberField::new("Soft edge", &mut chosen.blur, 0.0..=MOST_BLUR)
                .step(0.5)
                .unit("px")
                .default_value(USUAL_BLUR)
                .tooltip("How far the mask's edge is softened, in pixels of the picture.");
            ui.add(field);
        }
    });
}
