//! The conditional U-Net of Stable Diffusion 1.x, 2.x and XL, and whatever else a `UNet2DConditionModel` of that family may be.
//!
//! Ronneberger et al. 2015, "U-Net"; Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; Rombach et al. 2022, "High-Resolution Image Synthesis with
//! Latent Diffusion Models"; equal to diffusers' `UNet2DConditionModel`. Everything is told by `config.json`; what would change the architecture and
//! is not known here is refused by name ([`UNetConfig::from_json`]).

mod blocks;
mod config;
mod transformer;

pub use config::{AddedConfig, DownUpConfig, MidConfig, UNetConfig};

use std::sync::Arc;

use crate::formats::WeightMap;
use crate::graph::{Conv2dSpec, Graph, GraphBuilder, HostData, HostTensor, Tensor};

use super::controlnet::ControlNet;
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
        model.guided_time_features(&[0.0], 1.0)?;
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
        self.build([batch, height, width, context_len], &[])
    }

    /// As [`Self::graph`], with ControlNets in the same graph, which add to the skip connections and to the middle (Zhang et al. 2023,
    /// "Adding Conditional Control to Text-to-Image Diffusion Models"), so that nothing of it leaves the device. Further inputs for net `i`, counted from 0,
    /// are `hint_i`, the output of [`ControlNet::hint_graph`], `strength_i [1, 1, 1, 1]`, and those of [`ControlNet::kind_inputs`].
    ///
    /// # Errors
    /// As [`Self::graph`]; nets made for another U-Net.
    pub fn controlled_graph(&self, sizes: [usize; 4], nets: &[&ControlNet]) -> Result<Graph> {
        self.build(sizes, nets)
    }

    /// Names and shapes of what ControlNets add, in the order of the skip connections, the middle last: what [`ControlNet::graph`] gives for a U-Net of
    /// this shape.
    #[must_use]
    pub fn control_shapes(&self, batch: usize, height: usize, width: usize) -> Vec<Residual> {
        residuals(&self.config, batch, height, width)
    }

    /// Sizes are batch, height, width and length of the context.
    fn build(&self, sizes: [usize; 4], nets: &[&ControlNet]) -> Result<Graph> {
        let c = &self.config;
        let [batch, height, width, context_len] = sizes;
        let kind = match nets.len() {
            0 => "unet".to_owned(),
            1 => "controlled unet".to_owned(),
            count => format!("unet under {count} controlnets"),
        };
        let g = GraphBuilder::new(format!("{kind} {batch}x{height}x{width}+{context_len}"));
        let w = Scope::new(&self.weights);
        let inputs = Inputs::new(&g, c, sizes)?;
        let mut added: Vec<Tensor> = Vec::new();
        for (place, net) in nets.iter().enumerate() {
            let strength = g.input(&format!("strength_{place}"), &[1, 1, 1, 1])?;
            let _scope = g.scope(format!("controlnet_{place}"));
            let residuals = net.within(&g, &inputs, place)?;
            for (place, residual) in residuals.iter().enumerate() {
                let residual = g.mul(residual, &strength)?;
                match added.get_mut(place) {
                    Some(sum) => *sum = g.add(sum, &residual)?,
                    None => added.push(residual),
                }
            }
        }
        let entrance = entrance(&g, &w, c, &inputs)?;
        let net = entrance.net(&g, c);
        let (mut x, mut skips) = net.descend(&w, &entrance.x)?;
        if let Some(middle) = added.pop() {
            x = g.add(&x, &middle)?;
        }
        for (skip, added) in skips.iter_mut().zip(added) {
            *skip = g.add(skip, &added)?;
        }
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

    /// The features of the numbers of input `added`, one after the other; nothing where the model has no such input.
    #[must_use]
    pub fn number_features(&self, numbers: &[f32]) -> Vec<f32> {
        match self.config.added {
            Some(added) => self.features(numbers, added.features),
            None => Vec::new(),
        }
    }

    /// As [`Self::time_features`], for a network that is told the guidance, with what it learnt of that added.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn guided_time_features(&self, timesteps: &[f32], guidance: f32) -> Result<HostTensor> {
        let mut features = self.time_features(timesteps);
        let (Some(inner), width) = (self.config.guidance_features, self.config.time_features)
        else {
            return Ok(features);
        };
        let name = "time_embedding.cond_proj.weight";
        let weight = self.weights.require(name, &[width, inner])?.to_f32()?;
        // diffusers' `get_guidance_scale_embedding`: sines, then cosines of a thousand times what guidance adds.
        let half = inner / 2;
        let step = 10000f64.ln() as f32 / (half.saturating_sub(1)).max(1) as f32;
        let angles = (0..half).map(|i| (guidance - 1.0) * 1000.0 * (-step * i as f32).exp());
        let angles: Vec<f32> = angles.collect();
        let told: Vec<f32> = (angles.iter().map(|a| a.sin()))
            .chain(angles.iter().map(|a| a.cos()))
            .chain(std::iter::repeat_n(0.0, inner % 2))
            .collect();
        let added: Vec<f32> = weight
            .chunks_exact(inner.max(1))
            .map(|row| row.iter().zip(&told).map(|(a, b)| a * b).sum())
            .collect();
        if let HostData::F32(values) = &mut features.data {
            for row in Arc::make_mut(values).chunks_exact_mut(width.max(1)) {
                for (value, added) in row.iter_mut().zip(&added) {
                    *value += added;
                }
            }
        }
        Ok(features)
    }

    fn features(&self, numbers: &[f32], width: usize) -> Vec<f32> {
        sinusoids(&self.config, numbers, width)
    }
}

