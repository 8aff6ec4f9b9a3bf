//! The names of samplers, schedules, conventions and spacings, and the request that puts them together.

use serde::{Deserialize, Serialize};

use super::error::{DiffusionError, Result};

/// The sampling methods. Serialised by their A1111 labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SamplerKind {
    /// Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 2 without churn).
    Euler,
    /// Euler steps to a lower noise level, then fresh noise up to the wanted one.
    #[serde(rename = "Euler a")]
    EulerAncestral,
    /// DPM-Solver++(2M), multistep of second order (Lu et al. 2022).
    #[serde(rename = "DPM++ 2M")]
    DpmPp2M,
    /// Denoising diffusion implicit models, eta 0 (Song et al. 2021).
    #[serde(rename = "DDIM")]
    Ddim,
    /// Heun's method: two evaluations a step, one in the last (Karras et al. 2022).
    Heun,
    /// DPM-Solver-2: the midpoint method in the logarithm of the noise level (Lu et al. 2022).
    #[serde(rename = "DPM2")]
    Dpm2,
    /// The same with ancestral noise.
    #[serde(rename = "DPM2 a")]
    Dpm2Ancestral,
    /// DPM-Solver++(2S) with ancestral noise: two evaluations a step.
    #[serde(rename = "DPM++ 2S a")]
    DpmPp2SAncestral,
    /// DPM-Solver++ on the stochastic equation: two evaluations a step.
    #[serde(rename = "DPM++ SDE")]
    DpmPpSde,
    /// DPM-Solver++(2M) on the stochastic equation, midpoint form.
    #[serde(rename = "DPM++ 2M SDE")]
    DpmPp2MSde,
    /// The same of third order.
    #[serde(rename = "DPM++ 3M SDE")]
    DpmPp3MSde,
    /// Linear multistep (Adams and Bashforth) of fourth order.
    #[serde(rename = "LMS")]
    Lms,
    /// UniPC, a predictor with a corrector that costs no evaluation (Zhao et al. 2023).
    #[serde(rename = "UniPC")]
    UniPc,
    /// Latent consistency models: the predicted picture with fresh noise (Luo et al. 2023).
    #[serde(rename = "LCM")]
    Lcm,
}

/// How noise levels are spread over the steps. Serialised by A1111's labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScheduleKind {
    /// Evenly over the training timesteps.
    #[default]
    Normal,
    /// Evenly in the seventh root of sigma (Karras et al. 2022, equation 5, rho 7).
    Karras,
    /// Evenly in the logarithm of sigma.
    Exponential,
    /// Evenly over the training timesteps, without the last: as Stability's generative models.
    #[serde(rename = "SGM Uniform")]
    SgmUniform,
    /// Every `T/n`th of the model's own noise levels, from the noisiest on.
    Simple,
    /// Every `T/n`th from the second least on, as DDIM takes them.
    #[serde(rename = "DDIM")]
    DdimUniform,
    /// By the quantiles of a beta distribution: more steps at both ends (Lee et al. 2024).
    Beta,
}

/// Whose arithmetic is followed; see the table in this module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// A1111 and ComfyUI.
    #[default]
    KDiffusion,
    /// Hugging Face diffusers.
    Diffusers,
}

/// Which timesteps are taken (Lin et al. 2023, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// From 0 upwards in whole strides, plus the configuration's offset: never reaches the noisiest timestep.
    Leading,
    /// Evenly from the first to the last timestep.
    Linspace,
    /// From the last timestep downwards in strides: never reaches timestep 0.
    Trailing,
}

