//! Decoders of the Llama kind: RMS norm, rotary positions, grouped queries, gated MLP, and the variations of it that [`Family`] lists.
//!
//! Touvron et al. 2023, "LLaMA" and "Llama 2"; Ainslie et al. 2023, "GQA"; the papers of the variations at [`Family`]. Equal to transformers'
//! `...ForCausalLM` on Hugging Face folders and to llama.cpp on GGUF files. In the files of some families query and key rows are in another order
//! there (each rotated pair side by side), which [`RopeStyle::Interleaved`] undoes without touching the packed weights.
//!
//! | file | what |
//! |---|---|
//! | `config` | what configuration and metadata say, all variations as plain values |
//! | `names` | the keys of weights |
//! | `rope` | rotation frequencies and their scalings |
//! | `block` | attention and MLP of one layer |
//! | `experts` | a mixture of experts in place of the MLP |

mod block;
mod config;
mod experts;
#[cfg(test)]
mod hostile_tests;
mod names;
mod rope;

pub use config::{Experts, Family, LayerKind, LlamaConfig, LlamaLayout};
pub use rope::{Rope, RopeScaling};

use std::path::Path;

use crate::formats::diffusers::find_weights;
use crate::formats::gguf::Gguf;
use crate::formats::json::{MAX_CONFIG, read_json_as};
use crate::formats::safetensors::read_any;
use crate::formats::{TensorData, WeightMap};
use crate::graph::candidates::EXTRAS;
use crate::graph::draw::DRAW_WORDS;
use crate::graph::{Graph, GraphBuilder, KV_PAGE, KvShape, KvType, Tensor, UnaryKind};

use super::error::{ModelError, Result};
use super::layers::linear_no_bias;
use super::loader::Scope;
use block::Block;
use names::Names;
use rope::RopeTables;

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

/// Longest context that a cache is made for where nobody asks for another; longer ones cost more memory than most use.
pub const LONGEST_CONTEXT: usize = 8192;

