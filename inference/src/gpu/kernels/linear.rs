//! Products with weight matrices.

use diptych_shaders::{Kernel, MatVecRows};

use super::{Arg, BoundArg, ExecError, Lowering, Work, words};
use crate::graph::WeightId;

/// Rows of a result up to which the matrix-vector kernels are used.
const MATVEC_ROWS: usize = 8;
/// Weight rows of a workgroup of those.
const MATVEC_WEIGHT_ROWS: usize = 4;
/// Edge of the tiles of the matrix product.
pub(super) const TILE: usize = 64;

impl Lowering<'_, '_> {
    /// The binding of a whole shard.
    pub(super) fn shard(&self, weight: WeightId, shard: usize) -> Result<BoundArg, ExecError> {
        match self.weight(weight).shard_bytes(shard) {
            0 => Err(self.unsupported(format!("shard {shard} of a weight that has none such"))),
            bytes => Ok(BoundArg {
                arg: Arg::Weight { weight, shard },
                range: 0..bytes,
            }),
        }
    }

    /// The binding of a vector of weights from `first` on and the place of its first element there; where there is no vector, a
    /// part of `stand_in`, which is bound anyway, takes the binding's place.
    pub(super) fn vector(
        &self,
        vector: Option<WeightId>,
        first: usize,
        len: usize,
        stand_in: &BoundArg,
    ) -> Result<(BoundArg, usize), ExecError> {
        let Some(id) = vector else {
            let start = stand_in.range.start;
            return Ok((
                BoundArg {
                    arg: stand_in.arg,
                    range: start..start + 4,
                },
                0,
            ));
        };
        let layout = self.weight(id);
        if layout.rows != 1 || layout.shards.len() != 1 || layout.cols < first + len {
            return Err(self.unsupported(format!(
                "a vector of {} x {} in place of {len}",
                layout.rows, layout.cols
            )));
        }
        let window = self.limits().window(
            Arg::Weight {
                weight: id,
                shard: 0,
            },
            first,
            len,
        );
        Ok((window.bound, window.base))
    }

    pub(super) fn linear(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
    ) -> Result<(), ExecError> {
        let layout = self.weight(weight).clone();
        let limits = *self.limits();
        let (k, n) = (layout.cols, layout.rows);
        let rows = self.operand(0)?.iter().product::<usize>() / k.max(1);
        let few = rows <= MATVEC_ROWS;
        let tile = if few { rows.max(1) } else { TILE };
        let parts = layout.shards.iter().enumerate().flat_map(|(shard, rows)| {
            layout
                .parts(rows.len(), tile, &limits)
                .map(move |part| (shard, rows.start, part))
        });
        for (shard, shard_start, part) in parts {
            let shard_rows = shard_start + part.start..shard_start + part.end;
            let count = part.len();
            // The result's window for rows begin..end: from the first one's first column of this shard to the last one's last.
            let result = |begin: usize, end: usize| {
                (begin * n + shard_rows.start, (end - begin - 1) * n + count)
            };
            let bands = self.bands(rows, if few { 1 } else { TILE }, |begin, end| {
                let (first, len) = result(begin, end);
                let flops = 2 * ((end - begin) * k) as u64 * count as u64;
                limits.fits(begin * k, (end - begin) * k)
                    && limits.fits(first, len)
                    && (flops <= limits.max_dispatch_flops || end - begin <= TILE)
            })?;
            for (begin, end) in bands {
                let band = end - begin;
                let (first, len) = result(begin, end);
                let mut weights = self.shard(weight, shard)?;
                let whole = layout.shards.get(shard).map_or(0, ExactSizeIterator::len);
                let (from, scales) = layout.start_of(part.start, whole);
                weights.range.start = from;
                let x = limits.window(Arg::Operand(0), begin * k, band * k);
                let (bias_bound, bias_base) =
                    self.vector(bias, shard_rows.start, count, &weights)?;
                let y = limits.window(Arg::Output, first, len);
                let has_bias = usize::from(bias.is_some());
                let numbers = [
                    layout.chunks(),
                    scales,
                    k,
                    count,
                    band,
                    x.base,
                    y.base,
                    n,
                    bias_base,
                    has_bias,
                ];
                let mut list = words(numbers)?.to_vec();
                let bindings = vec![weights, x.bound, bias_bound, y.bound];
                let flops = 2 * (band * k) as u64 * count as u64;
                if few {
                    let kernel_rows = match band {
                        1 => MatVecRows::One,
                        2..=4 => MatVecRows::Four,
                        _ => MatVecRows::Eight,
                    };
                    let work = Work {
                        groups: count.div_ceil(MATVEC_WEIGHT_ROWS) as u64,
                        flops,
                    };
                    let (weight, rows) = (layout.format, kernel_rows);
                    let kernel = match limits.subgroups {
                        true => Kernel::MatVecSubgroups { weight, rows },
                        false => Kernel::MatVec { weight, rows },
                    };
                    self.push(kernel, &list, bindings, work)?;
                } else {
                    let tiles_n = count.div_ceil(TILE);
                    list.extend(words([tiles_n])?);
                    let work = Work {
                        groups: (tiles_n * band.div_ceil(TILE)) as u64,
                        flops,
                    };
                    self.push(
                        Kernel::Gemm {
                            weight: layout.format,
                        },
                        &list,
                        bindings,
                        work,
                    )?;
                }
            }
        }
        Ok(())
    }
}
