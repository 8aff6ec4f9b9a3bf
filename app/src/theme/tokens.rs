//! Design tokens: the colours of a theme, which are data, and the sizes that all themes share.

use std::ops::Deref;

use egui::{Color32, CornerRadius, Shadow};
use serde::Deserialize;

/// Hues that tell the columns of a comparison apart.
pub const DIFF_COLOURS: usize = 8;

/// Reads `#rrggbb` or `#rrggbbaa`; alpha is not premultiplied.
pub(super) fn parse_colour(text: &str) -> Result<Color32, String> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let number = u32::from_str_radix(digits, 16)
        .ok()
        .filter(|_| digits.is_ascii());
    match (digits.len(), number) {
        (6, Some(number)) => {
            let [_, r, g, b] = number.to_be_bytes();
            Ok(Color32::from_rgb(r, g, b))
        }
        (8, Some(number)) => {
            let [r, g, b, a] = number.to_be_bytes();
            Ok(Color32::from_rgba_unmultiplied(r, g, b, a))
        }
        _ => Err(format!(
            "'{text}' is no colour; write it as #rrggbb or #rrggbbaa"
        )),
    }
}

fn colour<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Color32, D::Error> {
    let text = String::deserialize(source)?;
    parse_colour(&text).map_err(serde::de::Error::custom)
}

fn colours<'de, D: serde::Deserializer<'de>>(
    source: D,
) -> Result<[Color32; DIFF_COLOURS], D::Error> {
    let texts = Vec::<String>::deserialize(source)?;
    let count = texts.len();
    let parsed: Result<Vec<_>, _> = texts.iter().map(|text| parse_colour(text)).collect();
    let parsed = parsed.map_err(serde::de::Error::custom)?;
    parsed.try_into().map_err(|_| {
        serde::de::Error::custom(format!("{count} colours where {DIFF_COLOURS} are wanted"))
    })
}

