//! The canvas: a picture to zoom and to move about in.

mod indicator;
pub mod interact;
pub mod mask;
pub mod paint;
pub mod view;

use std::sync::Arc;

use egui::{Align2, Color32, FontId, Id, IdSalt, Painter, Rect, Role, Sense, Ui, WidgetInfo};

pub use indicator::zoom_indicator;
pub use interact::{CanvasAction, CanvasFrame, Hand, interact, interact_with};
pub use mask::{paint_brush, paint_mask};
pub use paint::{Magnify, paint_picture};
pub use view::{CanvasView, Geometry, zoom_text};

use crate::widgets::pictures::{Loaded, PictureError, PictureSource, PictureStore, ShownPicture};

/// Room around a fitted picture, in points.
const MARGIN: f32 = 16.0;

/// What is drawn over the picture.
type Overlay<'a> = Box<dyn FnOnce(&Painter, &CanvasFrame) + 'a>;

/// A canvas to be shown.
pub struct Canvas<'a> {
    salt: IdSalt,
    name: &'a str,
    source: Option<&'a PictureSource>,
    magnify: Magnify,
    margin: f32,
    keys: bool,
    indicator: bool,
    hand: Hand,
    overlay: Option<Overlay<'a>>,
}

/// What came of showing a canvas.
#[derive(Debug)]
pub struct CanvasOutput {
    /// The canvas itself and where the picture lies.
    pub frame: CanvasFrame,
    /// The picture that is shown; it may still be the one before.
    pub picture: Option<Arc<ShownPicture>>,
    /// Why there is none.
    pub error: Option<Arc<PictureError>>,
}

/// What was shown last, so that nothing flickers while the next is decoded.
#[derive(Clone)]
struct Last(PictureSource, Arc<ShownPicture>);

impl<'a> Canvas<'a> {
    /// A canvas; `name` tells what is on it, such as the prompt.
    pub fn new(salt: impl std::hash::Hash + std::fmt::Debug, name: &'a str) -> Self {
        Self {
            salt: IdSalt::new(("canvas", salt)),
            name,
            source: None,
            magnify: Magnify::Auto,
            margin: MARGIN,
            keys: true,
            indicator: true,
            hand: Hand::Pan,
            overlay: None,
        }
    }

    /// What to show.
    pub fn picture(mut self, source: Option<&'a PictureSource>) -> Self {
        self.source = source;
        self
    }

    /// How enlarged pictures look.
    pub fn magnify(mut self, magnify: Magnify) -> Self {
        self.magnify = magnify;
        self
    }

    /// Room around a fitted picture, in points.
    pub fn margin(mut self, margin: f32) -> Self {
        self.margin = margin;
        self
    }

    /// Whether Ctrl+0 and its like act without focus. For all but the main canvas of a window: no.
    pub fn keys(mut self, keys: bool) -> Self {
        self.keys = keys;
        self
    }

    /// Whether zoom and its buttons are shown in the corner.
    pub fn indicator(mut self, indicator: bool) -> Self {
        self.indicator = indicator;
        self
    }

    /// What the first button of the pointer does.
    pub fn hand(mut self, hand: Hand) -> Self {
        self.hand = hand;
        self
    }

    /// Draws over the picture.
    pub fn overlay(mut self, overlay: impl FnOnce(&Painter, &CanvasFrame) + 'a) -> Self {
        self.overlay = Some(Box::new(overlay));
        self
    }

    /// Shows it in all the room that is left.
    pub fn show(self, ui: &mut Ui, store: &PictureStore, view: &mut CanvasView) -> CanvasOutput {
        let (viewport, _) = ui.allocate_exact_size(ui.available_size(), Sense::hover());
        self.show_in(ui, viewport, store, view)
    }

