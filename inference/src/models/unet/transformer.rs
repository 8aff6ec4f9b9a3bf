//! The transformer between pixels and context (`Transformer2DModel`, `BasicTransformerBlock`).

use crate::graph::{Activation, GraphBuilder, Tensor};
use crate::models::error::Result;
use crate::models::layers::{
    group_norm, layer_norm, linear, linear_no_bias, pixels_to_sequence, sequence_to_pixels,
};
use crate::models::loader::Scope;

/// Added to the variance of the group norm before each transformer, whatever a config says about others.
const GROUP_EPS: f32 = 1e-6;
/// Added to the variance of layer norms.
const LAYER_EPS: f32 = 1e-5;

/// What a transformer is made of.
#[derive(Clone, Copy)]
pub(super) struct TransformerSpec {
    pub heads: usize,
    pub layers: usize,
    pub groups: usize,
    pub only_cross: bool,
}

/// Norm, projection, blocks over the sequence of pixels, projection, plus the input.
///
/// The projections are 1x1 convolutions in Stable Diffusion 1.x and linear layers in 2.x; over a sequence of pixels both are the same, and
/// [`Scope::matrix`] reads both.
pub(super) fn transformer(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    context: &Tensor,
    spec: TransformerSpec,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let channels = x.dim(1);
    let h = group_norm(g, &w.scope("norm"), x, spec.groups, GROUP_EPS, None)?;
    let h = pixels_to_sequence(g, &h)?;
    let mut h = linear(g, &w.scope("proj_in"), &h, channels)?;
    for layer in 0..spec.layers {
        let w = w.scope(format!("transformer_blocks.{layer}"));
        h = block(g, &w, &h, context, spec)?;
    }
    let h = linear(g, &w.scope("proj_out"), &h, channels)?;
    Ok(g.add(x, &sequence_to_pixels(g, &h, x)?)?)
}

fn block(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    context: &Tensor,
    spec: TransformerSpec,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let h = layer_norm(g, &w.scope("norm1"), x, LAYER_EPS)?;
    let seen = if spec.only_cross { context } else { &h };
    let x = g.add(x, &attention(g, &w.scope("attn1"), &h, seen, spec.heads)?)?;
    let h = layer_norm(g, &w.scope("norm2"), &x, LAYER_EPS)?;
    let x = g.add(
        &x,
        &attention(g, &w.scope("attn2"), &h, context, spec.heads)?,
    )?;
    let h = layer_norm(g, &w.scope("norm3"), &x, LAYER_EPS)?;
    // GEGLU (Shazeer 2020): one projection makes value and gate.
    let width = x.last_dim();
    let h = linear(g, &w.scope("ff.net.0.proj"), &h, 8 * width)?;
    let h = g.split_gated(&h, Activation::Gelu)?;
    let h = linear(g, &w.scope("ff.net.2"), &h, width)?;
    Ok(g.add(&x, &h)?)
}

fn attention(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    seen: &Tensor,
    heads: usize,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let width = x.last_dim();
    let q = linear_no_bias(g, &w.scope("to_q"), x, width)?;
    let k = linear_no_bias(g, &w.scope("to_k"), seen, width)?;
    let v = linear_no_bias(g, &w.scope("to_v"), seen, width)?;
    let scale = ((width / heads) as f32).sqrt().recip();
    let y = g.attention([&q, &k, &v], heads, heads, scale, false)?;
    linear(g, &w.scope("to_out.0"), &y, width)
}
