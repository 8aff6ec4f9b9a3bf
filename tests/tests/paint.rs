//! Drawing over pictures: start pictures, masks painted by hand, LoRAs and other autoencoders, driven as a person would.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use diptych::library::inputs::input_path;
use diptych::recall::Part;
use diptych::studio::command::AppCommand;
use diptych::studio::command::ModelsCommand;
use diptych::studio::create::{CreateCommand, Form, MaskCommand, SeedMode, StartCommand};
use diptych_inference::engine::ImageRequest;
use diptych_tests::slope;
use diptych_tests::window::{Bench, Setup};
use egui::{Key, Modifiers, Pos2, Rect};
use egui_kittest::kittest::Queryable as _;

/// Few steps: what is tested is the window.
const STEPS: u32 = 4;

fn quick() -> Bench {
    prepare(Bench::open().unwrap())
}

fn prepare(mut bench: Bench) -> Bench {
    let form = &mut bench.harness.state_mut().studio_mut().create.form;
    form.steps = Some(STEPS);
    form.seed = 7;
    form.seed_mode = SeedMode::Locked;
    bench.harness.run_steps(2);
    bench
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

fn form(bench: &Bench) -> Form {
    bench.harness.state().studio().create.form.clone()
}

fn pictures(bench: &Bench) -> usize {
    bench.harness.state().studio().gallery.items().len()
}

/// The newest picture: its request and its pixels.
fn newest(bench: &Bench) -> (ImageRequest, image::RgbImage) {
    let record = &bench.harness.state().studio().gallery.items()[0].record;
    let picture = image::open(&record.path).unwrap().into_rgb8();
    (record.request.clone(), picture)
}

fn begin_from(bench: &mut Bench, path: PathBuf) {
    bench.apply(CreateCommand::Start(StartCommand::FromFile(path)));
    bench.wait_label("Start picture: ").unwrap();
    bench.wait_idle().unwrap();
}

/// Where the picture lies on the canvas that is painted on.
fn canvas(bench: &Bench) -> Rect {
    let node = bench.harness.get_by_label_contains("Picture: mask over");
    node.rect()
}

/// Drags the pointer over the canvas, by places from its middle.
fn stroke(bench: &mut Bench, places: &[(f32, f32)]) {
    let middle = canvas(bench).center();
    let at = |place: &(f32, f32)| Pos2::new(middle.x + place.0, middle.y + place.1);
    bench.harness.hover_at(at(&places[0]));
    bench.step();
    bench.harness.drag_at(at(&places[0]));
    bench.step();
    for place in places {
        bench.harness.hover_at(at(place));
        bench.step();
    }
    bench.harness.drop_at(at(places.last().unwrap()));
    bench.harness.run_steps(3);
}

fn share(bench: &Bench) -> f32 {
    let form = form(bench);
    let mask = form.start.and_then(|start| start.mask);
    mask.map_or(0.0, |mask| mask.share())
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

#[test]
fn a_picture_is_drawn_over_and_again_after_a_restart() {
    let mut bench = quick();
    bench.draw("a red fox, flat style").unwrap();
    // The one that is shown, by its key.
    bench.press(Modifiers::NONE, Key::U);
    bench
        .wait_label("Start picture: a red fox, flat style")
        .unwrap();
    assert!(
        bench.has("Drawn in its own size, 64 × 64"),
        "{:?}",
        bench.labels()
    );
    bench.click("Strength");
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("0.6".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    bench.wait_idle().unwrap();
    bench.draw("a blue fox, flat style").unwrap();
    let (request, picture) = newest(&bench);
    let init = request.init.clone().unwrap();
    assert_eq!((init.strength, &init.mask), (0.6, &None));
    let kept = input_path(bench.data(), &init.picture.0).unwrap();
    assert!(kept.is_file(), "{}", kept.display());
    assert_eq!(image::open(&kept).unwrap().width(), 64);

    let (mut bench, folder) = reopened(bench);
    bench.wait_label("Start picture: a red fox").unwrap();
    bench.wait_idle().unwrap();
    bench.draw("a blue fox, flat style").unwrap();
    let (again, same) = newest(&bench);
    assert_eq!(again.init, request.init);
    assert_eq!(same, picture, "the same request, the same picture");

    // Taken away, and taken over again from the picture's settings.
    bench.click("Take the start picture away");
    assert_eq!(form(&bench).start, None);
    bench.press(Modifiers::NONE, Key::A);
    bench.wait_label("start picture").unwrap();
    bench.wait_idle().unwrap();
    let start = form(&bench).start.unwrap();
    assert_eq!((start.picture, start.strength), (init.picture.0, 0.6));
    assert_eq!(start.size, (64, 64));
    drop(folder);
}

#[test]
fn a_dropped_picture_is_begun_from_and_its_fitting_is_told() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let path = slope(folder.path(), "slope.png", 300, 100).unwrap();
    let files = &mut bench.harness.input_mut().dropped_files;
    files.push(std::sync::Arc::new(Dropped(path)));
    bench.harness.run_steps(2);
    bench.wait_label("Begin from this picture").unwrap();
    bench.click("Begin from this picture");
    bench.wait_label("Start picture: slope.png").unwrap();
    // Its shape, in about as many pixels as the model is used to.
    assert_eq!(form(&bench).size, Some((112, 36)));
    assert!(bench.has("Scaled from 300 × 100") || bench.has("of 300 × 100 is used"));
    bench.harness.state_mut().studio_mut().create.form.size = Some((64, 64));
    bench.harness.run_steps(3);
    assert!(
        bench.has("100 × 100 of 300 × 100 is used, scaled to 64 × 64"),
        "{:?}",
        bench.labels()
    );
    bench.click("Stretch");
    assert!(bench.has("Stretched from 300 × 100 to 64 × 64"));
    bench.click("Cut to shape");
    bench.draw("a key").unwrap();
    let (request, _) = newest(&bench);
    // What was cut is kept as it was used.
    let used = input_path(bench.data(), &request.init.unwrap().picture.0).unwrap();
    let used = image::open(used).unwrap().into_rgb8();
    assert_eq!(used.dimensions(), (100, 100));
    assert_eq!(used.get_pixel(0, 0).0, [(100 * 255 / 300) as u8, 0, 90]);
    bench.click("Draw in its shape");
    assert_eq!(form(&bench).size, Some((112, 36)));
    // A step of undo each.
    bench.click("Take the start picture away");
    assert!(!bench.has("Start picture: "));
    bench.apply(AppCommand::Undo);
    assert!(bench.has("Start picture: slope.png"));
}

#[test]
fn a_missing_start_picture_is_told_and_nothing_is_drawn() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    begin_from(
        &mut bench,
        slope(folder.path(), "slope.png", 64, 64).unwrap(),
    );
    let name = form(&bench).start.unwrap().picture;
    let kept = input_path(bench.data(), &name).unwrap();
    bench.harness.state_mut().studio_mut().create.form.prompt = "a bee".into();
    bench.harness.run_steps(2);
    let (mut bench, _data) = {
        let data = bench.data().to_owned();
        let folder = bench.close();
        std::fs::remove_file(&kept).unwrap();
        let bench = Bench::with(Setup {
            data: Some(data),
            ..Setup::default()
        });
        (bench.unwrap(), folder)
    };
    bench
        .wait_label("It cannot be used: the start picture is not in this library")
        .unwrap();
    assert!(
        bench.has("The start picture cannot be used"),
        "{:?}",
        bench.labels()
    );
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
    bench.click("Take the start picture away");
    assert!(!bench.has("cannot be used"));
}

#[test]
fn a_mask_is_painted_erased_undone_and_keeps_what_is_not_under_it() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let path = slope(folder.path(), "slope.png", 64, 64).unwrap();
    begin_from(&mut bench, path.clone());
    bench.click("Paint a mask");
    bench.wait_label("Picture: mask over slope.png").unwrap();
    bench
        .wait("the picture", |bench| bench.has("64 by 64"))
        .unwrap();
    assert!(bench.has("Paint over what is to be drawn anew"));
    // The keys of the brush.
    {
        let paint = &mut bench.harness.state_mut().studio_mut().create.paint;
        (paint.size, paint.hardness) = (16.0, 1.0);
    }
    bench.press(Modifiers::NONE, Key::CloseBracket);
    assert_eq!(bench.harness.state().studio().create.paint.size, 20.0);
    bench.press(Modifiers::NONE, Key::OpenBracket);
    bench.harness.run_steps(3);
    assert_eq!(bench.harness.state().studio().create.paint.size, 16.0);
    stroke(&mut bench, &[(0.0, 0.0), (20.0, 0.0), (40.0, 0.0)]);
    let first = share(&bench);
    assert!((0.03..0.3).contains(&first), "{first}");
    stroke(&mut bench, &[(0.0, 90.0), (40.0, 90.0)]);
    let second = share(&bench);
    assert!(second > first);
    // A step of undo for each stroke.
    bench.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(share(&bench), first);
    bench.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(share(&bench), 0.0);
    bench.click("Redo");
    assert_eq!(share(&bench), first);
    // The eraser, by its key.
    bench.press(Modifiers::NONE, Key::E);
    stroke(&mut bench, &[(60.0, 0.0), (40.0, 0.0)]);
    let erased = share(&bench);
    assert!(erased < first && erased > 0.0, "{erased} {first}");
    bench.press(Modifiers::NONE, Key::B);
    bench.click("Invert the mask");
    assert!((share(&bench) + erased - 1.0).abs() < 1e-4);
    bench.click("Clear the mask");
    assert_eq!(share(&bench), 0.0);
    bench.click("Fill the mask");
    assert_eq!(share(&bench), 1.0);
    bench.press(Modifiers::COMMAND, Key::Z);
    // The picture behind is not thrown away by a slip of the hand.
    bench.press(Modifiers::NONE, Key::Delete);

    stroke(&mut bench, &[(0.0, 0.0), (10.0, 10.0)]);
    bench.click("Done");
    assert!(bench.has("Edit the mask") && bench.has("is drawn anew"));
    bench
        .harness
        .state_mut()
        .studio_mut()
        .create
        .form
        .start
        .as_mut()
        .unwrap()
        .blur = 1.0;
    bench.draw("a red fox, flat style").unwrap();
    let (request, picture) = newest(&bench);
    let mask = request.init.unwrap().mask.unwrap();
    assert_eq!((mask.blur, mask.only_masked), (1.0, None));
    assert!(input_path(bench.data(), &mask.mask.0).unwrap().is_file());
    let before = image::open(path).unwrap().into_rgb8();
    let differs = |x: u32, y: u32| before.get_pixel(x, y) != picture.get_pixel(x, y);
    assert!(!differs(2, 2) && !differs(60, 5) && !differs(5, 60) && !differs(61, 61));
    let changed = (26..40).any(|x| differs(x, 32));
    assert!(changed, "something was drawn under the mask");
}

