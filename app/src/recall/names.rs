//! Samplers and schedules by the names that other programs have for them.

use diptych_inference::diffusion::{Convention, SamplerKind, ScheduleKind};
use diptych_inference::formats::metadata::PictureInfo;

use super::{Against, Recalled};

/// Takes sampler, schedule and convention over.
pub(super) fn take(recalled: &mut Recalled, info: &PictureInfo, against: &Against<'_>) {
    let mut joined = None;
    if let Some(name) = info.sampler.as_deref() {
        match sampler(name) {
            Some((kind, schedule)) => {
                recalled.sampler = Some(kind);
                joined = Some(schedule);
            }
            None => recalled.note(format!(
                "The sampler '{}' is not there yet; kept {}",
                short(name),
                against.sampler.label()
            )),
        }
    }
    match (info.schedule.as_deref(), joined) {
        (Some(name), _) => match schedule(name, recalled.sampler) {
            Some(kind) => recalled.schedule = Some(kind),
            None => recalled.note(format!(
                "The schedule '{}' is not there yet; kept {}",
                short(name),
                against.schedule.label()
            )),
        },
        // Whoever names a sampler and no schedule means the plain one.
        (None, Some(schedule)) => recalled.schedule = Some(schedule.unwrap_or_default()),
        (None, None) => {}
    }
    if let Some(convention) = convention(info.software.as_deref()) {
        recalled.convention = Some(convention);
        recalled.spacing = Some(None);
    }
    take_own(recalled, info);
}

/// Our own text names what AUTOMATIC1111's has no words for.
fn take_own(recalled: &mut Recalled, info: &PictureInfo) {
    if info.software.as_deref() != Some("Diptych") {
        return;
    }
    recalled.convention = Some(
        info.extra
            .get("Convention")
            .and_then(|name| Convention::parse(name).ok())
            .unwrap_or_default(),
    );
    let spacing = info.extra.get("Spacing");
    let read = |name: &String| diptych_inference::diffusion::Spacing::parse(name).ok();
    recalled.spacing = Some(spacing.and_then(read));
}

/// A sampler by the names of AUTOMATIC1111, ComfyUI, InvokeAI and NovelAI, and the schedule that the name says.
fn sampler(name: &str) -> Option<(SamplerKind, Option<ScheduleKind>)> {
    if let Ok(found) = SamplerKind::parse(name) {
        return Some(found);
    }
    let plain = name.trim().to_ascii_lowercase();
    let plain = plain.strip_prefix("sample_").unwrap_or(&plain);
    let plain = plain.strip_prefix("k_").unwrap_or(plain);
    let (plain, karras) = match plain.strip_suffix("_k").or(plain.strip_suffix("_ka")) {
        Some(start) => (start, Some(ScheduleKind::Karras)),
        None => (plain, None),
    };
    if let Ok((kind, schedule)) = SamplerKind::parse(plain) {
        return Some((kind, schedule.or(karras)));
    }
    let kind = match plain {
        "euler_a" | "euler ancestral" => SamplerKind::EulerAncestral,
        "ddim_v3" => SamplerKind::Ddim,
        _ => return None,
    };
    Some((kind, karras))
}

/// A schedule by the names of other programs; `sampler` is the picture's.
fn schedule(name: &str, sampler: Option<SamplerKind>) -> Option<ScheduleKind> {
    match name.trim().to_ascii_lowercase().as_str() {
        // AUTOMATIC1111's choice for each sampler.
        "automatic" => Some(sampler.map_or(ScheduleKind::Normal, SamplerKind::automatic_schedule)),
        // NovelAI's word for the schedule without rho.
        "native" | "default" => Some(ScheduleKind::Normal),
        other => ScheduleKind::parse(other).ok(),
    }
}

/// Whose arithmetic a program follows.
fn convention(software: Option<&str>) -> Option<Convention> {
    match software? {
        "InvokeAI" => Some(Convention::Diffusers),
        "AUTOMATIC1111" | "Forge" | "ComfyUI" | "SwarmUI" | "Fooocus" => {
            Some(Convention::KDiffusion)
        }
        _ => None,
    }
}

/// A name from a file may be endless.
fn short(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_of_other_programs_are_known() {
        use SamplerKind::*;
        let karras = Some(ScheduleKind::Karras);
        let cases = [
            ("Euler a", EulerAncestral, None),
            ("euler_ancestral", EulerAncestral, None),
            ("k_euler_ancestral", EulerAncestral, None),
            ("euler_a", EulerAncestral, None),
            ("k_euler", Euler, None),
            ("euler_k", Euler, karras),
            ("DPM++ 2M Karras", DpmPp2M, karras),
            ("dpmpp_2m_k", DpmPp2M, karras),
            ("sample_dpmpp_2m", DpmPp2M, None),
            ("k_heun", Heun, None),
            ("k_lms", Lms, None),
            ("dpmpp_2m_sde_gpu", DpmPp2MSde, None),
            ("UniPC", UniPc, None),
            ("ddim_v3", Ddim, None),
            ("ddim", Ddim, None),
        ];
        for (name, kind, schedule) in cases {
            assert_eq!(sampler(name), Some((kind, schedule)), "{name}");
        }
        for name in ["", "k_", "_k", "Restart", "DPM fast", "k_dpm_adaptive"] {
            assert_eq!(sampler(name), None, "{name}");
        }
    }

    #[test]
    fn schedules_of_other_programs_are_known() {
        use ScheduleKind::*;
        assert_eq!(
            schedule("Automatic", Some(SamplerKind::DpmPp2M)),
            Some(Karras)
        );
        assert_eq!(
            schedule("Automatic", Some(SamplerKind::Euler)),
            Some(Normal)
        );
        assert_eq!(schedule("karras", None), Some(Karras));
        assert_eq!(schedule("Uniform", None), Some(Normal));
        assert_eq!(schedule("native", None), Some(Normal));
        assert_eq!(schedule("SGM Uniform", None), Some(SgmUniform));
        assert_eq!(schedule("Align Your Steps", None), None);
    }
}
