//! The arithmetic of single steps. Factors are computed in f64 and applied in f32.

use crate::diffusion::noise::TorchCpuRng;
use crate::diffusion::schedule::PredictionType;
use crate::diffusion::table::LatentSpace;

/// One outer step: the timestep the network is told at its start, and its noise levels.
#[derive(Clone, Copy)]
pub(super) struct Stride {
    pub(super) timestep: f32,
    pub(super) from: f32,
    pub(super) to: f32,
}

/// The network's answer.
pub(super) struct Prediction<'a> {
    pub(super) kind: PredictionType,
    pub(super) values: &'a [f32],
}

impl Prediction<'_> {
    /// The clean latents that `latents = x0 + sigma * noise` are predicted to hold.
    pub(super) fn denoise_exploding(&self, latents: &[f32], sigma: f32) -> Vec<f32> {
        match self.kind {
            PredictionType::Epsilon => self.mix(latents, 1.0, -sigma),
            PredictionType::VPrediction => {
                // Divided, not multiplied by the inverse, as the references do: at high noise levels it shows.
                let square = sigma * sigma + 1.0;
                let of_prediction = -sigma / square.sqrt();
                latents
                    .iter()
                    .zip(self.values)
                    .map(|(x, out)| out * of_prediction + x / square)
                    .collect()
            }
        }
    }

    /// The same for variance-preserving latents whose noise level is given as a sigma.
    pub(super) fn denoise_preserving_sigma(&self, latents: &[f32], sigma: f32) -> Vec<f32> {
        let (signal, noise) = signal_and_noise(f64::from(sigma));
        match self.kind {
            PredictionType::Epsilon => {
                self.mix(latents, (1.0 / signal) as f32, (-noise / signal) as f32)
            }
            PredictionType::VPrediction => self.mix(latents, signal as f32, -noise as f32),
        }
    }

    fn mix(&self, latents: &[f32], of_latents: f32, of_prediction: f32) -> Vec<f32> {
        latents
            .iter()
            .zip(self.values)
            .map(|(x, out)| of_latents * x + of_prediction * out)
            .collect()
    }
}

/// Factors of signal and noise in variance-preserving latents at a sigma.
fn signal_and_noise(sigma: f64) -> (f64, f64) {
    let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
    (signal, sigma * signal)
}

/// The ODE's derivative `(x - denoised) / sigma`.
pub(super) fn derivative(latents: &[f32], denoised: &[f32], sigma: f32) -> Vec<f32> {
    latents
        .iter()
        .zip(denoised)
        .map(|(x, denoised)| (x - denoised) / sigma)
        .collect()
}

/// Euler's step along that derivative.
pub(super) fn euler(latents: &mut [f32], denoised: &[f32], from: f32, to: f32) {
    let length = to - from;
    for (x, denoised) in latents.iter_mut().zip(denoised) {
        *x += (*x - denoised) / from * length;
    }
}

/// Euler's step below the wanted noise level, then fresh noise up to it (eta 1). The last step, to zero, draws nothing.
pub(super) fn euler_ancestral(
    latents: &mut [f32],
    denoised: &[f32],
    stride: Stride,
    rng: &mut TorchCpuRng,
) {
    let (from, to) = (f64::from(stride.from), f64::from(stride.to));
    let up = (to * to * (from * from - to * to) / (from * from))
        .max(0.0)
        .sqrt()
        .min(to);
    let down = (to * to - up * up).max(0.0).sqrt();
    euler(latents, denoised, stride.from, down as f32);
    if stride.to > 0.0 {
        let up = up as f32;
        for (x, noise) in latents.iter_mut().zip(rng.randn(denoised.len())) {
            *x += noise * up;
        }
    }
}

/// DPM-Solver++(2M), Lu et al. (2022), algorithm 2, in the sigma form. `history` is the level at which the step before
/// started and the picture predicted there; without it, and in the last step, the method is of first order.
pub(super) fn dpmpp_2m(
    latents: &mut [f32],
    denoised: &[f32],
    stride: Stride,
    history: Option<(f32, &[f32])>,
    space: LatentSpace,
) {
    let (from, to) = (f64::from(stride.from), f64::from(stride.to));
    // Both forms at once: variance-preserving latents are `signal` times the exploding ones.
    let (signal_from, signal_to) = match space {
        LatentSpace::VarianceExploding => (1.0, 1.0),
        LatentSpace::VariancePreserving => (signal_and_noise(from).0, signal_and_noise(to).0),
    };
    // exp(-h) = to / from, where h is the step in the logarithm of the signal-to-noise ratio.
    let ratio = to / from;
    let keep = (ratio * signal_to / signal_from) as f32;
    let take = (signal_to * (1.0 - ratio)) as f32;
    match history.filter(|_| to > 0.0) {
        Some((before, old)) => {
            let weight = (ratio.ln() / (from / f64::from(before)).ln() / 2.0) as f32;
            for ((x, new), old) in latents.iter_mut().zip(denoised).zip(old) {
                *x = keep * *x + take * (new + weight * (new - old));
            }
        }
        None => {
            for (x, new) in latents.iter_mut().zip(denoised) {
                *x = keep * *x + take * new;
            }
        }
    }
}

/// DDIM at eta 0, Song et al. (2021), equation 12; levels are cumulative alphas. Gives the predicted picture.
pub(super) fn ddim(latents: &mut [f32], prediction: &Prediction<'_>, stride: Stride) -> Vec<f32> {
    let (signal, noise) = (stride.from.sqrt(), (1.0 - stride.from).sqrt());
    let (signal_to, noise_to) = (stride.to.sqrt(), (1.0 - stride.to).sqrt());
    let split = |x: f32, out: f32| match prediction.kind {
        PredictionType::Epsilon => ((x - noise * out) / signal, out),
        PredictionType::VPrediction => (signal * x - noise * out, signal * out + noise * x),
    };
    latents
        .iter_mut()
        .zip(prediction.values)
        .map(|(x, out)| {
            let (denoised, epsilon) = split(*x, *out);
            *x = signal_to * denoised + noise_to * epsilon;
            denoised
        })
        .collect()
}
