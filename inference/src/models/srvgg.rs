//! Real-ESRGAN's small network: plain convolutions in the picture's own size, unfolded at the end.
//!
//! Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data"; layers by BasicSR's names
//! (`SRVGGNetCompact`), with learnt slopes below zero (He et al. 2015, "Delving Deep into Rectifiers").

use crate::formats::upscaler::CompactConfig;
use crate::formats::{TensorData, WeightMap};
use crate::graph::{Activation, Graph, GraphBuilder, Tensor};

use super::error::{ModelError, Result};
use super::layers::{conv3x3, pixel_shuffle};
use super::loader::Scope;

/// Real-ESRGAN's small network.
#[derive(Clone, Debug)]
pub struct SrVgg {
    config: CompactConfig,
    weights: WeightMap,
    /// For each activation the slopes below zero, and what is missing of them to one: `[width, 1, 1]`.
    slopes: Vec<[TensorData; 2]>,
}

impl SrVgg {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: CompactConfig, weights: WeightMap) -> Result<Self> {
        let mut slopes = Vec::new();
        for layer in 0..=config.layers {
            let name = format!("body.{}.weight", 2 * layer + 1);
            let values = weights.require(&name, &[config.width])?.to_f32()?;
            let rest: Vec<f32> = values.iter().map(|slope| 1.0 - slope).collect();
            let shape = [config.width, 1, 1];
            slopes.push([
                TensorData::from_f32(&name, &shape, &values)?,
                TensorData::from_f32(&name, &shape, &rest)?,
            ]);
        }
        let model = Self {
            config,
            weights,
            slopes,
        };
        model.graph(1, 1)?;
        Ok(model)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &CompactConfig {
        &self.config
    }

    /// A graph for one picture of `height` x `width` pixels.
    ///
    /// Input `picture` f32 `[1, 3, height, width]` in 0 to 1; output `upscaled` f32 `[1, 3, height * scale, width * scale]`.
    ///
    /// # Errors
    /// Weights that do not fit; sizes that are nothing or beyond what can be addressed.
    pub fn graph(&self, height: usize, width: usize) -> Result<Graph> {
        let c = &self.config;
        let sides = [height, width].map(|side| side.checked_mul(c.scale));
        let [Some(tall), Some(wide)] = sides else {
            return Err(ModelError::Request {
                model: "upscaler",
                reason: "the picture would be too large to address".into(),
            });
        };
        let g = GraphBuilder::new(format!("srvgg {height}x{width}"));
        let w = Scope::new(&self.weights);
        let picture = g.input("picture", &[1, 3, height, width])?;
        let mut x = picture.clone();
        for (layer, slopes) in self.slopes.iter().enumerate() {
            x = conv3x3(&g, &w.scope(format!("body.{}", 2 * layer)), &x, c.width)?;
            x = prelu(&g, &x, slopes)?;
        }
        let last = w.scope(format!("body.{}", 2 * c.layers + 2));
        x = conv3x3(&g, &last, &x, 3 * c.scale * c.scale)?;
        x = pixel_shuffle(&g, &x, c.scale)?;
        x = g.add(&x, &g.upsample_nearest(&picture, tall, wide)?)?;
        g.output("upscaled", &x);
        Ok(g.finish())
    }
}

/// `slope * x + (1 - slope) * max(x, 0)`, a slope for each channel.
fn prelu(g: &GraphBuilder, x: &Tensor, [slope, rest]: &[TensorData; 2]) -> Result<Tensor> {
    let positive = g.activation(x, Activation::Relu)?;
    let sloped = g.mul(x, &g.constant(slope)?)?;
    Ok(g.add(&sloped, &g.mul(&positive, &g.constant(rest)?)?)?)
}
