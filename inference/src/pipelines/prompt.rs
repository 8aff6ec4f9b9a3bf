//! Words to the embeddings that the U-Net is conditioned on.

use std::sync::Arc;

use super::Context;
use super::error::JobError;
use super::image_model::ImageModel;
use super::store::PlanKey;
use crate::diffusion::Convention;
use crate::engine::ImageRequest;
use crate::graph::{HostTensor, PlanId};
use crate::models::ClipText;
use crate::models::unet::AddedConfig;
use crate::text::prompt::{PromptChunk, PromptChunks, PromptSyntax, chunk_prompt, split_lora_tags};

/// What the refiner is told of the prompt's picture and of the negative prompt's, as AUTOMATIC1111, ComfyUI and diffusers tell it.
const AESTHETIC: [f32; 2] = [6.0, 2.5];

/// Embeddings for one picture.
pub struct Conditioning {
    /// 1, or 2 with guidance: negative prompt, then prompt.
    pub batch: usize,
    /// Length in tokens, a multiple of the text encoder's.
    pub length: usize,
    /// `[batch, length, width]`.
    pub embeddings: HostTensor,
    /// What Stable Diffusion XL is told beside: `[batch, width]`.
    pub added: Option<HostTensor>,
    /// What a person should know about the prompts.
    warnings: Vec<String>,
}

/// All that embeddings depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingKey {
    model: String,
    hash: String,
    changes: u64,
    prompt: String,
    /// Where it is used.
    negative_prompt: Option<String>,
    syntax: PromptSyntax,
    clip_skip: u32,
    convention: Convention,
    /// Where the text encoders are told of it.
    size: Option<(u32, u32)>,
}

impl EmbeddingKey {
    fn new(model: &ImageModel, request: &ImageRequest) -> Self {
        Self {
            model: request.model.name.clone(),
            hash: model.hash().to_owned(),
            changes: model.text_changes(),
            prompt: request.prompt.clone(),
            negative_prompt: (request.guidance != 1.0).then(|| request.negative_prompt.clone()),
            syntax: request.prompt_syntax,
            clip_skip: request.clip_skip,
            convention: request.convention,
            size: model.numbers().map(|_| (request.width, request.height)),
        }
    }
}

/// One of the two texts.
struct Text {
    name: &'static str,
    text: String,
    chunks: PromptChunks,
    /// The same for the second text encoder.
    second: Option<PromptChunks>,
    /// Layers left out at the end of the text encoders.
    skipped: usize,
}

/// Encodes prompt and, if guidance is not 1, negative prompt, to one length; prompts that were encoded lately are not encoded again.
///
/// # Errors
/// From tokenizer, text encoder or executor.
pub fn encode(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
) -> Result<Arc<Conditioning>, JobError> {
    let key = EmbeddingKey::new(model, request);
    if let Some(known) = context.store.embeddings(&key) {
        for warning in &known.warnings {
            context.warn(warning.clone());
        }
        return Ok(known);
    }
    let made = Arc::new(encode_anew(context, model, request)?);
    context.store.keep_embeddings(key, Arc::clone(&made));
    Ok(made)
}

