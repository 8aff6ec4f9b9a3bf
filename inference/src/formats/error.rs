//! The faults that a file can have. Each names the file, the cause and a remedy.

use std::path::PathBuf;

use super::weights::StorageDtype;

/// A shape printed as `[320, 768]`.
fn show(shape: &[usize]) -> String {
    format!("{shape:?}")
}

/// Text out of a file, fit for one line of a message: no control characters, not longer than a name may be.
pub(crate) fn brief(text: &str) -> String {
    const LONGEST: usize = 240;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Why a file cannot be read or used. One variant for each kind of fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused to open, read, list or write.
    #[error("{}: cannot {action}: {source}; check that it exists and may be accessed", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried: `open`, `read`, `write`, ...
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A folder was given where a file is needed, or the other way round, or a device or pipe.
    #[error("{}: is not {wanted}; give the path of {wanted}", path.display())]
    WrongFileKind {
        /// What was given.
        path: PathBuf,
        /// `a regular file` or `a folder`.
        wanted: &'static str,
    },
    /// The content is none of the formats known.
    #[error("{}: unknown format ({reason}); Diptych reads safetensors, GGUF, weights of PyTorch (.ckpt, .pt, .pth, .bin), diffusers and Hugging Face folders, and tokenizer.json", path.display(), reason = brief(reason))]
    UnknownFormat {
        /// File or folder.
        path: PathBuf,
        /// What was seen instead.
        reason: String,
    },
    /// A file of PyTorch that is damaged, or holds what weights never hold.
    #[error("{}: this PyTorch file cannot be read: {}; get the model as safetensors", path.display(), reason)]
    InvalidPickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of PyTorch that would run something.
    #[error(
        "{}: this file would run `{what}` in programs that open it with PyTorch, which no weights need; it was not read, and nothing was run. \
         Delete it, or get the model as safetensors from a source you trust",
        path.display()
    )]
    UnsafePickle {
        /// The file.
        path: PathBuf,
        /// Module and name of what would run.
        what: String,
    },
    /// A pickle (`.ckpt`, `.pt`, `.bin`), which can run code when it is read by torch.
    #[error("{}: is a PyTorch pickle, which Diptych does not open because it can run code; convert it to safetensors", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before something that it announces.
    #[error("{}: truncated: {what} needs {needed} bytes, {available} are left; download or copy the file again", path.display(), what = brief(what))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What was being read.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        available: u64,
    },
    /// A header says that it is longer than allowed.
    #[error("{}: the header claims {claimed} bytes, at most {limit} are allowed; the file is damaged or not what its name says", path.display())]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// Length claimed.
        claimed: u64,
        /// Longest allowed.
        limit: u64,
    },
    /// A header or config that is not well-formed JSON, or not of the right form.
    #[error("{}: invalid {what}: {reason}; download or export the file again", path.display(), what = brief(what), reason = brief(reason))]
    InvalidJson {
        /// The file.
        path: PathBuf,
        /// `safetensors header`, `config.json`, ...
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two tensors of one model have the same name.
    #[error("{}: tensor `{tensor}` occurs twice; the file is damaged, download or export it again", path.display(), tensor = brief(tensor))]
    DuplicateTensor {
        /// The file.
        path: PathBuf,
        /// The name.
        tensor: String,
    },
    /// The number of elements or bytes of a tensor does not fit a machine word.
    #[error("{}: tensor `{tensor}` has an impossible shape {}; the file is damaged, download it again", path.display(), show(shape), tensor = brief(tensor))]
    ShapeOverflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The bytes of a tensor are not as many as shape and type need.
    #[error("{}: tensor `{tensor}` ({} {}) needs {needed} bytes and has {found}; the file is damaged, download it again", path.display(), dtype.name(), show(shape), tensor = brief(tensor))]
    SizeMismatch {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: StorageDtype,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that shape and type need.
        needed: usize,
        /// Bytes there.
        found: usize,
    },
    /// A row of a quantised tensor is not a whole number of blocks.
    #[error("{}: tensor `{tensor}` {} is stored as {}, whose rows must be multiples of {}; quantise the model again", path.display(), show(shape), dtype.name(), dtype.block_len(), tensor = brief(tensor))]
    PartialBlock {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: StorageDtype,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The data of a tensor lies outside of the file.
    #[error("{}: tensor `{tensor}` lies at bytes {start}..{end} of {available}; the file is truncated or damaged, download it again", path.display(), tensor = brief(tensor))]
    OutOfBounds {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// First byte, counted from the start of the data.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the data.
        available: u64,
    },
    /// Two tensors share bytes.
    #[error("{}: tensors `{first}` and `{second}` overlap; the file is damaged, download or export it again", path.display(), first = brief(first), second = brief(second))]
    Overlap {
        /// The file.
        path: PathBuf,
        /// The one that comes first.
        first: String,
        /// The one that begins too early.
        second: String,
    },
    /// Bytes that belong to no tensor.
    #[error("{}: {length} bytes at {at} belong to no tensor; the file is damaged, download or export it again", path.display())]
    Hole {
        /// The file.
        path: PathBuf,
        /// Offset from the start of the data.
        at: u64,
        /// Number of bytes.
        length: u64,
    },
    /// A tensor type that the file names and we do not know.
    #[error("{}: tensor `{tensor}` has the unknown type {dtype}; a newer Diptych may read it, or convert it to F16", path.display(), tensor = brief(tensor), dtype = brief(dtype))]
    UnknownDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Name or number of the type.
        dtype: String,
    },
    /// A tensor type that is known but cannot be computed with.
    #[error("{}: tensor `{tensor}` is stored as {}, which cannot be used as a weight here; convert the model to F16, Q8_0, Q6_K, Q5_K, Q4_K or IQ4_XS", path.display(), dtype.name(), tensor = brief(tensor))]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: StorageDtype,
    },
    /// A tensor that the architecture needs is not there.
    #[error("{}: tensor `{tensor}` {} is missing; the file is incomplete or of another architecture than its config says", path.display(), show(wanted), tensor = brief(tensor))]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that it should have.
        wanted: Vec<usize>,
    },
    /// A tensor does not have the shape that the architecture needs.
    #[error("{}: tensor `{tensor}` has the shape {}, the config needs {}; weights and config do not belong together", path.display(), show(found), show(wanted), tensor = brief(tensor))]
    WrongShape {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape needed.
        wanted: Vec<usize>,
    },
    /// A shard named by an index is missing, or its name leads out of the folder, or index and shard disagree.
    #[error("{}: shard `{shard}`: {reason}; all parts of the model must lie in one folder, download the missing ones", path.display(), shard = brief(shard), reason = brief(reason))]
    Shard {
        /// The index file.
        path: PathBuf,
        /// The shard.
        shard: String,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF written for big-endian machines.
    #[error("{}: is a big-endian GGUF; use the little-endian file, or convert it with gguf_convert_endian", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// A version of a format that is not read.
    #[error("{}: {format} version {version} is not supported ({supported}); convert the file to a current version", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// Version found.
        version: u64,
        /// Versions that are read.
        supported: &'static str,
    },
    /// A count, length or offset that cannot be true.
    #[error("{}: {what} is {found}, {limit}; the file is damaged, download it again", path.display(), what = brief(what), limit = brief(limit))]
    Implausible {
        /// The file.
        path: PathBuf,
        /// Which number.
        what: String,
        /// The number.
        found: u64,
        /// What it must be, in words.
        limit: String,
    },
    /// Text that is not UTF-8.
    #[error("{}: {what} is not valid UTF-8; the file is damaged, download it again", path.display(), what = brief(what))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Which text.
        what: String,
    },
    /// A metadata key occurs twice.
    #[error("{}: metadata key `{key}` occurs twice; the file is damaged, download it again", path.display(), key = brief(key))]
    DuplicateKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata key that is needed is not there.
    #[error("{}: metadata key `{key}` is missing; convert the model again with a current converter", path.display(), key = brief(key))]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata value does not have the type needed, or a value that makes no sense.
    #[error("{}: metadata `{key}` is {found}, needed is {wanted}; convert the model again with a current converter", path.display(), key = brief(key), found = brief(found), wanted = brief(wanted))]
    WrongMetadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Type or value found.
        found: String,
        /// Type or value needed.
        wanted: String,
    },
    /// A part of a pipeline that is needed is not there.
    #[error("{}: {component} is missing ({detail}); download the whole model folder", path.display(), component = brief(component), detail = brief(detail))]
    MissingComponent {
        /// The folder or file.
        path: PathBuf,
        /// The part: `unet`, `vae`, ...
        component: String,
        /// What was looked for.
        detail: String,
    },
    /// One network of a model by itself, whose other parts are not known.
    #[error("{}: this file is {what} only: {reason}", path.display(), what = brief(what))]
    OtherParts {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// Which parts are not there or not clear, and what to do.
        reason: String,
    },
    /// A config whose values make no sense or are not understood.
    #[error("{}: config value `{key}`: {reason}; use the config that came with the weights", path.display(), key = brief(key), reason = brief(reason))]
    InvalidConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that is known but cannot be run.
    #[error("{}: this is {what}, which Diptych cannot run yet; {remedy}", path.display(), what = brief(what), remedy = brief(remedy))]
    UnsupportedModel {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// A picture whose structure is broken.
    #[error("{}: damaged picture: {reason}; open it with an image editor and save it anew", path.display(), reason = brief(reason))]
    InvalidPicture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Compressed text that would unpack to more than is allowed.
    #[error("{}: {what} unpacks to more than {limit} bytes, which is not plausible for generation data; the picture was made to do harm", path.display(), what = brief(what))]
    DecompressionBomb {
        /// The file.
        path: PathBuf,
        /// Which part.
        what: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// A picture that carries no generation data.
    #[error("{}: holds no generation data that Diptych knows; it was stripped, or another program made the picture", path.display())]
    NoGenerationData {
        /// The file.
        path: PathBuf,
    },
    /// Text or pixels that cannot be written.
    #[error("cannot write {what}: {reason}", what = brief(what), reason = brief(reason))]
    CannotEncode {
        /// What was to be written.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl FormatError {
    /// An [`FormatError::Io`].
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
        source: std::io::Error,
    ) -> Self {
        Self::Io {
            path: path.into(),
            action,
            source,
        }
    }
}
