//! `config.json` of transformers.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::models::config::ConfigReader;
use crate::models::error::Result;
use crate::models::llama::rope::{Rope, RopeScaling};

use super::{Experts, FAMILIES, Family, LayerKind, LlamaConfig, LlamaLayout, layers};

type Read<T> = std::result::Result<T, crate::formats::FormatError>;

/// What transformers assumes where a `config.json` is silent.
struct Defaults {
    heads: usize,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_size: usize,
    intermediate_size: usize,
    layers: usize,
    vocab_size: usize,
    context_length: usize,
    theta: f64,
    eps: f64,
    tied: bool,
}

impl Defaults {
    fn of(family: Family) -> Self {
        let base = Self {
            heads: 32,
            kv_heads: None,
            head_dim: None,
            hidden_size: 4096,
            intermediate_size: 11008,
            layers: 32,
            vocab_size: 32000,
            context_length: 2048,
            theta: 10000.0,
            eps: 1e-6,
            tied: false,
        };
        match family {
            Family::Gemma2 | Family::Gemma3 => Self {
                heads: 8,
                kv_heads: Some(4),
                head_dim: Some(256),
                hidden_size: 2304,
                intermediate_size: 9216,
                layers: 26,
                vocab_size: if family == Family::Gemma3 {
                    262_208
                } else {
                    256_000
                },
                context_length: if family == Family::Gemma3 {
                    131_072
                } else {
                    8192
                },
                theta: if family == Family::Gemma3 { 1e6 } else { 1e4 },
                tied: true,
                ..base
            },
            Family::SmolLm3 => Self {
                theta: 2e6,
                tied: true,
                ..base
            },
            Family::Mistral => Self {
                kv_heads: Some(8),
                ..base
            },
            Family::Phi3 | Family::Olmo2 => Self { eps: 1e-5, ..base },
            Family::Qwen3 => Self {
                head_dim: Some(128),
                ..base
            },
            Family::Qwen3Moe => Self {
                heads: 32,
                kv_heads: Some(4),
                hidden_size: 2048,
                intermediate_size: 6144,
                layers: 24,
                vocab_size: 151_936,
                context_length: 32768,
                ..base
            },
            Family::Llama | Family::Qwen2 | Family::Granite => base,
        }
    }
}

