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
    /// the oldest first, but never the last one; of raw text the oldest tokens after the mark of the beginning. Room for an answer is made then, too, and
    /// what goes is counted in quarters of the context: the same goes in the turns that follow, so that what they have in common stays in the cache. What is
    /// too long all the same stays too long.
    ///
    /// # Errors
    /// From template and tokenizer, and for a prompt without tokens.
    pub fn new(model: &ChatModel, request: &ChatRequest) -> Result<Self, JobError> {
        let (tokens, warning) = match &request.prompt {
            ChatPrompt::Messages(messages) => {
                model.encode_conversation(messages, &request.tools, request.time)?
            }
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
                    let most = most(model, request, whole);
                    if let Some(tokens) = without_old_turns(model, request, messages, most)? {
                        prompt.tokens = tokens;
                    }
                }
                ChatPrompt::Raw(_) => {
                    let head = head(model, request, &prompt.tokens)?;
                    let kept = most(model, request, whole)
                        .into_iter()
                        .find(|most| *most > head);
                    let drop = whole - kept.unwrap_or(head).max(head).max(1);
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

/// How many tokens may be left of a prompt of `whole` tokens: first where what goes is rounded up to quarters of the context, then what just fits.
fn most(model: &ChatModel, request: &ChatRequest, whole: usize) -> [usize; 2] {
    let context = model.context_length();
    let fits = context - room(model, request);
    let quarter = (context / 4).max(1);
    let rounded = whole.saturating_sub(fits).next_multiple_of(quarter);
    [whole.saturating_sub(rounded).min(fits), fits]
}

/// Messages that are always kept.
fn leading(messages: &[ChatMessage]) -> &[ChatMessage] {
    let count = messages
        .iter()
        .take_while(|message| matches!(message.role.as_str(), "system" | "developer"))
        .count();
    &messages[..count]
}

/// The conversation without as many of its oldest turns as it takes to have the first of `most` tokens, or, where no turn is short enough for that, the
/// second; without all but the last where nothing helps; `None` where there is but one.
fn without_old_turns(
    model: &ChatModel,
    request: &ChatRequest,
    messages: &[ChatMessage],
    most: [usize; 2],
) -> Result<Option<Vec<u32>>, JobError> {
    let head = leading(messages);
    let begins: Vec<usize> = (head.len()..messages.len())
        .filter(|&index| messages[index].role == "user")
        .skip_while(|&index| index == head.len())
        .collect();
    let encode = |begin: usize| {
        let kept = [head, &messages[begin..]].concat();
        let encoded = model.encode_conversation(&kept, &request.tools, request.time);
        Ok::<_, JobError>(encoded?.0)
    };
    for most in most {
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
        if best.is_some() {
            return Ok(best);
        }
    }
    begins.last().map(|last| encode(*last)).transpose()
}

/// Makes room in a full context: half of the tokens after the kept beginning go, the oldest ones. Returns how many went.
///
/// # Errors
/// From template and tokenizer.
pub(super) fn shift(
    model: &ChatModel,
    request: &ChatRequest,
    tokens: &mut Vec<u32>,
) -> Result<usize, JobError> {
    let head = head(model, request, tokens)?;
    let drop = (tokens.len() - head) / 2;
    tokens.drain(head..head + drop);
    Ok(drop)
}

/// How many of the first tokens are always kept: leading system messages and the marks around them; of raw text the mark of the beginning.
///
/// # Errors
/// From template and tokenizer.
fn head(model: &ChatModel, request: &ChatRequest, tokens: &[u32]) -> Result<usize, JobError> {
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
                model.encode_conversation(&probe, &request.tools, request.time)
            });
            let (one, other) = (one?.0, other?.0);
            Ok(common(&one, &other).min(common(&one, tokens).max(common(&other, tokens))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::ModelRef;
    use crate::formats::detect::probe;

    #[test]
    fn what_was_settled_at_the_beginning_stays() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/muse/muse.gguf");
        let model = ChatModel::load(&path, &probe(&path).unwrap()).unwrap();
        let mut messages = vec![ChatMessage::new(
            "system",
            "You speak of nothing but foxes.",
        )];
        for turn in 0..20 {
            messages.push(ChatMessage::new("user", format!("question {turn}")));
            messages.push(ChatMessage::new("assistant", format!("answer {turn}")));
        }
        messages.push(ChatMessage::new("user", "the last question"));
        let request = ChatRequest::new(
            ModelRef::named("muse"),
            ChatPrompt::Messages(messages.clone()),
        );
        let (whole, _) = model.encode_messages(&messages, 0).unwrap();
        let mut tokens = whole.clone();
        let mut before = tokens.len();
        for _ in 0..3 {
            let dropped = shift(&model, &request, &mut tokens).unwrap();
            assert_eq!(tokens.len() + dropped, before);
            before = tokens.len();
            let text = model.tokenizer().decode(&tokens);
            assert!(text.contains("You speak of nothing but foxes."), "{text}");
            assert!(
                !text.contains("question 0") && text.contains("the last question"),
                "{text}"
            );
            assert_eq!(text.matches("foxes").count(), 1);
        }
        // Until there is nothing left to give up; the beginning is never touched.
        while shift(&model, &request, &mut tokens).unwrap() > 0 {}
        assert!(whole.starts_with(&tokens[..tokens.len() - 1]));
        assert!(
            model
                .tokenizer()
                .decode(&tokens)
                .contains("nothing but foxes")
        );
    }
}
