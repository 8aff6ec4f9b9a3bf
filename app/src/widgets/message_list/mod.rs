//! A long list of rows of any height, of which only those on the page are laid out.
//!
//! Heights are remembered for each row and width; those never seen are estimated, and put right without a jump when
//! they come onto the page. The list follows its end while rows grow there, unless the person has scrolled away.

mod heights;

use egui::{
    Align, Button, Id, Key, Layout, Modifiers, Rect, ScrollArea, Stroke, Ui, UiBuilder, pos2, vec2,
};

use crate::theme;
use heights::Heights;

/// Distance from the end within which the list counts as being there, in points.
const NEAR: f32 = 3.0;
/// Distance from the end from which the way back is offered, in points.
const FAR: f32 = 120.0;
/// Most rows that a selection keeps on the page.
const MOST_SELECTED: usize = 60;

/// What the list shows.
pub struct Rows<'a> {
    /// How many rows.
    pub count: usize,
    /// Changes when rows come, go or move, not when one only grows.
    pub version: u64,
    /// What tells a row from all others.
    pub key: &'a dyn Fn(usize) -> u64,
    /// About how high a row is for a width, in points; used until it is seen.
    pub estimate: &'a dyn Fn(usize, f32) -> f32,
    /// Widest that rows may be, in points; they stand in the middle.
    pub widest: f32,
    /// Space at either side, at least.
    pub margin: f32,
    /// Space before the first and after the last row.
    pub padding: f32,
    /// Whether rows that are selected must stay on the page.
    pub selecting: bool,
}

/// Where the list stands, and what is known about its rows.
#[derive(Clone, Debug)]
pub struct MessageList {
    heights: Heights,
    offset: f32,
    /// Where the list has to go in the next frame.
    forced: Option<f32>,
    following: bool,
    wanted: Option<u64>,
    shown: std::ops::Range<usize>,
    drawn: usize,
}

impl Default for MessageList {
    fn default() -> Self {
        Self {
            heights: Heights::default(),
            offset: 0.0,
            forced: None,
            following: true,
            wanted: None,
            shown: 0..0,
            drawn: 0,
        }
    }
}

impl MessageList {
    /// Goes to the end and stays there.
    pub fn follow(&mut self) {
        self.following = true;
    }

    /// Goes to a row.
    pub fn reveal(&mut self, key: u64) {
        self.wanted = Some(key);
        self.following = false;
    }

    /// Whether the list stays at its end.
    pub fn is_following(&self) -> bool {
        self.following
    }

    /// Rows that were drawn in the last frame.
    pub fn rows_drawn(&self) -> usize {
        self.drawn
    }

