//! What is added to the model: LoRAs, each with its weight, and another autoencoder.

use diptych_inference::engine::ModelRef;
use diptych_inference::formats::detect::{ModelInfo, ModelKind};
use egui::{Align, Layout, RichText, Ui};

use super::facts;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::create::control::mismatch;
use crate::studio::create::form::LORA_WEIGHTS;
use crate::studio::create::{CreateCommand, LoraChoice};
use crate::studio::models::{Model, Shelf};
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::IconButton;
use crate::widgets::chip::{Chip, ChipTone};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::number::NumberField;

/// Weights that the bar reaches; a picture's may be farther out.
const USUAL_WEIGHTS: std::ops::RangeInclusive<f32> = -2.0..=2.0;
/// Width of a weight.
const WEIGHT: f32 = 128.0;

pub(super) fn of_kind(shelf: &Shelf, kind: ModelKind) -> Vec<&Model> {
    let is = |model: &&Model| model.info.as_ref().map(ModelInfo::kind) == Some(kind);
    let mut models: Vec<&Model> = shelf.models().iter().filter(is).collect();
    models.sort_by_key(|model| (model.refused.is_some(), model.name().to_lowercase()));
    models
}

/// Whether there are LoRAs to choose from, or chosen ones.
pub fn has_loras(studio: &Studio) -> bool {
    !studio.create.form.loras.is_empty()
        || !of_kind(&studio.house.shelf, ModelKind::Lora).is_empty()
}

/// The list of LoRAs.
pub fn loras(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Studio { create, house, .. } = studio;
    let model = create.form.model(house);
    let shelf = &house.shelf;
    let known = of_kind(shelf, ModelKind::Lora);
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        facts::caption(ui, "LoRA");
        for (place, choice) in create.form.loras.iter_mut().enumerate() {
            let found = shelf.find(&choice.model);
            let trouble = match found {
                Some(lora) => mismatch("LoRA", lora, model),
                None if shelf.ready => Some("it is not here; add its file in Models".to_owned()),
                None => None,
            };
            row(ui, gui, place, choice, trouble.as_deref());
        }
        let chosen = |lora: &Model| {
            let mut chosen = create.form.loras.iter();
            chosen.any(|choice| {
                lora.model
                    .as_ref()
                    .is_some_and(|m| m.name == choice.model.name)
            })
        };
        let rows: Vec<(String, String, String, Option<String>)> = known
            .iter()
            .map(|lora| {
                let made_for = match lora.detail("for") {
                    Some(family) => format!("For {family}"),
                    None => "Nobody knows for which model".to_owned(),
                };
                let reason = mismatch("LoRA", lora, model)
                    .or_else(|| chosen(lora).then(|| "It is in the list".to_owned()));
                let bytes = lora.info.as_ref().map_or(0, ModelInfo::file_bytes);
                (lora.name(), made_for, facts::bytes(bytes), reason)
            })
            .collect();
        let items: Vec<ComboItem<'_>> = rows
            .iter()
            .map(|(name, second, size, reason)| ComboItem {
                text: name,
                second,
                trailing: size,
                icon: Some(Icon::Model),
                reason: reason.as_deref(),
                ..ComboItem::default()
            })
            .collect();
        let picked = Combo::new("Add a LoRA", &items, None)
            .unlabelled()
            .hint("Add a LoRA")
            .empty("No LoRA was found; add one in Models")
            .show(ui);
        let picked = picked.and_then(|index| known.get(index)?.model.as_ref());
        if let Some(model) = picked {
            gui.send(CreateCommand::AddLora(ModelRef::named(model.name.clone())));
        }
    });
}

