//! What each fuzz target does with its bytes: read them, and use what was read. Shared with the test that drives them without libFuzzer
//! (`tests/tests/parsers.rs`).

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use diptych::studio::chat::thoughts;
use diptych::studio::chat::transfer::file::Bundle;
use diptych::studio::chat::transfer::foreign;
use diptych::studio::chat::tree::Tree;
use diptych::widgets::markdown::{blocks, highlight};
use diptych_inference::formats::WeightMap;
use diptych_inference::formats::detect::probe;
use diptych_inference::formats::gguf::{read_gguf, read_gguf_bytes};
use diptych_inference::formats::lora::Lora;
use diptych_inference::formats::metadata::a1111;
use diptych_inference::formats::picture::{inspect_picture_bytes, png_texts};
use diptych_inference::formats::safetensors::read_safetensors_bytes;
use diptych_inference::formats::torch::read_torch_bytes;
use diptych_inference::models::Llama;
use diptych_inference::models::llama::LlamaConfig;
use diptych_inference::text::grammar::{Grammar, Guide};
use diptych_inference::text::prompt::{
    PromptSyntax, compose, parse_attention, phrases, schedule, split_lora_tags, variants,
};
use diptych_inference::text::template::{ChatMessage, RenderOptions, render};
use diptych_inference::text::tokenizer::{
    EncodeOptions, FolderTokenizer, GgufVocab, StreamDecoder, Tokenizer,
};

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
        // What is looked for in a person's words.
        let guard = tokenizer.guard(|id| tokenizer.is_special(id));
        let _ = guard.places("Hello <|im_end|> </s> <|");
    }
}

/// A safetensors file, also as one of changes to a model.
pub fn safetensors(data: &[u8]) {
    let path = Path::new("fuzz.safetensors");
    if let Ok(file) = read_safetensors_bytes(path, data.to_vec()) {
        let _ = Lora::from_tensors(path, &file.tensors);
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
        ChatMessage {
            tool_calls: vec![
                serde_json::json!({"type": "function", "function": {"name": "draw", "arguments": {"a": "fox"}}}),
            ],
            ..ChatMessage::new("assistant", "")
        },
        ChatMessage::new("tool", "{\"done\": true}"),
    ];
    let options = RenderOptions {
        add_generation_prompt: true,
        bos: "<s>".to_owned(),
        eos: "</s>".to_owned(),
        now: 0,
        tools: vec![serde_json::json!({
            "type": "function",
            "function": {"name": "draw", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
        })],
    };
    let _ = render(Some(template), &messages, &options);
}

/// Files of torch.
pub fn torch(data: &[u8]) {
    let _ = read_torch_bytes(Path::new("fuzz.ckpt"), data.to_vec());
}

/// What parts the pieces of inputs that are several files.
const BETWEEN: &[u8] = b"\n---\n";

/// The pieces of an input.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), data);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN) {
        found.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    found.push(rest);
    found
}

/// A folder of its own for each thread, emptied before each input.
fn folder() -> Option<PathBuf> {
    thread_local! {
        static NUMBER: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }
    let path = NUMBER.with(|kept| {
        let name = || {
            let (process, thread) = (std::process::id(), std::thread::current().id());
            std::env::temp_dir().join(format!("diptych-fuzz-{process}-{thread:?}"))
        };
        kept.borrow_mut().get_or_insert_with(name).clone()
    });
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).ok()?;
    Some(path)
}

/// Files of a Hugging Face folder: the pieces of the input, in this order.
pub const FOLDER: [&str; 8] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// A Hugging Face folder: what it holds, its decoder and its tokenizer.
pub fn hf_folder(data: &[u8]) {
    let Some(folder) = folder() else { return };
    for (name, piece) in FOLDER.iter().zip(pieces(data)) {
        if !piece.is_empty() && fs::write(folder.join(name), piece).is_err() {
            return;
        }
    }
    let _ = probe(&folder);
    let _ = Llama::from_folder(&folder);
    if let Ok(opened) = FolderTokenizer::open(&folder)
        && let Ok(ids) = opened.tokenizer.encode("a fox", EncodeOptions::default())
    {
        opened.tokenizer.decode(&ids);
    }
    let _ = fs::remove_dir_all(&folder);
}

/// A model in two GGUF files, each a piece of the input.
pub fn gguf_parts(data: &[u8]) {
    let Some(folder) = folder() else { return };
    let mut first = None;
    for (number, piece) in (1..).zip(pieces(data)).take(2) {
        let path = folder.join(format!("model-0000{number}-of-00002.gguf"));
        if fs::write(&path, piece).is_err() {
            return;
        }
        first.get_or_insert(path);
    }
    if let Some(first) = first {
        let _ = probe(&first);
        if let Ok(file) = read_gguf(&first) {
            let _ = Llama::from_gguf(&file);
        }
    }
    let _ = fs::remove_dir_all(&folder);
}

