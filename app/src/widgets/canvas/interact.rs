//! What hands do to a canvas: wheel, pinch, drag, keys; and the motion that follows.

use egui::{
    Context, CursorIcon, Event, EventFilter, Id, Key, Modifiers, MouseWheelUnit, PointerButton,
    Pos2, Rect, Response, Sense, Ui, Vec2,
};

use super::view::{CanvasView, Geometry};

/// Zoom of one notch of the wheel.
const NOTCH: f32 = 1.25;
/// Zoom of one press of a key.
const PRESS: f32 = 1.5;
/// Way of one press of an arrow key, in points.
const ARROW: f32 = 48.0;
/// Seconds in which a motion has done two thirds of its way.
const PACE: f32 = 0.055;
/// A motion ends when it is this near, as a ratio.
const NEAR: f32 = 1.002;

/// What can be asked of a canvas from elsewhere, such as a menu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CanvasAction {
    /// Show the whole picture.
    #[default]
    Fit,
    /// One pixel of the picture on one of the screen.
    ActualSize,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
}

impl CanvasAction {
    /// Asks the first canvas that is drawn from now on to do this.
    pub fn send(self, ctx: &Context) {
        ctx.data_mut(|data| data.insert_temp(Id::unique("canvas action"), self));
        ctx.request_repaint();
    }

    /// Asks one canvas.
    pub(super) fn send_to(self, ctx: &Context, id: Id) {
        ctx.data_mut(|data| data.insert_temp(id.with("action"), self));
        ctx.request_repaint();
    }

    fn receive(ctx: &Context, id: Id) -> Option<Self> {
        ctx.data_mut(|data| {
            let own = data.remove_temp(id.with("action"));
            own.or_else(|| data.remove_temp(Id::unique("canvas action")))
        })
    }
}

/// A zoom on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    zoom: f32,
    /// The place of the picture that stays where it is on the screen.
    place: [f32; 2],
    anchor: Pos2,
    /// Ends fitted.
    fit: bool,
}

/// What a canvas remembers from pass to pass, apart from its view.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    motion: Option<Motion>,
    last_zoom: f32,
    steady: u8,
}

/// A canvas after its input was taken.
#[derive(Clone, Debug)]
pub struct CanvasFrame {
    /// What egui tells about it.
    pub response: Response,
    /// The geometry of this pass.
    pub geometry: Geometry,
    /// Where the picture lies, in points; may reach beyond the canvas.
    pub picture: Rect,
    /// Physical pixels for each pixel of the picture.
    pub zoom: f32,
    /// Whether the size has come to rest, so that it is worth drawing in its best quality.
    pub steady: bool,
}

/// What the first button of the pointer does on a canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hand {
    /// It moves the picture; a double click fits it or shows it pixel by pixel.
    #[default]
    Pan,
    /// It belongs to a tool, unless Space is held down; the middle button moves the picture.
    Tool,
}

impl Hand {
    /// Whether the first button acts for the tool now.
    pub fn works(self, ui: &Ui) -> bool {
        self == Self::Tool && !ui.input(|input| input.key_down(Key::Space))
    }
}

/// Takes the input of a canvas and moves its view.
///
/// `keys` lets the shortcuts act even when the canvas has no focus, as long as no text is edited.
pub fn interact(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    size: [usize; 2],
    margin: f32,
    keys: bool,
    view: &mut CanvasView,
) -> CanvasFrame {
    interact_with(ui, id, viewport, size, margin, keys, Hand::Pan, view)
}

