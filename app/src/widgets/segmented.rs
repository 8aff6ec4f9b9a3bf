//! One of a few: segments beside one another, and tabs.

use egui::{
    Align, Color32, Layout, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder, Vec2,
    WidgetInfo,
};

use super::base::{self, ControlSize};
use crate::theme::{self, Icon, mix, paint_icon};

/// A choice among a few values that are all shown.
#[must_use = "show it in a ui"]
pub struct Segmented<'a, T> {
    label: &'a str,
    options: Vec<(T, &'a str, Option<Icon>)>,
    size: ControlSize,
    full_width: bool,
    icons_only: bool,
}

impl<'a, T: PartialEq + Clone> Segmented<'a, T> {
    /// An empty choice; the label is its name.
    pub fn new(label: &'a str) -> Self {
        Self {
            label,
            options: Vec::new(),
            size: ControlSize::Medium,
            full_width: false,
            icons_only: false,
        }
    }

    /// Adds a value.
    pub fn option(mut self, value: T, text: &'a str) -> Self {
        self.options.push((value, text, None));
        self
    }

    /// Adds a value with an icon.
    pub fn option_icon(mut self, value: T, text: &'a str, icon: Icon) -> Self {
        self.options.push((value, text, Some(icon)));
        self
    }

    /// 24 points high.
    pub fn small(mut self) -> Self {
        self.size = ControlSize::Small;
        self
    }

    /// As wide as there is room, in equal segments.
    pub fn full_width(mut self) -> Self {
        self.full_width = true;
        self
    }

    /// Only icons; the texts are tooltips and names.
    pub fn icons_only(mut self) -> Self {
        self.icons_only = true;
        self
    }

    /// Shows it; the answer is changed when another value was chosen.
    pub fn show(self, ui: &mut Ui, value: &mut T) -> Response {
        let t = theme::tokens(ui.ctx());
        let height = self.size.height(&t);
        let font = theme::medium(ui.ctx(), self.size.font(&t));
        let pad = if self.size == ControlSize::Small {
            8.0
        } else {
            11.0
        };
        let icon_size = t.size.icon_s;
        let natural: Vec<f32> = self
            .options
            .iter()
            .map(|(_, text, icon)| {
                let words = if self.icons_only && icon.is_some() {
                    0.0
                } else {
                    base::line(ui, text, font.clone()).size().x
                };
                let drawing = match icon {
                    Some(_) if words > 0.0 => icon_size + 5.0,
                    Some(_) => icon_size,
                    None => 0.0,
                };
                (words + drawing + 2.0 * pad).ceil()
            })
            .collect();
        let inset = 2.0;
        let count = self.options.len().max(1) as f32;
        let wanted: f32 = natural.iter().sum::<f32>() + 2.0 * inset;
        let width = if self.full_width {
            ui.available_width()
        } else {
            wanted.min(ui.available_width().max(60.0))
        };
        let (rect, mut all) = ui.allocate_exact_size(Vec2::new(width, height), Sense::hover());
        let label = self.label.to_owned();
        all.widget_info(|| WidgetInfo::labeled(Role::RadioGroup, true, &label));
        let painter = ui.painter().clone();
        let well = Stroke::new(1.0, t.stroke);
        painter.rect(rect, t.corner_m(), t.bg_input, well, StrokeKind::Inside);
        // Where there is too little room, all give way alike.
        let inner = width - 2.0 * inset;
        let shrink = (inner / (wanted - 2.0 * inset)).min(1.0);
        let mut x = rect.left() + inset;
        for ((option, text, icon), natural) in self.options.iter().zip(natural) {
            let wide = if self.full_width {
                inner / count
            } else {
                natural * shrink
            };
            let segment = Rect::from_min_size(
                egui::pos2(x, rect.top() + inset),
                Vec2::new(wide, height - 2.0 * inset),
            );
            x += wide;
            let id = all.id.with(*text);
            let mut response = ui.interact(segment, id, Sense::click());
            let chosen = *value == *option;
            if response.clicked() && !chosen {
                *value = option.clone();
                response.mark_changed();
                all.mark_changed();
            }
            let chosen = *value == *option;
            let enabled = ui.is_enabled();
            response
                .widget_info(|| WidgetInfo::selected(Role::RadioButton, enabled, chosen, *text));
            let over = base::hover(ui, &response);
            if chosen {
                let (fill, line) = if t.dark {
                    (t.bg_active, Color32::TRANSPARENT)
                } else {
                    (t.bg_raised, t.stroke_strong)
                };
                let line = Stroke::new(1.0, line);
                painter.rect(segment, t.corner_s(), fill, line, StrokeKind::Inside);
            }
            let rest = if chosen { t.text } else { t.text_muted };
            let colour = mix(rest, t.text, over);
            let bare = self.icons_only && icon.is_some();
            let room = wide - 2.0 * pad.min(6.0) - icon.map_or(0.0, |_| icon_size + 5.0);
            let galley = (!bare).then(|| base::line_within(ui, text, font.clone(), room));
            let words = galley.as_ref().map_or(0.0, |galley| galley.size().x);
            let drawing = match icon {
                Some(_) if bare => icon_size,
                Some(_) => icon_size + 5.0,
                None => 0.0,
            };
            let mut left = segment.center().x - (words + drawing) / 2.0;
            if let Some(icon) = icon {
                let at = egui::pos2(left + icon_size / 2.0, segment.center().y);
                let colour = if chosen { t.accent_text } else { colour };
                paint_icon(&painter, at, icon_size, *icon, colour);
                left += drawing;
            }
            if let Some(galley) = galley {
                base::paint_line(&painter, galley, left, segment.center().y, colour);
            }
            base::focus_ring(ui, &response, segment, t.size.radius_s);
            if bare {
                base::tip(response, text, None);
            }
        }
        all
    }
}

