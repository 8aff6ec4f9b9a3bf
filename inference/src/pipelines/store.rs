//! Loaded models, their plans, and the one executor they share.

mod cache;
mod governor;
mod hashes;
mod load;

pub use governor::Shortage;
pub(super) use governor::{surplus, trials};

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;

use self::hashes::{Hashes, Stamp};
use super::Loading;
use super::chat_model::{ChatModel, ChatState};
use super::error::JobError;
use super::forecast::Cost;
use super::image_model::ImageModel;
use super::prompt::{Conditioning, EmbeddingKey};
use super::prompt_tokens::PromptTokenizers;
use super::upscale::Upscaler;
use crate::engine::{BlobRef, KvChoice, LoraUse, ModelRef, Registry};
use crate::formats::TensorKey;
use crate::formats::detect::ModelKind;
use crate::formats::embedding::Embedding;
use crate::formats::lora::Lora;
use crate::graph::{Executor, Graph, HostTensor, KvShape, MemoryUse, PlanId, StateId};
use crate::models::ControlNet;
use crate::models::llama::LONGEST_CONTEXT;

/// Bytes of blobs that are kept beside those that jobs in the queue refer to; the oldest go first.
const BLOB_BYTES: u64 = 512 << 20;
/// Bytes of embeddings that are kept: those of a grid of prompts, at a megabyte or less each.
const EMBEDDING_BYTES: u64 = 64 << 20;
/// Plans of one kind that a model keeps, however little they hold: prompts of chats are read in pieces of four lengths, and a person tries a few sizes, not
/// hundreds.
const PLANS_PER_KIND: usize = 12;
/// The share of the budget that plans of one kind may hold beside the latest of them.
const KIND_SHARE: u64 = 8;

/// For what a model's plan was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanKey {
    /// Text encoder: batch, length, layers left out at the end.
    Encode(usize, usize, usize),
    /// The first text encoder of two: length, layers left out at the end.
    EncodeFirst(usize, usize),
    /// The second: the same.
    EncodeSecond(usize, usize),
    /// U-Net: batch, height, width, context length.
    Denoise(usize, usize, usize, usize),
    /// VAE decoder: height, width.
    Decode(usize, usize),
    /// VAE encoder: height, width of the picture.
    EncodePicture(usize, usize),
    /// Decoder of a chat model: rows.
    Language(usize),
    /// The same for one token of each of so many answers.
    Streams(usize),
    /// U-Net together with ControlNets: as [`Self::Denoise`], and which nets ([`ModelStore::nets`]).
    DenoiseControlled(usize, usize, usize, usize, u64),
    /// A ControlNet's picture: height, width of the latents.
    Hint(usize, usize),
    /// Upscaler: height, width of the part of a picture.
    Upscale(usize, usize),
    /// Decoder of a chat model that scores a text: outputs, pages.
    Score(usize, usize),
}

impl PlanKey {
    pub(super) fn same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Language(_) | Self::Streams(_) | Self::Score(..))
    }
}

/// What a forecast found out of plans: model, changes, key.
type Foreseen = HashMap<(String, u64, PlanKey), Cost>;

/// One way to do some work: what its plan is known by, and how its graph is built.
pub struct Form<'a> {
    key: PlanKey,
    build: Box<dyn FnOnce() -> Result<Graph, JobError> + 'a>,
}

impl<'a> Form<'a> {
    /// A form.
    pub fn new(key: PlanKey, build: impl FnOnce() -> Result<Graph, JobError> + 'a) -> Self {
        Self {
            key,
            build: Box::new(build),
        }
    }

    /// What its plan is known by.
    pub fn key(&self) -> PlanKey {
        self.key
    }

    /// Builds its graph.
    ///
    /// # Errors
    /// Weights that do not fit; sizes that cannot be addressed.
    pub fn build(self) -> Result<Graph, JobError> {
        (self.build)()
    }
}

enum Model {
    Image(Arc<ImageModel>),
    Chat(Arc<ChatModel>),
    Control(Arc<ControlNet>, String),
    Upscaler(Arc<Upscaler>),
}