    /// Shows it in a rectangle.
    pub fn show_in(
        self,
        ui: &mut Ui,
        viewport: Rect,
        store: &PictureStore,
        view: &mut CanvasView,
    ) -> CanvasOutput {
        let id = ui.scope_id().with_salt(self.salt);
        let (drawn, error) = self.current(ui, id, store);
        let size = drawn
            .as_ref()
            .map_or([1, 1], |Last(_, picture)| picture.size());
        // Without a picture there is nothing to zoom, and the view is left alone.
        let mut idle = CanvasView::fitted();
        let used = if drawn.is_some() { view } else { &mut idle };
        let (margin, keys, hand) = (self.margin, self.keys, self.hand);
        let frame = interact_with(ui, id, viewport, size, margin, keys, hand, used);
        let painter = ui.painter_at(viewport);
        if let Some(Last(source, picture)) = &drawn {
            let target = frame.picture;
            let white = Color32::WHITE;
            paint_picture(
                &painter,
                store,
                source,
                picture,
                target,
                &frame,
                self.magnify,
                white,
            );
        } else if let Some(error) = &error {
            paint_note(ui, &painter, viewport, &error.to_string());
        }
        paint_focus(ui, &painter, &frame);
        if let Some(overlay) = self.overlay {
            overlay(&painter, &frame);
        }
        let name = match (&drawn, &error) {
            (Some(Last(_, picture)), _) => {
                let [width, height] = picture.size();
                let zoom = zoom_text(frame.zoom);
                format!("Picture: {}, {width} by {height}, {zoom}", self.name)
            }
            (None, Some(error)) => format!("Picture: {}, not shown: {error}", self.name),
            (None, None) if self.source.is_some() => format!("Picture: {}, loading", self.name),
            (None, None) => format!("Picture: {}", self.name),
        };
        let response = &frame.response;
        response.widget_info(|| WidgetInfo::labeled(Role::Image, ui.is_enabled(), &name));
        if self.indicator && drawn.is_some() {
            zoom_indicator(ui, id, viewport, used);
        }
        CanvasOutput {
            frame,
            picture: drawn.map(|Last(_, picture)| picture),
            error,
        }
    }

    /// The picture to draw: the wanted one, or the one before while it is decoded.
    fn current(
        &self,
        ui: &Ui,
        id: Id,
        store: &PictureStore,
    ) -> (Option<Last>, Option<Arc<PictureError>>) {
        let id = id.with("last");
        let Some(source) = self.source else {
            ui.data_mut(|data| data.remove::<Last>(id));
            return (None, None);
        };
        match store.picture(ui.ctx(), source) {
            Loaded::Ready(picture) => {
                let last = Last(source.clone(), picture);
                ui.data_mut(|data| data.insert_temp(id, last.clone()));
                (Some(last), None)
            }
            Loaded::Loading => (ui.data(|data| data.get_temp(id)), None),
            Loaded::Failed(error) => {
                ui.data_mut(|data| data.remove::<Last>(id));
                (None, Some(error))
            }
        }
    }
}

/// A remark in the middle of a canvas.
pub fn paint_note(ui: &Ui, painter: &Painter, viewport: Rect, text: &str) {
    let visuals = ui.visuals();
    let font = FontId::proportional(13.0);
    let width = (viewport.width() - 2.0 * MARGIN).clamp(40.0, 420.0);
    let galley = painter.layout(text.to_owned(), font, visuals.weak_text_color(), width);
    let area = Align2::CENTER_CENTER.anchor_size(viewport.center(), galley.size());
    painter.galley(area.min, galley, visuals.weak_text_color());
}

/// A ring, if the keyboard acts on this canvas.
pub fn paint_focus(ui: &Ui, painter: &Painter, frame: &CanvasFrame) {
    if frame.response.has_focus() {
        let ring = frame.geometry.viewport.shrink(1.5);
        let stroke = ui.visuals().selection.stroke;
        painter.rect_stroke(ring, 4.0, stroke, egui::StrokeKind::Inside);
    }
}