impl SamplerKind {
    /// All samplers, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmPp2M,
        Self::DpmPp2MSde,
        Self::DpmPp3MSde,
        Self::DpmPpSde,
        Self::DpmPp2SAncestral,
        Self::Heun,
        Self::Dpm2,
        Self::Dpm2Ancestral,
        Self::Lms,
        Self::Ddim,
        Self::UniPc,
        Self::Lcm,
    ];

    /// The A1111 label, which is also what pictures' metadata say.
    pub fn label(self) -> &'static str {
        match self {
            Self::Euler => "Euler",
            Self::EulerAncestral => "Euler a",
            Self::DpmPp2M => "DPM++ 2M",
            Self::Ddim => "DDIM",
            Self::Heun => "Heun",
            Self::Dpm2 => "DPM2",
            Self::Dpm2Ancestral => "DPM2 a",
            Self::DpmPp2SAncestral => "DPM++ 2S a",
            Self::DpmPpSde => "DPM++ SDE",
            Self::DpmPp2MSde => "DPM++ 2M SDE",
            Self::DpmPp3MSde => "DPM++ 3M SDE",
            Self::Lms => "LMS",
            Self::UniPc => "UniPC",
            Self::Lcm => "LCM",
        }
    }

    /// The ComfyUI id.
    pub fn comfy_id(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::DpmPp2M => "dpmpp_2m",
            Self::Ddim => "ddim",
            Self::Heun => "heun",
            Self::Dpm2 => "dpm_2",
            Self::Dpm2Ancestral => "dpm_2_ancestral",
            Self::DpmPp2SAncestral => "dpmpp_2s_ancestral",
            Self::DpmPpSde => "dpmpp_sde",
            Self::DpmPp2MSde => "dpmpp_2m_sde",
            Self::DpmPp3MSde => "dpmpp_3m_sde",
            Self::Lms => "lms",
            Self::UniPc => "uni_pc",
            Self::Lcm => "lcm",
        }
    }

    /// Reads an A1111 label, a ComfyUI id or an old joined name such as `DPM++ 2M Karras`, which also names the schedule.
    /// Letter case and the kind of separator do not matter.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<(Self, Option<ScheduleKind>)> {
        let plain = normalised(name);
        if let Some(kind) = Self::of_plain(&plain) {
            return Ok((kind, None));
        }
        let joined = ScheduleKind::ALL.into_iter().find_map(|schedule| {
            let names = [
                normalised(schedule.label()),
                normalised(schedule.comfy_id()),
            ];
            names.iter().find_map(|end| {
                let start = plain.strip_suffix(end.as_str())?.strip_suffix(' ')?;
                Some((Self::of_plain(start)?, Some(schedule)))
            })
        });
        joined.ok_or_else(|| {
            let names: Vec<String> = Self::ALL
                .into_iter()
                .map(|kind| format!("{} ({})", kind.label(), kind.comfy_id()))
                .collect();
            unknown("sampler", name, names.join(", "))
        })
    }

    /// By a name in lower case whose separators are single spaces.
    fn of_plain(plain: &str) -> Option<Self> {
        // ComfyUI's samplers that draw their noise on the GPU are the same methods.
        let plain = plain.strip_suffix(" gpu").unwrap_or(plain);
        let bare = |text: &str| text.replace([' ', '+'], "");
        Self::ALL.into_iter().find(|kind| {
            let (label, id) = (normalised(kind.label()), normalised(kind.comfy_id()));
            let joined = plain.contains("++") && label.contains("++");
            plain == label || plain == id || joined && bare(plain) == bare(&label)
        })
    }

    /// Whether fresh noise is drawn between steps.
    pub fn is_ancestral(self) -> bool {
        matches!(
            self,
            Self::EulerAncestral
                | Self::Dpm2Ancestral
                | Self::DpmPp2SAncestral
                | Self::DpmPpSde
                | Self::DpmPp2MSde
                | Self::DpmPp3MSde
                | Self::Lcm
        )
    }

    /// The schedule that A1111's "Automatic" stands for with this sampler.
    pub fn automatic_schedule(self) -> ScheduleKind {
        match self {
            Self::DpmPp2M
            | Self::DpmPpSde
            | Self::DpmPp2SAncestral
            | Self::Dpm2
            | Self::Dpm2Ancestral => ScheduleKind::Karras,
            Self::DpmPp2MSde | Self::DpmPp3MSde => ScheduleKind::Exponential,
            _ => ScheduleKind::Normal,
        }
    }

    /// Whether the network is asked twice in every step but the last.
    pub fn asks_twice(self) -> bool {
        matches!(
            self,
            Self::Heun | Self::Dpm2 | Self::Dpm2Ancestral | Self::DpmPp2SAncestral | Self::DpmPpSde
        )
    }
}

impl ScheduleKind {
    /// All schedules, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::Karras,
        Self::Exponential,
        Self::SgmUniform,
        Self::Simple,
        Self::DdimUniform,
        Self::Beta,
    ];

    /// A1111's label, shown and written into metadata.
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Karras => "Karras",
            Self::Exponential => "Exponential",
            Self::SgmUniform => "SGM Uniform",
            Self::Simple => "Simple",
            Self::DdimUniform => "DDIM",
            Self::Beta => "Beta",
        }
    }

    /// The ComfyUI id.
    pub fn comfy_id(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::SgmUniform => "sgm_uniform",
            Self::Simple => "simple",
            Self::DdimUniform => "ddim_uniform",
            Self::Beta => "beta",
        }
    }

    /// Reads an A1111 label or a ComfyUI id in any letter case; A1111's `Uniform` is the normal schedule.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = normalised(name);
        let found = Self::ALL.into_iter().find(|kind| {
            plain == normalised(kind.label())
                || plain == normalised(kind.comfy_id())
                || *kind == Self::Normal && plain == "uniform"
        });
        found.ok_or_else(|| {
            let names: Vec<String> = Self::ALL
                .into_iter()
                .map(|kind| format!("{} ({})", kind.label(), kind.comfy_id()))
                .collect();
            unknown("schedule", name, names.join(", "))
        })
    }
}

impl Convention {
    /// The name used in requests.
    pub fn label(self) -> &'static str {
        match self {
            Self::KDiffusion => "kdiffusion",
            Self::Diffusers => "diffusers",
        }
    }

    /// Reads a name in any letter case.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<Self> {
        match normalised(name).as_str() {
            "kdiffusion" | "k diffusion" => Ok(Self::KDiffusion),
            "diffusers" => Ok(Self::Diffusers),
            _ => Err(unknown("convention", name, "kdiffusion, diffusers".into())),
        }
    }
}

