//! What a `config.json` or the metadata of a GGUF file say about a decoder of the Llama kind.

mod gguf;
mod json;
#[cfg(test)]
mod tests;

use crate::formats::FormatError;
use crate::graph::Activation;

use super::rope::Rope;

/// Which names and which order of rows the weights have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaLayout {
    /// As transformers writes them.
    HuggingFace,
    /// As llama.cpp's converter writes them.
    Gguf,
}

/// The architectures that are variations of the Llama block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Touvron et al. 2023; Dubey et al. 2024. Also SmolLM 1 and 2, TinyLlama and many others.
    Llama,
    /// Jiang et al. 2023, "Mistral 7B": every layer may have a sliding window. GGUF files call it `llama`.
    Mistral,
    /// Yang et al. 2024, "Qwen2": queries, keys and values have biases.
    Qwen2,
    /// Yang et al. 2025, "Qwen3": queries and keys are normalised head by head.
    Qwen3,
    /// Gemma team 2024, "Gemma 2": norms before and after, windows in every other layer, soft caps.
    Gemma2,
    /// Gemma team 2025, "Gemma 3": five layers with a window to one without, two rotation bases, normalised queries and keys.
    Gemma3,
    /// Abdin et al. 2024, "Phi-3" and "Phi-4": fused projections, LongRoPE.
    Phi3,
    /// Hugging Face 2025, "SmolLM3": every fourth layer without rotation.
    SmolLm3,
    /// OLMo team 2024, "2 OLMo 2 Furious": norms after only, queries and keys normalised over all heads.
    Olmo2,
    /// IBM 2024, "Granite 3.0": four multipliers.
    Granite,
    /// Yang et al. 2025, "Qwen3": as [`Self::Qwen3`], with mixtures of experts in place of MLPs.
    Qwen3Moe,
}

impl Family {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::SmolLm3,
        Self::Olmo2,
        Self::Granite,
        Self::Qwen3Moe,
    ];

    /// `model_type` in a `config.json`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
            Self::Phi3 => "phi3",
            Self::SmolLm3 => "smollm3",
            Self::Olmo2 => "olmo2",
            Self::Granite => "granite",
            Self::Qwen3Moe => "qwen3_moe",
        }
    }

    /// `general.architecture` in a GGUF file.
    #[must_use]
    pub const fn gguf_name(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Gemma3 => "gemma3",
            Self::Qwen3Moe => "qwen3moe",
            other => other.model_type(),
        }
    }

    pub(super) const fn has_query_key_norms(self) -> bool {
        matches!(
            self,
            Self::Qwen3 | Self::Qwen3Moe | Self::Gemma3 | Self::Olmo2
        )
    }

    /// Whether GGUF files hold the rows of queries and keys in the order of [`RopeStyle::Interleaved`](crate::graph::RopeStyle::Interleaved).
    pub(super) const fn is_permuted_in_gguf(self) -> bool {
        matches!(
            self,
            Self::Llama | Self::Mistral | Self::SmolLm3 | Self::Granite
        )
    }

    /// Gemma: gains of norms are stored less 1 by transformers (not by llama.cpp), and embeddings are multiplied by the root of their width.
    pub(super) const fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }
}

/// What a remedy says about models that are not among them.
pub(super) const FAMILIES: &str = "use a model of one of these architectures: Llama, Mistral, Qwen2, Qwen2.5, Qwen3 (also its mixtures of experts), Gemma 2, Gemma 3, Phi-3, Phi-4, SmolLM, OLMo 2, Granite 3";

/// What is particular about one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Sees only [`LlamaConfig::window`] positions.
    pub windowed: bool,
    /// Queries and keys are rotated by position.
    pub rotated: bool,
    /// Has a mixture of experts in place of an MLP.
    pub sparse: bool,
}

/// The mixture of experts of a sparse layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a token uses.
    pub used: usize,
    /// Width of an expert's MLP.
    pub width: usize,
    /// Whether the weights of the experts used add up to 1.
    pub normalised: bool,
}

/// What a decoder of the Llama kind is.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Which variation.
    pub family: Family,
    /// Names and row order of the weights.
    pub layout: LlamaLayout,
    /// Tokens in the vocabulary, if the configuration says so.
    pub vocab_size: Option<usize>,
    /// Width of the states.
    pub hidden_size: usize,
    /// Width within MLPs.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: Vec<LayerKind>,
    /// Positions that layers with a window see.
    pub window: Option<usize>,
    /// What sparse layers have in place of MLPs.
    pub experts: Option<Experts>,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides the query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Elements of a head that are rotated, from its start.
    pub rope_dim: usize,
    /// Rotation frequencies.
    pub rope: Rope,
    /// Those of layers with a window, where they differ.
    pub local_rope: Option<Rope>,
    /// Longest context in tokens.
    pub context_length: usize,
    /// Activation of the gate.
    pub activation: Activation,
    /// Added to the mean square in norms.
    pub eps: f32,
    /// Whether the output matrix is the table of embeddings; where nothing says so, it is if there is none.
    pub tied: Option<bool>,
    /// Whether queries, keys and values have biases (Hugging Face; GGUF files just have them or not).
    pub attention_bias: bool,
    /// Whether attention's output has a bias (likewise).
    pub output_bias: bool,
    /// Whether the MLPs' projections have biases (likewise).
    pub mlp_bias: bool,
    /// Factor on attention's scores.
    pub attention_scale: f32,
    /// Soft cap on attention's scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap on the logits.
    pub final_softcap: Option<f32>,
    /// Factor on the embeddings.
    pub embedding_scale: f32,
    /// Factor on what each block adds to the residual stream.
    pub residual_scale: f32,
    /// Factor on the logits, before their soft cap.
    pub logit_scale: f32,
}

impl LlamaConfig {
    /// What must hold between values, wherever they come from.
    fn check(
        &self,
        [kv_key, head_key, rope_key, expert_key]: [&str; 4],
        invalid: impl Fn(&str, String) -> FormatError,
    ) -> std::result::Result<(), FormatError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!(
                "is {}, which does not divide {} heads",
                self.kv_heads, self.heads
            );
            return Err(invalid(kv_key, reason));
        }
        if self.head_dim > 1 << 16 || self.heads > 1 << 16 || self.layers.len() > MOST_LAYERS {
            let reason = "or the number of heads or layers is beyond 65536".to_owned();
            return Err(invalid(head_key, reason));
        }
        if self.rope_dim % 2 == 1 || self.rope_dim > self.head_dim || self.rope_dim == 0 {
            let reason = format!(
                "asks to rotate {} of {} elements; needed is an even number up to the size of a head",
                self.rope_dim, self.head_dim
            );
            return Err(invalid(rope_key, reason));
        }
        if let Some(experts) = self.experts
            && (experts.used > experts.count || experts.count > MOST_EXPERTS)
        {
            let reason = format!(
                "asks for {} of {} experts; at most {MOST_EXPERTS} are known",
                experts.used, experts.count
            );
            return Err(invalid(expert_key, reason));
        }
        Ok(())
    }
}

/// Most experts of a layer.
const MOST_EXPERTS: usize = 1 << 14;

/// Most layers; what is told of each of them must not fill the memory.
const MOST_LAYERS: usize = 1 << 16;

/// Layers that all are of one kind, or whose kind depends on their number.
fn layers(count: usize, kind: impl Fn(usize) -> LayerKind) -> Vec<LayerKind> {
    // One too many is enough for the check to find.
    (0..count.min(MOST_LAYERS + 1)).map(kind).collect()
}
