//! Where a picture lies on the canvas: zoom, centre, and the arithmetic of both.

use egui::{Pos2, Rect, Vec2, pos2, vec2};
use serde::{Deserialize, Serialize};

/// What part of a picture is seen, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CanvasView {
    /// Physical pixels of the screen for each pixel of the picture; 1 is 100 %.
    pub zoom: f32,
    /// The place of the picture that lies in the middle of the canvas: 0 to 1 across and down.
    pub centre: [f32; 2],
    /// Whether the whole picture is shown, whatever the size of the canvas; then the others follow.
    pub fit: bool,
}

impl Default for CanvasView {
    fn default() -> Self {
        Self {
            zoom: 1.0,
            centre: [0.5, 0.5],
            fit: true,
        }
    }
}

impl CanvasView {
    /// The whole picture.
    pub fn fitted() -> Self {
        Self::default()
    }

    /// 100 %: a pixel of the picture is a pixel of the screen.
    pub fn actual_size() -> Self {
        Self {
            fit: false,
            ..Self::default()
        }
    }
}

/// Largest zoom, unless fitting needs a larger one.
pub const MOST_ZOOM: f32 = 64.0;
/// Pictures larger than this share of the canvas may still be made smaller.
const LEAST_OF_FIT: f32 = 0.1;
/// From this enlargement on, fitting takes whole factors.
const WHOLE_FACTORS_FROM: f32 = 4.0;

/// The canvas and the picture on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// The canvas, in points.
    pub viewport: Rect,
    /// Physical pixels of a point.
    pub pixels_per_point: f32,
    /// Width and height of the picture in its own pixels.
    pub size: [usize; 2],
    /// Room left free around a fitted picture, in points.
    pub margin: f32,
}

impl Geometry {
    fn size(&self) -> Vec2 {
        vec2(self.size[0].max(1) as f32, self.size[1].max(1) as f32)
    }

    /// The zoom at which the whole picture is seen. Pictures that are enlarged four times or more are enlarged by a whole
    /// factor, so that all their pixels are of one size.
    pub fn fit_zoom(&self) -> f32 {
        let room = (self.viewport.size() - Vec2::splat(2.0 * self.margin)).max(Vec2::splat(1.0));
        let exact = (room * self.pixels_per_point / self.size()).min_elem();
        if exact >= WHOLE_FACTORS_FROM {
            exact.floor()
        } else {
            exact.max(1e-4)
        }
    }

    /// Least and largest zoom.
    pub fn limits(&self) -> (f32, f32) {
        let fit = self.fit_zoom();
        ((fit * LEAST_OF_FIT).min(1.0), fit.max(MOST_ZOOM))
    }

    /// The view within its limits; fitted ones are fitted.
    pub fn settle(&self, view: CanvasView) -> CanvasView {
        if view.fit {
            return CanvasView {
                zoom: self.fit_zoom(),
                centre: [0.5, 0.5],
                fit: true,
            };
        }
        let (least, most) = self.limits();
        let zoom = if view.zoom.is_finite() {
            view.zoom
        } else {
            1.0
        };
        let centre = view.centre.map(|place| {
            if place.is_finite() {
                place.clamp(0.0, 1.0)
            } else {
                0.5
            }
        });
        CanvasView {
            zoom: zoom.clamp(least, most),
            centre,
            fit: false,
        }
    }

    /// Where the picture lies, in points. `exact` puts it onto whole physical pixels; without it, it moves smoothly.
    pub fn rect(&self, view: &CanvasView, exact: bool) -> Rect {
        let mut size = self.size() * view.zoom;
        if exact {
            size = size.round().max(Vec2::splat(1.0));
        }
        let middle = self.viewport.center().to_vec2() * self.pixels_per_point;
        let mut from = middle - size * Vec2::from(view.centre);
        if exact {
            from = from.round();
        }
        let scale = 1.0 / self.pixels_per_point;
        Rect::from_min_size((from * scale).to_pos2(), size * scale)
    }

    /// The place of the picture (0 to 1, beyond outside of it) under a point of the screen.
    pub fn place_at(&self, view: &CanvasView, point: Pos2) -> [f32; 2] {
        let rect = self.rect(view, false);
        let place = (point - rect.min) / rect.size();
        [place.x, place.y]
    }

    /// The view at another zoom with the same place of the picture under a point of the screen.
    pub fn zoom_about(&self, view: &CanvasView, zoom: f32, anchor: Pos2) -> CanvasView {
        let place = self.place_at(view, anchor);
        let (least, most) = self.limits();
        self.with_place_at(zoom.clamp(least, most), place, anchor)
    }

    /// The view at a zoom that has a place of the picture under a point of the screen.
    pub fn with_place_at(&self, zoom: f32, place: [f32; 2], anchor: Pos2) -> CanvasView {
        let off = (anchor - self.viewport.center()) * self.pixels_per_point / (self.size() * zoom);
        let centre = Vec2::from(place) - off;
        self.settle(CanvasView {
            zoom,
            centre: [centre.x, centre.y],
            fit: false,
        })
    }

