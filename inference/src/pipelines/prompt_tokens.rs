//! How long a prompt is for a model that draws: told without opening its weights.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::JobError;
use super::image_model;
use crate::text::prompt::schedule::schedule;
use crate::text::prompt::{PromptSyntax, chunk_prompt, split_lora_tags};
use crate::text::tokenizer::ClipTokenizer;

/// Steps for which prompts that change on the way are read; which texts they have does not depend on it, but for the shortest ways.
const STEPS: u32 = 100;

/// Tokenizers of models that draw, by where the models lie.
#[derive(Default)]
pub struct PromptTokenizers(HashMap<PathBuf, Arc<ClipTokenizer>>);

impl PromptTokenizers {
    /// Tokens of a prompt in AUTOMATIC1111's syntax, of the longest text where it changes on the way, and how many the text encoder reads at once.
    ///
    /// # Errors
    /// If the model's files or the tokenizer cannot be read, or the prompt is too long.
    pub fn count(
        &mut self,
        path: &Path,
        assets: &Path,
        prompt: &str,
    ) -> Result<(u32, u32), JobError> {
        let tokenizer = match self.0.get(path) {
            Some(known) => Arc::clone(known),
            None => {
                let made = Arc::new(image_model::tokenizer_at(path, assets)?);
                self.0.insert(path.to_owned(), Arc::clone(&made));
                made
            }
        };
        let (bare, _) = split_lora_tags(prompt, PromptSyntax::A1111);
        let mut longest = 0;
        for text in schedule(&bare, STEPS).texts {
            let chunks = chunk_prompt(&text, PromptSyntax::A1111, &tokenizer)?;
            longest = longest.max(chunks.token_count);
        }
        Ok((longest as u32, tokenizer.chunk_length() as u32))
    }
}
