//! Prompt syntax: weights as AUTOMATIC1111 writes them, and the chunks of 75 tokens that CLIP text encoders read.
//!
//! `(word)` counts 1.1 times, `[word]` 1/1.1 times, `(word:1.2)` as much as it says; `\(` is a bracket; `BREAK` begins a new chunk.

mod comfy;
pub mod compose;
pub mod phrases;
pub mod schedule;
pub mod variants;

use super::TextError;
use super::tokenizer::ClipTokenizer;

/// How prompts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptSyntax {
    /// Plain text, one sequence, cut where it is full (as `diffusers` does).
    None,
    /// AUTOMATIC1111's weights and changes over the steps, as many sequences as the prompt needs.
    #[default]
    A1111,
    /// ComfyUI's weights: square brackets are text.
    ComfyUi,
}

/// What a word's weight does to its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emphasis {
    /// Multiplies it, and restores the mean of all: AUTOMATIC1111's "Original".
    #[default]
    Original,
    /// Multiplies it: AUTOMATIC1111's "No norm".
    NoNorm,
    /// Moves it away from what an empty prompt has in its place, as ComfyUI does.
    ComfyUi,
}

impl Emphasis {
    /// The name in AUTOMATIC1111's metadata, and ComfyUI's own.
    pub fn label(self) -> &'static str {
        match self {
            Self::Original => "Original",
            Self::NoNorm => "No norm",
            Self::ComfyUi => "ComfyUI",
        }
    }
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptPart {
    /// Text and how much it counts.
    Text {
        /// The text, brackets removed and escapes resolved.
        text: String,
        /// 1 counts as usual.
        weight: f32,
    },
    /// A new chunk begins.
    Break,
}

/// A prompt taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParsedPrompt {
    /// The parts, in order; at least one.
    pub parts: Vec<PromptPart>,
    /// What could not be read as meant, in words for the person.
    pub warnings: Vec<String>,
}

/// Brackets nested deeper than this are text.
const MAX_DEPTH: usize = 256;
const ROUND: f64 = 1.1;
const SQUARE: f64 = 1.0 / 1.1;

/// Parses AUTOMATIC1111's weights as its `parse_prompt_attention` does.
///
/// Two things are deliberately saner: `BREAK` within brackets is a break (there it becomes a word of weight -1.1), and a weight that is no number
/// (`1.2.3`) is text with a warning (there it is a crash).
pub fn parse_attention(prompt: &str) -> ParsedPrompt {
    let mut parser = Parser::default();
    let mut rest = prompt;
    while let Some(c) = rest.chars().next() {
        rest = parser.step(rest, c);
    }
    parser.finish()
}

#[derive(Default)]
struct Parser {
    /// Text and weight; `None` is a break.
    parts: Vec<Option<(String, f64)>>,
    round: Vec<usize>,
    square: Vec<usize>,
    warnings: Vec<String>,
}

impl Parser {
    /// Reads one token, which begins with `c`, and gives what follows it.
    fn step<'a>(&mut self, rest: &'a str, c: char) -> &'a str {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' => match after.chars().next() {
                Some(escaped @ ('(' | ')' | '[' | ']' | '\\')) => {
                    self.parts.push(Some((escaped.to_string(), 1.0)));
                    &after[1..]
                }
                _ => {
                    // A backslash before anything else disappears.
                    self.parts.push(Some((String::new(), 1.0)));
                    after
                }
            },
            '(' | '[' => {
                if self.round.len() + self.square.len() >= MAX_DEPTH {
                    self.warn(format!("brackets deeper than {MAX_DEPTH} are read as text"));
                    self.text(&rest[..1]);
                } else if c == '(' {
                    self.round.push(self.parts.len());
                } else {
                    self.square.push(self.parts.len());
                }
                after
            }
            ':' => match weight_after(after) {
                Some((number, end)) if !self.round.is_empty() => match number.parse::<f64>() {
                    Ok(weight) if weight.is_finite() && weight.abs() <= f64::from(f32::MAX) => {
                        let start = self.round.pop().unwrap_or(0);
                        self.scale(start, weight);
                        &after[end..]
                    }
                    _ => {
                        self.warn(format!("{number:?} is not a weight and is read as text"));
                        self.text(":");
                        after
                    }
                },
                Some((_, end)) => {
                    // No bracket is open: all of it is text.
                    self.text(&rest[..1 + end]);
                    &after[end..]
                }
                None => {
                    self.text(":");
                    after
                }
            },
            ')' => {
                match self.round.pop() {
                    Some(start) => self.scale(start, ROUND),
                    None => self.text(")"),
                }
                after
            }
            ']' => {
                match self.square.pop() {
                    Some(start) => self.scale(start, SQUARE),
                    None => self.text("]"),
                }
                after
            }
            _ => {
                let end = rest
                    .find(['\\', '(', ')', '[', ']', ':'])
                    .unwrap_or(rest.len());
                self.text(&rest[..end]);
                &rest[end..]
            }
        }
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) && self.warnings.len() < 8 {
            self.warnings.push(warning);
        }
    }

    fn scale(&mut self, start: usize, factor: f64) {
        for (_, weight) in self.parts[start..].iter_mut().flatten() {
            *weight *= factor;
        }
    }

    fn text(&mut self, text: &str) {
        for (n, part) in split_breaks(text).into_iter().enumerate() {
            if n > 0 {
                self.parts.push(None);
            }
            self.parts.push(Some((part.to_owned(), 1.0)));
        }
    }

    fn finish(mut self) -> ParsedPrompt {
        for start in std::mem::take(&mut self.round) {
            self.scale(start, ROUND);
        }
        for start in std::mem::take(&mut self.square) {
            self.scale(start, SQUARE);
        }
        let mut parts: Vec<PromptPart> = Vec::new();
        let mut last: Option<f64> = None;
        for part in self.parts {
            match part {
                None => {
                    parts.push(PromptPart::Break);
                    last = None;
                }
                Some((text, weight)) => {
                    if last == Some(weight)
                        && let Some(PromptPart::Text { text: before, .. }) = parts.last_mut()
                    {
                        before.push_str(&text);
                    } else {
                        parts.push(PromptPart::Text {
                            text,
                            // Weights below what f32 can hold are 0; larger ones were refused or are infinite by nesting.
                            weight: weight.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32,
                        });
                        last = Some(weight);
                    }
                }
            }
        }
        if parts.is_empty() {
            parts.push(PromptPart::Text {
                text: String::new(),
                weight: 1.0,
            });
        }
        ParsedPrompt {
            parts,
            warnings: self.warnings,
        }
    }
}

