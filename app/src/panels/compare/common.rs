//! What all prompts of a grid share.

use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use egui::{Frame, Margin, Ui, vec2};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::create::Form;
use crate::studio::house::House;
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::input::TextField;
use crate::widgets::number::NumberField;

/// Sides of pictures, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;

/// What a form comes to with its model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    pub steps: u32,
    pub guidance: f32,
    pub size: (u32, u32),
    pub factor: u32,
    pub sampler: SamplerKind,
    pub schedule: ScheduleKind,
}

/// What a form comes to: the person's word, else the model's.
pub(super) fn usual(form: &Form, house: &House) -> Usual {
    let model = form.model(house);
    let request = model.and_then(|model| form.request(model, 0));
    match (model, request) {
        (Some(model), Some(request)) => Usual {
            steps: request.steps,
            guidance: request.guidance,
            size: (request.width, request.height),
            factor: model.size_factor(),
            sampler: request.sampler,
            schedule: request.schedule,
        },
        _ => Usual {
            steps: form.steps.unwrap_or(20),
            guidance: form.guidance.unwrap_or(7.0),
            size: form.size.unwrap_or((512, 512)),
            factor: 8,
            sampler: form.sampler.unwrap_or(SamplerKind::DpmPp2M),
            schedule: form.schedule.unwrap_or(ScheduleKind::Karras),
        },
    }
}

/// The unfolded settings above the grid.
pub(super) fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let margin = Margin::symmetric(tokens.size.gap_l as i8, tokens.size.gap_m as i8);
    let frame = Frame::new().fill(tokens.bg_base).inner_margin(margin);
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing = vec2(tokens.size.gap_s, tokens.size.gap_s);
        ui.horizontal_wrapped(|ui| fields(ui, studio));
    });
    let line = ui.max_rect().x_range();
    ui.painter()
        .hline(line, ui.cursor().top(), (1.0, tokens.stroke));
}

fn fields(ui: &mut Ui, studio: &mut Studio) {
    let house = &studio.house;
    let names: Vec<String> = house.shelf.drawing().map(|model| model.name()).collect();
    let refs: Vec<_> = house
        .shelf
        .drawing()
        .filter_map(|model| model.model.clone())
        .collect();
    let usual = usual(&studio.compare.grid.setup.common, house);
    let form = &mut studio.compare.grid.setup.common;
    let items: Vec<_> = names.iter().map(|name| ComboItem::new(name)).collect();
    let chosen = match &form.model {
        Some(model) => refs.iter().position(|other| other.name == model.name),
        None => (!refs.is_empty()).then_some(0),
    };
    let model = Combo::new("Model", &items, chosen)
        .unlabelled()
        .width(150.0);
    if let Some(index) = model.hint("Model").show(ui) {
        form.model = refs.get(index).cloned();
    }
    let mut steps = usual.steps;
    if ui
        .add(NumberField::new("Steps", &mut steps, 1..=150).width(120.0))
        .changed()
    {
        form.steps = Some(steps);
    }
    let mut guidance = usual.guidance;
    let field = NumberField::new("Guidance", &mut guidance, 1.0..=20.0).step(0.5);
    if ui.add(field.width(140.0)).changed() {
        form.guidance = Some(guidance);
    }
    let items: Vec<_> = SamplerKind::ALL
        .iter()
        .map(|kind| ComboItem::new(kind.label()))
        .collect();
    let chosen = SamplerKind::ALL
        .iter()
        .position(|kind| *kind == usual.sampler);
    let sampler = Combo::new("Sampler", &items, chosen)
        .unlabelled()
        .width(140.0);
    if let Some(index) = sampler.show(ui) {
        form.sampler = SamplerKind::ALL.get(index).copied();
    }
    let items: Vec<_> = ScheduleKind::ALL
        .iter()
        .map(|kind| ComboItem::new(kind.label()))
        .collect();
    let chosen = ScheduleKind::ALL
        .iter()
        .position(|kind| *kind == usual.schedule);
    let schedule = Combo::new("Schedule", &items, chosen)
        .unlabelled()
        .width(120.0);
    if let Some(index) = schedule.show(ui) {
        form.schedule = ScheduleKind::ALL.get(index).copied();
    }
    let (mut width, mut height) = usual.size;
    let step = f64::from(usual.factor.max(1));
    let field = NumberField::new("Width", &mut width, SIDES)
        .step(step)
        .unit("px");
    let wide = ui.add(field.width(120.0)).changed();
    let field = NumberField::new("Height", &mut height, SIDES)
        .step(step)
        .unit("px");
    if ui.add(field.width(120.0)).changed() || wide {
        form.size = Some((width, height));
    }
    let negative = TextField::new("Keep out of all pictures", &mut form.negative)
        .unlabelled()
        .hint("Keep out of all pictures");
    ui.add(negative.width(220.0));
}
