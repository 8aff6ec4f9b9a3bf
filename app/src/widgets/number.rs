//! A number: dragged like a slider, typed like text, stepped with arrow keys.

use std::ops::RangeInclusive;

use egui::accesskit::Action;
use egui::emath::Numeric;
use egui::{
    Context, CursorIcon, EventFilter, Frame, Id, Key, Rect, Response, Role, Sense, Stroke,
    StrokeKind, TextEdit, Ui, Vec2, Widget, WidgetInfo,
};

use super::base;
use crate::theme::{self, Tokens, mix};

/// How long after a click a second one still means a double click.
const DOUBLE_CLICK_SECS: f64 = 0.6;

/// A field that holds a number: its label at the left, its value at the right, and how far it is along its range in
/// between. Drag (with Shift: finely), click and type, or use the arrow keys; a double click resets it.
#[must_use = "add it to a ui"]
pub struct NumberField<'a> {
    label: &'a str,
    name: &'a str,
    get_set: Box<dyn FnMut(Option<f64>) -> f64 + 'a>,
    least: f64,
    most: f64,
    step: f64,
    decimals: usize,
    unit: &'a str,
    logarithmic: bool,
    default: Option<f64>,
    tooltip: &'a str,
    width: Option<f32>,
    bar: bool,
}

/// What is being typed.
#[derive(Clone)]
struct Typing {
    text: String,
    since: f64,
    started: bool,
}

/// Why what was typed is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NoNumber,
    OutOfRange,
}

impl<'a> NumberField<'a> {
    /// For a value between two bounds; whole numbers step by one, others by a hundredth of the range.
    pub fn new<N: Numeric>(label: &'a str, value: &'a mut N, range: RangeInclusive<N>) -> Self {
        let (least, most) = (range.start().to_f64(), range.end().to_f64());
        let step = if N::INTEGRAL {
            1.0
        } else {
            let hundredth = (most - least).abs() / 100.0;
            10.0_f64.powf(hundredth.max(1e-6).log10().round())
        };
        Self {
            label,
            name: label,
            get_set: Box::new(move |set| {
                if let Some(set) = set {
                    *value = N::from_f64(set);
                }
                value.to_f64()
            }),
            least,
            most,
            step,
            decimals: decimals_of(step),
            unit: "",
            logarithmic: false,
            default: None,
            tooltip: "",
            width: None,
            bar: true,
        }
    }

    /// Its name for screen readers, where the label alone does not tell which of several it is.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// What the value is a multiple of, counted from the lower bound.
    pub fn step(mut self, step: f64) -> Self {
        self.step = step.abs().max(1e-9);
        self.decimals = decimals_of(self.step);
        self
    }

    /// Written after the value: "px", "GB".
    pub fn unit(mut self, unit: &'a str) -> Self {
        self.unit = unit;
        self
    }

    /// Equal ways along the field multiply equally. The lower bound must be above zero.
    pub fn logarithmic(mut self) -> Self {
        self.logarithmic = self.least > 0.0;
        self
    }

    /// What a double click resets to.
    pub fn default_value(mut self, value: impl Numeric) -> Self {
        self.default = Some(value.to_f64());
        self
    }

    /// What it does, in a sentence.
    pub fn tooltip(mut self, text: &'a str) -> Self {
        self.tooltip = text;
        self
    }

    /// Width in points; otherwise all there is.
    pub fn width(mut self, width: f32) -> Self {
        self.width = Some(width);
        self
    }

    /// Without the bar that shows how far along its range the value is: for numbers where that says nothing.
    pub fn plain(mut self) -> Self {
        self.bar = false;
        self
    }

    fn to_way(&self, value: f64) -> f64 {
        let way = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        if way.is_finite() {
            way.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    fn of_way(&self, way: f64) -> f64 {
        let way = way.clamp(0.0, 1.0);
        if self.logarithmic {
            self.least * (self.most / self.least).powf(way)
        } else {
            self.least + way * (self.most - self.least)
        }
    }

    fn snap(&self, value: f64) -> f64 {
        let steps = ((value - self.least) / self.step).round();
        (self.least + steps * self.step).clamp(self.least, self.most)
    }

    fn format(&self, value: f64) -> String {
        format!("{value:.*}", self.decimals)
    }

    fn parse(&self, text: &str) -> Result<f64, Refused> {
        let text = text.trim();
        let text = text
            .strip_suffix(self.unit.trim())
            .filter(|_| !self.unit.is_empty())
            .unwrap_or(text);
        let plain: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '_')
            .map(|c| match c {
                ',' => '.',
                '−' => '-',
                other => other,
            })
            .collect();
        let value: f64 = plain.parse().map_err(|_| Refused::NoNumber)?;
        if !value.is_finite() {
            return Err(Refused::NoNumber);
        }
        if value < self.least || value > self.most {
            return Err(Refused::OutOfRange);
        }
        Ok(self.snap(value))
    }

    fn bounds(&self) -> String {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", self.unit)
        };
        format!(
            "A number from {} to {}{unit}",
            self.format(self.least),
            self.format(self.most)
        )
    }

