//! Models of real shapes and formats with random weights: for measuring, here and in other programs, without downloading anything.
//!
//! A file is written tensor by tensor and appears whole or not at all. The same kind, type and seed give the same bytes. Weights are
//! scaled by the number of their inputs, so that activations neither vanish nor overflow; what such a model says or draws
//! means nothing.
//!
//! | file | what |
//! |---|---|
//! | `language` | decoders as GGUF: metadata and tensors |
//! | `vocabulary` | a byte-level BPE tokenizer of any size, made of nothing |
//! | `picture` | Stable Diffusion as single files: all keys and shapes |
//! | `random` | random weights of every type, packed blocks directly |

mod language;
mod picture;
mod random;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use crate::formats::gguf::write::GgufWriter;
use crate::formats::safetensors::write_streamed;
use crate::formats::{FormatError, StorageDtype, TensorData, TensorSpec};

/// What can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Qwen3 0.6B.
    Qwen3Small,
    /// Llama 3.2 1B.
    Llama32Small,
    /// Qwen3 4B.
    Qwen3Medium,
    /// Llama 3.1 8B.
    Llama31Medium,
    /// Stable Diffusion 1.5.
    Sd15,
    /// Stable Diffusion XL.
    Sdxl,
    /// Two layers in the shape of Llama 3.
    LlamaTiny,
    /// Two layers in the shape of Qwen3.
    QwenTiny,
    /// Two levels in the shape of Stable Diffusion 1.5.
    SdTiny,
    /// Two levels in the shape of Stable Diffusion XL.
    SdxlTiny,
}

/// The types that language models can be made of.
pub const QUANTS: [StorageDtype; 15] = [
    StorageDtype::F32,
    StorageDtype::F16,
    StorageDtype::Bf16,
    StorageDtype::Q4_0,
    StorageDtype::Q4_1,
    StorageDtype::Q5_0,
    StorageDtype::Q5_1,
    StorageDtype::Q8_0,
    StorageDtype::Q2K,
    StorageDtype::Q3K,
    StorageDtype::Q4K,
    StorageDtype::Q5K,
    StorageDtype::Q6K,
    StorageDtype::Iq4Nl,
    StorageDtype::Iq4Xs,
];

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Qwen3Small,
        Self::Llama32Small,
        Self::Qwen3Medium,
        Self::Llama31Medium,
        Self::Sd15,
        Self::Sdxl,
        Self::LlamaTiny,
        Self::QwenTiny,
        Self::SdTiny,
        Self::SdxlTiny,
    ];

    /// The name by which it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen3Small => "qwen3-0.6b",
            Self::Llama32Small => "llama-3.2-1b",
            Self::Qwen3Medium => "qwen3-4b",
            Self::Llama31Medium => "llama-3.1-8b",
            Self::Sd15 => "sd15",
            Self::Sdxl => "sdxl",
            Self::LlamaTiny => "llama-tiny",
            Self::QwenTiny => "qwen3-tiny",
            Self::SdTiny => "sd-tiny",
            Self::SdxlTiny => "sdxl-tiny",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let same = |kind: &Self| kind.name().eq_ignore_ascii_case(name.trim());
        Self::ALL.into_iter().find(same)
    }

    /// Whether it draws pictures; otherwise it writes text.
    #[must_use]
    pub fn draws(self) -> bool {
        matches!(
            self,
            Self::Sd15 | Self::Sdxl | Self::SdTiny | Self::SdxlTiny
        )
    }

    /// The usual ending of its files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        if self.draws() { "safetensors" } else { "gguf" }
    }

    /// The type of its weights where nobody says otherwise.
    #[must_use]
    pub fn default_quant(self) -> StorageDtype {
        if self.draws() {
            StorageDtype::F16
        } else {
            StorageDtype::Q8_0
        }
    }

    /// The types that it can be made of.
    #[must_use]
    pub fn quants(self) -> &'static [StorageDtype] {
        // The first three are those that safetensors has.
        if self.draws() { &QUANTS[..3] } else { &QUANTS }
    }
}

/// The type of a name such as `q4_k`.
#[must_use]
pub fn parse_quant(name: &str) -> Option<StorageDtype> {
    let same = |dtype: &StorageDtype| dtype.name().eq_ignore_ascii_case(name.trim());
    QUANTS.into_iter().find(same)
}

