//! Pre-tokenizers: how text is cut into the words that the model sees.

use serde_json::Value;

use super::normalize::is_punctuation;
use super::step::{Pattern, Result, Settings};
use crate::text::tokenizer::bytes::byte_to_char;

/// A stretch of text on its way to the model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    /// Whether it begins where the whole text does.
    pub first: bool,
}

/// What becomes of the matches of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Prepend {
    Always,
    First,
    Never,
}

/// One step.
#[derive(Debug)]
pub(super) enum Cutter {
    ByteLevel {
        add_prefix_space: bool,
        pattern: Option<Pattern>,
    },
    Split {
        pattern: Pattern,
        behavior: Behavior,
        invert: bool,
    },
    Metaspace {
        mark: char,
        prepend: Prepend,
        split: bool,
    },
    WhitespaceSplit,
    Bert,
    Digits {
        each: bool,
    },
    Punctuation(Behavior),
    Delimiter(char),
    Sequence(Vec<Cutter>),
}

/// GPT-2's pattern (Radford et al. 2019).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const WORDS: &str = r"\w+|[^\w\s]+";

impl Behavior {
    fn read(s: &Settings<'_>, default: &str) -> Result<Self> {
        Ok(match s.text_or("behavior", default)? {
            "Removed" => Self::Removed,
            "Isolated" => Self::Isolated,
            "MergedWithPrevious" => Self::MergedWithPrevious,
            "MergedWithNext" => Self::MergedWithNext,
            "Contiguous" => Self::Contiguous,
            _ => return Err(s.fault("behavior", "is none that is known here")),
        })
    }
}

/// The mark of a space, and whether one is put before a text: of the pre-tokenizer and the decoder of that name.
pub(super) fn metaspace(s: &Settings<'_>) -> Result<(char, Prepend)> {
    let mark = s.character("replacement", '\u{2581}')?;
    let prepend = match s.get("prepend_scheme").map(|v| v.as_str()) {
        // Files of before 2023-12.
        None => match s.flag("add_prefix_space", true)? {
            true => Prepend::Always,
            false => Prepend::Never,
        },
        Some(Some("always")) => Prepend::Always,
        Some(Some("first")) => Prepend::First,
        Some(Some("never")) => Prepend::Never,
        Some(_) => return Err(s.fault("prepend_scheme", "is none that is known here")),
    };
    Ok((mark, prepend))
}

impl Cutter {
    pub(super) fn read(value: &Value) -> Result<Option<Self>> {
        let Some(s) = Settings::of("pre-tokenizer", value)? else {
            return Ok(None);
        };
        let built_in = |pattern: &str| Pattern::regex(pattern).map_err(|e| e.to_string());
        Ok(Some(match s.kind {
            "ByteLevel" => Self::ByteLevel {
                add_prefix_space: s.flag("add_prefix_space", true)?,
                pattern: match s.flag("use_regex", true)? {
                    true => Some(built_in(GPT2)?),
                    false => None,
                },
            },
            "Split" => Self::Split {
                pattern: s.pattern("pattern")?,
                behavior: Behavior::read(&s, "")?,
                invert: s.flag("invert", false)?,
            },
            "Metaspace" => {
                let (mark, prepend) = metaspace(&s)?;
                let split = s.flag("split", true)?;
                Self::Metaspace {
                    mark,
                    prepend,
                    split,
                }
            }
            "Whitespace" => Self::Split {
                pattern: built_in(WORDS)?,
                behavior: Behavior::Removed,
                invert: true,
            },
            "WhitespaceSplit" => Self::WhitespaceSplit,
            "BertPreTokenizer" => Self::Bert,
            "Digits" => Self::Digits {
                each: s.flag("individual_digits", false)?,
            },
            "Punctuation" => Self::Punctuation(Behavior::read(&s, "Isolated")?),
            "CharDelimiterSplit" => Self::Delimiter(s.character("delimiter", ' ')?),
            "Sequence" => {
                let mut steps = Vec::new();
                for value in s.list("pretokenizers")? {
                    steps.extend(Self::read(value)?);
                }
                Self::Sequence(steps)
            }
            _ => return s.unknown(),
        }))
    }

