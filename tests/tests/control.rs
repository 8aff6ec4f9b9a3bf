//! What no other program has, from outside: prompts over the steps, ways between pictures, ablation, proofs, settings out of pictures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command as Process, Output, Stdio};

use clap::Parser as _;
use diptych::cli::args::Cli;
use diptych::library::files;
use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::engine::{DeviceChoice, ImageRequest, ModelRef, Toward};
use diptych_inference::formats::picture::encode_png;
use diptych_inference::text::prompt::{Emphasis, PromptSyntax};
use diptych_tests::traced::{self, Drawn, branch};
use diptych_tests::{Client, fixture};
use serde_json::Value;

fn request(model: &ModelRef, prompt: &str, sampler: SamplerKind) -> ImageRequest {
    ImageRequest {
        negative_prompt: "blurry".into(),
        steps: 8,
        guidance: 5.0,
        sampler,
        schedule: ScheduleKind::Normal,
        seed: 5,
        trace: true,
        ..ImageRequest::new(model.clone(), prompt, 40, 32)
    }
}

fn draw(client: &mut Client, request: &ImageRequest) -> Drawn {
    traced::draw(client, request).unwrap()
}

fn hashes(drawn: &Drawn) -> Vec<[u8; 32]> {
    drawn.steps.iter().map(|step| step.sha256).collect()
}

/// A prompt that changes is the same as a picture that branches: that part is known to be right.
#[test]
fn prompts_change_when_automatic1111_changes_them() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    // Sampler, prompt, steps done when the other words take over: of the evaluations one more than said.
    let cases = [
        (SamplerKind::Euler, "[a red fox:a blue whale:3]", 4),
        (SamplerKind::Euler, "[a red fox:a blue whale:0.5]", 5),
        (SamplerKind::EulerAncestral, "[a red fox:a blue whale:2]", 3),
        // Twice as many evaluations: 16, of which 4 say the first.
        (SamplerKind::Heun, "[a red fox:a blue whale:3]", 2),
        (SamplerKind::DpmPpSde, "[a red fox:a blue whale:0.25]", 2),
    ];
    for (sampler, prompt, step) in cases {
        let fox = draw(&mut client, &request(&model, "a red fox", sampler));
        let changed = draw(&mut client, &request(&model, prompt, sampler));
        let mut whale = request(&model, "a blue whale", sampler);
        // Where a step asks twice the change may fall between its halves, so that a branch is not quite the same.
        let common = (0..=8)
            .take_while(|i| fox.steps[*i].sha256 == changed.steps[*i].sha256)
            .count()
            - 1;
        assert_eq!(common, step, "{prompt}");
        whale.trace = false;
        let branched = branch(&mut client, &fox.steps[step].bytes, &whale).unwrap();
        if !sampler.asks_twice() {
            assert_eq!(branched.picture.rgb, changed.picture.rgb, "{prompt}");
        }
        assert_ne!(changed.picture.rgb, fox.picture.rgb);
    }
    let fox = draw(
        &mut client,
        &request(&model, "a red fox", SamplerKind::Euler),
    );
    let whale = draw(
        &mut client,
        &request(&model, "a blue whale", SamplerKind::Euler),
    );
    let both = draw(
        &mut client,
        &request(&model, "[a red fox|a blue whale]", SamplerKind::Euler),
    );
    assert_eq!(hashes(&both)[..3], hashes(&fox)[..3]);
    assert_ne!(both.steps[3].sha256, fox.steps[3].sha256);
    assert_ne!(both.picture.rgb, whale.picture.rgb);
    // In the middle of it, it goes on the same.
    let again = branch(
        &mut client,
        &both.steps[5].bytes,
        &request(&model, "[a red fox|a blue whale]", SamplerKind::Euler),
    )
    .unwrap();
    assert_eq!(again.picture.rgb, both.picture.rgb);
    // ComfyUI and plain text have no such thing.
    for syntax in [PromptSyntax::None, PromptSyntax::ComfyUi] {
        let mut plain = request(&model, "[a red fox|a blue whale]", SamplerKind::Euler);
        plain.prompt_syntax = syntax;
        assert_ne!(
            draw(&mut client, &plain).steps[1].sha256,
            fox.steps[1].sha256
        );
    }
}

