//! The pictures as tiles; only those that can be seen are drawn.

use egui::{
    Event, Id, Key, Modifiers, Pos2, Rect, Response, Role, ScrollArea, Sense, Stroke, StrokeKind,
    Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::library::records::PictureId;
use crate::panels::Gui;
use crate::panels::create::bar::MENU;
use crate::panels::create::facts;
use crate::recall::Part;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::{CreateCommand, StartCommand};
use crate::studio::gallery::{GalleryCommand, Item, MorphCommand, Pick};
use crate::theme::{Icon, Tokens, paint_icon};
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::pictures::PictureStore;
use crate::widgets::thumbnails::paint_thumbnail;

const GAP: f32 = 8.0;
const MARGIN: f32 = 14.0;
/// Where the tile that had the keyboard last is remembered.
const FOCUSED: &str = "gallery focused";

/// Where tiles lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    columns: usize,
    side: f32,
}

impl Layout {
    /// As many columns as fit, each as wide as is left for it.
    fn of(width: f32, wanted: f32) -> Self {
        let room = (width - 2.0 * MARGIN).max(wanted);
        let columns = (((room + GAP) / (wanted + GAP)).floor() as usize).max(1);
        let side = ((room + GAP) / columns as f32 - GAP).floor();
        Self { columns, side }
    }

    fn rows(self, count: usize) -> usize {
        count.div_ceil(self.columns)
    }

    fn height(self, count: usize) -> f32 {
        2.0 * MARGIN + self.rows(count) as f32 * (self.side + GAP) - GAP
    }

    fn corner(self, index: usize) -> Pos2 {
        let (column, row) = (index % self.columns, index / self.columns);
        let step = self.side + GAP;
        pos2(MARGIN + column as f32 * step, MARGIN + row as f32 * step)
    }

    /// Indices of the rows between two heights.
    fn visible(self, top: f32, bottom: f32, count: usize) -> std::ops::Range<usize> {
        let step = self.side + GAP;
        let row = |y: f32| ((y - MARGIN) / step).floor().max(0.0) as usize;
        let first = row(top) * self.columns;
        let last = (row(bottom) + 1) * self.columns;
        first.min(count)..last.min(count)
    }
}

/// Shows them.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let layout = Layout::of(ui.available_width(), studio.gallery.sieve.tile);
    let shown = studio.gallery.shown();
    let last = studio.gallery.selection.last();
    keys(ui, gui, layout);
    // Ctrl and the wheel, or two fingers.
    let zoom = ui.input(egui::InputState::zoom_delta);
    if zoom != 1.0 && ui.rect_contains_pointer(ui.max_rect()) {
        gui.send(GalleryCommand::Tile(studio.gallery.sieve.tile * zoom));
    }
    let seen = Id::unique("gallery seen");
    let moved = last.is_some() && ui.data(|data| data.get_temp::<PictureId>(seen)) != last;
    let at = last.filter(|_| moved).and_then(|last| {
        let items = studio.gallery.items();
        shown
            .iter()
            .position(|index| items.get(*index).is_some_and(|item| item.record.id == last))
    });
    if let Some(last) = last {
        ui.data_mut(|data| data.insert_temp(seen, last));
    }
    ScrollArea::vertical()
        .id_salt("gallery grid")
        .auto_shrink([false, false])
        .show_viewport(ui, |ui, viewport| {
            let size = vec2(ui.available_width(), layout.height(shown.len()));
            let (area, ground) = ui.allocate_exact_size(size, Sense::click());
            let origin = area.min.to_vec2();
            if ground.clicked() {
                gui.send(GalleryCommand::PickNone);
            }
            if let Some(at) = at {
                let tile =
                    Rect::from_min_size(layout.corner(at) + origin, Vec2::splat(layout.side));
                ui.scroll_to_rect(tile.expand(GAP), None);
            }
            // A row more, so that Tab finds its way.
            let reach = layout.side;
            let range = layout.visible(
                viewport.top() - reach,
                viewport.bottom() + reach,
                shown.len(),
            );
            for place in range {
                let item = shown
                    .get(place)
                    .and_then(|index| studio.gallery.items().get(*index));
                if let Some(item) = item {
                    let rect = Rect::from_min_size(
                        layout.corner(place) + origin,
                        Vec2::splat(layout.side),
                    );
                    tile(ui, studio, gui, item, rect);
                }
            }
        });
}

