//! Answers that are being written: what the engine says goes into their messages, and from there into the library.

use std::time::{Duration, Instant};

use diptych_inference::engine::{
    ChatPrompt, ChatRequest, Event, FinishReason, Outcome, Overflow, Request, Written,
};
use diptych_inference::text::template::ChatMessage;

use super::Chat;
use super::talk::{Loaded, Talk};
use crate::library::records::{
    AnswerInfo, ConversationId, Message, MessageId, MessageState, Role, Target, TaskId, now,
};
use crate::library::trace::Trace;
use crate::studio::command::QueueCommand;
use crate::studio::house::House;
use crate::studio::queue::TaskHead;

/// A message that is being written is given to the library this often.
const KEEP: Duration = Duration::from_millis(450);
/// And what was thought of its tokens, which is more, this often.
const KEEP_TRACE: Duration = Duration::from_secs(4);

/// How an answer ended.
#[derive(Clone, Debug)]
struct End {
    state: MessageState,
    /// What this run has written.
    text: Option<String>,
    info: Option<AnswerInfo>,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With nothing.
    Anew,
    /// With the tokens that were written before it was cut off ([`AnswerInfo::written`]), as if it never had been.
    Resumed,
    /// With the text that the message has: it is gone on with.
    Given,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Writing {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The message that it is written into.
    pub message: MessageId,
    /// The job.
    pub task: TaskId,
    /// What it was begun with, and what this run has written.
    buffer: String,
    /// Bytes that it was begun with.
    given: usize,
    /// Its tokens, as far as the model wrote them.
    ids: Vec<u32>,
    /// Bytes of the buffer that came with tokens.
    covered: usize,
    /// Bytes that it was begun with and that are in the message only, which is not loaded yet.
    missing: usize,
    /// What was thought of the tokens of the buffer.
    pub(super) trace: Trace,
    /// What was there already, if the same answer is written again in order to go on with it.
    before: String,
    /// Whether the message has words that the library has not.
    unsaved: bool,
    kept: Instant,
    trace_kept: Instant,
    end: Option<End>,
}

impl Writing {
    fn new(
        conversation: ConversationId,
        message: MessageId,
        task: TaskId,
        before: String,
        given: &str,
        written: &Written,
    ) -> Self {
        let mut trace = Trace::default();
        if !given.is_empty() {
            trace.push_plain(given.len());
        }
        Self {
            conversation,
            message,
            task,
            buffer: given.to_owned(),
            given: given.len(),
            ids: written.tokens.clone(),
            covered: given.len(),
            missing: 0,
            trace,
            before,
            unsaved: false,
            kept: Instant::now(),
            trace_kept: Instant::now(),
            end: None,
        }
    }

    /// The job begins once more (another device, another budget of memory): the same is written again, and what was there
    /// stays until it is.
    fn begin_again(&mut self, written: &Written, known: Option<&Trace>) {
        if self.end.is_some() || self.buffer.len() <= self.given {
            return;
        }
        let given = self.buffer.get(..self.given).unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut self.buffer, given);
        if before.len() > self.before.len() {
            self.before = before;
        }
        self.ids.clone_from(&written.tokens);
        self.covered = self.given;
        self.trace = Trace::default();
        if self.given > 0 {
            self.trace.push_plain(self.given);
        }
        if let Some(known) = known {
            self.trace = self.trace.begun_with(known, self.given);
        }
    }

    /// Whether as much is written as was there before.
    fn caught_up(&self) -> bool {
        self.buffer.len() >= self.before.len()
    }

    /// Takes what it was begun with out of the message, once that is loaded.
    fn fill_in(&mut self, text: &str) {
        if let Some(given) = text.get(..self.missing)
            && self.missing > self.given
        {
            let further = self.missing - self.given;
            self.buffer.replace_range(..self.given, given);
            self.given = self.missing;
            self.covered += further;
            self.missing = 0;
        }
    }

    /// Notes in the message's figures from where the answer can be gone on with.
    fn note(&self, info: &mut AnswerInfo) {
        let written = info.written.get_or_insert_default();
        let known = written.tokens.len();
        match self.ids.get(known..) {
            Some(further) if self.ids.get(..known) == Some(written.tokens.as_slice()) => {
                written.tokens.extend_from_slice(further);
            }
            _ => written.tokens.clone_from(&self.ids),
        }
        written.bytes = u32::try_from(self.covered).unwrap_or(0);
    }
}

