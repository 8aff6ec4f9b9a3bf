use egui::accesskit::Role;
use egui::{Id, Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::{PromptEditor, PromptNotes, plain_text};

fn harness(text: &str) -> Harness<'static, String> {
    let history = ["newest prompt".to_owned(), "older prompt".to_owned()];
    let mut harness = Harness::builder().with_size([360.0, 400.0]).build_ui_state(
        move |ui, text: &mut String| {
            let notes = |text: &str| PromptNotes {
                tokens: None,
                warnings: if text.contains("warn") {
                    vec!["A warning".to_owned()]
                } else {
                    Vec::new()
                },
            };
            PromptEditor::new(Id::unique("prompt"), "Prompt", text)
                .placeholder("Describe a picture")
                .history(&history)
                .notes(&notes)
                .show(ui);
        },
        text.to_owned(),
    );
    harness.get_by_label("Prompt").focus();
    harness.run();
    harness
}

fn press(harness: &mut Harness<'_, String>, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.run_steps(2);
}

#[test]
fn it_is_a_named_multi_line_field_that_counts_its_words() {
    let mut harness = harness("");
    assert_eq!(
        harness.get_by_label("Prompt").accesskit_node().role(),
        Role::MultilineTextInput
    );
    harness.get_by_label("0 words");
    harness
        .get_by_label("Prompt")
        .type_text("a (red fox:1.2) warn");
    harness.run_steps(2);
    assert_eq!(harness.state(), "a (red fox:1.2) warn");
    harness.get_by_label("4 words");
    harness.get_by_label("A warning");
    harness.get_by_label("Prompt").type_text(" (");
    harness.run_steps(2);
    harness.get_by_label("A bracket has no partner");
}

#[test]
fn weight_keys_change_the_word_at_the_cursor_and_undo_takes_each_back() {
    let mut harness = harness("");
    harness.get_by_label("Prompt").type_text("a fox");
    harness.run_steps(2);
    press(&mut harness, Modifiers::COMMAND, Key::ArrowUp);
    assert_eq!(harness.state(), "a (fox:1.05)");
    press(&mut harness, Modifiers::COMMAND, Key::ArrowUp);
    assert_eq!(harness.state(), "a (fox:1.1)");
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert_eq!(harness.state(), "a (fox:1.05)");
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert_eq!(harness.state(), "a fox");
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(harness.state(), "a (fox:1.05)");
    press(&mut harness, Modifiers::COMMAND, Key::ArrowDown);
    press(&mut harness, Modifiers::COMMAND, Key::ArrowDown);
    assert_eq!(harness.state(), "a (fox:0.95)");
}

#[test]
fn history_keys_go_through_earlier_prompts_and_undo_brings_the_draft_back() {
    let mut harness = harness("my draft");
    press(&mut harness, Modifiers::ALT, Key::ArrowUp);
    assert_eq!(harness.state(), "newest prompt");
    press(&mut harness, Modifiers::ALT, Key::ArrowUp);
    assert_eq!(harness.state(), "older prompt");
    press(&mut harness, Modifiers::ALT, Key::ArrowDown);
    press(&mut harness, Modifiers::ALT, Key::ArrowDown);
    assert_eq!(harness.state(), "my draft");
    press(&mut harness, Modifiers::ALT, Key::ArrowUp);
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert_eq!(harness.state(), "my draft");
}

#[test]
fn text_put_there_from_outside_can_be_undone() {
    let mut harness = harness("mine");
    *harness.state_mut() = "an example".to_owned();
    harness.run_steps(2);
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert_eq!(harness.state(), "mine");
}

#[test]
fn it_grows_with_its_text_and_then_scrolls() {
    let height = |lines: usize| {
        let text = vec!["line"; lines].join("\n");
        let harness = harness(&text);
        harness
            .get_by_label(
                "0 words"
                    .replace('0', &lines.to_string())
                    .replace("1 words", "1 word")
                    .as_str(),
            )
            .rect()
            .top()
    };
    let (one, three, seven, ten, thirty) =
        (height(1), height(3), height(7), height(10), height(30));
    assert!((one - three).abs() < 1.0, "{one} {three}");
    assert!(three < seven && seven < ten, "{three} {seven} {ten}");
    assert!((ten - thirty).abs() < 8.0, "{ten} {thirty}");
}

#[test]
fn pastes_become_plain() {
    assert_eq!(
        plain_text("a\r\nb\u{a0}c\u{200b}\rd\te\u{7}"),
        "a\nb c\nd e"
    );
    let mut harness = harness("");
    harness.event(egui::Event::Paste("red\u{a0}fox\r\nnight".to_owned()));
    harness.run_steps(2);
    assert_eq!(harness.state(), "red fox\nnight");
}

#[test]
fn ctrl_enter_is_left_to_the_studio() {
    let mut harness = harness("a");
    press(&mut harness, Modifiers::COMMAND, Key::Enter);
    assert_eq!(harness.state(), "a");
    press(&mut harness, Modifiers::NONE, Key::Enter);
    assert_eq!(harness.state(), "a\n");
}
