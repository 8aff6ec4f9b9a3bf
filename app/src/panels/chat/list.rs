//! The conversations: new, search, and for each one rename, pin, delete.

use std::sync::{Arc, Mutex, PoisonError};

use egui::style::ScrollAnimation;
use egui::{Align, Id, Key, Layout, Margin, RichText, ScrollArea, Sense, Ui, UiBuilder, vec2};

use super::super::Gui;
use crate::library::records::{ConversationId, Millis, now};
use crate::library::time::midnight_here;
use crate::studio::Studio;
use crate::studio::chat::ChatCommand;
use crate::studio::chat::list::{Group, order, stamp};
use crate::studio::chat::talk::Talk;
use crate::studio::chat::transfer::Form;
use crate::theme::{self, Icon};
use crate::widgets::button::IconButton;
use crate::widgets::input::TextField;
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::row::ListRow;
use crate::widgets::text;

/// Shows the list.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    let margin = Margin {
        left: t.size.gap_m as i8,
        right: t.size.gap_m as i8,
        top: t.size.gap_s as i8,
        bottom: 0,
    };
    egui::Frame::new().inner_margin(margin).show(ui, |ui| {
        ui.set_width(ui.available_width());
        head(ui, studio, gui);
        ui.add_space(t.size.gap_xs);
        let width = ui.available_width();
        ui.add(TextField::search("Search conversations", &mut studio.chat.search).width(width));
    });
    ui.add_space(t.size.gap_s);
    ScrollArea::vertical()
        .id_salt("conversations")
        .auto_shrink(false)
        .show(ui, |ui| {
            let margin = Margin::symmetric(t.size.gap_s as i8, 0);
            egui::Frame::new().inner_margin(margin).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                ui.set_width(ui.available_width());
                if studio.chat.search.trim().is_empty() {
                    all(ui, studio, gui);
                } else {
                    found(ui, studio, gui);
                }
                ui.add_space(t.size.gap_m);
            });
        });
}

fn head(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let t = gui.tokens.clone();
    ui.horizontal(|ui| {
        ui.set_height(t.size.control_m);
        let font = theme::semibold(ui.ctx(), t.size.font_title);
        ui.label(RichText::new("Chat").font(font).color(t.text));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for (command, icon, label) in [
                (
                    ChatCommand::ToggleList,
                    Icon::Sidebar,
                    "Hide the conversations",
                ),
                (ChatCommand::New, Icon::Plus, "New conversation"),
            ] {
                let keys = gui.keys(&command.clone().into());
                let mut button = IconButton::new(icon, label);
                if let Some(keys) = &keys {
                    button = button.shortcut(keys);
                }
                if ui.add(button).clicked() {
                    gui.send(command);
                }
            }
            let more = ui.add(IconButton::new(Icon::More, "More about conversations"));
            menu::below(ui, &more, |ui| all_items(ui, studio, gui));
        });
    });
}

fn note(ui: &mut Ui, gui: &Gui<'_>, words: &str) {
    let t = &gui.tokens;
    ui.add_space(t.size.gap_s);
    let margin = Margin::symmetric(10, 0);
    egui::Frame::new().inner_margin(margin).show(ui, |ui| {
        ui.add(egui::Label::new(RichText::new(words).color(t.text_faint)).wrap());
    });
}

/// Height of a row, and room below it.
const ROW: f32 = 33.0;
/// Height of a heading between groups, with the room around it; the first one has less above it.
const HEADING: f32 = 32.0;
const FIRST_HEADING: f32 = 22.0;
/// Rows beyond both ends that are laid out too, so that Tab and the arrow keys lead on.
const BEYOND: usize = 2;

/// A line of the list.
enum Line {
    Heading(Group),
    /// A conversation, by its place among all.
    Talk(usize),
}

/// The list as it is laid out: made anew only when a conversation came, went, was renamed, pinned or written to.
#[derive(Default)]
struct Laid {
    of: Option<(u64, Millis)>,
    lines: Vec<Line>,
    /// Where each line begins, and where the last one ends.
    begins: Vec<f32>,
    /// The conversation that was shown last.
    shown: Option<ConversationId>,
    renamed: Option<ConversationId>,
}

impl Laid {
    fn sync(&mut self, talks: &[Talk], midnight: Millis) {
        let of = Some((stamp(talks), midnight));
        if self.of == of {
            return;
        }
        self.of = of;
        self.lines.clear();
        self.begins.clear();
        let mut at = 0.0;
        let mut last = None;
        for index in order(talks) {
            let Some(talk) = talks.get(index) else {
                continue;
            };
            let group = Group::of(&talk.conversation, midnight);
            if last != Some(group) {
                self.lines.push(Line::Heading(group));
                self.begins.push(at);
                at += if last.is_some() {
                    HEADING
                } else {
                    FIRST_HEADING
                };
                last = Some(group);
            }
            self.lines.push(Line::Talk(index));
            self.begins.push(at);
            at += ROW;
        }
        self.begins.push(at);
    }

