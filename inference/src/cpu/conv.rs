//! Two-dimensional convolution as matrix products: a tile of output pixels gathers what it sees of some input channels into
//! columns ("im2col"), and the weight's matching columns are multiplied with them. Memory is a tile a thread, whatever the picture.

use super::decode::decode;
use super::matmul::{Into, Mat, MatMut, multiply};
use super::parallel::{Poll, Shared, for_tasks, threads, with_scratch};
use super::weights::{Kept, Loaded, Weight};
use crate::graph::{Conv2dSpec, ExecError};

/// Output pixels in a tile.
const PIXELS: usize = 256;
/// Output channels in a tile, at most.
const CHANNELS: usize = 640;
/// Rows of the gathered columns (input channels times kernel) that are multiplied at once.
const DEPTH: usize = 256;

/// `x [batch, channels, height, width]`, weight `[out_channels, channels, kernel]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) input: [usize; 2],
    pub(super) out_channels: usize,
    pub(super) output: [usize; 2],
    pub(super) kernel: [usize; 2],
}

/// A part of a tile that lies in one picture.
#[derive(Clone, Copy)]
struct Segment {
    item: usize,
    /// First output pixel.
    pixel: usize,
    count: usize,
}

impl Sizes {
    fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Input channels that are gathered at once.
    fn depth_channels(&self) -> usize {
        (DEPTH / (self.kernel[0] * self.kernel[1]).max(1)).clamp(1, self.channels.max(1))
    }

    /// Output channels of a task: all, if there are tasks enough.
    fn task_channels(&self) -> usize {
        let tiles = (self.batch * self.pixels()).div_ceil(PIXELS);
        let blocks = (2 * threads())
            .div_ceil(tiles.max(1))
            .max(self.out_channels.div_ceil(CHANNELS));
        self.out_channels
            .div_ceil(blocks)
            .next_multiple_of(16)
            .max(32)
    }

    /// The pictures' parts in the tile of output pixels from `first` on, counted through the batch.
    fn segments(&self, first: usize) -> impl Iterator<Item = Segment> + Clone + use<> {
        let pixels = self.pixels();
        let end = (first + PIXELS).min(self.batch * pixels);
        (first / pixels..end.div_ceil(pixels)).map(move |item| {
            let start = first.max(item * pixels);
            let count = end.min((item + 1) * pixels) - start;
            Segment {
                item,
                pixel: start - item * pixels,
                count,
            }
        })
    }

    /// Whether a column is simply the input's pixels.
    fn is_pointwise(&self, spec: Conv2dSpec) -> bool {
        self.kernel == [1, 1] && spec.stride == [1, 1] && spec.padding == [0; 4]
    }
}

/// `out [batch, out_channels, height', width']`.
pub(super) fn conv2d(
    out: &mut [f32],
    x: &[f32],
    weight: &Weight,
    bias: Option<&[f32]>,
    sizes: Sizes,
    spec: Conv2dSpec,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let Sizes {
        batch,
        channels,
        out_channels,
        kernel,
        ..
    } = sizes;
    let (pixels, area) = (sizes.pixels(), kernel[0] * kernel[1]);
    let plane = sizes.input[0] * sizes.input[1];
    let (step, block) = (sizes.depth_channels(), sizes.task_channels());
    let tiles = (batch * pixels).div_ceil(PIXELS);
    let shared = Shared::new(out);
    let failed = std::sync::OnceLock::new();
    let flops = 2.0 * (PIXELS.min(batch * pixels) * block * channels * area) as f64;
    for_tasks(tiles * out_channels.div_ceil(block), flops, poll, |task| {
        let (tile, first) = (task % tiles, task / tiles * block);
        let rows = block.min(out_channels - first);
        let segments = sizes.segments(tile * PIXELS);
        for segment in segments.clone() {
            for row in first..first + rows {
                // SAFETY: a task has its own pixels of its own channels.
                let line = unsafe {
                    shared.slice(
                        (segment.item * out_channels + row) * pixels + segment.pixel,
                        segment.count,
                    )
                };
                line.fill(bias.map_or(0.0, |bias| bias[row]));
            }
        }
        let decoded = if weight.is_floats() {
            0
        } else {
            rows * step * area
        };
        with_scratch(decoded + step * area * PIXELS, |scratch| {
            let (decoded, columns) = scratch.split_at_mut(decoded);
            for channel in (0..channels).step_by(step) {
                let count = step.min(channels - channel);
                let depth = count * area;
                let weights = match columns_of(
                    weight,
                    decoded,
                    first,
                    rows,
                    channels * area,
                    channel * area,
                    depth,
                ) {
                    Ok(weights) => weights,
                    Err(error) => return drop(failed.set(error)),
                };
                for segment in segments.clone() {
                    let from = &x[(segment.item * channels + channel) * plane..][..count * plane];
                    let right = if sizes.is_pointwise(spec) {
                        Mat::rows(&from[segment.pixel..], count, segment.count, plane)
                    } else {
                        gather(
                            &mut columns[..depth * segment.count],
                            from,
                            segment,
                            sizes,
                            spec,
                        );
                        Mat::rows(columns, depth, segment.count, segment.count)
                    };
                    let at = (segment.item * out_channels + first) * pixels + segment.pixel;
                    // SAFETY: a task has its own pixels of its own channels.
                    let mut out = unsafe { MatMut::tile(&shared, at, rows, segment.count, pixels) };
                    multiply(&mut out, Into::Add, weights, right, 1.0);
                }
            }
        });
    })?;
    failed.into_inner().map_or(Ok(()), Err)
}