#[test]
fn weights_do_what_each_program_lets_them_do() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let with = |prompt: &str, emphasis: Emphasis| {
        let mut request = request(&model, prompt, SamplerKind::Euler);
        (request.emphasis, request.prompt_syntax) = (emphasis, PromptSyntax::ComfyUi);
        request
    };
    let all = [Emphasis::Original, Emphasis::NoNorm, Emphasis::ComfyUi];
    let weighted = all.map(|emphasis| {
        draw(&mut client, &with("a (red:1.6) fox", emphasis))
            .picture
            .rgb
            .clone()
    });
    assert!(weighted[0] != weighted[1] && weighted[1] != weighted[2] && weighted[0] != weighted[2]);
    let plain = all.map(|emphasis| {
        draw(&mut client, &with("a red fox", emphasis))
            .picture
            .rgb
            .clone()
    });
    assert!(plain[0] == plain[1] && plain[1] == plain[2]);
    // A weight of 1 is none.
    let one = draw(&mut client, &with("a (red:1.0) fox", Emphasis::ComfyUi));
    assert_eq!(one.picture.rgb, plain[0]);
}

#[test]
fn a_way_leads_from_one_picture_to_the_other() {
    let mut client = Client::start(DeviceChoice::Cpu).unwrap();
    let model = client.add_model(&fixture("models/tiny-sd")).unwrap();
    let first = request(&model, "a red fox", SamplerKind::Euler);
    let mut last = request(&model, "a blue whale", SamplerKind::Euler);
    last.seed = 99;
    let mut at = |amount: f32| {
        let request = ImageRequest {
            toward: Some(Toward {
                prompt: "a blue whale".into(),
                negative_prompt: "blurry".into(),
                seed: 99,
                amount,
            }),
            ..first.clone()
        };
        draw(&mut client, &request).picture.rgb.clone()
    };
    let frames: Vec<Vec<u8>> = [0.0, 0.25, 0.5, 0.75, 1.0].map(&mut at).to_vec();
    let ends = [first, last].map(|request| draw(&mut client, &request).picture.rgb.clone());
    assert_eq!(frames[0], ends[0]);
    let far = |a: &[u8], b: &[u8]| -> f64 {
        let sum: f64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| f64::from(a.abs_diff(*b)))
            .sum();
        sum / a.len() as f64
    };
    assert!(
        far(&frames[4], &ends[1]) < 0.5,
        "{}",
        far(&frames[4], &ends[1])
    );
    let from_first: Vec<f64> = frames.iter().map(|frame| far(frame, &ends[0])).collect();
    println!("distances from the first: {from_first:.1?}");
    // A quarter of the way is nearer to the beginning, three quarters to the end, and no frame is another.
    assert!(far(&frames[1], &ends[0]) < far(&frames[1], &ends[1]));
    assert!(far(&frames[3], &ends[1]) < far(&frames[3], &ends[0]));
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1]));
}

const WORDS: &str = "DIPTYCH_CONTROL_WORDS";

/// Not a test but the program itself, run in a process of its own; without words it has nothing to do.
#[test]
fn play_the_program() {
    let Ok(words) = std::env::var(WORDS) else {
        return;
    };
    let words: Vec<String> = serde_json::from_str(&words).unwrap();
    let words = std::iter::once("diptych".to_owned()).chain(words);
    let code = match diptych::cli::run(Cli::try_parse_from(words).unwrap()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            9
        }
    };
    std::io::stdout().flush().unwrap();
    std::process::exit(code);
}

