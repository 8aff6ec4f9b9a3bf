//! Little room and long words: narrow bars beside a drawer, files with names that nobody would choose, reasons of several lines.

use std::path::{Path, PathBuf};

use diptych::studio::command::{AppCommand, ModelsCommand};
use diptych::studio::create::{CreateCommand, MaskCommand, StartCommand};
use diptych::studio::gallery::{GalleryCommand, Pick};
use diptych::studio::queue::Stage;
use diptych::studio::view::{Drawer, Workspace};
use diptych_inference::engine::ModelRef;
use diptych_tests::fixture;
use diptych_tests::window::{Bench, Setup};
use egui_kittest::kittest::Queryable as _;

const LONG: &str =
    "a-model-that-somebody-merged-from-several-others-v12-final-pruned-emaonly-fp16-no-vae";

fn small(size: [f32; 2], theme: egui::Theme) -> Bench {
    Bench::with(Setup {
        size,
        theme,
        ..Setup::default()
    })
    .unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

/// A job that fails with the name of a file that is far too long for any row.
fn failed(bench: &mut Bench, folder: &Path) -> PathBuf {
    let model = folder.join(LONG);
    copy(&fixture("models/tiny-sd"), &model);
    bench.apply(ModelsCommand::Add(model.clone()));
    bench.wait_idle().unwrap();
    let named = Some(ModelRef::named(LONG));
    bench.apply(CreateCommand::UseModel(named));
    for entry in std::fs::read_dir(model.join("unet")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|ending| ending == "safetensors")
        {
            std::fs::remove_file(path).unwrap();
        }
    }
    bench.apply(CreateCommand::DrawPrompt("a red fox".to_owned()));
    bench
        .wait("a failure", |bench| {
            let tasks = bench.harness.state().studio().house.queue.tasks();
            tasks
                .iter()
                .any(|task| matches!(task.stage, Stage::Failed(_)))
        })
        .unwrap();
    bench.wait_idle().unwrap();
    model
}

fn two_chosen(bench: &mut Bench) {
    for prompt in ["a red fox", "a blue fox"] {
        bench.draw(prompt).unwrap();
    }
    let items = bench.harness.state().studio().gallery.items();
    let ids = [items[0].record.id, items[1].record.id];
    bench.apply(AppCommand::Show(Workspace::Gallery));
    bench.apply(GalleryCommand::Pick(ids[0], Pick::Only));
    bench.apply(GalleryCommand::Pick(ids[1], Pick::Toggle));
}

#[test]
fn a_long_reason_leaves_room_for_what_failed_and_for_what_can_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = small([1024.0, 640.0], egui::Theme::Light);
    failed(&mut bench, folder.path());
    bench.apply(AppCommand::ToggleQueue);
    bench.harness.run_steps(8);
    let title = bench.get("Remove: a red fox").rect();
    assert!(title.right() <= 1024.0, "{title}");
    // The reason ends before the prompt begins, and neither lies on the other.
    let reason = bench
        .harness
        .state()
        .studio()
        .house
        .queue
        .tasks()
        .iter()
        .find_map(|task| match &task.stage {
            Stage::Failed(reason) => Some(reason.clone()),
            _ => None,
        })
        .unwrap();
    assert!(reason.contains(LONG) && reason.len() > 120, "{reason}");
    let again = bench.get("Try again: a red fox").rect();
    for row in bench.harness.query_all_by_label_contains(LONG) {
        let rect = row.rect();
        assert!(rect.left() >= 56.0 && rect.right() <= 1024.0, "{rect}");
        let same_row = rect.y_range().contains(again.center().y);
        assert!(!same_row || rect.right() <= again.left(), "{rect} {again}");
    }
    assert!(bench.has("Try again"), "{:?}", bench.labels());
}

