//! The canvas while the mask is painted: tools above, the start picture with the mask over it, what is marked below.

use egui::{
    Align, CentralPanel, Color32, CursorIcon, Frame, Id, Layout, Margin, Panel, Pos2, Rect,
    RichText, Ui, pos2, vec2,
};

use super::{bar, start};
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::{AppCommand, UiCommand};
use crate::studio::create::brush::SIZES;
use crate::studio::create::{CreateCommand, MaskCommand, Start, Tool};
use crate::theme::{Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::canvas::{
    Canvas, CanvasFrame, CanvasView, Hand, Magnify, paint_brush, paint_mask,
};
use crate::widgets::menu;
use crate::widgets::number::NumberField;
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::segmented::Segmented;

/// Height of the line below the canvas.
const INFO: f32 = 30.0;
/// What is drawn anew: a red that few pictures have.
const VEIL: Color32 = Color32::from_rgb(255, 45, 85);
/// Bars narrower than this keep the finer settings in a menu.
const WIDE: f32 = 690.0;
/// Bars narrower than this keep there what is done to all of the mask, too.
const ROOMY: f32 = 480.0;
/// Bars narrower than this keep there the size of the brush, too.
const SNUG: f32 = 350.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    Panel::top("create paint bar")
        .exact_size(tokens.size.bar_height)
        .resizable(false)
        .show_separator_line(false)
        .frame(
            Frame::new()
                .fill(tokens.bg_panel)
                .inner_margin(Margin::symmetric(12, 0)),
        )
        .show(ui, |ui| tools(ui, studio, gui));
    Panel::bottom("create paint info")
        .exact_size(INFO)
        .resizable(false)
        .show_separator_line(false)
        .frame(
            Frame::new()
                .fill(tokens.bg_base)
                .inner_margin(Margin::symmetric(14, 0)),
        )
        .show(ui, |ui| info(ui, &tokens, studio));
    CentralPanel::no_frame()
        .frame(Frame::new().fill(tokens.canvas_bg))
        .show(ui, |ui| {
            gui.notices = Some(ui.max_rect());
            canvas(ui, studio);
        });
}

/// A square button for a command of the palette or of the whole window.
fn button(
    ui: &mut Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    icon: Icon,
    label: &str,
    command: impl Into<UiCommand>,
) {
    let command = command.into();
    let reason = studio.available(&command).err();
    let keys = gui.keys(&command).unwrap_or_default();
    let mut button = IconButton::new(icon, label).unless(reason.as_deref());
    if !keys.is_empty() {
        button = button.shortcut(&keys);
    }
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

fn tools(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let room = ui.available_width();
    let (wide, roomy, snug) = (room >= WIDE, room >= ROOMY, room < SNUG);
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let done = Button::primary("Done").small().icon(Icon::Check);
        if ui
            .add(done.tooltip("Go back to the pictures; the mask stays"))
            .clicked()
        {
            gui.send(CreateCommand::Mask(MaskCommand::Close));
        }
        ui.add_space(6.0);
        let more = ui.add(IconButton::new(Icon::More, "More about the mask"));
        menu::below(ui, &more, |ui| {
            ui.set_max_width(bar::MENU);
            let whole: &[MaskCommand] = match roomy {
                true => &[],
                false => &[MaskCommand::Fill, MaskCommand::Invert, MaskCommand::Clear],
            };
            let files = [MaskCommand::AskOpen, MaskCommand::AskSave];
            for command in whole.iter().chain(&files) {
                bar::menu_item(ui, studio, gui, CreateCommand::Mask(command.clone()));
            }
            if !wide {
                menu::separator(ui);
                ui.set_min_width(220.0);
                if snug {
                    ui.add(brush_size(studio));
                    ui.add_space(tokens.size.gap_xs);
                }
                finer(ui, studio, &tokens, None);
            }
        });
        let mask = CreateCommand::Mask;
        let whole = [
            (Icon::Trash, "Clear the mask", MaskCommand::Clear),
            (Icon::Invert, "Invert the mask", MaskCommand::Invert),
            (Icon::Fill, "Fill the mask", MaskCommand::Fill),
        ];
        for (icon, label, command) in whole.into_iter().filter(|_| roomy) {
            button(ui, studio, gui, icon, label, mask(command));
        }
        ui.add_space(6.0);
        let can = |back| studio.create.can_undo(back);
        let (undo, redo) = (can(true), can(false));
        let steps = [
            (
                Icon::Redo,
                "Redo",
                AppCommand::Redo,
                redo,
                "There is nothing to make again",
            ),
            (
                Icon::Undo,
                "Undo",
                AppCommand::Undo,
                undo,
                "There is nothing to take back",
            ),
        ];
        for (icon, label, command, can, reason) in steps {
            let command = UiCommand::from(command);
            let keys = gui.keys(&command).unwrap_or_default();
            let button = IconButton::new(icon, label)
                .shortcut(&keys)
                .unless((!can).then_some(reason));
            if ui.add(button).clicked() {
                gui.send(command);
            }
        }
        ui.add_space(6.0);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = tokens.size.gap_s;
            Segmented::new("What the pointer does")
                .option_icon(Tool::Brush, "Brush", Icon::Brush)
                .option_icon(Tool::Eraser, "Eraser", Icon::Eraser)
                .icons_only()
                .show(ui, &mut studio.create.paint.tool);
            if !snug {
                let width = match (wide, roomy) {
                    (true, _) => 124.0,
                    (false, true) => 140.0,
                    (false, false) => ui.available_width().clamp(64.0, 110.0),
                };
                ui.add(brush_size(studio).width(width));
            }
            if wide {
                finer(ui, studio, &tokens, Some(118.0));
            }
        });
    });
}

