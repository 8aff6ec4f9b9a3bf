//! What a Hugging Face folder tells about its tokenizer beside `tokenizer.json`.

use std::path::Path;

use serde_json::Value;

use super::{Names, build};
use crate::formats::FormatError;
use crate::formats::json::{MAX_CONFIG, read_json_as, read_small_file};
use crate::text::TextError;
use crate::text::tokenizer::Tokenizer;

/// Longest `tokenizer.json`; the largest real ones have about 35 MB.
const MAX_FILE: u64 = 128 << 20;
/// Longest template that is read.
const MAX_TEMPLATE: u64 = 4 << 20;
/// Most ids that end a generation.
const MAX_ENDS: usize = 1024;

/// A folder's tokenizer with its chat template.
#[derive(Debug)]
pub struct FolderTokenizer {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The template, where there is one.
    pub template: Option<String>,
}

fn unreadable(path: &Path, error: &FormatError) -> TextError {
    let cause = error.to_string();
    let shown = format!("{}: ", path.display());
    TextError::TokenizerFile {
        path: path.into(),
        cause: cause.strip_prefix(&shown).unwrap_or(&cause).to_owned(),
    }
}

/// A small JSON file of the folder; null if it is not there.
fn optional(folder: &Path, name: &str) -> Result<Value, TextError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(Value::Null);
    }
    read_json_as(&path, name, MAX_CONFIG).map_err(|error| unreadable(&path, &error))
}

/// A token as text or as an object with its text.
fn token(config: &Value, key: &str) -> Option<String> {
    let value = config.get(key)?;
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    Some(text.to_owned())
}

/// One id or a list of them.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().take(MAX_ENDS).filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

impl FolderTokenizer {
    /// Reads `tokenizer.json` and, where they are, `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json`, `config.json`,
    /// `chat_template.jinja` and `chat_template.json`.
    ///
    /// # Errors
    /// [`TextError::TokenizerFile`]: what cannot be read or is not known here, by name.
    pub fn open(folder: &Path) -> Result<Self, TextError> {
        let config = optional(folder, "tokenizer_config.json")?;
        let map = optional(folder, "special_tokens_map.json")?;
        let generation = optional(folder, "generation_config.json")?;
        let model = optional(folder, "config.json")?;
        let name = |key: &str| token(&config, key).or_else(|| token(&map, key));
        let mut ends = ids(generation.get("eos_token_id"));
        ends.extend(ids(model.get("eos_token_id")));
        let names = Names {
            bos: name("bos_token"),
            eos: name("eos_token"),
            unk: name("unk_token"),
            pad: name("pad_token"),
            ends,
            add_bos: config.get("add_bos_token").and_then(Value::as_bool),
            add_eos: config.get("add_eos_token").and_then(Value::as_bool),
        };
        let path = folder.join("tokenizer.json");
        let bytes = read_small_file(&path, MAX_FILE).map_err(|error| unreadable(&path, &error))?;
        Ok(Self {
            tokenizer: build(&path, &bytes, &names)?,
            template: template(folder, &config)?,
        })
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json` by itself.
    ///
    /// # Errors
    /// As [`FolderTokenizer::open`].
    pub fn from_json(path: &Path) -> Result<Self, TextError> {
        let bytes = read_small_file(path, MAX_FILE).map_err(|error| unreadable(path, &error))?;
        Self::from_json_bytes(path, &bytes)
    }

    /// Reads the contents of a `tokenizer.json`; `path` is named in errors.
    ///
    /// # Errors
    /// As [`FolderTokenizer::open`].
    pub fn from_json_bytes(path: &Path, bytes: &[u8]) -> Result<Self, TextError> {
        build(path, bytes, &Names::default())
    }
}

/// A file of its own has precedence over the setting, as in transformers.
fn template(folder: &Path, config: &Value) -> Result<Option<String>, TextError> {
    let path = folder.join("chat_template.jinja");
    if path.is_file() {
        let bytes =
            read_small_file(&path, MAX_TEMPLATE).map_err(|error| unreadable(&path, &error))?;
        let text = String::from_utf8(bytes).map_err(|_| TextError::TokenizerFile {
            path,
            cause: "is not UTF-8 text".to_owned(),
        })?;
        return Ok(Some(text));
    }
    let apart = optional(folder, "chat_template.json")?;
    let written = apart
        .get("chat_template")
        .or_else(|| config.get("chat_template"));
    Ok(match written {
        Some(Value::String(text)) => Some(text.clone()),
        // Several by name.
        Some(Value::Array(list)) => list
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_owned),
        _ => None,
    })
}