/// Has the library keep a message.
pub(super) fn keep_message(message: &Message, house: &House) {
    let message = message.clone();
    house.save("the conversation", move |library| {
        library.put_message(&message)?;
        Ok(None)
    });
}

/// Has the library keep what was thought of an answer's tokens. Of those that it was given, the library knows more.
pub(super) fn keep_trace(message: MessageId, trace: Trace, given: usize, house: &House) {
    house.save("the conversation", move |library| {
        let earlier = match given {
            0 => None,
            _ => library.tokens(message)?,
        };
        match earlier {
            Some(earlier) => library.put_tokens(message, &trace.begun_with(&earlier, given))?,
            None => library.put_tokens(message, &trace)?,
        }
        Ok(None)
    });
}

/// Has the library keep a conversation's record, if it changed.
pub(super) fn keep_conversation(talk: &mut Talk, house: &House) {
    if talk.kept.as_ref() == Some(&talk.conversation) {
        return;
    }
    let conversation = talk.conversation.clone();
    talk.kept = Some(conversation.clone());
    house.save("the conversation", move |library| {
        library.put_conversation(&conversation)?;
        Ok(None)
    });
}

/// What an earlier run of the request has written.
fn written_of(request: &Request) -> Written {
    match request {
        Request::Chat(request) => request.written.clone().unwrap_or_default(),
        _ => Written::default(),
    }
}

/// The words that a request's answer is begun with.
fn given_of(request: &Request) -> &str {
    match request {
        Request::Chat(ChatRequest {
            prompt: ChatPrompt::Messages(turns),
            ..
        }) => turns
            .last()
            .filter(|last| last.role == "assistant")
            .map_or("", |last| last.content.as_str()),
        _ => "",
    }
}

impl Chat {
    /// The answer that is being written into a message.
    pub fn writing(&self, message: MessageId) -> Option<&Writing> {
        self.writing.iter().find(|one| one.message == message)
    }

    /// Whether an answer of a conversation is being written.
    pub fn is_writing(&self, conversation: ConversationId) -> bool {
        self.writing
            .iter()
            .any(|one| one.conversation == conversation && one.end.is_none())
    }

    /// The request that writes an answer into a message that is in the tree; of at most so many tokens, or as many as the
    /// conversation's settings say.
    fn request(
        &self,
        id: ConversationId,
        message: MessageId,
        begin: Begin,
        most: Option<u32>,
        house: &House,
    ) -> Option<ChatRequest> {
        let talk = self.talk(id)?;
        let settings = &talk.conversation;
        let model = self.model_of(settings, house)?.model.clone()?;
        let answer = talk.tree.get(message)?;
        let info = answer.info.as_ref()?;
        let mut turns = talk.tree.prompt(&settings.system, message);
        if let Some(given) = answer.text.get(..info.given as usize)
            && !given.is_empty()
        {
            turns.push(ChatMessage::new("assistant", given));
        }
        Some(ChatRequest {
            sampling: settings.sampling.clone(),
            seed: info.seed,
            max_tokens: most.unwrap_or(settings.max_tokens),
            time: now() / 1000,
            overflow: if settings.drop_old {
                Overflow::Shift
            } else {
                Overflow::Stop
            },
            written: info.written.clone().filter(|_| begin == Begin::Resumed),
            ..ChatRequest::new(model, ChatPrompt::Messages(turns))
        })
    }

    /// How an answer that was cut off is gone on with: from its tokens where they are known, of this model and behind this text; else from its words.
    pub(super) fn way_on(&self, id: ConversationId, message: MessageId, house: &House) -> Begin {
        let known = || {
            let talk = self.talk(id)?;
            let answer = talk.tree.get(message)?;
            let info = answer.info.as_ref()?;
            let written = info.written.as_ref()?;
            let model = self.model_of(&talk.conversation, house)?.model.as_ref()?;
            let bytes = written.bytes as usize;
            let same = info.model.as_ref().is_some_and(|of| of.name == model.name);
            let fits = bytes >= info.given as usize && answer.text.is_char_boundary(bytes);
            (same && fits && !written.tokens.is_empty()).then_some(Begin::Resumed)
        };
        known().unwrap_or(Begin::Given)
    }

