//! Files that lie: valid small models of which bytes, metadata or settings are changed. Whatever comes of it is a named error or a model, soon and within little
//! memory, never a panic (arithmetic is checked in this crate).

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::formats::gguf::write::GgufWriter;
use crate::formats::gguf::{GgufArray, GgufValue, read_gguf, read_gguf_bytes};
use crate::formats::safetensors::read_any;
use crate::models::Llama;
use crate::models::llama::{LlamaConfig, LlamaShape};
use crate::text::tokenizer::{EncodeOptions, FolderTokenizer, GgufVocab, Tokenizer};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference/models")
        .join(name)
}

const GGUFS: [&str; 6] = [
    "llama-gqa/model-Q8_0.gguf",
    "llama-tied-llama3/model-F16.gguf",
    "gemma3/model-F16.gguf",
    "phi3-long/model-F16.gguf",
    "qwen3/model-F16.gguf",
    "qwen3moe-wide/model-Q8_0.gguf",
];

const FOLDERS: [&str; 7] = [
    "llama-tied-llama3",
    "mistral",
    "gemma2",
    "gemma3",
    "phi3-long",
    "smollm3",
    "qwen3moe-mixed",
];

/// Everything that is made of a file before it computes anything.
fn use_gguf(file: &crate::formats::gguf::Gguf) {
    let begun = Instant::now();
    if let Ok(model) = Llama::from_gguf(file) {
        let shape = LlamaShape {
            rows: 3,
            outputs: 1,
            sequences: 2,
            pages_per_sequence: 2,
            pages: 4,
        };
        let _ = model.graph(&shape);
        let _ = model.kv_shape(4).bytes();
    }
    if let Ok(vocabulary) = GgufVocab::from_gguf(&file.metadata)
        && let Ok(tokenizer) = Tokenizer::new(vocabulary)
        && let Ok(ids) = tokenizer.encode("Hello <s> wörld", EncodeOptions::default())
    {
        tokenizer.decode(&ids);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "took {:?}",
        begun.elapsed()
    );
}

/// Values that no honest file has in most places.
fn odd_gguf() -> impl Strategy<Value = GgufValue> {
    prop_oneof![
        prop_oneof![
            Just(0u32),
            Just(1),
            Just(2),
            Just(3),
            Just(7),
            Just(64),
            Just(1 << 16),
            Just(1 << 24),
            Just((1 << 24) + 1),
            Just(u32::MAX),
            Just(1 << 31)
        ]
        .prop_map(GgufValue::U32),
        any::<u64>().prop_map(GgufValue::U64),
        any::<i32>().prop_map(GgufValue::I32),
        prop_oneof![
            Just(0.0f32),
            Just(-1.0),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(1e-38),
            Just(1e38)
        ]
        .prop_map(GgufValue::F32),
        any::<bool>().prop_map(GgufValue::Bool),
        prop_oneof![
            Just(""),
            Just("yarn"),
            Just("longrope"),
            Just("linear"),
            Just("none"),
            Just("bert"),
            Just("t5"),
            Just("gpt2"),
            Just("?")
        ]
        .prop_map(|text| GgufValue::String(text.to_owned())),
        prop::collection::vec(any::<bool>(), 0..4)
            .prop_map(|v| GgufValue::Array(GgufArray::Bool(v))),
        prop::collection::vec(any::<f32>(), 0..80)
            .prop_map(|v| GgufValue::Array(GgufArray::F32(v))),
        prop::collection::vec(any::<i32>(), 0..80)
            .prop_map(|v| GgufValue::Array(GgufArray::I32(v))),
        prop::collection::vec("[a-c ▁]{0,2}", 0..80)
            .prop_map(|v| GgufValue::Array(GgufArray::String(v))),
    ]
}

