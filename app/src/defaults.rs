//! What a model wants where the person says nothing: `diptych.json` beside its files.

use std::path::{Path, PathBuf};

use diptych_inference::diffusion::{Convention, SamplerKind, ScheduleKind, Spacing};
use serde::Deserialize;

/// Name of the file in a model's folder.
pub const FILE_NAME: &str = "diptych.json";
/// Larger files are no defaults.
const LARGEST: u64 = 64 << 10;

/// A model's own defaults; all may be missing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// The name to show.
    pub name: Option<String>,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Sampler steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f32>,
    /// Sampler.
    pub sampler: Option<SamplerKind>,
    /// Schedule.
    pub schedule: Option<ScheduleKind>,
    /// Convention.
    pub convention: Option<Convention>,
    /// Timestep spacing.
    pub spacing: Option<Spacing>,
    /// What the model is told about its part.
    pub system: Option<String>,
    /// Temperature.
    pub temperature: Option<f32>,
    /// Only so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together are this probable.
    pub top_p: Option<f32>,
    /// Only tokens at least this times as probable as the likeliest.
    pub min_p: Option<f32>,
    /// Repetition penalty.
    pub repetition_penalty: Option<f32>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
}

/// A file of defaults that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: the defaults cannot be read: {reason}; correct or remove this file", path.display())]
pub struct DefaultsError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The defaults of the model at a path: a folder, or a file with others beside it. None is no fault.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn of_model(model: &Path) -> Result<Defaults, DefaultsError> {
    let folder = if model.is_dir() {
        model
    } else {
        model.parent().unwrap_or(Path::new(""))
    };
    let path = folder.join(FILE_NAME);
    let fault = |reason: String| DefaultsError {
        path: path.clone(),
        reason,
    };
    match std::fs::metadata(&path) {
        Ok(meta) if !meta.is_file() => return Ok(Defaults::default()),
        Ok(meta) if meta.len() > LARGEST => {
            return Err(fault(format!("it is larger than {} KiB", LARGEST >> 10)));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Defaults::default());
        }
        Err(error) => return Err(fault(error.to_string())),
    }
    let bytes = std::fs::read(&path).map_err(|error| fault(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_found_in_the_folder_and_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of_model(folder.path()).unwrap(), Defaults::default());
        let text = r#"{"kind": "image", "width": 64, "sampler": "DPM++ 2M", "schedule": "Karras", "spacing": "trailing"}"#;
        std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
        let read = of_model(folder.path()).unwrap();
        assert_eq!((read.width, read.steps), (Some(64), None));
        assert_eq!(
            (read.sampler, read.spacing),
            (Some(SamplerKind::DpmPp2M), Some(Spacing::Trailing))
        );
        let file = folder.path().join("model.gguf");
        std::fs::write(&file, "").unwrap();
        assert_eq!(of_model(&file).unwrap(), read);
        std::fs::write(folder.path().join(FILE_NAME), "{\"steps\": \"many\"}").unwrap();
        let message = of_model(&file).unwrap_err().to_string();
        assert!(
            message.contains(FILE_NAME) && message.contains("remove"),
            "{message}"
        );
    }
}
