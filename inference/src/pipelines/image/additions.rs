//! What is added to a picture's model: which LoRAs, and whether the files are those that the request was made with.

use super::ImageJob;
use crate::engine::{ImageRequest, LoraUse, ModelRef};
use crate::pipelines::sound::{self, Suspects};
use crate::pipelines::{Context, JobError};
use crate::text::prompt::split_lora_tags;

/// The LoRAs that a request lists and those that its prompt names. On the way to another picture those of both prompts, each by as much of its weight as
/// there is of its end.
pub(super) fn loras(request: &ImageRequest) -> Vec<LoraUse> {
    let mut uses = request.loras.clone();
    let tags = |prompt: &str| split_lora_tags(prompt, request.prompt_syntax).1;
    let here = tags(&request.prompt);
    let named = match &request.toward {
        None => here,
        Some(toward) => between(here, tags(&toward.prompt), toward.amount),
    };
    uses.extend(named.into_iter().map(|(name, weight)| LoraUse {
        model: ModelRef::named(name),
        weight,
    }));
    uses
}

/// Names with weights between two ends: what is missing at one has the weight 0 there.
fn between(here: Vec<(String, f32)>, there: Vec<(String, f32)>, amount: f32) -> Vec<(String, f32)> {
    if here == there {
        return here;
    }
    let mut between: Vec<(String, f32)> = here
        .into_iter()
        .map(|(name, weight)| (name, weight * (1.0 - amount)))
        .collect();
    for (name, weight) in there {
        match between.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += weight * amount,
            None => between.push((name, weight * amount)),
        }
    }
    between
}

/// What changes a model, by names alone: whether a file is another by now is seen from the file.
pub(super) fn by_name(
    mut uses: Vec<LoraUse>,
    vae: Option<&ModelRef>,
    words: &[ModelRef],
) -> (Vec<LoraUse>, Option<ModelRef>, Vec<ModelRef>) {
    let plain = |model: &ModelRef| ModelRef::named(model.name.as_str());
    for lora in &mut uses {
        lora.model.hash = None;
    }
    (uses, vae.map(plain), words.iter().map(plain).collect())
}

impl ImageJob {
    /// Writes the hashes of LoRAs, autoencoder and learnt words into the request, and warns of those that it was made with another of.
    ///
    /// # Errors
    /// Files that are unknown or cannot be read.
    pub(super) fn note_additions(&mut self, context: &mut Context<'_>) -> Result<(), JobError> {
        let ImageRequest {
            loras,
            vae,
            embeddings,
            ..
        } = &mut self.request;
        let loras = loras.iter_mut().filter(|lora| lora.weight != 0.0);
        let models = loras
            .map(|lora| ("LoRA", &mut lora.model))
            .chain(vae.iter_mut().map(|vae| ("VAE", vae)))
            .chain(embeddings.iter_mut().map(|word| ("embedding", word)));
        for (what, model) in models {
            let Context {
                store, interrupt, ..
            } = &mut *context;
            let hash = store.addition_hash(model, &mut || interrupt.poll())?;
            if let Some(wanted) = model.hash.as_ref().filter(|wanted| **wanted != hash) {
                context.warn(format!(
                    "the request was made with another {what} '{}' (hash {wanted}, here {hash}); the picture will differ",
                    model.name
                ));
            }
            model.hash = Some(hash);
        }
        Ok(())
    }
}

impl ImageJob {
    /// An error, with what is to blame for it where a network made what are no numbers.
    pub(super) fn explained(&self, context: &mut Context<'_>, error: JobError) -> JobError {
        let guides = self.guides.iter().flat_map(|guides| guides.iter());
        let suspects = Suspects {
            request: &self.request,
            loras: loras(&self.request),
            model: self.model.as_deref(),
            nets: guides
                .map(|guide| (guide.name(), guide.net().weights()))
                .collect(),
        };
        sound::explained(context, &suspects, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Toward;
    use crate::text::prompt::PromptSyntax;

    #[test]
    fn loras_of_both_ends_count_as_much_as_there_is_of_each() {
        let weights = |prompt: &str, other: &str, amount: f32| -> Vec<(String, f32)> {
            let mut request = ImageRequest::new(ModelRef::named("m"), prompt, 64, 64);
            request.prompt_syntax = PromptSyntax::A1111;
            request.toward = Some(Toward {
                prompt: other.into(),
                negative_prompt: String::new(),
                seed: 1,
                amount,
            });
            let uses = loras(&request).into_iter();
            uses.map(|lora| (lora.model.name, lora.weight)).collect()
        };
        let of = |pairs: &[(&str, f32)]| -> Vec<(String, f32)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, weight)| ((*name).to_owned(), *weight))
                .collect()
        };
        let (a, b) = ("a fox <lora:ink:0.8>", "a cat <lora:ink:0.4> <lora:oil:1>");
        assert_eq!(weights(a, b, 0.0), of(&[("ink", 0.8), ("oil", 0.0)]));
        assert_eq!(weights(a, b, 0.5), of(&[("ink", 0.6), ("oil", 0.5)]));
        assert_eq!(weights(a, b, 1.0), of(&[("ink", 0.4), ("oil", 1.0)]));
        assert_eq!(weights("a", b, 0.25), of(&[("ink", 0.1), ("oil", 0.25)]));
        assert_eq!(weights(a, a, 0.3), of(&[("ink", 0.8)]));
    }
}
