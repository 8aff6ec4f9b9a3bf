//! The form: all that a person can say about a picture, and what it comes to with a model.

use diptych_inference::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind, Spacing};
use diptych_inference::engine::{Hires, HiresUpscaler, ImageRequest, LoraUse, ModelRef, Variation};
use serde::{Deserialize, Serialize};

use super::control::ControlChoice;
use super::start::Start;
use crate::recall::{GUIDANCE, LONGEST_SIDE, Recalled, STEPS};
use crate::studio::house::House;
use crate::studio::models::Model;

/// Where nobody says anything: what most people draw with.
const USUAL_STEPS: u32 = 20;
const USUAL_GUIDANCE: f32 = 7.0;
const USUAL_SIDE: u32 = 512;
/// Layers of the text encoder that can be the last, counted from its end.
pub const SKIPPED: std::ops::RangeInclusive<u32> = 1..=12;
/// Most pictures of one order.
pub const MOST_PICTURES: u32 = 64;

/// Where the seed comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// A new one for each order.
    #[default]
    Random,
    /// The one in the form.
    Locked,
}

/// Weights of LoRAs that can be chosen.
pub const LORA_WEIGHTS: std::ops::RangeInclusive<f32> = -4.0..=4.0;

/// A LoRA of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraChoice {
    /// Its file.
    pub model: ModelRef,
    /// How much of it is added; 1 is as it was trained.
    pub weight: f32,
    /// Whether it is added at all.
    pub on: bool,
}

/// How often larger the second pass can be.
pub const HIRES_SCALES: std::ops::RangeInclusive<f32> = 1.05..=4.0;
/// Steps of the second pass.
pub const HIRES_STEPS: std::ops::RangeInclusive<u32> = 1..=1000;

/// A second pass, in which what was drawn is made larger and drawn over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecondPass {
    /// Whether there is one.
    pub on: bool,
    /// How often larger.
    pub scale: f32,
    /// Sampler steps of which the strength is a share; as many as in the first pass if there is none.
    pub steps: Option<u32>,
    /// How much of the first pass is given up.
    pub strength: f32,
    /// What makes it larger.
    pub upscaler: HiresUpscaler,
}

impl Default for SecondPass {
    fn default() -> Self {
        Self {
            on: false,
            scale: 2.0,
            steps: None,
            strength: 0.7,
            upscaler: HiresUpscaler::Latent,
        }
    }
}

impl SecondPass {
    /// The request's part.
    fn used(&self) -> Option<Hires> {
        self.on.then(|| Hires {
            scale: self.scale,
            steps: self.steps,
            strength: self.strength,
            upscaler: self.upscaler.clone(),
        })
    }

    /// What a request asked for.
    pub fn of(hires: Option<&Hires>) -> Self {
        let Some(hires) = hires else {
            return Self::default();
        };
        let upscaler = match &hires.upscaler {
            HiresUpscaler::Model(model) => {
                HiresUpscaler::Model(ModelRef::named(model.name.clone()))
            }
            plain => plain.clone(),
        };
        Self {
            on: true,
            scale: hires.scale,
            steps: hires.steps,
            strength: hires.strength,
            upscaler,
        }
    }

    /// The size of the result: what the engine makes of a first pass of this size.
    pub fn size(&self, (width, height): (u32, u32), factor: u32) -> (u32, u32) {
        let factor = factor.max(1);
        let side = |side: u32| ((side as f32 * self.scale) as u32 / factor).max(1) * factor;
        (side(width), side(height))
    }

    fn heal(&mut self) {
        if !HIRES_SCALES.contains(&self.scale) {
            self.scale = 2.0;
        }
        if !(0.01..=1.0).contains(&self.strength) {
            self.strength = 0.7;
        }
        self.steps = self.steps.filter(|steps| HIRES_STEPS.contains(steps));
    }
}

