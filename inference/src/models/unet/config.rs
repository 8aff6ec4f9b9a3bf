//! What a `config.json` of a `UNet2DConditionModel` says, and which of it is refused.

use std::path::Path;

use serde_json::{Value, json};

use crate::graph::Activation;
use crate::models::config::ConfigReader;
use crate::models::error::Result;

/// One level of the U, used going down and going up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownUpConfig {
    /// Width.
    pub channels: usize,
    /// Residual blocks going down; going up there is one more.
    pub layers: usize,
    /// Transformer blocks after each residual block going down, where there are any.
    pub down_depths: Vec<usize>,
    /// The same going up, in the order in which they run.
    pub up_depths: Vec<usize>,
    /// Attention heads.
    pub heads: usize,
    /// Whether transformers follow the residual blocks going down.
    pub attends_down: bool,
    /// Whether transformers follow the residual blocks going up.
    pub attends_up: bool,
    /// Whether the first attention of a transformer block looks at the context too, in place of the picture.
    pub only_cross: bool,
}

/// What lies between down and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MidConfig {
    /// `UNetMidBlock2DCrossAttn`: a residual block, a transformer, a residual block.
    CrossAttention,
    /// `UNetMidBlock2D`: one residual block.
    Plain,
    /// Nothing.
    None,
}

/// What Stable Diffusion XL is told beside the text: a pooled text embedding, and sizes as sinusoidal features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedConfig {
    /// Features of each number.
    pub features: usize,
    /// Width of all of it together.
    pub width: usize,
}

impl AddedConfig {
    /// Most numbers that are told: height and width of the original, top and left of the crop, height and width wanted.
    pub const NUMBERS: usize = 6;
    /// Those that the refiner is told: an aesthetic score in place of the size wanted.
    pub const NUMBERS_OF_REFINER: usize = 5;

    /// How many numbers are told beside a pooled text of that width; nothing if that does not fit.
    #[must_use]
    pub fn numbers(self, pooled: usize) -> Option<usize> {
        let rest = self.width.checked_sub(pooled)?;
        [Self::NUMBERS, Self::NUMBERS_OF_REFINER]
            .into_iter()
            .find(|numbers| numbers * self.features == rest)
    }
}

/// What a `config.json` of a `UNet2DConditionModel` says.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// Channels of the latent that goes in (4; 9 for inpainting models).
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Latent height and width that the model was trained at, if it says so.
    pub sample_size: Option<[usize; 2]>,
    /// Whether the input is mapped from 0..1 to -1..1 first.
    pub center_input_sample: bool,
    /// Cosines before sines in the time features.
    pub flip_sin_to_cos: bool,
    /// Shift in the time features' frequencies.
    pub freq_shift: f64,
    /// Width of the sinusoidal time features: that of the first level.
    pub time_features: usize,
    /// Width of the time embedding.
    pub time_width: usize,
    /// Levels from the outside in.
    pub blocks: Vec<DownUpConfig>,
    /// What lies between down and up.
    pub mid: MidConfig,
    /// Transformer blocks there.
    pub mid_depth: usize,
    /// What the sums of the middle's residual blocks are divided by.
    pub mid_scale: f32,
    /// What the sums of all other residual blocks are divided by.
    pub output_scale: f32,
    /// Padding where it goes down; 0 pads below and on the right only.
    pub downsample_padding: usize,
    /// Activation of residual blocks and of the time embedding.
    pub activation: Activation,
    /// Groups of the group norms.
    pub groups: usize,
    /// Added to the variance in residual blocks' norms.
    pub eps: f32,
    /// Width of the context.
    pub cross_attention_dim: usize,
    /// Kernel of the first convolution.
    pub conv_in_kernel: usize,
    /// Kernel of the last convolution.
    pub conv_out_kernel: usize,
    /// What is told beside the text, in Stable Diffusion XL.
    pub added: Option<AddedConfig>,
    /// Width of the features by which a network distilled from another is told the guidance (Meng et al. 2023, "On Distillation of Guided Diffusion
    /// Models"; Luo et al. 2023, "Latent Consistency Models").
    pub guidance_features: Option<usize>,
    /// Whether attention scores overflow 16-bit floats and are to be computed in 32 bits.
    pub upcast_attention: bool,
}

/// Residual blocks of a level: every one is listed with the depth of its transformer before any weight is looked for.
const MOST_LAYERS: usize = 256;

const FAMILY: &str = "use a U-Net of Stable Diffusion 1.x, 2.x or XL";

impl UNetConfig {
    /// Reads a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense, and by name every key that changes the architecture to one that is not known here.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        refuse_unknown(&c)?;

