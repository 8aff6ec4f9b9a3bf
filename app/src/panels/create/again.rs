//! Whether a picture can be made again: the way to finding out, and what came of it.

use egui::{Color32, Label, RichText, Ui};

use super::facts;
use crate::panels::Gui;
use crate::proof::Verdict;
use crate::studio::Studio;
use crate::studio::command::UiCommand;
use crate::studio::create::again::Answer;
use crate::studio::create::{AgainCommand, CreateCommand};
use crate::studio::gallery::Item;
use crate::studio::queue::Task;
use crate::theme::{self, Icon};
use crate::widgets::button::Button;
use crate::widgets::progress::Progress;
use crate::widgets::section;

/// Shows it below the details of a picture.
pub fn show(ui: &mut Ui, studio: &Studio, gui: &mut Gui<'_>, item: &Item) {
    let tokens = gui.tokens.clone();
    let (again, of) = (&studio.create.again, item.record.id);
    section::divider(ui);
    if let Some((_, task)) = again.running().filter(|(known, _)| *known == of) {
        return running(
            ui,
            gui,
            task.and_then(|task| studio.house.queue.get(task)),
            task.is_some(),
        );
    }
    match again.answer(of) {
        None => {}
        Some(Answer::Compared(verdict)) => {
            let (title, more) = words(verdict);
            let (icon, colour) = match verdict.identical {
                true => (Icon::Success, tokens.success),
                false => (Icon::Warning, tokens.warning),
            };
            told(ui, gui, (icon, colour), &title, &more);
        }
        Some(Answer::Trouble(reason)) => {
            let look = (Icon::Error, tokens.danger_text);
            told(ui, gui, look, "It could not be made again", reason);
        }
        Some(Answer::Stopped) => {
            let look = (Icon::Info, tokens.text_muted);
            told(ui, gui, look, "The check was stopped", "");
        }
    }
    let command = UiCommand::from(CreateCommand::Again(AgainCommand::Of(of)));
    let reason = studio.available(&command).err();
    let time = facts::seconds(item.record.seconds);
    let tip = format!(
        "Draws it anew from its record and compares the two. Takes about {time}; nothing of it is kept."
    );
    let button = Button::secondary(match again.answer(of) {
        None => "Check that it can be made again",
        Some(_) => "Check once more",
    })
    .small()
    .icon(Icon::Refresh)
    .full_width()
    .tooltip(&tip)
    .unless(reason.as_deref());
    if ui.add(button).clicked() {
        gui.send(command);
    }
}

fn running(ui: &mut Ui, gui: &mut Gui<'_>, task: Option<&Task>, drawing: bool) {
    let tokens = gui.tokens.clone();
    let words = match (task, drawing) {
        (Some(task), _) => format!("Drawing it again. {}", facts::progress(task)),
        (None, true) => "Drawing it again.".to_owned(),
        (None, false) => "Comparing the two".to_owned(),
    };
    let words = RichText::new(words).small().color(tokens.text_muted);
    ui.add(Label::new(words).wrap());
    let share = match drawing {
        true => task.and_then(|task| task.progress.share()).or(Some(0.0)),
        false => Some(1.0),
    };
    ui.add(Progress::new("Progress of the check", share));
    let stop = Button::secondary("Stop")
        .small()
        .icon(Icon::Stop)
        .full_width()
        .name("Stop the check")
        .unless((!drawing).then_some("It is nearly done"));
    if ui.add(stop).clicked() {
        gui.send(CreateCommand::Again(AgainCommand::Stop));
    }
}

fn told(ui: &mut Ui, gui: &Gui<'_>, (icon, colour): (Icon, Color32), title: &str, more: &str) {
    let tokens = &gui.tokens;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        theme::icon_tinted(ui, icon, 16.0, colour);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = tokens.size.gap_xs;
            let font = theme::medium(ui.ctx(), tokens.size.font_body);
            let title = RichText::new(title).font(font).color(tokens.text);
            ui.add(Label::new(title).wrap());
            if !more.is_empty() {
                let more = RichText::new(more).small().color(tokens.text_muted);
                ui.add(Label::new(more).wrap().selectable(true));
            }
        });
    });
}

/// What came of a comparison: in few words, and in more.
fn words(verdict: &Verdict) -> (String, String) {
    let why = match verdict.reasons.as_slice() {
        [] => String::new(),
        reasons => format!("{}.", sentence(&reasons.join("; "))),
    };
    let steps = verdict.steps_compared;
    match (verdict.identical, verdict.differs_from_step) {
        (true, _) if steps == 0 => (
            "Identical".to_owned(),
            "The same picture, to the last pixel. Its steps were not kept to be compared."
                .to_owned(),
        ),
        (true, _) => (
            "Identical".to_owned(),
            "Every step is the same, and so is the picture, to the last pixel.".to_owned(),
        ),
        (false, Some(0)) => ("Differs from the beginning".to_owned(), why),
        (false, Some(step)) => (format!("Differs from step {step}"), why),
        (false, None) if steps > 0 => {
            let title = "The steps are the same, the picture is not".to_owned();
            (title, why)
        }
        (false, None) if why.is_empty() => (
            "Not the same picture".to_owned(),
            "Another device, driver or version may have drawn it. Its steps were not kept, so nobody can tell where the two part."
                .to_owned(),
        ),
        (false, None) => ("Not the same picture".to_owned(), why),
    }
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(step: Option<u32>, steps: usize, same: bool, reasons: &[&str]) -> Verdict {
        Verdict {
            identical: same && step.is_none(),
            differs_from_step: step,
            steps_compared: steps,
            same_picture: Some(same),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        }
    }

    #[test]
    fn what_came_of_it_is_said_in_few_words() {
        let title = |verdict: &Verdict| words(verdict).0;
        assert_eq!(title(&verdict(None, 21, true, &[])), "Identical");
        let bare = words(&verdict(None, 0, true, &[]));
        assert!(bare.1.contains("not kept"), "{bare:?}");
        let other = words(&verdict(
            Some(7),
            8,
            false,
            &["other device (a; b)", "other build (1; 2)"],
        ));
        assert_eq!(other.0, "Differs from step 7");
        assert_eq!(other.1, "Other device (a; b); other build (1; 2).");
        let begun = verdict(Some(0), 1, false, &[]);
        assert_eq!(title(&begun), "Differs from the beginning");
        let picture = verdict(None, 9, false, &[]);
        assert_eq!(
            title(&picture),
            "The steps are the same, the picture is not"
        );
        assert_eq!(title(&verdict(None, 0, false, &[])), "Not the same picture");
    }
}
