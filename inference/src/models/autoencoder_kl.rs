//! The variational autoencoder of latent diffusion.
//!
//! Kingma and Welling 2014, "Auto-Encoding Variational Bayes"; Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models"; equal to
//! diffusers' `AutoencoderKL`. Decoding a 512x512 picture passes through an activation of 256 MiB: the last level of the decoder.

use std::path::Path;

use serde_json::{Value, json};

use crate::formats::WeightMap;
use crate::graph::{Activation, Conv2dSpec, Graph, GraphBuilder, Tensor, UnaryKind};

use super::config::ConfigReader;
use super::error::{ModelError, Result};
use super::layers::{
    ResnetSpec, conv_downsample, conv2d, conv3x3, group_norm, linear, pixels_to_sequence,
    resnet_block, sequence_to_pixels,
};
use super::loader::Scope;

/// Added to variances everywhere in this network, whatever a config says about others.
const EPS: f32 = 1e-6;

/// What a `config.json` of an `AutoencoderKL` says.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlConfig {
    /// Channels of pictures, in and out.
    pub picture_channels: [usize; 2],
    /// Channels of latents.
    pub latent_channels: usize,
    /// Widths of the levels, from the picture down.
    pub channels: Vec<usize>,
    /// Residual blocks in each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the group norms.
    pub groups: usize,
    /// Activation everywhere.
    pub activation: Activation,
    /// Whether the middle attends.
    pub mid_attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub post_quant_conv: bool,
    /// What a latent is multiplied with before the diffusion model sees it.
    pub scaling_factor: f64,
    /// What is taken from a latent before that.
    pub shift_factor: f64,
    /// Whether the network overflows 16-bit floats and is to be run in 32 bits.
    pub force_upcast: bool,
}

impl AutoencoderKlConfig {
    /// Reads a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense or are not known.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        let channels = c.size_list("block_out_channels", &[64])?;
        for (key, known) in [
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ] {
            let names = c.names(key, &[known])?;
            if let Some(other) = names.iter().find(|name| **name != known) {
                return Err(c
                    .unsupported(
                        format!("an autoencoder with blocks of type `{other}` ({key})"),
                        format!("only `{known}` is known"),
                    )
                    .into());
            }
            if names.len() != channels.len() {
                let reason = format!("has {} entries for {} levels", names.len(), channels.len());
                return Err(c.invalid(key, reason).into());
            }
        }
        // Latents with means and deviations of their own belong to models that are not known either.
        for key in ["latents_mean", "latents_std"] {
            c.refuse(
                key,
                &[json!([])],
                "use an autoencoder of Stable Diffusion 1.x or 2.x",
            )?;
        }
        if channels.len() > 12 {
            return Err(c
                .invalid("block_out_channels", "has more than 12 levels")
                .into());
        }
        Ok(Self {
            picture_channels: [
                c.size("in_channels", Some(3))?,
                c.size("out_channels", Some(3))?,
            ],
            latent_channels: c.size("latent_channels", Some(4))?,
            channels,
            layers_per_block: c.count("layers_per_block", 256, Some(1))?,
            groups: c.size("norm_num_groups", Some(32))?,
            activation: c.activation("act_fn", "silu")?,
            mid_attention: c.flag("mid_block_add_attention", true)?,
            quant_conv: c.flag("use_quant_conv", true)?,
            post_quant_conv: c.flag("use_post_quant_conv", true)?,
            scaling_factor: c.positive("scaling_factor", 0.18215)?,
            shift_factor: c.float("shift_factor", 0.0)?,
            force_upcast: c.flag("force_upcast", true)?,
        })
    }
}

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderKl {
    config: AutoencoderKlConfig,
    weights: WeightMap,
}