/// A Llama-family decoder.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    weights: WeightMap,
    rope: RopeTables,
    vocab_size: usize,
    kv_type: KvType,
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
        let weights = if config.family.is_gemma() && config.layout == LlamaLayout::HuggingFace {
            with_whole_gains(weights)?
        } else {
            weights
        };
        let root = Scope::new(&weights);
        let rope = RopeTables::new(&config, &root)?;
        let embedding = Names::of(config.layout, config.family).embedding;
        let table = root.scope(embedding).table("weight", config.hidden_size)?;
        let vocab_size = table.shape().first().copied().unwrap_or(0);
        if let Some(said) = config.vocab_size.filter(|said| *said != vocab_size) {
            let reason = format!("is {said}, but `{embedding}.weight` has {vocab_size} rows");
            return Err(root.misfit("vocab_size", reason).into());
        }
        let model = Self {
            config,
            weights,
            rope,
            vocab_size,
            kv_type: KvType::F32,
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

    /// Reads configuration and weights of a GGUF file.
    ///
    /// # Errors
    /// As [`LlamaConfig::from_gguf`] and [`Self::new`].
    pub fn from_gguf(file: &Gguf) -> Result<Self> {
        Self::new(
            LlamaConfig::from_gguf(&file.metadata)?,
            file.tensors.clone(),
        )
    }

    /// Reads configuration and weights (whole or sharded) of a Hugging Face folder.
    ///
    /// # Errors
    /// As [`LlamaConfig::from_json`] and [`Self::new`]; missing files and shards by name.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let value = read_json_as(&path, "config.json", MAX_CONFIG)?;
        let config = LlamaConfig::from_json(&path, &value)?;
        let weights = find_weights(folder, "the language model")?;
        Self::new(config, read_any(&weights)?.tensors)
    }

    /// With keys and values kept in another type.
    #[must_use]
    pub fn with_kv_type(mut self, kv_type: KvType) -> Self {
        self.kv_type = kv_type;
        self
    }

    /// How keys and values are kept.
    #[must_use]
    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Tokens that a conversation may have: the model's own context, up to `longest`.
    #[must_use]
    pub fn kept_context(&self, longest: usize) -> usize {
        self.config.context_length.clamp(1, longest.max(1))
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
            layers: self.config.layers.len(),
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
            pages,
            kv_type: self.kv_type,
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
        self.build(shape, None)
    }

    /// As [`Self::graph`], for choosing among the first `tokens` of the vocabulary: further inputs `extras` u32 `[outputs, EXTRAS]` and
    /// `inverse_temperatures` f32 `[outputs]`; output `candidates` as [`Op::Candidates`](crate::graph::Op::Candidates) tells them, while the `logits`
    /// themselves stay on the device, the first of what the graph keeps.
    ///
    /// With `draws` a token is drawn as well: a further input `draw` f32 `[outputs, DRAW_WORDS]`, and a further output `drawn` u32 `[outputs]`, as
    /// [`Op::Draw`](crate::graph::Op::Draw) makes it.
    ///
    /// # Errors
    /// As [`Self::graph`]; more tokens than there are, or none.
    pub fn choosing_graph(
        &self,
        shape: &LlamaShape,
        (tokens, draws): (usize, bool),
    ) -> Result<Graph> {
        self.build(shape, Some((tokens, draws)))
    }

    fn build(&self, shape: &LlamaShape, choosing: Option<(usize, bool)>) -> Result<Graph> {
        let c = &self.config;
        let LlamaShape { rows, outputs, .. } = *shape;
        if [rows, shape.sequences, shape.pages_per_sequence, shape.pages].contains(&0) {
            return Err(ModelError::Request {
                model: "language model",
                reason: format!("{shape:?}; nothing but the outputs may be 0"),
            });
        }
        let names = Names::of(c.layout, c.family);
        let family = c.family.model_type();
        let g = GraphBuilder::new(format!("{family} {rows} rows, {outputs} outputs"));
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
        let context = shape.pages_per_sequence.saturating_mul(KV_PAGE);

        let table = w.scope(names.embedding);
        let table = table.tensor("weight", &[self.vocab_size, c.hidden_size])?;
        let mut x = scaled(&g, g.embedding(&ids, &table)?, c.embedding_scale)?;
        for (layer, kind) in c.layers.iter().enumerate() {
            let w = w.scope(format!("{}.{layer}", names.layers));
            let _scope = w.enter(&g);
            let block = Block {
                g: &g,
                config: c,
                names: &names,
                window: c.window.filter(|_| kind.windowed),
                frequencies: kind.rotated.then(|| self.rope.of(kind.windowed, context)),
            };
            let y = block.attention(&w, &x, &inputs, (state, layer))?;
            x = g.add(&x, &scaled(&g, y, c.residual_scale)?)?;
            let y = match c.experts.filter(|_| kind.sparse) {
                Some(experts) => block.experts(&w, &x, experts)?,
                None => block.mlp(&w, &x)?,
            };
            x = g.add(&x, &scaled(&g, y, c.residual_scale)?)?;
        }
        if outputs > 0 {
            let output_rows = g.input_u32("output_rows", &[outputs])?;
            let x = g.gather_rows(&x, &output_rows)?;
            let x = block::rms_norm(&g, &w.scope(names.norm), &x, c.eps)?;
            let logits = if self.tied(&w, &names) {
                g.linear(&x, &table, None)?
            } else {
                linear_no_bias(&g, &w.scope(names.head), &x, self.vocab_size)?
            };
            let mut logits = scaled(&g, logits, c.logit_scale)?;
            if let Some(cap) = c.final_softcap {
                logits = scaled(&g, logits, cap.recip())?;
                logits = scaled(&g, g.unary(&logits, UnaryKind::Tanh)?, cap)?;
            }
            match choosing {
                None => g.output("logits", &logits),
                Some((tokens, draws)) => {
                    let extras = g.input_u32("extras", &[outputs, EXTRAS])?;
                    let temperatures = g.input("inverse_temperatures", &[outputs])?;
                    let told = g.candidates(&logits, &extras, &temperatures, tokens)?;
                    g.output("candidates", &told);
                    if draws {
                        let settings = g.input("draw", &[outputs, DRAW_WORDS])?;
                        g.output("drawn", &g.draw(&told, &settings)?);
                    }
                    g.keep("logits", &logits);
                }
            }
        }
        Ok(g.finish())
    }

    /// Whether the output matrix is the table of embeddings.
    fn tied(&self, w: &Scope<'_>, names: &Names) -> bool {
        match self.config.tied {
            Some(tied) => tied,
            None => !w.contains(&format!("{}.weight", names.head)),
        }
    }
}

/// `x * factor`; nothing where that is 1.
fn scaled(g: &GraphBuilder, x: Tensor, factor: f32) -> Result<Tensor> {
    if factor == 1.0 {
        return Ok(x);
    }
    Ok(g.affine(&x, factor, 0.0)?)
}

/// transformers' Gemma stores the gains of its norms less 1.
fn with_whole_gains(mut weights: WeightMap) -> Result<WeightMap> {
    let norms: Vec<TensorData> = weights
        .iter()
        .filter(|(name, tensor)| name.ends_with("norm.weight") && tensor.dtype().is_float_weight())
        .map(|(name, tensor)| tensor.renamed(name))
        .collect();
    for norm in norms {
        let gains: Vec<f32> = norm.to_f32()?.iter().map(|gain| gain + 1.0).collect();
        let whole = TensorData::from_f32(norm.name(), norm.shape(), &gains)?;
        weights.insert(norm.name(), whole);
    }
    Ok(weights)
}
