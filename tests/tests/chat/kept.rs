//! What is typed, deleted or under way outlives what happens around it.

use diptych::studio::settings::SettingsCommand;

use super::*;

/// A conversation of an earlier run, and the window that has it.
fn with_boats(data: &Path) -> Result<(ConversationId, Bench)> {
    let done = MessageState::Done;
    let boats = keep(
        data,
        "Boats",
        &[
            (Role::User, "a harbour", done),
            (Role::Assistant, "with gulls", done),
        ],
    )?;
    let bench = open_with(Setup {
        data: Some(data.to_owned()),
        ..Setup::default()
    })?;
    Ok((boats, bench))
}

#[test]
fn an_answer_is_written_once_though_the_engine_begins_anew() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 1500);
    say(&mut bench, QUESTION);
    begun(&mut bench)?;
    let before = branch(&bench).last().context("nothing")?.text.clone();
    apply(&mut bench, SettingsCommand::MemoryBudget(Some(3 << 30)));
    bench.wait("further words", |bench| {
        branch(bench)
            .last()
            .is_some_and(|last| last.text.len() > before.len() + 60)
    })?;
    let text = branch(&bench).last().context("nothing")?.text.clone();
    let first: String = before.chars().take(15).collect();
    ensure!(text.starts_with(&before), "{before} | {text}");
    ensure!(text.matches(&first).count() == 1, "{text}");
    Ok(())
}

#[test]
fn going_on_with_a_cut_off_answer_changes_no_settings() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 30);
    say(&mut bench, QUESTION);
    let cut = answered(&mut bench, MessageState::Done)?;
    apply(&mut bench, QueueCommand::PauseAll);
    bench.click("Continue");
    let most = request(&bench)?.max_tokens;
    let settings = studio(&bench).chat.settings(&studio(&bench).house);
    ensure!((most, settings.max_tokens) == (60, 30), "{most}");
    apply(&mut bench, QueueCommand::ResumeAll);
    let longer = answered(&mut bench, MessageState::Done)?;
    // What was half a character at the cut may be a whole one now.
    let words = cut.text.trim_end_matches('\u{fffd}');
    ensure!(longer.id == cut.id && longer.text.starts_with(words));
    ensure!(longer.text.len() > cut.text.len());
    Ok(())
}

#[test]
fn a_new_wording_waits_until_it_is_sent_or_given_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (_, mut bench) = with_boats(&data)?;
    bench.click("Boats");
    bench.wait_label("with gulls")?;
    bench.click("Edit");
    bench.wait_label("New wording")?;
    bench.press(Modifiers::COMMAND, Key::A);
    bench.type_into("New wording", "a quiet harbour");
    bench.click("New conversation");
    ensure!(!bench.has("New wording"));
    bench.click("Boats");
    bench.wait_label("New wording")?;
    bench.wait_idle()?;
    bench.close();
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    bench.wait_label("New wording")?;
    let editing = studio(&bench).chat.editing.clone().context("none")?;
    ensure!(editing.text == "a quiet harbour", "{}", editing.text);
    apply(&mut bench, ChatCommand::CancelEdit);
    bench.click("New conversation");
    bench.click("Boats");
    bench.harness.run_steps(4);
    ensure!(!bench.has("New wording"));
    Ok(())
}

#[test]
fn a_conversation_comes_back_whole_though_it_was_never_opened() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (boats, mut bench) = with_boats(&data)?;
    apply(&mut bench, ChatCommand::Delete(boats));
    apply(&mut bench, ChatCommand::Undelete(boats.0));
    bench.wait("the messages", |bench| branch(bench).len() == 2)?;
    bench.wait_idle()?;
    bench.close();
    let library = Library::open_read_only(&data)?;
    ensure!(library.conversations()?.len() == 1);
    ensure!(library.messages(boats)?.len() == 2);
    Ok(())
}

