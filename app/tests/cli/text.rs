//! Text from models: talk, continuation, tokens.

use serde_json::Value;

use crate::support::{Studio, muse, text, tiny};

#[test]
fn an_answer_streams_and_is_the_same_for_the_same_seed() {
    let studio = Studio::new();
    let ask = |seed: &str| {
        studio
            .run(&["chat", "hello", "--seed", seed, "--max-tokens", "40"])
            .ok()
            .stdout
    };
    let first = ask("1");
    assert!(first.ends_with('\n') && first.trim().len() > 1, "{first:?}");
    assert_eq!(first, ask("1"));
    let tries: Vec<String> = ["2", "3", "4", "5"].map(ask).to_vec();
    assert!(
        tries.iter().any(|other| *other != first),
        "five seeds, one answer: {first}"
    );
}

#[test]
fn json_tells_all_about_an_answer() {
    let studio = Studio::new();
    let run = studio
        .run(&["chat", "hello", "--greedy", "--max-tokens", "12", "--json"])
        .ok();
    let answer = run.json();
    let tokens = answer["tokens"].as_array().unwrap();
    assert!(!tokens.is_empty() && tokens.len() <= 12);
    for token in tokens {
        let probability = token["probability"].as_f64().unwrap();
        assert!(probability > 0.0 && probability <= 1.0);
        // Greedy: nothing is likelier, and the likeliest alternative is the token itself.
        let best = &token["alternatives"][0];
        assert_eq!(best["id"], token["id"]);
        assert!(token["piece"].is_string() && token["text"].is_string());
    }
    assert!(
        ["end", "length"].contains(&answer["reason"].as_str().unwrap()),
        "{answer}"
    );
    let of = |key: &str| answer[key].as_u64().unwrap();
    assert_eq!(
        of("context_used"),
        of("prompt_tokens") + tokens.len() as u64
    );
    assert!(of("context_length") >= of("context_used"));
    assert!(answer["timings"]["first_token_seconds"].as_f64().unwrap() > 0.0);
    let plain = studio
        .run(&["chat", "hello", "--greedy", "--max-tokens", "12"])
        .ok()
        .stdout;
    assert_eq!(plain, format!("{}\n", answer["text"].as_str().unwrap()));
}

#[test]
fn a_conversation_goes_on_from_standard_input() {
    let studio = Studio::new();
    let args = [
        "chat",
        "hello",
        "-i",
        "--greedy",
        "--max-tokens",
        "24",
        "--json",
    ];
    let run = studio
        .run_with_input(&args, Some("draw me a cat\n\n   \nand a dog"))
        .ok();
    let turns = run.json_lines();
    assert_eq!(turns.len(), 3, "{run:?}");
    // What was computed for earlier turns is used again.
    let of = |turn: usize, key: &str| turns[turn][key].as_u64().unwrap();
    assert_eq!(of(0, "cached_tokens"), 0);
    assert!(of(1, "cached_tokens") >= of(0, "prompt_tokens"), "{run:?}");
    assert!(of(2, "prompt_tokens") > of(1, "prompt_tokens"));
    // The answer does not depend on it: the same conversation in one go.
    let only = studio
        .run_with_input(
            &["chat", "-i", "--greedy", "--max-tokens", "24"],
            Some("hello\n"),
        )
        .ok();
    assert_eq!(
        only.stdout.trim_end_matches('\n'),
        turns[0]["text"].as_str().unwrap()
    );
    assert!(
        !only.stderr.contains('>'),
        "a prompt sign although nobody types: {only:?}"
    );
}

#[test]
fn a_full_context_is_said() {
    let studio = Studio::new();
    let endless = "cat ".repeat(20_000);
    let line = studio.run(&["chat", "--greedy", &endless]).refused();
    assert!(line.contains("context"), "{line}");
    let run = studio.run(&[
        "complete",
        "a",
        "--model",
        &muse(),
        "--temperature",
        "100",
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--min-p",
        "0",
        "--seed",
        "3",
        "--max-tokens",
        "100000",
    ]);
    if run.code == Some(1) {
        assert!(
            !run.stdout.is_empty() && run.stderr.lines().last().unwrap().contains("context"),
            "{run:?}"
        );
    } else {
        run.ok();
    }
}

