//! Settings, log, models, palette and keys: how they look, and what they do. `UPDATE_SNAPSHOTS=1` renews the pictures in
//! `tests/snapshots/panels`.
//!
//! Each panel is drawn alone, over a real studio with the built-in models, so that the pictures change only when the
//! panel does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych::panels::{self, Gui};
use diptych::studio::command::{AppCommand, Entry, ModelsCommand, QueueCommand, UiCommand};
use diptych::studio::create::CreateCommand;
use diptych::studio::keys::{Chord, Place};
use diptych::studio::log::Level;
use diptych::studio::settings::SettingsCommand;
use diptych::studio::view::{Drawer, Workspace};
use diptych::studio::{Studio, StudioOptions};
use diptych::theme::{self, Icon, ThemeChoice};
use diptych_inference::engine::DeviceChoice;
use egui::accesskit::Role;
use egui::{CentralPanel, Frame, Key, Ui, Vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, SnapshotOptions, SnapshotResults};

type Show = fn(&mut Ui, &mut Studio, &mut Gui<'_>);

/// A studio, a panel, and what was asked for.
struct Desk {
    studio: Studio,
    entries: Vec<Entry>,
    asked: Vec<UiCommand>,
    show: Show,
    _folder: tempfile::TempDir,
}

/// Commands as they were when the pictures were made; new ones must not change the pictures.
fn entries() -> Vec<Entry> {
    let app = |command: AppCommand, label, icon| Entry::new(command, label, icon);
    let everywhere = Place::Everywhere;
    vec![
        app(
            AppCommand::Show(Workspace::Create),
            "Go to Create",
            Icon::Image,
        )
        .key(everywhere, Chord::ctrl(Key::Num1).alt()),
        app(AppCommand::Show(Workspace::Chat), "Go to Chat", Icon::Chat)
            .key(everywhere, Chord::ctrl(Key::Num2).alt()),
        app(AppCommand::Palette, "Find a command", Icon::Search)
            .key(everywhere, Chord::ctrl(Key::K)),
        app(AppCommand::Keys, "Show the keys", Icon::Help)
            .key(everywhere, Chord::plain(Key::Questionmark)),
        app(
            AppCommand::Drawer(Drawer::Settings),
            "Settings",
            Icon::Settings,
        )
        .key(everywhere, Chord::ctrl(Key::Comma)),
        app(AppCommand::Undo, "Undo", Icon::Undo).key(everywhere, Chord::ctrl(Key::Z)),
        app(AppCommand::Redo, "Redo", Icon::Redo)
            .key(everywhere, Chord::ctrl(Key::Z).shift())
            .key(everywhere, Chord::ctrl(Key::Y)),
        Entry::new(QueueCommand::CancelAll, "Stop all jobs", Icon::Stop),
        Entry::new(
            ModelsCommand::Rescan,
            "Look for models again",
            Icon::Refresh,
        ),
        Entry::new(
            SettingsCommand::Theme(ThemeChoice::Dark),
            "Dark theme",
            Icon::Moon,
        ),
        Entry::new(
            SettingsCommand::Theme(ThemeChoice::Light),
            "Light theme",
            Icon::Sun,
        ),
        Entry::new(
            CreateCommand::Generate { front: false },
            "Draw",
            Icon::Sparkle,
        )
        .key(Place::Create, Chord::ctrl(Key::Enter)),
        Entry::new(CreateCommand::SwapSize, "Swap width and height", Icon::Swap)
            .key(Place::Create, Chord::ctrl(Key::R)),
        Entry::new(CreateCommand::Favourite, "Mark the picture", Icon::Star)
            .key(Place::Picture, Chord::plain(Key::F)),
    ]
}

fn desk(show: Show) -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let mut studio = Studio::open(StudioOptions {
        data: folder.path().join("data"),
        assets: diptych::folders::assets(None).unwrap(),
        device: Some(DeviceChoice::Cpu),
        look_elsewhere: false,
        wake: Arc::new(|| {}),
        go_on: false,
    });
    let begin = Instant::now();
    while !(studio.house.shelf.ready && studio.is_idle()) {
        studio.tick();
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "the studio hangs"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    studio.house.log.clear();
    Desk {
        studio,
        entries: entries(),
        asked: Vec::new(),
        show,
        _folder: folder,
    }
}

/// As wide as the window makes drawers.
const DRAWER: Vec2 = Vec2::new(400.0, 0.0);

fn harness(desk: Desk, size: Vec2, dark: bool) -> Harness<'static, Desk> {
    let look = theme::load(&diptych::folders::assets(None).unwrap()).unwrap();
    let choice = if dark {
        ThemeChoice::Dark
    } else {
        ThemeChoice::Light
    };
    let options = SnapshotOptions::new()
        .threshold(2.0)
        .max_failed_pixels((size.x * size.y * 0.003) as usize)
        .output_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/panels"));
    let mut harness = Harness::builder()
        .with_size(size)
        .with_os(egui::os::OperatingSystem::Nix)
        .with_theme(if dark {
            egui::Theme::Dark
        } else {
            egui::Theme::Light
        })
        .with_options(options)
        .with_max_steps(40)
        .wgpu()
        .with_context_setup(move |ctx| look.install(ctx, choice, 1.0))
        .build_ui_state(
            |ui, desk: &mut Desk| {
                desk.studio.tick();
                let t = theme::tokens(ui.ctx());
                let whole = ui.ctx().content_rect();
                let ground = ui.ctx().layer_painter(egui::LayerId::background());
                ground.rect_filled(whole, 0.0, t.bg_panel);
                let mut gui = Gui {
                    tokens: t.clone(),
                    entries: &desk.entries,
                    commands: Vec::new(),
                    focus: None,
                    dropped: false,
                    notices: None,
                };
                let frame = Frame::new().fill(t.bg_panel).inner_margin(t.size.gap_s);
                CentralPanel::default()
                    .frame(frame)
                    .show(ui, |ui| (desk.show)(ui, &mut desk.studio, &mut gui));
                let commands = gui.commands;
                desk.asked.extend(commands);
            },
            desk,
        );
    harness.run();
    harness
}

