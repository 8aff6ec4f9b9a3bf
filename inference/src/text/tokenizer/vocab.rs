//! The plain vocabulary: texts, kinds and special ids, checked once when it is built.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::formats::error::FormatError;
use crate::formats::gguf::GgufMetadata;
use crate::text::TextError;
use crate::text::error::excerpt;

/// Most tokens that a vocabulary may have. The largest real ones have about 260 thousand.
pub(crate) const MAX_TOKENS: usize = 1 << 20;
/// Most merges that a vocabulary may have. The largest real ones have about 520 thousand.
pub(crate) const MAX_MERGES: usize = 1 << 20;

/// Tokenizer metadata as GGUF files carry it (`tokenizer.ggml.*`), before any check.
///
/// Ids are positions in `tokens`. A field that the file lacks is `None`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GgufVocab {
    /// `tokenizer.ggml.model`: `llama` (SentencePiece BPE), `gpt2` (byte-level BPE), `bert` (WordPiece) or `t5` (Unigram).
    pub model: String,
    /// `tokenizer.ggml.pre`: the pre-tokenizer of a byte-level vocabulary.
    pub pre: Option<String>,
    /// `general.name`; a few families are told apart only by it (Phi-3's special tokens swallow the white space after them).
    pub name: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`, one per token; higher merges earlier.
    pub scores: Option<Vec<f32>>,
    /// `tokenizer.ggml.token_type`, one per token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Option<Vec<i32>>,
    /// `tokenizer.ggml.merges`: `left right`, best first.
    pub merges: Option<Vec<String>>,
    /// `tokenizer.ggml.bos_token_id`: beginning of text.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`: end of text.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: end of turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.cls_token_id`: what stands before a text (BERT).
    pub cls: Option<u32>,
    /// `tokenizer.ggml.seperator_token_id`, spelled so: what stands after it.
    pub sep: Option<u32>,
    /// `tokenizer.ggml.precompiled_charsmap`: normalization rules (Unigram).
    pub charsmap: Option<Vec<u8>>,
    /// `tokenizer.ggml.remove_extra_whitespaces`: runs of spaces are one (Unigram).
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.eog_token_ids` and the like: further ids that end a generation.
    pub eog: Vec<u32>,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Steers the model and is no text: turn marks and the like.
    Control,
    /// Text that is always one token, wherever it stands.
    UserDefined,
    /// A hole in the vocabulary.
    Unused,
    /// One raw byte.
    Byte,
}

impl TokenKind {
    fn from_gguf(code: i32) -> Self {
        match code {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            // 0 is "undefined"; llama.cpp treats it and unknown codes as ordinary tokens too.
            _ => Self::Normal,
        }
    }
}

/// A checked vocabulary.
#[derive(Debug)]
pub(crate) struct Vocab {
    texts: Vec<Box<str>>,
    by_text: HashMap<Box<str>, u32>,
    kinds: Vec<TokenKind>,
    longest: usize,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) eot: Option<u32>,
    pub(crate) unk: Option<u32>,
    pub(crate) pad: Option<u32>,
    /// Ids that end a generation, sorted.
    pub(crate) ends: Vec<u32>,
    /// Tokens that were added to the model's own, and are found before the model sees the text.
    pub(crate) foreign: HashSet<u32>,
}

/// Texts that end a turn in one model family or another. A token with such a text is control and ends a generation, whatever
/// the file says of it (llama.cpp keeps the same list, for the same mislabelled files).
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];

/// Texts that mark the end of a turn where the file does not name the token, most telling first.
const END_OF_TURN_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

impl Vocab {
    /// Checks sizes, duplicates and ids. `default_ids` are the ids (bos, eos, unk) that the kind of tokenizer implies when the file
    /// names none.
    pub(crate) fn new(
        raw: &mut GgufVocab,
        default_ids: (Option<u32>, Option<u32>, Option<u32>),
    ) -> Result<Self, TextError> {
        let len = raw.tokens.len();
        if len == 0 {
            return Err(TextError::EmptyVocabulary);
        }
        if len > MAX_TOKENS {
            return Err(TextError::TooLarge {
                what: format!("{len} tokens (at most {MAX_TOKENS})"),
            });
        }
        if let Some(types) = &raw.types
            && types.len() != len
        {
            return Err(TextError::LengthMismatch {
                key: "tokenizer.ggml.token_type",
                got: types.len(),
                want: len,
            });
        }
        let mut texts: Vec<Box<str>> = Vec::with_capacity(len);
        let mut by_text: HashMap<Box<str>, u32> = HashMap::with_capacity(len);
        let mut longest = 0;
        for (id, text) in std::mem::take(&mut raw.tokens).into_iter().enumerate() {
            let id = id as u32; // below MAX_TOKENS
            // Empty tokens are holes: they must not be found by text.
            let text = text.into_boxed_str();
            if !text.is_empty()
                && let Some(first) = by_text.insert(text.clone(), id)
            {
                return Err(TextError::DuplicateToken {
                    text: excerpt(&text),
                    first,
                    second: id,
                });
            }
            longest = longest.max(text.len());
            texts.push(text);
        }

        let given = |key: &'static str, id: Option<u32>, default: Option<u32>| match id {
            Some(id) if (id as usize) < len => Ok(Some(id)),
            // Converters write -1 (all ones) for "none".
            Some(u32::MAX) => Ok(None),
            Some(id) => Err(TextError::IdOutOfRange { key, id, len }),
            None => Ok(default.filter(|&id| (id as usize) < len)),
        };
        let bos = given("tokenizer.ggml.bos_token_id", raw.bos, default_ids.0)?;
        let eos = given("tokenizer.ggml.eos_token_id", raw.eos, default_ids.1)?;
        let unk = given("tokenizer.ggml.unknown_token_id", raw.unk, default_ids.2)?;
        let pad = given("tokenizer.ggml.padding_token_id", raw.pad, None)?;
        let mut eot = given("tokenizer.ggml.eot_token_id", raw.eot, None)?;
        for &id in &raw.eog {
            given("tokenizer.ggml.eog_token_ids", Some(id), None)?;
        }

