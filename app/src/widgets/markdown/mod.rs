//! Markdown, drawn: headings, lists, quotes, tables, code with colours, links; all of it can be selected.
//!
//! The source is read into a flat list of pieces ([`blocks`]), each laid out by itself, so that an answer that grows
//! costs no more than its last block ([`stream`]). HTML is shown as the text that it is, and nothing is ever fetched.

pub mod blocks;
mod code;
pub mod highlight;
mod look;
mod selection;
mod stream;
mod table;
mod text;

use std::ops::Range;
use std::sync::Arc;

use egui::text::LayoutJob;
use egui::{Color32, Galley, Id, Pos2, Rect, Sense, Stroke, StrokeKind, Ui, pos2, vec2};

pub use look::Look;
pub use selection::selected_text;
pub(super) use text::rects;
pub use text::{may_open, selectable, selecting};

use blocks::{Inlines, Kind, Level, Marker, Piece};
use stream::Document;
use text::Text;

/// Indentation of an item of a list, in points.
const ITEM: f32 = 26.0;
/// Indentation of a quote, in points.
const QUOTE: f32 = 16.0;
/// Pieces up to which a selection keeps all of them on the page.
const MOST_SELECTED: usize = 3000;

/// What a person did with a text beside reading, selecting and copying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The button of a block of code ([`Markdown::show`]); its code.
    Code(String),
}

/// A piece laid out.
#[derive(Clone, Debug)]
enum Laid {
    Text(Text),
    Code(LayoutJob),
    Rule,
    Table(table::Table),
}

/// A text in Markdown, and how it is laid out.
#[derive(Clone, Debug, Default)]
pub struct Markdown {
    document: Document,
    laid: Vec<(Laid, f32)>,
    /// What the layout depends on: look, width, points.
    key: Option<(u64, u32, u32)>,
    /// How many pieces were laid out by the last [`Markdown::show`].
    fresh: usize,
    /// Bytes of the source that are marked, and the colour behind them.
    mark: Option<(Range<usize>, Color32)>,
}

impl Markdown {
    /// Takes the text; one that continues the former costs only its last block. `streaming` closes what is still open.
    pub fn set(&mut self, text: &str, streaming: bool) {
        if self.document.set(text, streaming) {
            self.laid.truncate(self.document.kept_pieces());
        }
    }

    /// Marks bytes of the source by a colour behind them; code and tables are not marked.
    pub fn mark(&mut self, mark: Option<(Range<usize>, Color32)>) {
        if self.mark != mark {
            self.mark = mark;
            self.laid.clear();
        }
    }

    /// The text.
    pub fn source(&self) -> &str {
        self.document.source()
    }

    /// How many pieces had to be laid out by the last [`Markdown::show`]; the others were kept.
    pub fn laid_out(&self) -> usize {
        self.fresh
    }

    /// Draws the text over the whole width. `button` is a second button for blocks of code.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        id: Id,
        look: &Look,
        button: Option<&str>,
    ) -> Option<Action> {
        let width = ui.available_width().floor().max(60.0);
        let points = ui.pixels_per_point();
        let key = Some((look.fingerprint(), width as u32, points.to_bits()));
        if self.key != key {
            self.key = key;
            self.laid.clear();
        }
        self.fresh = 0;
        let marked = self.mark.as_ref();
        let marked = marked.and_then(|(range, _)| self.document.piece_at(range.start));
        for piece in self.document.pieces().skip(self.laid.len()) {
            let mark = self
                .mark
                .as_ref()
                .filter(|_| marked == Some(self.laid.len()));
            self.laid.push(lay(ui, piece, look, width, mark));
            self.fresh += 1;
        }
        let start = ui.cursor().min;
        let all = self.laid.len() < MOST_SELECTED && selecting(ui);
        let mut action = None;
        let mut y = start.y;
        let mut before: Option<&Piece> = None;
        for (index, (piece, (laid, height))) in self.document.pieces().zip(&self.laid).enumerate() {
            let gap = before.map_or(0.0, |before| gap(before, piece));
            let rect = Rect::from_min_size(
                pos2(start.x + indent(&piece.levels), y + gap),
                vec2(width - indent(&piece.levels), *height),
            );
            y = rect.bottom();
            let seen = rect.expand2(vec2(width, gap));
            if all || ui.is_rect_visible(seen) {
                bars(ui, piece, before, start.x, rect, gap, look);
                let id = id.with(index);
                marker(ui, id, piece, rect, look);
                match (laid, &piece.kind) {
                    (Laid::Text(text), _) => {
                        let galley = text.galley(ui, rect.width());
                        text.show(ui, id, rect.min, galley, Color32::PLACEHOLDER);
                    }
                    (Laid::Code(job), Kind::Code { language, text }) => {
                        let code = code::Code {
                            language,
                            code: text,
                            button,
                        };
                        let galley = ui.fonts_mut(|fonts| fonts.layout_job(job.clone()));
                        if code.show(ui, id, rect, galley, look) {
                            action = Some(Action::Code(text.clone()));
                        }
                    }
                    (Laid::Table(table), _) => table.show(ui, id, rect, look, all),
                    _ => {
                        let stroke = Stroke::new(1.0, look.line);
                        ui.painter().hline(rect.x_range(), rect.center().y, stroke);
                    }
                }
            }
            before = Some(piece);
        }
        let size = vec2(width, (y - start.y).max(0.0));
        ui.allocate_rect(Rect::from_min_size(start, size), Sense::hover());
        action
    }
}

