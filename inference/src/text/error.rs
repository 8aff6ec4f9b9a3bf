//! What can be wrong with a vocabulary, a template or a row of logits.

use std::path::PathBuf;

/// A fault in a vocabulary, a template, a prompt or a row of logits. Each names the cause and, where there is one, the remedy.
///
/// Vocabularies come from files that the caller opened: the caller adds the file's name to the message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The vocabulary has no token at all.
    #[error("the vocabulary is empty: the file is incomplete or is not a language model")]
    EmptyVocabulary,
    /// More tokens, or longer ones, than any real vocabulary has.
    #[error("the vocabulary is too large: {what}")]
    TooLarge {
        /// What exceeds which limit.
        what: String,
    },
    /// A list that this kind of tokenizer needs is missing.
    #[error("the file lacks `{key}`, which a \"{model}\" tokenizer needs: convert the model again")]
    MissingList {
        /// The metadata key.
        key: &'static str,
        /// The kind of tokenizer as the file names it.
        model: String,
    },
    /// A list does not have one entry per token.
    #[error("`{key}` has {got} entries for {want} tokens: the file is damaged")]
    LengthMismatch {
        /// The metadata key.
        key: &'static str,
        /// Entries found.
        got: usize,
        /// Tokens in the vocabulary.
        want: usize,
    },
    /// A special token's id lies outside the vocabulary.
    #[error("`{key}` is {id}, but the vocabulary has only {len} tokens: the file is damaged")]
    IdOutOfRange {
        /// The metadata key.
        key: &'static str,
        /// The id given.
        id: u32,
        /// Tokens in the vocabulary.
        len: usize,
    },
    /// A line of the merge list cannot be read.
    #[error("merge {index} ({text:?}) is not two symbols parted by one space: the file is damaged")]
    BadMerge {
        /// Position in the list.
        index: usize,
        /// The line, shortened.
        text: String,
    },
    /// Two tokens have the same text.
    #[error("tokens {first} and {second} are both {text:?}: the file is damaged")]
    DuplicateToken {
        /// The text, shortened.
        text: String,
        /// The earlier id.
        first: u32,
        /// The later id.
        second: u32,
    },
    /// A token score is not a number.
    #[error("the score of token {id} is not a number: the file is damaged")]
    BadScore {
        /// The token.
        id: u32,
    },
    /// A kind of tokenizer that is not built in.
    #[error(
        "tokenizers of kind {model:?} are not supported (supported: \"llama\" SentencePiece, \"gpt2\" byte-level BPE, \"bert\" WordPiece, \"t5\" Unigram)"
    )]
    UnknownModel {
        /// The kind as the file names it.
        model: String,
    },
    /// A pre-tokenizer pattern did not compile; it is a fault of this program.
    #[error("internal: pre-tokenizer pattern: {cause}")]
    Pattern {
        /// What the pattern compiler said.
        cause: String,
    },
    /// The text is longer than can be handled in one piece.
    #[error("the text has {len} bytes; at most {max} can be tokenized at once")]
    TextTooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The special tokens overlap one another so often that searching them would take forever.
    #[error(
        "the special tokens of this vocabulary overlap beyond reason in this text: the file is damaged"
    )]
    SpecialOverlap,
    /// A tokenizer file of a diffusers folder cannot be used.
    #[error("{}: {cause}", path.display())]
    ClipFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A CLIP vocabulary lacks a token without which nothing can be encoded.
    #[error("the CLIP vocabulary lacks {token:?}")]
    ClipToken {
        /// The token.
        token: String,
    },
    /// A `tokenizer.json` or a file beside it cannot be used.
    #[error("{}: {cause}", path.display())]
    TokenizerFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or what in it is not known.
        cause: String,
    },
    /// The compiled normalization rules of a vocabulary cannot be read.
    #[error("`tokenizer.ggml.precompiled_charsmap` {reason}: the file is damaged")]
    BadCharsmap {
        /// What is wrong with them.
        reason: String,
    },
    /// The chat template is not valid, raised an error, or exceeded its limits.
    #[error("the model's chat template failed: {cause}")]
    Template {
        /// What the template engine said.
        cause: String,
    },
    /// The chat template refused the conversation by `raise_exception`.
    #[error("the model's chat template refuses this conversation: {message}")]
    TemplateRefused {
        /// The template's own words.
        message: String,
    },
    /// There are no logits to choose from.
    #[error("no logits to sample from: the model has an empty vocabulary")]
    NoLogits,
    /// No logit is a number above minus infinity.
    #[error(
        "the model's logits are not numbers: its weights are damaged, or it overflowed on this device (try --device cpu)"
    )]
    LogitsNotFinite,
    /// A sampling setting is out of its range.
    #[error("{name} = {value} is out of range: {allowed}")]
    SamplingRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Grammar and settings leave no token to choose.
    #[error(
        "the grammar allows no token here that the model can write; use another grammar, or a model with a larger vocabulary"
    )]
    NothingAllowed,
    /// A grammar that cannot be used or followed.
    #[error("the {kind} cannot be used: {cause}")]
    Grammar {
        /// Of which kind it is.
        kind: &'static str,
        /// Where and what the fault is.
        cause: String,
    },
    /// A step of sampling is in its order twice.
    #[error("the sampling step {stage} is in the order twice; name each step once")]
    SamplingOrder {
        /// The step.
        stage: &'static str,
    },
}

/// Shortens a piece of a file for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    const KEEP: usize = 40;
    match text.char_indices().nth(KEEP) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