/// One LoRA: a chip that switches it, its weight, and the way out of the list.
fn row(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    place: usize,
    choice: &mut LoraChoice,
    trouble: Option<&str>,
) {
    let tokens = gui.tokens.clone();
    let name = choice.model.name.clone();
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        let weight = WEIGHT.min(ui.available_width() * 0.5);
        let room = ui.available_width() - weight - tokens.size.control_s - 8.0;
        ui.allocate_ui_with_layout(
            egui::vec2(room, tokens.size.control_m),
            Layout::left_to_right(Align::Center),
            |ui| {
                ui.set_min_width(room);
                ui.set_max_width(room);
                let tip = if choice.on {
                    "A click leaves it out for now"
                } else {
                    "A click adds it again"
                };
                let mut chip = Chip::new(&name).selected(choice.on).tooltip(tip);
                if trouble.is_some() {
                    chip = chip.tone(ChipTone::Warning).icon(Icon::Warning);
                }
                if ui.add(chip).clicked() {
                    choice.on = !choice.on;
                }
            },
        );
        let least = USUAL_WEIGHTS
            .start()
            .min(choice.weight)
            .max(*LORA_WEIGHTS.start());
        let most = USUAL_WEIGHTS
            .end()
            .max(choice.weight)
            .min(*LORA_WEIGHTS.end());
        let label = format!("Weight of {name}");
        let field = NumberField::new("Weight", &mut choice.weight, least..=most)
            .name(&label)
            .step(0.05)
            .default_value(1.0)
            .width(weight)
            .tooltip(
                "How much of it is added; 1 is as it was trained, less than 0 is its opposite.",
            );
        ui.add_enabled(choice.on, field);
        let away = format!("Take {name} out of the list");
        if ui
            .add(IconButton::new(Icon::Close, &away).small())
            .clicked()
        {
            gui.send(CreateCommand::RemoveLora(place));
        }
    });
    if let Some(trouble) = trouble {
        warning(ui, &tokens, trouble);
    }
}

/// Why an addition cannot be used.
pub(super) fn warning(ui: &mut Ui, tokens: &Tokens, trouble: &str) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        theme::icon_tinted(ui, Icon::Warning, 14.0, tokens.warning);
        let words = RichText::new(capital(trouble)).small().color(tokens.text);
        ui.add(egui::Label::new(words).wrap());
    });
}

/// As the beginning of a sentence.
fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The choice of the autoencoder.
pub fn vae(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let shelf = &studio.house.shelf;
    let chosen = studio.create.form.vae.as_ref();
    let known = of_kind(shelf, ModelKind::Autoencoder);
    if known.is_empty() && chosen.is_none() {
        return;
    }
    let missing = chosen.filter(|vae| shelf.find(vae).is_none());
    let hint = missing.map(|vae| format!("{} is not here", vae.name));
    let rows: Vec<(String, String, Option<String>)> = known
        .iter()
        .map(|vae| {
            let bytes = vae.info.as_ref().map_or(0, ModelInfo::file_bytes);
            let read = vae.model.is_none().then(|| "It is being read".to_owned());
            (
                vae.name(),
                facts::bytes(bytes),
                vae.refused.clone().or(read),
            )
        })
        .collect();
    let mut items = vec![ComboItem::new("The model's own")];
    items.extend(rows.iter().map(|(name, size, reason)| ComboItem {
        text: name,
        trailing: size,
        reason: reason.as_deref(),
        ..ComboItem::default()
    }));
    let at = match chosen {
        None => Some(0),
        Some(chosen) => known
            .iter()
            .position(|vae| vae.model.as_ref().is_some_and(|m| m.name == chosen.name))
            .map(|place| place + 1),
    };
    let combo = Combo::new("VAE", &items, at).hint(hint.as_deref().unwrap_or("Choose"));
    match combo.show(ui) {
        Some(0) => gui.send(CreateCommand::UseVae(None)),
        Some(place) => {
            let model = known.get(place - 1).and_then(|vae| vae.model.as_ref());
            if let Some(model) = model {
                let named = ModelRef::named(model.name.clone());
                gui.send(CreateCommand::UseVae(Some(named)));
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sentences_begin_with_a_capital() {
        assert_eq!(capital("this LoRA"), "This LoRA");
        assert_eq!(capital(""), "");
    }
}
