//! Pictures and jobs in words.

use diptych_inference::engine::{HiresUpscaler, ImageRequest, Preprocessor};
use egui::{Sense, Ui};

use crate::library::records::{Origin, PictureRecord};
use crate::library::time;
use crate::studio::create::kinds;
use crate::studio::gallery::Item;
use crate::studio::queue::{Stage, Task};
use crate::theme;
use crate::widgets::pictures::PictureSource;
pub use crate::words::{bytes, seconds};

/// Where the window takes a picture from.
pub fn source(item: &Item) -> Option<PictureSource> {
    match &item.memory {
        Some(picture) => Some(PictureSource::memory(picture)),
        None if item.record.path.as_os_str().is_empty() => None,
        None => Some(PictureSource::file(&item.record.path)),
    }
}

/// `64 × 64 · seed 12 · 20 steps · DPM++ 2M · sketch`.
pub fn plan(request: &ImageRequest) -> String {
    [
        format!("{} × {}", request.width, request.height),
        format!("seed {}", request.seed),
        format!("{} steps", request.steps),
        request.sampler.label().to_owned(),
        request.model.name.clone(),
    ]
    .join("  ·  ")
}

/// `64 × 64 · 20 steps · DPM++ 2M · seed 12 · sketch · 3.2 s`.
pub fn line(record: &PictureRecord) -> String {
    let request = &record.request;
    let size = format!("{} × {}", record.width, record.height);
    if let Some(from @ Origin::Enlarged { .. }) = &record.origin {
        return [size, origin(from), seconds(record.seconds)].join("  ·  ");
    }
    [
        size,
        format!("seed {}", request.seed),
        format!("{} steps", request.steps),
        request.sampler.label().to_owned(),
        request.model.name.clone(),
        seconds(record.seconds),
    ]
    .join("  ·  ")
}

/// What a picture shows and how it came about, for screen readers and tooltips.
pub fn name(item: &Item) -> String {
    let request = &item.record.request;
    let prompt = short(&request.prompt, 80);
    let mut name = format!("{prompt}, seed {}", request.seed);
    if item.record.favourite {
        name.push_str(", favourite");
    }
    if let Some(from) = &item.record.origin {
        let words = origin(from);
        name.push_str(&format!(", {}", words.to_lowercase()));
    }
    if let Some(done) = item.record.steps_done {
        name.push_str(&format!(
            ", stopped after {done} of {} steps",
            request.steps
        ));
    }
    name
}

/// A field's caption, which screen readers hear from the field itself.
pub fn caption(ui: &mut Ui, words: &str) {
    let tokens = theme::tokens(ui.ctx());
    let font = theme::medium(ui.ctx(), tokens.size.font_caption + 0.5);
    let galley = ui
        .painter()
        .layout_no_wrap(words.to_owned(), font, tokens.text_muted);
    let (rect, _) = ui.allocate_exact_size(galley.size(), Sense::hover());
    ui.painter().galley(rect.min, galley, tokens.text_muted);
}

