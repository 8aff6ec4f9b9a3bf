//! CLIP's tokenizer (Radford et al. 2021): lower-cased byte-level BPE whose words end in `</w>`.
//!
//! Text is brought to NFC, white space becomes single spaces, and letters become lower case; that is what `transformers` does. (OpenAI's first
//! encoder also repaired mojibake and HTML entities; no program people use does.)

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use fancy_regex::Regex;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::bytes::{byte_to_char, decode_token};
use super::merge::Merges;
use super::special::{Fragment, SpecialFinder};
use super::vocab::{GgufVocab, MAX_TOKENS, TokenKind, Vocab};
use super::{EncodeOptions, Model, Tokenizer, pre};
use crate::text::TextError;

const WORD_END: &str = "</w>";
/// Number of merges that OpenAI's vocabulary of 49,408 uses: without 256 bytes, 256 bytes at a word's end and two special tokens.
const OPENAI_MERGES: usize = 49_152 - 256 - 2;
/// Most bytes that a tokenizer file may have; real ones have about 3 MB.
const MAX_FILE: u64 = 64 << 20;
/// Tokens that a sequence has where the folder does not say (the length that every Stable Diffusion has).
const DEFAULT_LENGTH: usize = 77;

/// A CLIP vocabulary before any check.
#[derive(Debug, Clone)]
pub struct ClipVocab {
    /// Token texts by id; empty for holes.
    pub tokens: Vec<String>,
    /// `left right`, best first.
    pub merges: Vec<String>,
    /// Text of the token at the beginning.
    pub bos: String,
    /// Text of the token at the end.
    pub eos: String,
    /// Text of the token for what cannot be spelled.
    pub unk: String,
    /// Text of the token that fills a sequence up: `<|endoftext|>` for Stable Diffusion 1.x, `!` for 2.x.
    pub pad: String,
    /// Tokens of a whole sequence, beginning and end included.
    pub max_length: usize,
}

/// What CLIP needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct ClipModel {
    merges: Merges,
    pattern: Regex,
    /// The symbol of each byte within a word.
    inner: Vec<u32>,
    /// The symbol of each byte at a word's end.
    last: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl ClipModel {
    fn new<'a>(
        vocab: &Vocab,
        merges: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Self, TextError> {
        let merges = Merges::new(vocab, merges)?;
        let inner = (0..=255u8)
            .map(|byte| {
                vocab
                    .id(byte_to_char(byte).encode_utf8(&mut [0; 4]))
                    .unwrap_or(UNKNOWN)
            })
            .collect();
        let last = (0..=255u8)
            .map(|byte| {
                vocab
                    .id(&format!("{}{WORD_END}", byte_to_char(byte)))
                    .unwrap_or(UNKNOWN)
            })
            .collect();
        Ok(Self {
            merges,
            pattern: Regex::new(pre::CLIP).map_err(|error| TextError::Pattern {
                cause: error.to_string(),
            })?,
            inner,
            last,
        })
    }

    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let clean: String = text
            .nfc()
            .map(|c| if c.is_whitespace() { ' ' } else { c })
            .flat_map(char::to_lowercase)
            .collect();
        let mut symbols = Vec::new();
        for word in self.pattern.find_iter(&clean) {
            let word = word.map_err(|error| TextError::Pattern {
                cause: error.to_string(),
            })?;
            let Some((&end, start)) = word.as_str().as_bytes().split_last() else {
                continue;
            };
            symbols.clear();
            symbols.extend(start.iter().map(|&byte| self.inner[usize::from(byte)]));
            symbols.push(self.last[usize::from(end)]);
            self.merges.run(&mut symbols);
            out.extend(symbols.iter().filter_map(|&symbol| {
                if (symbol as usize) < vocab.len() {
                    Some(symbol)
                } else {
                    vocab.unk
                }
            }));
        }
        Ok(())
    }

    /// The bytes that a token stands for; a word's end is a space.
    pub(crate) fn piece(vocab: &Vocab, id: u32) -> Vec<u8> {
        match (vocab.text(id), vocab.kind(id)) {
            (Some(text), Some(TokenKind::Normal)) => match text.strip_suffix(WORD_END) {
                Some(text) => {
                    let mut bytes = decode_token(text);
                    bytes.push(b' ');
                    bytes
                }
                None => decode_token(text),
            },
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, _) => Vec::new(),
        }
    }
}