impl LlamaConfig {
    /// Reads a `config.json`; `path` is named in errors. A file without `model_type` is taken for a Llama's.
    ///
    /// # Errors
    /// Values that make no sense; other architectures and unknown frequency scalings, by name.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        let model_type = c.text("model_type", "llama")?;
        let family = Family::ALL
            .into_iter()
            .find(|family| family.model_type() == model_type);
        let Some(family) = family else {
            let what = format!("a model with `model_type` = {model_type}");
            return Err(c.unsupported(what, FAMILIES).into());
        };
        c.refuse(
            "quantization_config",
            &[],
            "use the model in GGUF, or unquantised",
        )?;
        c.refuse("use_bidirectional_attention", &[], FAMILIES)?;
        let d = Defaults::of(family);
        let heads = c.size("num_attention_heads", Some(d.heads))?;
        let hidden_size = c.size("hidden_size", Some(d.hidden_size))?;
        let head_dim = d.head_dim.unwrap_or((hidden_size / heads).max(1));
        let head_dim = c.size("head_dim", Some(head_dim))?;
        let context_length = c.size("max_position_embeddings", Some(d.context_length))?;
        let count = c.count("num_hidden_layers", 4096, Some(d.layers))?;
        let (window, mut kinds) = layer_kinds(&c, family, count)?;
        let experts = experts(&c, family)?;
        if experts.is_some() {
            mark_sparse(&c, &mut kinds)?;
        }
        let Rotation {
            rope,
            local,
            partial,
        } = rotation(&c, family, d.theta, context_length)?;
        let activation = match family {
            Family::Gemma2 | Family::Gemma3 => {
                c.activation("hidden_activation", "gelu_pytorch_tanh")?
            }
            _ => c.activation("hidden_act", "silu")?,
        };
        let attention_bias = match family {
            Family::Qwen2 => true,
            Family::Mistral | Family::Phi3 => false,
            _ => c.flag("attention_bias", false)?,
        };
        let scale = match family {
            Family::Gemma2 | Family::Gemma3 => {
                c.positive("query_pre_attn_scalar", 256.0)?.sqrt().recip()
            }
            Family::Granite => c.positive("attention_multiplier", 1.0)?,
            _ => (head_dim as f64).sqrt().recip(),
        };
        let cap = |key: &str, default: f64| -> Read<Option<f32>> {
            match (family.is_gemma(), c.get(key)) {
                (true, Some(_)) => Ok(Some(c.positive(key, 1.0)? as f32)),
                // transformers writes null where there is none, and Gemma 2's own files always say.
                (true, None) if family == Family::Gemma2 && !has_key(value, key) => {
                    Ok(Some(default as f32))
                }
                _ => Ok(None),
            }
        };
        let granite = |key: &str| -> Read<f32> {
            match family {
                Family::Granite => Ok(c.positive(key, 1.0)? as f32),
                _ => Ok(1.0),
            }
        };
        let embedding_scale = if family.is_gemma() {
            (hidden_size as f32).sqrt()
        } else {
            granite("embedding_multiplier")?
        };
        let config = Self {
            family,
            layout: LlamaLayout::HuggingFace,
            vocab_size: Some(c.size("vocab_size", Some(d.vocab_size))?),
            hidden_size,
            intermediate_size: c.size("intermediate_size", Some(d.intermediate_size))?,
            layers: kinds,
            window,
            experts,
            heads,
            kv_heads: c.size("num_key_value_heads", Some(d.kv_heads.unwrap_or(heads)))?,
            head_dim,
            rope_dim: (head_dim as f64 * partial) as usize,
            rope,
            local_rope: local,
            context_length,
            activation,
            eps: c.epsilon("rms_norm_eps", d.eps)?,
            tied: Some(c.flag("tie_word_embeddings", d.tied)?),
            attention_bias,
            output_bias: attention_bias && family != Family::Qwen2,
            mlp_bias: match family {
                Family::Llama | Family::SmolLm3 | Family::Granite => c.flag("mlp_bias", false)?,
                _ => false,
            },
            attention_scale: scale as f32,
            attention_softcap: cap("attn_logit_softcapping", 50.0)?,
            final_softcap: cap("final_logit_softcapping", 30.0)?,
            embedding_scale,
            residual_scale: granite("residual_multiplier")?,
            logit_scale: granite("logits_scaling")?.recip(),
        };
        config.check(
            [
                "num_key_value_heads",
                "head_dim",
                "head_dim",
                "num_experts_per_tok",
            ],
            |key, reason| c.invalid(key, reason),
        )?;
        if let RopeScaling::LongRope {
            divisors: Some(divisors),
            ..
        } = &config.rope.scaling
            && divisors.iter().any(|d| d.len() * 2 != config.rope_dim)
        {
            let reason = format!(
                "has short_factor and long_factor that are not {} numbers each",
                config.rope_dim / 2
            );
            return Err(c.invalid("rope_scaling", reason).into());
        }
        Ok(config)
    }
}

/// The mixture of experts of sparse layers.
fn experts(c: &ConfigReader<'_>, family: Family) -> Result<Option<Experts>> {
    if family != Family::Qwen3Moe {
        return Ok(None);
    }
    // transformers 5 calls them local.
    let key = match c.get("num_experts") {
        Some(_) => "num_experts",
        None => "num_local_experts",
    };
    Ok(Some(Experts {
        count: c.size(key, Some(128))?,
        used: c.size("num_experts_per_tok", Some(8))?,
        width: c.size("moe_intermediate_size", Some(768))?,
        normalised: c.flag("norm_topk_prob", false)?,
    }))
}

/// Which layers have a mixture of experts: every `decoder_sparse_step`-th, but for those that are listed.
fn mark_sparse(c: &ConfigReader<'_>, kinds: &mut [LayerKind]) -> Result<()> {
    let step = c.size("decoder_sparse_step", Some(1))?;
    let listed: HashSet<usize> = match c.get("mlp_only_layers") {
        None => HashSet::new(),
        Some(Value::Array(list)) if list.is_empty() => HashSet::new(),
        Some(_) => {
            let numbers = c.numbers("mlp_only_layers")?;
            numbers.iter().map(|number| *number as usize).collect()
        }
    };
    for (layer, kind) in kinds.iter_mut().enumerate() {
        kind.sparse = (layer + 1).is_multiple_of(step) && !listed.contains(&layer);
    }
    Ok(())
}