impl Model {
    fn kind(&self) -> &'static str {
        match self {
            Self::Image(_) => "a text-to-image model",
            Self::Chat(_) => "a chat model",
            Self::Control(..) => "a ControlNet",
            Self::Upscaler(_) => "an upscaler",
        }
    }

    /// Whether a job holds it.
    fn is_in_use(&self) -> bool {
        let holders = match self {
            Self::Image(model) => Arc::strong_count(model),
            Self::Chat(model) => Arc::strong_count(model),
            Self::Control(net, _) => Arc::strong_count(net),
            Self::Upscaler(net) => Arc::strong_count(net),
        };
        holders > 1
    }
}

/// LoRAs, an autoencoder and learnt words.
type Changes = (Vec<LoraUse>, Option<ModelRef>, Vec<ModelRef>);

/// Work of an autoencoder: model, which way, rows and columns of the latents.
type VaeWork = (String, &'static str, usize, usize);

/// A plan that is there.
struct Ready {
    /// The number is that of the changed model that it is for, 0 for the model itself.
    key: (u64, PlanKey),
    plan: PlanId,
    cost: Cost,
}

struct Loaded {
    name: String,
    /// Another each time that it is loaded.
    number: u64,
    /// What its files were when it was.
    stamp: Stamp,
    model: Model,
    /// In order of last use, the latest at the end.
    plans: Vec<Ready>,
    /// Forms for which memory did not suffice, of which smaller ones are used.
    too_large: Vec<(u64, PlanKey)>,
    /// The model as it was changed last, and by what.
    changed: Option<(Changes, Vec<Stamp>, Arc<ImageModel>)>,
    chat: Option<ChatState>,
    /// Weights of its plans that were converted or merged, in the host's memory; the number is that of the changed model, as in [`Ready::key`].
    beside: HashMap<(u64, TensorKey), u64>,
    last_used: u64,
}

/// Loaded models, their plans, and the one executor they share.
pub struct ModelStore {
    executor: Box<dyn Executor>,
    registry: Registry,
    assets: PathBuf,
    prompt_tokenizers: PromptTokenizers,
    blobs: Vec<(String, Arc<HostTensor>)>,
    hashes: Hashes,
    loaded: Vec<Loaded>,
    clock: u64,
    /// Changed models made so far.
    changes: u64,
    kv_choice: KvChoice,
    longest_context: usize,
    /// See [`MemoryUse::forecast`].
    pub(super) forecast: u64,
    /// See [`MemoryUse::beside_forecast`].
    pub(super) beside_forecast: u64,
    /// Of the latest forecast.
    pub(super) foreseen: Foreseen,
    most_streamed: u64,
    /// Sizes of the parts, in latent pixels, in which an autoencoder works where pictures do not fit at once.
    vae_tiles: Vec<(VaeWork, usize)>,
    /// In order of last use, the latest at the end.
    embeddings: Vec<(EmbeddingKey, Arc<Conditioning>)>,
}

impl ModelStore {
    /// A store without models.
    pub fn new(executor: Box<dyn Executor>, registry: Registry, assets: PathBuf) -> Self {
        let (blobs, hashes, loaded) = Default::default();
        Self {
            executor,
            registry,
            assets,
            prompt_tokenizers: PromptTokenizers::default(),
            blobs,
            hashes,
            loaded,
            clock: 0,
            changes: 0,
            kv_choice: KvChoice::Auto,
            longest_context: LONGEST_CONTEXT,
            forecast: 0,
            beside_forecast: 0,
            foreseen: Foreseen::new(),
            most_streamed: 0,
            vae_tiles: Vec::new(),
            embeddings: Vec::new(),
        }
    }

    /// How keys and values of chat models are kept, of those that are loaded from now on.
    pub fn set_kv_choice(&mut self, kv_choice: KvChoice) {
        self.kv_choice = kv_choice;
    }

    /// Most tokens that a conversation may have, with models that are loaded from now on; `None` is the usual.
    pub fn set_longest_context(&mut self, tokens: Option<usize>) {
        self.longest_context = tokens.unwrap_or(LONGEST_CONTEXT);
    }

    /// The registry, to add models.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Where hashes of models are kept between runs of the program.
    pub fn keep_hashes_in(&mut self, folder: Option<PathBuf>) {
        self.hashes.set_folder(folder);
    }

    /// Keeps data that requests refer to. What is `needed` by a job in the queue is never given up for it.
    pub fn insert_blob(
        &mut self,
        hash: String,
        data: Arc<HostTensor>,
        needed: &dyn Fn(&str) -> bool,
    ) {
        let bytes = |data: &HostTensor| 4 * data.len() as u64;
        self.blobs.retain(|(known, _)| *known != hash);
        let spare = self.blobs.iter().filter(|(hash, _)| !needed(hash));
        let mut held: u64 = spare.map(|(_, data)| bytes(data)).sum();
        let most = BLOB_BYTES.saturating_sub(bytes(&data));
        self.blobs.retain(|(hash, data)| {
            let keep = held <= most || needed(hash);
            if !keep {
                held -= bytes(data);
            }
            keep
        });
        self.blobs.push((hash, data));
    }

    /// Data by reference.
    ///
    /// # Errors
    /// If they were not sent, or too much else was sent since.
    pub fn blob(&self, blob: &BlobRef) -> Result<Arc<HostTensor>, JobError> {
        let found = self.blobs.iter().find(|(hash, _)| *hash == blob.0);
        found.map(|(_, data)| Arc::clone(data)).ok_or_else(|| {
            JobError::Request(format!(
                "the data with hash {} are not here; send them again",
                blob.0
            ))
        })
    }

    /// Bytes in use.
    pub fn memory(&self) -> MemoryUse {
        MemoryUse {
            forecast: self.forecast,
            beside: self.beside().values().sum(),
            beside_forecast: self.beside_forecast,
            ..self.executor.memory()
        }
    }

    /// Weights in the host's memory beside the device, each once.
    pub(super) fn beside(&self) -> HashMap<TensorKey, u64> {
        let all = self.loaded.iter().flat_map(|loaded| &loaded.beside);
        all.map(|((_, key), bytes)| (key.clone(), *bytes)).collect()
    }

    /// Names of the models that are loaded.
    pub fn loaded(&self) -> Vec<ModelRef> {
        let loaded = self.loaded.iter();
        loaded
            .map(|loaded| ModelRef::named(loaded.name.clone()))
            .collect()
    }

    /// The executor, for what it tells of itself.
    pub fn executor(&self) -> &dyn Executor {
        self.executor.as_ref()
    }

    /// The executor, for what is not a plan.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }

    /// A text-to-image model, loaded if it is not. `loading` is told of it and can stop it.
    ///
    /// # Errors
    /// If the model is unknown, of another kind or faulty.
    pub fn image_model(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn Loading,
    ) -> Result<Arc<ImageModel>, JobError> {
        self.load(model, loading, "a text-to-image model")?;
        match self.loaded.last().map(|loaded| &loaded.model) {
            Some(Model::Image(model)) => Ok(Arc::clone(model)),
            other => Err(JobError::WrongModel {
                model: model.name.clone(),
                is: other.map_or("unknown", Model::kind).into(),
                needed: "a text-to-image model",
            }),
        }
    }

    /// A ControlNet and its hash, loaded if it is not. `loading` is told of it and can stop it.
    ///
    /// # Errors
    /// If it is unknown, of another kind or faulty.
    pub fn controlnet(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn Loading,
    ) -> Result<(Arc<ControlNet>, String), JobError> {
        self.load(model, loading, "a ControlNet")?;
        match self.loaded.last().map(|loaded| &loaded.model) {
            Some(Model::Control(net, hash)) => Ok((Arc::clone(net), hash.clone())),
            other => Err(JobError::WrongModel {
                model: model.name.clone(),
                is: other.map_or("unknown", Model::kind).into(),
                needed: "a ControlNet",
            }),
        }
    }

    /// An upscaler, loaded if it is not. `loading` is told of it and can stop it.
    ///
    /// # Errors
    /// If it is unknown, of another kind or faulty.
    pub fn upscaler(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn Loading,
    ) -> Result<Arc<Upscaler>, JobError> {
        self.load(model, loading, "an upscaler")?;
        match self.loaded.last().map(|loaded| &loaded.model) {
            Some(Model::Upscaler(net)) => Ok(Arc::clone(net)),
            other => Err(JobError::WrongModel {
                model: model.name.clone(),
                is: other.map_or("unknown", Model::kind).into(),
                needed: "an upscaler",
            }),
        }
    }

    /// A chat model, loaded if it is not.
    ///
    /// # Errors
    /// If the model is unknown, of another kind or faulty.
    pub fn chat_model(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn Loading,
    ) -> Result<Arc<ChatModel>, JobError> {
        self.load(model, loading, "a chat model")?;
        match self.loaded.last().map(|loaded| &loaded.model) {
            Some(Model::Chat(model)) => Ok(Arc::clone(model)),
            other => Err(JobError::WrongModel {
                model: model.name.clone(),
                is: other.map_or("unknown", Model::kind).into(),
                needed: "a chat model",
            }),
        }
    }

    /// Tokens of a prompt for a model that draws, and how many it reads at once; `None` if the model is of another kind. Weights are not opened.
    ///
    /// # Errors
    /// If it is unknown or its tokenizer cannot be read.
    pub fn prompt_length(
        &mut self,
        model: &ModelRef,
        prompt: &str,
    ) -> Result<Option<(u32, u32)>, JobError> {
        let (path, info) = self.registry.find(model)?;
        if !info.is_text_to_image() {
            return Ok(None);
        }
        let length = self.prompt_tokenizers.count(path, &self.assets, prompt)?;
        Ok(Some(length))
    }

    /// Names of the known models of a kind.
    pub fn known(&self, kind: ModelKind) -> Vec<String> {
        self.registry.names_of(kind)
    }

    /// A learnt word.
    ///
    /// # Errors
    /// If it is unknown, of another kind or faulty.
    pub fn embedding(&self, model: &ModelRef) -> Result<Embedding, JobError> {
        let (path, info) = self.registry.find(model)?;
        if info.kind() != ModelKind::Embedding {
            return Err(JobError::WrongModel {
                model: model.name.clone(),
                is: info.describe(),
                needed: "a textual inversion embedding",
            });
        }
        Ok(Embedding::open(path)?)
    }

    /// The hash of a file that changes a model: a LoRA, an autoencoder or a learnt word.
    ///
    /// # Errors
    /// If it is unknown or cannot be read.
    pub fn addition_hash(
        &mut self,
        model: &ModelRef,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<String, JobError> {
        let (_, info) = self.registry.find(model)?;
        self.hashes.of(info, stop)
    }

    /// By what plans for these ControlNets together are known.
    pub fn nets<'a>(&self, names: impl Iterator<Item = &'a str>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for name in names {
            let found = self.loaded.iter().find(|loaded| loaded.name == name);
            found.map(|loaded| loaded.number).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A model of [`Self::image_model`] with changes of its weights. Plans of other changes are given up: each has weights of its
    /// own. `stop` is asked between layers.
    ///
    /// # Errors
    /// Files that are unknown, faulty, or made for another model.
    pub fn changed_model(
        &mut self,
        base: &Arc<ImageModel>,
        name: &str,
        changes: &Changes,
        stop: &mut dyn FnMut() -> bool,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<ImageModel>, JobError> {
        let index = self.index(name)?;
        let (uses, vae, words) = changes;
        let named = (uses.iter().map(|lora| &lora.model))
            .chain(vae)
            .chain(words);
        let mut stamps = Vec::new();
        for file in named {
            stamps.push(Stamp::of(self.registry.find(file)?.1));
        }
        if let Some((known, then, model)) = &self.loaded[index].changed
            && known == changes
            && *then == stamps
        {
            return Ok(Arc::clone(model));
        }
        let mut files = Vec::with_capacity(uses.len());
        for lora in uses {
            let (path, _) = self.registry.find(&lora.model)?;
            files.push((lora.model.name.as_str(), Lora::open(path)?, lora.weight));
        }
        self.changes += 1;
        let mut changed = match files.is_empty() {
            true => Arc::clone(base),
            false => Arc::new(base.with_loras(&files, self.changes, stop, warnings)?),
        };
        if let Some(vae) = vae {
            let (path, _) = self.registry.find(vae)?;
            changed = Arc::new(changed.with_vae(path, self.changes)?);
        }
        if !words.is_empty() {
            let mut learnt = Vec::with_capacity(words.len());
            for word in words {
                learnt.push((word.name.clone(), self.embedding(word)?));
            }
            changed = Arc::new(changed.with_words(&learnt, self.changes)?);
        }
        let loaded = &mut self.loaded[index];
        let (kept, gone) = std::mem::take(&mut loaded.plans)
            .into_iter()
            .partition(|ready| ready.key.0 == 0);
        loaded.plans = kept;
        loaded.beside.retain(|(changes, _), _| *changes == 0);
        for Ready { plan, .. } in gone {
            self.executor.drop_plan(plan);
        }
        loaded.changed = Some((changes.clone(), stamps, Arc::clone(&changed)));
        Ok(changed)
    }

    fn index(&self, name: &str) -> Result<usize, JobError> {
        let index = self.loaded.iter().position(|loaded| loaded.name == name);
        index.ok_or_else(|| JobError::Request(format!("the model '{name}' is no longer loaded")))
    }

    /// The KV cache of a loaded chat model, made if need be.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn chat_state(&mut self, name: &str) -> Result<&mut ChatState, JobError> {
        let index = self.index(name)?;
        if self.loaded[index].chat.is_none() {
            let Model::Chat(model) = &self.loaded[index].model else {
                return Err(JobError::Request(format!("'{name}' is not a chat model")));
            };
            let shape = model.kv_shape();
            let state = self.with_room(name, |executor| executor.create_kv(shape))?;
            let index = self.index(name)?;
            self.loaded[index].chat = Some(ChatState::new(state, shape));
        }
        let index = self.index(name)?;
        self.loaded[index]
            .chat
            .as_mut()
            .ok_or_else(|| JobError::Request(format!("'{name}' has no KV cache")))
    }

    /// A KV cache for a job of its own, which gives it back.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn create_state(&mut self, name: &str, shape: KvShape) -> Result<StateId, JobError> {
        self.with_room(name, |executor| executor.create_kv(shape))
    }

    /// The KV cache of a chat model, if there is one.
    pub fn existing_chat_state(&mut self, name: &str) -> Option<&mut ChatState> {
        let index = self.index(name).ok()?;
        self.loaded[index].chat.as_mut()
    }

    /// Gives a model's memory back.
    pub fn unload(&mut self, model: &ModelRef) {
        if let Ok(index) = self.index(&model.name) {
            let loaded = self.loaded.remove(index);
            self.embeddings.retain(|(key, _)| key.model() != model.name);
            for Ready { plan, .. } in loaded.plans {
                self.executor.drop_plan(plan);
            }
            if matches!(loaded.model, Model::Control(..)) {
                self.drop_controlled();
            }
            if let Some(chat) = loaded.chat {
                self.executor.drop_state(chat.state);
            }
        }
    }

    /// Gives up plans in which there are ControlNets.
    fn drop_controlled(&mut self) {
        for loaded in &mut self.loaded {
            let plans = std::mem::take(&mut loaded.plans).into_iter();
            let (gone, kept) =
                plans.partition(|ready| matches!(ready.key.1, PlanKey::DenoiseControlled(..)));
            loaded.plans = kept;
            for Ready { plan, .. } in gone {
                self.executor.drop_plan(plan);
            }
        }
    }

    /// Forgets all plans and caches, keeping models; after a panic.
    pub fn reset(&mut self) {
        for loaded in &mut self.loaded {
            for Ready { plan, .. } in loaded.plans.drain(..) {
                self.executor.drop_plan(plan);
            }
            if let Some(chat) = loaded.chat.take() {
                self.executor.drop_state(chat.state);
            }
        }
    }

    /// Takes a new executor in place of one whose device was lost.
    pub fn replace_executor(&mut self, executor: Box<dyn Executor>) {
        for loaded in &mut self.loaded {
            loaded.plans.clear();
            loaded.chat = None;
        }
        // Another device may round differently.
        self.embeddings.clear();
        self.executor = executor;
    }
}
