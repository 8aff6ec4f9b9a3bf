//! Metadata of a GGUF file, as llama.cpp's converter writes and its loader reads them.

use crate::formats::FormatError;
use crate::formats::gguf::{GgufArray, GgufMetadata, GgufValue};
use crate::graph::Activation;
use crate::models::config::LARGEST;
use crate::models::error::Result;
use crate::models::llama::rope::{Rope, RopeScaling};

use super::{Experts, FAMILIES, Family, LayerKind, LlamaConfig, LlamaLayout, layers};

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn unsupported(&self, what: String, remedy: &str) -> FormatError {
        FormatError::UnsupportedModel {
            path: self.metadata.source().into(),
            what,
            remedy: remedy.into(),
        }
    }

    fn opt_size(&self, key: &str) -> Result<Option<usize>> {
        let key = self.key(key);
        match self.metadata.opt_u32(&key)? {
            None => Ok(None),
            Some(found) => match found as usize {
                n if (1..=LARGEST).contains(&n) => Ok(Some(n)),
                _ => {
                    let wanted = format!("a number from 1 to {LARGEST}");
                    Err(self
                        .metadata
                        .wrong(&key, &found.to_string(), &wanted)
                        .into())
                }
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        match self.opt_size(key)? {
            Some(size) => Ok(size),
            // Names what is missing.
            None => Ok(self.metadata.u32(&self.key(key))? as usize),
        }
    }

    fn opt_positive(&self, key: &str) -> Result<Option<f64>> {
        let key = self.key(key);
        match self.metadata.opt_f32(&key)? {
            None => Ok(None),
            Some(n) if n.is_finite() && n > 0.0 => Ok(Some(f64::from(n))),
            Some(n) => Err(self
                .metadata
                .wrong(&key, &n.to_string(), "a number above 0")
                .into()),
        }
    }

    fn positive(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.opt_positive(key)?.unwrap_or(default))
    }

    /// A number where 0 is written for none.
    fn opt_nonzero(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata.opt_f32(&self.key(key))? {
            Some(0.0) => Ok(None),
            _ => self.opt_positive(key),
        }
    }
}

