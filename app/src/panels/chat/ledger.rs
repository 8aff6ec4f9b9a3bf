//! Above the field: what the message that is being written would cost, before it is sent.

use diptych_inference::engine::{KvChoice, KvType, Ledger};
use egui::{Label, RichText, Ui};

use super::super::Gui;
use crate::studio::Studio;
use crate::studio::chat::asks::PAUSE;
use crate::theme::{self, Icon};
use crate::widgets::tip;
use crate::words;

/// Fewer tokens than this for an answer are too few.
const FEW: u32 = 64;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Well,
    Care,
    Wrong,
}

fn words(ledger: &Ledger) -> (Tone, String) {
    let tokens = words::count(ledger.tokens);
    let fit = words::count(ledger.context_length);
    if ledger.tokens >= ledger.context_length {
        let words = format!(
            "Too long: {tokens} tokens, but {fit} fit. Take something away, or let old messages drop out in the settings."
        );
        return (Tone::Wrong, words);
    }
    let mut words = format!(
        "{tokens} tokens: {} cached, {} new; {fit} fit",
        words::count(ledger.cached),
        words::count(ledger.new)
    );
    if ledger.dropped > 0 {
        let dropped = words::count(ledger.dropped);
        words.push_str(&format!(
            ". {dropped} tokens of the oldest messages drop out"
        ));
        return (Tone::Care, words);
    }
    if ledger.reserved < FEW {
        let left = words::count(ledger.reserved);
        words.push_str(&format!(". Only {left} are left for the answer"));
        return (Tone::Care, words);
    }
    (Tone::Well, words)
}

/// What the numbers mean.
const TOLD: &str =
    "What the model has to read when this is sent. What is cached it remembers from before.";

/// What the numbers mean, and in what form the conversation is remembered where that was not the person's choice.
fn told(ledger: &Ledger, choice: KvChoice) -> String {
    match (choice, ledger.kv_type) {
        (KvChoice::Auto, KvType::F16) => format!(
            "{TOLD} It is remembered in 16-bit: in 32-bit a full conversation does not fit into memory beside the model."
        ),
        _ => TOLD.to_owned(),
    }
}

/// Shows it, if something is written and its cost is known.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &Gui<'_>) {
    let t = &gui.tokens;
    if studio.chat.will_ask() {
        ui.ctx().request_repaint_after(PAUSE);
    }
    let choice = studio.house.settings.kv_type;
    let (tone, words, told) = match studio.chat.ledger() {
        None => return,
        Some(Ok(ledger)) => {
            let (tone, words) = words(ledger);
            (tone, words, told(ledger, choice))
        }
        Some(Err(reason)) => (Tone::Wrong, reason.clone(), TOLD.to_owned()),
    };
    let (colour, icon) = match tone {
        Tone::Well => (t.text_faint, None),
        Tone::Care => (t.warning, Some(Icon::Warning)),
        Tone::Wrong => (t.danger_text, Some(Icon::Error)),
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        if let Some(icon) = icon {
            theme::icon_tinted(ui, icon, 14.0, colour);
        }
        let font = theme::regular(t.size.font_caption);
        let label = Label::new(RichText::new(&words).font(font).color(colour)).truncate();
        tip(ui.add(label), &told, None);
    });
    ui.add_space(t.size.gap_xs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_told_in_words() {
        let ledger = Ledger {
            tokens: 1240,
            cached: 1100,
            new: 140,
            dropped: 0,
            context_length: 8192,
            reserved: 1024,
            kv_type: KvType::F32,
        };
        let well = "1,240 tokens: 1,100 cached, 140 new; 8,192 fit";
        assert_eq!(words(&ledger), (Tone::Well, well.to_owned()));
        let dropped = Ledger {
            dropped: 320,
            ..ledger
        };
        assert!(
            words(&dropped)
                .1
                .ends_with("320 tokens of the oldest messages drop out")
        );
        let few = Ledger {
            reserved: 9,
            ..ledger
        };
        assert_eq!(words(&few).0, Tone::Care);
        let long = Ledger {
            tokens: 9000,
            ..ledger
        };
        assert!(words(&long).0 == Tone::Wrong && words(&long).1.contains("9,000"));
        let narrow = Ledger {
            kv_type: KvType::F16,
            ..ledger
        };
        assert!(told(&narrow, KvChoice::Auto).contains("16-bit"));
        assert_eq!(told(&narrow, KvChoice::F16), TOLD);
        assert_eq!(told(&ledger, KvChoice::Auto), TOLD);
    }
}
