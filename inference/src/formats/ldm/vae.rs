//! The autoencoder: its config inferred, its keys mapped.
//!
//! The original numbers the levels of the decoder from the picture down, diffusers in the order in which they run.

use std::path::Path;

use serde_json::{Value, json};

use super::{VAE, common_power, count_from, shape_of};
use crate::formats::diffusion_model::Component;
use crate::formats::error::FormatError;
use crate::formats::weights::WeightMap;

/// Infers the config and maps the keys of an autoencoder whose keys have no prefix (`decoder.conv_in.weight`, ...). The
/// encoder may be missing.
///
/// # Errors
/// Tensors that tell the config and are missing or make no sense.
pub fn convert_vae(path: &Path, vae: &WeightMap) -> Result<Component, FormatError> {
    let levels = count_from(vae, "decoder.up.", 0);
    if levels == 0 {
        return Err(FormatError::MissingTensor {
            path: path.into(),
            tensor: format!("{VAE}decoder.up.0.block.0.conv1.weight"),
            wanted: vec![],
        });
    }
    let mut weights = WeightMap::new(path);
    for (name, tensor) in vae.iter() {
        let Some(new) = new_name(name, levels) else {
            continue;
        };
        // The attention's projections are 1x1 convolutions in the original.
        let tensor = match (new.contains(".attentions."), tensor.shape()) {
            (true, &[out, inner, 1, 1]) | (true, &[out, inner, 1]) => {
                tensor.with_shape(&[out, inner])?
            }
            _ => tensor.clone(),
        };
        weights.insert(new.as_str(), tensor.renamed(&new));
    }
    Ok(Component {
        class: "AutoencoderKL".into(),
        config: infer_config(path, vae, levels)?,
        config_path: path.into(),
        weights,
    })
}

fn infer_config(path: &Path, vae: &WeightMap, levels: usize) -> Result<Value, FormatError> {
    let shape = |name: &str| shape_of(path, vae, VAE, name, 4);
    let latent = shape("decoder.conv_in.weight")?[1];
    let picture = shape("decoder.conv_out.weight")?[0];
    let mut widths = Vec::with_capacity(levels);
    for level in 0..levels {
        widths.push(shape(&format!("decoder.up.{level}.block.0.conv1.weight"))?[0]);
    }
    // The decoder has one block more than the encoder in each level.
    let blocks = count_from(vae, "decoder.up.0.block.", 0);
    let layers = blocks.saturating_sub(1).max(1);
    let pictures_in = match vae.contains("encoder.conv_in.weight") {
        true => shape("encoder.conv_in.weight")?[1],
        false => picture,
    };
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "in_channels": pictures_in,
        "out_channels": picture,
        "latent_channels": latent,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "norm_num_groups": common_power(32, &widths),
        "act_fn": "silu",
        "mid_block_add_attention": vae.has_prefix("decoder.mid.attn_1."),
        "use_quant_conv": vae.contains("quant_conv.weight"),
        "use_post_quant_conv": vae.contains("post_quant_conv.weight"),
        "scaling_factor": 0.18215,
    }))
}

fn new_name(name: &str, levels: usize) -> Option<String> {
    if name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.") {
        return Some(name.to_owned());
    }
    let (side, rest) = name.split_once('.')?;
    if side != "encoder" && side != "decoder" {
        return None;
    }
    if rest.starts_with("conv_in.") || rest.starts_with("conv_out.") {
        return Some(name.to_owned());
    }
    if let Some(leaf) = rest.strip_prefix("norm_out.") {
        return Some(format!("{side}.conv_norm_out.{leaf}"));
    }
    if let Some(rest) = rest.strip_prefix("mid.") {
        let (part, leaf) = rest.split_once('.')?;
        return match part {
            "block_1" => Some(format!("{side}.mid_block.resnets.0.{}", resnet(leaf))),
            "block_2" => Some(format!("{side}.mid_block.resnets.1.{}", resnet(leaf))),
            "attn_1" => Some(format!(
                "{side}.mid_block.attentions.0.{}",
                attention(leaf)?
            )),
            _ => None,
        };
    }
    let (way, rest) = rest.split_once('.')?;
    let (level, rest) = rest.split_once('.')?;
    let level: usize = level.parse().ok()?;
    let block = match way {
        "down" => format!("{side}.down_blocks.{level}"),
        "up" => format!("{side}.up_blocks.{}", levels.checked_sub(level + 1)?),
        _ => return None,
    };
    if let Some(leaf) = rest.strip_prefix("downsample.") {
        return Some(format!("{block}.downsamplers.0.{leaf}"));
    }
    if let Some(leaf) = rest.strip_prefix("upsample.") {
        return Some(format!("{block}.upsamplers.0.{leaf}"));
    }
    let (number, leaf) = rest.strip_prefix("block.")?.split_once('.')?;
    let number: usize = number.parse().ok()?;
    Some(format!("{block}.resnets.{number}.{}", resnet(leaf)))
}

fn resnet(leaf: &str) -> String {
    match leaf.strip_prefix("nin_shortcut.") {
        Some(rest) => format!("conv_shortcut.{rest}"),
        None => leaf.to_owned(),
    }
}

fn attention(leaf: &str) -> Option<String> {
    const NAMES: [(&str, &str); 5] = [
        ("norm.", "group_norm."),
        ("q.", "to_q."),
        ("k.", "to_k."),
        ("v.", "to_v."),
        ("proj_out.", "to_out.0."),
    ];
    NAMES
        .iter()
        .find_map(|(old, new)| Some(format!("{new}{}", leaf.strip_prefix(old)?)))
}