#[test]
fn bars_beside_a_drawer_keep_all_their_controls_apart() {
    let mut bench = small([1024.0, 640.0], egui::Theme::Dark);
    two_chosen(&mut bench);
    let drawer = bench.harness.state_mut().studio_mut();
    drawer.set_drawer(Some(Drawer::Models));
    bench.harness.run_steps(12);
    let edge = bench.get("Search models").rect().left();
    for label in [
        "Morph between two pictures…",
        "Choose none",
        "Details of the chosen picture",
    ] {
        let rect = bench.get(label).rect();
        assert!(rect.right() <= edge, "{label}: {rect} beyond {edge}");
    }
    let (order, info) = (
        bench.get("Order").rect(),
        bench.get("Details of the chosen picture").rect(),
    );
    assert!(order.right() <= info.left(), "{order} {info}");
    bench.apply(AppCommand::Show(Workspace::Compare));
    bench.harness.run_steps(8);
    let (title, grids) = (
        bench.get("Name of the grid").rect(),
        bench.get("Grids").rect(),
    );
    let settings = bench.get("Settings of all prompts").rect();
    assert!(title.right() <= grids.left(), "{title} {grids}");
    assert!(grids.right() <= settings.left(), "{grids} {settings}");
    // The tools of the mask: what has no room in the bar is in its menu.
    let newest = bench.harness.state().studio().gallery.items()[0].record.id;
    bench.apply(CreateCommand::Start(StartCommand::FromPicture(newest)));
    bench.wait_idle().unwrap();
    bench.apply(AppCommand::Show(Workspace::Create));
    bench.apply(CreateCommand::Mask(MaskCommand::Open));
    bench.harness.run_steps(12);
    let tools = ["Undo", "Redo", "More about the mask", "Done"];
    for (place, label) in tools.iter().enumerate() {
        let rect = bench.get(label).rect();
        for other in &tools[place + 1..] {
            let other = bench.get(other).rect();
            assert!(!rect.intersects(other), "{label}: {rect} {other}");
        }
        let eraser = bench.get("Eraser").rect();
        assert!(eraser.right() <= rect.left(), "{label}: {eraser} {rect}");
        for size in bench.harness.query_all_by_label("Size of the brush") {
            let size = size.rect();
            assert!(!rect.intersects(size), "{label}: {size} {rect}");
        }
    }
    bench.click("More about the mask");
    for label in [
        "Fill the mask",
        "Invert the mask",
        "Clear the mask",
        "Size of the brush",
    ] {
        assert!(bench.has(label), "{label}: {:?}", bench.labels());
    }
}

#[test]
fn details_of_a_picture_stay_within_their_panel() {
    for (size, drawer) in [
        ([1024.0, 640.0], Some(Drawer::Models)),
        ([1280.0, 800.0], None),
    ] {
        let mut bench = small(size, egui::Theme::Dark);
        bench.draw("a red fox").unwrap();
        let newest = bench.harness.state().studio().gallery.items()[0].record.id;
        bench.apply(AppCommand::Show(Workspace::Gallery));
        bench.apply(GalleryCommand::Pick(newest, Pick::Only));
        let studio = bench.harness.state_mut().studio_mut();
        studio.gallery.sieve.details = true;
        studio.set_drawer(drawer);
        bench.harness.run_steps(12);
        let edge = match drawer {
            Some(_) => bench.get("Search models").rect().left(),
            None => size[0],
        };
        // The panel takes no more than its share.
        let room = edge - 56.0;
        let first = bench.get("Open in Create").rect();
        assert!(first.left() >= 56.0 + room * 0.4, "{first} of {room}");
        for label in [
            "Open in Create",
            "Use as a start",
            "Use all settings",
            "Copy",
            "Save as…",
            "Show the file",
            "Check that it can be made again",
        ] {
            let rect = bench.get(label).rect();
            let within = rect.left() >= first.left() - 1.0 && rect.right() <= edge;
            assert!(within, "{label}: {rect} before {first} or beyond {edge}");
        }
    }
}

#[test]
fn what_a_new_comparison_says_is_seen_beside_a_drawer() {
    let mut bench = small([1024.0, 640.0], egui::Theme::Dark);
    bench.apply(AppCommand::Show(Workspace::Compare));
    let studio = bench.harness.state_mut().studio_mut();
    studio.set_drawer(Some(Drawer::Models));
    bench.harness.run_steps(12);
    let edge = bench.get("Search models").rect().left();
    for label in ["What does a word change?", "Try an example"] {
        let rect = bench.get(label).rect();
        assert!(rect.right() <= edge, "{label}: {rect} beyond {edge}");
    }
}

