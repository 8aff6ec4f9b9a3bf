//! Byte-level BPE: GGUF's `gpt2` kind (GPT-2, Llama 3, Qwen, SmolLM, ...).

use super::bytes::{byte_to_char, decode_token};
use super::merge::Merges;
use super::pre::{PreTokenizer, family_of};
use super::vocab::{GgufVocab, TokenKind, Vocab};
use crate::text::TextError;

/// What a byte-level tokenizer needs beside the vocabulary.
#[derive(Debug)]
pub(crate) struct Bpe {
    pre: PreTokenizer,
    merges: Merges,
    /// The symbol of each byte; `u32::MAX` where neither vocabulary nor merges know it.
    bytes: Vec<u32>,
    whole_words: bool,
    /// Whether the family begins texts by a special token.
    pub(crate) add_bos: bool,
}

const UNKNOWN: u32 = u32::MAX;

impl Bpe {
    pub(crate) fn new(
        raw: &GgufVocab,
        vocab: &Vocab,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TextError> {
        let lines = raw.merges.as_ref().ok_or_else(|| TextError::MissingList {
            key: "tokenizer.ggml.merges",
            model: raw.model.clone(),
        })?;
        let merges = Merges::new(vocab, lines.iter().map(String::as_str))?;
        let family = family_of(raw.pre.as_deref());
        if !family.known {
            warnings.push(match &raw.pre {
                Some(name) => format!(
                    "the pre-tokenizer {name:?} is not known; text is cut by the default pattern, so answers may be worse"
                ),
                None => "the file does not name its pre-tokenizer; text is cut by the default pattern, so answers may be worse: \
                         convert the model again"
                    .to_owned(),
            });
        }
        let bytes: Vec<u32> = (0..=255u8)
            .map(|byte| {
                let c = byte_to_char(byte);
                merges
                    .symbol(vocab, c.encode_utf8(&mut [0; 4]))
                    .unwrap_or(UNKNOWN)
            })
            .collect();
        let missing = (0..=255u8)
            .filter(|&byte| {
                // Bytes that never occur in UTF-8 are no loss.
                !matches!(byte, 0xC0 | 0xC1 | 0xF5..=0xFF)
                    && vocab
                        .id(byte_to_char(byte).encode_utf8(&mut [0; 4]))
                        .is_none()
            })
            .count();
        if missing > 0 && vocab.unk.is_none() {
            warnings.push(format!(
                "the vocabulary lacks {missing} of the 256 bytes and has no token for unknown ones: text that needs them is dropped"
            ));
        }
        Ok(Self {
            pre: PreTokenizer::new(&family)?,
            merges,
            bytes,
            whole_words: family.whole_words,
            add_bos: family.add_bos,
        })
    }

    /// Encodes a stretch without special tokens. (llama.cpp never puts a space before byte-level text, whatever the file says.)
    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        out: &mut Vec<u32>,
    ) -> Result<(), TextError> {
        let mut symbols = Vec::new();
        let mut spelled = String::new();
        for word in self.pre.split(text)? {
            let word = &text.as_bytes()[word];
            if self.whole_words && word.len() <= vocab.longest() {
                spelled.clear();
                spelled.extend(word.iter().map(|&byte| byte_to_char(byte)));
                if let Some(id) = vocab.id(&spelled) {
                    out.push(id);
                    continue;
                }
            }
            symbols.clear();
            symbols.extend(word.iter().map(|&byte| self.bytes[usize::from(byte)]));
            self.merges.run(&mut symbols);
            for &symbol in &symbols {
                self.emit(vocab, symbol, out);
            }
        }
        Ok(())
    }

    fn emit(&self, vocab: &Vocab, symbol: u32, out: &mut Vec<u32>) {
        if (symbol as usize) < vocab.len() {
            out.push(symbol);
            return;
        }
        // The merges built something that is no token: fall back on its characters.
        match self.merges.extra_text(symbol) {
            Some(text) => {
                for c in text.chars() {
                    out.extend(vocab.id(c.encode_utf8(&mut [0; 4])).or(vocab.unk));
                }
            }
            None => out.extend(vocab.unk),
        }
    }

    /// The bytes that a token stands for.
    pub(crate) fn piece(vocab: &Vocab, id: u32) -> Vec<u8> {
        match (vocab.text(id), vocab.kind(id)) {
            (Some(text), Some(TokenKind::Normal | TokenKind::Byte)) => decode_token(text),
            (None, _) | (_, None | Some(TokenKind::Unused)) => Vec::new(),
            (Some(text), Some(_)) => text.as_bytes().to_vec(),
        }
    }
}
