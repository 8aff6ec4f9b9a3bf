//! The noise schedule a model was trained with, read from `scheduler_config.json`.
//!
//! Ho et al. (2020) for the linear betas, Rombach et al. (2022) for the scaled linear ones, Nichol and Dhariwal (2021) for the
//! cosine, Lin et al. (2023) for the rescaling to zero terminal signal. Roundings to f32 stand where `diffusers` has them: at
//! the first timestep `1 - alpha` keeps only four digits in f32, which shows in pictures.

use serde::{Deserialize, Serialize};

use super::error::{DiffusionError, Result};
use super::spec::{Convention, Spacing};

/// The most training timesteps accepted; real models have 1000.
const MOST_TRAIN_STEPS: usize = 100_000;

/// What A1111 and ComfyUI put in place of a last cumulative alpha of zero.
const LAST_ALPHA_KDIFFUSION: f32 = 4.897_345e-8;

/// What diffusers' sigma-based schedulers put there: the smallest positive f16, 2^-24.
const LAST_ALPHA_DIFFUSERS: f32 = 1.0 / 16_777_216.0;

/// What the network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise (Stable Diffusion 1.x, 2.x base).
    Epsilon,
    /// The velocity `sqrt(a) noise - sqrt(1 - a) x0` of Salimans and Ho (2022) (Stable Diffusion 2.x at 768).
    VPrediction,
}

/// How the betas run from `beta_start` to `beta_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly.
    Linear,
    /// Evenly in the square root.
    ScaledLinear,
    /// From a squared cosine of the cumulative alpha, betas capped at 0.999; start and end have no effect.
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// The fields of a diffusers `scheduler_config.json` which describe the model (and not one sampler). Missing fields have the
/// defaults of diffusers' classes; unknown ones have no effect.
///
/// `clip_sample` is not here: it belongs to pixel-space models, and Stable Diffusion pipelines force it off.
/// `use_karras_sigmas` and the solver's settings are not either: a request names its sampler and schedule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Timesteps in training, 2 to 100000.
    pub num_train_timesteps: usize,
    /// `linear`, `scaled_linear` or `squaredcos_cap_v2`.
    pub beta_schedule: String,
    /// First beta.
    pub beta_start: f64,
    /// Last beta.
    pub beta_end: f64,
    /// The betas themselves, in place of the three fields above.
    pub trained_betas: Option<Vec<f64>>,
    /// `epsilon` or `v_prediction`; `sample` is refused.
    pub prediction_type: String,
    /// Added to every timestep in leading spacing. Read as the file says, though a Stable Diffusion pipeline of diffusers
    /// overrides other values by 1 with a warning.
    pub steps_offset: i64,
    /// `leading`, `linspace` or `trailing`; missing: the default of the sampler's class.
    pub timestep_spacing: Option<String>,
    /// DDIM: whether the last step ends at an alpha of one rather than that of timestep 0.
    pub set_alpha_to_one: bool,
    /// Whether betas are rescaled so that nothing of the picture is left at the last timestep.
    pub rescale_betas_zero_snr: Option<bool>,
    /// Only `linear` (or nothing) is accepted.
    pub interpolation_type: Option<String>,
    /// Only `discrete` (or nothing) is accepted.
    pub timestep_type: Option<String>,
    /// Only `zero` (or nothing) is accepted.
    pub final_sigmas_type: Option<String>,
    /// Must not be true: dynamic thresholding is for pixel-space models.
    pub thresholding: Option<bool>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_schedule: "linear".into(),
            beta_start: 0.0001,
            beta_end: 0.02,
            trained_betas: None,
            prediction_type: "epsilon".into(),
            steps_offset: 0,
            timestep_spacing: None,
            set_alpha_to_one: true,
            rescale_betas_zero_snr: None,
            interpolation_type: None,
            timestep_type: None,
            final_sigmas_type: None,
            thresholding: None,
        }
    }
}

impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`. Python's `NaN` and `-Infinity`, which such files contain though JSON has
    /// no such words, count as null.
    pub fn from_json(text: &str) -> Result<Self> {
        if !text.trim_start().starts_with('{') {
            return Err(DiffusionError::ConfigSyntax(
                "it is not a JSON object".into(),
            ));
        }
        serde_json::from_str(&without_python_floats(text))
            .map_err(|error| DiffusionError::ConfigSyntax(error.to_string()))
    }

    /// What Stable Diffusion 1.x and 2.x were trained with; for single-file checkpoints, which carry no configuration.
    pub fn stable_diffusion(prediction: PredictionType) -> Self {
        Self {
            beta_schedule: "scaled_linear".into(),
            beta_start: 0.00085,
            beta_end: 0.012,
            prediction_type: match prediction {
                PredictionType::Epsilon => "epsilon".into(),
                PredictionType::VPrediction => "v_prediction".into(),
            },
            steps_offset: 1,
            set_alpha_to_one: false,
            ..Self::default()
        }
    }
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside strings by `null`.
fn without_python_floats(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_string) = (text, false);
    'scan: while let Some(next) = rest.chars().next() {
        if in_string {
            if next == '\\' {
                let escaped = rest.chars().take(2).map(char::len_utf8).sum();
                let (head, tail) = rest.split_at(escaped);
                out.push_str(head);
                rest = tail;
                continue;
            }
        } else {
            for word in ["NaN", "Infinity", "-Infinity"] {
                if let Some(tail) = rest.strip_prefix(word) {
                    out.push_str("null");
                    rest = tail;
                    continue 'scan;
                }
            }
        }
        in_string ^= next == '"';
        out.push(next);
        rest = rest.split_at(next.len_utf8()).1;
    }
    out
}

/// A model's noise schedule: the cumulative product of `1 - beta` over its training timesteps, and what else of its configuration
/// the samplers must know.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSchedule {
    alphas_cumprod: Vec<f32>,
    prediction: PredictionType,
    beta_schedule: Option<BetaSchedule>,
    zero_snr: bool,
    steps_offset: usize,
    spacing: Option<Spacing>,
    final_alpha_one: bool,
}

impl TrainingSchedule {
    /// The schedule that a configuration describes.
    ///
    /// # Errors
    /// [`DiffusionError::ConfigValue`] names the field that cannot be used.
    pub fn new(config: &SchedulerConfig) -> Result<Self> {
        let bad = |field, value: String, remedy| {
            Err(DiffusionError::ConfigValue {
                field,
                value,
                remedy,
            })
        };
        let prediction = match config.prediction_type.as_str() {
            "epsilon" => PredictionType::Epsilon,
            "v_prediction" => PredictionType::VPrediction,
            other => {
                return bad(
                    "prediction_type",
                    other.into(),
                    "epsilon and v_prediction are supported",
                );
            }
        };
        if let Some(other) = config
            .interpolation_type
            .as_deref()
            .filter(|kind| *kind != "linear")
        {
            return bad(
                "interpolation_type",
                other.into(),
                "only linear is supported",
            );
        }
        if let Some(other) = config
            .timestep_type
            .as_deref()
            .filter(|kind| *kind != "discrete")
        {
            return bad("timestep_type", other.into(), "only discrete is supported");
        }
        if let Some(other) = config
            .final_sigmas_type
            .as_deref()
            .filter(|kind| *kind != "zero")
        {
            return bad("final_sigmas_type", other.into(), "only zero is supported");
        }
        if config.thresholding == Some(true) {
            return bad(
                "thresholding",
                "true".into(),
                "dynamic thresholding is for pixel-space models; set it to false",
            );
        }
        let (betas, beta_schedule) = betas(config)?;
        let train_steps = betas.len();
        let steps_offset = match usize::try_from(config.steps_offset) {
            Ok(offset) if offset < train_steps => offset,
            _ => {
                return bad(
                    "steps_offset",
                    config.steps_offset.to_string(),
                    "0 to num_train_timesteps - 1, usually 0 or 1",
                );
            }
        };
        let spacing = config
            .timestep_spacing
            .as_deref()
            .map(Spacing::parse)
            .transpose()?;
        let zero_snr = config.rescale_betas_zero_snr == Some(true);
        let betas = if zero_snr {
            rescale_zero_terminal_snr(&betas)
        } else {
            betas
        };
        let schedule = Self {
            alphas_cumprod: cumulative_alphas(&betas),
            prediction,
            beta_schedule,
            zero_snr,
            steps_offset,
            spacing,
            final_alpha_one: config.set_alpha_to_one,
        };
        let sigmas = schedule.sigmas(Convention::Diffusers);
        let usable = sigmas
            .values
            .iter()
            .all(|sigma| sigma.is_finite() && *sigma > 0.0);
        if !usable || sigmas.values.windows(2).any(|pair| pair[1] < pair[0]) {
            return bad(
                "betas",
                format!("{train_steps} values"),
                "they must lead to rising, finite noise levels",
            );
        }
        Ok(schedule)
    }

    /// Cumulative products of `1 - beta`, one per training timestep, falling. The last is 0 after rescaling to zero terminal SNR.
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// What the network predicts.
    pub fn prediction(&self) -> PredictionType {
        self.prediction
    }

    /// The family of the betas; none where the configuration lists them one by one.
    pub fn beta_schedule(&self) -> Option<BetaSchedule> {
        self.beta_schedule
    }

    /// Timesteps in training.
    pub fn train_steps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Added to every timestep in leading spacing.
    pub fn steps_offset(&self) -> usize {
        self.steps_offset
    }

    /// The spacing that the configuration asks for, if it does.
    pub fn spacing(&self) -> Option<Spacing> {
        self.spacing
    }

    /// Whether the betas are rescaled to zero terminal SNR.
    pub fn zero_snr(&self) -> bool {
        self.zero_snr
    }

    /// Cumulative alpha at which diffusers' DDIM ends: one, or that of timestep 0.
    pub fn final_alpha(&self) -> f32 {
        if self.final_alpha_one {
            1.0
        } else {
            self.alphas_cumprod.first().copied().unwrap_or(1.0)
        }
    }

    /// [`Self::alphas_cumprod`] with a last value of zero replaced as the convention's programs do.
    pub fn nonzero_alphas(&self, convention: Convention) -> Vec<f32> {
        let mut alphas = self.alphas_cumprod.clone();
        if let Some(last) = alphas.last_mut().filter(|_| self.zero_snr) {
            *last = match convention {
                Convention::KDiffusion => LAST_ALPHA_KDIFFUSION,
                Convention::Diffusers => LAST_ALPHA_DIFFUSERS,
            };
        }
        alphas
    }

    /// Noise levels `sqrt((1 - a) / a)` of all training timesteps, rising.
    pub(super) fn sigmas(&self, convention: Convention) -> SigmaTable {
        let values: Vec<f32> = self
            .nonzero_alphas(convention)
            .into_iter()
            .map(|alpha| ((1.0 - alpha) / alpha).sqrt())
            .collect();
        let logs = values
            .iter()
            .map(|sigma| f64::from(*sigma).ln() as f32)
            .collect();
        SigmaTable { values, logs }
    }
}

/// The training noise levels and their logarithms, by timestep. At least two entries, by [`TrainingSchedule::new`].
pub(super) struct SigmaTable {
    pub(super) values: Vec<f32>,
    logs: Vec<f32>,
}

impl SigmaTable {
    /// Least and greatest noise level.
    pub(super) fn range(&self) -> (f32, f32) {
        (
            self.values.first().copied().unwrap_or(0.0),
            self.values.last().copied().unwrap_or(0.0),
        )
    }

    /// k-diffusion's `t_to_sigma`: between timesteps, straight in the logarithm. Clamped to the table.
    pub(super) fn at_log(&self, timestep: f32) -> f32 {
        lerp_at(&self.logs, f64::from(timestep)).exp() as f32
    }

    /// numpy's `interp` over the timesteps: straight in sigma itself. Clamped to the table.
    pub(super) fn at_linear(&self, timestep: f32) -> f64 {
        lerp_at(&self.values, f64::from(timestep))
    }

    /// The fractional timestep of a noise level: straight in the logarithm, clamped to the table.
    pub(super) fn timestep(&self, sigma: f64) -> f64 {
        let log = sigma.max(1e-10).ln();
        let above = self.logs.partition_point(|entry| f64::from(*entry) <= log);
        let low = above
            .saturating_sub(1)
            .min(self.logs.len().saturating_sub(2));
        let (Some(from), Some(to)) = (self.logs.get(low), self.logs.get(low + 1)) else {
            return 0.0;
        };
        let (from, to) = (f64::from(*from), f64::from(*to));
        let weight = if to > from {
            ((log - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            0.0
        };
        low as f64 + weight
    }
}

/// The value of a piecewise straight line through `entries` at `place`, clamped to its ends.
fn lerp_at(entries: &[f32], place: f64) -> f64 {
    let place = place.clamp(0.0, entries.len().saturating_sub(1) as f64);
    let low = place.floor() as usize;
    let Some(from) = entries.get(low).map(|entry| f64::from(*entry)) else {
        return 0.0;
    };
    let to = entries.get(low + 1).map_or(from, |entry| f64::from(*entry));
    let weight = place - low as f64;
    (1.0 - weight) * from + weight * to
}

fn betas(config: &SchedulerConfig) -> Result<(Vec<f32>, Option<BetaSchedule>)> {
    let bad = |field, value: String, remedy| {
        Err(DiffusionError::ConfigValue {
            field,
            value,
            remedy,
        })
    };
    let count = config
        .trained_betas
        .as_ref()
        .map_or(config.num_train_timesteps, Vec::len);
    if !(2..=MOST_TRAIN_STEPS).contains(&count) {
        return bad(
            "num_train_timesteps",
            count.to_string(),
            "2 to 100000 are supported",
        );
    }
    if let Some(trained) = &config.trained_betas {
        if count != config.num_train_timesteps {
            return bad(
                "trained_betas",
                format!("{count} values"),
                "there must be num_train_timesteps of them",
            );
        }
        if let Some(beta) = trained.iter().find(|beta| !is_beta(**beta)) {
            return bad(
                "trained_betas",
                beta.to_string(),
                "every beta must lie between 0 and 1",
            );
        }
        return Ok((trained.iter().map(|beta| *beta as f32).collect(), None));
    }
    let (start, end) = (config.beta_start, config.beta_end);
    let kind = match config.beta_schedule.as_str() {
        "linear" => BetaSchedule::Linear,
        "scaled_linear" => BetaSchedule::ScaledLinear,
        "squaredcos_cap_v2" => BetaSchedule::SquaredCosine,
        other => {
            return bad(
                "beta_schedule",
                other.into(),
                "linear, scaled_linear and squaredcos_cap_v2 are supported",
            );
        }
    };
    if kind != BetaSchedule::SquaredCosine {
        if !is_beta(start) {
            return bad(
                "beta_start",
                start.to_string(),
                "it must lie between 0 and 1",
            );
        }
        if !is_beta(end) {
            return bad("beta_end", end.to_string(), "it must lie between 0 and 1");
        }
    }
    let betas = match kind {
        BetaSchedule::Linear => linspace_f32(start as f32, end as f32, count),
        BetaSchedule::ScaledLinear => linspace_f32(start.sqrt() as f32, end.sqrt() as f32, count)
            .into_iter()
            .map(|root| root * root)
            .collect(),
        BetaSchedule::SquaredCosine => {
            let alpha_bar = |time: f64| {
                ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
                    .cos()
                    .powi(2)
            };
            let time = |index: usize| index as f64 / count as f64;
            (0..count)
                .map(|i| (1.0 - alpha_bar(time(i + 1)) / alpha_bar(time(i))).min(0.999) as f32)
                .collect()
        }
    };
    Ok((betas, Some(kind)))
}

fn is_beta(beta: f64) -> bool {
    beta > 0.0 && beta < 1.0
}

/// `torch.linspace` in f32: from both ends towards the middle.
pub(super) fn linspace_f32(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count < 2 {
        return vec![start; count];
    }
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|index| {
            if index < count / 2 {
                start + step * index as f32
            } else {
                end - step * (count - 1 - index) as f32
            }
        })
        .collect()
}

/// Running product of `1 - beta`: factors in f32, product in f64 and rounded at each place, as `torch.cumprod` does on CPU.
fn cumulative_alphas(betas: &[f32]) -> Vec<f32> {
    betas
        .iter()
        .scan(1.0f64, |product, beta| {
            *product *= f64::from(1.0 - beta);
            Some(*product as f32)
        })
        .collect()
}

/// Algorithm 1 of Lin et al. (2023): shifts and scales `sqrt(alphas_cumprod)` so that it ends at zero and starts as before.
fn rescale_zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative_alphas(betas)
        .into_iter()
        .map(f32::sqrt)
        .collect();
    let (first, last) = (
        roots.first().copied().unwrap_or(1.0),
        roots.last().copied().unwrap_or(0.0),
    );
    let scale = first / (first - last);
    let bars: Vec<f32> = roots
        .into_iter()
        .map(|root| ((root - last) * scale).powi(2))
        .collect();
    let mut before = 1.0;
    bars.into_iter()
        .map(|bar| {
            let beta = 1.0 - bar / before;
            before = bar;
            beta
        })
        .collect()
}
