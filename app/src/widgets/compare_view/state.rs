//! How two pictures are compared; kept with the person's other settings.

use serde::{Deserialize, Serialize};

use crate::widgets::canvas::{CanvasView, Magnify};

/// Ways to compare two pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareMode {
    /// One over the other, with a divider to drag.
    #[default]
    Slider,
    /// Next to each other, moved and zoomed together.
    SideBySide,
    /// One after the other in the same place.
    Blink,
    /// Where they differ, in heat colours.
    Difference,
}

impl CompareMode {
    /// All of them, in the order of the buttons.
    pub const ALL: [Self; 4] = [
        Self::Slider,
        Self::SideBySide,
        Self::Blink,
        Self::Difference,
    ];

    /// Its name on a button.
    pub fn label(self) -> &'static str {
        match self {
            Self::Slider => "Slider",
            Self::SideBySide => "Side by side",
            Self::Blink => "Blink",
            Self::Difference => "Difference",
        }
    }

    /// What it does.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Slider => "Drag the divider to uncover one or the other",
            Self::SideBySide => "Both next to each other; they zoom and move together",
            Self::Blink => "One after the other in the same place",
            Self::Difference => "Where they differ, and by how much",
        }
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Slider => Self::SideBySide,
            Self::SideBySide => Self::Blink,
            Self::Blink => Self::Difference,
            Self::Difference => Self::Slider,
        }
    }
}

/// Least and most changes a second when blinking. More than three flashes a second can harm people with photosensitive
/// epilepsy (WCAG 2.2, 2.3.1).
pub const BLINK_RATES: std::ops::RangeInclusive<f32> = 0.5..=3.0;
/// Least and most gain of the difference.
pub const GAINS: std::ops::RangeInclusive<f32> = 1.0..=16.0;

/// The state of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompareState {
    /// How they are compared.
    pub mode: CompareMode,
    /// What part is seen; the same for both.
    pub view: CanvasView,
    /// Where the divider is: 0 to 1 of the canvas.
    pub split: f32,
    /// Whether the divider lies across, with the first picture above.
    pub across: bool,
    /// Whether the two have changed places.
    pub swapped: bool,
    /// Whether blinking goes by itself.
    pub blinking: bool,
    /// Changes a second.
    pub blink_rate: f32,
    /// What differences are multiplied by.
    pub gain: f32,
    /// How enlarged pictures look.
    pub magnify: Magnify,
}

impl Default for CompareState {
    fn default() -> Self {
        Self {
            mode: CompareMode::Slider,
            view: CanvasView::fitted(),
            split: 0.5,
            across: false,
            swapped: false,
            blinking: true,
            blink_rate: 1.5,
            gain: 4.0,
            magnify: Magnify::Auto,
        }
    }
}

impl CompareState {
    /// The state with every number within its bounds, whatever a file said.
    pub fn settle(&mut self) {
        let within = |value: f32, range: &std::ops::RangeInclusive<f32>, otherwise: f32| {
            if value.is_finite() {
                value.clamp(*range.start(), *range.end())
            } else {
                otherwise
            }
        };
        self.split = within(self.split, &(0.0..=1.0), 0.5);
        self.blink_rate = within(self.blink_rate, &BLINK_RATES, 1.5);
        self.gain = within(self.gain, &GAINS, 4.0);
    }
}
