//! Chat, driven as a person would, with the built-in model.

#[path = "chat/asks.rs"]
mod asks;
#[path = "chat/confidence.rs"]
mod confidence;
#[path = "chat/kept.rs"]
mod kept;
#[path = "chat/many.rs"]
mod many;
#[path = "chat/memory.rs"]
mod memory;
#[path = "chat/pictures.rs"]
mod pictures;
#[path = "chat/speed.rs"]
mod speed;
#[path = "chat/thoughts.rs"]
mod thoughts;
#[path = "chat/transfer.rs"]
mod transfer;
#[path = "chat/wordings.rs"]
mod wordings;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use diptych::library::Library;
use diptych::library::records::{
    AnswerInfo, Conversation, ConversationId, Message, MessageId, MessageState, Role, now,
};
use diptych::studio::Studio;
use diptych::studio::chat::ChatCommand;
use diptych::studio::chat::talk::settings_of;
use diptych::studio::command::{QueueCommand, UiCommand};
use diptych::studio::view::Workspace;
use diptych_inference::engine::{ChatPrompt, ChatRequest, FinishReason, ModelRef, Request};
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;

const QUESTION: &str = "Expand this prompt: a red fox";

/// The tokens of the built-in model that end an answer.
const ENDS: [u32; 2] = [0, 2];

/// A window that shows Chat.
fn open_with(setup: Setup) -> Result<Bench> {
    let mut bench = Bench::with(setup)?;
    if bench.harness.state().studio().view.workspace != Workspace::Chat {
        bench.click("Chat");
    }
    bench.wait("the composer", |bench| {
        bench.harness.query_by_label("Message").is_some()
    })?;
    Ok(bench)
}

fn open() -> Result<Bench> {
    open_with(Setup::default())
}

fn studio(bench: &Bench) -> &Studio {
    bench.harness.state().studio()
}

/// Types a message and presses Enter.
fn say(bench: &mut Bench, words: &str) {
    bench.type_into("Message", words);
    bench.press(Modifiers::NONE, Key::Enter);
}

/// The messages that are shown.
fn branch(bench: &Bench) -> Vec<Message> {
    let shown = studio(bench).chat.shown();
    shown.map_or_else(Vec::new, |talk| {
        talk.tree.branch().into_iter().cloned().collect()
    })
}

/// Waits until the last message is an answer in this state, and nothing is being written.
fn answered(bench: &mut Bench, state: MessageState) -> Result<Message> {
    bench.wait("an answer", |bench| {
        let messages = branch(bench);
        let last = messages.last();
        last.is_some_and(|last| last.role == Role::Assistant && last.state == state)
    })?;
    bench.wait_idle()?;
    branch(bench).last().cloned().context("no answer")
}

/// Waits until some words of an answer are there.
fn begun(bench: &mut Bench) -> Result<()> {
    bench.wait("the first words", |bench| {
        branch(bench)
            .last()
            .is_some_and(|last| last.role == Role::Assistant && last.text.len() > 20)
    })
}

/// Settings under which the small model does not find an end.
fn endless(bench: &mut Bench, most: u32) {
    // Such answers have bytes that are no characters.
    let tofu = egui::MissingGlyphPolicy::Tofu;
    bench.harness.ctx.set_missing_glyph_policy(tofu);
    let studio = bench.harness.state_mut().studio_mut();
    let mut settings = studio.chat.settings(&studio.house);
    // Any token is as likely as any other, but for those that end an answer.
    settings.sampling.temperature = 100.0;
    settings.sampling.logit_bias = ENDS.map(|id| (id, -100.0)).to_vec();
    settings.seed = Some(1);
    settings.sampling.top_k = 0;
    settings.sampling.top_p = 1.0;
    settings.sampling.min_p = 0.0;
    settings.max_tokens = most;
    studio.chat.set_settings(settings);
}

fn apply(bench: &mut Bench, command: impl Into<UiCommand>) {
    bench.harness.state_mut().studio_mut().apply(command.into());
}

