//! A whole Hugging Face folder (shards, tokenizer, template) against transformers: the same tokens of a conversation, the same logits of them.

use std::path::Path;

use diptych_inference::formats::detect::ModelKind;
use diptych_inference::graph::HostTensor;
use diptych_inference::models::{Llama, check};
use diptych_inference::text::template::{ChatMessage, RenderOptions, render};
use diptych_inference::text::tokenizer::{EncodeOptions, FolderTokenizer};

use crate::common::{Reference, TOLERANCE, fixture, on_every_executor};
use crate::llama::{all_logits, in_pieces, prefill};

const NAME: &str = "chat-folder";

fn conversation() -> Vec<ChatMessage> {
    let text = std::fs::read_to_string(fixture(NAME).join("messages.json")).unwrap();
    let messages: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    messages
        .iter()
        .map(|message| {
            let of = |key: &str| message[key].as_str().unwrap().to_owned();
            ChatMessage::new(of("role"), of("content"))
        })
        .collect()
}

#[test]
fn a_conversation_gives_the_references_tokens_and_logits() {
    let folder = FolderTokenizer::open(&fixture(NAME)).unwrap();
    let options = RenderOptions {
        add_generation_prompt: true,
        bos: String::new(),
        eos: "<|im_end|>".to_owned(),
        now: 0,
        tools: Vec::new(),
    };
    let rendered = render(folder.template.as_deref(), &conversation(), &options).unwrap();
    assert_eq!(rendered.warning, None);
    let parse = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let ids = folder.tokenizer.encode(&rendered.text, parse).unwrap();
    let chat = Reference::file(NAME, "chat_reference.safetensors");
    assert_eq!(ids, chat.ids("ids"));
    for end in ["<|im_end|>", "<|endoftext|>"] {
        let id = folder.tokenizer.id_of(end).unwrap();
        assert!(folder.tokenizer.is_end(id), "{end}");
    }
    let model = Llama::from_folder(&fixture(NAME)).unwrap();
    let reference = Reference::of(NAME);
    on_every_executor(NAME, |subject| {
        let logits = all_logits(subject, &model, &ids);
        let got = HostTensor::f32(vec![ids.len(), model.vocab_size()], logits);
        subject.compare("conversation", &got, &chat.f32("logits"), TOLERANCE);
        let whole = prefill(subject, &model, &reference, "prompt", TOLERANCE);
        in_pieces(subject, &model, &reference.ids("ids"), &whole);
    });
}

fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn folders_are_found_and_what_they_lack_is_named() {
    let found = check::scan(&fixture(NAME));
    assert_eq!(found.len(), 1);
    let info = found[0].1.as_ref().unwrap();
    assert_eq!(info.usable(), Ok(()));
    assert_eq!(info.kind(), ModelKind::Chat);
    assert_eq!(info.abilities(), ["text completion", "chat"]);
    assert_eq!(info.details()["context length"], "256");

    let copy = copy_of(&fixture(NAME));
    let shard = "model-00002-of-00003.safetensors";
    std::fs::remove_file(copy.path().join(shard)).unwrap();
    let found = check::scan(copy.path());
    let error = found[0].1.as_ref().unwrap_err().to_string();
    assert!(
        error.contains(shard) && error.contains("missing"),
        "{error}"
    );

    let copy = copy_of(&fixture(NAME));
    std::fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
    let refusal = |copy: &tempfile::TempDir| {
        let found = check::scan(copy.path());
        found[0]
            .1
            .as_ref()
            .unwrap()
            .usable()
            .unwrap_err()
            .to_owned()
    };
    assert!(refusal(&copy).contains("no tokenizer.json"));
    std::fs::write(
        copy.path().join("tokenizer.json"),
        r#"{"model": {"type": "WordLevel", "vocab": {}}}"#,
    )
    .unwrap();
    assert!(refusal(&copy).contains("WordLevel"), "{}", refusal(&copy));

    let copy = copy_of(&fixture(NAME));
    let path = copy.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"qwen3\"", "\"mamba\"")).unwrap();
    assert!(refusal(&copy).contains("mamba"), "{}", refusal(&copy));
}
