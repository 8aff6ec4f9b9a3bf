//! Pictures that one model begins and another finishes, such as Stable Diffusion XL's base and its refiner.

use super::request::{Branched, ImageRequest, ModelRef};
use crate::diffusion::Convention;
use crate::text::prompt::split_lora_tags;

impl ImageRequest {
    /// This picture, finished by another model on the very latents: from the first step on before which at least the share `at` of the steps
    /// is done (AUTOMATIC1111's "switch at"). What was made for this model alone stays with it: LoRAs, ControlNets and learnt words.
    /// The same picture where no step would be left to either.
    #[must_use]
    pub fn finished_by(self, model: ModelRef, at: f32) -> Self {
        let total = self.steps_to_do();
        let step = (at.clamp(0.0, 1.0) * total as f32).ceil() as u32;
        if step == 0 || step >= total {
            return self;
        }
        let (prompt, _) = split_lora_tags(&self.prompt, self.prompt_syntax);
        let (negative_prompt, _) = split_lora_tags(&self.negative_prompt, self.prompt_syntax);
        let from = Self {
            keep_latents: false,
            preview: false,
            trace: false,
            ..self.clone()
        };
        Self {
            model,
            prompt,
            negative_prompt,
            loras: Vec::new(),
            controls: Vec::new(),
            embeddings: Vec::new(),
            branched: Some(Branched {
                step,
                from: Box::new(from),
            }),
            ..self
        }
    }

    /// Steps that are really done: of a picture to begin from only so many as its strength says.
    fn steps_to_do(&self) -> u32 {
        let Some(init) = &self.init else {
            return self.steps;
        };
        let share = |strength: f32| (f64::from(self.steps) * f64::from(strength)) as u32;
        match self.convention {
            Convention::KDiffusion => (share(init.strength.min(0.999)) + 1).min(self.steps),
            Convention::Diffusers => share(init.strength).min(self.steps),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::{BlobRef, InitPicture};

    #[test]
    fn the_steps_are_shared_out() {
        let base = ImageRequest {
            steps: 30,
            ..ImageRequest::new(ModelRef::named("base"), "a fox <lora:red:0.5>", 64, 64)
        };
        let whole = base.clone().finished_by(ModelRef::named("refiner"), 0.81);
        let branched = whole.branched.as_ref().unwrap();
        assert_eq!((branched.step, &branched.from.model.name[..]), (25, "base"));
        assert_eq!(*branched.from, base);
        assert_eq!(
            (&whole.model.name[..], &whole.prompt[..]),
            ("refiner", "a fox ")
        );
        for at in [0.0, 1.0, 0.99, f32::NAN] {
            let same = base.clone().finished_by(ModelRef::named("refiner"), at);
            assert_eq!(same, base, "{at}");
        }
        let init = InitPicture {
            picture: BlobRef("a".into()),
            strength: 0.5,
            mask: None,
        };
        let over = ImageRequest {
            init: Some(init),
            ..base
        };
        let whole = over.finished_by(ModelRef::named("refiner"), 0.5);
        assert_eq!(whole.branched.unwrap().step, 8);
    }
}
