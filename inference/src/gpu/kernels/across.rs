//! Products and convolutions on devices whose lanes read memory one after the other, as those of a processor do: tiles whose lanes keep everything to
//! themselves, since workgroup memory and barriers are what costs there.

use diptych_shaders::{
    AcrossEnd, AcrossHead, AcrossRows, ConvTaps, Function, Kernel, WeightFormat,
};

use super::elementwise::activation_function;
use super::fusion::parametric;
use super::linear::NO_PLANE;
use super::mask::{Mask, Part};
use super::{Arg, BoundArg, ExecError, KernelLimits, Lowering, PackedLayout, Work, word, words};
use crate::graph::{Conv2dSpec, UnaryKind, WeightId};

/// Weight rows of the larger tile.
const TILE_COLUMNS: usize = 64;
/// Rows of the larger tile.
const TILE_ROWS: usize = 32;
/// Elements of what the windows of a convolution see that are laid out at once: few enough to stay in a processor's cache.
const UNFOLDED: usize = 1 << 20;
/// Lanes of a workgroup of the kernel that lays them out.
const UNFOLD_LANES: usize = 64;
/// Rows from which on a product is one of many rows.
const MANY_ROWS: usize = 9;

impl KernelLimits {
    /// Whether products of many rows that sum over `k` elements are computed here.
    fn tiles_across(&self, k: usize) -> bool {
        self.subgroups && self.serial_lanes && k > 0 && k.is_multiple_of(16)
    }
}

/// Ranges of rows with the tiles that they are computed by: whole large ones, if the format has such, and what remains by those that have less to spare.
fn row_ranges(rows: usize, weight: WeightFormat) -> Vec<(usize, usize, AcrossRows)> {
    let large = AcrossRows::all(weight).any(|tile| tile == AcrossRows::ThirtyTwo);
    let whole = if large {
        rows / TILE_ROWS * TILE_ROWS
    } else {
        0
    };
    let rest = rows - whole;
    if large && (rest > TILE_ROWS / 2 || rest == 0) {
        return vec![(0, rows, AcrossRows::ThirtyTwo)];
    }
    let mut ranges = Vec::new();
    if whole > 0 {
        ranges.push((0, whole, AcrossRows::ThirtyTwo));
    }
    ranges.push((whole, rows, AcrossRows::Sixteen));
    ranges
}

/// A product of some rows with some weight rows.
struct Product<'a> {
    layout: &'a PackedLayout,
    shard: (WeightId, usize),
    /// Of the shard.
    first_weight_row: usize,
    /// Weight rows, or pairs of them.
    columns: usize,
    rows: usize,
    tile: AcrossRows,
    /// Bound, and the place of the first element; with the first row and the rows of a plane, where it lies in columns.
    x: (BoundArg, usize),
    x_columns: Option<(usize, usize)>,
    y: BoundArg,
    y_place: Place,
    bias: (BoundArg, usize, bool),
    other: BoundArg,
    /// Distance of the halves of a gated product, and the function.
    gate: Option<(usize, Function)>,
    channel: (u32, u32),
    /// Row and column of the whole, for what is dealt out.
    first: (usize, usize),
    all_rows: usize,
}

/// Where a result lies.
struct Place {
    base: usize,
    /// From one row to the next.
    stride: usize,
    /// In columns: the first row, the rows of a plane, and the distance of planes of a column.
    plane: Option<(usize, usize, usize)>,
    /// From one column to the next.
    step: usize,
}