/// Machines differ in what they compute with and where things lie: rows that tell it are left out of pictures.
fn mask_machine(harness: &mut Harness<'static, Desk>, right: f32) {
    let right = harness.ctx.content_rect().width() - right;
    let rows: Vec<egui::Rect> = harness
        .root()
        .children_recursive()
        .filter(|node| {
            let node = node.accesskit_node();
            let words = node.value().or(node.label()).unwrap_or_default();
            let path = words.contains('/') && words.len() > 12;
            node.role() == Role::Label
                && (path || words.contains("threads)") || words.ends_with("allowed"))
        })
        .map(|node| node.rect())
        .collect();
    for row in rows {
        // Numbers end at the right edge and begin anywhere, paths begin at the left.
        let row = if row.left() > 200.0 {
            row.with_min_x(200.0)
        } else {
            row.with_max_x(right)
        };
        harness.mask(row.expand(1.0));
    }
}

/// Gives a field the keyboard and types.
fn type_into(harness: &mut Harness<'static, Desk>, label: &str, text: &str) {
    harness
        .get_by_role_and_label(Role::TextInput, label)
        .focus();
    harness.run();
    harness
        .get_by_role_and_label(Role::TextInput, label)
        .type_text(text);
    harness.run();
}

fn trouble(studio: &mut Studio) {
    let log = &mut studio.house.log;
    log.write(Level::Info, "Ready", "Computing on CPU.");
    log.write(Level::Success, "The picture was saved", "");
    log.write(
        Level::Warning,
        "The picture was drawn in a smaller form",
        "There was too little memory for 1024 × 1024. Close other programs, or choose a smaller size.",
    );
    log.write(
        Level::Error,
        "The model cannot be loaded",
        "fox.safetensors: the file ends in the middle of a tensor. Download it again.",
    );
}

