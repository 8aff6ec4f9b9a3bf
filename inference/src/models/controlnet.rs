//! ControlNet: a copy of a U-Net's way down that also sees a picture, and tells what is to be added to the U-Net's skip connections.
//!
//! Zhang, Rao and Agrawala 2023, "Adding Conditional Control to Text-to-Image Diffusion Models"; equal to diffusers' `ControlNetModel`. How much of it
//! is added is the caller's affair: its outputs are those of strength 1.

use std::path::Path;

use serde_json::{Value, json};

use crate::formats::WeightMap;
use crate::graph::{Activation, Conv2dSpec, Graph, GraphBuilder, Tensor};

use super::config::ConfigReader;
use super::controlnet_union::{self, UnionConfig};
use super::error::{ModelError, Result};
use super::layers::{conv2d, conv3x3};
use super::loader::Scope;
use super::unet::{Inputs, Residual, UNetConfig, entrance, residuals};

/// What a `config.json` of a `ControlNetModel` says.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlNetConfig {
    /// The way down and the middle are those of this U-Net.
    pub unet: UNetConfig,
    /// Channels of the picture.
    pub picture_channels: usize,
    /// Whether the picture's channels are turned round, blue first.
    pub blue_first: bool,
    /// Widths of the layers that bring the picture to the size of the latents; each but the last halves it.
    pub hint_channels: Vec<usize>,
    /// Where it is made for several kinds of pictures.
    pub union: Option<UnionConfig>,
}

impl ControlNetConfig {
    /// Reads a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense, and by name what would make another network of it.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        let remedy = "use a ControlNet of Stable Diffusion 1.5, 2.x or XL";
        c.refuse("global_pool_conditions", &[], remedy)?;
        let order = c.text("controlnet_conditioning_channel_order", "rgb")?;
        if order != "rgb" && order != "bgr" {
            let key = "controlnet_conditioning_channel_order";
            return Err(c
                .invalid(key, format!("is {order}, known are rgb and bgr"))
                .into());
        }
        let key = "conditioning_embedding_out_channels";
        // diffusers' class for several kinds of pictures has other widths where its config tells none.
        let union = value.get("num_control_type").is_some_and(|v| !v.is_null());
        let usual = match union {
            true => [48, 96, 192, 384],
            false => [16, 32, 96, 256],
        };
        let hint_channels = c.size_list(key, &usual)?;
        if hint_channels.len() > 12 {
            return Err(c.invalid(key, "has more than 12 entries").into());
        }
        let unet = UNetConfig::from_json(path, &as_unet(value))?;
        Ok(Self {
            union: UnionConfig::from_json(path, value, &unet)?,
            picture_channels: c.size("conditioning_channels", Some(3))?,
            blue_first: order == "bgr",
            hint_channels,
            unet,
        })
    }

    /// Pixels of the picture for each of the latents, in each direction.
    #[must_use]
    pub fn factor(&self) -> usize {
        // At most 12 entries, which reading makes sure of.
        1 << self.hint_channels.len().saturating_sub(1)
    }
}

/// The configuration of the U-Net that the way down belongs to.
fn as_unet(value: &Value) -> Value {
    let mut value = value.clone();
    let Value::Object(keys) = &mut value else {
        return value;
    };
    let down = keys.get("down_block_types").and_then(Value::as_array);
    if let Some(down) = down {
        // A name that is not known is told by that of the way down.
        let up = |name: &Value| match name.as_str() {
            Some("CrossAttnDownBlock2D") => json!("CrossAttnUpBlock2D"),
            _ => json!("UpBlock2D"),
        };
        let up: Vec<Value> = down.iter().rev().map(up).collect();
        keys.insert("up_block_types".into(), Value::Array(up));
    }
    value
}

/// A ControlNet.
#[derive(Clone, Debug)]
pub struct ControlNet {
    config: ControlNetConfig,
    weights: WeightMap,
}

impl ControlNet {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: ControlNetConfig, weights: WeightMap) -> Result<Self> {
        let model = Self { config, weights };
        let size = 1 << (model.config.unet.blocks.len().saturating_sub(1)).min(16);
        model.graph(1, size, size, 1)?;
        model.hint_graph(size, size)?;
        Ok(model)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// The weights by diffusers' names.
    pub(crate) fn weights(&self) -> &WeightMap {
        &self.weights
    }

    /// Names and shapes of the outputs of [`Self::graph`].
    #[must_use]
    pub fn control_shapes(&self, batch: usize, height: usize, width: usize) -> Vec<Residual> {
        residuals(&self.config.unet, batch, height, width)
    }

