//! `tokenizer.json` of every kind, and GGUF's `bert` and `t5`, against the reference (`tests/reference/make_tokenizers.py`); hostile files.

use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

fn load<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference/text");
    let text = std::fs::read_to_string(Path::new(folder).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    tokenizers: std::collections::BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    tokenizer: Value,
    ids: Vec<Vec<u32>>,
    with_special: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

fn read(value: &Value) -> Result<Tokenizer, TextError> {
    Tokenizer::from_json_bytes(Path::new("tokenizer.json"), value.to_string().as_bytes())
}

#[test]
fn every_kind_equals_the_reference() {
    let fixture: Fixture = load("tokenizers.json");
    assert!(fixture.tokenizers.len() >= 15 && fixture.texts.len() > 200);
    let parse = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let mut wrong = Vec::new();
    for (name, case) in &fixture.tokenizers {
        let tokenizer = read(&case.tokenizer).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for ((text, want), decoded) in fixture.texts.iter().zip(&case.ids).zip(&case.decoded) {
            let got = tokenizer.encode(text, parse).unwrap();
            if got != *want {
                wrong.push(format!("{name} {text:?}\n  want {want:?}\n  got  {got:?}"));
                continue;
            }
            let text = tokenizer.decode(&got);
            // How many marks stand for bytes that are no character is a matter of taste.
            if text.replace('\u{FFFD}', "") != decoded.replace('\u{FFFD}', "") {
                wrong.push(format!(
                    "{name} decoding\n  want {decoded:?}\n  got  {text:?}"
                ));
            }
            count += 1;
        }
        for (text, want) in fixture.texts.iter().zip(&case.with_special) {
            let all = EncodeOptions {
                add_special: true,
                ..parse
            };
            let got = tokenizer.encode(text, all).unwrap();
            if got != *want {
                wrong.push(format!(
                    "{name} with special {text:?}: want {want:?}, got {got:?}"
                ));
            }
        }
        println!("{name}: {count} of {} texts", fixture.texts.len());
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

#[derive(Deserialize)]
struct GgufKinds {
    texts: Vec<String>,
    t5: T5,
    bert: Bert,
}

#[derive(Deserialize)]
struct T5 {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    charsmap: String,
    add_space_prefix: bool,
    remove_extra_whitespaces: bool,
    ids: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Bert {
    tokens: Vec<String>,
    ids: Vec<Vec<u32>>,
}

fn assert_all(what: &str, tokenizer: &Tokenizer, texts: &[String], ids: &[Vec<u32>]) {
    let mut wrong = Vec::new();
    for (text, want) in texts.iter().zip(ids) {
        let got = tokenizer
            .encode(&text.replace('\0', ""), EncodeOptions::default())
            .unwrap();
        if got != *want {
            wrong.push(format!("{text:?}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{what}: {} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn gguf_unigram_and_wordpiece_equal_the_reference() {
    let fixture: GgufKinds = load("gguf_tokenizers.json");
    let t5 = fixture.t5;
    let raw = GgufVocab {
        model: "t5".to_owned(),
        tokens: t5.tokens,
        scores: Some(t5.scores),
        types: Some(t5.types),
        charsmap: Some(json::charsmap::base64(&t5.charsmap).unwrap()),
        add_space_prefix: Some(t5.add_space_prefix),
        remove_extra_whitespaces: Some(t5.remove_extra_whitespaces),
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::new(raw.clone()).unwrap();
    assert_all("t5", &tokenizer, &fixture.texts, &t5.ids);
    let around = EncodeOptions {
        add_special: true,
        ..EncodeOptions::default()
    };
    assert_eq!(tokenizer.encode("", around).unwrap(), [1]);
    let damaged = GgufVocab {
        charsmap: Some(vec![1, 2]),
        ..raw
    };
    assert!(matches!(
        Tokenizer::new(damaged),
        Err(TextError::BadCharsmap { .. })
    ));

    let tokens = fixture.bert.tokens;
    let special: Vec<i32> = tokens
        .iter()
        .map(|token| {
            if token.starts_with('[') && token.len() > 1 {
                3
            } else {
                1
            }
        })
        .collect();
    let raw = GgufVocab {
        model: "bert".to_owned(),
        unk: Some(1),
        cls: Some(2),
        sep: Some(3),
        types: Some(special),
        tokens,
        ..GgufVocab::default()
    };
    let tokenizer = Tokenizer::new(raw).unwrap();
    assert_all("bert", &tokenizer, &fixture.texts, &fixture.bert.ids);
    assert_eq!(tokenizer.encode("", around).unwrap(), [2, 3]);
}

/// What is typed is never read as a control token.
#[test]
fn special_tokens_are_read_only_where_asked() {
    let fixture: Fixture = load("tokenizers.json");
    let tokenizer = read(&fixture.tokenizers["llama3"].tokenizer).unwrap();
    let control = tokenizer.id_of("<|im_start|>").unwrap();
    let tool = tokenizer.id_of("<tool>").unwrap();
    let typed = tokenizer
        .encode("<|im_start|><tool>", EncodeOptions::default())
        .unwrap();
    assert!(!typed.contains(&control) && typed.contains(&tool));
    assert_eq!(tokenizer.decode(&typed), "<|im_start|><tool>");
    assert!(tokenizer.is_special(control) && !tokenizer.is_special(tool));
    assert!(tokenizer.is_end(tokenizer.id_of("<|im_end|>").unwrap()));
    assert_eq!(tokenizer.bos(), tokenizer.id_of("<s>"));
    assert!(tokenizer.add_bos_default());
}

/// Characters come whole, however their bytes lie over tokens.
#[test]
fn streamed_text_is_the_decoded_text() {
    let fixture: Fixture = load("tokenizers.json");
    for name in ["byte-level", "gemma", "unigram-bytes"] {
        let tokenizer = read(&fixture.tokenizers[name].tokenizer).unwrap();
        let text = "Füße 我想 🦊👍🏽 naïve ﬁ ½";
        let ids = tokenizer.encode(text, EncodeOptions::default()).unwrap();
        let mut stream = StreamDecoder::new();
        let mut shown = String::new();
        for &id in &ids {
            let part = stream.push(tokenizer.piece(id));
            assert!(!part.contains('\u{FFFD}'), "{name}: {part:?}");
            shown.push_str(&part);
        }
        shown.push_str(&stream.finish());
        assert_eq!(shown.trim_start(), text, "{name}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let base = || {
        json!({
            "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        })
    };
    assert_eq!(
        read(&base())
            .unwrap()
            .encode("abab", EncodeOptions::default())
            .unwrap(),
        [2, 2]
    );
    let fails = |pointer: &str, value: Value, wanted: &str| {
        let mut file = base();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        file.pointer_mut(parent).unwrap()[key] = value;
        let error = read(&file).unwrap_err().to_string();
        assert!(
            error.starts_with("tokenizer.json: ") && error.contains(wanted),
            "{pointer}: {error}"
        );
    };
    fails(
        "/normalizer",
        json!({"type": "Magic"}),
        "normalizer `Magic`",
    );
    fails("/normalizer", json!(7), "normalizer");
    fails(
        "/normalizer",
        json!({"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
        "regular expression",
    );
    fails(
        "/normalizer",
        json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "precompiled_charsmap",
    );
    fails(
        "/pre_tokenizer",
        json!({"type": "UnicodeScripts"}),
        "UnicodeScripts",
    );
    fails(
        "/pre_tokenizer",
        json!({"type": "Split", "pattern": {"String": "a"}, "behavior": "Eaten"}),
        "behavior",
    );
    fails(
        "/pre_tokenizer",
        json!({"type": "Metaspace", "prepend_scheme": "later"}),
        "prepend_scheme",
    );
    fails(
        "/post_processor",
        json!({"type": "TemplateProcessing", "single": []}),
        "no place for the text",
    );
    fails(
        "/post_processor",
        json!({"type": "BertProcessing", "cls": ["x", 9], "sep": ["y", 1]}),
        "9",
    );
    fails("/decoder", json!({"type": "CTC"}), "CTC");
    fails(
        "/decoder",
        json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}),
        "stop",
    );
    fails("/model/type", json!("WordLevel"), "WordLevel");
    fails("/model/dropout", json!(0.1), "dropout");
    fails("/model/unk_token", json!("?"), "unk_token");
    fails("/model/merges", json!(["ab"]), "two symbols");
    fails("/model/merges", json!([["a", "b", "a"]]), "more than two");
    fails("/model/merges", json!([["a", ""]]), "merge");
    fails("/model/merges", json!(["b a"]), "no token");
    fails(
        "/model/vocab",
        json!({"a": 4_000_000_000u32}),
        "beyond reason",
    );
    fails("/model/vocab", json!({"a": 0, "b": 0}), "both token 0");
    fails("/model/vocab", json!({"a": -1}), "invalid value");
    fails("/model/vocab", json!([["a", 0.5]]), "not that of a BPE");
    fails("/model/vocab", json!({}), "empty");
    fails(
        "/added_tokens",
        json!([{"id": 1, "content": "x"}]),
        "has the id of \"b\"",
    );
    fails(
        "/added_tokens",
        json!([{"id": 1 << 30, "content": "x"}]),
        "beyond reason",
    );
    let deep = "[".repeat(100_000);
    assert!(Tokenizer::from_json_bytes(Path::new("x"), deep.as_bytes()).is_err());
    let wide = format!(r#"{{"normalizer": [{}0]}}"#, "0,".repeat(200_000));
    let error = Tokenizer::from_json_bytes(Path::new("x"), wide.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("65536 values"), "{error}");
}

/// Patterns that end as GPT-2's take linear time on runs of white space; the reference's own take quadratic time there.
#[test]
fn long_runs_take_linear_time() {
    let fixture: Fixture = load("tokenizers.json");
    for name in [
        "byte-level",
        "llama3",
        "gemma",
        "llama2",
        "bert-uncased",
        "unigram",
        "unigram-precompiled",
    ] {
        let tokenizer = read(&fixture.tokenizers[name].tokenizer).unwrap();
        for text in [
            " ".repeat(100_000) + "x",
            "a".repeat(100_000),
            "🦊 ".repeat(20_000),
            "\n ".repeat(50_000),
        ] {
            let start = std::time::Instant::now();
            tokenizer.encode(&text, EncodeOptions::default()).unwrap();
            assert!(
                start.elapsed().as_secs() < 10,
                "{name} took {:?}",
                start.elapsed()
            );
        }
    }
}

/// A place in a JSON value, by the numbers of its children.
fn child<'a>(value: &'a mut Value, path: &[usize]) -> &'a mut Value {
    let Some((&step, rest)) = path.split_first() else {
        return value;
    };
    let len = match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if len == 0 {
        return value;
    }
    let next = match value {
        Value::Array(list) => list.get_mut(step % len),
        Value::Object(map) => map.values_mut().nth(step % len),
        _ => None,
    };
    child(next.unwrap(), rest)
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"Regex": "(a+)+$"})),
        Just(json!({"String": ""})),
        Just(json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]})),
        "[a-zA-Z▁ <>0x]{0,6}".prop_map(Value::String),
        (0u32..2000).prop_map(|n| json!(n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_a_file_is_refused_or_works(
        which: usize,
        changes in prop::collection::vec((prop::collection::vec(0usize..600, 1..6), odd_value()), 1..4),
        text in prop_oneof!["[ab <>x0-9▁🦊\n]{0,40}", any::<String>()],
    ) {
        thread_local!(static FIXTURE: Fixture = load("tokenizers.json"));
        let mut file = FIXTURE.with(|fixture| {
            let cases: Vec<&Case> = fixture.tokenizers.values().collect();
            cases[which % cases.len()].tokenizer.clone()
        });
        for (path, value) in changes {
            *child(&mut file, &path) = value;
        }
        if let Ok(tokenizer) = read(&file) {
            let options = EncodeOptions { add_special: true, parse_special: true };
            if let Ok(ids) = tokenizer.encode(&text, options) {
                for &id in &ids {
                    prop_assert!((id as usize) < tokenizer.vocab_len());
                }
                tokenizer.decode(&ids);
            }
        }
    }

    #[test]
    fn any_change_of_the_bytes_is_refused_or_works(
        which: usize,
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        thread_local!(static FILES: Vec<Vec<u8>> = {
            let fixture: Fixture = load("tokenizers.json");
            fixture.tokenizers.values().map(|case| case.tokenizer.to_string().into_bytes()).collect()
        });
        let mut bytes = FILES.with(|files| files[which % files.len()].clone());
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if which.is_multiple_of(3) {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(tokenizer) = Tokenizer::from_json_bytes(Path::new("x"), &bytes) {
            // A pattern may give up, but nothing may break.
            if let Ok(ids) = tokenizer.encode("Hello wörld 123 🦊", EncodeOptions::default()) {
                tokenizer.decode(&ids);
            }
        }
    }
}
