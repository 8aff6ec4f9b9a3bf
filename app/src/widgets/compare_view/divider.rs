//! The divider between two pictures that lie over each other.

use egui::{
    Color32, CursorIcon, EventFilter, Id, Key, Painter, Rect, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use super::state::CompareState;

/// Width of what can be gripped, in points.
const GRIP: f32 = 22.0;
/// Radius of the handle, in points.
const HANDLE: f32 = 13.0;

/// Takes the input of the divider, which runs over `seen`; gives where it is, in points.
pub(super) fn interact(
    ui: &mut Ui,
    id: Id,
    seen: Rect,
    viewport: Rect,
    state: &mut CompareState,
) -> f32 {
    let id = id.with("divider");
    let (from, length) = if state.across {
        (seen.min.y, seen.height())
    } else {
        (seen.min.x, seen.width())
    };
    let at = |split: f32| from + split * length;
    let grip = line(viewport, at(state.split), state.across).expand2(if state.across {
        vec2(0.0, GRIP / 2.0)
    } else {
        vec2(GRIP / 2.0, 0.0)
    });
    let response = ui.interact(grip, id, Sense::click_and_drag());
    if response.dragged()
        && let Some(point) = response.interact_pointer_pos()
    {
        let along = if state.across { point.y } else { point.x };
        state.split = ((along - from) / length.max(1.0)).clamp(0.0, 1.0);
    }
    if response.double_clicked() {
        state.split = 0.5;
    }
    if response.clicked() {
        response.request_focus();
    }
    if response.has_focus() {
        ui.memory_mut(|memory| {
            let filter = EventFilter {
                horizontal_arrows: true,
                vertical_arrows: true,
                ..EventFilter::default()
            };
            memory.set_focus_lock_filter(id, filter);
        });
        let (back, forth) = if state.across {
            (Key::ArrowUp, Key::ArrowDown)
        } else {
            (Key::ArrowLeft, Key::ArrowRight)
        };
        state.split = ui.input(|input| {
            let step = if input.modifiers.shift { 0.1 } else { 0.01 };
            let presses = |key| input.num_presses(key) as f32;
            let moved = state.split + step * (presses(forth) - presses(back));
            if input.key_pressed(Key::Home) {
                0.0
            } else if input.key_pressed(Key::End) {
                1.0
            } else {
                moved.clamp(0.0, 1.0)
            }
        });
    }
    let cursor = if state.across {
        CursorIcon::ResizeVertical
    } else {
        CursorIcon::ResizeHorizontal
    };
    let response = response.on_hover_and_drag_cursor(cursor);
    let percent = f64::from((state.split * 100.0).round());
    response.widget_info(|| WidgetInfo::slider(true, percent, "Divider"));
    at(state.split)
}

fn line(viewport: Rect, at: f32, across: bool) -> Rect {
    if across {
        Rect::from_min_max(pos2(viewport.min.x, at), pos2(viewport.max.x, at))
    } else {
        Rect::from_min_max(pos2(at, viewport.min.y), pos2(at, viewport.max.y))
    }
}

/// What is seen of the first and of the second picture.
pub(super) fn halves(viewport: Rect, at: f32, across: bool) -> (Rect, Rect) {
    if across {
        viewport.split_top_bottom_at_y(at)
    } else {
        viewport.split_left_right_at_x(at)
    }
}

/// Draws it: a line that is seen on light and on dark, and a handle with two arrows.
pub(super) fn paint(ui: &Ui, painter: &Painter, id: Id, viewport: Rect, at: f32, across: bool) {
    let response = ui.ctx().read_response(id.with("divider"));
    let hot = response
        .as_ref()
        .is_some_and(|r| r.hovered() || r.dragged());
    let focus = response.as_ref().is_some_and(egui::Response::has_focus);
    let line = line(viewport, at, across);
    for (width, colour) in [(4.0, Color32::from_black_alpha(90)), (1.5, Color32::WHITE)] {
        painter.line_segment([line.min, line.max], Stroke::new(width, colour));
    }
    let centre = line.center();
    let radius = if hot { HANDLE + 1.5 } else { HANDLE };
    painter.circle_filled(
        centre + vec2(0.0, 1.0),
        radius + 1.5,
        Color32::from_black_alpha(70),
    );
    painter.circle_filled(centre, radius, Color32::WHITE);
    if focus {
        let ring = Rect::from_center_size(centre, Vec2::splat(2.0 * radius + 6.0));
        let stroke = Stroke::new(2.0, ui.visuals().selection.stroke.color);
        painter.rect_stroke(ring, ring.width() / 2.0, stroke, StrokeKind::Middle);
    }
    let ink = Color32::from_gray(70);
    for side in [-1.0, 1.0] {
        let turn = |along: f32, aside: f32| {
            centre
                + if across {
                    vec2(aside, along * side)
                } else {
                    vec2(along * side, aside)
                }
        };
        let points = [turn(4.0, -3.5), turn(7.5, 0.0), turn(4.0, 3.5)];
        let stroke = Stroke::new(1.6, ink);
        painter.line_segment([points[0], points[1]], stroke);
        painter.line_segment([points[1], points[2]], stroke);
    }
}
