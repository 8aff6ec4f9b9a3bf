//! What Create does beyond drawing: steps looked at and branched from, ControlNets, a second pass, pictures made larger, word lists;
//! driven as a person would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "craft/again.rs"]
mod again;
#[path = "craft/matter.rs"]
mod matter;
#[path = "craft/morph.rs"]
mod morph;
#[path = "craft/union.rs"]
mod union;

use std::path::{Path, PathBuf};

use diptych::library::inputs::input_path;
use diptych::library::records::Origin;
use diptych::library::traces::trace_path;
use diptych::recall::Part;
use diptych::studio::command::{AppCommand, ModelsCommand};
use diptych::studio::create::{
    CreateCommand, Current, EnlargeCommand, Form, ListsCommand, SeedMode, StepsCommand,
};
use diptych::studio::gallery::{GalleryCommand, Item};
use diptych::studio::view::Drawer;
use diptych_inference::engine::{HiresUpscaler, ImageRequest, ModelRef, Preprocessor};
use diptych_inference::formats::picture::inspect_picture;
use diptych_inference::formats::trace::Trace;
use diptych_tests::fixture;
use diptych_tests::slope;
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers};

/// Few steps: what is tested is the window.
const STEPS: u32 = 4;

fn quick() -> Bench {
    prepare(Bench::open().unwrap())
}

fn prepare(mut bench: Bench) -> Bench {
    let form = form_mut(&mut bench);
    form.steps = Some(STEPS);
    form.seed = 7;
    form.seed_mode = SeedMode::Locked;
    bench.harness.run_steps(2);
    bench
}

fn form_mut(bench: &mut Bench) -> &mut Form {
    &mut bench.harness.state_mut().studio_mut().create.form
}

fn form(bench: &Bench) -> Form {
    bench.harness.state().studio().create.form.clone()
}

fn reopened(bench: Bench) -> (Bench, Option<tempfile::TempDir>) {
    let data = bench.data().to_owned();
    let folder = bench.close();
    let bench = Bench::with(Setup {
        data: Some(data),
        ..Setup::default()
    })
    .unwrap();
    (bench, folder)
}

fn pictures(bench: &Bench) -> usize {
    bench.harness.state().studio().gallery.items().len()
}

fn newest(bench: &Bench) -> Item {
    bench.harness.state().studio().gallery.items()[0].clone()
}

fn pixels(item: &Item) -> image::RgbImage {
    image::open(&item.record.path).unwrap().into_rgb8()
}

fn request(bench: &Bench) -> ImageRequest {
    newest(bench).record.request
}

fn press(bench: &mut Bench, button: &str) {
    let before = pictures(bench);
    bench.click(button);
    bench
        .wait("a picture", |bench| pictures(bench) > before)
        .unwrap();
    bench.wait_idle().unwrap();
}

fn draw(bench: &mut Bench, prompt: &str) {
    form_mut(bench).prompt = prompt.to_owned();
    bench.harness.run_steps(2);
    press(bench, "Generate");
}

/// Clicks a setting of the column at the left, wherever it has been scrolled to.
fn reach(bench: &mut Bench, label: &str) {
    bench.get(label).scroll_to_me();
    bench.harness.run_steps(8);
    bench.click(label);
}

fn shown(bench: &Bench) -> Option<diptych::library::records::PictureId> {
    let studio = bench.harness.state().studio();
    match studio.create.current(&studio.gallery, &studio.house) {
        Current::Picture(item) => Some(item.record.id),
        _ => None,
    }
}

