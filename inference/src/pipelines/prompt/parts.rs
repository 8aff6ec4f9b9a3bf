//! Prompts that are several, joined by `AND`: how many rows the network is asked about, and how much each counts.

use crate::engine::ImageRequest;
use crate::pipelines::JobError;
use crate::pipelines::image_model::ImageModel;
use crate::text::prompt::compose::subprompts;
use crate::text::prompt::{PromptSyntax, split_lora_tags};

/// Most parts of a prompt that are joined by `AND`; each costs an evaluation of the network in every step.
const MOST_PARTS: usize = 16;

/// A prompt's parts that are joined by `AND`, where it is read so.
pub(super) fn parts(prompt: &str, syntax: PromptSyntax) -> Vec<(&str, f32)> {
    match syntax {
        PromptSyntax::A1111 => subprompts(prompt),
        PromptSyntax::None | PromptSyntax::ComfyUi => vec![(prompt, 1.0)],
    }
}

/// Whether the negative prompt is used: parts are counted from there, however large the guidance is.
pub fn is_guided(request: &ImageRequest) -> bool {
    let (prompt, _) = split_lora_tags(&request.prompt, request.prompt_syntax);
    let parts = parts(&prompt, request.prompt_syntax);
    request.guidance != 1.0 || parts.len() > 1 || parts.iter().any(|(_, weight)| *weight != 1.0)
}

/// How many rows the network is asked about in each evaluation.
pub fn rows(model: &ImageModel, request: &ImageRequest) -> usize {
    let (prompt, _) = split_lora_tags(&request.prompt, request.prompt_syntax);
    let told = model.unet().config().guidance_features.is_some();
    usize::from(is_guided(request) && !told) + parts(&prompt, request.prompt_syntax).len()
}

/// How much each part of a prompt counts, on the way to another prompt of as many parts.
pub(super) fn part_weights(
    model: &ImageModel,
    here: &[(&str, f32)],
    there: Option<&[(&str, f32)]>,
    request: &ImageRequest,
) -> Result<Vec<f32>, JobError> {
    let wrong = |message: String| Err(JobError::Request(message));
    if here.len() > MOST_PARTS {
        return wrong(format!(
            "the prompt has {} parts joined by AND; at most {MOST_PARTS} can be drawn together",
            here.len()
        ));
    }
    if here.len() > 1 && model.unet().config().guidance_features.is_some() {
        return wrong(
            "this model is told the guidance (LCM) and draws one prompt at a time; leave out AND"
                .into(),
        );
    }
    let Some(there) = there else {
        return Ok(here.iter().map(|(_, weight)| *weight).collect());
    };
    if here.len() != there.len() {
        return wrong(format!(
            "the two prompts have {} and {} parts joined by AND; there is a way only between as many",
            here.len(),
            there.len()
        ));
    }
    let amount = request.toward.as_ref().map_or(0.0, |toward| toward.amount);
    let pairs = here.iter().zip(there);
    Ok(pairs.map(|((_, a), (_, b))| a + (b - a) * amount).collect())
}
