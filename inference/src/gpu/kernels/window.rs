//! Windows of values: which bytes a dispatch sees, and how work is cut so that every window fits a binding.

use super::{Arg, BoundArg, ExecError, KernelLimits, Lowering};

/// A window of a value of 4-byte elements.
pub(super) struct Window {
    /// The binding.
    pub bound: BoundArg,
    /// Where the first element asked for lies in the binding, in elements: bindings begin at aligned bytes, elements anywhere.
    pub base: usize,
}

impl KernelLimits {
    /// The window of `len` elements from `first` on.
    pub(super) fn window(&self, arg: Arg, first: usize, len: usize) -> Window {
        let begin = (first as u64 * 4) & !(self.storage_alignment - 1);
        let end = (first as u64 + len as u64) * 4;
        Window {
            bound: BoundArg {
                arg,
                range: begin..end,
            },
            base: ((first as u64 * 4 - begin) / 4) as usize,
        }
    }

    /// Whether that window fits one binding.
    pub(in crate::gpu) fn fits(&self, first: usize, len: usize) -> bool {
        let bound = self.window(Arg::Output, first, len).bound;
        bound.range.end - bound.range.start <= self.max_storage_binding
    }

    /// Elements from one place at which a binding may begin to the next.
    pub(super) fn band_alignment(&self) -> usize {
        usize::try_from(self.storage_alignment / 4)
            .unwrap_or(1)
            .max(1)
    }

    /// Most elements of a band such that every band but the last ends at an aligned place.
    pub(super) fn band_elements(&self) -> usize {
        let aligned = self.max_storage_binding & !(self.storage_alignment - 1);
        // Far beyond any tensor on a 32-bit machine, too.
        usize::try_from(aligned / 4).unwrap_or(usize::MAX).max(1)
    }
}

/// A grid of at least `groups` workgroups with at most `max` in a dimension, with little to spare.
pub(super) fn fold(groups: u64, max: u32) -> Option<[u32; 3]> {
    let max = u64::from(max);
    let groups = groups.max(1);
    let y_all = groups.div_ceil(max);
    let z = y_all.div_ceil(max);
    let y = y_all.div_ceil(z);
    let x = groups.div_ceil(y * z);
    if z > max {
        return None;
    }
    Some([
        u32::try_from(x).ok()?,
        u32::try_from(y).ok()?,
        u32::try_from(z).ok()?,
    ])
}

/// Where a box of up to four dimensions lies in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Element of the box's first corner.
    pub first: usize,
    /// Elements from one index to the next, by dimension; 0 for broadcast ones.
    pub strides: [usize; 4],
}

impl Layout {
    /// Elements from the first corner to the last, inclusive.
    pub(super) fn span(&self, dims: [usize; 4]) -> usize {
        dims.iter()
            .zip(self.strides)
            .map(|(&len, stride)| (len - 1) * stride)
            .sum::<usize>()
            + 1
    }
}

/// A box: its dimensions and where it lies in each of the values concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Box4<const N: usize> {
    pub dims: [usize; 4],
    pub layouts: [Layout; N],
}

impl<const N: usize> Box4<N> {
    /// From as many dimensions as there are, outermost first, with the strides in each value. Dimensions of one are dropped,
    /// and neighbours that are contiguous in all values become one. `None` if more than four remain.
    pub(super) fn new(dims: &[usize], firsts: [usize; N], strides: [&[usize]; N]) -> Option<Self> {
        let mut merged: Vec<(usize, [usize; N])> = Vec::new();
        for (axis, &len) in dims.iter().enumerate() {
            if len == 1 {
                continue;
            }
            let steps: [usize; N] = std::array::from_fn(|value| strides[value][axis]);
            match merged.last_mut() {
                Some((outer, outer_steps))
                    if (0..N).all(|value| outer_steps[value] == steps[value] * len) =>
                {
                    *outer *= len;
                    *outer_steps = steps;
                }
                _ => merged.push((len, steps)),
            }
        }
        let pad = 4usize.checked_sub(merged.len())?;
        let mut out = Self {
            dims: [1; 4],
            layouts: firsts.map(|first| Layout {
                first,
                strides: [0; 4],
            }),
        };
        for (axis, (len, steps)) in merged.into_iter().enumerate() {
            out.dims[pad + axis] = len;
            for (layout, step) in out.layouts.iter_mut().zip(steps) {
                layout.strides[pad + axis] = step;
            }
        }
        Some(out)
    }

