//! Create and the library of pictures, driven as a person would, with the built-in model.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::PathBuf;

use diptych::studio::create::{CreateCommand, Current, SeedMode, Shown};
use diptych::studio::gallery::GalleryCommand;
use diptych::studio::settings::SettingsCommand;
use diptych::studio::view::Workspace;
use diptych::theme::ThemeChoice;
use diptych_inference::formats::picture::{encode_png, inspect_picture};
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};

/// Few steps: what is tested is the window.
const STEPS: u32 = 4;

fn quick() -> Bench {
    let mut bench = Bench::open().unwrap();
    bench.harness.state_mut().studio_mut().create.form.steps = Some(STEPS);
    bench.harness.run_steps(2);
    bench
}

fn pictures(bench: &Bench) -> usize {
    bench.harness.state().studio().gallery.items().len()
}

fn form(bench: &Bench) -> diptych::studio::create::Form {
    bench.harness.state().studio().create.form.clone()
}

#[test]
fn the_first_run_leads_to_a_picture_in_one_click() {
    let mut bench = quick();
    assert!(bench.has("What shall it be?"));
    bench.click("Draw something");
    bench.wait_label("Step ").unwrap();
    bench.wait_idle().unwrap();
    assert_eq!(pictures(&bench), 1);
    assert!(!form(&bench).prompt.is_empty());
    bench.wait_label("Saved").unwrap();
    // Its canvas says what it shows.
    assert!(
        bench.has(&format!("Picture: {}", form(&bench).prompt)),
        "{:?}",
        bench.labels()
    );
}

#[test]
fn a_prompt_is_typed_and_drawn_with_the_keys_and_the_settings() {
    let mut bench = Bench::open().unwrap();
    // Nothing is said yet, and the button says so.
    assert!(bench.has("Write what to draw first"));
    bench.press(Modifiers::COMMAND, Key::Enter);
    assert!(
        bench
            .harness
            .state()
            .studio()
            .house
            .queue
            .tasks()
            .is_empty()
    );
    bench.type_into("Prompt", "a red fox, flat style");
    assert!(!bench.has("Write what to draw first"));
    // Steps: a click, a number, Enter.
    bench.click("Steps");
    bench.harness.run_steps(3);
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("4".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    assert_eq!(form(&bench).steps, Some(STEPS));
    bench.type_into("Seed", "77");
    assert_eq!(
        (form(&bench).seed, form(&bench).seed_mode),
        (77, SeedMode::Locked)
    );
    bench.press(Modifiers::COMMAND, Key::Enter);
    bench
        .wait("a picture", |bench| pictures(bench) == 1)
        .unwrap();
    bench.wait_idle().unwrap();
    let studio = bench.harness.state().studio();
    let request = &studio.gallery.items()[0].record.request;
    assert_eq!((request.seed, request.steps), (77, STEPS));
    assert_eq!(request.prompt, "a red fox, flat style");
    assert!(bench.has("seed 77"));
}

#[test]
fn stopping_keeps_the_partial_picture() {
    let mut bench = Bench::open().unwrap();
    {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.steps = Some(150);
        form.prompt = "a castle, 3d style".into();
    }
    bench.harness.run_steps(2);
    bench.click("Generate");
    bench.wait_label("Step 2 of").unwrap();
    bench.click("Stop");
    bench
        .wait("a picture", |bench| pictures(bench) == 1)
        .unwrap();
    bench.wait_idle().unwrap();
    assert!(bench.has("Stopped after"), "{:?}", bench.labels());
    let studio = bench.harness.state().studio();
    let record = &studio.gallery.items()[0].record;
    assert!(record.steps_done.unwrap() < 150);
}

#[test]
fn a_batch_of_three_has_three_seeds() {
    let mut bench = quick();
    {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.count = 3;
        form.seed = 10;
        form.seed_mode = SeedMode::Locked;
    }
    bench.harness.state_mut().studio_mut().create.form.prompt = "a rocket".into();
    bench.harness.run_steps(2);
    bench.press(Modifiers::COMMAND, Key::Enter);
    bench
        .wait("three pictures", |bench| pictures(bench) == 3)
        .unwrap();
    bench.wait_idle().unwrap();
    let studio = bench.harness.state().studio();
    let mut seeds: Vec<u64> = studio
        .gallery
        .items()
        .iter()
        .map(|item| item.record.request.seed)
        .collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [10, 11, 12]);
    // The filmstrip has them all, and the arrow keys go through them.
    for seed in [10, 11, 12] {
        assert!(bench.has(&format!("a rocket, seed {seed}")));
    }
    bench.press(Modifiers::NONE, Key::ArrowRight);
    let studio = bench.harness.state().studio();
    let second = studio.gallery.items()[1].record.id;
    assert_eq!(studio.create.shown, Shown::Picture(second));
}