/// All that a person can say about a picture. `None` is the model's own choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Form {
    /// What to draw.
    pub prompt: String,
    /// What to keep out.
    pub negative: String,
    /// The model; `None` is the first that draws.
    pub model: Option<ModelRef>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Sampler steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f32>,
    /// Sampler.
    pub sampler: Option<SamplerKind>,
    /// Schedule.
    pub schedule: Option<ScheduleKind>,
    /// Convention.
    pub convention: Option<Convention>,
    /// Timestep spacing.
    pub spacing: Option<Spacing>,
    /// How much of the spread that guidance adds is taken back.
    pub guidance_rescale: Option<f32>,
    /// Which of the text encoder's layers is the last, counted from its end.
    pub clip_skip: Option<u32>,
    /// Whose random numbers the noise is made of.
    pub noise_source: Option<NoiseSource>,
    /// Another seed mixed in.
    pub variation: Option<Variation>,
    /// LoRAs, added one after the other.
    pub loras: Vec<LoraChoice>,
    /// An autoencoder in place of the model's own.
    pub vae: Option<ModelRef>,
    /// A picture to begin from.
    pub start: Option<Start>,
    /// ControlNets, which guide by pictures.
    pub controls: Vec<ControlChoice>,
    /// A second pass.
    pub second: SecondPass,
    /// Whether every step is kept.
    pub keep_steps: bool,
    /// Where the seed comes from.
    pub seed_mode: SeedMode,
    /// The seed, or the last one.
    pub seed: u64,
    /// Pictures of an order; each has the next seed.
    pub count: u32,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative: String::new(),
            model: None,
            size: None,
            steps: None,
            guidance: None,
            sampler: None,
            schedule: None,
            convention: None,
            spacing: None,
            guidance_rescale: None,
            clip_skip: None,
            noise_source: None,
            variation: None,
            loras: Vec::new(),
            vae: None,
            start: None,
            controls: Vec::new(),
            second: SecondPass::default(),
            keep_steps: false,
            seed_mode: SeedMode::Random,
            seed: 0,
            count: 1,
        }
    }
}

