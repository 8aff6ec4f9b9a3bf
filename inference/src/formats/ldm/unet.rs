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
pub(in crate::formats) fn context_width(unet: &WeightMap) -> Option<usize> {
    let key = |name: &str| name.ends_with(".transformer_blocks.0.attn2.to_k.weight");
    let (_, tensor) = unet.iter().find(|(name, _)| key(name))?;
    tensor.shape().get(1).copied()
}

/// One level of resolution.
#[derive(Default)]
struct Level {
    channels: usize,
    resnets: usize,
    /// Depth of the transformer behind each residual block; 0 where there is none.
    depths: Vec<usize>,
}

impl Level {
    fn attends(&self) -> bool {
        self.depths.iter().any(|depth| *depth > 0)
    }
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
        key,
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
        level.depths.push(depth(unet, &at("1.")));
        let upsamples = unet.contains(&at("1.conv.weight")) || unet.contains(&at("2.conv.weight"));
        if up && upsamples {
            levels.push(Level::default());
        }
    }
    for level in &levels {
        if level.resnets == 0 {
            return Err(broken(path, name.into(), "has a level without layers"));
        }
        if level.attends() && level.depths.contains(&0) {
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

/// As [`one_or_list`], of what may be lists themselves.
fn same_or_list(values: &[Value]) -> Value {
    match values {
        [first, rest @ ..] if !first.is_array() && rest.iter().all(|v| v == first) => first.clone(),
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
            infer_config(path, unet, family, &down, Some(&up))?,
        )?,
        config_path: path.into(),
        weights: rename(path, unet, &down, &up),
    })
}

/// As [`convert_unet`], of a U-Net by the original's names or by diffusers' (whose config is inferred then).
pub(super) fn convert_any(
    path: &Path,
    unet: &WeightMap,
    family: Family,
    pooled: Option<usize>,
) -> Result<Component, FormatError> {
    if unet.contains("input_blocks.0.0.weight") || !unet.contains("conv_in.weight") {
        return convert_unet(path, unet, family, pooled);
    }
    let mut config = infer_from_diffusers(path, unet)?;
    let name = "add_embedding.linear_1.weight";
    if let (Some(pooled), Some(told)) = (pooled, unet.get(name)) {
        let width = told.shape().get(1).copied().unwrap_or(0);
        let features = features(width, pooled)
            .ok_or_else(|| broken(path, name.into(), "does not fit the last text encoder"))?;
        add_sizes(&mut config, width);
        if let Value::Object(keys) = &mut config {
            keys.insert("addition_time_embed_dim".into(), json!(features));
        }
    }
    let mut weights = WeightMap::new(path);
    for (name, tensor) in unet.iter() {
        weights.insert(name, tensor.clone());
    }
    Ok(Component {
        class: "UNet2DConditionModel".into(),
        config,
        config_path: path.into(),
        weights,
    })
}

/// How many features each number has that a network is told beside a pooled text: `width` is that of all. The refiner is told five
/// numbers, all others six.
pub(in crate::formats) fn features(width: usize, pooled: usize) -> Option<usize> {
    let rest = width.checked_sub(pooled).filter(|rest| *rest > 0)?;
    let numbers = [6, 5].into_iter().find(|n| rest.is_multiple_of(*n))?;
    Some(rest / numbers)
}

/// The way down and the middle of a U-Net alone, as a ControlNet has them: the config, and weights by diffusers' names.
pub(super) fn convert_way_down(
    path: &Path,
    unet: &WeightMap,
) -> Result<(Value, WeightMap), FormatError> {
    let down = walk(path, unet, false)?;
    let embeds_more = unet.has_prefix("label_emb.");
    let family = super::control::family_of(context_width(unet), embeds_more);
    let mut config = infer_config(path, unet, family, &down, None)?;
    if embeds_more {
        let width = shape_of(path, unet, "", "label_emb.0.0.weight", 2)?[1];
        add_sizes(&mut config, width);
    }
    let none = Way {
        levels: Vec::new(),
        map: Vec::new(),
    };
    Ok((config, rename(path, unet, &down, &none)))
}