    /// The view moved along with the pointer by points of the screen.
    pub fn pan(&self, view: &CanvasView, delta: Vec2) -> CanvasView {
        let moved = delta * self.pixels_per_point / (self.size() * view.zoom);
        self.settle(CanvasView {
            zoom: view.zoom,
            centre: [view.centre[0] - moved.x, view.centre[1] - moved.y],
            fit: false,
        })
    }

    /// The pixel of the picture under a point of the screen.
    pub fn pixel_at(&self, view: &CanvasView, point: Pos2) -> Option<[usize; 2]> {
        let rect = self.rect(view, true);
        let place = (point - rect.min) / rect.size();
        let inside = (0.0..1.0).contains(&place.x) && (0.0..1.0).contains(&place.y);
        inside.then(|| {
            let pixel = place * self.size();
            [pixel.x as usize, pixel.y as usize]
        })
    }

    /// The point of the screen over a place of the picture.
    pub fn point_of(&self, view: &CanvasView, place: [f32; 2]) -> Pos2 {
        let rect = self.rect(view, true);
        pos2(
            egui::lerp(rect.x_range(), place[0]),
            egui::lerp(rect.y_range(), place[1]),
        )
    }
}

/// A zoom in a person's words: `100 %`, `33 %`, `2.5 %`.
pub fn zoom_text(zoom: f32) -> String {
    let percent = zoom * 100.0;
    if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(size: [usize; 2], pixels_per_point: f32) -> Geometry {
        Geometry {
            viewport: Rect::from_min_size(pos2(100.0, 50.0), vec2(700.0, 500.0)),
            pixels_per_point,
            size,
            margin: 10.0,
        }
    }

    #[test]
    fn fitting_takes_whole_factors_for_small_pictures() {
        assert_eq!(geometry([64, 64], 1.0).fit_zoom(), 7.0);
        assert_eq!(geometry([64, 64], 2.0).fit_zoom(), 15.0);
        assert_eq!(geometry([512, 512], 1.0).fit_zoom(), 480.0 / 512.0);
        assert_eq!(geometry([320, 240], 1.0).fit_zoom(), 2.0);
        assert_eq!(geometry([2000, 100], 1.0).fit_zoom(), 680.0 / 2000.0);
    }

    #[test]
    fn zooming_keeps_the_place_under_the_cursor() {
        for ppp in [1.0, 1.25, 2.0] {
            let geometry = geometry([640, 480], ppp);
            let mut view = geometry.settle(CanvasView::fitted());
            let anchor = pos2(400.0, 340.0);
            let before = geometry.place_at(&view, anchor);
            for zoom in [1.0, 2.5, 7.0, 31.0, 2.0] {
                view = geometry.zoom_about(&view, zoom, anchor);
                let after = geometry.place_at(&view, anchor);
                assert!((after[0] - before[0]).abs() < 1e-4, "{before:?} {after:?}");
                assert!((after[1] - before[1]).abs() < 1e-4, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn pictures_lie_on_whole_pixels() {
        for ppp in [1.0, 1.25, 1.5, 2.0] {
            let geometry = geometry([33, 21], ppp);
            let view = geometry.settle(CanvasView {
                zoom: 1.0,
                centre: [0.31, 0.77],
                fit: false,
            });
            let rect = geometry.rect(&view, true);
            for value in [rect.min.x, rect.min.y, rect.max.x, rect.max.y] {
                assert!(
                    (value * ppp - (value * ppp).round()).abs() < 1e-3,
                    "{rect:?}"
                );
            }
            assert!((rect.width() * ppp - 33.0).abs() < 1e-3);
        }
    }

    #[test]
    fn nonsense_is_brought_within_limits() {
        let geometry = geometry([64, 64], 1.0);
        let view = geometry.settle(CanvasView {
            zoom: f32::NAN,
            centre: [f32::INFINITY, -4.0],
            fit: false,
        });
        assert_eq!((view.zoom, view.centre), (1.0, [0.5, 0.0]));
        let view = geometry.settle(CanvasView { zoom: 1e9, ..view });
        assert_eq!(view.zoom, MOST_ZOOM);
    }

    #[test]
    fn panning_moves_with_the_pointer() {
        let geometry = geometry([640, 480], 1.0);
        let view = CanvasView {
            zoom: 4.0,
            ..CanvasView::actual_size()
        };
        let place = geometry.place_at(&view, pos2(300.0, 300.0));
        let moved = geometry.pan(&view, vec2(40.0, -25.0));
        let after = geometry.place_at(&moved, pos2(340.0, 275.0));
        assert!((place[0] - after[0]).abs() < 1e-5 && (place[1] - after[1]).abs() < 1e-5);
    }

    #[test]
    fn zooms_read_well() {
        assert_eq!(zoom_text(1.0), "100 %");
        assert_eq!(zoom_text(0.3333), "33 %");
        assert_eq!(zoom_text(0.0253), "2.5 %");
        assert_eq!(zoom_text(7.0), "700 %");
    }
}
