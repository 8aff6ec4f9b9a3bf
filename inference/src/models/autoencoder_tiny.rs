//! The distilled autoencoder: small, fast, without norms or attention.
//!
//! TAESD by Ollin Boer Bohan (github.com/madebyollin/taesd); equal to diffusers' `AutoencoderTiny`. Pictures are in -1..1 outside and 0..1 inside.

use std::path::Path;

use serde_json::{Value, json};

use crate::formats::WeightMap;
use crate::graph::{Activation, Conv2dSpec, Graph, GraphBuilder, Tensor, UnaryKind};

use super::config::ConfigReader;
use super::error::{ModelError, Result};
use super::layers::conv3x3;
use super::loader::Scope;

/// What a `config.json` of an `AutoencoderTiny` says.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderTinyConfig {
    /// Channels of pictures, in and out.
    pub picture_channels: [usize; 2],
    /// Channels of latents.
    pub latent_channels: usize,
    /// For each level of the encoder from the picture down: width and residual blocks.
    pub encoder: Vec<(usize, usize)>,
    /// For each level of the decoder from the latent up: width and residual blocks.
    pub decoder: Vec<(usize, usize)>,
    /// Factor of each enlargement of the decoder.
    pub upsampling_factor: usize,
    /// Activation within residual blocks.
    pub activation: Activation,
    /// What a latent is multiplied with before the diffusion model sees it.
    pub scaling_factor: f64,
    /// What is taken from a latent before that.
    pub shift_factor: f64,
}

impl AutoencoderTinyConfig {
    /// Reads a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense or are not known.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        c.refuse(
            "upsample_fn",
            &[json!("nearest")],
            "only nearest-neighbour enlargement is known",
        )?;
        let levels = |widths: &str, blocks: &str, usual: [usize; 4]| -> Result<_> {
            let widths = c.size_list(widths, &[64; 4])?;
            let counts = c.size_list(blocks, &usual)?;
            if widths.len() != counts.len() {
                let reason = format!("has {} entries for {} levels", counts.len(), widths.len());
                return Err(c.invalid(blocks, reason).into());
            }
            Ok(widths.into_iter().zip(counts).collect())
        };
        let config = Self {
            picture_channels: [
                c.size("in_channels", Some(3))?,
                c.size("out_channels", Some(3))?,
            ],
            latent_channels: c.size("latent_channels", Some(4))?,
            encoder: levels(
                "encoder_block_out_channels",
                "num_encoder_blocks",
                [1, 3, 3, 3],
            )?,
            decoder: levels(
                "decoder_block_out_channels",
                "num_decoder_blocks",
                [3, 3, 3, 1],
            )?,
            upsampling_factor: c.size("upsampling_scaling_factor", Some(2))?,
            activation: c.activation("act_fn", "relu")?,
            scaling_factor: c.positive("scaling_factor", 1.0)?,
            shift_factor: c.float("shift_factor", 0.0)?,
        };
        if config.spatial_factor().is_none() {
            return Err(c
                .invalid("upsampling_scaling_factor", "enlarges beyond all measure")
                .into());
        }
        Ok(config)
    }

    /// Pixels of the picture for each of the latent, in each direction.
    fn spatial_factor(&self) -> Option<usize> {
        let times = u32::try_from(self.decoder.len().checked_sub(1)?).ok()?;
        let factor = self.upsampling_factor.checked_pow(times)?;
        (factor <= 1 << 12).then_some(factor)
    }
}

/// A distilled autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderTiny {
    config: AutoencoderTinyConfig,
    weights: WeightMap,
}

impl AutoencoderTiny {
    /// Takes configuration and weights, and checks the decoder's weights; the encoder's too where the file has any.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: AutoencoderTinyConfig, weights: WeightMap) -> Result<Self> {
        let model = Self { config, weights };
        model.decode_graph(1, 2, 2)?;
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
    pub fn config(&self) -> &AutoencoderTinyConfig {
        &self.config
    }

    /// Pixels of the picture for each of the latent, in each direction; usually 8.
    #[must_use]
    pub fn spatial_factor(&self) -> usize {
        self.config.spatial_factor().unwrap_or(1)
    }

    /// Whether the file has an encoder at all; some hold only the decoder, for previews.
    #[must_use]
    pub fn has_encoder(&self) -> bool {
        self.weights
            .names()
            .any(|name| name.starts_with("encoder."))
    }

