//! What kind of model lies at a path, told by content and never by name.

mod probe;
mod scan;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::error::FormatError;
use super::split::{self, ModelParts};
use super::weights::DtypeCount;

pub use probe::probe;
#[cfg(test)]
pub(crate) use probe::{CHAT_ARCHITECTURES, CHAT_MODEL_TYPES};
pub(crate) use scan::guarded;
pub use scan::{scan, visit};

/// What a model is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Draws pictures from text.
    TextToImage,
    /// Continues text.
    Chat,
    /// Changes to the weights of another model.
    Lora,
    /// The autoencoder of a picture model alone.
    Autoencoder,
    /// A text encoder alone.
    TextEncoder,
    /// The noise predictor of a picture model alone.
    Denoiser,
    /// A learnt word for a text encoder.
    Embedding,
    /// A network that guides a picture model by another picture.
    ControlNet,
    /// A tokenizer without weights.
    Vocabulary,
    /// A model of a kind that is known but not run here.
    Other,
    /// Weights of no known kind.
    Unknown,
    /// A network that makes pictures larger.
    Upscaler,
}

impl ModelKind {
    /// In words: `text-to-image model`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image model",
            Self::Chat => "chat model",
            Self::Lora => "LoRA",
            Self::Autoencoder => "autoencoder",
            Self::TextEncoder => "text encoder",
            Self::Denoiser => "denoiser",
            Self::Embedding => "embedding",
            Self::ControlNet => "ControlNet",
            Self::Vocabulary => "vocabulary",
            Self::Other => "model",
            Self::Unknown => "unknown weights",
            Self::Upscaler => "upscaler",
        }
    }
}

/// How a model lies on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelLayout {
    /// A folder with `model_index.json`.
    DiffusersFolder,
    /// A folder with `config.json` and weights: one network.
    ComponentFolder,
    /// One safetensors file, or the index of a sharded one.
    Safetensors,
    /// One GGUF file, or a split one.
    Gguf,
    /// A PyTorch pickle.
    Pickle,
    /// A U-Net, text encoders and an autoencoder in files of their own.
    SplitFiles,
}

impl ModelLayout {
    /// In words: `diffusers folder`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DiffusersFolder => "diffusers folder",
            Self::ComponentFolder => "folder with config.json",
            Self::Safetensors => "safetensors file",
            Self::Gguf => "GGUF file",
            Self::Pickle => "PyTorch pickle",
            Self::SplitFiles => "separate files",
        }
    }
}

/// What a chat model keeps of a conversation: keys and values of each token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembers {
    /// Tokens of its context.
    pub tokens: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Elements a head.
    pub head_dim: usize,
}

/// A description as it stands in a sentence. Abbreviations that begin with the sound of a vowel are told letter by letter.
pub(super) fn with_article(words: &str) -> String {
    let said_by_letters = ["SD", "LD", "FL", "HF"];
    let vowel = words.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O'])
        || words.starts_with("upscal")
        || said_by_letters
            .iter()
            .any(|letters| words.starts_with(letters));
    if words.starts_with(ModelKind::Unknown.name()) {
        words.to_owned()
    } else if vowel {
        format!("an {words}")
    } else {
        format!("a {words}")
    }
}

/// What was found at a path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    kind: ModelKind,
    layout: ModelLayout,
    name: Option<String>,
    architecture: String,
    dtypes: Vec<DtypeCount>,
    tensors: usize,
    parameters: u64,
    file_bytes: u64,
    /// See [`ModelInfo::converted_bytes`].
    #[serde(default)]
    converted_bytes: u64,
    abilities: Vec<String>,
    details: BTreeMap<String, String>,
    unusable: Option<String>,
    #[serde(skip)]
    remembers: Option<Remembers>,
    /// Weight files, in the order in which they are hashed.
    #[serde(skip)]
    files: Vec<PathBuf>,
    /// Of a model in separate files, which they are.
    #[serde(skip)]
    parts: Option<ModelParts>,
}

impl ModelInfo {
    /// What the model is for.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// How it lies on disk.
    #[must_use]
    pub fn layout(&self) -> ModelLayout {
        self.layout
    }

    /// The name that the model gives itself, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The architecture: `Stable Diffusion 1.x`, `llama`, ...
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Tensors, elements and bytes by type, most bytes first.
    #[must_use]
    pub fn dtypes(&self) -> &[DtypeCount] {
        &self.dtypes
    }

