//! One message: its text, its marks, and what can be done with it.

use egui::{Align, Frame, Id, Key, Label, Layout, Margin, RichText, Ui, vec2};

use super::super::Gui;
use super::composer::enter;
use super::{confidence, files, footer};
use crate::library::records::{Message, MessageId, MessageState, Role};
use crate::studio::chat::thoughts::parts;
use crate::studio::chat::traces::TraceOf;
use crate::studio::chat::tree::{Place, Step};
use crate::studio::chat::{ChatCommand, Editing};
use crate::studio::house::House;
use crate::theme::{self, Icon, paint_icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::input::TextArea;
use crate::widgets::markdown::{Action, Look, Markdown};
use crate::widgets::token_view::TokenView;
use crate::widgets::{text, thought};

/// What a message is shown with.
pub struct Row<'a> {
    /// The message.
    pub message: &'a Message,
    /// Which of its siblings it is.
    pub place: Place,
    /// Whether it is the last of the branch.
    pub last: bool,
    /// Whether an answer of the conversation is being written.
    pub busy: bool,
    /// Fonts and colours.
    pub look: &'a Look,
    /// The text that is selected on the page.
    pub selected: &'a str,
    /// What the model thought of the tokens of an answer, if that is to be shown.
    pub trace: Option<TraceOf<'a>>,
}

/// A message as it is laid out.
pub struct Shapes<'a> {
    /// As Markdown.
    pub text: &'a mut Markdown,
    /// What was thought before it.
    pub thought: &'a mut Markdown,
    /// Token by token.
    pub tokens: &'a mut TokenView,
    /// The token whose alternatives are shown.
    pub picked: &'a mut Option<(MessageId, usize)>,
}

/// Shows it.
pub fn show(
    ui: &mut Ui,
    house: &House,
    gui: &mut Gui<'_>,
    row: &Row<'_>,
    shapes: &mut Shapes<'_>,
    editing: &mut Option<Editing>,
) {
    let id = ui.scope_id();
    let hovered = ui.rect_contains_pointer(ui.max_rect());
    ui.spacing_mut().item_spacing.y = 0.0;
    ui.add_space(6.0);
    let edited = editing
        .as_mut()
        .filter(|editing| editing.message == row.message.id);
    match (row.message.role, edited) {
        (_, Some(editing)) => {
            edit(ui, gui, row, editing);
            ui.add_space(10.0);
            return;
        }
        (Role::User, None) => question(ui, gui, row),
        (Role::Assistant, None) => answer(ui, house, gui, row, shapes),
    }
    if row.message.state == MessageState::Writing {
        ui.add_space(18.0);
        return;
    }
    ui.add_space(4.0);
    actions(ui, gui, row, id, hovered);
    ui.add_space(match row.message.role {
        Role::User => 0.0,
        Role::Assistant => 8.0,
    });
}

/// What the person said: at the right, as it was typed.
fn question(ui: &mut Ui, gui: &Gui<'_>, row: &Row<'_>) {
    let t = &gui.tokens;
    files::given(ui, &row.message.attachments);
    if row.message.text.is_empty() {
        return;
    }
    let padding = vec2(14.0, 10.0);
    let widest = ui.available_width() * 0.84 - 2.0 * padding.x;
    let mut format = row.look.format(Default::default(), false, None);
    format.color = t.text;
    let mut job = egui::text::LayoutJob::single_section(row.message.text.clone(), format);
    job.wrap.max_width = widest.floor();
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    let size = galley.size() + 2.0 * padding;
    let (line, _) =
        ui.allocate_exact_size(vec2(ui.available_width(), size.y), egui::Sense::hover());
    let rect = egui::Rect::from_min_max(line.right_top() - vec2(size.x, 0.0), line.right_bottom());
    ui.painter().rect_filled(rect, 14.0, t.bg_hover);
    let id = ui.scope_id().with("question");
    crate::widgets::markdown::selectable(ui, id, rect.min + padding, galley, t.text);
}

