//! What an answer must look like, how its tokens are chosen, what the model thinks of a text: every option of the command line does what it says.

use diptych_inference::formats::safetensors::read_safetensors;
use serde_json::Value;

use crate::support::{Studio, muse, repository};

const SCHEMA: &str = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":12},"count":{"type":"integer","minimum":0,"maximum":99}},
    "required":["name","count"],"additionalProperties":false}"#;

#[test]
fn an_answer_has_the_form_that_is_asked_for() {
    let studio = Studio::new();
    let schema = studio.file("schema.json", SCHEMA);
    let grammar = studio.file(
        "grammar.lark",
        "start: \"yes, \" WORD | \"no\"\nWORD: /[a-z]{3,5}/\n",
    );
    let (schema, grammar) = (schema.to_str().unwrap(), grammar.to_str().unwrap());
    for seed in ["1", "2"] {
        let ask = |option: &str, value: &str| {
            let args = [
                "chat",
                "tell me of a fox",
                "--max-tokens",
                "200",
                "--seed",
                seed,
                option,
                value,
            ];
            let text = studio.run(&args).ok().stdout;
            text.trim_end_matches('\n').to_owned()
        };
        let told: Value = serde_json::from_str(&ask("--schema", schema)).unwrap();
        assert!(told["name"].is_string(), "{told}");
        assert!(
            told["count"].as_u64().is_some_and(|count| count < 100),
            "{told}"
        );
        let told = ask("--regex", "(red|blue) fox [0-9]{2}");
        assert!(
            ["red fox ", "blue fox "]
                .iter()
                .any(|begin| told.starts_with(begin)),
            "{told}"
        );
        assert!(told.ends_with(|c: char| c.is_ascii_digit()), "{told}");
        let told = ask("--grammar", grammar);
        assert!(told == "no" || told.starts_with("yes, "), "{told}");
    }
    // A text that is gone on with, too.
    let args = [
        "complete",
        "a fox and",
        "--regex",
        " [a-z]{4}",
        "--seed",
        "1",
    ];
    let text = studio.run(&args).ok().stdout;
    assert!(text.starts_with(' ') && text.trim().len() == 4, "{text:?}");
    // Faults are told by file and place, before anything is loaded.
    let broken = studio.file("broken.json", "{\n\"type\": }");
    let line = studio
        .run(&["chat", "x", "--schema", broken.to_str().unwrap()])
        .refused();
    assert!(
        line.contains("broken.json") && line.contains("line 2"),
        "{line}"
    );
    studio.run(&["chat", "x", "--regex", "(a"]).misused();
    studio
        .run(&["chat", "x", "--regex", "a", "--schema", schema])
        .misused();
}

/// Tokens of an answer, with further options.
fn ids(studio: &Studio, more: &[&str]) -> Vec<u64> {
    let usual = [
        "chat",
        "tell me something about foxes and forests",
        "--json",
        "--max-tokens",
        "24",
    ];
    let json = studio.run(&[&usual[..], more].concat()).ok().json();
    let tokens = json["tokens"].as_array().unwrap().iter();
    tokens.map(|token| token["id"].as_u64().unwrap()).collect()
}

#[test]
fn every_option_of_choosing_reaches_the_choice() {
    let studio = Studio::new();
    // Drawn from everything: what narrows the choice to one gives the greedy answer.
    let wild = [
        "--temperature",
        "1.5",
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--min-p",
        "0",
        "--seed",
        "4",
    ];
    let with = |more: &[&str]| ids(&studio, &[&wild[..], more].concat());
    let greedy = ids(&studio, &["--greedy"]);
    let open = with(&[]);
    assert!(greedy.len() > 4 && open != greedy, "{greedy:?}");
    for narrow in [
        ["--top-k", "1"],
        ["--top-p", "0"],
        ["--min-p", "1"],
        ["--top-n-sigma", "0.001"],
        ["--temperature", "0"],
    ] {
        // A later value of an option replaces an earlier one.
        let kept: Vec<&str> = wild
            .chunks(2)
            .filter(|pair| pair[0] != narrow[0])
            .flatten()
            .copied()
            .collect();
        let told = ids(&studio, &[&kept[..], &narrow[..]].concat());
        assert_eq!(told, greedy, "{narrow:?}");
    }
    // Steps that are left out of the order do nothing; one that is in it does.
    let order = ["--samplers", "temperature,top_k"];
    assert_eq!(
        with(&[&order[..], &["--typical-p", "0.2"]].concat()),
        with(&order)
    );
    assert_ne!(with(&["--typical-p", "0.2"]), open);
    for changed in [
        &["--xtc-probability", "1", "--xtc-threshold", "0.01"][..],
        &["--repetition-penalty", "3"],
        &["--frequency-penalty", "4"],
        &["--presence-penalty", "-6"],
        &["--seed", "5"],
    ] {
        let kept: Vec<&str> = wild
            .chunks(2)
            .filter(|pair| pair[0] != changed[0])
            .flatten()
            .copied()
            .collect();
        assert_ne!(
            ids(&studio, &[&kept[..], changed].concat()),
            open,
            "{changed:?}"
        );
    }
    let first = greedy[0];
    let banned = ids(
        &studio,
        &[
            "--temperature",
            "0",
            "--logit-bias",
            &format!("{first}=-100"),
        ],
    );
    assert!(!banned.contains(&first), "{banned:?}");
    // A sequence that is in the text is not written again, unless too little is looked at.
    for letter in ["f", "g"] {
        let text = format!("a b c d e {letter} a b c d e");
        let again = |more: &[&str]| {
            let args = [
                "complete",
                &text,
                "--temperature",
                "0",
                "--max-tokens",
                "1",
                "--regex",
                " (f|g)",
            ];
            studio.run(&[&args[..], more].concat()).ok().stdout
        };
        let strong = [
            "--dry-multiplier",
            "90",
            "--dry-base",
            "4",
            "--dry-allowed-length",
            "1",
        ];
        assert!(!again(&strong).contains(letter));
        let off = again(&[&strong[..], &["--dry-window", "1"]].concat());
        assert_eq!(off, again(&[]));
    }
    studio
        .run(&["chat", "x", "--samplers", "top_k,top_k"])
        .misused();
    studio.run(&["chat", "x", "--samplers", "luck"]).misused();
    studio
        .run(&["chat", "x", "--logit-bias", "one=2"])
        .misused();
}