    fn total(&self) -> f32 {
        self.begins.last().copied().unwrap_or_default()
    }

    /// The lines that lie between two heights, and some more.
    fn between(&self, top: f32, bottom: f32) -> std::ops::Range<usize> {
        let first = self.begins.partition_point(|&begin| begin <= top);
        let end = self.begins.partition_point(|&begin| begin < bottom);
        first.saturating_sub(1 + BEYOND)..(end + BEYOND).min(self.lines.len())
    }

    /// Where a conversation's row lies.
    fn find(&self, talks: &[Talk], id: ConversationId) -> Option<(f32, f32)> {
        let at = self.lines.iter().position(|line| match line {
            Line::Talk(index) => talks.get(*index).is_some_and(|talk| talk.id() == id),
            Line::Heading(_) => false,
        })?;
        Some((*self.begins.get(at)?, *self.begins.get(at + 1)?))
    }
}

fn all(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let midnight = midnight_here(now());
    if studio.chat.talks().is_empty() {
        note(ui, gui, "What you talk about is kept here, and only here.");
        return;
    }
    let id = Id::unique("chat conversations laid out");
    let shared = ui.data_mut(|data| data.get_temp_mut_or_default::<Arc<Mutex<Laid>>>(id).clone());
    let mut laid = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let laid = &mut *laid;
    laid.sync(studio.chat.talks(), midnight);
    let width = ui.available_width();
    let (whole, _) = ui.allocate_exact_size(vec2(width, laid.total()), Sense::hover());
    let place = |top: f32, bottom: f32| {
        egui::Rect::from_min_max(
            whole.min + vec2(0.0, top),
            egui::pos2(whole.right(), whole.top() + bottom),
        )
    };
    // What was opened or is to be renamed from elsewhere comes into sight.
    let renamed = studio.chat.renaming.as_ref().map(|it| it.conversation);
    let shown = studio.chat.current();
    let mut wanted = None;
    if renamed.is_some() && renamed != laid.renamed {
        wanted = renamed;
    } else if shown != laid.shown {
        wanted = shown;
    }
    laid.renamed = renamed;
    laid.shown = shown;
    if let Some((top, bottom)) = wanted.and_then(|id| laid.find(studio.chat.talks(), id)) {
        ui.scroll_to_rect_animation(place(top, bottom), None, ScrollAnimation::none());
    }
    let seen = ui.clip_rect();
    let range = laid.between(seen.top() - whole.top(), seen.bottom() - whole.top());
    let mut renaming = false;
    for index in range {
        let (Some(line), Some(&top), Some(&bottom)) = (
            laid.lines.get(index),
            laid.begins.get(index),
            laid.begins.get(index + 1),
        ) else {
            continue;
        };
        match line {
            Line::Heading(group) => {
                let at = place(bottom - 20.0, bottom).translate(vec2(10.0, 0.0));
                let builder = UiBuilder::new().max_rect(at);
                ui.scope_builder(builder, |ui| text::caption(ui, group.label()));
            }
            Line::Talk(index) => {
                let Some(talk) = studio.chat.talks().get(*index) else {
                    continue;
                };
                let (id, pinned) = (talk.id(), talk.conversation.pinned);
                let title = talk.conversation.title.clone();
                renaming |= renamed == Some(id);
                // By its own name, so that the keyboard stays with a row while others come and go above it.
                let builder = UiBuilder::new()
                    .max_rect(place(top, bottom))
                    .scope_id(ui.scope_id().with(("conversation", id)));
                ui.scope_builder(builder, |ui| row(ui, studio, gui, id, &title, pinned));
            }
        }
    }
    // A field that was scrolled away has lost the keyboard, and with it its name counts.
    if renamed.is_some() && !renaming && wanted.is_none() {
        gui.send(ChatCommand::ConfirmRename);
    }
}

