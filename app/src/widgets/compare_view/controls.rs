//! The controls of a comparison, and its numbers in words.

use egui::{
    Align2, Color32, ColorImage, Context, FontId, Id, Painter, Rect, TextureHandle, TextureOptions,
    Ui, pos2, vec2,
};

use super::state::{BLINK_RATES, CompareMode, CompareState, GAINS};
use crate::theme::Icon;
use crate::widgets::button::IconButton;
use crate::widgets::canvas::Magnify;
use crate::widgets::number::NumberField;
use crate::widgets::pictures::difference::heat;
use crate::widgets::pictures::{DifferenceNumbers, paint_texture};
use crate::widgets::segmented::Segmented;

/// The numbers of a difference in one line.
pub fn difference_text(numbers: &DifferenceNumbers) -> String {
    if numbers.max == 0 {
        return "The pictures are equal in every pixel".into();
    }
    let DifferenceNumbers {
        max,
        mean,
        psnr,
        changed,
        ..
    } = numbers;
    let changed = changed * 100.0;
    let digits = if changed < 10.0 { 1 } else { 0 };
    format!(
        "Max {max}   Mean {mean:.1}   PSNR {psnr:.1} dB   {changed:.digits$} % of pixels differ"
    )
}

/// Buttons for the ways to compare, and what belongs to the present one. To be laid out in a row.
pub fn compare_controls(ui: &mut Ui, state: &mut CompareState) {
    let mut choice = Segmented::new("How to compare");
    for mode in CompareMode::ALL {
        choice = choice.option_icon(mode, mode.label(), icon(mode));
    }
    if ui.available_width() < 760.0 {
        choice = choice.icons_only();
    }
    choice.show(ui, &mut state.mode);
    match state.mode {
        CompareMode::Slider => {
            let (icon, text) = if state.across {
                (Icon::ChevronsUpDown, "Turn the divider upright")
            } else {
                (Icon::SliderCompare, "Lay the divider across")
            };
            if ui.add(IconButton::new(icon, text)).clicked() {
                state.across = !state.across;
            }
        }
        CompareMode::SideBySide => {}
        CompareMode::Blink => {
            let (icon, text) = if state.blinking {
                (
                    Icon::Pause,
                    "Stop blinking: hold the mouse button or the space bar instead",
                )
            } else {
                (Icon::Play, "Blink by itself")
            };
            if ui.add(IconButton::new(icon, text)).clicked() {
                state.blinking = !state.blinking;
            }
            let field = NumberField::new("Rate", &mut state.blink_rate, BLINK_RATES).step(0.5);
            ui.add(field.unit("/s").width(110.0).tooltip("Changes a second"));
        }
        CompareMode::Difference => {
            let field = NumberField::new("Strength", &mut state.gain, GAINS).step(0.5);
            let field = field.unit("×").width(140.0);
            ui.add(field.tooltip("Makes small differences visible"));
        }
    }
    let swap = IconButton::new(Icon::Swap, "Swap").shortcut("Z");
    if ui.add(swap).clicked() {
        state.swapped = !state.swapped;
    }
    let smooth = state.magnify == Magnify::Smooth;
    let name = if smooth {
        "Enlarge in crisp pixels"
    } else {
        "Enlarge smoothly"
    };
    let toggle = IconButton::new(Icon::Drop, name).selected(smooth);
    if ui.add(toggle).clicked() {
        state.magnify = if smooth {
            Magnify::Auto
        } else {
            Magnify::Smooth
        };
    }
}

fn icon(mode: CompareMode) -> Icon {
    match mode {
        CompareMode::Slider => Icon::SliderCompare,
        CompareMode::SideBySide => Icon::SideBySide,
        CompareMode::Blink => Icon::Blink,
        CompareMode::Difference => Icon::Difference,
    }
}

/// The heat colours with their meaning, and the numbers, along the lower edge.
pub(super) fn paint_legend(ui: &Ui, painter: &Painter, viewport: Rect, gain: f32, text: &str) {
    let font = FontId::proportional(12.0);
    let colour = ui.visuals().strong_text_color();
    let room = (viewport.width() - 220.0).max(60.0);
    let numbers = painter.layout(text.to_owned(), font.clone(), colour, room);
    let most = painter.layout_no_wrap(format!("{:.0}", 255.0 / gain), font.clone(), colour);
    let least = painter.layout_no_wrap("0".into(), font, colour);
    let bar = vec2(90.0, 8.0);
    let scale = least.size().x + most.size().x + bar.x + 12.0;
    let inner = vec2(
        numbers.size().x.max(scale),
        numbers.size().y + 6.0 + most.size().y,
    );
    let padding = vec2(10.0, 6.0);
    let area = viewport.shrink(10.0);
    let rect = Align2::LEFT_BOTTOM.align_size_within_rect(inner + 2.0 * padding, area);
    painter.rect_filled(rect, 6.0, ui.visuals().window_fill.gamma_multiply(0.92));
    let at = rect.min + padding;
    let below = at.y + numbers.size().y + 6.0;
    let middle = below + most.size().y / 2.0;
    painter.galley(at, numbers, Color32::WHITE);
    let left = at.x + least.size().x + 6.0;
    painter.galley(pos2(at.x, below), least, Color32::WHITE);
    let strip = Rect::from_min_size(pos2(left, middle - bar.y / 2.0), bar);
    paint_texture(painter, &heat_strip(ui.ctx()), strip, Color32::WHITE);
    painter.galley(pos2(left + bar.x + 6.0, below), most, Color32::WHITE);
}

fn heat_strip(ctx: &Context) -> TextureHandle {
    let id = Id::unique("heat strip");
    if let Some(texture) = ctx.data(|data| data.get_temp::<TextureHandle>(id)) {
        return texture;
    }
    let pixels = (0..64).map(|i| heat(i as f32 / 63.0)).collect();
    let image = ColorImage::new([64, 1], pixels);
    let texture = ctx.load_texture("heat", image, TextureOptions::LINEAR);
    ctx.data_mut(|data| data.insert_temp(id, texture.clone()));
    texture
}
