//! Pictures drawn again from what they tell, and gone on with.

use diptych_inference::formats::picture::encode_png;
use serde_json::Value;

use crate::support::{Run, Studio, tiny};

fn draw(studio: &Studio, more: &[&str]) -> Run {
    let model = tiny();
    let args = ["draw", "--model", &model, "--steps", "3", "--json"];
    studio.run(&[&args[..], more].concat())
}

/// The request that was drawn.
fn drawn(studio: &Studio, more: &[&str]) -> Value {
    draw(studio, more).ok().json()["request"].take()
}

#[test]
fn a_picture_keeps_how_it_was_drawn_over_another() {
    let studio = Studio::new();
    let size = ["--size", "32x40"];
    drawn(
        &studio,
        &[&["a den", "--out", "den.png"], &size[..]].concat(),
    );
    let over = ["--init", "den.png", "--mask", "den.png"];
    let begun = [
        "a fox",
        "--out",
        "a.png",
        "--strength",
        "0.4",
        "--mask-blur",
        "9",
    ];
    drawn(&studio, &[&begun[..], &over[..]].concat());
    let again = |more: &[&str]| {
        let from = ["--from", "a.png", "--out", "b.png"];
        drawn(&studio, &[&from[..], &over[..], more].concat())["init"].take()
    };
    let init = again(&[]);
    assert!(
        (init["strength"].as_f64().unwrap() - 0.4).abs() < 1e-6,
        "{init}"
    );
    assert_eq!(init["mask"]["blur"].as_f64(), Some(9.0), "{init}");
    let init = again(&["--strength", "0.5"]);
    assert_eq!(init["strength"].as_f64(), Some(0.5), "{init}");
    // Of another program.
    let text = "a whale\nSteps: 3, Sampler: Euler, CFG scale: 4, Seed: 1, Size: 32x40, Denoising strength: 0.25";
    let picture = encode_png(&[0; 12], 2, 2, &[("parameters", text)]).unwrap();
    studio.file("theirs.png", picture);
    let theirs = [
        "--from",
        "theirs.png",
        "--init",
        "den.png",
        "--out",
        "c.png",
    ];
    let request = drawn(&studio, &theirs);
    assert_eq!(
        request["init"]["strength"].as_f64(),
        Some(0.25),
        "{request}"
    );
}

#[test]
fn two_outputs_are_two_files_and_options_without_effect_are_told() {
    let studio = Studio::new();
    for (option, name) in [
        ("--dump-latents", "x.png"),
        ("--trace", "./x.png"),
        ("--proof", "x.png"),
    ] {
        let said = draw(&studio, &["a fox", "--out", "x.png", option, name]).misused();
        assert!(said.contains("--out") && said.contains(option), "{said}");
    }
    assert!(!studio.path("x.png").exists());
    drawn(&studio, &["a den", "--size", "32x40", "--out", "den.png"]);
    let said = draw(&studio, &["a fox", "--init", "den.png", "--mask-blur", "3"]).misused();
    assert!(
        said.contains("--mask") && said.contains("diptych draw --help"),
        "{said}"
    );
    let said = studio
        .run(&["chat", "hello", "--temperature", "-1"])
        .misused();
    assert!(said.contains("between 0 and 100"), "{said}");
    let said = studio
        .run(&["chat", "hello", "--logits", "nowhere/x.safetensors"])
        .refused();
    assert!(said.contains("nowhere"), "{said}");
    drawn(
        &studio,
        &["a fox", "--init", "den.png", "--out", "over.png"],
    );
    let said = studio
        .run(&["proof", "over.png", "--model", &tiny()])
        .refused();
    assert!(said.contains("not kept with it"), "{said}");
    let said = studio.run(&["resume", "over.png"]).refused();
    assert!(said.contains("this is a picture"), "{said}");
}

#[test]
fn a_picture_that_was_gone_on_with_is_in_the_history() {
    let studio = Studio::new();
    let begun = [
        "a fox",
        "--size",
        "32x40",
        "--trace",
        "a.dtrace",
        "--out",
        "a.png",
        "--no-history",
    ];
    drawn(&studio, &begun);
    let history = || studio.run(&["history", "--json"]).ok().json();
    assert_eq!(history().as_array().unwrap().len(), 0);
    let model = tiny();
    let resume = ["resume", "a.dtrace", "--model", &model, "--out"];
    studio
        .run(&[&resume[..], &["b.png", "--no-history"]].concat())
        .ok();
    assert_eq!(history().as_array().unwrap().len(), 0);
    studio.run(&[&resume[..], &["c.png"]].concat()).ok();
    let kept = history();
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert!(
        kept[0]["path"].as_str().unwrap().ends_with("c.png"),
        "{kept}"
    );
}

#[test]
fn the_windows_folders_of_models_are_known() {
    let studio = Studio::new();
    let folder = studio.path("mine");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("broken.gguf"), b"GGUF").unwrap();
    let mut library = diptych::library::Library::open(studio.data.path(), "window").unwrap();
    let settings = serde_json::json!({"folders": [folder]});
    library.put_setting("settings", &settings).unwrap();
    drop(library);
    let listed = studio.run(&["models"]).ok().stdout;
    assert!(listed.contains("broken"), "{listed}");
}

#[test]
fn a_photograph_is_drawn_over_in_the_size_that_the_model_is_used_to() {
    let studio = Studio::new();
    let photo = image::RgbImage::from_fn(600, 400, |x, y| image::Rgb([x as u8, y as u8, 90]));
    photo.save(studio.path("photo.png")).unwrap();
    let words = [
        "draw",
        "a fox",
        "--init",
        "photo.png",
        "--steps",
        "2",
        "--out",
        "over.png",
    ];
    let run = studio.run(&words);
    assert!(
        run.stderr
            .contains("600x400 pixels and is drawn over at 76x52"),
        "{run:?}"
    );
    run.ok();
    let drawn = image::open(studio.path("over.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (76, 52));
    let asked = studio.run(&[&words[..], &["--size", "120x80"]].concat());
    assert!(!asked.stderr.contains("used to"), "{asked:?}");
    asked.ok();
    let drawn = image::open(studio.path("over.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (120, 80));
    // With a mask its pixels are what it is about; a black one is told.
    image::GrayImage::new(600, 400)
        .save(studio.path("black.png"))
        .unwrap();
    let kept = studio.run(&[&words[..], &["--mask", "black.png", "--size", "120x80"]].concat());
    assert!(kept.stderr.contains("black all over"), "{kept:?}");
    kept.ok();
}