#[test]
fn settings_come_back_from_the_drawn_picture() {
    let mut bench = quick();
    bench.draw("a green cactus").unwrap();
    let seed = form(&bench).seed;
    {
        let form = &mut bench.harness.state_mut().studio_mut().create.form;
        form.prompt = "something else".into();
        form.steps = Some(9);
        form.seed = 1;
    }
    bench.harness.run_steps(2);
    bench.press(Modifiers::NONE, Key::P);
    assert_eq!(
        (form(&bench).prompt.as_str(), form(&bench).steps),
        ("a green cactus", Some(9))
    );
    bench.press(Modifiers::NONE, Key::S);
    assert_eq!(
        (form(&bench).seed, form(&bench).seed_mode),
        (seed, SeedMode::Locked)
    );
    bench.press(Modifiers::NONE, Key::R);
    assert_eq!(
        (form(&bench).steps, form(&bench).seed_mode),
        (Some(STEPS), SeedMode::Random)
    );
    // All of it can be undone, and made again.
    bench.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(form(&bench).steps, Some(9));
    bench.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(form(&bench).steps, Some(STEPS));
    // By the menu, too.
    bench.harness.state_mut().studio_mut().create.form.steps = Some(11);
    bench.click("Use settings");
    bench.click("Use all settings of the picture");
    assert_eq!((form(&bench).steps, form(&bench).seed), (Some(STEPS), seed));
}

/// A PNG as AUTOMATIC1111 writes it.
fn web_ui_picture(folder: &std::path::Path) -> PathBuf {
    let text = "a lighthouse, (dusk:1.2)\nNegative prompt: blurry\nSteps: 7, Sampler: Euler a, Schedule type: Karras, \
        CFG scale: 5.5, Seed: 4711, Size: 96x64, Model hash: 0123456789, Model: dreamy, RNG: CPU, Version: v1.10.1";
    let pixels: Vec<u8> = (0..96 * 64 * 3).map(|n| (n % 251) as u8).collect();
    let png = encode_png(&pixels, 96, 64, &[("parameters", text)]).unwrap();
    let path = folder.join("00012-4711.png");
    std::fs::write(&path, png).unwrap();
    path
}

/// A file that lies on the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

fn drop_file(bench: &mut Bench, path: PathBuf) {
    let files = &mut bench.harness.input_mut().dropped_files;
    files.push(std::sync::Arc::new(Dropped(path)));
    bench.harness.run_steps(2);
}

#[test]
fn a_dropped_model_is_chosen_or_refused_with_the_reason() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("my sketch");
    copy_folder(&diptych_tests::repository("assets/models/sketch"), &copy);
    drop_file(&mut bench, copy);
    bench.wait_label("'my sketch' is chosen").unwrap();
    assert_eq!(
        form(&bench).model.map(|model| model.name).as_deref(),
        Some("my sketch")
    );
    let broken = folder.path().join("broken.safetensors");
    std::fs::write(&broken, [0; 64]).unwrap();
    drop_file(&mut bench, broken);
    bench.wait_label("'broken' cannot be used").unwrap();
    bench.draw("a key").unwrap();
    let studio = bench.harness.state().studio();
    assert_eq!(
        studio.gallery.items()[0].record.request.model.name,
        "my sketch"
    );
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_dropped_picture_of_another_program_lends_its_settings() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let path = web_ui_picture(folder.path());
    drop_file(&mut bench, path);
    bench.wait_label("Use these settings").unwrap();
    bench.wait_label("made with AUTOMATIC1111").unwrap();
    assert!(
        bench.has("'dreamy' (0123456789), which was not found; kept 'sketch'"),
        "{:?}",
        bench.labels()
    );
    bench.click("Use these settings");
    let form = form(&bench);
    assert_eq!(
        (form.prompt.as_str(), form.negative.as_str()),
        ("a lighthouse, (dusk:1.2)", "blurry")
    );
    assert_eq!(
        (form.size, form.steps, form.seed),
        (Some((96, 64)), Some(7), 4711)
    );
    assert_eq!(form.sampler.map(|kind| kind.label()), Some("Euler a"));
    assert!(bench.has("Took over"));
    bench.click("Put the opened picture away");
    assert!(!bench.has("Use these settings"));
}

