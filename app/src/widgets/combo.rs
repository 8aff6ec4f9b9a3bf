//! A choice among many: a button that opens a list, with groups, reasons and a search.

use egui::{
    Id, Key, Modifiers, Popup, PopupCloseBehavior, Response, Role, ScrollArea, Sense, Stroke,
    StrokeKind, Ui, Vec2, WidgetInfo,
};

use super::base;
use super::input::{TextField, field_box};
use super::text;
use crate::theme::{self, Icon, paint_icon};

/// From how many entries on a list has a search.
const SEARCH_FROM: usize = 9;

/// An entry of the list.
#[derive(Clone, Debug, Default)]
pub struct ComboItem<'a> {
    /// What it is called.
    pub text: &'a str,
    /// A second line, or nothing.
    pub second: &'a str,
    /// A few words at the right, or nothing.
    pub trailing: &'a str,
    /// Icon, or none.
    pub icon: Option<Icon>,
    /// Heading under which it stands; entries of a group follow one another.
    pub group: &'a str,
    /// Why it cannot be chosen; `None` can.
    pub reason: Option<&'a str>,
}

impl<'a> ComboItem<'a> {
    /// An entry with text alone.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

/// The choice.
#[must_use = "show it in a ui"]
pub struct Combo<'a> {
    label: &'a str,
    label_shown: bool,
    items: &'a [ComboItem<'a>],
    selected: Option<usize>,
    hint: &'a str,
    width: Option<f32>,
    list_width: Option<f32>,
    empty: &'a str,
}

/// What is typed into the search, and which of the entries found the arrow keys have reached.
#[derive(Clone, Default)]
struct Open {
    search: String,
    at: usize,
}

impl<'a> Combo<'a> {
    /// A choice of the items, `selected` being the one that is chosen. The label stands above it.
    pub fn new(label: &'a str, items: &'a [ComboItem<'a>], selected: Option<usize>) -> Self {
        Self {
            label,
            label_shown: true,
            items,
            selected,
            hint: "Choose",
            width: None,
            list_width: None,
            empty: "Nothing matches",
        }
    }

    /// Keeps the label for screen readers alone.
    pub fn unlabelled(mut self) -> Self {
        self.label_shown = false;
        self
    }

    /// What is shown while nothing is chosen.
    pub fn hint(mut self, hint: &'a str) -> Self {
        self.hint = hint;
        self
    }

    /// Width of the button; otherwise all there is.
    pub fn width(mut self, width: f32) -> Self {
        self.width = Some(width);
        self
    }

    /// Width of the list, where it wants to be wider than the button.
    pub fn list_width(mut self, width: f32) -> Self {
        self.list_width = Some(width);
        self
    }

    /// What is said where there is nothing to choose from.
    pub fn empty(mut self, text: &'a str) -> Self {
        self.empty = text;
        self
    }

    /// Shows it; answers the entry that was chosen just now.
    pub fn show(self, ui: &mut Ui) -> Option<usize> {
        ui.vertical(|ui| {
            let t = theme::tokens(ui.ctx());
            ui.spacing_mut().item_spacing.y = t.size.gap_xs;
            if self.label_shown {
                text::field_label(ui, self.label);
            }
            let response = self.button(ui);
            let popup_id = Popup::default_response_id(&response);
            let width = self
                .list_width
                .unwrap_or_default()
                .max(response.rect.width() - 10.0);
            let mut keys_open = false;
            if response.has_focus() {
                keys_open = ui.input_mut(|input| {
                    input.consume_key(Modifiers::NONE, Key::ArrowDown)
                        || input.consume_key(Modifiers::NONE, Key::ArrowUp)
                });
            }
            if keys_open {
                Popup::open_id(ui.ctx(), popup_id);
            }
            let was_open = Popup::is_id_open(ui.ctx(), popup_id);
            let picked = Popup::from_toggle_button_response(&response)
                .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
                .gap(t.size.gap_xs)
                .frame(base::popup_frame(&t))
                .accessible_name(self.label)
                .show(|ui| {
                    ui.set_width(width);
                    let picked = self.list(ui, popup_id);
                    if picked.is_some() {
                        ui.close();
                    }
                    picked
                })
                .and_then(|shown| shown.inner);
            let is_open = Popup::is_id_open(ui.ctx(), popup_id);
            if was_open && !is_open {
                ui.data_mut(|data| data.remove::<Open>(popup_id));
                response.request_focus();
            }
            picked
        })
        .inner
    }

    fn button(&self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let width = self.width.unwrap_or_else(|| ui.available_width());
        let size = Vec2::new(width, t.size.control_m);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click());
        let chosen = self.selected.and_then(|index| self.items.get(index));
        let shown = chosen.map_or(self.hint, |item| item.text);
        let enabled = ui.is_enabled();
        response.widget_info(|| WidgetInfo {
            current_text_value: Some(shown.to_owned()),
            ..WidgetInfo::labeled(Role::ComboBox, enabled, self.label)
        });
        let mut cut = false;
        if ui.is_rect_visible(rect) {
            field_box(ui, &t, rect, false, false);
            let over = base::hover(ui, &response);
            let painter = ui.painter();
            if over > 0.0 {
                let line = Stroke::new(1.0, t.stroke_control.gamma_multiply(0.6 * over));
                painter.rect_stroke(rect, t.corner_m(), line, StrokeKind::Inside);
            }
            let y = rect.center().y;
            let mut x = rect.left() + 10.0;
            if let Some(icon) = chosen.and_then(|item| item.icon) {
                let centre = egui::pos2(x + t.size.icon_s / 2.0, y);
                paint_icon(painter, centre, t.size.icon_s, icon, t.text_muted);
                x += t.size.icon_s + 7.0;
            }
            let arrow = egui::pos2(rect.right() - 15.0, y);
            paint_icon(painter, arrow, 14.0, Icon::ChevronsUpDown, t.text_muted);
            let mut right = rect.right() - 28.0;
            let trailing = chosen.map_or("", |item| item.trailing);
            if !trailing.is_empty() {
                let font = theme::regular(t.size.font_caption);
                let galley = base::line_within(ui, trailing, font, (right - x) * 0.4);
                right -= galley.size().x;
                base::paint_line(painter, galley, right, y, t.text_faint);
                right -= t.size.gap_s;
            }
            let font = theme::regular(t.size.font_body);
            let galley = base::line_within(ui, shown, font, right - x);
            let colour = if chosen.is_some() {
                t.text
            } else {
                t.text_faint
            };
            cut = galley.elided;
            base::paint_line(painter, galley, x, y, colour);
            base::focus_ring(ui, &response, rect, t.size.radius_m);
        }
        match cut {
            true => base::tip(response, shown, None),
            false => response,
        }
    }

