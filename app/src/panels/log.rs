//! The drawer "What happened".

use egui::{Align, Label, Layout, Rect, RichText, ScrollArea, Ui, UiBuilder};

use super::Gui;
use crate::library::time;
use crate::studio::Studio;
use crate::studio::command::AppCommand;
use crate::studio::effects::Effect;
use crate::studio::log::{Level, Line};
use crate::theme::{self, Icon, Tokens};
use crate::widgets::button::{Button, IconButton};
use crate::widgets::chip::Chip;
use crate::widgets::empty::EmptyState;
use crate::widgets::input::TextField;
use crate::widgets::section::drawer_header;
use crate::widgets::text;

/// Lines that are drawn; older ones come with a button.
const LINES: usize = 150;

/// Room for time and button at the right of a line.
const ASIDE: f32 = 104.0;

/// What the drawer remembers between frames.
#[derive(Clone)]
struct Shown {
    search: String,
    levels: [bool; 3],
    lines: usize,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            search: String::new(),
            levels: [true; 3],
            lines: LINES,
        }
    }
}

/// Good news and notes are one level here.
fn level_index(level: Level) -> usize {
    match level {
        Level::Error => 0,
        Level::Warning => 1,
        Level::Success | Level::Info => 2,
    }
}

fn look(level: Level, t: &Tokens) -> (Icon, egui::Color32, &'static str) {
    match level {
        Level::Error => (Icon::Error, t.danger_text, "Error"),
        Level::Warning => (Icon::Warning, t.warning, "Warning"),
        Level::Success => (Icon::Success, t.success, "Done"),
        Level::Info => (Icon::Info, t.text_faint, "Note"),
    }
}

impl Shown {
    fn holds(&self, line: &Line) -> bool {
        let on = self.levels.get(level_index(line.level));
        let search = self.search.trim().to_lowercase();
        on.copied().unwrap_or(true)
            && (search.is_empty()
                || line.title.to_lowercase().contains(&search)
                || line.text.to_lowercase().contains(&search))
    }
}

/// A line as it is copied.
fn plain(line: &Line) -> String {
    let level = match line.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Success | Level::Info => "note",
    };
    let mut words = format!("{} {level}: {}", time::second(line.at), line.title);
    if !line.text.is_empty() {
        words.push_str(". ");
        words.push_str(&line.text);
    }
    words
}

/// How long ago, in a person's words.
fn ago(now: i64, at: i64) -> String {
    let secs = (now - at).max(0) / 1000;
    match secs {
        0..=44 => "Just now".to_owned(),
        45..=3569 => format!("{} min ago", (secs + 30) / 60),
        3570..=86_399 => format!("{} h ago", (secs + 1800) / 3600),
        _ => format!("{} d ago", secs / 86_400),
    }
}

/// Shows the drawer's contents.
pub fn show(ui: &mut Ui, studio: &mut Studio, gui: &mut Gui<'_>) {
    let id = ui.make_persistent_id("log drawer");
    let mut shown: Shown = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let mut clear = false;
    let mut copy = None;
    let none = studio.house.log.lines().len() == 0;
    let closed = drawer_header(ui, "What happened", |ui| {
        let reason = none.then_some("Nothing has happened yet");
        let wipe = IconButton::new(Icon::Trash, "Clear the log")
            .small()
            .unless(reason);
        clear = ui.add(wipe).clicked();
        let all = IconButton::new(Icon::Copy, "Copy all lines shown")
            .small()
            .unless(reason);
        if ui.add(all).clicked() {
            let lines = studio.house.log.lines().filter(|line| shown.holds(line));
            copy = Some(lines.map(plain).collect::<Vec<_>>().join("\n"));
        }
    });
    if closed {
        gui.send(AppCommand::CloseDrawer);
    }
    ui.add(TextField::search("Search the log", &mut shown.search));
    let mut counts = [0_usize; 3];
    for line in studio.house.log.lines() {
        if let Some(count) = counts.get_mut(level_index(line.level)) {
            *count += 1;
        }
    }
    ui.horizontal_wrapped(|ui| {
        let names = ["Errors", "Warnings", "Notes"];
        for ((name, count), on) in names.into_iter().zip(counts).zip(&mut shown.levels) {
            let text = format!("{name} {count}");
            if ui.add(Chip::new(&text).selected(*on)).clicked() {
                *on = !*on;
            }
        }
    });
    ui.add_space(gui.tokens.size.gap_xs);
    let now = crate::library::records::now();
    let lines: Vec<&Line> = studio
        .house
        .log
        .lines()
        .rev()
        .filter(|line| shown.holds(line))
        .collect();
    if lines.is_empty() {
        if none {
            EmptyState::new(
                Icon::Log,
                "Nothing has happened yet",
                "News and trouble will be listed here.",
            )
            .show(ui);
        } else {
            EmptyState::new(
                Icon::Filter,
                "Nothing matches",
                "Try other words, or show more kinds of lines.",
            )
            .show(ui);
        }
    } else {
        let more = lines.len() > shown.lines;
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for line in lines.iter().take(shown.lines) {
                if row(ui, gui, line, now) {
                    copy = Some(plain(line));
                }
            }
            if more {
                ui.add_space(gui.tokens.size.gap_s);
                if ui
                    .add(Button::quiet("Show older lines").full_width())
                    .clicked()
                {
                    shown.lines += LINES;
                }
            }
        });
        // "3 min ago" grows old.
        ui.ctx()
            .request_repaint_after(std::time::Duration::from_secs(30));
    }
    if let Some(text) = copy {
        studio.house.effect(Effect::CopyText(text));
    }
    if clear {
        studio.house.log.clear();
    }
    ui.data_mut(|data| data.insert_temp(id, shown));
}

