//! Normalisations.

use diptych_shaders::Kernel;

use super::{Arg, ExecError, Lowering, Rotation, Work, words};
use crate::graph::{RopeStyle, WeightId};

/// Elements of a group that one workgroup takes the statistics of: long enough to be worth a workgroup, short enough that large
/// groups keep a whole device busy.
const PART: usize = 4096;
/// Invocations of a workgroup of the kernel that applies a group norm.
const APPLY_LANES: usize = 256;
/// Elements of a group up to which one workgroup does all of it: then it is still done before three dispatches would have begun.
const SMALL_GROUP: usize = 16 << 10;

impl Lowering<'_, '_> {
    /// Rows and width of the first operand, and bands of rows.
    fn row_bands(&self) -> Result<(usize, Vec<(usize, usize)>), ExecError> {
        let shape = self.operand(0)?;
        let width = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / width.max(1);
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * width, (end - begin) * width)
        })?;
        Ok((width, bands))
    }

    pub(super) fn layer_norm(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        eps: f32,
    ) -> Result<(), ExecError> {
        let (width, bands) = self.row_bands()?;
        let limits = *self.limits();
        for (begin, end) in bands {
            let len = (end - begin) * width;
            let x = limits.window(Arg::Operand(0), begin * width, len);
            let y = limits.window(Arg::Output, begin * width, len);
            let stand_in = self.shard(weight, 0)?;
            let (gain, gain_base) = self.vector(Some(weight), 0, width, &stand_in)?;
            let (offset, offset_base) = self.vector(bias, 0, width, &stand_in)?;
            let has_offset = usize::from(bias.is_some());
            let numbers = [
                end - begin,
                width,
                x.base,
                y.base,
                gain_base,
                offset_base,
                has_offset,
            ];
            let mut list = words(numbers)?.to_vec();
            list.push(eps.to_bits());
            let work = Work {
                groups: (end - begin) as u64,
                flops: 8 * len as u64,
            };
            self.push(
                Kernel::LayerNorm,
                &list,
                vec![x.bound, gain, offset, y.bound],
                work,
            )?;
        }
        Ok(())
    }

    pub(super) fn rms_norm(&mut self, weight: WeightId, eps: f32) -> Result<(), ExecError> {
        let (width, bands) = self.row_bands()?;
        let limits = *self.limits();
        for (begin, end) in bands {
            let len = (end - begin) * width;
            let x = limits.window(Arg::Operand(0), begin * width, len);
            let y = limits.window(Arg::Output, begin * width, len);
            let stand_in = self.shard(weight, 0)?;
            let (gain, gain_base) = self.vector(Some(weight), 0, width, &stand_in)?;
            let mut list = words([end - begin, width, x.base, y.base, gain_base])?.to_vec();
            list.push(eps.to_bits());
            let work = Work {
                groups: (end - begin) as u64,
                flops: 5 * len as u64,
            };
            self.push(Kernel::RmsNorm, &list, vec![x.bound, gain, y.bound], work)?;
        }
        Ok(())
    }

    /// An RMS norm of heads, and their rotary embedding.
    pub(super) fn rms_rope(
        &mut self,
        weight: WeightId,
        eps: f32,
        rotation: Rotation,
    ) -> Result<(), ExecError> {
        let Rotation {
            heads,
            inv_freq,
            style,
            magnitude,
            positions,
        } = rotation;
        let [rows, width] = self.axes(0)?;
        let limits = *self.limits();
        let frequencies = self.weight(inv_freq).cols;
        if heads == 0 || !rows.is_multiple_of(heads) || frequencies == 0 {
            return Err(self.unsupported(format!("{rows} rows in {heads} heads")));
        }
        let bands = self.bands(rows / heads, 1, |begin, end| {
            limits.fits(begin * heads * width, (end - begin) * heads * width)
        })?;
        let stand_in = self.shard(weight, 0)?;
        let (gain, gain_base) = self.vector(Some(weight), 0, width, &stand_in)?;
        let (freq, freq_base) = self.vector(Some(inv_freq), 0, frequencies, &stand_in)?;
        for (begin, end) in bands {
            let len = (end - begin) * heads * width;
            let x = limits.window(Arg::Operand(0), begin * heads * width, len);
            let y = limits.window(Arg::Output, begin * heads * width, len);
            let places = limits.window(Arg::Operand(positions), begin, end - begin);
            let mut list =
                words([(end - begin) * heads, width, x.base, y.base, gain_base])?.to_vec();
            list.push(eps.to_bits());
            let interleaved = usize::from(style == RopeStyle::Interleaved);
            let numbers = [heads, places.base, freq_base, frequencies, interleaved];
            list.extend(words(numbers)?);
            list.push(magnitude.to_bits());
            let work = Work {
                groups: ((end - begin) * heads) as u64,
                flops: 30 * len as u64,
            };
            let bindings = vec![x.bound, gain.clone(), places.bound, freq.clone(), y.bound];
            self.push(Kernel::RmsRope, &list, bindings, work)?;
        }
        Ok(())
    }

    /// Statistics of parts of the groups, the parts joined, then the norm itself; of small groups all at once.
    pub(super) fn group_norm(
        &mut self,
        [weight, bias]: [WeightId; 2],
        groups: usize,
        eps: f32,
        silu: bool,
    ) -> Result<(), ExecError> {
        let shape = self.operand(0)?;
        let (&[batch, channels], rest) = shape
            .split_first_chunk()
            .ok_or_else(|| self.unsupported(format!("{shape:?}")))?;
        let channel_len: usize = rest.iter().product();
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(self.unsupported(format!("{channels} channels in {groups} groups")));
        }
        let limits = *self.limits();
        let group_len = channels / groups * channel_len;
        let all_groups = batch * groups;
        let elements = batch * channels * channel_len;
        if group_len <= SMALL_GROUP && limits.fits(0, elements) {
            let stand_in = self.shard(weight, 0)?;
            let (gain, gain_base) = self.vector(Some(weight), 0, channels, &stand_in)?;
            let (offset, offset_base) = self.vector(Some(bias), 0, channels, &stand_in)?;
            let x = limits.window(Arg::Operand(0), 0, elements);
            let y = limits.window(Arg::Output, 0, elements);
            let silu = usize::from(silu);
            let numbers = [
                all_groups,
                group_len,
                x.base,
                y.base,
                channels,
                channel_len,
                gain_base,
                offset_base,
                silu,
            ];
            let mut list = words(numbers)?.to_vec();
            list.push(eps.to_bits());
            let work = Work {
                groups: all_groups as u64,
                flops: 12 * elements as u64,
            };
            let bindings = vec![x.bound, gain, offset, y.bound];
            return self.push(Kernel::GroupNorm, &list, bindings, work);
        }
        let part_len = PART.min(group_len);
        let parts_per_group = group_len.div_ceil(part_len);
        let parts = all_groups * parts_per_group;
        let stats = self.scratch(parts as u64 * 16);
        let moments = self.scratch(all_groups as u64 * 16);
        let all_stats = limits.window(stats, 0, parts * 4).bound;
        let all_moments = limits.window(moments, 0, all_groups * 4).bound;

        let begin_of =
            |part: usize| part / parts_per_group * group_len + part % parts_per_group * part_len;
        let end_of =
            |part: usize| (begin_of(part) + part_len).min((part / parts_per_group + 1) * group_len);
        let bands = self.bands(parts, 1, |first, end| {
            limits.fits(begin_of(first), end_of(end - 1) - begin_of(first))
        })?;
        for (first, end) in bands {
            let start = begin_of(first);
            let len = end_of(end - 1) - start;
            let x = limits.window(Arg::Operand(0), start, len);
            let numbers = [
                first,
                end - first,
                parts_per_group,
                part_len,
                group_len,
                start,
                x.base,
            ];
            let work = Work {
                groups: (end - first) as u64,
                flops: 4 * len as u64,
            };
            self.push(
                Kernel::GroupStats,
                &words(numbers)?,
                vec![x.bound, all_stats.clone()],
                work,
            )?;
        }

        let mut list = words([all_groups, parts_per_group, part_len, group_len])?.to_vec();
        list.push(eps.to_bits());
        let work = Work {
            groups: all_groups as u64,
            flops: 8 * parts as u64,
        };
        self.push(
            Kernel::GroupFinish,
            &list,
            vec![all_stats, all_moments.clone()],
            work,
        )?;

        let stand_in = self.shard(weight, 0)?;
        let (gain, gain_base) = self.vector(Some(weight), 0, channels, &stand_in)?;
        let (offset, offset_base) = self.vector(Some(bias), 0, channels, &stand_in)?;
        let most = limits.band_elements();
        for first in (0..elements).step_by(most) {
            let len = most.min(elements - first);
            let x = limits.window(Arg::Operand(0), first, len);
            let y = limits.window(Arg::Output, first, len);
            let silu = usize::from(silu);
            let numbers = [
                len,
                x.base,
                y.base,
                first,
                channels,
                channel_len,
                group_len,
                gain_base,
                offset_base,
                silu,
            ];
            let work = Work {
                groups: len.div_ceil(APPLY_LANES) as u64,
                flops: 8 * len as u64,
            };
            let bindings = vec![
                x.bound,
                all_moments.clone(),
                gain.clone(),
                offset.clone(),
                y.bound,
            ];
            self.push(Kernel::GroupApply, &words(numbers)?, bindings, work)?;
        }
        Ok(())
    }
}
