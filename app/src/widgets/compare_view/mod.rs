//! Two pictures compared: divider, side by side, blinking, difference.

mod controls;
mod divider;
mod state;

use std::sync::Arc;

use egui::{
    Align2, Color32, FontId, Id, IdSalt, Key, Painter, Rect, Role, Sense, Ui, WidgetInfo, pos2,
    vec2,
};

pub use controls::{compare_controls, difference_text};
pub use state::{BLINK_RATES, CompareMode, CompareState, GAINS};

use crate::widgets::canvas::{
    CanvasFrame, interact, paint_focus, paint_note, paint_picture, zoom_indicator, zoom_text,
};
use crate::widgets::pictures::{
    DifferenceNumbers, Loaded, PictureSource, PictureStore, ShownPicture,
};

/// Room around fitted pictures, in points.
const MARGIN: f32 = 12.0;
/// Between pictures that lie side by side, in points.
const GAP: f32 = 8.0;

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Where it comes from.
    pub source: &'a PictureSource,
    /// What to call it, such as its prompt and seed.
    pub name: &'a str,
}

/// A comparison to be shown.
pub struct CompareView<'a> {
    salt: IdSalt,
    a: Side<'a>,
    b: Side<'a>,
}

/// What came of it.
#[derive(Debug)]
pub struct CompareOutput {
    /// The canvas, or the left one of two.
    pub frame: CanvasFrame,
    /// For the difference, once it is there.
    pub numbers: Option<DifferenceNumbers>,
    /// Width and height of both, where they differ: the second is shown in the size of the first.
    pub unequal: Option<[[usize; 2]; 2]>,
}

/// A side with its picture.
#[derive(Clone)]
struct Drawn<'a> {
    source: &'a PictureSource,
    picture: Arc<ShownPicture>,
    name: &'a str,
    letter: &'static str,
}

impl<'a> CompareView<'a> {
    /// Compares two pictures.
    pub fn new(salt: impl std::hash::Hash + std::fmt::Debug, a: Side<'a>, b: Side<'a>) -> Self {
        let salt = IdSalt::new(("compare", salt));
        Self { salt, a, b }
    }

    /// Shows them in all the room that is left.
    pub fn show(
        self,
        ui: &mut Ui,
        store: &PictureStore,
        state: &mut CompareState,
    ) -> CompareOutput {
        state.settle();
        let (viewport, _) = ui.allocate_exact_size(ui.available_size(), Sense::hover());
        let id = ui.scope_id().with_salt(self.salt);
        let (a, b) = if state.swapped {
            (self.b, self.a)
        } else {
            (self.a, self.b)
        };
        let load = |side: Side<'a>| (store.picture(ui.ctx(), side.source), side);
        let (loaded_a, loaded_b) = (load(a), load(b));
        let drawn = |(loaded, side): &(Loaded<Arc<ShownPicture>>, Side<'a>), letter| {
            loaded.ready().map(|picture| Drawn {
                source: side.source,
                picture: Arc::clone(picture),
                name: side.name,
                letter,
            })
        };
        let letters = if state.swapped {
            ["B", "A"]
        } else {
            ["A", "B"]
        };
        let both = drawn(&loaded_a, letters[0]).zip(drawn(&loaded_b, letters[1]));
        let Some((a, b)) = both else {
            return nothing_yet(ui, id, viewport, state, &[loaded_a.0, loaded_b.0]);
        };
        let sizes = [a.picture.size(), b.picture.size()];
        let unequal = (sizes[0] != sizes[1]).then_some(sizes);
        let mut numbers = None;
        let frame = match state.mode {
            CompareMode::Slider => slider(ui, id, viewport, store, state, [&a, &b]),
            CompareMode::SideBySide => side_by_side(ui, id, viewport, store, state, [&a, &b]),
            CompareMode::Blink => blink(ui, id, viewport, store, state, [&a, &b]),
            CompareMode::Difference => {
                let (frame, found) = difference(ui, id, viewport, store, state, [&a, &b]);
                numbers = found;
                frame
            }
        };
        zoom_indicator(ui, frame.response.id, viewport, &state.view);
        CompareOutput {
            frame,
            numbers,
            unequal,
        }
    }
}

fn nothing_yet(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    state: &CompareState,
    loaded: &[Loaded<Arc<ShownPicture>>],
) -> CompareOutput {
    // The view is not touched: it has no picture to be measured by.
    let mut view = state.view;
    let frame = interact(ui, id, viewport, [1, 1], MARGIN, false, &mut view);
    let failed = loaded.iter().find_map(|loaded| match loaded {
        Loaded::Failed(error) => Some(error.to_string()),
        _ => None,
    });
    let note = failed.unwrap_or_else(|| "Loading the pictures…".into());
    let painter = ui.painter_at(viewport);
    paint_note(ui, &painter, viewport, &note);
    let name = format!("Comparison: {note}");
    let response = &frame.response;
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    CompareOutput {
        frame,
        numbers: None,
        unequal: None,
    }
}