fn encode_anew(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
) -> Result<Conditioning, JobError> {
    let mut warnings = Vec::new();
    let tokenizer = model.tokenizer();
    let second = model.second_text();
    let skipped = request.clip_skip.saturating_sub(1) as usize;
    let mut given = Vec::new();
    // A network that is told the guidance needs nothing to be guided away from.
    if request.guidance != 1.0 && model.unet().config().guidance_features.is_none() {
        // diffusers reads the negative prompt with all layers, whatever is skipped for the prompt.
        let whole = request.convention == Convention::Diffusers;
        let skipped = if whole { 0 } else { skipped };
        given.push(("negative prompt", &request.negative_prompt, skipped));
    }
    given.push(("prompt", &request.prompt, skipped));
    let mut texts = Vec::new();
    for (name, text, skipped) in given {
        // What the tags mean was taken care of with the model.
        let (text, _) = split_lora_tags(text, request.prompt_syntax);
        let mut chunks = chunk_prompt(&text, request.prompt_syntax, tokenizer)?;
        for warning in std::mem::take(&mut chunks.warnings) {
            let warning = format!("{name}: {warning}");
            context.warn(warning.clone());
            warnings.push(warning);
        }
        let second = match second {
            Some(second) => Some(chunk_prompt(
                &text,
                request.prompt_syntax,
                &second.tokenizer,
            )?),
            None => None,
        };
        texts.push(Text {
            name,
            text,
            chunks,
            second,
            skipped,
        });
    }
    let count = |text: &Text| {
        let second = text.second.as_ref().map_or(0, |chunks| chunks.chunks.len());
        text.chunks.chunks.len().max(second)
    };
    let most = texts.iter().map(count).max().unwrap_or(1);
    let (mut embeddings, mut added) = (Vec::new(), Vec::new());
    let batch = texts.len();
    for mut text in texts {
        text.chunks.pad_to(most, tokenizer);
        if let (Some(second), Some(chunks)) = (second, &mut text.second) {
            chunks.pad_to(most, &second.tokenizer);
        }
        let Some(numbers) = model.numbers() else {
            embeddings.append(&mut encode_chunks(context, model, request, &text)?);
            continue;
        };
        let (mut states, mut pooled) = encode_pooled(context, model, request, &text)?;
        let negative = text.name == "negative prompt";
        if negative && text.text.trim().is_empty() && second.is_some() {
            // As AUTOMATIC1111 and diffusers: an empty negative prompt is nothing at all to this family.
            states.fill(0.0);
            pooled.fill(0.0);
        }
        embeddings.append(&mut states);
        added.append(&mut pooled);
        let (width, height) = (request.width as f32, request.height as f32);
        let told: &[f32] = if numbers == AddedConfig::NUMBERS {
            // Original size, corner of the crop, size wanted.
            &[height, width, 0.0, 0.0, height, width]
        } else {
            // The refiner is told how beautiful the picture is, in place of the size wanted.
            let score = AESTHETIC[usize::from(negative)];
            &[height, width, 0.0, 0.0, score]
        };
        added.append(&mut model.unet().number_features(told));
    }
    let length = most * tokenizer.max_length();
    let width = model.unet().config().cross_attention_dim;
    let added = model
        .unet()
        .config()
        .added
        .map(|config| HostTensor::f32([batch, config.width], added));
    Ok(Conditioning {
        batch,
        length,
        embeddings: HostTensor::f32([batch, length, width], embeddings),
        added,
        warnings,
    })
}

/// Encodes each sequence by itself and joins them, as AUTOMATIC1111 does.
fn encode_chunks(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    text: &Text,
) -> Result<Vec<f32>, JobError> {
    let encoder = model.text_encoder();
    let mut joined = Vec::new();
    for chunk in &text.chunks.chunks {
        let length = chunk.ids.len();
        let key = PlanKey::Encode(1, length, text.skipped);
        let name = &request.model.name;
        let plan = context.store.plan(name, model.text_changes(), key, || {
            Ok(encoder.graph(1, length, text.skipped)?)
        })?;
        let mut output = run(context, plan, encoder, chunk)?;
        joined.append(&mut output.next().unwrap_or_default());
    }
    Ok(joined)
}

