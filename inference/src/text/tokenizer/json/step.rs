//! Reading the description of one step: its kind, and settings that are there, have a default, or are refused by name.

use fancy_regex::Regex;
use serde_json::{Map, Value};

/// Why a file cannot be used, without its name.
pub(super) type Result<T> = std::result::Result<T, String>;

/// Longest pattern, literal or expression, in bytes.
const MAX_PATTERN: usize = 1 << 16;
/// Most steps in one sequence.
const MAX_STEPS: usize = 64;

/// The settings of one step.
pub(super) struct Settings<'a> {
    /// What the step is: `normalizer`, ...
    part: &'static str,
    pub kind: &'a str,
    values: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    /// `None` for a step that is null.
    pub(super) fn of(part: &'static str, value: &'a Value) -> Result<Option<Self>> {
        let values = match value {
            Value::Null => return Ok(None),
            Value::Object(values) => values,
            _ => return Err(format!("the {part} is no object")),
        };
        let kind = values.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| format!("the {part} does not name its type"))?;
        Ok(Some(Self { part, kind, values }))
    }

    pub(super) fn unknown<T>(&self) -> Result<T> {
        Err(format!(
            "the {} `{}` is not known here",
            self.part,
            crate::text::error::excerpt(self.kind)
        ))
    }

    pub(super) fn fault(&self, key: &str, reason: &str) -> String {
        format!("`{key}` of the {} `{}` {reason}", self.part, self.kind)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.fault(key, "is neither true nor false")),
        }
    }

    pub(super) fn opt_flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key).map(|_| self.flag(key, false)).transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(self.fault(key, "is missing or no text")),
        }
    }

    pub(super) fn text_or(&self, key: &str, default: &'a str) -> Result<&'a str> {
        match self.get(key) {
            None => Ok(default),
            Some(_) => self.text(key),
        }
    }

    /// One character.
    pub(super) fn character(&self, key: &str, default: char) -> Result<char> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let mut chars = value.as_str().unwrap_or_default().chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(c),
            _ => Err(self.fault(key, "is not one character")),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<usize> {
        let found = self.get(key).and_then(Value::as_u64);
        found
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| self.fault(key, "is missing or no whole number"))
    }

    /// The steps of a sequence.
    pub(super) fn list(&self, key: &str) -> Result<&'a [Value]> {
        match self.get(key) {
            Some(Value::Array(list)) if list.len() <= MAX_STEPS => Ok(list),
            Some(Value::Array(_)) => Err(self.fault(key, "is longer than any real one")),
            _ => Err(self.fault(key, "is missing or no list")),
        }
    }

    /// A pattern: `{"String": ...}` or `{"Regex": ...}`; very old files have the bare text.
    pub(super) fn pattern(&self, key: &str) -> Result<Pattern> {
        let (literal, text) = match self.get(key) {
            Some(Value::String(text)) => (true, text.as_str()),
            Some(Value::Object(object)) => match object.iter().next() {
                Some((kind, Value::String(text))) if kind == "String" => (true, text.as_str()),
                Some((kind, Value::String(text))) if kind == "Regex" => (false, text.as_str()),
                _ => return Err(self.fault(key, "is neither `String` nor `Regex`")),
            },
            _ => return Err(self.fault(key, "is missing or no pattern")),
        };
        if text.len() > MAX_PATTERN {
            return Err(self.fault(key, "is longer than any real pattern"));
        }
        if literal {
            return Ok(Pattern::Literal(text.into()));
        }
        Pattern::regex(text).map_err(|error| {
            let reason = format!("cannot be read as a regular expression: {error}");
            self.fault(key, &reason)
        })
    }
}

/// What a step looks for.
#[derive(Debug)]
pub(super) enum Pattern {
    Literal(Box<str>),
    Regex(Expression),
}

/// A regular expression. Most pre-tokenizers end in `\s+(?!\S)|\s+`; look-ahead is the one thing that takes linear time away, so it is left out of the
/// expression, and the scan itself gives the last white space of a run back to the word that follows.
#[derive(Debug)]
pub(super) struct Expression {
    regex: Regex,
    gives_space_back: bool,
    /// White space that ends in a newline was matched by an alternative before, and is whole.
    keeps_newlines: bool,
}

impl Pattern {
    pub(super) fn regex(text: &str) -> std::result::Result<Self, fancy_regex::Error> {
        let head = text.strip_suffix(r"|\s+(?!\S)|\s+");
        let (source, gives_space_back) = match head {
            Some(head) => (format!(r"{head}|\s+"), true),
            None => (text.to_owned(), false),
        };
        let keeps_newlines = head.is_some_and(|head| {
            head.ends_with(r"|\s*[\r\n]+")
                || head.ends_with(r"|\s*[\r\n]")
                || head.ends_with(r"|\s*[\r\n]++")
        });
        Ok(Self::Regex(Expression {
            regex: Regex::new(&source)?,
            gives_space_back,
            keeps_newlines,
        }))
    }

    /// Matches in order; they do not overlap, and may be empty.
    pub(super) fn matches(&self, text: &str) -> Result<Vec<std::ops::Range<usize>>> {
        let mut found = Vec::new();
        match self {
            Self::Literal(literal) if literal.is_empty() => {}
            Self::Literal(literal) => {
                found.extend(
                    text.match_indices(&**literal)
                        .map(|(at, _)| at..at + literal.len()),
                );
            }
            Self::Regex(expression) => {
                let mut at = 0;
                while at <= text.len() {
                    let next = expression
                        .regex
                        .find_from_pos(text, at)
                        .map_err(|error| format!("a pattern gave up on this text: {error}"))?;
                    let Some(next) = next else { break };
                    let (start, mut end) = (next.start(), next.end());
                    if expression.gives_space_back
                        && end < text.len()
                        && !(expression.keeps_newlines && text[start..end].ends_with(['\r', '\n']))
                    {
                        end -= crate::text::tokenizer::pre::give_back(&text[start..end]);
                    }
                    found.push(start..end);
                    at = match text[end..].chars().next() {
                        Some(c) if end == start => end + c.len_utf8(),
                        None if end == start => break,
                        _ => end,
                    };
                }
            }
        }
        Ok(found)
    }

    /// The text with every match replaced.
    pub(super) fn replace(&self, text: &str, content: &str) -> Result<String> {
        if let Self::Literal(literal) = self {
            if literal.is_empty() {
                return Ok(text.to_owned());
            }
            return Ok(text.replace(&**literal, content));
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for found in self.matches(text)? {
            out.push_str(&text[at..found.start]);
            out.push_str(content);
            at = found.end;
        }
        out.push_str(&text[at..]);
        Ok(out)
    }
}
