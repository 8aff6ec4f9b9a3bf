//! The conditional U-Net of Stable Diffusion 1.x, 2.x and XL, and whatever else a `UNet2DConditionModel` of that family may be.
//!
//! Ronneberger et al. 2015, "U-Net"; Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; Rombach et al. 2022, "High-Resolution Image Synthesis with
//! Latent Diffusion Models"; equal to diffusers' `UNet2DConditionModel`. Everything is told by `config.json`; what would change the architecture and
//! is not known here is refused by name ([`UNetConfig::from_json`]).

mod blocks;
mod config;
mod transformer;

pub use config::{AddedConfig, DownUpConfig, MidConfig, UNetConfig};

use crate::formats::WeightMap;
use crate::graph::{Conv2dSpec, Graph, GraphBuilder, HostTensor, Tensor};

use super::error::{ModelError, Result};
use super::layers::{conv2d, group_norm, linear};
use super::loader::Scope;

/// A conditional U-Net.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    weights: WeightMap,
}

impl UNet {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: UNetConfig, weights: WeightMap) -> Result<Self> {
        let model = Self { config, weights };
        // All weights are read whatever the size of the latent, as long as every level has a pixel.
        let size = 1 << (model.config.blocks.len().saturating_sub(1)).min(16);
        model.graph(1, size, size, 1)?;
        Ok(model)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The weights by diffusers' names.
    #[must_use]
    pub fn weights(&self) -> &WeightMap {
        &self.weights
    }

    /// A graph that predicts noise (or velocity) for `batch` latents of `height` x `width`, each with a context of `context_len` embeddings.
    ///
    /// Inputs, all f32: `sample [batch, in_channels, height, width]`, `time [batch, time_features]` as [`Self::time_features`] makes it, and `context
    /// [batch, context_len, cross_attention_dim]`, in Stable Diffusion XL also `added [batch, added.width]` (pooled texts and then
    /// [`Self::number_features`]); output `prediction [batch, out_channels, height, width]`. Any height and width will do: going up, sizes
    /// are those of the skip connections.
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
        let c = &self.config;
        if [batch, height, width, context_len].contains(&0) {
            return Err(ModelError::Request {
                model: "U-Net",
                reason: format!(
                    "{batch} latents of {height}x{width} with {context_len} embeddings; nothing of it may be 0"
                ),
            });
        }
        let g = GraphBuilder::new(format!("unet {batch}x{height}x{width}+{context_len}"));
        let w = Scope::new(&self.weights);
        let sample = g.input("sample", &[batch, c.in_channels, height, width])?;
        let time = g.input("time", &[batch, c.time_features])?;
        let context = g.input("context", &[batch, context_len, c.cross_attention_dim])?;

        let time = linear(&g, &w.scope("time_embedding.linear_1"), &time, c.time_width)?;
        let time = g.activation(&time, c.activation)?;
        let mut time = linear(&g, &w.scope("time_embedding.linear_2"), &time, c.time_width)?;
        if let Some(added) = c.added {
            let x = g.input("added", &[batch, added.width])?;
            let w = w.scope("add_embedding");
            let x = linear(&g, &w.scope("linear_1"), &x, c.time_width)?;
            let x = g.activation(&x, c.activation)?;
            let x = linear(&g, &w.scope("linear_2"), &x, c.time_width)?;
            time = g.add(&time, &x)?;
        }

        let mut x = sample;
        if c.center_input_sample {
            x = g.affine(&x, 2.0, -1.0)?;
        }
        let widest = c.blocks.first().map_or(1, |block| block.channels);
        let same = Conv2dSpec::same(c.conv_in_kernel);
        x = conv2d(&g, &w.scope("conv_in"), &x, widest, c.conv_in_kernel, same)?;

        let net = blocks::Net {
            g: &g,
            config: c,
            time: &time,
            context: &context,
        };
        let mut skips: Vec<Tensor> = vec![x.clone()];
        for level in 0..c.blocks.len() {
            let w = w.scope(format!("down_blocks.{level}"));
            x = net.down(&w, level, &x, &mut skips)?;
        }
        x = net.mid(&w.scope("mid_block"), &x)?;
        for step in 0..c.blocks.len() {
            x = net.up(&w.scope(format!("up_blocks.{step}")), step, &x, &mut skips)?;
        }
        let act = Some(c.activation);
        x = group_norm(&g, &w.scope("conv_norm_out"), &x, c.groups, c.eps, act)?;
        let (kernel, out) = (c.conv_out_kernel, c.out_channels);
        x = conv2d(
            &g,
            &w.scope("conv_out"),
            &x,
            out,
            kernel,
            Conv2dSpec::same(kernel),
        )?;
        g.output("prediction", &x);
        Ok(g.finish())
    }

    /// The sinusoidal features of timesteps, input `time` of a graph: `[timesteps, time_features]`.
    ///
    /// Vaswani et al. 2017, in f32 like diffusers' `get_timestep_embedding`; timesteps may be fractions.
    #[must_use]
    pub fn time_features(&self, timesteps: &[f32]) -> HostTensor {
        let width = self.config.time_features;
        HostTensor::f32(
            vec![timesteps.len(), width],
            self.features(timesteps, width),
        )
    }

    /// The features of the six numbers of input `added`, one after the other; nothing where the model has no such input.
    #[must_use]
    pub fn number_features(&self, numbers: [f32; AddedConfig::NUMBERS]) -> Vec<f32> {
        match self.config.added {
            Some(added) => self.features(&numbers, added.features),
            None => Vec::new(),
        }
    }

    fn features(&self, numbers: &[f32], width: usize) -> Vec<f32> {
        let c = &self.config;
        let half = width / 2;
        // -ln(10000) i / (half - shift), rounded to f32 step by step as torch does.
        let frequencies: Vec<f32> = (0..half)
            .map(|i| {
                let exponent = -(10000f64.ln()) as f32 * i as f32;
                (exponent / (half as f64 - c.freq_shift) as f32).exp()
            })
            .collect();
        let mut features = Vec::with_capacity(numbers.len() * width);
        for t in numbers {
            let sines = frequencies.iter().map(|f| (t * f).sin());
            let cosines = frequencies.iter().map(|f| (t * f).cos());
            if c.flip_sin_to_cos {
                features.extend(cosines.chain(sines));
            } else {
                features.extend(sines.chain(cosines));
            }
            // An odd width is filled with a zero.
            features.extend(std::iter::repeat_n(0.0, width % 2));
        }
        features
    }
}
