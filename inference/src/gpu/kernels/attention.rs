//! Attention, over values and over a paged cache.

use diptych_shaders::{HeadWidth, Kernel, KvFormat};

use super::mask::Part;
use super::{Arg, ExecError, Heads, Lowering, Work, word, words};
use crate::graph::{KV_PAGE, KvShape, KvType, PagedAttentionSpec, RopeStyle};

/// The kernels' name for how a cache is kept.
pub(super) fn kv_format(kv_type: KvType) -> KvFormat {
    match kv_type {
        KvType::F32 => KvFormat::F32,
        KvType::F16 => KvFormat::F16,
        KvType::Q8 => KvFormat::Q8,
    }
}

/// Queries of a workgroup.
const QUERY_TILE: usize = 64;
/// Rows up to which each has workgroups of its own, in attention over a paged cache.
const FEW_ROWS: usize = 8;

impl Lowering<'_, '_> {
    fn head_width(&self, head_dim: usize) -> Result<HeadWidth, ExecError> {
        HeadWidth::ALL
            .into_iter()
            .find(|width| head_dim <= width.elements() as usize)
            .ok_or_else(|| {
                self.unsupported(format!(
                    "heads of {head_dim} elements; at most 512 can be computed"
                ))
            })
    }

    /// All batches at once if everything fits; else one after the other, by bands of queries and windows of keys, the running
    /// sums between windows being kept in scratch memory and in the result itself; and one head after the other, if their masks do not fit together.
    pub(super) fn attention(
        &mut self,
        heads: usize,
        kv_heads: usize,
        scale: f32,
        causal: bool,
    ) -> Result<(), ExecError> {
        let [batch, queries, width] = self.axes(0)?;
        let [_, keys, kv_width] = self.axes(1)?;
        if heads == 0
            || kv_heads == 0
            || !width.is_multiple_of(heads)
            || !heads.is_multiple_of(kv_heads)
        {
            return Err(
                self.unsupported(format!("{width} elements in {heads} heads over {kv_heads}"))
            );
        }
        let head_dim = width / heads;
        let mask = self.mask([batch, heads, queries, keys])?;
        if self.attention_across([heads, kv_heads], scale, causal, mask)? {
            return Ok(());
        }
        let kernel = Kernel::Attention {
            width: self.head_width(head_dim)?,
            mask: mask.is_some(),
        };
        let limits = *self.limits();
        let mask_fits = |count: [usize; 4]| mask.is_none_or(|mask| mask.fits(&limits, count));
        let flops_of = |queries: usize, keys: usize| 4 * (queries * width) as u64 * keys as u64;
        let together = limits.fits(0, batch * queries * width)
            && limits.fits(0, batch * keys * kv_width)
            && mask_fits([batch, heads, queries, keys])
            && batch as u64 * flops_of(queries, keys) <= limits.max_dispatch_flops;
        let (at_once, turns) = if together { (batch, 1) } else { (1, batch) };
        let by_heads =
            mask.is_some_and(|mask| !together && mask.parts_heads(&limits, [heads, queries, keys]));
        let (heads_at_once, head_turns) = if by_heads { (1, heads) } else { (heads, 1) };
        let heads_per_kv = heads / kv_heads;
        let query_bands = self.bands(queries, QUERY_TILE, |begin, end| {
            together
                || (limits.fits(begin * width, (end - begin) * width)
                    && limits.fits(0, (end - begin) * heads * 2)
                    && mask_fits([1, heads_at_once, end - begin, keys])
                    && (end - begin <= QUERY_TILE
                        || flops_of(end - begin, keys) <= limits.max_dispatch_flops))
        })?;
        let windows = self.bands(keys, KV_PAGE, |begin, end| {
            together || limits.fits(begin * kv_width, (end - begin) * kv_width)
        })?;
        let most = query_bands
            .iter()
            .map(|(begin, end)| end - begin)
            .max()
            .unwrap_or(1);
        let kept = if windows.len() > 1 {
            at_once * most * heads
        } else {
            1
        };
        let state = self.scratch(kept as u64 * 8);
        let state = limits.window(state, 0, kept * 2);
        let all_turns = (0..turns).flat_map(|turn| (0..head_turns).map(move |head| (turn, head)));
        for (turn, head) in all_turns {
            for &(begin, end) in &query_bands {
                let first = turn * queries + begin;
                let len = ((at_once - 1) * queries + end - begin) * width;
                let q = limits.window(Arg::Operand(0), first * width, len);
                let y = limits.window(Arg::Output, first * width, len);
                for (index, &(key_begin, key_end)) in windows.iter().enumerate() {
                    let key_count = key_end - key_begin;
                    let kv_first = (turn * keys + key_begin) * kv_width;
                    let kv_len = ((at_once - 1) * keys + key_count) * kv_width;
                    let k = limits.window(Arg::Operand(1), kv_first, kv_len);
                    let v = limits.window(Arg::Operand(2), kv_first, kv_len);
                    let query_tiles = (end - begin).div_ceil(QUERY_TILE);
                    let kv_head = head / heads_per_kv * head_dim;
                    let mut list = words([
                        heads_at_once,
                        if by_heads { 1 } else { heads_per_kv },
                        head_dim,
                        end - begin,
                        query_tiles,
                        q.base + head * head_dim,
                        width,
                        k.base + kv_head,
                        v.base + kv_head,
                        kv_width,
                        y.base + head * head_dim,
                        state.base / 2,
                        usize::from(index == 0),
                        usize::from(index + 1 == windows.len()),
                    ])?
                    .to_vec();
                    list.push(scale.to_bits());
                    let strides = [queries * width, keys * kv_width];
                    let places = [key_count, begin, key_begin, usize::from(causal)];
                    list.extend(words([at_once, strides[0], strides[1]])?);
                    list.extend(words(places)?);
                    let work = Work {
                        groups: (at_once * heads_at_once * query_tiles) as u64,
                        flops: at_once as u64 * flops_of(end - begin, key_count)
                            / head_turns as u64,
                    };
                    let mut bindings = vec![
                        q.bound.clone(),
                        k.bound,
                        v.bound,
                        state.bound.clone(),
                        y.bound.clone(),
                    ];
                    if let Some(mask) = mask {
                        let part = Part {
                            first: [turn, head, begin, key_begin],
                            count: [at_once, heads_at_once, end - begin, key_count],
                        };
                        let (window, places) = mask.window(&limits, part)?;
                        list.extend(places);
                        bindings.push(window.bound);
                    }
                    self.push(kernel, &list, bindings, work)?;
                }
            }
        }
        Ok(())
    }

