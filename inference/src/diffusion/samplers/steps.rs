//! The arithmetic of single steps. Factors are computed in f64 and applied in f32.

use crate::diffusion::levels::ancestral;
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

    /// The same where the noise level is a cumulative alpha.
    pub(super) fn denoise_preserving_alpha(&self, latents: &[f32], alpha: f32) -> Vec<f32> {
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let pairs = latents.iter().zip(self.values);
        match self.kind {
            PredictionType::Epsilon => pairs.map(|(x, out)| (x - noise * out) / signal).collect(),
            PredictionType::VPrediction => pairs.map(|(x, out)| signal * x - noise * out).collect(),
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
pub(super) fn signal_and_noise(sigma: f64) -> (f64, f64) {
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

/// `x = keep x + take y`.
pub(super) fn blend(latents: &mut [f32], keep: f64, other: &[f32], take: f64) {
    let (keep, take) = (keep as f32, take as f32);
    for (x, other) in latents.iter_mut().zip(other) {
        *x = keep * *x + take * other;
    }
}

/// `x += factor y`.
pub(super) fn add(latents: &mut [f32], other: &[f32], factor: f64) {
    let factor = factor as f32;
    for (x, other) in latents.iter_mut().zip(other) {
        *x += factor * other;
    }
}

/// Where the exponential step of DPM-Solver++ leads: straight in the predicted picture, exact in the latents.
pub(super) fn dpm_step(latents: &mut [f32], picture: &[f32], from: f32, to: f32) {
    let ratio = f64::from(to) / f64::from(from);
    blend(latents, ratio, picture, 1.0 - ratio);
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

/// DPM-Solver++(2M) on the stochastic equation, midpoint form, eta 1. `noise` is not used in the last step.
pub(super) fn dpmpp_2m_sde(
    latents: &mut [f32],
    denoised: &[f32],
    stride: Stride,
    history: Option<(f32, &[f32])>,
    noise: &[f32],
    space: LatentSpace,
) {
    if stride.to <= 0.0 {
        latents.copy_from_slice(denoised);
        return;
    }
    let (from, to) = (f64::from(stride.from), f64::from(stride.to));
    let (signal_from, signal_to) = match space {
        LatentSpace::VarianceExploding => (1.0, 1.0),
        LatentSpace::VariancePreserving => (signal_and_noise(from).0, signal_and_noise(to).0),
    };
    let h = (from / to).ln();
    let take = -(-2.0 * h).exp_m1();
    blend(
        latents,
        to / from * (-h).exp() * signal_to / signal_from,
        denoised,
        signal_to * take,
    );
    if let Some((before, old)) = history {
        let ratio = (f64::from(before) / from).ln() / h;
        let factor = 0.5 * signal_to * take / ratio;
        add(latents, denoised, factor);
        add(latents, old, -factor);
    }
    add(
        latents,
        noise,
        signal_to * to * (-(-2.0 * h).exp_m1()).sqrt(),
    );
}

/// The same of third order. `history` are levels and pictures of up to two steps before, the latest first.
pub(super) fn dpmpp_3m_sde(
    latents: &mut [f32],
    denoised: &[f32],
    stride: Stride,
    history: &[(f32, &[f32])],
    noise: &[f32],
) {
    if stride.to <= 0.0 {
        latents.copy_from_slice(denoised);
        return;
    }
    let (from, to) = (f64::from(stride.from), f64::from(stride.to));
    let h = (from / to).ln();
    let h_eta = 2.0 * h;
    blend(latents, (-h_eta).exp(), denoised, -(-h_eta).exp_m1());
    let phi2 = (-h_eta).exp_m1() / h_eta + 1.0;
    match history {
        [(first, one), (second, two), ..] => {
            let r0 = (f64::from(*first) / from).ln() / h;
            let r1 = (f64::from(*second) / f64::from(*first)).ln() / h;
            let phi3 = phi2 / h_eta - 0.5;
            // d1 = d10 + (d10 - d11) r0 / (r0 + r1), d2 = (d10 - d11) / (r0 + r1); x += phi2 d1 - phi3 d2.
            let cross = (phi2 * r0 - phi3) / (r0 + r1);
            let (of_first, of_second) = ((phi2 + cross) / r0, -cross / r1);
            add(latents, denoised, of_first);
            add(latents, one, of_second - of_first);
            add(latents, two, -of_second);
        }
        [(first, one)] => {
            let r = (f64::from(*first) / from).ln() / h;
            add(latents, denoised, phi2 / r);
            add(latents, one, -phi2 / r);
        }
        [] => {}
    }
    add(latents, noise, to * (-(-2.0 * h).exp_m1()).sqrt());
}

/// The first half of DPM-Solver++ on the stochastic equation, or all of it where the second prediction stands in: an exponential
/// step to the level below `to`, and noise up to it.
pub(super) fn sde_half(latents: &mut [f32], picture: &[f32], from: f32, to: f32, noise: &[f32]) {
    let (down, up) = ancestral(from, to);
    dpm_step(latents, picture, from, down);
    add(latents, noise, f64::from(up));
}

/// Linear multistep of Adams and Bashforth: the integral of the polynomial through the latest derivatives. `levels` are those at which
/// they were taken, the latest first, as many as derivatives; exact, where k-diffusion integrates by quadrature.
pub(super) fn lms(latents: &mut [f32], derivatives: &[&[f32]], levels: &[f32], to: f32) {
    let Some(from) = levels.first() else {
        return;
    };
    let (from, to) = (f64::from(*from), f64::from(to));
    // Gauss and Legendre's four points are exact up to the seventh degree; these polynomials are of the third.
    const POINTS: [(f64, f64); 4] = [
        (-0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
        (-0.339_981_043_584_856_26, 0.652_145_154_862_546_2),
        (0.339_981_043_584_856_26, 0.652_145_154_862_546_2),
        (0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
    ];
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    for (j, derivative) in derivatives.iter().enumerate().take(levels.len()) {
        let own = f64::from(levels[j]);
        let lagrange = |tau: f64| {
            levels
                .iter()
                .enumerate()
                .filter(|(k, _)| *k != j)
                .map(|(_, other)| (tau - f64::from(*other)) / (own - f64::from(*other)))
                .product::<f64>()
        };
        let integral: f64 = POINTS
            .iter()
            .map(|(place, weight)| weight * lagrange(middle + half * place))
            .sum();
        add(latents, derivative, half * integral);
    }
}

/// DDIM at eta 0, Song et al. (2021), equation 12; levels are cumulative alphas. `network` is what the network said, unless the
/// picture was changed after it.
pub(super) fn ddim(
    latents: &mut [f32],
    denoised: &[f32],
    network: Option<&Prediction<'_>>,
    stride: Stride,
) {
    let (signal, noise) = (stride.from.sqrt(), (1.0 - stride.from).sqrt());
    let (signal_to, noise_to) = (stride.to.sqrt(), (1.0 - stride.to).sqrt());
    for (place, (x, denoised)) in latents.iter_mut().zip(denoised).enumerate() {
        let said = network.and_then(|network| Some((network.kind, *network.values.get(place)?)));
        let epsilon = match said {
            Some((PredictionType::Epsilon, out)) => out,
            Some((PredictionType::VPrediction, out)) => signal * out + noise * *x,
            None => (*x - signal * denoised) / noise,
        };
        *x = signal_to * denoised + noise_to * epsilon;
    }
}
