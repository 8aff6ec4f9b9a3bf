//! The Llama family of decoders: RMS norm, rotary positions, grouped queries, gated MLP.
//!
//! Touvron et al. 2023, "LLaMA" and "Llama 2"; Dubey et al. 2024, "The Llama 3 Herd of Models"; Ainslie et al. 2023, "GQA". Equal to transformers' `LlamaForCausalLM`
//! on Hugging Face folders and to llama.cpp's architecture `llama` on GGUF files, whose query and key rows are in another order (each rotated
//! pair side by side), which [`RopeStyle::Interleaved`] undoes without touching the packed weights.

mod config;
mod rope;

pub use config::{LlamaConfig, LlamaLayout};
pub use rope::RopeScaling;

use crate::formats::gguf::Gguf;
use crate::formats::{TensorData, WeightMap};
use crate::graph::{Graph, GraphBuilder, KvShape, PagedAttentionSpec, RopeStyle, Tensor};

use super::error::{ModelError, Result};
use super::layers::{linear, linear_no_bias};
use super::loader::Scope;

/// Sizes that a graph is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LlamaShape {
    /// Tokens computed in one run, of any mixture of sequences.
    pub rows: usize,
    /// Rows whose logits are wanted; 0 where a run only fills the cache.
    pub outputs: usize,
    /// Sequences in the block table.
    pub sequences: usize,
    /// Pages in each row of the block table: what the longest sequence may take.
    pub pages_per_sequence: usize,
    /// Pages in the pool.
    pub pages: usize,
}

/// The keys of one layout of files, below the scope of a layer where they belong to one.
struct Names {
    embedding: &'static str,
    norm: &'static str,
    head: &'static str,
    layers: &'static str,
    attention_norm: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_out: &'static str,
    mlp_norm: &'static str,
    gate: &'static str,
    up: &'static str,
    down: &'static str,
}

const HUGGING_FACE: Names = Names {
    embedding: "model.embed_tokens",
    norm: "model.norm",
    head: "lm_head",
    layers: "model.layers",
    attention_norm: "input_layernorm",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    attention_out: "self_attn.o_proj",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
};

const GGUF: Names = Names {
    embedding: "token_embd",
    norm: "output_norm",
    head: "output",
    layers: "blk",
    attention_norm: "attn_norm",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    attention_out: "attn_output",
    mlp_norm: "ffn_norm",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
};

/// A Llama-family decoder.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    weights: WeightMap,
    inv_freq: TensorData,
    vocab_size: usize,
}

/// The values that every layer is given.
struct Inputs {
    positions: Tensor,
    write_slots: Tensor,
    sequences: Tensor,
    block_tables: Tensor,
}

