//! `tokenizer.json` of Hugging Face's `tokenizers`: normalizer, pre-tokenizer, model, post-processor and decoder, each a step or a sequence of steps.
//!
//! Equal to `tokenizers` on what is known here; whatever is not is refused by name, for a text that is cut wrongly gives wrong answers and no error.
//!
//! | file | what |
//! |---|---|
//! | `file`, `step` | the file as it is written, and the settings of one step |
//! | `folder` | what else a folder tells: special tokens, template, ends of a generation |
//! | `added` | tokens that are found before anything else |
//! | `normalize`, `charsmap` | normalizers |
//! | `cut` | pre-tokenizers |
//! | `bpe`, and beside this folder `wordpiece`, `unigram` | models |
//! | `post` | tokens around a text |
//! | `decode` | tokens back to text |

mod added;
mod bpe;
pub(super) mod charsmap;
mod cut;
mod decode;
mod file;
mod folder;
pub(super) mod normalize;
mod post;
mod step;

use std::collections::{HashMap, HashSet};
use std::path::Path;

pub use folder::FolderTokenizer;

use super::unigram::Unigram;
use super::vocab::{GgufVocab, MAX_TOKENS, Vocab};
use super::wordpiece::WordPiece;
use super::{Model, Tokenizer, special};
use crate::text::TextError;
use crate::text::error::excerpt;
use added::Added;
use cut::{Cutter, Piece};
use decode::Decoder;
use file::{AddedToken, File, RawModel, RawVocab};
use normalize::Normalizer;
use post::Around;

/// Characters of a word that WordPiece takes where the file does not say.
const WORD_CHARS: u64 = 100;

/// All steps from text to ids, and the one back.
#[derive(Debug)]
pub(crate) struct JsonModel {
    plain: Added,
    normalized: Added,
    normalizer: Option<Normalizer>,
    cutter: Option<Cutter>,
    kind: Kind,
    decoder: Decoder,
    /// Ids of added tokens, which are text as they stand.
    added_ids: HashSet<u32>,
    /// Those of them that are looked for in normalized text, where that changes them: as they are written there.
    rewritten: HashMap<u32, String>,
}

#[derive(Debug)]
enum Kind {
    Bpe(bpe::Bpe),
    WordPiece(WordPiece),
    Unigram(Unigram),
}

/// What files beside `tokenizer.json` tell.
#[derive(Debug, Default)]
struct Names {
    bos: Option<String>,
    eos: Option<String>,
    unk: Option<String>,
    pad: Option<String>,
    /// Ids that end a generation.
    ends: Vec<u32>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
}