    /// A graph that decodes `batch` latents of `height` x `width`.
    ///
    /// Input `latent` f32 `[batch, latent_channels, height, width]`, divided by the scaling factor before; output `picture` f32
    /// `[batch, channels, height * factor, width * factor]`, about -1 to 1.
    ///
    /// # Errors
    /// Weights that do not fit; sizes beyond what can be addressed.
    pub fn decode_graph(&self, batch: usize, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let g = GraphBuilder::new(format!("vae-tiny decode {batch}x{height}x{width}"));
        let w = Scope::new(&self.weights).scope("decoder.layers");
        let latent = g.input("latent", &[batch, c.latent_channels, height, width])?;
        // A soft clamp to -3..3.
        let x = g.affine(&latent, 1.0 / 3.0, 0.0)?;
        let x = g.affine(&g.unary(&x, UnaryKind::Tanh)?, 3.0, 0.0)?;

        // Numbered as in the reference's `Sequential`: activations and enlargements have numbers too.
        let first = c.decoder.first().map_or(1, |level| level.0);
        let x = conv3x3(&g, &w.scope("0"), &x, first)?;
        let mut x = g.activation(&x, c.activation)?;
        let mut index = 2;
        for (level, &(channels, blocks)) in c.decoder.iter().enumerate() {
            for _ in 0..blocks {
                x = self.block(&g, &w.scope(index.to_string()), &x, channels)?;
                index += 1;
            }
            if level + 1 == c.decoder.len() {
                let [_, out] = c.picture_channels;
                x = conv3x3(&g, &w.scope(index.to_string()), &x, out)?;
            } else {
                let enlarged = [x.dim(2), x.dim(3)].map(|n| n.checked_mul(c.upsampling_factor));
                let [Some(height), Some(width)] = enlarged else {
                    return Err(request("the picture would be too large to address".into()));
                };
                x = g.upsample_nearest(&x, height, width)?;
                x = plain_conv(&g, &w.scope((index + 1).to_string()), &x, channels, 1)?;
                index += 2;
            }
        }
        let picture = g.affine(&x, 2.0, -1.0)?;
        g.output("picture", &picture);
        Ok(g.finish())
    }

    /// A graph that encodes `batch` pictures of `height` x `width` pixels.
    ///
    /// Input `picture` f32 `[batch, channels, height, width]` in -1..1; output `latent` f32
    /// `[batch, latent_channels, height / factor, width / factor]`, to be multiplied by the scaling factor.
    ///
    /// # Errors
    /// A file without an encoder; weights that do not fit.
    pub fn encode_graph(&self, batch: usize, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let g = GraphBuilder::new(format!("vae-tiny encode {batch}x{height}x{width}"));
        let w = Scope::new(&self.weights).scope("encoder.layers");
        let picture = g.input("picture", &[batch, c.picture_channels[0], height, width])?;
        let mut x = g.affine(&picture, 0.5, 0.5)?;
        let mut index = 0;
        for (level, &(channels, blocks)) in c.encoder.iter().enumerate() {
            let layer = w.scope(index.to_string());
            x = if level == 0 {
                conv3x3(&g, &layer, &x, channels)?
            } else {
                plain_conv(&g, &layer, &x, channels, 2)?
            };
            index += 1;
            for _ in 0..blocks {
                x = self.block(&g, &w.scope(index.to_string()), &x, channels)?;
                index += 1;
            }
        }
        let latent = conv3x3(&g, &w.scope(index.to_string()), &x, c.latent_channels)?;
        g.output("latent", &latent);
        Ok(g.finish())
    }

    /// Three convolutions with activations between, plus the input, ReLU.
    fn block(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor, out: usize) -> Result<Tensor> {
        let _scope = w.enter(g);
        let act = self.config.activation;
        let h = g.activation(&conv3x3(g, &w.scope("conv.0"), x, out)?, act)?;
        let h = g.activation(&conv3x3(g, &w.scope("conv.2"), &h, out)?, act)?;
        let h = conv3x3(g, &w.scope("conv.4"), &h, out)?;
        let skip = if x.dim(1) == out {
            x.clone()
        } else {
            let w = w.scope("skip");
            let weight = w.tensor("weight", &[out, x.dim(1), 1, 1])?;
            g.conv2d(x, &weight, None, Conv2dSpec::same(1))?
        };
        Ok(g.activation(&g.add(&h, &skip)?, Activation::Relu)?)
    }
}

/// A 3x3 convolution without a bias.
fn plain_conv(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    out: usize,
    stride: usize,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.tensor("weight", &[out, x.dim(1), 3, 3])?;
    Ok(g.conv2d(x, &weight, None, Conv2dSpec::new(stride, 1))?)
}

fn request(reason: String) -> ModelError {
    ModelError::Request {
        model: "autoencoder",
        reason,
    }
}
