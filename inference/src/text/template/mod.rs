//! Chat templates: the Jinja text in a model's file that turns a conversation into the text the model was trained on.
//!
//! Templates come from strangers. They are rendered by minijinja with Python's methods, in an environment that has no files and no host,
//! within limits of steps, memory, output and nesting (see [`limits`]), on a thread with a stack of its own.

mod guard;
mod limits;
mod python;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{CodeGenerator, Token, eval, make_string_output, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, context};
use serde::{Deserialize, Serialize};

use super::TextError;
use limits::Budget;

/// The template of models that come without one: ChatML, the most common form.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Longest template; real ones have up to 30 thousand bytes.
const MAX_TEMPLATE: usize = 512 << 10;
/// Most tokens within one tag, and most `elif`s: they nest the syntax tree.
const MAX_NESTING: usize = 4000;
/// Stack of the rendering thread, for the deepest syntax tree that the limits above let through.
const STACK: usize = 128 << 20;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
    /// What an answer called instead of saying something, as the programs that speak of tools write it:
    /// `{"type": "function", "function": {"name": …, "arguments": {…}}}`. What came of it is a message of the role `tool`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<serde_json::Value>,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            tool_calls: Vec::new(),
        }
    }
}

/// What a template is told beside the messages.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    /// End by the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Text of the beginning-of-text token (`bos_token`).
    pub bos: String,
    /// Text of the end-of-text token (`eos_token`).
    pub eos: String,
    /// Seconds since 1970, UTC, for templates that tell the date. A request carries it, so that it can be repeated.
    pub now: i64,
    /// What the model may call, each as JSON describes a function: `{"type": "function", "function": {"name": …, "parameters": {…}}}`.
    pub tools: Vec<serde_json::Value>,
}

/// A conversation as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text. Encode it with special tokens read and without adding any: the template wrote them.
    pub text: String,
    /// Why the model's own template was not used, in words for the person.
    pub warning: Option<String>,
}

/// Renders by the model's own template, or by [`CHATML`] with a warning if it has none or a broken one.
///
/// # Errors
/// [`TextError::TemplateRefused`] if the template itself rejects the conversation (roles that do not alternate, a system message where none is known).
pub fn render(
    template: Option<&str>,
    messages: &[ChatMessage],
    options: &RenderOptions,
) -> Result<Rendered, TextError> {
    let cause = match template {
        None => "the model has no chat template".to_owned(),
        Some(template) => match render_template(template, messages, options) {
            Ok(text) => {
                return Ok(Rendered {
                    text,
                    warning: None,
                });
            }
            Err(refused @ TextError::TemplateRefused { .. }) => return Err(refused),
            Err(error) => error.to_string(),
        },
    };
    Ok(Rendered {
        text: render_template(CHATML, messages, options)?,
        warning: Some(format!(
            "{cause}; the ChatML form is used instead, so answers may be worse"
        )),
    })
}

/// Renders by one template, without fallback.
///
/// # Errors
/// [`TextError::Template`] if it is broken or exceeds its limits, [`TextError::TemplateRefused`] if it rejects the conversation.
pub fn render_template(
    template: &str,
    messages: &[ChatMessage],
    options: &RenderOptions,
) -> Result<String, TextError> {
    if template.len() > MAX_TEMPLATE {
        return Err(TextError::Template {
            cause: format!("it has {} bytes (at most {MAX_TEMPLATE})", template.len()),
        });
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("chat-template".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || render_here(template, messages, options))
            .map_err(|error| TextError::Template {
                cause: format!("no thread to render it: {error}"),
            })?;
        thread.join().unwrap_or_else(|_| {
            Err(TextError::Template {
                cause: "the template engine failed on it".to_owned(),
            })
        })
    })
}