    /// Draws the rows on the page; `draw` is given the row's index and a `Ui` of the row's width.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        id: Id,
        rows: &Rows<'_>,
        mut draw: impl FnMut(&mut Ui, usize),
    ) {
        let page = ui.available_rect_before_wrap();
        let width = rows
            .widest
            .min(page.width() - 2.0 * rows.margin)
            .max(80.0)
            .floor();
        let anchor = self.heights.at(f64::from(self.offset - rows.padding));
        let changed = self.heights.sync(rows, width);
        if changed
            && !self.following
            && let Some(offset) = anchor.and_then(|(key, within)| self.heights.find(key, within))
        {
            self.forced = Some(offset as f32 + rows.padding);
        }
        if let Some(begin) = self
            .wanted
            .take()
            .and_then(|key| self.heights.find(key, 0.0))
        {
            self.forced = Some(begin as f32);
        }
        let end = |heights: &Heights| {
            (heights.total() as f32 + 2.0 * rows.padding - page.height()).max(0.0)
        };
        self.keys(ui, page, end(&self.heights));
        let mut area = ScrollArea::vertical()
            .id_salt(id)
            .auto_shrink(false)
            .animated(false);
        let before = if self.following {
            self.forced = None;
            Some(end(&self.heights))
        } else {
            self.forced.take()
        };
        if let Some(offset) = before {
            area = area.vertical_scroll_offset(offset);
        }
        let mut shift = 0.0;
        let output = area.show_viewport(ui, |ui, view| {
            shift = self.rows(ui, id, rows, width, view, &mut draw);
            let total = self.heights.total() as f32 + 2.0 * rows.padding;
            let top_left = pos2(ui.max_rect().left(), page.top() - view.min.y);
            ui.expand_to_include_rect(Rect::from_min_size(top_left, vec2(1.0, total)));
        });
        let now = output.state.clamped_offset().y;
        let last = end(&self.heights);
        match before {
            Some(before) if self.following => {
                // Rows that turned out to be lower than they seemed move the end, not the person.
                self.following = now >= before.min(last) - 0.5;
            }
            _ => {
                let down = now > self.offset + 0.1 || self.forced.is_some();
                self.following = down && now >= last - NEAR || last <= 0.0;
            }
        }
        self.offset = now;
        if shift.abs() > 0.5 && !self.following {
            // What the person scrolled in this very pass is in `now` already.
            self.forced = Some((f64::from(now) + shift).max(0.0) as f32);
            ui.request_discard("a row was seen for the first time");
        }
        if self.following && (last - now).abs() > 0.5 {
            ui.request_repaint();
        }
        if !self.following && last - now > FAR {
            self.way_back(ui, page);
        }
    }

    fn rows(
        &mut self,
        ui: &mut Ui,
        id: Id,
        rows: &Rows<'_>,
        width: f32,
        view: Rect,
        draw: &mut impl FnMut(&mut Ui, usize),
    ) -> f64 {
        let clip = ui.clip_rect();
        let left = (clip.center().x - width / 2.0).round();
        let top = f64::from(view.min.y - rows.padding);
        let mut first = self.heights.index_at(top);
        let selected = rows.selecting && self.shown.len() <= MOST_SELECTED;
        if selected {
            first = first.min(self.shown.start);
        }
        let mut index = first;
        let mut shift = 0.0_f64;
        let zero = f64::from(clip.top());
        while index < rows.count {
            let begin = self.heights.begin(index);
            let screen = zero + begin - top;
            let below = screen > f64::from(clip.bottom());
            if below && !(selected && index < self.shown.end) {
                break;
            }
            let pos = pos2(left, (screen as f32).round());
            let guess = vec2(width, self.heights.height(index));
            let builder = UiBuilder::new()
                .max_rect(Rect::from_min_size(pos, guess))
                .scope_id(id.with((rows.key)(index)))
                .layout(Layout::top_down(Align::Min));
            let mut child = ui.new_child(builder);
            draw(&mut child, index);
            let height = child.min_rect().height().max(1.0);
            let new = !self.heights.is_measured(index);
            let difference = self.heights.measure(index, height);
            // A row that comes in at the top grows upwards; one that is known grows downwards.
            if new && begin < top && screen + f64::from(guess.y) < f64::from(clip.bottom()) {
                shift += difference;
            } else if new && difference.abs() > 0.5 {
                ui.request_discard("a row was seen for the first time");
            }
            index += 1;
        }
        self.shown = first..index;
        self.drawn = index - first;
        shift
    }

    /// Page, Home and End move the list where no text is being edited.
    fn keys(&mut self, ui: &Ui, page: Rect, last: f32) {
        if ui.egui_wants_keyboard_input() || !ui.is_enabled() {
            return;
        }
        let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        let step = page.height() * 0.85;
        let to = if pressed(Key::PageUp) {
            self.offset - step
        } else if pressed(Key::PageDown) {
            self.offset + step
        } else if pressed(Key::Home) {
            0.0
        } else if pressed(Key::End) {
            last
        } else {
            return;
        };
        self.following = to >= last - NEAR;
        self.forced = Some(to.clamp(0.0, last));
    }

    fn way_back(&mut self, ui: &mut Ui, page: Rect) {
        let size = vec2(132.0, 30.0);
        let center = pos2(page.center().x, page.bottom() - 14.0 - size.y / 2.0);
        let rect = Rect::from_center_size(center, size);
        let layout = Layout::centered_and_justified(egui::Direction::TopDown);
        let builder = UiBuilder::new().max_rect(rect).layout(layout);
        ui.scope_builder(builder, |ui| {
            let theme = theme::tokens(ui.ctx());
            let button = Button::new("Jump to latest")
                .corner_radius(15)
                .fill(theme.bg_raised)
                .stroke(Stroke::new(1.0, theme.stroke_strong))
                .min_size(size);
            if ui.add(button).clicked() {
                self.follow();
                ui.request_repaint();
            }
        });
    }
}

#[cfg(test)]
mod tests;