macro_rules! palette {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The colours of a theme, by what they are for. `assets/theme/*.json` hold them.
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Palette {
            $($(#[$doc])* #[serde(deserialize_with = "colour")] pub $name: Color32,)*
            /// Columns of a comparison: text and lines, readable on panels.
            #[serde(deserialize_with = "colours")]
            pub diff: [Color32; DIFF_COLOURS],
            /// Columns of a comparison: what lies behind ordinary text.
            #[serde(deserialize_with = "colours")]
            pub diff_soft: [Color32; DIFF_COLOURS],
        }
    };
}

palette! {
    /// The window behind all panels.
    bg_base,
    /// Panels.
    bg_panel,
    /// What lies on a panel: cards, menus, dialogs, quiet buttons' wells.
    bg_raised,
    /// Under the pointer.
    bg_hover,
    /// Pressed, or chosen without being the main thing.
    bg_active,
    /// Text fields and wells.
    bg_input,
    /// Tooltips.
    bg_tooltip,
    /// Buttons that cannot be pressed, where they would be filled with a colour.
    bg_disabled,
    /// Hairlines between areas.
    stroke,
    /// Outlines of fields and raised things.
    stroke_strong,
    /// Outlines that alone tell a control: check boxes, switches. At least 3:1.
    stroke_control,
    /// Text. At least 4.5:1 on every background.
    text,
    /// Labels, second lines. At least 4.5:1.
    text_muted,
    /// Hints, units, times. At least 4.5:1.
    text_faint,
    /// Text and icons of what cannot be used. At least 3:1 on every background: one must be able to read what it would be.
    text_disabled,
    /// The main action, the chosen thing. At least 3:1 beside panels.
    accent,
    /// The accent under the pointer.
    accent_hover,
    /// Accent-coloured text and icons. At least 4.5:1.
    accent_text,
    /// Behind a chosen thing.
    accent_soft,
    /// Text on the accent. At least 4.5:1.
    on_accent,
    /// The ring around what has the keyboard. At least 3:1.
    focus,
    /// Selected text lies on this.
    selection,
    /// Fill of a destructive button.
    danger,
    /// The same under the pointer.
    danger_hover,
    /// Error text and icons. At least 4.5:1.
    danger_text,
    /// Behind an error.
    danger_soft,
    /// Text on danger.
    on_danger,
    /// Warning text and icons.
    warning,
    /// Behind a warning.
    warning_soft,
    /// Success text and icons.
    success,
    /// Behind a success.
    success_soft,
    /// Text and icons of a plain notice.
    info,
    /// Behind a plain notice.
    info_soft,
    /// Around pictures: neutral, so that colours are judged rightly.
    canvas_bg,
    /// Checkerboard behind transparent pictures, first colour.
    checker_a,
    /// Checkerboard, second colour.
    checker_b,
    /// Laid over the window behind dialogs.
    scrim,
    /// Shadows of what floats.
    shadow,
}

/// Sizes in points and times in seconds, the same in all themes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sizes {
    /// 4: between an icon and its text.
    pub gap_xs: f32,
    /// 8: between neighbours.
    pub gap_s: f32,
    /// 12: inside cards, between groups of a form.
    pub gap_m: f32,
    /// 16: panel margins.
    pub gap_l: f32,
    /// 24: between sections.
    pub gap_xl: f32,
    /// 32: around empty states.
    pub gap_xxl: f32,
    /// Corner radius of small things: chips, keys, menu rows.
    pub radius_s: f32,
    /// Corner radius of controls.
    pub radius_m: f32,
    /// Corner radius of cards, menus and dialogs.
    pub radius_l: f32,
    /// Height of dense controls.
    pub control_s: f32,
    /// Height of controls.
    pub control_m: f32,
    /// Height of the one main control.
    pub control_l: f32,
    /// Width of the rail at the window's left.
    pub rail_width: f32,
    /// Height of bars at a panel's top.
    pub bar_height: f32,
    /// Icons in text and controls.
    pub icon_s: f32,
    /// Icons of icon buttons.
    pub icon_m: f32,
    /// Icons of the rail.
    pub icon_l: f32,
    /// Icons of empty states.
    pub icon_xl: f32,
    /// Font size: captions, keys, units.
    pub font_caption: f32,
    /// Font size: all text.
    pub font_body: f32,
    /// Font size: titles of panels and dialogs.
    pub font_title: f32,
    /// Font size: headings of pages.
    pub font_heading: f32,
    /// Font size: the large line of an empty state.
    pub font_display: f32,
    /// Seconds of hover changes.
    pub time_fast: f32,
    /// Seconds of opening and closing.
    pub time_normal: f32,
}

impl Sizes {
    /// The only set there is; the window's scale multiplies it.
    pub const STANDARD: Self = Self {
        gap_xs: 4.0,
        gap_s: 8.0,
        gap_m: 12.0,
        gap_l: 16.0,
        gap_xl: 24.0,
        gap_xxl: 32.0,
        radius_s: 4.0,
        radius_m: 6.0,
        radius_l: 10.0,
        control_s: 24.0,
        control_m: 30.0,
        control_l: 38.0,
        rail_width: 56.0,
        bar_height: 44.0,
        icon_s: 16.0,
        icon_m: 18.0,
        icon_l: 22.0,
        icon_xl: 40.0,
        font_caption: 11.5,
        font_body: 13.0,
        font_title: 15.0,
        font_heading: 20.0,
        font_display: 26.0,
        time_fast: 0.09,
        time_normal: 0.16,
    };
}

/// Colours and sizes of the theme that is shown. Colours are read as if they were its own fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Whether text is light on dark.
    pub dark: bool,
    /// The colours.
    pub colours: Palette,
    /// The sizes.
    pub size: Sizes,
}

impl Deref for Tokens {
    type Target = Palette;

    fn deref(&self) -> &Palette {
        &self.colours
    }
}

