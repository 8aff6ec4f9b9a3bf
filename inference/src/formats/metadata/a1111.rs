//! AUTOMATIC1111's text: the prompt, a line `Negative prompt: ...`, and a last line of `Key: value` pairs.
//!
//! The form is that of `parse_generation_parameters` and `create_infotext` in the web UI's `modules/infotext_utils.py` and
//! `modules/processing.py`: the last line counts as settings if it has at least three pairs.

use std::fmt::Write as _;

use super::PictureInfo;

const NEGATIVE: &str = "Negative prompt:";
/// A last line with fewer pairs belongs to the prompt.
const LEAST_PAIRS: usize = 3;
/// Schedules that old versions wrote as the end of the sampler's name.
const JOINED_SCHEDULES: [&str; 4] = ["Karras", "Exponential", "Polyexponential", "Automatic"];

/// Reads the text. Whatever it is, it has a prompt at least.
#[must_use]
pub fn parse(text: &str) -> PictureInfo {
    let text = text.trim();
    let lines: Vec<&str> = text.lines().collect();
    // Some programs add lines after the settings.
    let settings_at = lines
        .len()
        .checked_sub(1)
        .filter(|last| pairs(lines[*last]).len() >= LEAST_PAIRS)
        .or_else(|| {
            let at = lines
                .iter()
                .rposition(|line| line.trim_start().starts_with("Steps: "))?;
            (pairs(lines[at]).len() >= LEAST_PAIRS).then_some(at)
        });
    let (before, settings) = match settings_at {
        Some(at) => (&lines[..at], pairs(lines[at])),
        None => (&lines[..], Vec::new()),
    };
    let mut info = PictureInfo::default();
    let (mut prompt, mut negative): (Vec<&str>, Option<Vec<&str>>) = (Vec::new(), None);
    for line in before {
        let line = line.trim();
        match (&mut negative, line.strip_prefix(NEGATIVE)) {
            (None, Some(rest)) => negative = Some(vec![rest.trim()]),
            (Some(lines), _) => lines.push(line),
            (None, None) => prompt.push(line),
        }
    }
    info.prompt = Some(prompt.join("\n").trim().to_owned()).filter(|p| !p.is_empty());
    info.negative_prompt = negative.map(|lines| lines.join("\n").trim().to_owned());
    if !settings.is_empty() {
        info.prompt.get_or_insert_default();
        info.negative_prompt.get_or_insert_default();
    }
    for (key, value) in settings {
        take(&mut info, key, value);
    }
    split_joined_sampler(&mut info);
    info.software = Some(software(&info).to_owned());
    info
}

fn take(info: &mut PictureInfo, key: &str, value: String) {
    match key {
        "Steps" if info.steps.is_none() => info.steps = value.parse().ok(),
        "Sampler" if info.sampler.is_none() => info.sampler = Some(value),
        "Schedule type" if info.schedule.is_none() => info.schedule = Some(value),
        "CFG scale" if info.cfg_scale.is_none() => {
            info.cfg_scale = value.parse().ok().filter(|v: &f64| v.is_finite());
        }
        "Seed" if info.seed.is_none() => info.seed = value.parse().ok(),
        "Size" if info.width.is_none() => {
            let sides = value.split_once('x');
            let sides = sides.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
            if let Some((width, height)) = sides {
                (info.width, info.height) = (Some(width), Some(height));
            }
        }
        "Model" if info.model.is_none() => info.model = Some(value),
        "Model hash" if info.model_hash.is_none() => info.model_hash = Some(value),
        _ => {
            info.extra.entry(key.to_owned()).or_insert(value);
        }
    }
}

