//! A text with how probable each of its tokens was: tinted and underlined the more, the less probable it was, with the
//! figure under the pointer, and a click for more.
//!
//! The text stands as it was written, Markdown's marks included, since those are tokens too. It is laid out line by line;
//! what was laid out is kept, so that a text that grows costs no more than its last line, and a long one no more than what
//! is on the page.

mod paint;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use egui::text::LayoutJob;
use egui::{
    Align, Color32, EventFilter, Galley, Id, Key, Modifiers, Pos2, Rect, Response, Role, Sense,
    Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use crate::theme::{self, Tokens};
pub use paint::{CLASSES, class, legend, percent};

use super::markdown::Look;

/// Tokens after which a line that does not end is broken.
const LONGEST_LINE: usize = 600;

/// What is shown.
pub struct TokenText<'a> {
    /// The whole text.
    pub text: &'a str,
    /// How many tokens it has; text behind the last is shown without a figure.
    pub count: usize,
    /// The bytes of a token; empty for those that complete no character.
    pub range: &'a dyn Fn(usize) -> Range<usize>,
    /// Its probability, if it is known.
    pub probability: &'a dyn Fn(usize) -> Option<f32>,
    /// Changes when something else is known of the same text.
    pub stamp: u64,
    /// The token whose details are shown.
    pub open: Option<usize>,
}

/// What came of it.
#[derive(Default)]
pub struct TokenOutput {
    /// The token that was clicked.
    pub clicked: Option<usize>,
    /// Where the token is whose details are shown.
    pub anchor: Option<Response>,
    /// Tokens that were drawn.
    pub drawn: usize,
}

/// A place of a token on the page; one that is wrapped has several.
#[derive(Clone, Copy, Debug)]
struct Mark {
    token: usize,
    rect: Rect,
    first: bool,
}

#[derive(Clone, Debug)]
struct Line {
    tokens: Range<usize>,
    bytes: Range<usize>,
    galley: Arc<Galley>,
    /// In the galley's own coordinates.
    marks: Vec<Mark>,
}

/// How a text is laid out.
#[derive(Clone, Debug, Default)]
pub struct TokenView {
    source: String,
    lines: Vec<Line>,
    key: Option<(u64, u32, u32, u64, bool)>,
    /// The token that Tab leads to.
    cursor: usize,
    wanted: Option<usize>,
    laid_out: usize,
}

impl TokenView {
    /// How many lines had to be laid out by the last [`TokenView::show`].
    pub fn laid_out(&self) -> usize {
        self.laid_out
    }

    /// Draws the text over the whole width.
    pub fn show(&mut self, ui: &mut Ui, id: Id, shown: &TokenText<'_>, look: &Look) -> TokenOutput {
        let t = theme::tokens(ui.ctx());
        let width = ui.available_width().floor().max(60.0);
        self.lay_out(ui, shown, look, &t, width);
        let start = ui.cursor().min;
        let mut output = TokenOutput::default();
        let mut seen: Option<Range<usize>> = None;
        let focused = ui.memory(|memory| memory.focused());
        let mut has_focus = focused.is_some_and(|focused| focused == id.with(self.cursor));
        if !has_focus && self.wanted.is_none() {
            self.cursor = self.visible_cursor(ui, start);
        }
        let mut y = start.y;
        for line in &self.lines {
            let rect = Rect::from_min_size(pos2(start.x, y), line.galley.size());
            y = rect.bottom();
            if !ui.is_rect_visible(rect.expand2(vec2(width, 8.0))) {
                continue;
            }
            ui.painter()
                .galley(rect.min, Arc::clone(&line.galley), look.text);
            let tokens = line.tokens.clone();
            seen = Some(match seen {
                Some(seen) => seen.start..tokens.end,
                None => tokens,
            });
            for response in marks(ui, id, line, rect.min, shown, self.cursor) {
                let (token, response) = response;
                output.drawn += 1;
                if self.wanted == Some(token) {
                    self.wanted = None;
                    response.request_focus();
                    has_focus = true;
                }
                if response.has_focus() {
                    let ring = Stroke::new(1.5, t.focus);
                    ui.painter()
                        .rect_stroke(response.rect, 3, ring, StrokeKind::Outside);
                }
                if response.clicked() {
                    self.cursor = token;
                    output.clicked = Some(token);
                }
                if shown.open == Some(token) {
                    let ring = Stroke::new(1.5, t.accent);
                    ui.painter()
                        .rect_stroke(response.rect, 3, ring, StrokeKind::Outside);
                    output.anchor = Some(response.clone());
                }
                let hovered = response.hovered() || response.has_focus();
                if hovered && shown.open.is_none() {
                    let words = told(shown, token);
                    super::tip(response, &words, None);
                }
            }
        }
        let size = vec2(width, (y - start.y).max(0.0));
        ui.allocate_rect(Rect::from_min_size(start, size), Sense::hover());
        if has_focus {
            self.keys(ui, id, shown, start);
        }
        output
    }

