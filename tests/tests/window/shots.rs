//! Pictures of the window in every state, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test
//! window shots -- --ignored`.

use std::path::PathBuf;

use diptych::library::Library;
use diptych::library::records::{
    AnswerInfo, Conversation, ConversationId, Message, MessageId, MessageState, Role, now,
};
use diptych::studio::chat::talk::settings_of;
use diptych::studio::chat::{ChatCommand, Deed};
use diptych::studio::command::{AppCommand, UiCommand};
use diptych::studio::compare::{CellAt, CompareCommand, Kind};
use diptych::studio::create::CreateCommand;
use diptych::studio::gallery::GalleryCommand;
use diptych::studio::view::{Drawer, Workspace};
use diptych_inference::engine::ModelRef;
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};

fn folder() -> PathBuf {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    std::fs::create_dir_all(&folder).unwrap();
    folder.into()
}

fn tour(name: &str, size: [f32; 2], scale: f32, theme: egui::Theme) {
    let folder = folder();
    let mut bench = Bench::with(Setup {
        size,
        scale,
        theme,
        ..Setup::default()
    })
    .unwrap();
    let mut number = 0;
    let mut shoot = |bench: &mut Bench, what: &str| {
        number += 1;
        bench.harness.run_steps(12);
        bench
            .screenshot(&folder.join(format!("{name}-{number:02}-{what}.png")))
            .unwrap();
    };
    let apply = |bench: &mut Bench, command: UiCommand| {
        bench.harness.state_mut().studio_mut().apply(command);
        bench.harness.run_steps(3);
    };
    for workspace in Workspace::ALL {
        apply(&mut bench, AppCommand::Show(workspace).into());
        shoot(
            &mut bench,
            &format!("{}-empty", workspace.label().to_lowercase()),
        );
    }
    apply(&mut bench, AppCommand::Show(Workspace::Create).into());
    bench.type_into("Prompt", "a red fox, flat style");
    bench.press(Modifiers::COMMAND, Key::Enter);
    apply(&mut bench, AppCommand::ToggleQueue.into());
    bench
        .wait("a first step", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            queue.tasks().iter().any(|task| task.progress.done > 2)
        })
        .unwrap();
    shoot(&mut bench, "create-drawing");
    bench.wait_idle().unwrap();
    shoot(&mut bench, "create-drawn");
    apply(&mut bench, AppCommand::ToggleQueue.into());
    apply(&mut bench, AppCommand::Show(Workspace::Gallery).into());
    shoot(&mut bench, "library");
    apply(&mut bench, AppCommand::Show(Workspace::Create).into());
    for drawer in [Drawer::Settings, Drawer::Log, Drawer::Models] {
        bench
            .harness
            .state_mut()
            .studio_mut()
            .set_drawer(Some(drawer));
        shoot(&mut bench, &format!("{drawer:?}").to_lowercase());
    }
    bench.harness.state_mut().studio_mut().set_drawer(None);
    apply(&mut bench, AppCommand::Palette.into());
    shoot(&mut bench, "palette");
    apply(&mut bench, AppCommand::Keys.into());
    shoot(&mut bench, "keys");
    apply(&mut bench, AppCommand::CloseOverlay.into());
    for (prompt, count) in [
        ("a panda, 3d style, green background", 2),
        ("a rocket on a black background, flat style", 2),
        ("a castle, 3d style, purple background", 3),
    ] {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.prompt = prompt.to_owned();
        form.count = count;
        apply(&mut bench, CreateCommand::Generate { front: false }.into());
    }
    bench.wait_idle().unwrap();
    settle(&mut bench);
    shoot(&mut bench, "create-many");
    apply(&mut bench, AppCommand::Show(Workspace::Gallery).into());
    settle(&mut bench);
    shoot(&mut bench, "library-many");

    apply(&mut bench, AppCommand::Show(Workspace::Compare).into());
    {
        let setup = &mut bench.harness.state_mut().studio_mut().compare.grid.setup;
        setup.variants.clear();
        setup.seeds.clear();
        for prompt in [
            "a red fox, flat style, white background",
            "a red fox, 3d style, white background",
            "a red fox, 3d style, blue background",
        ] {
            setup.add_variant(prompt.to_owned());
        }
        for seed in [7, 11, 23, 42] {
            setup.add_seed(seed);
        }
    }
    apply(&mut bench, CompareCommand::Run.into());
    bench
        .wait("some cells", |bench| {
            let compare = &bench.harness.state().studio().compare;
            compare
                .grid
                .cells
                .iter()
                .filter(|cell| cell.path.is_some())
                .count()
                >= 5
        })
        .unwrap();
    settle(&mut bench);
    shoot(&mut bench, "compare-running");
    bench.wait_idle().unwrap();
    settle(&mut bench);
    shoot(&mut bench, "compare");
    let cells: Vec<CellAt> = {
        let grid = &bench.harness.state().studio().compare.grid;
        let (rows, columns) = (&grid.setup.variants, &grid.setup.seeds);
        [0, 2]
            .map(|row| CellAt {
                row: rows[row].id,
                column: columns[1].id,
            })
            .to_vec()
    };
    for cell in &cells {
        apply(&mut bench, CompareCommand::Select(*cell).into());
    }
    for mode in ["slider", "beside", "blink", "difference"] {
        settle(&mut bench);
        shoot(&mut bench, &format!("compare-{mode}"));
        apply(&mut bench, CompareCommand::NextMode.into());
    }
    apply(&mut bench, CompareCommand::Show(Kind::Answers).into());
    settle(&mut bench);
    shoot(&mut bench, "compare-chat");

    apply(&mut bench, AppCommand::Show(Workspace::Chat).into());
    for words in [
        "Hello!",
        "What is guidance?",
        "Expand this prompt: a red fox",
    ] {
        if words == "Hello!" {
            apply(&mut bench, ChatCommand::Ask(words.to_owned()).into());
        } else {
            bench
                .harness
                .state_mut()
                .studio_mut()
                .chat
                .composer()
                .push_str(words);
            apply(&mut bench, ChatCommand::Send.into());
        }
        bench.wait_idle().unwrap();
    }
    settle(&mut bench);
    shoot(&mut bench, "chat");
    apply(&mut bench, ChatCommand::ToggleSettings.into());
    settle(&mut bench);
    shoot(&mut bench, "chat-settings");
}

