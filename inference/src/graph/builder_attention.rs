//! The builder's methods for attention and positions.

use super::builder::{GraphBuilder, Result, Tensor};
use super::{Dtype, Op, PagedAttentionSpec, RopeStyle};
use crate::formats::weights::TensorData;

impl GraphBuilder {
    /// Multi-head attention; see [`Op::Attention`].
    pub fn attention(
        &self,
        [q, k, v]: [&Tensor; 3],
        heads: usize,
        kv_heads: usize,
        scale: f32,
        causal: bool,
    ) -> Result<Tensor> {
        self.any_attention([q, k, v], None, [heads, kv_heads], scale, causal)
    }

    /// Multi-head attention with a mask `[B or 1, heads or 1, Lq, Lk]` that is added to the scores; see [`Op::Attention`].
    pub fn attention_with_mask(
        &self,
        operands: [&Tensor; 3],
        mask: &Tensor,
        heads: usize,
        kv_heads: usize,
        scale: f32,
        causal: bool,
    ) -> Result<Tensor> {
        self.any_attention(operands, Some(mask), [heads, kv_heads], scale, causal)
    }

    fn any_attention(
        &self,
        [q, k, v]: [&Tensor; 3],
        mask: Option<&Tensor>,
        [heads, kv_heads]: [usize; 2],
        scale: f32,
        causal: bool,
    ) -> Result<Tensor> {
        let mut inputs = vec![q, k, v];
        inputs.extend(mask);
        self.want_float("attention", &inputs)?;
        let fits = q.shape.len() == 3
            && k.shape.len() == 3
            && k.shape == v.shape
            && q.dim(0) == k.dim(0)
            && heads > 0
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && q.dim(2).is_multiple_of(heads)
            && q.dim(2) / heads * kv_heads == k.dim(2)
            && (!causal || q.dim(1) == k.dim(1));
        if !fits {
            let detail = format!(
                "{:?}, {:?}, {:?} with {heads} heads over {kv_heads}",
                q.shape, k.shape, v.shape
            );
            return Err(self.error("attention", detail));
        }
        if let Some(mask) = mask {
            let [batch, queries, keys] = [q.dim(0), q.dim(1), k.dim(1)];
            let fits = matches!(mask.shape.as_slice(), &[of_batch, of_heads, rows, columns]
                if [1, batch].contains(&of_batch)
                    && [1, heads].contains(&of_heads)
                    && (rows, columns) == (queries, keys));
            if !fits {
                let detail = format!(
                    "a mask {:?}, where [{batch} or 1, {heads} or 1, {queries}, {keys}] is wanted",
                    mask.shape
                );
                return Err(self.error("attention", detail));
            }
        }
        self.push(
            Op::Attention {
                heads,
                kv_heads,
                scale,
                causal,
            },
            &inputs,
            q.shape.clone(),
            Dtype::F32,
        )
    }

    /// Rotary position embedding (Su et al. 2021); see [`Op::Rope`].
    pub fn rope(
        &self,
        x: &Tensor,
        positions: &Tensor,
        heads: usize,
        inv_freq: &TensorData,
        style: RopeStyle,
        magnitude: f32,
    ) -> Result<Tensor> {
        self.want_float("rope", &[x])?;
        let fits = x.shape.len() == 2
            && positions.dtype == Dtype::U32
            && positions.shape == [x.dim(0)]
            && heads > 0
            && x.dim(1).is_multiple_of(heads)
            && inv_freq.shape().len() == 1
            && inv_freq.elements() * 2 <= x.dim(1) / heads;
        if !fits {
            let detail = format!(
                "{:?} in {heads} heads with {} frequencies",
                x.shape,
                inv_freq.elements()
            );
            return Err(self.error("rope", detail));
        }
        let op = Op::Rope {
            heads,
            inv_freq: self.weight(inv_freq),
            style,
            magnitude,
        };
        self.push(op, &[x, positions], x.shape.clone(), Dtype::F32)
    }

    /// Attention over a paged KV cache; see [`Op::PagedAttention`]. `tables` is
    /// `[positions, write_slots, sequences, block_tables]`.
    pub fn paged_attention(
        &self,
        [q, k, v]: [&Tensor; 3],
        [positions, write_slots, sequences, block_tables]: [&Tensor; 4],
        spec: PagedAttentionSpec,
    ) -> Result<Tensor> {
        self.want_float("paged_attention", &[q, k, v])?;
        let Some(cache) = self.state_shape(spec.state) else {
            return Err(self.error("paged_attention", format!("cache {}", spec.state)));
        };
        let rows = q.dim(0);
        let fits = q.shape == [rows, spec.heads * cache.head_dim]
            && k.shape == [rows, cache.kv_heads * cache.head_dim]
            && v.shape == k.shape
            && cache.kv_heads > 0
            && spec.heads.is_multiple_of(cache.kv_heads)
            && spec.layer < cache.layers
            && spec.softcap.is_none_or(|cap| cap.is_finite() && cap > 0.0)
            && spec.window != Some(0)
            && [positions, write_slots, sequences]
                .iter()
                .all(|t| t.shape == [rows] && t.dtype == Dtype::U32)
            && block_tables.shape.len() == 2
            && block_tables.dtype == Dtype::U32;
        if !fits {
            let detail = format!(
                "{:?}, {:?}, {:?} with {} heads over {cache:?}",
                q.shape, k.shape, v.shape, spec.heads
            );
            return Err(self.error("paged_attention", detail));
        }
        let inputs = [q, k, v, positions, write_slots, sequences, block_tables];
        self.push(
            Op::PagedAttention(spec),
            &inputs,
            q.shape.clone(),
            Dtype::F32,
        )
    }
}