    /// A graph for `batch` latents of `height` x `width`, all under one picture: the net by itself.
    ///
    /// Inputs as those of [`super::UNet::graph`], `hint_0` as [`Self::hint_graph`] gives it, and those of [`Self::kind_inputs`]; outputs `control_0`, `control_1`, ... as
    /// [`Self::control_shapes`] tells.
    ///
    /// # Errors
    /// Weights that do not fit; sizes that are nothing or beyond what can be addressed.
    pub fn graph(
        &self,
        batch: usize,
        height: usize,
        width: usize,
        context_len: usize,
    ) -> Result<Graph> {
        let c = &self.config.unet;
        let sizes = [batch, height, width, context_len];
        let g = GraphBuilder::new(format!("controlnet {batch}x{height}x{width}+{context_len}"));
        let inputs = Inputs::new(&g, c, sizes)?;
        let named = residuals(c, batch, height, width);
        for (x, residual) in self.within(&g, &inputs, 0)?.iter().zip(named) {
            g.output(&residual.name, x);
        }
        Ok(g.finish())
    }

    /// What it adds, within a graph that may hold its U-Net, too; `place` is its number among the nets there.
    pub(super) fn within(
        &self,
        g: &GraphBuilder,
        inputs: &Inputs,
        place: usize,
    ) -> Result<Vec<Tensor>> {
        let c = &self.config.unet;
        let w = Scope::new(&self.weights);
        let mut entrance = entrance(g, &w, c, inputs)?;
        let shape = [1, entrance.x.dim(1), entrance.x.dim(2), entrance.x.dim(3)];
        let hint = g.input(&format!("hint_{place}"), &shape)?;
        entrance.x = match self.config.union {
            None => g.add(&entrance.x, &hint)?,
            Some(union) => {
                let told = controlnet_union::told(g, &w, (c, union), place)?;
                entrance.tell(g, &told)?;
                controlnet_union::fuse(g, &w, union, [&entrance.x, &hint], place)?
            }
        };
        let (middle, skips) = entrance.net(g, c).descend(&w, &entrance.x)?;
        let last = skips.len();
        let mut residuals = Vec::with_capacity(last + 1);
        for (place, x) in skips.iter().chain([&middle]).enumerate() {
            let w = if place == last {
                w.scope("controlnet_mid_block")
            } else {
                w.scope(format!("controlnet_down_blocks.{place}"))
            };
            residuals.push(conv2d(g, &w, x, x.dim(1), 1, Conv2dSpec::same(1))?);
        }
        Ok(residuals)
    }

    /// A graph that brings the picture to the size of latents of `height` x `width` and to the width of their first convolution: once for all steps.
    ///
    /// Input `picture` f32 `[1, picture_channels, height * factor, width * factor]` in 0 to 1; output `hint [1, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Self::graph`].
    pub fn hint_graph(&self, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let g = GraphBuilder::new(format!("controlnet picture {height}x{width}"));
        let hint = {
            let w = Scope::new(&self.weights).scope("controlnet_cond_embedding");
            let _scope = w.enter(&g);
            let pixels = |side: usize| side.checked_mul(c.factor());
            let (Some(height), Some(width)) = (pixels(height), pixels(width)) else {
                return Err(ModelError::Request {
                    model: "ControlNet",
                    reason: "the picture would be too large to address".into(),
                });
            };
            let picture = g.input("picture", &[1, c.picture_channels, height, width])?;
            let first = c.hint_channels.first().copied().unwrap_or(1);
            let mut x = conv3x3(&g, &w.scope("conv_in"), &picture, first)?;
            x = g.activation(&x, Activation::Silu)?;
            let pairs = c.hint_channels.iter().zip(c.hint_channels.iter().skip(1));
            for (place, (&narrow, &wide)) in pairs.enumerate() {
                let w = |n: usize| w.scope(format!("blocks.{}", 2 * place + n));
                x = conv3x3(&g, &w(0), &x, narrow)?;
                x = g.activation(&x, Activation::Silu)?;
                x = conv2d(&g, &w(1), &x, wide, 3, Conv2dSpec::new(2, 1))?;
                x = g.activation(&x, Activation::Silu)?;
            }
            let widest = c.unet.blocks.first().map_or(1, |block| block.channels);
            conv3x3(&g, &w.scope("conv_out"), &x, widest)?
        };
        g.output("hint", &hint);
        Ok(g.finish())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn other_networks_are_refused_by_name() {
        for (key, value) in [
            ("global_pool_conditions", json!(true)),
            ("num_control_type", json!(0)),
            ("num_trans_channel", json!(7)),
            ("controlnet_conditioning_channel_order", json!("gbr")),
            ("conditioning_embedding_out_channels", json!([])),
            ("down_block_types", json!(vec!["Strange"; 4])),
        ] {
            let mut config = json!({ key: value });
            if key == "num_trans_channel" {
                config["num_control_type"] = json!(6);
                config["addition_time_embed_dim"] = json!(256);
            }
            let error = ControlNetConfig::from_json(Path::new("c.json"), &config);
            let text = error.unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("c.json"), "{text}");
        }
        let usual = ControlNetConfig::from_json(Path::new("c.json"), &json!({})).unwrap();
        assert_eq!(usual.factor(), 8);
    }
}
