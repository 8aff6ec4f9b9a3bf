//! What clients ask for. Requests are plain serialisable data: the same request on the same device, driver, kernel
//! tier and build gives the same bytes. Models are named, never by path, so that a picture's metadata does not tell
//! where its maker keeps files.

use serde::{Deserialize, Serialize};

use crate::diffusion::{Convention, NoiseSource, SamplerKind, ScheduleKind, Spacing};
use crate::text::grammar::Grammar;
use crate::text::prompt::{Emphasis, PromptSyntax};
use crate::text::sampling::SamplingParams;
use crate::text::template::ChatMessage;

/// A model as requests name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// The registry's name for it: the file or folder name without extension, made unique.
    pub name: String,
    /// First ten hexadecimal digits of the SHA-256 of its weights ("AutoV2"), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

impl ModelRef {
    /// A model by name alone.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hash: None,
        }
    }
}

/// Refers to data sent apart from the request, by the SHA-256 of its bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobRef(pub String);

/// A second seed whose noise is mixed into that of the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// Seed of the other noise.
    pub seed: u64,
    /// From 0 (the first seed's noise alone) to 1 (the other's).
    pub strength: f32,
}

/// A change of a model's weights: a LoRA, LoCon or LoHa.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraUse {
    /// Its file.
    pub model: ModelRef,
    /// How much of it is added; 1 is as it was trained.
    pub weight: f32,
}

/// A picture to begin from, in place of nothing but noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitPicture {
    /// f32 `[3, height, width]` in 0 to 1, red, green, blue; brought to the request's size if it has another.
    pub picture: BlobRef,
    /// How much of it is given up for what the words say: above 0 up to 1.
    pub strength: f32,
    /// Which parts are drawn anew; all if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
}

/// Which parts of a picture are drawn anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mask {
    /// f32 `[1, height, width]` in 0 to 1, of the picture's size: 1 is drawn anew, 0 is kept, anything between is mixed.
    pub mask: BlobRef,
    /// How far the mask's edges are softened, in pixels of the picture (the deviation of a Gaussian bell).
    #[serde(default, skip_serializing_if = "is_default")]
    pub blur: f32,
    /// Draws only the masked part, in the whole of the request's size, and lays it back into the picture: with that many pixels of
    /// the picture around it. `None` draws all of the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_masked: Option<u32>,
}

/// A network that guides the drawing by a picture: a ControlNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlUse {
    /// Its file or folder.
    pub model: ModelRef,
    /// f32 `[3, height, width]` in 0 to 1; brought to the request's size if it has another.
    pub picture: BlobRef,
    /// How much of what it says is added; 1 is as it was trained.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub weight: f32,
    /// From which share of the steps on, 0 to 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start: f32,
    /// Up to which share of the steps, 0 to 1.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub end: f32,
    /// What is made of the picture first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preprocessor: Preprocessor,
    /// What the picture is, for a net that is made for several kinds (ControlNet Union); edges that are found here need not be named.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: Option<ControlKind>,
}

/// Kinds of pictures that a ControlNet Union is told apart by, in the order of its training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// A person's pose as a drawing of joints (OpenPose).
    Pose,
    /// Depth, the nearer the brighter.
    Depth,
    /// Soft edges and scribbles (HED, PidiNet).
    Soft,
    /// Hard edges and line drawings (Canny, lineart, MLSD).
    Lines,
    /// Normals of surfaces.
    Normals,
    /// A colour for each kind of thing (segmentation).
    Segments,
    /// The picture itself, small or blurred.
    Tile,
    /// The picture, with black where it is to be painted.
    Repaint,
}

impl ControlKind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Pose,
        Self::Depth,
        Self::Soft,
        Self::Lines,
        Self::Normals,
        Self::Segments,
        Self::Tile,
        Self::Repaint,
    ];

    /// The name by which it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pose => "pose",
            Self::Depth => "depth",
            Self::Soft => "soft",
            Self::Lines => "lines",
            Self::Normals => "normals",
            Self::Segments => "segments",
            Self::Tile => "tile",
            Self::Repaint => "repaint",
        }
    }
}

/// What is made of a picture before a ControlNet sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessor {
    /// Nothing.
    #[default]
    None,
    /// Its edges (Canny 1986), white on black, as OpenCV finds them.
    Canny {
        /// Gradients from here on continue an edge, in 255ths.
        low: f32,
        /// Gradients from here on begin one.
        high: f32,
    },
    /// Its negative, for drawings in black on white.
    Invert,
}

/// A second pass, in which what was drawn is made larger and drawn over (AUTOMATIC1111's "hires fix").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hires {
    /// How often larger: above 1 up to 8.
    pub scale: f32,
    /// Sampler steps of which the strength is a share; as many as in the first pass if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// How much of the first pass is given up: above 0 up to 1.
    pub strength: f32,
    /// What makes it larger.
    pub upscaler: HiresUpscaler,
}