    fn set(&mut self, value: f64, response: &mut Response) {
        let old = (self.get_set)(None);
        if (self.get_set)(Some(value)) != old {
            response.mark_changed();
        }
    }

    fn type_in(
        &mut self,
        ui: &mut Ui,
        t: &Tokens,
        rect: Rect,
        id: Id,
        mut typing: Typing,
    ) -> Response {
        let parsed = self.parse(&typing.text);
        super::input::field_box(ui, t, rect, true, parsed.is_err());
        let edit_id = id.with("typed");
        let font = theme::medium(ui.ctx(), t.size.font_body);
        let label = base::line(ui, self.label, theme::regular(t.size.font_body));
        let label_width = label.size().x;
        base::paint_line(
            ui.painter(),
            label,
            rect.left() + 10.0,
            rect.center().y,
            t.text_faint,
        );
        let mut inner = rect.shrink2(Vec2::new(10.0, 1.0));
        inner.min.x = (inner.min.x + label_width + 8.0).min(inner.max.x - 40.0);
        let edit = TextEdit::singleline(&mut typing.text)
            .id(edit_id)
            .frame(Frame::NONE)
            .font(font)
            .text_color(if parsed.is_err() {
                t.danger_text
            } else {
                t.text
            })
            .align(egui::Align2::RIGHT_CENTER)
            .desired_width(inner.width());
        let mut response = ui.put(inner, edit).accessible_name(self.name);
        if !typing.started {
            typing.started = true;
            response.request_focus();
            // All of it is selected, so that typing replaces it.
            let mut state = TextEdit::load_state(ui.ctx(), edit_id).unwrap_or_default();
            let end = egui::text::CCursor::new(typing.text.chars().count());
            let all = egui::text::CCursorRange::two(egui::text::CCursor::new(0), end);
            state.cursor.set_char_range(Some(all));
            TextEdit::store_state(ui.ctx(), edit_id, state);
            ui.data_mut(|data| data.insert_temp(id, typing));
            return response;
        }
        let (now, twice) = ui.input(|input| {
            let twice = input
                .pointer
                .button_double_clicked(egui::PointerButton::Primary);
            let inside = input
                .pointer
                .interact_pos()
                .is_some_and(|at| rect.contains(at));
            (input.time, twice && inside)
        });
        let parsed = self.parse(&typing.text);
        let mut done = false;
        if twice && now - typing.since < DOUBLE_CLICK_SECS {
            if let Some(default) = self.default {
                self.set(default, &mut response);
            }
            done = true;
        } else if response.lost_focus() {
            let given_up = ui.input(|input| input.key_pressed(Key::Escape));
            if !given_up && let Ok(value) = parsed {
                self.set(value, &mut response);
            }
            done = true;
        }
        if parsed.is_err() && !done {
            response.clone().show_tooltip_text(self.bounds());
        }
        if done {
            ui.data_mut(|data| data.remove::<Typing>(id));
            // The keyboard stays with the number, unless Tab or a click took it elsewhere.
            if ui.memory(|memory| memory.focused().is_none()) {
                ui.memory_mut(|memory| memory.request_focus(id));
            }
        } else {
            ui.data_mut(|data| data.insert_temp(id, typing));
        }
        response
    }

    /// Tells that a number is being typed in this pass.
    fn tell_typed(ctx: &Context) {
        let pass = ctx.cumulative_pass_nr();
        ctx.data_mut(|data| data.insert_temp(typed_id(), pass));
    }

    fn start_typing(&self, ui: &Ui, id: Id, text: String) {
        let since = ui.input(|input| input.time);
        let typing = Typing {
            text,
            since,
            started: false,
        };
        ui.data_mut(|data| data.insert_temp(id, typing));
        ui.ctx().request_repaint();
    }