/// What the model said.
fn answer(ui: &mut Ui, house: &House, gui: &mut Gui<'_>, row: &Row<'_>, shapes: &mut Shapes<'_>) {
    let t = gui.tokens.clone();
    let message = row.message;
    let writing = message.state == MessageState::Writing;
    let name = message
        .info
        .as_ref()
        .and_then(|info| info.model.as_ref())
        .map_or("Answer", |model| model.name.as_str());
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let (rect, _) = ui.allocate_exact_size(vec2(16.0, 18.0), egui::Sense::hover());
        paint_icon(
            ui.painter(),
            rect.center(),
            15.0,
            Icon::Robot,
            t.accent_text,
        );
        let font = theme::medium(ui.ctx(), t.size.font_body - 0.5);
        ui.add(Label::new(RichText::new(name).font(font).color(t.text_muted)).truncate());
    });
    ui.add_space(4.0);
    if let Some(TraceOf::Known(trace)) = row.trace {
        confidence::show(ui, gui, row, trace, shapes);
    } else if !message.text.is_empty() {
        let parts = parts(&message.text, writing);
        let id = ui.scope_id().with("text");
        if let Some(words) = parts.thought {
            let writing = writing && parts.open;
            thought::show(
                ui,
                id.with("thought"),
                words,
                writing,
                shapes.thought,
                row.look,
            );
        }
        let text = &mut *shapes.text;
        text.set(parts.answer, writing);
        let action = text.show(ui, id, row.look, Some("Use as prompt"));
        if let Some(Action::Code(code)) = action {
            gui.send(ChatCommand::ToCreate(code));
        }
    }
    if matches!(row.trace, Some(TraceOf::Nothing)) && !writing && !message.text.is_empty() {
        ui.add_space(4.0);
        text::caption(ui, "How sure the model was of this answer was not kept.");
    }
    if writing {
        footer::progress(ui, house, gui, message);
    } else {
        footer::marks(ui, house, gui, row);
    }
}

/// Buttons below a message. They are always there for the keyboard, and seen under the pointer.
fn actions(ui: &mut Ui, gui: &mut Gui<'_>, row: &Row<'_>, id: Id, hovered: bool) {
    let t = gui.tokens.clone();
    let message = row.message;
    let key = id.with("actions seen");
    let held = ui.data(|data| data.get_temp::<bool>(key)).unwrap_or(false);
    let seen = hovered || held || (row.last && message.role == Role::Assistant);
    let layout = match message.role {
        Role::User => Layout::right_to_left(Align::Center),
        Role::Assistant => Layout::left_to_right(Align::Center),
    };
    let size = vec2(ui.available_width(), t.size.control_s);
    let mut focused = false;
    ui.allocate_ui_with_layout(size, layout, |ui| {
        ui.set_height(t.size.control_s);
        ui.spacing_mut().item_spacing.x = 2.0;
        if message.role == Role::Assistant && row.place.count > 1 {
            focused |= siblings(ui, gui, row);
        }
        let buttons = |ui: &mut Ui, gui: &mut Gui<'_>, focused: &mut bool| {
            for (icon, label, command) in wanted(row) {
                let busy = row.busy && changes(&command);
                let reason = busy.then_some("An answer is being written; stop it first");
                let response = ui.add(IconButton::new(icon, label).small().unless(reason));
                *focused |= response.has_focus();
                if response.clicked() {
                    gui.send(command);
                }
            }
        };
        ui.scope(|ui| {
            if !seen {
                ui.set_opacity(0.0);
            }
            buttons(ui, gui, &mut focused);
        });
        if message.role == Role::User && row.place.count > 1 {
            focused |= siblings(ui, gui, row);
        }
        if message.role == Role::Assistant && seen {
            footer::figures(ui, gui, row);
        }
    });
    if focused != held {
        ui.data_mut(|data| data.insert_temp(key, focused));
        ui.request_repaint();
    }
}

/// Whether a command must wait until nothing is written.
fn changes(command: &ChatCommand) -> bool {
    matches!(
        command,
        ChatCommand::Regenerate(_)
            | ChatCommand::RegenerateSeveral
            | ChatCommand::BeginEdit(_)
            | ChatCommand::DeleteMessage(_)
    )
}