/// What makes a picture larger between two passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiresUpscaler {
    /// Its latents are interpolated.
    Latent,
    /// Lanczos' kernel.
    Lanczos,
    /// An upscaler, whose result is brought to the size by Lanczos' kernel.
    Model(ModelRef),
}

/// A picture to be made larger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpscaleRequest {
    /// The upscaler.
    pub model: ModelRef,
    /// f32 `[3, height, width]` in 0 to 1.
    pub picture: BlobRef,
    /// Pixels a side of the parts that are worked at one after the other; 0 is all at once, `None` what suits memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<u32>,
    /// How often larger the result is, where that is not the upscaler's own scale: resampled from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
}

/// A picture to draw from words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// The model.
    pub model: ModelRef,
    /// What to draw.
    pub prompt: String,
    /// What to keep out; used where `guidance` is not 1.
    #[serde(default)]
    pub negative_prompt: String,
    /// How both prompts are read.
    #[serde(default)]
    pub prompt_syntax: PromptSyntax,
    /// Width in pixels, a multiple of the model's VAE factor.
    pub width: u32,
    /// Height in pixels, a multiple of the model's VAE factor.
    pub height: u32,
    /// Sampler steps.
    pub steps: u32,
    /// Classifier-free guidance scale (Ho and Salimans 2022); 1 switches guidance off and costs one pass a step.
    pub guidance: f32,
    /// The sampler.
    pub sampler: SamplerKind,
    /// Spacing of the noise levels.
    pub schedule: ScheduleKind,
    /// Whose conventions the sampler follows.
    #[serde(default)]
    pub convention: Convention,
    /// Spacing of the timesteps; `None` is the convention's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spacing: Option<Spacing>,
    /// Seed of the noise, as torch's CPU generator understands it.
    pub seed: u64,
    /// Whose random numbers the noise is made of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise_source: NoiseSource,
    /// Another seed mixed into the first noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Variation>,
    /// How much of the spread that guidance adds is taken back (Lin et al. 2023): 0, nothing, to 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub guidance_rescale: f32,
    /// Which of the text encoder's layers is the last, counted from its end as AUTOMATIC1111 does: 1 is the one that the model was
    /// trained with, 2 the one before it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub clip_skip: u32,
    /// Noise to start from in place of the seed's: f32, unit variance, `[4, h, w]` in the model's latent shape. Noise
    /// that the sampler itself draws then starts at draw 0 of the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<BlobRef>,
    /// Changes of the model's weights, added one after the other. `<lora:name:0.8>` in the prompt adds more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraUse>,
    /// An autoencoder in place of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<ModelRef>,
    /// A picture to begin from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitPicture>,
    /// Whether to send the latents after every step ([`super::Event::Latents`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_latents: bool,
    /// Whether to send previews while drawing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// Whether to send the state of the picture at its beginning and after every step ([`super::Event::TraceStep`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    /// Which settings the picture began with, if these here took over in the middle of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched: Option<Branched>,
    /// Networks that guide the drawing by pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<ControlUse>,
    /// A second pass in a larger size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// Pixels a side of the parts in which the autoencoder works; `None` takes all at once, and parts only where memory does not suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae_tile: Option<u32>,
    /// Learnt words (textual inversion) that the prompts name; known ones that are named are found without being listed here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<ModelRef>,
    /// What weights in the prompts do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub emphasis: Emphasis,
    /// What the prompts were made of, where they had variants or lists. It changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PromptTemplate>,
    /// Another prompt and seed on the way to which the picture lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toward: Option<Toward>,
    /// Ends after so many steps, counted through both passes where there are two, with the picture as it is predicted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<u32>,
}

/// Prompts before their variants and lists were resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTemplate {
    /// Of the prompt.
    pub prompt: String,
    /// Of the negative prompt.
    #[serde(default)]
    pub negative_prompt: String,
}

/// The other end of a way between two pictures: embeddings are mixed straight, the first noise along the arc.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Toward {
    /// The prompt there.
    pub prompt: String,
    /// The negative prompt there.
    #[serde(default)]
    pub negative_prompt: String,
    /// The seed there.
    pub seed: u64,
    /// How far: 0 is the request itself, 1 the other end.
    pub amount: f32,
}

/// Where a picture's settings changed: it is drawn as `from` says until `step` steps are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Branched {
    /// Steps done before the change.
    pub step: u32,
    /// The settings until then, which may have branched themselves.
    pub from: Box<ImageRequest>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn all() -> f32 {
    1.0
}

fn is_all(value: &f32) -> bool {
    *value == 1.0
}

fn one() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

impl ImageRequest {
    /// Whether it refers to data of this hash.
    #[must_use]
    pub fn refers_to(&self, hash: &str) -> bool {
        let init = self.init.as_ref();
        let mask = init.and_then(|init| init.mask.as_ref());
        let of_init = init.map(|init| &init.picture);
        let of_mask = mask.map(|mask| &mask.mask);
        let of_controls = self.controls.iter().map(|control| &control.picture);
        let mut blobs = (of_init.into_iter().chain(of_mask))
            .chain(&self.noise)
            .chain(of_controls);
        let earlier = self.branched.as_ref();
        blobs.any(|blob| blob.0 == hash)
            || earlier.is_some_and(|branched| branched.from.refers_to(hash))
    }

