//! Convolution.

use diptych_shaders::{ConvTaps, Kernel};

use super::linear::TILE;
use super::{Arg, ExecError, Lowering, Work, words};
use crate::graph::{Conv2dSpec, WeightId};

impl Lowering<'_, '_> {
    /// Cut by shards and further ranges of output channels, and by pixels; where not all input channels fit a binding, several
    /// dispatches each add a range of them.
    pub(super) fn conv2d(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        spec: Conv2dSpec,
    ) -> Result<(), ExecError> {
        let [batch, channels, height, width] = self.axes(0)?;
        let &[_, _, out_height, out_width] = self.context.output else {
            return Err(self.unsupported(format!("{:?}", self.context.output)));
        };
        let layout = self.weight(weight).clone();
        let limits = *self.limits();
        let all_out = layout.rows;
        let (plane, pixels) = (height * width, out_height * out_width);
        let &[_, _, kernel_height, kernel_width] = layout.shape.as_slice() else {
            return Err(self.unsupported(format!("a weight of shape {:?}", layout.shape)));
        };
        let area = kernel_height * kernel_width;
        let [top, _, left, _] = spec.padding;
        // All pictures of a batch at once if everything fits, else one after the other.
        let all_x = limits.fits(0, batch * channels * plane);
        let all_y = limits.fits(0, batch * all_out * pixels);
        let flops_of = |channels_out: usize, pixels: usize, summed: usize| {
            2 * channels_out as u64 * pixels as u64 * (summed * area) as u64
        };
        let whole = batch as u64 * flops_of(all_out, pixels, channels);
        let together =
            all_x && all_y && layout.shards.len() == 1 && whole <= limits.max_dispatch_flops;
        let (at_once, turns) = if together { (batch, 1) } else { (1, batch) };
        for turn in 0..turns {
            let x_first = turn * channels * plane;
            let ranges = self.bands(channels, 1, |begin, end| {
                let pictures = (at_once - 1) * channels;
                limits.fits(x_first + begin * plane, (pictures + end - begin) * plane)
            })?;
            for (shard, rows) in layout.shards.iter().enumerate() {
                let y_first = |begin: usize| (turn * all_out + rows.start + begin) * pixels;
                let y_len =
                    |begin: usize, end: usize| ((at_once - 1) * all_out + end - begin) * pixels;
                // A shard's weights are bound whole, so cutting output channels must go by the shards; a result that still does
                // not fit is cut below, by a window on the weight's rows.
                let bands = self.bands(rows.len(), 1, |begin, end| {
                    limits.fits(y_first(begin), y_len(begin, end))
                })?;
                for &(begin, end) in &bands {
                    let count = end - begin;
                    let pixel_bands = self.bands(pixels, TILE, |from, to| {
                        together
                            || to - from <= TILE
                            || flops_of(count, to - from, channels) <= limits.max_dispatch_flops
                    })?;
                    for (index, &(c0, c1)) in ranges.iter().enumerate() {
                        let x_len = ((at_once - 1) * channels + c1 - c0) * plane;
                        let x = limits.window(Arg::Operand(0), x_first + c0 * plane, x_len);
                        let weights = self.shard(weight, shard)?;
                        let last = index + 1 == ranges.len();
                        let used = bias.filter(|_| last);
                        let (bias_bound, bias_base) =
                            self.vector(used, rows.start + begin, count, &weights)?;
                        let y = limits.window(Arg::Output, y_first(begin), y_len(begin, end));
                        for &(from, to) in &pixel_bands {
                            let tiles_out = count.div_ceil(TILE);
                            let tiles_pixels = (to - from).div_ceil(TILE);
                            let numbers = [
                                layout.chunks(),
                                begin, // first weight row
                                c0 * area,
                                c1 * area,
                                c0,
                                area,
                                kernel_width,
                                height,
                                width,
                                out_width,
                                pixels,
                                spec.stride[0],
                                spec.stride[1],
                                top,
                                left,
                                count,
                                tiles_out,
                                tiles_pixels,
                                x.base,
                                channels * plane,
                                y.base,
                                all_out * pixels,
                                bias_base,
                                usize::from(used.is_some()),
                                usize::from(index > 0),
                                at_once,
                                from,
                                to,
                            ];
                            let work = Work {
                                groups: (at_once * tiles_out * tiles_pixels) as u64,
                                flops: at_once as u64 * flops_of(count, to - from, c1 - c0),
                            };
                            let bindings = vec![
                                weights.clone(),
                                x.bound.clone(),
                                bias_bound.clone(),
                                y.bound.clone(),
                            ];
                            self.push(
                                Kernel::Conv2d {
                                    weight: layout.format,
                                    taps: ConvTaps::of(kernel_height, kernel_width),
                                },
                                &words(numbers)?,
                                bindings,
                                work,
                            )?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