    /// Has an answer written into a message that is in the tree. Locked seeds: the first answer has the seed itself, and
    /// each sibling the next.
    pub(super) fn write(
        &mut self,
        id: ConversationId,
        message: MessageId,
        begin: Begin,
        house: &mut House,
    ) {
        let longer = self.longer.take().filter(|(of, _)| *of == message);
        let most = longer.map(|(_, most)| most);
        let locked = self.talk(id).and_then(|talk| talk.conversation.seed);
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        let place = talk.tree.place(message).index as u64;
        let Some(answer) = talk.tree.get_mut(message) else {
            return;
        };
        let before = match begin {
            Begin::Anew | Begin::Resumed => String::new(),
            Begin::Given => answer.text.clone(),
        };
        let given = match begin {
            Begin::Given => answer.text.len(),
            Begin::Anew | Begin::Resumed => 0,
        };
        let info = answer.info.get_or_insert_default();
        if begin == Begin::Resumed {
            // What was held back as the beginning of something, and shown at the end, comes again if it was not.
            let bytes = info.written.as_ref().map_or(0, |written| written.bytes);
            answer.text.truncate(bytes as usize);
        } else {
            let seed = match locked {
                Some(seed) => seed.wrapping_add(place),
                None => crate::origin::new_seed(),
            };
            *info = AnswerInfo {
                seed,
                given: u32::try_from(given).unwrap_or(0),
                ..AnswerInfo::default()
            };
        }
        info.failure = None;
        info.reason = None;
        answer.state = MessageState::Writing;
        let Some(request) = self.request(id, message, begin, most, house) else {
            self.fail(
                id,
                message,
                "No model can answer; add a chat model (GGUF) in Models.",
                house,
            );
            return;
        };
        let model = request.model.clone();
        let target = Target::Answer {
            conversation: id,
            message,
        };
        if let Some(talk) = self.talk_mut(id) {
            talk.touch();
            if let Some(answer) = talk.tree.get_mut(message) {
                answer.info.get_or_insert_default().model = Some(model);
                keep_message(answer, house);
            }
            talk.conversation.leaf = talk.tree.leaf();
            keep_conversation(talk, house);
        }
        let request = Request::Chat(request);
        let given = match begin {
            Begin::Resumed => self
                .talk(id)
                .and_then(|talk| talk.tree.get(message))
                .map_or_else(String::new, |answer| answer.text.clone()),
            Begin::Anew | Begin::Given => given_of(&request).to_owned(),
        };
        let written = written_of(&request);
        let task = house.submit(request, target, false);
        let mut writing = Writing::new(id, message, task, before, &given, &written);
        if let Some(known) = self.kept_trace(message) {
            writing.trace = writing.trace.begun_with(known, given.len());
        }
        self.writing.push(writing);
    }

    fn fail(&mut self, id: ConversationId, message: MessageId, cause: &str, house: &House) {
        if let Some(answer) = self
            .talk_mut(id)
            .and_then(|talk| talk.tree.get_mut(message))
        {
            answer.state = MessageState::Failed;
            answer.info.get_or_insert_default().failure = Some(cause.to_owned());
            keep_message(answer, house);
        }
    }

    /// Ends what is being written in a conversation; the words so far are kept.
    pub(super) fn stop(&self, id: ConversationId, house: &mut House) {
        for writing in self.writing.iter().filter(|one| one.conversation == id) {
            house.command(QueueCommand::Cancel(writing.task));
        }
    }

