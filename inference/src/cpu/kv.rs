//! The paged KV cache, in floats of 32 or 16 bits or in 8-bit blocks, and attention over it.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::attention::Online;
use super::few;
use super::math::multiversion;
use super::matmul::{Into, Mat, MatMut, multiply};
use super::parallel::{Poll, Shared, for_tasks, threads, with_scratch, zeros};
use crate::graph::{ExecError, KV_BLOCK, KV_PAGE, KvShape, KvType, NO_SLOT, PagedAttentionSpec};

/// Rows of one sequence that are attended together.
const ROWS: usize = 32;
/// Pages whose scores are held at once.
const PAGES: usize = 4;

/// Keys and values, each `[layer][page][kv_head][KV_PAGE][head_dim]`, so that a head's part of a page is one matrix.
pub(super) struct KvState {
    pub(super) shape: KvShape,
    keys: Store,
    values: Store,
}

/// Vectors of a head one after the other, as they are kept.
enum Store {
    F32(Vec<f32>),
    F16(Vec<f16>),
    /// Elements, 127 for the largest magnitude of their block, and those magnitudes.
    Q8(Vec<i8>, Vec<f16>),
}

impl Store {
    fn new(shape: KvShape) -> Result<Self, ExecError> {
        let elements = shape.layers * shape.layer_elements();
        let blocks = elements / shape.head_dim.max(1) * shape.head_dim.div_ceil(KV_BLOCK);
        Ok(match shape.kv_type {
            KvType::F32 => Self::F32(zeros("the KV cache", elements)?),
            KvType::F16 => Self::F16(zeros("the KV cache", elements)?),
            KvType::Q8 => Self::Q8(
                zeros("the KV cache", elements)?,
                zeros("the KV cache", blocks)?,
            ),
        })
    }

    /// Writes the vector of a head of `x.len()` elements at its place, a multiple of that.
    fn write(&mut self, at: usize, x: &[f32]) {
        let d = x.len();
        match self {
            Self::F32(values) => values[at..at + d].copy_from_slice(x),
            Self::F16(values) => {
                for (value, x) in values[at..at + d].iter_mut().zip(x) {
                    *value = f16::from_f32(x.clamp(-65504.0, 65504.0));
                }
            }
            Self::Q8(values, scales) => {
                let scales = &mut scales[at / d * d.div_ceil(KV_BLOCK)..];
                let blocks = values[at..at + d].chunks_mut(KV_BLOCK);
                for ((block, x), scale) in blocks.zip(x.chunks(KV_BLOCK)).zip(scales) {
                    let top = x.iter().fold(0f32, |top, x| top.max(x.abs()));
                    *scale = f16::from_f32(top.min(65504.0));
                    // What is read back is what the elements are measured by.
                    let by = scale.to_f32();
                    for (value, x) in block.iter_mut().zip(x) {
                        let share = if by > 0.0 {
                            (x / by).clamp(-1.0, 1.0)
                        } else {
                            0.0
                        };
                        *value = (0.5 + 127.0 * share).floor() as i8;
                    }
                }
            }
        }
    }

    /// Vectors of `d` elements, as many as `scratch` takes, from a place on; in `scratch` where they are not kept as they are.
    fn read<'a>(&'a self, at: usize, d: usize, scratch: &'a mut [f32]) -> &'a [f32] {
        let len = scratch.len();
        match self {
            Self::F32(values) => return &values[at..at + len],
            Self::F16(values) => values[at..at + len].convert_to_f32_slice(scratch),
            Self::Q8(values, scales) => {
                let scales = &scales[at / d * d.div_ceil(KV_BLOCK)..];
                unpack(scratch, &values[at..at + len], scales, d);
            }
        }
        scratch
    }

    /// As [`Self::read`], as they are kept where [`few`] can read that.
    fn rows<'a>(&'a self, at: usize, d: usize, scratch: &'a mut [f32]) -> few::Rows<'a> {
        match self {
            Self::F16(values) => few::Rows::F16(&values[at..at + scratch.len()]),
            _ => few::Rows::F32(self.read(at, d, scratch)),
        }
    }

    /// Copies vectors of `d` elements, `len` elements in all.
    fn copy(&mut self, from: usize, to: usize, len: usize, d: usize) {
        match self {
            Self::F32(values) => values.copy_within(from..from + len, to),
            Self::F16(values) => values.copy_within(from..from + len, to),
            Self::Q8(values, scales) => {
                values.copy_within(from..from + len, to);
                let each = d.div_ceil(KV_BLOCK);
                let [from, to, len] = [from, to, len].map(|at| at / d * each);
                scales.copy_within(from..from + len, to);
            }
        }
    }
}

