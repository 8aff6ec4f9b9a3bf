//! CLIP's text encoder: a causal transformer with learned positions.
//!
//! Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"; equal to transformers' `CLIPTextModel`.
//! Stable Diffusion 1.x conditions on the final states of CLIP ViT-L/14; 2.x on the last but one layer of OpenCLIP ViT-H/14, whose `config.json`
//! then simply has one layer fewer. Leaving out layers ("clip skip") applies the final norm all the same, as diffusers and A1111 do.

use std::path::Path;

use half::{bf16, f16};
use serde_json::{Value, json};

use crate::formats::{StorageDtype, TensorData, WeightMap};
use crate::graph::{Activation, Graph, GraphBuilder, Tensor};

use super::config::ConfigReader;
use super::error::{ModelError, Result};
use super::layers::{layer_norm, linear};
use super::loader::Scope;

/// What a `config.json` of a `CLIPTextModel` says.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the states, which is the width of the embeddings that come out.
    pub hidden_size: usize,
    /// Width between the two layers of each MLP.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Longest prompt in tokens, 77 in all of OpenAI's.
    pub max_positions: usize,
    /// Activation of the MLPs.
    pub activation: Activation,
    /// Added to the variance in layer norms.
    pub eps: f32,
}

impl ClipTextConfig {
    /// Reads a `config.json`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense; models that are no CLIP text encoders.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        // The config of a whole CLIP model holds that of its text encoder.
        let c = match c.object("text_config")? {
            Some(text) => text,
            None => c,
        };
        c.refuse(
            "model_type",
            &[json!("clip_text_model"), json!("clip")],
            "only CLIP text encoders are known here",
        )?;
        let config = Self {
            vocab_size: c.size("vocab_size", Some(49408))?,
            hidden_size: c.size("hidden_size", Some(512))?,
            intermediate_size: c.size("intermediate_size", Some(2048))?,
            layers: c.count("num_hidden_layers", 1024, Some(12))?,
            heads: c.size("num_attention_heads", Some(8))?,
            max_positions: c.size("max_position_embeddings", Some(77))?,
            activation: c.activation("hidden_act", "quick_gelu")?,
            eps: c.epsilon("layer_norm_eps", 1e-5)?,
        };
        if !config.hidden_size.is_multiple_of(config.heads) {
            let reason = format!(
                "is {}, which does not divide the width {}",
                config.heads, config.hidden_size
            );
            return Err(c.invalid("num_attention_heads", reason).into());
        }
        Ok(config)
    }
}

/// A CLIP text encoder.
#[derive(Clone, Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    weights: WeightMap,
    prefix: Option<&'static str>,
}

impl ClipText {
    /// Takes configuration and weights, and checks that every weight is there and fits.
    ///
    /// # Errors
    /// The first weight that is missing, misshapen or of a type that cannot be computed with.
    pub fn new(config: ClipTextConfig, weights: WeightMap) -> Result<Self> {
        // Files have the prefix; newer versions of transformers write some without it.
        let prefix =
            (!weights.contains("embeddings.token_embedding.weight")).then_some("text_model");
        let model = Self {
            config,
            weights,
            prefix,
        };
        model.graph(1, 1, 0)?;
        Ok(model)
    }

    /// The same encoder with more tokens at the end of its vocabulary: `values` holds vectors of its width, one after the other.
    ///
    /// # Errors
    /// Values that are no whole number of vectors.
    pub fn with_tokens(&self, values: &[f32]) -> Result<Self> {
        let width = self.config.hidden_size;
        let more = values.len() / width.max(1);
        let prefix = self.prefix.map_or(String::new(), |p| format!("{p}."));
        let name = format!("{prefix}embeddings.token_embedding.weight");
        let table = self
            .weights
            .require(&name, &[self.config.vocab_size, width])?;
        let mut config = self.config.clone();
        config.vocab_size += more;
        let (dtype, mut bytes) = match table.dtype() {
            dtype @ (StorageDtype::F32 | StorageDtype::F16 | StorageDtype::Bf16) => {
                (dtype, table.bytes().to_vec())
            }
            // Packed ones are unpacked.
            _ => (StorageDtype::F16, halves(&table.to_f32()?)),
        };
        bytes.extend(match dtype {
            StorageDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            StorageDtype::Bf16 => {
                let narrow = values.iter().map(|v| bf16::from_f32(*v).to_le_bytes());
                narrow.flatten().collect()
            }
            _ => halves(values),
        });
        let shape = [config.vocab_size, width];
        let mut weights = self.weights.clone();
        weights.insert(
            name.as_str(),
            TensorData::new_owned(&name, &shape, dtype, bytes)?,
        );
        Self::new(config, weights)
    }

