//! A cell of the grid: its picture, or how far it is.

use egui::{
    Align2, Color32, CursorIcon, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::QueueCommand;
use crate::studio::compare::{CellAt, CellPicture, CompareCommand};
use crate::studio::house::House;
use crate::studio::queue::{Stage, Task};
use crate::theme::{self, Icon, Tokens, paint_icon};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::thumbnails::paint_thumbnail;

/// Where a cell's picture is shown from: memory until it is saved, then its file.
pub(super) fn source(cell: &CellPicture, house: &House) -> Option<PictureSource> {
    match house.fresh_picture(cell.id) {
        Some(picture) => Some(PictureSource::memory(picture)),
        None => cell.path.as_deref().map(PictureSource::file),
    }
}

/// The names of the two sides, and their colours.
pub(super) fn side(
    studio: &Studio,
    at: CellAt,
    tokens: &Tokens,
) -> Option<(&'static str, Color32)> {
    let look = &studio.compare.look;
    if look.first == Some(at) {
        Some(("A", tokens.accent))
    } else if look.second == Some(at) {
        Some(("B", tokens.diff(1)))
    } else {
        None
    }
}

pub(super) fn show(
    ui: &mut Ui,
    studio: &mut Studio,
    gui: &mut Gui<'_>,
    rect: Rect,
    at: CellAt,
    (row, seed): (usize, u64),
) {
    let tokens = gui.tokens.clone();
    let id = ui.scope_id().with(("cell", studio.compare.grid.id.0, at));
    let response = ui.interact(rect, id, Sense::click());
    let compare = &studio.compare;
    let house = &studio.house;
    let task = compare.job(at, house);
    let cell = compare.grid.cell(at);
    let name = format!("Prompt {}, seed {seed}: {}", row + 1, describe(task, cell));
    let chosen = side(studio, at, &tokens);
    let best = compare.grid.winner == Some(at);
    let visible = ui.is_rect_visible(rect);
    if visible {
        let current = cell.is_some() && compare.grid.is_current(at, house);
        let crisp = compare.look.crisp;
        picture(ui, &tokens, rect, task, cell, house, crisp);
        if let Some(task) = task {
            progress(ui, &tokens, rect, task, cell.is_some());
        } else if cell.is_some_and(|cell| cell.steps_done.is_some()) {
            chip(ui, &tokens, rect, "Stopped early");
        } else if cell.is_some() && !current && compare.grid.wanted(at, house).is_ok() {
            chip(ui, &tokens, rect, "Changed since");
        }
        outline(ui, &tokens, rect, &response, chosen);
    }
    let selected = chosen.is_some();
    let enabled = ui.is_enabled();
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, selected, &name));
    if response.clicked() && cell.is_some() {
        gui.send(CompareCommand::Select(at));
    }
    let failed = task.and_then(|task| match &task.stage {
        Stage::Failed(reason) => Some((task.head.id, reason.clone())),
        _ => None,
    });
    let left = task.and_then(|task| match &task.stage {
        Stage::Interrupted | Stage::Paused => Some(task.head.id),
        _ => None,
    });
    if let Some((task, reason)) = failed {
        failure(ui, gui, rect, &reason, (row, seed));
        let retry = inner_button(ui, rect, "Try again", Icon::Refresh, (row, seed));
        if retry {
            gui.send(QueueCommand::Resume(task));
        }
    } else if let Some(task) = left {
        if inner_button(ui, rect, "Resume", Icon::Resume, (row, seed)) {
            gui.send(QueueCommand::Resume(task));
        }
    } else if cell.is_some() {
        corner(ui, gui, rect, at, best, &response, (row, seed));
    }
    let response = match cell {
        Some(_) if task.is_none() => response.on_hover_cursor(CursorIcon::PointingHand),
        _ => response,
    };
    menu::context(ui, &response, |ui| context_menu(ui, studio, gui, at));
}

/// How far a cell is, for those who hear it.
fn describe(task: Option<&Task>, cell: Option<&CellPicture>) -> String {
    match (task, cell) {
        (Some(task), _) => match &task.stage {
            Stage::Running => format!("step {} of {}", task.progress.done, task.progress.total),
            Stage::Failed(reason) => format!("failed, {reason}"),
            stage => stage.label().to_lowercase(),
        },
        (None, Some(cell)) if cell.steps_done.is_some() => "stopped early".to_owned(),
        (None, Some(_)) => "drawn".to_owned(),
        (None, None) => "not drawn".to_owned(),
    }
}