fn odd_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(3)),
        Just(json!(1 << 24)),
        Just(json!((1 << 24) + 1)),
        Just(json!(u64::MAX)),
        Just(json!(-1)),
        Just(json!(0.5)),
        Just(json!(1e300)),
        Just(json!(1e-300)),
        Just(json!("")),
        Just(json!("yarn")),
        Just(json!("llama3")),
        Just(json!([])),
        Just(json!([1e9, 0, 1])),
        Just(json!({"rope_type": "yarn", "factor": 1e300})),
        Just(json!({"type": "longrope", "short_factor": [], "long_factor": [1]})),
    ]
}

/// A value somewhere in a configuration.
fn place<'a>(value: &'a mut Value, path: &[usize]) -> &'a mut Value {
    let Some((step, rest)) = path.split_first() else {
        return value;
    };
    if !matches!(value, Value::Object(map) if !map.is_empty()) {
        return value;
    }
    let Value::Object(map) = value else {
        unreachable!("was asked above")
    };
    let index = step % map.len();
    place(map.values_mut().nth(index).unwrap(), rest)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn changed_metadata_is_refused_or_harmless(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::weighted(0.8, odd_gguf())), 1..5),
    ) {
        let mut file = read_gguf(&reference(GGUFS[which.index(GGUFS.len())])).unwrap();
        let keys: Vec<String> = file.metadata.iter().map(|(key, _)| key.to_owned()).collect();
        let mut writer = GgufWriter::default();
        let mut odd = std::collections::HashMap::new();
        for (key, value) in changes {
            odd.insert(keys[key.index(keys.len())].clone(), value);
        }
        for (key, value) in file.metadata.iter() {
            // What is not there is left out.
            if let Some(value) = odd.get(key).map_or(Some(value), Option::as_ref) {
                writer.set(key, value.clone());
            }
        }
        for (_, tensor) in file.tensors.iter() {
            writer.tensor(tensor.clone());
        }
        // Through a file where one can be written: values may make it one that is not read at all.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.gguf");
        if writer.write(&path).is_ok()
            && let Ok(read) = read_gguf(&path)
        {
            file = read;
            use_gguf(&file);
        }
    }

    #[test]
    fn changed_bytes_are_refused_or_harmless(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..12),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let path = reference(GGUFS[which.index(GGUFS.len())]);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte, early) in changes {
            // Most of a file is weights, most of what can be told wrong is before them.
            let len = if early { bytes.len().min(3000) } else { bytes.len() };
            let at = at.index(len);
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = read_gguf_bytes(Path::new("changed.gguf"), bytes) {
            use_gguf(&file);
        }
    }

    #[test]
    fn changed_settings_are_refused_or_harmless(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((prop::collection::vec(0usize..60, 1..4), odd_json()), 1..5),
        added in prop::collection::vec((prop_oneof![
            Just("rope_scaling"), Just("layer_types"), Just("head_dim"), Just("no_rope_layers"), Just("mlp_only_layers"),
            Just("decoder_sparse_step"), Just("num_experts"), Just("sliding_window_pattern"), Just("partial_rotary_factor"),
        ], odd_json()), 0..2),
    ) {
        let folder = reference(FOLDERS[which.index(FOLDERS.len())]);
        let path = folder.join("config.json");
        let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (at, odd) in changes {
            *place(&mut value, &at) = odd;
        }
        if let Value::Object(map) = &mut value {
            for (key, odd) in added {
                map.insert(key.to_owned(), odd);
            }
        }
        let begun = Instant::now();
        if let Ok(config) = LlamaConfig::from_json(&path, &value) {
            let weights = read_any(&folder.join("model.safetensors")).unwrap().tensors;
            let _ = Llama::new(config, weights);
        }
        prop_assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    }

    #[test]
    fn changed_files_of_a_folder_are_refused_or_harmless(
        which in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        const FILES: [&str; 5] = [
            "tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "model.safetensors.index.json",
        ];
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(reference("chat-folder")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let path = folder.path().join(FILES[which]);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, bytes).unwrap();
        let _ = Llama::from_folder(folder.path());
        let _ = FolderTokenizer::open(folder.path());
        for (_, info) in crate::models::check::scan(folder.path()) {
            if let Err(error) = info {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
