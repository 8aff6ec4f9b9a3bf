//! The details of the chosen picture.

use egui::{Margin, Rect, ScrollArea, Sense, Ui, vec2};

use crate::panels::Gui;
use crate::panels::create::{again, card, facts};
use crate::recall::Part;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::{CreateCommand, StartCommand};
use crate::studio::gallery::GalleryCommand;
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::pictures::PictureStore;
use crate::widgets::thumbnails::paint_thumbnail;

/// Shows them.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let Some(item) = studio.gallery.chosen() else {
        return;
    };
    let tokens = gui.tokens.clone();
    ScrollArea::vertical()
        .id_salt("gallery details")
        .auto_shrink([false, false])
        .show(ui, |ui| {
            egui::Frame::new()
                .inner_margin(Margin::same(14))
                .show(ui, |ui| {
                    ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
                    if let Some(source) = facts::source(item) {
                        let width = ui.available_width();
                        let ratio = item.record.height as f32 / item.record.width.max(1) as f32;
                        let height = (width * ratio).clamp(60.0, width * 1.2);
                        let (rect, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
                        ui.painter()
                            .rect_filled(rect, tokens.corner_m(), tokens.canvas_bg);
                        let inner = Rect::from_center_size(rect.center(), rect.size());
                        paint_thumbnail(ui, &PictureStore::of(ui.ctx()), &source, inner, true);
                    }
                    buttons(ui, studio, gui);
                    card::all(ui, &tokens, &item.record.request, Some(&item.record));
                    again::show(ui, studio, gui, item);
                });
        });
}

fn buttons(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    // Beside a drawer the panel is narrower than all of them in a row.
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        if ui
            .add(Button::primary("Open in Create").icon(Icon::Image))
            .clicked()
        {
            gui.send(GalleryCommand::OpenChosen);
        }
        if let Some(item) = studio.gallery.chosen() {
            let begin = IconButton::new(Icon::Start, "Use as a start");
            let from = StartCommand::FromPicture(item.record.id);
            if ui.add(begin).clicked() {
                gui.send(CreateCommand::Start(from));
            }
        }
        let actions = [
            (
                "Use all settings",
                Icon::Import,
                GalleryCommand::RecallChosen(Part::All),
            ),
            ("Copy", Icon::Copy, GalleryCommand::CopyChosen),
            ("Save as…", Icon::Save, GalleryCommand::SaveChosen),
            (
                "Show the file",
                Icon::FolderOpen,
                GalleryCommand::RevealChosen,
            ),
        ];
        for (label, icon, command) in actions {
            let command = UiCommand::from(command);
            let reason = studio.available(&command).err();
            let keys = gui.keys(&command);
            let mut button = IconButton::new(icon, label).unless(reason.as_deref());
            if let Some(keys) = &keys {
                button = button.shortcut(keys);
            }
            if ui.add(button).clicked() {
                gui.send(command);
            }
        }
    });
}
