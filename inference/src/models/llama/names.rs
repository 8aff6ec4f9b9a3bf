//! The keys of weights, by layout of the file and family.

use super::config::{Family, LlamaLayout};

/// The keys of one layout of files, below the scope of a layer where they belong to one. What a family does not have has no key.
pub(super) struct Names {
    pub embedding: &'static str,
    pub norm: &'static str,
    pub head: &'static str,
    pub layers: &'static str,
    /// Before attention.
    pub attention_norm: Option<&'static str>,
    /// After attention, before its sum with the residual stream.
    pub attention_post_norm: Option<&'static str>,
    /// Of queries and keys, before their rotation.
    pub query_key_norms: Option<[&'static str; 2]>,
    pub projections: Projections,
    pub attention_out: &'static str,
    /// Before the MLP.
    pub mlp_norm: Option<&'static str>,
    /// After the MLP, before its sum with the residual stream.
    pub mlp_post_norm: Option<&'static str>,
    pub gate: Gate,
    pub down: &'static str,
    /// Of sparse layers.
    pub router: &'static str,
    pub experts: ExpertNames,
}

/// How the matrices of experts are stored.
pub(super) struct ExpertNames {
    /// All experts of a layer in one tensor `[experts, out, in]`: gate, up, down.
    pub stacked: [&'static str; 3],
    /// Gate and up of each expert together, `[experts, 2 * width, in]`, and down.
    pub fused: Option<[&'static str; 2]>,
    /// The scope of the experts, where each has matrices of its own, and their names there.
    pub apart: Option<(&'static str, [&'static str; 3])>,
}

/// How queries, keys and values are made.
pub(super) enum Projections {
    /// By matrices of their own.
    Apart([&'static str; 3]),
    /// By one matrix, whose rows are those of the three one after the other.
    Fused(&'static str),
}

/// How gate and up projection of the MLP are made.
pub(super) enum Gate {
    /// By matrices of their own.
    Apart([&'static str; 2]),
    /// By one matrix, whose rows are those of the two one after the other.
    Fused(&'static str),
}

const HUGGING_FACE: Names = Names {
    embedding: "model.embed_tokens",
    norm: "model.norm",
    head: "lm_head",
    layers: "model.layers",
    attention_norm: Some("input_layernorm"),
    attention_post_norm: None,
    query_key_norms: None,
    projections: Projections::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    attention_out: "self_attn.o_proj",
    mlp_norm: Some("post_attention_layernorm"),
    mlp_post_norm: None,
    gate: Gate::Apart(["mlp.gate_proj", "mlp.up_proj"]),
    down: "mlp.down_proj",
    router: "mlp.gate",
    experts: ExpertNames {
        stacked: [
            "mlp.experts.gate_proj",
            "mlp.experts.up_proj",
            "mlp.experts.down_proj",
        ],
        fused: Some(["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
        apart: Some(("mlp.experts", ["gate_proj", "up_proj", "down_proj"])),
    },
};

const GGUF: Names = Names {
    embedding: "token_embd",
    norm: "output_norm",
    head: "output",
    layers: "blk",
    attention_norm: Some("attn_norm"),
    attention_post_norm: None,
    query_key_norms: None,
    projections: Projections::Apart(["attn_q", "attn_k", "attn_v"]),
    attention_out: "attn_output",
    mlp_norm: Some("ffn_norm"),
    mlp_post_norm: None,
    gate: Gate::Apart(["ffn_gate", "ffn_up"]),
    down: "ffn_down",
    router: "ffn_gate_inp",
    experts: ExpertNames {
        stacked: [
            "ffn_gate_exps.weight",
            "ffn_up_exps.weight",
            "ffn_down_exps.weight",
        ],
        fused: None,
        apart: None,
    },
};

impl Names {
    pub(super) fn of(layout: LlamaLayout, family: Family) -> Self {
        let (base, query_key_norms) = match layout {
            LlamaLayout::HuggingFace => (HUGGING_FACE, ["self_attn.q_norm", "self_attn.k_norm"]),
            LlamaLayout::Gguf => (GGUF, ["attn_q_norm", "attn_k_norm"]),
        };
        // Hugging Face names the norm before the MLP as if it came after attention, unless there is one that does.
        let [after_attention, before_mlp, after_mlp] = match layout {
            LlamaLayout::HuggingFace => [
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
            LlamaLayout::Gguf => ["post_attention_norm", "ffn_norm", "post_ffw_norm"],
        };
        let fused = match layout {
            LlamaLayout::HuggingFace => ("self_attn.qkv_proj", "mlp.gate_up_proj"),
            LlamaLayout::Gguf => ("attn_qkv", "ffn_up"),
        };
        let query_key_norms = family.has_query_key_norms().then_some(query_key_norms);
        match family {
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::SmolLm3 | Family::Granite => {
                base
            }
            Family::Qwen3 | Family::Qwen3Moe => Self {
                query_key_norms,
                ..base
            },
            Family::Gemma2 | Family::Gemma3 => Self {
                attention_post_norm: Some(after_attention),
                mlp_norm: Some(before_mlp),
                mlp_post_norm: Some(after_mlp),
                query_key_norms,
                ..base
            },
            Family::Olmo2 => Self {
                attention_norm: None,
                attention_post_norm: Some(after_attention),
                mlp_norm: None,
                mlp_post_norm: Some(after_mlp),
                query_key_norms,
                ..base
            },
            Family::Phi3 => Self {
                projections: Projections::Fused(fused.0),
                gate: Gate::Fused(fused.1),
                ..base
            },
        }
    }
}
