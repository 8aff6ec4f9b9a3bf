//! Programs that write their settings as JSON objects: SwarmUI, Fooocus, InvokeAI, NovelAI; and InvokeAI's first form, a
//! command line.

use std::collections::BTreeMap;

use serde_json::Value;

use super::PictureInfo;

/// A text; numbers and truth values count as their texts.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A number, also one written as text.
pub(super) fn float(value: &Value) -> Option<f64> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then_some(number)
}

/// A whole number, also one written as text or as `7.0`.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .or_else(|| {
            let number = value.as_f64()?;
            // Up to here every whole number is exact.
            let exact = (0.0..=9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
            exact.then_some(number as u64)
        })
}

pub(super) fn whole32(value: &Value) -> Option<u32> {
    whole(value).and_then(|n| n.try_into().ok())
}

/// Layers of the text encoder from its end, under AUTOMATIC1111's key for them.
pub(super) fn clip_skip(layers: Option<u64>) -> BTreeMap<String, String> {
    let pair = layers.map(|layers| ("Clip skip".to_owned(), layers.to_string()));
    pair.into_iter().collect()
}

/// SwarmUI: `{"sui_image_params": {...}, "sui_models": [...]}`.
pub(super) fn swarmui(value: &Value) -> Option<PictureInfo> {
    let params = value.get("sui_image_params")?;
    let get = |key: &str| params.get(key);
    let models = value.get("sui_models").and_then(Value::as_array);
    let hash = models.and_then(|models| {
        let base = models
            .iter()
            .find(|m| m.get("param").and_then(Value::as_str) == Some("model"));
        text(base.or(models.first())?.get("hash")?)
    });
    Some(PictureInfo {
        software: Some("SwarmUI".into()),
        prompt: get("prompt").and_then(text),
        negative_prompt: get("negativeprompt").and_then(text),
        seed: get("seed").and_then(whole),
        steps: get("steps").and_then(whole32),
        sampler: get("sampler").and_then(text),
        schedule: get("scheduler").and_then(text),
        cfg_scale: get("cfgscale").and_then(float),
        width: get("width").and_then(whole32),
        height: get("height").and_then(whole32),
        model: get("model").and_then(text),
        model_hash: hash,
        ..PictureInfo::default()
    })
}

/// Fooocus: flat, with the size as the text `(768, 1280)`.
pub(super) fn fooocus(value: &Value) -> Option<PictureInfo> {
    let get = |key: &str| value.get(key);
    let model = get("base_model")?;
    let size = get("resolution").and_then(Value::as_str).and_then(|size| {
        let (width, height) = size.trim_matches(['(', ')', ' ']).split_once(',')?;
        Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
    });
    Some(PictureInfo {
        software: Some("Fooocus".into()),
        prompt: get("prompt").and_then(text),
        negative_prompt: get("negative_prompt").and_then(text),
        seed: get("seed").and_then(whole),
        steps: get("steps").and_then(whole32),
        sampler: get("sampler").and_then(text),
        schedule: get("scheduler").and_then(text),
        cfg_scale: get("guidance_scale").and_then(float),
        width: size.map(|(width, _)| width),
        height: size.map(|(_, height)| height),
        model: text(model),
        model_hash: get("base_model_hash").and_then(text),
        extra: clip_skip(get("clip_skip").and_then(whole)),
        ..PictureInfo::default()
    })
}

/// InvokeAI since 3: `invokeai_metadata`.
pub(super) fn invokeai(value: &Value) -> Option<PictureInfo> {
    value.as_object()?;
    let get = |key: &str| value.get(key);
    let of_model = |keys: &[&str]| {
        let model = get("model")?;
        keys.iter().find_map(|key| text(model.get(key)?))
    };
    Some(PictureInfo {
        software: Some("InvokeAI".into()),
        prompt: get("positive_prompt").and_then(text),
        negative_prompt: get("negative_prompt").and_then(text),
        seed: get("seed").and_then(whole),
        steps: get("steps").and_then(whole32),
        sampler: get("scheduler").and_then(text),
        cfg_scale: get("cfg_scale").and_then(float),
        width: get("width").and_then(whole32),
        height: get("height").and_then(whole32),
        // Layers that are left out, where others count those from the last one on.
        extra: clip_skip(
            get("clip_skip")
                .and_then(whole)
                .and_then(|n| n.checked_add(1)),
        ),
        model: of_model(&["name", "model_name"]).or_else(|| text(get("model")?)),
        model_hash: of_model(&["hash", "model_hash"]),
        ..PictureInfo::default()
    })
}

