//! Frequencies of the rotary position embedding, with scalings for longer contexts.
//!
//! Su et al. 2021, "RoFormer". Linear: Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation". Llama 3.1's: as
//! transformers' `_compute_llama3_parameters`; GGUF files carry its divisors as a tensor `rope_freqs.weight`.

use std::f64::consts::TAU;

use crate::formats::TensorData;
use crate::models::error::Result;
use crate::models::loader::Scope;

use super::{LlamaConfig, LlamaLayout};

/// Change of the rotation frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

/// Inverse frequencies `[rope_dim / 2]`, scaling applied.
pub(super) fn inverse_frequencies(config: &LlamaConfig, w: &Scope<'_>) -> Result<TensorData> {
    let half = config.rope_dim / 2;
    let divisors = match config.layout {
        LlamaLayout::Gguf if w.contains("rope_freqs.weight") => {
            let divisors = w.tensor("rope_freqs.weight", &[half])?.to_f32()?;
            if !divisors.iter().all(|d| d.is_finite() && *d > 0.0) {
                let reason = "holds divisors that are not above 0".to_owned();
                return Err(w.misfit("rope_freqs.weight", reason).into());
            }
            divisors
        }
        _ => vec![1.0; half],
    };
    let values: Vec<f32> = divisors
        .iter()
        .enumerate()
        .map(|(i, divisor)| {
            // Rounded to f32 where the reference rounds: position times frequency is sensitive to it.
            let exponent = (2 * i) as f32 / config.rope_dim as f32;
            let frequency = 1.0 / (config.rope_theta as f32).powf(exponent);
            scaled(frequency, config.rope_scaling) / divisor
        })
        .collect();
    Ok(TensorData::from_f32("rope.inv_freq", &[half], &values)?)
}

fn scaled(frequency: f32, scaling: RopeScaling) -> f32 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor as f32,
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
                frequency / factor as f32
            } else {
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                let frequency = f64::from(frequency);
                ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_fast_and_divides_slow_frequencies() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        assert_eq!(scaled(1.0, scaling), 1.0);
        assert_eq!(scaled(1e-5, scaling), 1.25e-6);
        // In between: wavelength 4096, half of the context, so smooth = (2 - 1) / 3.
        let frequency = (TAU / 4096.0) as f32;
        let wanted = frequency * (2.0 / 3.0 / 8.0 + 1.0 / 3.0);
        assert!((scaled(frequency, scaling) - wanted).abs() < 1e-9);
    }
}
