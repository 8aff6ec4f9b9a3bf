//! What other programs can do and we cannot yet: said, so that nobody wonders why a picture differs.

use diptych_inference::engine::{Hires, HiresUpscaler};
use diptych_inference::formats::metadata::PictureInfo;

use diptych_inference::text::prompt::{PromptSyntax, split_lora_tags};

use super::{Against, Recalled};

/// What of a prompt is read otherwise.
pub(super) fn prompt(recalled: &mut Recalled, info: &PictureInfo) {
    let texts = [&info.prompt, &info.negative_prompt];
    let has = |sign: &str| {
        texts
            .iter()
            .any(|text| text.as_deref().is_some_and(|t| t.contains(sign)))
    };
    if has("embedding:") || info.extra.contains_key("TI hashes") {
        recalled.note("Embeddings named in the prompt are used where files of their names are among your models; else their names are read as words");
    }
    let invoke = info.software.as_deref() == Some("InvokeAI");
    if invoke && (has("++") || has("--") || has(".and(") || has(".blend(") || has(".swap(")) {
        recalled
            .note("InvokeAI's own signs for weights and blends in the prompt are read as words");
    }
}

/// LoRAs that the prompts name and that are not here.
pub(super) fn loras(recalled: &mut Recalled, against: &Against<'_>) {
    let prompts = [recalled.prompt.clone(), recalled.negative.clone()];
    for prompt in prompts.into_iter().flatten() {
        for (name, _) in split_lora_tags(&prompt, PromptSyntax::A1111).1 {
            if !against.loras.contains(&name) {
                recalled.note(format!(
                    "The LoRA '{name}' was not found; add its file in Models, or take its tag out of the prompt"
                ));
            }
        }
    }
    let chosen = recalled.loras.clone().unwrap_or_default();
    for lora in chosen {
        let name = lora.model.name;
        if !against.loras.contains(&name) {
            recalled.note(format!(
                "The LoRA '{name}' was not found; add its file in Models, or take it out of the list"
            ));
        }
    }
}

/// What is done to pictures beside drawing them.
pub(super) fn rest(recalled: &mut Recalled, info: &PictureInfo) {
    let get = |key: &str| info.extra.get(key).map(|value| short(value));
    let any = |start: &str| info.extra.keys().any(|key| key.starts_with(start));
    let hires = any("Hires") || info.extra.contains_key("First pass size");
    if hires {
        second_pass(recalled, info);
    }
    if let Some(strength) = get("Denoising strength").filter(|_| !hires) {
        recalled.note(format!(
            "It was drawn over another picture (denoising strength {strength}), which it does not carry; choose one to begin from"
        ));
    }
    if let Some(vae) = get("VAE") {
        recalled.note(format!(
            "It used the VAE '{vae}'; the model's own is used unless you choose it"
        ));
    }
    if let Some(refiner) = get("Refiner") {
        recalled.note(format!(
            "It was finished by the refiner '{refiner}', which is not taken over; name its file (on the command line --refiner)"
        ));
    }
    if let Some(skew) = get("ENSD").or_else(|| get("Eta")) {
        recalled.note(format!(
            "Its sampler's noise was changed (eta or ENSD {skew}), which is not there yet"
        ));
    }
    let others = [
        (
            "ControlNet",
            "It was guided by a picture through a ControlNet, which is not kept with it; it is drawn without",
        ),
        (
            "ADetailer",
            "Details were drawn anew (ADetailer), which is not there yet",
        ),
        (
            "Face restoration",
            "Faces were restored, which is not there yet",
        ),
        ("Tiling", "It was drawn to be tiled, which is not there yet"),
        (
            "Dynamic thresholding",
            "Dynamic thresholding is not there yet",
        ),
        (
            "Postprocess upscal",
            "It was made larger afterwards; that can be done again once it is drawn",
        ),
    ];
    for (start, note) in others {
        let on = |value: &String| !matches!(value.as_str(), "False" | "None");
        if info
            .extra
            .iter()
            .any(|(key, value)| key.starts_with(start) && on(value))
        {
            recalled.note(note);
        }
    }
}

/// The second pass of AUTOMATIC1111 (hires fix), as far as it is told.
fn second_pass(recalled: &mut Recalled, info: &PictureInfo) {
    let get = |key: &str| info.extra.get(key).map(|value| short(value));
    let number = |key: &str| get(key)?.parse::<f32>().ok();
    let Some(scale) = number("Hires upscale").filter(|scale| *scale > 1.0 && *scale <= 8.0) else {
        recalled.note("It was enlarged in a second pass (hires fix), but does not tell how far; the first pass was taken over");
        return;
    };
    let strength = number("Denoising strength").filter(|value| *value > 0.0 && *value <= 1.0);
    let steps = get("Hires steps").and_then(|steps| steps.parse::<u32>().ok());
    let upscaler = match get("Hires upscaler").unwrap_or_default() {
        // Its own choice where nothing is said.
        name if name.is_empty() || name.to_lowercase().starts_with("latent") => {
            HiresUpscaler::Latent
        }
        name if name.eq_ignore_ascii_case("lanczos") => HiresUpscaler::Lanczos,
        name => {
            recalled.note(format!(
                "Its second pass (hires fix) was made larger by '{name}'; took Lanczos, choose the upscaler if it is here"
            ));
            HiresUpscaler::Lanczos
        }
    };
    recalled.hires = Some(Some(Hires {
        scale,
        steps: steps.filter(|steps| (1..=1000).contains(steps)),
        strength: strength.unwrap_or(0.7),
        upscaler,
    }));
}

fn short(value: &str) -> String {
    value.chars().take(80).collect()
}
