//! `diptych draw --trace`, killed at any moment: the trace has whole steps, and `diptych resume` finishes the very picture.

use std::path::Path;
use std::time::{Duration, Instant};

use diptych_inference::formats::trace::{Trace, is_trace};
use diptych_tests::fixture;
use rand::Rng as _;

use crate::{child, generator, kills};

const STEPS: usize = 60;

fn start(folder: &Path, name: &str) -> child::Running {
    let model = fixture("models/tiny-sd");
    let (trace, out) = (format!("{name}.dtrace"), format!("{name}.png"));
    let steps = STEPS.to_string();
    let words = [
        "draw",
        "a fox",
        "--model",
        model.to_str().unwrap(),
        "--steps",
        &steps,
        "--seed",
        "9",
        "--sampler",
        "dpmpp_2m_sde",
        "--size",
        "32x40",
        "--quiet",
        "--device",
        "cpu",
        "--trace",
        &trace,
        "--out",
        &out,
        "--no-history",
    ];
    child::start("cli", &words, folder)
}

fn pixels(folder: &Path, name: &str) -> Vec<u8> {
    image::open(folder.join(format!("{name}.png")))
        .unwrap()
        .to_rgb8()
        .into_raw()
}

#[test]
fn a_killed_picture_is_finished_as_it_would_have_been() {
    let mut random = generator("trace");
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    start(folder.path(), "whole").finish();
    let time = begun.elapsed();
    let whole = pixels(folder.path(), "whole");
    let hashes = |name: &str| -> Vec<String> {
        let trace = Trace::open(&folder.path().join(format!("{name}.dtrace"))).unwrap();
        trace.steps().map(|step| step.sha256.clone()).collect()
    };
    let wanted = hashes("whole");
    assert_eq!(wanted.len(), STEPS + 1);
    let (mut resumed, mut middle) = (0, 0);
    for round in 0..kills() {
        let drawing = start(folder.path(), "cut");
        let part = random.random_range(0.0..1.0);
        let mut drawing = drawing;
        drawing.run_for(Duration::from_secs_f64(time.as_secs_f64() * part));
        drawing.kill();
        let path = folder.path().join("cut.dtrace");
        let Some(trace) = is_trace(&path).then(|| Trace::open(&path).unwrap()) else {
            continue; // killed before the first byte
        };
        let kept = trace.steps().len();
        if kept == 0 {
            continue;
        }
        middle += usize::from(kept > 1 && kept < STEPS);
        let model = fixture("models/tiny-sd");
        let words = [
            "resume",
            "cut.dtrace",
            "--model",
            model.to_str().unwrap(),
            "--out",
            "cut.png",
            "--quiet",
            "--device",
            "cpu",
        ];
        child::start("cli", &words, folder.path()).finish();
        assert_eq!(
            pixels(folder.path(), "cut"),
            whole,
            "round {round}: killed after {kept} states"
        );
        assert_eq!(hashes("cut"), wanted, "round {round}");
        std::fs::remove_file(path).unwrap();
        resumed += 1;
    }
    println!(
        "{resumed} of {} kills resumed, {middle} of them in the middle; whole: {time:.1?}",
        kills()
    );
    assert!(middle > 0, "no kill fell between two steps");
}