fn has_key(value: &Value, key: &str) -> bool {
    value.get(key).is_some()
}

/// Which layers have a window or no rotation.
fn layer_kinds(
    c: &ConfigReader<'_>,
    family: Family,
    count: usize,
) -> Result<(Option<usize>, Vec<LayerKind>)> {
    let window = match family {
        Family::Mistral | Family::Phi3 => window(c)?,
        Family::Gemma2 | Family::Gemma3 => Some(c.size("sliding_window", Some(4096))?),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe | Family::SmolLm3
            if c.flag("use_sliding_window", false)? =>
        {
            window(c)?
        }
        // These write a number even where it means nothing.
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe | Family::SmolLm3 => None,
        Family::Llama | Family::Olmo2 | Family::Granite => {
            c.refuse("sliding_window", &[], FAMILIES)?;
            None
        }
    };
    let types = c.names("layer_types", &[])?;
    for name in &types {
        if !["full_attention", "sliding_attention"].contains(name) {
            let what = format!("a model with layers of the type `{name}` (layer_types)");
            return Err(c.unsupported(what, FAMILIES).into());
        }
    }
    if !types.is_empty() && types.len() != count {
        let reason = format!("names {} of {count} layers", types.len());
        return Err(c.invalid("layer_types", reason).into());
    }
    let pattern = c.size("sliding_window_pattern", Some(6))?;
    let pattern = c.size("_sliding_window_pattern", Some(pattern))?;
    let first_windowed = c.whole("max_window_layers", 28)?;
    let interval = c.size("no_rope_layer_interval", Some(4))?;
    let rotated = match (family, c.get("no_rope_layers").is_some()) {
        (Family::SmolLm3, true) => {
            // 1 where a layer is rotated, whatever the name says.
            let listed: Vec<bool> = c
                .numbers("no_rope_layers")?
                .iter()
                .map(|n| *n != 0.0)
                .collect();
            if listed.len() != count {
                let reason = format!("names {} of {count} layers", listed.len());
                return Err(c.invalid("no_rope_layers", reason).into());
            }
            Some(listed)
        }
        _ => None,
    };
    let kinds = layers(count, |layer| {
        let rotated = match (&rotated, family) {
            (Some(listed), _) => listed.get(layer).copied().unwrap_or(true),
            (None, Family::SmolLm3) => !(layer + 1).is_multiple_of(interval),
            _ => true,
        };
        let windowed = match (types.get(layer), family) {
            (Some(name), _) => *name == "sliding_attention",
            (None, Family::Gemma2) => layer.is_multiple_of(2),
            (None, Family::Gemma3) => !(layer + 1).is_multiple_of(pattern),
            (None, Family::Qwen2 | Family::Qwen3) => layer >= first_windowed,
            (None, Family::SmolLm3) => !rotated,
            (None, _) => true,
        };
        LayerKind {
            windowed: windowed && window.is_some(),
            rotated,
            sparse: false,
        }
    });
    Ok((window, kinds))
}

fn window(c: &ConfigReader<'_>) -> Result<Option<usize>> {
    match c.get("sliding_window") {
        None => Ok(None),
        Some(_) => Ok(Some(c.size("sliding_window", None)?)),
    }
}

struct Rotation {
    rope: Rope,
    local: Option<Rope>,
    /// Share of a head that is rotated.
    partial: f64,
}