fn picture(
    ui: &Ui,
    tokens: &Tokens,
    rect: Rect,
    task: Option<&Task>,
    cell: Option<&CellPicture>,
    house: &House,
    crisp: bool,
) {
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, tokens.corner_m(), tokens.canvas_bg);
    let store = PictureStore::of(ui.ctx());
    let preview = task
        .filter(|task| matches!(task.stage, Stage::Running))
        .and_then(|task| task.progress.preview.as_ref());
    if let Some(preview) = preview {
        let source = PictureSource::memory(preview);
        paint_thumbnail(ui, &store, &source, rect, !crisp);
        return;
    }
    match cell.and_then(|cell| source(cell, house)) {
        Some(source) => {
            paint_thumbnail(ui, &store, &source, rect, !crisp);
            if task.is_some() {
                let veil = tokens.canvas_bg.gamma_multiply(0.7);
                painter.rect_filled(rect, tokens.corner_m(), veil);
            }
        }
        None => {
            let stroke = Stroke::new(1.0, tokens.stroke);
            painter.rect_stroke(rect, tokens.corner_m(), stroke, StrokeKind::Inside);
        }
    }
}

/// What a job says, along the lower edge or in the middle.
fn progress(ui: &Ui, tokens: &Tokens, rect: Rect, task: &Task, over_picture: bool) {
    let painter = ui.painter_at(rect);
    let caption = theme::regular(tokens.size.font_caption);
    match &task.stage {
        Stage::Running => {
            let share = task.progress.share().unwrap_or(0.0);
            let bar = Rect::from_min_max(pos2(rect.min.x, rect.max.y - 3.0), rect.max);
            painter.rect_filled(bar, 0.0, tokens.bg_active);
            let width = bar.width() * share;
            let done = Rect::from_min_size(bar.min, vec2(width, bar.height()));
            painter.rect_filled(done, 0.0, tokens.accent_text);
            let text = format!("{} / {}", task.progress.done, task.progress.total);
            let galley = painter.layout_no_wrap(text, caption, tokens.text);
            let size = galley.size() + vec2(12.0, 4.0);
            let area = Rect::from_min_max(rect.min, bar.right_top()).shrink(6.0);
            let chip = Align2::LEFT_BOTTOM.align_size_within_rect(size, area);
            painter.rect_filled(chip, 4.0, tokens.bg_raised.gamma_multiply(0.9));
            painter.galley(chip.min + vec2(6.0, 2.0), galley, tokens.text);
        }
        Stage::Failed(_) => {}
        stage => {
            let (icon, text) = match stage {
                Stage::Loading { model, .. } => (Icon::Model, format!("Loading {model}")),
                Stage::Waiting => (Icon::Clock, "Waiting".to_owned()),
                stage => (Icon::Pause, stage.label().to_owned()),
            };
            let colour = if over_picture {
                tokens.text
            } else {
                tokens.text_faint
            };
            let middle = rect.center() - vec2(0.0, 12.0);
            paint_icon(&painter, middle, tokens.size.icon_m, icon, colour);
            let mut job = egui::text::LayoutJob::simple_singleline(text, caption, colour);
            job.wrap = egui::text::TextWrapping::truncate_at_width(rect.width() - 12.0);
            let galley = painter.layout_job(job);
            let at = rect.center() + vec2(0.0, 8.0) - galley.size() / 2.0;
            painter.galley(at, galley, colour);
        }
    }
}

fn chip(ui: &Ui, tokens: &Tokens, rect: Rect, text: &str) {
    let painter = ui.painter_at(rect);
    let font = theme::regular(tokens.size.font_caption);
    let galley = painter.layout_no_wrap(text.to_owned(), font, tokens.text_muted);
    let size = galley.size() + vec2(12.0, 4.0);
    let chip = Align2::LEFT_BOTTOM.align_size_within_rect(size, rect.shrink(6.0));
    painter.rect_filled(chip, 4.0, tokens.bg_raised.gamma_multiply(0.92));
    painter.galley(chip.min + vec2(6.0, 2.0), galley, tokens.text_muted);
}