    /// The weights by transformers' names.
    #[must_use]
    pub fn weights(&self) -> &WeightMap {
        &self.weights
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// A graph for `batch` prompts of `length` tokens that leaves out the last `layers_from_end` layers.
    ///
    /// Input `ids` u32 `[batch, length]` (below the size of the vocabulary); output `embedding` f32 `[batch, length, hidden_size]`.
    ///
    /// # Errors
    /// A length beyond the positions that the model has, or more layers left out than there are.
    pub fn graph(&self, batch: usize, length: usize, layers_from_end: usize) -> Result<Graph> {
        self.build(batch, length, layers_from_end, false)
    }

    /// A graph for Stable Diffusion XL: output `hidden` is the state before the last `layers_from_end` layers, without the final norm, and
    /// `embedding` that of all layers, with it.
    ///
    /// # Errors
    /// As [`Self::graph`].
    pub fn hidden_graph(
        &self,
        batch: usize,
        length: usize,
        layers_from_end: usize,
    ) -> Result<Graph> {
        self.build(batch, length, layers_from_end, true)
    }

    /// A text's own embedding, projected: of the last states `[length, hidden_size]` the one of the first token with the highest
    /// id, which ends the text (transformers' `CLIPTextModelWithProjection`). `None` if the file has no projection.
    ///
    /// # Errors
    /// A projection of another width.
    pub fn pooled(&self, ids: &[u32], states: &[f32]) -> Result<Option<Vec<f32>>> {
        const NAME: &str = "text_projection.weight";
        let width = self.config.hidden_size;
        let Some(found) = self.weights.get(NAME) else {
            return Ok(None);
        };
        let out = found.shape().first().copied().unwrap_or(0);
        let weight = self.weights.require(NAME, &[out, width])?.to_f32()?;
        let most = ids.iter().copied().max();
        let end = ids.iter().position(|id| Some(*id) == most).unwrap_or(0);
        let state = states.get(end * width..(end + 1) * width).unwrap_or(&[]);
        let rows = weight.chunks_exact(width.max(1));
        Ok(Some(
            rows.map(|row| row.iter().zip(state).map(|(a, b)| a * b).sum())
                .collect(),
        ))
    }

    /// Width of [`Self::pooled`], if the file has a projection.
    #[must_use]
    pub fn pooled_width(&self) -> Option<usize> {
        self.weights
            .get("text_projection.weight")
            .and_then(|tensor| tensor.shape().first().copied())
    }

    fn build(
        &self,
        batch: usize,
        length: usize,
        layers_from_end: usize,
        whole: bool,
    ) -> Result<Graph> {
        let c = &self.config;
        if length == 0 || length > c.max_positions || batch == 0 {
            return Err(request(format!(
                "{batch} prompts of {length} tokens; 1 to {} tokens are possible",
                c.max_positions
            )));
        }
        let layers = c.layers.checked_sub(layers_from_end).ok_or_else(|| {
            request(format!(
                "{layers_from_end} layers left out of {}; leave out fewer",
                c.layers
            ))
        })?;
        let g = GraphBuilder::new(format!("clip-text {batch}x{length}"));
        let root = Scope::new(&self.weights);
        let w = match self.prefix {
            Some(prefix) => root.scope(prefix),
            None => root,
        };
        let ids = g.input_u32("ids", &[batch, length])?;

        let embeddings = w.scope("embeddings");
        let tokens = embeddings.tensor("token_embedding.weight", &[c.vocab_size, c.hidden_size])?;
        let positions = embeddings.tensor(
            "position_embedding.weight",
            &[c.max_positions, c.hidden_size],
        )?;
        let positions = g.constant(&positions.slice_rows(0, length)?)?;
        let mut x = g.add(&g.embedding(&ids, &tokens)?, &positions)?;
        for layer in 0..layers {
            x = self.layer(&g, &w.scope(format!("encoder.layers.{layer}")), &x)?;
        }
        if whole {
            g.output("hidden", &x);
            for layer in layers..c.layers {
                x = self.layer(&g, &w.scope(format!("encoder.layers.{layer}")), &x)?;
            }
        }
        let y = layer_norm(&g, &w.scope("final_layer_norm"), &x, c.eps)?;
        g.output("embedding", &y);
        Ok(g.finish())
    }

    fn layer(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let c = &self.config;
        let h = layer_norm(g, &w.scope("layer_norm1"), x, c.eps)?;
        let x = g.add(x, &self.attention(g, &w.scope("self_attn"), &h)?)?;
        let h = layer_norm(g, &w.scope("layer_norm2"), &x, c.eps)?;
        let h = linear(g, &w.scope("mlp.fc1"), &h, c.intermediate_size)?;
        let h = g.activation(&h, c.activation)?;
        let h = linear(g, &w.scope("mlp.fc2"), &h, c.hidden_size)?;
        Ok(g.add(&x, &h)?)
    }

    fn attention(&self, g: &GraphBuilder, w: &Scope<'_>, x: &Tensor) -> Result<Tensor> {
        let _scope = w.enter(g);
        let (width, heads) = (self.config.hidden_size, self.config.heads);
        let q = linear(g, &w.scope("q_proj"), x, width)?;
        let k = linear(g, &w.scope("k_proj"), x, width)?;
        let v = linear(g, &w.scope("v_proj"), x, width)?;
        let scale = ((width / heads) as f32).sqrt().recip();
        let y = g.attention([&q, &k, &v], heads, heads, scale, true)?;
        linear(g, &w.scope("out_proj"), &y, width)
    }
}

fn halves(values: &[f32]) -> Vec<u8> {
    let narrow = values.iter().map(|v| f16::from_f32(*v).to_le_bytes());
    narrow.flatten().collect()
}

fn request(reason: String) -> ModelError {
    ModelError::Request {
        model: "text encoder",
        reason,
    }
}