/// The request of the answer that is being written.
fn request(bench: &Bench) -> Result<ChatRequest> {
    let task = studio(bench)
        .house
        .queue
        .tasks()
        .first()
        .context("no job")?;
    match &*task.head.request {
        Request::Chat(request) => Ok(request.clone()),
        Request::Image(_) | Request::Upscale(_) | Request::Score(_) => anyhow::bail!("no answer"),
    }
}

/// Keeps a conversation in a library, as an earlier run of the program would have.
fn keep(data: &Path, title: &str, texts: &[(Role, &str, MessageState)]) -> Result<ConversationId> {
    let mut library = Library::open(data, "window")?;
    let id = ConversationId::new();
    let mut parent = None;
    for &(role, text, state) in texts {
        let message = Message {
            id: MessageId::new(),
            conversation: id,
            parent,
            role,
            text: text.to_owned(),
            attachments: Vec::new(),
            state,
            info: (role == Role::Assistant).then(|| AnswerInfo {
                model: Some(ModelRef::named("muse")),
                prompt_tokens: 210,
                cached_tokens: 160,
                tokens: 84,
                context_length: 512,
                first_token_seconds: 0.12,
                decode_seconds: 0.9,
                reason: Some(FinishReason::End),
                ..AnswerInfo::default()
            }),
            created: now(),
        };
        parent = Some(message.id);
        library.put_message(&message)?;
    }
    library.put_conversation(&Conversation {
        id,
        title: title.to_owned(),
        created: now(),
        changed: now(),
        leaf: parent,
        ..settings_of(None)
    })?;
    Ok(id)
}

#[test]
fn a_message_is_answered_and_kept() -> Result<()> {
    let mut bench = open()?;
    ensure!(bench.has("Talk with muse"));
    say(&mut bench, QUESTION);
    let answer = answered(&mut bench, MessageState::Done)?;
    ensure!(answer.text.contains("fox"), "{}", answer.text);
    let info = answer.info.context("no figures")?;
    ensure!(info.tokens > 3 && info.context_length > 0 && info.prompt_tokens > 0);
    ensure!(info.reason == Some(FinishReason::End));
    ensure!(bench.has("tokens/s") && bench.has("of the model's memory"));
    // It is in the list by the words of its first message, and the composer is empty.
    let listed = studio(&bench).chat.listed();
    ensure!(listed.len() == 1 && listed[0].conversation.title == QUESTION);
    ensure!(studio(&bench).chat.shown().is_some());
    Ok(())
}

#[test]
fn a_starter_begins_a_conversation_with_one_click() -> Result<()> {
    let mut bench = open()?;
    bench.click("What is guidance?");
    let answer = answered(&mut bench, MessageState::Done)?;
    ensure!(
        answer.text.to_lowercase().contains("prompt"),
        "{}",
        answer.text
    );
    Ok(())
}

#[test]
fn shift_enter_makes_a_line_and_enter_sends() -> Result<()> {
    let mut bench = open()?;
    bench.type_into("Message", "one");
    bench.press(Modifiers::SHIFT, Key::Enter);
    bench.type_into("Message", "two");
    ensure!(branch(&bench).is_empty());
    bench.press(Modifiers::NONE, Key::Enter);
    ensure!(
        branch(&bench)[0].text == "one\ntwo",
        "{:?}",
        branch(&bench)[0].text
    );
    answered(&mut bench, MessageState::Done)?;
    Ok(())
}