#[test]
fn steps_are_kept_gone_through_and_branched_from() {
    let mut bench = quick();
    reach(&mut bench, "More settings");
    reach(&mut bench, "Keep every step");
    assert!(form(&bench).keep_steps);
    draw(&mut bench, "a red fox, flat style");
    let origin = newest(&bench);
    let file = trace_path(bench.data(), origin.record.id);
    let trace = Trace::open(&file).unwrap();
    assert_eq!(trace.steps().len(), STEPS as usize + 1);
    assert!(trace.end().is_some() && !trace.is_torn());
    assert!(!origin.record.request.trace, "what is kept is no setting");

    // All steps lie under the canvas, and keys go through them.
    bench.wait_label("All steps").unwrap();
    bench.press(Modifiers::SHIFT, Key::ArrowLeft);
    assert!(bench.has("Step 3 of 4"), "{:?}", bench.labels());
    assert!(bench.has("a red fox, flat style, as foreseen at step 3"));
    bench.click("Step before");
    assert!(bench.has("Step 2 of 4"));
    bench.apply(CreateCommand::Steps(StepsCommand::First));
    assert!(bench.has("Only noise") && bench.has("a red fox, flat style, only noise"));
    bench.get("Step of the picture").focus();
    bench.press(Modifiers::NONE, Key::ArrowRight);
    bench.press(Modifiers::NONE, Key::ArrowRight);
    assert!(bench.has("Step 2 of 4"), "{:?}", bench.labels());

    // The same settings from there on are the same picture.
    bench.click("Branch from here");
    assert!(bench.has("Branch after step 2"), "{:?}", bench.labels());
    assert!(
        bench.has("4 steps") && !bench.has("Width"),
        "what stays is told"
    );
    press(&mut bench, "Draw the branch");
    let same = newest(&bench);
    assert_eq!(pixels(&same), pixels(&origin));

    // Other words from there on are another one, which says where it came from.
    form_mut(&mut bench).prompt = "a blue whale, flat style".into();
    bench.harness.run_steps(2);
    press(&mut bench, "Draw the branch");
    let branch = newest(&bench);
    let (of, step) = (origin.record.id, 2);
    assert_eq!(branch.record.origin, Some(Origin::Branch { of, step }));
    let branched = branch.record.request.branched.clone().unwrap();
    assert_eq!(
        (branched.step, branched.from.prompt.as_str()),
        (2, "a red fox, flat style")
    );
    assert_eq!(branch.record.request.seed, origin.record.request.seed);
    assert_ne!(pixels(&branch), pixels(&origin));

    // A restart forgets nothing: neither the branch that is worded, nor the steps, nor the origin.
    let (mut bench, folder) = reopened(bench);
    assert!(bench.has("Branch after step 2"), "{:?}", bench.labels());
    bench.wait_label("All steps").unwrap();
    assert_eq!(newest(&bench).record.origin, branch.record.origin);
    bench.click("Branched after step 2");
    assert_eq!(shown(&bench), Some(origin.record.id));
    reach(&mut bench, "Leave the branch");
    assert_eq!(form(&bench).prompt, "a red fox, flat style");
    assert!(bench.has("Width") && bench.has("Generate"));

    // Without its steps the branch is drawn from its beginning: the same picture.
    bench.apply(CreateCommand::Show(Some(origin.record.id)));
    bench.wait_label("All steps").unwrap();
    bench.apply(CreateCommand::Steps(StepsCommand::To(2)));
    bench.click("Branch from here");
    form_mut(&mut bench).prompt = "a blue whale, flat style".into();
    bench.harness.run_steps(2);
    std::fs::remove_file(&file).unwrap();
    press(&mut bench, "Draw the branch");
    let told = {
        let mut lines = bench.harness.state().studio().house.log.lines();
        lines.any(|line| line.title.contains("drawn from its beginning"))
    };
    assert!(told);
    assert_eq!(pixels(&newest(&bench)), pixels(&branch));

    // What is thrown away takes its steps along.
    let kept = trace_path(bench.data(), branch.record.id);
    assert!(kept.is_file());
    bench.apply(GalleryCommand::Trash(branch.record.id));
    bench.apply(GalleryCommand::EmptyTrash);
    bench.wait_idle().unwrap();
    assert!(!kept.exists());
    drop(folder);
}

#[test]
fn a_branch_can_change_a_part_alone() {
    let mut bench = quick();
    form_mut(&mut bench).keep_steps = true;
    draw(&mut bench, "a red fox, flat style");
    let origin = newest(&bench);
    bench.wait_label("All steps").unwrap();
    bench.apply(CreateCommand::Steps(StepsCommand::To(1)));
    bench.click("Branch from here");
    reach(&mut bench, "Change only a part of it");
    bench.wait_label("0 % is drawn anew").unwrap();
    bench.wait_idle().unwrap();
    assert!(
        bench.has("Paint what is to be drawn anew first"),
        "{:?}",
        bench.labels()
    );
    {
        let start = form_mut(&mut bench).start.as_mut().unwrap();
        let mut mask = diptych::paint::Mask::new(64, 64);
        let brush = diptych::paint::Brush {
            radius: 16.0,
            hardness: 1.0,
            erase: false,
        };
        mask.paint(&brush, [0.0, 0.0], [64.0, 0.0]);
        (start.mask, start.blur) = (Some(mask), 0.0);
    }
    form_mut(&mut bench).prompt = "a blue whale, flat style".into();
    bench.harness.run_steps(3);
    press(&mut bench, "Draw the branch");
    let (before, after) = (pixels(&origin), pixels(&newest(&bench)));
    let changed = |rows: std::ops::Range<u32>| {
        let places = rows.flat_map(|y| (0..64).map(move |x| (x, y)));
        let differences = places.map(|(x, y)| {
            u32::from(before.get_pixel(x, y).0[0].abs_diff(after.get_pixel(x, y).0[0]))
        });
        differences.sum::<u32>()
    };
    let (kept, drawn) = (changed(44..64), changed(0..20));
    assert!(
        drawn > 4 * kept.max(500),
        "{drawn} where it is masked, {kept} elsewhere"
    );
}