fn render_here(
    template: &str,
    messages: &[ChatMessage],
    options: &RenderOptions,
) -> Result<String, TextError> {
    let said = |m: &ChatMessage| {
        let calls: usize = m.tool_calls.iter().map(weight).sum();
        m.role.len() + m.content.len() + calls + 64
    };
    let tools: usize = options.tools.iter().map(weight).sum();
    let input = messages.iter().map(said).sum::<usize>() + tools;
    // Real templates read each message a few dozen times and write it once.
    let budget = Arc::new(Budget::new(
        (128 << 20) + input.saturating_mul(64),
        (4 << 20) + input.saturating_mul(4),
    ));
    let fail = |error: minijinja::Error| match budget.refusal() {
        Some(message) => TextError::TemplateRefused { message },
        None => TextError::Template {
            cause: describe(&error),
        },
    };
    let source = plain_blocks(template);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(fail)?;
    check_nesting(&source, &syntax)?;
    let tree = parse(&source, "chat template", syntax).map_err(fail)?;
    let tree = guard::statement(&tree).map_err(|guard::Refused::OtherTemplates(tag)| {
        TextError::Template {
            cause: format!("it uses the tag {tag:?}, which reaches for other templates"),
        }
    })?;
    let mut generator = CodeGenerator::new("chat template", &source);
    generator.compile_stmt(&tree);
    let (instructions, blocks) = generator.finish();

    let mut env = python::environment(&budget, options.now);
    env.set_fuel(Some(4_000_000 + 20_000 * messages.len() as u64));
    env.set_recursion_limit(200);
    let conversation: Vec<Value> = messages
        .iter()
        .map(|m| {
            let mut of = vec![
                ("role", Value::from(m.role.as_str())),
                ("content", Value::from(m.content.as_str())),
            ];
            if !m.tool_calls.is_empty() {
                of.push(("tool_calls", m.tool_calls.iter().map(value_of).collect()));
            }
            Value::from_pairs(of)
        })
        .collect();
    // As in transformers, what is not given is none, and not unknown.
    let tools = match options.tools.is_empty() {
        true => Value::from(()),
        false => options.tools.iter().map(value_of).collect(),
    };
    let root = context! {
        messages => conversation,
        add_generation_prompt => options.add_generation_prompt,
        bos_token => options.bos.as_str(),
        eos_token => options.eos.as_str(),
        tools => tools,
        documents => Value::from(()),
    };
    let mut text = String::new();
    let no_blocks = BTreeMap::new();
    debug_assert!(blocks.is_empty(), "block tags are refused");
    eval(
        &env,
        &instructions,
        root,
        &no_blocks,
        &mut make_string_output(&mut text),
        AutoEscape::None,
    )
    .map(|_| ())
    .map_err(fail)?;
    Ok(text)
}

/// A value of JSON as templates see it.
fn value_of(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (_, Some(whole)) => Value::from(whole),
            _ => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(all) => all.iter().map(value_of).collect(),
        Json::Object(all) => {
            let fields = all
                .iter()
                .map(|(key, value)| (key.as_str(), value_of(value)));
            Value::from_pairs(fields)
        }
    }
}

/// About how many bytes a value is written in.
fn weight(value: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => text.len() + 8,
        Json::Array(all) => all.iter().map(weight).sum::<usize>() + 8,
        Json::Object(all) => {
            let of = |(key, value): (&String, &Json)| key.len() + weight(value) + 8;
            all.iter().map(of).sum::<usize>() + 8
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => 24,
    }
}

/// The error and where it is, on one line.
fn describe(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map(|line| format!(" (line {line})"))
        .unwrap_or_default();
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

/// `{% generation %}` marks what training counts; it means nothing here, and the engine does not know it.
fn plain_blocks(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        // Behind the opening: in `{%}` the two share a character.
        let Some((inside, behind)) = tag[2..].split_once("%}") else {
            rest = tag;
            break;
        };
        let name = inside
            .trim_start_matches(['-', '+'])
            .trim_end_matches(['-', '+'])
            .trim();
        match name {
            "generation" => out.push_str(&format!("{{%{}%}}", inside.replacen(name, "if true", 1))),
            "endgeneration" => {
                out.push_str(&format!("{{%{}%}}", inside.replacen(name, "endif", 1)));
            }
            _ => {
                // Only the opening: what follows may be text in which another tag begins.
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Refuses what would nest the syntax tree too deeply, before it is built: chains of operators and of `elif`.
fn check_nesting(source: &str, syntax: &SyntaxConfig) -> Result<(), TextError> {
    let mut in_tag = 0;
    let mut branches = 0;
    for token in tokenize(source, false, syntax.clone()) {
        let Ok((token, _)) = token else { return Ok(()) }; // the parser will say what is wrong
        match token {
            Token::VariableStart | Token::BlockStart => in_tag = 0,
            Token::Ident("elif") => branches += 1,
            _ => in_tag += 1,
        }
        if in_tag > MAX_NESTING || branches > MAX_NESTING {
            return Err(TextError::Template {
                cause: format!(
                    "an expression or a chain of conditions has more than {MAX_NESTING} parts"
                ),
            });
        }
    }
    Ok(())
}
