//! Pictures of the window in every state, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test
//! window shots -- --ignored`.

use std::path::PathBuf;

use diptych::studio::command::{AppCommand, UiCommand};
use diptych::studio::view::{Drawer, Workspace};
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};

fn folder() -> PathBuf {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    std::fs::create_dir_all(&folder).unwrap();
    folder.into()
}

fn tour(name: &str, size: [f32; 2], theme: egui::Theme) {
    let folder = folder();
    let mut bench = Bench::with(Setup {
        size,
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
}

#[test]
#[ignore = "pictures for people"]
fn dark() {
    tour("dark", [1280.0, 800.0], egui::Theme::Dark);
}

#[test]
#[ignore = "pictures for people"]
fn light_and_small() {
    tour("light", [1024.0, 640.0], egui::Theme::Light);
}