    /// Entries that the search finds.
    fn found(&self, search: &str) -> Vec<usize> {
        let words: Vec<String> = search.split_whitespace().map(str::to_lowercase).collect();
        (0..self.items.len())
            .filter(|&index| {
                self.items.get(index).is_some_and(|item| {
                    let text = format!("{} {} {}", item.text, item.second, item.group);
                    let text = text.to_lowercase();
                    words.iter().all(|word| text.contains(word))
                })
            })
            .collect()
    }

    fn list(&self, ui: &mut Ui, id: Id) -> Option<usize> {
        let t = theme::tokens(ui.ctx());
        ui.spacing_mut().item_spacing.y = 1.0;
        let fresh = base::first_time(ui.ctx(), id.with("shown"));
        let mut open: Open = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        let searchable = self.items.len() >= SEARCH_FROM;
        let search_id = id.with("search");
        if searchable {
            let field = TextField::search("Search", &mut open.search).id(search_id);
            if ui.add(field).changed() {
                open.at = 0;
            }
            ui.add_space(t.size.gap_xs);
        }
        let found = self.found(&open.search);
        if fresh {
            let chosen = found.iter().position(|index| Some(*index) == self.selected);
            open.at = chosen.unwrap_or(0);
        }
        let focus = if searchable {
            search_id
        } else {
            id.with("list")
        };
        if !searchable {
            // Something has to hold the keyboard, or Tab and arrows would walk the window behind.
            let rect = ui.max_rect();
            let holder = ui.interact(rect, focus, Sense::focusable_noninteractive());
            let label = self.label.to_owned();
            holder.widget_info(|| WidgetInfo::labeled(Role::ListBox, true, &label));
        }
        if fresh {
            ui.memory_mut(|memory| memory.request_focus(focus));
        }
        let mut picked = None;
        let (down, up, enter) = ui.input_mut(|input| {
            (
                input.consume_key(Modifiers::NONE, Key::ArrowDown),
                input.consume_key(Modifiers::NONE, Key::ArrowUp),
                input.consume_key(Modifiers::NONE, Key::Enter),
            )
        });
        let last = found.len().saturating_sub(1);
        let moved = down != up;
        if moved {
            open.at = if down {
                if open.at >= last { 0 } else { open.at + 1 }
            } else if open.at == 0 {
                last
            } else {
                open.at - 1
            };
        }
        open.at = open.at.min(last);
        if enter && !fresh {
            picked = found.get(open.at).copied();
        }
        if found.is_empty() {
            ui.add_space(t.size.gap_s);
            ui.vertical_centered(|ui| text::caption(ui, self.empty));
            ui.add_space(t.size.gap_s);
        }
        let pointer_moved = ui.input(|input| input.pointer.delta() != Vec2::ZERO);
        ScrollArea::vertical().max_height(320.0).show(ui, |ui| {
            let mut group = "";
            for (at, &index) in found.iter().enumerate() {
                let Some(item) = self.items.get(index) else {
                    continue;
                };
                if item.group != group {
                    group = item.group;
                    ui.add_space(t.size.gap_xs);
                    super::menu::heading(ui, group);
                    ui.add_space(t.size.gap_xs);
                }
                let response = self.entry(ui, item, at == open.at, Some(index) == self.selected);
                if response.clicked() {
                    picked = Some(index);
                }
                if response.hovered() && pointer_moved {
                    open.at = at;
                }
                if at == open.at && (moved || fresh) {
                    response.scroll_to_me(None);
                }
            }
        });
        ui.data_mut(|data| data.insert_temp(id, open));
        picked.filter(|&index| {
            self.items
                .get(index)
                .is_some_and(|item| item.reason.is_none())
        })
    }

