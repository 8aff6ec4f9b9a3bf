//! Mixtures of experts. The generic path: each row reads the matrices of its experts anew, whatever other rows read.

use diptych_shaders::Kernel;

use super::{Arg, ExecError, Lowering, Work, words};
use crate::graph::WeightId;

/// Weight rows of a workgroup.
const BLOCK: usize = 4;
/// Lanes of the kernel that routes.
const ROUTE_LANES: usize = 64;
/// Lanes of the kernel that adds up.
const COMBINE_LANES: usize = 256;

impl Lowering<'_, '_> {
    pub(super) fn route_experts(&mut self, used: usize, normalised: bool) -> Result<(), ExecError> {
        let [rows, experts] = self.axes(0)?;
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * experts, (end - begin) * experts)
                && limits.fits(begin * 2 * used, (end - begin) * 2 * used)
        })?;
        for (begin, end) in bands {
            let band = end - begin;
            let x = limits.window(Arg::Operand(0), begin * experts, band * experts);
            let y = limits.window(Arg::Output, begin * 2 * used, band * 2 * used);
            let numbers = [band, experts, used, usize::from(normalised), x.base, y.base];
            let work = Work {
                groups: band.div_ceil(ROUTE_LANES) as u64,
                flops: (band * experts * (used + 2)) as u64,
            };
            let bindings = vec![x.bound, y.bound];
            self.push(Kernel::RouteExperts, &words(numbers)?, bindings, work)?;
        }
        Ok(())
    }

    pub(super) fn expert_linear(
        &mut self,
        weights: &[WeightId],
        experts: usize,
    ) -> Result<(), ExecError> {
        let [x_rows, k] = self.axes(0)?;
        let [rows, twice_used] = self.axes(1)?;
        let used = twice_used / 2;
        let &[pairs, n] = self.context.output else {
            return Err(self.unsupported(format!("{:?}", self.context.output)));
        };
        // Pairs to a row of x.
        let divisor = if x_rows == rows { used } else { 1 };
        let limits = *self.limits();
        for (index, &id) in weights.iter().enumerate() {
            let layout = self.weight(id).clone();
            let first_expert = if weights.len() == 1 { 0 } else { index };
            if layout.cols != k || layout.rows * weights.len() != experts * n {
                return Err(self.unsupported(format!(
                    "a weight of {} x {} for {experts} experts of {n} x {k}",
                    layout.rows, layout.cols
                )));
            }
            for (shard, shard_rows) in layout.shards.iter().enumerate() {
                // Rows of x and routes that a band of pairs sees.
                let x_of = |begin: usize, end: usize| {
                    let first = begin / divisor;
                    (first * k, ((end - 1) / divisor + 1 - first) * k)
                };
                let routes_of = |begin: usize, end: usize| {
                    let first = begin / used;
                    (
                        first * twice_used,
                        ((end - 1) / used + 1 - first) * twice_used,
                    )
                };
                let bands = self.bands(pairs, 1, |begin, end| {
                    let (x, routes) = (x_of(begin, end), routes_of(begin, end));
                    let flops = 2 * ((end - begin) * k) as u64 * n as u64;
                    limits.fits(x.0, x.1)
                        && limits.fits(routes.0, routes.1)
                        && limits.fits(begin * n, (end - begin) * n)
                        && (flops <= limits.max_dispatch_flops || end - begin == 1)
                })?;
                for (begin, end) in bands {
                    let band = end - begin;
                    let (first, len) = x_of(begin, end);
                    let x = limits.window(Arg::Operand(0), first, len);
                    let (first, len) = routes_of(begin, end);
                    let routes = limits.window(Arg::Operand(1), first, len);
                    let y = limits.window(Arg::Output, begin * n, band * n);
                    let blocks = n.div_ceil(BLOCK);
                    let numbers = [
                        layout.chunks(),
                        layout.main_words(shard_rows.len()),
                        k,
                        n,
                        first_expert * n + shard_rows.start,
                        shard_rows.len(),
                        band,
                        used,
                        divisor,
                        x.base,
                        routes.base,
                        y.base,
                        begin % used,
                        blocks,
                    ];
                    let work = Work {
                        groups: (band * blocks) as u64,
                        flops: 2 * (band * k) as u64 * n as u64,
                    };
                    let weights = self.shard(id, shard)?;
                    let mut bindings = vec![weights.clone(), x.bound, routes.bound, y.bound];
                    if layout.format.is_wide() {
                        // The weight again, to be read in larger pieces.
                        bindings.push(weights);
                    }
                    let kernel = Kernel::ExpertMatVec {
                        weight: layout.format,
                    };
                    self.push(kernel, &words(numbers)?, bindings, work)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn combine_experts(&mut self) -> Result<(), ExecError> {
        let [_, width] = self.axes(0)?;
        let [rows, twice_used] = self.axes(1)?;
        let used = twice_used / 2;
        let limits = *self.limits();
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * used * width, (end - begin) * used * width)
                && limits.fits(begin * twice_used, (end - begin) * twice_used)
        })?;
        for (begin, end) in bands {
            let band = end - begin;
            let x = limits.window(Arg::Operand(0), begin * used * width, band * used * width);
            let routes = limits.window(Arg::Operand(1), begin * twice_used, band * twice_used);
            let y = limits.window(Arg::Output, begin * width, band * width);
            let numbers = [band, width, used, x.base, routes.base, y.base];
            let work = Work {
                groups: (band * width).div_ceil(COMBINE_LANES) as u64,
                flops: (2 * band * used * width) as u64,
            };
            let bindings = vec![x.bound, routes.bound, y.bound];
            self.push(Kernel::CombineExperts, &words(numbers)?, bindings, work)?;
        }
        Ok(())
    }
}