/// Why a file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SynthesizeError {
    /// The kind cannot be stored so.
    #[error("{kind} cannot be made of {quant}; its types are {known}")]
    Quant {
        /// The kind.
        kind: &'static str,
        /// The type asked for.
        quant: &'static str,
        /// Those that there are.
        known: String,
    },
    /// The caller stopped it; there is no file.
    #[error("stopped; nothing was written")]
    Stopped,
    /// The file could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which model.
    pub kind: Kind,
    /// Type of its matrices; norms and biases of language models are F32 always.
    pub quant: StorageDtype,
    /// Equal seeds give equal bytes.
    pub seed: u64,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Tensors in the file.
    pub tensors: usize,
    /// Weights in all.
    pub parameters: u64,
    /// Bytes of the tensors.
    pub bytes: u64,
}

/// What the elements of a tensor are.
#[derive(Clone, Debug, PartialEq)]
enum Fill {
    /// Spread evenly about zero with this deviation.
    Weights(f32),
    /// About one: gains of norms.
    Gains,
    /// About zero: biases and offsets of norms.
    Offsets,
    /// These.
    Floats(Vec<f32>),
    /// 0, 1, 2, ...
    Count,
}

/// A tensor to be made.
struct Planned {
    spec: TensorSpec,
    fill: Fill,
}

impl Planned {
    /// A matrix or a stack of kernels `[out, in, ..]`, whose results have a deviation of 1 where its inputs have.
    fn weights(name: String, shape: &[usize], dtype: StorageDtype) -> Self {
        let inputs: usize = shape.iter().skip(1).product();
        Self {
            spec: TensorSpec::new(name, shape, dtype),
            fill: Fill::Weights((inputs.max(1) as f32).sqrt().recip()),
        }
    }
}

/// Writes a model. `progress` is told the bytes of tensors written and to be written, and returns whether to go on.
///
/// # Errors
/// A type that the kind cannot be made of; faults of the disk; that it was stopped.
pub fn synthesize(
    path: &Path,
    options: Options,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Made, SynthesizeError> {
    let Options { kind, quant, seed } = options;
    if !kind.quants().contains(&quant) {
        let known: Vec<&str> = kind.quants().iter().map(|quant| quant.name()).collect();
        return Err(SynthesizeError::Quant {
            kind: kind.name(),
            quant: quant.name(),
            known: known.join(", "),
        });
    }
    let mut header = GgufWriter::default();
    let tensors = match kind {
        Kind::Sd15 | Kind::Sdxl | Kind::SdTiny | Kind::SdxlTiny => picture::tensors(kind, quant),
        _ => language::describe(kind, quant, &mut header),
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(|planned| planned.spec.clone()).collect();
    let bytes_of = |spec: &TensorSpec| spec.bytes().unwrap_or(0) as u64;
    let made = Made {
        tensors: specs.len(),
        parameters: specs
            .iter()
            .map(|spec| spec.elements().unwrap_or(0) as u64)
            .sum(),
        bytes: specs.iter().map(bytes_of).sum(),
    };
    let mut stopped = false;
    let mut done = 0;
    let mut fill = |index: usize, out: &mut dyn std::io::Write| {
        let Some(planned) = tensors.get(index) else {
            return Ok(());
        };
        random::write(planned, seed, out, &mut |bytes| {
            done += bytes;
            stopped = !progress(done, made.bytes);
            !stopped
        })
    };
    let written = if kind.draws() {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_streamed(path, &specs, &metadata, &mut fill)
    } else {
        header.write_streamed(path, &specs, &mut fill)
    };
    match written {
        Err(_) if stopped => Err(SynthesizeError::Stopped),
        other => Ok(other.map(|()| made)?),
    }
}

/// One random matrix in memory, for measuring single ops.
///
/// # Errors
/// Shapes whose rows are no whole blocks of the type.
pub fn random_tensor(
    name: &str,
    shape: &[usize],
    dtype: StorageDtype,
    seed: u64,
) -> Result<TensorData, FormatError> {
    let planned = Planned::weights(name.to_owned(), shape, dtype);
    let mut bytes = Vec::new();
    let written = random::write(&planned, seed, &mut bytes, &mut |_| true);
    written.map_err(|error| FormatError::io(Path::new("(memory)"), "make", error))?;
    TensorData::new_owned(name, shape, dtype, bytes)
}

#[cfg(test)]
mod tests;
