//! Pictures from words, end to end.

use std::path::Path;

use diptych_inference::formats::picture::png_texts;
use diptych_inference::formats::safetensors::{read_safetensors, write_safetensors};
use serde_json::Value;

use crate::support::{Run, Studio, repository, text, tiny};

const SIZE: &[&str] = &["--size", "32x40"];

/// Draws with the tiny model.
fn draw(studio: &Studio, more: &[&str]) -> Run {
    let model = tiny();
    let args: Vec<&str> = ["draw", "a red fox", "--model", &model, "--steps", "4"]
        .iter()
        .chain(SIZE)
        .chain(more)
        .copied()
        .collect();
    studio.run(&args)
}

fn png(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().into_rgb8()
}

#[test]
fn the_built_in_model_draws_with_its_own_defaults() {
    let studio = Studio::new();
    let run = studio
        .run(&[
            "draw",
            "a red fox, flat style",
            "--seed",
            "7",
            "--out",
            "fox.png",
            "--json",
        ])
        .ok();
    let report = run.json();
    let defaults = defaults();
    let request = &report["request"];
    for key in [
        "width", "height", "steps", "guidance", "sampler", "schedule",
    ] {
        assert_eq!(request[key], defaults[key], "{key}");
    }
    assert_eq!(report["path"], "fox.png");
    assert_eq!(report["executor"], "cpu");
    assert_eq!(request["model"]["name"], "sketch");
    assert_eq!(request["model"]["hash"].as_str().unwrap().len(), 10);
    let picture = png(&studio.path("fox.png"));
    assert_eq!(Value::from(picture.width()), defaults["width"]);
    let distinct: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(
        distinct.len() > 50,
        "a picture of {} colours",
        distinct.len()
    );
}