impl LlamaConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// Keys that are missing or make no sense; other architectures and unknown frequency scalings, by name.
    pub fn from_gguf(metadata: &GgufMetadata) -> Result<Self> {
        let architecture = metadata.architecture()?;
        let keys = Keys {
            metadata,
            architecture,
        };
        let family = Family::ALL
            .into_iter()
            .find(|family| family.gguf_name() == architecture);
        let Some(family) = family else {
            let shown: String = architecture.chars().take(80).collect();
            let what = format!("a GGUF of architecture `{shown}`");
            return Err(keys.unsupported(what, FAMILIES).into());
        };
        let sparse = family == Family::Qwen3Moe;
        if let Some(experts) = metadata
            .opt_u32(&keys.key("expert_count"))?
            .filter(|n| *n > 0 && !sparse)
        {
            let key = keys.key("expert_count");
            let what = format!("a mixture of {experts} experts ({key})");
            return Err(keys.unsupported(what, FAMILIES).into());
        }
        let heads = keys.size("attention.head_count")?;
        let hidden_size = keys.size("embedding_length")?;
        let head_dim = keys
            .opt_size("attention.key_length")?
            .unwrap_or((hidden_size / heads).max(1));
        if keys
            .opt_size("attention.value_length")?
            .is_some_and(|n| n != head_dim)
        {
            let key = keys.key("attention.value_length");
            let what = format!("a model whose keys and values differ in size ({key})");
            return Err(keys.unsupported(what, FAMILIES).into());
        }
        let count = keys.size("block_count")?;
        let context_length = keys.size("context_length")?;
        let eps_key = keys.key("attention.layer_norm_rms_epsilon");
        let eps = metadata.f32(&eps_key)?;
        if !(0.0..=1.0).contains(&eps) {
            let wanted = "a number from 0 to 1";
            return Err(metadata.wrong(&eps_key, &eps.to_string(), wanted).into());
        }
        let (window, mut kinds) = layer_kinds(&keys, family, count)?;
        let experts = match sparse {
            false => None,
            true => Some(Experts {
                count: keys.size("expert_count")?,
                used: keys.size("expert_used_count")?,
                width: keys.size("expert_feed_forward_length")?,
                // The files do not say; llama.cpp does so for the family.
                normalised: true,
            }),
        };
        kinds.iter_mut().for_each(|kind| kind.sparse = sparse);
        let default_theta = if family == Family::Gemma3 { 1e6 } else { 1e4 };
        let rope = Rope {
            theta: keys.positive("rope.freq_base", default_theta)?,
            scaling: scaling(&keys, context_length)?,
        };
        let local_rope = match family {
            Family::Gemma3 => Some(Rope {
                theta: keys.positive("rope.freq_base_swa", 10000.0)?,
                scaling: RopeScaling::None,
            }),
            _ => None,
        };
        let gemma_cap = |key: &str| -> Result<Option<f32>> {
            if !family.is_gemma() {
                return Ok(None);
            }
            Ok(keys.opt_nonzero(key)?.map(|cap| cap as f32))
        };
        let granite = |key: &str| -> Result<Option<f64>> {
            match family {
                Family::Granite => keys.opt_nonzero(key),
                _ => Ok(None),
            }
        };
        let embedding_scale = if family.is_gemma() {
            (hidden_size as f32).sqrt()
        } else {
            granite("embedding_scale")?.unwrap_or(1.0) as f32
        };
        let config = Self {
            family,
            layout: LlamaLayout::Gguf,
            // Told by the table of embeddings, which some files pad.
            vocab_size: None,
            hidden_size,
            // Files of mixtures may leave out what no layer of them has.
            intermediate_size: match experts {
                Some(experts) => keys
                    .opt_size("feed_forward_length")?
                    .unwrap_or(experts.width),
                None => keys.size("feed_forward_length")?,
            },
            layers: kinds,
            window,
            experts,
            heads,
            kv_heads: keys.opt_size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            rope_dim: keys.opt_size("rope.dimension_count")?.unwrap_or(head_dim),
            rope,
            local_rope,
            context_length,
            activation: if family.is_gemma() {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            eps,
            tied: None,
            attention_bias: false,
            output_bias: false,
            mlp_bias: false,
            attention_scale: granite("attention.scale")?
                .unwrap_or_else(|| attention_scale(family, count, [hidden_size, heads, head_dim]))
                as f32,
            attention_softcap: gemma_cap("attn_logit_softcapping")?,
            final_softcap: gemma_cap("final_logit_softcapping")?,
            embedding_scale,
            residual_scale: granite("residual_scale")?.unwrap_or(1.0) as f32,
            logit_scale: granite("logit_scale")?.unwrap_or(1.0).recip() as f32,
        };
        let checked = [
            keys.key("attention.head_count_kv"),
            keys.key("attention.key_length"),
            keys.key("rope.dimension_count"),
            keys.key("expert_used_count"),
        ];
        config.check(checked.each_ref().map(String::as_str), |key, reason| {
            FormatError::InvalidConfig {
                path: metadata.source().into(),
                key: key.into(),
                reason,
            }
        })?;
        Ok(config)
    }
}

/// The files do not say; llama.cpp tells the largest Gemmas, whose scale is another, by their number of layers.
fn attention_scale(
    family: Family,
    layers: usize,
    [hidden_size, heads, head_dim]: [usize; 3],
) -> f64 {
    let divisor = match (family, layers) {
        (Family::Gemma2, 46) | (Family::Gemma3, 62) => hidden_size / heads,
        _ => head_dim,
    };
    (divisor.max(1) as f64).sqrt().recip()
}

