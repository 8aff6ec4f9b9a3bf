//! Qwen3's mixtures of experts against transformers, from every layout of their weights: one tensor an expert, all experts stacked, GGUF plain and quantised.

use diptych_inference::formats::gguf::read_gguf;
use diptych_inference::models::Llama;
use diptych_inference::models::llama::LlamaConfig;

use crate::common::{Reference, TOLERANCE, config, fixture, on_every_executor, tensors};
use crate::llama::{hugging_face, in_pieces, prefill};

fn gguf(name: &str, kind: &str) -> Llama {
    let path = fixture(name).join(format!("model-{kind}.gguf"));
    Llama::from_gguf(&read_gguf(&path).unwrap()).unwrap()
}

#[test]
fn every_layout_of_qwen3moe() {
    let name = "qwen3moe";
    let (path, value) = config(name);
    let read = LlamaConfig::from_json(&path, &value).unwrap();
    let models = [
        ("one tensor an expert", hugging_face(name)),
        (
            "stacked",
            Llama::new(read, tensors(name, "stacked.safetensors")).unwrap(),
        ),
        ("GGUF", gguf(name, "F16")),
    ];
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        for (label, model) in &models {
            let whole = prefill(subject, model, &reference, label, TOLERANCE);
            in_pieces(subject, model, &reference.ids("ids"), &whole);
        }
    });
}

#[test]
fn quantised_experts() {
    let name = "qwen3moe-wide";
    on_every_executor(name, |subject| {
        for kind in ["F16", "Q8_0"] {
            let file = match kind {
                "F16" => "reference.safetensors",
                _ => "reference-Q8_0.safetensors",
            };
            let reference = Reference::file(name, file);
            let model = gguf(name, kind);
            // Only the experts are quantised, and they are multiplied as floats.
            let whole = prefill(subject, &model, &reference, kind, TOLERANCE);
            in_pieces(subject, &model, &reference.ids("ids"), &whole);
        }
    });
}

#[test]
fn layers_without_experts_and_weights_that_do_not_add_up_to_1() {
    let name = "qwen3moe-mixed";
    let model = hugging_face(name);
    let sparse: Vec<bool> = model.config().layers.iter().map(|l| l.sparse).collect();
    assert_eq!(sparse, [true, false, true]);
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        prefill(subject, &model, &reference, "safetensors", TOLERANCE);
    });
}
