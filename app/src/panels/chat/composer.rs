//! Where messages are written.

use egui::{
    Align, Event, Frame, Id, Key, KeyboardShortcut, Layout, Margin, Modifiers, RichText,
    ScrollArea, Stroke, StrokeKind, TextEdit, Ui, UiBuilder, vec2,
};

use super::super::Gui;
use super::{COLUMN, files, ledger};
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::effects::focus;
use crate::theme::{self, Icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::combo::{Combo, ComboItem};

/// Most rows after which the field scrolls.
const ROWS: f32 = 9.0;

/// Shows the composer.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let side = ((ui.available_width() - COLUMN) / 2.0)
        .max(t.size.gap_l)
        .floor();
    ui.add_space(t.size.gap_xs);
    // Not a horizontal row: that would leave the text one line of room.
    let room = ui.available_rect_before_wrap().shrink2(vec2(side, 0.0));
    ui.scope_builder(UiBuilder::new().max_rect(room), |ui| {
        ui.set_width(room.width());
        field(ui, studio, gui);
    });
    ui.add_space(t.size.gap_m);
}

fn field(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let id = Id::unique(focus::COMPOSER);
    let ground = ui.painter().add(egui::Shape::Noop);
    let shown = Frame::new()
        .inner_margin(Margin::symmetric(10, 8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            let send = ui.memory(|memory| memory.has_focus(id)) && enter(ui);
            ledger::show(ui, studio, gui);
            files::attached(ui, studio, gui);
            text(ui, studio, gui, id);
            ui.add_space(t.size.gap_xs);
            bar(ui, studio, gui, send);
        });
    let focused = ui.memory(|memory| memory.has_focus(id));
    let colour = if focused { t.focus } else { t.stroke_strong };
    let stroke = Stroke::new(if focused { 1.5 } else { 1.0 }, colour);
    let shape = egui::epaint::RectShape::new(
        shown.response.rect,
        t.corner_l(),
        t.bg_input,
        stroke,
        StrokeKind::Inside,
    );
    ui.painter().set(ground, shape);
}

/// Whether Enter was pressed alone; with Shift it makes a new line. What counts is whether Shift was down when Enter was pressed, not whether it still is at
/// the end of the frame.
pub(super) fn enter(ui: &Ui) -> bool {
    ui.input_mut(|input| {
        let alone = |event: &Event| {
            matches!(event, Event::Key { key: Key::Enter, pressed: true, modifiers, .. }
                if modifiers.matches_exact(Modifiers::NONE))
        };
        let pressed = input.events.iter().any(alone);
        if pressed {
            input.events.retain(|event| !alone(event));
        }
        pressed
    })
}

fn text(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, id: Id) {
    let t = gui.tokens.clone();
    let font = theme::regular(t.size.font_body + 1.0);
    let row = ui.fonts_mut(|fonts| fonts.row_height(&font));
    ScrollArea::vertical()
        .id_salt("composer")
        .max_height(row * ROWS)
        .min_scrolled_height(row)
        .show(ui, |ui| {
            let hint = RichText::new("Write a message").color(t.text_faint);
            let new_line = KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter);
            let edit = TextEdit::multiline(studio.chat.composer())
                .id(id)
                .frame(Frame::NONE)
                .font(font)
                .text_color(t.text)
                .hint_text(hint)
                .return_key(Some(new_line))
                .desired_rows(1)
                .desired_width(f32::INFINITY);
            let response = ui.add(edit).accessible_name("Message");
            if gui.takes_focus(focus::COMPOSER) {
                response.request_focus();
            }
        });
}

fn bar(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, send: bool) {
    let t = gui.tokens.clone();
    let wide = ui.available_width() > 520.0;
    ui.horizontal(|ui| {
        ui.set_height(t.size.control_m);
        models(ui, studio, gui);
        let attach = ChatCommand::Attach;
        let reason = studio.available(&attach.clone().into()).err();
        let button = IconButton::new(Icon::Upload, "Attach a text file").unless(reason.as_deref());
        if ui.add(button).clicked() {
            gui.send(attach);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let writing = studio
                .chat
                .current()
                .is_some_and(|id| studio.chat.is_writing(id));
            if writing {
                let stop = Button::secondary("Stop").icon(Icon::Stop).shortcut("Esc");
                if ui
                    .add(stop.tooltip("Stop; the words so far are kept"))
                    .clicked()
                {
                    gui.send(ChatCommand::Stop);
                }
                return;
            }
            let refused = studio.available(&ChatCommand::Send.into()).err();
            let button = Button::primary("Send")
                .icon(Icon::Send)
                .shortcut("Enter")
                .tooltip("Send the message")
                .unless(refused.as_deref());
            if ui.add(button).clicked() || (send && refused.is_none()) {
                gui.send(ChatCommand::Send);
            }
            if wide {
                let font = theme::regular(t.size.font_caption);
                let words = RichText::new("Shift+Enter for a new line");
                ui.add_space(t.size.gap_xs);
                ui.label(words.font(font).color(t.text_faint));
            }
        });
    });
}

fn models(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let chat = &studio.chat;
    let settings = chat.settings(&studio.house);
    let chosen = chat
        .model_of(&settings, &studio.house)
        .and_then(|model| model.model.clone());
    let models: Vec<_> = studio
        .house
        .shelf
        .models()
        .iter()
        .filter(|model| {
            let is_chat = model.info.as_ref().is_some_and(|info| info.is_chat());
            model.chats() || (is_chat && model.refused.is_some())
        })
        .collect();
    let names: Vec<String> = models.iter().map(|model| model.name()).collect();
    let items: Vec<ComboItem<'_>> = models
        .iter()
        .zip(&names)
        .map(|(model, name)| ComboItem {
            text: name,
            group: &model.source,
            reason: model.refused.as_deref(),
            ..ComboItem::default()
        })
        .collect();
    let selected = models
        .iter()
        .position(|model| model.model.is_some() && model.model == chosen);
    let missing = settings
        .model
        .as_ref()
        .filter(|_| selected.is_none())
        .map(|model| format!("{} is missing", model.name));
    let hint = match (&missing, studio.house.shelf.scanning) {
        (Some(missing), _) => missing.as_str(),
        (None, true) => "Looking for models",
        (None, false) => "No chat model",
    };
    let picked = Combo::new("Chat model", &items, selected)
        .unlabelled()
        .hint(hint)
        .empty("No chat model was found; add one (GGUF) in Models")
        .width(180.0)
        .list_width(300.0)
        .show(ui);
    if let Some(model) = picked.and_then(|index| models.get(index)) {
        gui.send(ChatCommand::SetModel(model.model.clone()));
    }
}