fn row(
    ui: &mut Ui,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
    id: ConversationId,
    title: &str,
    pinned: bool,
) {
    let renamed = studio
        .chat
        .renaming
        .as_ref()
        .is_some_and(|renaming| renaming.conversation == id);
    if renamed {
        rename(ui, studio, gui);
        return;
    }
    let t = gui.tokens.clone();
    ui.push_id(id, |ui| {
        let shown = studio.chat.current() == Some(id);
        let writing = studio.chat.is_writing(id);
        let mut row = ListRow::new(title).selected(shown).inset(22.0);
        if writing {
            row = row.trailing("Writing");
        }
        let response = ui.add(row);
        if response.gained_focus() && !response.clicked() {
            // At once: the rows beyond are laid out only when they are near.
            let rect = response.rect;
            ui.scroll_to_rect_animation(rect, None, ScrollAnimation::none());
        }
        if response.clicked() {
            gui.send(ChatCommand::Open(id));
        }
        if response.double_clicked() {
            gui.send(ChatCommand::BeginRename(id));
        }
        let side = t.size.control_s;
        let place = egui::Rect::from_center_size(
            egui::pos2(
                response.rect.right() - side / 2.0 - 5.0,
                response.rect.center().y,
            ),
            vec2(side, side),
        );
        let key = ui.scope_id().with("more seen");
        let held = ui.data(|data| data.get_temp::<bool>(key)).unwrap_or(false);
        let seen = held || ui.rect_contains_pointer(response.rect);
        let builder = UiBuilder::new().max_rect(place);
        let more = ui
            .scope_builder(builder, |ui| {
                if !seen {
                    ui.set_opacity(0.0);
                }
                let name = format!("More about {title}");
                ui.add(IconButton::new(Icon::More, &name).small())
            })
            .inner;
        if pinned && !seen {
            theme::paint_icon(ui.painter(), place.center(), 13.0, Icon::Pin, t.text_faint);
        }
        let open = egui::Popup::is_id_open(ui.ctx(), egui::Popup::default_response_id(&more));
        let focused = more.has_focus();
        ui.data_mut(|data| data.insert_temp(key, open || focused));
        menu::below(ui, &more, |ui| items(ui, gui, id, pinned));
        menu::context(ui, &response, |ui| items(ui, gui, id, pinned));
    });
}

/// What concerns all conversations.
fn all_items(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    ui.set_min_width(210.0);
    for (command, icon, label) in [
        (ChatCommand::Import, Icon::Import, "Import conversations"),
        (
            ChatCommand::ExportAll,
            Icon::Export,
            "Export all conversations",
        ),
    ] {
        let reason = studio.available(&command.clone().into()).err();
        let item = MenuItem::new(label).icon(icon).unless(reason.as_deref());
        if ui.add(item).clicked() {
            gui.send(command);
        }
    }
}

fn items(ui: &mut Ui, gui: &mut Gui<'_>, id: ConversationId, pinned: bool) {
    ui.set_min_width(210.0);
    if ui.add(MenuItem::new("Rename").icon(Icon::Edit)).clicked() {
        gui.send(ChatCommand::BeginRename(id));
    }
    let label = if pinned { "Unpin" } else { "Pin to the top" };
    if ui.add(MenuItem::new(label).icon(Icon::Pin)).clicked() {
        gui.send(ChatCommand::Pin(id));
    }
    menu::separator(ui);
    for (form, label) in [
        (Form::Markdown, "Export as Markdown"),
        (Form::Json, "Export with everything"),
    ] {
        if ui.add(MenuItem::new(label).icon(Icon::Export)).clicked() {
            gui.send(ChatCommand::Export(id, form));
        }
    }
    menu::separator(ui);
    let delete = MenuItem::new("Delete").icon(Icon::Trash).danger();
    if ui.add(delete).clicked() {
        gui.send(ChatCommand::Delete(id));
    }
}

fn rename(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let Some(renaming) = &mut studio.chat.renaming else {
        return;
    };
    let field_id = ui.scope_id().with("rename");
    let width = ui.available_width();
    let field = TextField::new("Name of the conversation", &mut renaming.title)
        .unlabelled()
        .id(field_id)
        .width(width);
    let response = ui.add(field);
    let begun = field_id.with("begun");
    let first = ui
        .data(|data| data.get_temp::<ConversationId>(begun))
        .is_none_or(|of| of != renaming.conversation);
    if first {
        response.request_focus();
        let of = renaming.conversation;
        ui.data_mut(|data| data.insert_temp(begun, of));
        return;
    }
    if response.lost_focus() {
        ui.data_mut(|data| data.remove::<ConversationId>(begun));
        let given_up = ui.input(|input| input.key_pressed(Key::Escape));
        gui.send(if given_up {
            ChatCommand::CancelRename
        } else {
            ChatCommand::ConfirmRename
        });
    }
}

fn found(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let mut any = false;
    let mut last = None;
    for (found, talk) in studio.chat.found() {
        any = true;
        let id = found.conversation;
        let title = &talk.conversation.title;
        let response = match found.message {
            None => ui.add(ListRow::new(title)),
            Some(message) => {
                ui.push_id(message, |ui| {
                    // The title is told once.
                    let first = last != Some(id);
                    if first {
                        ui.add(ListRow::new(title).second(&found.excerpt))
                    } else {
                        ui.add(ListRow::new(&found.excerpt))
                    }
                })
                .inner
            }
        };
        last = Some(id);
        if response.clicked() {
            match found.message {
                Some(message) => gui.send(ChatCommand::Reveal(id, message)),
                None => gui.send(ChatCommand::Open(id)),
            }
        }
    }
    if !any {
        note(ui, gui, "No conversation has all of these words.");
        ui.add_space(gui.tokens.size.gap_s);
    }
}
