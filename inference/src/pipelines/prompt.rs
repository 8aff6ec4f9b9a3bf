//! Words to the embeddings that the U-Net is conditioned on.

use super::Context;
use super::error::JobError;
use super::image_model::ImageModel;
use super::store::PlanKey;
use crate::diffusion::Convention;
use crate::engine::ImageRequest;
use crate::graph::HostTensor;
use crate::text::prompt::{PromptChunk, PromptChunks, chunk_prompt, split_lora_tags};

/// Embeddings for one picture.
pub struct Conditioning {
    /// 1, or 2 with guidance: negative prompt, then prompt.
    pub batch: usize,
    /// Length in tokens, a multiple of the text encoder's.
    pub length: usize,
    /// `[batch, length, width]`.
    pub embeddings: HostTensor,
}

/// Encodes prompt and, if guidance is not 1, negative prompt, to one length.
///
/// # Errors
/// From tokenizer, text encoder or executor.
pub fn encode(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
) -> Result<Conditioning, JobError> {
    let tokenizer = model.tokenizer();
    let mut prompts = Vec::new();
    let syntax = request.prompt_syntax;
    // What the tags mean was taken care of with the model.
    let (prompt, _) = split_lora_tags(&request.prompt, syntax);
    let (negative, _) = split_lora_tags(&request.negative_prompt, syntax);
    if request.guidance != 1.0 {
        let chunks = chunk_prompt(&negative, syntax, tokenizer)?;
        prompts.push(("negative prompt", chunks));
    }
    prompts.push(("prompt", chunk_prompt(&prompt, syntax, tokenizer)?));
    let most = prompts
        .iter()
        .map(|(_, prompt)| prompt.chunks.len())
        .max()
        .unwrap_or(1);
    let mut embeddings = Vec::new();
    let batch = prompts.len();
    for (name, mut chunks) in prompts {
        for warning in std::mem::take(&mut chunks.warnings) {
            context.warn(format!("{name}: {warning}"));
        }
        chunks.pad_to(most, tokenizer);
        // diffusers reads the negative prompt with all layers, whatever is skipped for the prompt.
        let whole = name == "negative prompt" && request.convention == Convention::Diffusers;
        let skipped = if whole {
            0
        } else {
            request.clip_skip.saturating_sub(1) as usize
        };
        embeddings.append(&mut encode_chunks(
            context, model, request, &chunks, skipped,
        )?);
    }
    let length = most * tokenizer.max_length();
    let width = model.text_encoder().config().hidden_size;
    Ok(Conditioning {
        batch,
        length,
        embeddings: HostTensor::f32([batch, length, width], embeddings),
    })
}

/// Encodes each sequence by itself and joins them, as AUTOMATIC1111 does.
fn encode_chunks(
    context: &mut Context<'_>,
    model: &ImageModel,
    request: &ImageRequest,
    chunks: &PromptChunks,
    skipped: usize,
) -> Result<Vec<f32>, JobError> {
    let encoder = model.text_encoder();
    let mut joined = Vec::new();
    for chunk in &chunks.chunks {
        let length = chunk.ids.len();
        let key = PlanKey::Encode(1, length, skipped);
        let name = &request.model.name;
        let plan = context.store.plan(name, model.changes(), key, || {
            Ok(encoder.graph(1, length, skipped)?)
        })?;
        let vocabulary = encoder.config().vocab_size as u32;
        if let Some(id) = chunk.ids.iter().find(|&&id| id >= vocabulary) {
            return Err(JobError::Request(format!(
                "the tokenizer makes token {id}, but the text encoder knows only {vocabulary}: the two do not belong together"
            )));
        }
        let inputs = [("ids", HostTensor::u32([1, length], chunk.ids.clone()))];
        let output = context.store.run(plan, &inputs, &[], context.interrupt)?;
        let mut values = output
            .into_iter()
            .next()
            .map(HostTensor::into_f32)
            .unwrap_or_default();
        if chunk.weights.iter().any(|&weight| weight != 1.0) {
            weigh(&mut values, chunk);
        }
        joined.append(&mut values);
    }
    Ok(joined)
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
