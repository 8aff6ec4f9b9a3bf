//! What a `config.json` or the metadata of a GGUF file say about a Llama.

use std::path::Path;

use serde_json::{Value, json};

use crate::formats::FormatError;
use crate::formats::gguf::GgufMetadata;
use crate::graph::Activation;
use crate::models::config::{ConfigReader, LARGEST};
use crate::models::error::Result;

use super::rope::RopeScaling;

/// Which names and which order of rows the weights have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlamaLayout {
    /// As transformers writes them.
    HuggingFace,
    /// As llama.cpp's converter writes them.
    Gguf,
}

/// What a Llama is.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Names and row order of the weights.
    pub layout: LlamaLayout,
    /// Tokens in the vocabulary, if the configuration says so.
    pub vocab_size: Option<usize>,
    /// Width of the states.
    pub hidden_size: usize,
    /// Width within MLPs.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides the query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Elements of a head that are rotated, from its start.
    pub rope_dim: usize,
    /// Base of the rotation frequencies.
    pub rope_theta: f64,
    /// Change of the frequencies for longer contexts.
    pub rope_scaling: RopeScaling,
    /// Longest context in tokens.
    pub context_length: usize,
    /// Activation of the gate.
    pub activation: Activation,
    /// Added to the mean square in norms.
    pub eps: f32,
    /// Whether the output matrix is the table of embeddings; where nothing says so, it is if there is none.
    pub tied: Option<bool>,
    /// Whether attention's projections have biases (Hugging Face; GGUF files just have them or not).
    pub attention_bias: bool,
    /// Whether the MLPs' projections have biases (likewise).
    pub mlp_bias: bool,
}

const FAMILY: &str = "use a model of the Llama family (Llama, Mistral without sliding window, TinyLlama, SmolLM and the like)";

