//! Settings for models that were distilled to draw in a few steps: Turbo, Lightning, LCM, Hyper. A model that says what it is (in its
//! scheduler's config, its network's config or its metadata) has them where the person says nothing; for all others they can be chosen.

use diptych_inference::diffusion::{SamplerKind, ScheduleKind};
use diptych_inference::formats::detect::ModelInfo;

use crate::defaults::Defaults;

/// The fact about a model that tells how it was distilled, among [`ModelInfo::details`].
const DISTILLED: &str = "distilled";
/// The fact that tells that the network itself is told the guidance.
const GUIDED: &str = "told the guidance";

/// How a model was distilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// Adversarial diffusion distillation (Sauer et al. 2023): SD Turbo, SDXL Turbo
    Turbo,
    /// Progressive adversarial distillation (Lin et al. 2024): SDXL Lightning
    Lightning,
    /// Latent consistency (Luo et al. 2023), as a model or as a LoRA
    Lcm,
    /// Trajectory segmented consistency (Ren et al. 2024): Hyper-SD
    Hyper,
}

impl Preset {
    /// What a model says of itself.
    pub fn of(info: &ModelInfo) -> Option<Self> {
        match info.details().get(DISTILLED)?.as_str() {
            "Turbo" => Some(Self::Turbo),
            "Lightning" => Some(Self::Lightning),
            "LCM" => Some(Self::Lcm),
            "Hyper" => Some(Self::Hyper),
            _ => None,
        }
    }

    /// Steps, guidance, sampler and schedule as those who distilled it recommend.
    fn settings(self, guided: bool) -> (u32, f32, SamplerKind, ScheduleKind) {
        match self {
            Self::Turbo => (
                4,
                1.0,
                SamplerKind::EulerAncestral,
                ScheduleKind::SgmUniform,
            ),
            Self::Lightning => (4, 1.0, SamplerKind::Euler, ScheduleKind::SgmUniform),
            // A network that is told the guidance was trained for much of it.
            Self::Lcm => (
                if guided { 4 } else { 8 },
                if guided { 8.0 } else { 1.5 },
                SamplerKind::Lcm,
                ScheduleKind::SgmUniform,
            ),
            Self::Hyper => (8, 1.0, SamplerKind::Euler, ScheduleKind::SgmUniform),
        }
    }

    /// A model's defaults with these settings where it says nothing itself, or, if the person chose them, in place of its own.
    pub fn apply(self, defaults: Defaults, info: &ModelInfo, chosen: bool) -> Defaults {
        let guided = info.details().contains_key(GUIDED);
        let (steps, guidance, sampler, schedule) = self.settings(guided);
        let own = !chosen;
        Defaults {
            steps: defaults.steps.filter(|_| own).or(Some(steps)),
            guidance: defaults.guidance.filter(|_| own).or(Some(guidance)),
            sampler: defaults.sampler.filter(|_| own).or(Some(sampler)),
            schedule: defaults.schedule.filter(|_| own).or(Some(schedule)),
            ..defaults
        }
    }
}

/// The preset that was chosen, or else the one that the model says it is made for.
pub fn in_force(info: &ModelInfo, chosen: Option<Preset>) -> Option<Preset> {
    chosen.or_else(|| Preset::of(info))
}

/// A model's defaults, with those of the chosen preset or else of the one that the model says it is made for.
pub fn with_preset(defaults: Defaults, info: &ModelInfo, chosen: Option<Preset>) -> Defaults {
    match in_force(info, chosen) {
        Some(preset) => preset.apply(defaults, info, chosen.is_some()),
        None => defaults,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use diptych_inference::formats::detect::probe;
    use std::path::{Path, PathBuf};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/reference")
            .join(name)
    }

    #[test]
    fn what_a_model_says_of_itself_is_taken() {
        let lcm = probe(&fixture("jobs/tiny-lcm")).unwrap();
        assert_eq!(Preset::of(&lcm), Some(Preset::Lcm));
        let plain = probe(&fixture("models/tiny-sd")).unwrap();
        assert_eq!(Preset::of(&plain), None);
        let none = Defaults::default();
        let of_lcm = with_preset(none.clone(), &lcm, None);
        assert_eq!((of_lcm.steps, of_lcm.guidance), (Some(4), Some(8.0)));
        assert_eq!(of_lcm.sampler, Some(SamplerKind::Lcm));
        assert_eq!(with_preset(none.clone(), &plain, None), none);
        let own = Defaults {
            steps: Some(30),
            ..Defaults::default()
        };
        // A model's own file goes before what it seems to be, and the person before both.
        assert_eq!(with_preset(own.clone(), &lcm, None).steps, Some(30));
        let turbo = with_preset(own, &plain, Some(Preset::Turbo));
        assert_eq!((turbo.steps, turbo.guidance), (Some(4), Some(1.0)));
    }
}