#[test]
fn what_is_stopped_stays_and_can_be_gone_on_with() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 2000);
    say(&mut bench, QUESTION);
    begun(&mut bench)?;
    // The small model is fast: it waits until the button is found.
    apply(&mut bench, QueueCommand::PauseAll);
    bench.click("Stop");
    apply(&mut bench, QueueCommand::ResumeAll);
    let half = answered(&mut bench, MessageState::Stopped)?;
    ensure!(!half.text.trim().is_empty());
    ensure!(bench.has("Stopped."));
    apply(&mut bench, QueueCommand::PauseAll);
    bench.click("Continue");
    // It is not written once more from its beginning.
    let written = request(&bench)?.written.context("no tokens")?;
    ensure!(written.tokens.len() > 3 && written.bytes as usize <= half.text.len());
    ensure!(half.info.as_ref().is_some_and(|info| info.seed == 1));
    apply(&mut bench, QueueCommand::ResumeAll);
    bench.wait("further words", |bench| {
        branch(bench)
            .last()
            .is_some_and(|last| last.text.len() > half.text.len() + 10)
    })?;
    if studio(&bench).chat.writing(half.id).is_some() {
        bench.press(Modifiers::NONE, Key::Escape);
        bench.wait("the end", |bench| {
            studio(bench).chat.writing(half.id).is_none()
        })?;
    }
    let messages = branch(&bench);
    let last = messages.last().context("nothing")?;
    ensure!(last.id == half.id && last.text.starts_with(&half.text));
    // What was thought of the words before is known as well as of those after.
    ensure!(
        last.info
            .as_ref()
            .is_some_and(|info| info.written.is_some())
            || last.state == MessageState::Done
    );
    bench.wait_idle()?;
    let trace = match studio(&bench).chat.trace(half.id) {
        diptych::studio::chat::traces::TraceOf::Known(trace) => trace,
        other => anyhow::bail!("{other:?}"),
    };
    ensure!(trace.probability(0).is_some() && trace.len() > written.tokens.len());
    ensure!(trace.covered() > written.bytes as usize && trace.covered() <= last.text.len());
    Ok(())
}

#[test]
fn another_answer_stands_beside_the_first() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    bench.click("Write another answer");
    bench.wait("a sibling", |bench| {
        branch(bench).last().is_some_and(|last| last.id != first.id)
    })?;
    let second = answered(&mut bench, MessageState::Done)?;
    ensure!(bench.has("2 of 2"));
    bench.click("Previous answer");
    ensure!(branch(&bench).last().map(|last| last.id) == Some(first.id));
    ensure!(bench.has("1 of 2"));
    // The keys do the same where no text is being written.
    let ctx = bench.harness.ctx.clone();
    ctx.memory_mut(|memory| {
        if let Some(id) = memory.focused() {
            memory.surrender_focus(id);
        }
    });
    bench.press(Modifiers::NONE, Key::ArrowRight);
    ensure!(branch(&bench).last().map(|last| last.id) == Some(second.id));
    Ok(())
}

#[test]
fn an_edit_keeps_the_old_branch() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let first = answered(&mut bench, MessageState::Done)?;
    bench.click("Edit");
    bench.wait_label("New wording")?;
    bench.press(Modifiers::COMMAND, Key::A);
    bench.type_into("New wording", "Expand this prompt: a blue boat");
    bench.press(Modifiers::NONE, Key::Enter);
    bench.wait("the new wording", |bench| {
        branch(bench)
            .first()
            .is_some_and(|first| first.text.contains("boat"))
    })?;
    answered(&mut bench, MessageState::Done)?;
    ensure!(branch(&bench).len() == 2);
    bench.click("Previous wording");
    let shown = branch(&bench);
    ensure!(shown[0].text == QUESTION && shown[1].id == first.id);
    Ok(())
}

#[test]
fn system_prompt_and_sampling_reach_the_model() -> Result<()> {
    let mut bench = open()?;
    bench.click("Conversation settings");
    bench.wait_label("Temperature")?;
    bench.get("What the model is told first").focus();
    bench.harness.run_steps(2);
    bench.press(Modifiers::COMMAND, Key::A);
    bench
        .get("What the model is told first")
        .type_text("Speak of boats.");
    bench.harness.run_steps(3);
    bench.click("Locked");
    let seed = studio(&bench).chat.settings(&studio(&bench).house).seed;
    ensure!(seed == Some(42), "{seed:?}");
    endless(&mut bench, 300);
    apply(&mut bench, QueueCommand::PauseAll);
    say(&mut bench, "Hello");
    let request = request(&bench)?;
    bench.click("Stop");
    apply(&mut bench, QueueCommand::ResumeAll);
    let ChatPrompt::Messages(turns) = &request.prompt else {
        anyhow::bail!("raw text")
    };
    let turns: Vec<(&str, &str)> = turns
        .iter()
        .map(|turn| (turn.role.as_str(), turn.content.as_str()))
        .collect();
    ensure!(
        turns == [("system", "Speak of boats."), ("user", "Hello")],
        "{turns:?}"
    );
    ensure!(request.sampling.temperature == 100.0 && request.sampling.top_k == 0);
    ensure!(
        request.max_tokens == 300 && request.seed == 1,
        "{request:?}"
    );
    answered(&mut bench, MessageState::Stopped)?;
    bench.get("Reset to the model's own").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Reset to the model's own");
    let studio = studio(&bench);
    let settings = studio.chat.settings(&studio.house);
    ensure!(settings.seed.is_none() && settings.sampling.temperature < 1.0);
    Ok(())
}

