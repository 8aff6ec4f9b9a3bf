//! A Stable Diffusion model as its parts, whatever files it came from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::FormatError;
use super::weights::WeightMap;

/// How a diffusion model lies on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A folder with `model_index.json` and a folder for each part.
    Diffusers,
    /// One file with the key names of the original latent diffusion code.
    Ldm,
    /// A U-Net, text encoders and an autoencoder in files of their own.
    Split,
}

/// Which Stable Diffusion a model descends from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    /// 1.x: CLIP ViT-L/14, cross-attention width 768.
    #[serde(rename = "sd1")]
    Sd1,
    /// 2.x: OpenCLIP ViT-H/14, cross-attention width 1024.
    #[serde(rename = "sd2")]
    Sd2,
    /// XL: both of CLIP ViT-L/14 and OpenCLIP ViT-bigG/14, cross-attention width 2048.
    #[serde(rename = "sdxl")]
    Sdxl,
}

impl Family {
    /// `Stable Diffusion 1.x`, `Stable Diffusion 2.x` or `Stable Diffusion XL`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
            Self::Sdxl => "Stable Diffusion XL",
        }
    }
}

/// One network of a model: config as diffusers or transformers write it, weights under diffusers' names.
#[derive(Clone, Debug)]
pub struct Component {
    /// The class that the config is for: `UNet2DConditionModel`, `AutoencoderKL`, `AutoencoderTiny`, `CLIPTextModel`.
    pub class: String,
    /// The config. For single files it is inferred from the shapes of the weights.
    pub config: Value,
    /// The file that messages about the config name.
    pub config_path: PathBuf,
    /// The weights.
    pub weights: WeightMap,
}

/// The files of a CLIP tokenizer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenizerFiles {
    /// Token by number.
    pub vocab: PathBuf,
    /// Pairs in order of preference.
    pub merges: PathBuf,
    /// `tokenizer_config.json`, if there is one.
    pub config: Option<PathBuf>,
    /// `special_tokens_map.json`, if there is one.
    pub special_tokens: Option<PathBuf>,
}

/// All that is needed to draw with a Stable Diffusion model.
#[derive(Clone, Debug)]
pub struct DiffusionModel {
    /// The folder or file.
    pub source: PathBuf,
    /// How it lies there.
    pub layout: Layout,
    /// Which family it belongs to, if that can be told: models of our own shapes need not belong to any.
    pub family: Option<Family>,
    /// The noise predictor.
    pub unet: Component,
    /// The autoencoder.
    pub vae: Component,
    /// The text encoder.
    pub text_encoder: Component,
    /// The second text encoder, in Stable Diffusion XL.
    pub text_encoder_2: Option<Component>,
    /// The scheduler's config: `prediction_type`, `beta_schedule`, `beta_start`, `beta_end`, `num_train_timesteps`, ...
    pub scheduler: Value,
    /// The tokenizer's files. Single files have none and use the tokenizer of CLIP.
    pub tokenizer: Option<TokenizerFiles>,
    /// Those of the second text encoder.
    pub tokenizer_2: Option<TokenizerFiles>,
}

impl DiffusionModel {
    /// `epsilon`, `v_prediction` or whatever else the scheduler's config says; `epsilon` if it says nothing.
    #[must_use]
    pub fn prediction_type(&self) -> &str {
        let stated = self.scheduler.get("prediction_type");
        stated.and_then(Value::as_str).unwrap_or("epsilon")
    }
}

/// Opens an autoencoder by itself: a folder with `config.json` and weights, or a file with the original names, with or without their
/// prefix; a distilled one (TAESD) by any of its names.
///
/// # Errors
/// All faults of the files; files that hold no such autoencoder.
pub fn open_autoencoder(path: &Path) -> Result<Component, FormatError> {
    if path.is_dir() {
        return super::diffusers::open_component(path, "autoencoder", None);
    }
    let tensors = super::safetensors::read_any(path)?.tensors;
    let prefixed = tensors.filter_prefix("first_stage_model.");
    let tensors = if prefixed.is_empty() {
        tensors
    } else {
        prefixed
    };
    if tensors.has_prefix("decoder.up_blocks.") {
        return Err(FormatError::MissingComponent {
            path: path.into(),
            component: "config.json".into(),
            detail: "the file has diffusers' names; give the folder that it lies in".into(),
        });
    }
    if super::ldm::is_tiny(&tensors) {
        return super::ldm::convert_tiny(path, &tensors);
    }
    super::ldm::convert_vae(path, &tensors)
}

/// Opens a diffusers folder, or a single-file checkpoint.
///
/// # Errors
/// All faults of the files; models of other kinds are refused by name.
pub fn open_diffusion_model(path: &Path) -> Result<DiffusionModel, FormatError> {
    let meta = std::fs::metadata(path).map_err(|e| FormatError::io(path, "open", e))?;
    if meta.is_dir() {
        return super::diffusers::open_pipeline(path);
    }
    // The model's index given instead of its folder.
    if path.file_name().is_some_and(|n| n == "model_index.json") {
        return super::diffusers::open_pipeline(path.parent().unwrap_or(Path::new(".")));
    }
    if super::split::is_gguf(path)? {
        return super::ldm::convert_checkpoint(path, &super::split::gguf::read(path)?);
    }
    super::ldm::open_checkpoint(path)
}