    fn entry(&self, ui: &mut Ui, item: &ComboItem<'_>, at: bool, chosen: bool) -> Response {
        let t = theme::tokens(ui.ctx());
        let second = item.reason.unwrap_or(item.second);
        let height = if second.is_empty() { 28.0 } else { 42.0 };
        let size = Vec2::new(ui.available_width(), height);
        let cut = std::cell::Cell::new(false);
        let show = |ui: &mut Ui| {
            let (rect, response) = ui.allocate_exact_size(size, Sense::click());
            // Tab would walk every entry; the arrow keys do.
            let enabled = base::can_be_used(ui);
            let colour = |usual| if enabled { usual } else { t.text_disabled };
            response.widget_info(|| {
                WidgetInfo::selected(Role::ListBoxOption, enabled, chosen, item.text)
            });
            if ui.is_rect_visible(rect) {
                let painter = ui.painter();
                if at && enabled {
                    painter.rect_filled(rect, t.corner_m(), t.bg_active);
                }
                let y = rect.center().y;
                let mut x = rect.left() + 9.0;
                if chosen {
                    let centre = egui::pos2(x + 7.0, y);
                    paint_icon(painter, centre, 14.0, Icon::Check, t.accent_text);
                }
                x += 22.0;
                if let Some(icon) = item.icon {
                    let centre = egui::pos2(x + t.size.icon_s / 2.0, y);
                    paint_icon(painter, centre, t.size.icon_s, icon, colour(t.text_muted));
                    x += t.size.icon_s + 8.0;
                }
                let mut right = rect.right() - 9.0;
                if !item.trailing.is_empty() {
                    let font = theme::regular(t.size.font_caption);
                    let galley = base::line_within(ui, item.trailing, font, (right - x) * 0.5);
                    right -= galley.size().x;
                    base::paint_line(painter, galley, right, y, colour(t.text_faint));
                    right -= t.size.gap_m;
                }
                let font = theme::regular(t.size.font_body);
                let text = base::line_within(ui, item.text, font, right - x);
                cut.set(text.elided);
                if second.is_empty() {
                    base::paint_line(painter, text, x, y, colour(t.text));
                } else {
                    base::paint_line(painter, text, x, y - 8.0, colour(t.text));
                    let font = theme::regular(t.size.font_caption);
                    let second = base::line_within(ui, second, font, right - x);
                    base::paint_line(painter, second, x, y + 8.0, t.text_faint);
                }
            }
            response
        };
        let response = ui.add_enabled(item.reason.is_none(), show);
        match (cut.get(), item.reason) {
            (true, Some(reason)) => base::tip(response, &format!("{}\n{reason}", item.text), None),
            (true, None) => base::tip(response, item.text, None),
            (false, reason) => base::tip(response, reason.unwrap_or_default(), None),
        }
    }
}