/// CLIP's tokenizer with the sequence length and the padding of one model.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    tokenizer: Arc<Tokenizer>,
    bos: u32,
    eos: u32,
    pad: u32,
    /// The padding token is spelled in prompts (`!`), not only put at the end.
    pad_in_text: Option<Arc<SpecialFinder>>,
    comma: Option<u32>,
    max_length: usize,
    /// Learnt words in lower case, the longest first, and the ids that they become.
    words: Vec<(String, Range<u32>)>,
}

impl ClipTokenizer {
    /// Builds the tokenizer.
    ///
    /// # Errors
    /// Missing special tokens, faulty merges, a sequence too short to hold its own beginning and end.
    pub fn new(raw: ClipVocab) -> Result<Self, TextError> {
        let by_text: HashMap<&str, usize> = raw
            .tokens
            .iter()
            .enumerate()
            .map(|(id, text)| (text.as_str(), id))
            .collect();
        let find = |text: &str| {
            by_text
                .get(text)
                .and_then(|&id| u32::try_from(id).ok())
                .ok_or_else(|| TextError::ClipToken {
                    token: crate::text::error::excerpt(text),
                })
        };
        let (bos, eos, unk, pad) = (
            find(&raw.bos)?,
            find(&raw.eos)?,
            find(&raw.unk)?,
            find(&raw.pad)?,
        );
        if raw.max_length < 3 || raw.max_length > 1 << 16 {
            return Err(TextError::TooLarge {
                what: format!(
                    "a CLIP sequence of {} tokens (3 to 65536 are possible)",
                    raw.max_length
                ),
            });
        }
        let mut plain = GgufVocab {
            model: "clip".to_owned(),
            tokens: raw.tokens,
            bos: Some(bos),
            eos: Some(eos),
            unk: Some(unk),
            pad: Some(pad),
            ..GgufVocab::default()
        };
        plain.types = Some(
            (0..plain.tokens.len())
                .map(|id| {
                    if id == bos as usize || id == eos as usize {
                        3
                    } else {
                        1
                    }
                })
                .collect(),
        );
        let vocab = Vocab::new(&mut plain, (None, None, None))?;
        let model = ClipModel::new(&vocab, raw.merges.iter().map(String::as_str))?;
        let finder = SpecialFinder::from_vocab(&vocab, false);
        let pad_in_text = (pad != eos && pad != bos).then(|| {
            Arc::new(SpecialFinder::new(
                [
                    (raw.bos.as_str(), bos, false),
                    (raw.eos.as_str(), eos, false),
                    (raw.pad.as_str(), pad, false),
                ]
                .into_iter(),
                false,
            ))
        });
        let comma = vocab.id(",</w>");
        let (prefix, suffix) = (vec![bos], vec![eos]);
        let model = Model::Clip(model);
        Ok(Self {
            tokenizer: Arc::new(Tokenizer::assemble(
                vocab,
                finder,
                model,
                prefix,
                suffix,
                Vec::new(),
            )?),
            bos,
            eos,
            pad,
            pad_in_text,
            comma,
            max_length: raw.max_length,
            words: Vec::new(),
        })
    }

