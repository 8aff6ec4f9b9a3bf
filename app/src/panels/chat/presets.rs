//! Settings under names.

use egui::{Align, Frame, Layout, Margin, Ui};

use super::super::Gui;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::presets::is_of;
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::input::TextField;
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::segmented::Segmented;
use crate::widgets::text;

/// Shows the presets for the model of now.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let chat = &studio.chat;
    let settings = chat.settings(&studio.house);
    let model = chat
        .model_of(&settings, &studio.house)
        .and_then(|model| model.model.clone());
    let presets: Vec<_> = chat.presets_for(model.as_ref()).cloned().collect();
    let chosen = chat.preset(&settings, model.as_ref()).cloned();
    let changed = chosen
        .as_ref()
        .is_some_and(|preset| !is_of(preset, &settings));
    text::label(ui, "Settings under a name");
    ui.add_space(-t.size.gap_xs);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let names: Vec<String> = presets
            .iter()
            .map(|preset| {
                let is_it = chosen.as_ref().is_some_and(|chosen| chosen.id == preset.id);
                if is_it && changed {
                    format!("{} (changed)", preset.name)
                } else {
                    preset.name.clone()
                }
            })
            .collect();
        let groups: Vec<&str> = presets
            .iter()
            .map(|preset| {
                preset
                    .model
                    .as_ref()
                    .map_or("For all models", |of| &of.name)
            })
            .collect();
        let items: Vec<ComboItem<'_>> = names
            .iter()
            .zip(&groups)
            .map(|(name, group)| ComboItem {
                text: name,
                group,
                ..ComboItem::default()
            })
            .collect();
        let selected = presets
            .iter()
            .position(|preset| chosen.as_ref().is_some_and(|chosen| chosen.id == preset.id));
        let room = (ui.available_width() - 2.0 * (t.size.control_m + 4.0)).max(80.0);
        let picked = Combo::new("Preset", &items, selected)
            .unlabelled()
            .hint("None")
            .empty("No preset is kept yet; save the settings below under a name")
            .width(room)
            .show(ui);
        if let Some(preset) = picked.and_then(|index| presets.get(index)) {
            gui.send(ChatCommand::UsePreset(preset.id));
        }
        let save = IconButton::new(Icon::Save, "Save these settings as a preset");
        if ui.add(save).clicked() {
            gui.send(ChatCommand::NamePreset(None));
        }
        let none = chosen.is_none().then_some("Choose a preset first");
        let more = IconButton::new(Icon::More, "More about this preset").unless(none);
        let more = ui.add(more);
        let Some(preset) = &chosen else {
            return;
        };
        menu::below(ui, &more, |ui| {
            ui.set_min_width(200.0);
            if ui.add(MenuItem::new("Rename").icon(Icon::Edit)).clicked() {
                gui.send(ChatCommand::NamePreset(Some(preset.id)));
            }
            let same = (!changed).then_some("The settings are the preset's own");
            let update = MenuItem::new("Replace by these settings").icon(Icon::Save);
            if ui.add(update.unless(same)).clicked() {
                gui.send(ChatCommand::UpdatePreset(preset.id));
            }
            menu::separator(ui);
            let delete = MenuItem::new("Delete").icon(Icon::Trash).danger();
            if ui.add(delete).clicked() {
                gui.send(ChatCommand::DeletePreset(preset.id));
            }
        });
    });
    naming(
        ui,
        studio,
        gui,
        model.as_ref().map(|model| model.name.as_str()),
    );
}

/// The field in which a preset is named.
fn naming(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, model: Option<&str>) {
    let t = gui.tokens.clone();
    let Some(naming) = &mut studio.chat.naming else {
        return;
    };
    let frame = Frame::new()
        .fill(t.bg_raised)
        .corner_radius(t.corner_m())
        .inner_margin(Margin::same(8));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        let id = ui.scope_id().with("preset name");
        let width = ui.available_width();
        let field = TextField::new("Name of the preset", &mut naming.name)
            .unlabelled()
            .hint("Name of the preset")
            .id(id)
            .width(width);
        let response = ui.add(field);
        let begun = id.with("begun");
        let fresh = ui.data(|data| data.get_temp::<bool>(begun)).is_none();
        if fresh {
            response.request_focus();
            ui.data_mut(|data| data.insert_temp(begun, true));
        }
        let mut own = naming.own;
        let this = model.unwrap_or("This model");
        Segmented::new("Which models it is for")
            .option(true, this)
            .option(false, "All models")
            .full_width()
            .show(ui, &mut own);
        naming.own = own;
        let empty = naming.name.trim().is_empty();
        let enter = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        let escape =
            response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Escape));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let reason = empty.then_some("Write a name first");
            let save = Button::primary("Save preset").small().unless(reason);
            let close = |ui: &Ui| ui.data_mut(|data| data.remove::<bool>(begun));
            if ui.add(save).clicked() || (enter && !empty) {
                close(ui);
                gui.send(ChatCommand::ConfirmPreset);
            }
            if ui.add(Button::quiet("Cancel").small()).clicked() || escape {
                close(ui);
                gui.send(ChatCommand::CancelPreset);
            }
        });
    });
}
