//! Settings of the whole studio, shared by all its windows through the library.

use std::collections::BTreeMap;
use std::path::PathBuf;

use diptych_inference::engine::{DeviceChoice, KvChoice, LONGEST_CONTEXT};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::Entry;
use super::keys::{Chord, Place};
use crate::theme::{Icon, ThemeChoice};

/// The key under which the library keeps them.
pub const KEY: &str = "settings";
/// Scales that can be chosen: from small on a low screen to large on a 4K one.
pub const SCALES: std::ops::RangeInclusive<f32> = 0.75..=2.5;
/// Those that are offered, in percent.
pub const PERCENTS: [u32; 10] = [75, 85, 100, 110, 125, 150, 175, 200, 225, 250];

/// The next larger or smaller of the sizes that are offered; the same at the end.
pub fn next_scale(scale: f32, larger: bool) -> f32 {
    let now = (scale * 100.0).round() as u32;
    let next = if larger {
        PERCENTS.into_iter().find(|&percent| percent > now)
    } else {
        PERCENTS.into_iter().rev().find(|&percent| percent < now)
    };
    next.map_or(scale, |percent| percent as f32 / 100.0)
}

/// Longest conversations that can be chosen, in tokens.
pub const CONTEXTS: [u32; 8] = [
    2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144,
];

/// What can be chosen that is next to a number of tokens.
pub fn longest_context(tokens: u32) -> u32 {
    let above = CONTEXTS.into_iter().find(|known| *known >= tokens);
    above.unwrap_or(CONTEXTS[CONTEXTS.len() - 1])
}

/// What the person has settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Dark, light, or as the system.
    pub theme: ThemeChoice,
    /// Size of everything, times the system's own scale.
    pub scale: f32,
    /// What computes.
    pub device: DeviceChoice,
    /// Most bytes to use on the device; `None` lets the engine decide.
    pub memory_budget: Option<u64>,
    /// How what conversations leave in memory (keys and values) is kept.
    pub kv_type: KvChoice,
    /// Most tokens of a conversation, where the model's own context is longer.
    pub context: u32,
    /// Folders and files in which to look for models, beside the built-in ones.
    pub folders: Vec<PathBuf>,
    /// Whether to look into the folders of other programs, too.
    pub look_elsewhere: bool,
    /// Folder of the lists that prompts take words from; `None` is the one among the person's data.
    pub wildcards: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::System,
            scale: 1.0,
            device: DeviceChoice::Auto,
            memory_budget: None,
            kv_type: KvChoice::Auto,
            context: LONGEST_CONTEXT as u32,
            folders: Vec::new(),
            look_elsewhere: true,
            wildcards: None,
        }
    }
}

/// A change of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingsCommand {
    /// Dark, light, system.
    Theme(ThemeChoice),
    /// Size of everything.
    Scale(f32),
    /// The next larger size of everything.
    Larger,
    /// The next smaller one.
    Smaller,
    /// What computes.
    Device(DeviceChoice),
    /// Most bytes to use on the device.
    MemoryBudget(Option<u64>),
    /// How keys and values of conversations are kept.
    KvType(KvChoice),
    /// Most tokens of a conversation.
    Context(u32),
    /// Whether to look into the folders of other programs.
    LookElsewhere(bool),
    /// Where lists of words are.
    Wildcards(Option<PathBuf>),
}

impl Settings {
    /// Reads what the library kept; single settings that cannot be read keep their default.
    pub fn read(kept: &BTreeMap<String, serde_json::Value>) -> Self {
        let mut settings = Self::default();
        let Some(serde_json::Value::Object(fields)) = kept.get(KEY) else {
            return settings;
        };
        fn take<T: serde::de::DeserializeOwned>(
            fields: &serde_json::Map<String, serde_json::Value>,
            name: &str,
            to: &mut T,
        ) {
            if let Some(value) = fields.get(name) {
                match serde_json::from_value(value.clone()) {
                    Ok(value) => *to = value,
                    Err(error) => tracing::warn!("the setting '{name}' cannot be read: {error}"),
                }
            }
        }
        take(fields, "theme", &mut settings.theme);
        take(fields, "scale", &mut settings.scale);
        take(fields, "device", &mut settings.device);
        take(fields, "memory_budget", &mut settings.memory_budget);
        take(fields, "kv_type", &mut settings.kv_type);
        take(fields, "context", &mut settings.context);
        settings.context = longest_context(settings.context);
        take(fields, "folders", &mut settings.folders);
        take(fields, "look_elsewhere", &mut settings.look_elsewhere);
        take(fields, "wildcards", &mut settings.wildcards);
        settings.scale = if settings.scale.is_finite() {
            settings.scale.clamp(*SCALES.start(), *SCALES.end())
        } else {
            1.0
        };
        settings
    }
}