/// All settings of a request by name.
pub fn settings(request: &ImageRequest) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Size", format!("{} × {}", request.width, request.height)),
        ("Seed", request.seed.to_string()),
        ("Steps", request.steps.to_string()),
        ("Guidance", format!("{}", request.guidance)),
        ("Sampler", request.sampler.label().to_owned()),
        ("Schedule", request.schedule.label().to_owned()),
        ("Convention", request.convention.label().to_owned()),
    ];
    if let Some(spacing) = request.spacing {
        facts.push(("Spacing", spacing.label().to_owned()));
    }
    if request.noise_source != Default::default() {
        facts.push(("Noise", request.noise_source.label().to_owned()));
    }
    if let Some(variation) = request.variation {
        let words = format!("seed {}, strength {}", variation.seed, variation.strength);
        facts.push(("Variation", words));
    }
    if request.guidance_rescale != 0.0 {
        facts.push(("Guidance rescale", request.guidance_rescale.to_string()));
    }
    if request.clip_skip != 1 {
        facts.push(("CLIP skip", request.clip_skip.to_string()));
    }
    for lora in &request.loras {
        facts.push(("LoRA", format!("{} at {}", lora.model.name, lora.weight)));
    }
    if let Some(init) = &request.init {
        facts.push((
            "Start",
            format!("another picture, strength {}", init.strength),
        ));
        if let Some(mask) = &init.mask {
            let mut words = match mask.only_masked {
                Some(padding) => format!("only its part, with {padding} px around it"),
                None => "parts of it".to_owned(),
            };
            if mask.blur > 0.0 {
                words.push_str(&format!(", edge softened by {} px", mask.blur));
            }
            facts.push(("Mask", words));
        }
    }
    for control in &request.controls {
        let mut words = format!("{} at {}", control.model.name, control.weight);
        match control.preprocessor {
            Preprocessor::None => {}
            Preprocessor::Canny { .. } => words.push_str(", by edges"),
            Preprocessor::Invert => words.push_str(", by the negative"),
        }
        if let Some(kind) = control.kind {
            let (kind, _) = kinds::words(kind);
            words.push_str(&format!(", seen as {}", kind.to_lowercase()));
        }
        if (control.start, control.end) != (0.0, 1.0) {
            let (start, end) = (control.start * 100.0, control.end * 100.0);
            words.push_str(&format!(", {start:.0} to {end:.0} % of the steps"));
        }
        facts.push(("ControlNet", words));
    }
    if let Some(hires) = &request.hires {
        let upscaler = match &hires.upscaler {
            HiresUpscaler::Latent => "latents",
            HiresUpscaler::Lanczos => "Lanczos",
            HiresUpscaler::Model(model) => &model.name,
        };
        let mut words = format!(
            "{} times by {upscaler}, strength {}",
            hires.scale, hires.strength
        );
        if let Some(steps) = hires.steps {
            words.push_str(&format!(", {steps} steps"));
        }
        facts.push(("Second pass", words));
    }
    if let Some(template) = &request.template {
        facts.push(("Written as", template.prompt.clone()));
    }
    if let Some(branched) = &request.branched {
        facts.push((
            "Branched",
            format!(
                "after step {} of “{}”",
                branched.step,
                short(&branched.from.prompt, 60)
            ),
        ));
    }
    facts.push(("Model", request.model.name.clone()));
    if let Some(vae) = &request.vae {
        facts.push(("VAE", vae.name.clone()));
    }
    if let Some(hash) = &request.model.hash {
        facts.push(("Model hash", hash.clone()));
    }
    facts
}

/// Where a picture came from, in words.
pub fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Branch { step, .. } => format!("Branched after step {step}"),
        Origin::Enlarged { with, .. } => format!("Made larger with {with}"),
    }
}

/// What is known of a kept picture beside its request.
pub fn circumstances(record: &PictureRecord) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(from) = &record.origin {
        facts.push(("Origin", origin(from)));
        if from.of().is_none() {
            facts.push(("Source", "a picture from elsewhere".to_owned()));
        }
        if matches!(from, Origin::Enlarged { .. }) {
            facts.push((
                "Made larger",
                format!("to {} × {}", record.width, record.height),
            ));
        }
    }
    if let Some(done) = record.steps_done {
        facts.push((
            "Stopped",
            format!("after {done} of {} steps", record.request.steps),
        ));
    }
    facts.push(("Took", seconds(record.seconds)));
    facts.push(("Drawn", time::minute(record.created)));
    if let Some(name) = record.path.file_name() {
        facts.push(("File", name.to_string_lossy().into_owned()));
    }
    facts
}

/// How far a job is.
pub fn progress(task: &Task) -> String {
    let progress = &task.progress;
    // What is made larger is worked at in parts.
    let (unit, each) = match task.is_picture() {
        true => ("Step", "step"),
        false => ("Part", "part"),
    };
    match &task.stage {
        Stage::Running if progress.total == 0 => match task.is_picture() {
            true => "Reading the prompt".to_owned(),
            false => "Beginning".to_owned(),
        },
        Stage::Running => {
            let mut words = format!("{unit} {} of {}", progress.done, progress.total);
            if let Some(step) = progress.step_seconds {
                words.push_str(&format!("  ·  {} a {each}", seconds(step)));
            }
            if let Some(left) = progress.left()
                && progress.done > 0
            {
                words.push_str(&format!("  ·  {} left", seconds(left.as_secs_f32())));
            }
            words
        }
        Stage::Loading { model, bytes } => format!("Loading {model} ({})", self::bytes(*bytes)),
        Stage::Waiting => "Waiting for its turn".to_owned(),
        Stage::Paused => format!("Paused at {each} {} of {}", progress.done, progress.total),
        Stage::Interrupted => "Left from last time".to_owned(),
        Stage::Failed(_) => "Failed".to_owned(),
    }
}

/// The first words of a text, in one line.
pub fn short(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_say_them() {
        assert_eq!(short("a red\n fox", 20), "a red fox");
        assert_eq!(short("a red fox", 6), "a red…");
    }
}
