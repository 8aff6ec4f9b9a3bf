//! Notices in the corner.

use egui::Context;

use super::Gui;
use crate::studio::Studio;

/// Shows the notices over everything.
pub fn show(_ctx: &Context, _studio: &mut Studio, _gui: &mut Gui<'_>) {}
