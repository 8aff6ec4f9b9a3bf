//! Frequencies of the rotary position embedding, with scalings for longer contexts.
//!
//! Su et al. 2021, "RoFormer". Linear: Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation". YaRN: Peng et al.
//! 2023. LongRoPE: Ding et al. 2024. Llama 3.1's and the details of all: transformers' `modeling_rope_utils.py`. GGUF files carry the divisors of Llama 3.1 as
//! a tensor `rope_freqs.weight`, those of LongRoPE as `rope_factors_short.weight` and `rope_factors_long.weight`.

use std::f64::consts::TAU;

use crate::formats::TensorData;
use crate::models::error::Result;
use crate::models::loader::Scope;

use super::config::{LlamaConfig, LlamaLayout};

/// Base and scaling of the rotation frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Change of the frequencies for longer contexts.
    pub scaling: RopeScaling,
}

/// Change of the rotation frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All divided by one factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Slow ones divided, fast ones kept, between them blended.
    Llama3 {
        /// The divisor of slow ones.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are slow.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are fast.
        high_freq_factor: f64,
        /// Context that the model was first trained with, in tokens.
        original_context: f64,
    },
    /// As Llama 3.1's, blended by dimension, and attention sharpened.
    Yarn {
        /// The divisor of slow ones.
        factor: f64,
        /// Context that the model was first trained with, in tokens.
        original_context: f64,
        /// Rotations within that context from which on a frequency is fast.
        beta_fast: f64,
        /// Rotations up to which it is slow.
        beta_slow: f64,
        /// Factor on sines and cosines; where nothing says so, `0.1 ln(factor) + 1`.
        magnitude: Option<f64>,
    },
    /// Divisors for each frequency, some for short and others for long contexts.
    LongRope {
        /// Context up to which the short ones hold, in tokens.
        original_context: f64,
        /// Divisors `[rope_dim / 2]` for short and long contexts; in GGUF files, tensors hold them.
        divisors: Option<[Vec<f32>; 2]>,
        /// Factor on sines and cosines.
        magnitude: f64,
    },
}

impl RopeScaling {
    /// LongRoPE's factor on sines and cosines for a context that was made `factor` times as long.
    pub(super) fn long_magnitude(factor: f64, original_context: f64) -> f64 {
        if factor <= 1.0 || original_context <= 1.0 {
            return 1.0;
        }
        (1.0 + factor.ln() / original_context.ln()).sqrt()
    }
}

/// Inverse frequencies as [`Op::Rope`](crate::graph::Op::Rope) takes them.
#[derive(Clone, Debug)]
pub(super) struct Frequencies {
    /// `[rope_dim / 2]`, scaling applied.
    pub inverse: TensorData,
    /// Factor on sines and cosines.
    pub magnitude: f32,
}

/// All frequencies that a model may need.
#[derive(Clone, Debug)]
pub(super) struct RopeTables {
    /// Of layers that see everything, for contexts of usual length.
    global: Frequencies,
    /// The same for longer contexts than so many tokens.
    long: Option<(f64, Frequencies)>,
    /// Of layers with a window, where they differ.
    local: Option<Frequencies>,
}

impl RopeTables {
    /// Computes them; divisors may come from the weights.
    pub(super) fn new(config: &LlamaConfig, w: &Scope<'_>) -> Result<Self> {
        let rope = &config.rope;
        let local = config
            .local_rope
            .as_ref()
            .map(|rope| frequencies(config, rope, None, "rope.local"))
            .transpose()?;
        let tensor = |name: &str| -> Result<Option<Vec<f32>>> {
            if config.layout == LlamaLayout::Gguf && w.contains(name) {
                divisors(config, w, name).map(Some)
            } else {
                Ok(None)
            }
        };
        if let RopeScaling::LongRope {
            original_context,
            divisors: given,
            ..
        } = &rope.scaling
        {
            let of = |index: usize, name: &str| -> Result<Vec<f32>> {
                match given {
                    Some(given) => Ok(given[index].clone()),
                    None => divisors(config, w, name),
                }
            };
            let short = of(0, "rope_factors_short.weight")?;
            let long = of(1, "rope_factors_long.weight")?;
            return Ok(Self {
                global: frequencies(config, rope, Some(&short), "rope.short")?,
                long: Some((
                    *original_context,
                    frequencies(config, rope, Some(&long), "rope.long")?,
                )),
                local,
            });
        }
        let divisors = tensor("rope_freqs.weight")?;
        Ok(Self {
            global: frequencies(config, rope, divisors.as_deref(), "rope")?,
            long: None,
            local,
        })
    }

