//! The settings of a picture, from the model down to the seed.

use diptych_inference::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::{ImageRequest, Variation};
use diptych_inference::text::prompt::{PromptSyntax, split_lora_tags};
use egui::{Id, Margin, RichText, ScrollArea, Ui};

use super::{additions, branch, controls, facts, model, second, start, words};
use crate::panels::Gui;
use crate::recall;
use crate::studio::Studio;
use crate::studio::create::form::{ASPECTS, MOST_PICTURES, SKIPPED, own_request};
use crate::studio::create::length::PAUSE;
use crate::studio::create::{Aspect, CreateCommand, Form, SeedMode, loras};
use crate::studio::effects::focus;
use crate::studio::models::Model;
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::combo::{Combo, ComboItem};
use crate::widgets::input::TextField;
use crate::widgets::number::NumberField;
use crate::widgets::prompt_editor::colours::PromptColours;
use crate::widgets::prompt_editor::{PromptEditor, PromptNotes};
use crate::widgets::segmented::Segmented;
use crate::widgets::toggle::Switch;

/// Steps that the bar reaches; more can be typed where a picture had more.
const USUAL_STEPS: u32 = 60;
const USUAL_GUIDANCE: f32 = 20.0;

/// Shows them in a column that scrolls.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    ScrollArea::vertical()
        .id_salt("create settings")
        .auto_shrink([false, false])
        .show(ui, |ui| {
            egui::Frame::new()
                .inner_margin(Margin {
                    left: 16,
                    right: 16,
                    top: 14,
                    bottom: 8,
                })
                .show(ui, |ui| column(ui, studio, gui));
        });
}

fn column(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_m;
    if studio.create.branching().is_some() {
        branch::head(ui, studio, gui);
        model::show(ui, studio, gui);
        prompts(ui, studio, gui);
        return branch::rest(ui, studio, gui);
    }
    model::show(ui, studio, gui);
    prompts(ui, studio, gui);
    let some_loras = additions::has_loras(studio);
    if some_loras {
        additions::loras(ui, studio, gui);
    }
    start::show(ui, studio, gui);
    let some_controls = controls::has_controls(studio);
    if some_controls {
        controls::show(ui, studio, gui);
    }
    let Studio { create, house, .. } = studio;
    let form = &mut create.form;
    let Some(model) = form.model(house) else {
        return;
    };
    let Some(own) = own_request(model) else {
        return;
    };
    let mut changed = false;
    changed |= size(ui, form, model, gui);
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
        let mut steps = form.steps.unwrap_or(own.steps);
        let most = USUAL_STEPS.max(steps).max(own.steps);
        let field = NumberField::new("Steps", &mut steps, *recall::STEPS.start()..=most)
            .default_value(own.steps)
            .tooltip("How many times noise is taken away. More is finer and slower.");
        if marked(ui, &tokens, form.steps.is_some(), |ui| {
            ui.add(field).changed()
        }) {
            form.steps = Some(steps);
            changed = true;
        }
        changed |= guidance(ui, &tokens, form, &own);
        changed |= sampling(ui, &tokens, form, &own);
        seed(ui, form, gui);
        let mut count = form.count;
        let field = NumberField::new("Pictures", &mut count, 1..=MOST_PICTURES.min(16))
            .default_value(1)
            .tooltip("How many pictures to draw, each with the next seed.");
        if marked(ui, &tokens, form.count != 1, |ui| ui.add(field).changed()) {
            form.count = count;
        }
    });
    if create.form.second.on {
        second::show(ui, studio, gui);
    }
    let Studio { create, house, .. } = studio;
    let Some(model) = create.form.model(house) else {
        return;
    };
    changed |= more(ui, create, model);
    let form = &mut create.form;
    if changed {
        form.settle(model);
    }
    if create.folds.more {
        additions::vae(ui, studio, gui);
        if !some_loras {
            additions::loras(ui, studio, gui);
        }
        if !some_controls {
            controls::show(ui, studio, gui);
        }
        if !studio.create.form.second.on {
            second::show(ui, studio, gui);
        }
        if studio.create.trial(&studio.house).is_none() {
            words::lists(ui, gui);
        }
        ui.add(
            Switch::new(&mut studio.create.form.keep_steps, "Keep every step").note(
                "To look at them afterwards, and to branch from any of them. Takes room on the disk.",
            ),
        );
    }
    if studio.create.form.is_changed() {
        ui.vertical_centered(|ui| {
            let reset = Button::quiet("Reset to the model's settings")
                .small()
                .icon(Icon::Undo);
            if ui.add(reset).clicked() {
                gui.send(CreateCommand::Reset);
            }
        });
    }
}