    /// A request with the settings that most people begin with (20 steps of DPM++ 2M Karras, guidance 7, seed 0): the
    /// rest of a literal, `..ImageRequest::new(model, prompt, 512, 512)`, so that new settings can be added to requests
    /// without touching those who make them.
    #[must_use]
    pub fn new(model: ModelRef, prompt: impl Into<String>, width: u32, height: u32) -> Self {
        Self {
            model,
            prompt: prompt.into(),
            negative_prompt: String::new(),
            prompt_syntax: PromptSyntax::default(),
            width,
            height,
            steps: 20,
            guidance: 7.0,
            sampler: SamplerKind::DpmPp2M,
            schedule: ScheduleKind::Karras,
            convention: Convention::default(),
            spacing: None,
            seed: 0,
            noise_source: NoiseSource::default(),
            variation: None,
            guidance_rescale: 0.0,
            clip_skip: 1,
            noise: None,
            loras: Vec::new(),
            vae: None,
            init: None,
            keep_latents: false,
            preview: false,
            trace: false,
            branched: None,
            controls: Vec::new(),
            hires: None,
            vae_tile: None,
            embeddings: Vec::new(),
            emphasis: Emphasis::default(),
            template: None,
            toward: None,
            stop_after: None,
        }
    }
}

/// What a chat model is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatPrompt {
    /// A conversation, put into words by the model's own template; the model answers as the assistant. If the last
    /// message is the assistant's, the model goes on with it; what it writes does not repeat those words.
    Messages(Vec<ChatMessage>),
    /// Text to be continued as it stands.
    Raw(String),
}

/// What to do when a conversation is longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Refuse a prompt that is too long; end an answer when the context is full.
    #[default]
    Stop,
    /// Leave out what is oldest after the leading system messages: of a prompt whole turns, while writing half of the tokens after the system messages.
    Shift,
}

/// The beginning of an answer that an earlier run of the same request has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Bytes of the answer up to there, for the client that shows it; the engine makes no use of it.
    pub bytes: u32,
}

/// Text to be written by a chat model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model.
    pub model: ModelRef,
    /// What it is given.
    pub prompt: ChatPrompt,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Seed of the choice.
    pub seed: u64,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Seconds since 1970, for templates that tell the model the date; part of the request, so that it can be repeated.
    #[serde(default)]
    pub time: i64,
    /// Texts that end the answer; they are not part of it.
    #[serde(default)]
    pub stop: Vec<String>,
    /// What the answer must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<Grammar>,
    /// What the model is told that it may call, as [`crate::text::template::RenderOptions::tools`] has it; a call is a part of the answer's text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<serde_json::Value>,
    /// What to do when the conversation is longer than the context.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overflow: Overflow,
    /// What is written already: the answer goes on as if it had never stopped, by the random numbers that come next. Those tokens count towards
    /// `max_tokens`, and are not told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
}

impl ChatRequest {
    /// A request with the usual settings: llama.cpp's sampling, seed 0, at most 1024 tokens, no grammar.
    #[must_use]
    pub fn new(model: ModelRef, prompt: ChatPrompt) -> Self {
        Self {
            model,
            prompt,
            sampling: SamplingParams::default(),
            seed: 0,
            max_tokens: 1024,
            time: 0,
            stop: Vec::new(),
            grammar: None,
            tools: Vec::new(),
            overflow: Overflow::Stop,
            written: None,
        }
    }
}

/// What to find out about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The logits after each of its tokens.
    Logits,
    /// How well the model foretells it, as llama.cpp defines perplexity: in chunks of the context, of each of which the second half is scored.
    Perplexity {
        /// Tokens of a chunk.
        context: u32,
    },
}

/// A text to be looked at by a chat model, which writes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRequest {
    /// The model.
    pub model: ModelRef,
    /// What it is given.
    pub prompt: ChatPrompt,
    /// What is to be found out.
    pub measure: Measure,
    /// Seconds since 1970, for templates that tell the model the date.
    #[serde(default)]
    pub time: i64,
}

/// Any job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
// Requests are few, and boxed wherever they travel.
#[allow(clippy::large_enum_variant)]
pub enum Request {
    /// Draw a picture.
    Image(ImageRequest),
    /// Write text.
    Chat(ChatRequest),
    /// Make a picture larger.
    Upscale(UpscaleRequest),
    /// Look at a text.
    Score(ScoreRequest),
}

impl Request {
    /// The model it needs.
    pub fn model(&self) -> &ModelRef {
        match self {
            Self::Image(request) => &request.model,
            Self::Chat(request) => &request.model,
            Self::Upscale(request) => &request.model,
            Self::Score(request) => &request.model,
        }
    }
}
