//! Normalizers: what is done to text before it is cut.

use std::sync::LazyLock;

use fancy_regex::Regex;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::charsmap::Charsmap;
use super::step::{Pattern, Result, Settings};
use crate::text::tokenizer::bytes::byte_to_char;

/// One step.
#[derive(Debug)]
pub(super) enum Normalizer {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    Strip { left: bool, right: bool },
    StripAccents,
    Replace { pattern: Pattern, content: String },
    Prepend(String),
    Bert(Bert),
    Nmt,
    ByteLevel,
    Precompiled(Charsmap),
    Sequence(Vec<Normalizer>),
}

/// BERT's normalizer (Devlin et al. 2018, `BasicTokenizer`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bert {
    pub clean_text: bool,
    pub handle_chinese_chars: bool,
    pub strip_accents: bool,
    pub lowercase: bool,
}

impl Normalizer {
    pub(super) fn read(value: &Value) -> Result<Option<Self>> {
        let Some(s) = Settings::of("normalizer", value)? else {
            return Ok(None);
        };
        Ok(Some(match s.kind {
            "NFC" => Self::Nfc,
            "NFD" => Self::Nfd,
            "NFKC" => Self::Nfkc,
            "NFKD" => Self::Nfkd,
            "Lowercase" => Self::Lowercase,
            "Strip" => Self::Strip {
                left: s.flag("strip_left", true)?,
                right: s.flag("strip_right", true)?,
            },
            "StripAccents" => Self::StripAccents,
            "Replace" => Self::Replace {
                pattern: s.pattern("pattern")?,
                content: s.text("content")?.to_owned(),
            },
            "Prepend" => Self::Prepend(s.text("prepend")?.to_owned()),
            "BertNormalizer" => {
                let lowercase = s.flag("lowercase", true)?;
                Self::Bert(Bert {
                    clean_text: s.flag("clean_text", true)?,
                    handle_chinese_chars: s.flag("handle_chinese_chars", true)?,
                    strip_accents: s.opt_flag("strip_accents")?.unwrap_or(lowercase),
                    lowercase,
                })
            }
            "Nmt" => Self::Nmt,
            "ByteLevel" => Self::ByteLevel,
            "Precompiled" => Self::Precompiled(
                Charsmap::from_base64(s.text("precompiled_charsmap")?)
                    .map_err(|reason| s.fault("precompiled_charsmap", &reason))?,
            ),
            "Sequence" => {
                let mut steps = Vec::new();
                for value in s.list("normalizers")? {
                    steps.extend(Self::read(value)?);
                }
                Self::Sequence(steps)
            }
            _ => return s.unknown(),
        }))
    }

    pub(super) fn apply(&self, text: String) -> Result<String> {
        Ok(match self {
            Self::Nfc => text.nfc().collect(),
            Self::Nfd => text.nfd().collect(),
            Self::Nfkc => text.nfkc().collect(),
            Self::Nfkd => text.nfkd().collect(),
            Self::Lowercase => lowercase(&text),
            Self::Strip { left, right } => {
                let mut rest = text.as_str();
                if *left {
                    rest = rest.trim_start();
                }
                if *right {
                    rest = rest.trim_end();
                }
                rest.to_owned()
            }
            Self::StripAccents => text.chars().filter(|c| !is_combining_mark(*c)).collect(),
            Self::Replace { pattern, content } => pattern.replace(&text, content)?,
            Self::Prepend(_) if text.is_empty() => text,
            Self::Prepend(prefix) => format!("{prefix}{text}"),
            Self::Bert(bert) => bert.apply(text),
            Self::Nmt => text.chars().filter(|c| !nmt_drops(*c)).map(nmt).collect(),
            Self::ByteLevel => text.bytes().map(byte_to_char).collect(),
            Self::Precompiled(charsmap) => charsmap.by_grapheme(&text),
            Self::Sequence(steps) => {
                let mut text = text;
                for step in steps {
                    text = step.apply(text)?;
                }
                text
            }
        })
    }
}

/// Character by character: the final sigma of a word is none here.
fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn nmt_drops(c: char) -> bool {
    matches!(c, '\u{1}'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{8F}' | '\u{9F}')
}

fn nmt(c: char) -> char {
    match c {
        '\t'
        | '\n'
        | '\u{C}'
        | '\r'
        | '\u{1680}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2581}'
        | '\u{FEFF}'
        | '\u{FFFD}' => ' ',
        other => other,
    }
}

/// Controls, formats and what has no character.
static OTHER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{Cc}\p{Cf}\p{Co}]").ok());
/// Marks that take no place of their own.
static NONSPACING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{Mn}").ok());
static PUNCTUATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{P}").ok());

fn is_in(class: &LazyLock<Option<Regex>>, c: char) -> bool {
    let mut buffer = [0; 4];
    let text: &str = c.encode_utf8(&mut buffer);
    class
        .as_ref()
        .is_some_and(|regex| regex.is_match(text).unwrap_or(false))
}

/// ASCII punctuation and symbols, and Unicode's punctuation.
pub(crate) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || !c.is_ascii() && is_in(&PUNCTUATION, c)
}

fn is_control(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        ' '..='~' => false,
        _ => is_in(&OTHER, c),
    }
}

fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{20000}'..='\u{2A6DF}' | '\u{2A700}'..='\u{2B73F}'
        | '\u{2B740}'..='\u{2B81F}' | '\u{2B920}'..='\u{2CEAF}' | '\u{F900}'..='\u{FAFF}' | '\u{2F800}'..='\u{2FA1F}')
}

impl Bert {
    pub(crate) fn apply(self, mut text: String) -> String {
        if self.clean_text {
            text = text
                .chars()
                .filter(|c| *c != '\0' && *c != '\u{FFFD}' && !is_control(*c))
                .map(|c| if c.is_whitespace() { ' ' } else { c })
                .collect();
        }
        if self.handle_chinese_chars {
            let mut spaced = String::with_capacity(text.len());
            for c in text.chars() {
                if is_chinese(c) {
                    spaced.extend([' ', c, ' ']);
                } else {
                    spaced.push(c);
                }
            }
            text = spaced;
        }
        if self.strip_accents {
            text = text
                .nfd()
                .filter(|c| c.is_ascii() || !is_in(&NONSPACING, *c))
                .collect();
        }
        if self.lowercase {
            text = lowercase(&text);
        }
        text
    }
}
