//! The command palette.

use egui::Ui;

use super::Gui;
use crate::studio::Studio;

/// Shows it over the window.
pub fn show(_ui: &mut Ui, _studio: &mut Studio, _gui: &mut Gui<'_>) {}
