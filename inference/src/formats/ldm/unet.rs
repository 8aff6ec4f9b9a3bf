//! The U-Net: its config inferred, its keys mapped.
//!
//! The original numbers all layers of the way down (`input_blocks.N`) and of the way up (`output_blocks.N`) through; diffusers groups
//! them by resolution. So the numbers are walked once, and each is noted as (level, layer).

use std::path::Path;

use serde_json::{Value, json};

use super::{UNET, common_power, count_from, shape_of};
use crate::formats::diffusion_model::{Component, Family};
use crate::formats::error::FormatError;
use crate::formats::weights::WeightMap;

/// Heads in each attention of Stable Diffusion 1.x.
const HEADS_OF_SD1: usize = 8;
/// Channels of each head in Stable Diffusion 2.x.
const HEAD_SIZE_OF_SD2: usize = 64;

/// The width of the text embeddings that the U-Net attends to.
pub(super) fn context_width(unet: &WeightMap) -> Option<usize> {
    let key = |name: &str| name.ends_with(".transformer_blocks.0.attn2.to_k.weight");
    let (_, tensor) = unet.iter().find(|(name, _)| key(name))?;
    tensor.shape().get(1).copied()
}

/// One level of resolution.
#[derive(Default)]
struct Level {
    channels: usize,
    resnets: usize,
    /// Transformers and their depth; 0 where there are none.
    depth: usize,
    attentions: usize,
}

/// Where the layers of the way down or up go: `map[n]` is (level, layer in it).
struct Way {
    levels: Vec<Level>,
    map: Vec<(usize, usize)>,
}

fn depth(unet: &WeightMap, attention: &str) -> usize {
    count_from(unet, &format!("{attention}transformer_blocks."), 0)
}

fn broken(path: &Path, key: String, reason: &str) -> FormatError {
    FormatError::InvalidConfig {
        path: path.into(),
        key: format!("{UNET}{key}"),
        reason: reason.into(),
    }
}

/// Walks `input_blocks` from 1 or `output_blocks` from 0.
fn walk(path: &Path, unet: &WeightMap, up: bool) -> Result<Way, FormatError> {
    let (name, first) = if up {
        ("output_blocks", 0)
    } else {
        ("input_blocks", 1)
    };
    let count = count_from(unet, &format!("{name}."), first);
    let mut levels = vec![Level::default()];
    let mut map = Vec::with_capacity(count);
    for n in first..first + count {
        let at = |leaf: &str| format!("{name}.{n}.{leaf}");
        let current = levels.len() - 1;
        if !up && unet.contains(&at("0.op.weight")) {
            map.push((current, usize::MAX));
            levels.push(Level::default());
            continue;
        }
        let convolution = at("0.in_layers.2.weight");
        let channels = shape_of(path, unet, UNET, &convolution, 4)?[0];
        let Some(level) = levels.last_mut() else {
            continue;
        };
        if level.resnets > 0 && level.channels != channels {
            return Err(broken(
                path,
                convolution,
                "changes the width within a level",
            ));
        }
        level.channels = channels;
        map.push((current, level.resnets));
        level.resnets += 1;
        let found = depth(unet, &at("1."));
        if found > 0 {
            if level.attentions > 0 && level.depth != found {
                return Err(broken(path, at("1"), "changes the depth within a level"));
            }
            level.depth = found;
            level.attentions += 1;
        }
        let upsamples = unet.contains(&at("1.conv.weight")) || unet.contains(&at("2.conv.weight"));
        if up && upsamples {
            levels.push(Level::default());
        }
    }
    for level in &levels {
        if level.resnets == 0 {
            return Err(broken(path, name.into(), "has a level without layers"));
        }
        if level.attentions != 0 && level.attentions != level.resnets {
            return Err(broken(
                path,
                name.into(),
                "attends in some layers of a level and not in others",
            ));
        }
    }
    Ok(Way { levels, map })
}

/// One number if all are equal, else a list: what diffusers' configs hold.
fn one_or_list(values: &[usize]) -> Value {
    match values {
        [first, rest @ ..] if rest.iter().all(|v| v == first) => json!(first),
        _ => json!(values),
    }
}