        let down = c.names(
            "down_block_types",
            &[CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN],
        )?;
        let up = c.names("up_block_types", &[UP, CROSS_UP, CROSS_UP, CROSS_UP])?;
        let channels = c.size_list("block_out_channels", &[320, 640, 1280, 1280])?;
        let n = channels.len();
        if n > 12 {
            return Err(c
                .invalid("block_out_channels", "has more than 12 levels")
                .into());
        }
        for (key, len) in [
            ("down_block_types", down.len()),
            ("up_block_types", up.len()),
        ] {
            if len != n {
                return Err(c
                    .invalid(key, format!("has {len} entries for {n} levels"))
                    .into());
            }
        }
        let layers = c.sizes("layers_per_block", n, Some(2))?;
        if let Some(absurd) = layers.iter().find(|count| **count > MOST_LAYERS) {
            let reason = format!("is {absurd}, at most {MOST_LAYERS} are allowed");
            return Err(c.invalid("layers_per_block", reason).into());
        }
        let (down_depths, up_depths, mid_depth) = depths(&c, &layers)?;
        let only_cross = c.flags("only_cross_attention", n, false)?;
        // `attention_head_dim` is the *number of heads* in every model of this family; a number of heads by its
        // right name was never allowed (diffusers issue 2011).
        let heads = c.sizes("attention_head_dim", n, Some(8))?;
        let mid = match c.get("mid_block_type").map(|name| name.as_str()) {
            None if value.get("mid_block_type").is_none() => MidConfig::CrossAttention,
            None => MidConfig::None,
            Some(Some("UNetMidBlock2DCrossAttn")) => MidConfig::CrossAttention,
            Some(Some("UNetMidBlock2D")) => MidConfig::Plain,
            Some(other) => {
                let what = format!(
                    "a U-Net with `mid_block_type` = {}",
                    other.unwrap_or("(no name)")
                );
                return Err(c.unsupported(what, FAMILY).into());
            }
        };

        let mut blocks = Vec::with_capacity(n);
        for (level, &width) in channels.iter().enumerate() {
            let at = |list: &[usize]| list.get(level).copied().unwrap_or(1);
            let attends =
                |names: &[&str], place: usize, plain: &str, cross: &str, key: &str| match names
                    .get(place)
                    .copied()
                {
                    Some(name) if name == plain => Ok(false),
                    Some(name) if name == cross => Ok(true),
                    other => {
                        let what = format!(
                            "a U-Net with a block of type `{}` ({key})",
                            other.unwrap_or("(none)")
                        );
                        Err(c.unsupported(what, FAMILY))
                    }
                };
            let block = DownUpConfig {
                channels: width,
                layers: at(&layers),
                down_depths: down_depths.get(level).cloned().unwrap_or_default(),
                up_depths: up_depths.get(level).cloned().unwrap_or_default(),
                heads: at(&heads),
                attends_down: attends(&down, level, DOWN, CROSS_DOWN, "down_block_types")?,
                attends_up: attends(&up, n - 1 - level, UP, CROSS_UP, "up_block_types")?,
                only_cross: only_cross.get(level).copied().unwrap_or(false),
            };
            let deepest = level + 1 == n && mid == MidConfig::CrossAttention;
            let attending = block.attends_down || block.attends_up || deepest;
            if attending && !width.is_multiple_of(block.heads) {
                let reason = format!(
                    "asks for {} heads, which do not divide {width} channels",
                    block.heads
                );
                return Err(c.invalid("attention_head_dim", reason).into());
            }
            blocks.push(block);
        }

        let widest = channels.first().copied().unwrap_or(1);
        let config = Self {
            in_channels: c.size("in_channels", Some(4))?,
            out_channels: c.size("out_channels", Some(4))?,
            sample_size: match c.get("sample_size") {
                None => None,
                Some(_) => {
                    let sizes = c.sizes("sample_size", 2, None)?;
                    sizes.try_into().ok()
                }
            },
            center_input_sample: c.flag("center_input_sample", false)?,
            flip_sin_to_cos: c.flag("flip_sin_to_cos", true)?,
            freq_shift: c.float("freq_shift", 0.0)?,
            time_features: widest,
            time_width: c.size("time_embedding_dim", Some(4 * widest))?,
            blocks,
            mid,
            mid_depth,
            mid_scale: c.positive("mid_block_scale_factor", 1.0)? as f32,
            output_scale: c.positive("resnet_out_scale_factor", 1.0)? as f32,
            downsample_padding: c.whole("downsample_padding", 1)?,
            activation: c.activation("act_fn", "silu")?,
            groups: c.size("norm_num_groups", Some(32))?,
            eps: c.epsilon("norm_eps", 1e-5)?,
            cross_attention_dim: c.size("cross_attention_dim", Some(1280))?,
            conv_in_kernel: odd_kernel(&c, "conv_in_kernel")?,
            conv_out_kernel: odd_kernel(&c, "conv_out_kernel")?,
            added: added(&c)?,
            guidance_features: match c.get("time_cond_proj_dim") {
                None => None,
                Some(_) => Some(c.size("time_cond_proj_dim", None)?),
            },
            upcast_attention: c.flag("upcast_attention", false)?,
        };
        if config.downsample_padding > 1 {
            return Err(c.invalid("downsample_padding", "is neither 0 nor 1").into());
        }
        if config.freq_shift >= (config.time_features / 2) as f64 {
            let reason = "is not below half the width of the time features";
            return Err(c.invalid("freq_shift", reason).into());
        }
        Ok(config)
    }
}