#[test]
fn a_mask_survives_a_restart_and_goes_through_files() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    begin_from(
        &mut bench,
        slope(folder.path(), "slope.png", 200, 120).unwrap(),
    );
    bench.press(Modifiers::NONE, Key::M);
    bench
        .wait("the picture", |bench| bench.has("200 by 120"))
        .unwrap();
    stroke(&mut bench, &[(0.0, 0.0), (50.0, 20.0)]);
    bench.wait_idle().unwrap();
    let painted = share(&bench);
    assert!(painted > 0.0);
    let file = folder.path().join("my mask.png");
    bench.dialogs.answer(&file);
    bench.apply(CreateCommand::Mask(MaskCommand::AskSave));
    let written = file.clone();
    bench
        .wait("the mask's file", move |_| written.is_file())
        .unwrap();
    let saved = image::open(&file).unwrap();
    assert_eq!((saved.width(), saved.height()), (200, 120));

    let (mut bench, data) = reopened(bench);
    bench.wait("the mask", |bench| share(bench) > 0.0).unwrap();
    assert_eq!(share(&bench), painted);
    assert!(
        !bench.harness.state().studio().create.can_undo(true),
        "nothing was changed"
    );
    bench.apply(CreateCommand::Mask(MaskCommand::Clear));
    assert_eq!(share(&bench), 0.0);
    bench.dialogs.answer(&file);
    bench.apply(CreateCommand::Mask(MaskCommand::AskOpen));
    bench.wait("the mask", |bench| share(bench) > 0.0).unwrap();
    assert_eq!(share(&bench), painted);
    // One of another size is brought to the picture's, and that is said.
    let other = slope(folder.path(), "other.png", 50, 50).unwrap();
    bench.dialogs.answer(&other);
    bench.apply(CreateCommand::Mask(MaskCommand::AskOpen));
    bench.wait_label("It has 50 × 50 pixels").unwrap();
    assert_ne!(share(&bench), painted);
    drop(data);
}