/// Tabs: words above what they show, the chosen one underlined.
#[must_use = "show it in a ui"]
pub struct Tabs<'a, T> {
    label: &'a str,
    options: Vec<(T, &'a str, Option<usize>)>,
}

impl<'a, T: PartialEq + Clone> Tabs<'a, T> {
    /// No tabs yet; the label is the name of the row.
    pub fn new(label: &'a str) -> Self {
        Self {
            label,
            options: Vec::new(),
        }
    }

    /// Adds a tab.
    pub fn tab(mut self, value: T, text: &'a str) -> Self {
        self.options.push((value, text, None));
        self
    }

    /// Adds a tab with a count.
    pub fn tab_count(mut self, value: T, text: &'a str, count: usize) -> Self {
        self.options.push((value, text, Some(count)));
        self
    }

    /// Shows the row; the answer is changed when another tab was chosen.
    pub fn show(self, ui: &mut Ui, value: &mut T) -> Response {
        let t = theme::tokens(ui.ctx());
        let width = ui.available_width();
        let (rect, mut all) = ui.allocate_exact_size(Vec2::new(width, 34.0), Sense::hover());
        let label = self.label.to_owned();
        all.widget_info(|| WidgetInfo::labeled(Role::TabList, true, &label));
        let line = Stroke::new(1.0, t.stroke);
        ui.painter()
            .hline(rect.x_range(), rect.bottom() - 0.5, line);
        let builder = UiBuilder::new()
            .max_rect(rect)
            .layout(Layout::left_to_right(Align::Center));
        ui.scope_builder(builder, |ui| {
            ui.spacing_mut().item_spacing.x = t.size.gap_l + t.size.gap_xs;
            for (option, text, count) in &self.options {
                let chosen = *value == *option;
                let font = theme::medium(ui.ctx(), t.size.font_body);
                let galley = base::line(ui, text, font);
                let count = count.map(|count| {
                    base::line(ui, &count.to_string(), theme::regular(t.size.font_caption))
                });
                let extra = count.as_ref().map_or(0.0, |count| count.size().x + 6.0);
                let size = Vec2::new(galley.size().x + extra, rect.height());
                let (tab, response) = ui.allocate_exact_size(size, Sense::click());
                if response.clicked() && !chosen {
                    *value = option.clone();
                    all.mark_changed();
                }
                let enabled = ui.is_enabled();
                response.widget_info(|| WidgetInfo::selected(Role::Tab, enabled, chosen, *text));
                let over = base::hover(ui, &response);
                let rest = if chosen { t.text } else { t.text_muted };
                let y = tab.center().y - 1.0;
                let right =
                    base::paint_line(ui.painter(), galley, tab.left(), y, mix(rest, t.text, over));
                if let Some(count) = count {
                    base::paint_line(ui.painter(), count, right + 6.0, y, t.text_faint);
                }
                if chosen {
                    let mut under = tab;
                    under.min.y = tab.bottom() - 2.0;
                    ui.painter().rect_filled(under, 1.0, t.accent_text);
                }
                base::focus_ring(ui, &response, tab.shrink2(Vec2::new(-4.0, 5.0)), 4.0);
            }
        });
        all
    }
}