const DOWN: &str = "DownBlock2D";
const UP: &str = "UpBlock2D";
const CROSS_DOWN: &str = "CrossAttnDownBlock2D";
const CROSS_UP: &str = "CrossAttnUpBlock2D";

/// Going down, going up, and in the middle.
type Depths = (Vec<Vec<usize>>, Vec<Vec<usize>>, usize);

/// Transformer blocks of each residual block: going down, going up (by level, in the order in which they run) and in the middle.
///
/// diffusers writes a number, a list with one for each level, or for small networks distilled from Stable Diffusion XL a list of lists, and then another for the way up, whose levels
/// are counted from the middle.
fn depths(c: &ConfigReader<'_>, layers: &[usize]) -> Result<Depths> {
    const DOWN: &str = "transformer_layers_per_block";
    const UP: &str = "reverse_transformer_layers_per_block";
    const MOST: u64 = 1024;
    let wrong = |key: &str| {
        c.invalid(
            key,
            format!(
                "is not a number of 1 to {MOST}, or a list with one (or a list) for each of {} levels",
                layers.len()
            ),
        )
    };
    let number = |value: &Value| {
        let number = value.as_u64().filter(|n| (1..=MOST).contains(n));
        number.and_then(|n| usize::try_from(n).ok())
    };
    // One level, of so many residual blocks.
    let level = |value: &Value, count: usize| -> Option<Vec<usize>> {
        match value {
            Value::Array(list) if list.len() == count => list.iter().map(number).collect(),
            Value::Array(_) => None,
            value => Some(vec![number(value)?; count]),
        }
    };
    let all = |value: &Value, counts: &[usize]| -> Option<Vec<Vec<usize>>> {
        match value {
            Value::Array(list) if list.len() == counts.len() => list
                .iter()
                .zip(counts)
                .map(|(value, count)| level(value, *count))
                .collect(),
            Value::Array(_) => None,
            value => counts.iter().map(|count| level(value, *count)).collect(),
        }
    };
    let one = json!(1);
    let given = c.get(DOWN).unwrap_or(&one);
    let down = all(given, layers).ok_or_else(|| wrong(DOWN))?;
    let counts: Vec<usize> = layers.iter().rev().map(|layers| layers + 1).collect();
    let mut up = match c.get(UP) {
        Some(value) => all(value, &counts).ok_or_else(|| wrong(UP))?,
        // As going down, with one more in each level.
        None => {
            let mut up = Vec::new();
            for (level, count) in down.iter().rev().zip(&counts) {
                let first = level.first().copied().unwrap_or(1);
                if level.iter().any(|depth| *depth != first) {
                    return Err(wrong(UP).into());
                }
                up.push(vec![first; *count]);
            }
            up
        }
    };
    up.reverse();
    let mid = down.last().and_then(|level| level.last()).copied();
    Ok((down, up, mid.unwrap_or(1)))
}

/// `addition_embed_type` = `text_time`.
fn added(c: &ConfigReader<'_>) -> Result<Option<AddedConfig>> {
    if c.get("addition_embed_type").is_none() {
        return Ok(None);
    }
    let features = c.size("addition_time_embed_dim", Some(256))?;
    let key = "projection_class_embeddings_input_dim";
    let width = c.size(key, None)?;
    let numbers = features.checked_mul(AddedConfig::NUMBERS_OF_REFINER);
    if numbers.is_none_or(|numbers| numbers >= width) {
        let reason =
            format!("is {width}, which has no room for five times {features} features and a text");
        return Err(c.invalid(key, reason).into());
    }
    Ok(Some(AddedConfig { features, width }))
}

