//! A table: columns as wide as their text wants, narrower where the page is, sideways scrolling where that is not enough.

use egui::{Color32, Id, Rect, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder, pos2, vec2};

use super::blocks::{Column, Inlines};
use super::look::Look;
use super::text::Text;

/// Space around the text of a cell, in points.
const PADDING: egui::Vec2 = vec2(10.0, 6.0);
/// Text is not wrapped into columns narrower than this, in points.
const NARROWEST: f32 = 84.0;
/// Wider columns are wrapped, in points.
const WIDEST: f32 = 420.0;

/// A table laid out for a width.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    cells: Vec<Vec<Text>>,
    /// Widths of the texts.
    widths: Vec<f32>,
    /// Heights of the rows with padding.
    heights: Vec<f32>,
}

impl Table {
    /// Lays a table out.
    pub fn new(
        ui: &Ui,
        columns: &[Column],
        rows: &[Vec<Inlines>],
        look: &Look,
        width: f32,
    ) -> Self {
        let cells: Vec<Vec<Text>> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                row.iter()
                    .map(|cell| {
                        let mut cell = cell.clone();
                        if index == 0 {
                            for span in &mut cell.spans {
                                span.emphasis.strong = true;
                            }
                        }
                        Text::new(&cell, look, None, false)
                    })
                    .collect()
            })
            .collect();
        let mut natural = vec![0.0_f32; columns.len()];
        for row in &cells {
            for (cell, natural) in row.iter().zip(&mut natural) {
                *natural = natural.max(cell.galley(ui, WIDEST).size().x.ceil() + 1.0);
            }
        }
        let room = width - 2.0 * PADDING.x * columns.len() as f32;
        let widths = fit(&natural, room);
        let heights = cells
            .iter()
            .map(|row| {
                row.iter()
                    .zip(&widths)
                    .map(|(cell, &width)| cell.galley(ui, width).size().y)
                    .fold(0.0, f32::max)
                    + 2.0 * PADDING.y
            })
            .collect();
        Self {
            columns: columns.to_vec(),
            cells,
            widths,
            heights,
        }
    }

    /// Height in points.
    pub fn height(&self) -> f32 {
        self.heights.iter().sum()
    }

    fn width(&self) -> f32 {
        self.widths.iter().sum::<f32>() + 2.0 * PADDING.x * self.widths.len() as f32
    }

    /// Draws it at the top left of `rect`.
    pub fn show(&self, ui: &mut Ui, id: Id, rect: Rect, look: &Look, all: bool) {
        let shown = Rect::from_min_size(
            rect.min,
            vec2(self.width().min(rect.width()), rect.height()),
        );
        ui.painter().rect_filled(
            Rect::from_min_size(
                shown.min,
                vec2(
                    shown.width(),
                    self.heights.first().copied().unwrap_or_default(),
                ),
            ),
            egui::CornerRadius {
                nw: 8,
                ne: 8,
                sw: 0,
                se: 0,
            },
            look.fill,
        );
        ui.scope_builder(
            UiBuilder::new().max_rect(shown).scope_id(id.with("table")),
            |ui| {
                ScrollArea::horizontal()
                    .id_salt("table")
                    .auto_shrink(false)
                    .show(ui, |ui| {
                        let start = ui.max_rect().min;
                        let size = vec2(self.width(), self.height());
                        ui.allocate_rect(Rect::from_min_size(start, size), Sense::hover());
                        self.rows(ui, id, start, look, all);
                    });
            },
        );
        let stroke = Stroke::new(1.0, look.line);
        ui.painter()
            .rect_stroke(shown, 8, stroke, StrokeKind::Inside);
    }

    fn rows(&self, ui: &Ui, id: Id, start: egui::Pos2, look: &Look, all: bool) {
        let clip = ui.clip_rect();
        let mut y = start.y;
        for (index, (row, &height)) in self.cells.iter().zip(&self.heights).enumerate() {
            if index > 0 && clip.y_range().contains(y) {
                ui.painter().hline(
                    start.x..=start.x + self.width(),
                    y,
                    Stroke::new(1.0, look.line),
                );
            }
            if all || (y < clip.bottom() && y + height > clip.top()) {
                let mut x = start.x;
                for (at, (cell, &width)) in row.iter().zip(&self.widths).enumerate() {
                    if !cell.job.text.is_empty() {
                        let galley = cell.galley(ui, width);
                        let slack = width - galley.size().x;
                        let shift = match self.columns.get(at) {
                            Some(Column::Center) => slack / 2.0,
                            Some(Column::Right) => slack,
                            _ => 0.0,
                        };
                        let pos = pos2(x + PADDING.x + shift.max(0.0), y + PADDING.y);
                        let id = id.with((index, at));
                        cell.show(ui, id, pos, galley, Color32::PLACEHOLDER);
                    }
                    x += width + 2.0 * PADDING.x;
                }
            }
            y += height;
        }
    }
}

/// Widths of columns for a room: as they want to be if that fits, else the wide ones give way, but not beyond what can
/// be read.
fn fit(natural: &[f32], room: f32) -> Vec<f32> {
    let least = |&width: &f32| width.min(NARROWEST);
    if natural.iter().sum::<f32>() <= room || natural.iter().map(least).sum::<f32>() >= room {
        let fits = natural.iter().sum::<f32>() <= room;
        return natural
            .iter()
            .map(|width| {
                if fits {
                    *width
                } else {
                    least(width).max(width.min(160.0))
                }
            })
            .collect();
    }
    // The widest any column may be, so that all fit.
    let (mut low, mut high) = (NARROWEST, WIDEST);
    for _ in 0..24 {
        let middle = (low + high) / 2.0;
        if natural.iter().map(|width| width.min(middle)).sum::<f32>() <= room {
            low = middle;
        } else {
            high = middle;
        }
    }
    natural.iter().map(|width| width.min(low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_where_they_can() {
        assert_eq!(fit(&[50.0, 60.0], 200.0), [50.0, 60.0]);
        let fitted = fit(&[50.0, 400.0, 300.0], 450.0);
        assert_eq!(fitted[0], 50.0);
        assert!((fitted.iter().sum::<f32>() - 450.0).abs() < 0.1);
        // Too many columns: they keep a width that can be read, and the table scrolls.
        let many = fit(&[300.0; 20], 600.0);
        assert!(many.iter().all(|&width| width >= NARROWEST));
    }
}