#[test]
fn a_picture_is_saved_through_a_dialog_with_its_settings() {
    let mut bench = quick();
    bench.draw("an orange fox").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my fox");
    bench.dialogs.answer(&path);
    bench.press(Modifiers::COMMAND, Key::S);
    let path = folder.path().join("my fox.png");
    let written = path.clone();
    bench.wait("the file", move |_| written.is_file()).unwrap();
    bench.wait_label("my fox.png").unwrap();
    let info = inspect_picture(&path).unwrap();
    assert_eq!(info.prompt.as_deref(), Some("an orange fox"));
    assert_eq!(info.steps, Some(STEPS));
    assert_eq!(bench.dialogs.asked().len(), 1);
}

#[test]
fn pictures_are_marked_thrown_away_and_taken_back() {
    let mut bench = quick();
    bench.draw("a panda").unwrap();
    bench.draw("a robot").unwrap();
    bench.press(Modifiers::NONE, Key::Period);
    assert!(
        bench.harness.state().studio().gallery.items()[0]
            .record
            .favourite
    );
    bench.press(Modifiers::NONE, Key::Delete);
    let studio = bench.harness.state().studio();
    assert!(studio.gallery.items()[0].record.trashed);
    let shown = matches!(studio.create.current(&studio.gallery, &studio.house),
        Current::Picture(item) if item.record.request.prompt == "a panda");
    assert!(shown, "the next picture is shown");
    // In the library it lies in the trash, and comes back.
    bench.harness.state_mut().studio_mut().view.workspace = Workspace::Gallery;
    bench.harness.run_steps(3);
    assert!(bench.has("1 picture"), "{:?}", bench.labels());
    assert!(!bench.has("a robot, seed"));
    bench.click("The trash");
    let name = bench
        .labels()
        .into_iter()
        .find(|label| label.starts_with("a robot, seed"))
        .unwrap();
    bench.click(&name);
    bench.click("Take out of the trash");
    bench.click("The trash");
    assert!(bench.has("2 pictures"));
    bench.click("Favourites alone");
    assert!(bench.has("1 picture") && bench.has("a robot, seed"));
}

#[test]
fn the_library_is_searched_and_a_picture_opened() {
    let mut bench = quick();
    bench.draw("a panda").unwrap();
    bench.draw("a red mushroom").unwrap();
    bench.harness.state_mut().studio_mut().view.workspace = Workspace::Gallery;
    bench.harness.run_steps(3);
    bench.press(Modifiers::COMMAND, Key::F);
    assert!(bench.get("Search pictures").accesskit_node().is_focused());
    bench.type_into("Search pictures", "PANDA");
    assert!(bench.has("1 picture") && !bench.has("a red mushroom, seed"));
    let name = bench
        .labels()
        .into_iter()
        .find(|label| label.starts_with("a panda, seed"))
        .unwrap();
    bench.click(&name);
    bench.click("Open in Create");
    let studio = bench.harness.state().studio();
    assert_eq!(studio.view.workspace, Workspace::Create);
    assert!(matches!(studio.create.shown, Shown::Picture(_)));
}

#[test]
fn prompt_settings_and_pictures_are_there_after_a_restart() {
    let mut bench = quick();
    bench.draw("a blue whale").unwrap();
    bench.harness.state_mut().studio_mut().create.form.prompt = "half a thou".into();
    bench.harness.run_steps(2);
    let data = bench.data().to_owned();
    let folder = bench.close();
    let mut bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    assert_eq!(
        (form(&bench).prompt.as_str(), form(&bench).steps),
        ("half a thou", Some(STEPS))
    );
    assert_eq!(pictures(&bench), 1);
    bench.wait_label("a blue whale, seed").unwrap();
    // Alt+Up brings the earlier prompt back.
    bench.harness.get_by_label("Prompt").focus();
    bench.harness.run_steps(2);
    bench.press(Modifiers::ALT, Key::ArrowUp);
    assert_eq!(form(&bench).prompt, "a blue whale");
    drop(folder);
}

#[test]
fn several_pictures_are_chosen_and_thrown_away_at_once() {
    let mut bench = quick();
    for prompt in ["a bee", "a bus", "a key"] {
        bench.draw(prompt).unwrap();
    }
    bench.harness.state_mut().studio_mut().view.workspace = Workspace::Gallery;
    bench.harness.run_steps(3);
    bench.press(Modifiers::COMMAND, Key::A);
    assert!(bench.has("3 chosen"));
    bench.click("Move to the trash");
    assert!(bench.has("0 pictures"), "{:?}", bench.labels());
    bench.click("Undo");
    assert!(bench.has("3 pictures"));
    let studio = bench.harness.state_mut().studio_mut();
    studio.apply(GalleryCommand::PickNone.into());
    assert!(studio.gallery.selection.is_empty());
}

