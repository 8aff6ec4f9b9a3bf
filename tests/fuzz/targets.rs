//! What each fuzz target does with its bytes: read them, and use what was read. Shared with the test that drives them without libFuzzer
//! (`tests/tests/parsers.rs`).

use std::path::Path;

use diptych_inference::formats::WeightMap;
use diptych_inference::formats::gguf::read_gguf_bytes;
use diptych_inference::formats::safetensors::read_safetensors_bytes;
use diptych_inference::formats::torch::read_torch_bytes;
use diptych_inference::models::Llama;
use diptych_inference::models::llama::LlamaConfig;
use diptych_inference::text::template::{ChatMessage, RenderOptions, render};
use diptych_inference::text::tokenizer::{EncodeOptions, GgufVocab, Tokenizer};

/// A GGUF file, and from it a decoder and a tokenizer.
pub fn gguf(data: &[u8]) {
    let Ok(file) = read_gguf_bytes(Path::new("fuzz.gguf"), data.to_vec()) else {
        return;
    };
    let _ = Llama::from_gguf(&file);
    if let Ok(vocabulary) = GgufVocab::from_gguf(&file.metadata)
        && let Ok(tokenizer) = Tokenizer::new(vocabulary)
        && let Ok(ids) = tokenizer.encode("Hello, wörld 🦊", EncodeOptions::default())
    {
        tokenizer.decode(&ids);
    }
}

/// A safetensors file.
pub fn safetensors(data: &[u8]) {
    if let Ok(file) = read_safetensors_bytes(Path::new("fuzz.safetensors"), data.to_vec()) {
        for (_, tensor) in file.tensors.iter() {
            let _ = tensor.to_f32();
        }
    }
}

/// A `tokenizer.json`, and a text with it. What follows a line of `---` is the text.
pub fn tokenizer_json(data: &[u8]) {
    let cut = data.windows(5).position(|part| part == b"\n---\n");
    let (file, text) = match cut {
        Some(at) => (&data[..at], String::from_utf8_lossy(&data[at + 5..])),
        None => (data, "Hello, wörld 🦊 123".into()),
    };
    if let Ok(tokenizer) = Tokenizer::from_json_bytes(Path::new("tokenizer.json"), file) {
        let options = EncodeOptions {
            add_special: true,
            parse_special: true,
        };
        if let Ok(ids) = tokenizer.encode(&text, options) {
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_len()));
            tokenizer.decode(&ids);
        }
    }
}

/// A `config.json` of a language model.
pub fn config_json(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice(data)
        && let Ok(config) = LlamaConfig::from_json(Path::new("config.json"), &value)
    {
        let _ = Llama::new(config, WeightMap::new("nothing"));
    }
}

/// A chat template, on a conversation.
pub fn template(data: &[u8]) {
    let Ok(template) = std::str::from_utf8(data) else {
        return;
    };
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Hello {{ 1 }} <|im_end|>"),
    ];
    let options = RenderOptions {
        add_generation_prompt: true,
        bos: "<s>".to_owned(),
        eos: "</s>".to_owned(),
        now: 0,
    };
    let _ = render(Some(template), &messages, &options);
}

/// Files of torch.
pub fn torch(data: &[u8]) {
    let _ = read_torch_bytes(Path::new("fuzz.ckpt"), data.to_vec());
}