/// A few frames for thumbnails to arrive.
fn settle(bench: &mut Bench) {
    for _ in 0..30 {
        std::thread::sleep(std::time::Duration::from_millis(15));
        bench.step();
    }
}

#[test]
#[ignore = "pictures for people"]
fn dark() {
    tour("dark", [1280.0, 800.0], 1.0, egui::Theme::Dark);
}

#[test]
#[ignore = "pictures for people"]
fn light_and_small() {
    tour("light", [1024.0, 640.0], 1.0, egui::Theme::Light);
}

#[test]
#[ignore = "pictures for people"]
fn other_themes() {
    let (dark, light) = (egui::Theme::Dark, egui::Theme::Light);
    tour("dark-1024", [1024.0, 640.0], 1.0, dark);
    tour("light-1280", [1280.0, 800.0], 1.0, light);
    tour("light-1920", [1920.0, 1080.0], 1.0, light);
    tour("dark-4k-twice", [1920.0, 1080.0], 2.0, dark);
}

/// A conversation with what is seldom seen: thoughts, code, a failure, long names.
fn uncommon(data: &std::path::Path) -> [ConversationId; 2] {
    let mut library = Library::open(data, "window").unwrap();
    let long = "A conversation whose name is much longer than any list is wide, because somebody pasted a whole paragraph as the first message";
    [("Thoughts about foxes", false), (long, true)].map(|(title, failed)| {
        let id = ConversationId::new();
        let question = Message {
            id: MessageId::new(),
            conversation: id,
            parent: None,
            role: Role::User,
            text: "Which words make a picture of a fox look like winter?".to_owned(),
            attachments: Vec::new(),
            state: MessageState::Done,
            info: None,
            created: now(),
        };
        let answer = Message {
            id: MessageId::new(),
            parent: Some(question.id),
            role: Role::Assistant,
            text: match failed {
                true => String::new(),
                false => "<think>\nWinter is told by light and ground rather than by the word alone. **Snow** is the strongest; frost and breath add to it. I should name a few, and show one whole prompt.\n</think>\n\nName what lies on the ground and what the light does:\n\n| word | what it does |\n|---|---|\n| snow | changes the ground and the colours |\n| overcast | softens the shadows |\n\n```text\na red fox in deep snow, overcast, soft light\n```\n".to_owned(),
            },
            state: match failed {
                true => MessageState::Failed,
                false => MessageState::Done,
            },
            info: Some(AnswerInfo {
                model: Some(ModelRef::named("a-model-with-a-very-long-name-Q4_K_M-instruct-2507-unquantised-imatrix")),
                failure: failed.then(|| "The model needs 9.4 GB, and 4.0 GB may be used; close other programs, choose a smaller model, or raise the limit in Settings.".to_owned()),
                ..AnswerInfo::default()
            }),
            ..question.clone()
        };
        library.put_message(&question).unwrap();
        library.put_message(&answer).unwrap();
        library
            .put_conversation(&Conversation {
                id,
                title: title.to_owned(),
                created: now(),
                changed: now(),
                leaf: Some(answer.id),
                ..settings_of(None)
            })
            .unwrap();
        id
    })
}