#[test]
fn a_second_pass_is_set_drawn_and_taken_over() {
    let mut bench = quick();
    reach(&mut bench, "More settings");
    reach(&mut bench, "Second pass");
    assert!(
        bench.has("From 64 × 64 to 128 × 128"),
        "{:?}",
        bench.labels()
    );
    reach(&mut bench, "Times larger");
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("1.5".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    assert!(bench.has("From 64 × 64 to 96 × 96"), "{:?}", bench.labels());
    reach(&mut bench, "Made larger by");
    bench.click("Lanczos");
    draw(&mut bench, "a green cactus");
    let drawn = newest(&bench);
    let hires = drawn.record.request.hires.clone().unwrap();
    assert_eq!((hires.scale, hires.upscaler), (1.5, HiresUpscaler::Lanczos));
    assert_eq!((drawn.record.width, drawn.record.height), (96, 96));
    let (mut bench, folder) = reopened(bench);
    assert!(form(&bench).second.on && bench.has("From 64 × 64 to 96 × 96"));
    reach(&mut bench, "Reset to the model's settings");
    assert!(!form(&bench).second.on);
    bench.apply(CreateCommand::Recall(Part::All));
    let second = form(&bench).second;
    assert!(second.on && second.scale == 1.5);
    drop(folder);
}

#[test]
fn a_picture_is_made_larger_and_keeps_its_settings() {
    let mut bench = quick();
    draw(&mut bench, "a green cactus");
    let small = newest(&bench);
    bench.click("Make the picture larger…");
    assert!(bench.has("None was found"), "{:?}", bench.labels());
    bench.press(Modifiers::NONE, Key::Escape);
    assert!(!bench.has("None was found"));
    bench.apply(ModelsCommand::Add(fixture(
        "upscalers/esrgan-old-x4.safetensors",
    )));
    bench.wait_idle().unwrap();
    bench.click("Make the picture larger…");
    assert!(bench.has("Upscaler"), "{:?}", bench.labels());
    bench.click("In parts of");
    bench.click("128 × 128 pixels");
    press(&mut bench, "Make it larger");
    let large = newest(&bench);
    assert_eq!((large.record.width, large.record.height), (256, 256));
    let with = "esrgan-old-x4".to_owned();
    let (of, foreign) = (Some(small.record.id), false);
    assert_eq!(
        large.record.origin,
        Some(Origin::Enlarged { of, with, foreign })
    );
    assert_eq!(large.record.request, small.record.request);
    assert!(
        bench.has("256 × 256  ·  Made larger with esrgan-old-x4"),
        "{:?}",
        bench.labels()
    );
    let info = inspect_picture(&large.record.path).unwrap();
    assert_eq!(
        info.extra.get("Postprocess upscaler").map(String::as_str),
        Some("esrgan-old-x4")
    );
    bench.click("Made larger with esrgan-old-x4");
    assert_eq!(shown(&bench), Some(small.record.id));

    // A picture of nobody knows whom, by another factor.
    let folder = tempfile::tempdir().unwrap();
    let path = slope(folder.path(), "slope.png", 48, 32).unwrap();
    bench.apply(CreateCommand::Look(path));
    bench.wait_label("Not in the library").unwrap();
    bench.harness.state_mut().studio_mut().create.enlarge.times = Some(2.0);
    bench.apply(CreateCommand::Enlarge(EnlargeCommand::Shown));
    bench
        .wait("a picture", |bench| pictures(bench) == 3)
        .unwrap();
    bench.wait_idle().unwrap();
    let foreign = newest(&bench);
    assert_eq!((foreign.record.width, foreign.record.height), (96, 64));
    assert!(foreign.record.origin.as_ref().unwrap().is_foreign());
    let studio = bench.harness.state().studio();
    let recall = CreateCommand::Recall(Part::All).into();
    assert!(
        studio
            .available(&recall)
            .unwrap_err()
            .contains("Nobody knows")
    );
    let (bench, folder) = reopened(bench);
    assert_eq!(newest(&bench).record.origin, foreign.record.origin);
    assert_eq!(
        bench.harness.state().studio().create.enlarge.tile,
        Some(128)
    );
    drop(folder);
}

#[test]
fn a_controlnet_is_added_given_a_picture_and_drawn_with() {
    let mut bench = quick();
    draw(&mut bench, "a rocket");
    let rocket = newest(&bench);
    bench.apply(ModelsCommand::Add(fixture("models/tiny-sd")));
    bench.wait_idle().unwrap();
    bench.apply(CreateCommand::UseModel(Some(ModelRef::named("tiny-sd"))));
    form_mut(&mut bench).size = Some((64, 64));
    reach(&mut bench, "More settings");
    // From the disk, recognised by what it is.
    bench
        .dialogs
        .answer(fixture("jobs/control-one-ldm.safetensors"));
    reach(&mut bench, "Add a ControlNet");
    bench.click("Open a file…");
    bench
        .wait_label("No picture for control-one-ldm yet")
        .unwrap();
    bench.wait_idle().unwrap();
    form_mut(&mut bench).prompt = "a rocket".into();
    bench.harness.run_steps(2);
    assert!(
        bench.has("Choose a picture for 'control-one-ldm'"),
        "{:?}",
        bench.labels()
    );
    reach(&mut bench, "Choose a picture for control-one-ldm");
    bench.click("The picture that is shown");
    bench
        .wait_label("Picture for control-one-ldm: a rocket")
        .unwrap();
    bench.wait_idle().unwrap();
    reach(&mut bench, "Its edges");
    assert!(bench.has("Threshold of faint edges for control-one-ldm"));
    reach(&mut bench, "Where control-one-ldm ends");
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("80".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    draw(&mut bench, "a rocket");
    let used = request(&bench).controls;
    assert_eq!((used.len(), used[0].start, used[0].end), (1, 0.0, 0.8));
    let (low, high) = (100.0, 200.0);
    assert_eq!(used[0].preprocessor, Preprocessor::Canny { low, high });
    let kept = input_path(bench.data(), &used[0].picture.0).unwrap();
    assert_eq!(image::open(kept).unwrap().into_rgb8(), pixels(&rocket));

    // It comes back with the window, and with the picture's settings.
    let (mut bench, folder) = reopened(bench);
    assert!(bench.has("Picture for control-one-ldm: a rocket"));
    reach(&mut bench, "Take control-one-ldm out of the list");
    assert!(form(&bench).controls.is_empty());
    bench.apply(CreateCommand::Recall(Part::All));
    assert_eq!(form(&bench).controls.len(), 1);
    bench.wait_idle().unwrap();
    // A file that is something else is told to be.
    bench
        .dialogs
        .answer(fixture("upscalers/esrgan-old-x4.safetensors"));
    reach(&mut bench, "Add a ControlNet");
    bench.click("Open a file…");
    bench
        .wait_label("is no ControlNet that can be used")
        .unwrap();
    drop(folder);
}

#[test]
fn a_mismatch_is_told_before_anything_runs() {
    let mut bench = quick();
    bench.apply(ModelsCommand::Add(fixture("jobs/tiny-sdxl")));
    bench.apply(ModelsCommand::Add(fixture("jobs/control-one")));
    bench.wait_idle().unwrap();
    let models = bench.harness.state().studio().house.shelf.models();
    let control = models.iter().find(|model| model.name() == "control-one");
    assert!(control.is_some_and(|control| control.model.is_some()));
    bench.apply(CreateCommand::Control(
        diptych::studio::create::ControlCommand::Add(ModelRef::named("nobody")),
    ));
    form_mut(&mut bench).prompt = "a rocket".into();
    bench.harness.run_steps(3);
    assert!(
        bench.has("'nobody': it is not here"),
        "{:?}",
        bench.labels()
    );
    bench.press(Modifiers::COMMAND, Key::Enter);
    let studio = bench.harness.state().studio();
    assert!(studio.house.queue.tasks().is_empty());
}

fn lines(bench: &Bench) -> Option<usize> {
    let lists = &bench.harness.state().studio().create.lists;
    lists.found.first().map(|list| list.lines)
}

#[test]
fn lists_are_written_and_prompts_tell_what_they_become() {
    let mut bench = quick();
    bench.apply(AppCommand::Drawer(Drawer::Lists));
    bench
        .wait_label("There are no lists in this folder yet")
        .unwrap();
    bench.type_into("Name of the new list", "beasts");
    bench.click("Begin the new list");
    bench.type_into("Entries of beasts", "a red fox\n# a remark\na panda");
    bench.wait_idle().unwrap();
    let file = bench.data().join("wildcards/beasts.txt");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "a red fox\n# a remark\na panda"
    );
    bench.click("Back to all lists");
    bench
        .wait("two lines", |bench| lines(bench) == Some(2))
        .unwrap();
    bench.apply(AppCommand::CloseDrawer);
    form_mut(&mut bench).prompt = "__beasts__, {flat|3d} style".into();
    bench.wait_label("With seed 7: ").unwrap();
    bench.wait_idle().unwrap();
    let told = {
        let studio = bench.harness.state().studio();
        let trial = studio.create.trial(&studio.house).unwrap();
        trial.prompt.clone()
    };
    assert!(bench.has(&format!("With seed 7: {told}")));
    press(&mut bench, "Generate");
    let request = request(&bench);
    assert_eq!(request.prompt, told);
    let template = request.template.unwrap();
    assert_eq!(template.prompt, "__beasts__, {flat|3d} style");
    assert_eq!(form(&bench).prompt, "__beasts__, {flat|3d} style");
    // What is not there is told at once.
    form_mut(&mut bench).prompt = "__planets__".into();
    bench.wait_label("planets").unwrap();
    // Another folder, which stays chosen.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("planets.txt"), "Mars\n").unwrap();
    bench.dialogs.answer(other.path());
    bench.apply(CreateCommand::Lists(ListsCommand::AskFolder));
    bench.wait_label("With seed 7: Mars").unwrap();
    bench.wait_idle().unwrap();
    let (mut bench, folder) = reopened(bench);
    bench.wait_label("With seed 7: Mars").unwrap();
    drop(folder);
}

#[test]
fn jobs_of_every_kind_go_on_after_a_restart() {
    let mut bench = quick();
    form_mut(&mut bench).keep_steps = true;
    draw(&mut bench, "a red fox, flat style");
    bench.wait_label("All steps").unwrap();
    bench.apply(CreateCommand::Steps(StepsCommand::To(2)));
    bench.click("Branch from here");
    form_mut(&mut bench).prompt = "a blue whale, flat style".into();
    bench.apply(diptych::studio::command::QueueCommand::PauseAll);
    bench.click("Draw the branch");
    bench
        .wait("a job", |bench| {
            let queue = &bench.harness.state().studio().house.queue;
            !queue.tasks().is_empty()
        })
        .unwrap();
    bench.harness.run_steps(3);
    let data = bench.data().to_owned();
    let folder = bench.close();
    let mut bench = Bench::with(Setup {
        data: Some(data),
        wait: false,
        ..Setup::default()
    })
    .unwrap();
    bench.wait_label("left from last time").unwrap();
    bench.apply(diptych::studio::command::QueueCommand::ResumeAll);
    bench
        .wait("a picture", |bench| pictures(bench) == 2)
        .unwrap();
    bench.wait_idle().unwrap();
    let branch = newest(&bench);
    assert_eq!(branch.record.request.branched.as_ref().unwrap().step, 2);
    assert!(matches!(
        branch.record.origin,
        Some(Origin::Branch { step: 2, .. })
    ));
    assert!(trace_path(bench.data(), branch.record.id).is_file());
    drop(folder);
}

/// Pictures of every state, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test craft craft_shots -- --ignored`.
#[test]
#[ignore = "draws pictures of the window into the folder named by DIPTYCH_SHOTS"]
fn craft_shots() {
    let folder =
        PathBuf::from(std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder"));
    std::fs::create_dir_all(&folder).unwrap();
    let sizes = [("small", [1024.0, 640.0]), ("large", [1920.0, 1200.0])];
    let themes = [("dark", egui::Theme::Dark), ("light", egui::Theme::Light)];
    for (size_name, size) in sizes {
        for (theme_name, theme) in themes {
            shots(&folder, size_name, size, theme_name, theme);
        }
    }
}

fn shots(folder: &Path, size_name: &str, size: [f32; 2], theme_name: &str, theme: egui::Theme) {
    let bench = Bench::with(Setup {
        size,
        theme,
        ..Setup::default()
    });
    let mut bench = prepare(bench.unwrap());
    let shot = |bench: &mut Bench, what: &str| {
        bench.harness.run_steps(4);
        std::thread::sleep(std::time::Duration::from_millis(150));
        bench.harness.run_steps(6);
        let name = format!("{what}-{theme_name}-{size_name}.png");
        bench.screenshot(&folder.join(name)).unwrap();
    };
    form_mut(&mut bench).steps = Some(14);
    form_mut(&mut bench).keep_steps = true;
    draw(&mut bench, "a red fox, flat style, white background");
    bench.wait_label("All steps").unwrap();
    shot(&mut bench, "01-picture");
    bench.apply(CreateCommand::Steps(StepsCommand::To(6)));
    shot(&mut bench, "02-step");
    bench.click("Branch from here");
    form_mut(&mut bench).prompt = "a panda, 3d style, green background".into();
    bench.harness.run_steps(3);
    shot(&mut bench, "03-branch");
    press(&mut bench, "Draw the branch");
    shot(&mut bench, "04-branched");
    bench.apply(CreateCommand::Details);
    shot(&mut bench, "05-details");
    bench.apply(CreateCommand::Details);
    reach(&mut bench, "Leave the branch");
    bench.apply(ModelsCommand::Add(fixture(
        "upscalers/esrgan-old-x4.safetensors",
    )));
    for control in ["control-one", "control-two"] {
        let path = fixture(&format!("jobs/{control}"));
        bench.apply(ModelsCommand::Add(path));
    }
    bench.wait_idle().unwrap();
    bench.click("Make the picture larger…");
    shot(&mut bench, "06-larger");
    press(&mut bench, "Make it larger");
    shot(&mut bench, "07-larger-done");
    let control = |name: &str| diptych::studio::create::ControlCommand::Add(ModelRef::named(name));
    bench.apply(CreateCommand::Control(control("control-one")));
    reach(&mut bench, "Choose a picture for control-one");
    bench.click("The picture that is shown");
    bench.wait_label("Picture for control-one: ").unwrap();
    reach(&mut bench, "Its edges");
    bench.wait_idle().unwrap();
    shot(&mut bench, "08-control");
    bench.apply(CreateCommand::Control(control("gone")));
    reach(&mut bench, "Add a ControlNet");
    shot(&mut bench, "09-controls");
    bench.press(Modifiers::NONE, Key::Escape);
    form_mut(&mut bench).controls.clear();
    form_mut(&mut bench).second.on = true;
    bench.harness.run_steps(3);
    bench.get("Made larger by").scroll_to_me();
    bench.harness.run_steps(8);
    shot(&mut bench, "10-second");
    reach(&mut bench, "Made larger by");
    shot(&mut bench, "11-second-list");
    bench.press(Modifiers::NONE, Key::Escape);
    form_mut(&mut bench).second.on = false;
    let lists = bench.data().join("wildcards");
    std::fs::create_dir_all(&lists).unwrap();
    std::fs::write(lists.join("beasts.txt"), "a red fox\na panda\na penguin\n").unwrap();
    std::fs::write(lists.join("grounds.txt"), "blue\ngreen\n").unwrap();
    form_mut(&mut bench).prompt = "__beasts__, {flat|3d} style, __grounds__ background".into();
    bench.wait_label("With seed 7: ").unwrap();
    bench.wait_idle().unwrap();
    shot(&mut bench, "12-expansion");
    reach(&mut bench, "Word lists");
    bench
        .wait("three lines", |bench| lines(bench) == Some(3))
        .unwrap();
    shot(&mut bench, "13-lists");
    bench.click("beasts");
    bench.wait_label("Entries of beasts").unwrap();
    shot(&mut bench, "14-list");
    bench.apply(AppCommand::CloseDrawer);
    reach(&mut bench, "More settings");
    bench.get("Keep every step").scroll_to_me();
    bench.harness.run_steps(8);
    shot(&mut bench, "15-more");
}
