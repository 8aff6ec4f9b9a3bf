//! Element-wise ops, rotary position embedding among them.
//!
//! They work in place on their first operand, or on a copy of it that is made chunk by chunk; see [`Out`].

use super::math::{activate, multiversion};
use super::parallel::{CHUNK, for_chunks, zeros};
use super::pool::Out;
use crate::graph::{Activation, BinaryKind, ExecError, NO_SLOT, RopeStyle, UnaryKind};

/// `out = f(out)`.
pub(super) fn unary(kind: UnaryKind, out: Out<'_>) {
    out.for_chunks(CHUNK, |_, out| match kind {
        UnaryKind::Activation(activation) => activate_all(activation, out),
        UnaryKind::Tanh => out.iter_mut().for_each(|x| *x = x.tanh()),
        UnaryKind::Affine { factor, offset } => affine(out, factor, offset),
        UnaryKind::Clamp { low, high } => clamp(out, low, high),
        UnaryKind::LeakyRelu { slope } => leaky_relu(out, slope),
    });
}

multiversion! {
    fn affine(out: &mut [f32], factor: f32, offset: f32) {
        for x in out {
            *x = *x * factor + offset;
        }
    }
}

multiversion! {
    fn leaky_relu(out: &mut [f32], slope: f32) {
        for x in out {
            *x = x.max(0.0) + slope * x.min(0.0);
        }
    }
}

multiversion! {
    fn clamp(out: &mut [f32], low: f32, high: f32) {
        for x in out {
            // NaN stays NaN.
            let y = if *x < low { low } else { *x };
            *x = if y > high { high } else { y };
        }
    }
}

multiversion! {
    /// Applies an activation to every element.
    pub(super) fn activate_all(activation: Activation, out: &mut [f32]) {
        // A loop each, and no closures, so that each becomes vector code of the processor's width.
        macro_rules! apply {
            ($activation:expr) => {
                for x in out {
                    *x = activate($activation, *x);
                }
            };
        }
        match activation {
            Activation::Silu => apply!(Activation::Silu),
            Activation::Gelu => apply!(Activation::Gelu),
            Activation::GeluTanh => apply!(Activation::GeluTanh),
            Activation::QuickGelu => apply!(Activation::QuickGelu),
            Activation::Relu => apply!(Activation::Relu),
        }
    }
}

multiversion! {
    fn add(out: &mut [f32], b: &[f32]) {
        for (x, y) in out.iter_mut().zip(b) {
            *x += y;
        }
    }
}

multiversion! {
    fn mul(out: &mut [f32], b: &[f32]) {
        for (x, y) in out.iter_mut().zip(b) {
            *x *= y;
        }
    }
}

multiversion! {
    fn add_scalar(out: &mut [f32], b: f32) {
        for x in out {
            *x += b;
        }
    }
}

/// Axes of `a` and the strides of `b` along them, neighbours joined where both go on evenly.
fn joined_axes(a_shape: &[usize], b_shape: &[usize]) -> Vec<(usize, usize)> {
    let missing = a_shape.len() - b_shape.len().min(a_shape.len());
    let mut axes: Vec<(usize, usize)> = Vec::new();
    let mut stride = 1;
    // From the innermost outwards; `axes` is reversed at the end.
    for (i, &len) in a_shape.iter().enumerate().rev() {
        let b_len = if i < missing { 1 } else { b_shape[i - missing] };
        let b_stride = if b_len == 1 { 0 } else { stride };
        stride *= b_len;
        if len == 1 {
            continue;
        }
        match axes.last_mut() {
            Some((inner, inner_stride))
                if b_stride == *inner_stride * *inner && (b_stride != 0 || *inner_stride == 0) =>
            {
                *inner *= len;
            }
            _ => axes.push((len, b_stride)),
        }
    }
    if axes.is_empty() {
        axes.push((1, 0));
    }
    axes.reverse();
    axes
}

/// `out = out op b`, with `b` broadcast; see [`crate::graph::Op::Binary`].
pub(super) fn binary(
    kind: BinaryKind,
    out: Out<'_>,
    a_shape: &[usize],
    b: &[f32],
    b_shape: &[usize],
) {
    let axes = joined_axes(a_shape, b_shape);
    let Some((&(inner, inner_stride), outer)) = axes.split_last() else {
        return;
    };
    let apply = |out: &mut [f32], start: usize| {
        // `start` is the place of `out` in the whole; it lies within one run of the innermost axis or starts one.
        let mut done = 0;
        while done < out.len() {
            let at = start + done;
            let (mut row, within) = (at / inner, at % inner);
            let len = (inner - within).min(out.len() - done);
            let mut offset = within * inner_stride;
            for &(axis, stride) in outer.iter().rev() {
                offset += row % axis * stride;
                row /= axis;
            }
            let part = &mut out[done..done + len];
            match (kind, inner_stride) {
                (BinaryKind::Add, 0) => add_scalar(part, b[offset]),
                (BinaryKind::Mul, 0) => super::math::scale(part, b[offset]),
                (BinaryKind::Add, _) => add(part, &b[offset..offset + len]),
                (BinaryKind::Mul, _) => mul(part, &b[offset..offset + len]),
            }
            done += len;
        }
    };
    out.for_chunks(CHUNK, |i, out| apply(out, i * CHUNK));
}