#[test]
fn the_logits_of_a_text_come_as_a_file() {
    let studio = Studio::new();
    for verb in ["chat", "complete"] {
        let path = studio.path(&format!("{verb}.safetensors"));
        let file = path.to_str().unwrap();
        studio.run(&[verb, "hello there", "--logits", file]).ok();
        let read = read_safetensors(&path).unwrap();
        let logits = read.tensors.get("logits").unwrap();
        let [rows, width] = logits.shape() else {
            panic!("{:?}", logits.shape())
        };
        let values = logits.to_f32().unwrap();
        let last = &values[(rows - 1) * width..];
        let best = (0..*width)
            .max_by(|a, b| last[*a].total_cmp(&last[*b]))
            .unwrap();
        let json = studio
            .run(&[
                verb,
                "hello there",
                "--greedy",
                "--max-tokens",
                "1",
                "--json",
            ])
            .ok()
            .json();
        // The likeliest token behind the text is the one that is written.
        assert_eq!(
            json["tokens"][0]["id"].as_u64(),
            Some(best as u64),
            "{verb}"
        );
        assert_eq!(json["prompt_tokens"].as_u64(), Some(*rows as u64), "{verb}");
    }
}

#[test]
fn how_well_a_model_foretells_a_text_is_a_number() {
    let studio = Studio::new();
    let told = studio.file(
        "told.txt",
        "User: hello\nA fox sits in the green forest. ".repeat(40),
    );
    let noise: String = (0..2000u32)
        .map(|n| char::from(b'!' + (n * 7919 % 90) as u8))
        .collect();
    let noise = studio.file("noise.txt", noise);
    let of = |file: &std::path::Path| {
        let json = studio
            .run(&[
                "perplexity",
                &muse(),
                file.to_str().unwrap(),
                "-c",
                "128",
                "--json",
            ])
            .ok()
            .json();
        assert!(
            json["chunks"].as_u64().unwrap() > 0 && json["error"].as_f64().unwrap() > 0.0,
            "{json}"
        );
        json["perplexity"].as_f64().unwrap()
    };
    let (words, letters) = (of(&told), of(&noise));
    assert!(1.0 < words && words < letters, "{words} {letters}");
    let line = studio
        .run(&["perplexity", &muse(), "nowhere.txt"])
        .refused();
    assert!(line.contains("nowhere.txt"), "{line}");
}

#[test]
fn the_model_is_told_of_tools() {
    let studio = Studio::new();
    let tools = r#"[{"type":"function","function":{"name":"draw","description":"Draws <|im_end|> it","parameters":{"type":"object","properties":{}}}}]"#;
    let tools = studio.file("tools.json", tools);
    let tools = tools.to_str().unwrap();
    // The built-in model's template knows none, and that is said.
    let run = studio
        .run(&[
            "chat",
            "hello",
            "--greedy",
            "--max-tokens",
            "4",
            "--tools",
            tools,
        ])
        .ok();
    assert!(run.stderr.contains("says nothing of tools"), "{run:?}");
    // One that does gets more to read.
    let folder = studio.path("teller");
    let from = repository("tests/reference/models/chat-folder");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let template = "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}\
                    {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
    std::fs::write(folder.join("chat_template.jinja"), template).unwrap();
    let count = |more: &[&str]| {
        let usual = [
            "chat",
            "hello",
            "--greedy",
            "--max-tokens",
            "1",
            "--json",
            "--model",
            folder.to_str().unwrap(),
        ];
        let run = studio.run(&[&usual[..], more].concat()).ok();
        assert!(!run.stderr.contains("says nothing"), "{run:?}");
        run.json()["prompt_tokens"].as_u64().unwrap()
    };
    assert!(count(&["--tools", tools]) > count(&[]) + 20);
    for (text, told) in [
        ("{", "line 1"),
        ("[]", "no list"),
        ("[3]", "no list"),
        ("{\"tools\":7}", "no list"),
    ] {
        let broken = studio.file("broken.json", text);
        let line = studio
            .run(&["chat", "x", "--tools", broken.to_str().unwrap()])
            .refused();
        assert!(
            line.contains("broken.json") && line.contains(told),
            "{line}"
        );
    }
}

#[test]
fn the_cache_is_kept_as_it_is_asked_for() {
    let studio = Studio::new();
    let ask = |kind: &str| ids(&studio, &["--greedy", "--kv-type", kind]);
    let exact = ask("f32");
    assert_eq!(ask("auto"), exact, "where memory suffices");
    for narrow in ["f16", "q8_0"] {
        let told = ask(narrow);
        assert_eq!(told[0], exact[0], "{narrow}");
    }
    let told = studio.run(&["chat", "x", "--kv-type", "q2_k"]).misused();
    assert!(told.contains("auto, f32, f16, q8_0"), "{told}");
}