/// Vectors of `d` elements from 8-bit blocks.
fn unpack(out: &mut [f32], values: &[i8], scales: &[f16], d: usize) {
    let each = d.div_ceil(KV_BLOCK);
    // All at once: one by one they would take as long as their blocks.
    let mut factors = vec![0.0; out.len() / d.max(1) * each];
    scales[..factors.len()].convert_to_f32_slice(&mut factors);
    if d.is_multiple_of(KV_BLOCK) {
        unpack_blocks(out, values, &factors);
        return;
    }
    let rows = out.chunks_mut(d).zip(values.chunks(d));
    for ((out, row), factors) in rows.zip(factors.chunks(each)) {
        let (whole, rest) = row.split_at(row.len() / KV_BLOCK * KV_BLOCK);
        let (out, out_rest) = out.split_at_mut(whole.len());
        unpack_blocks(out, whole, factors);
        if let Some(&factor) = factors.last() {
            for (out, value) in out_rest.iter_mut().zip(rest) {
                *out = f32::from(*value) * (factor / 127.0);
            }
        }
    }
}

multiversion! {
    /// Whole blocks of [`KV_BLOCK`], with their largest magnitudes.
    fn unpack_blocks(out: &mut [f32], values: &[i8], factors: &[f32]) {
        let blocks = out.as_chunks_mut::<KV_BLOCK>().0.iter_mut();
        let values = values.as_chunks::<KV_BLOCK>().0;
        for ((out, values), factor) in blocks.zip(values).zip(factors) {
            let by = factor / 127.0;
            for (out, value) in out.iter_mut().zip(values) {
                *out = f32::from(*value) * by;
            }
        }
    }
}

impl KvState {
    pub(super) fn new(shape: KvShape) -> Result<Self, ExecError> {
        Ok(Self {
            shape,
            keys: Store::new(shape)?,
            values: Store::new(shape)?,
        })
    }

    fn page_elements(&self) -> usize {
        KV_PAGE * self.shape.kv_heads * self.shape.head_dim
    }

    /// Where a head's part of a page starts.
    fn page_at(&self, layer: usize, page: usize, kv_head: usize) -> usize {
        (layer * self.shape.pages + page) * self.page_elements()
            + kv_head * KV_PAGE * self.shape.head_dim
    }

    /// Copies a page of all layers. Both pages exist, which the caller checks.
    pub(super) fn copy_page(&mut self, from: usize, to: usize) {
        let (len, d) = (self.page_elements(), self.shape.head_dim);
        for layer in 0..self.shape.layers {
            let (from, to) = (self.page_at(layer, from, 0), self.page_at(layer, to, 0));
            self.keys.copy(from, to, len, d);
            self.values.copy(from, to, len, d);
        }
    }

    /// Writes one row's keys and values `[kv_heads * head_dim]` to a slot.
    fn write(&mut self, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
        let d = self.shape.head_dim;
        for head in 0..self.shape.kv_heads {
            let at = self.page_at(layer, slot / KV_PAGE, head) + slot % KV_PAGE * d;
            self.keys.write(at, &k[head * d..][..d]);
            self.values.write(at, &v[head * d..][..d]);
        }
    }
}

/// The run-time parameters of a paged attention; see [`crate::graph::Op::PagedAttention`].
pub(super) struct Tables<'a> {
    pub(super) positions: &'a [u32],
    pub(super) write_slots: &'a [u32],
    pub(super) sequences: &'a [u32],
    /// `[sequences, max_pages]`
    pub(super) block_tables: &'a [u32],
    pub(super) max_pages: usize,
}

