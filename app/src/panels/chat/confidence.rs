//! An answer token by token: how sure the model was, and where it may go another way.

use egui::{Color32, Rect, Role, Sense, Ui, WidgetInfo, vec2};

use super::super::Gui;
use super::message::{Row, Shapes};
use crate::library::trace::{Trace, Word, WordKind};
use crate::studio::chat::ChatCommand;
use crate::studio::chat::asks::Spot;
use crate::theme::{self, Icon};
use crate::widgets::menu::MenuItem;
use crate::widgets::token_view::{TokenText, percent};
use crate::widgets::{can_be_used, menu, text, tip};

/// Width of the list of alternatives.
const WIDTH: f32 = 250.0;

/// Shows the answer, and the alternatives of the token that was clicked.
pub fn show(ui: &mut Ui, gui: &mut Gui<'_>, row: &Row<'_>, trace: &Trace, shapes: &mut Shapes<'_>) {
    let message = row.message;
    let open = shapes
        .picked
        .filter(|(of, _)| *of == message.id)
        .map(|(_, token)| token);
    let shown = TokenText {
        text: &message.text,
        count: trace.len(),
        range: &|token| trace.range(token),
        probability: &|token| trace.probability(token),
        stamp: trace.probability(0).map_or(0, |p| u64::from(p.to_bits())),
        open,
    };
    let id = ui.scope_id().with("tokens");
    let output = shapes.tokens.show(ui, id, &shown, row.look);
    if let Some(token) = output.clicked {
        *shapes.picked = (open != Some(token)).then_some((message.id, token));
        ui.request_repaint();
    }
    let (Some(token), Some(anchor)) = (open, output.anchor) else {
        return;
    };
    let mut stays = output.clicked.is_none();
    menu::anchored(ui, &anchor, &mut stays, |ui| {
        ui.set_width(WIDTH);
        ui.spacing_mut().item_spacing.y = 1.0;
        alternatives(ui, gui, row, trace, token);
    });
    if !stays && output.clicked.is_none() {
        *shapes.picked = None;
    }
}

fn alternatives(ui: &mut Ui, gui: &mut Gui<'_>, row: &Row<'_>, trace: &Trace, token: usize) {
    let written = row.message.text.get(trace.range(token)).unwrap_or_default();
    let t = gui.tokens.clone();
    ui.add_space(4.0);
    let told = trace.probability(token).map(percent);
    let head = match &told {
        Some(percent) => format!("“{}” was {percent} likely", visible(written)),
        None => format!("“{}” was given, not written", visible(written)),
    };
    ui.horizontal(|ui| {
        ui.add_space(8.0);
        text::caption(ui, &head);
    });
    ui.add_space(4.0);
    let mut any = false;
    for (word, probability) in trace.others(token) {
        any = true;
        let is_it = word.kind == WordKind::Text && word.text == written;
        let reason = if is_it {
            Some("The answer continues with this already")
        } else if row.busy {
            Some("An answer is being written; stop it first")
        } else if word.kind == WordKind::Part || !trace.can_fork(token) {
            Some("A part of a character cannot be chosen alone")
        } else {
            None
        };
        if alternative(ui, gui, word, probability, is_it, reason) {
            gui.send(ChatCommand::Fork(row.message.id, token, word.clone()));
        }
    }
    menu::separator(ui);
    let spot = Spot {
        message: row.message.id,
        bytes: trace.range(token).start,
    };
    let reason = (!trace.can_fork(token)).then_some("A part of a character cannot be tried alone");
    let item = MenuItem::new("Try the settings here").icon(Icon::Filter);
    if ui.add(item.unless(reason)).clicked() {
        gui.send(ChatCommand::TryAt(Some(spot)));
    }
    if !any {
        ui.horizontal(|ui| {
            ui.add_space(8.0);
            text::muted(ui, "No alternatives were kept.");
        });
    } else {
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            ui.add_space(8.0);
            let font = theme::regular(t.size.font_caption);
            let words = "Choose one, and another answer continues from it.";
            let words = egui::RichText::new(words).font(font).color(t.text_faint);
            ui.add(egui::Label::new(words).wrap());
        });
    }
    ui.add_space(4.0);
}

/// Line breaks and spaces at the ends can be seen.
fn visible(text: &str) -> String {
    text.replace('\n', "↵")
}

/// One alternative, over a bar as long as it was likely. Tells whether it was chosen.
fn alternative(
    ui: &mut Ui,
    gui: &Gui<'_>,
    word: &Word,
    probability: f32,
    is_it: bool,
    reason: Option<&str>,
) -> bool {
    let t = &gui.tokens;
    let name = match word.kind {
        WordKind::End => "End of the answer".to_owned(),
        _ => format!("“{}”", visible(&word.text)),
    };
    let figure = percent(probability);
    let row = |ui: &mut Ui| {
        let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 28.0), Sense::click());
        let enabled = can_be_used(ui);
        let label = if is_it {
            format!("Written: {name}, {figure}")
        } else {
            format!("Continue with {name}, {figure}")
        };
        response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, enabled, &label));
        let over = response.hovered() || response.has_focus();
        let painter = ui.painter();
        let fill = if over && enabled {
            t.bg_active
        } else {
            Color32::TRANSPARENT
        };
        painter.rect_filled(rect, t.corner_m(), fill);
        let width = (rect.width() - 4.0) * probability.clamp(0.0, 1.0);
        let bar = Rect::from_min_size(rect.left_bottom() + vec2(2.0, -4.0), vec2(width, 3.0));
        painter.rect_filled(
            bar,
            1.5,
            if enabled {
                t.accent_text
            } else {
                t.text_disabled
            },
        );
        let (colour, second) = match is_it {
            _ if !enabled => (t.text_disabled, t.text_disabled),
            true => (t.accent_text, t.text_muted),
            false => (t.text, t.text_muted),
        };
        let font = theme::regular(t.size.font_body);
        let figure = painter.layout_no_wrap(figure.clone(), font.clone(), second);
        let at = rect.right_center() - vec2(8.0 + figure.size().x, figure.size().y / 2.0);
        let room = at.x - rect.left() - 16.0;
        painter.galley(at, figure, second);
        let mut job = egui::text::LayoutJob::simple_singleline(name.clone(), font, colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(room);
        let galley = painter.layout_job(job);
        let at = rect.left_center() + vec2(8.0, -galley.size().y / 2.0);
        painter.galley(at, galley, colour);
        response
    };
    let response = ui.add_enabled(reason.is_none(), row);
    tip(response, reason.unwrap_or_default(), None).clicked()
}
