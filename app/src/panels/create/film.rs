//! The filmstrip: what runs and waits, and the pictures, newest first.

use egui::{
    Align2, Color32, Id, Rect, Response, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::{bar, facts, stage};
use crate::library::records::Origin;
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::QueueCommand;
use crate::studio::create::{CreateCommand, Current, Shown, Tile, strip};
use crate::studio::queue::{Stage, Task};
use crate::theme::{self, Icon, Tokens, paint_icon};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::pictures::{PictureSource, PictureStore};
use crate::widgets::thumbnails::paint_thumbnail;

/// Side of a tile, and the room between tiles of one order and of two.
const SIDE: f32 = 70.0;
const GAP: f32 = 4.0;
const BREAK: f32 = 14.0;
const MARGIN: f32 = 14.0;

/// Shows it.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let line = Stroke::new(1.0, tokens.stroke);
    ui.painter()
        .hline(ui.max_rect().x_range(), ui.max_rect().top(), line);
    let here = match studio.create.current(&studio.gallery, &studio.house) {
        Current::Job(task) => Some(Shown::Job(task.head.id)),
        Current::Picture(item) => Some(Shown::Picture(item.record.id)),
        Current::Nothing | Current::Guest(_) => None,
    };
    let tiles = strip::tiles(&studio.gallery, &studio.house);
    let (places, width) = places(&tiles);
    let mut clicked = None;
    ScrollArea::horizontal()
        .id_salt("create film")
        .auto_shrink([false, false])
        .show_viewport(ui, |ui, viewport| {
            let height = ui.available_height();
            let (area, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
            for (tile, left) in tiles.iter().zip(places) {
                // Tiles just outside are there too, so that Tab can reach them.
                if left > viewport.right() + SIDE || left + SIDE < viewport.left() - SIDE {
                    continue;
                }
                let corner = pos2(area.left() + left, area.center().y - SIDE / 2.0);
                let rect = Rect::from_min_size(corner, Vec2::splat(SIDE));
                let chosen = here == Some(tile.shown());
                let response = show_tile(ui, &tokens, tile, rect, chosen);
                let fresh = ui.data(|data| data.get_temp(Id::unique("film here"))) != here;
                if chosen && fresh {
                    response.scroll_to_me(None);
                }
                if response.clicked() || response.secondary_clicked() {
                    clicked = Some(tile.shown());
                }
                match tile {
                    Tile::Picture(_) if chosen => stage::picture_menu(ui, studio, gui, &response),
                    Tile::Picture(_) => {}
                    Tile::Job(task) => job_menu(ui, gui, task, &response),
                }
                if response.double_clicked() {
                    gui.send(CreateCommand::ZoomFit);
                }
            }
        });
    if let Some(here) = here {
        ui.data_mut(|data| data.insert_temp(Id::unique("film here"), here));
    }
    match clicked {
        Some(Shown::Picture(id)) => gui.send(CreateCommand::Show(Some(id))),
        Some(Shown::Job(id)) => gui.send(CreateCommand::ShowJob(id)),
        _ => {}
    }
}

/// Where each tile begins, and how wide all are.
fn places(tiles: &[Tile<'_>]) -> (Vec<f32>, f32) {
    let mut left = MARGIN;
    let mut places = Vec::with_capacity(tiles.len());
    for (index, tile) in tiles.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| tiles.get(before));
        if let Some(before) = before {
            left += SIDE;
            left += match (before, tile) {
                (Tile::Picture(a), Tile::Picture(b)) if strip::same_order(a, b) => GAP,
                (Tile::Job(_), Tile::Job(_)) => GAP,
                _ => BREAK,
            };
        }
        places.push(left);
    }
    (places, left + SIDE + MARGIN)
}

