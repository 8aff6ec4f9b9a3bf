//! Conversations as files, text files along with messages, and presets.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use diptych::library::trace::Trace;
use egui_kittest::kittest::NodeT as _;

/// A file that is dropped on the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> std::result::Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_file(bench: &mut Bench, path: &Path) {
    let files = &mut bench.harness.input_mut().dropped_files;
    files.push(Arc::new(Dropped(path.to_owned())));
    bench.harness.run_steps(2);
}

/// Chooses an entry of the palette.
fn palette(bench: &mut Bench, words: &str) -> Result<()> {
    bench.press(Modifiers::COMMAND, Key::K);
    bench.wait_label("Find a command")?;
    bench.harness.event(egui::Event::Text(words.to_owned()));
    bench.harness.run_steps(3);
    bench.press(Modifiers::NONE, Key::Enter);
    Ok(())
}

#[test]
fn a_conversation_goes_out_and_comes_back_whole() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    bench.click("Write another answer");
    bench.wait("a sibling", |bench| {
        branch(bench).last().is_some_and(|last| last.id != first.id)
    })?;
    let second = answered(&mut bench, MessageState::Done)?;

    let out = folder.path().join("fox.json");
    bench.dialogs.answer(&out);
    let title = format!("More about {QUESTION}");
    bench.click(&title);
    bench.click("Export with everything");
    bench.wait_label("Exported")?;
    let written = std::fs::read_to_string(&out)?;
    ensure!(written.contains("\"tokens\":"), "{written}");

    let page = folder.path().join("fox.md");
    bench.dialogs.answer(&page);
    palette(&mut bench, "Export the conversation as Markdown")?;
    bench.wait("the page", |_| page.exists())?;
    let page = std::fs::read_to_string(&page)?;
    ensure!(
        page.contains(&format!("## You\n\n{QUESTION}\n\n## muse\n\n")),
        "{page}"
    );
    ensure!(page.contains(second.text.trim()) && page.starts_with(&format!("# {QUESTION}")));

    // Into the same library: a second conversation, beside the first.
    bench.dialogs.answer(&out);
    bench.click("More about conversations");
    bench.click("Import conversations");
    bench.wait_label("Imported")?;
    bench.wait_idle()?;
    ensure!(studio(&bench).chat.listed().len() == 2);
    let shown = branch(&bench);
    ensure!(shown.len() == 2 && shown[1].text == second.text && shown[1].id != second.id);
    ensure!(bench.has("2 of 2"));
    bench.click("Previous answer");
    ensure!(branch(&bench)[1].text == first.text);
    bench.click("Next answer");
    let again = folder.path().join("again.json");
    bench.dialogs.answer(&again);
    palette(&mut bench, "Export the conversation with everything")?;
    bench.wait("the second file", |_| again.exists())?;
    bench.wait_idle()?;
    ensure!(std::fs::read_to_string(&again)? == written, "not the same");
    let imported = shown[1].id;
    let trace: Option<Trace> = Library::open_read_only(bench.data())?.tokens(imported)?;
    ensure!(trace.is_some_and(|trace| trace.covered() == second.text.len()));
    Ok(())
}

#[test]
fn conversations_of_other_programs_are_read_and_faulty_files_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bench = open()?;
    let path = folder.path().join("chat.json");
    std::fs::write(
        &path,
        r#"[{"role":"system","content":"Speak of boats."},{"role":"user","content":"What floats?"},
            {"role":"assistant","content":"A boat."}]"#,
    )?;
    bench.dialogs.answer(&path);
    palette(&mut bench, "Import conversations")?;
    bench.wait("the conversation", |bench| branch(bench).len() == 2)?;
    bench.wait_idle()?;
    ensure!(bench.has("A boat."));
    let settings = studio(&bench).chat.settings(&studio(&bench).house);
    ensure!(settings.system == "Speak of boats." && settings.title == "What floats?");

    let faulty = folder.path().join("faulty.json");
    std::fs::write(&faulty, r#"{"format":"diptych-conversations","version":7}"#)?;
    // Dropped where texts are attached, it is still one of ours.
    drop_file(&mut bench, &faulty);
    bench.wait_label("was not imported")?;
    bench.wait_label("newer Diptych")?;
    ensure!(studio(&bench).chat.attached().is_empty());
    Ok(())
}

