//! Grammars: what an answer must look like, as the set of tokens that may come next.
//!
//! A JSON schema, a regular expression or a grammar in Lark's notation is compiled by llguidance (Microsoft Research, "Low-level guidance"): a lexer
//! of regular expression derivatives under an Earley parser, which walks the vocabulary's trie to tell which tokens go on with the text.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde::{Deserialize, Serialize};

use super::TextError;
use super::sampling::TokenMask;
use super::tokenizer::{TokenKind, Tokenizer};

/// Longest grammar, in bytes.
const LONGEST: usize = 1 << 20;
/// Deepest nesting of brackets in a regular expression or a grammar: they are read by recursion.
const DEEPEST: usize = 100;
/// Longest token that the trie of the vocabulary takes, in bytes; the trie is built by recursion. No real one comes near it.
const LONGEST_TOKEN: usize = 512;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grammar {
    /// JSON by a schema (JSON Schema 2020-12, as far as llguidance knows it; references within the schema only).
    JsonSchema(String),
    /// A regular expression in Rust's syntax, which the whole answer matches.
    Regex(String),
    /// A context-free grammar in Lark's notation; the answer matches `start`.
    Lark(String),
}

impl Grammar {
    /// In a person's words.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Regex(_) => "regular expression",
            Self::Lark(_) => "grammar",
        }
    }

    /// Whether it can be used, told without a model.
    ///
    /// # Errors
    /// [`TextError::Grammar`] with the place and the cause.
    pub fn check(&self) -> Result<(), TextError> {
        Guide::over(ApproximateTokEnv::single_byte_env())?
            .follow(self)
            .map(|_| ())
    }

    fn fault(&self, cause: impl Into<String>) -> TextError {
        TextError::Grammar {
            kind: self.describe(),
            cause: cause.into(),
        }
    }

    fn compile(&self) -> Result<TopLevelGrammar, TextError> {
        let text = match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) => text,
        };
        if text.len() > LONGEST {
            return Err(self.fault(format!(
                "it has {} bytes; at most {LONGEST} can be used",
                text.len()
            )));
        }
        match self {
            Self::JsonSchema(text) => {
                let mut schema: serde_json::Value =
                    serde_json::from_str(text).map_err(|error| self.fault(error.to_string()))?;
                if !(schema.is_object() || schema.is_boolean()) {
                    return Err(self.fault("a schema is an object, or true or false"));
                }
                // A small model would else fill its answer with blanks, which JSON allows anywhere and without end.
                if let Some(schema) = schema.as_object_mut() {
                    schema.entry("x-guidance").or_insert_with(
                        || serde_json::json!({"whitespace_pattern": r"\n {0,32}| |\n\t{0,8}"}),
                    );
                }
                Ok(TopLevelGrammar::from_json_schema(schema))
            }
            Self::Regex(text) => {
                self.check_depth(text)?;
                if text.is_empty() {
                    return Err(self.fault("it is empty"));
                }
                // llguidance wants to be told in its own notation, and says in that where the fault is: so the place is found first.
                fancy_regex::Regex::new(text).map_err(|error| self.fault(error.to_string()))?;
                Ok(TopLevelGrammar::from_regex(text))
            }
            Self::Lark(text) => {
                self.check_depth(text)?;
                Ok(TopLevelGrammar::from_lark(text.clone()))
            }
        }
    }

    fn check_depth(&self, text: &str) -> Result<(), TextError> {
        let (mut depth, mut escaped) = (0usize, false);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                return Err(self.fault(format!(
                    "at byte {at}: brackets are nested more than {DEEPEST} deep (a bracket that is text needs a backslash)"
                )));
            }
        }
        Ok(())
    }
}

/// A vocabulary made ready for grammars; made once for a model.
pub struct Guide {
    factory: ParserFactory,
}

/// The trie of a vocabulary. Nothing is ever forced, so nothing needs to be tokenized as the model would.
struct Vocabulary(TokTrie);

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Guide {
    /// Of a model's vocabulary.
    ///
    /// # Errors
    /// If the vocabulary cannot be used for grammars.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let len = tokenizer.vocab_len() as u32;
        let ends: Vec<u32> = (0..len).filter(|&id| tokenizer.is_end(id)).collect();
        let words: Vec<Vec<u8>> = (0..len)
            .map(|id| {
                let piece = tokenizer.piece(id);
                match tokenizer.kind(id) {
                    _ if piece.len() > LONGEST_TOKEN => Vec::new(),
                    Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte) => {
                        piece.to_vec()
                    }
                    // What is no text must not be taken for it: such words begin with a byte that is in no text.
                    Some(TokenKind::Control | TokenKind::Unknown) => {
                        [&[TokTrie::SPECIAL_TOKEN_MARKER], piece].concat()
                    }
                    Some(TokenKind::Unused) | None => Vec::new(),
                }
            })
            .collect();
        let info = TokRxInfo::new(len, ends.first().copied().unwrap_or(u32::MAX));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        Self::over(Arc::new(Vocabulary(trie)))
    }

    fn over(vocabulary: TokEnv) -> Result<Self, TextError> {
        let mut factory =
            ParserFactory::new_simple(&vocabulary).map_err(|error| TextError::Grammar {
                kind: "vocabulary",
                cause: format!("{error:#}"),
            })?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self { factory })
    }

    /// Begins to follow a grammar.
    ///
    /// # Errors
    /// [`TextError::Grammar`] with the place and the cause.
    pub fn follow(&self, grammar: &Grammar) -> Result<GrammarState, TextError> {
        let parser = self
            .factory
            .create_parser(grammar.compile()?)
            .map_err(|error| grammar.fault(cause(&format!("{error:#}"))))?;
        let mut state = GrammarState {
            matcher: Matcher::new(Ok(parser)),
            kind: grammar.describe(),
        };
        // Some faults show only when the first tokens are asked for: nothing matches at all.
        state.mask()?;
        Ok(state)
    }
}

/// How far an answer has come in its grammar.
pub struct GrammarState {
    matcher: Matcher,
    kind: &'static str,
}

impl GrammarState {
    /// The tokens that may come next; those that end the answer are among them only where the grammar accepts the text so far.
    ///
    /// # Errors
    /// If the grammar became too complex, or nothing can come.
    pub fn mask(&mut self) -> Result<TokenMask, TextError> {
        let mask = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|error| self.fault(&error.to_string()))?;
        Ok(TokenMask::from_words(mask.as_slice().to_vec()))
    }

    /// Goes on by a token of the last mask.
    ///
    /// # Errors
    /// If the token does not go on with the text.
    pub fn take(&mut self, token: u32) -> Result<(), TextError> {
        self.matcher
            .consume_token(token)
            .map_err(|error| self.fault(&error.to_string()))
    }

    /// Whether the answer is whole and nothing can be added to it.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    fn fault(&self, error: &str) -> TextError {
        TextError::Grammar {
            kind: self.kind,
            cause: cause(error),
        }
    }
}

/// llguidance's words without its own marks.
fn cause(error: &str) -> String {
    error.replace("<non-verbose/>", "").trim().to_owned()
}

#[cfg(test)]
mod tests;