impl Tokens {
    /// Colour of a comparison's column; they repeat after [`DIFF_COLOURS`].
    pub fn diff(&self, column: usize) -> Color32 {
        self.colours
            .diff
            .get(column % DIFF_COLOURS)
            .copied()
            .unwrap_or(self.colours.accent_text)
    }

    /// What lies behind text in a comparison's column.
    pub fn diff_soft(&self, column: usize) -> Color32 {
        self.colours
            .diff_soft
            .get(column % DIFF_COLOURS)
            .copied()
            .unwrap_or(self.colours.accent_soft)
    }

    /// Shadow of menus and toasts.
    pub fn shadow_popup(&self) -> Shadow {
        Shadow {
            offset: [0, 6],
            blur: 20,
            spread: 0,
            color: self.colours.shadow,
        }
    }

    /// Shadow of dialogs and drawers.
    pub fn shadow_dialog(&self) -> Shadow {
        Shadow {
            offset: [0, 14],
            blur: 44,
            spread: 0,
            color: self.colours.shadow,
        }
    }

    /// Radius of small things.
    pub fn corner_s(&self) -> CornerRadius {
        CornerRadius::from(self.size.radius_s)
    }

    /// Radius of controls.
    pub fn corner_m(&self) -> CornerRadius {
        CornerRadius::from(self.size.radius_m)
    }

    /// Radius of cards and menus.
    pub fn corner_l(&self) -> CornerRadius {
        CornerRadius::from(self.size.radius_l)
    }

    /// Tokens in egui's own colours: what widgets are drawn with where no [`super::Look`] was installed, as in tests
    /// of single widgets.
    pub fn plain(dark: bool) -> Self {
        let visuals = if dark {
            egui::Visuals::dark()
        } else {
            egui::Visuals::light()
        };
        let text = visuals.strong_text_color();
        let panel = visuals.panel_fill;
        let widgets = &visuals.widgets;
        let hover = widgets.hovered.weak_bg_fill;
        let accent = visuals.selection.bg_fill;
        let line = widgets.noninteractive.bg_stroke.color;
        let red = Color32::from_rgb(190, 40, 50);
        let clear = Color32::from_black_alpha(120);
        Self {
            dark,
            size: Sizes::STANDARD,
            colours: Palette {
                bg_base: panel,
                bg_panel: panel,
                bg_raised: widgets.inactive.weak_bg_fill,
                bg_hover: hover,
                bg_active: hover,
                bg_input: visuals.extreme_bg_color,
                bg_tooltip: panel,
                bg_disabled: hover,
                stroke: line,
                stroke_strong: line,
                stroke_control: widgets.noninteractive.fg_stroke.color,
                text,
                text_muted: text,
                text_faint: text,
                text_disabled: visuals.weak_text_color(),
                accent,
                accent_hover: accent,
                accent_text: visuals.hyperlink_color,
                accent_soft: accent,
                on_accent: visuals.selection.stroke.color,
                focus: visuals.hyperlink_color,
                selection: accent,
                danger: red,
                danger_hover: red,
                danger_text: text,
                danger_soft: panel,
                on_danger: Color32::WHITE,
                warning: text,
                warning_soft: panel,
                success: text,
                success_soft: panel,
                info: text,
                info_soft: panel,
                canvas_bg: visuals.extreme_bg_color,
                checker_a: panel,
                checker_b: hover,
                scrim: clear,
                shadow: clear,
                diff: [text; DIFF_COLOURS],
                diff_soft: [panel; DIFF_COLOURS],
            },
        }
    }
}

/// Contrast of two opaque colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
pub fn contrast(a: Color32, b: Color32) -> f32 {
    let luminance = |colour: Color32| {
        let [r, g, b, _] = egui::Rgba::from(colour).to_array();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The colour between two, `t` from 0 to 1, mixed as they are seen.
pub fn mix(from: Color32, to: Color32, t: f32) -> Color32 {
    from.lerp_to_gamma(to, t.clamp(0.0, 1.0))
}
