//! Options of `chat` and `complete` that say what an answer looks like and what becomes of a conversation that is too long.

use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{KvChoice, Overflow};
use diptych_inference::text::grammar::Grammar;
use serde_json::Value;

use super::error::{CliError, Result};

/// Longest file of a schema, a grammar or of tools, in bytes.
const LONGEST: u64 = 1 << 20;

/// What an answer looks like.
#[derive(Clone, Debug, Default, Args)]
pub struct ShapeArgs {
    /// The answer is JSON by the JSON schema in this file
    #[arg(long, value_name = "FILE", group = "shape")]
    pub schema: Option<PathBuf>,
    /// The whole answer matches this regular expression
    #[arg(long, value_name = "TEXT", group = "shape", allow_hyphen_values = true)]
    pub regex: Option<String>,
    /// The answer is what the grammar in this file describes, in Lark's notation, from 'start'
    #[arg(long, value_name = "FILE", group = "shape")]
    pub grammar: Option<PathBuf>,
    /// When the context is full, leave out what is oldest after the system message, rather than to stop
    #[arg(long)]
    pub shift: bool,
    /// How keys and values of the context are kept: f16 takes half the memory of f32, q8_0 about a quarter; auto takes f32 where it fits beside the model, else f16
    #[arg(long, value_name = "TYPE", default_value = "auto", value_parser = kv_type)]
    pub kv_type: KvChoice,
    /// Most tokens of a conversation, answer included, up to the model's own context; 8192 if nothing is said
    #[arg(long, value_name = "TOKENS", value_parser = context)]
    pub context: Option<usize>,
}

fn context(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(tokens) if (16..=1 << 24).contains(&tokens) => Ok(tokens),
        _ => Err(format!("it is a number from 16 to {}", 1 << 24)),
    }
}

fn kv_type(name: &str) -> std::result::Result<KvChoice, String> {
    let known = KvChoice::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| {
        let names = KvChoice::ALL.map(KvChoice::name).join(", ");
        format!("it is one of: {names}")
    })
}

impl ShapeArgs {
    /// What the answer must look like; checked, so that a fault is told before a model is loaded.
    ///
    /// # Errors
    /// Files that cannot be read, and faults of the grammar with their place.
    pub fn grammar(&self) -> Result<Option<Grammar>> {
        let (grammar, of) = match (&self.schema, &self.regex, &self.grammar) {
            (Some(path), ..) => (Grammar::JsonSchema(read(path)?), Some(path)),
            (_, Some(regex), _) => (Grammar::Regex(regex.clone()), None),
            (.., Some(path)) => (Grammar::Lark(read(path)?), Some(path)),
            (None, None, None) => return Ok(None),
        };
        grammar.check().map_err(|error| match of {
            Some(path) => CliError::Failed(format!("{}: {error}", path.display())),
            None => CliError::Usage(error.to_string()),
        })?;
        Ok(Some(grammar))
    }

    /// What becomes of a conversation that is too long.
    pub fn overflow(&self) -> Overflow {
        match self.shift {
            true => Overflow::Shift,
            false => Overflow::Stop,
        }
    }
}

/// What a file says that the model may call.
///
/// # Errors
/// Files that cannot be read, or hold no list of functions.
pub fn tools(path: &Path) -> Result<Vec<Value>> {
    let fault = |what: String| CliError::Failed(format!("{}: {what}", path.display()));
    let mut value: Value =
        serde_json::from_str(&read(path)?).map_err(|error| fault(error.to_string()))?;
    if let Some(list) = value.get_mut("tools") {
        value = list.take();
    }
    match value {
        Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => Ok(list),
        _ => Err(fault(
            "it holds no list of functions: [{\"type\": \"function\", \"function\": {\"name\": …, \"parameters\": {…}}}]".into(),
        )),
    }
}

fn read(path: &Path) -> Result<String> {
    super::client::check_readable(path)?;
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    if bytes > LONGEST {
        return Err(CliError::Failed(format!(
            "{}: it has {bytes} bytes; such a file has at most {LONGEST}",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(|error| CliError::at(path, "read", error))
}