    /// Where keys and screen readers move the value to; `None` where they ask for nothing.
    fn asked(&self, ui: &Ui, response: &Response, value: f64) -> Option<f64> {
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
                let big = if input.modifiers.shift { 10.0 } else { 1.0 };
                let up = input.num_presses(Key::ArrowUp) + input.num_presses(Key::ArrowRight);
                let down = input.num_presses(Key::ArrowDown) + input.num_presses(Key::ArrowLeft);
                steps += (up as f64 - down as f64) * big;
                steps += (input.num_presses(Key::PageUp) as f64
                    - input.num_presses(Key::PageDown) as f64)
                    * 10.0;
            });
        }
        ui.input(|input| {
            steps += input.num_accesskit_action_requests(id, Action::Increment) as f64;
            steps -= input.num_accesskit_action_requests(id, Action::Decrement) as f64;
        });
        // A step must be seen at the lower end of a logarithmic range, and must not take forever at the upper.
        let factor = if self.logarithmic {
            (value.abs() * 0.02 / self.step).round().max(1.0)
        } else {
            1.0
        };
        (steps != 0.0).then(|| self.snap(value + steps * self.step * factor))
    }
}

fn typed_id() -> Id {
    Id::unique("a number is typed")
}

/// Whether a number is being typed in this pass, which gives it up with Esc.
pub(super) fn is_typed(ctx: &Context) -> bool {
    let pass = ctx.data(|data| data.get_temp::<u64>(typed_id()));
    pass == Some(ctx.cumulative_pass_nr())
}

/// Digits after the point that a multiple of `step` needs, six at most.
fn decimals_of(step: f64) -> usize {
    (0..6)
        .find(|&digits| {
            let scaled = step * 10.0_f64.powi(digits);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1.0)
        })
        .unwrap_or(6) as usize
}

impl Widget for NumberField<'_> {
    fn ui(mut self, ui: &mut Ui) -> Response {
        let t = theme::tokens(ui.ctx());
        let width = self.width.unwrap_or_else(|| ui.available_width()).max(64.0);
        let id = ui.make_persistent_id(("number", self.name));
        let (_, rect) = ui.allocate_space(Vec2::new(width, t.size.control_m));
        let typing: Option<Typing> = ui.data(|data| data.get_temp(id));
        if let Some(typing) = typing.filter(|_| ui.is_enabled()) {
            Self::tell_typed(ui.ctx());
            return self.type_in(ui, &t, rect, id, typing);
        }
        let mut response = ui.interact(rect, id, Sense::click_and_drag());
        let way_id = id.with("way");
        let value = (self.get_set)(None);
        if response.drag_started() {
            let way = self.to_way(value);
            ui.data_mut(|data| data.insert_temp(way_id, way));
        }
        if response.dragged() {
            let fine = ui.input(|input| input.modifiers.shift);
            let moved = f64::from(response.drag_delta().x / rect.width());
            let moved = if fine { moved * 0.1 } else { moved };
            let way: f64 = ui.data(|data| data.get_temp(way_id)).unwrap_or_default();
            let way = (way + moved).clamp(0.0, 1.0);
            ui.data_mut(|data| data.insert_temp(way_id, way));
            let to = self.snap(self.of_way(way));
            self.set(to, &mut response);
        }
        if response.clicked() {
            let text = self.format(value);
            self.start_typing(ui, id, text);
        }
        if let Some(to) = self.asked(ui, &response, value) {
            self.set(to, &mut response);
        }
        if response.has_focus() {
            let typed = ui.input(|input| {
                input.events.iter().find_map(|event| match event {
                    egui::Event::Text(text)
                        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
                    {
                        Some(text.clone())
                    }
                    _ => None,
                })
            });
            if let Some(typed) = typed {
                self.start_typing(ui, id, typed);
            }
        }
        let asked: Vec<f64> = ui.input(|input| {
            let requests = input.accesskit_action_requests(id, Action::SetValue);
            requests
                .filter_map(|request| match &request.data {
                    Some(egui::accesskit::ActionData::NumericValue(value)) => Some(*value),
                    Some(egui::accesskit::ActionData::Value(text)) => text.parse().ok(),
                    _ => None,
                })
                .collect()
        });
        for value in asked.into_iter().filter(|value| value.is_finite()) {
            let to = self.snap(value);
            self.set(to, &mut response);
        }

        let value = (self.get_set)(None);
        let enabled = base::can_be_used(ui);
        response.widget_info(|| WidgetInfo {
            value: Some(value),
            ..WidgetInfo::labeled(Role::SpinButton, enabled, self.name)
        });
        ui.ctx().accesskit_node_builder(id, |node| {
            node.set_min_numeric_value(self.least);
            node.set_max_numeric_value(self.most);
            node.set_numeric_value_step(self.step);
            node.add_action(Action::SetValue);
            if value < self.most {
                node.add_action(Action::Increment);
            }
            if value > self.least {
                node.add_action(Action::Decrement);
            }
        });
        if ui.is_rect_visible(rect) {
            self.paint(ui, &t, rect, &response, value);
        }
        let response = response.on_hover_cursor(CursorIcon::ResizeHorizontal);
        if self.tooltip.is_empty() || response.dragged() {
            response
        } else {
            base::tip(response, self.tooltip, None)
        }
    }
}