    /// Those of a layer, for a context of so many tokens.
    pub(super) fn of(&self, windowed: bool, context: usize) -> &Frequencies {
        match (&self.local, &self.long) {
            (Some(local), _) if windowed => local,
            (_, Some((longer_than, long))) if context as f64 > *longer_than => long,
            _ => &self.global,
        }
    }
}

/// A tensor of divisors of a GGUF file.
fn divisors(config: &LlamaConfig, w: &Scope<'_>, name: &str) -> Result<Vec<f32>> {
    let divisors = w.tensor(name, &[config.rope_dim / 2])?.to_f32()?;
    if !divisors.iter().all(|d| d.is_finite() && *d > 0.0) {
        let reason = "holds divisors that are not above 0".to_owned();
        return Err(w.misfit(name, reason).into());
    }
    Ok(divisors)
}

fn frequencies(
    config: &LlamaConfig,
    rope: &Rope,
    divisors: Option<&[f32]>,
    name: &str,
) -> Result<Frequencies> {
    let half = config.rope_dim / 2;
    let values: Vec<f32> = (0..half)
        .map(|i| {
            // Rounded to f32 where the reference rounds: position times frequency is sensitive to it.
            let exponent = (2 * i) as f32 / config.rope_dim as f32;
            let frequency = 1.0 / (rope.theta as f32).powf(exponent);
            let divisor = divisors.and_then(|d| d.get(i)).copied().unwrap_or(1.0);
            scaled(frequency, i, config.rope_dim, rope) / divisor
        })
        .collect();
    let magnitude = match &rope.scaling {
        RopeScaling::Yarn {
            factor, magnitude, ..
        } => magnitude.unwrap_or(0.1 * factor.max(1.0).ln() + 1.0),
        RopeScaling::LongRope { magnitude, .. } => *magnitude,
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
    };
    Ok(Frequencies {
        inverse: TensorData::from_f32(name, &[half], &values)?,
        magnitude: magnitude as f32,
    })
}

/// Frequency `index` of `rope_dim / 2`, scaled.
fn scaled(frequency: f32, index: usize, rope_dim: usize, rope: &Rope) -> f32 {
    match &rope.scaling {
        RopeScaling::None | RopeScaling::LongRope { .. } => frequency,
        RopeScaling::Linear { factor } => frequency / *factor as f32,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = TAU / f64::from(frequency);
            if wavelength < original_context / high_freq_factor {
                frequency
            } else if wavelength > original_context / low_freq_factor {
                frequency / *factor as f32
            } else {
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                let frequency = f64::from(frequency);
                ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
            }
        }
        RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast,
            beta_slow,
            ..
        } => {
            let dim = rope_dim as f64;
            // The index whose frequency makes so many rotations within the original context.
            let index_of = |rotations: &f64| {
                dim * (original_context / (rotations * TAU)).ln() / (2.0 * rope.theta.ln())
            };
            let low = index_of(beta_fast).floor().max(0.0);
            let high = index_of(beta_slow).ceil().min(dim - 1.0);
            let span = if high == low { 0.001 } else { high - low };
            let slow = ((index as f64 - low) / span).clamp(0.0, 1.0);
            let frequency = f64::from(frequency);
            (frequency / factor * slow + frequency * (1.0 - slow)) as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_fast_and_divides_slow_frequencies() {
        let rope = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192.0,
            },
        };
        let scaled = |frequency| scaled(frequency, 0, 8, &rope);
        assert_eq!(scaled(1.0), 1.0);
        assert_eq!(scaled(1e-5), 1.25e-6);
        // In between: wavelength 4096, half of the context, so smooth = (2 - 1) / 3.
        let frequency = (TAU / 4096.0) as f32;
        let wanted = frequency * (2.0 / 3.0 / 8.0 + 1.0 / 3.0);
        assert!((scaled(frequency) - wanted).abs() < 1e-9);
    }

    #[test]
    fn long_contexts_sharpen_attention() {
        assert_eq!(RopeScaling::long_magnitude(1.0, 4096.0), 1.0);
        // Phi-3-mini-128k: sqrt(1 + ln 32 / ln 4096) = sqrt(1 + 5 / 12).
        let wanted = (1.0f64 + 5.0 / 12.0).sqrt();
        assert!((RopeScaling::long_magnitude(32.0, 4096.0) - wanted).abs() < 1e-12);
    }
}