/// Infers the config and maps the keys; `unet` has no prefix.
pub(super) fn convert_unet(
    path: &Path,
    unet: &WeightMap,
    family: Family,
    pooled: Option<usize>,
) -> Result<Component, FormatError> {
    let down = walk(path, unet, false)?;
    let up = walk(path, unet, true)?;
    check_mirror(path, &down, &up)?;
    Ok(Component {
        class: "UNet2DConditionModel".into(),
        config: with_added(
            path,
            unet,
            pooled,
            infer_config(path, unet, family, &down, &up)?,
        )?,
        config_path: path.into(),
        weights: rename(path, unet, &down, &up),
    })
}

/// In XL, what is told beside the text: a pooled text of `pooled` values, and the features of six numbers.
fn with_added(
    path: &Path,
    unet: &WeightMap,
    pooled: Option<usize>,
    mut config: Value,
) -> Result<Value, FormatError> {
    const NUMBERS: usize = 6;
    let (Some(pooled), Value::Object(keys)) = (pooled, &mut config) else {
        return Ok(config);
    };
    let name = "label_emb.0.0.weight";
    let width = shape_of(path, unet, UNET, name, 2)?[1];
    let features = width
        .checked_sub(pooled)
        .filter(|rest| *rest > 0 && rest % NUMBERS == 0);
    let Some(features) = features else {
        return Err(broken(
            path,
            name.into(),
            "does not fit the second text encoder",
        ));
    };
    keys.insert("addition_embed_type".into(), json!("text_time"));
    keys.insert("addition_time_embed_dim".into(), json!(features / NUMBERS));
    keys.insert("projection_class_embeddings_input_dim".into(), json!(width));
    Ok(config)
}

/// The way up must have the levels of the way down in reverse, each with one layer more.
fn check_mirror(path: &Path, down: &Way, up: &Way) -> Result<(), FormatError> {
    let fits = down.levels.len() == up.levels.len()
        && (down.levels.iter().rev())
            .zip(&up.levels)
            .all(|(d, u)| u.resnets == d.resnets + 1 && u.channels == d.channels);
    if fits {
        return Ok(());
    }
    Err(broken(
        path,
        "output_blocks".into(),
        "do not mirror the input_blocks",
    ))
}

fn infer_config(
    path: &Path,
    unet: &WeightMap,
    family: Family,
    down: &Way,
    up: &Way,
) -> Result<Value, FormatError> {
    let shape = |name: &str, dims| shape_of(path, unet, UNET, name, dims);
    let first = shape("input_blocks.0.0.weight", 4)?;
    let last = shape("out.2.weight", 4)?;
    let time = shape("time_embed.0.weight", 2)?;
    let widths: Vec<usize> = down.levels.iter().map(|l| l.channels).collect();
    let layers: Vec<usize> = down.levels.iter().map(|l| l.resnets).collect();
    let mid_depth = depth(unet, "middle_block.1.");
    let mut depths: Vec<usize> = down.levels.iter().map(|l| l.depth.max(1)).collect();
    // diffusers gives the middle the depth of the last level.
    if let (Some(level), Some(last)) = (down.levels.last(), depths.last_mut())
        && mid_depth > 0
    {
        if level.depth != 0 && level.depth != mid_depth {
            let key = "middle_block.1".into();
            return Err(broken(path, key, "has another depth than the last level"));
        }
        *last = mid_depth;
    }
    // Projections around the transformers: 1x1 convolutions in 1.x, linear layers in 2.x.
    let mut projections = unet
        .iter()
        .filter(|(name, _)| name.ends_with(".proj_in.weight"));
    let linear = projections
        .next()
        .is_some_and(|(_, t)| t.shape().len() == 2);
    // Misnamed in diffusers: `attention_head_dim` is the number of heads.
    let heads = match family {
        Family::Sd1 => json!(HEADS_OF_SD1),
        Family::Sd2 | Family::Sdxl => {
            let size = common_power(HEAD_SIZE_OF_SD2, &widths);
            json!(widths.iter().map(|w| w / size).collect::<Vec<_>>())
        }
    };
    let types = |way: &Way, plain: &str, attending: &str| -> Vec<String> {
        let name = |l: &Level| if l.depth > 0 { attending } else { plain };
        way.levels.iter().map(|l| name(l).to_owned()).collect()
    };
    let mid_type = if mid_depth > 0 {
        json!("UNetMidBlock2DCrossAttn")
    } else if unet.contains("middle_block.0.in_layers.2.weight") {
        json!("UNetMidBlock2D")
    } else {
        Value::Null
    };
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "in_channels": first[1],
        "out_channels": last[0],
        "conv_in_kernel": first[2],
        "conv_out_kernel": last[2],
        "block_out_channels": widths,
        "layers_per_block": one_or_list(&layers),
        "down_block_types": types(down, "DownBlock2D", "CrossAttnDownBlock2D"),
        "mid_block_type": mid_type,
        "up_block_types": types(up, "UpBlock2D", "CrossAttnUpBlock2D"),
        "transformer_layers_per_block": one_or_list(&depths),
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "norm_num_groups": common_power(32, &widths),
        "norm_eps": 1e-5,
        "act_fn": "silu",
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "center_input_sample": false,
        "downsample_padding": 1,
    });
    if let Value::Object(config) = &mut config {
        if let Some(width) = context_width(unet) {
            config.insert("cross_attention_dim".into(), json!(width));
        }
        // Only said where it is not the usual four times the first width.
        if widths.first().and_then(|w| w.checked_mul(4)) != Some(time[0]) {
            config.insert("time_embedding_dim".into(), json!(time[0]));
        }
    }
    Ok(config)
}