/// What the built-in model wants.
fn defaults() -> Value {
    let path = repository("assets/models/sketch/diptych.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// To name the convention that is taken anyway changes nothing; another one has its own spacing.
#[test]
fn a_models_spacing_belongs_to_its_convention() {
    let studio = Studio::new();
    let request = |more: &[&str]| {
        let args = [
            "draw", "a", "--seed", "1", "--steps", "1", "--out", "a.png", "--json",
        ];
        studio.run(&[&args[..], more].concat()).ok().json()["request"].take()
    };
    let plain = request(&[]);
    assert_eq!(plain["spacing"], defaults()["spacing"]);
    assert_eq!(request(&["--convention", "kdiffusion"]), plain);
    assert_eq!(
        request(&["--convention", "diffusers"])["spacing"],
        Value::Null
    );
    let said = request(&["--convention", "diffusers", "--spacing", "trailing"]);
    assert_eq!(said["spacing"], "trailing");
}

#[test]
fn what_was_asked_for_is_read_back_from_the_picture() {
    let studio = Studio::new();
    let run = studio
        .run(&[
            "draw",
            "a red fox: \"sly\", (big:1.2)",
            "--model",
            &tiny(),
            "--out",
            "fox.png",
            "--seed",
            "4294967297",
            "--steps",
            "3",
            "--sampler",
            "euler_ancestral",
            "--schedule",
            "normal",
            "--convention",
            "diffusers",
            "--spacing",
            "trailing",
            "--guidance",
            "7.3",
            "--negative",
            "blurry, low quality",
            "--size",
            "40x32",
        ])
        .ok();
    assert_eq!(run.stdout, "fox.png\n");
    let told = studio.run(&["inspect", "fox.png", "--json"]).ok().json();
    let wanted = serde_json::json!({
        "software": "Diptych",
        "prompt": "a red fox: \"sly\", (big:1.2)",
        "negative_prompt": "blurry, low quality",
        "seed": 4_294_967_297u64,
        "steps": 3,
        "sampler": "Euler a",
        "schedule": "Normal",
        "cfg_scale": 7.3,
        "width": 40,
        "height": 32,
        "model": "tiny-sd",
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&told[key], value, "{key}");
    }
    let hash = told["model_hash"].as_str().unwrap();
    assert!(
        hash.len() == 10 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{hash}"
    );
    let texts = png_texts(
        Path::new("fox.png"),
        &std::fs::read(studio.path("fox.png")).unwrap(),
    )
    .unwrap();
    let of = |key: &str| {
        texts
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, text)| text.as_str())
            .unwrap()
    };
    assert!(
        of("parameters")
            .contains("Negative prompt: blurry, low quality\nSteps: 3, Sampler: Euler a, ")
    );
    assert!(
        of("parameters").contains("RNG: CPU") && of("parameters").contains("Spacing: trailing")
    );
    assert!(of("XML:com.adobe.xmp").contains("trainedAlgorithmicMedia"));
    let own: Value = serde_json::from_str(of("diptych")).unwrap();
    assert_eq!(own["image"]["convention"], "diffusers");
    // Nothing in the file tells where its maker keeps files.
    let everything: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    assert!(
        !everything.contains("tests/reference")
            && !everything.contains(studio.folder.path().to_str().unwrap())
    );
    let plain = studio.run(&["inspect", "fox.png"]).ok().stdout;
    assert!(
        plain.contains("Euler a") && plain.contains("40x32"),
        "{plain}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let studio = Studio::new();
    draw(&studio, &["--seed", "5", "--out", "a.png"]).ok();
    draw(&studio, &["--seed", "5", "--out", "b.png"]).ok();
    draw(&studio, &["--seed", "6", "--out", "c.png"]).ok();
    let bytes = |name: &str| std::fs::read(studio.path(name)).unwrap();
    assert_eq!(bytes("a.png"), bytes("b.png"));
    assert_ne!(png(&studio.path("a.png")), png(&studio.path("c.png")));
}

#[test]
fn several_take_the_next_seeds_and_numbers() {
    let studio = Studio::new();
    let run = draw(
        &studio,
        &["--seed", "5", "--count", "3", "--out", "fox.png"],
    )
    .ok();
    assert_eq!(run.stdout, "fox.png\nfox-2.png\nfox-3.png\n");
    draw(&studio, &["--seed", "6", "--out", "single.png"]).ok();
    assert_eq!(
        png(&studio.path("fox-2.png")),
        png(&studio.path("single.png"))
    );
    let seeds = |name: &str| {
        studio.run(&["inspect", name, "--json"]).ok().json()["seed"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        [seeds("fox.png"), seeds("fox-2.png"), seeds("fox-3.png")],
        [5, 6, 7]
    );
}

#[test]
fn a_name_that_was_given_is_overwritten_and_one_that_was_made_is_not() {
    let studio = Studio::new();
    studio.file("fox.png", "old");
    draw(&studio, &["--out", "fox.png"]).ok();
    assert_eq!(png(&studio.path("fox.png")).dimensions(), (32, 40));
    let first = draw(&studio, &["--seed", "9"]).ok().stdout;
    let second = draw(&studio, &["--seed", "9"]).ok().stdout;
    assert_eq!(
        [first.as_str(), second.as_str()],
        ["a-red-fox-9.png\n", "a-red-fox-9-2.png\n"]
    );
    // No temporary file is left.
    assert_eq!(std::fs::read_dir(studio.folder.path()).unwrap().count(), 3);
}

#[test]
fn a_seed_that_nobody_chose_is_new_and_told() {
    let studio = Studio::new();
    let seed = |name: &str| {
        draw(&studio, &["--out", name, "--json"]).ok().json()["seed"]
            .as_u64()
            .unwrap()
    };
    let (first, second) = (seed("a.png"), seed("b.png"));
    assert_ne!(first, second);
    draw(&studio, &["--seed", &first.to_string(), "--out", "c.png"]).ok();
    assert_eq!(png(&studio.path("a.png")), png(&studio.path("c.png")));
}

#[test]
fn progress_is_on_stderr_unless_quiet() {
    let studio = Studio::new();
    let loud = draw(&studio, &["--out", "a.png"]).ok();
    assert!(
        loud.stderr.contains("step 4/4") && loud.stderr.contains("loading tiny-sd"),
        "{loud:?}"
    );
    assert!(
        !loud.stderr.contains('\r') && !loud.stderr.contains('\x1b'),
        "{loud:?}"
    );
    let quiet = draw(&studio, &["--out", "a.png", "--quiet"]).ok();
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        ("a.png\n", "")
    );
    let json = draw(&studio, &["--out", "a.png", "--json", "--count", "2"]).ok();
    assert_eq!(json.json_lines().len(), 2);
}

/// Latents written by one run, read by the next.
#[test]
fn latents_go_in_and_out() {
    let studio = Studio::new();
    let noise: Vec<f32> = (0..2 * 4 * 10 * 8)
        .map(|n| ((n * 37 % 101) as f32 - 50.0) / 29.0)
        .collect();
    write_safetensors(
        &studio.path("noise.safetensors"),
        &[("noise", [2, 4, 10, 8], &noise)],
    )
    .unwrap();
    let both = [
        "--latents",
        "noise.safetensors",
        "--count",
        "2",
        "--sampler",
        "heun",
        "--out",
        "fox.png",
    ];
    draw(
        &studio,
        &[
            &both[..],
            &["--dump-latents", "steps.safetensors", "--seed", "1"],
        ]
        .concat(),
    )
    .ok();
    for name in ["steps.safetensors", "steps-2.safetensors"] {
        let steps = read_safetensors(&studio.path(name)).unwrap().tensors;
        let mut names: Vec<&str> = steps.names().collect();
        names.sort_unstable();
        assert_eq!(names, ["step_00", "step_01", "step_02", "step_03"]);
        assert_eq!(steps.get("step_03").unwrap().shape(), [1, 4, 10, 8]);
    }
    // The second noise alone gives the second picture.
    write_safetensors(
        &studio.path("second.safetensors"),
        &[("noise", [1, 4, 10, 8], &noise[320..])],
    )
    .unwrap();
    let alone = [
        "--latents",
        "second.safetensors",
        "--sampler",
        "heun",
        "--out",
        "alone.png",
        "--seed",
        "2",
    ];
    draw(&studio, &alone).ok();
    assert_eq!(
        png(&studio.path("alone.png")),
        png(&studio.path("fox-2.png"))
    );
    assert_ne!(png(&studio.path("fox.png")), png(&studio.path("fox-2.png")));
}

/// The latents after every step equal those of diffusers, and so does the picture.
#[test]
fn latents_and_picture_equal_the_reference() {
    let studio = Studio::new();
    let folder = repository("tests/reference/models/pictures");
    let inputs = text(&folder.join("tiny-sd.inputs.safetensors"));
    for (file, sampler, schedule) in [
        ("dpmpp_2m_karras", "DPM++ 2M", "karras"),
        ("euler_a", "Euler a", "normal"),
        ("ddim", "DDIM", "normal"),
    ] {
        let settings = [
            "--convention",
            "diffusers",
            "--spacing",
            "leading",
            "--seed",
            "1234",
            "--steps",
            "10",
        ];
        let prompts = [
            "draw",
            "a red fox and the cat",
            "--negative",
            "blurry, low quality",
            "--prompt-syntax",
            "none",
        ];
        let out = [
            "--out",
            "fox.png",
            "--dump-latents",
            "steps.safetensors",
            "--size",
            "40x32",
            "--guidance",
            "5",
        ];
        let given = [
            "--latents",
            &inputs,
            "--sampler",
            sampler,
            "--schedule",
            schedule,
            "--model",
            &tiny(),
        ];
        studio
            .run(&[&prompts[..], &settings, &out, &given].concat())
            .ok();
        let wanted = read_safetensors(&folder.join(format!("tiny-sd.{file}.safetensors")))
            .unwrap()
            .tensors;
        let latents = wanted.get("g5_latents").unwrap().to_f32().unwrap();
        let steps = read_safetensors(&studio.path("steps.safetensors"))
            .unwrap()
            .tensors;
        assert_eq!(steps.len(), 10);
        for (index, wanted) in latents.chunks_exact(4 * 8 * 10).enumerate() {
            let got = steps
                .get(&format!("step_{index:02}"))
                .unwrap()
                .to_f32()
                .unwrap();
            let norm = |values: &mut dyn Iterator<Item = f32>| {
                values.map(|value| value * value).sum::<f32>().sqrt()
            };
            let error = norm(&mut got.iter().zip(wanted).map(|(got, wanted)| got - wanted));
            let relative = error / norm(&mut wanted.iter().copied());
            assert!(relative < 1e-3, "{file}: step {index}: {relative}");
        }
        let picture = wanted.get("g5_picture").unwrap().bytes();
        let got = png(&studio.path("fox.png"));
        assert_eq!(got.as_raw().len(), picture.len());
        let worst = got
            .as_raw()
            .iter()
            .zip(picture)
            .map(|(got, wanted)| got.abs_diff(*wanted));
        assert!(worst.max().unwrap() <= 2, "{file}");
    }
}

#[cfg(unix)]
mod interrupted {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Command;

    use super::*;

    /// Starts a long job and interrupts it once it is at work. Gives exit code, stdout and stderr.
    fn interrupt(studio: &Studio, args: &[&str], wait_for: &str) -> (Option<i32>, String, String) {
        let mut child = studio
            .command(&[args, &["--device", "cpu"]].concat())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(wait_for) {
            assert!(
                stderr.read_line(&mut said).unwrap() > 0,
                "ended early: {said}"
            );
        }
        assert!(
            Command::new("sh")
                .args(["-c", &format!("kill -INT {}", child.id())])
                .status()
                .unwrap()
                .success()
        );
        let mut stdout = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), stdout, said)
    }

    #[test]
    fn keeps_what_was_drawn_and_says_so() {
        let studio = Studio::new();
        let model = tiny();
        let args = [
            "draw", "a fox", "--model", &model, "--steps", "1000", "--size", "128x128", "--out",
            "fox.png",
        ];
        let start = std::time::Instant::now();
        let (code, stdout, stderr) = interrupt(
            &studio,
            &[&args[..], &["--count", "2"]].concat(),
            "step 1/1000",
        );
        assert_eq!(code, Some(130), "{stderr}");
        assert_eq!(stdout, "fox.png\n");
        assert!(
            stderr.contains("cancelled at step") && stderr.contains("fox.png"),
            "{stderr}"
        );
        assert_eq!(png(&studio.path("fox.png")).dimensions(), (128, 128));
        assert!(!studio.path("fox-2.png").exists());
        let texts = png_texts(
            Path::new("fox.png"),
            &std::fs::read(studio.path("fox.png")).unwrap(),
        )
        .unwrap();
        assert!(texts.iter().any(|(_, text)| text.contains("Steps done: ")));
        assert!(start.elapsed().as_secs() < 30);
    }

    #[test]
    fn a_text_ends_where_it_is() {
        let studio = Studio::new();
        // Long enough that the prompt alone takes a while.
        let prompt = "a cat and ".repeat(250);
        let args = [
            "complete",
            &prompt,
            "--max-tokens",
            "1000000",
            "--seed",
            "1",
            "-v",
        ];
        let (code, stdout, stderr) = interrupt(&studio, &args, "loads 'muse'");
        assert_eq!(code, Some(130), "{stdout} {stderr}");
        assert!(!stderr.contains("error: "), "{stderr}");
    }
}
