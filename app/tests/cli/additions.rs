//! ControlNets, learnt words, second passes and upscalers, end to end.

use std::path::Path;

use diptych_inference::formats::picture::png_texts;

use crate::support::{Run, Studio, repository, text, tiny};

fn fixture(name: &str) -> String {
    text(&repository("tests/reference").join(name))
}

/// A drawing of something, and the program's folder with it.
fn studio_with_picture() -> Studio {
    let studio = Studio::new();
    let dot = |x: u32, y: u32| image::Rgb([(x * 6) as u8, (y * 7) as u8, ((x ^ y) * 5) as u8]);
    let picture = image::RgbImage::from_fn(40, 32, dot);
    picture.save(studio.path("photo.png")).unwrap();
    studio
}

fn draw(studio: &Studio, more: &[&str]) -> Run {
    let model = tiny();
    let args: Vec<&str> = [
        "draw",
        "a red fox",
        "--model",
        &model,
        "--steps",
        "4",
        "--seed",
        "5",
        "--size",
        "40x32",
        "--json",
        "--out",
        "out.png",
    ]
    .iter()
    .chain(more)
    .copied()
    .collect();
    studio.run(&args)
}

fn parameters(studio: &Studio, name: &str) -> String {
    let bytes = std::fs::read(studio.path(name)).unwrap();
    let texts = png_texts(Path::new(name), &bytes).unwrap();
    let found = texts.iter().find(|text| text.0 == "parameters");
    found.unwrap().1.clone()
}

#[test]
fn a_controlnet_changes_the_picture_and_is_told_in_it() {
    let studio = studio_with_picture();
    draw(&studio, &[]).ok();
    let plain = std::fs::read(studio.path("out.png")).unwrap();
    let control = format!(
        "{}:canny(photo.png,50,120):0.8:0-0.75",
        fixture("jobs/control-one")
    );
    let report = draw(&studio, &["--control", &control]).ok().json();
    assert_ne!(std::fs::read(studio.path("out.png")).unwrap(), plain);
    let told = &report["request"]["controls"][0];
    assert_eq!(told["model"]["name"], "control-one");
    assert_eq!(told["model"]["hash"].as_str().unwrap().len(), 10);
    assert_eq!(told["end"], 0.75);
    let parameters = parameters(&studio, "out.png");
    for words in [
        "ControlNet 0",
        "Module: canny",
        "Model: control-one",
        "Weight: 0.8",
    ] {
        assert!(parameters.contains(words), "{parameters}");
    }
    let wrong = format!("{}:photo.png", fixture("jobs/control-xl"));
    let error = draw(&studio, &["--control", &wrong]).refused();
    assert!(error.contains("this ControlNet is for"), "{error}");
    let wrong = format!("{}:photo.png", fixture("jobs/lora-kohya.safetensors"));
    let error = draw(&studio, &["--control", &wrong]).refused();
    assert!(error.contains("--control takes a ControlNet"), "{error}");
    draw(&studio, &["--control", "nothing"]).misused();
}

#[test]
fn a_second_pass_is_larger_and_a_learnt_word_counts() {
    let studio = studio_with_picture();
    let upscaler = fixture("upscalers/srvgg-x2.safetensors");
    for more in ["latent", "lanczos", &upscaler] {
        let report = draw(
            &studio,
            &["--hires", "1.5", "--upscaler", more, "--vae-tile"],
        )
        .ok()
        .json();
        assert_eq!(
            (&report["width"], &report["height"]),
            (&60.into(), &48.into())
        );
        assert_eq!(report["request"]["width"], 40);
        let parameters = parameters(&studio, "out.png");
        assert!(parameters.contains("Hires upscale: 1.5"), "{parameters}");
    }
    draw(&studio, &["--upscaler", "latent"]).misused();
    draw(&studio, &["--hires", "1"]).misused();
    draw(&studio, &[]).ok();
    let plain = std::fs::read(studio.path("out.png")).unwrap();
    let word = fixture("jobs/wordthree.safetensors");
    let run = draw(&studio, &["--embedding", &word]).ok();
    assert!(run.stderr.contains("does nothing"), "{}", run.stderr);
    let report = draw(&studio, &["--embedding", &word, "--negative", "wordthree"])
        .ok()
        .json();
    assert_eq!(report["request"]["embeddings"][0]["name"], "wordthree");
    assert_ne!(std::fs::read(studio.path("out.png")).unwrap(), plain);
    let wide = fixture("jobs/wordwide.safetensors");
    let error = draw(&studio, &["--embedding", &wide]).refused();
    assert!(error.contains("24 wide"), "{error}");
}

#[test]
fn a_picture_is_made_larger_and_keeps_what_it_tells() {
    let studio = studio_with_picture();
    draw(&studio, &[]).ok();
    let model = fixture("upscalers/srvgg-x2.safetensors");
    let args = [
        "upscale",
        "out.png",
        "large.png",
        "--model",
        &model,
        "--json",
    ];
    let report = studio.run(&args).ok().json();
    assert_eq!(
        (&report["width"], &report["height"]),
        (&80.into(), &64.into())
    );
    let large = image::open(studio.path("large.png")).unwrap();
    assert_eq!((large.width(), large.height()), (80, 64));
    let parameters = parameters(&studio, "large.png");
    for words in [
        "a red fox",
        "Seed: 5",
        "Postprocess upscaler: srvgg-x2",
        "Postprocess upscale by: 2",
    ] {
        assert!(parameters.contains(words), "{parameters}");
    }
    let args: Vec<&str> = args
        .iter()
        .chain(&["--scale", "3", "--tile", "32"])
        .copied()
        .collect();
    let report = studio.run(&args).ok().json();
    assert_eq!(
        (&report["width"], &report["height"]),
        (&120.into(), &96.into())
    );
    let lora = fixture("jobs/lora-kohya.safetensors");
    let error = studio
        .run(&["upscale", "out.png", "large.png", "--model", &lora])
        .refused();
    assert!(error.contains("takes an ESRGAN"), "{error}");
    let error = studio
        .run(&["upscale", "nowhere.png", "large.png", "--model", &model])
        .refused();
    assert!(error.contains("nowhere.png"), "{error}");
}
