//! What was drawn is in the history; what is being drawn is in the queue.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::support::{Run, Studio, text, tiny};

fn draw(studio: &Studio, prompt: &str, more: &[&str]) -> Run {
    let model = tiny();
    let args = [
        "draw", prompt, "--model", &model, "--steps", "2", "--size", "32x40",
    ];
    studio.run(&[&args[..], more].concat())
}

fn json(studio: &Studio, args: &[&str]) -> Vec<Value> {
    let run = studio.run(&[args, &["--json"]].concat()).ok();
    assert_eq!(run.stderr, "");
    run.json().as_array().unwrap().clone()
}

#[test]
fn what_was_drawn_is_in_the_history() {
    let studio = Studio::new();
    assert_eq!(json(&studio, &["history"]), Vec::<Value>::new());
    assert_eq!(json(&studio, &["queue"]), Vec::<Value>::new());
    draw(
        &studio,
        "a red fox",
        &[
            "--seed",
            "4294967297",
            "--negative",
            "blurry",
            "--out",
            "fox.png",
        ],
    )
    .ok();
    draw(&studio, "Ein Bär", &["--seed", "7", "--count", "2"]).ok();
    draw(&studio, "a secret", &["--seed", "1", "--no-history"]).ok();
    let history = json(&studio, &["history"]);
    let prompts: Vec<&str> = history
        .iter()
        .map(|one| one["prompt"].as_str().unwrap())
        .collect();
    assert_eq!(prompts, ["Ein Bär", "Ein Bär", "a red fox"]);
    let fox = &history[2];
    let folder = studio.folder.path().canonicalize().unwrap();
    let wanted = serde_json::json!({
        "path": text(&folder.join("fox.png")),
        "present": true,
        "negative": "blurry",
        "seed": 4_294_967_297u64,
        "model": "tiny-sd",
        "size": "32x40",
        "width": 32,
        "height": 40,
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "steps": 2,
        "steps_done": 2,
        "guidance": 7.0,
        "favourite": false,
    });
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&fox[key], value, "{key}");
    }
    assert!(fox["seconds"].as_f64().unwrap() > 0.0);
    let created = fox["created"].as_str().unwrap();
    assert!(
        created.len() == 24 && created.ends_with('Z') && created.contains('T'),
        "{created}"
    );
    let told = studio.run(&["inspect", "fox.png", "--json"]).ok().json();
    assert_eq!(fox["request"], told["request"]["image"]);

    let found = json(&studio, &["history", "--search", "bär EIN", "--limit", "1"]);
    assert_eq!((found.len(), &found[0]["seed"]), (1, &Value::from(8)));
    assert_eq!(
        json(&studio, &["history", "--favourites"]),
        Vec::<Value>::new()
    );
    assert_eq!(json(&studio, &["history", "--chats"]), Vec::<Value>::new());
    std::fs::remove_file(studio.path("fox.png")).unwrap();
    let gone = json(&studio, &["history", "--search", "fox"]);
    assert_eq!(gone[0]["present"], false);
    let table = studio.run(&["history"]).ok().stdout;
    assert!(
        table.contains("Ein Bär") && table.contains("the file is gone"),
        "{table}"
    );
    let other = studio.run(&["history", "--data-dir", "elsewhere"]).ok();
    assert_eq!(other.stdout, "");
    assert!(!studio.path("elsewhere").exists(), "looking made something");
}

#[test]
fn a_library_that_cannot_be_written_is_only_a_warning() {
    let studio = Studio::new();
    studio.file("file", "in the way");
    let run = draw(
        &studio,
        "a fox",
        &["--out", "fox.png", "--data-dir", "file/data", "-q"],
    )
    .ok();
    assert_eq!(run.stdout, "fox.png\n");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(
        run.stderr.starts_with("warning: ") && run.stderr.contains("file/data"),
        "{}",
        run.stderr
    );
    image::open(studio.path("fox.png")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_is_in_the_queue_until_a_window_takes_it() {
    let studio = Studio::new();
    let model = tiny();
    let args = [
        "draw",
        "a long fox",
        "--model",
        &model,
        "--steps",
        "1000",
        "--size",
        "128x128",
        "--count",
        "2",
        "--seed",
        "5",
        "--device",
        "cpu",
        "--out",
        "fox.png",
    ];
    let mut child = studio.command(&args).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("step 1/1000") {
        assert!(
            stderr.read_line(&mut said).unwrap() > 0,
            "ended early: {said}"
        );
    }
    let queue = json(&studio, &["queue"]);
    let states: Vec<&Value> = queue.iter().map(|job| &job["state"]).collect();
    assert_eq!(states, ["running", "waiting"]);
    assert!(
        queue
            .iter()
            .all(|job| job["alive"] == true && job["owner"] == "draw")
    );
    assert_eq!(queue[0]["prompt"], "a long fox");
    assert_eq!(queue[1]["request"]["image"]["seed"], 6);
    assert!(
        queue[1]["target"]["file"]["path"]
            .as_str()
            .unwrap()
            .ends_with("fox-2.png")
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let queue = json(&studio, &["queue"]);
    assert_eq!(queue.len(), 2);
    assert!(queue.iter().all(|job| job["alive"] == false));
    let table = studio.run(&["queue"]).ok().stdout;
    assert!(
        table.contains("left behind") && table.contains("a long fox"),
        "{table}"
    );
    // One that ends in peace leaves nothing.
    draw(&studio, "a short fox", &["--out", "b.png"]).ok();
    assert_eq!(json(&studio, &["queue"]).len(), 2);
}

#[test]
fn a_library_of_a_newer_version_is_refused_in_words() {
    let studio = Studio::new();
    draw(&studio, "a fox", &["--out", "fox.png"]).ok();
    let index = studio.data.path().join("library.db");
    let db = rusqlite::Connection::open(&index).unwrap();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    let before = std::fs::read(&index).unwrap();
    for verb in ["history", "queue"] {
        let message = studio.run(&[verb]).refused();
        assert!(
            message.contains("newer version") && message.contains("library.db"),
            "{message}"
        );
    }
    let run = draw(&studio, "a fox", &["--out", "fox.png", "-q"]).ok();
    assert!(run.stderr.contains("newer version"), "{}", run.stderr);
    assert_eq!(std::fs::read(&index).unwrap(), before);
}
