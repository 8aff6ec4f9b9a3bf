//! What a person does without pointing: models out of memory, commands by name; and a library that opens late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych::library::Library;
use diptych::library::records::{MessageState, Role};
use diptych::studio::chat::{ChatCommand, Deed};
use diptych::studio::command::{AppCommand, ModelsCommand, UiCommand};
use diptych::studio::create::CreateCommand;
use diptych::studio::create::form::Form;
use diptych::studio::view::{Drawer, Workspace};
use diptych::studio::{Studio, StudioOptions};
use diptych_inference::engine::{DeviceChoice, ModelRef};
use diptych_tests::repository;
use diptych_tests::window::Bench;
use egui::{Key, Modifiers};

fn studio(bench: &Bench) -> &Studio {
    bench.harness.state().studio()
}

fn refused(bench: &Bench, command: impl Into<UiCommand>) -> String {
    studio(bench).available(&command.into()).unwrap_err()
}

#[test]
fn a_model_is_unloaded_when_no_job_needs_it_and_comes_back_by_itself() {
    let mut bench = Bench::open().unwrap();
    let told = refused(&bench, ModelsCommand::UnloadAll);
    assert_eq!(told, "No model is in memory");
    let prompt = "a red fox".to_owned();
    {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.prompt.clone_from(&prompt);
        form.steps = Some(300);
    }
    bench.apply(CreateCommand::Generate { front: false });
    let model = ModelRef::named("sketch");
    let loaded = |bench: &Bench| {
        let mut loaded = studio(bench).house.loaded.iter();
        loaded.any(|model| model.name == "sketch")
    };
    bench
        .wait("the model in memory", |bench| loaded(bench))
        .unwrap();
    let unload = ModelsCommand::Unload(model.clone());
    assert!(refused(&bench, unload.clone()).contains("stop the job first"));
    // Not even if it is asked for all the same.
    bench.apply(unload.clone());
    bench.apply(CreateCommand::Stop);
    bench.wait_idle().unwrap();
    bench
        .wait("what is in memory", |bench| {
            studio(bench).available(&unload.clone().into()).is_ok()
        })
        .unwrap();
    let before = studio(&bench).house.memory.unwrap().weights;
    assert!(before > 0);
    bench.apply(AppCommand::Drawer(Drawer::Models));
    bench.click("Unload sketch");
    bench
        .wait("the model to go", |bench| !loaded(bench))
        .unwrap();
    bench.harness.run_steps(2);
    let after = studio(&bench).house.memory.unwrap().weights;
    assert!(after < before, "{after} of {before} bytes of weights");
    assert!(!bench.has("Unload sketch"));
    // It comes back when it is needed.
    bench.harness.state_mut().studio_mut().create.form.steps = Some(2);
    bench.apply(CreateCommand::Generate { front: false });
    bench.wait_idle().unwrap();
    assert_eq!(
        studio(&bench).gallery.items()[0].record.request.prompt,
        prompt
    );
    bench
        .wait("the model again", |bench| loaded(bench))
        .unwrap();
    // All at once, too.
    bench.apply(AppCommand::CloseDrawer);
    bench.apply(ModelsCommand::UnloadAll);
    bench
        .wait("the model to go", |bench| !loaded(bench))
        .unwrap();
}

