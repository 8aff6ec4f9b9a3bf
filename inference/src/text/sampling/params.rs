//! Sampling settings.

use serde::{Deserialize, Serialize};

use crate::text::TextError;

/// A bias that bans its token.
pub const BANNED: f32 = -100.0;

/// A step between the logits and the draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingStage {
    /// Repetition, frequency and presence penalty.
    Penalties,
    /// "Don't repeat yourself".
    Dry,
    /// Top-n-sigma.
    TopNSigma,
    /// Top-k.
    TopK,
    /// Locally typical sampling.
    Typical,
    /// Top-p.
    TopP,
    /// Min-p.
    MinP,
    /// "Exclude top choices".
    Xtc,
    /// Temperature.
    Temperature,
}

impl SamplingStage {
    /// Every one, in llama.cpp's order.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::Typical,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// The name in requests and on the command line; llama.cpp's own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::Typical => "typical",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }

    /// By [`Self::name`], or llama.cpp's other spellings of it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().replace('-', "_");
        let name = match name.as_str() {
            "typ_p" | "typical_p" => "typical",
            "temp" => "temperature",
            other => other,
        };
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// Sampling settings. Everything "off" draws from the model's own distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the best token (after the penalty), 1 leaves the distribution as it is.
    pub temperature: f32,
    /// Keep only the best `top_k` tokens; 0 is off.
    pub top_k: usize,
    /// Keep the fewest best tokens whose probabilities sum to at least this; 1 is off.
    pub top_p: f32,
    /// Keep tokens at least this times as probable as the best; 0 is off (Nguyen et al. 2024).
    pub min_p: f32,
    /// Keep the tokens whose information is closest to the expected one, until their probabilities sum to more than this; 1 is off
    /// (Meister et al. 2022).
    pub typical_p: f32,
    /// Keep tokens at most this many standard deviations of all logits below the best; 0 is off (Tang et al. 2024).
    pub top_n_sigma: f32,
    /// How probable it is that the top choices are excluded; 0 is off ("XTC").
    pub xtc_probability: f32,
    /// Tokens at least so probable are top choices; all of them but the least probable are excluded.
    pub xtc_threshold: f32,
    /// Positive logits of recent tokens are divided by this, others multiplied (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f32,
    /// How many recent tokens the penalties look at.
    pub repetition_window: usize,
    /// Taken from a recent token's logit once for each time it was written; 0 is off.
    pub frequency_penalty: f32,
    /// Taken from a recent token's logit once; 0 is off.
    pub presence_penalty: f32,
    /// Strength of the penalty on tokens that would go on with a repeated sequence; 0 is off ("DRY").
    pub dry_multiplier: f32,
    /// By what the penalty grows for each token of the repeated sequence.
    pub dry_base: f32,
    /// Length up to which repeated sequences are no harm.
    pub dry_allowed_length: usize,
    /// How many recent tokens are looked at; 0 is all.
    pub dry_window: usize,
    /// Tokens with one of these texts in them end sequences.
    pub dry_breakers: Vec<String>,
    /// Added to the logits of these tokens, before all else; [`BANNED`] never chooses the token.
    pub logit_bias: Vec<(u32, f32)>,
    /// The steps in their order; those that are not listed are left out.
    pub order: Vec<SamplingStage>,
    /// Always the best token of the model: no penalty, no bias, no filter, no chance; the lowest id of equals.
    pub greedy: bool,
    /// How many of the model's best tokens to report beside the chosen one.
    pub alternatives: usize,
}

/// Tokens that can be reported beside each token: more nobody reads, and a vocabulary of them would take megabytes for each.
const MOST_ALTERNATIVES: usize = 1000;

impl Default for SamplingParams {
    /// The values that llama.cpp has: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalty over the last 64 tokens.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repetition_penalty: 1.0,
            repetition_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_window: 0,
            dry_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
            logit_bias: Vec::new(),
            order: SamplingStage::ALL.to_vec(),
            greedy: false,
            alternatives: 5,
        }
    }
}

impl SamplingParams {
    /// Whether nothing is drawn: at temperature 0 the best of what is left is taken.
    pub(super) fn is_still(&self) -> bool {
        self.temperature == 0.0 && self.order.contains(&SamplingStage::Temperature)
    }

    /// Whether XTC acts at times. Above a half there cannot be two top choices.
    pub(super) fn may_exclude(&self) -> bool {
        self.order.contains(&SamplingStage::Xtc)
            && self.xtc_probability > 0.0
            && self.xtc_threshold <= 0.5
    }

    /// Whether repetition, frequency or presence change any logit.
    pub(super) fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.frequency_penalty != 0.0
            || self.presence_penalty != 0.0
    }

    /// Of the tokens so far those that DRY looks at.
    pub(super) fn dry_tokens<'a>(&self, recent: &'a [u32]) -> &'a [u32] {
        match self.dry_window {
            0 => recent,
            window => &recent[recent.len() - recent.len().min(window)..],
        }
    }

    /// # Errors
    /// [`TextError::SamplingRange`] for settings that mean nothing, [`TextError::SamplingOrder`] for a step that is there twice.
    pub fn check(&self) -> Result<(), TextError> {
        if self.alternatives > MOST_ALTERNATIVES {
            return Err(TextError::SamplingRange {
                name: "alternatives",
                value: self.alternatives as f32,
                allowed: "0 to 1000",
            });
        }
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        let penalty = |value: f32| (-100.0..=100.0).contains(&value);
        let hundred = |value: f32| (0.0..=100.0).contains(&value);
        let above = |value: f32, least: f32| value >= least && value <= 100.0;
        let settings = [
            (
                "temperature",
                self.temperature,
                hundred(self.temperature),
                "0 to 100",
            ),
            ("top-p", self.top_p, unit(self.top_p), "0 to 1"),
            ("min-p", self.min_p, unit(self.min_p), "0 to 1"),
            ("typical-p", self.typical_p, unit(self.typical_p), "0 to 1"),
            (
                "top-n-sigma",
                self.top_n_sigma,
                hundred(self.top_n_sigma),
                "0 to 100",
            ),
            (
                "XTC probability",
                self.xtc_probability,
                unit(self.xtc_probability),
                "0 to 1",
            ),
            (
                "XTC threshold",
                self.xtc_threshold,
                unit(self.xtc_threshold),
                "0 to 1",
            ),
            (
                "repetition penalty",
                self.repetition_penalty,
                above(self.repetition_penalty, f32::MIN_POSITIVE),
                "above 0 to 100",
            ),
            (
                "frequency penalty",
                self.frequency_penalty,
                penalty(self.frequency_penalty),
                "-100 to 100",
            ),
            (
                "presence penalty",
                self.presence_penalty,
                penalty(self.presence_penalty),
                "-100 to 100",
            ),
            (
                "DRY multiplier",
                self.dry_multiplier,
                hundred(self.dry_multiplier),
                "0 to 100",
            ),
            (
                "DRY base",
                self.dry_base,
                above(self.dry_base, 1.0),
                "1 to 100",
            ),
        ];
        let biases = self
            .logit_bias
            .iter()
            .map(|&(_, bias)| ("logit bias", bias, penalty(bias), "-100 to 100"));
        for (name, value, ok, allowed) in settings.into_iter().chain(biases) {
            if !ok {
                return Err(TextError::SamplingRange {
                    name,
                    value,
                    allowed,
                });
            }
        }
        for (index, stage) in self.order.iter().enumerate() {
            if self.order[..index].contains(stage) {
                return Err(TextError::SamplingOrder {
                    stage: stage.name(),
                });
            }
        }
        Ok(())
    }
}