impl Spacing {
    /// The name used in requests and configurations.
    pub fn label(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Linspace => "linspace",
            Self::Trailing => "trailing",
        }
    }

    /// Reads a name in any letter case.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<Self> {
        match normalised(name).as_str() {
            "leading" => Ok(Self::Leading),
            "linspace" => Ok(Self::Linspace),
            "trailing" => Ok(Self::Trailing),
            _ => Err(unknown(
                "timestep spacing",
                name,
                "leading, linspace, trailing".into(),
            )),
        }
    }
}

fn normalised(name: &str) -> String {
    let words = name
        .split(|c: char| c.is_whitespace() || c == '_' || c == '-')
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

pub(super) fn unknown(what: &'static str, given: &str, known: String) -> DiffusionError {
    // A name can come from a file; an endless one is not repeated in full.
    DiffusionError::UnknownName {
        what,
        given: given.chars().take(80).collect(),
        known,
    }
}

/// How a picture is to be sampled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplerSpec {
    /// The method.
    pub sampler: SamplerKind,
    /// How noise levels are spread.
    pub schedule: ScheduleKind,
    /// Whose arithmetic is followed.
    pub convention: Convention,
    /// Which timesteps are taken; none: the convention's own.
    pub spacing: Option<Spacing>,
    /// Outer steps, at least 1.
    pub steps: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_ids_and_old_names_are_read() {
        let cases = [
            ("Euler", SamplerKind::Euler, None),
            ("euler", SamplerKind::Euler, None),
            ("Euler a", SamplerKind::EulerAncestral, None),
            ("euler_ancestral", SamplerKind::EulerAncestral, None),
            (
                " EULER A KARRAS ",
                SamplerKind::EulerAncestral,
                Some(ScheduleKind::Karras),
            ),
            ("DPM++ 2M", SamplerKind::DpmPp2M, None),
            ("dpmpp_2m", SamplerKind::DpmPp2M, None),
            (
                "dpm++ 2m karras",
                SamplerKind::DpmPp2M,
                Some(ScheduleKind::Karras),
            ),
            (
                "dpmpp_2m_karras",
                SamplerKind::DpmPp2M,
                Some(ScheduleKind::Karras),
            ),
            ("ddim", SamplerKind::Ddim, None),
            ("heun", SamplerKind::Heun, None),
            ("DPM++2M", SamplerKind::DpmPp2M, None),
            ("dpmpp_2m_sde_gpu", SamplerKind::DpmPp2MSde, None),
            (
                "DPM++ 2M SDE Exponential",
                SamplerKind::DpmPp2MSde,
                Some(ScheduleKind::Exponential),
            ),
            (
                "dpmpp_3m_sde sgm_uniform",
                SamplerKind::DpmPp3MSde,
                Some(ScheduleKind::SgmUniform),
            ),
            ("DPM2 a", SamplerKind::Dpm2Ancestral, None),
            ("DPM2 Karras", SamplerKind::Dpm2, Some(ScheduleKind::Karras)),
            ("uni_pc", SamplerKind::UniPc, None),
            ("LMS Karras", SamplerKind::Lms, Some(ScheduleKind::Karras)),
        ];
        for (name, kind, schedule) in cases {
            assert_eq!(SamplerKind::parse(name), Ok((kind, schedule)), "{name}");
        }
        for kind in SamplerKind::ALL {
            assert_eq!(SamplerKind::parse(kind.label()), Ok((kind, None)));
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.label())
            );
            assert_eq!(SamplerKind::parse(kind.comfy_id()), Ok((kind, None)));
        }
        for kind in ScheduleKind::ALL {
            assert_eq!(ScheduleKind::parse(kind.label()), Ok(kind));
            assert_eq!(ScheduleKind::parse(kind.comfy_id()), Ok(kind));
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.label())
            );
        }
    }

    #[test]
    fn unknown_names_are_answered_with_the_known_ones() {
        for name in ["", "karras", "DPM++ 4M", "Eulera", "euler\0"] {
            let message = SamplerKind::parse(name).unwrap_err().to_string();
            assert!(
                message.contains("DPM++ 2M (dpmpp_2m)") && message.contains("Euler a"),
                "{message}"
            );
        }
        assert!(
            ScheduleKind::parse("linear")
                .unwrap_err()
                .to_string()
                .contains("Karras")
        );
        assert!(
            Convention::parse("invoke")
                .unwrap_err()
                .to_string()
                .contains("kdiffusion")
        );
        assert!(
            Spacing::parse("log")
                .unwrap_err()
                .to_string()
                .contains("trailing")
        );
        assert!(
            SamplerKind::parse(&"x".repeat(1 << 20))
                .unwrap_err()
                .to_string()
                .len()
                < 800
        );
    }

    #[test]
    fn a_spec_round_trips() {
        let spec = SamplerSpec {
            sampler: SamplerKind::DpmPp2M,
            schedule: ScheduleKind::Karras,
            convention: Convention::KDiffusion,
            spacing: Some(Spacing::Trailing),
            steps: 20,
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert!(
            text.contains("\"kdiffusion\"") && text.contains("\"trailing\""),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<SamplerSpec>(&text).unwrap(), spec);
    }
}