#[test]
fn in_a_small_window_a_drawer_lies_over_the_workspace() {
    let mut bench = small([800.0, 520.0], egui::Theme::Dark);
    bench.apply(AppCommand::Show(Workspace::Compare));
    bench.harness.run_steps(8);
    let before = bench.get("Try an example").rect();
    let drawer = |bench: &mut Bench, drawer| {
        bench.harness.state_mut().studio_mut().set_drawer(drawer);
        bench.harness.run_steps(12);
    };
    drawer(&mut bench, Some(Drawer::Models));
    assert_eq!(bench.get("Try an example").rect(), before);
    let search = bench.get("Search models").rect();
    assert!(search.left() > 380.0 && search.right() < 800.0, "{search}");
    // What is pressed on it is not pressed below it.
    bench.click("Unusable");
    bench.harness.run_steps(4);
    assert!(!bench.has("muse"), "{:?}", bench.labels());
    let studio = bench.harness.state().studio();
    assert!(studio.compare.grid.is_blank() && studio.view.drawer.is_some());
    drawer(&mut bench, None);
    assert!(!bench.has("Search models"));
}

#[test]
fn a_failure_is_told_once_where_it_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = small([1280.0, 800.0], egui::Theme::Dark);
    failed(&mut bench, folder.path());
    bench.harness.run_steps(8);
    let told = |bench: &Bench| {
        let all = bench
            .harness
            .query_all_by_label_contains("could not be drawn");
        all.count()
    };
    assert_eq!(told(&bench), 1, "{:?}", bench.labels());
    // Whoever looks elsewhere is told.
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.harness.run_steps(8);
    assert_eq!(told(&bench), 0, "{:?}", bench.labels());
    bench.apply(CreateCommand::DrawPrompt("a blue fox".to_owned()));
    bench.apply(AppCommand::Show(Workspace::Chat));
    bench.wait_label("could not be drawn").unwrap();
}

/// Pictures of all that, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test window cramped_shots -- --ignored`.
#[test]
#[ignore = "pictures for people"]
fn cramped_shots() {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, theme, size) in [
        ("light-1024", egui::Theme::Light, [1024.0, 640.0]),
        ("dark-800", egui::Theme::Dark, [800.0, 520.0]),
        ("dark-1280", egui::Theme::Dark, [1280.0, 800.0]),
    ] {
        let files = tempfile::tempdir().unwrap();
        let mut bench = small(size, theme);
        let shot = |bench: &mut Bench, what: &str| {
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(15));
                bench.step();
            }
            let file = folder.join(format!("cramped-{name}-{what}.png"));
            bench.screenshot(&file).unwrap();
        };
        let drawer = |bench: &mut Bench, drawer| {
            bench.harness.state_mut().studio_mut().set_drawer(drawer);
        };
        shot(&mut bench, "0-welcome");
        two_chosen(&mut bench);
        drawer(&mut bench, Some(Drawer::Models));
        shot(&mut bench, "1-library");
        bench.apply(AppCommand::Show(Workspace::Compare));
        shot(&mut bench, "2-compare");
        bench.apply(AppCommand::Show(Workspace::Chat));
        shot(&mut bench, "3-chat");
        drawer(&mut bench, Some(Drawer::Settings));
        bench.apply(AppCommand::Show(Workspace::Create));
        shot(&mut bench, "4-create");
        drawer(&mut bench, Some(Drawer::Models));
        let newest = bench.harness.state().studio().gallery.items()[0].record.id;
        bench.apply(CreateCommand::Start(StartCommand::FromPicture(newest)));
        bench.wait_idle().unwrap();
        bench.apply(CreateCommand::Mask(MaskCommand::Open));
        shot(&mut bench, "5-paint");
        bench.apply(CreateCommand::Mask(MaskCommand::Close));
        bench.apply(CreateCommand::Start(StartCommand::Remove));
        drawer(&mut bench, None);
        failed(&mut bench, files.path());
        bench.apply(AppCommand::ToggleQueue);
        shot(&mut bench, "6-failed");
        drawer(&mut bench, Some(Drawer::Log));
        shot(&mut bench, "7-log");
    }
}
