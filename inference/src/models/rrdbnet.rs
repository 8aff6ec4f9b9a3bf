//! ESRGAN's generator: residual blocks of densely connected convolutions, then doubled in size step by step.
//!
//! Wang et al. 2018, "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks"; with pixels folded into channels at the
//! entrance Wang et al. 2021, "Real-ESRGAN"; layers by BasicSR's names (`RRDBNet`).

use crate::formats::WeightMap;
use crate::formats::upscaler::RrdbConfig;
use crate::graph::{Graph, GraphBuilder, Tensor, UnaryKind};

use super::error::{ModelError, Result};
use super::layers::{conv3x3, pixel_unshuffle};
use super::loader::Scope;

/// Slope of all activations below zero.
const SLOPE: f32 = 0.2;
/// How much of each branch is added.
const SHARE: f32 = 0.2;

/// ESRGAN's generator.
#[derive(Clone, Debug)]
pub struct RrdbNet {
    config: RrdbConfig,
    weights: WeightMap,
}

impl RrdbNet {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: RrdbConfig, weights: WeightMap) -> Result<Self> {
        let model = Self { config, weights };
        model.graph(model.config.unshuffle, model.config.unshuffle)?;
        Ok(model)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &RrdbConfig {
        &self.config
    }

    /// A graph for one picture of `height` x `width` pixels, both multiples of the configuration's `unshuffle`.
    ///
    /// Input `picture` f32 `[1, 3, height, width]` in 0 to 1; output `upscaled` f32 `[1, 3, height * scale, width * scale]`.
    ///
    /// # Errors
    /// Weights that do not fit; sizes that are no such multiples, or beyond what can be addressed.
    pub fn graph(&self, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let fits = |side: usize| side > 0 && side.is_multiple_of(c.unshuffle);
        if !fits(height) || !fits(width) {
            return Err(ModelError::Request {
                model: "upscaler",
                reason: format!(
                    "{width}x{height} pixels; sides must be multiples of {}",
                    c.unshuffle
                ),
            });
        }
        let g = GraphBuilder::new(format!("rrdb {height}x{width}"));
        let w = Scope::new(&self.weights);
        let mut x = g.input("picture", &[1, 3, height, width])?;
        if c.unshuffle > 1 {
            x = pixel_unshuffle(&g, &x, c.unshuffle)?;
        }
        let first = conv3x3(&g, &w.scope("conv_first"), &x, c.width)?;
        x = first.clone();
        for block in 0..c.blocks {
            x = self.block(&g, &w.scope(format!("body.{block}")), &x)?;
        }
        x = conv3x3(&g, &w.scope("conv_body"), &x, c.width)?;
        x = g.add(&first, &x)?;
        for step in 1..=c.doublings {
            x = g.upsample_nearest(&x, 2 * x.dim(2), 2 * x.dim(3))?;
            x = conv3x3(&g, &w.scope(format!("conv_up{step}")), &x, c.width)?;
            x = leaky(&g, &x)?;
        }
        x = leaky(&g, &conv3x3(&g, &w.scope("conv_hr"), &x, c.width)?)?;
        x = conv3x3(&g, &w.scope("conv_last"), &x, 3)?;
        g.output("upscaled", &x);
        Ok(g.finish())
    }

    fn block(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let mut y = x.clone();
        for dense in 1..=3 {
            y = self.dense(g, &w.scope(format!("rdb{dense}")), &y)?;
        }
        Ok(g.add(x, &g.affine(&y, SHARE, 0.0)?)?)
    }

    /// Five convolutions, each of which sees all before it.
    fn dense(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let mut seen = x.clone();
        for conv in 1..=4 {
            let y = conv3x3(
                g,
                &w.scope(format!("conv{conv}")),
                &seen,
                self.config.growth,
            )?;
            seen = g.concat(&[&seen, &leaky(g, &y)?], 1)?;
        }
        let y = conv3x3(g, &w.scope("conv5"), &seen, self.config.width)?;
        Ok(g.add(x, &g.affine(&y, SHARE, 0.0)?)?)
    }
}

fn leaky(g: &GraphBuilder, x: &Tensor) -> Result<Tensor> {
    Ok(g.unary(x, UnaryKind::LeakyRelu { slope: SLOPE })?)
}