#[test]
fn an_answer_becomes_a_prompt() -> Result<()> {
    let mut bench = open()?;
    say(&mut bench, QUESTION);
    let answer = answered(&mut bench, MessageState::Done)?;
    bench.click("Use as a prompt in Create");
    ensure!(studio(&bench).view.workspace == Workspace::Create);
    let prompt = &studio(&bench).create.form.prompt;
    ensure!(prompt.contains("fox") && !prompt.contains(':'), "{prompt}");
    ensure!(answer.text.contains(prompt.as_str()));
    Ok(())
}

#[test]
fn a_full_context_is_said_with_a_remedy() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 32_768);
    say(&mut bench, QUESTION);
    bench.wait("a full context", |bench| {
        bench.has("memory for this conversation is full")
    })?;
    ensure!(bench.has("New conversation"));
    Ok(())
}

#[test]
fn several_conversations_are_answered_at_once() -> Result<()> {
    let mut bench = open()?;
    endless(&mut bench, 2000);
    say(&mut bench, QUESTION);
    begun(&mut bench)?;
    let first = studio(&bench).chat.current().context("none")?;
    bench.press(Modifiers::COMMAND, Key::N);
    ensure!(studio(&bench).chat.current().is_none());
    say(&mut bench, "What is guidance?");
    let second = studio(&bench).chat.current().context("none")?;
    ensure!(first != second);
    ensure!(studio(&bench).chat.is_writing(second));
    // Back in the first, its words have gone on meanwhile, or it has ended.
    let before = studio(&bench).chat.talk(first).context("gone")?;
    let before = before
        .tree
        .branch()
        .last()
        .map_or(0, |last| last.text.len());
    apply(&mut bench, ChatCommand::Open(first));
    ensure!(studio(&bench).chat.current() == Some(first));
    bench.wait("more of the first", |bench| {
        let studio = studio(bench);
        !studio.chat.is_writing(first)
            || branch(bench)
                .last()
                .is_some_and(|last| last.text.len() > before)
    })?;
    apply(&mut bench, ChatCommand::Stop);
    bench.wait("the second answer", |bench| {
        !studio(bench).chat.is_writing(second)
    })?;
    let talk = studio(&bench).chat.talk(second).context("gone")?;
    let answer = talk.tree.branch().last().map(|last| last.text.clone());
    ensure!(answer.is_some_and(|text| !text.is_empty()));
    Ok(())
}

