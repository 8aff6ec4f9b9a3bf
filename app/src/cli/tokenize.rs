//! `diptych tokenize`.

use std::io::Read as _;
use std::path::Path;

use diptych_inference::tools::{
    ClipTokenizer, EncodeOptions, FolderTokenizer, GgufVocab, Tokenizer, read_gguf,
};
use serde::Serialize;

use super::args::TokenizeArgs;
use super::client::check_readable;
use super::error::{CliError, Result};
use super::out;

/// Longest text that is read.
const LONGEST: u64 = 256 << 20;

/// What `--json` gives.
#[derive(Serialize)]
struct Report<'a> {
    count: usize,
    ids: &'a [u32],
    /// As the vocabulary spells them.
    pieces: Vec<&'a str>,
}

/// Shows the tokens of a text.
///
/// # Errors
/// If there is no tokenizer at the path, or the text is no text.
pub fn run(args: &TokenizeArgs) -> Result<()> {
    check_readable(&args.path)?;
    let text = match &args.text {
        Some(text) => text.clone(),
        None => standard_input()?,
    };
    let options = EncodeOptions {
        add_special: args.bos,
        parse_special: args.special,
    };
    let tokenizer = Source::open(&args.path)?;
    let tokenizer = tokenizer.tokenizer();
    for warning in tokenizer.warnings() {
        tracing::warn!("{warning}");
    }
    let ids = tokenizer
        .encode(&text, options)
        .map_err(|error| CliError::at(&args.path, "tokenize", error))?;
    let pieces: Vec<&str> = ids
        .iter()
        .map(|&id| tokenizer.piece_text(id).unwrap_or_default())
        .collect();
    if args.json {
        return out::json(&Report {
            count: ids.len(),
            ids: &ids,
            pieces,
        });
    }
    let mut lines = String::new();
    for (id, piece) in ids.iter().zip(pieces) {
        lines.push_str(&format!("{id}\t{}\n", visible(piece)));
    }
    out::text(&lines)
}

/// A piece on one line: what would move the cursor is escaped.
fn visible(piece: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    piece.chars().map(escape).collect()
}

enum Source {
    Plain(Box<Tokenizer>),
    Clip(Box<ClipTokenizer>),
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            if path.join("tokenizer.json").is_file() {
                let folder = FolderTokenizer::open(path).map_err(CliError::failed)?;
                return Ok(Self::Plain(Box::new(folder.tokenizer)));
            }
            let inner = path.join("tokenizer");
            let folder = if inner.join("vocab.json").is_file() {
                inner.as_path()
            } else {
                path
            };
            if !folder.join("vocab.json").is_file() {
                return Err(CliError::Failed(format!(
                    "{}: there is no tokenizer here (no tokenizer.json or vocab.json); name a GGUF file, a Hugging Face folder, or a folder with CLIP's tokenizer",
                    path.display()
                )));
            }
            let tokenizer = ClipTokenizer::from_folder(folder).map_err(CliError::failed)?;
            return Ok(Self::Clip(Box::new(tokenizer)));
        }
        if path.extension().is_some_and(|ending| ending == "json") {
            let tokenizer = Tokenizer::from_json(path).map_err(CliError::failed)?;
            return Ok(Self::Plain(Box::new(tokenizer)));
        }
        let file = read_gguf(path).map_err(CliError::failed)?;
        let vocabulary = GgufVocab::from_gguf(&file.metadata).map_err(CliError::failed)?;
        let tokenizer = Tokenizer::new(vocabulary)
            .map_err(|error| CliError::at(path, "read its tokenizer", error))?;
        Ok(Self::Plain(Box::new(tokenizer)))
    }

    fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Plain(tokenizer) => tokenizer,
            Self::Clip(tokenizer) => tokenizer.tokenizer(),
        }
    }
}

fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(LONGEST + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| CliError::Failed(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(CliError::Failed(format!(
            "the text is longer than {}",
            out::bytes(LONGEST)
        )));
    }
    String::from_utf8(bytes)
        .map_err(|_| CliError::Failed("standard input is not UTF-8 text; convert it first".into()))
}
