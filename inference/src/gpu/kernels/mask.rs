//! How the mask of an attention lies, and what of it a dispatch sees.

use super::window::Window;
use super::{Arg, ExecError, KernelLimits, Lowering, words};

/// A mask `[B or 1, heads or 1, Lq, Lk]`; see [`crate::graph::Op::Attention`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask {
    /// Elements from one batch to the next; 0 where all share one.
    batch: usize,
    /// Elements from one head to the next; 0 where all share one.
    head: usize,
    /// Elements from one query to the next.
    keys: usize,
}

/// The part of an attention that one dispatch computes: the first batch, head, query and key, and how many of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub first: [usize; 4],
    pub count: [usize; 4],
}

impl Mask {
    /// Elements from the first to the last that so many batches, heads, queries and keys see.
    fn span(self, [batches, heads, queries, keys]: [usize; 4]) -> usize {
        let rest = |count: usize| count.saturating_sub(1);
        rest(batches) * self.batch + rest(heads) * self.head + rest(queries) * self.keys + keys
    }

    /// Whether what they see fits one binding, wherever it begins.
    pub(super) fn fits(self, limits: &KernelLimits, count: [usize; 4]) -> bool {
        limits.fits(limits.band_alignment() - 1, self.span(count))
    }

    /// Whether heads must be computed one after the other, since the mask of all heads of a batch fits no binding.
    pub(super) fn parts_heads(
        self,
        limits: &KernelLimits,
        [heads, queries, keys]: [usize; 3],
    ) -> bool {
        self.head > 0 && !self.fits(limits, [1, heads, queries, keys])
    }

    /// What a dispatch sees, and the words that tell where.
    pub(super) fn window(
        self,
        limits: &KernelLimits,
        part: Part,
    ) -> Result<(Window, [u32; 4]), ExecError> {
        let [batch, head, query, key] = part.first;
        let first = batch * self.batch + head * self.head + query * self.keys + key;
        let window = limits.window(Arg::Operand(3), first, self.span(part.count));
        let places = words([window.base, self.batch, self.head, self.keys])?;
        Ok((window, places))
    }
}

impl Lowering<'_, '_> {
    /// The mask of an attention of so many batches, heads, queries and keys, if it has one.
    pub(super) fn mask(
        &self,
        [batches, heads, queries, keys]: [usize; 4],
    ) -> Result<Option<Mask>, ExecError> {
        if self.context.operands.len() < 4 {
            return Ok(None);
        }
        let shape = self.axes(3)?;
        let [of_batches, of_heads, rows, columns] = shape;
        if ![1, batches].contains(&of_batches)
            || ![1, heads].contains(&of_heads)
            || (rows, columns) != (queries, keys)
        {
            return Err(self.unsupported(format!(
                "a mask {shape:?} of {batches} batches, {heads} heads, {queries} queries and {keys} keys"
            )));
        }
        let stride = |own: usize, elements: usize| if own == 1 { 0 } else { elements };
        Ok(Some(Mask {
            batch: stride(of_batches, of_heads * queries * keys),
            head: stride(of_heads, queries * keys),
            keys,
        }))
    }
}