#[test]
fn only_the_masked_part_is_drawn_and_a_picture_is_extended() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let path = slope(folder.path(), "slope.png", 256, 192).unwrap();
    begin_from(&mut bench, path.clone());
    bench.click("Paint a mask");
    bench
        .wait("the picture", |bench| bench.has("256 by 192"))
        .unwrap();
    bench.click("Only the masked part");
    // Nothing is painted yet, and the button says so.
    bench.harness.state_mut().studio_mut().create.form.prompt = "a key".into();
    bench.harness.run_steps(2);
    assert!(
        bench.has("Paint what is to be drawn anew first"),
        "{:?}",
        bench.labels()
    );
    stroke(&mut bench, &[(0.0, 0.0), (20.0, 0.0)]);
    assert!(bench.has("is drawn at"), "{:?}", bench.labels());
    bench.draw("a key").unwrap();
    let (request, picture) = newest(&bench);
    assert_eq!(request.init.unwrap().mask.unwrap().only_masked, Some(32));
    assert_eq!(picture.dimensions(), (256, 192), "laid back into all of it");
    let before = image::open(path).unwrap().into_rgb8();
    assert_eq!(before.get_pixel(3, 3), picture.get_pixel(3, 3));

    // Wider at the left: the size follows, and what is new is masked.
    bench.click("Take the mask away");
    bench.click("Only the masked part");
    bench.click("Extend the picture");
    bench.click("Left");
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("128".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    assert_eq!(form(&bench).start.unwrap().extend, [128, 0, 0, 0]);
    assert_eq!(form(&bench).size, Some((92, 44)));
    bench.apply(CreateCommand::Mask(MaskCommand::Open));
    bench
        .wait("the wide picture", |bench| bench.has("384 by 192"))
        .unwrap();
    bench.click("Done");
    bench.draw("a key").unwrap();
    let (request, picture) = newest(&bench);
    assert_eq!(picture.dimensions(), (92, 44));
    let mask = request.init.unwrap().mask.unwrap();
    let mask = image::open(input_path(bench.data(), &mask.mask.0).unwrap()).unwrap();
    let mask = mask.into_luma8();
    let (width, height) = mask.dimensions();
    assert!(width > 340 && height > 180, "{width} {height}");
    assert_eq!(mask.get_pixel(10, 90).0, [255]);
    assert_eq!(mask.get_pixel(width - 10, 90).0, [0]);
}