        let mut kinds: Vec<TokenKind> = match &raw.types {
            Some(types) => types
                .iter()
                .map(|&code| TokenKind::from_gguf(code))
                .collect(),
            None => vec![TokenKind::Normal; len],
        };
        if raw.types.is_none() {
            // Nothing says which tokens are control, but these certainly are.
            for id in [bos, eos, eot, pad].into_iter().flatten() {
                kinds[id as usize] = TokenKind::Control;
            }
            if let Some(id) = unk {
                kinds[id as usize] = TokenKind::Unknown;
            }
        }

        let mut ends: Vec<u32> = [eos, eot].into_iter().flatten().collect();
        ends.extend(raw.eog.iter().copied().filter(|&id| (id as usize) < len));
        for text in END_TEXTS {
            if let Some(&id) = by_text.get(*text) {
                kinds[id as usize] = TokenKind::Control;
                ends.push(id);
            }
        }
        // gpt-oss closes every message by <|end|> and the whole turn by <|return|> or <|call|>.
        if let (Some(_), Some(_), Some(&end)) = (
            by_text.get("<|return|>"),
            by_text.get("<|call|>"),
            by_text.get("<|end|>"),
        ) && Some(end) != eos
        {
            ends.retain(|&id| id != end);
        }
        if eot.is_none() {
            eot = END_OF_TURN_TEXTS
                .iter()
                .find_map(|text| by_text.get(*text).copied());
        }
        ends.sort_unstable();
        ends.dedup();

        Ok(Self {
            texts,
            by_text,
            kinds,
            longest,
            bos,
            eos,
            eot,
            unk,
            pad,
            ends,
            foreign: HashSet::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of the longest token text.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// As [`Self::id`], of the model's own tokens.
    pub(crate) fn own_id(&self, text: &str) -> Option<u32> {
        self.id(text).filter(|id| !self.foreign.contains(id))
    }

    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize).map(AsRef::as_ref)
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = (u32, &str)> {
        self.texts
            .iter()
            .enumerate()
            .map(|(id, text)| (id as u32, text.as_ref()))
    }

    pub(crate) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }
}

impl GgufVocab {
    /// Collects `tokenizer.ggml.*` from a file's metadata. It copies the lists; nothing is checked beyond their types.
    ///
    /// # Errors
    /// [`FormatError::MissingKey`] if the file has no tokenizer, [`FormatError::WrongMetadata`] for values of the wrong type.
    pub fn from_gguf(metadata: &GgufMetadata) -> Result<Self, FormatError> {
        let mut eog = Vec::new();
        eog.extend(metadata.opt_u32("tokenizer.ggml.eom_token_id")?);
        let types = metadata.opt_ints("tokenizer.ggml.token_type")?;
        Ok(Self {
            model: metadata.str("tokenizer.ggml.model")?.to_owned(),
            pre: metadata.opt_str("tokenizer.ggml.pre")?.map(str::to_owned),
            name: metadata.opt_str("general.name")?.map(str::to_owned),
            tokens: metadata.strings("tokenizer.ggml.tokens")?.to_vec(),
            scores: metadata.opt_floats("tokenizer.ggml.scores")?,
            // Numbers beyond i32 mean nothing, like all unknown kinds.
            types: types.map(|types| {
                types
                    .into_iter()
                    .map(|code| i32::try_from(code).unwrap_or(0))
                    .collect()
            }),
            merges: metadata
                .opt_strings("tokenizer.ggml.merges")?
                .map(<[String]>::to_vec),
            bos: metadata.opt_u32("tokenizer.ggml.bos_token_id")?,
            eos: metadata.opt_u32("tokenizer.ggml.eos_token_id")?,
            eot: metadata.opt_u32("tokenizer.ggml.eot_token_id")?,
            unk: metadata.opt_u32("tokenizer.ggml.unknown_token_id")?,
            pad: metadata.opt_u32("tokenizer.ggml.padding_token_id")?,
            add_bos: metadata.opt_bool("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.opt_bool("tokenizer.ggml.add_eos_token")?,
            cls: metadata.opt_u32("tokenizer.ggml.cls_token_id")?,
            sep: metadata.opt_u32("tokenizer.ggml.seperator_token_id")?,
            // Old converters write signed bytes.
            charsmap: metadata
                .opt_ints("tokenizer.ggml.precompiled_charsmap")?
                .map(|bytes| bytes.into_iter().map(|byte| byte as u8).collect()),
            remove_extra_whitespaces: metadata
                .opt_bool("tokenizer.ggml.remove_extra_whitespaces")?,
            add_space_prefix: metadata.opt_bool("tokenizer.ggml.add_space_prefix")?,
            eog,
        })
    }
}
