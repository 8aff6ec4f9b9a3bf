//! The grid: seeds above, a row for each prompt.

use egui::{Align, Layout, Rect, ScrollArea, Ui, UiBuilder, pos2, vec2};

use super::{cell, row};
use crate::panels::Gui;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::compare::{CellAt, CompareCommand, SeedColumn, words};
use crate::theme::Icon;
use crate::widgets::button::{Button, IconButton};
use crate::widgets::empty::EmptyState;
use crate::widgets::input::TextField;
use crate::widgets::menu::{self, MenuItem};
use crate::widgets::text;

/// Width of the prompts, in points.
const HEAD: f32 = 236.0;
/// Least and largest side of a cell, in points.
const SIDES: std::ops::RangeInclusive<f32> = 112.0..=560.0;
/// Least height of a row: a prompt needs some room.
const LEAST_ROW: f32 = 116.0;

pub(super) fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    let gap = tokens.size.gap_s;
    let area = ui.available_rect_before_wrap();
    let (rows, columns) = {
        let setup = &studio.compare.grid.setup;
        (setup.variants.len(), setup.seeds.len())
    };
    let head_height = tokens.size.control_m + gap;
    let inner = area.shrink2(vec2(tokens.size.gap_l, tokens.size.gap_s));
    let add_width = tokens.size.control_m + gap;
    let for_cells = inner.width() - HEAD - add_width - gap * columns as f32 - 10.0;
    let for_rows = inner.height() - head_height - tokens.size.control_m - gap * 3.0;
    gui.notices = Some(area.with_min_y(area.min.y + gap + head_height));
    let aspect = aspect(studio);
    // As large as all columns fit; and if that is possible, all rows.
    let by_width = for_cells / columns.max(1) as f32;
    let by_height = (for_rows / rows.max(1) as f32 - gap) * aspect;
    let width = by_width
        .min(by_height.max(200.0))
        .clamp(*SIDES.start(), *SIDES.end())
        .floor();
    let cell_size = vec2(width, (width / aspect).floor());
    let row_height = cell_size.y.max(LEAST_ROW);

    let scroll = ScrollArea::both()
        .id_salt("compare grid")
        .auto_shrink(false);
    scroll.show(ui, |ui| {
        let origin = ui.cursor().min + vec2(tokens.size.gap_l, tokens.size.gap_s);
        let left = origin.x + HEAD + gap;
        let column_at = |index: usize| left + index as f32 * (cell_size.x + gap);
        seeds(ui, studio, gui, origin, &column_at, cell_size.x);
        let differing = {
            let prompts: Vec<&str> = studio
                .compare
                .grid
                .setup
                .variants
                .iter()
                .map(|variant| variant.prompt.as_str())
                .collect();
            words::differing(&prompts)
        };
        let seeds: Vec<SeedColumn> = studio.compare.grid.setup.seeds.clone();
        for index in 0..rows {
            let top = origin.y + head_height + index as f32 * (row_height + gap);
            let head = Rect::from_min_size(pos2(origin.x, top), vec2(HEAD, row_height));
            let marks = differing.get(index).map_or(&[][..], Vec::as_slice);
            row::show(ui, studio, gui, head, index, marks);
            let Some(variant) = studio.compare.grid.setup.variants.get(index) else {
                continue;
            };
            let row = variant.id;
            for (column, seed) in seeds.iter().enumerate() {
                let corner = pos2(column_at(column), top + (row_height - cell_size.y) / 2.0);
                let rect = Rect::from_min_size(corner, cell_size);
                let at = CellAt {
                    row,
                    column: seed.id,
                };
                cell::show(ui, studio, gui, rect, at, (index, seed.seed));
            }
        }
        let bottom = origin.y + head_height + rows as f32 * (row_height + gap);
        let foot = Rect::from_min_size(pos2(origin.x, bottom), vec2(HEAD, tokens.size.control_m));
        ui.scope_builder(UiBuilder::new().max_rect(foot), |ui| {
            let command = UiCommand::from(CompareCommand::AddVariant);
            let reason = studio.available(&command).err();
            let add = Button::quiet("Add a prompt").icon(Icon::Plus);
            if ui.add(add.unless(reason.as_deref())).clicked() {
                gui.send(command);
            }
            if studio.compare.is_proposing() {
                text::caption(ui, "Variants are being thought of");
            }
        });
        let right = column_at(columns) + add_width;
        let used = Rect::from_min_max(origin, pos2(right, foot.max.y + tokens.size.gap_l));
        ui.allocate_rect(used, egui::Sense::hover());
        if studio.compare.grid.is_blank() {
            let over = Rect::from_min_max(
                pos2(left, origin.y + head_height),
                pos2(column_at(columns) - gap, bottom - gap),
            );
            invitation(ui, over, gui);
        }
    });
}