/// Reads `\s*([+-]?[.\d]+)\s*\)` after a colon: the number and where the bracket ends.
fn weight_after(text: &str) -> Option<(&str, usize)> {
    let number = text.trim_start();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let count = digits
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.')
        .count();
    if count == 0 {
        return None;
    }
    let len = number.len() - digits.len() + count;
    let rest = number[len..].trim_start().strip_prefix(')')?;
    Some((&number[..len], text.len() - rest.len()))
}

/// Splits at `\s*\bBREAK\b\s*`.
fn split_breaks(text: &str) -> Vec<&str> {
    const WORD: &str = "BREAK";
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut parts = Vec::new();
    let (mut from, mut search) = (0, 0);
    while let Some(found) = text[search..].find(WORD) {
        let start = search + found;
        let end = start + WORD.len();
        search = end;
        if text[..start].chars().next_back().is_some_and(is_word)
            || text[end..].chars().next().is_some_and(is_word)
        {
            continue;
        }
        // The white space before is the match's, too, as far as the match before left it.
        parts.push(text[from..start].trim_end());
        from = end + (text[end..].len() - text[end..].trim_start().len());
        search = from;
    }
    parts.push(&text[from..]);
    parts
}

/// Takes `<lora:name:0.8>` and `<lyco:name:0.8>` out of a prompt: the prompt without them, and names with weights. A tag without a
/// weight counts 1, a second weight (for the text encoder) has no effect; what is no such tag is text.
pub fn split_lora_tags(prompt: &str, syntax: PromptSyntax) -> (String, Vec<(String, f32)>) {
    let (mut text, mut tags) = (String::with_capacity(prompt.len()), Vec::new());
    if syntax == PromptSyntax::None {
        return (prompt.to_owned(), tags);
    }
    let mut rest = prompt;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let read = || -> Option<(&str, (String, f32))> {
            let inner = tag
                .strip_prefix("<lora:")
                .or_else(|| tag.strip_prefix("<lyco:"))?;
            let (inner, after) = inner.split_once('>')?;
            let mut parts = inner.split(':');
            let name = parts.next()?.trim();
            let weight = match parts.next() {
                None => 1.0,
                Some(weight) => weight.trim().parse().ok()?,
            };
            (!name.is_empty()).then(|| (after, (name.to_owned(), weight)))
        };
        match read() {
            Some((after, tag)) => {
                tags.push(tag);
                rest = after;
            }
            None => {
                text.push('<');
                rest = tag.get(1..).unwrap_or("");
            }
        }
    }
    text.push_str(rest);
    (text, tags)
}

/// One sequence for the text encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptChunk {
    /// Beginning, words, end, padding: as many as the tokenizer's sequence length.
    pub ids: Vec<u32>,
    /// How much each position counts; 1 outside of the words.
    pub weights: Vec<f32>,
}

/// A prompt as the text encoder reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptChunks {
    /// At least one.
    pub chunks: Vec<PromptChunk>,
    /// Words' tokens in all, those that were cut not counted.
    pub token_count: usize,
    /// What could not be read as meant or did not fit, in words for the person.
    pub warnings: Vec<String>,
}