impl Form {
    /// The model that it means: the chosen one, else the first that draws.
    pub fn model<'a>(&self, house: &'a House) -> Option<&'a Model> {
        match &self.model {
            Some(model) => house.shelf.find(model).filter(|model| model.draws()),
            None => house.shelf.drawing().next(),
        }
    }

    /// Width and height: the person's, else the model's; always as the model can draw them.
    pub fn size(&self, model: &Model) -> (u32, u32) {
        let (width, height) = self.size.unwrap_or_else(|| own_size(model));
        let factor = model.size_factor();
        (fit(width, factor), fit(height, factor))
    }

    /// What a seed would be drawn with, without the start picture, which takes time to be made ready; `None` if the engine does
    /// not know the model.
    pub fn request(&self, model: &Model, seed: u64) -> Option<ImageRequest> {
        let own = own_request(model)?;
        let (width, height) = self.size(model);
        let convention = self.convention.unwrap_or(own.convention);
        // A model's own spacing belongs to its own convention.
        let own_spacing = own.spacing.filter(|_| convention == own.convention);
        Some(ImageRequest {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative.clone(),
            width,
            height,
            steps: self
                .steps
                .unwrap_or(own.steps)
                .clamp(*STEPS.start(), *STEPS.end()),
            guidance: self.guidance.unwrap_or(own.guidance),
            sampler: self.sampler.unwrap_or(own.sampler),
            schedule: self.schedule.unwrap_or(own.schedule),
            convention,
            spacing: self.spacing.or(own_spacing),
            guidance_rescale: self.guidance_rescale.unwrap_or(own.guidance_rescale),
            clip_skip: self.clip_skip.unwrap_or(own.clip_skip),
            noise_source: self.noise_source.unwrap_or(own.noise_source),
            variation: self.variation,
            loras: self.loras(),
            vae: self.vae.clone(),
            controls: self
                .controls
                .iter()
                .filter_map(ControlChoice::used)
                .collect(),
            hires: self.second.used(),
            trace: self.keep_steps,
            seed,
            preview: true,
            ..own
        })
    }

    /// The LoRAs that are added.
    fn loras(&self) -> Vec<LoraUse> {
        let used = self
            .loras
            .iter()
            .filter(|lora| lora.on && lora.weight != 0.0);
        used.map(|lora| LoraUse {
            model: lora.model.clone(),
            weight: lora.weight,
        })
        .collect()
    }

    /// The form without what the person changed, apart from prompts, model, LoRAs, pictures, seed and what is kept.
    pub fn reset(&mut self) {
        *self = Self {
            prompt: std::mem::take(&mut self.prompt),
            negative: std::mem::take(&mut self.negative),
            model: self.model.take(),
            loras: std::mem::take(&mut self.loras),
            start: self.start.take(),
            controls: std::mem::take(&mut self.controls),
            keep_steps: self.keep_steps,
            seed_mode: self.seed_mode,
            seed: self.seed,
            ..Self::default()
        };
    }

    /// Whether any setting differs from the model's own.
    pub fn is_changed(&self) -> bool {
        let mut plain = self.clone();
        plain.reset();
        plain != *self
    }

    /// Forgets settings that are the model's own anyway.
    pub fn settle(&mut self, model: &Model) {
        let Some(own) = own_request(model) else {
            return;
        };
        fn forget<T: PartialEq>(setting: &mut Option<T>, own: T) {
            if setting.as_ref() == Some(&own) {
                *setting = None;
            }
        }
        forget(&mut self.size, (own.width, own.height));
        forget(&mut self.steps, own.steps);
        forget(&mut self.guidance, own.guidance);
        forget(&mut self.sampler, own.sampler);
        forget(&mut self.schedule, own.schedule);
        forget(&mut self.guidance_rescale, own.guidance_rescale);
        forget(&mut self.clip_skip, own.clip_skip);
        forget(&mut self.noise_source, own.noise_source);
        self.variation = self.variation.filter(|variation| variation.strength > 0.0);
        if self
            .convention
            .is_none_or(|convention| convention == own.convention)
        {
            self.convention = None;
            if let Some(spacing) = own.spacing {
                forget(&mut self.spacing, spacing);
            }
        }
    }

    /// Takes settings of a picture over. A seed that is taken over is locked; `remix` unlocks it.
    pub fn take(&mut self, recalled: &Recalled, remix: bool) {
        fn set<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        if let Some(prompt) = &recalled.prompt {
            self.prompt.clone_from(prompt);
        }
        if let Some(negative) = &recalled.negative {
            self.negative.clone_from(negative);
        }
        if let Some(model) = &recalled.model {
            self.model = Some(ModelRef::named(model.name.clone()));
        }
        set(&mut self.size, &recalled.size);
        set(&mut self.steps, &recalled.steps);
        set(&mut self.guidance, &recalled.guidance);
        set(&mut self.sampler, &recalled.sampler);
        set(&mut self.schedule, &recalled.schedule);
        set(&mut self.convention, &recalled.convention);
        set(&mut self.guidance_rescale, &recalled.guidance_rescale);
        set(&mut self.clip_skip, &recalled.clip_skip);
        set(&mut self.noise_source, &recalled.noise_source);
        if let Some(variation) = recalled.variation {
            self.variation = variation;
        }
        if let Some(spacing) = recalled.spacing {
            self.spacing = spacing;
        }
        if let Some(loras) = &recalled.loras {
            let choice = |lora: &LoraUse| LoraChoice {
                model: ModelRef::named(lora.model.name.clone()),
                weight: lora.weight,
                on: true,
            };
            self.loras = loras.iter().map(choice).collect();
        }
        if let Some(vae) = &recalled.vae {
            let named = |vae: &ModelRef| ModelRef::named(vae.name.clone());
            self.vae = vae.as_ref().map(named);
        }
        if let Some(init) = &recalled.init {
            self.start = init.as_ref().map(Start::of);
        }
        if let Some(controls) = &recalled.controls {
            self.controls = controls.iter().map(ControlChoice::of).collect();
        }
        if let Some(hires) = &recalled.hires {
            self.second = SecondPass::of(hires.as_ref());
        }
        if let Some(seed) = recalled.seed {
            self.seed = seed;
            self.seed_mode = SeedMode::Locked;
        }
        if remix {
            self.variation = None;
            self.seed_mode = SeedMode::Random;
        }
    }

    /// Mends what an older version or another hand may have written.
    pub fn heal(&mut self) {
        self.count = self.count.clamp(1, MOST_PICTURES);
        self.steps = self
            .steps
            .map(|steps| steps.clamp(*STEPS.start(), *STEPS.end()));
        self.guidance = self.guidance.filter(|guidance| GUIDANCE.contains(guidance));
        self.guidance_rescale = self
            .guidance_rescale
            .filter(|value| (0.0..=1.0).contains(value));
        self.clip_skip = self.clip_skip.filter(|layers| SKIPPED.contains(layers));
        for lora in &mut self.loras {
            if !LORA_WEIGHTS.contains(&lora.weight) {
                lora.weight = 1.0;
            }
        }
        if let Some(start) = &mut self.start {
            start.heal();
        }
        self.controls.iter_mut().for_each(ControlChoice::heal);
        self.second.heal();
        let within = |variation: &Variation| (0.0..=1.0).contains(&variation.strength);
        self.variation = self.variation.filter(within);
    }
}

