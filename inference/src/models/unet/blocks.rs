//! The blocks of the U: down, middle, up.

use crate::graph::{GraphBuilder, Tensor};
use crate::models::error::Result;
use crate::models::layers::{ResnetSpec, conv_downsample, conv3x3, resnet_block};
use crate::models::loader::Scope;

use super::transformer::{TransformerSpec, transformer};
use super::{MidConfig, UNetConfig};

/// What all blocks are given.
pub(in crate::models) struct Net<'a> {
    pub g: &'a GraphBuilder,
    pub config: &'a UNetConfig,
    /// `[B, time_width]`.
    pub time: &'a Tensor,
    /// `[B, length, cross_attention_dim]`.
    pub context: &'a Tensor,
}

impl Net<'_> {
    /// The way down and the middle: what comes out there, and what is kept for the way up.
    pub fn descend(&self, w: &Scope<'_>, x: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let mut skips = vec![x.clone()];
        let mut x = x.clone();
        for level in 0..self.config.blocks.len() {
            let w = w.scope(format!("down_blocks.{level}"));
            x = self.down(&w, level, &x, &mut skips)?;
        }
        x = self.mid(&w.scope("mid_block"), &x)?;
        Ok((x, skips))
    }

    fn resnet(
        &self,
        w: &Scope<'_>,
        x: &Tensor,
        channels: usize,
        output_scale: f32,
    ) -> Result<Tensor> {
        let c = self.config;
        let spec = ResnetSpec {
            groups: c.groups,
            eps: c.eps,
            activation: c.activation,
            output_scale,
        };
        resnet_block(self.g, w, x, Some(self.time), channels, spec)
    }

    fn transformer(
        &self,
        w: &Scope<'_>,
        x: &Tensor,
        (level, layers): (usize, usize),
        mid: bool,
    ) -> Result<Tensor> {
        let Some(block) = self.config.blocks.get(level) else {
            return Ok(x.clone());
        };
        let spec = TransformerSpec {
            heads: block.heads,
            layers,
            groups: self.config.groups,
            // The middle never leaves out looking at the picture itself.
            only_cross: block.only_cross && !mid,
        };
        transformer(self.g, w, x, self.context, spec)
    }

    /// `CrossAttnDownBlock2D` or `DownBlock2D`: what comes out of every layer is kept for the way up.
    pub fn down(
        &self,
        w: &Scope<'_>,
        level: usize,
        x: &Tensor,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let _scope = w.enter(self.g);
        let c = self.config;
        let mut x = x.clone();
        let Some(block) = c.blocks.get(level) else {
            return Ok(x);
        };
        for layer in 0..block.layers {
            let resnet = w.scope(format!("resnets.{layer}"));
            x = self.resnet(&resnet, &x, block.channels, c.output_scale)?;
            if block.attends_down {
                let w = w.scope(format!("attentions.{layer}"));
                let depth = block.down_depths.get(layer).copied().unwrap_or(1);
                x = self.transformer(&w, &x, (level, depth), false)?;
            }
            skips.push(x.clone());
        }
        if level + 1 < c.blocks.len() {
            let w = w.scope("downsamplers.0.conv");
            x = conv_downsample(self.g, &w, &x, block.channels, c.downsample_padding)?;
            skips.push(x.clone());
        }
        Ok(x)
    }

    /// The middle, if there is one.
    pub fn mid(&self, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let c = self.config;
        if c.mid == MidConfig::None {
            return Ok(x.clone());
        }
        let _scope = w.enter(self.g);
        let channels = x.dim(1);
        let x = self.resnet(&w.scope("resnets.0"), x, channels, c.mid_scale)?;
        if c.mid == MidConfig::Plain {
            return Ok(x);
        }
        let deepest = c.blocks.len().saturating_sub(1);
        let place = (deepest, c.mid_depth);
        let x = self.transformer(&w.scope("attentions.0"), &x, place, true)?;
        self.resnet(&w.scope("resnets.1"), &x, channels, c.mid_scale)
    }

    /// `CrossAttnUpBlock2D` or `UpBlock2D`, the `step`th going up: every layer takes one of the kept values beside its input.
    pub fn up(
        &self,
        w: &Scope<'_>,
        step: usize,
        x: &Tensor,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let _scope = w.enter(self.g);
        let c = self.config;
        let mut x = x.clone();
        let level = c.blocks.len().saturating_sub(step + 1);
        let Some(block) = c.blocks.get(level) else {
            return Ok(x);
        };
        for layer in 0..=block.layers {
            // There are exactly as many as were kept: one for the first convolution, and for each level its layers and its way down.
            if let Some(skip) = skips.pop() {
                x = self.g.concat(&[&x, &skip], 1)?;
            }
            let resnet = w.scope(format!("resnets.{layer}"));
            x = self.resnet(&resnet, &x, block.channels, c.output_scale)?;
            if block.attends_up {
                let w = w.scope(format!("attentions.{layer}"));
                let depth = block.up_depths.get(layer).copied().unwrap_or(1);
                x = self.transformer(&w, &x, (level, depth), false)?;
            }
        }
        if let (true, Some(next)) = (level > 0, skips.last()) {
            // Where the size of a latent is no multiple, doubling would miss what was kept.
            x = self.g.upsample_nearest(&x, next.dim(2), next.dim(3))?;
            x = conv3x3(self.g, &w.scope("upsamplers.0.conv"), &x, block.channels)?;
        }
        Ok(x)
    }
}