impl JsonModel {
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        (parse_special, literal): (bool, &[usize]),
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let failed = |cause| TextError::Pattern { cause };
        for (range, token) in self.plain.split(text, parse_special, literal)? {
            if let Some(id) = token {
                out.push(id);
                continue;
            }
            let at_start = range.start == 0;
            let mut part = text[range.clone()].to_owned();
            // Places within it, and where they are when it is normalized: behind as much text as before, normalized.
            let within = |place: &&usize| **place > range.start && **place < range.end;
            let within = literal
                .iter()
                .filter(within)
                .map(|place| place - range.start);
            let mut literal: Vec<usize> = within.collect();
            if let Some(normalizer) = &self.normalizer {
                for place in &mut literal {
                    let before = part[..*place].to_owned();
                    *place = normalizer.apply(before).map_err(failed)?.len();
                }
                part = normalizer.apply(part).map_err(failed)?;
            }
            for (range, token) in self.normalized.split(&part, parse_special, &literal)? {
                if let Some(id) = token {
                    out.push(id);
                    continue;
                }
                let whole = Piece {
                    first: at_start && range.start == 0,
                    text: part[range].to_owned(),
                };
                let pieces = match &self.cutter {
                    Some(cutter) => cutter.cut(vec![whole]).map_err(failed)?,
                    None => vec![whole],
                };
                for piece in pieces {
                    match &self.kind {
                        Kind::Bpe(bpe) => bpe.encode(vocab, &piece.text, out),
                        Kind::WordPiece(wordpiece) => wordpiece.encode(vocab, &piece.text, out),
                        Kind::Unigram(unigram) => unigram.encode(vocab, &piece.text, out),
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes that a token stands for, as the `first` of a whole text or after others.
    pub(super) fn piece(&self, vocab: &Vocab, id: u32, first: bool) -> Vec<u8> {
        let rewritten = self.rewritten.get(&id);
        let text = rewritten.map_or_else(|| vocab.text(id).unwrap_or_default(), String::as_str);
        let as_it_stands = rewritten.is_none() && self.added_ids.contains(&id);
        // A pattern that gives up on a token leaves it as it is written.
        self.decoder
            .piece(text, as_it_stands, first)
            .unwrap_or_else(|_| text.as_bytes().to_vec())
    }

    /// What is left of a whole text that begins with `bytes`.
    pub(super) fn trim<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.decoder.trim(bytes)
    }
}

/// Builds the tokenizer of a file's bytes.
fn build(path: &Path, bytes: &[u8], names: &Names) -> Result<Tokenizer, TextError> {
    let fault = |cause: String| TextError::TokenizerFile {
        path: path.into(),
        cause,
    };
    let file: File = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
    assemble(file, names).map_err(fault)
}

fn assemble(file: File, names: &Names) -> step::Result<Tokenizer> {
    let File {
        mut added_tokens,
        normalizer,
        pre_tokenizer,
        post_processor,
        decoder,
        mut model,
    } = file;
    let normalizer = Normalizer::read(&normalizer.0)?;
    let cutter = Cutter::read(&pre_tokenizer.0)?;
    let decoder = Decoder::read(&decoder.0)?;
    let mut around = Around::read(&post_processor.0)?;
    let kind = kind_of(&model)?;
    let (mut raw, scores, foreign) = plain_vocabulary(&mut model, kind, &mut added_tokens)?;
    let id_of = |text: &Option<String>| -> Option<u32> {
        let text = text.as_deref()?;
        let id = raw.tokens.iter().position(|token| token == text)?;
        u32::try_from(id).ok()
    };
    let mut warnings = Vec::new();
    (raw.bos, raw.eos) = (id_of(&names.bos), id_of(&names.eos));
    (raw.unk, raw.pad) = (id_of(&names.unk), id_of(&names.pad));
    raw.bos = raw.bos.or(around.prefix.first().copied());
    for &id in &names.ends {
        if (id as usize) < raw.tokens.len() {
            raw.eog.push(id);
        } else {
            warnings.push(format!(
                "the folder names {id} as an end of a generation, but the vocabulary has only {} tokens",
                raw.tokens.len()
            ));
        }
    }
    raw.eos = raw.eos.or(raw.eog.first().copied());
    if let Some(text) = &model.unk_token {
        raw.unk = id_of(&Some(text.clone()));
    }
    let mut vocab = Vocab::new(&mut raw, (None, None, None)).map_err(|error| error.to_string())?;
    vocab.foreign = foreign;
    let beyond = |id: &u32| *id as usize >= vocab.len();
    if let Some(id) = around
        .prefix
        .iter()
        .chain(&around.suffix)
        .find(|id| beyond(id))
    {
        return Err(format!("the post-processor adds {id}, which is no token"));
    }
    follow_settings(&mut around, &vocab, names);
    let kind = match kind {
        "BPE" => Kind::Bpe(bpe::Bpe::read(&mut model, &vocab)?),
        "WordPiece" => {
            let unk = bpe::unknown(&model, &vocab)?;
            let unk = unk.ok_or("the model does not name its `unk_token`")?;
            let most = model.max_input_chars_per_word.unwrap_or(WORD_CHARS);
            let rest = model.continuing_subword_prefix.as_deref().unwrap_or("##");
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            Kind::WordPiece(WordPiece::new("", rest, most, unk))
        }
        _ => {
            let unk = model.unk_id;
            if let Some(id) = unk.filter(beyond) {
                return Err(format!("`unk_id` of the model is {id}, which is no token"));
            }
            let bytes = model.byte_fallback.unwrap_or(false);
            let bytes = bytes.then(|| bpe::byte_tokens(&vocab));
            // Tokens that were added later are no part of the model.
            let own = scores.len();
            let usable = |id: u32| (id as usize) < own;
            let unigram = Unigram::new(&vocab, scores, unk, bytes, usable);
            Kind::Unigram(unigram.map_err(|error| error.to_string())?)
        }
    };
    let (mut normalized, mut rewritten) = (Vec::new(), HashMap::new());
    for token in added_tokens.iter().filter(|token| token.normalized) {
        let text = match &normalizer {
            Some(normalizer) => normalizer.apply(token.content.clone())?,
            None => token.content.clone(),
        };
        if text != token.content {
            rewritten.insert(token.id, text.clone());
        }
        normalized.push((text, token));
    }
    let plain = added_tokens.iter().filter(|token| !token.normalized);
    let json = JsonModel {
        plain: Added::new(plain.map(|token| (token.content.clone(), token))),
        normalized: Added::new(normalized.into_iter()),
        added_ids: added_tokens.iter().map(|token| token.id).collect(),
        rewritten,
        normalizer,
        cutter,
        kind,
        decoder,
    };
    let finder = special::SpecialFinder::from_vocab(&vocab, false);
    let tokenizer = Tokenizer::assemble(
        vocab,
        finder,
        Model::Json(Box::new(json)),
        around.prefix,
        around.suffix,
        warnings,
    );
    tokenizer.map_err(|error| error.to_string())
}

/// The kind of model; files of before 2020-11 do not name it.
fn kind_of(model: &RawModel) -> step::Result<&'static str> {
    const KNOWN: [&str; 3] = ["BPE", "WordPiece", "Unigram"];
    match model.kind.as_deref() {
        Some(kind) => KNOWN
            .into_iter()
            .find(|known| *known == kind)
            .ok_or_else(|| {
                format!(
                    "the model is of the kind `{}`; {} are known here",
                    excerpt(kind),
                    KNOWN.join(", ")
                )
            }),
        None if model.merges.is_some() => Ok("BPE"),
        None if matches!(model.vocab, RawVocab::Scores(_)) => Ok("Unigram"),
        None => Ok("WordPiece"),
    }
}

/// Texts and kinds by id. Added tokens that the model knows get the model's ids.
fn plain_vocabulary(
    model: &mut RawModel,
    kind: &str,
    added: &mut [AddedToken],
) -> step::Result<(GgufVocab, Vec<f64>, HashSet<u32>)> {
    let vocab = std::mem::replace(&mut model.vocab, RawVocab::Ids(Vec::new()));
    let mut scores = Vec::new();
    let entries: Vec<(String, u32)> = match (vocab, kind) {
        (RawVocab::Ids(entries), "BPE" | "WordPiece") => entries,
        (RawVocab::Scores(entries), "Unigram") => {
            scores = entries.iter().map(|(_, score)| *score).collect();
            let texts = entries.into_iter().map(|(text, _)| text);
            // Not more than MAX_TOKENS.
            texts.zip(0u32..).collect()
        }
        // An empty list is an empty object, too.
        (RawVocab::Scores(entries), _) if entries.is_empty() => Vec::new(),
        _ => return Err(format!("the vocabulary is not that of a {kind} model")),
    };
    let by_text: HashMap<&str, u32> = entries
        .iter()
        .map(|(text, id)| (text.as_str(), *id))
        .collect();
    let mut foreign = HashSet::new();
    for token in added.iter_mut() {
        match by_text.get(token.content.as_str()) {
            Some(id) => token.id = *id,
            None => {
                foreign.insert(token.id);
            }
        }
    }
    let ids = entries.iter().map(|(_, id)| *id);
    let most = ids.chain(added.iter().map(|token| token.id)).max();
    let len = most.map_or(0, |most| most as usize + 1);
    // Holes are rare: far more of them than tokens is a lie.
    if len > MAX_TOKENS || len > 8 * (entries.len() + added.len()) + 1024 {
        return Err(format!(
            "token {} of {} is beyond reason",
            len - 1,
            entries.len() + added.len()
        ));
    }
    let mut tokens = vec![String::new(); len];
    let mut types = vec![5; len];
    let is_byte = |text: &str| super::spm::byte_value(text).is_some();
    let falls_back = model.byte_fallback.unwrap_or(false);
    for (text, id) in entries {
        let id = id as usize;
        if types[id] != 5 {
            return Err(format!(
                "{:?} and {:?} are both token {id}",
                excerpt(&tokens[id]),
                excerpt(&text)
            ));
        }
        types[id] = match falls_back && is_byte(&text) {
            true => 6,
            false => 1,
        };
        if model.unk_token.as_deref() == Some(text.as_str())
            || kind == "Unigram" && model.unk_id == Some(id as u32)
        {
            types[id] = 2;
        }
        tokens[id] = text;
    }
    for token in added {
        let id = token.id as usize;
        if types[id] != 5 && tokens[id] != token.content {
            return Err(format!(
                "the added token {:?} has the id of {:?}",
                excerpt(&token.content),
                excerpt(&tokens[id])
            ));
        }
        tokens[id].clone_from(&token.content);
        if types[id] != 2 {
            types[id] = if token.special { 3 } else { 4 };
        }
    }
    let vocab = GgufVocab {
        model: kind.to_owned(),
        tokens,
        types: Some(types),
        ..GgufVocab::default()
    };
    Ok((vocab, scores, foreign))
}

/// `add_bos_token` and `add_eos_token` of `tokenizer_config.json` have the last word, as in transformers.
fn follow_settings(around: &mut Around, vocab: &Vocab, names: &Names) {
    if let (Some(wanted), Some(bos)) = (names.add_bos, vocab.bos) {
        around.prefix.retain(|id| *id != bos);
        if wanted {
            around.prefix.insert(0, bos);
        }
    }
    if let (Some(wanted), Some(eos)) = (names.add_eos, vocab.eos) {
        around.suffix.retain(|id| *id != eos);
        if wanted {
            around.suffix.push(eos);
        }
    }
}