/// As [`interact`], with a tool in the hand.
#[allow(clippy::too_many_arguments, reason = "each is a different thing")]
pub fn interact_with(
    ui: &mut Ui,
    id: Id,
    viewport: Rect,
    size: [usize; 2],
    margin: f32,
    keys: bool,
    hand: Hand,
    view: &mut CanvasView,
) -> CanvasFrame {
    let response = ui.interact(viewport, id, Sense::click_and_drag());
    let geometry = Geometry {
        viewport,
        pixels_per_point: ui.pixels_per_point(),
        size,
        margin,
    };
    let mut memory: Memory = ui.data_mut(|data| data.get_temp(id)).unwrap_or_default();
    *view = geometry.settle(*view);
    let before = *view;

    let action = wanted_action(ui, &response, keys, hand, &geometry, view, memory.motion);
    let target = memory.motion.map_or(view.zoom, |motion| motion.zoom);
    match action {
        Some((CanvasAction::Fit, _)) => {
            memory.motion = Some(Motion {
                zoom: geometry.fit_zoom(),
                place: [0.5, 0.5],
                anchor: viewport.center(),
                fit: true,
            });
            view.fit = false;
        }
        Some((CanvasAction::ActualSize, anchor)) => {
            memory.motion = Some(motion_to(&geometry, view, 1.0, anchor));
        }
        Some((CanvasAction::ZoomIn, anchor)) => {
            memory.motion = Some(motion_to(&geometry, view, target * PRESS, anchor));
        }
        Some((CanvasAction::ZoomOut, anchor)) => {
            memory.motion = Some(motion_to(&geometry, view, target / PRESS, anchor));
        }
        None => {}
    }
    if let Some(motion) = wheel(ui, &response, &geometry, view, target) {
        memory.motion = Some(motion);
    }
    if response.contains_pointer() {
        let (pinch, anchor) = ui.input(|input| (input.zoom_delta(), input.pointer.latest_pos()));
        if pinch != 1.0 {
            // Fingers set the pace themselves.
            let anchor = anchor.unwrap_or(viewport.center());
            *view = geometry.zoom_about(view, view.zoom * pinch, anchor);
            memory.motion = None;
        }
    }
    pan(ui, &response, hand, &geometry, view, &mut memory);
    advance(ui, &geometry, view, &mut memory);
    *view = geometry.settle(*view);
    if *view != before {
        // Whoever keeps the view may want to know.
        ui.ctx().request_repaint();
    }

    let moving = memory.motion.is_some();
    memory.steady = if moving || memory.last_zoom != view.zoom {
        0
    } else {
        memory.steady.saturating_add(1)
    };
    memory.last_zoom = view.zoom;
    if !moving && memory.steady == 0 {
        ui.ctx().request_repaint_after_secs(0.08);
    }
    ui.data_mut(|data| data.insert_temp(id, memory));
    CanvasFrame {
        picture: geometry.rect(view, !moving),
        zoom: view.zoom,
        steady: memory.steady > 0,
        geometry,
        response,
    }
}

fn motion_to(geometry: &Geometry, view: &CanvasView, zoom: f32, anchor: Pos2) -> Motion {
    let (least, most) = geometry.limits();
    Motion {
        zoom: zoom.clamp(least, most),
        place: geometry.place_at(view, anchor),
        anchor,
        fit: false,
    }
}

/// What keys, double clicks or other parts of the window want, and about which point.
fn wanted_action(
    ui: &Ui,
    response: &Response,
    keys: bool,
    hand: Hand,
    geometry: &Geometry,
    view: &CanvasView,
    motion: Option<Motion>,
) -> Option<(CanvasAction, Pos2)> {
    let middle = geometry.viewport.center();
    if let Some(action) = CanvasAction::receive(ui.ctx(), response.id) {
        return Some((action, middle));
    }
    if response.double_clicked() && hand == Hand::Pan {
        let fitted = view.fit || motion.is_some_and(|motion| motion.fit);
        let at = response.interact_pointer_pos().unwrap_or(middle);
        let action = if fitted {
            CanvasAction::ActualSize
        } else {
            CanvasAction::Fit
        };
        return Some((action, at));
    }
    let listens = response.has_focus() || (keys && !ui.ctx().egui_wants_keyboard_input());
    if !listens {
        return None;
    }
    let pressed = |key| ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, key));
    let pairs = [
        (Key::Num0, CanvasAction::Fit),
        (Key::Num1, CanvasAction::ActualSize),
        (Key::Plus, CanvasAction::ZoomIn),
        (Key::Equals, CanvasAction::ZoomIn),
        (Key::Minus, CanvasAction::ZoomOut),
    ];
    let (_, action) = pairs.into_iter().find(|(key, _)| pressed(*key))?;
    let hovered = response.contains_pointer();
    let at = response.hover_pos().filter(|_| hovered).unwrap_or(middle);
    Some((action, at))
}