fn show_tile(ui: &Ui, tokens: &Tokens, tile: &Tile<'_>, rect: Rect, chosen: bool) -> Response {
    let id = match tile {
        Tile::Job(task) => Id::unique(("film job", task.head.id.0)),
        Tile::Picture(item) => Id::unique(("film picture", item.record.id.0)),
    };
    let response = ui.interact(rect, id, Sense::click());
    let name = match tile {
        Tile::Job(task) => format!("{}: {}", task.stage.label(), facts::short(task.title(), 80)),
        Tile::Picture(item) => facts::name(item),
    };
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &name));
    if ui.is_rect_visible(rect) {
        let painter = ui.painter_at(rect.expand(3.0));
        painter.rect_filled(rect, tokens.corner_m(), tokens.bg_raised);
        match tile {
            Tile::Job(task) => job(ui, tokens, task, rect),
            Tile::Picture(item) => {
                if let Some(source) = facts::source(item) {
                    paint_thumbnail(
                        ui,
                        &PictureStore::of(ui.ctx()),
                        &source,
                        rect.shrink(3.0),
                        true,
                    );
                }
                let corner = pos2(rect.right() - 10.0, rect.top() + 10.0);
                if item.record.favourite {
                    badge(&painter, tokens, corner, Icon::StarFilled, tokens.warning);
                } else if item.record.steps_done.is_some() {
                    badge(&painter, tokens, corner, Icon::Stop, tokens.text);
                } else if let Some(origin) = &item.record.origin {
                    let icon = match origin {
                        Origin::Branch { .. } => Icon::Branch,
                        Origin::Enlarged { .. } => Icon::Enlarge,
                    };
                    badge(&painter, tokens, corner, icon, tokens.text);
                }
            }
        }
        let ring = match (chosen, response.has_focus(), response.hovered()) {
            (_, true, _) => Some((2.0, tokens.focus)),
            (true, ..) => Some((2.0, tokens.accent_text)),
            (.., true) => Some((1.0, tokens.stroke_control)),
            _ => None,
        };
        if let Some((width, colour)) = ring {
            let stroke = Stroke::new(width, colour);
            painter.rect_stroke(rect, tokens.corner_m(), stroke, StrokeKind::Inside);
        }
    }
    let words = match tile {
        Tile::Job(task) => match &task.stage {
            Stage::Failed(reason) => reason.clone(),
            _ => facts::progress(task),
        },
        Tile::Picture(item) => facts::short(&item.record.request.prompt, 120),
    };
    crate::widgets::tip(response, &words, None)
}

/// What can be done with a job, at the pointer.
fn job_menu(ui: &Ui, gui: &mut Gui<'_>, task: &Task, response: &Response) {
    let id = task.head.id;
    menu::context(ui, response, |ui| {
        ui.set_max_width(bar::MENU);
        let asleep = match task.stage {
            Stage::Paused | Stage::Interrupted => Some("Resume"),
            Stage::Failed(_) => Some("Try again"),
            _ => None,
        };
        if let Some(label) = asleep
            && ui.add(MenuItem::new(label).icon(Icon::Play)).clicked()
        {
            gui.send(QueueCommand::Resume(id));
        }
        let running = matches!(task.stage, Stage::Running | Stage::Loading { .. });
        if running && ui.add(MenuItem::new("Pause").icon(Icon::Pause)).clicked() {
            gui.send(QueueCommand::Pause(id));
        }
        let label = if running { "Stop" } else { "Remove" };
        if ui.add(MenuItem::new(label).icon(Icon::Close)).clicked() {
            gui.send(QueueCommand::Cancel(id));
        }
    });
}

fn badge(painter: &egui::Painter, tokens: &Tokens, at: egui::Pos2, icon: Icon, colour: Color32) {
    painter.circle_filled(at, 8.0, tokens.bg_panel.gamma_multiply(0.85));
    paint_icon(painter, at, 11.0, icon, colour);
}

fn job(ui: &Ui, tokens: &Tokens, task: &Task, rect: Rect) {
    let painter = ui.painter_at(rect);
    if let Some(preview) = &task.progress.preview {
        let source = PictureSource::memory(preview);
        paint_thumbnail(
            ui,
            &PictureStore::of(ui.ctx()),
            &source,
            rect.shrink(3.0),
            true,
        );
    }
    let (icon, colour) = match &task.stage {
        Stage::Failed(_) => (Some(Icon::Error), tokens.danger_text),
        Stage::Waiting => (Some(Icon::Clock), tokens.text_faint),
        Stage::Loading { .. } => (Some(Icon::Model), tokens.text_muted),
        Stage::Paused | Stage::Interrupted => (Some(Icon::Pause), tokens.text_muted),
        Stage::Running => (None, tokens.text),
    };
    if let Some(icon) = icon {
        paint_icon(&painter, rect.center() - vec2(0.0, 8.0), 20.0, icon, colour);
        let font = theme::regular(tokens.size.font_caption - 1.0);
        let at = pos2(rect.center().x, rect.bottom() - 20.0);
        let word = match &task.stage {
            Stage::Loading { .. } => "Loading",
            Stage::Interrupted => "Left over",
            stage => stage.label(),
        };
        painter.text(at, Align2::CENTER_CENTER, word, font, colour);
    }
    if let Some(share) = task.progress.share().filter(|_| icon.is_none()) {
        let track = Rect::from_min_max(
            pos2(rect.left() + 6.0, rect.bottom() - 9.0),
            pos2(rect.right() - 6.0, rect.bottom() - 6.0),
        );
        painter.rect_filled(track, 1.5, Color32::from_black_alpha(130));
        let mut done = track;
        done.set_width(track.width() * share);
        painter.rect_filled(done, 1.5, tokens.accent_text);
    }
}
