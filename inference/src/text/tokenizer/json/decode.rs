//! Decoders: from tokens back to text. What a token stands for is a matter of that token alone, so that answers can be shown as they come; only what is done to
//! the first token of a whole text and to its beginning is left to [`Decoder::piece`] and [`Decoder::trim`].

use serde_json::Value;

use super::cut::{Prepend, metaspace};
use super::step::{Pattern, Result, Settings};
use crate::text::tokenizer::bytes::char_to_byte;

/// One step for one token.
#[derive(Debug)]
enum Step {
    ByteLevel,
    ByteFallback,
    Replace {
        pattern: Pattern,
        content: String,
    },
    Metaspace {
        mark: char,
        first_without: bool,
    },
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    Suffix(String),
    /// Without a decoder tokens are joined by spaces.
    Joined,
}

/// What the beginning of a whole text loses.
#[derive(Clone, Copy, Debug)]
struct Trim {
    c: char,
    most: usize,
}

/// The decoder.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    steps: Vec<Step>,
    trim: Option<Trim>,
}

/// Punctuation that WordPiece's clean-up draws to the word before it.
const CLEANUP: [(&str, &str); 11] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

impl Decoder {
    pub(super) fn read(value: &Value) -> Result<Self> {
        let mut decoder = Self::default();
        decoder.add(value)?;
        if value.is_null() {
            decoder.steps.push(Step::Joined);
        }
        Ok(decoder)
    }

    fn add(&mut self, value: &Value) -> Result<()> {
        let Some(s) = Settings::of("decoder", value)? else {
            return Ok(());
        };
        match s.kind {
            "Sequence" => {
                for value in s.list("decoders")? {
                    self.add(value)?;
                }
            }
            "ByteLevel" => self.steps.push(Step::ByteLevel),
            "ByteFallback" => self.steps.push(Step::ByteFallback),
            // Joining comes by itself.
            "Fuse" => {}
            "Replace" => self.steps.push(Step::Replace {
                pattern: s.pattern("pattern")?,
                content: s.text("content")?.to_owned(),
            }),
            "Metaspace" => {
                let (mark, prepend) = metaspace(&s)?;
                self.steps.push(Step::Metaspace {
                    mark,
                    first_without: prepend != Prepend::Never,
                });
            }
            "WordPiece" => {
                self.steps.push(Step::WordPiece {
                    prefix: s.text_or("prefix", "##")?.to_owned(),
                    cleanup: s.flag("cleanup", true)?,
                });
            }
            "BPEDecoder" => {
                let suffix = s.text_or("suffix", "</w>")?;
                self.steps.push(Step::Suffix(suffix.to_owned()));
            }
            "Strip" => {
                let (start, stop) = (s.count("start")?, s.count("stop")?);
                if stop > 0 {
                    return Err(s.fault("stop", "cuts the ends of texts, which is not known here"));
                }
                if start > 0 {
                    self.trim = Some(Trim {
                        c: s.character("content", ' ')?,
                        most: start,
                    });
                }
            }
            _ => return s.unknown(),
        }
        Ok(())
    }

    /// The bytes that a token stands for. Those that were `added` are text as they stand, in no alphabet for bytes. The `first` of a whole text has no space
    /// before it.
    pub(super) fn piece(&self, token: &str, added: bool, first: bool) -> Result<Vec<u8>> {
        let mut text = token.to_owned();
        for step in &self.steps {
            match step {
                Step::ByteLevel if added => {}
                Step::ByteLevel => {
                    let bytes: Option<Vec<u8>> = text.chars().map(char_to_byte).collect();
                    return Ok(bytes.unwrap_or_else(|| text.into_bytes()));
                }
                Step::ByteFallback => {
                    if let Some(byte) = crate::text::tokenizer::spm::byte_value(&text) {
                        return Ok(vec![byte]);
                    }
                }
                Step::Replace { pattern, content } => text = pattern.replace(&text, content)?,
                Step::Metaspace {
                    mark,
                    first_without,
                } => {
                    let space = if first && *first_without { "" } else { " " };
                    text = text.replace(*mark, space);
                }
                Step::Joined if first => {}
                Step::Joined => text.insert(0, ' '),
                Step::WordPiece { prefix, cleanup } => {
                    text = match text.strip_prefix(prefix.as_str()) {
                        _ if first => text,
                        Some(rest) => rest.to_owned(),
                        None => format!(" {text}"),
                    };
                    if *cleanup {
                        for (from, to) in CLEANUP {
                            text = text.replace(from, to);
                        }
                    }
                }
                Step::Suffix(suffix) => text = text.replace(suffix.as_str(), " "),
            }
        }
        Ok(text.into_bytes())
    }

    /// What is left of a whole text that begins with `bytes`.
    pub(super) fn trim<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(Trim { c, most }) = self.trim else {
            return bytes;
        };
        let mut buffer = [0; 4];
        let lost = c.encode_utf8(&mut buffer).as_bytes();
        let mut rest = bytes;
        for _ in 0..most {
            match rest.strip_prefix(lost) {
                Some(shorter) => rest = shorter,
                None => break,
            }
        }
        rest
    }
}