    /// The rows' keys and values are written to the cache, then attended to; window by window of the cache's pages where a
    /// layer's keys do not fit one binding.
    pub(super) fn paged_attention(&mut self, spec: PagedAttentionSpec) -> Result<(), ExecError> {
        let [rows, mut width] = self.axes(0)?;
        let [sequences, max_pages] = self.axes(6)?;
        let cache = *self
            .context
            .states
            .get(spec.state)
            .ok_or_else(|| self.unsupported(format!("cache {} is missing", spec.state)))?;
        let head_dim = cache.head_dim;
        let head_width = self.head_width(head_dim)?;
        if self.context.fusion.heads.is_some() {
            width = spec.heads * head_dim;
        }
        if width != spec.heads * head_dim
            || cache.kv_heads == 0
            || !spec.heads.is_multiple_of(cache.kv_heads)
        {
            return Err(self.unsupported(format!(
                "{width} elements in {} heads over {cache:?}",
                spec.heads
            )));
        }
        let limits = *self.limits();
        let kv = kv_format(cache.kv_type);
        let slot_words = cache.slot_words();
        let page = KV_PAGE * slot_words;
        let windows = self.bands(cache.pages, 1, |begin, end| {
            limits.fits(begin * page, (end - begin) * page)
        })?;
        let keys_arg = Arg::KvKeys {
            state: spec.state,
            layer: spec.layer,
        };
        let values_arg = Arg::KvValues {
            state: spec.state,
            layer: spec.layer,
        };
        let queries = match self.context.fusion.heads {
            Some(heads) => self.paged_heads(heads, spec, cache)?,
            None => {
                for &(begin, end) in &windows {
                    self.kv_write(
                        [keys_arg, values_arg],
                        rows,
                        cache,
                        (begin * KV_PAGE, end * KV_PAGE),
                    )?;
                }
                Arg::Operand(0)
            }
        };

        let flops_of = |rows: usize| 4 * (rows * width) as u64 * (max_pages * KV_PAGE) as u64;
        let bands = self.bands(rows, 1, |begin, end| {
            limits.fits(begin * width, (end - begin) * width)
                && limits.fits(0, (end - begin) * spec.heads * 2)
                && (end - begin <= QUERY_TILE || flops_of(end - begin) <= limits.max_dispatch_flops)
        })?;
        let most = bands
            .iter()
            .map(|(begin, end)| end - begin)
            .max()
            .unwrap_or(1);
        let kept = if windows.len() > 1 {
            most * spec.heads
        } else {
            1
        };
        let state = self.scratch(kept as u64 * 8);
        let state = limits.window(state, 0, kept * 2);
        let tables = limits.window(Arg::Operand(6), 0, sequences * max_pages);
        for (begin, end) in bands {
            let count = end - begin;
            let q = limits.window(queries, begin * width, count * width);
            let positions = limits.window(Arg::Operand(3), begin, count);
            let row_sequences = limits.window(Arg::Operand(5), begin, count);
            let y = limits.window(Arg::Output, begin * width, count * width);
            for (index, &(page_begin, page_end)) in windows.iter().enumerate() {
                let pages = page_end - page_begin;
                let keys = limits.window(keys_arg, page_begin * page, pages * page);
                let values = limits.window(values_arg, page_begin * page, pages * page);
                let heads_per_kv = spec.heads / cache.kv_heads;
                let [first, last] = [index == 0, index + 1 == windows.len()].map(usize::from);
                let paging = [
                    positions.base,
                    row_sequences.base,
                    tables.base,
                    sequences,
                    max_pages,
                    page_begin,
                    pages,
                ];
                if count <= FEW_ROWS
                    && windows.len() == 1
                    && limits.subgroups
                    && limits.serial_lanes
                {
                    let sizes = [count, spec.heads, heads_per_kv, head_dim, q.base, y.base];
                    let places = [keys.base, values.base, slot_words];
                    let mut list = [words(sizes)?.as_slice(), &words(places)?].concat();
                    list.push(spec.scale.to_bits());
                    list.extend(words(paging)?);
                    list.push(spec.softcap.unwrap_or(0.0).to_bits());
                    list.push(word(spec.window.unwrap_or(u32::MAX as usize))?);
                    let work = Work {
                        groups: (count * cache.kv_heads * heads_per_kv.div_ceil(2)) as u64,
                        flops: flops_of(count),
                    };
                    let bindings = vec![
                        q.bound.clone(),
                        keys.bound,
                        values.bound,
                        positions.bound.clone(),
                        row_sequences.bound.clone(),
                        tables.bound.clone(),
                        y.bound.clone(),
                    ];
                    self.push(Kernel::PagedAttentionAcross { kv }, &list, bindings, work)?;
                    continue;
                }
                let splits = match count <= FEW_ROWS && windows.len() == 1 {
                    true => limits.splits(count * spec.heads, max_pages / 2),
                    false => 1,
                };
                if splits > 1 && limits.fits(0, splits * count * width) {
                    let sizes = [count, spec.heads, heads_per_kv, head_dim, q.base, 0];
                    let places = [keys.base, values.base, slot_words, 1, 0];
                    let mut list = [words(sizes)?.as_slice(), &words(places)?].concat();
                    list.push(spec.scale.to_bits());
                    list.push(0);
                    list.extend(words(paging)?);
                    list.push(spec.softcap.unwrap_or(0.0).to_bits());
                    list.push(word(spec.window.unwrap_or(u32::MAX as usize))?);
                    list.push(word(splits)?);
                    let groups = count * spec.heads;
                    let stats = self.scratch((splits * groups) as u64 * 8);
                    let stats = limits.window(stats, 0, splits * groups * 2).bound;
                    let sums = self.scratch((splits * count * width) as u64 * 4);
                    let sums = limits.window(sums, 0, splits * count * width).bound;
                    let work = Work {
                        groups: (groups * splits) as u64,
                        flops: flops_of(count),
                    };
                    let bindings = vec![
                        q.bound.clone(),
                        keys.bound,
                        values.bound,
                        positions.bound.clone(),
                        row_sequences.bound.clone(),
                        tables.bound.clone(),
                        stats.clone(),
                        sums.clone(),
                    ];
                    self.push(Kernel::PagedAttentionSplit { kv }, &list, bindings, work)?;
                    let work = Work {
                        groups: groups as u64,
                        flops: 2 * (splits * count * width) as u64,
                    };
                    let list = words([groups, splits, head_dim, y.base])?;
                    let bindings = vec![stats, sums, y.bound.clone()];
                    self.push(Kernel::PagedAttentionJoin, &list, bindings, work)?;
                    continue;
                }
                let (kernel, mut list, groups) = if count <= FEW_ROWS {
                    let sizes = [count, spec.heads, heads_per_kv, head_dim, q.base, y.base];
                    let places = [keys.base, values.base, slot_words, first, last];
                    let mut list = [words(sizes)?.as_slice(), &words(places)?].concat();
                    list.push(spec.scale.to_bits());
                    list.extend(words([state.base / 2])?);
                    (Kernel::PagedAttention { kv }, list, count * spec.heads)
                } else {
                    let tiles = count.div_ceil(QUERY_TILE);
                    let mut list = words([
                        spec.heads,
                        heads_per_kv,
                        head_dim,
                        count,
                        tiles,
                        q.base,
                        width,
                        keys.base,
                        values.base,
                        slot_words,
                        y.base,
                        state.base / 2,
                        first,
                        last,
                    ])?
                    .to_vec();
                    list.push(spec.scale.to_bits());
                    (
                        Kernel::PagedAttentionTiles {
                            width: head_width,
                            kv,
                        },
                        list,
                        tiles * spec.heads,
                    )
                };
                list.extend(words(paging)?);
                list.push(spec.softcap.unwrap_or(0.0).to_bits());
                list.push(word(spec.window.unwrap_or(u32::MAX as usize))?);
                let work = Work {
                    groups: groups as u64,
                    flops: flops_of(count),
                };
                let bindings = vec![
                    q.bound.clone(),
                    keys.bound,
                    values.bound,
                    positions.bound.clone(),
                    row_sequences.bound.clone(),
                    tables.bound.clone(),
                    state.bound.clone(),
                    y.bound.clone(),
                ];
                self.push(kernel, &list, bindings, work)?;
            }
        }
        Ok(())
    }