    pub(super) fn cut(&self, pieces: Vec<Piece>) -> Result<Vec<Piece>> {
        if let Self::Sequence(steps) = self {
            return steps
                .iter()
                .try_fold(pieces, |pieces, step| step.cut(pieces));
        }
        let mut out = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match self {
                Self::ByteLevel {
                    add_prefix_space,
                    pattern,
                } => {
                    let piece = match *add_prefix_space && !piece.text.is_empty() {
                        true if !piece.text.starts_with(' ') => Piece {
                            text: format!(" {}", piece.text),
                            ..piece
                        },
                        _ => piece,
                    };
                    let from = out.len();
                    match pattern {
                        Some(pattern) => {
                            by_pattern(&piece, pattern, Behavior::Isolated, false, &mut out)?;
                        }
                        None => out.push(piece),
                    }
                    for piece in out.iter_mut().skip(from) {
                        piece.text = piece.text.bytes().map(byte_to_char).collect();
                    }
                }
                Self::Split {
                    pattern,
                    behavior,
                    invert,
                } => by_pattern(&piece, pattern, *behavior, *invert, &mut out)?,
                Self::Metaspace {
                    mark,
                    prepend,
                    split,
                } => {
                    let mut text = piece.text.replace(' ', mark.encode_utf8(&mut [0; 4]));
                    let wanted = match prepend {
                        Prepend::Always => true,
                        Prepend::First => piece.first,
                        Prepend::Never => false,
                    };
                    if wanted && !text.is_empty() && !text.starts_with(*mark) {
                        text.insert(0, *mark);
                    }
                    let piece = Piece { text, ..piece };
                    if *split {
                        by_char(&piece, |c| c == *mark, Behavior::MergedWithNext, &mut out);
                    } else {
                        out.push(piece);
                    }
                }
                Self::WhitespaceSplit => {
                    by_char(&piece, char::is_whitespace, Behavior::Removed, &mut out);
                }
                Self::Bert => {
                    let mut words = Vec::new();
                    by_char(&piece, char::is_whitespace, Behavior::Removed, &mut words);
                    for word in &words {
                        by_char(word, is_punctuation, Behavior::Isolated, &mut out);
                    }
                }
                Self::Digits { each } => {
                    let behavior = match each {
                        true => Behavior::Isolated,
                        false => Behavior::Contiguous,
                    };
                    by_char(&piece, char::is_numeric, behavior, &mut out);
                }
                Self::Punctuation(behavior) => {
                    by_char(&piece, is_punctuation, *behavior, &mut out);
                }
                Self::Delimiter(delimiter) => {
                    by_char(&piece, |c| c == *delimiter, Behavior::Removed, &mut out);
                }
                Self::Sequence(_) => {}
            }
        }
        out.retain(|piece| !piece.text.is_empty());
        Ok(out)
    }
}

/// Cuts at single characters.
fn by_char(piece: &Piece, is: impl Fn(char) -> bool, behavior: Behavior, out: &mut Vec<Piece>) {
    let found = piece.text.char_indices().filter(|(_, c)| is(*c));
    let parts = with_gaps(piece.text.len(), found.map(|(at, c)| at..at + c.len_utf8()));
    take(piece, parts, behavior, out);
}

fn by_pattern(
    piece: &Piece,
    pattern: &Pattern,
    behavior: Behavior,
    invert: bool,
    out: &mut Vec<Piece>,
) -> Result<()> {
    let mut parts = with_gaps(piece.text.len(), pattern.matches(&piece.text)?.into_iter());
    if invert {
        for (_, is_match) in &mut parts {
            *is_match = !*is_match;
        }
    }
    take(piece, parts, behavior, out);
    Ok(())
}

type Part = (std::ops::Range<usize>, bool);

/// Matches and what lies between them, in order.
fn with_gaps(len: usize, matches: impl Iterator<Item = std::ops::Range<usize>>) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    for found in matches {
        if found.start > at {
            parts.push((at..found.start, false));
        }
        at = found.end;
        parts.push((found, true));
    }
    if at < len {
        parts.push((at..len, false));
    }
    parts
}

fn take(piece: &Piece, parts: Vec<Part>, behavior: Behavior, out: &mut Vec<Piece>) {
    let mut push = |range: std::ops::Range<usize>| {
        if !range.is_empty() {
            out.push(Piece {
                first: piece.first && range.start == 0,
                text: piece.text[range].to_owned(),
            });
        }
    };
    match behavior {
        Behavior::Isolated => parts.into_iter().for_each(|(range, _)| push(range)),
        Behavior::Removed => {
            let kept = parts.into_iter().filter(|(_, is_match)| !is_match);
            kept.for_each(|(range, _)| push(range));
        }
        Behavior::Contiguous => {
            let mut joined: Vec<Part> = Vec::new();
            for (range, is_match) in parts {
                match joined.last_mut() {
                    Some((last, kind)) if *kind == is_match => last.end = range.end,
                    _ => joined.push((range, is_match)),
                }
            }
            joined.into_iter().for_each(|(range, _)| push(range));
        }
        Behavior::MergedWithPrevious => {
            let mut joined: Vec<Part> = Vec::new();
            for (range, is_match) in parts {
                match joined.last_mut() {
                    Some((last, after_match)) if is_match && !*after_match => {
                        last.end = range.end;
                        *after_match = true;
                    }
                    _ => joined.push((range, is_match)),
                }
            }
            joined.into_iter().for_each(|(range, _)| push(range));
        }
        Behavior::MergedWithNext => {
            let mut joined: Vec<Part> = Vec::new();
            for (range, is_match) in parts.into_iter().rev() {
                match joined.last_mut() {
                    Some((last, before_match)) if is_match && !*before_match => {
                        last.start = range.start;
                        *before_match = true;
                    }
                    _ => joined.push((range, is_match)),
                }
            }
            joined.into_iter().rev().for_each(|(range, _)| push(range));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(behavior: Behavior, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        let piece = Piece {
            text: text.to_owned(),
            first: true,
        };
        by_char(&piece, |c| c == '-', behavior, &mut out);
        out.into_iter().map(|piece| piece.text).collect()
    }

    /// The examples of the reference's own documentation.
    #[test]
    fn behaviors_are_the_references() {
        let text = "the-final--countdown";
        assert_eq!(cut(Behavior::Removed, text), ["the", "final", "countdown"]);
        assert_eq!(
            cut(Behavior::Isolated, text),
            ["the", "-", "final", "-", "-", "countdown"]
        );
        assert_eq!(
            cut(Behavior::MergedWithPrevious, text),
            ["the-", "final-", "-", "countdown"]
        );
        assert_eq!(
            cut(Behavior::MergedWithNext, text),
            ["the", "-final", "-", "-countdown"]
        );
        assert_eq!(
            cut(Behavior::Contiguous, text),
            ["the", "-", "final", "--", "countdown"]
        );
    }
}