impl Tables<'_> {
    /// Every slot and page that will be touched exists.
    fn check(&self, label: &str, shape: KvShape) -> Result<(), ExecError> {
        let fail = |name: &str, detail: String| ExecError::Input {
            graph: label.to_owned(),
            name: name.to_owned(),
            detail,
        };
        if let Some(slot) = self
            .write_slots
            .iter()
            .find(|&&slot| slot != NO_SLOT && slot as usize >= shape.slots())
        {
            return Err(fail(
                "write_slots",
                format!("slot {slot} of a cache of {} slots", shape.slots()),
            ));
        }
        let sequences = self.block_tables.len() / self.max_pages.max(1);
        for (&position, &sequence) in self.positions.iter().zip(self.sequences) {
            if position == NO_SLOT {
                continue;
            }
            if sequence as usize >= sequences {
                return Err(fail(
                    "sequences",
                    format!("sequence {sequence} of {sequences} in the block tables"),
                ));
            }
            let pages = position as usize / KV_PAGE + 1;
            if pages > self.max_pages {
                let detail = format!(
                    "position {position} is beyond the {} pages of a block table",
                    self.max_pages
                );
                return Err(fail("positions", detail));
            }
            let table = &self.block_tables[sequence as usize * self.max_pages..][..pages];
            if let Some(page) = table.iter().find(|&&page| page as usize >= shape.pages) {
                return Err(fail(
                    "block_tables",
                    format!("page {page} of a cache of {} pages", shape.pages),
                ));
            }
        }
        Ok(())
    }

    /// Runs of rows of one sequence, at most [`ROWS`] long, without padding rows.
    fn tiles(&self) -> Vec<(usize, usize)> {
        let mut tiles: Vec<(usize, usize)> = Vec::new();
        for (row, &position) in self.positions.iter().enumerate() {
            if position == NO_SLOT {
                continue;
            }
            match tiles.last_mut() {
                Some((first, len))
                    if *first + *len == row
                        && *len < ROWS
                        && self.sequences[*first] == self.sequences[row] =>
                {
                    *len += 1;
                }
                _ => tiles.push((row, 1)),
            }
        }
        tiles
    }
}

/// Writes the rows' keys and values to the cache, then attends. `out` holds zeros.
pub(super) fn paged_attention(
    label: &str,
    out: &mut [f32],
    [q, k, v]: [&[f32]; 3],
    tables: &Tables<'_>,
    state: &mut KvState,
    spec: PagedAttentionSpec,
    poll: &mut Poll<'_>,
) -> Result<(), ExecError> {
    let KvShape {
        kv_heads,
        head_dim: d,
        ..
    } = state.shape;
    tables.check(label, state.shape)?;
    let (width, kv_width) = (spec.heads * d, kv_heads * d);
    for ((&slot, k), v) in tables
        .write_slots
        .iter()
        .zip(k.chunks(kv_width))
        .zip(v.chunks(kv_width))
    {
        if slot != NO_SLOT {
            state.write(spec.layer, slot as usize, k, v);
        }
    }
    let state = &*state;
    let group = spec.heads / kv_heads;
    let tiles = tables.tiles();
    let longest = tables
        .positions
        .iter()
        .filter(|&&p| p != NO_SLOT)
        .max()
        .map_or(0, |&p| p as usize + 1);
    let flops = 4.0 * (ROWS.min(tables.positions.len()) * group * longest * d) as f64;
    let shared = Shared::new(out);
    for_tasks(tiles.len() * kv_heads, flops, poll, |task| {
        let ((first, len), kv_head) = (tiles[task / kv_heads], task % kv_heads);
        // The query heads that share these keys are further rows of one matrix: row `r` of the tile, head `h` of the group.
        let rows = len * group;
        let table = &tables.block_tables[tables.sequences[first] as usize * tables.max_pages..]
            [..tables.max_pages];
        let positions = &tables.positions[first..first + len];
        let visible = positions.iter().max().map_or(0, |&p| p as usize + 1);
        // Positions before the window of the tile's first row are seen by none of its rows; whole pages are left out.
        let unseen = |position: u32| {
            let end = position as usize + 1;
            spec.window.map_or(0, |window| end.saturating_sub(window))
        };
        let from = positions.iter().map(|&p| unseen(p)).min().unwrap_or(0) / KV_PAGE * KV_PAGE;
        with_scratch(
            KV_PAGE * d + rows * (d + PAGES * KV_PAGE) + Online::len(rows, d),
            |scratch| {
                let (decoded, rest) = scratch.split_at_mut(KV_PAGE * d);
                let (queries, rest) = rest.split_at_mut(rows * d);
                let (scores, online) = rest.split_at_mut(rows * PAGES * KV_PAGE);
                for (i, query) in queries.chunks_mut(d).enumerate() {
                    let at = (first + i / group) * width + (kv_head * group + i % group) * d;
                    query.copy_from_slice(&q[at..at + d]);
                }
                let mut online = Online::new(online, rows, d);
                for start in (from..visible).step_by(PAGES * KV_PAGE) {
                    let keys = (PAGES * KV_PAGE).min(visible - start);
                    let scores = &mut scores[..rows * keys];
                    // Of each page: its first column among the scores, its keys, and where they lie.
                    let pages = table[start / KV_PAGE..]
                        .iter()
                        .take(keys.div_ceil(KV_PAGE))
                        .enumerate()
                        .map(|(i, &page)| {
                            let count = KV_PAGE.min(keys - i * KV_PAGE);
                            (
                                i * KV_PAGE,
                                count,
                                state.page_at(spec.layer, page as usize, kv_head),
                            )
                        });
                    for (column, count, at) in pages.clone() {
                        let block = &mut decoded[..count * d];
                        // A few rows: keys are read as they lie, and not brought into panels first.
                        if rows <= few::most() {
                            let block = state.keys.rows(at, d, block);
                            let together = few::products(block, queries, d, |key, products| {
                                for (row, product) in products.iter().enumerate() {
                                    scores[row * keys + column + key] = spec.scale * product;
                                }
                            });
                            if together {
                                continue;
                            }
                        }
                        let block = state.keys.read(at, d, &mut decoded[..count * d]);
                        let block = Mat::rows(block, count, d, d);
                        let queries = Mat::rows(queries, rows, d, d);
                        let mut product = MatMut::rows(&mut scores[column..], rows, count, keys);
                        multiply(
                            &mut product,
                            Into::Replace,
                            queries,
                            block.transposed(),
                            spec.scale,
                        );
                    }
                    if let Some(cap) = spec.softcap {
                        scores
                            .iter_mut()
                            .for_each(|score| *score = cap * (*score / cap).tanh());
                    }
                    for (i, scores) in scores.chunks_mut(keys).enumerate() {
                        let hidden = unseen(positions[i / group]).saturating_sub(start).min(keys);
                        scores[..hidden].fill(f32::NEG_INFINITY);
                        let seen = (positions[i / group] as usize + 1)
                            .saturating_sub(start)
                            .min(keys);
                        scores[seen..].fill(f32::NEG_INFINITY);
                    }
                    online.weigh(scores, keys);
                    for (column, count, at) in pages {
                        if rows <= few::most() {
                            let block = state.values.rows(at, d, &mut decoded[..count * d]);
                            if online.gather_few(&scores[column..], keys, block) {
                                continue;
                            }
                        }
                        let weights = Mat::rows(&scores[column..], rows, count, keys);
                        let block = state.values.read(at, d, &mut decoded[..count * d]);
                        online.gather(weights, Mat::rows(block, count, d, d));
                    }
                }
                for i in 0..rows {
                    let at = (first + i / group) * width + (kv_head * group + i % group) * d;
                    // SAFETY: a task has its own rows and its own heads.
                    online.finish(i, unsafe { shared.slice(at, d) });
                }
            },
        );
    })
}