/// Notches of a wheel zoom; what a touchpad scrolls is panned elsewhere.
fn wheel(
    ui: &Ui,
    response: &Response,
    geometry: &Geometry,
    view: &CanvasView,
    target: f32,
) -> Option<Motion> {
    if !response.contains_pointer() {
        return None;
    }
    let notches: f32 = ui.input(|input| {
        let wheel = |event: &Event| match event {
            Event::MouseWheel {
                unit: MouseWheelUnit::Line | MouseWheelUnit::Page,
                delta,
                modifiers,
                ..
            } if !modifiers.command && !modifiers.shift => delta.y,
            _ => 0.0,
        };
        input.events.iter().map(wheel).sum()
    });
    if notches == 0.0 {
        return None;
    }
    let anchor = response.hover_pos()?;
    Some(motion_to(
        geometry,
        view,
        target * NOTCH.powf(notches),
        anchor,
    ))
}

fn pan(
    ui: &Ui,
    response: &Response,
    hand: Hand,
    geometry: &Geometry,
    view: &mut CanvasView,
    memory: &mut Memory,
) {
    let mut delta = Vec2::ZERO;
    let works = hand.works(ui);
    let first = !works && response.dragged_by(PointerButton::Primary);
    if first || response.dragged_by(PointerButton::Middle) {
        delta += response.drag_delta();
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
    } else if response.hovered() && !works && !view.fit {
        ui.ctx().set_cursor_icon(CursorIcon::Grab);
    }
    if response.contains_pointer() {
        delta += ui.input(|input| {
            let scrolled = |event: &Event| match event {
                Event::MouseWheel {
                    unit,
                    delta,
                    modifiers,
                    ..
                } if !modifiers.command => match unit {
                    MouseWheelUnit::Point => *delta,
                    // Shift turns the wheel sideways.
                    _ if modifiers.shift => Vec2::new(delta.y + delta.x, 0.0) * ARROW,
                    _ => Vec2::new(delta.x, 0.0) * ARROW,
                },
                _ => Vec2::ZERO,
            };
            input
                .events
                .iter()
                .map(scrolled)
                .fold(Vec2::ZERO, |sum, next| sum + next)
        });
    }
    if response.has_focus() {
        ui.memory_mut(|memory| {
            let filter = EventFilter {
                horizontal_arrows: true,
                vertical_arrows: true,
                ..EventFilter::default()
            };
            memory.set_focus_lock_filter(response.id, filter);
        });
        let presses = |key| ui.input(|input| input.num_presses(key)) as f32;
        delta.x += ARROW * (presses(Key::ArrowLeft) - presses(Key::ArrowRight));
        delta.y += ARROW * (presses(Key::ArrowUp) - presses(Key::ArrowDown));
    }
    if delta == Vec2::ZERO {
        return;
    }
    *view = geometry.pan(view, delta);
    match &mut memory.motion {
        // What was to be fitted stays where the hand puts it.
        Some(motion) if motion.fit => memory.motion = None,
        Some(motion) => motion.anchor += delta,
        None => {}
    }
}

fn advance(ui: &Ui, geometry: &Geometry, view: &mut CanvasView, memory: &mut Memory) {
    let Some(motion) = memory.motion else { return };
    let still = ui.style().animation_time <= 0.0;
    let ratio = (motion.zoom / view.zoom).max(1e-6);
    let seconds = ui.input(|input| input.stable_dt.min(0.1));
    let part = if still {
        1.0
    } else {
        1.0 - (-seconds / PACE).exp()
    };
    let near = ratio < NEAR && ratio > 1.0 / NEAR;
    let centred = (view.centre[0] - 0.5).abs() + (view.centre[1] - 0.5).abs() < 0.002;
    if part >= 1.0 || (near && (!motion.fit || centred)) {
        *view = if motion.fit {
            CanvasView::fitted()
        } else {
            geometry.with_place_at(motion.zoom, motion.place, motion.anchor)
        };
        memory.motion = None;
        return;
    }
    let zoom = view.zoom * ratio.powf(part);
    *view = if motion.fit {
        let centre = view.centre.map(|place| place + (0.5 - place) * part);
        geometry.settle(CanvasView {
            zoom,
            centre,
            fit: false,
        })
    } else {
        geometry.with_place_at(zoom, motion.place, motion.anchor)
    };
    ui.ctx().request_repaint();
}