    /// The first token on the page, or the one that Tab led to last if it is there.
    fn visible_cursor(&self, ui: &Ui, start: Pos2) -> usize {
        let mut y = start.y;
        let mut first = None;
        for line in &self.lines {
            let rect = Rect::from_min_size(pos2(start.x, y), line.galley.size());
            y = rect.bottom();
            if ui.is_rect_visible(rect) {
                if line.tokens.contains(&self.cursor) {
                    return self.cursor;
                }
                let token = line.marks.first().map(|mark| mark.token);
                first = first.or(token);
            }
        }
        first.unwrap_or(0)
    }

    fn keys(&mut self, ui: &Ui, id: Id, shown: &TokenText<'_>, start: Pos2) {
        let filter = EventFilter {
            horizontal_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(id.with(self.cursor), filter));
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let step: isize = if pressed(Key::ArrowRight) {
            1
        } else if pressed(Key::ArrowLeft) {
            -1
        } else {
            return;
        };
        let mut to = self.cursor;
        // Those that complete no character are nowhere.
        while let Some(next) = to.checked_add_signed(step) {
            to = next;
            if to >= shown.count || !(shown.range)(to).is_empty() {
                break;
            }
        }
        if to >= shown.count || (shown.range)(to).is_empty() {
            return;
        }
        self.cursor = to;
        self.wanted = Some(to);
        let mut y = start.y;
        for line in &self.lines {
            if line.tokens.contains(&to) {
                let mark = line.marks.iter().find(|mark| mark.token == to);
                let offset = vec2(start.x, y);
                let rect = mark.map_or(line.galley.rect, |mark| mark.rect);
                ui.scroll_to_rect(rect.translate(offset).expand(24.0), None::<Align>);
            }
            y += line.galley.size().y;
        }
        ui.request_repaint();
    }

    fn lay_out(&mut self, ui: &Ui, shown: &TokenText<'_>, look: &Look, t: &Tokens, width: f32) {
        let points = ui.pixels_per_point().to_bits();
        let key = Some((
            look.fingerprint(),
            width as u32,
            points,
            shown.stamp,
            t.dark,
        ));
        let grown = shown.text.starts_with(self.source.as_str());
        self.laid_out = 0;
        if self.key != key || !grown {
            self.key = key;
            self.lines.clear();
        } else if shown.text.len() == self.source.len()
            && self.lines.last().map_or(0, |line| line.tokens.end) >= shown.count
        {
            return;
        }
        self.source.clear();
        self.source.push_str(shown.text);
        // What came may belong to the last line.
        self.lines.pop();
        let (mut token, mut byte) = self
            .lines
            .last()
            .map_or((0, 0), |line| (line.tokens.end, line.bytes.end));
        while byte < shown.text.len() {
            let line = lay_line(ui, shown, look, t, width, token, byte);
            self.laid_out += 1;
            (token, byte) = (line.tokens.end, line.bytes.end);
            self.lines.push(line);
        }
        if let Some(last) = self.lines.last_mut() {
            last.tokens.end = last.tokens.end.max(shown.count);
        }
    }
}