/// What the model draws where the person says nothing; `None` if the engine does not know it.
pub fn own_request(model: &Model) -> Option<ImageRequest> {
    let defaults = &model.defaults;
    let (width, height) = own_size(model);
    Some(ImageRequest {
        steps: defaults.steps.unwrap_or(USUAL_STEPS),
        guidance: defaults.guidance.unwrap_or(USUAL_GUIDANCE),
        sampler: defaults.sampler.unwrap_or(SamplerKind::DpmPp2M),
        schedule: defaults.schedule.unwrap_or(ScheduleKind::Karras),
        convention: defaults.convention.unwrap_or_default(),
        spacing: defaults.spacing,
        ..ImageRequest::new(model.model.clone()?, "", width, height)
    })
}

fn own_size(model: &Model) -> (u32, u32) {
    let side = model.native_side().unwrap_or(USUAL_SIDE);
    let factor = model.size_factor();
    let of = |wanted: Option<u32>| fit(wanted.unwrap_or(side), factor);
    (of(model.defaults.width), of(model.defaults.height))
}

/// The nearest side that is a multiple of `factor` and can be drawn.
pub fn fit(side: u32, factor: u32) -> u32 {
    let factor = factor.clamp(1, LONGEST_SIDE);
    let nearest = (side.saturating_add(factor / 2) / factor).saturating_mul(factor);
    nearest.clamp(factor, LONGEST_SIDE - LONGEST_SIDE % factor)
}

/// A shape of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aspect {
    /// Its name: `3:2`.
    pub name: &'static str,
    /// Parts of the width.
    pub across: u32,
    /// Parts of the height.
    pub down: u32,
}

/// Shapes to choose from; each can be turned.
pub const ASPECTS: [Aspect; 5] = [
    Aspect {
        name: "1:1",
        across: 1,
        down: 1,
    },
    Aspect {
        name: "4:3",
        across: 4,
        down: 3,
    },
    Aspect {
        name: "3:2",
        across: 3,
        down: 2,
    },
    Aspect {
        name: "16:9",
        across: 16,
        down: 9,
    },
    Aspect {
        name: "21:9",
        across: 21,
        down: 9,
    },
];

