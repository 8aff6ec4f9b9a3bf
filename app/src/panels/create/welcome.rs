//! Before the first picture: an invitation, and prompts to begin with.

use egui::{Rect, RichText, Ui, UiBuilder, Vec2, pos2};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::create::{CreateCommand, ideas};
use crate::theme::{self, Icon, paint_icon};
use crate::widgets::button::Button;

/// Prompts that are offered.
const OFFERED: usize = 6;
const WIDTH: f32 = 624.0;
/// Height of what is above them.
const ABOVE: f32 = 250.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let room = ui.available_rect_before_wrap();
    let width = (room.width() - 2.0 * tokens.size.gap_xl).min(WIDTH);
    let columns: usize = if width > 460.0 { 2 } else { 1 };
    // In a low window only as many are offered as have room.
    let row = tokens.size.control_m + tokens.size.gap_s;
    let fit = ((room.height() - ABOVE) / row).floor().max(0.0) as usize;
    let offered_most = OFFERED.min(fit * columns);
    let rows = offered_most.div_ceil(columns) as f32;
    let height = ABOVE + rows * row;
    let top = room.top() + ((room.height() - height) * 0.42).max(tokens.size.gap_m);
    let left = room.center().x - width / 2.0;
    let rect = Rect::from_min_max(pos2(left, top), pos2(left + width, room.bottom()));
    let draw = CreateCommand::DrawSomething;
    let reason = studio.available(&draw.clone().into()).err();
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        ui.vertical_centered(|ui| {
            let (disc, _) = ui.allocate_exact_size(Vec2::splat(64.0), egui::Sense::hover());
            ui.painter().circle_filled(disc.center(), 32.0, tokens.accent_soft);
            paint_icon(ui.painter(), disc.center(), 30.0, Icon::Sparkle, tokens.accent_text);
            ui.add_space(tokens.size.gap_s);
            let font = theme::semibold(ui.ctx(), tokens.size.font_display);
            ui.label(RichText::new("What shall it be?").font(font).color(tokens.text));
            let words = "Write what you want to see and watch it come out of the noise. Everything is drawn on this machine.";
            ui.label(RichText::new(words).color(tokens.text_muted));
            ui.add_space(tokens.size.gap_m);
            let button = Button::primary("Draw something").large().icon(Icon::Dice);
            if ui.add(button.unless(reason.as_deref())).clicked() {
                gui.send(draw);
            }
            match &reason {
                Some(reason) => ui.label(RichText::new(reason).small().color(tokens.text_muted)),
                None if offered_most == 0 => ui.label(""),
                None => ui.label(RichText::new("or begin with one of these").small().color(tokens.text_faint)),
            };
        });
        ui.add_space(tokens.size.gap_s);
        let model = studio.create.form.model(&studio.house);
        let gap = tokens.size.gap_s;
        let each = (width - gap * (columns as f32 - 1.0)) / columns as f32;
        let offered: Vec<&str> = ideas(model).iter().take(offered_most).copied().collect();
        for row in offered.chunks(columns) {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = gap;
                for idea in row {
                    ui.scope(|ui| {
                        ui.set_max_width(each);
                        ui.set_min_width(each);
                        let button = Button::secondary(idea).full_width().unless(reason.as_deref());
                        if ui.add(button).clicked() {
                            gui.send(CreateCommand::DrawPrompt((*idea).to_owned()));
                        }
                    });
                }
            });
        }
    });
}