fn wanted(row: &Row<'_>) -> Vec<(Icon, &'static str, ChatCommand)> {
    let message = row.message;
    let mut wanted = vec![(Icon::Copy, "Copy", ChatCommand::Copy(message.id))];
    match message.role {
        Role::User => wanted.push((Icon::Edit, "Edit", ChatCommand::BeginEdit(message.id))),
        Role::Assistant => {
            wanted.push((
                Icon::Refresh,
                "Write another answer",
                ChatCommand::Regenerate(message.id),
            ));
            if row.last {
                wanted.push((
                    Icon::Branch,
                    "Write three more answers at once",
                    ChatCommand::RegenerateSeveral,
                ));
            }
            wanted.push((
                Icon::Edit,
                "Reword the answer",
                ChatCommand::BeginEdit(message.id),
            ));
            let (label, words) = if row.selected.trim().is_empty() {
                let words =
                    crate::studio::chat::words::prompt_of(parts(&message.text, false).answer);
                ("Use as a prompt in Create", words)
            } else {
                ("Use the selected words in Create", row.selected.to_owned())
            };
            wanted.push((Icon::Image, label, ChatCommand::ToCreate(words)));
        }
    }
    wanted.push((
        Icon::Trash,
        "Delete from here on",
        ChatCommand::DeleteMessage(message.id),
    ));
    if message.role == Role::User {
        wanted.reverse();
    }
    wanted
}

/// `2 of 3`, with arrows. Tells whether one has the keyboard.
fn siblings(ui: &mut Ui, gui: &mut Gui<'_>, row: &Row<'_>) -> bool {
    let t = gui.tokens.clone();
    let Place { index, count } = row.place;
    let what = match row.message.role {
        Role::User => "wording",
        Role::Assistant => "answer",
    };
    let mut focused = false;
    let mut arrows = [
        (Icon::ChevronLeft, "Previous", Step::Left, index == 0),
        (Icon::ChevronRight, "Next", Step::Right, index + 1 == count),
    ];
    // Laid out from the right, the last comes first.
    if row.message.role == Role::User {
        arrows.reverse();
    }
    for (at, (icon, way, step, end)) in arrows.into_iter().enumerate() {
        if at > 0 {
            let font = theme::regular(t.size.font_caption + 0.5);
            let words = format!("{} of {count}", index + 1);
            ui.label(RichText::new(words).font(font).color(t.text_muted));
        }
        let label = format!("{way} {what}");
        let reason = end.then_some("There are no more on this side");
        let response = ui.add(IconButton::new(icon, &label).small().unless(reason));
        focused |= response.has_focus();
        if response.clicked() {
            gui.send(ChatCommand::Step(row.message.id, step));
        }
    }
    ui.add_space(6.0);
    focused
}

/// The field in which a message is worded anew.
fn edit(ui: &mut Ui, gui: &mut Gui<'_>, row: &Row<'_>, editing: &mut Editing) {
    let t = gui.tokens.clone();
    let id = ui.scope_id().with("edit");
    let frame = Frame::new()
        .fill(t.bg_raised)
        .corner_radius(t.corner_l())
        .inner_margin(Margin::same(10));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        let had = ui.memory(|memory| memory.has_focus(id));
        let mut send = false;
        if had {
            send = enter(ui);
            if ui.input_mut(|input| input.consume_key(egui::Modifiers::NONE, Key::Escape)) {
                gui.send(ChatCommand::CancelEdit);
            }
        }
        let field = TextArea::new("New wording", &mut editing.text)
            .unlabelled()
            .rows(2, 12)
            .id(id);
        let response = ui.add(field);
        let begun = id.with("begun");
        if ui.data(|data| data.get_temp::<bool>(begun)).is_none() {
            response.request_focus();
            ui.data_mut(|data| data.insert_temp(begun, true));
        }
        ui.add_space(t.size.gap_s);
        // Within a row: alone, such a layout takes all the height that is left below.
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let reason = if row.busy {
                    Some("An answer is being written; stop it first")
                } else if editing.text.trim().is_empty() {
                    Some("Write something first")
                } else {
                    None
                };
                let (name, told) = match row.message.role {
                    Role::User => (
                        "Send anew",
                        "Sends this wording; the old one and its answers are kept beside it",
                    ),
                    Role::Assistant => (
                        "Keep wording",
                        "The conversation continues from this wording; the model's own is kept beside it",
                    ),
                };
                let button = Button::primary(name)
                    .small()
                    .shortcut("Enter")
                    .tooltip(told)
                    .unless(reason);
                let clicked = ui.add(button).clicked();
                if clicked || (send && reason.is_none()) {
                    ui.data_mut(|data| data.remove::<bool>(begun));
                    gui.send(ChatCommand::ConfirmEdit);
                }
                if ui.add(Button::quiet("Cancel").small()).clicked() {
                    ui.data_mut(|data| data.remove::<bool>(begun));
                    gui.send(ChatCommand::CancelEdit);
                }
            });
        });
    });
}
