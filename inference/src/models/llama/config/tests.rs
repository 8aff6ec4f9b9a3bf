#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::formats::detect::{CHAT_ARCHITECTURES, CHAT_MODEL_TYPES};
use crate::models::llama::RopeScaling;

fn parse(value: Value) -> std::result::Result<LlamaConfig, String> {
    LlamaConfig::from_json(Path::new("config.json"), &value).map_err(|e| e.to_string())
}

#[test]
fn both_spellings_of_rotation_are_read() {
    let old = parse(json!({
        "model_type": "llama", "rope_theta": 500000.0,
        "rope_scaling": {"type": "linear", "factor": 4.0},
    }))
    .unwrap();
    let new = parse(json!({
        "rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 4.0},
    }))
    .unwrap();
    assert_eq!(old, new);
    assert_eq!(old.rope.scaling, RopeScaling::Linear { factor: 4.0 });
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (value, word) in [
        (json!({"model_type": "mamba"}), "mamba"),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
            "dynamic",
        ),
        (json!({"rope_scaling": {"rope_type": "linear"}}), "factor"),
        (
            json!({"num_attention_heads": 32, "num_key_value_heads": 5}),
            "num_key_value_heads",
        ),
        (json!({"head_dim": 63}), "head_dim"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
        (json!({"rms_norm_eps": "small"}), "rms_norm_eps"),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
    ] {
        let text = parse(value).unwrap_err();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn gguf_metadata_are_checked() {
    let mut file = crate::formats::gguf::write::GgufWriter::new("llama");
    for (key, value) in [
        ("llama.attention.head_count", 4u32),
        ("llama.attention.head_count_kv", 2),
        ("llama.embedding_length", 32),
        ("llama.feed_forward_length", 64),
        ("llama.block_count", 2),
        ("llama.context_length", 512),
    ] {
        file.set(key, value);
    }
    let read = |file: &crate::formats::gguf::write::GgufWriter| {
        let bytes = file.to_bytes().unwrap();
        let file = crate::formats::gguf::read_gguf_bytes(Path::new("m.gguf"), bytes).unwrap();
        LlamaConfig::from_gguf(&file.metadata).map_err(|e| e.to_string())
    };
    let missing = read(&file).unwrap_err();
    assert!(missing.contains("layer_norm_rms_epsilon"), "{missing}");
    file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    let config = read(&file).unwrap();
    assert_eq!(
        (config.head_dim, config.rope_dim, config.kv_heads),
        (8, 8, 2)
    );
    for (key, value, word) in [
        ("llama.attention.head_count_kv", 3u32, "head_count_kv"),
        ("llama.rope.dimension_count", 10, "dimension_count"),
        ("llama.expert_count", 8, "experts"),
        ("llama.block_count", 0, "block_count"),
    ] {
        let mut file = crate::formats::gguf::write::GgufWriter::new("llama");
        for (known, n) in [
            ("llama.attention.head_count", 4u32),
            ("llama.embedding_length", 32),
            ("llama.feed_forward_length", 64),
            ("llama.block_count", 2),
            ("llama.context_length", 512),
        ] {
            file.set(known, if known == key { value } else { n });
        }
        if !["llama.block_count"].contains(&key) {
            file.set(key, value);
        }
        file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        let text = read(&file).unwrap_err();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn every_family_is_known_by_both_its_names() {
    for family in Family::ALL {
        let config = parse(json!({"model_type": family.model_type(), "num_hidden_layers": 12}));
        assert_eq!(config.unwrap().family, family);
        assert!(CHAT_ARCHITECTURES.contains(&family.gguf_name()));
        assert!(CHAT_MODEL_TYPES.contains(&family.model_type()));
    }
    assert_eq!(CHAT_MODEL_TYPES.len(), Family::ALL.len());
}

/// `w`: with a window; `-`: without rotation.
fn kinds(config: &LlamaConfig) -> String {
    let of = |kind: &LayerKind| match (kind.windowed, kind.rotated) {
        (true, true) => 'w',
        (false, true) => 'f',
        (false, false) => '-',
        (true, false) => '?',
    };
    config.layers.iter().map(of).collect()
}

#[test]
fn layers_are_told_apart() {
    for (value, wanted) in [
        (
            json!({"model_type": "mistral", "sliding_window": 4096}),
            "wwwwwwwwwwww",
        ),
        (
            json!({"model_type": "mistral", "sliding_window": null}),
            "ffffffffffff",
        ),
        (
            json!({"model_type": "qwen2", "sliding_window": 32768, "use_sliding_window": false}),
            "ffffffffffff",
        ),
        (
            json!({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": true, "max_window_layers": 10}),
            "ffffffffffww",
        ),
        (json!({"model_type": "gemma2"}), "wfwfwfwfwfwf"),
        (json!({"model_type": "gemma3_text"}), "wwwwwfwwwwwf"),
        (
            json!({"model_type": "gemma3_text", "sliding_window_pattern": 4}),
            "wwwfwwwfwwwf",
        ),
        (json!({"model_type": "smollm3"}), "fff-fff-fff-"),
        (
            json!({"model_type": "smollm3", "no_rope_layers": [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}),
            "-fffffffffff",
        ),
    ] {
        let mut value = value;
        value["num_hidden_layers"] = json!(12);
        let config = parse(value.clone()).unwrap();
        assert_eq!(kinds(&config), wanted, "{value}");
    }
}

#[test]
fn lists_that_do_not_fit_are_refused_by_name() {
    for (value, word) in [
        (
            json!({"model_type": "gemma2", "layer_types": ["full_attention"]}),
            "layer_types",
        ),
        (
            json!({"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["linear_attention"]}),
            "linear_attention",
        ),
        (
            json!({"model_type": "smollm3", "no_rope_layers": [1]}),
            "no_rope_layers",
        ),
        (
            json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}),
            "short_factor",
        ),
        (
            json!({"model_type": "phi3", "rope_scaling": {"type": "su", "short_factor": [1], "long_factor": [0]}}),
            "long_factor",
        ),
        (
            json!({"model_type": "phi3", "partial_rotary_factor": 1.5}),
            "partial_rotary_factor",
        ),
        (
            json!({"model_type": "llama", "sliding_window": 12}),
            "sliding_window",
        ),
    ] {
        let text = parse(value).unwrap_err();
        assert!(text.contains(word), "{text}");
    }
}