fn seldom(name: &str, size: [f32; 2], scale: f32, theme: egui::Theme) {
    let folder = folder();
    let kept = tempfile::tempdir().unwrap();
    let data = kept.path().join("data");
    let [thoughts, failed] = uncommon(&data);
    let mut bench = Bench::with(Setup {
        size,
        scale,
        theme,
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    let mut number = 0;
    let mut shoot = |bench: &mut Bench, what: &str| {
        number += 1;
        settle(bench);
        bench
            .screenshot(&folder.join(format!("{name}-s{number:02}-{what}.png")))
            .unwrap();
    };
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.apply(ChatCommand::Open(thoughts));
    bench.wait_label("Name what lies").unwrap();
    let fold = bench
        .labels()
        .into_iter()
        .find(|label| label.starts_with("Thought, "))
        .unwrap();
    bench.click(&fold);
    shoot(&mut bench, "thought");
    bench.apply(ChatCommand::OfShown(Deed::RewordAnswer));
    shoot(&mut bench, "reword-answer");
    bench.apply(ChatCommand::CancelEdit);
    bench.apply(ChatCommand::OfShown(Deed::Rename));
    shoot(&mut bench, "rename");
    bench.apply(ChatCommand::Open(failed));
    shoot(&mut bench, "failed");
    bench.apply(ChatCommand::OfShown(Deed::Delete));
    shoot(&mut bench, "deleted");
    bench.press(Modifiers::COMMAND, Key::K);
    bench.get("Find a command").type_text("pictu");
    shoot(&mut bench, "palette");
    bench.apply(AppCommand::CloseOverlay);
    bench.apply(AppCommand::Show(Workspace::Create));
    let long = "a red fox with a very long description, ".repeat(12);
    bench.draw(&long).unwrap();
    bench.apply(AppCommand::Drawer(Drawer::Models));
    shoot(&mut bench, "long-prompt-and-models");
    bench.apply(AppCommand::CloseDrawer);
    bench.apply(AppCommand::ToggleQueue);
    let memory = bench
        .labels()
        .into_iter()
        .find(|label| {
            label.contains(" MB of ") || label.contains(" GB of ") || label.contains(" KB of ")
        })
        .unwrap();
    bench.click(&memory);
    shoot(&mut bench, "memory");
    bench.press(Modifiers::NONE, Key::Escape);
    {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.model = Some(ModelRef::named(
            "a-model-that-was-moved-away-v12-pruned-emaonly",
        ));
    }
    shoot(&mut bench, "missing-model");
    bench.apply(AppCommand::Show(Workspace::Compare));
    bench.apply(CompareCommand::Example);
    bench.apply(CompareCommand::DeleteShown);
    shoot(&mut bench, "compare-undo");
    bench.apply(AppCommand::Show(Workspace::Gallery));
    bench.apply(GalleryCommand::ShowTrash(true));
    shoot(&mut bench, "empty-trash");
    bench.apply(GalleryCommand::ShowTrash(false));
    bench.harness.state_mut().studio_mut().gallery.sieve.text = "nothing is called so".to_owned();
    shoot(&mut bench, "nothing-found");
}

#[test]
#[ignore = "pictures for people"]
fn seldom_seen() {
    let (dark, light) = (egui::Theme::Dark, egui::Theme::Light);
    seldom("seldom-dark", [1024.0, 640.0], 1.0, dark);
    seldom("seldom-light", [1280.0, 800.0], 1.0, light);
    seldom("seldom-4k", [3840.0, 2160.0], 1.0, dark);
    // The same screen as most people set it.
    seldom("seldom-4k-twice", [1920.0, 1080.0], 2.0, light);
}

#[test]
#[ignore = "pictures for people"]
fn seldom_seen_in_other_themes() {
    let (dark, light) = (egui::Theme::Dark, egui::Theme::Light);
    seldom("seldom-light-1024", [1024.0, 640.0], 1.0, light);
    seldom("seldom-dark-1280", [1280.0, 800.0], 1.0, dark);
    seldom("seldom-light-1920", [1920.0, 1080.0], 1.0, light);
    seldom("seldom-dark-4k-twice", [1920.0, 1080.0], 2.0, dark);
}