/// Ten thousand pictures: found, scrolled and searched without the window stumbling.
#[test]
fn ten_thousand_pictures_scroll_smoothly() {
    let mut bench = quick();
    bench.draw("a red fox, flat style").unwrap();
    let data = bench.data().to_owned();
    let folder = bench.close();
    let index = rusqlite::Connection::open(data.join("library.db")).unwrap();
    // Rows of the same picture; each needs a path of its own.
    index
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
             INSERT INTO pictures (id, path, created, request, width, height, seconds, favourite, words)
             SELECT id - n.i, 'pictures/' || substr('../pictures/../pictures/../pictures/', 1, 12 * (n.i % 2)) || substr('././././', 1, 2 * (n.i % 3))
                 || printf('%05d.png', n.i), created, request, width, height, seconds, n.i % 10 = 0, words
             FROM pictures, n",
        )
        .unwrap();
    drop(index);
    let mut bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    bench
        .wait("all pictures", |bench| pictures(bench) == 10_000)
        .unwrap();
    bench.harness.state_mut().studio_mut().view.workspace = Workspace::Gallery;
    bench.harness.run_steps(8);
    let mut times = Vec::new();
    for _ in 0..120 {
        bench
            .harness
            .event(egui::Event::PointerMoved(egui::pos2(600.0, 400.0)));
        bench.harness.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: egui::vec2(0.0, -900.0),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Unknown,
            modifiers: Modifiers::NONE,
        });
        let begun = std::time::Instant::now();
        bench.harness.step();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!(
        "frames while scrolling: median {:?}, worst {:?}",
        times[60], times[119]
    );
    assert!(times[60].as_millis() < 33, "{times:?}");
    bench.type_into("Search pictures", "no such thing");
    assert!(bench.has("Nothing matches"));
    drop(folder);
}

/// Pictures of the panels to be looked at: `DIPTYCH_SHOTS=folder cargo test --release -p diptych-tests --test create shots -- --ignored`.
#[test]
#[ignore = "draws pictures of the window into the folder named by DIPTYCH_SHOTS"]
fn shots() {
    let folder =
        PathBuf::from(std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder"));
    std::fs::create_dir_all(&folder).unwrap();
    let sizes = [("small", [1024.0, 640.0]), ("large", [1600.0, 1000.0])];
    let themes = [("dark", egui::Theme::Dark), ("light", egui::Theme::Light)];
    for (size_name, size) in sizes {
        for (theme_name, theme) in themes {
            let mut bench = Bench::with(Setup {
                size,
                theme,
                ..Setup::default()
            })
            .unwrap();
            let shot = |bench: &mut Bench, what: &str| {
                bench.harness.run_steps(4);
                std::thread::sleep(std::time::Duration::from_millis(120));
                bench.harness.run_steps(4);
                bench
                    .screenshot(&folder.join(format!("{what}-{theme_name}-{size_name}.png")))
                    .unwrap();
            };
            let choice = match theme {
                egui::Theme::Dark => ThemeChoice::Dark,
                egui::Theme::Light => ThemeChoice::Light,
            };
            let studio = bench.harness.state_mut().studio_mut();
            studio.apply(SettingsCommand::Theme(choice).into());
            shot(&mut bench, "1-welcome");
            bench.click("Draw something");
            bench.wait_label("Step 6 of").unwrap();
            shot(&mut bench, "2-drawing");
            bench.wait_idle().unwrap();
            {
                let form = &mut bench.harness.state_mut().studio_mut().create.form;
                form.prompt = "a castle, (3d style:1.2), [purple] background".into();
                form.count = 3;
                form.steps = Some(12);
            }
            bench.click("Generate");
            bench
                .wait("pictures", |bench| pictures(bench) == 4)
                .unwrap();
            bench.wait_idle().unwrap();
            bench.press(Modifiers::NONE, Key::Period);
            bench.press(Modifiers::NONE, Key::I);
            shot(&mut bench, "3-picture");
            bench.press(Modifiers::NONE, Key::I);
            bench.click("Use settings");
            shot(&mut bench, "4-menu");
            bench.press(Modifiers::NONE, Key::Escape);
            bench.harness.state_mut().studio_mut().create.folds.more = true;
            let place = tempfile::tempdir().unwrap();
            let path = web_ui_picture(place.path());
            bench
                .harness
                .state_mut()
                .studio_mut()
                .apply(CreateCommand::Look(path).into());
            bench.wait_label("Use these settings").unwrap();
            shot(&mut bench, "5-guest");
            bench.harness.state_mut().studio_mut().view.workspace = Workspace::Gallery;
            shot(&mut bench, "6-gallery");
            bench.press(Modifiers::NONE, Key::ArrowRight);
            shot(&mut bench, "7-gallery-chosen");
        }
    }
}
