//! Thousands of conversations: the list, and the palette, which has them all.

use std::time::Instant;

use super::*;
use diptych::studio::command::AppCommand;
use egui_kittest::kittest::NodeT as _;

/// Keeps conversations; the last one was changed last.
fn keep_many(data: &Path, count: usize) -> Result<Vec<ConversationId>> {
    let mut library = Library::open(data, "window")?;
    let begin = now() - count as i64 * 60_000;
    let mut ids = Vec::new();
    library.together(|library| {
        for at in 0..count {
            let id = ConversationId::new();
            ids.push(id);
            let when = begin + at as i64 * 60_000;
            library.put_conversation(&Conversation {
                id,
                title: format!("Conversation {at}"),
                created: when,
                changed: when,
                ..settings_of(None)
            })?;
        }
        Ok(())
    })?;
    Ok(ids)
}

/// Titles of the rows that are laid out.
fn rows(bench: &Bench) -> Vec<String> {
    let rows = bench
        .harness
        .query_all_by_role(egui::accesskit::Role::ListItem);
    rows.filter_map(|row| row.accesskit_node().label())
        .collect()
}

#[test]
fn only_the_rows_in_sight_are_laid_out_and_all_can_be_reached() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let ids = keep_many(&data, 2000)?;
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    let first = rows(&bench);
    ensure!(first.len() < 60, "{} rows are laid out", first.len());
    ensure!(
        first
            .first()
            .is_some_and(|title| title == "Conversation 1999")
    );
    // What is opened from elsewhere comes into sight.
    apply(&mut bench, ChatCommand::Open(ids[700]));
    bench.harness.run_steps(8);
    let seen = rows(&bench);
    ensure!(
        seen.iter().any(|title| title == "Conversation 700"),
        "{seen:?}"
    );
    ensure!(!seen.iter().any(|title| title == "Conversation 1999"));
    // It is renamed where it stands, and a field that is scrolled away has its name taken.
    bench.press(Modifiers::NONE, Key::F2);
    bench.harness.run_steps(4);
    bench.get("Name of the conversation").type_text(" of foxes");
    bench.harness.run_steps(2);
    apply(&mut bench, ChatCommand::Open(ids[1999]));
    bench.harness.run_steps(8);
    let title = |bench: &Bench, id| {
        let talk = studio(bench).chat.talk(id);
        talk.map(|talk| talk.conversation.title.clone())
    };
    ensure!(studio(&bench).chat.renaming.is_none());
    ensure!(
        title(&bench, ids[700]).is_some_and(|title| title.contains("of foxes")),
        "{:?}",
        title(&bench, ids[700])
    );
    // A conversation that is pinned stands at the top at once.
    apply(&mut bench, ChatCommand::Pin(ids[3]));
    apply(&mut bench, ChatCommand::Open(ids[3]));
    bench.harness.run_steps(8);
    ensure!(
        rows(&bench)
            .first()
            .is_some_and(|title| title == "Conversation 3")
    );
    Ok(())
}

#[test]
#[ignore = "prints frame times: cargo test --release --workspace --test chat speed -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn speed_of_many_conversations() -> Result<()> {
    for count in [100, 10_000] {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        keep_many(&data, count)?;
        let begin = Instant::now();
        let mut bench = open_with(Setup {
            data: Some(data),
            ..Setup::default()
        })?;
        let opened = begin.elapsed();
        let still = speed::frames(&mut bench, |_| {});
        let scrolled = speed::frames(&mut bench, |bench| {
            speed::wheel(bench, egui::pos2(180.0, 400.0), -60.0);
        });
        apply(&mut bench, AppCommand::Palette);
        bench.harness.run_steps(4);
        let palette = speed::frames(&mut bench, |_| {});
        bench.get("Find a command").type_text("conv 77");
        bench.harness.run_steps(4);
        let search = speed::frames(&mut bench, |_| {});
        println!(
            "{count:>6} conversations: opened in {:.2} s; a frame {:.1} ms (slowest {:.1}), scrolled {:.1} ({:.1}), palette {:.1} ({:.1}), search in it {:.1} ({:.1})",
            opened.as_secs_f32(),
            still.0,
            still.1,
            scrolled.0,
            scrolled.1,
            palette.0,
            palette.1,
            search.0,
            search.1,
        );
    }
    Ok(())
}