/// What a network that is told more than the text says of it, where the width of the pooled text is not known.
fn add_sizes(config: &mut Value, width: usize) {
    const FEATURES: usize = 256;
    let features = if width > 6 * FEATURES { FEATURES } else { 1 };
    if let Value::Object(keys) = config {
        keys.insert("addition_embed_type".into(), json!("text_time"));
        keys.insert("addition_time_embed_dim".into(), json!(features));
        keys.insert("projection_class_embeddings_input_dim".into(), json!(width));
    }
}

/// The config of a network that has diffusers' names and came without one: a U-Net, or a ControlNet.
pub(super) fn infer_from_diffusers(path: &Path, unet: &WeightMap) -> Result<Value, FormatError> {
    use super::control::{family_of, heads, inner};
    let count = |prefix: String| count_from(unet, &prefix, 0);
    let levels = count("down_blocks.".into());
    let shape = |name: &str, dims| shape_of(path, unet, "", name, dims);
    let (mut widths, mut layers, mut down, mut up) = (vec![], vec![], vec![], vec![]);
    let (mut depths, mut up_depths): (Vec<Value>, Vec<Value>) = (vec![], vec![]);
    let of_level = |depths: &[usize]| match depths.iter().any(|depth| *depth > 0) {
        true => one_or_list(depths),
        false => json!(1),
    };
    let kind = |depth: usize, plain: &str, attending: &str| {
        if depth > 0 { attending } else { plain }.to_owned()
    };
    for level in 0..levels {
        let block = format!("down_blocks.{level}");
        widths.push(shape(&format!("{block}.resnets.0.conv1.weight"), 4)?[0]);
        let resnets = count(format!("{block}.resnets."));
        layers.push(resnets);
        let of = |block: &str, layers: usize| -> Vec<usize> {
            (0..layers)
                .map(|layer| count(format!("{block}.attentions.{layer}.transformer_blocks.")))
                .collect()
        };
        let found = of(&block, resnets);
        let most = found.iter().copied().max().unwrap_or(0);
        down.push(kind(most, "DownBlock2D", "CrossAttnDownBlock2D"));
        depths.push(of_level(&found));
        let block = format!("up_blocks.{level}");
        let found = of(&block, count(format!("{block}.resnets.")));
        let most = found.iter().copied().max().unwrap_or(0);
        up.push(kind(most, "UpBlock2D", "CrossAttnUpBlock2D"));
        up_depths.push(of_level(&found));
    }
    let mid_depth = count("mid_block.attentions.0.transformer_blocks.".into());
    if let (Some(last), true) = (depths.last_mut(), mid_depth > 0) {
        *last = json!(mid_depth);
    }
    let context = unet
        .iter()
        .find(|(name, _)| name.ends_with(".attn2.to_k.weight"))
        .and_then(|(_, tensor)| inner(Some(tensor)));
    let added = inner(unet.get("add_embedding.linear_1.weight"));
    let family = family_of(context, added.is_some());
    let first = shape("conv_in.weight", 4)?;
    let mirrored: Vec<Value> = depths.iter().rev().cloned().collect();
    let differs = unet.has_prefix("up_blocks.")
        && (up_depths.iter().zip(&mirrored).zip(&up))
            .any(|((up, down), kind)| up != down && kind == "CrossAttnUpBlock2D");
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "in_channels": first[1],
        "out_channels": unet.get("conv_out.weight").map_or(4, |t| t.shape().first().copied().unwrap_or(4)),
        "conv_in_kernel": first[2],
        "block_out_channels": widths,
        "layers_per_block": one_or_list(&layers),
        "down_block_types": down,
        "up_block_types": up,
        "mid_block_type": match (mid_depth, unet.has_prefix("mid_block.resnets.0.")) {
            (0, false) => Value::Null,
            (0, true) => json!("UNetMidBlock2D"),
            _ => json!("UNetMidBlock2DCrossAttn"),
        },
        "transformer_layers_per_block": same_or_list(&depths),
        "attention_head_dim": heads(family, &widths, HEADS_OF_SD1, HEAD_SIZE_OF_SD2),
        "norm_num_groups": common_power(32, &widths),
        "norm_eps": 1e-5,
        "act_fn": "silu",
    });
    if let Value::Object(keys) = &mut config {
        if differs {
            keys.insert(
                "reverse_transformer_layers_per_block".into(),
                json!(up_depths),
            );
        }
        if let Some(width) = context {
            keys.insert("cross_attention_dim".into(), json!(width));
        }
        if let Some(time) = unet.get("time_embedding.linear_1.weight") {
            let width = time.shape().first().copied().unwrap_or(1);
            keys.insert("time_embedding_dim".into(), json!(width));
        }
    }
    if let Some(width) = added {
        add_sizes(&mut config, width);
    }
    Ok(config)
}

