//! What a model thought before it answered is folded, and no part of what is copied.

use super::*;

#[test]
fn thoughts_are_folded_and_unfold() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let done = MessageState::Done;
    let thought =
        "<think>\nThe person wants a fox, **surely** a red one.\n</think>\n\nA red fox in snow.";
    keep(
        &data,
        "Foxes",
        &[
            (Role::User, "an animal", done),
            (Role::Assistant, thought, done),
        ],
    )?;
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    bench.click("Foxes");
    bench.wait_label("A red fox in snow.")?;
    ensure!(!bench.has("wants a fox") && !bench.has("<think>"));
    bench.click("Thought, 9 words");
    bench.wait_label("wants a fox")?;
    ensure!(bench.has("A red fox in snow.") && !bench.has("</think>"));
    // By the keyboard, too.
    bench.get("Thought, 9 words").focus();
    bench.harness.run_steps(2);
    bench.press(Modifiers::NONE, Key::Enter);
    bench.harness.run_steps(4);
    ensure!(!bench.has("wants a fox"), "it folds again");
    bench.click("Use as a prompt in Create");
    let prompt = &studio(&bench).create.form.prompt;
    ensure!(prompt == "A red fox in snow.", "{prompt}");
    Ok(())
}

#[test]
fn code_is_copied_and_becomes_a_prompt() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let done = MessageState::Done;
    let answer = "Take this:\n\n```rust\nlet fox = \"red\";\n```\n\nThat is all.";
    keep(
        &data,
        "Code",
        &[
            (Role::User, "show me code", done),
            (Role::Assistant, answer, done),
        ],
    )?;
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    bench.click("Code");
    bench.wait_label("Take this:")?;
    let copied = |bench: &Bench| {
        let commands = &bench.harness.output().platform_output.commands;
        commands.iter().find_map(|command| match command {
            egui::OutputCommand::CopyText(text) => Some(text.clone()),
            _ => None,
        })
    };
    bench.get("Copy code").click();
    let mut text = None;
    for _ in 0..4 {
        bench.step();
        text = text.or_else(|| copied(&bench));
    }
    ensure!(
        text.as_deref().map(str::trim_end) == Some("let fox = \"red\";"),
        "{text:?}"
    );
    // By the keyboard, too.
    bench.get("Use as prompt").focus();
    bench.harness.run_steps(2);
    bench.press(Modifiers::NONE, Key::Enter);
    let prompt = &studio(&bench).create.form.prompt;
    ensure!(prompt.trim() == "let fox = \"red\";", "{prompt}");
    Ok(())
}
