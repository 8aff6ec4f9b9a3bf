//! Pictures of Chat for people to look at.

use super::*;

/// Draws what is to be looked at; not compared with anything.
#[test]
#[ignore = "draws pictures to look at into the folder DIPTYCH_LOOKS"]
fn pictures_to_look_at() -> Result<()> {
    let out = std::env::var("DIPTYCH_LOOKS").context("DIPTYCH_LOOKS names no folder")?;
    let out = Path::new(&out);
    std::fs::create_dir_all(out)?;
    let long = include_str!("long.md");
    for (theme, name) in [(egui::Theme::Dark, "dark"), (egui::Theme::Light, "light")] {
        for size in [[1024.0, 640.0], [1600.0, 1000.0]] {
            let folder = tempfile::tempdir()?;
            let data = folder.path().join("data");
            let done = MessageState::Done;
            keep(
                &data,
                "A conversation with a very long title that does not fit into the list at all",
                &[(Role::User, "short", done)],
            )?;
            keep(
                &data,
                "Half",
                &[
                    (Role::User, "tell me", done),
                    (Role::Assistant, "This is where it", MessageState::Writing),
                ],
            )?;
            keep(
                &data,
                "Markdown",
                &[
                    (
                        Role::User,
                        "Show me everything that you can format, please: a table, code, lists and a quote.",
                        done,
                    ),
                    (Role::Assistant, long, done),
                    (Role::User, "Thanks!\n\nNow shorter.", done),
                    (
                        Role::Assistant,
                        "Gladly:\na red fox, 3d style, **blue** background",
                        done,
                    ),
                ],
            )?;
            let mut bench = open_with(Setup {
                size,
                theme,
                data: Some(data),
                wait: true,
                ..Setup::default()
            })?;
            let stem = format!("{name}-{}", size[0]);
            let shot = |bench: &mut Bench, what: &str| {
                bench.harness.run_steps(12);
                bench.screenshot(&out.join(format!("{stem}-{what}.png")))
            };
            shot(&mut bench, "empty")?;
            bench.click("Markdown");
            bench.wait_label("Gladly")?;
            shot(&mut bench, "end")?;
            bench.press(Modifiers::NONE, Key::Escape);
            let ctx = bench.harness.ctx.clone();
            ctx.memory_mut(|memory| {
                if let Some(id) = memory.focused() {
                    memory.surrender_focus(id);
                }
            });
            bench.press(Modifiers::NONE, Key::Home);
            shot(&mut bench, "top")?;
            bench.press(Modifiers::NONE, Key::PageDown);
            shot(&mut bench, "middle")?;
            bench.click("Conversation settings");
            shot(&mut bench, "settings")?;
            bench.click("Half");
            bench.wait_label("This is where it")?;
            shot(&mut bench, "half")?;
            say(&mut bench, "Give me ideas for a picture");
            begun(&mut bench).ok();
            shot(&mut bench, "writing")?;
            bench.wait_idle()?;
            bench.click("How sure the model was");
            bench.wait_label("90% and more")?;
            bench.harness.run_steps(6);
            shot(&mut bench, "sure")?;
            let is_token = |label: &String| label.starts_with('“') && label.ends_with('%');
            let token = bench.labels().into_iter().rev().filter(is_token).nth(4);
            if let Some(token) = token {
                let node = bench.harness.get_all_by_label(&token).next();
                node.context("no token")?.click();
                bench.harness.run_steps(4);
                shot(&mut bench, "alternatives")?;
                bench.press(Modifiers::NONE, Key::Escape);
            }
            let notes = folder.path().join("notes.md");
            std::fs::write(&notes, "# Notes\n\nFoxes are red.\n")?;
            bench.dialogs.answer(&notes);
            bench.click("Attach a text file");
            bench.wait_label("Remove notes.md")?;
            bench.harness.run_steps(4);
            bench.type_into("Message", "What colour are they?");
            bench.wait_label(" new; ")?;
            bench.get("Next word").scroll_to_me();
            bench.harness.run_steps(4);
            bench.click("Next word");
            bench.wait_label("left to choose")?;
            bench.get("Order of the steps").scroll_to_me();
            bench.harness.run_steps(6);
            shot(&mut bench, "next word")?;
            bench.click("Order of the steps");
            bench.harness.run_steps(10);
            shot(&mut bench, "order")?;
            bench.press(Modifiers::NONE, Key::Enter);
            bench.wait_idle()?;
            shot(&mut bench, "sent")?;
        }
    }
    Ok(())
}
