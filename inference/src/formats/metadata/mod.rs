//! What the texts in a picture mean: each program that makes pictures has its own way to say how.

pub mod a1111;
mod comfyui;
mod json_forms;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Key of the PNG text that holds our own request, whole, as JSON.
pub const REQUEST_KEY: &str = "diptych";

/// How a picture was made, as far as its file tells. Names are those that the file uses.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PictureInfo {
    /// The program that made it.
    pub software: Option<String>,
    /// What was asked for.
    pub prompt: Option<String>,
    /// What was to be avoided; empty if the file says that there was nothing.
    pub negative_prompt: Option<String>,
    /// Seed of the noise.
    pub seed: Option<u64>,
    /// Sampling steps.
    pub steps: Option<u32>,
    /// Sampler.
    pub sampler: Option<String>,
    /// Noise schedule.
    pub schedule: Option<String>,
    /// Guidance scale.
    pub cfg_scale: Option<f64>,
    /// Width as it was generated, in pixels; else of the file.
    pub width: Option<u32>,
    /// Height as it was generated, in pixels; else of the file.
    pub height: Option<u32>,
    /// Name of the model.
    pub model: Option<String>,
    /// Hash of the model file, as the program computes it.
    pub model_hash: Option<String>,
    /// Whatever else the file says, by the file's own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
    /// Our own request, if we made the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
}

impl PictureInfo {
    /// Whether nothing of substance was found.
    fn is_empty(&self) -> bool {
        let plain = Self {
            software: self.software.clone(),
            extra: self.extra.clone(),
            ..Self::default()
        };
        *self == plain
    }
}

/// Most values in a JSON text: memory grows with their number, not with the length of the text.
const MAX_JSON_VALUES: usize = 1_000_000;

/// Parses JSON from a picture, unless it is made to eat memory.
fn parse_json(text: &str) -> Option<Value> {
    let marks = text
        .bytes()
        .filter(|b| matches!(b, b',' | b'[' | b'{'))
        .count();
    if marks > MAX_JSON_VALUES {
        return None;
    }
    // `NaN` is written by Python and is no JSON; ComfyUI's graphs hold it in places that do not matter here.
    let parsed = serde_json::from_str(text);
    parsed
        .or_else(|_| serde_json::from_str(&text.replace(": NaN", ": null")))
        .ok()
}

/// Finds out which program wrote the texts, and reads them. `None` if none of them is known.
pub(crate) fn interpret(texts: &[(String, String)]) -> Option<PictureInfo> {
    let get = |key: &str| {
        // Where a key is repeated the last counts, as in other readers.
        let found = texts.iter().rev().find(|(k, _)| k == key);
        found.map(|(_, text)| text.as_str())
    };
    let json = |key: &str| get(key).and_then(parse_json);
    let own_request = json(REQUEST_KEY);
    let read = || -> Option<PictureInfo> {
        if let Some(text) = get("parameters").or_else(|| get("comment")) {
            let text = text.trim();
            // SwarmUI and Fooocus use the same key for JSON.
            let json = text.starts_with('{').then(|| parse_json(text)).flatten();
            if let Some(value) = json {
                let read = json_forms::swarmui(&value).or_else(|| json_forms::fooocus(&value));
                if read.is_some() {
                    return read;
                }
            }
            let mut info = a1111::parse(text);
            if get("fooocus_scheme").is_some() {
                info.software = Some("Fooocus".into());
            }
            if !info.is_empty() && (info.steps.is_some() || get("parameters").is_some()) {
                return Some(info);
            }
        }
        if let Some(info) = json("prompt").and_then(|graph| comfyui::read(&graph)) {
            return Some(info);
        }
        if let Some(info) = json("invokeai_metadata").and_then(|v| json_forms::invokeai(&v)) {
            return Some(info);
        }
        if let Some(info) = json("sd-metadata").and_then(|v| json_forms::invokeai_old(&v)) {
            return Some(info);
        }
        if let Some(info) = get("Dream").and_then(json_forms::dream) {
            return Some(info);
        }
        let novelai = get("Software").is_some_and(|s| s.contains("NovelAI"));
        if let Some(comment) = json("Comment").filter(|_| novelai) {
            return json_forms::novelai(&comment, get("Description"), get("Source"));
        }
        None
    };
    let mut info = read().filter(|info| !info.is_empty());
    if own_request.is_some() {
        let info = info.get_or_insert_default();
        info.software = Some("Diptych".into());
        info.request = own_request;
    }
    info
}

#[cfg(test)]
mod tests;
