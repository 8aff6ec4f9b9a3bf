//! A way between two pictures, made in the window.

use diptych::studio::effects::AskKind;
use diptych::studio::gallery::{MorphCommand, Pick};
use diptych::studio::view::Workspace;

use super::*;

const MORPH: &str = "Morph between two pictures…";

/// Two pictures, both chosen in the library; the older one begins the way.
fn chosen(bench: &mut Bench) -> [Item; 2] {
    draw(bench, "a red fox, flat style");
    let from = newest(bench);
    form_mut(bench).seed = 8;
    draw(bench, "a blue fox, flat style");
    let to = newest(bench);
    bench.apply(AppCommand::Show(Workspace::Gallery));
    bench.apply(GalleryCommand::Pick(to.record.id, Pick::Only));
    assert!(!bench.has(MORPH), "one picture is no way");
    bench.apply(GalleryCommand::Pick(from.record.id, Pick::Toggle));
    [from, to]
}

fn drawn(bench: &Bench) -> usize {
    let way = &bench.harness.state().studio().gallery.morph.way;
    way.as_ref().map_or(0, |way| way.drawn.len())
}

fn number(bench: &mut Bench, label: &str, digits: &str) {
    bench.click(label);
    bench.press(Modifiers::COMMAND, Key::A);
    bench.harness.event(egui::Event::Text(digits.into()));
    bench.press(Modifiers::NONE, Key::Enter);
}

/// Frames that an animated PNG says it has.
fn animated(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(4).position(|four| four == b"acTL")?;
    let count = bytes.get(at + 4..at + 8)?;
    Some(u32::from_be_bytes(count.try_into().ok()?))
}

#[test]
fn a_way_between_two_pictures_becomes_a_file_of_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = quick();
    let [from, to] = chosen(&mut bench);
    bench.click(MORPH);
    assert!(
        bench.has("16 pictures to draw, about"),
        "{:?}",
        bench.labels()
    );
    assert!(bench.has("all other settings are the same"));
    number(&mut bench, "Pictures in all", "3");
    bench.dialogs.answer(folder.path().join("way"));
    bench.click("Draw and save…");
    bench.wait_label("Saved as way.png").unwrap();
    bench.wait_idle().unwrap();
    let asked = bench.dialogs.asked();
    assert!(
        matches!(asked.last(), Some(AskKind::SaveFile { name, .. }) if name == "morph.png"),
        "{asked:?}"
    );
    let bytes = std::fs::read(folder.path().join("way.png")).unwrap();
    assert_eq!(animated(&bytes), Some(3));
    assert_eq!(pictures(&bench), 2, "nothing of it is among the pictures");
    let studio = bench.harness.state().studio();
    assert!(studio.house.queue.tasks().is_empty());
    // Another form of the same is not drawn anew.
    bench.click("GIF");
    bench.dialogs.answer(folder.path().join("way.gif"));
    bench.click("Save the file…");
    bench.wait_label("Saved as way.gif").unwrap();
    bench.wait_idle().unwrap();
    let bytes = std::fs::read(folder.path().join("way.gif")).unwrap();
    assert!(bytes.starts_with(b"GIF89a"));
    bench.click("Strip");
    bench.dialogs.answer(folder.path().join("strip.gif"));
    bench.click("Save the file…");
    bench.wait_label("choose a name that ends in .png").unwrap();
    bench.dialogs.answer(folder.path().join("strip.png"));
    bench.click("Save the file…");
    bench.wait_label("Saved as strip.png").unwrap();
    bench.wait_idle().unwrap();
    let strip = image::open(folder.path().join("strip.png"))
        .unwrap()
        .into_rgb8();
    let (width, height) = (from.record.width, from.record.height);
    assert_eq!(strip.dimensions(), (3 * width, height));
    // Its ends are the two pictures themselves.
    for (place, item) in [(0, &from), (2, &to)] {
        let part = image::imageops::crop_imm(&strip, place * width, 0, width, height);
        assert_eq!(part.to_image(), pixels(item), "end {place}");
    }
    let told = inspect_picture(&folder.path().join("strip.png")).unwrap();
    let first = told.request.unwrap();
    assert!(first.to_string().contains("a red fox, flat style"));
    // The other way round is another way.
    bench.click("Begin with the other one");
    assert!(
        bench.has("3 pictures to draw, about"),
        "{:?}",
        bench.labels()
    );
    assert_eq!(drawn(&bench), 0);
}