impl NumberField<'_> {
    fn paint(&self, ui: &Ui, t: &Tokens, rect: Rect, response: &Response, value: f64) {
        let over = base::hover(ui, response);
        let held = response.dragged() || response.is_pointer_button_down_on();
        let enabled = ui.is_enabled();
        let shade = |usual| if enabled { usual } else { t.text_disabled };
        let painter = ui.painter();
        painter.rect_filled(rect, t.corner_m(), t.bg_input);
        if self.bar {
            let way = self.to_way(value) as f32;
            let mut filled = rect;
            filled.max.x = rect.left() + rect.width() * way;
            let fill = if !enabled {
                t.bg_disabled
            } else if held {
                mix(t.accent_soft, t.accent, 0.35)
            } else {
                mix(t.accent_soft, t.accent, 0.12 * over)
            };
            let clipped = painter.with_clip_rect(painter.clip_rect().intersect(filled));
            clipped.rect_filled(rect, t.corner_m(), fill);
            // A line along the lower edge, where it crosses neither label nor number.
            let mut under = filled;
            under.min.y = rect.bottom() - 2.5;
            let accent = mix(t.accent, t.accent_text, if held { 1.0 } else { 0.4 * over });
            let accent = shade(accent);
            let clipped = painter.with_clip_rect(painter.clip_rect().intersect(under));
            clipped.rect_filled(rect, t.corner_m(), accent);
        }
        let line = mix(t.stroke_strong, t.stroke_control, 0.6 * over);
        painter.rect_stroke(
            rect,
            t.corner_m(),
            Stroke::new(1.0, line),
            StrokeKind::Inside,
        );
        base::focus_ring(ui, response, rect, t.size.radius_m);

        let y = rect.center().y;
        let font = theme::medium(ui.ctx(), t.size.font_body);
        let number = base::line(ui, &self.format(value), font);
        let mut right = rect.right() - 10.0;
        if !self.unit.is_empty() {
            let unit = base::line(ui, self.unit, theme::regular(t.size.font_caption));
            right -= unit.size().x;
            base::paint_line(painter, unit, right, y + 0.5, shade(t.text_faint));
            right -= 4.0;
        }
        right -= number.size().x;
        let room = right - rect.left() - 18.0;
        let label = base::line_within(ui, self.label, theme::regular(t.size.font_body), room);
        base::paint_line(painter, number, right, y, shade(t.text));
        base::paint_line(painter, label, rect.left() + 10.0, y, shade(t.text_muted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &mut f64) -> NumberField<'_> {
        NumberField::new("Guidance", value, 0.0..=20.0)
            .step(0.5)
            .unit("px")
    }

    #[test]
    fn typed_text_is_taken_only_where_it_is_a_number_within_bounds() {
        let mut value = 1.0;
        let field = field(&mut value);
        assert_eq!(field.parse("7.5"), Ok(7.5));
        assert_eq!(field.parse(" 7,5 px"), Ok(7.5));
        assert_eq!(field.parse("7.6"), Ok(7.5), "snapped to the step");
        assert_eq!(field.parse("21"), Err(Refused::OutOfRange));
        assert_eq!(field.parse("-1"), Err(Refused::OutOfRange));
        for nonsense in ["", "px", "seven", "nan", "inf", "1e999", "7.5.5"] {
            assert_eq!(field.parse(nonsense), Err(Refused::NoNumber), "{nonsense}");
        }
        assert_eq!(field.bounds(), "A number from 0.0 to 20.0 px");
    }

    #[test]
    fn ways_and_values_belong_together() {
        let mut value = 64_u32;
        let linear = NumberField::new("Width", &mut value, 64..=1024).step(64.0);
        for value in [64.0, 512.0, 1024.0] {
            assert_eq!(linear.snap(linear.of_way(linear.to_way(value))), value);
        }
        assert_eq!(linear.snap(500.0), 512.0);
        let mut value = 0.01;
        let log = NumberField::new("Rate", &mut value, 0.01..=100.0).logarithmic();
        assert!((log.to_way(1.0) - 0.5).abs() < 1e-9);
        assert!((log.of_way(0.25) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn as_many_decimals_as_the_step_needs() {
        for (step, decimals) in [
            (1.0, 0),
            (64.0, 0),
            (0.5, 1),
            (0.1, 1),
            (0.05, 2),
            (0.001, 3),
        ] {
            assert_eq!(decimals_of(step), decimals, "{step}");
        }
    }
}