fn describe(frame: &CanvasFrame, what: &str) {
    let name = format!("{what}, {}", zoom_text(frame.zoom));
    let response = &frame.response;
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
}

fn paint(
    painter: &Painter,
    store: &PictureStore,
    drawn: &Drawn<'_>,
    frame: &CanvasFrame,
    state: &CompareState,
) {
    paint_picture(
        painter,
        store,
        drawn.source,
        &drawn.picture,
        frame.picture,
        frame,
        state.magnify,
        Color32::WHITE,
    );
}

fn slider(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    store: &PictureStore,
    state: &mut CompareState,
    [a, b]: [&Drawn<'_>; 2],
) -> CanvasFrame {
    let size = a.picture.size();
    let frame = interact(ui, id, viewport, size, MARGIN, true, &mut state.view);
    // The divider runs over what is seen of the picture, so that no way is wasted beside it.
    let seen = frame.picture.intersect(viewport);
    let seen = if seen.is_positive() { seen } else { viewport };
    let at = divider::interact(ui, id, seen, viewport, state);
    let (area_a, area_b) = divider::halves(viewport, at, state.across);
    let painter = ui.painter_at(viewport);
    paint(&painter.with_clip_rect(area_a), store, a, &frame, state);
    paint(&painter.with_clip_rect(area_b), store, b, &frame, state);
    divider::paint(ui, &painter, id, viewport, at, state.across);
    let corner_b = if state.across {
        Align2::LEFT_BOTTOM
    } else {
        Align2::RIGHT_TOP
    };
    badge(
        ui,
        &painter.with_clip_rect(area_a),
        viewport,
        Align2::LEFT_TOP,
        a,
    );
    badge(ui, &painter.with_clip_rect(area_b), viewport, corner_b, b);
    paint_focus(ui, &painter, &frame);
    describe(
        &frame,
        &format!("Comparison with a divider: {} and {}", a.name, b.name),
    );
    frame
}

fn side_by_side(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    store: &PictureStore,
    state: &mut CompareState,
    [a, b]: [&Drawn<'_>; 2],
) -> CanvasFrame {
    // Wherever the pictures become larger.
    let size = a.picture.size();
    let shape = |rect: Rect| {
        (rect.width() / size[0].max(1) as f32).min(rect.height() / size[1].max(1) as f32)
    };
    let beside = viewport.split_left_right_at_x(viewport.center().x.round());
    let above = viewport.split_top_bottom_at_y(viewport.center().y.round());
    let across = shape(above.0) > shape(beside.0);
    let (mut first, mut second) = if across { above } else { beside };
    if across {
        first.max.y -= GAP / 2.0;
        second.min.y += GAP / 2.0;
    } else {
        first.max.x -= GAP / 2.0;
        second.min.x += GAP / 2.0;
    }
    let left = interact(ui, id, first, size, MARGIN, true, &mut state.view);
    let right = interact(
        ui,
        id.with("second"),
        second,
        size,
        MARGIN,
        false,
        &mut state.view,
    );
    // A hand on the right moves the left too, in the same pass.
    let left = CanvasFrame {
        picture: left.geometry.rect(&state.view, right.steady),
        zoom: state.view.zoom,
        steady: left.steady && right.steady,
        ..left
    };
    for (frame, drawn) in [(&left, a), (&right, b)] {
        let area = frame.geometry.viewport;
        let painter = ui.painter_at(area);
        painter.rect_filled(area, 4.0, ui.visuals().extreme_bg_color);
        paint(&painter, store, drawn, frame, state);
        badge(ui, &painter, area, Align2::LEFT_TOP, drawn);
        paint_focus(ui, &painter, frame);
        describe(frame, &format!("Side by side: {}", drawn.name));
    }
    crosshair(ui, &left, &right);
    left
}

/// Shows on the other picture where the pointer is on this one.
fn crosshair(ui: &Ui, left: &CanvasFrame, right: &CanvasFrame) {
    for (here, there) in [(left, right), (right, left)] {
        let Some(point) = here.response.hover_pos() else {
            continue;
        };
        if !here.picture.contains(point) {
            continue;
        }
        let offset = point - here.geometry.viewport.min;
        let point = there.geometry.viewport.min + offset;
        let painter = ui.painter_at(there.geometry.viewport);
        for (width, colour) in [(3.0, Color32::from_black_alpha(110)), (1.0, Color32::WHITE)] {
            painter.circle_stroke(point, 6.0, egui::Stroke::new(width, colour));
        }
    }
}

fn blink(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    store: &PictureStore,
    state: &mut CompareState,
    [a, b]: [&Drawn<'_>; 2],
) -> CanvasFrame {
    let size = a.picture.size();
    let frame = interact(ui, id, viewport, size, MARGIN, true, &mut state.view);
    let held = frame.response.has_focus() && ui.input(|input| input.key_down(Key::Space))
        || frame.response.is_pointer_button_down_on()
            && !frame.response.dragged()
            && !state.blinking;
    let second = if held {
        true
    } else if state.blinking && ui.input(|input| input.focused) {
        let time = ui.input(|input| input.time);
        let turn = time * f64::from(state.blink_rate);
        let left = (turn.floor() + 1.0 - turn) / f64::from(state.blink_rate);
        // Only when the picture changes: nothing else moves.
        ui.ctx().request_repaint_after_secs(left as f32 + 0.002);
        (turn.floor() as i64) % 2 == 1
    } else {
        false
    };
    let drawn = if second { b } else { a };
    let painter = ui.painter_at(viewport);
    paint(&painter, store, drawn, &frame, state);
    badge(ui, &painter, viewport, Align2::LEFT_TOP, drawn);
    paint_focus(ui, &painter, &frame);
    describe(&frame, &format!("Blinking: {} and {}", a.name, b.name));
    frame
}

fn difference(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    store: &PictureStore,
    state: &mut CompareState,
    [a, b]: [&Drawn<'_>; 2],
) -> (CanvasFrame, Option<DifferenceNumbers>) {
    let size = a.picture.size();
    let frame = interact(ui, id, viewport, size, MARGIN, true, &mut state.view);
    // Halves of a step are enough, and while the gain is dragged most of them are skipped anyway.
    let gain = (state.gain * 2.0).round() / 2.0;
    let source = PictureSource::difference(a.source.clone(), b.source.clone(), gain);
    let painter = ui.painter_at(viewport);
    let last = id.with("difference");
    type Last = (PictureSource, Arc<ShownPicture>);
    let (shown, failed): (Option<Last>, Option<String>) = match store.picture(ui.ctx(), &source) {
        Loaded::Ready(picture) => {
            let shown = (source, picture);
            ui.data_mut(|data| data.insert_temp(last, shown.clone()));
            (Some(shown), None)
        }
        // Another gain is on its way.
        Loaded::Loading => {
            let before: Option<Last> = ui.data(|data| data.get_temp(last));
            let same = |(source, _): &Last| match source {
                PictureSource::Difference(of) => of.a == *a.source && of.b == *b.source,
                _ => false,
            };
            (before.filter(same), None)
        }
        Loaded::Failed(error) => (None, Some(error.to_string())),
    };
    let numbers = shown.as_ref().and_then(|(_, picture)| picture.numbers());
    match &shown {
        Some((source, picture)) => {
            let white = Color32::WHITE;
            let target = frame.picture;
            paint_picture(
                &painter,
                store,
                source,
                picture,
                target,
                &frame,
                state.magnify,
                white,
            );
        }
        None => {
            let note = failed.unwrap_or_else(|| "Comparing…".into());
            paint_note(ui, &painter, viewport, &note);
        }
    }
    let text = numbers.map_or_else(String::new, |numbers| difference_text(&numbers));
    let name = format!("{} and {}", a.name, b.name);
    if numbers.is_some() {
        controls::paint_legend(ui, &painter, viewport, gain, &text);
    }
    paint_focus(ui, &painter, &frame);
    describe(&frame, &format!("Difference of {name}: {text}"));
    (frame, numbers)
}

/// Letter and name of a picture in a corner.
fn badge(ui: &Ui, painter: &Painter, area: Rect, corner: Align2, drawn: &Drawn<'_>) {
    let width = (area.width() * 0.45 - 40.0).max(0.0);
    let text = format!("{}   {}", drawn.letter, drawn.name.replace('\n', " "));
    let mut job = egui::text::LayoutJob::simple(
        text,
        FontId::proportional(12.0),
        ui.visuals().strong_text_color(),
        width,
    );
    job.wrap.max_rows = 2;
    job.wrap.break_anywhere = false;
    let galley = painter.layout_job(job);
    let padding = vec2(8.0, 4.0);
    let inset = vec2(10.0, 10.0);
    let inner = area.shrink2(inset);
    let rect = corner.align_size_within_rect(galley.size() + 2.0 * padding, inner);
    let fill = ui.visuals().window_fill.gamma_multiply(0.88);
    painter.rect_filled(rect, 6.0, fill);
    painter.galley(
        pos2(rect.min.x + padding.x, rect.min.y + padding.y),
        galley,
        Color32::WHITE,
    );
}