/// A dot at the left tells that a setting is not the model's own.
fn marked<R>(ui: &mut Ui, tokens: &Tokens, changed: bool, content: impl FnOnce(&mut Ui) -> R) -> R {
    let shown = ui.scope(content);
    if changed {
        let at = egui::pos2(
            shown.response.rect.left() - 8.0,
            shown.response.rect.center().y,
        );
        ui.painter().circle_filled(at, 2.5, tokens.accent_text);
    }
    shown.inner
}

pub(super) fn prompt_colours(tokens: &Tokens) -> PromptColours {
    PromptColours {
        text: tokens.text,
        bracket: tokens.text_faint,
        number: tokens.warning,
        strong: tokens.warning,
        weak: tokens.text_faint,
        sign: tokens.accent_text,
        fault: tokens.danger_text,
    }
}

fn prompts(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let Studio { create, house, .. } = studio;
    let guided = create
        .form
        .model(house)
        .and_then(|model| create.form.request(model, 0))
        .is_none_or(|request| request.guidance != 1.0);
    let history = create.history();
    let id = Id::unique("create prompt");
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        facts::caption(ui, "Prompt");
        let known = loras(&house.shelf);
        let notes = |text: &str| missing_loras(text, &known);
        let length = create.prompt_tokens(house);
        if create.will_ask() {
            ui.ctx().request_repaint_after(PAUSE);
        }
        let editor = PromptEditor::new(id, "Prompt", &mut create.form.prompt)
            .placeholder("Describe the picture")
            .history(&history)
            .notes(&notes)
            .tokens(length)
            .colours(prompt_colours(&tokens));
        let shown = editor.show(ui);
        if gui.takes_focus(focus::PROMPT) {
            shown.response.request_focus();
        }
        words::expansion(ui, create, house, gui);
        if let Some(pasted) = shown.pasted
            && recall::read_text(&pasted).is_some()
        {
            gui.send(CreateCommand::PasteSettings(pasted));
        }
    });
    let open = create.folds.negative || guided || !create.form.negative.is_empty();
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        if !open {
            if ui
                .add(Button::quiet("Negative prompt").small().icon(Icon::Plus))
                .clicked()
            {
                create.folds.negative = true;
            }
            return;
        }
        facts::caption(ui, "Negative prompt");
        PromptEditor::new(
            Id::unique("create negative"),
            "Negative prompt",
            &mut create.form.negative,
        )
        .placeholder("What to keep out")
        .rows(1, 6)
        .count(false)
        .colours(prompt_colours(&tokens))
        .show(ui);
        if !guided && !create.form.negative.trim().is_empty() {
            let note = "Without guidance it has no effect";
            ui.label(RichText::new(note).small().color(tokens.warning));
        }
    });
}

/// LoRAs that a prompt names and that are not here.
fn missing_loras(text: &str, known: &[String]) -> PromptNotes {
    let (_, named) = split_lora_tags(text, PromptSyntax::A1111);
    let missing = named.into_iter().filter(|(name, _)| !known.contains(name));
    PromptNotes {
        tokens: None,
        warnings: missing
            .map(|(name, _)| format!("There is no LoRA named '{name}'"))
            .collect(),
    }
}

fn size(ui: &mut Ui, form: &mut Form, model: &Model, gui: &mut Gui<'_>) -> bool {
    let tokens = gui.tokens.clone();
    let (width, height) = form.size(model);
    let factor = model.size_factor();
    let upright = height > width;
    let mut changed = false;
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        facts::caption(ui, "Size");
        let mut shape = Aspect::of((width, height), model).map(|aspect| aspect.name);
        let before = shape;
        let mut choice = Segmented::new("Shape of the picture").small().full_width();
        for aspect in ASPECTS {
            choice = choice.option(Some(aspect.name), aspect.name);
        }
        choice.show(ui, &mut shape);
        if shape != before
            && let Some(aspect) = ASPECTS.iter().find(|aspect| Some(aspect.name) == shape)
        {
            form.size = Some(aspect.size(model, upright));
            changed = true;
        }
        let mark = form.size.is_some();
        marked(ui, &tokens, mark, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                let swap = tokens.size.control_m;
                let each = ((ui.available_width() - swap - 8.0) / 2.0).floor();
                let (mut w, mut h) = (width, height);
                let range = factor..=2048_u32.max(width).max(height);
                let of = |label, value| {
                    NumberField::new(label, value, range.clone())
                        .step(f64::from(factor))
                        .unit("px")
                        .width(each)
                        .plain()
                };
                let across = ui.add(of("Width", &mut w)).changed();
                let button = IconButton::new(Icon::Swap, "Swap width and height");
                if ui.add(button).clicked() {
                    gui.send(CreateCommand::SwapSize);
                }
                let down = ui.add(of("Height", &mut h)).changed();
                if across || down {
                    form.size = Some((w, h));
                    changed = true;
                }
            });
        });
    });
    changed
}