#[test]
fn a_conversation_is_handled_by_the_keyboard_alone() {
    let mut bench = Bench::open().unwrap();
    bench.apply(AppCommand::Show(Workspace::Chat));
    assert_eq!(
        refused(&bench, ChatCommand::OfShown(Deed::CopyAnswer)),
        "The conversation is not begun"
    );
    // The slash goes to the field to write in, wherever one is.
    bench.apply(AppCommand::Show(Workspace::Create));
    bench.press(Modifiers::NONE, Key::Slash);
    bench.harness.run_steps(4);
    assert!(bench.get("Prompt").is_focused());
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.harness.run_steps(4);
    assert!(bench.get("Message").is_focused());
    bench.get("Message").type_text("what is a seed?");
    bench.harness.run_steps(2);
    bench.press(Modifiers::NONE, Key::Enter);
    bench.wait_idle().unwrap();
    let answer = {
        let talk = studio(&bench).chat.shown().unwrap();
        let last = talk.tree.last().unwrap();
        assert_eq!(
            (last.role, last.state),
            (Role::Assistant, MessageState::Done)
        );
        last.text.clone()
    };
    assert_eq!(
        refused(&bench, ChatCommand::OfShown(Deed::Continue)),
        "The answer was not cut off"
    );
    // The last question, worded anew, by its key.
    bench.press(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::E);
    let editing = studio(&bench).chat.editing.as_ref().unwrap();
    assert_eq!(editing.text, "what is a seed?");
    bench.apply(ChatCommand::CancelEdit);
    // The answer goes to Create.
    bench.apply(ChatCommand::OfShown(Deed::ToCreate));
    assert_eq!(studio(&bench).view.workspace, Workspace::Create);
    assert_eq!(studio(&bench).create.form.prompt, answer.trim());
    // Through the palette, by a few letters: the last question and its answer go.
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.press(Modifiers::COMMAND, Key::K);
    bench
        .get("Find a command")
        .type_text("delete last question");
    bench.harness.run_steps(3);
    bench.press(Modifiers::NONE, Key::Enter);
    assert!(studio(&bench).chat.shown().unwrap().tree.last().is_none());
    bench.apply(AppCommand::Undo);
    bench.wait_idle().unwrap();
    let talk = studio(&bench).chat.shown().unwrap();
    assert_eq!(talk.tree.last().unwrap().text, answer);
}

#[test]
fn a_late_library_takes_nothing_away_that_was_typed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    {
        let mut library = Library::open(&data, "window").unwrap();
        let kept = Form {
            prompt: "what was there".to_owned(),
            negative: "blurry".to_owned(),
            steps: Some(7),
            ..Form::default()
        };
        let kept = serde_json::to_string(&kept).unwrap();
        library.put_draft("create", &kept).unwrap();
        library.put_draft("chat:new", "an old message").unwrap();
    }
    let open = || {
        Studio::open(StudioOptions {
            data: data.clone(),
            assets: repository("assets"),
            device: Some(DeviceChoice::Cpu),
            look_elsewhere: false,
            go_on: false,
            wake: Arc::new(|| {}),
        })
    };
    let wait = |studio: &mut Studio| {
        let begin = Instant::now();
        while !studio.house.is_open() {
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
            studio.tick();
        }
    };
    let mut studio = open();
    // The window is there, and somebody types at once.
    studio.create.form.prompt = "what is typed now".to_owned();
    studio.chat.composer().push_str("a new message");
    studio.apply(AppCommand::Show(Workspace::Chat).into());
    wait(&mut studio);
    let form = &studio.create.form;
    assert_eq!(form.prompt, "what is typed now");
    // What was not touched is as it was left.
    assert_eq!((form.negative.as_str(), form.steps), ("blurry", Some(7)));
    assert_eq!(studio.chat.composer(), "a new message");
    assert_eq!(studio.view.workspace, Workspace::Chat);
    studio.close(Duration::from_secs(10));
    drop(studio);
    // And it is kept.
    let mut studio = open();
    wait(&mut studio);
    assert_eq!(studio.create.form.prompt, "what is typed now");
    assert_eq!(studio.chat.composer(), "a new message");
    studio.close(Duration::from_secs(10));
}

#[test]
fn shift_and_enter_make_a_line_however_long_the_frame_was() {
    let mut bench = Bench::open().unwrap();
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.harness.run_steps(4);
    assert!(bench.get("Message").is_focused(), "one types at once");
    let one = bench.get("Message").rect().height();
    for line in ["one", "two", "three", "four"] {
        bench.get("Message").type_text(line);
        bench.harness.run_steps(2);
        // Shift is up again by the time that the frame is drawn.
        bench.harness.event(egui::Event::Key {
            key: Key::Enter,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::SHIFT,
        });
        bench.harness.run_steps(2);
    }
    let studio_mut = bench.harness.state_mut().studio_mut();
    assert_eq!(studio_mut.chat.composer(), "one\ntwo\nthree\nfour\n");
    assert!(studio_mut.chat.shown().is_none(), "nothing was sent");
    bench.harness.run_steps(4);
    let field = bench.get("Message").rect();
    assert!(field.height() > 3.5 * one, "{one} and {field:?}");
    let below = bench.get("Attach a text file").rect();
    assert!(
        field.bottom() <= below.top(),
        "{field:?} lies over {below:?}"
    );
    bench.press(Modifiers::NONE, Key::Enter);
    assert!(studio(&bench).chat.shown().is_some(), "Enter sends");
}