/// What is kept, with the changes from some settings to others. Folders are added and taken away one by one.
pub fn merged(kept: Option<Value>, before: &Settings, now: &Settings) -> Value {
    let fields = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        other => {
            tracing::error!("the settings cannot be written: {other:?}");
            serde_json::Map::new()
        }
    };
    let (old, new) = (fields(before), fields(now));
    let Some(Value::Object(mut kept)) = kept else {
        return Value::Object(new);
    };
    for (name, value) in new {
        if old.get(&name) == Some(&value) {
            continue;
        }
        if name == "folders"
            && let Some(Ok(mut folders)) = kept
                .get(&name)
                .cloned()
                .map(serde_json::from_value::<Vec<PathBuf>>)
        {
            folders.retain(|path| !before.folders.contains(path) || now.folders.contains(path));
            for path in now
                .folders
                .iter()
                .filter(|path| !before.folders.contains(path))
            {
                if !folders.contains(path) {
                    folders.push(path.clone());
                }
            }
            kept.insert(name, serde_json::json!(folders));
        } else {
            kept.insert(name, value);
        }
    }
    Value::Object(kept)
}

/// Settings in the palette.
pub fn entries() -> Vec<Entry> {
    use egui::Key;
    vec![
        Entry::new(
            SettingsCommand::Theme(ThemeChoice::Dark),
            "Dark theme",
            Icon::Moon,
        ),
        Entry::new(
            SettingsCommand::Theme(ThemeChoice::Light),
            "Light theme",
            Icon::Sun,
        ),
        Entry::new(
            SettingsCommand::Theme(ThemeChoice::System),
            "Theme of the system",
            Icon::Monitor,
        ),
        Entry::new(
            SettingsCommand::Larger,
            "Make everything larger",
            Icon::ZoomIn,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Plus))
        .key(Place::Everywhere, Chord::ctrl(Key::Equals)),
        Entry::new(
            SettingsCommand::Smaller,
            "Make everything smaller",
            Icon::ZoomOut,
        )
        .key(Place::Everywhere, Chord::ctrl(Key::Minus)),
        Entry::new(
            SettingsCommand::Device(DeviceChoice::Auto),
            "Compute on the best device",
            Icon::Gpu,
        ),
        Entry::new(
            SettingsCommand::Device(DeviceChoice::Gpu),
            "Compute on the GPU",
            Icon::Gpu,
        ),
        Entry::new(
            SettingsCommand::Device(DeviceChoice::Cpu),
            "Compute on the CPU",
            Icon::Cpu,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_up_and_down_and_end() {
        assert_eq!(next_scale(1.0, true), 1.1);
        assert_eq!(next_scale(1.0, false), 0.85);
        assert_eq!(next_scale(1.2, true), 1.25);
        assert_eq!(next_scale(2.5, true), 2.5);
        assert_eq!(next_scale(0.75, false), 0.75);
    }

    #[test]
    fn two_windows_do_not_undo_each_other() {
        let begun = Settings {
            folders: vec!["/a".into(), "/b".into()],
            ..Settings::default()
        };
        let first = Settings {
            scale: 1.5,
            folders: vec!["/a".into(), "/b".into(), "/first".into()],
            ..begun.clone()
        };
        let second = Settings {
            memory_budget: Some(1 << 30),
            folders: vec!["/b".into(), "/second".into()],
            ..begun.clone()
        };
        let kept = merged(None, &Settings::default(), &begun);
        let kept = merged(Some(kept), &begun, &first);
        let kept = merged(Some(kept), &begun, &second);
        let read = Settings::read(&BTreeMap::from([(KEY.to_owned(), kept)]));
        assert_eq!((read.scale, read.memory_budget), (1.5, Some(1 << 30)));
        let folders: Vec<PathBuf> = ["/b", "/first", "/second"].map(PathBuf::from).into();
        assert_eq!(read.folders, folders);
    }

    #[test]
    fn settings_come_back_and_faulty_ones_are_left_out() {
        let settings = Settings {
            scale: 1.5,
            kv_type: KvChoice::Q8,
            context: 32_768,
            folders: vec!["/models".into()],
            ..Settings::default()
        };
        let value = serde_json::to_value(&settings).unwrap();
        let kept = |value| BTreeMap::from([(KEY.to_owned(), value)]);
        assert_eq!(Settings::read(&kept(value.clone())), settings);
        let mut faulty = value;
        faulty["scale"] = "large".into();
        faulty["device"] = "toaster".into();
        faulty["kv_type"] = "q2_k".into();
        faulty["context"] = 0.into();
        let read = Settings::read(&kept(faulty));
        assert_eq!(read.folders, settings.folders);
        assert_eq!((read.scale, read.device), (1.0, DeviceChoice::Auto));
        assert_eq!(read.kv_type, KvChoice::Auto);
        assert_eq!(read.context, CONTEXTS[0]);
        let huge = serde_json::json!({"scale": 1e9});
        assert_eq!(Settings::read(&kept(huge)).scale, *SCALES.end());
    }
}
