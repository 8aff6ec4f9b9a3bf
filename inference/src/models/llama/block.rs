//! Attention and MLP of one layer, in all variations.

use crate::graph::{GraphBuilder, PagedAttentionSpec, RopeStyle, Tensor};
use crate::models::error::Result;
use crate::models::layers::{linear, linear_no_bias};
use crate::models::loader::Scope;

use super::Inputs;
use super::config::{Family, LlamaConfig, LlamaLayout};
use super::names::{Gate, Names, Projections};
use super::rope::Frequencies;

/// RMS norm with the gains of a scope.
pub(super) fn rms_norm(g: &GraphBuilder, w: &Scope<'_>, x: &Tensor, eps: f32) -> Result<Tensor> {
    let _scope = w.enter(g);
    let weight = w.tensor("weight", &[x.last_dim()])?;
    Ok(g.rms_norm(x, &weight, eps)?)
}

/// One layer on its way into a graph.
pub(super) struct Block<'a> {
    pub g: &'a GraphBuilder,
    pub config: &'a LlamaConfig,
    pub names: &'a Names,
    /// Positions that it sees; `None`: all.
    pub window: Option<usize>,
    /// How queries and keys are rotated, if they are.
    pub frequencies: Option<&'a Frequencies>,
}

impl Block<'_> {
    /// What attention adds to the residual stream `x [rows, hidden_size]`.
    pub(super) fn attention(
        &self,
        w: &Scope<'_>,
        x: &Tensor,
        inputs: &Inputs,
        (state, layer): (usize, usize),
    ) -> Result<Tensor> {
        let (g, c) = (self.g, self.config);
        let x = self.norm(w, self.names.attention_norm, x)?;
        let [mut q, mut k, v] = self.queries_keys_values(w, &x)?;
        if let Some([query_norm, key_norm]) = self.names.query_key_norms {
            q = self.query_key_norm(&w.scope(query_norm), &q, c.heads)?;
            k = self.query_key_norm(&w.scope(key_norm), &k, c.kv_heads)?;
        }
        if let Some(Frequencies { inverse, magnitude }) = self.frequencies {
            let style = match c.layout {
                LlamaLayout::Gguf if c.family.is_permuted_in_gguf() => RopeStyle::Interleaved,
                _ => RopeStyle::Half,
            };
            let rotate = |x: &Tensor, heads: usize| {
                g.rope(x, &inputs.positions, heads, inverse, style, *magnitude)
            };
            q = rotate(&q, c.heads)?;
            k = rotate(&k, c.kv_heads)?;
        }
        let spec = PagedAttentionSpec {
            state,
            layer,
            heads: c.heads,
            scale: c.attention_scale,
            softcap: c.attention_softcap,
            window: self.window,
        };
        let Inputs {
            positions,
            write_slots,
            sequences,
            block_tables,
        } = inputs;
        let tables = [positions, write_slots, sequences, block_tables];
        let y = g.paged_attention([&q, &k, &v], tables, spec)?;
        let out = w.scope(self.names.attention_out);
        let y = self.project(&out, &y, c.hidden_size, c.output_bias)?;
        self.norm(w, self.names.attention_post_norm, &y)
    }

    /// What the gated MLP (Shazeer 2020) adds to the residual stream `x [rows, hidden_size]`.
    pub(super) fn mlp(&self, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let (g, c) = (self.g, self.config);
        let x = self.norm(w, self.names.mlp_norm, x)?;
        let width = c.intermediate_size;
        let (gate, up) = match self.names.gate {
            Gate::Apart([gate, up]) => (
                self.project(&w.scope(gate), &x, width, c.mlp_bias)?,
                self.project(&w.scope(up), &x, width, c.mlp_bias)?,
            ),
            Gate::Fused(both) => {
                let both = self.project(&w.scope(both), &x, 2 * width, c.mlp_bias)?;
                (
                    g.slice(&both, 1, 0, width)?,
                    g.slice(&both, 1, width, width)?,
                )
            }
        };
        let h = g.gated(&gate, &up, c.activation)?;
        let y = self.project(&w.scope(self.names.down), &h, c.hidden_size, c.mlp_bias)?;
        self.norm(w, self.names.mlp_post_norm, &y)
    }

    /// The norm of that name, where the family has it.
    pub(super) fn norm(&self, w: &Scope<'_>, name: Option<&str>, x: &Tensor) -> Result<Tensor> {
        match name {
            Some(name) => rms_norm(self.g, &w.scope(name), x, self.config.eps),
            None => Ok(x.clone()),
        }
    }

    /// `[rows, heads * head_dim]`, and twice `[rows, kv_heads * head_dim]`.
    fn queries_keys_values(&self, w: &Scope<'_>, x: &Tensor) -> Result<[Tensor; 3]> {
        let (g, c) = (self.g, self.config);
        let (q_width, kv_width) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        match self.names.projections {
            Projections::Apart([query, key, value]) => {
                let project = |name: &str, width: usize| {
                    self.project(&w.scope(name), x, width, c.attention_bias)
                };
                Ok([
                    project(query, q_width)?,
                    project(key, kv_width)?,
                    project(value, kv_width)?,
                ])
            }
            Projections::Fused(all) => {
                let width = q_width + 2 * kv_width;
                let all = self.project(&w.scope(all), x, width, c.attention_bias)?;
                Ok([
                    g.slice(&all, 1, 0, q_width)?,
                    g.slice(&all, 1, q_width, kv_width)?,
                    g.slice(&all, 1, q_width + kv_width, kv_width)?,
                ])
            }
        }
    }

    /// OLMo 2 normalises all heads together, the others each by itself.
    fn query_key_norm(&self, w: &Scope<'_>, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (g, c) = (self.g, self.config);
        if c.family == Family::Olmo2 {
            return rms_norm(g, w, x, c.eps);
        }
        let apart = g.reshape(x, &[x.dim(0) * heads, c.head_dim])?;
        let apart = rms_norm(g, w, &apart, c.eps)?;
        Ok(g.reshape(&apart, x.shape())?)
    }

    /// A projection, with a bias where configuration (Hugging Face) or file (GGUF) has one.
    fn project(&self, w: &Scope<'_>, x: &Tensor, out: usize, bias: bool) -> Result<Tensor> {
        let bias = match self.config.layout {
            LlamaLayout::HuggingFace => bias,
            LlamaLayout::Gguf => w.contains("bias"),
        };
        if bias {
            linear(self.g, w, x, out)
        } else {
            linear_no_bias(self.g, w, x, out)
        }
    }
}
