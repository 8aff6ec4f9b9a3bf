//! The dialog that asks how a finished picture is to be made larger.

use diptych_inference::engine::ModelRef;
use egui::{Context, Label, RichText, Ui};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::{ModelsCommand, UiCommand};
use crate::studio::create::enlarge::{TILES, TIMES, own_times, upscalers};
use crate::studio::create::{CreateCommand, EnlargeCommand};
use crate::theme::Icon;
use crate::widgets::button::Button;
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::modal::Dialog;
use crate::widgets::number::NumberField;

/// Shows it while it is open.
pub fn show(ctx: &Context, studio: &Studio, gui: &mut Gui<'_>) {
    if !studio.create.enlarge.open {
        return;
    }
    let dialog = Dialog::new("larger", "Make the picture larger").width(380.0);
    let closed = dialog.show(ctx, |ui| content(ui, studio, gui)).closed;
    if closed {
        gui.send(CreateCommand::Enlarge(EnlargeCommand::Close));
    }
}

fn content(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
    let command = UiCommand::from(CreateCommand::Enlarge(EnlargeCommand::Shown));
    let reason = studio.available(&command).err();
    let house = &studio.house;
    let before = &studio.create.enlarge;
    let mut now = before.clone();
    let known = upscalers(&house.shelf);
    if known.is_empty() {
        let words = "An upscaler does this: an ESRGAN or Real-ESRGAN in a .pth or .safetensors file. None was found.";
        let words = RichText::new(words).small().color(tokens.text_muted);
        ui.add(Label::new(words).wrap());
        let button = Button::secondary("Open an upscaler…")
            .icon(Icon::FolderOpen)
            .full_width();
        if ui.add(button).clicked() {
            gui.send(ModelsCommand::ChooseFile);
        }
        return;
    }
    let rows: Vec<(String, String)> = known
        .iter()
        .map(|model| {
            (
                model.name(),
                own_times(model).map_or(String::new(), |s| format!("{s}×")),
            )
        })
        .collect();
    let items: Vec<ComboItem<'_>> = rows
        .iter()
        .map(|(name, scale)| ComboItem {
            text: name,
            trailing: scale,
            ..ComboItem::default()
        })
        .collect();
    let chosen = now.upscaler(&house.shelf);
    let at = chosen.and_then(|chosen| known.iter().position(|known| known.path == chosen.path));
    let own = chosen.and_then(own_times).unwrap_or(4.0);
    if let Some(place) = Combo::new("Upscaler", &items, at).hint("Choose").show(ui)
        && let Some(model) = known.get(place).and_then(|model| model.model.as_ref())
    {
        now.model = Some(ModelRef::named(model.name.clone()));
        now.times = None;
    }
    let mut times = now.times.unwrap_or(own);
    let field = NumberField::new("Times larger", &mut times, TIMES)
        .step(0.05)
        .default_value(own)
        .tooltip(
            "How often larger the result is; what is not the upscaler's own is scaled from that.",
        );
    if ui.add(field).changed() {
        now.times = (times != own).then_some(times);
    }
    let names = TILES.map(|side| match side {
        0 => "All at once".to_owned(),
        side => format!("{side} × {side} pixels"),
    });
    let mut items = vec![ComboItem::new("As memory suits")];
    items.extend(names.iter().map(|name| ComboItem::new(name)));
    let tile = now.tile;
    let at = match tile {
        None => Some(0),
        Some(side) => TILES
            .iter()
            .position(|known| *known == side)
            .map(|at| at + 1),
    };
    if let Some(place) = Combo::new("In parts of", &items, at).show(ui) {
        now.tile = place.checked_sub(1).and_then(|at| TILES.get(at).copied());
    }
    if now != *before {
        gui.send(CreateCommand::Enlarge(EnlargeCommand::Set(now)));
    }
    let button = Button::primary("Make it larger")
        .icon(Icon::Enlarge)
        .full_width()
        .unless(reason.as_deref());
    if ui.add(button).clicked() {
        gui.send(command);
    }
    if let Some(reason) = reason {
        let words = RichText::new(reason).small().color(tokens.text_muted);
        ui.add(Label::new(words).wrap());
    }
}
