//! Loaded models, their plans, and the one executor they share.

mod governor;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::chat_model::{ChatModel, ChatState};
use super::error::JobError;
use super::image_model::ImageModel;
use super::prompt::{Conditioning, EmbeddingKey};
use super::prompt_tokens::PromptTokenizers;
use super::upscale::Upscaler;
use crate::engine::{BlobRef, LoraUse, ModelRef, Registry};
use crate::formats::detect::{ModelInfo, ModelKind};
use crate::formats::embedding::Embedding;
use crate::formats::ldm::open_controlnet;
use crate::formats::lora::Lora;
use crate::graph::{Executor, Graph, HostTensor, KvShape, KvType, MemoryUse, PlanId, StateId};
use crate::models::ControlNet;
use crate::models::controlnet::ControlNetConfig;
use crate::models::llama::LONGEST_CONTEXT;

/// Blobs that are kept; the oldest go first.
const BLOBS: usize = 64;
/// Embeddings that are kept: those of a grid of prompts, at a megabyte or less each.
const EMBEDDINGS: usize = 16;
/// Plans of one kind that a model keeps: prompts of chats are read in pieces of four lengths, and a person tries a few sizes, not hundreds.
const PLANS_PER_KIND: usize = 4;

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
    /// U-Net with what ControlNets add: as [`Self::Denoise`].
    DenoiseControlled(usize, usize, usize, usize),
    /// ControlNet: as [`Self::Denoise`].
    Control(usize, usize, usize, usize),
    /// Upscaler: height, width of the part of a picture.
    Upscale(usize, usize),
    /// Decoder of a chat model that scores a text: outputs, pages.
    Score(usize, usize),
}

impl PlanKey {
    pub(super) fn same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Language(_) | Self::Streams(_) | Self::Score(..))
    }
}

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
}

/// LoRAs, an autoencoder and learnt words.
type Changes = (Vec<LoraUse>, Option<ModelRef>, Vec<ModelRef>);

/// By what a file that was replaced in place is told from what it was: path, length and time of each of a model's files.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

fn stamp(info: &ModelInfo) -> Stamp {
    let files = info.files().iter();
    files
        .map(|path| match std::fs::metadata(path) {
            Ok(found) => (path.clone(), found.len(), found.modified().ok()),
            // Whoever opens it says what is wrong.
            Err(_) => (path.clone(), 0, None),
        })
        .collect()
}

/// A model's hash, read anew only if its files changed.
fn hash_of(
    hashes: &mut HashMap<PathBuf, (Stamp, String)>,
    path: &Path,
    info: &ModelInfo,
) -> Result<String, JobError> {
    let now = stamp(info);
    if let Some((known, hash)) = hashes.get(path)
        && *known == now
    {
        return Ok(hash.clone());
    }
    let hash = info.short_hash()?;
    hashes.insert(path.to_owned(), (now, hash.clone()));
    Ok(hash)
}

