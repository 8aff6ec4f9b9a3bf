//! A `config.json` of a language model.
#![no_main]

use std::path::Path;

use diptych_inference::formats::WeightMap;
use diptych_inference::models::Llama;
use diptych_inference::models::llama::LlamaConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = serde_json::from_slice(data)
        && let Ok(config) = LlamaConfig::from_json(Path::new("config.json"), &value)
    {
        let _ = Llama::new(config, WeightMap::new("nothing"));
    }
});
