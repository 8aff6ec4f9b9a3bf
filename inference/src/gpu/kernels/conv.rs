//! Convolution.

use diptych_shaders::{ConvTaps, Kernel};

use super::linear::{JOIN_LANES, SPLIT_K, STEP_K, TILE};
use super::{Arg, BoundArg, Combine, ExecError, Lowering, Work, words};
use crate::graph::{Conv2dSpec, WeightId};

/// What a result meets by channel: the binding, the place of the first channel, and the distance between the pictures of a batch.
type ByChannel = (BoundArg, usize, usize);

impl Lowering<'_, '_> {
    /// What is added by channel, if anything is.
    pub(super) fn by_channel(&self, channels: usize) -> Result<Option<ByChannel>, ExecError> {
        let Some((Combine::AddByChannel, operand)) = self.context.fusion.epilogue.combine else {
            return Ok(None);
        };
        let elements: usize = self.operand(operand)?.iter().product();
        let stride = if elements == channels { 0 } else { channels };
        let all = self.limits().window(Arg::Operand(operand), 0, elements);
        Ok(Some((all.bound, all.base, stride)))
    }

    /// Cut by shards and further ranges of output channels, and by pixels; where not all input channels fit a binding, several
    /// dispatches each add a range of them.
    pub(super) fn conv2d(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        spec: Conv2dSpec,
    ) -> Result<(), ExecError> {
        if self.conv2d_across(weight, bias, spec)? {
            return Ok(());
        }
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
        let doubled = self.context.fusion.doubled;
        // As it is seen.
        let (seen_height, seen_width) = match doubled {
            true => (2 * height, 2 * width),
            false => (height, width),
        };
        let by_channel = self.by_channel(all_out)?;
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
        let tiles = batch * all_out.div_ceil(TILE) * pixels.div_ceil(TILE);
        let splits = limits.splits(tiles, channels * area / SPLIT_K);
        if together && splits > 1 && limits.fits(0, splits * batch * all_out * pixels) {
            return self.conv2d_split(weight, bias, spec, splits);
        }
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
                        let (other, channel) = match &by_channel {
                            Some((bound, base, stride)) => {
                                let first = base + turn * stride + rows.start + begin;
                                (bound.clone(), words([first, *stride])?)
                            }
                            None => (self.other(&y.bound, &bias_bound), [0, 0]),
                        };
                        let epilogue = self.epilogue(last, channel.into());
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
                                seen_height,
                                seen_width,
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
                                other.clone(),
                            ];
                            let mut list = words(numbers)?.to_vec();
                            list.extend(epilogue);
                            self.push(
                                Kernel::Conv2d {
                                    weight: layout.format,
                                    taps: ConvTaps::of(kernel_height, kernel_width),
                                    doubled,
                                    tile: limits.tile(layout.format),
                                },
                                &list,
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

    /// All at once, in about so many parts of the sum, which are added up afterwards.
    fn conv2d_split(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        spec: Conv2dSpec,
        splits: usize,
    ) -> Result<(), ExecError> {
        let [batch, channels, height, width] = self.axes(0)?;
        let &[_, _, out_height, out_width] = self.context.output else {
            return Err(self.unsupported(format!("{:?}", self.context.output)));
        };
        let layout = self.weight(weight).clone();
        let &[out, _, kernel_height, kernel_width] = layout.shape.as_slice() else {
            return Err(self.unsupported(format!("a weight of shape {:?}", layout.shape)));
        };
        let limits = *self.limits();
        let doubled = self.context.fusion.doubled;
        let (seen_height, seen_width) = match doubled {
            true => (2 * height, 2 * width),
            false => (height, width),
        };
        let area = kernel_height * kernel_width;
        let summed = channels * area;
        let (plane, pixels) = (height * width, out_height * out_width);
        let elements = batch * out * pixels;
        // Whole steps; so the last part may be shorter, and there may be fewer of them.
        let split_k = summed.div_ceil(splits).next_multiple_of(STEP_K);
        let splits = summed.div_ceil(split_k);
        let parts = self.scratch((splits * elements) as u64 * 4);
        let parts = limits.window(parts, 0, splits * elements).bound;
        let weights = self.shard(weight, 0)?;
        let (bias_bound, bias_base) = self.vector(bias, 0, out, &weights)?;
        let x = limits.window(Arg::Operand(0), 0, batch * channels * plane);
        let y = limits.window(Arg::Output, 0, elements);
        let (tiles_out, tiles_pixels) = (out.div_ceil(TILE), pixels.div_ceil(TILE));
        let [top, _, left, _] = spec.padding;
        let numbers = [
            layout.chunks(),
            0,
            0,
            summed,
            0,
            area,
            kernel_width,
            seen_height,
            seen_width,
            out_width,
            pixels,
            spec.stride[0],
            spec.stride[1],
            top,
            left,
            out,
            tiles_out,
            tiles_pixels,
            x.base,
            channels * plane,
            0,
            out * pixels,
            0, // the bias comes last
            0,
            0,
            batch,
            0,
            pixels,
            splits,
            split_k,
        ];
        let work = Work {
            groups: (batch * tiles_out * tiles_pixels * splits) as u64,
            flops: 2 * elements as u64 * summed as u64,
        };
        let kernel = Kernel::Conv2dSplit {
            weight: layout.format,
            taps: ConvTaps::of(kernel_height, kernel_width),
            doubled,
            tile: limits.tile(layout.format),
        };
        let bindings = vec![weights, x.bound, bias_bound.clone(), parts.clone()];
        self.push(kernel, &words(numbers)?, bindings, work)?;
        let has_bias = usize::from(bias.is_some());
        let numbers = [splits, elements, pixels, out, y.base, bias_base, has_bias];
        let work = Work {
            groups: elements.div_ceil(JOIN_LANES) as u64,
            flops: (splits * elements) as u64,
        };
        let (other, channel) = match self.by_channel(out)? {
            Some((bound, base, stride)) => (bound, words([base, stride])?),
            None => (self.other(&y.bound, &bias_bound), [0, 0]),
        };
        let mut list = words(numbers)?.to_vec();
        list.extend(self.epilogue(true, channel.into()));
        let bindings = vec![parts, bias_bound, y.bound, other];
        self.push(Kernel::ConvJoin, &list, bindings, work)
    }
}