/// What an empty grid says.
fn invitation(ui: &mut Ui, over: Rect, gui: &mut Gui<'_>) {
    let tokens = gui.tokens.clone();
    ui.painter().rect_filled(
        over,
        tokens.corner_l(),
        tokens.bg_panel.gamma_multiply(0.94),
    );
    // Beside a drawer the grid goes on behind it; the words stay where they are seen.
    let seen = over
        .intersect(ui.clip_rect())
        .shrink2(vec2(tokens.size.gap_m, 0.0));
    let size = vec2(seen.width().min(420.0), 240.0);
    let inner = Rect::from_center_size(seen.center(), size);
    ui.scope_builder(UiBuilder::new().max_rect(inner), |ui| {
        ui.spacing_mut().item_spacing.y = tokens.size.gap_s;
        let empty = EmptyState::new(
            Icon::Columns,
            "What does a word change?",
            "Write two prompts at the left. Each is drawn with the same seeds, so that only the words make the difference.",
        )
        .action("Try an example", Icon::Sparkle, None);
        if empty.show(ui).is_some() {
            gui.send(CompareCommand::Example);
            gui.send(CompareCommand::Run);
        }
    });
}

/// Width by height of what will be drawn.
fn aspect(studio: &Studio) -> f32 {
    let grid = &studio.compare.grid;
    let drawn = grid.cells.first().map(|cell| cell.size);
    let form = &grid.setup.common;
    let wanted = || form.model(&studio.house).map(|model| form.size(model));
    let (width, height) = drawn.or_else(wanted).unwrap_or((1, 1));
    (width.max(1) as f32 / height.max(1) as f32).clamp(0.4, 2.5)
}

/// The row of seeds.
fn seeds(
    ui: &mut Ui,
    studio: &Studio,
    gui: &mut Gui<'_>,
    origin: egui::Pos2,
    column_at: &impl Fn(usize) -> f32,
    width: f32,
) {
    let tokens = gui.tokens.clone();
    let height = tokens.size.control_m;
    let head = Rect::from_min_size(origin, vec2(HEAD, height));
    let row = Layout::left_to_right(Align::Center);
    ui.scope_builder(UiBuilder::new().max_rect(head).layout(row), |ui| {
        let dice = Button::quiet("New seeds")
            .icon(Icon::Dice)
            .tooltip("Other noise to begin from, the same in every row");
        if ui.add(dice).clicked() {
            gui.send(CompareCommand::NewSeeds);
        }
    });
    let seeds = &studio.compare.grid.setup.seeds;
    for (index, seed) in seeds.iter().enumerate() {
        let rect = Rect::from_min_size(pos2(column_at(index), origin.y), vec2(width, height));
        ui.scope_builder(UiBuilder::new().max_rect(rect).layout(row), |ui| {
            let text = seed.seed.to_string();
            let button = Button::quiet(&text).icon(Icon::Seed);
            let name = format!("Seed {text}");
            let button = ui.add(
                button
                    .name(&name)
                    .tooltip("The noise that this column begins from"),
            );
            menu::popover(ui, &button, 220.0, |ui| {
                seed_menu(ui, studio, gui, index, seed);
            });
        });
    }
    let after = pos2(column_at(seeds.len()), origin.y);
    let rect = Rect::from_min_size(after, vec2(height, height));
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(row), |ui| {
        let command = UiCommand::from(CompareCommand::AddSeed);
        let reason = studio.available(&command).err();
        let add = IconButton::new(Icon::Plus, "Add a seed");
        if ui.add(add.unless(reason.as_deref())).clicked() {
            gui.send(command);
        }
    });
}

fn seed_menu(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, index: usize, seed: &SeedColumn) {
    let id = ui.scope_id().with(("seed text", seed.id));
    let mut text: String = ui
        .data(|data| data.get_temp(id))
        .unwrap_or_else(|| seed.seed.to_string());
    let parsed = text.trim().parse::<u64>();
    let wrong = parsed.is_err().then_some("A seed is a whole number");
    let field = TextField::new("Seed", &mut text).error(wrong).mono();
    if ui.add(field).changed() {
        if let Ok(value) = text.trim().parse() {
            gui.send(CompareCommand::SetSeed(seed.id, value));
        }
        ui.data_mut(|data| data.insert_temp(id, text));
    }
    ui.add_space(gui.tokens.size.gap_s);
    let last = studio.compare.grid.setup.seeds.len().saturating_sub(1);
    if ui
        .add(MenuItem::new("Another seed").icon(Icon::Dice))
        .clicked()
    {
        let value = crate::origin::new_seed();
        gui.send(CompareCommand::SetSeed(seed.id, value));
        ui.data_mut(|data| data.insert_temp(id, value.to_string()));
    }
    let no_left = (index == 0).then_some("It is the first");
    let left = MenuItem::new("Move left")
        .icon(Icon::ArrowLeft)
        .unless(no_left);
    if ui.add(left).clicked() {
        gui.send(CompareCommand::MoveSeed(seed.id, index.saturating_sub(1)));
    }
    let no_right = (index == last).then_some("It is the last");
    let right = MenuItem::new("Move right")
        .icon(Icon::ArrowRight)
        .unless(no_right);
    if ui.add(right).clicked() {
        gui.send(CompareCommand::MoveSeed(seed.id, index + 1));
    }
    let command = CompareCommand::RemoveSeed(seed.id);
    let reason = studio.available(&command.clone().into()).err();
    let remove = MenuItem::new("Remove").icon(Icon::Trash).danger();
    if ui.add(remove.unless(reason.as_deref())).clicked() {
        gui.send(command);
    }
}
