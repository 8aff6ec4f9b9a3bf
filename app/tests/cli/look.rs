//! Looking at models, pictures and the machine.

use serde_json::Value;

use crate::support::{Studio, repository, text, tiny};

#[test]
fn a_model_is_described() {
    let studio = Studio::new();
    let told = studio
        .run(&["models", "show", &tiny(), "--json"])
        .ok()
        .json();
    assert_eq!(told["usable"], true);
    assert_eq!(told["name"], "tiny-sd");
    assert!(told["bytes"].as_u64().unwrap() > 100_000);
    assert!(told["dtypes"].to_string().contains("F16"), "{told}");
    assert!(
        told["abilities"].to_string().contains("text to image"),
        "{told}"
    );
    let plain = studio.run(&["models", "show", &tiny()]).ok().stdout;
    assert!(
        plain.contains("text to image") && plain.contains("F16"),
        "{plain}"
    );
}

#[test]
fn a_model_that_cannot_be_used_is_described_with_the_reason() {
    let studio = Studio::new();
    studio.file(
        "flux/model_index.json",
        r#"{"_class_name": "FluxPipeline"}"#,
    );
    let line = studio
        .run(&["models", "show", &text(&studio.path("flux"))])
        .failed();
    assert!(line.contains("Flux"), "{line}");
}

#[test]
fn built_in_models_and_those_in_a_folder_are_listed() {
    let studio = Studio::new();
    studio.file("models/broken.gguf", "GGUF");
    let copy = studio.path("models/deep/er");
    std::fs::create_dir_all(&copy).unwrap();
    let sample = repository("tests/reference/models/llama-gqa/model-F16.gguf");
    std::fs::copy(sample, copy.join("tiny-llama.gguf")).unwrap();
    let run = studio
        .run(&[
            "models",
            "--folder",
            &text(&studio.path("models")),
            "--json",
        ])
        .ok();
    let Value::Array(models) = run.json()["models"].take() else {
        panic!("{run:?}")
    };
    let of = |name: &str| {
        models
            .iter()
            .find(|model| model["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {run:?}"))
    };
    assert_eq!(of("sketch")["source"], "built in");
    assert_eq!(of("sketch")["usable"], true);
    assert_eq!(of("muse")["usable"], true);
    assert_eq!(of("broken")["usable"], false);
    assert!(
        of("broken")["reason"]
            .as_str()
            .unwrap()
            .contains("broken.gguf")
    );
    assert!(
        of("tiny-llama")["path"]
            .as_str()
            .unwrap()
            .ends_with("er/tiny-llama.gguf")
    );
    let plain = studio.run(&["models"]).ok().stdout;
    assert!(
        plain.contains("sketch") && plain.contains("muse"),
        "{plain}"
    );
    assert!(run.time.as_secs() < 10);
}

#[test]
fn the_doctor_finds_everything_in_order() {
    let studio = Studio::new();
    let report = studio.run(&["doctor", "--json"]).ok().json();
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["engine"]["executor"], "cpu");
    assert!(report["engine"]["memory_budget_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert_eq!(report["built_in_models"].as_array().unwrap().len(), 2);
    let plain = studio.run(&["doctor", "--data-dir", "mine"]).ok().stdout;
    assert!(
        plain.contains("sketch") && plain.contains("mine"),
        "{plain}"
    );
}

/// Needs an adapter, a software one at least.
#[test]
fn the_doctor_tests_every_kernel_of_the_gpu() {
    let studio = Studio::new();
    let output = studio
        .command(&["doctor", "--json", "--device", "gpu"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["engine"]["executor"], "gpu");
    assert!(!report["adapters"].as_array().unwrap().is_empty());
    let kernels = report["kernels"].as_array().unwrap();
    assert!(kernels.len() > 10, "{kernels:?}");
    assert!(
        kernels.iter().all(|kernel| kernel["passed"] == true),
        "{kernels:?}"
    );
}

#[test]
fn the_doctor_tells_what_is_missing() {
    let studio = Studio::new();
    let run = studio.run(&["doctor", "--assets", &text(studio.folder.path()), "--json"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("sketch") && run.stderr.lines().count() == 1,
        "{run:?}"
    );
    assert_eq!(run.json()["problems"].as_array().unwrap().len(), 2);
}
