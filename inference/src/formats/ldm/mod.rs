//! Single-file Stable Diffusion checkpoints with the key names of the original latent diffusion code.
//!
//! The parts are found by prefix, their configs inferred from the shapes of the weights, and the keys mapped to diffusers'
//! names, so that models are built from them exactly as from a diffusers folder. Names of the original: `ldm/modules/diffusionmodules` of
//! <https://github.com/CompVis/stable-diffusion>; the map is tested against diffusers' own converter.

pub(in crate::formats) mod clip;
mod control;
mod identify;
mod names;
mod tiny;
pub(in crate::formats) mod unet;
mod vae;

use std::path::Path;

use serde_json::{Value, json};

use super::diffusion_model::{Component, DiffusionModel, Family, Layout};
use super::error::FormatError;
use super::safetensors::{Safetensors, read_any};
use super::weights::WeightMap;

pub use control::{convert_controlnet, open_controlnet};
pub(in crate::formats) use identify::CLIP_TEXT;
pub use identify::{Identity, identify};
pub use names::{layers_by_level, original_name};
pub use tiny::convert_tiny;
pub use vae::convert_vae;

/// Whether tensors are a distilled autoencoder (TAESD) with its decoder.
#[must_use]
pub fn is_tiny(tensors: &WeightMap) -> bool {
    tiny::is_tiny(tensors)
}

/// The U-Net's keys begin so.
const UNET: &str = "model.diffusion_model.";
/// The autoencoder's keys begin so.
const VAE: &str = "first_stage_model.";
/// The text encoder's keys begin so in 1.x.
const CLIP: &str = "cond_stage_model.transformer.";
/// The text encoder's keys begin so in 2.x.
const OPEN_CLIP: &str = "cond_stage_model.model.";

/// The text encoders' keys begin so in XL: CLIP's, then OpenCLIP's.
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";

/// The refiner has OpenCLIP alone.
const OPEN_CLIP_REFINER: &str = "conditioner.embedders.0.model.";

/// Opens a checkpoint.
///
/// # Errors
/// All faults of the file; models of other kinds are refused by name; missing parts are named.
pub fn open_checkpoint(path: &Path) -> Result<DiffusionModel, FormatError> {
    convert_checkpoint(path, &read_any(path)?)
}

/// Converts the tensors of a checkpoint; `path` is named in messages.
///
/// # Errors
/// As [`open_checkpoint`], without the faults of the file.
pub fn convert_checkpoint(path: &Path, file: &Safetensors) -> Result<DiffusionModel, FormatError> {
    let tensors = &super::scaled::plain(path, &file.tensors)?;
    match identify(tensors) {
        Identity::StableDiffusion => {}
        Identity::Other { what } => {
            return Err(FormatError::UnsupportedModel {
                path: path.into(),
                what: what.into(),
                remedy: "use a Stable Diffusion 1.x, 2.x or XL checkpoint".into(),
            });
        }
        Identity::Part { what } => {
            return Err(FormatError::MissingComponent {
                path: path.into(),
                component: "the rest of the checkpoint".into(),
                detail: format!("this file is {what} only"),
            });
        }
        Identity::Unknown => {
            return Err(FormatError::UnknownFormat {
                path: path.into(),
                reason: "the tensors are not those of a model that Diptych knows".into(),
            });
        }
    }
    let part = |prefixes: &[&str], name: &str| -> Result<WeightMap, FormatError> {
        let found = prefixes.iter().map(|p| tensors.filter_prefix(p));
        let found = found.into_iter().find(|map| !map.is_empty());
        found.ok_or_else(|| FormatError::MissingComponent {
            path: path.into(),
            component: name.into(),
            detail: format!("no tensor begins with `{}`", prefixes.join("` or `")),
        })
    };
    let unet = part(&[UNET], "the U-Net")?;
    let vae = part(&[VAE], "the autoencoder")?;
    let refiner = tensors.has_prefix(OPEN_CLIP_REFINER);
    let xl = !refiner && tensors.has_prefix(OPEN_CLIP_XL);
    let text = if refiner {
        part(&[OPEN_CLIP_REFINER], "the text encoder")?
    } else if xl {
        part(&[CLIP_XL], "the first text encoder")?
    } else {
        part(&[CLIP, OPEN_CLIP], "the text encoder")?
    };
    let open_clip = !xl && !refiner && tensors.filter_prefix(CLIP).is_empty();
    let text_encoder_2 = match xl {
        true => Some(clip::convert_open_clip(
            path,
            &part(&[OPEN_CLIP_XL], "the second text encoder")?,
            true,
        )?),
        false => None,
    };

    let context = unet::context_width(&unet);
    let family = match context {
        _ if xl || refiner => Family::Sdxl,
        Some(768) => Family::Sd1,
        Some(1024) => Family::Sd2,
        _ if open_clip => Family::Sd2,
        _ => Family::Sd1,
    };
    let text_encoder = if refiner || open_clip {
        clip::convert_open_clip(path, &text, refiner)?
    } else {
        clip::convert_clip(path, &text, family)?
    };
    put_together(
        Pieces {
            source: path,
            layout: Layout::Ldm,
            family,
            unet: &unet,
            vae: vae::convert_vae(path, &vae)?,
            text_encoder,
            text_encoder_2,
        },
        file,
    )
}