impl LlamaConfig {
    /// Reads a `config.json` of a `LlamaForCausalLM`; `path` is named in errors.
    ///
    /// # Errors
    /// Values that make no sense; other architectures and unknown frequency scalings, by name.
    pub fn from_json(path: &Path, value: &Value) -> Result<Self> {
        let c = ConfigReader::new(path, value)?;
        c.refuse("model_type", &[json!("llama")], FAMILY)?;
        c.refuse(
            "quantization_config",
            &[],
            "use the model in GGUF, or unquantised",
        )?;
        c.refuse("sliding_window", &[], FAMILY)?;
        c.refuse("partial_rotary_factor", &[json!(1.0)], FAMILY)?;
        let heads = c.size("num_attention_heads", Some(32))?;
        let hidden_size = c.size("hidden_size", Some(4096))?;
        let head_dim = c.size("head_dim", Some((hidden_size / heads).max(1)))?;

        // transformers 5 keeps all about rotation in one object, earlier versions in two keys.
        let (rope_theta, scaling) = match c.object("rope_parameters")? {
            Some(rope) => (rope.positive("rope_theta", 10000.0)?, Some(rope)),
            None => (
                c.positive("rope_theta", 10000.0)?,
                c.object("rope_scaling")?,
            ),
        };
        let rope_scaling = match scaling {
            None => RopeScaling::None,
            Some(rope) => {
                rope.refuse("partial_rotary_factor", &[json!(1.0)], FAMILY)?;
                let old = rope.text("type", "default")?;
                match rope.text("rope_type", old)? {
                    "default" => RopeScaling::None,
                    "linear" => RopeScaling::Linear {
                        factor: required(&rope, "factor")?,
                    },
                    "llama3" => {
                        let low = required(&rope, "low_freq_factor")?;
                        let high = required(&rope, "high_freq_factor")?;
                        if high <= low {
                            let reason = "is not above low_freq_factor";
                            return Err(rope.invalid("high_freq_factor", reason).into());
                        }
                        RopeScaling::Llama3 {
                            factor: required(&rope, "factor")?,
                            low_freq_factor: low,
                            high_freq_factor: high,
                            original_context: required(&rope, "original_max_position_embeddings")?,
                        }
                    }
                    other => {
                        let what = format!("a Llama with frequency scaling `{other}` (rope_type)");
                        let remedy = "default, linear and llama3 are known";
                        return Err(c.unsupported(what, remedy).into());
                    }
                }
            }
        };
        let config = Self {
            layout: LlamaLayout::HuggingFace,
            vocab_size: Some(c.size("vocab_size", Some(32000))?),
            hidden_size,
            intermediate_size: c.size("intermediate_size", Some(11008))?,
            layers: c.size("num_hidden_layers", Some(32))?,
            heads,
            kv_heads: c.size("num_key_value_heads", Some(heads))?,
            head_dim,
            rope_dim: head_dim,
            rope_theta,
            rope_scaling,
            context_length: c.size("max_position_embeddings", Some(2048))?,
            activation: c.activation("hidden_act", "silu")?,
            eps: c.epsilon("rms_norm_eps", 1e-6)?,
            tied: Some(c.flag("tie_word_embeddings", false)?),
            attention_bias: c.flag("attention_bias", false)?,
            mlp_bias: c.flag("mlp_bias", false)?,
        };
        config.check(
            ["num_key_value_heads", "head_dim", "head_dim"],
            |key, reason| c.invalid(key, reason),
        )?;
        Ok(config)
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// Keys that are missing or make no sense; other architectures and unknown frequency scalings, by name.
    pub fn from_gguf(metadata: &GgufMetadata) -> Result<Self> {
        let architecture = metadata.architecture()?;
        let unsupported = |what: String, remedy: &str| FormatError::UnsupportedModel {
            path: metadata.source().into(),
            what,
            remedy: remedy.into(),
        };
        if architecture != "llama" {
            let what = format!("a GGUF of architecture `{architecture}`");
            return Err(unsupported(what, FAMILY).into());
        }
        let size = |key: &str, default: Option<usize>| -> Result<usize> {
            let key = format!("llama.{key}");
            let found = match (metadata.opt_u32(&key)?, default) {
                (None, Some(default)) => return Ok(default),
                (Some(found), _) => found,
                (None, None) => metadata.u32(&key)?,
            };
            match found as usize {
                n if (1..=LARGEST).contains(&n) => Ok(n),
                _ => {
                    let wanted = format!("a number from 1 to {LARGEST}");
                    Err(metadata.wrong(&key, &found.to_string(), &wanted).into())
                }
            }
        };
        let positive = |key: &str, default: f32| -> Result<f64> {
            let n = metadata.opt_f32(key)?.unwrap_or(default);
            if n.is_finite() && n > 0.0 {
                Ok(f64::from(n))
            } else {
                Err(metadata
                    .wrong(key, &n.to_string(), "a number above 0")
                    .into())
            }
        };
        if let Some(experts) = metadata.opt_u32("llama.expert_count")?.filter(|n| *n > 0) {
            let what = format!("a mixture of {experts} experts (llama.expert_count)");
            return Err(unsupported(what, FAMILY).into());
        }
        let heads = size("attention.head_count", None)?;
        let hidden_size = size("embedding_length", None)?;
        let head_dim = size("attention.key_length", Some((hidden_size / heads).max(1)))?;
        if size("attention.value_length", Some(head_dim))? != head_dim {
            let what =
                "a Llama whose keys and values differ in size (llama.attention.value_length)";
            return Err(unsupported(what.into(), FAMILY).into());
        }
        let rope_scaling = match metadata.opt_str("llama.rope.scaling.type")? {
            // Files of before 2023-10 have only the factor.
            None => match positive("llama.rope.scale_linear", 1.0)? {
                1.0 => RopeScaling::None,
                factor => RopeScaling::Linear { factor },
            },
            Some("none") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear {
                factor: positive("llama.rope.scaling.factor", 1.0)?,
            },
            Some(other) => {
                let what =
                    format!("a Llama with frequency scaling `{other}` (llama.rope.scaling.type)");
                return Err(unsupported(what, "none and linear are known").into());
            }
        };
        let eps_key = "llama.attention.layer_norm_rms_epsilon";
        let eps = metadata.f32(eps_key)?;
        if !(0.0..=1.0).contains(&eps) {
            return Err(metadata
                .wrong(eps_key, &eps.to_string(), "a number from 0 to 1")
                .into());
        }
        let config = Self {
            layout: LlamaLayout::Gguf,
            // Told by the table of embeddings, which some files pad.
            vocab_size: None,
            hidden_size,
            intermediate_size: size("feed_forward_length", None)?,
            layers: size("block_count", None)?,
            heads,
            kv_heads: size("attention.head_count_kv", Some(heads))?,
            head_dim,
            rope_dim: size("rope.dimension_count", Some(head_dim))?,
            rope_theta: positive("llama.rope.freq_base", 10000.0)?,
            rope_scaling,
            context_length: size("context_length", None)?,
            activation: Activation::Silu,
            eps,
            tied: None,
            attention_bias: false,
            mlp_bias: false,
        };
        let keys = [
            "llama.attention.head_count_kv",
            "llama.attention.key_length",
            "llama.rope.dimension_count",
        ];
        config.check(keys, |key, reason| FormatError::InvalidConfig {
            path: metadata.source().into(),
            key: key.into(),
            reason,
        })?;
        Ok(config)
    }

    /// What must hold between values, wherever they come from.
    fn check(
        &self,
        [kv_key, head_key, rope_key]: [&str; 3],
        invalid: impl Fn(&str, String) -> FormatError,
    ) -> std::result::Result<(), FormatError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            let reason = format!(
                "is {}, which does not divide {} heads",
                self.kv_heads, self.heads
            );
            return Err(invalid(kv_key, reason));
        }
        if self.head_dim > 1 << 16 || self.heads > 1 << 16 || self.layers > 1 << 16 {
            let reason = "or the number of heads or layers is beyond 65536".to_owned();
            return Err(invalid(head_key, reason));
        }
        if self.rope_dim % 2 == 1 || self.rope_dim > self.head_dim {
            let reason = format!(
                "asks to rotate {} of {} elements; needed is an even number up to the size of a head",
                self.rope_dim, self.head_dim
            );
            return Err(invalid(rope_key, reason));
        }
        Ok(())
    }
}