/// One line; answers whether it is to be copied.
fn row(ui: &mut Ui, gui: &Gui<'_>, line: &Line, now: i64) -> bool {
    let t = &gui.tokens;
    let (icon, colour, _) = look(line.level, t);
    let lead = t.size.icon_s + 10.0;
    let frame = egui::Frame::new().inner_margin(egui::Margin::symmetric(0, 9));
    let shown = frame.show(ui, |ui| {
        let width = ui.available_width();
        ui.set_width(width);
        let top = ui.cursor().min;
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            // Icon, time and button are put into this room below.
            ui.add_space(lead);
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 3.0;
                ui.scope(|ui| {
                    ui.set_max_width(width - lead - ASIDE);
                    let font = theme::medium(ui.ctx(), t.size.font_body);
                    let title = RichText::new(&line.title).font(font).color(t.text);
                    ui.add(Label::new(title).wrap());
                });
                if !line.text.is_empty() {
                    let words = RichText::new(&line.text).color(t.text_muted);
                    ui.add(Label::new(words).wrap().selectable(true));
                }
            });
        });
        top
    });
    let (rect, top) = (shown.response.rect, shown.inner);
    let middle = top.y + 8.0;
    let at = egui::pos2(top.x + t.size.icon_s / 2.0, middle);
    theme::paint_icon(ui.painter(), at, t.size.icon_s, icon, colour);
    let aside = Rect::from_min_max(
        egui::pos2(rect.right() - ASIDE, middle - t.size.control_s / 2.0),
        egui::pos2(rect.right(), middle + t.size.control_s / 2.0),
    );
    let builder = UiBuilder::new()
        .id_salt(line.number)
        .max_rect(aside)
        .layout(Layout::right_to_left(Align::Center));
    // Not a scope: the next line is to follow the text, not this.
    let mut side = ui.new_child(builder);
    side.spacing_mut().item_spacing.x = 2.0;
    let name = format!("Copy: {}", line.title);
    let button = IconButton::new(Icon::Copy, &name)
        .small()
        .colour(t.text_faint);
    let copy = side.add(button).clicked();
    text::caption(&mut side, &ago(now, line.at)).on_hover_text(time::second(line.at));
    let stroke = egui::Stroke::new(1.0, t.stroke);
    ui.painter()
        .hline(rect.x_range(), rect.bottom() - 0.5, stroke);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        assert_eq!(time::second(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time::second(951_827_696_000), "2000-02-29 12:34:56 UTC");
        assert_eq!(time::second(1_767_225_599_999), "2025-12-31 23:59:59 UTC");
        assert_eq!(time::second(-1), "1969-12-31 23:59:59 UTC");
        assert_eq!(ago(10_000, 0), "Just now");
        assert_eq!(ago(60_000, 0), "1 min ago");
        assert_eq!(ago(3_600_000, 0), "1 h ago");
        assert_eq!(ago(0, 60_000), "Just now", "clocks are set back");
        assert_eq!(ago(200_000_000, 0), "2 d ago");
    }

    #[test]
    fn lines_are_found_by_level_and_words() {
        let line = Line {
            number: 1,
            at: 0,
            level: Level::Error,
            title: "The model cannot be loaded".into(),
            text: "Download it again.".into(),
        };
        let mut shown = Shown::default();
        assert!(shown.holds(&line));
        shown.search = " DOWNLOAD ".into();
        assert!(shown.holds(&line));
        shown.search = "upload".into();
        assert!(!shown.holds(&line));
        shown = Shown::default();
        shown.levels = [false, true, true];
        assert!(!shown.holds(&line));
        assert_eq!(
            plain(&line),
            "1970-01-01 00:00:00 UTC error: The model cannot be loaded. Download it again."
        );
    }
}