    /// Reads `vocab.json` and `merges.txt` (or `tokenizer.json`) of a diffusers folder's `tokenizer`, and what `tokenizer_config.json` and
    /// `special_tokens_map.json` say of special tokens and length.
    ///
    /// # Errors
    /// [`TextError::ClipFile`] names the file that is missing or damaged.
    pub fn from_folder(folder: &Path) -> Result<Self, TextError> {
        let config = read_json(&folder.join("tokenizer_config.json"), false)?;
        let map = read_json(&folder.join("special_tokens_map.json"), false)?;
        let special = |key: &str, default: &str| {
            [&config, &map]
                .into_iter()
                .flatten()
                .find_map(|json| token_text(json.get(key)?))
                .unwrap_or_else(|| default.to_owned())
        };
        let eos = special("eos_token", "<|endoftext|>");
        let (tokens, merges) = read_vocab(folder)?;
        let max_length = config
            .as_ref()
            .and_then(|json| json.get("model_max_length"))
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
            // Folders without a limit carry a huge number here.
            .filter(|&n| n <= 4096)
            .unwrap_or(DEFAULT_LENGTH);
        Self::new(ClipVocab {
            tokens,
            merges,
            bos: special("bos_token", "<|startoftext|>"),
            unk: special("unk_token", &eos),
            pad: special("pad_token", &eos),
            eos,
            max_length,
        })
    }

    /// OpenAI's vocabulary of 49,408 tokens, derived from its merge list (`assets/tokenizers/clip/merges.txt`) as OpenAI's code does it:
    /// bytes, bytes at a word's end, merges, two special tokens. `pad` is `<|endoftext|>` for Stable Diffusion 1.x, `!` for 2.x.
    ///
    /// # Errors
    /// [`TextError::ClipFile`] if the file is missing or too short.
    pub fn from_merges(file: &Path, pad: &str) -> Result<Self, TextError> {
        let text = read_text(file)?;
        let merges: Vec<String> = merge_lines(&text)
            .take(OPENAI_MERGES)
            .map(str::to_owned)
            .collect();
        if merges.len() < OPENAI_MERGES {
            return Err(TextError::ClipFile {
                path: file.to_owned(),
                cause: format!(
                    "{} merges instead of {OPENAI_MERGES}: the file is cut short",
                    merges.len()
                ),
            });
        }
        // OpenAI lists the bytes that stand for themselves first, then the others.
        let (mut alphabet, others): (Vec<char>, Vec<char>) = (0..=255u8)
            .map(byte_to_char)
            .partition(|c| (*c as u32) < 0x100);
        alphabet.extend(others);
        let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
        tokens.extend(alphabet.iter().map(|c| format!("{c}{WORD_END}")));
        tokens.extend(merges.iter().map(|line| line.replacen(' ', "", 1)));
        tokens.push("<|startoftext|>".to_owned());
        tokens.push("<|endoftext|>".to_owned());
        Self::new(ClipVocab {
            tokens,
            merges,
            bos: "<|startoftext|>".to_owned(),
            eos: "<|endoftext|>".to_owned(),
            unk: "<|endoftext|>".to_owned(),
            pad: pad.to_owned(),
            max_length: DEFAULT_LENGTH,
        })
    }

    /// The same tokenizer for sequences of `max_length` tokens (the text encoder's `max_position_embeddings`).
    ///
    /// # Errors
    /// Fewer than 3 tokens or more than 65,536.
    pub fn with_max_length(mut self, max_length: usize) -> Result<Self, TextError> {
        if !(3..=1 << 16).contains(&max_length) {
            return Err(TextError::TooLarge {
                what: format!("a CLIP sequence of {max_length} tokens (3 to 65536 are possible)"),
            });
        }
        self.max_length = max_length;
        Ok(self)
    }