/// Work of an autoencoder: model, which way, rows and columns of the latents.
type VaeWork = (String, &'static str, usize, usize);

struct Loaded {
    name: String,
    model: Model,
    /// In order of last use, the latest at the end; the number is that of the changed model they are for, 0 for the model itself.
    plans: Vec<((u64, PlanKey), PlanId)>,
    /// Forms for which memory did not suffice, of which smaller ones are used.
    too_large: Vec<(u64, PlanKey)>,
    /// The model as it was changed last, and by what.
    changed: Option<(Changes, Vec<Stamp>, Arc<ImageModel>)>,
    chat: Option<ChatState>,
    last_used: u64,
}

/// Loaded models, their plans, and the one executor they share.
pub struct ModelStore {
    executor: Box<dyn Executor>,
    registry: Registry,
    assets: PathBuf,
    prompt_tokenizers: PromptTokenizers,
    blobs: Vec<(String, Arc<HostTensor>)>,
    hashes: HashMap<PathBuf, (Stamp, String)>,
    loaded: Vec<Loaded>,
    clock: u64,
    /// Changed models made so far.
    changes: u64,
    kv_type: KvType,
    longest_context: usize,
    /// See [`MemoryUse::forecast`].
    pub(super) forecast: u64,
    most_streamed: u64,
    /// Models that the running job needs beside its own.
    held: Vec<String>,
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
            kv_type: KvType::F32,
            longest_context: LONGEST_CONTEXT,
            forecast: 0,
            most_streamed: 0,
            held: Vec::new(),
            vae_tiles: Vec::new(),
            embeddings: Vec::new(),
        }
    }

    /// How keys and values of chat models are kept, of those that are loaded from now on.
    pub fn set_kv_type(&mut self, kv_type: KvType) {
        self.kv_type = kv_type;
    }

    /// Most tokens that a conversation may have, with models that are loaded from now on; `None` is the usual.
    pub fn set_longest_context(&mut self, tokens: Option<usize>) {
        self.longest_context = tokens.unwrap_or(LONGEST_CONTEXT);
    }

    /// The registry, to add models.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Keeps data that requests refer to.
    pub fn insert_blob(&mut self, hash: String, data: Arc<HostTensor>) {
        self.blobs.retain(|(known, _)| *known != hash);
        if self.blobs.len() == BLOBS {
            self.blobs.remove(0);
        }
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
            ..self.executor.memory()
        }
    }

    /// The executor, for what is not a plan.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }

    /// A text-to-image model, loaded if it is not. `loading` is told the bytes of its weights before they are read.
    ///
    /// # Errors
    /// If the model is unknown, of another kind or faulty.
    pub fn image_model(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn FnMut(u64),
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

    /// A ControlNet and its hash, loaded if it is not. `loading` is told the bytes of its weights before they are read.
    ///
    /// # Errors
    /// If it is unknown, of another kind or faulty.
    pub fn controlnet(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn FnMut(u64),
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

    /// An upscaler, loaded if it is not. `loading` is told the bytes of its weights before they are read.
    ///
    /// # Errors
    /// If it is unknown, of another kind or faulty.
    pub fn upscaler(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn FnMut(u64),
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
        loading: &mut dyn FnMut(u64),
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
    pub fn addition_hash(&mut self, model: &ModelRef) -> Result<String, JobError> {
        let (path, info) = self.registry.find(model)?;
        hash_of(&mut self.hashes, path, info)
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
            stamps.push(stamp(self.registry.find(file)?.1));
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
            .partition(|((changes, _), _)| *changes == 0);
        loaded.plans = kept;
        for (_, plan) in gone {
            self.executor.drop_plan(plan);
        }
        loaded.changed = Some((changes.clone(), stamps, Arc::clone(&changed)));
        Ok(changed)
    }

    /// Loads a model if need be and puts it at the end of `loaded`.
    fn load(
        &mut self,
        model: &ModelRef,
        loading: &mut dyn FnMut(u64),
        needed: &'static str,
    ) -> Result<(), JobError> {
        self.clock += 1;
        let position = self
            .loaded
            .iter()
            .position(|loaded| loaded.name == model.name);
        let mut loaded = match position {
            Some(index) => self.loaded.remove(index),
            None => {
                let (path, info) = self.registry.find(model)?;
                loading(info.file_bytes());
                let made = if info.is_chat() {
                    Model::Chat(Arc::new(
                        ChatModel::load(path, info)?
                            .with_kv_type(self.kv_type)
                            .with_longest_context(self.longest_context),
                    ))
                } else if info.is_text_to_image() {
                    // The same U-Net with other parts is another model.
                    let hash = match info.parts() {
                        Some(_) => info.short_hash()?,
                        None => hash_of(&mut self.hashes, path, info)?,
                    };
                    Model::Image(Arc::new(ImageModel::load(path, info, &self.assets, hash)?))
                } else if info.kind() == ModelKind::ControlNet {
                    let hash = hash_of(&mut self.hashes, path, info)?;
                    let part = open_controlnet(path)?;
                    let config = ControlNetConfig::from_json(&part.config_path, &part.config)?;
                    Model::Control(Arc::new(ControlNet::new(config, part.weights)?), hash)
                } else if info.kind() == ModelKind::Upscaler {
                    Model::Upscaler(Arc::new(Upscaler::open(path, info)?))
                } else {
                    return Err(JobError::WrongModel {
                        model: model.name.clone(),
                        is: info.describe(),
                        needed,
                    });
                };
                Loaded {
                    name: model.name.clone(),
                    model: made,
                    plans: Vec::new(),
                    too_large: Vec::new(),
                    changed: None,
                    chat: None,
                    last_used: 0,
                }
            }
        };
        loaded.last_used = self.clock;
        self.loaded.push(loaded);
        Ok(())
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
            for (_, plan) in loaded.plans {
                self.executor.drop_plan(plan);
            }
            if let Some(chat) = loaded.chat {
                self.executor.drop_state(chat.state);
            }
        }
    }

    /// Forgets all plans and caches, keeping models; after a panic.
    pub fn reset(&mut self) {
        for loaded in &mut self.loaded {
            for (_, plan) in loaded.plans.drain(..) {
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
