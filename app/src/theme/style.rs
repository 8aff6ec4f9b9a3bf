//! egui's own style and fonts, made of the tokens, so that egui's plain widgets look like ours.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use egui::style::{ScrollAnimation, ScrollFadeStyle, ScrollStyle, Selection, WidgetVisuals};
use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, Style,
    TextStyle, Vec2,
};

use super::{ITALIC, MEDIUM, SEMIBOLD, ThemeError, Tokens, read};

/// What is left of the colours of egui's own widgets that cannot be used.
const DISABLED: f32 = 0.65;

/// First bytes of TrueType and OpenType fonts.
const FONT_MAGICS: [[u8; 4]; 3] = [*b"OTTO", [0, 1, 0, 0], *b"true"];

/// Inter in four cuts and JetBrains Mono; egui's own fonts follow for what they lack, and the system's after those.
pub(super) fn fonts(folder: &Path) -> Result<FontDefinitions, ThemeError> {
    let mut fonts = FontDefinitions::default();
    let files = [
        (None, "Inter-Regular.otf"),
        (Some(MEDIUM), "Inter-Medium.otf"),
        (Some(SEMIBOLD), "Inter-SemiBold.otf"),
        (Some(ITALIC), "Inter-Italic.otf"),
        (None, "JetBrainsMono-Regular.ttf"),
    ];
    let regular = "Inter-Regular.otf".to_owned();
    let fallback = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    for (family, file) in files {
        let path = folder.join(file);
        let bytes = read(&path)?;
        if !FONT_MAGICS.iter().any(|magic| bytes.starts_with(magic)) {
            return Err(ThemeError::Font { path });
        }
        fonts
            .font_data
            .insert(file.to_owned(), Arc::new(FontData::from_owned(bytes)));
        if let Some(family) = family {
            let mut chain = vec![file.to_owned(), regular.clone()];
            chain.extend(fallback.iter().cloned());
            fonts
                .families
                .insert(FontFamily::Name(family.into()), chain);
        }
    }
    for (family, file) in [
        (FontFamily::Proportional, regular),
        (
            FontFamily::Monospace,
            "JetBrainsMono-Regular.ttf".to_owned(),
        ),
    ] {
        fonts.families.entry(family).or_default().insert(0, file);
    }
    Ok(fonts)
}

/// Style of egui's own widgets.
pub(super) fn style(t: &Tokens) -> Style {
    let size = &t.size;
    let mut style = Style {
        text_styles: text_styles(t),
        animation_time: size.time_fast,
        scroll_animation: ScrollAnimation::duration(size.time_normal),
        ..Style::default()
    };

    let spacing = &mut style.spacing;
    spacing.item_spacing = Vec2::splat(size.gap_s);
    spacing.window_margin = Margin::same(size.gap_l as i8);
    spacing.menu_margin = Margin::same(size.gap_xs as i8);
    spacing.button_padding = Vec2::new(10.0, 6.0);
    spacing.interact_size = Vec2::new(size.control_m, size.control_s);
    spacing.indent = 14.0;
    spacing.icon_width = 16.0;
    spacing.icon_width_inner = 8.0;
    spacing.icon_spacing = size.gap_s;
    spacing.tooltip_width = 320.0;
    spacing.combo_height = 320.0;
    spacing.text_edit_width = 240.0;
    spacing.scroll = ScrollStyle {
        bar_width: 8.0,
        floating_width: 4.0,
        handle_min_length: 28.0,
        bar_inner_margin: 2.0,
        bar_outer_margin: 2.0,
        foreground_color: true,
        dormant_background_opacity: 0.0,
        dormant_handle_opacity: 0.0,
        active_background_opacity: 0.0,
        active_handle_opacity: 0.35,
        interact_background_opacity: 0.0,
        interact_handle_opacity: 0.6,
        fade: ScrollFadeStyle {
            strength: 0.75,
            size: 18.0,
        },
        ..ScrollStyle::floating()
    };

    style.interaction.tooltip_delay = 0.45;
    style.interaction.selectable_labels = false;

    let v = &mut style.visuals;
    *v = if t.dark {
        egui::Visuals::dark()
    } else {
        egui::Visuals::light()
    };
    let corner = t.corner_m();
    let state = |fill: Color32, stroke: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, stroke),
        corner_radius: corner,
        fg_stroke: Stroke::new(1.5, text),
        expansion: 0.0,
    };
    let clear = Color32::TRANSPARENT;
    v.widgets.noninteractive = state(t.bg_panel, t.stroke, t.text);
    v.widgets.inactive = state(t.bg_raised, t.stroke_strong, t.text);
    v.widgets.hovered = state(t.bg_hover, t.stroke_strong, t.text);
    v.widgets.active = state(t.bg_active, t.focus, t.text);
    v.widgets.open = state(t.bg_active, clear, t.text);
    v.weak_text_color = Some(t.text_muted);
    v.hyperlink_color = t.accent_text;
    v.faint_bg_color = t.bg_raised;
    v.extreme_bg_color = t.bg_input;
    v.text_edit_bg_color = Some(t.bg_input);
    v.code_bg_color = t.bg_raised;
    v.warn_fg_color = t.warning;
    v.error_fg_color = t.danger_text;
    v.selection = Selection {
        bg_fill: t.selection,
        stroke: Stroke::new(1.0, t.text),
    };
    v.text_cursor.stroke = Stroke::new(1.5, t.accent_text);
    v.ime_composition.active_underline_stroke = Stroke::new(2.0, t.accent_text);
    v.ime_composition.inactive_underline_stroke = Stroke::new(1.0, t.text_muted);
    v.window_corner_radius = t.corner_l();
    v.menu_corner_radius = CornerRadius::from(size.radius_l - 2.0);
    v.window_fill = t.bg_raised;
    v.window_stroke = Stroke::new(1.0, t.stroke_strong);
    v.window_shadow = t.shadow_dialog();
    v.popup_shadow = t.shadow_popup();
    v.window_highlight_topmost = false;
    v.panel_fill = t.bg_panel;
    v.indent_has_left_vline = false;
    v.slider_trailing_fill = true;
    v.handle_shape = egui::style::HandleShape::Circle;
    // For what draws itself no other way when it cannot be used; our own widgets have colours for that.
    v.disabled_alpha = DISABLED;
    style
}

fn text_styles(t: &Tokens) -> BTreeMap<TextStyle, FontId> {
    let proportional = |size| FontId::new(size, FontFamily::Proportional);
    let size = &t.size;
    [
        (TextStyle::Small, proportional(size.font_caption)),
        (TextStyle::Body, proportional(size.font_body)),
        (TextStyle::Button, proportional(size.font_body)),
        (
            TextStyle::Heading,
            FontId::new(size.font_heading, FontFamily::Name(SEMIBOLD.into())),
        ),
        (
            TextStyle::Monospace,
            FontId::new(size.font_body - 0.5, FontFamily::Monospace),
        ),
    ]
    .into()
}
