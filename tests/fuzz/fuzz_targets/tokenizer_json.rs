//! A `tokenizer.json`, and a text with it. What follows a line of `---` is the text.
#![no_main]

use std::path::Path;

use diptych_inference::text::tokenizer::{EncodeOptions, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
});