impl Llama {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: LlamaConfig, weights: WeightMap) -> Result<Self> {
        let root = Scope::new(&weights);
        let inv_freq = rope::inverse_frequencies(&config, &root)?;
        let embedding = names(config.layout).embedding;
        let table = root.scope(embedding).table("weight", config.hidden_size)?;
        let vocab_size = table.shape().first().copied().unwrap_or(0);
        if let Some(said) = config.vocab_size.filter(|said| *said != vocab_size) {
            let reason = format!("is {said}, but `{embedding}.weight` has {vocab_size} rows");
            return Err(root.misfit("vocab_size", reason).into());
        }
        let model = Self {
            config,
            weights,
            inv_freq,
            vocab_size,
        };
        model.graph(&LlamaShape {
            rows: 1,
            outputs: 1,
            sequences: 1,
            pages_per_sequence: 1,
            pages: 1,
        })?;
        Ok(model)
    }

    /// Reads configuration and weights of a GGUF file of architecture `llama`.
    ///
    /// # Errors
    /// As [`LlamaConfig::from_gguf`] and [`Self::new`].
    pub fn from_gguf(file: &Gguf) -> Result<Self> {
        Self::new(
            LlamaConfig::from_gguf(&file.metadata)?,
            file.tensors.clone(),
        )
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Tokens in the vocabulary: the rows of the table of embeddings.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The cache that graphs for a pool of `pages` pages refer to.
    #[must_use]
    pub fn kv_shape(&self, pages: usize) -> KvShape {
        KvShape {
            layers: self.config.layers,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
            pages,
        }
    }

    /// A graph for one run over `shape.rows` tokens.
    ///
    /// Inputs, all u32: `ids [rows]` (below [`Self::vocab_size`]), `positions [rows]`, `write_slots [rows]`, `sequences [rows]`,
    /// `block_tables [sequences, pages_per_sequence]` as [`Op::PagedAttention`](crate::graph::Op::PagedAttention) describes them (rows that are padding have
    /// [`NO_SLOT`](crate::graph::NO_SLOT) as position and slot, and any valid id), and, where there are outputs, `output_rows [outputs]`; one state, [`Self::kv_shape`] of
    /// `shape.pages`; output `logits` f32 `[outputs, vocab_size]`, where there are any.
    ///
    /// # Errors
    /// Sizes that are nothing; weights that do not fit.
    pub fn graph(&self, shape: &LlamaShape) -> Result<Graph> {
        let c = &self.config;
        let LlamaShape { rows, outputs, .. } = *shape;
        if [rows, shape.sequences, shape.pages_per_sequence, shape.pages].contains(&0) {
            return Err(ModelError::Request {
                model: "language model",
                reason: format!("{shape:?}; nothing but the outputs may be 0"),
            });
        }
        let names = names(c.layout);
        let g = GraphBuilder::new(format!("llama {rows} rows, {outputs} outputs"));
        let w = Scope::new(&self.weights);
        let ids = g.input_u32("ids", &[rows])?;
        let inputs = Inputs {
            positions: g.input_u32("positions", &[rows])?,
            write_slots: g.input_u32("write_slots", &[rows])?,
            sequences: g.input_u32("sequences", &[rows])?,
            block_tables: g
                .input_u32("block_tables", &[shape.sequences, shape.pages_per_sequence])?,
        };
        let state = g.kv_state(self.kv_shape(shape.pages));

        let table = w.scope(names.embedding);
        let table = table.tensor("weight", &[self.vocab_size, c.hidden_size])?;
        let mut x = g.embedding(&ids, &table)?;
        for layer in 0..c.layers {
            let w = w.scope(format!("{}.{layer}", names.layers));
            let _scope = w.enter(&g);
            let h = self.norm(&g, &w.scope(names.attention_norm), &x)?;
            x = g.add(&x, &self.attention(&g, &w, &h, &inputs, (state, layer))?)?;
            let h = self.norm(&g, &w.scope(names.mlp_norm), &x)?;
            x = g.add(&x, &self.mlp(&g, &w, &h)?)?;
        }
        if outputs > 0 {
            let output_rows = g.input_u32("output_rows", &[outputs])?;
            let x = g.gather_rows(&x, &output_rows)?;
            let x = self.norm(&g, &w.scope(names.norm), &x)?;
            let logits = if self.tied(&w) {
                g.linear(&x, &table, None)?
            } else {
                linear_no_bias(&g, &w.scope(names.head), &x, self.vocab_size)?
            };
            g.output("logits", &logits);
        }
        Ok(g.finish())
    }

    /// Whether the output matrix is the table of embeddings.
    fn tied(&self, w: &Scope<'_>) -> bool {
        match self.config.tied {
            Some(tied) => tied,
            None => !w.contains(&format!("{}.weight", names(self.config.layout).head)),
        }
    }

    fn norm(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let weight = w.tensor("weight", &[x.last_dim()])?;
        Ok(g.rms_norm(x, &weight, self.config.eps)?)
    }

    /// A projection, with a bias where configuration (Hugging Face) or file (GGUF) has one.
    fn project(
        &self,
        g: &GraphBuilder,
        w: &Scope<'_>,
        x: &Tensor,
        out: usize,
        bias: bool,
    ) -> Result<Tensor> {
        let bias = match self.config.layout {
            LlamaLayout::HuggingFace => bias,
            LlamaLayout::Gguf => w.contains("bias"),
        };
        if bias {
            linear(g, w, x, out)
        } else {
            linear_no_bias(g, w, x, out)
        }
    }

    fn attention(
        &self,
        g: &GraphBuilder,
        w: &Scope<'_>,
        x: &Tensor,
        inputs: &Inputs,
        (state, layer): (usize, usize),
    ) -> Result<Tensor> {
        let c = &self.config;
        let names = names(c.layout);
        let project = |name: &str, x: &Tensor, out: usize| {
            self.project(g, &w.scope(name), x, out, c.attention_bias)
        };
        let (q_width, kv_width) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let q = project(names.query, x, q_width)?;
        let k = project(names.key, x, kv_width)?;
        let v = project(names.value, x, kv_width)?;
        let style = match c.layout {
            LlamaLayout::HuggingFace => RopeStyle::Half,
            LlamaLayout::Gguf => RopeStyle::Interleaved,
        };
        let q = g.rope(&q, &inputs.positions, c.heads, &self.inv_freq, style, 1.0)?;
        let k = g.rope(
            &k,
            &inputs.positions,
            c.kv_heads,
            &self.inv_freq,
            style,
            1.0,
        )?;
        let Inputs {
            positions,
            write_slots,
            sequences,
            block_tables,
        } = inputs;
        let spec = PagedAttentionSpec {
            state,
            layer,
            heads: c.heads,
            scale: (c.head_dim as f32).sqrt().recip(),
        };
        let tables = [positions, write_slots, sequences, block_tables];
        let y = g.paged_attention([&q, &k, &v], tables, spec)?;
        project(names.attention_out, &y, c.hidden_size)
    }

    /// SwiGLU (Shazeer 2020).
    fn mlp(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let c = &self.config;
        let names = names(c.layout);
        let project = |name: &str, x: &Tensor, out: usize| {
            self.project(g, &w.scope(name), x, out, c.mlp_bias)
        };
        let gate = project(names.gate, x, c.intermediate_size)?;
        let up = project(names.up, x, c.intermediate_size)?;
        let h = g.gated(&gate, &up, c.activation)?;
        project(names.down, &h, c.hidden_size)
    }
}

fn names(layout: LlamaLayout) -> &'static Names {
    match layout {
        LlamaLayout::HuggingFace => &HUGGING_FACE,
        LlamaLayout::Gguf => &GGUF,
    }
}
