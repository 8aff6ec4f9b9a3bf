//! Products with weight matrices.

use diptych_shaders::{Function, GemmForm, Kernel, MatVecRows, WeightFormat};

use super::elementwise::function;
use super::fusion::DEAL_WORDS;
use super::{Arg, BoundArg, Dispatch, ExecError, Lowering, PackedLayout, Work, word, words};
use crate::graph::WeightId;

/// Rows of a result that the matrix-vector kernels compute at most at once.
const MATVEC_ROWS: usize = MatVecRows::MOST as usize;
/// Rows up to which they are used: twice, they are still faster than a tile of which three quarters are empty.
pub const FEW_ROWS: usize = 2 * MATVEC_ROWS;
/// Summed elements that are worth a part of their own, where K is split.
pub(super) const SPLIT_K: usize = 256;
/// Summed elements of a step of the tiled product.
pub(super) const STEP_K: usize = 32;
/// Elements of a workgroup of the kernel that joins parts.
pub(super) const JOIN_LANES: usize = 256;
/// Edge of the tiles of the matrix product.
pub(super) const TILE: usize = 64;
/// Rows of a plane where there are no planes: beyond all rows.
pub(super) const NO_PLANE: usize = u32::MAX as usize;

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
        if self.linear_across(weight, bias)? {
            return Ok(());
        }
        if self.context.fusion.gate.is_some() {
            return self.gated_linear(weight, bias);
        }
        let (columns_in, columns_out) = (
            self.context.fusion.columns_in,
            self.context.fusion.columns_out,
        );
        // Where lanes read one after the other, tiles only add to what is read: eight rows at a time are five times as fast there.
        let in_rows = columns_in.is_none() && columns_out.is_none();
        let few = rows <= FEW_ROWS || in_rows && limits.is_across(layout.format);
        let whole_y = limits.fits(0, rows * n) && layout.shards.len() == 1;
        let dealt = self
            .context
            .fusion
            .deal
            .map(|deal| deal.places(rows, limits.storage_alignment).1);
        if dealt.is_some_and(|len| !limits.fits(0, len)) || dealt.is_some() && !whole_y {
            return Err(self.unsupported(format!("{rows} rows dealt out")));
        }
        if columns_in.is_some() && (few || !limits.fits(0, rows * k))
            || columns_out.is_some() && (few || !whole_y)
        {
            return Err(self.unsupported(format!("{rows} rows in columns")));
        }
        let tile = if few {
            rows.clamp(1, MATVEC_ROWS)
        } else {
            TILE
        };
        let parts = layout.shards.iter().enumerate().flat_map(|(shard, rows)| {
            layout
                .parts(rows.len(), tile, &limits)
                .map(move |part| (shard, rows.start, part))
        });
        let done = self.lowered.dispatches.len();
        for (shard, shard_start, part) in parts {
            let shard_rows = shard_start + part.start..shard_start + part.end;
            let count = part.len();
            // The result's window for rows begin..end: from the first one's first column of this shard to the last one's last.
            let result = |begin: usize, end: usize| match (columns_out, dealt) {
                (None, None) => (begin * n + shard_rows.start, (end - begin - 1) * n + count),
                (Some(_), _) => (0, rows * n),
                (None, Some(len)) => (0, len),
            };
            let bands = self.bands(rows, if few { 1 } else { TILE }, |begin, end| {
                let (first, len) = result(begin, end);
                let flops = 2 * ((end - begin) * k) as u64 * count as u64;
                (!few || end - begin <= MATVEC_ROWS)
                    && limits.fits(begin * k, (end - begin) * k)
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
                let x = match columns_in {
                    None => limits.window(Arg::Operand(0), begin * k, band * k),
                    Some(_) => limits.window(Arg::Operand(0), 0, rows * k),
                };
                let (bias_bound, bias_base) =
                    self.vector(bias, shard_rows.start, count, &weights)?;
                let y = limits.window(Arg::Output, first, len);
                // Where the first row and column of the dispatch lie, and from there the others.
                let (y_base, y_stride, y_plane, y_outer, y_step) = match columns_out {
                    None => (y.base, n, NO_PLANE, 0, 1),
                    Some(plane) => (
                        y.base + shard_rows.start * plane,
                        1,
                        plane,
                        n * plane,
                        plane,
                    ),
                };
                // What lies in columns is bound as a whole, and counted from its beginning.
                let [x_row_begin, y_row_begin] =
                    [columns_in, columns_out].map(|plane| plane.map_or(0, |_| begin));
                let other = self.other(&y.bound, &bias_bound);
                let epilogue = self.epilogue(true, (0, 0));
                let deal = self.deal(rows, (begin, shard_rows.start))?;
                let has_bias = usize::from(bias.is_some());
                let numbers = [
                    layout.chunks(),
                    scales,
                    k,
                    count,
                    band,
                    x.base,
                    y_base,
                    y_stride,
                    bias_base,
                    has_bias,
                ];
                let mut list = words(numbers)?.to_vec();
                let bindings = vec![weights, x.bound, bias_bound, y.bound];
                let flops = 2 * (band * k) as u64 * count as u64;
                if few {
                    let (kernel, weight_rows) = self.matvec(layout.format, band, count);
                    let work = Work {
                        groups: count.div_ceil(weight_rows) as u64,
                        flops,
                    };
                    let mut bindings = bindings;
                    if layout.format.is_wide() {
                        // The weight again, to be read in larger pieces.
                        bindings.extend(bindings.first().cloned());
                    }
                    bindings.push(other);
                    list.extend(epilogue);
                    list.extend(deal);
                    list.extend([0, Function::Same as u32]);
                    self.push(kernel, &list, bindings, work)?;
                    continue;
                }
                let tiles_n = count.div_ceil(TILE);
                let tiles = tiles_n * band.div_ceil(TILE);
                let splits = limits.splits(tiles, k / SPLIT_K);
                let weight = layout.format;
                let form = match columns_in {
                    None => GemmForm::Rows,
                    Some(_) => GemmForm::Columns,
                };
                list.extend(words([
                    tiles_n,
                    x_row_begin,
                    columns_in.unwrap_or(NO_PLANE),
                ])?);
                if splits < 2 || !limits.fits(0, splits * band * count) {
                    let groups = tiles as u64;
                    let work = Work { groups, flops };
                    let gate = Function::Same as usize;
                    list.extend(words([y_row_begin, y_plane, y_outer, y_step, 0, 0, gate])?);
                    list.extend(epilogue);
                    list.extend(deal);
                    let bindings = [bindings, vec![other]].concat();
                    let tile = limits.tile(weight);
                    self.push(Kernel::Gemm { weight, form, tile }, &list, bindings, work)?;
                    continue;
                }
                // Whole steps; so the last part may be shorter, and there may be fewer of them.
                let split_k = k.div_ceil(splits).next_multiple_of(STEP_K);
                let splits = k.div_ceil(split_k);
                let elements = band * count;
                let parts = self.scratch((splits * elements) as u64 * 4);
                let parts = limits.window(parts, 0, splits * elements).bound;
                let [weights, x, bias_bound, y] = <[BoundArg; 4]>::try_from(bindings)
                    .map_err(|_| self.unsupported("other bindings than it takes"))?;
                list.extend(words([splits, split_k])?);
                let work = Work {
                    groups: (tiles * splits) as u64,
                    flops,
                };
                let bindings = vec![weights, x, bias_bound.clone(), parts.clone()];
                let tile = limits.tile(weight);
                self.push(
                    Kernel::GemmSplit { weight, form, tile },
                    &list,
                    bindings,
                    work,
                )?;
                let numbers = [
                    splits,
                    band,
                    count,
                    count,
                    Function::Same as usize,
                    y_base,
                    y_stride,
                    bias_base,
                    has_bias,
                    y_row_begin,
                    y_plane,
                    y_outer,
                    y_step,
                ];
                let mut list = words(numbers)?.to_vec();
                list.extend(epilogue);
                list.extend(deal);
                let work = Work {
                    groups: elements.div_ceil(JOIN_LANES) as u64,
                    flops: (splits * elements) as u64,
                };
                let bindings = vec![parts, bias_bound, y, other];
                self.push(Kernel::GemmJoin, &list, bindings, work)?;
            }
        }
        self.count_dealt(done);
        Ok(())
    }

    /// Puts right how many bytes dispatches move that each have the whole of what they deal out bound, but write a part of it.
    pub(super) fn count_dealt(&mut self, first: usize) {
        if self.context.fusion.deal.is_none() {
            return;
        }
        let dispatches = self.lowered.dispatches.get_mut(first..).unwrap_or_default();
        let writers = |dispatch: &Dispatch| {
            dispatch
                .bindings
                .iter()
                .find(|bound| bound.arg == Arg::Output)
                .map(|bound| bound.range.end - bound.range.start)
        };
        let count = dispatches.iter().filter_map(writers).count().max(1) as u64;
        for dispatch in dispatches {
            if let Some(whole) = writers(dispatch) {
                dispatch.bytes = dispatch.bytes.saturating_sub(whole - whole / count);
            }
        }
    }

    /// A product whose second half makes the gates of the first (Shazeer 2020): `[.., 2D]` is never written.
    fn gated_linear(&mut self, weight: WeightId, bias: Option<WeightId>) -> Result<(), ExecError> {
        let layout = self.weight(weight).clone();
        let limits = *self.limits();
        let fusion = *self.context.fusion;
        let (k, both) = (layout.cols, layout.rows);
        let n = both / 2;
        let rows = self.operand(0)?.iter().product::<usize>() / k.max(1);
        let gate = match fusion.gate {
            Some(activation) if both == 2 * n && layout.shards.len() == 1 => function(activation),
            _ => return Err(self.unsupported(format!("{rows} rows and a gate"))),
        };
        if fusion.columns_in.is_some() || fusion.columns_out.is_some() {
            return Err(self.unsupported("a gate in columns"));
        }
        let weights = self.shard(weight, 0)?;
        let (bias_bound, bias_base) = self.vector(bias, 0, both, &weights)?;
        let has_bias = usize::from(bias.is_some());
        let weight = layout.format;
        if rows <= FEW_ROWS {
            return self.gated_few((&layout, weights), (bias_bound, bias_base, has_bias), gate);
        }
        let flops_of = |rows: usize, pairs: usize| 4 * (rows * k) as u64 * pairs as u64;
        let ranges = self.bands(n, TILE / 2, |from, to| {
            to - from <= TILE / 2 || flops_of(TILE, to - from) <= limits.max_dispatch_flops
        })?;
        for (from, to) in ranges {
            let count = to - from;
            let result =
                |begin: usize, end: usize| (begin * n + from, (end - begin - 1) * n + count);
            let bands = self.bands(rows, TILE, |begin, end| {
                let (first, len) = result(begin, end);
                limits.fits(begin * k, (end - begin) * k)
                    && limits.fits(first, len)
                    && (end - begin <= TILE
                        || flops_of(end - begin, count) <= limits.max_dispatch_flops)
            })?;
            for (begin, end) in bands {
                let band = end - begin;
                let (first, len) = result(begin, end);
                let x = limits.window(Arg::Operand(0), begin * k, band * k);
                let y = limits.window(Arg::Output, first, len);
                let other = self.other(&y.bound, &bias_bound);
                let flops = flops_of(band, count);
                // Split, both halves are computed as one product, which needs all of them.
                let tiles = both.div_ceil(TILE) * band.div_ceil(TILE);
                let splits = limits.splits(tiles, k / SPLIT_K);
                let split = splits > 1 && count == n && limits.fits(0, splits * band * both);
                let tiles_n = if split {
                    both.div_ceil(TILE)
                } else {
                    count.div_ceil(TILE / 2)
                };
                let scales = layout.main_words(both);
                let mut list = words([
                    layout.chunks(),
                    scales,
                    k,
                    if split { both } else { count },
                    band,
                    x.base,
                    y.base,
                    n,
                    bias_base,
                    has_bias,
                    tiles_n,
                    0,
                    NO_PLANE,
                ])?
                .to_vec();
                if !split {
                    list.extend(words([0, NO_PLANE, 0, 1, n, from])?);
                    list.push(gate);
                    list.extend(self.epilogue(true, (0, 0)));
                    list.extend([0; DEAL_WORDS]);
                    let work = Work {
                        groups: (tiles_n * band.div_ceil(TILE)) as u64,
                        flops,
                    };
                    let bindings =
                        vec![weights.clone(), x.bound, bias_bound.clone(), y.bound, other];
                    let form = GemmForm::Pairs;
                    let tile = limits.tile(weight);
                    self.push(Kernel::Gemm { weight, form, tile }, &list, bindings, work)?;
                    continue;
                }
                let split_k = k.div_ceil(splits).next_multiple_of(STEP_K);
                let splits = k.div_ceil(split_k);
                let parts = self.scratch((splits * band * both) as u64 * 4);
                let parts = limits.window(parts, 0, splits * band * both).bound;
                list.extend(words([splits, split_k])?);
                let work = Work {
                    groups: (tiles * splits) as u64,
                    flops,
                };
                let bindings = vec![weights.clone(), x.bound, bias_bound.clone(), parts.clone()];
                let form = GemmForm::Rows;
                let tile = limits.tile(weight);
                self.push(
                    Kernel::GemmSplit { weight, form, tile },
                    &list,
                    bindings,
                    work,
                )?;
                let mut list = words([splits, band, both, n])?.to_vec();
                list.push(gate);
                list.extend(words([y.base, n, bias_base, has_bias, 0, NO_PLANE, 0, 1])?);
                list.extend(self.epilogue(true, (0, 0)));
                list.extend([0; DEAL_WORDS]);
                let work = Work {
                    groups: (band * n).div_ceil(JOIN_LANES) as u64,
                    flops: (splits * band * both) as u64,
                };
                let bindings = vec![parts, bias_bound.clone(), y.bound, other];
                self.push(Kernel::GemmJoin, &list, bindings, work)?;
            }
        }
        Ok(())
    }

    /// The same of few rows: a lane has the sums of a value and of its gate.
    fn gated_few(
        &mut self,
        (layout, weights): (&PackedLayout, BoundArg),
        (bias, bias_base, has_bias): (BoundArg, usize, usize),
        gate: u32,
    ) -> Result<(), ExecError> {
        let limits = *self.limits();
        let (k, both) = (layout.cols, layout.rows);
        let n = both / 2;
        let rows = self.operand(0)?.iter().product::<usize>() / k.max(1);
        let bands = self.bands(rows, 1, |begin, end| {
            end - begin <= MATVEC_ROWS
                && limits.fits(begin * k, (end - begin) * k)
                && limits.fits(begin * n, (end - begin) * n)
        })?;
        for (begin, end) in bands {
            let band = end - begin;
            let x = limits.window(Arg::Operand(0), begin * k, band * k);
            let y = limits.window(Arg::Output, begin * n, band * n);
            let other = self.other(&y.bound, &bias);
            let mut list = words([
                layout.chunks(),
                layout.main_words(both),
                k,
                both,
                band,
                x.base,
                y.base,
                n,
                bias_base,
                has_bias,
            ])?
            .to_vec();
            list.extend(self.epilogue(true, (0, 0)));
            list.extend([0; DEAL_WORDS]);
            list.extend([word(n)?, gate]);
            let (kernel, weight_rows) = self.matvec(layout.format, band, both);
            let work = Work {
                groups: n.div_ceil(weight_rows / 2) as u64,
                flops: 2 * (band * k) as u64 * both as u64,
            };
            let mut bindings = vec![weights.clone(), x.bound, bias.clone(), y.bound];
            if layout.format.is_wide() {
                // The weight again, to be read in larger pieces.
                bindings.push(weights.clone());
            }
            bindings.push(other);
            self.push(kernel, &list, bindings, work)?;
        }
        Ok(())
    }

    /// The kernel for a product of few rows with `count` weight rows, and how many of those a workgroup takes.
    fn matvec(&self, weight: WeightFormat, rows: usize, count: usize) -> (Kernel, usize) {
        let limits = self.limits();
        let mut rows = MatVecRows::new(rows);
        if limits.is_across(weight) {
            rows = rows.across();
        } else if weight.is_wide()
            // Only if enough workgroups remain.
            && count / 8 >= limits.busy_groups as usize
        {
            rows = rows.by_eight();
        }
        let kernel = match limits.subgroups {
            true => Kernel::MatVecSubgroups { weight, rows },
            false => Kernel::MatVec { weight, rows },
        };
        (kernel, rows.weight_rows() as usize)
    }
}