    /// Number of tensors.
    #[must_use]
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// Elements of all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Weight files, in the order in which they are hashed.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes of all weight files.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of weights that are converted while the model is loaded (scaled 8-bit floats, packed convolutions): they lie in main memory, beside what a
    /// device holds of them.
    #[must_use]
    pub fn converted_bytes(&self) -> u64 {
        self.converted_bytes
    }

    /// What it can do: `text to image`, `chat`, ...
    #[must_use]
    pub fn abilities(&self) -> &[String] {
        &self.abilities
    }

    /// Further facts by name, such as `context length`.
    #[must_use]
    pub fn details(&self) -> &BTreeMap<String, String> {
        &self.details
    }

    /// The files of a model in separate files.
    #[must_use]
    pub fn parts(&self) -> Option<&ModelParts> {
        self.parts.as_ref()
    }

    /// What a model in separate files is.
    ///
    /// # Errors
    /// As [`split::open`].
    pub fn of_parts(parts: &ModelParts) -> Result<Self, FormatError> {
        let mut info = probe::describe_diffusion(&split::open(parts)?);
        info.parts = Some(parts.clone());
        Ok(info)
    }

    /// Whether it draws pictures from text.
    #[must_use]
    pub fn is_text_to_image(&self) -> bool {
        self.kind == ModelKind::TextToImage
    }

    /// Whether it continues text.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        self.kind == ModelKind::Chat
    }

    /// Whether the model can be used here, as far as its kind and types tell; [`crate::models::check`] has the last word.
    ///
    /// # Errors
    /// Exactly why not, with what to do about it.
    pub fn usable(&self) -> Result<(), &str> {
        match &self.unusable {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }

    /// What it keeps of a conversation; only of chat models that [`crate::models::check`] has built.
    #[must_use]
    pub fn remembers(&self) -> Option<Remembers> {
        self.remembers
    }

    /// Notes what it keeps of a conversation.
    pub fn note_remembers(&mut self, remembers: Remembers) {
        self.remembers = Some(remembers);
    }

    /// Notes why the model cannot be used: what its builder found out.
    pub fn refuse_because(&mut self, reason: String) {
        self.unusable = Some(reason);
    }

    /// In a few words: `Stable Diffusion 1.x text-to-image model, F16, 1.1 B parameters`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = match self.architecture.as_str() {
            "" => self.kind.name().to_owned(),
            // Where the architecture's name says it all.
            name if matches!(self.kind, ModelKind::Other | ModelKind::Unknown) => name.to_owned(),
            name => format!("{name} {}", self.kind.name()),
        };
        if let Some(first) = self.dtypes.first() {
            words.push_str(&format!(", {}", first.dtype));
        }
        if self.parameters > 0 {
            words.push_str(&format!(", {} parameters", short_count(self.parameters)));
        }
        words
    }

    /// [`ModelInfo::describe`] with its article: `a llama chat model`, `an autoencoder`.
    #[must_use]
    pub fn described(&self) -> String {
        with_article(&self.describe())
    }

    /// The first ten digits of the SHA-256 of the weight file, as other programs show it; of several files, of all of them one
    /// after the other. Reads all of them, so it takes a second or so for each gigabyte.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn short_hash(&self) -> Result<String, FormatError> {
        Ok(self.short_hash_while(&mut || false)?.unwrap_or_default())
    }

    /// As [`Self::short_hash`]; `stop` is asked every megabyte, and if it says so there is no hash.
    ///
    /// # Errors
    /// As [`Self::short_hash`].
    pub fn short_hash_while(
        &self,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Option<String>, FormatError> {
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        for path in &self.files {
            let io = |e| FormatError::io(path, "read", e);
            let mut file = std::fs::File::open(path).map_err(io)?;
            loop {
                if stop() {
                    return Ok(None);
                }
                match file.read(&mut buffer).map_err(io)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
        }
        let digest = hasher.finalize();
        let digits = digest.iter().take(5).map(|byte| format!("{byte:02x}"));
        Ok(Some(digits.collect()))
    }
}

/// `1.1 B`, `860 M`, `12 k`.
fn short_count(count: u64) -> String {
    let (unit, name) = match count {
        1_000_000_000.. => (1e9, " B"),
        1_000_000.. => (1e6, " M"),
        10_000.. => (1e3, " k"),
        _ => return count.to_string(),
    };
    let scaled = count as f64 / unit;
    if scaled < 10.0 {
        format!("{scaled:.1}{name}")
    } else {
        format!("{scaled:.0}{name}")
    }
}

#[cfg(test)]
mod tests;