#[test]
fn a_way_is_stopped_saved_as_far_as_it_is_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = quick();
    form_mut(&mut bench).steps = Some(24);
    chosen(&mut bench);
    bench.apply(GalleryCommand::Morph(MorphCommand::Ask));
    number(&mut bench, "Pictures in all", "6");
    bench.dialogs.answer(folder.path().join("way.png"));
    bench.click("Draw and save…");
    bench
        .wait("two pictures", |bench| drawn(bench) >= 2)
        .unwrap();
    bench.click("Stop the way");
    bench.wait_label("Stopped after").unwrap();
    bench.wait_idle().unwrap();
    let count = drawn(&bench);
    assert!((2..6).contains(&count), "{count}");
    bench.click(&format!("Save these {count}"));
    bench.wait_label("Saved as way.png").unwrap();
    bench.wait_idle().unwrap();
    let path = folder.path().join("way.png");
    let frames = |path: &Path| animated(&std::fs::read(path).unwrap());
    assert_eq!(frames(&path), Some(count as u32));
    bench.dialogs.answer(&path);
    bench.click("Draw and save…");
    bench.apply(GalleryCommand::Morph(MorphCommand::Close));
    bench
        .wait_label("The way between the pictures is saved")
        .unwrap();
    bench.wait_idle().unwrap();
    assert_eq!(frames(&path), Some(6));
    // Two of the same are no way.
    let studio = bench.harness.state_mut().studio_mut();
    studio.apply(GalleryCommand::PickNone.into());
    let ask = GalleryCommand::Morph(MorphCommand::Ask).into();
    let reason = studio.available(&ask).unwrap_err();
    assert!(reason.contains("Choose two pictures"), "{reason}");
}

/// Pictures of the dialog and of the check, to be looked at: `DIPTYCH_SHOTS=folder cargo test --release --workspace --test craft morph_shots --
/// --ignored`.
#[test]
#[ignore = "draws pictures of the window into the folder named by DIPTYCH_SHOTS"]
fn morph_shots() {
    let folder = std::env::var_os("DIPTYCH_SHOTS").expect("DIPTYCH_SHOTS names a folder");
    let folder = PathBuf::from(folder);
    for (name, theme, size) in [
        ("dark", egui::Theme::Dark, [1280.0, 800.0]),
        ("light", egui::Theme::Light, [1024.0, 640.0]),
    ] {
        let files = tempfile::tempdir().unwrap();
        let setup = Setup {
            theme,
            size,
            ..Setup::default()
        };
        let mut bench = prepare(Bench::with(setup).unwrap());
        let shot = |bench: &mut Bench, what: &str| {
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(15));
                bench.step();
            }
            let file = folder.join(format!("morph-{name}-{what}.png"));
            bench.screenshot(&file).unwrap();
        };
        form_mut(&mut bench).steps = Some(20);
        form_mut(&mut bench).keep_steps = true;
        chosen(&mut bench);
        shot(&mut bench, "1-chosen");
        bench.click(MORPH);
        shot(&mut bench, "2-asked");
        let long = "a-name-that-somebody-made-of-a-whole-prompt-".repeat(3);
        bench
            .dialogs
            .answer(files.path().join(format!("{long}.png")));
        bench.click("Draw and save…");
        bench.wait("some", |bench| drawn(bench) >= 5).unwrap();
        shot(&mut bench, "3-running");
        bench.wait_idle().unwrap();
        shot(&mut bench, "4-saved");
        bench.apply(GalleryCommand::Morph(MorphCommand::Close));
        bench.apply(AppCommand::Show(Workspace::Create));
        bench.apply(CreateCommand::Again(
            diptych::studio::create::AgainCommand::Check,
        ));
        bench.get("Stop the check").scroll_to_me();
        shot(&mut bench, "5-checking");
        bench.wait_idle().unwrap();
        bench.get("Check once more").scroll_to_me();
        shot(&mut bench, "6-checked");
    }
}
