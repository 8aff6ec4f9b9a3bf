//! Further settings of how tokens are chosen, and the order of the steps.

use diptych_inference::text::sampling::{SamplingParams, SamplingStage};
use egui::{
    Align, Color32, CursorIcon, Layout, Rect, Role, Sense, Ui, UiBuilder, WidgetInfo, vec2,
};

use super::super::Gui;
use crate::theme::{Icon, paint_icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::number::NumberField;
use crate::widgets::section::Section;
use crate::widgets::text;

/// Height of a step in the list.
const STEP: f32 = 28.0;
/// Most tokens that penalties can look back.
const FARTHEST: usize = 8192;

/// What a step is called.
pub fn name(stage: SamplingStage) -> &'static str {
    match stage {
        SamplingStage::Penalties => "Penalties",
        SamplingStage::Dry => "DRY",
        SamplingStage::TopNSigma => "Top-n-sigma",
        SamplingStage::TopK => "Top-k",
        SamplingStage::Typical => "Typical",
        SamplingStage::TopP => "Top-p",
        SamplingStage::MinP => "Min-p",
        SamplingStage::Xtc => "XTC",
        SamplingStage::Temperature => "Temperature",
    }
}

/// Whether a step does anything with these settings.
fn acts(sampling: &SamplingParams, stage: SamplingStage) -> bool {
    match stage {
        SamplingStage::Penalties => {
            sampling.repetition_penalty != 1.0
                || sampling.frequency_penalty != 0.0
                || sampling.presence_penalty != 0.0
        }
        SamplingStage::Dry => sampling.dry_multiplier > 0.0,
        SamplingStage::TopNSigma => sampling.top_n_sigma > 0.0,
        SamplingStage::TopK => sampling.top_k > 0,
        SamplingStage::Typical => sampling.typical_p < 1.0,
        SamplingStage::TopP => sampling.top_p < 1.0,
        SamplingStage::MinP => sampling.min_p > 0.0,
        SamplingStage::Xtc => sampling.xtc_probability > 0.0,
        SamplingStage::Temperature => true,
    }
}

/// Shows them.
pub fn show(ui: &mut Ui, gui: &Gui<'_>, sampling: &mut SamplingParams, own: &SamplingParams) {
    Section::new("Further filters and penalties")
        .closed()
        .show(ui, |ui| further(ui, sampling, own));
    let changed = sampling.order != own.order;
    Section::new("Order of the steps")
        .closed()
        .note(if changed { "changed" } else { "" })
        .show(ui, |ui| order(ui, gui, sampling, own));
}

fn further(ui: &mut Ui, sampling: &mut SamplingParams, own: &SamplingParams) {
    ui.spacing_mut().item_spacing.y = 8.0;
    ui.add(
        NumberField::new("Typical", &mut sampling.typical_p, 0.0..=1.0)
            .step(0.01)
            .default_value(own.typical_p)
            .tooltip("Chooses among the words that are about as surprising as words are here on average; 1 is off."),
    );
    ui.add(
        NumberField::new("Top-n-sigma", &mut sampling.top_n_sigma, 0.0..=10.0)
            .step(0.1)
            .default_value(own.top_n_sigma)
            .tooltip("Leaves out words whose score is more than this many standard deviations below the best; 0 is off."),
    );
    ui.add(
        NumberField::new("XTC chance", &mut sampling.xtc_probability, 0.0..=1.0)
            .step(0.05)
            .default_value(own.xtc_probability)
            .tooltip("How often the most obvious words are left out, for more surprising text; 0 is off."),
    );
    ui.add(
        NumberField::new("XTC threshold", &mut sampling.xtc_threshold, 0.0..=0.5)
            .step(0.01)
            .default_value(own.xtc_threshold)
            .tooltip(
                "Words at least this likely count as obvious; the least likely of them stays.",
            ),
    );
    ui.add(
        NumberField::new(
            "Frequency penalty",
            &mut sampling.frequency_penalty,
            -2.0..=2.0,
        )
        .step(0.05)
        .default_value(own.frequency_penalty)
        .tooltip("Above 0, each time a word was used makes it less likely; 0 is off."),
    );
    ui.add(
        NumberField::new(
            "Presence penalty",
            &mut sampling.presence_penalty,
            -2.0..=2.0,
        )
        .step(0.05)
        .default_value(own.presence_penalty)
        .tooltip("Above 0, words that were used at all become less likely; 0 is off."),
    );
    ui.add(
        NumberField::new(
            "Penalties look back",
            &mut sampling.repetition_window,
            0..=FARTHEST,
        )
        .unit("tokens")
        .default_value(own.repetition_window)
        .tooltip("How many of the last tokens the penalties count."),
    );
    ui.add(
        NumberField::new("DRY strength", &mut sampling.dry_multiplier, 0.0..=5.0)
            .step(0.05)
            .default_value(own.dry_multiplier)
            .tooltip("Keeps the model from repeating whole phrases; 0 is off, 0.8 is usual."),
    );
    ui.add(
        NumberField::new(
            "DRY allowed length",
            &mut sampling.dry_allowed_length,
            1..=20,
        )
        .unit("tokens")
        .default_value(own.dry_allowed_length)
        .tooltip("Phrases up to this length may be repeated freely."),
    );
}

