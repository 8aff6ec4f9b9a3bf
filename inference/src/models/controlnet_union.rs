//! ControlNet Union: one net for several kinds of pictures, which is told the kind.
//!
//! Equal to diffusers' `ControlNetUnionModel` with one picture: a small transformer makes of what is seen of the picture and of its kind a shift of the
//! picture's channels, and the time's embedding is told the kind.

use std::path::Path;

use serde_json::Value;

use crate::formats::TensorData;
use crate::graph::{Activation, GraphBuilder, HostTensor, Tensor};

use super::config::ConfigReader;
use super::controlnet::ControlNet;
use super::error::Result;
use super::layers::{layer_norm, linear};
use super::loader::Scope;
use super::unet::{UNetConfig, sinusoids};

/// The epsilon of torch's `LayerNorm`, which no config tells.
const EPS: f32 = 1e-5;
/// Beyond these a config is a mistake.
const MOST_KINDS: usize = 64;
const MOST_LAYERS: usize = 64;

/// What a union has beside a plain ControlNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnionConfig {
    /// Kinds of pictures.
    pub kinds: usize,
    /// Layers of its transformer.
    pub layers: usize,
    /// Sinusoids that each kind is told by.
    pub features: usize,
}

impl UnionConfig {
    /// Reads what a `config.json` says of it; nothing where the net is a plain one.
    ///
    /// # Errors
    /// Values that make no sense.
    pub(super) fn from_json(path: &Path, value: &Value, unet: &UNetConfig) -> Result<Option<Self>> {
        let c = ConfigReader::new(path, value)?;
        if value.get("num_control_type").is_none_or(Value::is_null) {
            return Ok(None);
        }
        let found = Self {
            kinds: c.size("num_control_type", None)?,
            layers: c.size("num_trans_layer", Some(1))?,
            features: c.size("addition_time_embed_dim", None)?,
        };
        let widest = unet.blocks.first().map_or(1, |block| block.channels);
        for key in ["num_trans_channel", "num_proj_channel"] {
            let width = c.size(key, Some(widest))?;
            if width != widest {
                let detail = format!("is {width}; with this net it is {widest}");
                return Err(c.invalid(key, detail).into());
            }
        }
        if found.kinds > MOST_KINDS || found.layers > MOST_LAYERS {
            let detail = format!("{} kinds, {} layers", found.kinds, found.layers);
            return Err(c.invalid("num_control_type", detail).into());
        }
        Ok(Some(found))
    }
}

/// The inputs that tell a net at a place its kind.
pub(super) fn inputs(place: usize) -> [String; 2] {
    [format!("kind_{place}"), format!("task_{place}")]
}

impl ControlNet {
    /// What a graph is given to tell the kind of the picture, counted from 0: `kind_i` and `task_i` for the net at place `i`; nothing for a plain net, or
    /// a kind that it does not know.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn kind_inputs(&self, place: usize, kind: usize) -> Result<Vec<(String, HostTensor)>> {
        let config = self.config();
        let Some(union) = config.union.filter(|union| kind < union.kinds) else {
            return Ok(Vec::new());
        };
        let mut chosen = vec![0.0; union.kinds];
        if let Some(one) = chosen.get_mut(kind) {
            *one = 1.0;
        }
        let told = sinusoids(&config.unet, &chosen, union.features);
        let width = config.unet.blocks.first().map_or(1, |block| block.channels);
        let tasks = Scope::new(self.weights());
        let task = tasks
            .tensor("task_embedding", &[union.kinds, width])?
            .rows_to_f32(kind, 1)?;
        let [kind_name, task_name] = inputs(place);
        Ok(vec![
            (kind_name, HostTensor::f32([1, told.len()], told)),
            (task_name, HostTensor::f32([1, 1, width], task)),
        ])
    }
}

/// What the time's embedding is told of the kind: `[1, time_width]`.
pub(super) fn told(
    g: &GraphBuilder,
    w: &Scope<'_>,
    (c, union): (&UNetConfig, UnionConfig),
    place: usize,
) -> Result<Tensor> {
    let [kind, _] = inputs(place);
    let x = g.input(&kind, &[1, union.kinds * union.features])?;
    let w = w.scope("control_add_embedding");
    let x = linear(g, &w.scope("linear_1"), &x, c.time_width)?;
    let x = g.activation(&x, Activation::Silu)?;
    linear(g, &w.scope("linear_2"), &x, c.time_width)
}

/// Adds the picture to the latents' first convolution `[B, C, h, w]`; `hint` is `[1, C, h, w]`.
pub(super) fn fuse(
    g: &GraphBuilder,
    w: &Scope<'_>,
    union: UnionConfig,
    [x, hint]: [&Tensor; 2],
    place: usize,
) -> Result<Tensor> {
    let (channels, pixels) = (hint.dim(1), hint.dim(2) * hint.dim(3));
    let share = TensorData::from_f32("mean", &[1, pixels], &vec![1.0 / pixels as f32; pixels])?;
    let rows = g.reshape(hint, &[1, channels, pixels])?;
    let mean = g.reshape(&g.linear(&rows, &share, None)?, &[1, 1, channels])?;
    let [_, task] = inputs(place);
    let mut seen = g.add(&mean, &g.input(&task, &[1, 1, channels])?)?;
    for layer in 0..union.layers {
        seen = block(g, &w.scope(format!("transformer_layes.{layer}")), &seen)?;
    }
    let shift = linear(g, &w.scope("spatial_ch_projs"), &seen, channels)?;
    let shift = g.reshape(&shift, &[1, channels, 1, 1])?;
    Ok(g.add(&g.add(x, hint)?, &shift)?)
}

/// A block of CLIP's transformer, `[1, 1, C]`, as the reference runs it: its `MultiheadAttention` takes the first axis for the places, so that what is seen of the
/// picture attends to the same of the batch's other rows. These are equal (guidance asks about the same latents under the same picture), whatever attends to
/// them takes their value as it is, and what is seen of the latents never comes in; so that all rows, and each alone, come to this.
fn block(g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
    let _scope = w.enter(g);
    let width = x.last_dim();
    let h = layer_norm(g, &w.scope("ln_1"), x, EPS)?;
    let matrix = w.tensor("attn.in_proj_weight", &[3 * width, width])?;
    let bias = w.tensor("attn.in_proj_bias", &[3 * width])?;
    let (matrix, bias) = (
        matrix.slice_rows(2 * width, width)?,
        bias.slice_rows(2 * width, width)?,
    );
    let value = g.linear(&h, &matrix, Some(&bias))?;
    let x = g.add(x, &linear(g, &w.scope("attn.out_proj"), &value, width)?)?;
    let h = layer_norm(g, &w.scope("ln_2"), &x, EPS)?;
    let h = linear(g, &w.scope("mlp.c_fc"), &h, 4 * width)?;
    let h = g.activation(&h, Activation::QuickGelu)?;
    Ok(g.add(&x, &linear(g, &w.scope("mlp.c_proj"), &h, width)?)?)
}
