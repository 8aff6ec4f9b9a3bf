//! The dialog that tells which words of a picture matter.

use egui::{Align, Context, Label, Layout, RichText, ScrollArea, Sense, Ui, vec2};

use super::facts;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::CreateCommand;
use crate::studio::create::matter::{Inquiry, MatterCommand, Part};
use crate::theme::{Icon, Tokens};
use crate::widgets::button::Button;
use crate::widgets::modal::Dialog;
use crate::widgets::progress::Progress;

/// Width of the dialog.
const WIDTH: f32 = 480.0;
/// Width of a bar, and of the words behind it.
const BAR: f32 = 110.0;
const WORDS: f32 = 96.0;
/// Height of a row.
const ROW: f32 = 26.0;
/// Most height of all rows.
const ROWS: f32 = 320.0;

/// Shows it while it is open.
pub fn show(ctx: &Context, studio: &Studio, gui: &mut Gui<'_>) {
    let Some(inquiry) = studio.create.matter.inquiry.as_ref() else {
        return;
    };
    if !studio.create.matter.open {
        return;
    }
    let dialog = Dialog::new("matter", "Which words matter").width(WIDTH);
    let closed = dialog
        .show(ctx, |ui| content(ui, studio, gui, inquiry))
        .closed;
    if closed {
        send(gui, MatterCommand::Close);
    }
}

fn send(gui: &mut Gui<'_>, command: MatterCommand) {
    gui.send(CreateCommand::Matter(command));
}

fn content(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, inquiry: &Inquiry) {
    let tokens = gui.tokens.clone();
    ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
    let words = "The picture is drawn again without each part of its prompt. How far it moves is compared with what another seed does, which counts as 100\u{a0}%.";
    let words = RichText::new(words).color(tokens.text_muted);
    ui.add(Label::new(words).wrap());
    ScrollArea::vertical()
        .max_height(ROWS.min(ui.available_height() * 0.6))
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let shares = inquiry.parts.iter().filter_map(|part| part.share);
            // A part may move the picture farther than another seed does.
            let most = shares.fold(1.0, f64::max);
            for part in &inquiry.parts {
                row(ui, &tokens, part, most);
            }
        });
    if inquiry.is_running() {
        let share = inquiry.drawn as f32 / inquiry.total() as f32;
        ui.add(Progress::new(
            "Progress of finding out which words matter",
            Some(share),
        ));
    }
    ui.add_space(tokens.size.gap_xs);
    ui.horizontal(|ui| {
        let state = state(inquiry);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            buttons(ui, studio, gui, inquiry);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let words = RichText::new(state).small().color(tokens.text_muted);
                ui.add(Label::new(words).wrap());
            });
        });
    });
}

/// How far it is, in words.
fn state(inquiry: &Inquiry) -> String {
    let nothing = inquiry.parts.iter().filter(|part| part.does_nothing());
    match (&inquiry.trouble, nothing.count()) {
        _ if inquiry.is_running() => {
            let now = (inquiry.drawn + 1).min(inquiry.total());
            format!("Picture {now} of {}", inquiry.total())
        }
        (Some(reason), _) if reason.is_empty() => "Stopped.".to_owned(),
        (Some(reason), _) => reason.clone(),
        (None, nothing) if inquiry.is_done() => match nothing {
            0 => "Every part does something.".to_owned(),
            1 => "One part does next to nothing.".to_owned(),
            nothing => format!("{nothing} parts do next to nothing."),
        },
        (None, _) => {
            let time = facts::seconds(inquiry.expected());
            format!("{} pictures, about {time}; none is kept", inquiry.total())
        }
    }
}

fn buttons(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, inquiry: &Inquiry) {
    if inquiry.is_running() {
        let button = Button::secondary("Stop")
            .icon(Icon::Stop)
            .name("Stop finding out");
        if ui.add(button).clicked() {
            send(gui, MatterCommand::Stop);
        }
        return;
    }
    if inquiry.is_done() {
        if inquiry.shortened().is_some() {
            let nothing = inquiry.parts.iter().filter(|part| part.does_nothing());
            let (words, tip) = match nothing.count() {
                1 => (
                    "Leave it out",
                    "Puts the prompt without that part into the form",
                ),
                _ => (
                    "Leave them out",
                    "Puts the prompt without those parts into the form",
                ),
            };
            let button = Button::secondary(words).tooltip(tip);
            if ui.add(button).clicked() {
                send(gui, MatterCommand::Shorten);
            }
        }
        return;
    }
    let command = UiCommand::from(CreateCommand::Matter(MatterCommand::Begin));
    let reason = studio.available(&command).err();
    let words = match inquiry.drawn {
        0 => "Find out",
        _ => "Go on",
    };
    let button = Button::primary(words).unless(reason.as_deref());
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

/// A part of the prompt: its words, a bar, and how far the picture moves without it. The bar is as long as the figure says beside the `most` of all; a mark
/// shows where another seed is, if that is not its end.
fn row(ui: &mut Ui, tokens: &Tokens, part: &Part, most: f64) {
    let told = match part.share {
        None => "Not known yet".to_owned(),
        Some(_) if part.does_nothing() => "next to nothing".to_owned(),
        Some(share) => format!("{:.0} %", share * 100.0),
    };
    let name = format!("{}: {told}", part.text);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &name));
    let known = (part.share.unwrap_or(0.0) / most).clamp(0.0, 1.0) as f32;
    let (nothing, painter) = (part.does_nothing(), ui.painter());
    let words = match part.share {
        None => "",
        Some(_) => told.as_str(),
    };
    let colour = if nothing {
        tokens.text_faint
    } else {
        tokens.text
    };
    let font = crate::theme::regular(tokens.size.font_body);
    let right = painter.layout_no_wrap(words.to_owned(), font.clone(), colour);
    let at = egui::pos2(rect.right() - WORDS, rect.center().y - right.size().y / 2.0);
    painter.galley(at, right, colour);
    let bar = egui::Rect::from_min_size(
        egui::pos2(
            rect.right() - WORDS - tokens.size.gap_s - BAR,
            rect.center().y - 3.0,
        ),
        vec2(BAR, 6.0),
    );
    painter.rect_filled(bar, 3.0, tokens.bg_active);
    if known > 0.0 && !nothing {
        let filled = vec2((bar.width() * known).max(6.0), bar.height());
        painter.rect_filled(
            egui::Rect::from_min_size(bar.min, filled),
            3.0,
            tokens.accent_text,
        );
    }
    if most > 1.0 {
        let at = bar.left() + bar.width() * (1.0 / most) as f32;
        let mark = bar.y_range().expand(3.0);
        painter.vline(at, mark, (1.0, tokens.text_faint));
    }
    let room = (bar.left() - rect.left() - tokens.size.gap_m).max(20.0);
    let galley = egui::WidgetText::from(part.text.clone()).into_galley(
        ui,
        Some(egui::TextWrapMode::Truncate),
        room,
        egui::TextStyle::Body,
    );
    let at = egui::pos2(rect.left(), rect.center().y - galley.size().y / 2.0);
    let cut = galley.elided;
    ui.painter().galley(at, galley, colour);
    if cut {
        response.on_hover_text(&part.text);
    }
}