    /// Takes in what the engine says.
    pub(super) fn hear(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        let Target::Answer {
            conversation,
            message,
        } = head.target
        else {
            return;
        };
        let index = match self.writing.iter().position(|one| one.task == head.id) {
            Some(index) => index,
            None => {
                // A job that an earlier run of the program left, and that goes on now.
                let told = matches!(
                    event,
                    Event::Tokens { .. } | Event::Finished { .. } | Event::Failed { .. }
                );
                if !told {
                    return;
                }
                self.load(conversation, house);
                let old = self
                    .talk(conversation)
                    .and_then(|talk| talk.tree.get(message));
                let before = old.map(|old| old.text.clone()).unwrap_or_default();
                let given = given_of(&head.request);
                let written = written_of(&head.request);
                let mut writing =
                    Writing::new(conversation, message, head.id, before, given, &written);
                writing.missing = written.bytes as usize;
                if writing.missing > given.len() {
                    writing.trace = Trace::default();
                    writing.trace.push_plain(writing.missing);
                    let before = std::mem::take(&mut writing.before);
                    writing.fill_in(&before);
                    writing.before = before;
                }
                self.writing.push(writing);
                self.writing.len() - 1
            }
        };
        let begins = matches!(event, Event::Started { .. });
        let known = begins.then(|| self.kept_trace(message).cloned()).flatten();
        let Some(writing) = self.writing.get_mut(index) else {
            return;
        };
        match event {
            Event::Started { .. } => {
                writing.begin_again(&written_of(&head.request), known.as_ref());
                return;
            }
            Event::Tokens { tokens, .. } => {
                for token in tokens {
                    writing.buffer.push_str(&token.text);
                    writing.trace.push(token);
                    writing.ids.push(token.id);
                }
                writing.covered = writing.buffer.len();
                writing.unsaved = true;
            }
            Event::TextTail { text, .. } => {
                writing.buffer.push_str(text);
                writing.unsaved = true;
            }
            Event::Finished { outcome, .. } => writing.end = end_of(outcome, MessageState::Done),
            Event::Cancelled { partial, .. } => {
                let told = partial
                    .as_ref()
                    .and_then(|outcome| end_of(outcome, MessageState::Stopped));
                writing.end = told.or(Some(End {
                    state: MessageState::Stopped,
                    text: None,
                    info: None,
                }));
            }
            Event::Failed { failure, .. } => {
                writing.end = Some(End {
                    state: MessageState::Failed,
                    text: None,
                    info: Some(AnswerInfo {
                        failure: Some(failure.message.clone()),
                        ..AnswerInfo::default()
                    }),
                });
                // The message itself offers to try again.
                house.command(QueueCommand::Cancel(head.id));
            }
            _ => return,
        }
        self.settle(index, house);
    }

    /// A job that never came to the engine was thrown away.
    pub(super) fn discarded(&mut self, head: &TaskHead, house: &mut House) {
        let Some(index) = self.writing.iter().position(|one| one.task == head.id) else {
            return;
        };
        if let Some(writing) = self.writing.get_mut(index)
            && writing.end.is_none()
        {
            writing.end = Some(End {
                state: MessageState::Stopped,
                text: None,
                info: None,
            });
        }
        self.settle(index, house);
    }

    /// Brings what was written into the message, if its conversation is loaded.
    fn settle(&mut self, index: usize, house: &mut House) {
        let Some(conversation) = self.writing.get(index).map(|one| one.conversation) else {
            return;
        };
        let loaded = self.talk(conversation).map(|talk| talk.loaded);
        if loaded.is_some_and(|loaded| loaded != Loaded::Yes) {
            return;
        }
        // Taken out meanwhile: long answers are not copied with every token.
        let mut writing = self.writing.remove(index);
        let Some(talk) = self.talk_mut(conversation) else {
            // Deleted meanwhile.
            return;
        };
        if let Some(text) = writing.end.as_mut().and_then(|end| end.text.take()) {
            writing.buffer.truncate(writing.given);
            writing.buffer.push_str(&text);
        }
        let text = writing.buffer.as_str();
        let diverges = !writing.before.starts_with(text) && !text.starts_with(&writing.before);
        if diverges {
            writing.message = part(talk, writing.message, &writing.before, house);
            writing.before.clear();
        }
        let whole = writing
            .end
            .as_ref()
            .is_some_and(|end| end.state == MessageState::Done);
        let taken = whole || writing.caught_up();
        if let Some(answer) = talk.tree.get_mut(writing.message) {
            let info = answer.info.get_or_insert_default();
            if taken {
                writing.buffer.clone_into(&mut answer.text);
                writing.note(info);
            }
            answer.state = MessageState::Writing;
            if let Some(end) = &writing.end {
                answer.state = end.state;
                let resumed = writing.given > info.given as usize;
                *info = told(std::mem::take(info), end.info.as_ref(), resumed);
                if !can_continue(answer) {
                    answer.info.get_or_insert_default().written = None;
                }
                keep_message(answer, house);
            }
        }
        if writing.end.is_some() {
            talk.touch();
            keep_conversation(talk, house);
            if taken && !writing.trace.is_empty() {
                keep_trace(writing.message, writing.trace.clone(), writing.given, house);
                self.know_trace(writing.message, writing.trace, writing.given);
            }
        } else {
            self.writing.insert(index, writing);
        }
    }

