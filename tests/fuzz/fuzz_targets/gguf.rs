//! A GGUF file, and from it a decoder and a tokenizer.
#![no_main]

use std::path::Path;

use diptych_inference::formats::gguf::read_gguf_bytes;
use diptych_inference::models::Llama;
use diptych_inference::text::tokenizer::{EncodeOptions, GgufVocab, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
});