#[test]
fn what_is_deleted_while_it_is_written_comes_back_as_stopped() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 3000);
    say(&mut bench, QUESTION);
    begun(&mut bench)?;
    let id = studio(&bench).chat.current().context("none")?;
    apply(&mut bench, ChatCommand::Delete(id));
    bench.wait("the end of the job", |bench| {
        studio(bench).house.queue.tasks().is_empty()
    })?;
    apply(&mut bench, ChatCommand::Undelete(id.0));
    bench.wait_idle()?;
    let last = branch(&bench).last().cloned().context("nothing")?;
    ensure!(last.state == MessageState::Stopped, "{:?}", last.state);
    ensure!(!last.text.is_empty());
    let kept = Library::open_read_only(bench.data())?.messages(id)?;
    ensure!(
        kept.iter()
            .all(|message| message.state != MessageState::Writing)
    );
    Ok(())
}

#[test]
fn all_jobs_that_were_cancelled_begin_again() -> Result<()> {
    let mut bench = open()?;
    apply(&mut bench, QueueCommand::PauseAll);
    say(&mut bench, QUESTION);
    apply(&mut bench, QueueCommand::CancelAll);
    apply(&mut bench, QueueCommand::ResumeAll);
    bench.wait("the end of the job", |bench| {
        studio(bench).house.queue.tasks().is_empty()
    })?;
    bench.wait_label("1 job stopped")?;
    let stopped = branch(&bench).last().cloned().context("nothing")?;
    ensure!(stopped.state == MessageState::Stopped);
    apply(&mut bench, QueueCommand::UndoCancelAll);
    let done = answered(&mut bench, MessageState::Done)?;
    ensure!(done.id == stopped.id && !done.text.trim().is_empty());
    Ok(())
}

#[test]
fn a_stray_file_becomes_no_folder_of_models() -> Result<()> {
    let mut bench = open()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notes.pdf");
    std::fs::write(&path, "%PDF")?;
    apply(&mut bench, ChatCommand::Dropped(path));
    bench.wait_label("Nothing was done with the file")?;
    ensure!(studio(&bench).house.settings.folders.is_empty());
    let models = folder.path().join("models v1.5");
    std::fs::create_dir(&models)?;
    apply(&mut bench, ChatCommand::Dropped(models.clone()));
    bench.wait("the folder", |bench| {
        studio(bench).house.settings.folders == [models.clone()]
    })?;
    Ok(())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn a_job_that_a_crash_left_goes_on_from_the_tokens_that_were_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bench = open()?;
    // Words, drawn, without an end.
    let inside = bench.harness.state_mut().studio_mut();
    let mut settings = inside.chat.settings(&inside.house);
    settings.sampling.temperature = 1.0;
    settings.sampling.logit_bias = ENDS.map(|id| (id, -100.0)).to_vec();
    settings.seed = Some(1);
    settings.max_tokens = 400;
    inside.chat.set_settings(settings);
    say(&mut bench, QUESTION);
    begun(&mut bench)?;
    apply(&mut bench, QueueCommand::PauseAll);
    // What has been shown is kept, and nothing more comes.
    let kept = |bench: &Bench| {
        let last = branch(bench).last()?.clone();
        let library = Library::open_read_only(bench.data()).ok()?;
        let messages = library.messages(last.conversation).ok()?;
        let kept = messages.into_iter().find(|kept| kept.id == last.id)?;
        let tokens = kept.info.as_ref()?.written.as_ref()?.tokens.len();
        (kept.text == last.text).then_some(tokens)
    };
    let mut seen = None;
    bench.wait("the message to be kept", |bench| {
        let now = kept(bench);
        let same = now.is_some() && now == seen;
        std::thread::sleep(std::time::Duration::from_millis(100));
        seen = now;
        same
    })?;
    let before = seen.context("nothing was kept")?;
    // As a crash at this moment would leave it.
    let data = folder.path().join("data");
    copy(bench.data(), &data)?;
    apply(&mut bench, QueueCommand::ResumeAll);
    let whole = answered(&mut bench, MessageState::Done)?;
    bench.close();

    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    let left = request(&bench)?.written.context("it would begin anew")?;
    ensure!(
        left.tokens.len() == before,
        "{} of {before}",
        left.tokens.len()
    );
    apply(&mut bench, QueueCommand::ResumeAll);
    let resumed = answered(&mut bench, MessageState::Done)?;
    ensure!(
        resumed.text == whole.text,
        "{} | {}",
        resumed.text,
        whole.text
    );
    let tokens = |message: &Message| message.info.as_ref().map(|info| info.tokens);
    ensure!(tokens(&resumed) == tokens(&whole) && tokens(&whole) == Some(400));
    Ok(())
}