/// The networks of a model, found in one file or several.
pub(in crate::formats) struct Pieces<'a> {
    /// The file of the U-Net.
    pub source: &'a Path,
    /// How they lie.
    pub layout: Layout,
    /// Told by the U-Net's widths.
    pub family: Family,
    /// The U-Net by the original's names without a prefix, or by diffusers' names.
    pub unet: &'a WeightMap,
    /// The autoencoder.
    pub vae: Component,
    /// The text encoder; of XL the first, of its refiner the only one.
    pub text_encoder: Component,
    /// The second text encoder of XL.
    pub text_encoder_2: Option<Component>,
}

/// Makes a model of its networks: what is not in their weights is inferred. `file` is that of the U-Net, with its metadata.
pub(in crate::formats) fn put_together(
    pieces: Pieces<'_>,
    file: &Safetensors,
) -> Result<DiffusionModel, FormatError> {
    let Pieces {
        source,
        family,
        mut vae,
        text_encoder,
        text_encoder_2,
        ..
    } = pieces;
    let prediction = prediction_type(family, pieces.unet, file);
    let last = text_encoder_2.as_ref().unwrap_or(&text_encoder);
    let pooled = match family {
        Family::Sdxl => last.weights.get("text_projection.weight"),
        Family::Sd1 | Family::Sd2 => None,
    };
    let pooled = pooled.and_then(|projection| projection.shape().first().copied());
    let unet = unet::convert_any(source, pieces.unet, family, pooled)?;
    let sample_size = match (family, prediction) {
        (Family::Sdxl, _) => 128,
        (_, "v_prediction") => 96,
        _ => 64,
    };
    let unet = with_sample_size(unet, sample_size);
    if let (Family::Sdxl, Value::Object(config)) = (family, &mut vae.config) {
        config.insert("scaling_factor".into(), json!(SCALING_XL));
    }
    Ok(DiffusionModel {
        source: source.into(),
        layout: pieces.layout,
        family: Some(family),
        unet,
        vae,
        text_encoder,
        text_encoder_2,
        scheduler: scheduler_config(prediction, &file.tensors),
        tokenizer: None,
        tokenizer_2: None,
    })
}

/// What latents of Stable Diffusion XL are multiplied by.
const SCALING_XL: f64 = 0.13025;

/// The resolution that a model was trained at is not in its weights: 512 pixels for epsilon, 768 for v prediction.
fn with_sample_size(mut unet: Component, sample_size: u32) -> Component {
    if let Value::Object(config) = &mut unet.config {
        config.insert("sample_size".into(), json!(sample_size));
    }
    unet
}