    /// Ids of `text` without beginning, end and padding, of any length. A beginning or end that is spelled out in the text is read as such.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_words(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        self.with_learnt(text, |text| self.tokenizer.encode(text, options))
    }

    /// The same tokenizer with learnt words: each is found in texts where it stands by itself, in capitals or not, also as
    /// `embedding:word` as ComfyUI has it, and becomes the ids given, which are beyond the vocabulary.
    #[must_use]
    pub fn with_words(&self, words: Vec<(String, Range<u32>)>) -> Self {
        let lower = |(word, ids): (String, Range<u32>)| (word.to_lowercase(), ids);
        let mut words: Vec<_> = words.into_iter().map(lower).collect();
        words.retain(|(word, _)| !word.is_empty());
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Self {
            words,
            ..self.clone()
        }
    }

    /// Encodes what stands between learnt words by `plain`.
    fn with_learnt(
        &self,
        text: &str,
        plain: impl Fn(&str) -> Result<Vec<u32>, TextError>,
    ) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((range, word)) = self.first_word(rest) {
            ids.extend(plain(rest.get(..range.start).unwrap_or(""))?);
            ids.extend(word);
            rest = rest.get(range.end..).unwrap_or("");
        }
        if ids.is_empty() || !rest.is_empty() {
            ids.extend(plain(rest)?);
        }
        Ok(ids)
    }

    /// The first learnt word of a text, the longest of several at one place.
    fn first_word(&self, text: &str) -> Option<(Range<usize>, Range<u32>)> {
        let found = self.words.iter().filter_map(|(word, ids)| {
            let range = find_word(text, word)?;
            Some((range, ids.clone()))
        });
        // Of equal places the first stays, and words are sorted by length.
        found.min_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)))
    }

    /// Ids of `text` as `transformers` gives them, without beginning, end and padding. It differs from [`Self::encode_words`] where the
    /// padding token is one that prompts contain: `!` is token 0 for Stable Diffusion 2.x.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_words_padded(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let Some(finder) = &self.pad_in_text else {
            return self.encode_words(text);
        };
        self.with_learnt(text, |text| self.encode_padded(finder, text))
    }

    fn encode_padded(&self, finder: &SpecialFinder, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        for fragment in finder.split_around(text, true, &[])? {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(range) => ids.extend(
                    self.tokenizer
                        .encode(&text[range], EncodeOptions::default())?,
                ),
            }
        }
        Ok(ids)
    }

    /// A whole sequence of [`Self::max_length`] ids from the ids of words: beginning, words, end, padding. What does not fit is returned
    /// as the second value.
    pub fn sequence<'a>(&self, words: &'a [u32]) -> (Vec<u32>, &'a [u32]) {
        let (kept, cut) = words.split_at(words.len().min(self.chunk_length()));
        let mut ids = Vec::with_capacity(self.max_length);
        ids.push(self.bos);
        ids.extend_from_slice(kept);
        ids.push(self.eos);
        ids.resize(self.max_length, self.pad);
        (ids, cut)
    }

    /// Tokens of a whole sequence, beginning and end included (77).
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokens of a sequence without beginning and end (75).
    pub fn chunk_length(&self) -> usize {
        self.max_length - 2 // at least 3 by construction
    }

    /// The token at the beginning.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// The token at the end.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The token that fills a sequence up.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The token of a comma, where the vocabulary has one.
    pub fn comma(&self) -> Option<u32> {
        self.comma
    }

    /// The plain tokenizer: pieces, ids, sizes.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// Where a word, in lower case, stands by itself in a text; with `embedding:` before it, if that is there.
#[must_use]
pub fn find_word(text: &str, word: &str) -> Option<Range<usize>> {
    const PREFIX: &str = "embedding:";
    // Only ASCII is folded, so that places stay those of the text.
    let same = |text: &str| text.eq_ignore_ascii_case(word) || text.to_lowercase() == word;
    let letter = |c: char| c.is_alphanumeric();
    for (start, _) in text.char_indices() {
        let end = start + word.len();
        let Some(found) = text.get(start..end) else {
            continue;
        };
        let before = text.get(..start).unwrap_or("");
        let after = text.get(end..).unwrap_or("");
        let ends = |text: &str| text.chars().next_back().is_some_and(letter);
        let begins = |text: &str| text.chars().next().is_some_and(letter);
        let joined = ends(before) && begins(word) || begins(after) && ends(word);
        if !joined && same(found) {
            let prefix = before
                .len()
                .checked_sub(PREFIX.len())
                .and_then(|at| before.get(at..));
            let has_prefix = prefix.is_some_and(|text| text.eq_ignore_ascii_case(PREFIX));
            let start = if has_prefix {
                start - PREFIX.len()
            } else {
                start
            };
            return Some(start..end);
        }
    }
    None
}

fn file_error(path: &Path, cause: impl std::fmt::Display) -> TextError {
    TextError::ClipFile {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

fn read_text(path: &Path) -> Result<String, TextError> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| file_error(path, error))?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| file_error(path, error))?;
    if text.len() as u64 > MAX_FILE {
        return Err(file_error(
            path,
            format!("more than {MAX_FILE} bytes: this is no tokenizer file"),
        ));
    }
    Ok(text)
}