/// Which layers have a window or no rotation.
fn layer_kinds(
    keys: &Keys<'_>,
    family: Family,
    count: usize,
) -> Result<(Option<usize>, Vec<LayerKind>)> {
    // Phi-4 writes 0 for none.
    let window = match keys
        .metadata
        .opt_u32(&keys.key("attention.sliding_window"))?
    {
        Some(0) => None,
        Some(_) => keys.opt_size("attention.sliding_window")?,
        None if family == Family::Gemma2 => Some(4096),
        None => None,
    };
    let key = keys.key("attention.sliding_window_pattern");
    let listed = match keys.metadata.get(&key) {
        Some(GgufValue::Array(GgufArray::Bool(flags))) => Some(flags.as_slice()),
        _ => None,
    };
    if let Some(flags) = listed
        && flags.len() != count
    {
        let wanted = format!("{count} values, one for each layer");
        return Err(keys
            .metadata
            .wrong(&key, &flags.len().to_string(), &wanted)
            .into());
    }
    let period = match (listed, family) {
        (Some(_), _) => 1,
        (None, Family::Gemma2) => keys
            .opt_size("attention.sliding_window_pattern")?
            .unwrap_or(2),
        (None, Family::Gemma3) => keys
            .opt_size("attention.sliding_window_pattern")?
            .unwrap_or(6),
        (None, _) => 1,
    };
    let kinds = layers(count, |layer| LayerKind {
        windowed: window.is_some()
            && match listed {
                Some(flags) => flags.get(layer).copied().unwrap_or(false),
                // The last layer of each period sees everything.
                None => period == 1 || layer % period < period - 1,
            },
        rotated: family != Family::SmolLm3 || !(layer + 1).is_multiple_of(4),
        sparse: false,
    });
    Ok((window, kinds))
}

fn scaling(keys: &Keys<'_>, context_length: usize) -> Result<RopeScaling> {
    let key = keys.key("rope.scaling.type");
    let original = || -> Result<f64> {
        let told = keys.opt_size("rope.scaling.original_context_length")?;
        Ok(told.unwrap_or(context_length) as f64)
    };
    let long = || -> Result<RopeScaling> {
        let original_context = original()?;
        let usual =
            RopeScaling::long_magnitude(context_length as f64 / original_context, original_context);
        Ok(RopeScaling::LongRope {
            original_context,
            divisors: None,
            magnitude: keys.positive("rope.scaling.attn_factor", usual)?,
        })
    };
    Ok(match keys.metadata.opt_str(&key)? {
        // Phi-3's files have the factors as tensors and do not name the kind.
        None if keys.architecture == "phi3"
            && keys.opt_positive("rope.scaling.attn_factor")?.is_some() =>
        {
            long()?
        }
        // Files of before 2023-10 have only the factor.
        None => match keys.positive("rope.scale_linear", 1.0)? {
            1.0 => RopeScaling::None,
            factor => RopeScaling::Linear { factor },
        },
        Some("none") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: keys.positive("rope.scaling.factor", 1.0)?,
        },
        Some("yarn") => {
            let factor = keys.positive("rope.scaling.factor", 1.0)?;
            let told = keys.opt_positive("rope.scaling.attn_factor")?;
            RopeScaling::Yarn {
                factor,
                original_context: original()?,
                beta_fast: keys.positive("rope.scaling.yarn_beta_fast", 32.0)?,
                beta_slow: keys.positive("rope.scaling.yarn_beta_slow", 1.0)?,
                // llama.cpp multiplies this one with its own.
                magnitude: told.map(|told| told * (0.1 * factor.max(1.0).ln() + 1.0)),
            }
        }
        Some("longrope") => long()?,
        Some(other) => {
            let what = format!("a model with frequency scaling `{other}` ({key})");
            let remedy = "none, linear, yarn and longrope are known";
            return Err(keys.unsupported(what, remedy).into());
        }
    })
}