/// A vocabulary of the bytes, for grammars.
fn bytes_vocabulary() -> Option<&'static Guide> {
    static GUIDE: OnceLock<Option<Guide>> = OnceLock::new();
    let make = || {
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<String> = special.into_iter().chain(bytes).collect();
        let types = [2, 3, 3].into_iter().chain([6; 256]).collect();
        let vocabulary = GgufVocab {
            model: "llama".to_owned(),
            scores: Some(vec![0.0; tokens.len()]),
            types: Some(types),
            tokens,
            ..GgufVocab::default()
        };
        Guide::new(&Tokenizer::new(vocabulary).ok()?).ok()
    };
    GUIDE.get_or_init(make).as_ref()
}

/// What an answer must look like, and a few tokens by it. The first letter says what it is: `r` a regular expression, `l` a grammar in Lark's notation; all
/// else is a JSON schema.
pub fn grammar(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let grammar = match (text.get(..1), text.get(1..)) {
        (Some("r"), Some(rest)) => Grammar::Regex(rest.to_owned()),
        (Some("l"), Some(rest)) => Grammar::Lark(rest.to_owned()),
        _ => Grammar::JsonSchema(text.to_owned()),
    };
    let Some(Ok(mut state)) = bytes_vocabulary().map(|guide| guide.follow(&grammar)) else {
        return;
    };
    for turn in 0..24 {
        let Ok(mask) = state.mask() else { return };
        let allowed: Vec<u32> = mask.ids().collect();
        let Some(&id) = allowed.get(turn * 7 % allowed.len().max(1)) else {
            return;
        };
        if state.take(id).is_err() || state.is_complete() {
            return;
        }
    }
}

/// Conversations from a file: ours, or a list of messages.
pub fn conversations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = match Bundle::is_ours(text) {
        true => Bundle::read(text),
        false => foreign::read_messages(text),
    };
    let Ok(bundle) = read else { return };
    let again = bundle.write().ok();
    for plain in bundle.conversations {
        let held = plain.held();
        let tree = Tree::new(held.messages, held.conversation.leaf);
        let page = foreign::markdown(&held.conversation, &tree.branch());
        assert!(page.starts_with("# "));
    }
    // What was read can be written, and is read the same.
    let again = again.and_then(|bytes| String::from_utf8(bytes).ok());
    assert!(again.is_some_and(|text| Bundle::read(&text).is_ok()));
}

/// An answer as it is shown: thoughts, Markdown, code in colours.
pub fn markdown(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for writing in [false, true] {
        let parts = thoughts::parts(&text, writing);
        let _ = blocks::parse(parts.answer, 0);
    }
    let _ = blocks::parse(&text, 0);
    for name in ["rust", "python", "json", "html", "sh", "whatever"] {
        let mut end = 0;
        for (range, _) in highlight::tokens(name, &text) {
            assert!(
                range.start >= end && text.get(range.clone()).is_some(),
                "{range:?}"
            );
            end = range.end;
        }
    }
    // However bytes are parted, the text is the same.
    let (mut decoder, mut streamed) = (StreamDecoder::new(), String::new());
    for part in data.chunks(3) {
        streamed.push_str(&decoder.push(part));
    }
    streamed.push_str(&decoder.finish());
    assert_eq!(streamed, text);
}

/// A prompt for a picture, in every notation.
pub fn prompt(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for syntax in [
        PromptSyntax::None,
        PromptSyntax::A1111,
        PromptSyntax::ComfyUi,
    ] {
        let _ = split_lora_tags(text, syntax);
    }
    let _ = parse_attention(text);
    let _ = schedule::schedule(text, 30);
    let _ = compose::subprompts(text);
    for phrase in phrases::phrases(text, false) {
        assert!(text.get(phrase).is_some());
    }
    let mut list = |name: &str| Some(vec![format!("{{{name}|b}}"), "__other__".to_owned()]);
    let _ = variants::resolve(text, 7, false, &mut list);
}

/// How a picture was made, as its file tells; and the text of AUTOMATIC1111 by itself.
pub fn picture(data: &[u8]) {
    let path = Path::new("fuzz.png");
    let _ = inspect_picture_bytes(path, data);
    let _ = png_texts(path, data);
    if let Ok(text) = std::str::from_utf8(data) {
        let info = a1111::parse(text);
        let _ = a1111::parse(&a1111::write(&info));
    }
}
