//! The second pass: how much larger, by what, and how much of the first pass is given up.

use diptych_inference::engine::{HiresUpscaler, ModelRef};
use egui::{Label, RichText, Ui};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::create::enlarge::upscalers;
use crate::studio::create::form::{HIRES_SCALES, own_request};
use crate::theme::{self, Icon};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::number::NumberField;
use crate::widgets::section;
use crate::widgets::toggle::Switch;

/// Most steps that the bar reaches.
const USUAL_STEPS: u32 = 60;

/// Shows it, or the switch for it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Studio { create, house, .. } = studio;
    let form = &mut create.form;
    let Some(model) = form.model(house) else {
        return;
    };
    let Some(own) = own_request(model) else {
        return;
    };
    let (first, factor) = (form.size(model), model.size_factor());
    let steps_before = form.steps.unwrap_or(own.steps);
    let second = &mut form.second;
    if !second.on {
        let switch = Switch::new(&mut second.on, "Second pass")
            .note("Makes the picture larger and draws over it, for finer detail.");
        ui.add(switch);
        return;
    }
    section::card(ui, |ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
        ui.add(Switch::new(&mut second.on, "Second pass"));
        let field = NumberField::new("Times larger", &mut second.scale, HIRES_SCALES)
            .step(0.05)
            .default_value(2.0)
            .tooltip("How often larger the second pass is than the first.");
        ui.add(field);
        let known = upscalers(&house.shelf);
        let rows: Vec<(String, String)> = known
            .iter()
            .map(|model| {
                let scale = model.detail("scale").unwrap_or("?");
                (model.name(), format!("{scale}×"))
            })
            .collect();
        let mut items = vec![
            ComboItem {
                text: "Latents",
                second: "Quick; needs a strength of 0.5 or more",
                ..ComboItem::default()
            },
            ComboItem {
                text: "Lanczos",
                second: "Keeps the picture as it is",
                ..ComboItem::default()
            },
        ];
        items.extend(rows.iter().map(|(name, scale)| ComboItem {
            text: name,
            second: "An upscaler of yours",
            trailing: scale,
            icon: Some(Icon::Model),
            ..ComboItem::default()
        }));
        let place = |wanted: &ModelRef| {
            let mut models = known.iter();
            let at = models.position(|known| {
                known
                    .model
                    .as_ref()
                    .is_some_and(|known| known.name == wanted.name)
            });
            at.map(|at| at + 2)
        };
        let at = match &second.upscaler {
            HiresUpscaler::Latent => Some(0),
            HiresUpscaler::Lanczos => Some(1),
            HiresUpscaler::Model(model) => place(model),
        };
        let missing = match &second.upscaler {
            HiresUpscaler::Model(model) if at.is_none() => Some(model.name.clone()),
            _ => None,
        };
        let hint = missing.as_ref().map(|name| format!("{name} is not here"));
        let combo = Combo::new("Made larger by", &items, at)
            .hint(hint.as_deref().unwrap_or("Choose"))
            .list_width(270.0);
        match combo.show(ui) {
            Some(0) => second.upscaler = HiresUpscaler::Latent,
            Some(1) => second.upscaler = HiresUpscaler::Lanczos,
            Some(place) => {
                let model = known.get(place.saturating_sub(2));
                if let Some(model) = model.and_then(|model| model.model.as_ref()) {
                    let named = ModelRef::named(model.name.clone());
                    second.upscaler = HiresUpscaler::Model(named);
                }
            }
            None => {}
        }
        let field = NumberField::new("Strength", &mut second.strength, 0.01..=1.0)
            .name("Strength of the second pass")
            .step(0.01)
            .default_value(0.7)
            .tooltip("How much of the first pass is given up for what the words say.");
        ui.add(field);
        let mut steps = second.steps.unwrap_or(steps_before);
        let most = USUAL_STEPS.max(steps).max(steps_before);
        let field = NumberField::new("Steps", &mut steps, 1..=most)
            .name("Steps of the second pass")
            .default_value(steps_before)
            .tooltip("Of these only the share that the strength tells is drawn.");
        if ui.add(field).changed() {
            second.steps = (steps != steps_before).then_some(steps);
        }
        let (width, height) = second.size(first, factor);
        let (w, h) = first;
        let drawn = (steps as f32 * second.strength).round().max(1.0);
        let words = format!("From {w} × {h} to {width} × {height}, in about {drawn:.0} more steps");
        let words = RichText::new(words).small().color(tokens.text_muted);
        ui.add(Label::new(words).wrap());
        let weak = second.upscaler == HiresUpscaler::Latent && second.strength < 0.5;
        let note = match (&missing, weak) {
            (Some(name), _) => Some(format!(
                "The upscaler '{name}' is not here; choose another one"
            )),
            (None, true) => {
                Some("Latents made larger stay blurred below a strength of 0.5".to_owned())
            }
            (None, false) => None,
        };
        if let Some(note) = note {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                theme::icon_tinted(ui, Icon::Warning, 14.0, tokens.warning);
                let words = RichText::new(note).small().color(tokens.text);
                ui.add(Label::new(words).wrap());
            });
        }
    });
}