    /// Gives the library what was written since.
    pub(super) fn keep_writing(&mut self, at_once: bool, house: &House) {
        let now = Instant::now();
        let talks = &self.talks;
        for writing in &mut self.writing {
            if !writing.unsaved || (!at_once && now < writing.kept + KEEP) {
                continue;
            }
            let message = talks
                .iter()
                .find(|talk| talk.id() == writing.conversation)
                .and_then(|talk| talk.tree.get(writing.message));
            if let Some(message) = message {
                keep_message(message, house);
                writing.unsaved = false;
                writing.kept = now;
                let due = at_once || now >= writing.trace_kept + KEEP_TRACE;
                if due && writing.caught_up() {
                    let (trace, given) = (writing.trace.clone(), writing.given);
                    keep_trace(writing.message, trace, given, house);
                    writing.trace_kept = now;
                }
            }
        }
    }

    /// Messages were loaded: brings in what was heard of them meanwhile.
    pub(super) fn settle_all(&mut self, id: ConversationId, house: &mut House) {
        for index in (0..self.writing.len()).rev() {
            let of_it = |one: &Writing| one.conversation == id;
            if self.writing.get(index).is_some_and(of_it) {
                if let Some(talk) = self.talk(id)
                    && let Some(writing) = self.writing.get(index)
                    && writing.before.is_empty()
                    && let Some(old) = talk.tree.get(writing.message)
                {
                    let before = old.text.clone();
                    if let Some(writing) = self.writing.get_mut(index) {
                        writing.fill_in(&before);
                        writing.before = before;
                    }
                }
                self.settle(index, house);
            }
        }
    }
}

/// The same answer turned out differently (another device, other settings): what was there stays, and the new words go
/// into a sibling.
fn part(talk: &mut Talk, message: MessageId, before: &str, house: &House) -> MessageId {
    let shown = talk.tree.leaf();
    let Some(sibling) = talk.tree.regenerate(message) else {
        return message;
    };
    let mut info = talk.tree.get(message).and_then(|old| old.info.clone());
    if let Some(info) = &mut info {
        info.written = None;
    }
    if let Some(old) = talk.tree.get_mut(message) {
        before.clone_into(&mut old.text);
        old.state = MessageState::Stopped;
        keep_message(old, house);
    }
    if let Some(new) = talk.tree.get_mut(sibling) {
        new.info = info;
        keep_message(new, house);
    }
    if shown != Some(message) {
        talk.tree.show(shown);
    }
    talk.conversation.leaf = talk.tree.leaf();
    keep_conversation(talk, house);
    sibling
}

fn end_of(outcome: &Outcome, whole: MessageState) -> Option<End> {
    let Outcome::Chat {
        text,
        reason,
        prompt_tokens,
        cached_tokens,
        tokens,
        dropped_tokens,
        context_length,
        first_token_seconds,
        decode_seconds,
        ..
    } = outcome
    else {
        return None;
    };
    let state = match reason {
        FinishReason::Cancelled => MessageState::Stopped,
        _ => whole,
    };
    Some(End {
        state,
        text: Some(text.clone()),
        info: Some(AnswerInfo {
            prompt_tokens: *prompt_tokens,
            cached_tokens: *cached_tokens,
            tokens: *tokens,
            dropped_tokens: *dropped_tokens,
            context_length: *context_length,
            first_token_seconds: *first_token_seconds,
            decode_seconds: *decode_seconds,
            reason: Some(*reason),
            ..AnswerInfo::default()
        }),
    })
}

/// What is known of an answer: model, seed, tokens and what it was given from its beginning, the rest from its end. The time of writing is that of all runs.
fn told(old: AnswerInfo, end: Option<&AnswerInfo>, resumed: bool) -> AnswerInfo {
    let Some(end) = end else {
        return old;
    };
    let mut told = AnswerInfo {
        model: old.model,
        seed: old.seed,
        given: old.given,
        written: old.written,
        ..end.clone()
    };
    if resumed && old.decode_seconds > 0.0 {
        told.first_token_seconds = old.first_token_seconds;
        told.decode_seconds += old.decode_seconds;
    } else if resumed {
        // Nothing is known of the time of the first run, but its tokens are counted.
        told.decode_seconds = 0.0;
    }
    told
}

/// Whether an answer may be gone on with: it was cut off.
pub fn can_continue(message: &Message) -> bool {
    let reason = message.info.as_ref().and_then(|info| info.reason);
    message.role == Role::Assistant
        && (message.state == MessageState::Stopped
            || (message.state == MessageState::Done && reason == Some(FinishReason::Length)))
}
