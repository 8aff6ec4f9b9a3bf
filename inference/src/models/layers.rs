//! Layers that several architectures are made of. Each takes the scope of its weights and reads its input width from its input.

use crate::graph::{Activation, Conv2dSpec, GraphBuilder, Tensor};

use super::error::Result;
use super::loader::Scope;

/// `torch.nn.Linear` to `out` features, with a bias.
pub(super) fn linear(g: &GraphBuilder, w: &Scope<'_>, x: &Tensor, out: usize) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.matrix("weight", out, x.last_dim())?;
    let bias = w.tensor("bias", &[out])?;
    Ok(g.linear(x, &weight, Some(&bias))?)
}

/// `torch.nn.Linear` to `out` features, without a bias.
pub(super) fn linear_no_bias(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    out: usize,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.matrix("weight", out, x.last_dim())?;
    Ok(g.linear(x, &weight, None)?)
}

/// `torch.nn.Conv2d` to `out` channels with a square kernel.
pub(super) fn conv2d(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    out: usize,
    kernel: usize,
    spec: Conv2dSpec,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.tensor("weight", &[out, x.dim(1), kernel, kernel])?;
    let bias = w.tensor("bias", &[out])?;
    Ok(g.conv2d(x, &weight, Some(&bias), spec)?)
}

/// A 3x3 convolution that keeps the size.
pub(super) fn conv3x3(g: &GraphBuilder, w: &Scope<'_>, x: &Tensor, out: usize) -> Result<Tensor> {
    conv2d(g, w, x, out, 3, Conv2dSpec::same(3))
}

/// A 3x3 convolution of stride 2 that halves the size (rounding up): padded by one all around, or, where `padding` is 0, below and on the
/// right only, as diffusers' `Downsample2D` does.
pub(super) fn conv_downsample(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    out: usize,
    padding: usize,
) -> Result<Tensor> {
    let padding = match padding {
        0 => [0, 1, 0, 1],
        p => [p; 4],
    };
    let spec = Conv2dSpec {
        stride: [2, 2],
        padding,
    };
    conv2d(g, w, x, out, 3, spec)
}

/// Layer norm with weight and bias.
pub(super) fn layer_norm(g: &GraphBuilder, w: &Scope<'_>, x: &Tensor, eps: f32) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.tensor("weight", &[x.last_dim()])?;
    let bias = w.tensor("bias", &[x.last_dim()])?;
    Ok(g.layer_norm(x, &weight, Some(&bias), eps)?)
}

/// Group norm over channels, followed by an activation if there is one.
pub(super) fn group_norm(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    groups: usize,
    eps: f32,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let channels = x.dim(1);
    if !channels.is_multiple_of(groups) {
        return Err(w
            .misfit(
                "norm_num_groups",
                format!("is {groups}, which does not divide {channels} channels"),
            )
            .into());
    }
    let weight = w.tensor("weight", &[channels])?;
    let bias = w.tensor("bias", &[channels])?;
    let silu = activation == Some(Activation::Silu);
    let y = g.group_norm(x, &weight, &bias, groups, eps, silu)?;
    match activation {
        Some(activation) if !silu => Ok(g.activation(&y, activation)?),
        _ => Ok(y),
    }
}

/// What residual blocks of one network have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResnetSpec {
    pub groups: usize,
    pub eps: f32,
    pub activation: Activation,
    /// What the sum of both branches is divided by.
    pub output_scale: f32,
}

/// diffusers' `ResnetBlock2D`: norm, activation, convolution, plus the projected time embedding `[B, T]` if there is one, norm, activation, convolution,
/// plus the input (through a 1x1 convolution where the width changes).
pub(super) fn resnet_block(
    g: &GraphBuilder,
    w: &Scope<'_>,
    x: &Tensor,
    time: Option<&Tensor>,
    out: usize,
    spec: ResnetSpec,
) -> Result<Tensor> {
    let _scope = w.enter(g);
    let act = Some(spec.activation);
    let mut h = group_norm(g, &w.scope("norm1"), x, spec.groups, spec.eps, act)?;
    h = conv3x3(g, &w.scope("conv1"), &h, out)?;
    if let Some(time) = time {
        let time = g.activation(time, spec.activation)?;
        let time = linear(g, &w.scope("time_emb_proj"), &time, out)?;
        h = g.add(&h, &g.reshape(&time, &[time.dim(0), out, 1, 1])?)?;
    }
    h = group_norm(g, &w.scope("norm2"), &h, spec.groups, spec.eps, act)?;
    h = conv3x3(g, &w.scope("conv2"), &h, out)?;
    let skip = if x.dim(1) == out {
        x.clone()
    } else {
        conv2d(g, &w.scope("conv_shortcut"), x, out, 1, Conv2dSpec::same(1))?
    };
    let sum = g.add(&skip, &h)?;
    divide(g, &sum, spec.output_scale)
}

/// `x / divisor`; nothing where that is 1.
pub(super) fn divide(g: &GraphBuilder, x: &Tensor, divisor: f32) -> Result<Tensor> {
    if divisor == 1.0 {
        return Ok(x.clone());
    }
    Ok(g.affine(x, 1.0 / divisor, 0.0)?)
}

/// `[B, C, H, W]` as a sequence of pixels `[B, H*W, C]`.
pub(super) fn pixels_to_sequence(g: &GraphBuilder, x: &Tensor) -> Result<Tensor> {
    let sequence = g.permute(x, &[0, 2, 3, 1])?;
    Ok(g.reshape(&sequence, &[x.dim(0), x.dim(2) * x.dim(3), x.dim(1)])?)
}

/// A sequence of pixels `[B, H*W, C]` as a picture with the height and width of `like`.
pub(super) fn sequence_to_pixels(g: &GraphBuilder, x: &Tensor, like: &Tensor) -> Result<Tensor> {
    let picture = g.reshape(x, &[x.dim(0), like.dim(2), like.dim(3), x.dim(2)])?;
    Ok(g.permute(&picture, &[0, 3, 1, 2])?)
}

/// `[1, C, H, W]` with squares of `factor` pixels folded into channels: `[1, C * factor^2, H / factor, W / factor]`, as torch's
/// `pixel_unshuffle`; sides are multiples of the factor.
pub(super) fn pixel_unshuffle(g: &GraphBuilder, x: &Tensor, factor: usize) -> Result<Tensor> {
    let (c, h, w) = (x.dim(1), x.dim(2) / factor, x.dim(3) / factor);
    let rows = g.reshape(x, &[c, h, factor, w * factor])?;
    let rows = g.permute(&rows, &[0, 2, 1, 3])?;
    let columns = g.reshape(&rows, &[c * factor, h, w, factor])?;
    let columns = g.permute(&columns, &[0, 3, 1, 2])?;
    Ok(g.reshape(&columns, &[1, c * factor * factor, h, w])?)
}

/// The other way round: `[1, C * factor^2, H, W]` as `[1, C, H * factor, W * factor]`, as torch's `pixel_shuffle`.
pub(super) fn pixel_shuffle(g: &GraphBuilder, x: &Tensor, factor: usize) -> Result<Tensor> {
    let (c, h, w) = (x.dim(1) / (factor * factor), x.dim(2), x.dim(3));
    let columns = g.reshape(x, &[c * factor, factor, h, w])?;
    let columns = g.permute(&columns, &[0, 2, 3, 1])?;
    let rows = g.reshape(&columns, &[c, factor, h, w * factor])?;
    let rows = g.permute(&rows, &[0, 2, 1, 3])?;
    Ok(g.reshape(&rows, &[1, c, h * factor, w * factor])?)
}