#[test]
fn a_continuation_is_raw_and_certain() {
    let studio = Studio::new();
    let args = [
        "complete",
        "hello",
        "--model",
        &muse(),
        "--greedy",
        "--max-tokens",
        "8",
    ];
    let first = studio.run(&args).ok().stdout;
    assert_eq!(first, studio.run(&args).ok().stdout);
    let json = studio.run(&[&args[..], &["--json"]].concat()).ok().json();
    assert_eq!(json["text"].as_str().unwrap(), first);
    let pieces: String = json["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert!(first.starts_with(&pieces), "{first:?} {pieces:?}");
    // Penalties and chance play no part.
    let more = [
        "--temperature",
        "3",
        "--repetition-penalty",
        "2",
        "--seed",
        "8",
    ];
    assert_eq!(first, studio.run(&[&args[..], &more].concat()).ok().stdout);
    let none = studio
        .run(&["complete", "hello", "--model", &muse(), "--max-tokens", "0"])
        .ok();
    assert_eq!(none.stdout, "");
}

#[test]
fn a_picture_model_does_not_talk_and_a_chat_model_does_not_draw() {
    let studio = Studio::new();
    let line = studio.run(&["chat", "hello", "--model", &tiny()]).refused();
    assert!(
        line.contains("tiny-sd") && line.contains("chat model"),
        "{line}"
    );
    let line = studio.run(&["draw", "a fox", "--model", &muse()]).refused();
    assert!(
        line.contains("muse") && line.contains("text-to-image"),
        "{line}"
    );
}

#[test]
fn tokens_of_a_text() {
    let studio = Studio::new();
    let ids = |run: &Value| run["ids"].as_array().unwrap().clone();
    let args = ["tokenize", &muse_file(), "hello world", "--json"];
    let plain = studio.run(&args).ok().json();
    assert_eq!(plain["count"].as_u64().unwrap() as usize, ids(&plain).len());
    assert_eq!(ids(&plain).len(), plain["pieces"].as_array().unwrap().len());
    let piped = studio
        .run_with_input(
            &["tokenize", &muse_file(), "--stdin", "--json"],
            Some("hello world"),
        )
        .ok()
        .json();
    assert_eq!(piped, plain);
    let with_bos = studio.run(&[&args[..], &["--bos"]].concat()).ok().json();
    assert!(ids(&with_bos).ends_with(&ids(&plain)));
    let lines = studio.run(&args[..3]).ok().stdout;
    assert_eq!(lines.lines().count(), ids(&plain).len());
    assert!(
        lines.starts_with(&format!("{}\t", ids(&plain)[0])),
        "{lines}"
    );
    assert_eq!(studio.run(&["tokenize", &muse_file(), ""]).ok().stdout, "");
}

fn muse_file() -> String {
    let folder = std::fs::read_dir(muse()).unwrap();
    let file = folder
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "gguf"));
    text(&file.unwrap())
}

#[test]
fn tokens_of_clip() {
    let studio = Studio::new();
    let plain = studio
        .run(&["tokenize", &tiny(), "a red fox", "--json"])
        .ok()
        .json();
    assert_eq!(
        plain["pieces"].as_array().unwrap().last().unwrap(),
        "fox</w>"
    );
    let whole = studio
        .run(&["tokenize", &tiny(), "a red fox", "--bos", "--json"])
        .ok()
        .json();
    let (whole, plain) = (
        whole["ids"].as_array().unwrap(),
        plain["ids"].as_array().unwrap(),
    );
    assert_eq!(whole[1..whole.len() - 1], plain[..]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let studio = Studio::new();
    let mut child = studio
        .command(&["chat", "hello", "--device", "cpu", "--max-tokens", "50"])
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stderr)
            .unwrap()
            .matches("error")
            .count(),
        0
    );
}
