//! What stands below an answer: how far it is, why it ended, how fast it was, how full the context is.

use std::time::{Duration, Instant};

use diptych_inference::engine::FinishReason;
use egui::{Align, Color32, Frame, Label, Layout, Margin, Rect, RichText, Sense, Ui, vec2};

use super::super::Gui;
use super::message::Row;
use crate::library::records::{AnswerInfo, Message, MessageState, Target};
use crate::studio::chat::ChatCommand;
use crate::studio::chat::answers::can_continue;
use crate::studio::house::House;
use crate::studio::queue::{Progress, Stage, Task};
use crate::theme::{self, Icon, paint_icon};
use crate::widgets::button::Button;
use crate::widgets::tip;
use crate::words;

/// Width of the bar that shows how full the context is.
const BAR: f32 = 72.0;
/// Room for what can be done about an answer's end.
const ACTION: f32 = 140.0;
/// Speeds of a shorter time say little.
const STEADY: Duration = Duration::from_millis(700);
/// From this share on, the bar warns.
const NEARLY_FULL: f32 = 0.85;

fn task<'a>(house: &'a House, message: &Message) -> Option<&'a Task> {
    house.queue.tasks().iter().find(
        |task| matches!(task.head.target, Target::Answer { message: of, .. } if of == message.id),
    )
}

/// Below an answer that is being written.
pub fn progress(ui: &mut Ui, house: &House, gui: &Gui<'_>, message: &Message) {
    let t = &gui.tokens;
    let words = match task(house, message) {
        Some(task) => match &task.stage {
            Stage::Waiting if house.queue.all_paused => "All jobs are paused".to_owned(),
            Stage::Waiting => "Waiting for its turn".to_owned(),
            Stage::Loading { model, .. } => format!("Loading {model}"),
            Stage::Paused => "Paused in the queue".to_owned(),
            _ => written(&task.progress),
        },
        None => "Writing".to_owned(),
    };
    ui.add_space(6.0);
    let font = theme::regular(t.size.font_caption);
    ui.label(RichText::new(words).font(font).color(t.text_faint));
}

/// Tokens so far, and their speed once it can be told.
fn written(progress: &Progress) -> String {
    let now = Instant::now();
    let Some(first) = progress.first_token else {
        return "Reading the conversation".to_owned();
    };
    match progress.tokens_per_second(now) {
        Some(speed) if now.duration_since(first) >= STEADY => {
            format!("{} tokens, {speed:.0} a second", progress.done)
        }
        _ => format!("{} tokens", progress.done),
    }
}

/// Why an answer ended, where that is not by its own will, and what can be done.
pub fn marks(ui: &mut Ui, house: &House, gui: &mut Gui<'_>, row: &Row<'_>) {
    let t = gui.tokens.clone();
    let message = row.message;
    let reason = message.info.as_ref().and_then(|info| info.reason);
    let dropped = message.info.as_ref().map_or(0, |info| info.dropped_tokens);
    let failure = message
        .info
        .as_ref()
        .and_then(|info| info.failure.as_deref());
    let go_on = (can_continue(message) && !row.busy && row.last)
        .then_some(("Continue", ChatCommand::Continue(message.id)));
    let again = ("Try again", ChatCommand::Regenerate(message.id));
    match (message.state, reason) {
        (MessageState::Failed, _) => {
            let cause = failure.unwrap_or("The reason is not known.");
            let words = format!("The answer could not be written. {cause}");
            let again = (!row.busy).then_some(again);
            mark(
                ui,
                gui,
                Icon::Error,
                t.danger_text,
                t.danger_soft,
                &words,
                again,
            );
        }
        (MessageState::Stopped, _) => {
            let left = task(house, message).is_some();
            let given = message.info.as_ref().map_or(0, |info| info.given as usize);
            let words = if left {
                "Interrupted when the program ended."
            } else if given > 0 && given >= message.text.len() {
                "In your words. The model can continue from here."
            } else {
                "Stopped."
            };
            mark(ui, gui, Icon::Pause, t.text_muted, t.bg_hover, words, go_on);
        }
        (MessageState::Done, Some(FinishReason::Length)) => {
            let tokens = message.info.as_ref().map_or(0, |info| info.tokens);
            let words = format!("Cut off: answers may have {tokens} tokens.");
            mark(ui, gui, Icon::Info, t.text_muted, t.bg_hover, &words, go_on);
        }
        (MessageState::Done, Some(FinishReason::ContextFull)) => {
            let words = "The model's memory for this conversation is full. Delete earlier messages, shorten the system prompt, or begin a new conversation.";
            let new = Some(("New conversation", ChatCommand::New));
            mark(
                ui,
                gui,
                Icon::Warning,
                t.warning,
                t.warning_soft,
                words,
                new,
            );
        }
        (MessageState::Done, _) if dropped > 0 => {
            let words = format!(
                "The context was full: {dropped} tokens of the oldest messages dropped out."
            );
            mark(ui, gui, Icon::Info, t.text_muted, t.bg_hover, &words, None);
        }
        (MessageState::Done, _) if message.text.trim().is_empty() => {
            let again = (!row.busy).then_some(again);
            let words = "The model had nothing to say.";
            mark(ui, gui, Icon::Info, t.text_muted, t.bg_hover, words, again);
        }
        _ => {}
    }
}