fn lay(
    ui: &Ui,
    piece: &Piece,
    look: &Look,
    width: f32,
    mark: Option<&(Range<usize>, Color32)>,
) -> (Laid, f32) {
    let marked = |mut text: Text, inlines: &Inlines| {
        if let Some((source, colour)) = mark
            && let Some(range) = inlines.of_source(source)
        {
            text.mark(&range, *colour);
        }
        text
    };
    let width = width - indent(&piece.levels);
    let quoted = piece.levels.contains(&Level::Quote);
    match &piece.kind {
        Kind::Text(inlines) => {
            let text = marked(Text::new(inlines, look, None, quoted), inlines);
            let line = (look.size * look.leading).round();
            let height = text.galley(ui, width).size().y.max(line);
            (Laid::Text(text), height)
        }
        Kind::Heading(level, inlines) => {
            let text = marked(Text::new(inlines, look, Some(*level), quoted), inlines);
            let height = text.galley(ui, width).size().y;
            (Laid::Text(text), height)
        }
        Kind::Code { language, text } => {
            let job = code::job(language, text, look);
            let galley = ui.fonts_mut(|fonts| fonts.layout_job(job.clone()));
            let height = code::height(&galley);
            (Laid::Code(job), height)
        }
        Kind::Rule => (Laid::Rule, 9.0),
        Kind::Table { columns, rows } => {
            let table = table::Table::new(ui, columns, rows, look, width);
            let height = table.height();
            (Laid::Table(table), height)
        }
    }
}

fn indent(levels: &[Level]) -> f32 {
    levels.iter().copied().map(step).sum()
}

fn step(level: Level) -> f32 {
    match level {
        Level::Quote => QUOTE,
        Level::Item => ITEM,
    }
}

/// Space between two pieces.
fn gap(before: &Piece, piece: &Piece) -> f32 {
    match (&before.kind, &piece.kind) {
        (_, Kind::Heading(1..=2, _)) => 22.0,
        (_, Kind::Heading(..)) => 18.0,
        (Kind::Heading(..), _) => 8.0,
        _ if piece.tight => 4.0,
        (Kind::Text(_), Kind::Text(_)) => 11.0,
        _ => 14.0,
    }
}

/// The bars of the quotes that a piece is in.
fn bars(
    ui: &Ui,
    piece: &Piece,
    before: Option<&Piece>,
    left: f32,
    rect: Rect,
    gap: f32,
    look: &Look,
) {
    let mut x = left;
    for (depth, &level) in piece.levels.iter().enumerate() {
        if level == Level::Quote {
            let goes_on = before.is_some_and(|piece| piece.levels.get(depth) == Some(&level));
            let top = if goes_on {
                rect.top() - gap
            } else {
                rect.top()
            };
            let bar = Rect::from_min_max(pos2(x, top), pos2(x + 3.0, rect.bottom()));
            ui.painter().rect_filled(bar, 2, look.line);
        }
        x += step(level);
    }
}

/// What stands before an item. Bullets and numbers are text, so that they are copied too.
fn marker(ui: &Ui, id: Id, piece: &Piece, rect: Rect, look: &Look) {
    let Some(marker) = &piece.marker else {
        return;
    };
    let first_line = first_line(piece, look);
    match marker {
        Marker::Task(done) => tick(ui, rect.min, first_line, *done, look),
        Marker::Bullet | Marker::Number(_) => {
            let word = match marker {
                Marker::Number(number) => number.as_str(),
                _ => "•",
            };
            let mut format = look.format(blocks::Emphasis::default(), false, None);
            format.color = look.dim;
            format.line_height = Some(first_line);
            let mut job = LayoutJob::single_section(word.to_owned(), format);
            job.wrap.max_width = f32::INFINITY;
            let galley: Arc<Galley> = ui.fonts_mut(|fonts| fonts.layout_job(job));
            let pos = rect.min - vec2(galley.size().x + 8.0, 0.0);
            text::selectable(ui, id.with("marker"), pos, galley, Color32::PLACEHOLDER);
        }
    }
}

/// Height of the line beside which a marker stands.
fn first_line(piece: &Piece, look: &Look) -> f32 {
    match piece.kind {
        Kind::Heading(level, _) => (look.heading_size(level) * 1.3).round(),
        _ => (look.size * look.leading).round(),
    }
}

/// A box with or without a tick.
fn tick(ui: &Ui, at: Pos2, line: f32, done: bool, look: &Look) {
    let size = (look.size * 0.95).round();
    let center = pos2(at.x - 9.0 - size / 2.0, at.y + line / 2.0);
    let rect = Rect::from_center_size(center, vec2(size, size));
    let stroke = Stroke::new(1.3, look.dim);
    ui.painter()
        .rect_stroke(rect, 3, stroke, StrokeKind::Inside);
    if done {
        let point = |x: f32, y: f32| rect.min + vec2(x, y) * size;
        let points = vec![point(0.24, 0.52), point(0.44, 0.72), point(0.78, 0.3)];
        let stroke = Stroke::new(1.6, look.bright);
        ui.painter().add(egui::Shape::line(points, stroke));
    }
}

#[cfg(test)]
mod tests;