impl Lowering<'_, '_> {
    /// Ranges of rows of which a product with so many columns is no long dispatch, in whole tiles, and for which all else fits.
    fn tile_bands(
        &self,
        (begin, end): (usize, usize),
        tile: AcrossRows,
        fits: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<(usize, usize)>, ExecError> {
        let size = tile.count() as usize;
        let at = |tiles: usize| (begin + tiles * size).min(end);
        let bands = self.bands((end - begin).div_ceil(size), 1, |from, to| {
            fits(at(from), at(to))
        })?;
        Ok(bands.iter().map(|&(from, to)| (at(from), at(to))).collect())
    }

    fn push_product(&mut self, product: Product<'_>) -> Result<(), ExecError> {
        let Product { layout, tile, .. } = product;
        let (weight, shard) = product.shard;
        let weights = self.shard(weight, shard)?;
        let shard_rows = layout.shards.get(shard).map_or(0, ExactSizeIterator::len);
        let halves = if product.gate.is_some() { 2 } else { 1 };
        let tiles_n = (halves * product.columns).div_ceil(tile.weight_rows() as usize);
        let (x_row_begin, x_plane) = product.x_columns.unwrap_or((0, NO_PLANE));
        let place = product.y_place;
        let (y_row_begin, y_plane, y_outer) = place.plane.unwrap_or((0, NO_PLANE, 0));
        let (bias, bias_base, has_bias) = product.bias;
        let fusion = *self.context.fusion;
        let of = |kind: Option<UnaryKind>| kind.map_or(Function::Same, |kind| parametric(kind).0);
        let end = AcrossEnd {
            gate: product.gate.map(|(_, function)| function),
            before: of(fusion.epilogue.before),
            meets: fusion.epilogue.combine.is_some(),
            after: of(fusion.epilogue.after),
            dealt: fusion.deal.is_some(),
        };
        let mut list = words([
            layout.chunks(),
            layout.main_words(shard_rows),
            layout.cols,
            product.columns,
            product.rows,
            product.x.1,
            place.base,
            place.stride,
            bias_base,
            usize::from(has_bias),
            product.first_weight_row,
            tiles_n,
            x_row_begin,
            x_plane,
            y_row_begin,
            y_plane,
            y_outer,
            place.step,
        ])?
        .to_vec();
        list.push(word(product.gate.map_or(0, |(pairs, _)| pairs))?);
        list.extend(self.epilogue(true, product.channel));
        list.extend(self.deal(product.all_rows, product.first)?);
        let tiles = tiles_n * product.rows.div_ceil(tile.count() as usize);
        let summed = (product.rows * layout.cols) as u64;
        let work = Work {
            groups: tiles as u64,
            flops: 2 * summed * (halves * product.columns) as u64,
        };
        let kernel = Kernel::GemmAcross {
            weight: layout.format,
            rows: tile,
            columns: product.x_columns.is_some(),
            end,
        };
        // The weight twice: in words, and in larger pieces.
        let bindings = vec![
            weights.clone(),
            product.x.0,
            bias,
            product.y,
            weights,
            product.other,
        ];
        self.push(kernel, &list, bindings, work)
    }

    /// A product by tiles across lanes, if the device is one for them and they are for this product.
    pub(super) fn linear_across(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
    ) -> Result<bool, ExecError> {
        let layout = self.weight(weight).clone();
        let limits = *self.limits();
        let fusion = *self.context.fusion;
        let k = layout.cols;
        let rows = self.operand(0)?.iter().product::<usize>() / k.max(1);
        let whole_fours = fusion
            .columns_in
            .is_none_or(|plane| plane.is_multiple_of(4));
        let halves = if fusion.gate.is_some() { 2 } else { 1 };
        let n = layout.rows / halves;
        // Wherever it begins.
        let tile_fits = limits.fits(limits.band_alignment() - 1, TILE_ROWS.min(rows) * k.max(n));
        if rows < MANY_ROWS || !limits.tiles_across(k) || !whole_fours || !tile_fits {
            return Ok(false);
        }
        let whole_y = limits.fits(0, rows * n) && layout.shards.len() == 1;
        let dealt = fusion
            .deal
            .map(|deal| deal.places(rows, limits.storage_alignment).1);
        let in_columns = fusion.columns_in.is_some() || fusion.columns_out.is_some();
        if dealt.is_some_and(|len| !limits.fits(0, len))
            || dealt.is_some() && !whole_y
            || fusion.columns_in.is_some() && !limits.fits(0, rows * k)
            || fusion.columns_out.is_some() && !whole_y
            || fusion.gate.is_some()
                && (in_columns || layout.shards.len() != 1 || layout.rows != 2 * n)
        {
            return Err(self.unsupported(format!("{rows} rows across lanes")));
        }
        let gate = fusion
            .gate
            .map(|activation| (n, activation_function(activation)));
        let flops_of =
            |rows: usize, columns: usize| 2 * (rows * k) as u64 * (halves * columns) as u64;
        let done = self.lowered.dispatches.len();
        for (shard, shard_rows) in layout.shards.iter().enumerate() {
            let ranges = self.bands(shard_rows.len() / halves, TILE_COLUMNS, |from, to| {
                to - from <= TILE_COLUMNS
                    || flops_of(TILE_ROWS.min(rows), to - from) <= limits.max_dispatch_flops
            })?;
            let tiles = row_ranges(rows, layout.format);
            let both = ranges
                .iter()
                .flat_map(|range| tiles.iter().map(move |tile| (*range, *tile)));
            for ((from, to), (first_row, end_row, tile)) in both {
                let (first, columns) = (shard_rows.start + from, to - from);
                let result = |begin: usize, end: usize| match (fusion.columns_out, dealt) {
                    (None, None) => (begin * n + first, (end - begin - 1) * n + columns),
                    (Some(_), _) => (0, rows * n),
                    (None, Some(len)) => (0, len),
                };
                let bands = self.tile_bands((first_row, end_row), tile, |begin, end| {
                    let (at, len) = result(begin, end);
                    (fusion.columns_in.is_some() || limits.fits(begin * k, (end - begin) * k))
                        && limits.fits(at, len)
                        && (end - begin <= tile.count() as usize
                            || flops_of(end - begin, columns) <= limits.max_dispatch_flops)
                })?;
                for (begin, end) in bands {
                    let x = match fusion.columns_in {
                        None => limits.window(Arg::Operand(0), begin * k, (end - begin) * k),
                        Some(_) => limits.window(Arg::Operand(0), 0, rows * k),
                    };
                    let weights = self.shard(weight, shard)?;
                    // Of a product with gates the bias is bound as a whole.
                    let (bias_bound, bias_base) = match gate {
                        None => self.vector(bias, first, columns, &weights)?,
                        Some(_) => {
                            let (bound, base) = self.vector(bias, 0, 2 * n, &weights)?;
                            (bound, base + from)
                        }
                    };
                    let (at, len) = result(begin, end);
                    let y = limits.window(Arg::Output, at, len);
                    let y_place = match fusion.columns_out {
                        None => Place {
                            base: y.base,
                            stride: n,
                            plane: None,
                            step: 1,
                        },
                        Some(plane) => Place {
                            base: y.base + first * plane,
                            stride: 1,
                            plane: Some((begin, plane, n * plane)),
                            step: plane,
                        },
                    };
                    let other = self.other(&y.bound, &bias_bound);
                    self.push_product(Product {
                        layout: &layout,
                        shard: (weight, shard),
                        first_weight_row: from,
                        columns,
                        rows: end - begin,
                        tile,
                        x: (x.bound, x.base),
                        x_columns: fusion.columns_in.map(|plane| (begin, plane)),
                        y: y.bound,
                        y_place,
                        bias: (bias_bound, bias_base, bias.is_some()),
                        other,
                        gate,
                        channel: (0, 0),
                        first: (begin, first),
                        all_rows: rows,
                    })?;
                }
            }
        }
        self.count_dealt(done);
        Ok(true)
    }

    /// A convolution as a product with what its windows see, if the device is one for that. What they see is laid out for a range of output pixels at a
    /// time; windows of one pixel see the input as it lies.
    pub(super) fn conv2d_across(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        spec: Conv2dSpec,
    ) -> Result<bool, ExecError> {
        let [batch, channels, height, width] = self.axes(0)?;
        let &[_, _, out_height, out_width] = self.context.output else {
            return Err(self.unsupported(format!("{:?}", self.context.output)));
        };
        let layout = self.weight(weight).clone();
        let limits = *self.limits();
        let &[all_out, _, kernel_height, kernel_width] = layout.shape.as_slice() else {
            return Err(self.unsupported(format!("a weight of shape {:?}", layout.shape)));
        };
        let k = layout.cols;
        let (plane, pixels) = (height * width, out_height * out_width);
        if !limits.tiles_across(k) || !limits.fits(0, TILE_ROWS * k) {
            return Ok(false);
        }
        let doubled = self.context.fusion.doubled;
        let unchanged = (kernel_height, kernel_width) == (1, 1)
            && spec.stride == [1, 1]
            && spec.padding == [0; 4]
            && !doubled
            && plane.is_multiple_of(4);
        let by_channel = self.by_channel(all_out)?;
        let flops_of = |rows: usize, columns: usize| 2 * (rows * k) as u64 * columns as u64;
        for turn in 0..batch {
            let x_first = turn * channels * plane;
            let direct = unchanged && limits.fits(x_first, channels * plane);
            let pixel_bands = self.tile_bands((0, pixels), AcrossRows::ThirtyTwo, |from, to| {
                let elements = (to - from).next_multiple_of(4) * k;
                direct || to - from <= TILE_ROWS || elements <= UNFOLDED && limits.fits(0, elements)
            })?;
            let widest = pixel_bands
                .iter()
                .map(|(from, to)| (to - from).next_multiple_of(4))
                .max()
                .unwrap_or(0);
            let seen = match direct {
                true => Arg::Operand(0),
                false => self.unfolded((widest * k) as u64 * 4),
            };
            for (from, to) in pixel_bands {
                let fours = (to - from).div_ceil(4);
                let x = match direct {
                    true => limits.window(seen, x_first, channels * plane),
                    false => {
                        self.unfold((kernel_height, kernel_width, spec), turn, (from, to), seen)?;
                        limits.window(seen, 0, fours * 4 * k)
                    }
                };
                let (x_offset, x_plane) = if direct {
                    (from, plane)
                } else {
                    (0, fours * 4)
                };
                for (shard, shard_rows) in layout.shards.iter().enumerate() {
                    let result = |begin: usize, end: usize| {
                        let first = turn * all_out + shard_rows.start + begin;
                        (first * pixels, (end - begin) * pixels)
                    };
                    let ranges = self.bands(shard_rows.len(), TILE_COLUMNS, |begin, end| {
                        let (at, len) = result(begin, end);
                        limits.fits(at, len)
                            && (end - begin <= TILE_COLUMNS
                                || flops_of(TILE_ROWS, end - begin) <= limits.max_dispatch_flops)
                    })?;
                    for (begin, end) in ranges {
                        let columns = end - begin;
                        let first = shard_rows.start + begin;
                        let weights = self.shard(weight, shard)?;
                        let (bias_bound, bias_base) =
                            self.vector(bias, first, columns, &weights)?;
                        let (at, len) = result(begin, end);
                        let y = limits.window(Arg::Output, at, len);
                        let (other, channel) = match &by_channel {
                            Some((bound, base, stride)) => {
                                (bound.clone(), word(base + turn * stride + first)?)
                            }
                            None => (self.other(&y.bound, &bias_bound), 0),
                        };
                        for (first_row, end_row, tile) in row_ranges(to - from, layout.format) {
                            let bands =
                                self.tile_bands((first_row, end_row), tile, |begin, end| {
                                    end - begin <= tile.count() as usize
                                        || flops_of(end - begin, columns)
                                            <= limits.max_dispatch_flops
                                })?;
                            for (row, row_end) in bands {
                                self.push_product(Product {
                                    layout: &layout,
                                    shard: (weight, shard),
                                    first_weight_row: begin,
                                    columns,
                                    rows: row_end - row,
                                    tile,
                                    x: (x.bound.clone(), x.base),
                                    x_columns: Some((x_offset + row, x_plane)),
                                    y: y.bound.clone(),
                                    y_place: Place {
                                        base: y.base,
                                        stride: 1,
                                        plane: Some((from + row, NO_PLANE, 0)),
                                        step: pixels,
                                    },
                                    bias: (bias_bound.clone(), bias_base, bias.is_some()),
                                    other: other.clone(),
                                    gate: None,
                                    channel: (channel, 0),
                                    first: (0, 0),
                                    all_rows: pixels,
                                })?;
                            }
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// Attention by lanes that each have queries to themselves, if the device is one for that and there is a kernel for the heads.
    pub(super) fn attention_across(
        &mut self,
        [heads, kv_heads]: [usize; 2],
        scale: f32,
        causal: bool,
        mask: Option<Mask>,
    ) -> Result<bool, ExecError> {
        let [batch, queries, width] = self.axes(0)?;
        let [_, keys, kv_width] = self.axes(1)?;
        let limits = *self.limits();
        let Some(head) = AcrossHead::of(width / heads.max(1)) else {
            return Ok(false);
        };
        let tile = head.queries() as usize;
        let mask_fits = |count: [usize; 4]| mask.is_none_or(|mask| mask.fits(&limits, count));
        let possible = limits.subgroups
            && limits.serial_lanes
            && keys > 0
            && mask_fits([1, 1, tile.min(queries), keys]);
        if !possible
            || !limits.fits(
                limits.band_alignment() - 1,
                tile.max(keys) * width.max(kv_width),
            )
        {
            return Ok(false);
        }
        let flops_of = |queries: usize| 4 * (queries * width) as u64 * keys as u64;
        let together = limits.fits(0, batch * queries * width)
            && limits.fits(0, batch * keys * kv_width)
            && mask_fits([batch, heads, queries, keys])
            && batch as u64 * flops_of(queries) <= limits.max_dispatch_flops;
        let (at_once, turns) = if together { (batch, 1) } else { (1, batch) };
        let by_heads =
            mask.is_some_and(|mask| !together && mask.parts_heads(&limits, [heads, queries, keys]));
        let (heads_at_once, head_turns) = if by_heads { (1, heads) } else { (heads, 1) };
        let (heads_per_kv, fours) = (heads / kv_heads, head.elements() as usize / 4);
        let bands = self.bands(queries.div_ceil(tile), 1, |from, to| {
            let (begin, end) = (from * tile, queries.min(to * tile));
            together
                || limits.fits(begin * width, (end - begin) * width)
                    && mask_fits([1, heads_at_once, end - begin, keys])
                    && (to - from <= 1 || flops_of(end - begin) <= limits.max_dispatch_flops)
        })?;
        let all_turns = (0..turns).flat_map(|turn| (0..head_turns).map(move |index| (turn, index)));
        for (turn, index) in all_turns {
            for &(from, to) in &bands {
                let (begin, end) = (from * tile, queries.min(to * tile));
                let first = (turn * queries + begin) * width;
                let len = ((at_once - 1) * queries + end - begin) * width;
                let q = limits.window(Arg::Operand(0), first, len);
                let y = limits.window(Arg::Output, first, len);
                let kv_first = turn * keys * kv_width;
                let kv_len = at_once * keys * kv_width;
                let k = limits.window(Arg::Operand(1), kv_first, kv_len);
                let v = limits.window(Arg::Operand(2), kv_first, kv_len);
                let tiles = to - from;
                let kv_head = index / heads_per_kv * fours;
                let mut list = words([
                    heads_at_once,
                    if by_heads { 1 } else { heads_per_kv },
                    end - begin,
                    tiles,
                    q.base / 4 + index * fours,
                    width / 4,
                    k.base / 4 + kv_head,
                    v.base / 4 + kv_head,
                    kv_width / 4,
                    y.base / 4 + index * fours,
                ])?
                .to_vec();
                list.push(scale.to_bits());
                let strides = [queries * width / 4, keys * kv_width / 4];
                list.extend(words([at_once, strides[0], strides[1], keys, begin])?);
                list.push(u32::from(causal));
                let work = Work {
                    groups: (at_once * heads_at_once * tiles) as u64,
                    flops: at_once as u64 * flops_of(end - begin) / head_turns as u64,
                };
                let mut bindings = vec![q.bound, k.bound, v.bound, y.bound];
                if let Some(mask) = mask {
                    let part = Part {
                        first: [turn, index, begin, 0],
                        count: [at_once, heads_at_once, end - begin, keys],
                    };
                    let (window, places) = mask.window(&limits, part)?;
                    list.extend(places);
                    bindings.push(window.bound);
                }
                let kernel = Kernel::AttentionAcross {
                    head,
                    mask: mask.is_some(),
                };
                self.push(kernel, &list, bindings, work)?;
            }
        }
        Ok(true)
    }

    /// Scratch memory for what windows see, of which all pictures of a batch need the same.
    fn unfolded(&mut self, bytes: u64) -> Arg {
        match self.lowered.scratch.first_mut() {
            Some(there) => {
                *there = bytes.max(*there);
                Arg::Scratch(0)
            }
            None => self.scratch(bytes),
        }
    }

    /// Lays out what the windows of a range of output pixels see of one picture of the batch.
    fn unfold(
        &mut self,
        (kernel_height, kernel_width, spec): (usize, usize, Conv2dSpec),
        picture: usize,
        (from, to): (usize, usize),
        seen: Arg,
    ) -> Result<(), ExecError> {
        let [_, channels, height, width] = self.axes(0)?;
        let out_width = self.context.output.last().copied().unwrap_or(1);
        let limits = *self.limits();
        let doubled = self.context.fusion.doubled;
        let (plane, area) = (height * width, kernel_height * kernel_width);
        let [top, _, left, _] = spec.padding;
        let times = if doubled { 2 } else { 1 };
        let fours = (to - from).div_ceil(4);
        let x_first = picture * channels * plane;
        let ranges = self.bands(channels, 1, |begin, end| {
            limits.fits(x_first + begin * plane, (end - begin) * plane)
        })?;
        let y = limits.window(seen, 0, fours * 4 * channels * area);
        let by_rows = (kernel_height, kernel_width) == (3, 3)
            && spec.stride == [1, 1]
            && spec.padding == [1; 4]
            && !doubled
            && width.is_multiple_of(4);
        for (begin, end) in ranges {
            let x = limits.window(
                Arg::Operand(0),
                x_first + begin * plane,
                (end - begin) * plane,
            );
            if by_rows {
                let lanes = (end - begin) * fours;
                let list = words([
                    fours,
                    end - begin,
                    begin * area,
                    height,
                    width,
                    x.base,
                    y.base / 4,
                    from,
                ])?;
                let work = Work {
                    groups: lanes.div_ceil(UNFOLD_LANES) as u64,
                    flops: (lanes * 4 * area) as u64,
                };
                // The input again, to be read in larger pieces.
                let bindings = vec![x.bound.clone(), y.bound.clone(), x.bound];
                self.push(Kernel::ConvUnfoldRows, &list, bindings, work)?;
                continue;
            }
            let rows = (end - begin) * area;
            let list = words([
                fours,
                rows,
                begin * area,
                area,
                kernel_width,
                times * height,
                times * width,
                out_width,
                spec.stride[0],
                spec.stride[1],
                top,
                left,
                x.base,
                y.base / 4,
                from,
                to,
            ])?;
            let work = Work {
                groups: (rows * fours).div_ceil(UNFOLD_LANES) as u64,
                flops: (rows * fours * 4) as u64,
            };
            let kernel = Kernel::ConvUnfold {
                taps: ConvTaps::of(kernel_height, kernel_width),
                doubled,
            };
            self.push(kernel, &list, vec![x.bound, y.bound.clone()], work)?;
        }
        Ok(())
    }
}