/// One line from a token on, up to the end of the token that ends the line.
fn lay_line(
    ui: &Ui,
    shown: &TokenText<'_>,
    look: &Look,
    t: &Tokens,
    width: f32,
    first: usize,
    begin: usize,
) -> Line {
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let mut spans: Vec<(usize, Range<usize>)> = Vec::new();
    let (mut token, mut byte, mut chars) = (first, begin, 0);
    let plain = look.format(Default::default(), false, None);
    while byte < shown.text.len() {
        let of = (token < shown.count).then_some(token);
        let end = match of {
            Some(token) => {
                let end = (shown.range)(token).end.clamp(byte, shown.text.len());
                if shown.text.is_char_boundary(end) {
                    end
                } else {
                    shown.text.len()
                }
            }
            None => {
                let rest = shown.text.get(byte..).unwrap_or_default();
                byte + rest.find('\n').map_or(rest.len(), |at| at + 1)
            }
        };
        token += usize::from(of.is_some());
        let piece = shown.text.get(byte..end).unwrap_or_default();
        byte = end;
        if piece.is_empty() {
            continue;
        }
        let ends = piece.ends_with('\n');
        let mut format = plain.clone();
        if let Some(class) = of.and_then(|token| (shown.probability)(token)).map(class) {
            format.background = paint::ground(t, class);
            format.expand_bg = 1.0;
            format.underline = paint::underline(t, class);
        }
        let visible = piece.replace('\n', "↵\n");
        let visible = match ends || byte >= shown.text.len() {
            // The line's end is the end of the galley.
            true => visible.strip_suffix('\n').unwrap_or(&visible),
            false => visible.as_str(),
        };
        let count = visible.chars().count();
        if let Some(token) = of {
            spans.push((token, chars..chars + count));
        }
        chars += count;
        job.append(visible, 0.0, format);
        if ends || token.saturating_sub(first) >= LONGEST_LINE {
            break;
        }
    }
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    let marks = spans
        .iter()
        .flat_map(|(token, range)| {
            let rects = super::markdown::rects(&galley, range);
            rects.into_iter().enumerate().map(|(at, rect)| Mark {
                token: *token,
                rect,
                first: at == 0,
            })
        })
        .collect();
    Line {
        tokens: first..token,
        bytes: begin..byte,
        galley,
        marks,
    }
}

/// Each token of a line with what the person does to it.
fn marks(
    ui: &Ui,
    id: Id,
    line: &Line,
    offset: Pos2,
    shown: &TokenText<'_>,
    cursor: usize,
) -> Vec<(usize, Response)> {
    let clip = ui.clip_rect();
    let mut found: Vec<(usize, Response)> = Vec::with_capacity(line.marks.len());
    for mark in &line.marks {
        let rect = mark.rect.translate(offset.to_vec2());
        if !clip.intersects(rect) && shown.open != Some(mark.token) {
            continue;
        }
        let own = id.with(mark.token);
        let sense = if mark.token == cursor && mark.first {
            Sense::click()
        } else {
            Sense::click() - Sense::FOCUSABLE
        };
        match found.last_mut() {
            Some((last, response)) if *last == mark.token => {
                *response |= ui.interact(rect, own.with("wrapped"), sense);
            }
            _ => {
                let response = ui.interact(rect, own, sense);
                response.widget_info(|| {
                    let words = told(shown, mark.token);
                    WidgetInfo::labeled(Role::Button, ui.is_enabled(), words)
                });
                if response.hovered() {
                    ui.set_cursor_icon(egui::CursorIcon::PointingHand);
                    let over = Stroke::new(1.0, look_of(ui));
                    ui.painter().rect_stroke(rect, 3, over, StrokeKind::Outside);
                }
                found.push((mark.token, response));
            }
        }
    }
    found
}

fn look_of(ui: &Ui) -> Color32 {
    theme::tokens(ui.ctx()).text_muted
}

/// `"fox", 83%`.
fn told(shown: &TokenText<'_>, token: usize) -> String {
    let words = shown.text.get((shown.range)(token)).unwrap_or_default();
    let words = words.replace('\n', "↵");
    match (shown.probability)(token) {
        Some(probability) => format!("“{words}”, {}", percent(probability)),
        None => format!("“{words}”, given"),
    }
}
