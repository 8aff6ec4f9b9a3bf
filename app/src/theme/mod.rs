//! The look: design tokens, fonts, icons.
//!
//! [`load`] reads everything from the assets; [`Look::install`] hands it to egui; [`tokens`] is what widgets and panels
//! ask for colours and sizes. Nothing else in the program names a colour.

mod icons;
mod style;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Context, FontFamily, FontId, Id, ThemePreference};
use serde::{Deserialize, Serialize};

pub use icons::{Icon, icon, icon_tinted, paint_icon};
pub use tokens::{DIFF_COLOURS, Palette, Sizes, Tokens, contrast, mix};

/// Which theme the person wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// What the system says.
    #[default]
    System,
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
}

/// The look cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    /// A file is missing or cannot be read.
    #[error("{}: {source}; the program's assets are incomplete: install it again, or name their folder with --assets", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no palette.
    #[error("{}: {source}; mend the file, or install the program again", .path.display())]
    Palette {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// A file is no drawing.
    #[error("{}: {cause}; mend the drawing, or install the program again", .path.display())]
    Icon {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        cause: String,
    },
    /// A file is no font.
    #[error("{}: this is no TrueType or OpenType font; install the program again", .path.display())]
    Font {
        /// The file.
        path: PathBuf,
    },
}

/// Palettes, fonts and icons, read and checked.
pub struct Look {
    dark: Arc<Tokens>,
    light: Arc<Tokens>,
    icons: Arc<icons::IconSet>,
    fonts: egui::FontDefinitions,
}

/// What is kept in egui's memory.
#[derive(Clone)]
struct Installed {
    dark: Arc<Tokens>,
    light: Arc<Tokens>,
    icons: Arc<icons::IconSet>,
}

fn installed_id() -> Id {
    Id::unique("diptych look")
}

fn read(path: &Path) -> Result<Vec<u8>, ThemeError> {
    std::fs::read(path).map_err(|source| ThemeError::Read {
        path: path.to_owned(),
        source,
    })
}

fn palette(path: &Path) -> Result<Palette, ThemeError> {
    serde_json::from_slice(&read(path)?).map_err(|source| ThemeError::Palette {
        path: path.to_owned(),
        source,
    })
}

/// Reads palettes, fonts and icons from the assets folder.
///
/// # Errors
/// If a file is missing or is not what it should be; names the file.
pub fn load(assets: &Path) -> Result<Look, ThemeError> {
    let tokens = |dark: bool, file: &str| -> Result<Arc<Tokens>, ThemeError> {
        Ok(Arc::new(Tokens {
            dark,
            colours: palette(&assets.join("theme").join(file))?,
            size: Sizes::STANDARD,
        }))
    };
    Ok(Look {
        dark: tokens(true, "dark.json")?,
        light: tokens(false, "light.json")?,
        icons: Arc::new(icons::IconSet::load(&assets.join("icons"))?),
        fonts: style::fonts(&assets.join("fonts"))?,
    })
}

impl Look {
    /// Hands fonts, styles, tokens and icons to egui. `scale` multiplies all sizes; 1 is the system's own. May be called
    /// again whenever the choice changes.
    pub fn install(&self, ctx: &Context, choice: ThemeChoice, scale: f32) {
        ctx.set_fonts(self.fonts.clone());
        ctx.set_style_of(egui::Theme::Dark, style::style(&self.dark));
        ctx.set_style_of(egui::Theme::Light, style::style(&self.light));
        // The scale is a setting of the studio, which would not hear of egui's own shortcuts.
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        let installed = Installed {
            dark: Arc::clone(&self.dark),
            light: Arc::clone(&self.light),
            icons: Arc::clone(&self.icons),
        };
        ctx.data_mut(|data| data.insert_temp(installed_id(), installed));
        choose(ctx, choice, scale);
    }

    /// The tokens of one theme.
    pub fn theme(&self, dark: bool) -> &Tokens {
        if dark { &self.dark } else { &self.light }
    }
}

/// Changes theme and scale of a window in which a [`Look`] is installed.
pub fn choose(ctx: &Context, choice: ThemeChoice, scale: f32) {
    ctx.set_theme(match choice {
        ThemeChoice::System => ThemePreference::System,
        ThemeChoice::Dark => ThemePreference::Dark,
        ThemeChoice::Light => ThemePreference::Light,
    });
    ctx.set_zoom_factor(scale.clamp(0.5, 4.0));
}

fn installed(ctx: &Context) -> Option<Installed> {
    ctx.data(|data| data.get_temp(installed_id()))
}

fn icon_set(ctx: &Context) -> Option<Arc<icons::IconSet>> {
    installed(ctx).map(|look| look.icons)
}

/// The tokens of the theme that is shown; egui's own colours where no [`Look`] was installed.
pub fn tokens(ctx: &Context) -> Arc<Tokens> {
    let dark = ctx.theme() == egui::Theme::Dark;
    match installed(ctx) {
        Some(look) if dark => look.dark,
        Some(look) => look.light,
        None => Arc::new(Tokens::plain(dark)),
    }
}

const MEDIUM: &str = "medium";
const SEMIBOLD: &str = "semibold";
const ITALIC: &str = "italic";

/// Inter Regular.
pub fn regular(size: f32) -> FontId {
    FontId::new(size, FontFamily::Proportional)
}

/// Inter Medium: buttons, labels.
pub fn medium(ctx: &Context, size: f32) -> FontId {
    named(ctx, MEDIUM, size)
}

/// Inter SemiBold: titles.
pub fn semibold(ctx: &Context, size: f32) -> FontId {
    named(ctx, SEMIBOLD, size)
}

/// Inter Italic.
pub fn italic(ctx: &Context, size: f32) -> FontId {
    named(ctx, ITALIC, size)
}

/// JetBrains Mono.
pub fn mono(size: f32) -> FontId {
    FontId::new(size, FontFamily::Monospace)
}

/// A family of our own; egui panics on families that it does not know, so without an installed look there are none.
fn named(ctx: &Context, family: &'static str, size: f32) -> FontId {
    let family = FontFamily::Name(family.into());
    let known = ctx.fonts(|fonts| fonts.definitions().families.contains_key(&family));
    if known {
        FontId::new(size, family)
    } else {
        regular(size)
    }
}

#[cfg(test)]
mod tests;