fn mark(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    icon: Icon,
    colour: Color32,
    fill: Color32,
    words: &str,
    action: Option<(&str, ChatCommand)>,
) {
    let t = gui.tokens.clone();
    ui.add_space(8.0);
    let frame = Frame::new()
        .fill(fill)
        .corner_radius(t.corner_m())
        .inner_margin(Margin::symmetric(10, 6));
    frame.show(ui, |ui| {
        // As wide as the message that it stands under, however few its words are.
        ui.set_min_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            let (rect, _) = ui.allocate_exact_size(vec2(16.0, t.size.control_s), Sense::hover());
            paint_icon(ui.painter(), rect.center(), 16.0, icon, colour);
            let room = match action {
                Some(_) => (ui.available_width() - ACTION).max(120.0),
                None => ui.available_width(),
            };
            ui.scope(|ui| {
                ui.set_min_width(room);
                ui.set_max_width(room);
                ui.add(Label::new(RichText::new(words).color(t.text)).wrap());
            });
            if let Some((label, command)) = action {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if ui.add(Button::secondary(label).small()).clicked() {
                        gui.send(command);
                    }
                });
            }
        });
    });
}

/// Speed and context of a finished answer, at the right.
pub fn figures(ui: &mut Ui, gui: &Gui<'_>, row: &Row<'_>) {
    let t = &gui.tokens;
    let Some(info) = row.message.info.as_ref().filter(|info| info.tokens > 0) else {
        return;
    };
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        if row.last && info.context_length > 0 {
            context(ui, gui, info);
        }
        let room = ui.available_width();
        let font = theme::regular(t.size.font_caption);
        let mut words = Vec::new();
        if let Some(speed) = speed(info) {
            words.push(format!("{speed:.0} tokens/s"));
        }
        if room > 190.0 {
            words.push(format!(
                "first after {}",
                words::seconds(info.first_token_seconds)
            ));
        }
        if room > 270.0 {
            words.insert(0, format!("{} tokens", info.tokens));
        }
        if room > 80.0 {
            let words = RichText::new(words.join("  ·  "))
                .font(font)
                .color(t.text_faint);
            ui.add(Label::new(words).truncate());
        }
    });
}

/// Tokens a second after the first.
fn speed(info: &AnswerInfo) -> Option<f32> {
    let rest = info.tokens.checked_sub(1).filter(|&rest| rest > 0)?;
    (info.decode_seconds > 0.0).then(|| rest as f32 / info.decode_seconds)
}

/// A bar: how much of the context is used, and how much of that came from the cache.
fn context(ui: &mut Ui, gui: &Gui<'_>, info: &AnswerInfo) {
    let t = &gui.tokens;
    let used = info.prompt_tokens.saturating_add(info.tokens);
    let share = |tokens: u32| (tokens as f32 / info.context_length.max(1) as f32).clamp(0.0, 1.0);
    let words = format!(
        "{} of {}",
        words::count(used),
        words::count(info.context_length)
    );
    let font = theme::regular(t.size.font_caption);
    ui.label(RichText::new(words).font(font).color(t.text_faint));
    let (rect, response) = ui.allocate_exact_size(vec2(BAR, t.size.control_s), Sense::hover());
    let bar = Rect::from_center_size(rect.center(), vec2(rect.width(), 5.0));
    let painter = ui.painter();
    painter.rect_filled(bar, 2.5, t.bg_active);
    let full = share(used) >= NEARLY_FULL;
    let colour = if full { t.warning } else { t.accent_text };
    let part = |share: f32| Rect::from_min_size(bar.min, vec2(bar.width() * share, bar.height()));
    painter.rect_filled(part(share(used)), 2.5, colour);
    painter.rect_filled(
        part(share(info.cached_tokens)),
        2.5,
        theme::mix(colour, t.bg_panel, 0.45),
    );
    let told = format!(
        "{used} of {} tokens of the model's memory for this conversation are used; {} of them were still there from the last answer and had not to be read again.",
        info.context_length, info.cached_tokens
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ProgressIndicator, true, &told));
    tip(response, &told, None);
}