/// `DPM++ 2M Karras` is `DPM++ 2M` with the schedule `Karras`.
fn split_joined_sampler(info: &mut PictureInfo) {
    if info.schedule.is_some() {
        return;
    }
    let Some((sampler, schedule)) = info.sampler.as_deref().and_then(|s| s.rsplit_once(' ')) else {
        return;
    };
    if JOINED_SCHEDULES.contains(&schedule) {
        let (sampler, schedule) = (sampler.to_owned(), schedule.to_owned());
        info.sampler = Some(sampler);
        info.schedule = Some(schedule);
    }
}

/// Programs that use this form say so in their version.
fn software(info: &PictureInfo) -> &'static str {
    let has = |key: &str, text: &str| info.extra.get(key).is_some_and(|v| v.contains(text));
    if has("Version", "Diptych") {
        "Diptych"
    } else if has("Version", "Fooocus") {
        "Fooocus"
    } else if has("Version", "ComfyUI") {
        "ComfyUI"
    } else if has("App", "SD.Next") {
        "SD.Next"
    } else if info
        .extra
        .get("Version")
        .is_some_and(|v| v.starts_with('f'))
    {
        "Forge"
    } else {
        "AUTOMATIC1111"
    }
}

/// The pairs of a settings line. Equal to the web UI's
/// `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`, but what does not match is skipped up to the next comma.
fn pairs(line: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        rest = rest.trim_start();
        let key_end = rest.find([':', ',']);
        let Some(at) = key_end else {
            break;
        };
        let (key, after) = rest.split_at(at);
        let is_key = after.starts_with(':')
            && key.chars().count() >= 2
            && key.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && key
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '-' | '/'));
        if !is_key {
            // A colon within something unknown: the next comma begins anew.
            rest = after.find(',').map_or("", |comma| &after[comma + 1..]);
            continue;
        }
        let after = after[1..].trim_start();
        let (value, remaining) = match quoted(after) {
            Some(parsed) => parsed,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((key.trim_end(), value));
        rest = remaining.strip_prefix(',').unwrap_or(remaining);
    }
    found
}

/// A value in double quotes that is followed by a comma or the end, unescaped as JSON if it is such.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (whole, rest) = (&text[..end + 2], &inner[end + 1..]);
    if end == 0 || !(rest.is_empty() || rest.starts_with(',')) {
        return None;
    }
    let value = serde_json::from_str(whole).unwrap_or_else(|_| inner[..end].to_owned());
    Some((value, rest))
}

/// Writes the text, such that [`parse`] gives back what was written.
#[must_use]
pub fn write(info: &PictureInfo) -> String {
    let mut text = info.prompt.clone().unwrap_or_default();
    if let Some(negative) = info.negative_prompt.as_deref().filter(|n| !n.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{NEGATIVE} {negative}");
    }
    let mut settings: Vec<(&str, String)> = Vec::new();
    let mut put = |key, value: Option<String>| settings.extend(value.map(|v| (key, v)));
    put("Steps", info.steps.map(|v| v.to_string()));
    put("Sampler", info.sampler.clone());
    put("Schedule type", info.schedule.clone());
    put("CFG scale", info.cfg_scale.map(|v| v.to_string()));
    put("Seed", info.seed.map(|v| v.to_string()));
    let size = info.width.zip(info.height);
    put("Size", size.map(|(w, h)| format!("{w}x{h}")));
    put("Model hash", info.model_hash.clone());
    put("Model", info.model.clone());
    // The version comes last by custom.
    let (version, others): (Vec<_>, Vec<_>) = info
        .extra
        .iter()
        .partition(|(key, _)| key.as_str() == "Version");
    for (key, value) in others.into_iter().chain(version) {
        settings.push((key, value.clone()));
    }
    let line: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}: {}", quote(value)))
        .collect();
    if !line.is_empty() {
        let _ = write!(text, "\n{}", line.join(", "));
    }
    text
}

fn quote(value: &str) -> String {
    let plain = !value.contains([',', ':', '\n', '\r', '"']) && value.trim() == value;
    if plain {
        value.to_owned()
    } else {
        serde_json::Value::from(value).to_string()
    }
}