/// Arrow keys go from tile to tile, unless something else has a use for them.
fn keys(ui: &Ui, gui: &mut Gui<'_>, layout: Layout) {
    let ctx = ui.ctx();
    if ctx.text_edit_focused() || egui::Popup::is_any_open(ctx) {
        return;
    }
    // A slider, a list and the like have arrows of their own.
    let focused = ctx.memory(egui::Memory::focused);
    let tile = ui.data(|data| data.get_temp::<Id>(Id::unique(FOCUSED)));
    if focused.is_some() && focused != tile {
        return;
    }
    let columns = i32::try_from(layout.columns).unwrap_or(1);
    let ways = [
        (Key::ArrowLeft, -1),
        (Key::ArrowRight, 1),
        (Key::ArrowUp, -columns),
        (Key::ArrowDown, columns),
    ];
    for (key, by) in ways {
        if ui.input_mut(|input| input.consume_key(Modifiers::NONE, key)) {
            gui.send(GalleryCommand::Step(by));
        }
    }
    let copied = ui.input(|input| {
        input
            .events
            .iter()
            .any(|event| matches!(event, Event::Copy))
    });
    if copied {
        gui.send(GalleryCommand::CopyChosen);
    }
}

fn tile(ui: &Ui, studio: &Studio, gui: &mut Gui<'_>, item: &Item, rect: Rect) {
    let tokens = gui.tokens.clone();
    let id = item.record.id;
    let chosen = studio.gallery.selection.has(id);
    let response = ui.interact(rect, Id::unique(("gallery tile", id.0)), Sense::click());
    let name = facts::name(item);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &name));
    if response.has_focus() {
        ui.data_mut(|data| data.insert_temp(Id::unique(FOCUSED), response.id));
    }
    if ui.is_rect_visible(rect) {
        paint(ui, &tokens, item, rect, chosen, &response);
    }
    if response.double_clicked() {
        gui.send(GalleryCommand::Pick(id, Pick::Only));
        gui.send(GalleryCommand::OpenChosen);
    } else if response.clicked() {
        let modifiers = ui.input(|input| input.modifiers);
        let pick = match (modifiers.shift, modifiers.command) {
            (true, _) => Pick::Range,
            (_, true) => Pick::Toggle,
            _ => Pick::Only,
        };
        gui.send(GalleryCommand::Pick(id, pick));
    }
    if response.secondary_clicked() && !chosen {
        gui.send(GalleryCommand::Pick(id, Pick::Only));
    }
    context(ui, studio, gui, item, &response);
    let words = facts::short(&item.record.request.prompt, 120);
    crate::widgets::tip(response, &words, None);
}

fn paint(ui: &Ui, tokens: &Tokens, item: &Item, rect: Rect, chosen: bool, response: &Response) {
    let painter = ui.painter();
    let fill = if chosen {
        tokens.accent_soft
    } else {
        tokens.bg_panel
    };
    painter.rect_filled(rect, tokens.corner_m(), fill);
    if let Some(source) = facts::source(item) {
        paint_thumbnail(
            ui,
            &PictureStore::of(ui.ctx()),
            &source,
            rect.shrink(5.0),
            true,
        );
    }
    let mut corner = pos2(rect.right() - 16.0, rect.top() + 16.0);
    let mut badge = |icon, colour| {
        painter.circle_filled(corner, 10.0, tokens.bg_panel.gamma_multiply(0.85));
        paint_icon(painter, corner, 13.0, icon, colour);
        corner.x -= 24.0;
    };
    if item.record.favourite {
        badge(Icon::StarFilled, tokens.warning);
    }
    if item.record.steps_done.is_some() {
        badge(Icon::Stop, tokens.text);
    }
    let ring = match (chosen, response.has_focus(), response.hovered()) {
        (_, true, _) => Some((2.0, tokens.focus)),
        (true, ..) => Some((2.0, tokens.accent_text)),
        (.., true) => Some((1.0, tokens.stroke_control)),
        _ => None,
    };
    if let Some((width, colour)) = ring {
        painter.rect_stroke(
            rect,
            tokens.corner_m(),
            Stroke::new(width, colour),
            StrokeKind::Inside,
        );
    }
}