/// A JSON file; `None` if it may be missing and is.
fn read_json(path: &Path, required: bool) -> Result<Option<Value>, TextError> {
    if !required && !path.exists() {
        return Ok(None);
    }
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| file_error(path, error))
}

/// A special token is a string or an object with its `content`.
fn token_text(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value.get("content").and_then(Value::as_str))
        .map(str::to_owned)
}

/// Merge lines of `merges.txt`, without the version line and empty lines.
fn merge_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .enumerate()
        .filter(|(n, line)| {
            !(line.trim().is_empty()
                || *n == 0 && (line.starts_with("#version") || line.contains("version:")))
        })
        .map(|(_, line)| line.trim_end())
}

fn read_vocab(folder: &Path) -> Result<(Vec<String>, Vec<String>), TextError> {
    let (vocab_path, merges_path) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let single = folder.join("tokenizer.json");
    if vocab_path.exists() || !single.exists() {
        let vocab = read_json(&vocab_path, true)?.unwrap_or(Value::Null);
        let merges = read_text(&merges_path)?;
        return Ok((
            tokens_by_id(&vocab, &[], &vocab_path)?,
            merge_lines(&merges).map(str::to_owned).collect(),
        ));
    }
    // Recent versions of transformers save everything in one file.
    let json = read_json(&single, true)?.unwrap_or(Value::Null);
    let model = json.get("model").unwrap_or(&Value::Null);
    let no_added = Vec::new();
    let added = json
        .get("added_tokens")
        .and_then(Value::as_array)
        .unwrap_or(&no_added);
    let tokens = tokens_by_id(model.get("vocab").unwrap_or(&Value::Null), added, &single)?;
    let merges = model
        .get("merges")
        .and_then(Value::as_array)
        .ok_or_else(|| file_error(&single, "no list `model.merges`"))?
        .iter()
        .map(|merge| match merge {
            Value::String(line) => Some(line.clone()),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
                _ => None,
            },
            _ => None,
        })
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| {
            file_error(
                &single,
                "`model.merges` has an entry which is not a pair of strings",
            )
        })?;
    Ok((tokens, merges))
}

/// Token texts by id from `{"text": id}` and a list of `{"content": text, "id": id}`.
fn tokens_by_id(vocab: &Value, added: &[Value], path: &Path) -> Result<Vec<String>, TextError> {
    let vocab = vocab
        .as_object()
        .ok_or_else(|| file_error(path, "no table of tokens and their ids"))?;
    let mut pairs: Vec<(&str, usize)> = Vec::with_capacity(vocab.len() + added.len());
    for (text, id) in vocab {
        let id = id
            .as_u64()
            .and_then(|id| usize::try_from(id).ok())
            .ok_or_else(|| {
                file_error(
                    path,
                    format!(
                        "the id of {:?} is not a number",
                        crate::text::error::excerpt(text)
                    ),
                )
            })?;
        pairs.push((text, id));
    }
    for token in added {
        if let (Some(text), Some(id)) = (
            token.get("content").and_then(Value::as_str),
            token
                .get("id")
                .and_then(Value::as_u64)
                .and_then(|id| usize::try_from(id).ok()),
        ) && !vocab.contains_key(text)
        {
            pairs.push((text, id));
        }
    }
    let len = pairs
        .iter()
        .map(|&(_, id)| id.saturating_add(1))
        .max()
        .unwrap_or(0);
    if len > MAX_TOKENS {
        return Err(file_error(
            path,
            format!(
                "token ids up to {} (at most {MAX_TOKENS} are possible)",
                len - 1
            ),
        ));
    }
    let mut tokens = vec![String::new(); len];
    for (text, id) in pairs {
        if !tokens[id].is_empty() {
            return Err(file_error(path, format!("two tokens have id {id}")));
        }
        tokens[id] = text.to_owned();
    }
    Ok(tokens)
}