/// A safetensors file of f32 tensors.
fn safetensors(path: &Path, tensors: &[(&str, Vec<usize>, f32)]) {
    let mut header = serde_json::Map::new();
    let mut bytes = Vec::new();
    for (name, shape, value) in tensors {
        let count: usize = shape.iter().product();
        let start = bytes.len();
        // Every other one of the opposite sign, so that it is no flat change.
        let values = (0..count).map(|at| if at % 3 == 0 { -value } else { *value });
        bytes.extend(values.flat_map(f32::to_le_bytes));
        let entry = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()],
        });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(bytes);
    std::fs::write(path, file).unwrap();
}

/// A LoRA of one layer, which reads text of a width.
fn lora(folder: &Path, name: &str, block: u32, width: usize) -> PathBuf {
    let path = folder.join(name);
    let layer =
        format!("lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn2_to_k");
    let (down, up) = (
        format!("{layer}.lora_down.weight"),
        format!("{layer}.lora_up.weight"),
    );
    let tensors = [
        (down.as_str(), vec![4, width], 0.4),
        (up.as_str(), vec![128, 4], 0.4),
    ];
    safetensors(&path, &tensors);
    path
}

#[test]
fn loras_are_listed_weighed_switched_and_taken_over() {
    let mut bench = quick();
    bench.draw("a panda, flat style").unwrap();
    let (_, plain) = newest(&bench);
    let folder = tempfile::tempdir().unwrap();
    lora(folder.path(), "ink.safetensors", 1, 128);
    lora(folder.path(), "grand.safetensors", 2, 2048);
    bench.apply(ModelsCommand::Add(folder.path().to_owned()));
    bench.wait_idle().unwrap();
    bench.wait_label("Add a LoRA").unwrap();
    bench.click("Add a LoRA");
    bench.click("ink");
    assert_eq!(form(&bench).loras.len(), 1);
    bench.draw("a panda, flat style").unwrap();
    let (request, inked) = newest(&bench);
    assert_eq!(request.loras.len(), 1);
    assert_eq!(
        (
            request.loras[0].model.name.as_str(),
            request.loras[0].weight
        ),
        ("ink", 1.0)
    );
    assert_ne!(inked, plain);
    bench.click("Weight of ink");
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text("0.5".into()));
    bench.press(Modifiers::NONE, Key::Enter);
    bench.draw("a panda, flat style").unwrap();
    assert_eq!(newest(&bench).0.loras[0].weight, 0.5);
    // Switched off it does nothing.
    bench.click("ink");
    assert!(!form(&bench).loras[0].on);
    bench.draw("a panda, flat style").unwrap();
    let (request, off) = newest(&bench);
    assert!(request.loras.is_empty());
    assert_eq!(off, plain);
    bench.click("Take ink out of the list");
    assert!(form(&bench).loras.is_empty());
    // Out of the settings of the picture that had it.
    bench.apply(CreateCommand::Step(1));
    bench.apply(CreateCommand::Recall(Part::All));
    let loras = form(&bench).loras;
    assert_eq!(
        (loras[0].model.name.as_str(), loras[0].weight, loras[0].on),
        ("ink", 0.5, true)
    );
    // One for another kind of model: the engine says so before anything is drawn.
    bench.apply(CreateCommand::RemoveLora(0));
    bench.apply(CreateCommand::AddLora(
        diptych_inference::engine::ModelRef::named("grand"),
    ));
    let before = pictures(&bench);
    bench.click("Generate");
    bench.wait_label("this LoRA is for SDXL").unwrap();
    assert_eq!(pictures(&bench), before);
}