fn outline(
    ui: &Ui,
    tokens: &Tokens,
    rect: Rect,
    response: &Response,
    chosen: Option<(&'static str, Color32)>,
) {
    let painter = ui.painter();
    let ring = rect.expand(2.0);
    let corner = tokens.size.radius_m + 2.0;
    if let Some((letter, colour)) = chosen {
        let stroke = Stroke::new(2.0, colour);
        painter.rect_stroke(ring, corner, stroke, StrokeKind::Middle);
        let badge = Rect::from_min_size(rect.min + vec2(6.0, 6.0), vec2(20.0, 20.0));
        painter.rect_filled(badge, 10.0, colour);
        let font = theme::semibold(ui.ctx(), tokens.size.font_caption);
        let ink = if theme::contrast(tokens.on_accent, colour) > 3.0 {
            tokens.on_accent
        } else {
            tokens.bg_base
        };
        painter.text(badge.center(), Align2::CENTER_CENTER, letter, font, ink);
    } else if response.hovered() {
        let stroke = Stroke::new(1.0, tokens.stroke_strong);
        painter.rect_stroke(rect, tokens.size.radius_m, stroke, StrokeKind::Outside);
    }
    if response.has_focus() {
        let stroke = Stroke::new(1.5, tokens.focus);
        painter.rect_stroke(ring.expand(2.0), corner + 2.0, stroke, StrokeKind::Middle);
    }
}

fn failure(ui: &mut Ui, gui: &Gui<'_>, rect: Rect, reason: &str, (row, seed): (usize, u64)) {
    let tokens = gui.tokens.clone();
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, tokens.corner_m(), tokens.danger_soft);
    let font = theme::regular(tokens.size.font_caption);
    let mut job = egui::text::LayoutJob::simple(
        reason.to_owned(),
        font,
        tokens.danger_text,
        rect.width() - 20.0,
    );
    job.wrap.max_rows = ((rect.height() - 66.0) / 15.0).max(1.0) as usize;
    let galley = painter.layout_job(job);
    let top = rect.min + vec2(10.0, 28.0);
    paint_icon(
        &painter,
        rect.min + vec2(18.0, 16.0),
        16.0,
        Icon::Error,
        tokens.danger_text,
    );
    painter.galley(top, galley, tokens.danger_text);
    let id = ui.scope_id().with(("failure", row, seed));
    let note = ui.interact(rect.with_max_y(rect.max.y - 36.0), id, Sense::hover());
    note.on_hover_text(reason);
}

fn inner_button(
    ui: &mut Ui,
    rect: Rect,
    text: &str,
    icon: Icon,
    (row, seed): (usize, u64),
) -> bool {
    let area = Rect::from_min_max(
        pos2(rect.min.x + 8.0, rect.max.y - 34.0),
        rect.max - vec2(8.0, 6.0),
    );
    let name = format!("{text}: prompt {}, seed {seed}", row + 1);
    ui.scope_builder(UiBuilder::new().max_rect(area), |ui| {
        ui.add(Button::secondary(text).small().icon(icon).name(&name))
            .clicked()
    })
    .inner
}

/// Star and menu in the corner: always there for keys and screen readers, seen when they are near.
fn corner(
    ui: &mut Ui,
    gui: &mut Gui<'_>,
    rect: Rect,
    at: CellAt,
    best: bool,
    response: &Response,
    (row, seed): (usize, u64),
) {
    let tokens = gui.tokens.clone();
    let side = tokens.size.control_s;
    let area = Rect::from_min_size(
        pos2(rect.max.x - side - 6.0, rect.min.y + 6.0),
        vec2(side, side),
    );
    let name = if best {
        format!("The best: prompt {}, seed {seed}", row + 1)
    } else {
        format!("Mark as the best: prompt {}, seed {seed}", row + 1)
    };
    let id = ui.scope_id().with(("star", at));
    let near = best || response.hovered() || response.contains_pointer() || response.has_focus();
    let focused = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or(false);
    let star = ui
        .scope_builder(UiBuilder::new().max_rect(area), |ui| {
            if near || focused {
                let ground = tokens.bg_raised.gamma_multiply(0.9);
                ui.painter().rect_filled(area, side / 2.0, ground);
            } else {
                ui.set_opacity(0.0);
            }
            let icon = if best { Icon::StarFilled } else { Icon::Star };
            let colour = if best { tokens.warning } else { tokens.text };
            ui.add(IconButton::new(icon, &name).small().colour(colour))
        })
        .inner;
    let has_focus = star.has_focus();
    ui.data_mut(|data| data.insert_temp(id, has_focus));
    if star.clicked() {
        gui.send(CompareCommand::Winner(at));
    }
}

fn context_menu(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>, at: CellAt) {
    let drawn = studio.compare.grid.cell(at).is_some();
    let nothing = (!drawn).then_some("Nothing is drawn here yet");
    let best = studio.compare.grid.winner == Some(at);
    let items = [
        ("Compare", Icon::SliderCompare, CompareCommand::Select(at)),
        (
            if best {
                "No longer the best"
            } else {
                "Mark as the best"
            },
            Icon::Star,
            CompareCommand::Winner(at),
        ),
        (
            "Use all settings in Create",
            Icon::Sparkle,
            CompareCommand::UseInCreate(at),
        ),
    ];
    for (text, icon, command) in items {
        if ui
            .add(MenuItem::new(text).icon(icon).unless(nothing))
            .clicked()
        {
            gui.send(command);
        }
    }
    menu::separator(ui);
    let wanted = studio.compare.grid.wanted(at, &studio.house).err();
    let text = if drawn { "Draw again" } else { "Draw" };
    let draw = MenuItem::new(text)
        .icon(Icon::Refresh)
        .unless(wanted.as_deref());
    if ui.add(draw).clicked() {
        gui.send(CompareCommand::RunCell(at));
    }
    let crisp = studio.compare.look.crisp;
    let pixels = MenuItem::new("Crisp pixels")
        .icon(Icon::Grid)
        .checked(crisp);
    if ui.add(pixels).clicked() {
        studio.compare.look.crisp = !crisp;
    }
}