/// transformers 5 keeps all about rotation in one object (Gemma 3: in one for each kind of layer), earlier versions in several keys.
fn rotation(
    c: &ConfigReader<'_>,
    family: Family,
    theta: f64,
    context_length: usize,
) -> Result<Rotation> {
    let parameters = c.object("rope_parameters")?;
    if family == Family::Gemma3 {
        let local_theta = c.positive("rope_local_base_freq", 10000.0)?;
        let (full, sliding) = match &parameters {
            Some(both) => (
                both.object("full_attention")?,
                both.object("sliding_attention")?,
            ),
            None => (None, None),
        };
        let theta = c.positive("rope_theta", theta)?;
        let full = match full {
            Some(full) => Some(full),
            None => c.object("rope_scaling")?,
        };
        let rope = Rope {
            theta: match &full {
                Some(full) => full.positive("rope_theta", theta)?,
                None => theta,
            },
            scaling: scaling(c, full.as_ref(), context_length)?,
        };
        let local = Rope {
            theta: match &sliding {
                Some(sliding) => sliding.positive("rope_theta", local_theta)?,
                None => local_theta,
            },
            scaling: scaling(c, sliding.as_ref(), context_length)?,
        };
        return Ok(Rotation {
            rope,
            local: Some(local),
            partial: 1.0,
        });
    }
    let partial = c.positive("partial_rotary_factor", 1.0)?;
    let (theta, partial, object) = match parameters {
        Some(rope) => (
            rope.positive("rope_theta", theta)?,
            rope.positive("partial_rotary_factor", partial)?,
            Some(rope),
        ),
        None => (
            c.positive("rope_theta", theta)?,
            partial,
            c.object("rope_scaling")?,
        ),
    };
    if partial != 1.0 && family != Family::Phi3 {
        c.refuse("partial_rotary_factor", &[json!(1.0)], FAMILIES)?;
        if let Some(rope) = &object {
            rope.refuse("partial_rotary_factor", &[json!(1.0)], FAMILIES)?;
        }
    }
    if partial > 1.0 {
        return Err(c.invalid("partial_rotary_factor", "is above 1").into());
    }
    Ok(Rotation {
        rope: Rope {
            theta,
            scaling: scaling(c, object.as_ref(), context_length)?,
        },
        local: None,
        partial,
    })
}

fn scaling(
    c: &ConfigReader<'_>,
    rope: Option<&ConfigReader<'_>>,
    context_length: usize,
) -> Result<RopeScaling> {
    let Some(rope) = rope else {
        return Ok(RopeScaling::None);
    };
    let old = rope.text("type", "default")?;
    let optional = |key: &str| -> Read<Option<f64>> {
        rope.get(key).map(|_| rope.positive(key, 1.0)).transpose()
    };
    let original = || -> Read<f64> {
        let key = "original_max_position_embeddings";
        match (optional(key)?, c.get(key)) {
            (Some(length), _) => Ok(length),
            (None, Some(_)) => c.positive(key, 1.0),
            (None, None) => Ok(context_length as f64),
        }
    };
    Ok(match rope.text("rope_type", old)? {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: required(rope, "factor")?,
        },
        "llama3" => {
            let low = required(rope, "low_freq_factor")?;
            let high = required(rope, "high_freq_factor")?;
            if high <= low {
                let reason = "is not above low_freq_factor";
                return Err(rope.invalid("high_freq_factor", reason).into());
            }
            RopeScaling::Llama3 {
                factor: required(rope, "factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: required(rope, "original_max_position_embeddings")?,
            }
        }
        "yarn" => {
            rope.refuse("mscale", &[], "YaRN without mscale is known")?;
            rope.refuse(
                "truncate",
                &[json!(true)],
                "YaRN with whole dimensions is known",
            )?;
            RopeScaling::Yarn {
                factor: required(rope, "factor")?,
                original_context: original()?,
                beta_fast: rope.positive("beta_fast", 32.0)?,
                beta_slow: rope.positive("beta_slow", 1.0)?,
                magnitude: optional("attention_factor")?,
            }
        }
        "longrope" | "su" => {
            let original_context = original()?;
            let factor = match optional("factor")? {
                Some(factor) if rope.get("original_max_position_embeddings").is_none() => factor,
                _ => context_length as f64 / original_context,
            };
            let magnitude = optional("attention_factor")?
                .unwrap_or_else(|| RopeScaling::long_magnitude(factor, original_context));
            let divisors = |key: &str| {
                let divisors = rope.numbers(key)?;
                if divisors.contains(&0.0) {
                    return Err(rope.invalid(key, "holds a divisor that is 0"));
                }
                Ok(divisors)
            };
            RopeScaling::LongRope {
                original_context,
                divisors: Some([divisors("short_factor")?, divisors("long_factor")?]),
                magnitude,
            }
        }
        other => {
            let what = format!("a model with frequency scaling `{other}` (rope_type)");
            let remedy = "default, linear, llama3, yarn and longrope are known";
            return Err(c.unsupported(what, remedy).into());
        }
    })
}

/// A number above 0 that has no default.
fn required(c: &ConfigReader<'_>, key: &str) -> Read<f64> {
    if c.get(key).is_none() {
        return Err(c.invalid(key, "is missing"));
    }
    c.positive(key, 1.0)
}