/// Names of a residual block's layers.
fn resnet_leaf(leaf: &str) -> Option<String> {
    const NAMES: [(&str, &str); 6] = [
        ("in_layers.0.", "norm1."),
        ("in_layers.2.", "conv1."),
        ("out_layers.0.", "norm2."),
        ("out_layers.3.", "conv2."),
        ("emb_layers.1.", "time_emb_proj."),
        ("skip_connection.", "conv_shortcut."),
    ];
    NAMES
        .iter()
        .find_map(|(old, new)| Some(format!("{new}{}", leaf.strip_prefix(old)?)))
}

fn rename(path: &Path, unet: &WeightMap, down: &Way, up: &Way) -> WeightMap {
    let mut renamed = WeightMap::new(path);
    for (name, tensor) in unet.iter() {
        // A name that the map does not know belongs to no layer of this architecture.
        if let Some(new) = new_name(name, down, up) {
            // The tensor keeps its own name: additions to the model may call its layers so.
            renamed.insert(new.as_str(), tensor.clone());
        }
    }
    renamed
}

fn new_name(name: &str, down: &Way, up: &Way) -> Option<String> {
    const PLAIN: [(&str, &str); 7] = [
        ("label_emb.0.0.", "add_embedding.linear_1."),
        ("label_emb.0.2.", "add_embedding.linear_2."),
        ("time_embed.0.", "time_embedding.linear_1."),
        ("time_embed.2.", "time_embedding.linear_2."),
        ("input_blocks.0.0.", "conv_in."),
        ("out.0.", "conv_norm_out."),
        ("out.2.", "conv_out."),
    ];
    for (old, new) in PLAIN {
        if let Some(leaf) = name.strip_prefix(old) {
            return Some(format!("{new}{leaf}"));
        }
    }
    let (group, rest) = name.split_once('.')?;
    let (number, rest) = rest.split_once('.')?;
    let number: usize = number.parse().ok()?;
    match group {
        "middle_block" => match number {
            0 => Some(format!("mid_block.resnets.0.{}", resnet_leaf(rest)?)),
            1 if rest.starts_with("in_layers.") => None,
            1 => Some(format!("mid_block.attentions.0.{rest}")),
            2 => Some(format!("mid_block.resnets.1.{}", resnet_leaf(rest)?)),
            _ => None,
        },
        "input_blocks" => {
            let (level, layer) = *down.map.get(number.checked_sub(1)?)?;
            if let Some(leaf) = rest.strip_prefix("0.op.") {
                return Some(format!("down_blocks.{level}.downsamplers.0.conv.{leaf}"));
            }
            layer_name(&format!("down_blocks.{level}"), layer, rest)
        }
        "output_blocks" => {
            let (level, layer) = *up.map.get(number)?;
            let block = format!("up_blocks.{level}");
            let upsampler = rest
                .strip_prefix("1.conv.")
                .or_else(|| rest.strip_prefix("2.conv."));
            match upsampler {
                Some(leaf) => Some(format!("{block}.upsamplers.0.conv.{leaf}")),
                None => layer_name(&block, layer, rest),
            }
        }
        _ => None,
    }
}

fn layer_name(block: &str, layer: usize, rest: &str) -> Option<String> {
    let (part, leaf) = rest.split_once('.')?;
    match part {
        "0" => Some(format!("{block}.resnets.{layer}.{}", resnet_leaf(leaf)?)),
        "1" => Some(format!("{block}.attentions.{layer}.{leaf}")),
        _ => None,
    }
}