#[test]
fn panels_look_as_they_did() {
    let mut results = SnapshotResults::new();
    let drawers: [(&str, Show); 3] = [
        ("settings", panels::settings::show),
        ("log", panels::log::show),
        ("models", panels::models::show),
    ];
    let overlays: [(&str, Show); 2] = [
        ("palette", panels::palette::show),
        ("keys", panels::keys::show),
    ];
    for (dark, theme) in [(true, "dark"), (false, "light")] {
        for (name, show) in drawers {
            for (height, size) in [(606.0, "small"), (900.0, "large")] {
                let mut desk = desk(show);
                trouble(&mut desk.studio);
                let mut harness = harness(desk, DRAWER + Vec2::new(0.0, height), dark);
                let kept = if name == "settings" { 110.0 } else { 20.0 };
                mask_machine(&mut harness, kept);
                harness.snapshot(format!("{name}_{theme}_{size}"));
                results.extend_harness(&mut harness);
            }
        }
        for (name, show) in overlays {
            for (window, size) in [([1024.0, 640.0], "small"), ([1440.0, 900.0], "large")] {
                let mut harness = harness(desk(show), window.into(), dark);
                harness.snapshot(format!("{name}_{theme}_{size}"));
                results.extend_harness(&mut harness);
            }
        }
    }
}

#[test]
fn settings_ask_for_what_was_chosen() {
    let mut harness = harness(
        desk(panels::settings::show),
        DRAWER + Vec2::new(0.0, 900.0),
        true,
    );
    harness.check_accessibility();
    harness.get_by_label("Light").click();
    harness.run();
    harness
        .get_by_role_and_label(Role::RadioButton, "CPU")
        .click();
    harness.run();
    harness.get_by_label("Size of everything").click();
    harness.run();
    harness.get_by_label("150 %").click();
    harness.run();
    harness.get_by_label("Limit memory").click();
    harness.run();
    harness.get_by_label("Use models of other programs").click();
    harness.run();
    harness.get_by_label("Add folder…").click();
    harness.run();
    harness.get_by_label("Close settings").click();
    harness.run();
    let asked = std::mem::take(&mut harness.state_mut().asked);
    let wanted: [UiCommand; 6] = [
        SettingsCommand::Theme(ThemeChoice::Light).into(),
        SettingsCommand::Device(DeviceChoice::Cpu).into(),
        SettingsCommand::Scale(1.5).into(),
        SettingsCommand::LookElsewhere(false).into(),
        ModelsCommand::ChooseFolder.into(),
        AppCommand::CloseDrawer.into(),
    ];
    for wanted in wanted {
        assert!(asked.contains(&wanted), "{wanted:?} is not in {asked:?}");
    }
    assert!(
        asked.iter().any(|command| matches!(
            command,
            UiCommand::Settings(SettingsCommand::MemoryBudget(Some(_)))
        )),
        "{asked:?}"
    );
}

#[test]
fn a_memory_budget_is_typed() {
    let mut desk = desk(panels::settings::show);
    desk.studio
        .apply(SettingsCommand::MemoryBudget(Some(4_000_000_000)).into());
    let mut harness = harness(desk, DRAWER + Vec2::new(0.0, 900.0), true);
    harness.get_by_label("Most memory").click();
    harness.run();
    type_into(&mut harness, "Most memory", "6.5");
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    let wanted = SettingsCommand::MemoryBudget(Some(6_500_000_000)).into();
    assert!(
        harness.state().asked.contains(&wanted),
        "{:?}",
        harness.state().asked
    );
}

