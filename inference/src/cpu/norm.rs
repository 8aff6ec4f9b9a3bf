//! Layer, RMS and group norm. Means and variances are taken in two passes over the data, with sums in f64: the variance is not
//! the difference of two large numbers, so activations with a large offset are safe.
//!
//! As the element-wise ops they work in place, or on a copy.

use super::elementwise::activate_all;
use super::math::{multiversion, sum, sum_of_squares};
use super::parallel::CHUNK;
use super::pool::Out;
use crate::graph::Activation;

multiversion! {
    /// `x = (x - mean) * rstd * weight + bias`.
    fn normalise(x: &mut [f32], mean: f32, rstd: f32, weight: &[f32], bias: &[f32]) {
        for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) * rstd * weight + bias;
        }
    }
}

multiversion! {
    /// `x = (x - mean) * rstd * weight`.
    fn normalise_plain(x: &mut [f32], mean: f32, rstd: f32, weight: &[f32]) {
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = (*x - mean) * rstd * weight;
        }
    }
}

multiversion! {
    /// `x = (x - mean) * factor + offset`.
    fn normalise_channel(x: &mut [f32], mean: f32, factor: f32, offset: f32) {
        for x in x {
            *x = (*x - mean) * factor + offset;
        }
    }
}

/// Mean, and `1 / sqrt(variance + eps)`.
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let count = x.len().max(1) as f64;
    let mean = (sum(x) / count) as f32;
    let variance = sum_of_squares(x, mean) / count;
    (mean, (1.0 / (variance + f64::from(eps)).sqrt()) as f32)
}

fn for_rows(out: Out<'_>, d: usize, work: impl Fn(&mut [f32]) + Sync) {
    let len = (CHUNK / d.max(1)).max(1) * d;
    out.for_chunks(len, |_, out| out.chunks_mut(d).for_each(&work));
}

/// Over rows of the length of `weight`.
pub(super) fn layer_norm(out: Out<'_>, weight: &[f32], bias: Option<&[f32]>, eps: f32) {
    for_rows(out, weight.len(), |row| {
        let (mean, rstd) = moments(row, eps);
        match bias {
            Some(bias) => normalise(row, mean, rstd, weight, bias),
            None => normalise_plain(row, mean, rstd, weight),
        }
    });
}

/// Over rows of the length of `weight`.
pub(super) fn rms_norm(out: Out<'_>, weight: &[f32], eps: f32) {
    for_rows(out, weight.len(), |row| {
        let mean_square = sum_of_squares(row, 0.0) / row.len().max(1) as f64;
        normalise_plain(
            row,
            0.0,
            (1.0 / (mean_square + f64::from(eps)).sqrt()) as f32,
            weight,
        );
    });
}

/// Over `[B, C, inner]` in groups of channels, optionally followed by SiLU.
pub(super) fn group_norm(
    out: Out<'_>,
    weight: &[f32],
    bias: &[f32],
    inner: usize,
    groups: usize,
    eps: f32,
    silu: bool,
) {
    let channels = weight.len();
    let per_group = channels / groups.max(1);
    let len = per_group * inner;
    let work = |i: usize, group: &mut [f32]| {
        let (mean, rstd) = moments(group, eps);
        let first = i % groups * per_group;
        let parameters = weight.iter().zip(bias).skip(first);
        for (channel, (weight, bias)) in group.chunks_mut(inner).zip(parameters) {
            normalise_channel(channel, mean, rstd * weight, *bias);
            if silu {
                activate_all(Activation::Silu, channel);
            }
        }
    };
    out.for_chunks(len, work);
}
