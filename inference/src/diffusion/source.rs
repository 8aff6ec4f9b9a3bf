//! Where noise comes from: which program's generator, and variations of a seed.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::noise::TorchCpuRng;
use super::philox::PhiloxRng;

/// Whose random numbers are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseSource {
    /// torch's CPU generator: ComfyUI, diffusers with a CPU generator, AUTOMATIC1111 with "CPU".
    #[default]
    Cpu,
    /// torch's CUDA generator, computed anywhere: AUTOMATIC1111 on NVIDIA cards, or with "NV".
    Philox,
}

impl NoiseSource {
    /// The name on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Philox => "philox",
        }
    }

    /// What AUTOMATIC1111 calls it in a picture's metadata (`RNG`).
    pub fn a1111_name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Philox => "NV",
        }
    }

    /// Reads `cpu` or `philox`; AUTOMATIC1111's `NV` and `GPU` and torch's `cuda` are Philox too.
    ///
    /// # Errors
    /// [`super::DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<Self> {
        match name.trim().to_lowercase().as_str() {
            "cpu" | "torch" => Ok(Self::Cpu),
            "philox" | "nv" | "gpu" | "cuda" => Ok(Self::Philox),
            _ => Err(super::spec::unknown(
                "noise source",
                name,
                "cpu, philox (nv, gpu, cuda)".into(),
            )),
        }
    }

    /// The first draw of a seed: `count` values of unit variance.
    pub fn draw(self, seed: u64, count: usize) -> Vec<f32> {
        NoiseRng::new(self, seed).randn(count)
    }
}

/// A generator of either kind, with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseRng {
    /// torch's CPU generator.
    Cpu(TorchCpuRng),
    /// torch's CUDA generator.
    Philox(PhiloxRng),
}

impl NoiseRng {
    /// The generator after `manual_seed(seed)`.
    pub fn new(source: NoiseSource, seed: u64) -> Self {
        match source {
            NoiseSource::Cpu => Self::Cpu(TorchCpuRng::new(seed)),
            NoiseSource::Philox => Self::Philox(PhiloxRng::new(seed)),
        }
    }

    /// `count` values of unit variance.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        match self {
            Self::Cpu(rng) => rng.randn(count),
            Self::Philox(rng) => rng.randn(count),
        }
    }
}

/// AUTOMATIC1111's mixture of two seeds' noise, `strength` 0 being the first: along the arc between them, column by column of
/// each channel. `height` and `width` are those of the latents, which hold whole channels.
///
/// Shoemake (1985) for the interpolation; that it goes by columns (the norm is taken over the height) is that program's way, and
/// is followed so that its pictures come out again.
pub fn vary(first: &[f32], second: &[f32], strength: f32, height: usize, width: usize) -> Vec<f32> {
    let plane = height * width;
    if plane == 0 || first.len() != second.len() {
        return first.to_vec();
    }
    let channels = first.len() / plane;
    let column = |noise: &[f32], channel: usize, x: usize| -> Vec<f64> {
        (0..height)
            .filter_map(|y| noise.get(channel * plane + y * width + x))
            .map(|value| f64::from(*value))
            .collect()
    };
    let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut cosines = Vec::with_capacity(channels * width);
    for channel in 0..channels {
        for x in 0..width {
            let (a, b) = (column(first, channel, x), column(second, channel, x));
            let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            cosines.push(dot / (norm(&a) * norm(&b)));
        }
    }
    let strength = f64::from(strength);
    let mean = cosines.iter().sum::<f64>() / cosines.len().max(1) as f64;
    if mean > 0.9995 {
        // Straight where the arc vanishes; which end is which is the program's own slip, kept with the rest.
        let mix = |(a, b): (&f32, &f32)| {
            (f64::from(*a) * strength + f64::from(*b) * (1.0 - strength)) as f32
        };
        return first.iter().zip(second).map(mix).collect();
    }
    let mut mixed = Vec::with_capacity(first.len());
    for (place, (a, b)) in first.iter().zip(second).enumerate() {
        let (channel, x) = (place / plane, place % width);
        let cosine = cosines.get(channel * width + x).copied().unwrap_or(0.0);
        let angle = cosine.clamp(-1.0, 1.0).acos();
        let (of_first, of_second) = if angle.sin().abs() < 1e-12 {
            (1.0 - strength, strength)
        } else {
            (
                ((1.0 - strength) * angle).sin() / angle.sin(),
                (strength * angle).sin() / angle.sin(),
            )
        };
        mixed.push((of_first * f64::from(*a) + of_second * f64::from(*b)) as f32);
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_are_read() {
        for (name, source) in [
            ("CPU", NoiseSource::Cpu),
            ("NV", NoiseSource::Philox),
            (" philox ", NoiseSource::Philox),
        ] {
            assert_eq!(NoiseSource::parse(name), Ok(source));
        }
        let error = NoiseSource::parse("dice").unwrap_err().to_string();
        assert!(
            error.contains("philox") && error.contains("dice"),
            "{error}"
        );
    }

    #[test]
    fn a_variation_lies_on_the_arc_between_its_seeds() {
        let (first, second) = (
            NoiseSource::Cpu.draw(1, 4 * 6 * 5),
            NoiseSource::Cpu.draw(2, 4 * 6 * 5),
        );
        assert_eq!(vary(&first, &second, 0.0, 6, 5), first);
        let all = vary(&first, &second, 1.0, 6, 5);
        for (got, want) in all.iter().zip(&second) {
            assert!((got - want).abs() < 1e-6);
        }
        let half = vary(&first, &second, 0.5, 6, 5);
        let variance: f32 = half.iter().map(|v| v * v).sum::<f32>() / half.len() as f32;
        assert!((0.7..1.4).contains(&variance), "{variance}");
    }

    /// AUTOMATIC1111's `slerp` (modules/rng.py) by torch 2.15 on `randn([1, 2, 3])` of seeds 1 and 2.
    #[test]
    fn a_variation_equals_automatic1111s() {
        let (first, second) = (NoiseSource::Cpu.draw(1, 6), NoiseSource::Cpu.draw(2, 6));
        let want = VARIED;
        for (got, want) in vary(&first, &second, 0.3, 2, 3).iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{got} instead of {want}");
        }
    }

    const VARIED: [f32; 6] = [
        0.966901, 0.246860, -0.060670, -0.077853, 1.153927, -0.334496,
    ];
}
