//! The random numbers of other programs, and the settings that AUTOMATIC1111's text has among its further pairs.

use diptych_inference::diffusion::NoiseSource;
use diptych_inference::engine::Variation;
use diptych_inference::formats::metadata::PictureInfo;
use diptych_inference::text::prompt::{Emphasis, PromptSyntax};

use super::Recalled;

/// Layers that can be skipped.
const SKIPPED: std::ops::RangeInclusive<u32> = 1..=12;

/// Takes over how the seed becomes noise.
pub(super) fn take(recalled: &mut Recalled, info: &PictureInfo) {
    let extra = |key: &str| info.extra.get(key).map(String::as_str);
    let web_ui = matches!(
        info.software.as_deref(),
        Some("AUTOMATIC1111" | "Forge" | "SD.Next")
    );
    let source = match extra("RNG") {
        Some(name) => NoiseSource::parse(name).ok(),
        // Without a word the web UI draws its noise on the graphics card, as torch does on CUDA.
        None if web_ui => Some(NoiseSource::Philox),
        None => Some(NoiseSource::Cpu),
    };
    match source {
        Some(source) => recalled.noise_source = Some(source),
        None => recalled.note(
            "Its noise was drawn in a way that is not there yet; the same seed gives another picture",
        ),
    }
    let seed = extra("Variation seed").and_then(|text| text.parse().ok());
    let strength: Option<f32> = extra("Variation seed strength")
        .and_then(|text| text.parse().ok())
        .filter(|strength| (0.0..=1.0).contains(strength));
    recalled.variation = Some(match (seed, strength) {
        (Some(seed), Some(strength)) if strength > 0.0 => Some(Variation { seed, strength }),
        _ => None,
    });
}

/// Takes over how the prompts are read and what weights in them do.
pub(super) fn take_emphasis(recalled: &mut Recalled, info: &PictureInfo) {
    if info.software.as_deref() == Some("ComfyUI") {
        recalled.prompt_syntax = Some(PromptSyntax::ComfyUi);
        recalled.emphasis = Some(Emphasis::ComfyUi);
        return;
    }
    let (syntax, emphasis) = match info.extra.get("Emphasis").map(String::as_str) {
        None | Some("Original") => (PromptSyntax::A1111, Emphasis::Original),
        Some("No norm") => (PromptSyntax::A1111, Emphasis::NoNorm),
        Some("ComfyUI") => (PromptSyntax::A1111, Emphasis::ComfyUi),
        // Brackets are text there.
        Some("None") => (PromptSyntax::None, Emphasis::Original),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            recalled.note(format!(
                "Its weights were read in a way that is not there yet (emphasis {other}); they count as usual"
            ));
            (PromptSyntax::A1111, Emphasis::Original)
        }
    };
    recalled.prompt_syntax = Some(syntax);
    recalled.emphasis = Some(emphasis);
}

/// Takes over what belongs to drawing itself.
pub(super) fn take_rest(recalled: &mut Recalled, info: &PictureInfo) {
    let number = |key: &str| info.extra.get(key).map(String::as_str);
    let layers = number("Clip skip").map(str::parse::<u32>);
    recalled.clip_skip = Some(match layers {
        None => 1,
        Some(Ok(layers)) if SKIPPED.contains(&layers) => layers,
        Some(_) => {
            recalled.note("Its clip skip cannot be used; the text encoder's last layer is read");
            1
        }
    });
    let rescale = number("CFG Rescale").and_then(|text| text.parse().ok());
    let rescale: Option<f32> = rescale.filter(|value| (0.0..=1.0).contains(value));
    recalled.guidance_rescale = Some(rescale.unwrap_or(0.0));
}
