//! Colours and words for probabilities.

use egui::{Align, Color32, Layout, RichText, Sense, Stroke, Ui, vec2};

use crate::theme::{self, Tokens, mix};

/// The least probabilities of the classes, and what the legend calls them. What is below all is of the last.
pub const CLASSES: [(f32, &str); 5] = [
    (0.9, "90% and more"),
    (0.5, "50%"),
    (0.2, "20%"),
    (0.05, "5%"),
    (0.0, "less"),
];
/// How strong the tint of each class is: one hue that only gets stronger, so that no eye needs to tell hues apart. Text on
/// the strongest keeps a contrast of 4.5 in both themes.
const TINT: [f32; 5] = [0.0, 0.13, 0.24, 0.35, 0.46];
/// How thick the line below is: a second sign beside the tint.
const LINE: [f32; 5] = [0.0, 0.0, 1.0, 1.5, 2.5];

/// The class of a probability.
#[must_use]
pub fn class(probability: f32) -> usize {
    CLASSES
        .iter()
        .position(|(least, _)| probability >= *least)
        .unwrap_or(CLASSES.len() - 1)
}

/// What lies behind a token of a class.
pub(super) fn ground(t: &Tokens, class: usize) -> Color32 {
    match TINT.get(class) {
        Some(&strength) if strength > 0.0 => mix(t.bg_panel, t.warning, strength),
        _ => Color32::TRANSPARENT,
    }
}

/// The line below a token of a class.
pub(super) fn underline(t: &Tokens, class: usize) -> Stroke {
    match LINE.get(class) {
        Some(&width) if width > 0.0 => Stroke::new(width, t.warning),
        _ => Stroke::NONE,
    }
}

/// `83%`, `0.4%`, `under 0.1%`.
#[must_use]
pub fn percent(probability: f32) -> String {
    let percent = probability * 100.0;
    if percent >= 99.95 {
        "100%".to_owned()
    } else if percent >= 99.5 {
        format!("{percent:.1}%")
    } else if percent >= 9.95 {
        format!("{percent:.0}%")
    } else if percent >= 0.1 {
        format!("{percent:.1}%")
    } else {
        "under 0.1%".to_owned()
    }
}

/// Says what the tints mean.
pub fn legend(ui: &mut Ui) {
    let t = theme::tokens(ui.ctx());
    let font = theme::regular(t.size.font_caption);
    ui.allocate_ui_with_layout(
        vec2(ui.available_width(), t.size.control_s),
        Layout::left_to_right(Align::Center),
        |ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            let words = |ui: &mut Ui, text: &str| {
                ui.label(RichText::new(text).font(font.clone()).color(t.text_muted));
            };
            // In narrow windows the figures speak for themselves.
            if ui.available_width() > 500.0 {
                words(ui, "Probability of each token:");
            }
            for (index, (_, name)) in CLASSES.iter().enumerate() {
                let (rect, _) = ui.allocate_exact_size(vec2(18.0, 14.0), Sense::hover());
                let edge = Stroke::new(1.0, t.stroke_strong);
                let painter = ui.painter();
                painter.rect(rect, 3, ground(&t, index), edge, egui::StrokeKind::Inside);
                let line = underline(&t, index);
                if line.width > 0.0 {
                    let y = rect.bottom() - 1.0 - line.width / 2.0;
                    painter.hline(rect.shrink(2.0).x_range(), y, line);
                }
                words(ui, name);
                ui.add_space(4.0);
            }
        },
    );
}
