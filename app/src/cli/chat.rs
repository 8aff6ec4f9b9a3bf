//! `diptych chat` and `diptych complete`.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

use diptych_inference::engine::{ChatPrompt, EngineOptions, FinishReason};
use diptych_inference::text::template::ChatMessage;

use super::args::{ChatArgs, CompleteArgs, Global, SamplingArgs};
use super::client::Client;
use super::error::{CliError, Result};
use super::interrupt::Interrupts;
use super::out;
use super::perplexity::write_logits;
use super::save;
use super::shape::{self, ShapeArgs};
use super::talk::{self, Manner};
use crate::defaults::{self, Defaults};

/// Most tokens of an answer, where neither person nor model says.
const ANSWER_TOKENS: u32 = 1024;
/// Most tokens of a continuation.
const CONTINUATION_TOKENS: u32 = 128;
/// Longest line of a conversation, in bytes; no model takes more.
const LONGEST_LINE: u64 = 4 << 20;

/// Starts the engine with the model of a conversation.
fn open(
    global: &Global,
    model: Option<&PathBuf>,
    sampling: &SamplingArgs,
    shape: &ShapeArgs,
    most_tokens: u32,
) -> Result<(Client, Manner, Defaults)> {
    let path = global.model_path(model, "muse")?;
    let defaults = defaults::of_model(&path).map_err(CliError::failed)?;
    let params = talk::sampling(sampling, &defaults);
    params
        .check()
        .map_err(|error| CliError::Usage(error.to_string()))?;
    let grammar = shape.grammar()?;
    let options = EngineOptions {
        kv_type: shape.kv_type,
        longest_context: shape.context,
        ..global.engine_options()?
    };
    let client = Client::start(options, Interrupts::install()?)?;
    let (model, info) = client.add_model(&path)?;
    if !info.is_chat() {
        return Err(CliError::Failed(format!(
            "{}: it is {}; this needs a chat model (GGUF file or Hugging Face folder)",
            path.display(),
            info.described()
        )));
    }
    let manner = Manner {
        model,
        sampling: params,
        seed: sampling.seed.unwrap_or_else(crate::origin::new_seed),
        max_tokens: sampling.max_tokens.unwrap_or(most_tokens),
        time: talk::now(),
        grammar,
        tools: Vec::new(),
        overflow: shape.overflow(),
    };
    Ok((client, manner, defaults))
}

/// Talks.
///
/// # Errors
/// Wrong usage, faulty files, a full context, Ctrl+C.
pub fn run(global: &Global, args: &ChatArgs) -> Result<()> {
    if let Some(logits) = &args.logits {
        save::check_file_target(logits)?;
    }
    let tools = args.tools.as_deref().map(shape::tools).transpose()?;
    let (client, mut manner, defaults) = open(
        global,
        args.model.as_ref(),
        &args.sampling,
        &args.shape,
        ANSWER_TOKENS,
    )?;
    manner.tools = tools.unwrap_or_default();
    if let (None, Some(wanted)) = (args.sampling.max_tokens, defaults.max_tokens) {
        manner.max_tokens = wanted;
    }
    let system = args
        .system
        .clone()
        .or(defaults.system)
        .filter(|system| !system.is_empty());
    let mut messages: Vec<ChatMessage> = system
        .map(|text| ChatMessage::new("system", text))
        .into_iter()
        .collect();
    if let (Some(path), Some(text)) = (&args.logits, &args.text) {
        messages.push(ChatMessage::new("user", text.clone()));
        let prompt = ChatPrompt::Messages(messages);
        return write_logits(&client, manner.model, prompt, manner.time, path, args.json);
    }
    let mut lines = Lines::new();
    let mut turn = 0;
    let mut next = args.text.clone();
    loop {
        let text = match next.take() {
            Some(text) => text,
            None if args.interactive => match lines.next(&client)? {
                Some(line) => line,
                None => return Ok(()),
            },
            None => return Ok(()),
        };
        messages.push(ChatMessage::new("user", text));
        let answer = talk::write(
            &client,
            &manner,
            turn,
            ChatPrompt::Messages(messages.clone()),
            !args.json,
        );
        let answer = match answer {
            // Stopped before the first word; at a terminal the conversation goes on.
            Err(CliError::Interrupted) if args.interactive && lines.at_terminal => {
                messages.pop();
                out::remark("(stopped)");
                continue;
            }
            other => other?,
        };
        match args.json {
            true => out::json(&answer)?,
            false => out::text("\n")?,
        }
        match (answer.reason, args.interactive && lines.at_terminal) {
            (FinishReason::Cancelled, true) => out::remark("(stopped)"),
            _ => talk::verdict(&answer)?,
        }
        messages.push(ChatMessage::new("assistant", answer.text));
        turn += 1;
    }
}

/// Continues a text.
///
/// # Errors
/// As [`run`].
pub fn complete(global: &Global, args: &CompleteArgs) -> Result<()> {
    if let Some(logits) = &args.logits {
        save::check_file_target(logits)?;
    }
    let (client, manner, _) = open(
        global,
        args.model.as_ref(),
        &args.sampling,
        &args.shape,
        CONTINUATION_TOKENS,
    )?;
    if let Some(path) = &args.logits {
        let prompt = ChatPrompt::Raw(args.text.clone());
        return write_logits(&client, manner.model, prompt, manner.time, path, args.json);
    }
    let answer = talk::write(
        &client,
        &manner,
        0,
        ChatPrompt::Raw(args.text.clone()),
        !args.json,
    )?;
    if args.json {
        out::json(&answer)?;
    }
    talk::verdict(&answer)
}

/// Turns from standard input.
struct Lines {
    at_terminal: bool,
}

impl Lines {
    fn new() -> Self {
        Self {
            at_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// The next line with something in it; `None` at the end.
    fn next(&mut self, client: &Client) -> Result<Option<String>> {
        client.idle();
        loop {
            if self.at_terminal && std::io::stderr().is_terminal() {
                let mut stderr = std::io::stderr().lock();
                // Nobody can be told that nobody listens.
                let _ = write!(stderr, "> ").and_then(|()| stderr.flush());
            }
            let mut line = Vec::new();
            let mut stdin = std::io::stdin().lock().take(LONGEST_LINE);
            stdin.read_until(b'\n', &mut line).map_err(|error| {
                CliError::Failed(format!("cannot read standard input: {error}"))
            })?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() as u64 == LONGEST_LINE {
                return Err(CliError::Failed(format!(
                    "a line of standard input is longer than {LONGEST_LINE} bytes"
                )));
            }
            let text = String::from_utf8(line).map_err(|_| {
                CliError::Failed("standard input is not UTF-8 text; convert it first".into())
            })?;
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }
}
