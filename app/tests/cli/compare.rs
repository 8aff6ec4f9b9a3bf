//! Grids of prompts and seeds, end to end.

use diptych_inference::formats::picture::png_texts;
use serde_json::{Value, json};

use crate::support::{Run, Studio, muse, tiny};

/// A grid of the tiny model.
fn compare(studio: &Studio, more: &[&str]) -> Run {
    let model = tiny();
    let args: Vec<&str> = [
        "compare", "--model", &model, "--steps", "3", "--size", "32x32",
    ]
    .iter()
    .chain(more)
    .copied()
    .collect();
    studio.run(&args)
}

#[test]
fn a_grid_has_every_cell_and_tells_its_requests() {
    let studio = Studio::new();
    let run = compare(
        &studio,
        &[
            "--prompt",
            "a red fox",
            "--prompt",
            "a blue fox",
            "--seeds",
            "5,6,7",
            "--out",
            "grid.png",
            "--cells",
            "cells",
            "--title",
            "Foxes",
            "--json",
        ],
    )
    .ok();
    let report = run.json();
    assert_eq!(report["path"], "grid.png");
    assert_eq!(report["seeds"], json!([5, 6, 7]));
    assert_eq!(report["cancelled"], false);
    let cells = report["cells"].as_array().unwrap();
    // Column by column, so that prompts can be compared early.
    let order: Vec<_> = cells
        .iter()
        .map(|cell| {
            (
                cell["prompt"].as_str().unwrap(),
                cell["seed"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        order[..3],
        [("a red fox", 5), ("a blue fox", 5), ("a red fox", 6)]
    );
    assert_eq!(cells.len(), 6);

    // A cell's file is what `draw` draws with the same words.
    let cell = &cells[1];
    let drawn = image::open(studio.path(cell["path"].as_str().unwrap()))
        .unwrap()
        .into_rgb8();
    assert_eq!(drawn.dimensions(), (32, 32));
    let model = tiny();
    studio
        .run(&[
            "draw",
            "a blue fox",
            "--model",
            &model,
            "--steps",
            "3",
            "--size",
            "32x32",
            "--seed",
            "5",
            "--out",
            "one.png",
        ])
        .ok();
    let one = image::open(studio.path("one.png")).unwrap().into_rgb8();
    assert!(
        one == drawn,
        "the cell is another picture than the same request draws alone"
    );

    let bytes = std::fs::read(studio.path("grid.png")).unwrap();
    let texts = png_texts(&studio.path("grid.png"), &bytes).unwrap();
    let grid = texts.iter().find(|(key, _)| key == "diptych-grid").unwrap();
    let grid: Value = serde_json::from_str(&grid.1).unwrap();
    assert_eq!(grid["prompts"], json!(["a red fox", "a blue fox"]));
    assert_eq!(grid["requests"][1][2]["seed"], 7);
    let sheet = image::open(studio.path("grid.png")).unwrap();
    assert!(sheet.width() > 3 * 256 && sheet.height() > 2 * 256);
}

#[test]
fn light_and_dark_differ_only_in_their_ground() {
    let studio = Studio::new();
    let one = ["--prompt", "a fox", "--seeds", "1"];
    let dark = compare(&studio, &[&one[..], &["--out", "dark.png"]].concat()).ok();
    assert_eq!(dark.stdout, "dark.png\n");
    compare(
        &studio,
        &[&one[..], &["--out", "light.png", "--light"]].concat(),
    )
    .ok();
    let open = |name: &str| image::open(studio.path(name)).unwrap().into_rgb8();
    let (dark, light) = (open("dark.png"), open("light.png"));
    assert_eq!(dark.dimensions(), light.dimensions());
    assert!(dark.get_pixel(1, 1).0[0] < 64 && light.get_pixel(1, 1).0 == [255; 3]);
}

#[test]
fn wrong_usage_is_told() {
    let studio = Studio::new();
    let misused = |args: &[&str]| compare(&studio, args).misused();
    assert!(misused(&["--out", "g.png"]).contains("--prompt"));
    assert!(misused(&["--prompt", "a"]).contains("--out"));
    let twice = misused(&["--prompt", "a", "--seeds", "1,2,1", "--out", "g.png"]);
    assert!(twice.contains("twice"), "{twice}");
    let many = misused(&[
        "--prompt",
        "a",
        "--seeds",
        "1,2,3,4,5,6,7,8,9",
        "--out",
        "g.png",
    ]);
    assert!(many.contains("at most 8"), "{many}");
    let prompts: Vec<&str> = (0..9).flat_map(|_| ["--prompt", "a"]).collect();
    let many = misused(&[&prompts[..], &["--out", "g.png"]].concat());
    assert!(many.contains("at most 8"), "{many}");
    assert!(misused(&["--prompt", "a", "--seeds", "x", "--out", "g.png"]).contains("x"));
    assert!(misused(&["--prompt", "a", "--out", "g.jpg"]).contains("PNG"));
    assert!(!studio.path("g.png").exists());
    let chat = muse();
    let refused = studio
        .run(&[
            "compare", "--prompt", "a", "--model", &chat, "--out", "g.png",
        ])
        .refused();
    assert!(refused.contains("text-to-image"), "{refused}");
}

#[cfg(unix)]
#[test]
fn interrupted_it_keeps_what_is_there() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let studio = Studio::new();
    let model = tiny();
    let args = [
        "compare", "--model", &model, "--prompt", "a fox", "--prompt", "a cat", "--seeds", "1,2",
        "--steps", "400", "--size", "64x64", "--out", "grid.png", "--device", "cpu",
    ];
    let mut child = studio.command(&args).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("2/4: step 1/400") {
        assert!(
            stderr.read_line(&mut said).unwrap() > 0,
            "ended early: {said}"
        );
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &kill])
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
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert_eq!(stdout, "grid.png\n");
    assert!(
        said.contains("cancelled; 2 of 4 cells are in grid.png"),
        "{said}"
    );
    assert!(image::open(studio.path("grid.png")).unwrap().width() > 500);
}

#[test]
fn a_grid_tells_what_is_in_it_and_prompts_take_their_variants() {
    let studio = Studio::new();
    let grid = [
        "--prompt",
        "a {red|blue} fox",
        "--seeds",
        "3,4,5,6",
        "--out",
        "grid",
    ];
    compare(&studio, &grid).ok();
    let told = studio.run(&["inspect", "grid.png"]).ok().stdout;
    assert!(
        told.contains("3, 4, 5, 6") && told.contains("Diptych"),
        "{told}"
    );
    let told = studio.run(&["inspect", "grid.png", "--json"]).ok().json();
    let cells = told["requests"][0].as_array().unwrap();
    let prompts: Vec<&str> = cells
        .iter()
        .map(|cell| cell["prompt"].as_str().unwrap())
        .collect();
    for prompt in &prompts {
        assert!(["a red fox", "a blue fox"].contains(prompt), "{prompt}");
    }
    // Nobody was asked about a file whose ending was added.
    compare(&studio, &grid).ok();
    assert!(studio.path("grid-2.png").exists());
}