/// Runs the program in a folder; its standard output without what the test harness says.
fn diptych(folder: &Path, words: &[&str]) -> (bool, String, String) {
    let model = fixture("models/tiny-sd");
    let mut all: Vec<&str> = words.to_vec();
    let takes_model = !matches!(words[0], "inspect") && !words.contains(&"--model");
    let compares = words[0] == "proof" && words.len() > 2 && !words[2].starts_with("--");
    if takes_model && !compares {
        all.extend(["--model", model.to_str().unwrap()]);
    }
    all.extend(["--device", "cpu", "--data-dir", "data"]);
    let Output {
        status,
        stdout,
        stderr,
    } = Process::new(std::env::current_exe().unwrap())
        .args([
            "play_the_program",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(WORDS, serde_json::to_string(&all).unwrap())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = text(stdout);
    let said = said
        .split_once("running 1 test\n")
        .map_or("", |(_, said)| said);
    (status.success(), said.to_owned(), text(stderr))
}

fn done(folder: &Path, words: &[&str]) -> String {
    let (good, said, trouble) = diptych(folder, words);
    assert!(good, "{words:?}: {trouble}");
    said
}

fn json(said: &str) -> Value {
    let (start, end) = (said.find('{').unwrap(), said.rfind('}').unwrap());
    serde_json::from_str(&said[start..=end]).unwrap_or_else(|error| panic!("{error}: {said}"))
}

const SMALL: [&str; 6] = ["--steps", "4", "--size", "40x32", "--seed", "7"];

#[test]
fn ways_are_written_as_animations_and_strips() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |more: &[&str]| {
        let words = [
            &[
                "morph", "--from", "a fox", "--to", "a whale", "--frames", "4", "--quiet",
            ][..],
            &SMALL[..],
            more,
        ]
        .concat();
        done(folder.path(), &words)
    };
    draw(&["way.png", "--to-seed", "8", "--cells", "cells"]);
    draw(&["strip.png", "--strip", "--to-seed", "8"]);
    draw(&["way.gif", "--back"]);
    let strip = image::open(folder.path().join("strip.png"))
        .unwrap()
        .to_rgb8();
    assert_eq!(strip.dimensions(), (160, 32));
    // The frames are those of the strip, and the first is that of the animation.
    for number in 0..4u32 {
        let cell = folder.path().join(format!("cells/{:04}.png", number + 1));
        let told = files::told(&cell).unwrap().request;
        assert_eq!(told.toward.is_some(), number > 0);
        let cell = image::open(cell).unwrap().to_rgb8();
        let part = image::imageops::crop_imm(&strip, 40 * number, 0, 40, 32).to_image();
        assert_eq!(cell, part, "{number}");
    }
    let first = image::open(folder.path().join("way.png"))
        .unwrap()
        .to_rgb8();
    assert_eq!(
        first,
        image::imageops::crop_imm(&strip, 0, 0, 40, 32).to_image()
    );
    let bytes = std::fs::read(folder.path().join("way.png")).unwrap();
    assert!(bytes.windows(4).any(|tag| tag == b"acTL"));
    let gif = std::fs::read(folder.path().join("way.gif")).unwrap();
    assert!(gif.starts_with(b"GIF89a"));
    let frames = gif
        .windows(4)
        .filter(|tag| *tag == [0x21, 0xf9, 4, 0])
        .count();
    assert!(frames >= 6, "{frames}");
    let (good, _, trouble) = diptych(
        folder.path(),
        &["morph", "--from", "a", "--to", "b", "way.jpg"],
    );
    assert!(!good && trouble.contains(".gif"), "{trouble}");
}

#[test]
fn phrases_that_do_nothing_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        &["ablate", "a red fox <lora:none:0>", "--json", "--quiet"][..],
        &SMALL[..],
    ]
    .concat();
    let report = json(&done(folder.path(), &words));
    let phrases = report["phrases"].as_array().unwrap();
    assert_eq!(phrases.len(), 4);
    let of = |name: &str| {
        let found = phrases.iter().find(|phrase| phrase["phrase"] == name);
        found.unwrap().clone()
    };
    // A tag of no weight leaves nothing behind.
    let tag = of("<lora:none:0>");
    assert_eq!(tag["moved"], 0.0);
    assert_eq!(tag["nothing"], true);
    assert!(of("fox")["moved"].as_f64().unwrap() > 0.0);
    let moved = |phrase: &Value| phrase["moved"].as_f64().unwrap();
    assert!(
        phrases
            .windows(2)
            .all(|pair| moved(&pair[0]) >= moved(&pair[1]))
    );
    assert!(report["other_seed"].as_f64().unwrap() > 0.0);
    let early = [
        &["ablate", "a red fox", "--at", "1", "--json", "--quiet"][..],
        &SMALL[..],
    ]
    .concat();
    let early = json(&done(folder.path(), &early));
    assert_eq!(early["compared_after"], 1);
    assert_eq!(early["phrases"].as_array().unwrap().len(), 3);
}

#[test]
fn proofs_tell_the_same_from_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |prompt: &str, name: &str, more: &[&str]| {
        let out = format!("{name}.png");
        let proof = format!("{name}.json");
        let words = [
            &[
                "draw",
                prompt,
                "--out",
                &out,
                "--proof",
                &proof,
                "--no-history",
                "--quiet",
            ][..],
            &SMALL[..],
            more,
        ]
        .concat();
        done(folder.path(), &words);
    };
    draw("a fox", "a", &["--trace", "a.dtrace"]);
    draw("a fox", "b", &[]);
    draw("[a fox:a whale:1]", "c", &[]);
    let compare = |a: &str, b: &str| diptych(folder.path(), &["proof", a, b]);
    for (a, b, word) in [
        ("a.json", "b.json", "identical: 5 steps and the picture"),
        ("a.dtrace", "b.json", "identical: 5 steps and the picture"),
        ("a.png", "b.png", "identical: the same picture"),
        ("a.png", "a.dtrace", "identical"),
    ] {
        let (good, said, trouble) = compare(a, b);
        assert!(good && said.contains(word), "{a} {b}: {said}{trouble}");
    }
    // The first two evaluations say the same.
    let (good, said, _) = compare("a.json", "c.json");
    assert!(
        !good && said.contains("differs from step 3: other settings (prompt)"),
        "{said}"
    );
    for again in ["a.json", "a.dtrace", "a.png"] {
        let said = done(folder.path(), &["proof", again]);
        assert!(said.contains("identical"), "{again}: {said}");
    }
    for (name, bytes) in [
        ("bad.json", &b"{\"format\": 1}"[..]),
        ("worse.json", b"{"),
        ("none.png", b"nothing"),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let (good, _, trouble) = compare(name, "a.json");
        assert!(!good && trouble.contains(name), "{name}: {trouble}");
    }
}