    /// Cuts the box until every window fits one binding: as long as one does not, along the dimension that spans most of it.
    pub(super) fn split(self, limits: &KernelLimits) -> Vec<Self> {
        let mut done = Vec::new();
        let mut open = vec![self];
        while let Some(next) = open.pop() {
            let wide = next
                .layouts
                .iter()
                .find(|layout| !limits.fits(layout.first, layout.span(next.dims)));
            let elements: usize = next.dims.iter().product();
            let widest = match wide {
                Some(layout) => {
                    (0..4).max_by_key(|&axis| (next.dims[axis] - 1) * layout.strides[axis])
                }
                // Places within a box are counted in 32 bits.
                None if elements > 1 << 30 => (0..4).max_by_key(|&axis| next.dims[axis]),
                None => None,
            };
            match widest {
                Some(axis) if next.dims[axis] > 1 => {
                    let half = next.dims[axis] / 2;
                    let (mut low, mut high) = (next.clone(), next);
                    low.dims[axis] = half;
                    high.dims[axis] -= half;
                    for layout in &mut high.layouts {
                        layout.first += half * layout.strides[axis];
                    }
                    open.push(high);
                    open.push(low);
                }
                _ => done.push(next),
            }
        }
        done
    }
}

/// Contiguous strides of a shape.
pub(super) fn strides_of(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// Strides of a shape that is broadcast over another, dimension by dimension of the other; nothing if it has more dimensions.
pub(super) fn broadcast_strides(shape: &[usize], over: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![0; over.len().checked_sub(shape.len())?];
    for (&len, stride) in shape.iter().zip(strides_of(shape)) {
        strides.push(if len == 1 { 0 } else { stride });
    }
    Some(strides)
}

impl Lowering<'_, '_> {
    /// Cuts `0..count` into bands such that `fits(begin, end)` holds for each: as few as powers of two allow, their length a
    /// multiple of `step` if it is larger.
    pub(super) fn bands(
        &self,
        count: usize,
        step: usize,
        fits: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<(usize, usize)>, ExecError> {
        let mut pieces = 1;
        loop {
            let mut len = count.div_ceil(pieces).max(1);
            if len > step {
                len = len.next_multiple_of(step);
            }
            let bands: Vec<_> = (0..count)
                .step_by(len)
                .map(|begin| (begin, (begin + len).min(count)))
                .collect();
            if bands.iter().all(|&(begin, end)| fits(begin, end)) {
                return Ok(bands);
            }
            if len <= 1 {
                let shapes = self.context.operands;
                return Err(self.unsupported(format!(
                    "{shapes:?} to {:?}, of which not even one row fits the {} bytes of a binding",
                    self.context.output,
                    self.limits().max_storage_binding
                )));
            }
            pieces *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: KernelLimits = KernelLimits {
        max_storage_binding: 1024,
        max_workgroups: 4,
        storage_alignment: 256,
        max_dispatch_flops: 1 << 30,
        subgroups: false,
        halves: false,
        serial_lanes: false,
        busy_groups: 1,
    };

    #[test]
    fn grids_are_folded() {
        assert_eq!(fold(0, 4), Some([1, 1, 1]));
        assert_eq!(fold(4, 4), Some([4, 1, 1]));
        for groups in 1..=64 {
            let [x, y, z] = fold(groups, 4).unwrap();
            assert!(
                x <= 4 && y <= 4 && z <= 4 && u64::from(x * y * z) >= groups,
                "{groups}"
            );
        }
        assert_eq!(fold(65, 4), None);
    }

    #[test]
    fn windows_begin_at_aligned_bytes() {
        let window = SMALL.window(Arg::Output, 70, 10);
        assert_eq!((window.bound.range, window.base), (256..320, 6));
        assert!(SMALL.fits(64, 256) && !SMALL.fits(65, 256));
    }

    #[test]
    fn boxes_merge_and_split() {
        // A transpose of [40, 30] covers everything once, in windows that fit.
        let whole = Box4::new(&[1, 30, 40], [0, 0], [&[0, 1, 30], &[0, 40, 1]]).unwrap();
        assert_eq!(whole.dims, [1, 1, 30, 40]);
        let mut seen = vec![0; 1200];
        for part in whole.split(&SMALL) {
            for layout in &part.layouts {
                assert!(SMALL.fits(layout.first, layout.span(part.dims)));
            }
            for i in 0..part.dims[2] {
                for j in 0..part.dims[3] {
                    let [x, y] = part
                        .layouts
                        .map(|l| l.first + i * l.strides[2] + j * l.strides[3]);
                    assert_eq!((x % 30, x / 30), (y / 40, y % 40));
                    seen[y] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&count| count == 1));
        let flat = Box4::new(&[2, 3, 4], [0], [&[12, 4, 1]]).unwrap();
        assert_eq!(flat.dims, [1, 1, 1, 24]);
        assert!(Box4::new(&[2; 5], [0], [&[1, 2, 4, 8, 16]]).is_none());
    }
}
