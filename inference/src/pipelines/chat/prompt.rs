//! A request's prompt in tokens, cut to the context where the request allows it.

use crate::engine::{ChatPrompt, ChatRequest, Overflow};
use crate::pipelines::JobError;
use crate::pipelines::chat_model::ChatModel;
use crate::text::template::ChatMessage;

/// What a model is given.
pub(super) struct Prompt {
    pub tokens: Vec<u32>,
    /// Tokens that were left out to make it fit.
    pub dropped: usize,
    /// What a person should know of it.
    pub warning: Option<String>,
}

impl Prompt {
    /// Puts a request's prompt into tokens. Where it is too long and the request allows it, whole turns are left out after the leading system messages,
    /// the oldest first, but never the last one; of raw text the oldest tokens after the mark of the beginning. Room for an answer is made then, too: a
    /// quarter of the context, so that not every further turn costs the cache. What is too long all the same stays too long.
    ///
    /// # Errors
    /// From template and tokenizer, and for a prompt without tokens.
    pub fn new(model: &ChatModel, request: &ChatRequest) -> Result<Self, JobError> {
        let (tokens, warning) = match &request.prompt {
            ChatPrompt::Messages(messages) => model.encode_messages(messages, request.time)?,
            ChatPrompt::Raw(text) => (model.encode_raw(text)?, None),
        };
        if tokens.is_empty() {
            return Err(JobError::Request(
                "there is no text to answer or to continue".into(),
            ));
        }
        let mut prompt = Self {
            tokens,
            dropped: 0,
            warning,
        };
        if prompt.tokens.len() >= model.context_length() && request.overflow == Overflow::Shift {
            let whole = prompt.tokens.len();
            match &request.prompt {
                ChatPrompt::Messages(messages) => {
                    if let Some(tokens) = without_old_turns(model, request, messages)? {
                        prompt.tokens = tokens;
                    }
                }
                ChatPrompt::Raw(_) => {
                    let head = head(model, request, &prompt.tokens)?;
                    let most = model.context_length() - room(model, request);
                    let drop = (whole - most).min(whole - head);
                    prompt.tokens.drain(head..head + drop);
                }
            }
            prompt.dropped = whole - prompt.tokens.len();
        }
        Ok(prompt)
    }
}

/// Tokens that are kept free for an answer where something has to be left out anyway.
fn room(model: &ChatModel, request: &ChatRequest) -> usize {
    let quarter = model.context_length() / 4;
    (request.max_tokens as usize).clamp(1, quarter.max(1))
}

/// Messages that are always kept.
fn leading(messages: &[ChatMessage]) -> &[ChatMessage] {
    let count = messages
        .iter()
        .take_while(|message| matches!(message.role.as_str(), "system" | "developer"))
        .count();
    &messages[..count]
}

/// The conversation without as many of its oldest turns as it takes to fit; without all but the last where nothing helps; `None` where there is but one.
fn without_old_turns(
    model: &ChatModel,
    request: &ChatRequest,
    messages: &[ChatMessage],
) -> Result<Option<Vec<u32>>, JobError> {
    let head = leading(messages);
    let begins: Vec<usize> = (head.len()..messages.len())
        .filter(|&index| messages[index].role == "user")
        .skip_while(|&index| index == head.len())
        .collect();
    let encode = |begin: usize| {
        let kept = [head, &messages[begin..]].concat();
        Ok::<_, JobError>(model.encode_messages(&kept, request.time)?.0)
    };
    let most = model.context_length() - room(model, request);
    // The fewest turns that need to go: fewer messages are never longer.
    let (mut low, mut high) = (0, begins.len());
    let mut best = None;
    while low < high {
        let middle = low.midpoint(high);
        let tokens = encode(begins[middle])?;
        if tokens.len() <= most {
            best = Some(tokens);
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    match (best, begins.last()) {
        (Some(best), _) => Ok(Some(best)),
        (None, Some(&last)) => encode(last).map(Some),
        (None, None) => Ok(None),
    }
}

/// How many of the first tokens are always kept: leading system messages and the marks around them; of raw text the mark of the beginning.
///
/// # Errors
/// From template and tokenizer.
pub(super) fn head(
    model: &ChatModel,
    request: &ChatRequest,
    tokens: &[u32],
) -> Result<usize, JobError> {
    let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    match &request.prompt {
        ChatPrompt::Raw(_) => Ok(usize::from(
            model.tokenizer().add_bos_default()
                && tokens.first().copied() == model.tokenizer().bos(),
        )),
        ChatPrompt::Messages(messages) => {
            // What two conversations have in common that have nothing in common but the leading messages.
            let [one, other] = ["A", "0"].map(|text| {
                let user = ChatMessage::new("user", text);
                let probe = [leading(messages), std::slice::from_ref(&user)].concat();
                model.encode_messages(&probe, request.time)
            });
            let (one, other) = (one?.0, other?.0);
            Ok(common(&one, &other).min(common(&one, tokens).max(common(&other, tokens))))
        }
    }
}
