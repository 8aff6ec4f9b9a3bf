//! Two views with a divider that can be dragged.

use egui::{
    CursorIcon, EventFilter, Id, Key, Rect, Role, Sense, Stroke, Ui, UiBuilder, Vec2, WidgetInfo,
};

use super::base;
use crate::theme::{self, mix};

/// A view on the left and a view on the right, or one above the other.
#[must_use = "show it in a ui"]
pub struct Split<'a> {
    label: &'a str,
    share: &'a mut f32,
    upright: bool,
    least: [f32; 2],
    default: f32,
}

impl<'a> Split<'a> {
    /// Side by side. `share` is the first view's share of the room, from 0 to 1; the label names the divider.
    pub fn columns(label: &'a str, share: &'a mut f32) -> Self {
        Self {
            label,
            share,
            upright: true,
            least: [120.0; 2],
            default: 0.5,
        }
    }

    /// One above the other.
    pub fn rows(label: &'a str, share: &'a mut f32) -> Self {
        Self {
            upright: false,
            ..Self::columns(label, share)
        }
    }

    /// Points that each view keeps at least.
    pub fn least(mut self, first: f32, second: f32) -> Self {
        self.least = [first, second];
        self
    }

    /// What a double click on the divider goes back to.
    pub fn default_share(mut self, share: f32) -> Self {
        self.default = share;
        self
    }

    /// Shows both views in all the room there is.
    pub fn show<A, B>(
        self,
        ui: &mut Ui,
        first: impl FnOnce(&mut Ui) -> A,
        second: impl FnOnce(&mut Ui) -> B,
    ) -> (A, B) {
        let t = theme::tokens(ui.ctx());
        let room = ui.available_rect_before_wrap();
        let length = if self.upright {
            room.width()
        } else {
            room.height()
        };
        let [least, other] = self.least;
        let bound = |share: f32| {
            // In a room too small for both, each gets its part.
            let low = (least / length).min(0.5);
            let high = (1.0 - other / length).max(0.5);
            if share.is_finite() {
                share.clamp(low.min(high), high)
            } else {
                0.5
            }
        };
        let id = ui.scope_id().with(("split", self.label));
        let mut share = bound(*self.share);
        let line = |share: f32| {
            if self.upright {
                room.left() + (length * share).round()
            } else {
                room.top() + (length * share).round()
            }
        };
        let grip = |at: f32| {
            let mut grip = room;
            if self.upright {
                grip.min.x = at - 4.0;
                grip.max.x = at + 4.0;
            } else {
                grip.min.y = at - 4.0;
                grip.max.y = at + 4.0;
            }
            grip
        };
        let parts = |at: f32| {
            let (mut a, mut b) = (room, room);
            if self.upright {
                a.max.x = at;
                b.min.x = at + 1.0;
            } else {
                a.max.y = at;
                b.min.y = at + 1.0;
            }
            [a, b]
        };
        let [a, b] = parts(line(share));
        let first = view(ui, id.with("first"), a, first);
        let second = view(ui, id.with("second"), b, second);

        // Last, so that it lies above what both views sense.
        let response = ui.interact(grip(line(share)), id, Sense::click_and_drag());
        if response.dragged()
            && let Some(at) = response.interact_pointer_pos()
        {
            share = if self.upright {
                (at.x - room.left()) / length
            } else {
                (at.y - room.top()) / length
            };
        }
        if response.double_clicked() {
            share = self.default;
        }
        if response.has_focus() {
            let filter = EventFilter {
                horizontal_arrows: self.upright,
                vertical_arrows: !self.upright,
                ..Default::default()
            };
            ui.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
            let (less, more) = if self.upright {
                (Key::ArrowLeft, Key::ArrowRight)
            } else {
                (Key::ArrowUp, Key::ArrowDown)
            };
            let steps =
                ui.input(|input| input.num_presses(more) as f32 - input.num_presses(less) as f32);
            share += steps * 0.02;
        }
        share = bound(share);
        if share != *self.share {
            *self.share = share;
            ui.ctx().request_repaint();
        }
        let percent = f64::from((share * 100.0).round());
        response.widget_info(|| WidgetInfo {
            value: Some(percent),
            ..WidgetInfo::labeled(Role::Splitter, true, self.label)
        });
        let over = base::hover(ui, &response).max(if response.dragged() { 1.0 } else { 0.0 });
        let at = line(share) + 0.5;
        let colour = mix(t.stroke, t.accent, over);
        let stroke = Stroke::new(1.0 + over, colour);
        if self.upright {
            ui.painter().vline(at, room.y_range(), stroke);
        } else {
            ui.painter().hline(room.x_range(), at, stroke);
        }
        if response.has_focus() {
            base::ring(ui, grip(line(share)).shrink(2.0), 2.0);
        }
        response.on_hover_and_drag_cursor(if self.upright {
            CursorIcon::ResizeHorizontal
        } else {
            CursorIcon::ResizeVertical
        });
        ui.advance_cursor_after_rect(room);
        (first, second)
    }
}

fn view<R>(ui: &mut Ui, id: Id, rect: Rect, content: impl FnOnce(&mut Ui) -> R) -> R {
    let rect = Rect::from_min_size(rect.min, rect.size().max(Vec2::ZERO));
    let builder = UiBuilder::new().id_salt(id).max_rect(rect);
    let mut child = ui.new_child(builder);
    child.set_clip_rect(rect.intersect(ui.clip_rect()));
    content(&mut child)
}