fn brush_size(studio: &mut Studio) -> NumberField<'_> {
    NumberField::new("Size", &mut studio.create.paint.size, SIZES)
        .name("Size of the brush")
        .step(0.5)
        .unit("px")
        .logarithmic()
        .default_value(64.0)
        .tooltip("Width of the brush in pixels of the picture; the keys [ and ] change it.")
}

/// How crisp the brush is and how strongly the mask is shown.
fn finer(ui: &mut Ui, studio: &mut Studio, tokens: &Tokens, width: Option<f32>) {
    let paint = &mut studio.create.paint;
    let fields = [
        (
            "Hardness",
            &mut paint.hardness,
            0.0,
            0.7,
            "How crisp the brush's edge is.",
        ),
        (
            "Overlay",
            &mut paint.opacity,
            10.0,
            0.6,
            "How strongly what is painted is shown.",
        ),
    ];
    for (label, value, least, usual, tip) in fields {
        let mut hundredths = (*value * 100.0).round();
        let mut field = NumberField::new(label, &mut hundredths, least..=100.0)
            .step(1.0)
            .unit("%")
            .default_value(usual * 100.0)
            .tooltip(tip);
        if let Some(width) = width {
            field = field.width(width);
        }
        if ui.add(field).changed() {
            *value = hundredths / 100.0;
        }
        if width.is_none() {
            ui.add_space(tokens.size.gap_xs);
        }
    }
}

fn info(ui: &mut Ui, tokens: &Tokens, studio: &Studio) {
    let create = &studio.create;
    let share = create.shown_mask().map_or(0.0, |mask| mask.share());
    let marked = match share {
        share if share <= 0.0 => "Paint over what is to be drawn anew".to_owned(),
        share => format!("{} of the picture is drawn anew", start::percent(share)),
    };
    let words = format!(
        "{marked}  ·  Space or the middle button moves the picture  ·  Shift paints a straight line"
    );
    ui.horizontal_centered(|ui| {
        let text = RichText::new(words).small().color(tokens.text_muted);
        ui.add(egui::Label::new(text).truncate());
    });
}

/// Where the start picture itself lies within what is shown: without its extension.
fn inner_rect(frame: &CanvasFrame, start: &Start) -> Rect {
    let [left, top, ..] = start.extend;
    let (width, height) = start.extended();
    let outer = frame.picture;
    let scale = vec2(
        outer.width() / width.max(1) as f32,
        outer.height() / height.max(1) as f32,
    );
    Rect::from_min_size(
        outer.min + vec2(left as f32, top as f32) * scale,
        vec2(start.size.0 as f32, start.size.1 as f32) * scale,
    )
}

/// What lies around the start picture: all of it is drawn anew.
fn margins(outer: Rect, inner: Rect) -> [Rect; 4] {
    [
        Rect::from_min_max(outer.min, pos2(outer.max.x, inner.min.y)),
        Rect::from_min_max(pos2(outer.min.x, inner.max.y), outer.max),
        Rect::from_min_max(
            pos2(outer.min.x, inner.min.y),
            pos2(inner.min.x, inner.max.y),
        ),
        Rect::from_min_max(
            pos2(inner.max.x, inner.min.y),
            pos2(outer.max.x, inner.max.y),
        ),
    ]
}

