//! The brush: how much of a pixel a stroke covers.

/// What a mask is painted with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brush {
    /// Radius in pixels of the picture.
    pub radius: f32,
    /// From 0, soft from the middle on, to 1, with a crisp edge.
    pub hardness: f32,
    /// Takes away instead of adding.
    pub erase: bool,
}

impl Brush {
    /// No pixel farther from the stroke's middle is touched.
    pub fn reach(&self) -> f32 {
        self.radius.clamp(0.5, 4096.0) + 0.5
    }

    /// How much of a place is covered by a stroke from one place to another: 0 to 255. Inside it is all; from `hardness` of the
    /// radius on it fades, and even the crisp edge is one pixel wide.
    pub fn cover(&self, at: [f32; 2], from: [f32; 2], to: [f32; 2]) -> u8 {
        let outer = self.reach();
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let (px, py) = (at[0] - from[0], at[1] - from[1]);
        let length = dx * dx + dy * dy;
        let along = if length > 0.0 {
            ((px * dx + py * dy) / length).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let (x, y) = (px - along * dx, py - along * dy);
        let square = x * x + y * y;
        if square >= outer * outer {
            return 0;
        }
        let inner = ((outer - 0.5) * self.hardness.clamp(0.0, 1.0) - 0.5).max(0.0);
        if square <= inner * inner {
            return 255;
        }
        let left = (outer - square.sqrt()) / (outer - inner);
        // Without a corner where it begins and ends.
        let smooth = left * left * (3.0 - 2.0 * left);
        (smooth * 255.0).round() as u8
    }
}