fn odd_kernel(c: &ConfigReader<'_>, key: &str) -> Result<usize> {
    let kernel = c.size(key, Some(3))?;
    if kernel % 2 == 1 && kernel <= 15 {
        Ok(kernel)
    } else {
        let reason = format!("is {kernel}, needed is an odd number up to 15");
        Err(c.invalid(key, reason).into())
    }
}

/// Refuses by name every key of `UNet2DConditionModel` that makes another architecture of it.
fn refuse_unknown(c: &ConfigReader<'_>) -> Result<()> {
    let added = match c.get("addition_embed_type") {
        None => false,
        Some(kind) if kind == "text_time" => true,
        Some(kind) => {
            let what = format!("a U-Net with `addition_embed_type` = {kind}");
            return Err(c.unsupported(what, FAMILY).into());
        }
    };
    let harmless: &[(&str, &[Value])] = &[
        ("class_embed_type", &[]),
        ("num_class_embeds", &[]),
        ("class_embeddings_concat", &[]),
        ("projection_class_embeddings_input_dim", &[]),
        ("encoder_hid_dim", &[]),
        ("encoder_hid_dim_type", &[]),
        ("num_attention_heads", &[]),
        ("dual_cross_attention", &[]),
        ("resnet_time_scale_shift", &[json!("default")]),
        ("resnet_skip_time_act", &[]),
        ("time_embedding_type", &[json!("positional")]),
        ("time_embedding_act_fn", &[]),
        ("timestep_post_act", &[]),
        ("attention_type", &[json!("default")]),
        ("cross_attention_norm", &[]),
    ];
    for (key, values) in harmless {
        // The one key that Stable Diffusion XL uses for something else than its name says.
        if added && *key == "projection_class_embeddings_input_dim" {
            continue;
        }
        c.refuse(key, values, FAMILY)?;
    }
    if matches!(c.get("cross_attention_dim"), Some(Value::Array(_))) {
        let what = "a U-Net with a list as `cross_attention_dim`";
        return Err(c.unsupported(what, FAMILY).into());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(value: Value) -> std::result::Result<UNetConfig, String> {
        UNetConfig::from_json(Path::new("unet/config.json"), &value).map_err(|e| e.to_string())
    }

    #[test]
    fn stable_diffusion_1_5_needs_nothing_but_its_config() {
        // The keys that runwayml/stable-diffusion-v1-5 has.
        let c = parse(json!({
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
            "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false, "cross_attention_dim": 768,
            "down_block_types": [CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN], "downsample_padding": 1, "flip_sin_to_cos": true,
            "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05,
            "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
            "up_block_types": [UP, CROSS_UP, CROSS_UP, CROSS_UP],
        }))
        .unwrap();
        assert_eq!(c.blocks.len(), 4);
        assert_eq!(c.blocks[1].heads, 8);
        assert!(c.blocks[0].attends_up && !c.blocks[3].attends_up && !c.blocks[3].attends_down);
        assert_eq!(c.sample_size, Some([64, 64]));
        assert_eq!(c.time_width, 1280);
        assert_eq!(c.mid, MidConfig::CrossAttention);
    }

    #[test]
    fn other_architectures_are_refused_by_name() {
        for (key, value) in [
            ("addition_embed_type", json!("image_hint")),
            ("class_embed_type", json!("projection")),
            ("num_class_embeds", json!(1000)),
            ("encoder_hid_dim", json!(4096)),
            ("resnet_time_scale_shift", json!("scale_shift")),
            ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
            ("act_fn", json!("mish")),
            ("cross_attention_dim", json!([8, 8])),
            (
                "down_block_types",
                json!([CROSS_DOWN, CROSS_DOWN, "AttnDownBlock2D", DOWN]),
            ),
            ("dual_cross_attention", json!(true)),
        ] {
            let text = parse(json!({ key: value })).unwrap_err();
            assert!(
                text.contains(key) && text.contains("unet/config.json"),
                "{text}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (key, value) in [
            ("block_out_channels", json!([0, 640, 1280, 1280])),
            ("block_out_channels", json!("wide")),
            ("layers_per_block", json!([2, 2])),
            ("layers_per_block", json!(16_777_216)),
            ("attention_head_dim", json!(7)),
            ("attention_head_dim", json!(0)),
            ("norm_num_groups", json!(-1)),
            ("norm_eps", json!(-1.0)),
            ("conv_in_kernel", json!(4)),
            ("in_channels", json!(1e40)),
            ("freq_shift", json!(160)),
            ("downsample_padding", json!(7)),
            ("up_block_types", json!([UP])),
        ] {
            let text = parse(json!({ key: value })).unwrap_err();
            assert!(text.contains(key), "{text}");
        }
    }
}