fn canvas(ui: &mut Ui, studio: &mut Studio) {
    let viewport = ui.available_rect_before_wrap();
    let Some(start) = studio.create.form.start.clone() else {
        return;
    };
    let source = studio.create.desk.wide(&start).map(PictureSource::memory);
    let id = Id::unique("create paint view");
    let mut view = ui
        .data(|data| data.get_temp(id))
        .unwrap_or_else(CanvasView::fitted);
    let mask = studio.create.shown_mask().cloned();
    let veil = VEIL.gamma_multiply(studio.create.paint.opacity);
    let brush = studio.create.paint.brush();
    let painting = studio.create.paint.is_painting();
    let works = Hand::Tool.works(ui);
    let pointer = ui.input(|input| input.pointer.latest_pos());
    let overlay = |painter: &egui::Painter, frame: &CanvasFrame| {
        let inner = inner_rect(frame, &start);
        if start.is_extended() {
            for margin in margins(frame.picture, inner) {
                painter.rect_filled(margin, 0.0, veil);
            }
        }
        if let Some(mask) = &mask {
            paint_mask(painter, Id::unique("create mask"), mask, inner, veil);
        }
        let hovers = frame.response.contains_pointer() || painting;
        if let Some(at) = pointer.filter(|_| hovers && works) {
            let scale = inner.width() / start.size.0.max(1) as f32;
            paint_brush(painter, at, brush.radius * scale, brush.hardness);
        }
    };
    let name = format!("mask over {}", start.name);
    let shown = Canvas::new("create paint", &name)
        .picture(source.as_ref())
        .magnify(if view.fit {
            Magnify::Smooth
        } else {
            Magnify::Auto
        })
        .hand(Hand::Tool)
        .overlay(overlay)
        .show_in(ui, viewport, &PictureStore::of(ui.ctx()), &mut view);
    ui.data_mut(|data| data.insert_temp(id, view));
    if shown.picture.is_some() {
        strokes(ui, studio, &shown.frame, &start, works);
    }
}

/// Takes what the pointer paints.
fn strokes(ui: &Ui, studio: &mut Studio, frame: &CanvasFrame, start: &Start, works: bool) {
    let response = &frame.response;
    if works && response.contains_pointer() {
        ui.set_cursor_icon(CursorIcon::None);
    }
    let (held, pressed, straight) = ui.input(|input| {
        (
            input.pointer.primary_down(),
            input.pointer.primary_pressed(),
            input.modifiers.shift,
        )
    });
    let painting = studio.create.paint.is_painting();
    let on = works && held && response.is_pointer_button_down_on();
    if !on {
        // Pressed and let go within one frame: a dot all the same.
        if works
            && !painting
            && response.clicked()
            && let Some(at) = response.interact_pointer_pos()
        {
            paint_at(studio, frame, start, at, straight);
        }
        if studio.create.paint.is_painting() {
            let Studio { create, house, .. } = studio;
            create.end_stroke(house);
            ui.request_repaint();
        }
        return;
    }
    // All places since the last frame, so that quick strokes are round.
    let mut places: Vec<Pos2> = ui.input(|input| {
        let moved = input.events.iter().filter_map(|event| match event {
            egui::Event::PointerMoved(at) => Some(*at),
            egui::Event::PointerButton {
                pos,
                pressed: true,
                button: egui::PointerButton::Primary,
                ..
            } => Some(*pos),
            _ => None,
        });
        moved.collect()
    });
    if pressed && let Some(origin) = ui.input(|input| input.pointer.press_origin()) {
        // What was before the press is no part of the stroke.
        let begin = places.iter().rposition(|place| *place == origin);
        places.drain(..begin.unwrap_or(0));
    }
    if places.is_empty() && !painting {
        places.extend(response.interact_pointer_pos());
    }
    for at in places {
        paint_at(studio, frame, start, at, straight);
    }
    ui.request_repaint();
}

fn paint_at(studio: &mut Studio, frame: &CanvasFrame, start: &Start, at: Pos2, straight: bool) {
    let inner = inner_rect(frame, start);
    let place = (at - inner.min) / inner.size();
    let (width, height) = start.size;
    let place = [place.x * width as f32, place.y * height as f32];
    studio.create.paint_to(place, straight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_cover_all_but_the_picture() {
        let outer = Rect::from_min_max(pos2(0.0, 0.0), pos2(100.0, 80.0));
        let inner = Rect::from_min_max(pos2(10.0, 0.0), pos2(90.0, 60.0));
        let area: f32 = margins(outer, inner).iter().map(|part| part.area()).sum();
        assert_eq!(area, outer.area() - inner.area());
    }
}