impl Aspect {
    /// The size of this shape with about as many pixels as the model's own size has.
    pub fn size(self, model: &Model, upright: bool) -> (u32, u32) {
        let (width, height) = own_size(model);
        let area = f64::from(width) * f64::from(height);
        let ratio = f64::from(self.across) / f64::from(self.down);
        let across = (area * ratio).sqrt();
        let factor = model.size_factor();
        let side = |wanted: f64| fit(wanted.round() as u32, factor);
        let (wide, narrow) = (side(across), side(across / ratio));
        if upright {
            (narrow, wide)
        } else {
            (wide, narrow)
        }
    }

    /// The shape that a size has on this model, if it is one of these.
    pub fn of(size: (u32, u32), model: &Model) -> Option<Self> {
        ASPECTS
            .into_iter()
            .find(|aspect| aspect.size(model, false) == size || aspect.size(model, true) == size)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::defaults::Defaults;
    use std::sync::Arc;

    pub fn model() -> Model {
        Model {
            model: Some(ModelRef::named("sketch")),
            path: "sketch".into(),
            source: String::new(),
            info: None,
            refused: None,
            defaults: Arc::new(Defaults {
                width: Some(64),
                height: Some(64),
                steps: Some(20),
                guidance: Some(4.0),
                spacing: Some(Spacing::Leading),
                ..Defaults::default()
            }),
        }
    }

    #[test]
    fn what_nobody_says_is_the_models_choice() {
        let form = Form {
            prompt: "a fox".into(),
            steps: Some(4),
            ..Form::default()
        };
        let request = form.request(&model(), 7).unwrap();
        assert_eq!((request.width, request.height, request.steps), (64, 64, 4));
        assert_eq!((request.guidance, request.seed), (4.0, 7));
        assert_eq!(request.spacing, Some(Spacing::Leading));
        let form = Form {
            convention: Some(Convention::Diffusers),
            ..form
        };
        assert_eq!(form.request(&model(), 7).unwrap().spacing, None);
    }

    #[test]
    fn what_is_the_models_own_is_no_change() {
        let mut form = Form {
            steps: Some(20),
            guidance: Some(4.0),
            size: Some((64, 64)),
            sampler: Some(SamplerKind::Euler),
            seed_mode: SeedMode::Locked,
            ..Form::default()
        };
        assert!(form.is_changed());
        form.settle(&model());
        assert_eq!((form.steps, form.guidance, form.size), (None, None, None));
        assert!(form.is_changed(), "the sampler is");
        form.reset();
        assert!(!form.is_changed());
        assert_eq!(form.seed_mode, SeedMode::Locked);
    }

    #[test]
    fn shapes_keep_the_number_of_pixels_and_the_factor() {
        let model = model();
        assert_eq!(ASPECTS[0].size(&model, false), (64, 64));
        for aspect in ASPECTS {
            let (width, height) = aspect.size(&model, false);
            assert!(width % 8 == 0 && height % 8 == 0, "{aspect:?}");
            assert!(
                (width * height) as f64 / 4096.0 > 0.7,
                "{aspect:?} {width} {height}"
            );
            assert_eq!(aspect.size(&model, true), (height, width));
            assert_eq!(
                Aspect::of((height, width), &model).map(|a| a.size(&model, true)),
                Some((height, width))
            );
        }
        assert_eq!(Aspect::of((64, 512), &model), None);
        assert_eq!((fit(0, 8), fit(61, 8), fit(u32::MAX, 8)), (8, 64, 4096));
    }

    #[test]
    fn recalled_seeds_are_locked_and_remixes_are_not() {
        let mut form = Form::default();
        let recalled = Recalled {
            seed: Some(5),
            steps: Some(3),
            ..Recalled::default()
        };
        form.take(&recalled, false);
        assert_eq!(
            (form.seed, form.seed_mode, form.steps),
            (5, SeedMode::Locked, Some(3))
        );
        form.take(&Recalled::default(), true);
        assert_eq!((form.seed_mode, form.steps), (SeedMode::Random, Some(3)));
    }
}
