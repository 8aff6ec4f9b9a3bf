//! A slider: a thin rail and a knob, for what is set by eye rather than by number.

use std::ops::RangeInclusive;

use egui::accesskit::Action;
use egui::emath::Numeric;
use egui::{
    EventFilter, Key, Rect, Response, Sense, Stroke, StrokeKind, Ui, Vec2, Widget, WidgetInfo,
};

use super::base;
use crate::theme::{self, mix};

/// Radius of the knob.
const KNOB: f32 = 6.0;
/// Thickness of the rail.
const RAIL: f32 = 3.0;

/// A value that is set by moving a knob.
#[must_use = "add it to a ui"]
pub struct Slider<'a> {
    label: &'a str,
    get_set: Box<dyn FnMut(Option<f64>) -> f64 + 'a>,
    least: f64,
    most: f64,
    step: f64,
    width: f32,
    default: Option<f64>,
}

impl<'a> Slider<'a> {
    /// For a value between two bounds, in a hundred steps; whole numbers step by one. The label is its name and tooltip.
    pub fn new<N: Numeric>(label: &'a str, value: &'a mut N, range: RangeInclusive<N>) -> Self {
        let (least, most) = (range.start().to_f64(), range.end().to_f64());
        Self {
            label,
            get_set: Box::new(move |set| {
                if let Some(set) = set {
                    *value = N::from_f64(set);
                }
                value.to_f64()
            }),
            least,
            most,
            step: if N::INTEGRAL {
                1.0
            } else {
                (most - least).abs() / 100.0
            },
            width: 96.0,
            default: None,
        }
    }

    /// What the value is a multiple of, counted from the lower bound.
    pub fn step(mut self, step: f64) -> Self {
        self.step = step.abs();
        self
    }

    /// Width in points.
    pub fn width(mut self, width: f32) -> Self {
        self.width = width;
        self
    }

    /// What a double click resets to.
    pub fn default_value(mut self, value: impl Numeric) -> Self {
        self.default = Some(value.to_f64());
        self
    }

    fn snap(&self, value: f64) -> f64 {
        let snapped = if self.step > 0.0 {
            self.least + ((value - self.least) / self.step).round() * self.step
        } else {
            value
        };
        snapped.clamp(self.least.min(self.most), self.most.max(self.least))
    }

    /// Steps that arrow keys and screen readers ask for.
    fn steps(ui: &Ui, response: &Response) -> f64 {
        let id = response.id;
        let mut steps = 0.0;
        if response.has_focus() {
            let filter = EventFilter {
                horizontal_arrows: true,
                vertical_arrows: true,
                ..Default::default()
            };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
            ui.input(|input| {
                let up = input.num_presses(Key::ArrowUp) + input.num_presses(Key::ArrowRight);
                let down = input.num_presses(Key::ArrowDown) + input.num_presses(Key::ArrowLeft);
                steps += up as f64 - down as f64;
            });
        }
        ui.input(|input| {
            steps += input.num_accesskit_action_requests(id, Action::Increment) as f64;
            steps -= input.num_accesskit_action_requests(id, Action::Decrement) as f64;
        });
        steps
    }
}

impl Widget for Slider<'_> {
    fn ui(mut self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let size = Vec2::new(self.width, t.size.control_s);
        let (rect, mut response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let (left, length) = (rect.left() + KNOB, rect.width() - 2.0 * KNOB);
        let before = (self.get_set)(None);
        let mut value = before;
        if let Some(at) = response
            .interact_pointer_pos()
            .filter(|_| response.dragged() || response.clicked())
        {
            let way = f64::from(((at.x - left) / length).clamp(0.0, 1.0));
            value = self.snap(self.least + way * (self.most - self.least));
        }
        if response.double_clicked()
            && let Some(default) = self.default
        {
            value = default;
        }
        let steps = Self::steps(ui, &response);
        if steps != 0.0 {
            value = self.snap(value + steps * self.step);
        }
        if value != before {
            (self.get_set)(Some(value));
            response.mark_changed();
        }
        let enabled = base::can_be_used(ui);
        response.widget_info(|| WidgetInfo::slider(enabled, value, self.label));
        ui.ctx().accesskit_node_builder(response.id, |node| {
            node.set_min_numeric_value(self.least);
            node.set_max_numeric_value(self.most);
            node.set_numeric_value_step(self.step);
            node.add_action(Action::Increment);
            node.add_action(Action::Decrement);
        });
        if ui.is_rect_visible(rect) {
            let way = (value - self.least) / (self.most - self.least);
            let way = if way.is_finite() {
                way.clamp(0.0, 1.0) as f32
            } else {
                0.0
            };
            let held = if response.dragged() {
                1.0
            } else {
                base::hover(ui, &response)
            };
            let knob = egui::pos2(left + length * way, rect.center().y);
            let rail = Rect::from_center_size(rect.center(), Vec2::new(length, RAIL));
            let painter = ui.painter();
            painter.rect_filled(rail, RAIL / 2.0, mix(t.bg_active, t.stroke_control, 0.35));
            let done = if enabled { t.accent } else { t.text_disabled };
            painter.rect_filled(rail.with_max_x(knob.x), RAIL / 2.0, done);
            let body = Rect::from_center_size(knob, Vec2::splat(2.0 * KNOB));
            let fill = match t.dark {
                _ if !enabled => t.bg_disabled,
                true => t.text,
                false => t.bg_raised,
            };
            let edge = mix(t.stroke_control, t.accent, held);
            let edge = Stroke::new(1.0 + 0.5 * held, edge);
            painter.rect(body, KNOB, fill, edge, StrokeKind::Inside);
            base::focus_ring(ui, &response, body, KNOB);
        }
        base::tip(response, self.label, None)
    }
}