/// `out = act(out) * up`.
pub(super) fn gated(activation: Activation, out: Out<'_>, up: &[f32]) {
    out.for_chunks(CHUNK, |i, out| {
        activate_all(activation, out);
        mul(out, up.get(i * CHUNK..).unwrap_or_default());
    });
}

/// `out [rows, D] = x[.., ..D] * act(x[.., D..])` for `x [rows, 2D]`.
pub(super) fn split_gated(activation: Activation, out: &mut [f32], x: &[f32], d: usize) {
    let rows = (CHUNK / d.max(1)).max(1);
    for_chunks(out, rows * d, |i, out| {
        let x = x.get(i * rows * 2 * d..).unwrap_or_default();
        for (out, x) in out.chunks_mut(d).zip(x.chunks(2 * d)) {
            let (value, gate) = x.split_at(d);
            out.copy_from_slice(gate);
            activate_all(activation, out);
            mul(out, value);
        }
    });
}

/// Rotary position embedding in place; see [`crate::graph::Op::Rope`].
pub(super) fn rope(
    out: Out<'_>,
    positions: &[u32],
    heads: usize,
    inv_freq: &[f32],
    style: RopeStyle,
    magnitude: f32,
) -> Result<(), ExecError> {
    let n = inv_freq.len();
    let width = out.len() / positions.len().max(1);
    let head_dim = width / heads;
    // Sines and cosines of a row serve all its heads.
    let mut table = zeros::<f32>("rope", positions.len() * 2 * n)?;
    if n == 0 || width == 0 {
        out.for_chunks(CHUNK, |_, _| ());
        return Ok(());
    }
    let some = (CHUNK / width).max(1);
    for_chunks(&mut table, some * 2 * n, |i, table| {
        let positions = positions.get(i * some..).unwrap_or_default();
        for (row, &position) in table.chunks_mut(2 * n).zip(positions) {
            let (cosines, sines) = row.split_at_mut(n);
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(inv_freq) {
                // In f32, as torch has it: the reference networks were trained with this rounding.
                let (s, c) = (position as f32 * frequency).sin_cos();
                (*cosine, *sine) = (c * magnitude, s * magnitude);
            }
        }
    });
    out.for_chunks(some * width, |i, out| {
        let rows = positions.get(i * some..).unwrap_or_default();
        let tables = table.chunks(2 * n).skip(i * some);
        for ((out, &position), table) in out.chunks_mut(width).zip(rows).zip(tables) {
            if position != NO_SLOT {
                let (cosines, sines) = table.split_at(n);
                for head in out.chunks_mut(head_dim) {
                    rotate(head, cosines, sines, style);
                }
            }
        }
    });
    Ok(())
}

/// Pairs of elements of one head, turned.
fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], style: RopeStyle) {
    let n = cosines.len();
    match style {
        RopeStyle::Half => {
            let (first, second) = head[..2 * n].split_at_mut(n);
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
        RopeStyle::Interleaved => {
            let pairs = head[..2 * n].as_chunks_mut::<2>().0;
            for ((pair, c), s) in pairs.iter_mut().zip(cosines).zip(sines) {
                let [a, b] = *pair;
                *pair = [a * c - b * s, b * c + a * s];
            }
        }
    }
}

/// Bytes of the table of sines and cosines.
pub(super) fn rope_scratch(rows: usize, frequencies: usize) -> u64 {
    rows as u64 * frequencies as u64 * 8
}

#[cfg(test)]
mod tests {
    use super::joined_axes;

    #[test]
    fn axes_are_joined_where_both_go_on_evenly() {
        assert_eq!(joined_axes(&[2, 3, 4], &[2, 3, 4]), [(24, 1)]);
        assert_eq!(
            joined_axes(&[2, 3, 4, 5], &[3, 1, 1]),
            [(2, 0), (3, 1), (20, 0)]
        );
        assert_eq!(joined_axes(&[2, 3, 4, 5], &[2, 3, 1, 1]), [(6, 1), (20, 0)]);
        assert_eq!(joined_axes(&[2, 3, 4], &[4]), [(6, 0), (4, 1)]);
        assert_eq!(joined_axes(&[2, 3, 4], &[1, 1, 1]), [(24, 0)]);
        assert_eq!(joined_axes(&[1, 1], &[1]), [(1, 0)]);
        assert_eq!(
            joined_axes(&[2, 3, 4], &[2, 1, 4]),
            [(2, 4), (3, 0), (4, 1)]
        );
    }
}