/// What can be done, at the pointer.
fn context(ui: &Ui, studio: &Studio, gui: &mut Gui<'_>, item: &Item, response: &Response) {
    let trashed = item.record.trashed;
    let mut begun = false;
    menu::context(ui, response, |ui| {
        ui.set_max_width(MENU);
        let mut row = |ui: &mut Ui, label: &str, icon, command: GalleryCommand| {
            let command = UiCommand::from(command);
            let reason = studio.available(&command).err();
            let keys = gui.keys(&command);
            let item = MenuItem::new(label).icon(icon).shortcut(keys.as_deref());
            if ui.add(item.unless(reason.as_deref())).clicked() {
                gui.send(command);
            }
        };
        row(
            ui,
            "Open in Create",
            Icon::Image,
            GalleryCommand::OpenChosen,
        );
        row(
            ui,
            "Use all settings",
            Icon::Import,
            GalleryCommand::RecallChosen(Part::All),
        );
        row(
            ui,
            "Remix",
            Icon::Swap,
            GalleryCommand::RecallChosen(Part::Remix),
        );
        row(
            ui,
            "Use the prompt",
            Icon::Text,
            GalleryCommand::RecallChosen(Part::Prompt),
        );
        row(
            ui,
            "Use the seed",
            Icon::Seed,
            GalleryCommand::RecallChosen(Part::Seed),
        );
        let begin = MenuItem::new("Use as a start").icon(Icon::Start);
        begun = ui.add(begin).clicked();
        menu::separator(ui);
        row(ui, "Copy", Icon::Copy, GalleryCommand::CopyChosen);
        row(ui, "Save as…", Icon::Save, GalleryCommand::SaveChosen);
        row(
            ui,
            "Show the file",
            Icon::FolderOpen,
            GalleryCommand::RevealChosen,
        );
        menu::separator(ui);
        if studio.gallery.selection.len() == 2 {
            row(
                ui,
                "Morph between two pictures…",
                Icon::Morph,
                GalleryCommand::Morph(MorphCommand::Ask),
            );
            menu::separator(ui);
        }
        row(ui, "Favourite", Icon::Star, GalleryCommand::FavouriteChosen);
        if trashed {
            row(
                ui,
                "Take out of the trash",
                Icon::Restore,
                GalleryCommand::RestoreChosen,
            );
        } else {
            row(
                ui,
                "Move to the trash",
                Icon::Trash,
                GalleryCommand::TrashChosen,
            );
        }
    });
    if begun {
        let from = StartCommand::FromPicture(item.record.id);
        gui.send(CreateCommand::Start(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fill_the_width_and_only_the_visible_ones_are_told() {
        let layout = Layout::of(1000.0, 160.0);
        assert_eq!(layout.columns, 5);
        let right = layout.corner(4).x + layout.side + MARGIN;
        assert!((990.0..=1000.0).contains(&right), "{right}");
        assert_eq!(layout.rows(11), 3);
        let visible = layout.visible(0.0, 600.0, 10_000);
        assert_eq!(visible.start, 0);
        assert!((15..=25).contains(&visible.len()), "{visible:?}");
        let end = layout.height(10_000);
        let visible = layout.visible(end - 600.0, end, 10_000);
        assert_eq!(visible.end, 10_000);
        assert!(visible.len() <= 25, "{visible:?}");
        assert_eq!(Layout::of(50.0, 160.0).columns, 1);
        assert_eq!(layout.visible(0.0, 600.0, 0), 0..0);
    }
}