/// The schedule of all Stable Diffusion 1.x and 2.x models, as diffusers writes it.
fn scheduler_config(prediction: &str, tensors: &WeightMap) -> Value {
    json!({
        "_class_name": "PNDMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "clip_sample": false,
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "trained_betas": null,
        "prediction_type": prediction,
        // Checkpoints trained so carry an empty tensor of this name.
        "rescale_betas_zero_snr": tensors.contains("ztsnr"),
    })
}

/// What the U-Net predicts cannot be told from names and shapes. In this order: the metadata of Stability's model
/// specification; the marker tensor `v_pred`; 1.x means epsilon; the step count of 2.0-base means epsilon; for other 2.x
/// models ComfyUI's observation that the biases of one norm spread more widely (deviation above 0.09) in models trained for v.
fn prediction_type(family: Family, unet: &WeightMap, file: &Safetensors) -> &'static str {
    const SPREAD: f64 = 0.09;
    const STEPS_OF_2_0_BASE: i64 = 875_000;
    let stated = file.metadata.get("modelspec.prediction_type");
    match stated.map(|text| text.trim().to_lowercase()).as_deref() {
        Some("v" | "v_prediction" | "v-prediction" | "vpred") => return "v_prediction",
        Some("epsilon" | "eps") => return "epsilon",
        _ => {}
    }
    if file.tensors.contains("v_pred") {
        return "v_prediction";
    }
    if family != Family::Sd2 {
        return "epsilon";
    }
    let steps = file.tensors.get("global_step").map(|t| t.bytes());
    let steps = steps.and_then(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)));
    if steps == Some(STEPS_OF_2_0_BASE) {
        return "epsilon";
    }
    let last = (0..unet.len())
        .rev()
        .filter_map(|i| {
            unet.get(&format!(
                "output_blocks.{i}.1.transformer_blocks.0.norm1.bias"
            ))
        })
        .next()
        // The same by diffusers' name.
        .or_else(|| unet.get("up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"));
    match last.and_then(|bias| bias.to_f32().ok()) {
        Some(values) if deviation(&values) > SPREAD => "v_prediction",
        _ => "epsilon",
    }
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
    (squares.sum::<f64>() / n).sqrt()
}

/// The largest power of two up to `most` that divides all of `widths`: group norms have 32 groups and attention heads 64
/// channels in all real models; small ones of the same kind have as many as fit.
fn common_power(most: usize, widths: &[usize]) -> usize {
    let mut power = most;
    while power > 1 && !widths.iter().all(|w| w.is_multiple_of(power)) {
        power /= 2;
    }
    power.max(1)
}

/// A tensor's shape, or an error that names the tensor: configs are inferred from a few of them.
fn shape_of<'a>(
    path: &Path,
    weights: &'a WeightMap,
    prefix: &str,
    name: &str,
    dims: usize,
) -> Result<&'a [usize], FormatError> {
    let full = || format!("{prefix}{name}");
    let tensor = weights
        .get(name)
        .ok_or_else(|| FormatError::MissingTensor {
            path: path.into(),
            tensor: full(),
            wanted: vec![],
        })?;
    if tensor.shape().len() != dims || tensor.shape().contains(&0) {
        return Err(FormatError::InvalidConfig {
            path: path.into(),
            key: full(),
            reason: format!(
                "has the shape {:?}, needed are {dims} dimensions",
                tensor.shape()
            ),
        });
    }
    Ok(tensor.shape())
}

/// How many numbers `n`, counted from `first`, have tensors whose names begin with `prefix`, the number and a dot.
fn count_from(weights: &WeightMap, prefix: &str, first: usize) -> usize {
    (first..=weights.len())
        .take_while(|n| weights.has_prefix(&format!("{prefix}{n}.")))
        .count()
}

#[cfg(test)]
mod tests;