    /// Makes queries ready in scratch memory, which is given, and keys and values in the cache.
    fn paged_heads(
        &mut self,
        heads: Heads,
        spec: PagedAttentionSpec,
        cache: KvShape,
    ) -> Result<Arg, ExecError> {
        let [rows, width] = self.axes(0)?;
        let limits = *self.limits();
        let head_dim = cache.head_dim;
        let (q_width, kv_width) = (spec.heads * head_dim, cache.kv_heads * head_dim);
        let kv = match cache.kv_type {
            KvType::F32 | KvType::F16 => kv_format(cache.kv_type),
            KvType::Q8 => return Err(self.unsupported("heads for a cache of 8 bits")),
        };
        let [q_place, k_place] = heads.places;
        // All that the product left, with room between its parts.
        let all = (q_place + rows * q_width).max(k_place + rows * kv_width);
        let gains = heads.norms.map_or(0, |[(q, _), (k, _)]| q + k);
        let layer = cache.layer_words();
        if width < q_width + kv_width
            || heads
                .norms
                .is_some_and(|norms| norms.iter().any(|(len, _)| *len != head_dim))
            || 2 * heads.frequencies > head_dim
            || !(limits.fits(0, all) && limits.fits(0, layer))
        {
            return Err(self.unsupported(format!("{heads:?} of {rows} rows")));
        }
        let (constants, base) = {
            let stand_in = self.shard(heads.constants, 0)?;
            let len = gains + heads.frequencies;
            self.vector(Some(heads.constants), 0, len, &stand_in)?
        };
        let ready = self.scratch((rows * q_width) as u64 * 4);
        let y = limits.window(ready, 0, rows * q_width);
        let x = limits.window(Arg::Operand(0), 0, all);
        let v = limits.window(Arg::Operand(2), 0, rows * kv_width);
        let positions = limits.window(Arg::Operand(3), 0, rows);
        let slots = limits.window(Arg::Operand(4), 0, rows);
        let (state, index) = (spec.state, spec.layer);
        let keys = limits.window(
            Arg::KvKeys {
                state,
                layer: index,
            },
            0,
            layer,
        );
        let values = limits.window(
            Arg::KvValues {
                state,
                layer: index,
            },
            0,
            layer,
        );
        let mut list = words([
            rows,
            spec.heads,
            cache.kv_heads,
            head_dim,
            x.base + q_place,
            x.base + k_place,
            v.base,
            y.base,
            positions.base,
            slots.base,
            cache.slots(),
            keys.base,
            values.base,
            usize::from(heads.norms.is_some()),
            base,
            base + heads.norms.map_or(0, |[(q, _), _]| q),
        ])?
        .to_vec();
        let eps = heads
            .norms
            .map_or([0.0; 2], |norms| norms.map(|(_, eps)| eps));
        list.extend(eps.map(f32::to_bits));
        let interleaved = usize::from(heads.style == RopeStyle::Interleaved);
        list.extend(words([base + gains, heads.frequencies, interleaved])?);
        list.push(heads.magnitude.to_bits());
        list.push(word(cache.head_words())?);
        let groups = (rows * (spec.heads + 2 * cache.kv_heads)) as u64;
        let work = Work {
            groups,
            flops: 30 * groups * head_dim as u64,
        };
        let bindings = vec![
            x.bound,
            v.bound,
            positions.bound,
            slots.bound,
            constants,
            y.bound,
            keys.bound,
            values.bound,
        ];
        self.push(Kernel::PagedHeads { kv }, &list, bindings, work)?;
        Ok(ready)
    }
}