#[test]
fn another_autoencoder_is_chosen_under_more() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    let vae = folder.path().join("second vae");
    std::fs::create_dir(&vae).unwrap();
    let own = diptych_tests::repository("assets/models/sketch/vae");
    for entry in std::fs::read_dir(own).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), vae.join(entry.file_name())).unwrap();
    }
    bench.apply(ModelsCommand::Add(vae));
    bench.wait_idle().unwrap();
    bench.click("More settings");
    bench.get("VAE").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("VAE");
    bench.click("second vae");
    assert_eq!(
        form(&bench).vae.map(|vae| vae.name).as_deref(),
        Some("second vae")
    );
    bench.draw("a bus").unwrap();
    assert_eq!(
        newest(&bench).0.vae.map(|vae| vae.name).as_deref(),
        Some("second vae")
    );
    bench.get("Reset to the model's settings").scroll_to_me();
    bench.harness.run_steps(4);
    bench.click("Reset to the model's settings");
    assert_eq!(form(&bench).vae, None);
}

/// A large picture is painted without the window stumbling: told by `--nocapture`.
#[test]
fn painting_on_a_large_picture_is_smooth() {
    let mut bench = quick();
    let folder = tempfile::tempdir().unwrap();
    begin_from(
        &mut bench,
        slope(folder.path(), "large.png", 4096, 4096).unwrap(),
    );
    bench.harness.state_mut().studio_mut().create.paint.size = 400.0;
    bench.click("Paint a mask");
    bench
        .wait("the picture", |bench| bench.has("4096 by 4096"))
        .unwrap();
    bench.harness.run_steps(10);
    let middle = canvas(&bench).center();
    bench.harness.drag_at(middle);
    bench.step();
    let mut times = Vec::new();
    for step in 0..60 {
        let angle = step as f32 / 5.0;
        let at = middle + egui::vec2(angle.cos(), angle.sin()) * 150.0;
        bench.harness.hover_at(at);
        let begun = std::time::Instant::now();
        bench.step();
        times.push(begun.elapsed());
    }
    bench.harness.drop_at(middle);
    bench.harness.run_steps(3);
    assert!(share(&bench) > 0.02);
    times.sort_unstable();
    println!(
        "frames while painting on 4096 x 4096 with a brush of 400: median {:?}, worst {:?}",
        times[30], times[59]
    );
    assert!(times[30].as_millis() < 33, "{times:?}");
    // The mask of it is kept, too.
    bench.wait_idle().unwrap();
}

