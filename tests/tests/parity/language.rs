//! The variations of the Llama block against transformers, from Hugging Face folders and GGUF files: prefilled whole, in chunks and token by token, on
//! prompts longer than their windows.

use diptych_inference::formats::gguf::read_gguf;
use diptych_inference::models::Llama;

use crate::common::{Reference, TOLERANCE, fixture, on_every_executor};
use crate::llama::{hugging_face, in_pieces, prefill};

/// Compares the models that a fixture holds, which have the same weights.
fn check(name: &str, has_gguf: bool) {
    let mut models = vec![("safetensors", hugging_face(name))];
    if has_gguf {
        let file = read_gguf(&fixture(name).join("model-F16.gguf")).unwrap();
        models.push(("GGUF", Llama::from_gguf(&file).unwrap()));
    }
    let reference = Reference::of(name);
    on_every_executor(name, |subject| {
        for (label, model) in &models {
            let whole = prefill(subject, model, &reference, label, TOLERANCE);
            in_pieces(subject, model, &reference.ids("ids"), &whole);
        }
    });
}

#[test]
fn mistral_with_its_window() {
    check("mistral", true);
}

#[test]
fn qwen2_with_windows_and_biases() {
    check("qwen2", false);
}

#[test]
fn qwen2_with_tied_output() {
    check("qwen2-plain", true);
}

#[test]
fn qwen3_with_yarn() {
    check("qwen3", true);
}

#[test]
fn gemma2() {
    check("gemma2", true);
}

#[test]
fn gemma3() {
    check("gemma3", true);
}

#[test]
fn phi3_with_its_window() {
    check("phi3", true);
}

#[test]
fn phi3_with_longrope() {
    check("phi3-long", true);
}

#[test]
fn smollm3() {
    check("smollm3", true);
}

#[test]
fn olmo2() {
    check("olmo2", true);
}

#[test]
fn granite() {
    check("granite", true);
}
