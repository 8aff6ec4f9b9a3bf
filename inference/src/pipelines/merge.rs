//! Changes of a network's weights: those that a LoRA names are made anew, all others stay as they lie in their file.

use half::{bf16, f16};

use super::error::JobError;
use crate::formats::ldm::{layers_by_level, original_name};
use crate::formats::lora::{BIAS, Lora};
use crate::formats::{StorageDtype, TensorData, WeightMap};
use crate::graph::ExecError;

/// Which network the weights are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// The noise predictor.
    UNet,
    /// The text encoder.
    Text,
    /// Stable Diffusion XL's second one.
    SecondText,
}

/// Changed weights.
pub struct Merged {
    /// All weights, changed or not.
    pub weights: WeightMap,
    /// Layers of each file that were found.
    pub used: Vec<usize>,
}

/// Prefixes of the keys in single-file checkpoints.
const UNET_IN_FILE: &str = "model.diffusion_model.";

/// How a LoRA may call the layer of a weight: by diffusers' or transformers' name, or by the name in a single file.
fn names_of(network: Network, name: &str, tensor: &TensorData, levels: &[usize]) -> Vec<String> {
    let (layer, kind) = match (name.strip_suffix(".weight"), name.strip_suffix(BIAS)) {
        (Some(layer), _) => (layer, ""),
        (None, Some(layer)) => (layer, BIAS),
        (None, None) => return Vec::new(),
    };
    let plain = |layer: &str| layer.replace('.', "_");
    match network {
        Network::UNet => {
            let own = tensor.name();
            let own = own.strip_prefix(UNET_IN_FILE).unwrap_or(own);
            let own = own.strip_suffix(".weight").unwrap_or(own);
            let own = own.strip_suffix(BIAS).unwrap_or(own);
            // In a diffusers folder the original's name is not at hand.
            let original = original_name(layer, levels);
            let own = original.as_deref().unwrap_or(own);
            vec![
                format!("lora_unet_{}{kind}", plain(layer)),
                format!("lora_unet_{}{kind}", plain(own)),
            ]
        }
        Network::Text | Network::SecondText => {
            let network = if network == Network::Text {
                "te"
            } else {
                "te2"
            };
            let layer = layer.strip_prefix("text_model.").unwrap_or(layer);
            vec![
                format!("lora_{network}_text_model_{}{kind}", plain(layer)),
                format!("lora_{network}_{}{kind}", plain(layer)),
            ]
        }
    }
}

/// Adds what the files say of a network's layers.
///
/// # Errors
/// Layers of another shape; an interruption.
pub fn merged(
    weights: &WeightMap,
    network: Network,
    files: &[(&str, Lora, f32)],
    stop: &mut dyn FnMut() -> bool,
) -> Result<Merged, JobError> {
    let mut changed = weights.clone();
    let mut used = vec![0; files.len()];
    let levels = layers_by_level(weights);
    for (name, tensor) in weights.iter() {
        let names = names_of(network, name, tensor, &levels);
        let mut sum: Option<Vec<f32>> = None;
        for ((_, lora, weight), used) in files.iter().zip(&mut used) {
            let found = names.iter().find_map(|name| lora.layers().get(name));
            let Some(layer) = found else {
                continue;
            };
            let change = if layer.needs_weight() {
                layer.change_of(&tensor.to_f32()?, tensor.shape())?
            } else {
                layer.change(tensor.shape())?
            };
            let sum = match &mut sum {
                Some(sum) => sum,
                None => sum.insert(tensor.to_f32()?),
            };
            for (value, change) in sum.iter_mut().zip(change) {
                *value += weight * change;
            }
            *used += 1;
        }
        if let Some(values) = sum {
            changed.insert(name, stored(tensor, &values)?);
            if stop() {
                return Err(ExecError::Interrupted.into());
            }
        }
    }
    Ok(Merged {
        weights: changed,
        used,
    })
}

/// Values in the type that they had, packed ones in 16 bits.
fn stored(like: &TensorData, values: &[f32]) -> Result<TensorData, JobError> {
    let bytes = match like.dtype() {
        StorageDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        StorageDtype::Bf16 => {
            let narrow = values.iter().map(|v| bf16::from_f32(*v).to_le_bytes());
            narrow.flatten().collect()
        }
        _ => {
            let narrow = values.iter().map(|v| f16::from_f32(*v).to_le_bytes());
            narrow.flatten().collect()
        }
    };
    let dtype = match like.dtype() {
        kept @ (StorageDtype::F32 | StorageDtype::Bf16) => kept,
        _ => StorageDtype::F16,
    };
    Ok(TensorData::new_owned(
        like.name(),
        like.shape(),
        dtype,
        bytes,
    )?)
}
