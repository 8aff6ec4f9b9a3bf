//! Tokenizers: SentencePiece, byte-level BPE, WordPiece and Unigram from GGUF files, `tokenizer.json` from Hugging Face folders, CLIP's from diffusers folders and
//! single-file checkpoints.

mod bpe;
mod bytes;
mod clip;
mod guard;
mod json;
#[cfg(test)]
mod json_tests;
mod merge;
mod pre;
mod special;
mod spm;
mod stream;
#[cfg(test)]
mod tests;
mod unigram;
mod vocab;
#[cfg(test)]
mod vocab_tests;
mod wordpiece;

pub(crate) use bytes::byte_to_char;
pub use clip::{ClipTokenizer, ClipVocab, find_word};
pub use guard::Guard;
pub use json::FolderTokenizer;
pub use stream::StreamDecoder;
pub use vocab::{GgufVocab, TokenKind};

use std::ops::Range;

use special::{Fragment, SpecialFinder};
use vocab::Vocab;

use super::TextError;

/// Longest text, in bytes, that is tokenized at once. Positions are 32 bits wide; this leaves room for escapes.
pub const MAX_TEXT: usize = 256 << 20;

/// How to encode a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Add the tokens that the model expects around a text (beginning, end), as far as its file asks for them.
    pub add_special: bool,
    /// Read special tokens that are spelled out in the text (`<|im_start|>`) as such. On for what a chat template made; what in it a person has written is
    /// kept apart by [`Tokenizer::encode_around`].
    pub parse_special: bool,
}