/// `rows` rows from `first` on, `depth` columns from `column` on, of a weight whose rows are `width` long.
fn columns_of<'a>(
    weight: &'a Weight,
    decoded: &'a mut [f32],
    first: usize,
    rows: usize,
    width: usize,
    column: usize,
    depth: usize,
) -> Result<Mat<'a>, ExecError> {
    match &weight.loaded {
        Loaded::Floats(floats) => Ok(Mat::rows(
            &floats.as_slice()[first * width + column..],
            rows,
            depth,
            width,
        )),
        Loaded::File(tensor) => {
            for (row, out) in decoded.chunks_mut(depth).take(rows).enumerate() {
                decode(tensor, (first + row) * width + column, out)?;
            }
            Ok(Mat::rows(decoded, rows, depth, depth))
        }
        Loaded::Matrix(_) | Loaded::Quantised(..) | Loaded::Packed(_) => Err(ExecError::Backend {
            context: "conv2d".into(),
            message: "the weight was loaded as a matrix".into(),
        }),
    }
}

/// What the pixels of a segment see of the channels in `x`: `[channels * kernel, pixels]`, zeros outside of the picture.
fn gather(columns: &mut [f32], x: &[f32], segment: Segment, sizes: Sizes, spec: Conv2dSpec) {
    let ([height, width], [kh, kw]) = (sizes.input, sizes.kernel);
    let ow = sizes.output[1];
    let [top, _, left, _] = spec.padding;
    let [sy, sx] = spec.stride;
    for (i, line) in columns.chunks_mut(segment.count).enumerate() {
        let (channel, ky, kx) = (i / (kh * kw), i / kw % kh, i % kw);
        let plane = &x[channel * height * width..][..height * width];
        // Output columns whose source `column * sx + kx - left` lies in the picture.
        let begin = left.saturating_sub(kx).div_ceil(sx).min(ow);
        let end = (width + left)
            .saturating_sub(kx)
            .div_ceil(sx)
            .clamp(begin, ow);
        let (mut pixel, mut done) = (segment.pixel, 0);
        while done < segment.count {
            let (row, column) = (pixel / ow, pixel % ow);
            let len = (ow - column).min(segment.count - done);
            let part = &mut line[done..done + len];
            let y = row * sy + ky;
            if y < top || y - top >= height {
                part.fill(0.0);
            } else {
                let from = &plane[(y - top) * width..][..width];
                let (a, b) = (
                    begin.clamp(column, column + len),
                    end.clamp(column, column + len),
                );
                part[..a - column].fill(0.0);
                part[b - column..].fill(0.0);
                let seen = &mut part[a - column..b - column];
                if !seen.is_empty() {
                    let source = &from[a * sx + kx - left..];
                    if sx == 1 {
                        seen.copy_from_slice(&source[..b - a]);
                    } else {
                        for (out, value) in seen.iter_mut().zip(source.iter().step_by(sx)) {
                            *out = *value;
                        }
                    }
                }
            }
            pixel += len;
            done += len;
        }
    }
}

/// Bytes that all threads together hold while it runs.
pub(super) fn scratch(kept: Kept, sizes: Sizes, spec: Conv2dSpec) -> u64 {
    let depth = sizes.depth_channels() * sizes.kernel[0] * sizes.kernel[1];
    let columns = if sizes.is_pointwise(spec) && kept == Kept::Floats {
        0
    } else {
        depth * PIXELS
    };
    let decoded = if kept == Kept::Floats {
        0
    } else {
        depth * sizes.task_channels()
    };
    4 * (columns + decoded) as u64 * threads() as u64
}