/// Sinusoids of numbers, `width` of each, in the order that a configuration tells.
pub(super) fn sinusoids(c: &UNetConfig, numbers: &[f32], width: usize) -> Vec<f32> {
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

/// One of the values that a ControlNet adds to a U-Net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residual {
    /// Name of the graph's input or output.
    pub name: String,
    /// `[batch, channels, height, width]`.
    pub shape: Vec<usize>,
}

/// What a network of this configuration adds or takes: one for each skip connection, and one for the middle.
pub(super) fn residuals(
    c: &UNetConfig,
    batch: usize,
    height: usize,
    width: usize,
) -> Vec<Residual> {
    let widest = c.blocks.first().map_or(1, |block| block.channels);
    let mut shapes = vec![vec![batch, widest, height, width]];
    let (mut h, mut w, mut deepest) = (height, width, widest);
    for (level, block) in c.blocks.iter().enumerate() {
        deepest = block.channels;
        for _ in 0..block.layers {
            shapes.push(vec![batch, deepest, h, w]);
        }
        if level + 1 < c.blocks.len() {
            (h, w) = (h.div_ceil(2), w.div_ceil(2));
            shapes.push(vec![batch, deepest, h, w]);
        }
    }
    shapes.push(vec![batch, deepest, h, w]);
    let name = |place| format!("control_{place}");
    shapes
        .into_iter()
        .enumerate()
        .map(|(place, shape)| Residual {
            name: name(place),
            shape,
        })
        .collect()
}

/// What goes into the way down: the first convolution's output, the time's embedding and the context.
pub(super) struct Entrance {
    pub x: Tensor,
    time: Tensor,
    context: Tensor,
}

impl Entrance {
    /// Tells the time's embedding something more.
    pub(super) fn tell(&mut self, g: &GraphBuilder, what: &Tensor) -> Result<()> {
        self.time = g.add(&self.time, what)?;
        Ok(())
    }

    pub(super) fn net<'a>(
        &'a self,
        g: &'a GraphBuilder,
        config: &'a UNetConfig,
    ) -> blocks::Net<'a> {
        blocks::Net {
            g,
            config,
            time: &self.time,
            context: &self.context,
        }
    }
}

/// What U-Nets and their ControlNets are told in each evaluation.
pub(super) struct Inputs {
    pub sample: Tensor,
    time: Tensor,
    context: Tensor,
    /// In Stable Diffusion XL.
    added: Option<Tensor>,
}

impl Inputs {
    /// The inputs `sample`, `time`, `context` and, in Stable Diffusion XL, `added`; sizes are batch, height, width and length of the context.
    pub(super) fn new(
        g: &GraphBuilder,
        c: &UNetConfig,
        [batch, height, width, context_len]: [usize; 4],
    ) -> Result<Self> {
        if [batch, height, width, context_len].contains(&0) {
            return Err(ModelError::Request {
                model: "U-Net",
                reason: format!(
                    "{batch} latents of {height}x{width} with {context_len} embeddings; nothing of it may be 0"
                ),
            });
        }
        Ok(Self {
            sample: g.input("sample", &[batch, c.in_channels, height, width])?,
            time: g.input("time", &[batch, c.time_features])?,
            context: g.input("context", &[batch, context_len, c.cross_attention_dim])?,
            added: match c.added {
                Some(added) => Some(g.input("added", &[batch, added.width])?),
                None => None,
            },
        })
    }
}

/// Goes as far as the first convolution.
pub(super) fn entrance(
    g: &GraphBuilder,
    w: &Scope<'_>,
    c: &UNetConfig,
    inputs: &Inputs,
) -> Result<Entrance> {
    let (time, context) = (&inputs.time, inputs.context.clone());
    let time = linear(g, &w.scope("time_embedding.linear_1"), time, c.time_width)?;
    let time = g.activation(&time, c.activation)?;
    let mut time = linear(g, &w.scope("time_embedding.linear_2"), &time, c.time_width)?;
    if let Some(x) = &inputs.added {
        let w = w.scope("add_embedding");
        let x = linear(g, &w.scope("linear_1"), x, c.time_width)?;
        let x = g.activation(&x, c.activation)?;
        let x = linear(g, &w.scope("linear_2"), &x, c.time_width)?;
        time = g.add(&time, &x)?;
    }

    // A U-Net for inpainting sees more than its ControlNet.
    let mut x = match inputs.sample.dim(1) > c.in_channels {
        true => g.slice(&inputs.sample, 1, 0, c.in_channels)?,
        false => inputs.sample.clone(),
    };
    if c.center_input_sample {
        x = g.affine(&x, 2.0, -1.0)?;
    }
    let widest = c.blocks.first().map_or(1, |block| block.channels);
    let same = Conv2dSpec::same(c.conv_in_kernel);
    x = conv2d(g, &w.scope("conv_in"), &x, widest, c.conv_in_kernel, same)?;
    Ok(Entrance { x, time, context })
}