#[test]
fn conversations_are_renamed_pinned_found_and_deleted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let done = MessageState::Done;
    let boats = keep(
        &data,
        "Boats",
        &[
            (Role::User, "a harbour", done),
            (Role::Assistant, "with gulls", done),
        ],
    )?;
    keep(&data, "Foxes", &[(Role::User, "a den", done)])?;
    let mut bench = open_with(Setup {
        data: Some(data.clone()),
        ..Setup::default()
    })?;
    bench.click("Boats");
    bench.wait_label("with gulls")?;

    bench.click("More about Boats");
    bench.click("Rename");
    bench.wait_label("Name of the conversation")?;
    bench.press(Modifiers::COMMAND, Key::A);
    bench.type_into("Name of the conversation", "Ships");
    bench.press(Modifiers::NONE, Key::Enter);
    bench.wait_label("More about Ships")?;

    bench.click("More about Ships");
    bench.click("Pin to the top");
    ensure!(studio(&bench).chat.listed()[0].id() == boats && bench.has("Pinned"));

    bench.type_into("Search conversations", "gulls");
    bench.wait("a result", |bench| studio(bench).chat.found().count() == 1)?;
    bench.harness.run_steps(3);
    ensure!(!bench.has("Foxes"));
    bench.harness.state_mut().studio_mut().chat.search.clear();
    bench.harness.run_steps(3);

    bench.click("More about Ships");
    bench.click("Delete");
    ensure!(studio(&bench).chat.talk(boats).is_none() && bench.has("Conversation deleted"));
    bench.click("Undo");
    ensure!(studio(&bench).chat.talk(boats).is_some());
    bench.wait_idle()?;
    bench.wait_label("with gulls")?;

    bench.click("More about Foxes");
    bench.click("Delete");
    bench.wait_idle()?;
    bench.close();
    let library = Library::open_read_only(&data)?;
    let left = library.conversations()?;
    ensure!(left.len() == 1 && left[0].title == "Ships" && left[0].pinned);
    ensure!(library.messages(boats)?.len() == 2);
    Ok(())
}

#[test]
fn messages_are_deleted_and_come_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let done = MessageState::Done;
    let id = keep(
        &data,
        "Boats",
        &[
            (Role::User, "a harbour", done),
            (Role::Assistant, "with gulls", done),
        ],
    )?;
    let mut bench = open_with(Setup {
        data: Some(data.clone()),
        ..Setup::default()
    })?;
    bench.click("Boats");
    bench.wait_label("with gulls")?;
    let delete = bench.harness.get_all_by_label("Delete from here on").last();
    delete.context("no button")?.click();
    bench.harness.run_steps(4);
    bench.wait_idle()?;
    ensure!(branch(&bench).len() == 1);
    ensure!(Library::open_read_only(&data)?.messages(id)?.len() == 1);
    bench.press(Modifiers::COMMAND, Key::Z);
    bench.wait("the message", |bench| branch(bench).len() == 2)?;
    bench.wait_idle()?;
    ensure!(Library::open_read_only(&data)?.messages(id)?.len() == 2);
    Ok(())
}

#[test]
fn an_answer_cut_off_by_the_end_of_the_program_is_offered_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    keep(
        &data,
        "Half",
        &[
            (Role::User, "tell me", MessageState::Done),
            (Role::Assistant, "half of it", MessageState::Writing),
        ],
    )?;
    let mut bench = open_with(Setup {
        data: Some(data),
        ..Setup::default()
    })?;
    bench.click("Half");
    bench.wait_label("half of it")?;
    ensure!(bench.has("Stopped.") && bench.has("Continue"));
    let before = branch(&bench);
    bench.click("Continue");
    bench.wait("an end", |bench| {
        branch(bench)
            .last()
            .is_some_and(|last| last.state == MessageState::Done)
    })?;
    // The model did not say the same again: both are there.
    let talk = studio(&bench).chat.shown().context("none")?;
    let old = talk.tree.get(before[1].id).context("lost")?;
    ensure!(old.text.contains("half of it"), "{}", old.text);
    Ok(())
}

#[test]
fn a_restart_brings_everything_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let setup = || Setup {
        data: Some(data.clone()),
        ..Setup::default()
    };
    let mut bench = open_with(setup())?;
    say(&mut bench, QUESTION);
    let answer = answered(&mut bench, MessageState::Done)?;
    bench.type_into("Message", "not sent yet");
    bench.wait_idle()?;
    bench.close();
    let mut bench = open_with(setup())?;
    bench.wait("the conversation", |bench| branch(bench).len() == 2)?;
    let shown = branch(&bench);
    ensure!(shown[0].text == QUESTION && shown[1] == answer);
    let studio = bench.harness.state_mut().studio_mut();
    ensure!(studio.chat.composer() == "not sent yet");
    Ok(())
}
