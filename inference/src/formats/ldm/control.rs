//! ControlNets in single files: with the names of the original code, or with diffusers' names and no config.

use std::path::Path;

use serde_json::{Value, json};

use super::{common_power, count_from, shape_of};
use crate::formats::diffusion_model::{Component, Family};
use crate::formats::error::FormatError;
use crate::formats::safetensors::read_any;
use crate::formats::weights::{TensorData, WeightMap};

/// What the original's names begin with in most files.
const CONTROL: &str = "control_model.";
/// The part that brings the picture to the size of the latents, by diffusers' name.
const HINT: &str = "controlnet_cond_embedding.";

/// Opens a ControlNet: a folder with `config.json` and weights, or a single file.
///
/// # Errors
/// All faults of the files; what is no ControlNet, and kinds that are not known, by name.
pub fn open_controlnet(path: &Path) -> Result<Component, FormatError> {
    if path.is_dir() {
        let part = crate::formats::diffusers::open_component(path, "ControlNet", None)?;
        if ["ControlNetModel", "ControlNetUnionModel"].contains(&part.class.as_str()) {
            return Ok(part);
        }
        return Err(refused(path, format!("a {}", part.class)));
    }
    convert_controlnet(path, &read_any(path)?.tensors)
}

fn refused(path: &Path, what: String) -> FormatError {
    FormatError::UnsupportedModel {
        path: path.into(),
        what,
        remedy: "use a ControlNet of Stable Diffusion 1.5, 2.x or XL".into(),
    }
}

/// As [`open_controlnet`], of tensors that were read; `path` is named in messages.
///
/// # Errors
/// As [`open_controlnet`], without the faults of the files.
pub fn convert_controlnet(path: &Path, tensors: &WeightMap) -> Result<Component, FormatError> {
    if tensors.contains("difference") || tensors.has_prefix("model.diffusion_model.") {
        return Err(refused(
            path,
            "a ControlNet that is stored as the difference to a model".into(),
        ));
    }
    if tensors.contains("lora_controlnet") {
        return Err(refused(path, "a Control-LoRA".into()));
    }
    let stripped = tensors.filter_prefix(CONTROL);
    let tensors = if stripped.is_empty() {
        tensors
    } else {
        &stripped
    };
    let (config, weights) = if tensors.has_prefix(HINT) {
        let config = super::unet::infer_from_diffusers(path, tensors)?;
        (config, tensors.clone())
    } else if tensors.has_prefix("input_hint_block.") {
        let (config, mut weights) = super::unet::convert_way_down(path, tensors)?;
        for (name, tensor) in tensors.iter() {
            if let Some(new) = own_name(name, tensors) {
                weights.insert(new.as_str(), tensor.renamed(&new));
            }
        }
        (config, weights)
    } else {
        return Err(refused(path, "no ControlNet".into()));
    };
    Ok(Component {
        class: "ControlNetModel".into(),
        config: with_hint(path, config, &weights)?,
        config_path: path.into(),
        weights,
    })
}

/// diffusers' name of one of the layers that a ControlNet has beside those of a U-Net.
fn own_name(name: &str, tensors: &WeightMap) -> Option<String> {
    if let Some(leaf) = name.strip_prefix("middle_block_out.0.") {
        return Some(format!("controlnet_mid_block.{leaf}"));
    }
    if let Some(rest) = name.strip_prefix("zero_convs.") {
        let (number, leaf) = rest.split_once(".0.")?;
        return Some(format!("controlnet_down_blocks.{number}.{leaf}"));
    }
    let (number, leaf) = name.strip_prefix("input_hint_block.")?.split_once('.')?;
    let number: usize = number.parse().ok()?;
    let next = format!("input_hint_block.{}.", number.checked_add(2)?);
    // Every second of the original's sequence is an activation.
    let part = match number {
        0 => "conv_in".to_owned(),
        _ if !tensors.has_prefix(&next) => "conv_out".to_owned(),
        _ => format!("blocks.{}", number / 2 - 1),
    };
    Some(format!("{HINT}{part}.{leaf}"))
}

/// The config with what is told of the picture's way in.
fn with_hint(path: &Path, mut config: Value, weights: &WeightMap) -> Result<Value, FormatError> {
    let shape = |name: String| shape_of(path, weights, "", &name, 4);
    let first = shape(format!("{HINT}conv_in.weight"))?;
    let mut widths = vec![first[0]];
    for block in 0..count_from(weights, &format!("{HINT}blocks."), 0) / 2 {
        widths.push(shape(format!("{HINT}blocks.{}.weight", 2 * block + 1))?[0]);
    }
    if let Value::Object(keys) = &mut config {
        keys.insert("_class_name".into(), json!("ControlNetModel"));
        keys.insert("conditioning_channels".into(), json!(first[1]));
        keys.insert("conditioning_embedding_out_channels".into(), json!(widths));
        // One for several kinds of pictures.
        let kinds = weights.get("task_embedding").map(|tensor| tensor.shape());
        let told = inner(weights.get("control_add_embedding.linear_1.weight"));
        if let (Some(&[kinds, width]), Some(told)) = (kinds, told) {
            let layers = count_from(weights, "transformer_layes.", 0);
            for (key, value) in [
                ("num_control_type", kinds),
                ("num_trans_channel", width),
                ("num_proj_channel", width),
                ("num_trans_layer", layers),
                ("addition_time_embed_dim", told / kinds.max(1)),
            ] {
                keys.insert(key.into(), json!(value));
            }
        }
    }
    Ok(config)
}

/// Which family the width of the text tells.
pub(super) fn family_of(context: Option<usize>, embeds_more: bool) -> Family {
    match context {
        Some(1024) => Family::Sd2,
        Some(2048) => Family::Sdxl,
        Some(768) => Family::Sd1,
        _ if embeds_more => Family::Sdxl,
        _ => Family::Sd1,
    }
}

/// Heads of attention for each level.
pub(super) fn heads(family: Family, widths: &[usize], of_sd1: usize, size: usize) -> Value {
    match family {
        Family::Sd1 => json!(of_sd1),
        Family::Sd2 | Family::Sdxl => {
            let size = common_power(size, widths);
            json!(widths.iter().map(|w| w / size).collect::<Vec<_>>())
        }
    }
}

/// Width of a matrix' or kernel's input.
pub(super) fn inner(tensor: Option<&TensorData>) -> Option<usize> {
    tensor.and_then(|tensor| tensor.shape().get(1).copied())
}