/// A number above 0 that has no default.
fn required(c: &ConfigReader<'_>, key: &str) -> std::result::Result<f64, FormatError> {
    if c.get(key).is_none() {
        return Err(c.invalid(key, "is missing"));
    }
    c.positive(key, 1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(value: Value) -> std::result::Result<LlamaConfig, String> {
        LlamaConfig::from_json(Path::new("config.json"), &value).map_err(|e| e.to_string())
    }

    #[test]
    fn both_spellings_of_rotation_are_read() {
        let old = parse(json!({
            "model_type": "llama", "rope_theta": 500000.0,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        }))
        .unwrap();
        let new = parse(json!({
            "rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0, "factor": 4.0},
        }))
        .unwrap();
        assert_eq!(old, new);
        assert_eq!(old.rope_scaling, RopeScaling::Linear { factor: 4.0 });
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (value, word) in [
            (json!({"model_type": "qwen3"}), "qwen3"),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
                "yarn",
            ),
            (json!({"rope_scaling": {"rope_type": "linear"}}), "factor"),
            (
                json!({"num_attention_heads": 32, "num_key_value_heads": 5}),
                "num_key_value_heads",
            ),
            (json!({"head_dim": 63}), "head_dim"),
            (json!({"num_hidden_layers": 0}), "num_hidden_layers"),
            (json!({"rms_norm_eps": "small"}), "rms_norm_eps"),
            (
                json!({"quantization_config": {"bits": 4}}),
                "quantization_config",
            ),
        ] {
            let text = parse(value).unwrap_err();
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn gguf_metadata_are_checked() {
        let mut file = crate::formats::gguf::write::GgufWriter::new("llama");
        for (key, value) in [
            ("llama.attention.head_count", 4u32),
            ("llama.attention.head_count_kv", 2),
            ("llama.embedding_length", 32),
            ("llama.feed_forward_length", 64),
            ("llama.block_count", 2),
            ("llama.context_length", 512),
        ] {
            file.set(key, value);
        }
        let read = |file: &crate::formats::gguf::write::GgufWriter| {
            let bytes = file.to_bytes().unwrap();
            let file = crate::formats::gguf::read_gguf_bytes(Path::new("m.gguf"), bytes).unwrap();
            LlamaConfig::from_gguf(&file.metadata).map_err(|e| e.to_string())
        };
        let missing = read(&file).unwrap_err();
        assert!(missing.contains("layer_norm_rms_epsilon"), "{missing}");
        file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        let config = read(&file).unwrap();
        assert_eq!(
            (config.head_dim, config.rope_dim, config.kv_heads),
            (8, 8, 2)
        );
        for (key, value, word) in [
            ("llama.attention.head_count_kv", 3u32, "head_count_kv"),
            ("llama.rope.dimension_count", 10, "dimension_count"),
            ("llama.expert_count", 8, "experts"),
            ("llama.block_count", 0, "block_count"),
        ] {
            let mut file = crate::formats::gguf::write::GgufWriter::new("llama");
            for (known, n) in [
                ("llama.attention.head_count", 4u32),
                ("llama.embedding_length", 32),
                ("llama.feed_forward_length", 64),
                ("llama.block_count", 2),
                ("llama.context_length", 512),
            ] {
                file.set(known, if known == key { value } else { n });
            }
            if !["llama.block_count"].contains(&key) {
                file.set(key, value);
            }
            file.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
            let text = read(&file).unwrap_err();
            assert!(text.contains(word), "{text}");
        }
    }
}