#[test]
fn the_log_is_filtered_searched_copied_and_cleared() {
    let mut desk = desk(panels::log::show);
    trouble(&mut desk.studio);
    let mut harness = harness(desk, DRAWER + Vec2::new(0.0, 700.0), true);
    harness.get_by_label_contains("ends in the middle of a tensor");
    harness.get_by_label("Notes 2").click();
    harness.run();
    assert!(harness.query_by_label("Ready").is_none());
    type_into(&mut harness, "Search the log", "smaller");
    harness.run();
    assert!(
        harness
            .query_by_label("The model cannot be loaded")
            .is_none()
    );
    harness.get_by_label("Copy all lines shown").click();
    harness.run();
    let effects = harness.state_mut().studio.house.take_effects();
    let copied: Vec<String> = effects
        .into_iter()
        .filter_map(|effect| match effect {
            diptych::studio::effects::Effect::CopyText(text) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(copied.len(), 1);
    assert!(
        copied[0].ends_with("or choose a smaller size."),
        "{copied:?}"
    );
    assert!(!copied[0].contains('\n'), "{copied:?}");
    harness.get_by_label("Clear search the log").click();
    harness.run();
    harness.get_by_label("The model cannot be loaded");
    harness.get_by_label("Clear the log").click();
    harness.run();
    harness.get_by_label("Nothing has happened yet");
}

#[test]
fn models_are_listed_searched_and_chosen() {
    let broken = tempfile::tempdir().unwrap();
    let path = broken.path().join("broken.gguf");
    std::fs::write(&path, b"GGUF and then nothing").unwrap();
    let mut desk = desk(panels::models::show);
    desk.studio.apply(ModelsCommand::Add(path).into());
    let begin = Instant::now();
    while desk.studio.house.shelf.models().len() < 3 {
        desk.studio.tick();
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "the model is not found"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut harness = harness(desk, DRAWER + Vec2::new(0.0, 900.0), true);
    harness.check_accessibility();
    harness.get_by_label("sketch");
    harness.get_by_label("muse");
    harness.get_by_label("broken");
    let reason = harness.state().studio.house.shelf.models()[2]
        .refused
        .clone();
    let reason = reason.expect("what is broken is refused for a reason");
    harness.get_by_label(&reason);
    harness
        .get_by_role_and_label(Role::RadioButton, "Unusable")
        .click();
    harness.run();
    assert!(harness.query_by_label("muse").is_none());
    harness.get_by_label("broken");
    harness
        .get_by_role_and_label(Role::RadioButton, "All")
        .click();
    harness.run();
    type_into(&mut harness, "Search models", "llama");
    harness.run();
    harness.get_by_label("muse");
    assert!(harness.query_by_label("sketch").is_none());
    harness.get_by_label("Open file…").click();
    harness.run();
    let wanted = ModelsCommand::ChooseFile.into();
    assert!(harness.state().asked.contains(&wanted));
}

#[test]
fn the_palette_finds_and_does() {
    let mut harness = harness(desk(panels::palette::show), Vec2::new(1024.0, 640.0), true);
    harness.check_accessibility();
    let field = harness.get_by_role_and_label(Role::TextInput, "Find a command");
    assert!(field.is_focused());
    // Enter does the first that is found.
    field.type_text("dark");
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    let wanted: UiCommand = SettingsCommand::Theme(ThemeChoice::Dark).into();
    assert_eq!(
        harness.state().asked,
        [AppCommand::CloseOverlay.into(), wanted]
    );

    // What cannot be done now tells why, and is not done.
    harness.state_mut().asked.clear();
    harness.key_press_modifiers(egui::Modifiers::COMMAND, Key::A);
    type_into(&mut harness, "Find a command", "stop all");
    harness.run();
    harness.get_by_label_contains("Nothing runs or waits");
    harness
        .get_by_role_and_label(Role::ListBoxOption, "Stop all jobs")
        .click();
    harness.run();
    assert!(
        harness.state().asked.is_empty(),
        "{:?}",
        harness.state().asked
    );
    harness.key_press(Key::Escape);
    harness.run();
    assert_eq!(harness.state().asked, [AppCommand::CloseOverlay.into()]);
}

#[test]
fn the_keys_are_listed_and_esc_closes_them() {
    let mut harness = harness(desk(panels::keys::show), Vec2::new(1024.0, 640.0), true);
    harness.get_by_label("Find a command");
    harness.get_by_label("Ctrl+Shift+Z");
    harness.get_by_label("The picture shown");
    harness.key_press(Key::Escape);
    harness.run();
    assert_eq!(harness.state().asked, [AppCommand::CloseOverlay.into()]);
}
