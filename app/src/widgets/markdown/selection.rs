//! The text that a person has selected.

use egui::text_selection::LabelSelectionState;
use egui::{Context, FullOutput, OutputCommand, Plugin, Ui};

/// A press on a button ends the selection before the button is told of the click; until then the text still counts.
const AFTER: f64 = 0.8;

/// Listens to what egui says of selected text.
#[derive(Debug, Default)]
struct Listener {
    text: String,
    last: Option<f64>,
}

impl Plugin for Listener {
    fn debug_name(&self) -> &'static str {
        "diptych selection"
    }

    fn on_begin_pass(&mut self, ui: &mut Ui) {
        let now = ui.input(|input| input.time);
        let selected = ui
            .plugin_or_default::<LabelSelectionState>()
            .lock()
            .has_selection();
        if selected {
            self.last = Some(now);
        } else if self.last.is_none_or(|last| now - last > AFTER) {
            self.text.clear();
        }
    }

    fn output_hook(&mut self, _ctx: &Context, output: &mut FullOutput) {
        for command in &output.platform_output.commands {
            if let OutputCommand::TextSelectionSettled(text) = command {
                self.text.clone_from(text);
            }
        }
    }
}

/// The text that is selected in labels, as it would be copied; empty if there is none. Call it in every pass in which it
/// may be asked for.
pub fn selected_text(ctx: &Context) -> String {
    ctx.plugin_or_default::<Listener>().lock().text.clone()
}