#[test]
fn text_files_go_along_with_a_message() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let setup = || Setup {
        data: Some(data.clone()),
        ..Setup::default()
    };
    let notes = folder.path().join("notes.md");
    std::fs::write(&notes, "# Notes\n```\nfoxes are red\n```\n")?;
    let table = folder.path().join("table.csv");
    std::fs::write(&table, "a,b\n1,2\n")?;
    let binary = folder.path().join("binary.txt");
    std::fs::write(&binary, b"\x00\x01\x02")?;
    let mut bench = open_with(setup())?;
    drop_file(&mut bench, &notes);
    bench.wait_label("Remove notes.md")?;
    bench.harness.run_steps(4);
    bench.dialogs.answer(&table);
    bench.click("Attach a text file");
    bench.wait_label("Remove table.csv")?;
    drop_file(&mut bench, &binary);
    bench.wait_label("no text file")?;
    ensure!(studio(&bench).chat.attached().len() == 2);
    let chip = |bench: &Bench, name: &str| {
        let begins = format!("Remove {name}");
        bench
            .labels()
            .into_iter()
            .find(|label| label.starts_with(&begins))
    };
    let table = chip(&bench, "table.csv").context("no chip")?;
    bench.click(&table);
    ensure!(studio(&bench).chat.attached().len() == 1);
    bench.type_into("Message", "What colour?");
    bench.wait_idle()?;
    bench.close();

    // What is not sent is not lost.
    let mut bench = open_with(setup())?;
    bench.wait_label("Remove notes.md")?;
    apply(&mut bench, QueueCommand::PauseAll);
    bench.click("Send");
    let request = request(&bench)?;
    bench.click("Stop");
    apply(&mut bench, QueueCommand::ResumeAll);
    let ChatPrompt::Messages(turns) = &request.prompt else {
        anyhow::bail!("raw text")
    };
    let said = &turns.last().context("nothing")?.content;
    ensure!(
        said == "File notes.md:\n````md\n# Notes\n```\nfoxes are red\n```\n````\n\nWhat colour?",
        "{said}"
    );
    ensure!(studio(&bench).chat.attached().is_empty() && bench.has("notes.md"));
    answered(&mut bench, MessageState::Stopped)?;
    let id = branch(&bench)[0].conversation;
    let kept = Library::open_read_only(&data)?.messages(id)?;
    ensure!(kept[0].attachments.len() == 1 && kept[0].attachments[0].name == "notes.md");
    ensure!(kept[0].text == "What colour?");
    Ok(())
}

#[test]
fn settings_are_kept_under_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let setup = || Setup {
        data: Some(data.clone()),
        ..Setup::default()
    };
    let mut bench = open_with(setup())?;
    bench.click("Conversation settings");
    let set = |bench: &mut Bench, temperature: f32| {
        let studio = bench.harness.state_mut().studio_mut();
        let mut settings = studio.chat.settings(&studio.house);
        settings.sampling.temperature = temperature;
        studio.chat.set_settings(settings);
        bench.harness.run_steps(3);
    };
    let temperature = |bench: &Bench| {
        let settings = studio(bench).chat.settings(&studio(bench).house);
        settings.sampling.temperature
    };
    set(&mut bench, 1.5);
    bench.click("Save these settings as a preset");
    bench.wait_label("Name of the preset")?;
    bench.type_into("Name of the preset", "Wild");
    bench.click("Save preset");
    bench.wait_idle()?;
    set(&mut bench, 0.25);
    let chosen = bench.get("Preset").accesskit_node().value();
    ensure!(chosen.as_deref() == Some("Wild (changed)"), "{chosen:?}");
    bench.close();

    let mut bench = open_with(setup())?;
    ensure!(temperature(&bench) == 0.25);
    bench.click("Preset");
    bench.click("Wild");
    ensure!(temperature(&bench) == 1.5);
    set(&mut bench, 1.75);
    bench.click("More about this preset");
    bench.click("Replace by these settings");
    set(&mut bench, 0.5);
    bench.click("More about this preset");
    bench.click("Rename");
    bench.wait_label("Name of the preset")?;
    bench.press(Modifiers::COMMAND, Key::A);
    bench.type_into("Name of the preset", "Wilder");
    bench.click("All models");
    bench.click("Save preset");
    bench.wait_idle()?;
    let presets = Library::open_read_only(&data)?.presets()?;
    ensure!(presets.len() == 1 && presets[0].name == "Wilder" && presets[0].model.is_none());
    ensure!(presets[0].sampling.temperature == 1.75, "{presets:?}");
    bench.click("More about this preset");
    bench.click("Delete");
    bench.wait_idle()?;
    ensure!(Library::open_read_only(&data)?.presets()?.is_empty());
    bench.click("Undo");
    bench.wait_idle()?;
    ensure!(Library::open_read_only(&data)?.presets()?.len() == 1);
    Ok(())
}