#[test]
fn settings_come_out_of_pictures_and_traces() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pixels = |name: &str| image::open(at(name)).unwrap().to_rgb8().into_raw();
    let begin = [
        &[
            "draw",
            "a {red|blue|green} fox, __place__",
            "--out",
            "a.png",
            "--trace",
            "a.dtrace",
            "--no-history",
            "--quiet",
            "--sampler",
            "Euler a",
            "--negative",
            "blur",
        ][..],
        &SMALL[..],
    ]
    .concat();
    std::fs::create_dir_all(at("data/wildcards")).unwrap();
    std::fs::write(at("data/wildcards/place.txt"), "in snow\n# no\nat sea\n").unwrap();
    done(folder.path(), &begin);
    let told = files::told(&at("a.png")).unwrap().request;
    assert!(told.template.as_ref().unwrap().prompt.contains("__place__"));
    assert!(!told.prompt.contains(['{', '_']), "{}", told.prompt);
    // The lists may go; what was drawn can be drawn again.
    std::fs::remove_dir_all(at("data/wildcards")).unwrap();
    let draw = |from: &str, out: &str, more: &[&str]| {
        let words = [
            &[
                "draw",
                "--from",
                from,
                "--out",
                out,
                "--no-history",
                "--quiet",
            ][..],
            more,
        ]
        .concat();
        done(folder.path(), &words);
    };
    draw("a.png", "b.png", &[]);
    assert_eq!(pixels("b.png"), pixels("a.png"));
    draw("a.dtrace", "c.png", &[]);
    assert_eq!(pixels("c.png"), pixels("a.png"));
    draw("a.dtrace", "d.png", &["--step", "2"]);
    assert_eq!(pixels("d.png"), pixels("a.png"));
    draw("a.dtrace", "e.png", &["--step", "2", "--guidance", "2"]);
    assert_ne!(pixels("e.png"), pixels("a.png"));
    // What a branch tells of itself draws it again.
    draw("e.png", "f.png", &[]);
    assert_eq!(pixels("f.png"), pixels("e.png"));
    let refused = |words: &[&str], word: &str| {
        let (good, _, trouble) = diptych(folder.path(), words);
        assert!(!good && trouble.contains(word), "{words:?}: {trouble}");
    };
    refused(&["draw", "--from", "a.dtrace", "--step", "9"], "0 to 4");
    refused(
        &["draw", "--from", "a.dtrace", "--step", "2", "--seed", "1"],
        "seed",
    );
    refused(&["draw", "--from", "a.png", "--step", "2"], "trace");
    refused(&["resume", "a.png"], "cannot be resumed");
    // Another program's picture: what can be taken is taken, what cannot is told.
    let text = "a whale\nNegative prompt: grey\nSteps: 3, Sampler: Euler, Schedule type: Normal, CFG scale: 4, Seed: 11, Size: 40x32, Model: other, ADetailer model: x";
    let picture = encode_png(&[0; 12], 2, 2, &[("parameters", text)]).unwrap();
    std::fs::write(at("theirs.png"), picture).unwrap();
    let (good, _, trouble) = diptych(
        folder.path(),
        &[
            "draw",
            "--from",
            "theirs.png",
            "--out",
            "g.png",
            "--steps",
            "2",
            "--no-history",
        ],
    );
    assert!(
        good && trouble.contains("ADetailer") && trouble.contains("'other'"),
        "{trouble}"
    );
    let told = files::told(&at("g.png")).unwrap().request;
    assert_eq!(
        (told.prompt.as_str(), told.negative_prompt.as_str()),
        ("a whale", "grey")
    );
    assert_eq!((told.seed, told.steps, told.guidance), (11, 2, 4.0));
    assert_eq!(
        (told.width, told.height, told.sampler),
        (40, 32, SamplerKind::Euler)
    );
}