impl PromptChunks {
    /// Whether every weight is 1.
    pub fn unweighted(&self) -> bool {
        self.chunks
            .iter()
            .flat_map(|chunk| &chunk.weights)
            .all(|&weight| weight == 1.0)
    }

    /// Appends empty chunks until there are `count`: prompt and negative prompt must be of one length.
    pub fn pad_to(&mut self, count: usize, tokenizer: &ClipTokenizer) {
        while self.chunks.len() < count {
            self.chunks.push(Builder::new(tokenizer).build());
        }
    }
}

/// How far back a comma may lie that ends a full chunk early (AUTOMATIC1111's `comma_padding_backtrack`).
const COMMA_BACKTRACK: usize = 20;

/// Tokenizes a prompt and cuts it into sequences.
///
/// # Errors
/// As [`ClipTokenizer::encode_words`].
pub fn chunk_prompt(
    prompt: &str,
    syntax: PromptSyntax,
    tokenizer: &ClipTokenizer,
) -> Result<PromptChunks, TextError> {
    match syntax {
        PromptSyntax::None => plain_chunk(prompt, tokenizer),
        PromptSyntax::A1111 => weighted_chunks(prompt, tokenizer),
        PromptSyntax::ComfyUi => comfy::chunks(prompt, tokenizer),
    }
}

fn plain_chunk(prompt: &str, tokenizer: &ClipTokenizer) -> Result<PromptChunks, TextError> {
    let words = tokenizer.encode_words_padded(prompt)?;
    let (ids, cut) = tokenizer.sequence(&words);
    let mut warnings = Vec::new();
    if !cut.is_empty() {
        warnings.push(format!(
            "the prompt has {} tokens, but the model reads only {}; this was cut off: {:?}",
            words.len(),
            tokenizer.chunk_length(),
            tokenizer.tokenizer().decode(cut).trim_end()
        ));
    }
    Ok(PromptChunks {
        token_count: words.len() - cut.len(),
        chunks: vec![PromptChunk {
            weights: vec![1.0; ids.len()],
            ids,
        }],
        warnings,
    })
}

/// A chunk that is being filled.
struct Builder<'a> {
    tokenizer: &'a ClipTokenizer,
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Position of the last comma.
    comma: Option<usize>,
}

impl<'a> Builder<'a> {
    fn new(tokenizer: &'a ClipTokenizer) -> Self {
        Self {
            tokenizer,
            ids: Vec::new(),
            weights: Vec::new(),
            comma: None,
        }
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= self.tokenizer.chunk_length()
    }

    fn build(self) -> PromptChunk {
        let (ids, _) = self.tokenizer.sequence(&self.ids);
        let mut weights = Vec::with_capacity(ids.len());
        weights.push(1.0);
        weights.extend_from_slice(&self.weights);
        weights.resize(ids.len(), 1.0);
        PromptChunk { ids, weights }
    }

    /// Closes the chunk and begins a new one.
    fn close(&mut self, chunks: &mut Vec<PromptChunk>) {
        chunks.push(std::mem::replace(self, Self::new(self.tokenizer)).build());
    }

    /// Closes a full chunk after its last comma, if that is near, and takes the words after it into the next chunk.
    fn close_at_comma(&mut self, chunks: &mut Vec<PromptChunk>) {
        if let Some(comma) = self.comma
            && self.ids.len() - comma <= COMMA_BACKTRACK
        {
            let ids = self.ids.split_off(comma + 1);
            let weights = self.weights.split_off(comma + 1);
            self.close(chunks);
            self.ids = ids;
            self.weights = weights;
        }
    }
}

fn weighted_chunks(prompt: &str, tokenizer: &ClipTokenizer) -> Result<PromptChunks, TextError> {
    let parsed = parse_attention(prompt);
    let mut chunks = Vec::new();
    let mut chunk = Builder::new(tokenizer);
    let mut token_count = 0;
    for part in &parsed.parts {
        let (text, weight) = match part {
            PromptPart::Break => {
                chunk.close(&mut chunks);
                continue;
            }
            PromptPart::Text { text, weight } => (text, *weight),
        };
        let ids = tokenizer.encode_words(text)?;
        token_count += ids.len();
        for id in ids {
            if Some(id) == tokenizer.comma() {
                chunk.comma = Some(chunk.ids.len());
            } else if chunk.is_full() {
                chunk.close_at_comma(&mut chunks);
            }
            if chunk.is_full() {
                chunk.close(&mut chunks);
            }
            chunk.ids.push(id);
            chunk.weights.push(weight);
        }
    }
    if !chunk.ids.is_empty() || chunks.is_empty() {
        chunk.close(&mut chunks);
    }
    Ok(PromptChunks {
        chunks,
        token_count,
        warnings: parsed.warnings,
    })
}

#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
