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
}

/// How noise levels are spread over the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScheduleKind {
    /// Evenly over the training timesteps.
    #[default]
    Normal,
    /// Evenly in the seventh root of sigma (Karras et al. 2022, equation 5, rho 7).
    Karras,
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
    pub const ALL: [Self; 5] = [
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmPp2M,
        Self::Ddim,
        Self::Heun,
    ];

    /// The A1111 label, which is also what pictures' metadata say.
    pub fn label(self) -> &'static str {
        match self {
            Self::Euler => "Euler",
            Self::EulerAncestral => "Euler a",
            Self::DpmPp2M => "DPM++ 2M",
            Self::Ddim => "DDIM",
            Self::Heun => "Heun",
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
        }
    }

    /// Reads an A1111 label, a ComfyUI id or an old joined name such as `DPM++ 2M Karras`, which also names the schedule.
    /// Letter case and the kind of separator do not matter.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<(Self, Option<ScheduleKind>)> {
        let plain = normalised(name);
        let (plain, schedule) = match plain.strip_suffix(" karras") {
            Some(start) => (start, Some(ScheduleKind::Karras)),
            None => (plain.as_str(), None),
        };
        let found = Self::ALL.into_iter().find(|kind| {
            plain == normalised(kind.label())
                || plain == normalised(kind.comfy_id())
                || (*kind == Self::DpmPp2M && plain == "dpm++2m")
        });
        found.map(|kind| (kind, schedule)).ok_or_else(|| {
            let names: Vec<String> = Self::ALL
                .into_iter()
                .map(|kind| format!("{} ({})", kind.label(), kind.comfy_id()))
                .collect();
            unknown("sampler", name, names.join(", "))
        })
    }

    /// Whether fresh noise is drawn between steps.
    pub fn is_ancestral(self) -> bool {
        self == Self::EulerAncestral
    }
}

impl ScheduleKind {
    /// The label shown and written into metadata.
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Karras => "Karras",
        }
    }

    /// Reads a label in any letter case; A1111's `Uniform` is the normal schedule.
    ///
    /// # Errors
    /// [`DiffusionError::UnknownName`] lists the known names.
    pub fn parse(name: &str) -> Result<Self> {
        match normalised(name).as_str() {
            "normal" | "uniform" => Ok(Self::Normal),
            "karras" => Ok(Self::Karras),
            _ => Err(unknown("schedule", name, "Normal (Uniform), Karras".into())),
        }
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

fn unknown(what: &'static str, given: &str, known: String) -> DiffusionError {
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
        }
    }

    #[test]
    fn unknown_names_are_answered_with_the_known_ones() {
        for name in ["", "karras", "DPM++ 3M SDE", "Eulera", "euler\0"] {
            let message = SamplerKind::parse(name).unwrap_err().to_string();
            assert!(
                message.contains("DPM++ 2M (dpmpp_2m)") && message.contains("Euler a"),
                "{message}"
            );
        }
        assert!(
            ScheduleKind::parse("exponential")
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
                < 400
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