/// The steps in their order; each is moved by its buttons, or by its handle.
fn order(ui: &mut Ui, gui: &Gui<'_>, sampling: &mut SamplingParams, own: &SamplingParams) {
    let t = gui.tokens.clone();
    text::caption(ui, "From the first to the last. Off steps do nothing.");
    let count = sampling.order.len();
    let (list, _) = ui.allocate_exact_size(
        vec2(ui.available_width(), STEP * count as f32),
        Sense::hover(),
    );
    let mut moved = None;
    for (index, stage) in sampling.order.iter().copied().enumerate() {
        let top = list.top() + STEP * index as f32;
        let rect = Rect::from_min_size(egui::pos2(list.left(), top), vec2(list.width(), STEP));
        let id = ui.scope_id().with(("step", stage.name()));
        let handle = Rect::from_min_size(rect.min, vec2(20.0, STEP));
        let drag = ui.interact(handle, id, Sense::drag() - Sense::FOCUSABLE);
        let label = format!("Drag {}", name(stage));
        drag.widget_info(|| WidgetInfo::labeled(Role::Image, ui.is_enabled(), &label));
        if drag.hovered() || drag.dragged() {
            ui.set_cursor_icon(CursorIcon::Grab);
        }
        if drag.dragged()
            && let Some(pointer) = drag.interact_pointer_pos()
        {
            let to = ((pointer.y - list.top()) / STEP).floor();
            let to = to.clamp(0.0, count.saturating_sub(1) as f32) as usize;
            if to != index {
                moved = Some((index, to));
            }
        }
        let fill = if drag.dragged() {
            t.bg_active
        } else {
            Color32::TRANSPARENT
        };
        ui.painter().rect_filled(rect, t.corner_s(), fill);
        paint_icon(
            ui.painter(),
            handle.center(),
            14.0,
            Icon::Drag,
            t.text_faint,
        );
        let builder = UiBuilder::new()
            .id_salt(("step row", stage.name()))
            .max_rect(rect.with_min_x(handle.right() + 4.0))
            .layout(Layout::left_to_right(Align::Center));
        ui.scope_builder(builder, |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let on = acts(sampling, stage);
            let colour = if on { t.text } else { t.text_faint };
            let words = if on {
                name(stage).to_owned()
            } else {
                format!("{} (off)", name(stage))
            };
            ui.label(egui::RichText::new(words).color(colour));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 2.0;
                let label = format!("Move {} down", name(stage));
                let last = (index + 1 == count).then_some("It is the last");
                let down = IconButton::new(Icon::ArrowDown, &label)
                    .small()
                    .unless(last);
                if ui.add(down).clicked() {
                    moved = Some((index, index + 1));
                }
                let label = format!("Move {} up", name(stage));
                let first = (index == 0).then_some("It is the first");
                let up = IconButton::new(Icon::ArrowUp, &label).small().unless(first);
                if ui.add(up).clicked() {
                    moved = Some((index, index.saturating_sub(1)));
                }
            });
        });
    }
    if let Some((from, to)) = moved
        && from < count
    {
        let stage = sampling.order.remove(from);
        sampling.order.insert(to.min(sampling.order.len()), stage);
    }
    if sampling.order != own.order {
        let reset = Button::quiet("Usual order").small().icon(Icon::Undo);
        if ui.add(reset).clicked() {
            sampling.order.clone_from(&own.order);
        }
    }
}
