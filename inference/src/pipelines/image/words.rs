//! Learnt words in a job: which of those that are known the prompts name.

use super::ImageJob;
use crate::engine::ModelRef;
use crate::formats::detect::ModelKind;
use crate::pipelines::image_model::ImageModel;
use crate::pipelines::{Context, JobError};
use crate::text::prompt::PromptSyntax;
use crate::text::tokenizer::find_word;

impl ImageJob {
    /// The learnt words that the prompts name: those that the request lists, and where prompts are read as AUTOMATIC1111 reads them all that
    /// are known.
    ///
    /// # Errors
    /// A listed one that is unknown, faulty, or made for another model.
    pub(super) fn words(
        &self,
        context: &mut Context<'_>,
        model: &ImageModel,
    ) -> Result<Vec<ModelRef>, JobError> {
        let request = &self.request;
        let there = request.toward.as_ref();
        let prompts: Vec<&String> = [&request.prompt, &request.negative_prompt]
            .into_iter()
            .chain(there.map(|there| &there.prompt))
            .chain(there.map(|there| &there.negative_prompt))
            .collect();
        let named = |name: &str| {
            let word = name.to_lowercase();
            prompts.iter().any(|text| find_word(text, &word).is_some())
        };
        let mut words = Vec::new();
        for listed in &request.embeddings {
            let word = context.store.embedding(listed)?;
            model.check_word(&listed.name, &word)?;
            if named(&listed.name) {
                words.push(listed.clone());
            } else {
                context.warn(format!(
                    "the embedding '{0}' does nothing: no prompt names it; write {0} where it is to stand",
                    listed.name
                ));
            }
        }
        if request.prompt_syntax != PromptSyntax::A1111 {
            return Ok(words);
        }
        for name in context.store.known(ModelKind::Embedding) {
            if words.iter().any(|word| word.name == name) || !named(&name) {
                continue;
            }
            let found = ModelRef::named(name.as_str());
            let fits = context
                .store
                .embedding(&found)
                .and_then(|word| model.check_word(&name, &word));
            match fits {
                Ok(()) => words.push(found),
                Err(error) => context.warn(format!("'{name}' is read as plain words: {error}")),
            }
        }
        Ok(words)
    }
}