/// How closely the words are followed. Tells whether that changed.
pub(super) fn guidance(ui: &mut Ui, tokens: &Tokens, form: &mut Form, own: &ImageRequest) -> bool {
    let mut guidance = form.guidance.unwrap_or(own.guidance);
    let most = USUAL_GUIDANCE.max(guidance).max(own.guidance);
    let field = NumberField::new("Guidance", &mut guidance, 1.0_f32.min(own.guidance)..=most)
        .step(0.1)
        .default_value(own.guidance)
        .tooltip("How closely the picture follows the prompt. At 1 it is not guided at all.");
    let changed = marked(ui, tokens, form.guidance.is_some(), |ui| {
        ui.add(field).changed()
    });
    if changed {
        form.guidance = Some(guidance);
    }
    changed
}

fn sampling(ui: &mut Ui, tokens: &Tokens, form: &mut Form, own: &ImageRequest) -> bool {
    let mut changed = false;
    let mark = form.sampler.is_some() || form.schedule.is_some();
    marked(ui, tokens, mark, |ui| {
        ui.horizontal(|ui| {
            let each = ((ui.available_width() - ui.spacing().item_spacing.x) / 2.0).floor();
            let samplers = SamplerKind::ALL.map(|kind| ComboItem::new(kind.label()));
            let chosen = form.sampler.unwrap_or(own.sampler);
            let at = SamplerKind::ALL.iter().position(|kind| *kind == chosen);
            if let Some(index) = Combo::new("Sampler", &samplers, at).width(each).show(ui) {
                form.sampler = SamplerKind::ALL.get(index).copied();
                changed = true;
            }
            let kinds = ScheduleKind::ALL;
            let schedules = kinds.map(|kind| ComboItem::new(kind.label()));
            let chosen = form.schedule.unwrap_or(own.schedule);
            let at = kinds.iter().position(|kind| *kind == chosen);
            if let Some(index) = Combo::new("Schedule", &schedules, at).width(each).show(ui) {
                form.schedule = kinds.get(index).copied();
                changed = true;
            }
        });
    });
    changed
}

/// The seed: a new one each time, or the one that is typed, kept or taken from a picture.
fn seed(ui: &mut Ui, form: &mut Form, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
        facts::caption(ui, "Seed");
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            let id = Id::unique("create seed");
            let focused = ui.memory(|memory| memory.has_focus(id));
            let locked = form.seed_mode == SeedMode::Locked;
            let typed: Option<String> = ui.data(|data| data.get_temp(id)).filter(|_| focused);
            let mut value = typed.unwrap_or_else(|| match locked {
                true => form.seed.to_string(),
                false => String::new(),
            });
            let hint = match form.seed {
                0 => "Random".to_owned(),
                seed => format!("Random, last {seed}"),
            };
            let buttons = 2.0 * tokens.size.control_m + 8.0;
            let field = TextField::new("Seed", &mut value)
                .unlabelled()
                .hint(&hint)
                .mono()
                .id(id)
                .width(ui.available_width() - buttons);
            if ui.add(field).changed() {
                let digits: String = value.chars().filter(char::is_ascii_digit).collect();
                match digits.parse() {
                    Ok(seed) => {
                        form.seed = seed;
                        form.seed_mode = SeedMode::Locked;
                        value = digits;
                    }
                    Err(_) if digits.is_empty() => {
                        form.seed_mode = SeedMode::Random;
                        value.clear();
                    }
                    // Longer than a seed can be: the last digit is not taken.
                    Err(_) => value = form.seed.to_string(),
                }
            }
            ui.data_mut(|data| data.insert_temp(id, value));
            let dice = IconButton::new(Icon::Dice, "A new seed for each order").selected(!locked);
            if ui.add(dice).clicked() && locked {
                gui.send(CreateCommand::RandomSeed);
            }
            let lock = IconButton::new(Icon::Lock, "Keep this seed").selected(locked);
            if ui.add(lock).clicked() && !locked {
                gui.send(CreateCommand::LockSeed);
            }
        });
    });
}

