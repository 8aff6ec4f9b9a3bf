//! BPE over characters (Sennrich et al. 2016) as `tokenizer.json` describes it: with prefixes within words, suffixes at their ends, byte fallback.

use super::file::RawModel;
use super::step::Result;
use crate::text::tokenizer::merge::Merges;
use crate::text::tokenizer::vocab::Vocab;

/// What BPE needs beside the vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    merges: Merges,
    unk: Option<u32>,
    fuse_unk: bool,
    /// The tokens of all bytes, where what is unknown is spelled byte by byte.
    bytes: Option<Box<[Option<u32>; 256]>>,
    prefix: String,
    suffix: String,
    /// Words that are tokens stay whole, whatever the merges say.
    whole_words: bool,
}

impl Bpe {
    pub(super) fn read(raw: &mut RawModel, vocab: &Vocab) -> Result<Self> {
        if raw.dropout.is_some_and(|dropout| dropout != 0.0) {
            return Err(
                "`dropout` of the model cuts text at random, which is for training; remove it"
                    .into(),
            );
        }
        let pairs = raw.merges.take().ok_or("the model has no `merges`")?.0;
        let prefix = raw.continuing_subword_prefix.take().unwrap_or_default();
        let merges = Merges::from_pairs(
            vocab,
            pairs.iter().map(|(l, r)| (l.as_str(), r.as_str())),
            &prefix,
        )
        .map_err(|error| error.to_string())?;
        if let Some(text) = merges.extra_text(vocab.len() as u32) {
            return Err(format!(
                "the merges need {:?}, which is no token",
                crate::text::error::excerpt(text)
            ));
        }
        let bytes = raw
            .byte_fallback
            .unwrap_or(false)
            .then(|| Box::new(byte_tokens(vocab)));
        Ok(Self {
            merges,
            unk: unknown(raw, vocab)?,
            fuse_unk: raw.fuse_unk.unwrap_or(false),
            bytes,
            prefix,
            suffix: raw.end_of_word_suffix.take().unwrap_or_default(),
            whole_words: raw.ignore_merges.unwrap_or(false),
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, word: &str, out: &mut Vec<u32>) {
        if self.whole_words
            && let Some(id) = vocab.own_id(word)
        {
            out.push(id);
            return;
        }
        let mut symbols = Vec::with_capacity(word.len());
        let mut unknown: Option<u32> = None;
        let mut spelled = String::new();
        let mut chars = word.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            spelled.clear();
            if at > 0 {
                spelled.push_str(&self.prefix);
            }
            spelled.push(c);
            if chars.peek().is_none() {
                spelled.push_str(&self.suffix);
            }
            if let Some(id) = vocab.own_id(&spelled) {
                symbols.extend(unknown.take());
                symbols.push(id);
                continue;
            }
            if let Some(bytes) = &self.bytes {
                let ids = spelled.bytes().map(|byte| bytes[usize::from(byte)]);
                if ids.clone().all(|id| id.is_some()) {
                    symbols.extend(ids.flatten());
                    continue;
                }
            }
            if let Some(id) = self.unk {
                if !self.fuse_unk {
                    symbols.extend(unknown.take());
                }
                unknown = Some(id);
            }
        }
        symbols.extend(unknown);
        self.merges.run(&mut symbols);
        out.extend(symbols);
    }
}

/// The tokens `<0x00>` to `<0xFF>`.
pub(super) fn byte_tokens(vocab: &Vocab) -> [Option<u32>; 256] {
    std::array::from_fn(|byte| vocab.id(&format!("<0x{byte:02X}>")))
}

/// The token for what cannot be spelled, by its text.
pub(super) fn unknown(raw: &RawModel, vocab: &Vocab) -> Result<Option<u32>> {
    let Some(text) = raw.unk_token.as_deref() else {
        return Ok(None);
    };
    let id = vocab.id(text);
    id.map(Some).ok_or_else(|| {
        let text = crate::text::error::excerpt(text);
        format!("`unk_token` of the model is {text:?}, which is no token")
    })
}
