//! `diptych perplexity`, and the logits that `chat` and `complete` write.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use diptych_inference::engine::{ChatPrompt, Measure, ModelRef, Outcome, Request, ScoreRequest};
use diptych_inference::tools::{StorageDtype, TensorData, write_tensors};
use serde::Serialize;

use super::args::Global;
use super::client::{Client, Ending, check_readable};
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;
use super::progress::Progress;

/// Tokens of a chunk where nobody says; llama.cpp's own.
const CONTEXT: u32 = 512;
/// Longest text that is read.
const LONGEST: u64 = 256 << 20;

/// `diptych perplexity`.
///
/// As llama.cpp defines it: the text is cut into chunks of the context's length, each chunk begins anew, and of each the second half is scored.
#[derive(Clone, Debug, Args)]
pub struct PerplexityArgs {
    /// GGUF file or Hugging Face folder
    pub model: PathBuf,
    /// Text file to be foretold; '-' is standard input
    pub file: PathBuf,
    /// Tokens of a chunk; the second half of each chunk is scored, what is left at the end is dropped
    #[arg(short, long, value_name = "N", default_value_t = CONTEXT)]
    pub context: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--json` gives.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    result: diptych_inference::engine::Perplexity,
    tokens_per_second: f64,
    executor: &'a str,
    device: &'a str,
}

/// Measures.
///
/// # Errors
/// If the model or the text cannot be used, or Ctrl+C was pressed before the first chunk was done.
pub fn run(global: &Global, args: &PerplexityArgs) -> Result<()> {
    let text = read(&args.file)?;
    let client = Client::start(global.engine_options()?, Interrupts::install()?)?;
    let (model, info) = client.add_model(&args.model)?;
    if !info.is_chat() {
        return Err(CliError::Failed(format!(
            "{}: it is {}; this needs a chat model (GGUF file or Hugging Face folder)",
            args.model.display(),
            info.described()
        )));
    }
    let request = ScoreRequest {
        model,
        prompt: ChatPrompt::Raw(text),
        measure: Measure::Perplexity {
            context: args.context,
        },
        time: 0,
    };
    let (outcome, stopped) = score(&client, request, args.json)?;
    let Outcome::Perplexity(result) = outcome else {
        return Err(wrong());
    };
    let rows = f64::from(result.chunks) * f64::from(result.context);
    if args.json {
        out::json(&Report {
            tokens_per_second: rows / f64::from(result.seconds).max(1e-9),
            result,
            executor: client.executor(),
            device: client.device(),
        })?;
    } else {
        out::line(&format!(
            "perplexity {:.4} +/- {:.4}",
            result.perplexity, result.error
        ))?;
        out::line(&format!(
            "{} tokens scored: the second halves of {} chunks of {}{}, as llama.cpp does it ({} tokens in all, {:.1} s)",
            result.scored,
            result.chunks,
            result.context,
            if result.beginning {
                ", each with the beginning of text before it"
            } else {
                ""
            },
            result.tokens,
            result.seconds
        ))?;
    }
    if stopped {
        Err(CliError::Interrupted)
    } else {
        Ok(())
    }
}

/// Writes the logits of a prompt: `ids` i32 `[tokens]` and `logits` f32 `[tokens, vocabulary]`.
///
/// # Errors
/// Why they could not be computed or written.
pub fn write_logits(
    client: &Client,
    model: ModelRef,
    prompt: ChatPrompt,
    time: i64,
    path: &Path,
    json: bool,
) -> Result<()> {
    let request = ScoreRequest {
        model,
        prompt,
        measure: Measure::Logits,
        time,
    };
    let (outcome, _) = score(client, request, json)?;
    let Outcome::Logits { ids, logits } = outcome else {
        return Err(wrong());
    };
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let tensors = [
        TensorData::new_owned("ids", &[ids.len()], StorageDtype::I32, bytes),
        TensorData::from_f32("logits", &logits.shape, logits.as_f32()),
    ];
    let [ids_tensor, logits_tensor] = tensors;
    let tensors = [
        ids_tensor.map_err(CliError::failed)?,
        logits_tensor.map_err(CliError::failed)?,
    ];
    write_tensors(path, &tensors, &std::collections::BTreeMap::new()).map_err(CliError::failed)?;
    let vocabulary = logits.shape.get(1).copied().unwrap_or(0);
    match json {
        true => out::json(&serde_json::json!({
            "path": path, "ids": ids, "tokens": ids.len(), "vocabulary": vocabulary,
            "executor": client.executor(), "device": client.device(),
        })),
        false => out::line(&format!(
            "{}: logits of {} tokens over a vocabulary of {vocabulary}",
            path.display(),
            ids.len()
        )),
    }
}

/// Has a text scored; whether it was stopped before its end.
fn score(client: &Client, request: ScoreRequest, quiet: bool) -> Result<(Outcome, bool)> {
    let mut progress = Progress::new(quiet);
    let ending = client.run(Request::Score(request), |event| {
        progress.watch(event);
        Ok(())
    });
    progress.clear();
    match ending? {
        Ending::Finished(outcome) => Ok((outcome, false)),
        Ending::Cancelled(Some(outcome)) => Ok((outcome, true)),
        Ending::Cancelled(None) => Err(CliError::Interrupted),
    }
}

fn wrong() -> CliError {
    CliError::Failed("the engine answered with something else; please report it".into())
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        let stdin = std::io::stdin();
        stdin.lock().take(LONGEST + 1).read_to_end(&mut bytes)
    } else {
        check_readable(path)?;
        if path.is_dir() {
            return Err(CliError::Failed(format!(
                "{}: this is a folder; name a text file",
                path.display()
            )));
        }
        std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| CliError::at(path, "read", error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(CliError::Failed(format!(
            "{}: the text is longer than {}",
            path.display(),
            out::bytes(LONGEST)
        )));
    }
    String::from_utf8(bytes).map_err(|_| {
        CliError::Failed(format!(
            "{}: it is not UTF-8 text; convert it first",
            path.display()
        ))
    })
}