/// Bytes that all threads together hold while it runs.
pub(super) fn scratch(shape: KvShape, rows: usize, heads: usize) -> u64 {
    let (d, kv_heads) = (shape.head_dim, shape.kv_heads.max(1));
    let tile = ROWS.min(rows) * heads / kv_heads;
    let each = KV_PAGE * d + tile * (d + PAGES * KV_PAGE) + Online::len(tile, d);
    4 * each as u64 * threads().min(rows * kv_heads) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::Random;

    /// Whole blocks, parts of one, and both.
    #[test]
    fn vectors_come_back_as_precise_as_their_type() {
        let mut random = Random::fresh("vectors_come_back_as_precise_as_their_type");
        for head_dim in [1, 10, 32, 40, 64, 128, 129] {
            for (kv_type, precision) in [
                (KvType::F32, 0.0),
                (KvType::F16, 1.0 / 2048.0),
                (KvType::Q8, 0.51 / 127.0),
            ] {
                let shape = KvShape {
                    layers: 1,
                    kv_heads: 1,
                    head_dim,
                    pages: 1,
                    kv_type,
                };
                let mut store = Store::new(shape).unwrap();
                let vectors = random.floats(KV_PAGE * head_dim);
                for (i, vector) in vectors.chunks(head_dim).enumerate() {
                    store.write(i * head_dim, vector);
                }
                let (first, count) = (random.within(0, 20), random.within(1, 40));
                let mut scratch = vec![f32::NAN; count * head_dim];
                let got = store.read(first * head_dim, head_dim, &mut scratch);
                let wanted = &vectors[first * head_dim..][..count * head_dim];
                for (got, wanted) in got.chunks(head_dim).zip(wanted.chunks(head_dim)) {
                    for (got, wanted) in got.chunks(KV_BLOCK).zip(wanted.chunks(KV_BLOCK)) {
                        let top = wanted.iter().fold(0f32, |top, x| top.max(x.abs()));
                        for (got, wanted) in got.iter().zip(wanted) {
                            let error = (got - wanted).abs();
                            assert!(error <= precision * top * 1.01, "{kv_type:?}: {error}");
                        }
                    }
                }
                if let few::Rows::F16(rows) =
                    store.rows(first * head_dim, head_dim, &mut vec![0.0; count * head_dim])
                {
                    assert_eq!(rows.len(), count * head_dim);
                }
            }
        }
    }
}