/// In XL, what is told beside the text: a pooled text of `pooled` values, and the features of six numbers.
fn with_added(
    path: &Path,
    unet: &WeightMap,
    pooled: Option<usize>,
    mut config: Value,
) -> Result<Value, FormatError> {
    let (Some(pooled), Value::Object(keys)) = (pooled, &mut config) else {
        return Ok(config);
    };
    let name = "label_emb.0.0.weight";
    let width = shape_of(path, unet, UNET, name, 2)?[1];
    let Some(features) = features(width, pooled) else {
        return Err(broken(
            path,
            name.into(),
            "does not fit the second text encoder",
        ));
    };
    keys.insert("addition_embed_type".into(), json!("text_time"));
    keys.insert("addition_time_embed_dim".into(), json!(features));
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
    up: Option<&Way>,
) -> Result<Value, FormatError> {
    let shape = |name: &str, dims| shape_of(path, unet, UNET, name, dims);
    let first = shape("input_blocks.0.0.weight", 4)?;
    // A ControlNet has no way up; what its U-Net would give is what it takes.
    let (outputs, last_kernel) = match up {
        Some(_) => {
            let last = shape("out.2.weight", 4)?;
            (last[0], last[2])
        }
        None => (first[1], first[2]),
    };
    let time = shape("time_embed.0.weight", 2)?;
    let widths: Vec<usize> = down.levels.iter().map(|l| l.channels).collect();
    let layers: Vec<usize> = down.levels.iter().map(|l| l.resnets).collect();
    let mid_depth = depth(unet, "middle_block.1.");
    let of_level = |level: &Level| match level.attends() {
        true => one_or_list(&level.depths),
        false => json!(1),
    };
    let mut depths: Vec<Value> = down.levels.iter().map(of_level).collect();
    // diffusers gives the middle the depth of the last level.
    if let (Some(level), Some(last)) = (down.levels.last(), depths.last_mut())
        && mid_depth > 0
    {
        if level.attends() && level.depths.iter().any(|depth| *depth != mid_depth) {
            let key = "middle_block.1".into();
            return Err(broken(path, key, "has another depth than the last level"));
        }
        *last = json!(mid_depth);
    }
    // Where the way up has other depths than the way down, it is told by itself, from the middle on.
    let up_depths: Option<Vec<Value>> = up.map(|up| up.levels.iter().map(of_level).collect());
    let mirrored: Vec<Value> = depths.iter().rev().cloned().collect();
    let attends: Vec<bool> = up.map_or(Vec::new(), |up| {
        up.levels.iter().map(Level::attends).collect()
    });
    let reverse = up_depths.filter(|depths| {
        let pairs = depths.iter().zip(&mirrored).zip(&attends);
        pairs
            .into_iter()
            .any(|((up, down), attends)| *attends && up != down)
    });
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
        let name = |l: &Level| if l.attends() { attending } else { plain };
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
        "out_channels": outputs,
        "conv_in_kernel": first[2],
        "conv_out_kernel": last_kernel,
        "block_out_channels": widths,
        "layers_per_block": one_or_list(&layers),
        "down_block_types": types(down, "DownBlock2D", "CrossAttnDownBlock2D"),
        "mid_block_type": mid_type,
        "up_block_types": up.map(|up| types(up, "UpBlock2D", "CrossAttnUpBlock2D")).unwrap_or_default(),
        "transformer_layers_per_block": same_or_list(&depths),
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
        if let Some(depths) = reverse {
            config.insert("reverse_transformer_layers_per_block".into(), json!(depths));
        }
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