/// Stable Diffusion XL: for each token the states of both encoders (in the refiner of its only one) before their last layers, side by side; and the pooled
/// text of the last encoder, of the first sequence.
fn encode_pooled(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    text: &Text,
) -> Result<(Vec<f32>, Vec<f32>), JobError> {
    let (mut joined, mut pooled) = (Vec::new(), None);
    let name = &request.model.name;
    let left_out = text.skipped + 1;
    let second = model.second_text().zip(text.second.as_ref());
    for (place, chunk) in text.chunks.chunks.iter().enumerate() {
        let mut encoders = vec![(model.text_encoder(), chunk)];
        if let Some((second, chunks)) = second
            && let Some(chunk) = chunks.chunks.get(place)
        {
            encoders.push((&second.encoder, chunk));
        }
        let last = encoders.len() - 1;
        let mut halves = Vec::new();
        for (which, (encoder, chunk)) in encoders.into_iter().enumerate() {
            let length = chunk.ids.len();
            let key = match which {
                0 => PlanKey::EncodeFirst(length, left_out),
                _ => PlanKey::EncodeSecond(length, left_out),
            };
            let plan = context.store.plan(name, model.text_changes(), key, || {
                Ok(encoder.hidden_graph(1, length, left_out)?)
            })?;
            let mut output = run(context, plan, encoder, chunk)?;
            let width = encoder.config().hidden_size;
            halves.push((output.next().unwrap_or_default(), width.max(1)));
            if which == last && pooled.is_none() {
                let states = output.next().unwrap_or_default();
                // Learnt words have the highest ids, and do not end a text.
                let known = encoder.config().vocab_size.saturating_sub(model.learnt());
                let plain = |id: &u32| if (*id as usize) < known { *id } else { 0 };
                let ids: Vec<u32> = chunk.ids.iter().map(plain).collect();
                pooled = encoder.pooled(&ids, &states)?;
            }
        }
        for token in 0..chunk.ids.len() {
            for (states, width) in &halves {
                let row = states.iter().skip(token * width).take(*width);
                joined.extend(row);
            }
        }
    }
    Ok((joined, pooled.unwrap_or_default()))
}

/// Runs a text encoder on one sequence; the first output is weighted as the prompt says.
fn run(
    context: &mut Context<'_>,
    plan: PlanId,
    encoder: &ClipText,
    chunk: &PromptChunk,
) -> Result<impl Iterator<Item = Vec<f32>> + use<>, JobError> {
    let vocabulary = encoder.config().vocab_size as u32;
    if let Some(id) = chunk.ids.iter().find(|&&id| id >= vocabulary) {
        return Err(JobError::Request(format!(
            "the tokenizer makes token {id}, but the text encoder knows only {vocabulary}: the two do not belong together"
        )));
    }
    let inputs = [(
        "ids",
        HostTensor::u32([1, chunk.ids.len()], chunk.ids.clone()),
    )];
    let output = context.store.run(plan, &inputs, &[], context.interrupt)?;
    let mut values: Vec<Vec<f32>> = output.into_iter().map(HostTensor::into_f32).collect();
    if let Some(first) = values.first_mut()
        && chunk.weights.iter().any(|&weight| weight != 1.0)
    {
        weigh(first, chunk);
    }
    Ok(values.into_iter())
}

/// Multiplies each token's embedding by its weight and restores the mean, as AUTOMATIC1111's "Original" emphasis does.
fn weigh(values: &mut [f32], chunk: &PromptChunk) {
    let mean = |values: &[f32]| {
        values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64
    };
    let before = mean(values);
    let width = values.len() / chunk.weights.len().max(1);
    for (token, weight) in values.chunks_mut(width.max(1)).zip(&chunk.weights) {
        token.iter_mut().for_each(|value| *value *= weight);
    }
    let ratio = (before / mean(values)) as f32;
    if ratio.is_finite() {
        values.iter_mut().for_each(|value| *value *= ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_scale_tokens_and_the_mean_stays() {
        let chunk = PromptChunk {
            ids: vec![0, 1],
            weights: vec![1.0, 2.0],
        };
        let mut values = vec![1.0, 3.0, 2.0, 2.0];
        weigh(&mut values, &chunk);
        let mean: f32 = values.iter().sum::<f32>() / 4.0;
        assert!((mean - 2.0).abs() < 1e-6);
        assert!((values[2] / values[0] - 4.0).abs() < 1e-5);
    }
}
