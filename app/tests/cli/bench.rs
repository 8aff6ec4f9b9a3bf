//! `diptych models synthesize` and `diptych bench`.

use serde_json::Value;

use crate::support::Studio;

#[test]
fn a_model_is_made_shown_and_measured() {
    let studio = Studio::new();
    let run = studio
        .run(&[
            "models",
            "synthesize",
            "qwen3-tiny",
            "q.gguf",
            "--quant",
            "q5_k",
            "--json",
        ])
        .ok();
    let made: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(made["quant"], "Q5_K");
    assert!(
        made["bytes"].as_u64().unwrap() < std::fs::metadata(studio.path("q.gguf")).unwrap().len()
    );

    let run = studio.run(&["models", "show", "q.gguf", "--json"]).ok();
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(shown["usable"], true, "{shown}");
    let run = studio
        .run(&[
            "complete",
            "The evening",
            "-m",
            "q.gguf",
            "--max-tokens",
            "2",
            "--json",
        ])
        .ok();
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(answer["prompt_tokens"].as_u64().unwrap() > 2, "{answer}");

    let run = studio
        .run(&["bench", "--quick", "--json", "-m", "q.gguf"])
        .ok();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["format"], 1);
    assert_eq!(report["device"]["executor"], "cpu");
    let positive = |value: &Value| value.as_f64().unwrap() > 0.0;
    assert!(positive(&report["limits"]["bandwidth"]) && positive(&report["limits"]["flops"]));
    let works = report["models"][0]["workloads"].as_array().unwrap();
    let names: Vec<&str> = works
        .iter()
        .map(|work| work["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["prefill 128", "prefill 512", "decode"]);
    for work in works {
        for number in [
            "seconds",
            "per_second",
            "flops",
            "bytes",
            "flops_share",
            "bandwidth_share",
        ] {
            assert!(positive(&work[number]), "{number}: {work}");
        }
        assert!(!work["profile"]["rows"].as_array().unwrap().is_empty());
    }
    assert!(run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn a_synthetic_model_is_measured_for_people_and_leaves_nothing_behind() {
    let studio = Studio::new();
    let scratch = studio.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let run = studio
        .run(&[
            "bench",
            "--quick",
            "--synthetic",
            "sd-tiny",
            "--size",
            "64x64",
            "--scratch",
            "scratch",
        ])
        .ok();
    for text in [
        "step 64x64",
        "vae decode 64x64",
        "conv2d",
        "FLOP/s",
        "foreseen",
    ] {
        assert!(run.stdout.contains(text), "no '{text}' in\n{}", run.stdout);
    }
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_made_or_measured_is_said() {
    let studio = Studio::new();
    let run = studio.run(&["models", "synthesize", "gpt-9", "x.gguf"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("llama-3.1-8b"), "{}", run.stderr);
    let run = studio.run(&[
        "models",
        "synthesize",
        "sd-tiny",
        "x.safetensors",
        "--quant",
        "Q4_0",
    ]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("F32, F16, BF16"), "{}", run.stderr);
    let run = studio.run(&[
        "models",
        "synthesize",
        "llama-tiny",
        "no/such/folder/x.gguf",
    ]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("no/such/folder"), "{}", run.stderr);
    let run = studio.run(&["bench", "--model", "nothing.gguf"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("nothing.gguf"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(studio.folder.path()).unwrap().count(), 0);
}
