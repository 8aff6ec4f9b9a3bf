//! A conversation that is not begun.

use egui::{Align, Layout, Rect, RichText, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::super::Gui;
use crate::studio::Studio;
use crate::studio::chat::{ChatCommand, words::STARTERS};
use crate::studio::command::AppCommand;
use crate::studio::view::Drawer;
use crate::theme::{self, Icon, mix, paint_icon};
use crate::widgets::empty::EmptyState;

/// Widest row of cards.
const WIDEST: f32 = 640.0;
const CARD: f32 = 76.0;

/// Shows what may be asked, or what is missing.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>) {
    let settings = studio.chat.settings(&studio.house);
    let model = studio.chat.model_of(&settings, &studio.house);
    let Some(model) = model else {
        if studio.house.shelf.ready && !studio.house.shelf.scanning {
            let missing = EmptyState::new(
                Icon::Chat,
                "No chat model",
                "Add a chat model in GGUF form; many can be had for free.",
            )
            .action("Open models", Icon::Model, None);
            if missing.show(ui).is_some() {
                gui.send(AppCommand::Drawer(Drawer::Models));
            }
        }
        return;
    };
    let built_in = model.source == crate::studio::models::BUILT_IN;
    let name = model.name();
    let t = gui.tokens.clone();
    let room = ui.available_rect_before_wrap();
    let width = (room.width() - 2.0 * t.size.gap_xl).min(WIDEST);
    let stacked = width < 460.0;
    let cards = if stacked { 3.0 * (CARD - 16.0) } else { CARD };
    let top = ((room.height() - 170.0 - cards) * 0.45).max(t.size.gap_s);
    ui.with_layout(Layout::top_down(Align::Center), |ui| {
        ui.add_space(top);
        let (disc, _) = ui.allocate_exact_size(vec2(64.0, 64.0), Sense::hover());
        ui.painter()
            .circle_filled(disc.center(), 32.0, t.accent_soft);
        paint_icon(ui.painter(), disc.center(), 28.0, Icon::Chat, t.accent_text);
        ui.add_space(t.size.gap_s);
        let font = theme::semibold(ui.ctx(), t.size.font_heading);
        let title = format!("Talk with {name}");
        ui.label(RichText::new(title).font(font).color(t.text));
        ui.spacing_mut().item_spacing.y = 2.0;
        let words = if built_in {
            "It is small, and knows about pictures and prompts. Nothing leaves this computer."
        } else {
            "It runs here. Nothing leaves this computer."
        };
        ui.label(RichText::new(words).color(t.text_muted));
        ui.add_space(t.size.gap_l);
    });
    let left = room.center().x - width / 2.0;
    let y = ui.cursor().top() + t.size.gap_s;
    let gap = t.size.gap_m;
    for (index, (title, words)) in STARTERS.iter().enumerate() {
        let at = index as f32;
        let rect = if stacked {
            let height = CARD - 16.0;
            Rect::from_min_size(pos2(left, y + at * (height + 8.0)), vec2(width, height))
        } else {
            let each = (width - 2.0 * gap) / 3.0;
            Rect::from_min_size(pos2(left + at * (each + gap), y), vec2(each, CARD))
        };
        if rect.bottom() < room.bottom() && card(ui, gui, rect, title, words) {
            gui.send(ChatCommand::Ask((*words).to_owned()));
        }
    }
}

fn card(ui: &Ui, gui: &Gui<'_>, rect: Rect, title: &str, words: &str) -> bool {
    let t = &gui.tokens;
    let response = ui.interact(rect, ui.scope_id().with(title), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, ui.is_enabled(), words));
    let over = ui.ctx().animate_bool_with_time(
        response.id.with("hover"),
        response.hovered(),
        t.size.time_fast,
    );
    let fill = mix(t.bg_raised, t.bg_hover, over);
    let stroke = if response.has_focus() {
        Stroke::new(2.0, t.focus)
    } else {
        Stroke::new(1.0, t.stroke)
    };
    ui.painter()
        .rect(rect, t.corner_l(), fill, stroke, StrokeKind::Inside);
    let room = rect.width() - 2.0 * t.size.gap_m;
    let line = |text: &str, font, colour| {
        let mut job = egui::text::LayoutJob::simple(text.to_owned(), font, colour, room);
        job.wrap.max_rows = 2;
        ui.painter().layout_job(job)
    };
    let head = line(title, theme::medium(ui.ctx(), t.size.font_body), t.text);
    let body = line(words, theme::regular(t.size.font_body - 0.5), t.text_muted);
    let height = head.size().y + 4.0 + body.size().y;
    let start = pos2(rect.left() + t.size.gap_m, rect.center().y - height / 2.0);
    let below = start + vec2(0.0, head.size().y + 4.0);
    ui.painter().galley(start, head, t.text);
    ui.painter().galley(below, body, t.text_muted);
    response.clicked()
}
