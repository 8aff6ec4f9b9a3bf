//! How the weight of a token counts in its embedding: from nothing, from an empty prompt, or with the mean kept.

use crate::text::prompt::PromptChunk;

/// Moves each token's embedding away from that of an empty prompt, as far as its weight says.
pub(super) fn weigh_from(values: &mut [f32], chunk: &PromptChunk, nothing: &[f32]) {
    let width = (values.len() / chunk.weights.len().max(1)).max(1);
    let tokens = values.chunks_mut(width).zip(nothing.chunks(width));
    for ((token, nothing), weight) in tokens.zip(&chunk.weights) {
        if *weight != 1.0 {
            for (value, nothing) in token.iter_mut().zip(nothing) {
                *value = (*value - nothing) * weight + nothing;
            }
        }
    }
}

/// Multiplies each token's embedding by its weight.
pub(super) fn multiply(values: &mut [f32], chunk: &PromptChunk) {
    let width = values.len() / chunk.weights.len().max(1);
    for (token, weight) in values.chunks_mut(width.max(1)).zip(&chunk.weights) {
        token.iter_mut().for_each(|value| *value *= weight);
    }
}

/// Multiplies each token's embedding by its weight and restores the mean, as AUTOMATIC1111's "Original" emphasis does.
pub(super) fn weigh(values: &mut [f32], chunk: &PromptChunk) {
    let mean = |values: &[f32]| {
        values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64
    };
    let before = mean(values);
    multiply(values, chunk);
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

    #[test]
    fn weights_count_from_an_empty_prompt() {
        let chunk = PromptChunk {
            ids: vec![0, 1, 2],
            weights: vec![1.0, 2.0, 0.0],
        };
        let mut values = vec![1.0, 3.0, 2.0, 2.0, 5.0, 5.0];
        weigh_from(&mut values, &chunk, &[9.0, 9.0, 1.0, 0.0, 4.0, 3.0]);
        assert_eq!(values, [1.0, 3.0, 3.0, 4.0, 4.0, 3.0]);
        multiply(&mut values, &chunk);
        assert_eq!(values, [1.0, 3.0, 6.0, 8.0, 0.0, 0.0]);
    }
}