/// A tokenizer of any kind.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    finder: SpecialFinder,
    model: Model,
    /// Tokens that the model expects before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// All pieces one after the other; piece `id` ends at `piece_ends[id]`.
    pieces: Vec<u8>,
    piece_ends: Vec<u32>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Model {
    Spm(spm::Spm),
    Bpe(bpe::Bpe),
    Clip(clip::ClipModel),
    WordPiece(wordpiece::GgufWordPiece),
    Unigram(unigram::GgufUnigram),
    Json(Box<json::JsonModel>),
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// A named [`TextError`] for each fault of the vocabulary. What is odd but usable becomes one of [`Self::warnings`].
    pub fn new(mut raw: GgufVocab) -> Result<Self, TextError> {
        let mut warnings = Vec::new();
        let default_ids = match raw.model.as_str() {
            // SentencePiece's own order, which old files rely on.
            "llama" => (Some(1), Some(2), Some(0)),
            "gpt2" => (None, None, None),
            // BERT's own order, and T5's.
            "bert" => (raw.cls.or(Some(101)), raw.sep.or(Some(102)), Some(100)),
            "t5" => (None, Some(1), Some(2)),
            other => {
                return Err(TextError::UnknownModel {
                    model: super::error::excerpt(other),
                });
            }
        };
        let vocab = Vocab::new(&mut raw, default_ids)?;
        let (model, add_bos, add_eos) = match raw.model.as_str() {
            "llama" => (Model::Spm(spm::Spm::new(&raw, &vocab)?), true, false),
            "bert" => {
                let model = wordpiece::GgufWordPiece::new(&raw, &vocab)?;
                (Model::WordPiece(model), true, true)
            }
            "t5" => {
                let model = unigram::GgufUnigram::new(&raw, &vocab)?;
                (Model::Unigram(model), false, true)
            }
            _ => {
                let bpe = bpe::Bpe::new(&raw, &vocab, &mut warnings)?;
                let add_bos = bpe.add_bos;
                (Model::Bpe(bpe), add_bos, false)
            }
        };
        let swallow_after = raw.name.as_deref().is_some_and(|name| {
            let name = name.to_lowercase();
            name.contains("phi-3") || name.contains("phi3")
        });
        let finder = SpecialFinder::from_vocab(&vocab, swallow_after);
        let around = |wanted: bool, id: Option<u32>| id.filter(|_| wanted).into_iter().collect();
        let prefix = around(raw.add_bos.unwrap_or(add_bos), vocab.bos);
        let suffix = around(raw.add_eos.unwrap_or(add_eos), vocab.eos);
        Self::assemble(vocab, finder, model, prefix, suffix, warnings)
    }

    fn assemble(
        vocab: Vocab,
        finder: SpecialFinder,
        model: Model,
        prefix: Vec<u32>,
        suffix: Vec<u32>,
        warnings: Vec<String>,
    ) -> Result<Self, TextError> {
        let mut pieces = Vec::new();
        let mut piece_ends = Vec::with_capacity(vocab.len());
        for (id, _) in vocab.texts() {
            let piece = match &model {
                Model::Spm(_) => spm::Spm::piece(&vocab, id),
                Model::Bpe(_) => bpe::Bpe::piece(&vocab, id),
                Model::Clip(_) => clip::ClipModel::piece(&vocab, id),
                // Both write spaces as SentencePiece does.
                Model::WordPiece(_) | Model::Unigram(_) => spm::Spm::piece(&vocab, id),
                Model::Json(json) => json.piece(&vocab, id, false),
            };
            pieces.extend_from_slice(&piece);
            piece_ends.push(
                u32::try_from(pieces.len()).map_err(|_| TextError::TooLarge {
                    what: "more than 4 GiB of token text".to_owned(),
                })?,
            );
        }
        Ok(Self {
            vocab,
            finder,
            model,
            prefix,
            suffix,
            pieces,
            piece_ends,
            warnings,
        })
    }

    /// Encodes `text`.
    ///
    /// # Errors
    /// Texts beyond [`MAX_TEXT`], and special tokens that overlap beyond reason.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TextError> {
        self.encode_around(text, options, &[])
    }

    /// As [`Self::encode`]; what spells a special token is text where one of the places `literal` (bytes, sorted) lies within it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_around(
        &self,
        text: &str,
        options: EncodeOptions,
        literal: &[usize],
    ) -> Result<Vec<u32>, TextError> {
        if text.len() > MAX_TEXT {
            return Err(TextError::TextTooLong {
                len: text.len(),
                max: MAX_TEXT,
            });
        }
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_special {
            ids.extend(&self.prefix);
        }
        if let Model::Json(json) = &self.model {
            let read = (options.parse_special, literal);
            json.encode(&self.vocab, text, read, &mut ids)?;
            if options.add_special {
                ids.extend(&self.suffix);
            }
            return Ok(ids);
        }
        // A special token, and the beginning of the text, are followed by the first word of something.
        let mut first = true;
        let fragments = self
            .finder
            .split_around(text, options.parse_special, literal)?;
        for fragment in fragments {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    first = true;
                }
                Fragment::Text(range) => {
                    let text = &text[range];
                    match &self.model {
                        Model::Spm(spm) => spm.encode(&self.vocab, text, first, &mut ids),
                        Model::Bpe(bpe) => bpe.encode(&self.vocab, text, &mut ids)?,
                        Model::Clip(clip) => clip.encode(&self.vocab, text, &mut ids)?,
                        Model::WordPiece(model) => model.encode(&self.vocab, text, &mut ids),
                        Model::Unigram(model) => model.encode(&self.vocab, text, &mut ids),
                        // Was done with above.
                        Model::Json(_) => {}
                    }
                    first = false;
                }
            }
        }
        if options.add_special {
            ids.extend(&self.suffix);
        }
        Ok(ids)
    }

    /// Everything in a text that spells a special token, by its place, in the order of the beginnings; with the token's id.
    ///
    /// # Errors
    /// Special tokens that overlap beyond reason.
    pub fn spelled(&self, text: &str) -> Result<Vec<(Range<usize>, u32)>, TextError> {
        self.finder.spelled(text)
    }

    /// Looks for those of the special tokens that are `wanted`, whole and in part.
    #[must_use]
    pub fn guard(&self, wanted: impl Fn(u32) -> bool) -> Guard {
        let readable = SpecialFinder::readable(&self.vocab);
        let tokens: Vec<(&str, u32)> = readable
            .filter(|(_, id, _)| wanted(*id))
            .map(|(text, id, _)| (text, id))
            .collect();
        Guard::new(&tokens)
    }

    /// The bytes that a token stands for: its text for special tokens, nothing for holes and for ids outside the vocabulary.
    /// Not always UTF-8 by itself: see [`StreamDecoder`].
    pub fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.piece_ends.get(id) else {
            return &[];
        };
        let start = id
            .checked_sub(1)
            .and_then(|id| self.piece_ends.get(id))
            .copied()
            .unwrap_or(0);
        self.pieces.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// A token as the vocabulary writes it (`Ġworld`, `▁world`, `<0x0A>`), or nothing for ids outside the vocabulary.
    pub fn piece_text(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// The text of `ids`, special tokens included as text; broken characters are U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let (json, mut bytes, rest) = match (&self.model, ids) {
            (Model::Json(json), [first, rest @ ..]) => {
                (Some(json), json.piece(&self.vocab, *first, true), rest)
            }
            _ => (None, Vec::new(), ids),
        };
        bytes.extend(rest.iter().flat_map(|&id| self.piece(id)));
        let shown = json.map_or(bytes.as_slice(), |json| json.trim(&bytes));
        String::from_utf8_lossy(shown).into_owned()
    }

    /// The id of a token with exactly this vocabulary text.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.vocab.id(text)
    }

    /// Number of tokens.
    pub fn vocab_len(&self) -> usize {
        self.vocab.len()
    }

    /// Beginning of text.
    pub fn bos(&self) -> Option<u32> {
        self.vocab.bos
    }

    /// End of text.
    pub fn eos(&self) -> Option<u32> {
        self.vocab.eos
    }

    /// End of turn, where the vocabulary has one.
    pub fn eot(&self) -> Option<u32> {
        self.vocab.eot
    }

    /// Unknown token.
    pub fn unk(&self) -> Option<u32> {
        self.vocab.unk
    }

    /// Padding token.
    pub fn pad(&self) -> Option<u32> {
        self.vocab.pad
    }

    /// Whether this token ends a generation.
    pub fn is_end(&self, id: u32) -> bool {
        self.vocab.ends.binary_search(&id).is_ok()
    }

    /// What a token is for; `None` outside the vocabulary.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.vocab.kind(id)
    }

    /// Whether a token is no text: control and unknown tokens are not shown in answers.
    pub fn is_special(&self, id: u32) -> bool {
        matches!(
            self.vocab.kind(id),
            Some(TokenKind::Control | TokenKind::Unknown)
        )
    }

    /// Whether [`EncodeOptions::add_special`] begins texts by [`Self::bos`].
    pub fn add_bos_default(&self) -> bool {
        self.vocab.bos.is_some_and(|id| self.prefix.contains(&id))
    }

    /// Whether [`EncodeOptions::add_special`] ends texts by [`Self::eos`].
    pub fn add_eos_default(&self) -> bool {
        self.vocab.eos.is_some_and(|id| self.suffix.contains(&id))
    }

    /// Whether this is a `tokenizer.json`, whose templates write the tokens around a text themselves.
    pub fn is_json(&self) -> bool {
        matches!(self.model, Model::Json(_))
    }

    /// What is odd about the vocabulary, in words for the person.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