/// Pictures of every state, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test paint paint_shots -- --ignored`.
#[test]
#[ignore = "draws pictures of the window into the folder named by DIPTYCH_SHOTS"]
fn paint_shots() {
    let folder =
        PathBuf::from(std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder"));
    std::fs::create_dir_all(&folder).unwrap();
    let sizes = [("small", [1024.0, 640.0]), ("large", [1600.0, 1000.0])];
    let themes = [("dark", egui::Theme::Dark), ("light", egui::Theme::Light)];
    let files = tempfile::tempdir().unwrap();
    lora(
        files.path(),
        "ink and wash, version 2 final.safetensors",
        1,
        128,
    );
    lora(files.path(), "grand.safetensors", 2, 2048);
    for (size_name, size) in sizes {
        for (theme_name, theme) in themes {
            let bench = Bench::with(Setup {
                size,
                theme,
                ..Setup::default()
            });
            let mut bench = prepare(bench.unwrap());
            let shot = |bench: &mut Bench, what: &str| {
                bench.harness.run_steps(4);
                std::thread::sleep(std::time::Duration::from_millis(120));
                bench.harness.run_steps(4);
                let name = format!("{what}-{theme_name}-{size_name}.png");
                bench.screenshot(&folder.join(name)).unwrap();
            };
            bench.harness.state_mut().studio_mut().create.form.steps = Some(14);
            bench
                .draw("a red fox, flat style, white background")
                .unwrap();
            shot(&mut bench, "1-picture");
            bench.click("Begin from a picture");
            shot(&mut bench, "2-invite");
            bench.press(Modifiers::NONE, Key::Escape);
            bench.press(Modifiers::NONE, Key::U);
            bench.wait_label("Start picture: ").unwrap();
            shot(&mut bench, "3-card");
            bench.click("Paint a mask");
            bench
                .wait("the picture", |bench| bench.has("64 by 64"))
                .unwrap();
            bench.harness.state_mut().studio_mut().create.paint.size = 14.0;
            stroke(&mut bench, &[(-40.0, 0.0), (20.0, 30.0), (60.0, -20.0)]);
            shot(&mut bench, "4-painting");
            bench.click("More about the mask");
            shot(&mut bench, "5-painting-menu");
            bench.press(Modifiers::NONE, Key::Escape);
            bench.click("Done");
            shot(&mut bench, "6-masked");
            {
                let start = &mut bench.harness.state_mut().studio_mut().create.form.start;
                let start = start.as_mut().unwrap();
                (start.only_masked, start.extend) = (true, [16, 0, 0, 8]);
            }
            bench.apply(CreateCommand::Mask(MaskCommand::Open));
            bench
                .wait("the picture", |bench| bench.has("80 by 72"))
                .unwrap();
            shot(&mut bench, "7-extended");
            bench.apply(CreateCommand::Mask(MaskCommand::Close));
            let wide = slope(files.path(), "a slope of colours.png", 300, 100).unwrap();
            bench.apply(CreateCommand::Look(wide));
            bench.wait_label("Begin from this picture").unwrap();
            shot(&mut bench, "8-guest");
            bench.click("Begin from this picture");
            bench.wait_label("Start picture: a slope").unwrap();
            bench.harness.state_mut().studio_mut().create.form.size = Some((64, 64));
            shot(&mut bench, "9-cut");
            bench.apply(CreateCommand::Start(StartCommand::Remove));
            bench.apply(ModelsCommand::Add(files.path().to_owned()));
            bench.wait_idle().unwrap();
            for name in ["ink and wash, version 2 final", "grand"] {
                let model = diptych_inference::engine::ModelRef::named(name);
                bench.apply(CreateCommand::AddLora(model));
            }
            bench.harness.state_mut().studio_mut().create.form.loras[1].on = false;
            shot(&mut bench, "10-loras");
            bench.click("Add a LoRA");
            shot(&mut bench, "11-lora-list");
        }
    }
}