/// InvokeAI 2: `sd-metadata`, where the negative prompt stands in square brackets within the prompt.
pub(super) fn invokeai_old(value: &Value) -> Option<PictureInfo> {
    let image = value.get("image")?;
    let get = |key: &str| image.get(key);
    let joined = match get("prompt")? {
        Value::Array(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .filter_map(|part| text(part.get("prompt")?))
                .collect();
            parts.join(", ")
        }
        other => text(other)?,
    };
    let (prompt, negative) = split_brackets(&joined);
    Some(PictureInfo {
        software: Some("InvokeAI".into()),
        prompt: Some(prompt),
        negative_prompt: Some(negative),
        seed: get("seed").and_then(whole),
        steps: get("steps").and_then(whole32),
        sampler: get("sampler").and_then(text),
        cfg_scale: get("cfg_scale").and_then(float),
        width: get("width").and_then(whole32),
        height: get("height").and_then(whole32),
        model: value
            .get("model_weights")
            .or_else(|| value.get("model"))
            .and_then(text),
        model_hash: value.get("model_hash").and_then(text),
        ..PictureInfo::default()
    })
}

/// Text in square brackets is what is to be avoided.
fn split_brackets(text: &str) -> (String, String) {
    let (mut prompt, mut negative) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inside, after)) = after.split_once(']') else {
            break;
        };
        prompt.push_str(before);
        negative.push(inside.trim());
        rest = after;
    }
    prompt.push_str(rest);
    (prompt.trim().to_owned(), negative.join(", "))
}

/// InvokeAI 1: `"prompt" -s 50 -S 2980747362 -W 512 -H 768 -C 5 -A k_lms`.
pub(super) fn dream(line: &str) -> Option<PictureInfo> {
    let after = line.trim().strip_prefix('"')?;
    let (prompt, options) = after.rsplit_once('"')?;
    let (prompt, negative) = split_brackets(prompt);
    let mut info = PictureInfo {
        software: Some("InvokeAI".into()),
        prompt: Some(prompt),
        negative_prompt: Some(negative),
        ..PictureInfo::default()
    };
    let words: Vec<&str> = options.split_whitespace().collect();
    for pair in words.windows(2) {
        let value = pair[1];
        match pair[0] {
            "-s" => info.steps = value.parse().ok(),
            "-S" => info.seed = value.parse().ok(),
            "-W" => info.width = value.parse().ok(),
            "-H" => info.height = value.parse().ok(),
            "-C" => info.cfg_scale = value.parse().ok().filter(|v: &f64| v.is_finite()),
            "-A" => info.sampler = Some(value.to_owned()),
            _ => {}
        }
    }
    info.seed.or(info.steps.map(u64::from))?;
    Some(info)
}

/// NovelAI: settings in `Comment`, the prompt in `Description`, the model and its hash in `Source`.
pub(super) fn novelai(
    comment: &Value,
    description: Option<&str>,
    source: Option<&str>,
) -> Option<PictureInfo> {
    let get = |key: &str| comment.get(key);
    // `NovelAI Diffusion V3 C1E1DE52`: the last word is the hash.
    let hash = |word: &str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let (model, model_hash) = match source.and_then(|s| s.trim().rsplit_once(' ')) {
        Some((name, word)) if hash(word) => (Some(name.to_owned()), Some(word.to_owned())),
        _ => (source.map(str::to_owned), None),
    };
    Some(PictureInfo {
        software: Some("NovelAI".into()),
        prompt: get("prompt")
            .and_then(text)
            .or_else(|| description.map(str::to_owned)),
        negative_prompt: get("uc").and_then(text),
        seed: get("seed").and_then(whole),
        steps: get("steps").and_then(whole32),
        sampler: get("sampler").and_then(text),
        schedule: get("noise_schedule").and_then(text),
        cfg_scale: get("scale").and_then(float),
        width: get("width").and_then(whole32),
        height: get("height").and_then(whole32),
        model,
        model_hash,
        ..PictureInfo::default()
    })
}