/// What few people touch.
fn more(ui: &mut Ui, create: &mut crate::studio::create::Create, model: &Model) -> bool {
    let mut changed = false;
    let icon = if create.folds.more {
        Icon::ChevronUp
    } else {
        Icon::ChevronDown
    };
    let button = Button::quiet("More settings")
        .small()
        .trailing(icon)
        .selected(create.folds.more);
    if ui.add(button).clicked() {
        create.folds.more = !create.folds.more;
    }
    if !create.folds.more {
        return false;
    }
    let form = &mut create.form;
    let Some(request) = form.request(model, 0) else {
        return false;
    };
    ui.horizontal(|ui| {
        let each = ((ui.available_width() - ui.spacing().item_spacing.x) / 2.0).floor();
        let kinds = [Convention::KDiffusion, Convention::Diffusers];
        let items = [
            ComboItem {
                text: "k-diffusion",
                second: "As AUTOMATIC1111 and ComfyUI",
                ..ComboItem::default()
            },
            ComboItem {
                text: "diffusers",
                second: "As Hugging Face and InvokeAI",
                ..ComboItem::default()
            },
        ];
        let at = kinds.iter().position(|kind| *kind == request.convention);
        if let Some(index) = Combo::new("Convention", &items, at)
            .width(each)
            .list_width(240.0)
            .show(ui)
        {
            form.convention = kinds.get(index).copied();
            changed = true;
        }
        let kinds = [Spacing::Leading, Spacing::Linspace, Spacing::Trailing];
        let items = kinds.map(|kind| ComboItem::new(kind.label()));
        let at = kinds.iter().position(|kind| Some(*kind) == request.spacing);
        if let Some(index) = Combo::new("Timestep spacing", &items, at)
            .hint("As the convention")
            .width(each)
            .show(ui)
        {
            form.spacing = kinds.get(index).copied();
            changed = true;
        }
    });
    changed |= finer(ui, form, &request);
    ui.add_space(2.0);
    changed
}

/// Noise, variations, and what few models need.
fn finer(ui: &mut Ui, form: &mut Form, request: &ImageRequest) -> bool {
    let mut changed = false;
    let kinds = [NoiseSource::Cpu, NoiseSource::Philox];
    let items = [
        ComboItem {
            text: "CPU",
            second: "As ComfyUI and diffusers draw it",
            ..ComboItem::default()
        },
        ComboItem {
            text: "Philox",
            second: "As AUTOMATIC1111 draws it on NVIDIA cards",
            ..ComboItem::default()
        },
    ];
    let at = kinds.iter().position(|kind| *kind == request.noise_source);
    if let Some(index) = Combo::new("Noise", &items, at).show(ui) {
        form.noise_source = kinds.get(index).copied();
        changed = true;
    }
    let mut strength = request
        .variation
        .map_or(0.0, |variation| variation.strength);
    let field = NumberField::new("Variation", &mut strength, 0.0..=1.0)
        .step(0.01)
        .default_value(0.0)
        .tooltip("How much of another seed's noise is mixed in: pictures that differ a little.");
    if ui.add(field).changed() {
        let seed = request
            .variation
            .map_or_else(crate::origin::new_seed, |variation| variation.seed);
        form.variation = Some(Variation { seed, strength });
        changed = true;
    }
    if let Some(variation) = request
        .variation
        .filter(|variation| variation.strength > 0.0)
    {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            let mut digits = variation.seed.to_string();
            let side = theme::tokens(ui.ctx()).size.control_m;
            let field = TextField::new("Variation seed", &mut digits)
                .unlabelled()
                .hint("Variation seed")
                .mono()
                .width(ui.available_width() - side - 4.0);
            let typed = ui.add(field).changed();
            let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
            let seed = match digits.parse() {
                Ok(seed) => seed,
                Err(_) if digits.is_empty() => 0,
                // Longer than a seed can be: the last digit is not taken.
                Err(_) => variation.seed,
            };
            let another = ui.add(IconButton::new(Icon::Dice, "Another variation"));
            if another.clicked() {
                let seed = crate::origin::new_seed();
                form.variation = Some(Variation { seed, ..variation });
            } else if typed {
                form.variation = Some(Variation { seed, ..variation });
            }
        });
    }
    changed |= rescale_and_skip(ui, form, request);
    changed
}

/// What few models need. Tells whether it changed; `request` has what the model does by itself.
pub(super) fn rescale_and_skip(ui: &mut Ui, form: &mut Form, request: &ImageRequest) -> bool {
    let mut changed = false;
    let mut rescale = form.guidance_rescale.unwrap_or(request.guidance_rescale);
    let field = NumberField::new("Guidance rescale", &mut rescale, 0.0..=1.0)
        .step(0.05)
        .default_value(0.0)
        .tooltip(
            "Takes back contrast that strong guidance adds; for models that predict velocity.",
        );
    if ui.add(field).changed() {
        form.guidance_rescale = Some(rescale);
        changed = true;
    }
    let mut skip = form.clip_skip.unwrap_or(request.clip_skip);
    let field = NumberField::new("CLIP skip", &mut skip, SKIPPED)
        .default_value(1)
        .tooltip(
            "Some models were trained on an earlier layer of the text encoder; most of them on 2.",
        );
    if ui.add(field).changed() {
        form.clip_skip = Some(skip);
        changed = true;
    }
    changed
}
