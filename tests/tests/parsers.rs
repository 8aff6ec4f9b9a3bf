//! The fuzz targets without libFuzzer: valid files, damaged in many ways, go through every parser of files that people download. No panic, no wait, no memory
//! out of proportion. A short run is a part of all tests; the long one is
//! `cargo test --release --workspace --test parsers minutes -- --ignored --nocapture` (`DIPTYCH_FUZZ_SECONDS` a target, 60 if it is not set).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diptych_tests::repository;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Longest that a single input may take, on a machine that is busy with other things.
const SLOWEST: Duration = Duration::from_secs(4);
/// Memory that a single input may take, beside a multiple of its size.
const MEMORY: u64 = 256 << 20;
/// Longest input that mutations make.
const LONGEST: usize = 4 << 20;

/// Panics of any thread so far.
static PANICS: AtomicUsize = AtomicUsize::new(0);
static COUNTED: Once = Once::new();

/// A parser with valid files to begin with, and words that mean something to it.
struct Target {
    name: &'static str,
    run: fn(&[u8]),
    seeds: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

/// Files below a folder whose names end so.
fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![repository(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(std::fs::read(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "{folder} {end}");
    found
}

fn json(path: &str) -> serde_json::Value {
    let text = std::fs::read(repository(path)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// All strings of a value for which a test holds.
fn strings(value: &serde_json::Value, wanted: &dyn Fn(&str) -> bool, found: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::String(text) if wanted(text) => found.push(text.clone().into_bytes()),
        serde_json::Value::Array(all) => all.iter().for_each(|one| strings(one, wanted, found)),
        serde_json::Value::Object(all) => all.values().for_each(|one| strings(one, wanted, found)),
        _ => {}
    }
}

/// All objects of a value that are tokenizers.
fn tokenizers(value: &serde_json::Value, found: &mut Vec<Vec<u8>>) {
    match value {
        serde_json::Value::Array(all) => all.iter().for_each(|one| tokenizers(one, found)),
        serde_json::Value::Object(all) if all.contains_key("model") => {
            let mut bytes = serde_json::to_vec(value).unwrap();
            bytes.extend_from_slice("\n---\nHello, wörld 🦊 123 <s>".as_bytes());
            found.push(bytes);
        }
        serde_json::Value::Object(all) => all.values().for_each(|one| tokenizers(one, found)),
        _ => {}
    }
}

/// A folder as the target has it: one with a tokenizer and two shards.
fn folders() -> Vec<Vec<u8>> {
    let folder = repository("tests/reference/models/chat-folder");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
    let shards = [1, 2, 3].map(|n| format!("model-0000{n}-of-00003.safetensors"));
    // The third is left away: then its weights are missing, and that is told.
    let index = String::from_utf8(read("model.safetensors.index.json")).unwrap();
    let two = index.replace("-of-00003", "-of-00002");
    let joined = |index: &str| {
        let mut pieces: Vec<Vec<u8>> = targets::FOLDER[..5].iter().map(|n| read(n)).collect();
        pieces.push(index.as_bytes().to_vec());
        pieces.extend(shards[..2].iter().map(|name| read(name)));
        pieces.join(&b"\n---\n"[..])
    };
    let away = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "model-00001-of-00002.safetensors/x",
        "",
    ];
    let mut found = vec![joined(&two)];
    found.extend(away.map(|name| joined(&two.replace("model-00001-of-00002.safetensors", name))));
    // All in one shard: whole.
    let whole = repository("tests/reference/models/qwen2-plain");
    let weights = std::fs::read(whole.join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let names = header
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, serde_json::Value> = names
        .map(|name| (name.clone(), "model-00001-of-00002.safetensors".into()))
        .collect();
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    let config = std::fs::read(whole.join("config.json")).unwrap();
    let mut pieces: Vec<Vec<u8>> = targets::FOLDER[..5].iter().map(|n| read(n)).collect();
    pieces[0] = config;
    pieces.extend([index.into_bytes(), weights]);
    found.push(pieces.join(&b"\n---\n"[..]));
    found
}

/// A model that says that it has two parts, twice.
fn parts() -> Vec<Vec<u8>> {
    use diptych_inference::formats::TensorData;
    use diptych_inference::formats::gguf::write::GgufWriter;
    let part = |number: u16| {
        let name = format!("blk.{number}.attn_norm.weight");
        let tensor = TensorData::from_f32(&name, &[8], &[1.0; 8]).unwrap();
        let mut writer = GgufWriter::new("llama");
        writer
            .set("split.no", number)
            .set("split.count", 2u16)
            .set("split.tensors.count", 2i32)
            .tensor(tensor);
        writer.to_bytes().unwrap()
    };
    vec![[part(0), part(1)].join(&b"\n---\n"[..])]
}

/// Texts as bytes.
fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Conversations: ours, and a list of messages.
fn conversations() -> Vec<Vec<u8>> {
    let list = r#"{"title":"x","messages":[{"role":"system","content":"be kind"},
        {"role":"user","content":[{"type":"text","text":"a fox"}]},{"role":"assistant","content":"<think>hm</think> here"}]}"#;
    let ours = diptych::studio::chat::transfer::foreign::read_messages(list).unwrap();
    vec![list.as_bytes().to_vec(), ours.write().unwrap()]
}

/// Pictures that tell how they were made.
fn pictures() -> Vec<Vec<u8>> {
    use diptych_inference::formats::picture::encode_png;
    let a1111 = "a fox (red:1.2)\nNegative prompt: blur\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64, Model: \"a, b\"";
    let graph = r#"{"3":{"class_type":"KSampler","inputs":{"seed":5,"steps":20,"cfg":7.0,"positive":["6",0]}},"6":{"class_type":"CLIPTextEncode","inputs":{"text":"a fox"}}}"#;
    let png = |key, text: &str| encode_png(&[9; 48], 4, 4, &[(key, text)]).unwrap();
    vec![
        a1111.as_bytes().to_vec(),
        png("parameters", a1111),
        png("prompt", graph),
        png(
            "parameters",
            r#"{"sui_image_params":{"prompt":"a fox","seed":5}}"#,
        ),
        png(
            "invokeai_metadata",
            r#"{"positive_prompt":"a fox","seed":5,"steps":30}"#,
        ),
    ]
}

fn all_targets() -> Vec<Target> {
    let mut templates = Vec::new();
    let is_template = |text: &str| text.contains("{%") || text.contains("{{");
    strings(
        &json("tests/reference/text/templates.json"),
        &is_template,
        &mut templates,
    );
    let mut written = Vec::new();
    tokenizers(&json("tests/reference/text/tokenizers.json"), &mut written);
    written.extend(files("tests/reference/models", "tokenizer.json"));
    assert!(templates.len() > 3 && written.len() > 3);
    let mut ggufs = files("tests/reference/models", ".gguf");
    ggufs.extend(files("assets/models/muse", ".gguf"));
    vec![
        Target {
            name: "gguf",
            run: targets::gguf,
            seeds: ggufs,
            words: &[
                "general.alignment",
                "tokenizer.ggml.tokens",
                ".block_count",
                "llama",
                "gemma3",
                "qwen3moe",
            ],
        },
        Target {
            name: "safetensors",
            run: targets::safetensors,
            seeds: files("tests/reference/models", ".safetensors"),
            words: &[
                "\"dtype\"",
                "\"F32\"",
                "\"F8_E4M3\"",
                "\"shape\"",
                "[0,18446744073709551615]",
                "\"data_offsets\"",
            ],
        },
        Target {
            name: "tokenizer_json",
            run: targets::tokenizer_json,
            seeds: written,
            words: &[
                "\"BPE\"",
                "\"Unigram\"",
                "\"WordPiece\"",
                "\"Split\"",
                "\"Regex\"",
                "(?:a+)+$",
                "\"byte_fallback\":true",
                "null",
                "[]",
                "1e308",
                "-1",
                "18446744073709551615",
                "\"Precompiled\"",
                "\"\"",
                "\\ud800",
                "\n---\n",
            ],
        },
        Target {
            name: "config_json",
            run: targets::config_json,
            seeds: files("tests/reference/models", "config.json"),
            words: &[
                "null",
                "0",
                "-1",
                "1e308",
                "18446744073709551615",
                "[]",
                "{}",
                "\"llama\"",
                "\"gemma3_text\"",
                "\"qwen3_moe\"",
                "\"rope_scaling\"",
                "\"yarn\"",
                "\"longrope\"",
                "\"num_hidden_layers\":4294967295",
            ],
        },
        Target {
            name: "template",
            run: targets::template,
            seeds: templates,
            words: &[
                "{%",
                "%}",
                "{{",
                "}}",
                "{%-",
                "-%}",
                "{% for x in range(99999999) %}",
                "{% endfor %}",
                "{% set ns = namespace(a='x') %}",
                "{% set ns.a = ns.a ~ ns.a %}",
                "messages",
                "| tojson(indent=99999999)",
                "* 99999999",
                "raise_exception('x')",
                "strftime_now('%Y')",
                "{% macro m() %}{{ m() }}{% endmacro %}",
                "[::-1]",
                "| join('x' * 9999)",
                "(((((((((((",
                "loop.index0",
                "{% include 'x' %}",
                "| batch(0)",
                "| slice(0)",
                "| center(99999999)",
                "is divisibleby 0",
                "// 0",
                "% 0",
                "** 9999",
            ],
        },
        Target {
            name: "torch",
            run: targets::torch,
            seeds: files("tests/reference/torch", ""),
            words: &[
                "PK\x03\x04",
                "PK\x01\x02",
                "PK\x05\x06",
                "ctorch\n",
                "cos\nsystem\n",
                "storage",
                "BINPERSID",
                "\u{80}\x02",
            ],
        },
        Target {
            name: "hf_folder",
            run: targets::hf_folder,
            seeds: folders(),
            words: &[
                "\n---\n",
                "null",
                "[]",
                "-1",
                "18446744073709551615",
                "\"weight_map\"",
                "../",
                "\"F32\"",
                "\"eos_token\":{\"content\":7}",
                "\"added_tokens_decoder\"",
                "\"chat_template\":[{\"name\":\"default\",\"template\":\"x\"}]",
            ],
        },
        Target {
            name: "gguf_parts",
            run: targets::gguf_parts,
            seeds: parts(),
            words: &[
                "split.count",
                "split.no",
                "\n---\n",
                "GGUF",
                "general.alignment",
            ],
        },
        Target {
            name: "grammar",
            run: targets::grammar,
            seeds: texts(&[
                r#"{"type":"object","properties":{"prompts":{"type":"array","items":{"type":"string","minLength":3,"maxLength":60},"minItems":2,"maxItems":4},"n":{"type":"integer","minimum":-5,"maximum":99}},"required":["prompts"],"additionalProperties":false}"#,
                r##"{"$defs":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/a"},{"enum":["x","y",1]}]}},"allOf":[{"$ref":"#/$defs/a"}]}"##,
                r#"{"type":"string","pattern":"^[a-f]{2,8}$","format":"date"}"#,
                "r(red|blue) fox [0-9]{2,4}\\.",
                "r(?i:a+)*\\p{L}{1,9}[^\\n]",
                "lstart: \"yes\" | \"no\" \",\" WORD\nWORD: /[a-z]{3}/ | start start",
                "lstart: a\na: b | a \"x\"\nb: /[0-9]+/\n%ignore /\\s+/",
            ]),
            words: &[
                "{0,99999}",
                "(a{1,1000}){1,1000}",
                "\"maxLength\":18446744073709551615",
                "\"minItems\":99999999",
                "\"pattern\":\"(a*)*$\"",
                "\"$ref\":\"#\"",
                "\"$ref\":\"http://x/y\"",
                "\"multipleOf\":1e-300",
                "\"uniqueItems\":true",
                "\"oneOf\":[",
                "\\p{Greek}",
                "(?<=a)",
                "\\1",
                "[^\\x00-\\u{10FFFF}]",
                "%json {}",
                "%import common.INT",
                "start",
                "null",
                "((((",
                "[[[[",
            ],
        },
        Target {
            name: "conversations",
            run: targets::conversations,
            seeds: conversations(),
            words: &[
                "null",
                "-1",
                "18446744073709551615",
                "\"parent\":0",
                "\"shown\":7",
                "\"version\":1",
                "\"role\":\"tool\"",
                "\"content\":[{}]",
                "\\ud800",
                "\"tokens\":{}",
                "\"given\":3",
                "</details>",
                "1e999",
            ],
        },
        Target {
            name: "markdown",
            run: targets::markdown,
            seeds: {
                let mut seeds = texts(&[
                    "<think>\nhm\n</think>\n# A\n\n- **b** *c* `d`\n  1. e\n\n| a | b |\n|:-:|--|\n| 1 | 2 |\n\n```rust\nfn main() { \"x\"; /* y */ }\n```\n> q\n> > r [l](http://x \"t\") ![p](q) <b>&amp;</b> ~~s~~\n\n---\n",
                ]);
                seeds.push(std::fs::read(repository("tests/tests/chat/long.md")).unwrap());
                seeds
            },
            words: &[
                "```", "~~~", "<think>", "</think>", "| a |", "|--|", "[", "](", "![", "**", "_",
                "> ", "\\", "&#x0;", "\t", "\"\"\"", "/*", "<!--", "\u{200b}", "\u{202e}", "1. ",
            ],
        },
        Target {
            name: "prompt",
            run: targets::prompt,
            seeds: texts(&[
                "a (red:1.2) fox, [a|b], [c:d:0.25], ((x)) [y] \\( BREAK <lora:name:0.8> {a|2::b} __animals__ AND z :1.1",
                "{2$$, $$a|b|{c|d}} ${x=!y} {1-3$$a|b}",
            ]),
            words: &[
                "((((((((",
                "[[[[[[[[",
                "{{{{{{{{",
                "]]]]",
                ":1e999)",
                ":-5)",
                "|",
                "::",
                "$$",
                "__",
                "BREAK",
                "AND",
                "<lora:",
                "\\",
                "99999999$$",
                "99999999-999999999$$",
                "${x=${x}}",
            ],
        },
        Target {
            name: "picture",
            run: targets::picture,
            seeds: pictures(),
            words: &[
                "\u{89}PNG\r\n\x1a\n",
                "IHDR",
                "tEXt",
                "zTXt",
                "iTXt",
                "IEND",
                "parameters\0",
                "RIFF",
                "WEBPVP8X",
                "EXIF",
                "UNICODE\0",
                "Steps: 20, ",
                "Negative prompt: ",
                "Size: 99999999999x1",
                "[[[[[[[[",
            ],
        },
    ]
}

/// Numbers at which formats break.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    31,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A valid file, damaged in one to a few places. Most damage is done near the beginning, where formats say how long things are.
fn damaged(target: &Target, rng: &mut StdRng) -> Vec<u8> {
    let seed = |rng: &mut StdRng| &target.seeds[rng.random_range(0..target.seeds.len())];
    if rng.random_range(0..50) == 0 {
        let length = rng.random_range(0..300);
        return (0..length).map(|_| rng.random()).collect();
    }
    let mut bytes = seed(rng).clone();
    for _ in 0..1 << rng.random_range(0..4) {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        let near = if rng.random() {
            length
        } else {
            length.min(600)
        };
        let at = rng.random_range(0..near);
        let span = rng.random_range(1..64).min(length - at);
        match rng.random_range(0..10) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..at + span);
            }
            4 => {
                let part = bytes[at..at + span].to_vec();
                let times = 1 << rng.random_range(0..8);
                let to = rng.random_range(0..=length);
                bytes.splice(to..to, part.repeat(times));
            }
            5 => {
                let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.random_range(0..4)].min(length - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            6 | 7 => {
                let word = target.words[rng.random_range(0..target.words.len())].as_bytes();
                let over = if rng.random() {
                    word.len().min(length - at)
                } else {
                    0
                };
                bytes.splice(at..at + over, word.iter().copied());
            }
            8 => {
                let other = seed(rng);
                let from = rng.random_range(0..other.len().max(1));
                let part = other
                    .get(from..(from + 4 * span).min(other.len()))
                    .unwrap_or_default();
                bytes.splice(at..at, part.iter().copied());
            }
            _ => {
                // A number that is written in digits.
                if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                    let number = NUMBERS[rng.random_range(0..NUMBERS.len())].to_string();
                    bytes.splice(at + digit..=at + digit, number.into_bytes());
                }
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// The most memory that this process had so far, where the system tells.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Runs a target on damaged files for a while. Returns how many, and the slowest one's time.
fn drive(target: &Target, time: Duration) -> (usize, Duration) {
    let number: u64 = rand::random();
    println!("{}: seed {number}", target.name);
    // Templates are rendered on a thread of their own, which may panic without this one.
    COUNTED.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Faults of the template engine's own (3.0.5 fails at `""[::-1]`) end its thread alone and are told as errors of the template.
            let theirs = panic
                .location()
                .is_some_and(|at| at.file().contains("minijinja-"));
            if !theirs {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            told(panic);
        }));
    });
    let mut rng = StdRng::seed_from_u64(number);
    for seed in &target.seeds {
        (target.run)(seed);
    }
    let (begin, mut count, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while begin.elapsed() < time {
        let bytes = damaged(target, &mut rng);
        let before = most_memory();
        let started = Instant::now();
        let panics = PANICS.load(Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
        let took = started.elapsed();
        // The system counts pages in batches, and may take some back.
        let grown = most_memory()
            .zip(before)
            .map_or(0, |(now, before)| now.saturating_sub(before));
        let fault = if result.is_err() || PANICS.load(Ordering::Relaxed) > panics {
            Some("it panics".to_owned())
        } else if took > SLOWEST {
            Some(format!("it takes {took:?}"))
        } else if grown > MEMORY + 64 * bytes.len() as u64 {
            Some(format!("it takes {} MiB", grown >> 20))
        } else {
            None
        };
        if let Some(fault) = fault {
            panic!(
                "{}: {fault} on {}",
                target.name,
                kept(target.name, &bytes).display()
            );
        }
        slowest = slowest.max(took);
        count += 1;
    }
    (count, slowest)
}

/// Writes an input that something is wrong with, to be looked into.
fn kept(name: &str, bytes: &[u8]) -> PathBuf {
    let path =
        Path::new(&std::env::temp_dir()).join(format!("diptych-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn damaged_files_go_through_every_parser() {
    for target in all_targets() {
        let (count, slowest) = drive(&target, Duration::from_millis(800));
        println!(
            "{}: {count} inputs, the slowest took {slowest:?}",
            target.name
        );
        assert!(count > 5, "{}: {count}", target.name);
    }
}

#[test]
#[ignore = "minutes: cargo test --release --workspace --test parsers minutes -- --ignored --nocapture"]
fn damaged_files_go_through_every_parser_for_minutes() {
    let seconds = std::env::var("DIPTYCH_FUZZ_SECONDS").ok();
    let seconds = seconds
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(60);
    for target in all_targets() {
        let (count, slowest) = drive(&target, Duration::from_secs(seconds));
        println!(
            "{}: {count} inputs in {seconds} s, the slowest took {slowest:?}",
            target.name
        );
    }
}
