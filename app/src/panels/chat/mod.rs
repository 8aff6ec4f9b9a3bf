//! The workspace "Chat": conversations at the left, messages in the middle, settings at the right.

mod composer;
mod confidence;
mod empty;
mod files;
mod footer;
mod ledger;
mod list;
mod message;
mod messages;
mod presets;
mod sampler;
mod sandbox;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use egui::{Align, Frame, Id, Label, Layout, Margin, Panel, RichText, Stroke, Ui};

use super::Gui;
use crate::library::records::{ConversationId, MessageId};
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::talk::Loaded;
use crate::theme::{self, Icon};
use crate::widgets::button::IconButton;
use crate::widgets::markdown::Markdown;
use crate::widgets::message_list::MessageList;
use crate::widgets::token_view::{self, TokenView};

/// Width of the list of conversations.
const LIST: f32 = 244.0;
/// Width of the settings.
const SETTINGS: f32 = 296.0;
/// Narrowest that the messages may be beside both.
const NARROWEST: f32 = 380.0;
/// Widest column of messages.
const COLUMN: f32 = 760.0;

/// What the panel remembers between frames: texts as they are laid out, and where each page stands.
#[derive(Default)]
struct View {
    texts: HashMap<MessageId, Markdown>,
    thoughts: HashMap<MessageId, Markdown>,
    tokens: HashMap<MessageId, TokenView>,
    /// The token whose alternatives are shown.
    picked: Option<(MessageId, usize)>,
    lists: HashMap<ConversationId, MessageList>,
    to_end: u64,
}

fn view(ui: &Ui) -> Arc<Mutex<View>> {
    let id = Id::unique("chat view");
    ui.data_mut(|data| data.get_temp_mut_or_default::<Arc<Mutex<View>>>(id).clone())
}

/// Shows the workspace.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let shared = view(ui);
    let mut view = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let room = ui.available_width();
    let settings_open = studio.chat.settings_open && room >= SETTINGS + NARROWEST;
    let beside = if settings_open { SETTINGS } else { 0.0 };
    let list_open = studio.chat.list_open && room >= beside + LIST + NARROWEST;
    if list_open {
        Panel::left("chat conversations")
            .exact_size(LIST)
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().fill(t.bg_base))
            .show(ui, |ui| list::show(ui, studio, gui));
    }
    if settings_open {
        Panel::right("chat settings")
            .exact_size(SETTINGS)
            .resizable(false)
            .show_separator_line(false)
            .frame(
                Frame::new()
                    .fill(t.bg_base)
                    .inner_margin(Margin::symmetric(t.size.gap_l as i8, 0)),
            )
            .show(ui, |ui| settings::show(ui, studio, gui));
    }
    Panel::top("chat title")
        .exact_size(t.size.bar_height)
        .resizable(false)
        .show_separator_line(false)
        .frame(Frame::new().inner_margin(Margin::symmetric(t.size.gap_m as i8, 0)))
        .show(ui, |ui| title(ui, studio, gui, list_open));
    if studio.chat.confidence {
        Panel::top("chat legend")
            .exact_size(t.size.control_m + t.size.gap_xs)
            .resizable(false)
            .show_separator_line(false)
            .frame(Frame::new().inner_margin(Margin::symmetric(t.size.gap_l as i8, 4)))
            .show(ui, |ui| {
                ui.vertical_centered(token_view::legend);
            });
    }
    Panel::bottom("chat composer")
        .resizable(false)
        .show_separator_line(false)
        .frame(Frame::new())
        .show(ui, |ui| composer::show(ui, studio, gui));
    egui::CentralPanel::no_frame().show(ui, |ui| {
        gui.notices = Some(ui.max_rect());
        match studio.chat.shown() {
            None => empty::show(ui, studio, gui),
            Some(talk) if talk.loaded != Loaded::Yes => {
                ui.centered_and_justified(|ui| {
                    ui.label(RichText::new("Opening the conversation").color(t.text_faint));
                });
            }
            Some(_) => messages::show(ui, studio, gui, &mut view),
        }
    });
}

/// The bar above the messages.
fn title(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, list_open: bool) {
    let t = gui.tokens.clone();
    let rect = ui.max_rect();
    let line = Stroke::new(1.0, t.stroke);
    ui.painter().hline(
        rect.expand2(egui::vec2(t.size.gap_m, 0.0)).x_range(),
        rect.bottom() - 0.5,
        line,
    );
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let settings = ChatCommand::ToggleSettings;
        let keys = gui.keys(&settings.clone().into());
        let mut button = IconButton::new(Icon::Settings, "Conversation settings")
            .selected(studio.chat.settings_open);
        if let Some(keys) = &keys {
            button = button.shortcut(keys);
        }
        if ui.add(button).clicked() {
            gui.send(settings);
        }
        let confidence = ChatCommand::ToggleConfidence;
        let keys = gui.keys(&confidence.clone().into());
        let mut button =
            IconButton::new(Icon::Eye, "How sure the model was").selected(studio.chat.confidence);
        if let Some(keys) = &keys {
            button = button.shortcut(keys);
        }
        if ui.add(button).clicked() {
            gui.send(confidence);
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            if !list_open {
                let list = ChatCommand::ToggleList;
                let button = IconButton::new(Icon::Sidebar, "Show the conversations");
                if ui.add(button).clicked() {
                    if studio.chat.list_open {
                        // There is no room beside the settings.
                        gui.send(ChatCommand::ToggleSettings);
                    } else {
                        gui.send(list);
                    }
                }
                if ui
                    .add(IconButton::new(Icon::Plus, "New conversation"))
                    .clicked()
                {
                    gui.send(ChatCommand::New);
                }
            }
            let title = studio
                .chat
                .shown()
                .map_or("New conversation", |talk| talk.conversation.title.as_str());
            let font = theme::semibold(ui.ctx(), t.size.font_title);
            ui.add_space(t.size.gap_xs);
            ui.add(Label::new(RichText::new(title).font(font).color(t.text)).truncate());
        });
    });
}