impl AutoencoderKl {
    /// Takes configuration and weights, and checks the decoder's weights; the encoder's too where the file has any.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: AutoencoderKlConfig, weights: WeightMap) -> Result<Self> {
        let model = Self { config, weights };
        model.decode_graph(1, 1, 1)?;
        if model.has_encoder() {
            let factor = model.spatial_factor();
            model.encode_graph(1, 2 * factor, 2 * factor)?;
        }
        Ok(model)
    }

    /// The weights by diffusers' names.
    pub(crate) fn weights(&self) -> &WeightMap {
        &self.weights
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// Pixels of the picture for each of the latent, in each direction; 8 in Stable Diffusion.
    #[must_use]
    pub fn spatial_factor(&self) -> usize {
        // At most 12 levels, which the configuration makes sure of.
        1 << self.config.channels.len().saturating_sub(1)
    }

    /// Whether the file has an encoder at all; some hold only the decoder.
    #[must_use]
    pub fn has_encoder(&self) -> bool {
        self.weights
            .names()
            .any(|name| name.starts_with("encoder."))
    }

    fn resnet_spec(&self) -> ResnetSpec {
        ResnetSpec {
            groups: self.config.groups,
            eps: EPS,
            activation: self.config.activation,
            output_scale: 1.0,
        }
    }

    /// A graph that decodes `batch` latents of `height` x `width`.
    ///
    /// Input `latent` f32 `[batch, latent_channels, height, width]`, in the autoencoder's own scale (divided by the scaling factor); output
    /// `picture` f32 `[batch, channels, height * factor, width * factor]`, about -1 to 1.
    ///
    /// # Errors
    /// Weights that do not fit; sizes beyond what can be addressed.
    pub fn decode_graph(&self, batch: usize, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let g = GraphBuilder::new(format!("vae decode {batch}x{height}x{width}"));
        let root = Scope::new(&self.weights);
        let mut x = g.input("latent", &[batch, c.latent_channels, height, width])?;
        if c.post_quant_conv {
            let w = root.scope("post_quant_conv");
            x = conv2d(&g, &w, &x, c.latent_channels, 1, Conv2dSpec::same(1))?;
        }
        let w = root.scope("decoder");
        let deepest = c.channels.last().copied().unwrap_or(1);
        x = conv3x3(&g, &w.scope("conv_in"), &x, deepest)?;
        x = self.mid(&g, &w.scope("mid_block"), &x)?;
        for (level, &channels) in c.channels.iter().rev().enumerate() {
            let w = w.scope(format!("up_blocks.{level}"));
            let _scope = w.enter(&g);
            for layer in 0..=c.layers_per_block {
                let w = w.scope(format!("resnets.{layer}"));
                x = resnet_block(&g, &w, &x, None, channels, self.resnet_spec())?;
            }
            if level + 1 < c.channels.len() {
                let [Some(height), Some(width)] = [x.dim(2), x.dim(3)].map(|n| n.checked_mul(2))
                else {
                    return Err(request("the picture would be too large to address".into()));
                };
                x = g.upsample_nearest(&x, height, width)?;
                x = conv3x3(&g, &w.scope("upsamplers.0.conv"), &x, channels)?;
            }
        }
        let act = Some(c.activation);
        x = group_norm(&g, &w.scope("conv_norm_out"), &x, c.groups, EPS, act)?;
        x = conv3x3(&g, &w.scope("conv_out"), &x, c.picture_channels[1])?;
        g.output("picture", &x);
        Ok(g.finish())
    }

    /// A graph that encodes `batch` pictures of `height` x `width` pixels to the distribution of their latents.
    ///
    /// Input `picture` f32 `[batch, channels, height, width]` in -1..1; outputs `mean` and `logvar` f32
    /// `[batch, latent_channels, height / factor, width / factor]` (rounded down), the logarithm of the variance clamped to -30..20.
    /// A latent is the mean, or `mean + exp(logvar / 2) * noise`, times the scaling factor.
    ///
    /// # Errors
    /// A file without an encoder; pictures smaller than one latent pixel; weights that do not fit.
    pub fn encode_graph(&self, batch: usize, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        if height < self.spatial_factor() || width < self.spatial_factor() {
            return Err(request(format!(
                "a picture of {width}x{height}; the smallest is {0}x{0}",
                self.spatial_factor()
            )));
        }
        let g = GraphBuilder::new(format!("vae encode {batch}x{height}x{width}"));
        let root = Scope::new(&self.weights);
        let w = root.scope("encoder");
        let picture = g.input("picture", &[batch, c.picture_channels[0], height, width])?;
        let widest = c.channels.first().copied().unwrap_or(1);
        let mut x = conv3x3(&g, &w.scope("conv_in"), &picture, widest)?;
        for (level, &channels) in c.channels.iter().enumerate() {
            let w = w.scope(format!("down_blocks.{level}"));
            let _scope = w.enter(&g);
            for layer in 0..c.layers_per_block {
                let w = w.scope(format!("resnets.{layer}"));
                x = resnet_block(&g, &w, &x, None, channels, self.resnet_spec())?;
            }
            if level + 1 < c.channels.len() {
                x = conv_downsample(&g, &w.scope("downsamplers.0.conv"), &x, channels, 0)?;
            }
        }
        x = self.mid(&g, &w.scope("mid_block"), &x)?;
        let act = Some(c.activation);
        x = group_norm(&g, &w.scope("conv_norm_out"), &x, c.groups, EPS, act)?;
        let moments = 2 * c.latent_channels;
        x = conv3x3(&g, &w.scope("conv_out"), &x, moments)?;
        if c.quant_conv {
            let w = root.scope("quant_conv");
            x = conv2d(&g, &w, &x, moments, 1, Conv2dSpec::same(1))?;
        }
        let mean = g.slice(&x, 1, 0, c.latent_channels)?;
        let logvar = g.slice(&x, 1, c.latent_channels, c.latent_channels)?;
        let bounds = UnaryKind::Clamp {
            low: -30.0,
            high: 20.0,
        };
        let logvar = g.unary(&logvar, bounds)?;
        g.output("mean", &mean);
        g.output("logvar", &logvar);
        Ok(g.finish())
    }

    fn mid(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let (channels, spec) = (x.dim(1), self.resnet_spec());
        let mut x = resnet_block(g, &w.scope("resnets.0"), x, None, channels, spec)?;
        if self.config.mid_attention {
            x = self.attention(g, &w.scope("attentions.0"), &x)?;
        }
        resnet_block(g, &w.scope("resnets.1"), &x, None, channels, spec)
    }

    /// One head of attention over all pixels, plus the input.
    fn attention(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let channels = x.dim(1);
        let h = group_norm(g, &w.scope("group_norm"), x, self.config.groups, EPS, None)?;
        let h = pixels_to_sequence(g, &h)?;
        let q = linear(g, &w.scope("to_q"), &h, channels)?;
        let k = linear(g, &w.scope("to_k"), &h, channels)?;
        let v = linear(g, &w.scope("to_v"), &h, channels)?;
        let scale = (channels as f32).sqrt().recip();
        let h = g.attention([&q, &k, &v], 1, 1, scale, false)?;
        let h = linear(g, &w.scope("to_out.0"), &h, channels)?;
        Ok(g.add(x, &sequence_to_pixels(g, &h, x)?)?)
    }
}

fn request(reason: String) -> ModelError {
    ModelError::Request {
        model: "autoencoder",
        reason,
    }
}
