//! Conversations as a file of ours: JSON with the whole tree, settings, attachments and what was thought of the tokens.
//!
//! Messages are numbered by their place in the file, so that a conversation that is read and written again gives the same
//! file.

use std::collections::{BinaryHeap, HashMap};
use std::fmt;

use diptych_inference::engine::ModelRef;
use diptych_inference::text::sampling::SamplingParams;
use serde::{Deserialize, Serialize};

use crate::library::records::{
    AnswerInfo, Attachment, Conversation, ConversationId, Message, MessageId, MessageState, Millis,
    Role,
};
use crate::library::trace::{PlainTrace, Trace};

/// What such a file calls itself.
pub const FORMAT: &str = "diptych-conversations";
/// The form of it that is written, and the latest that is read.
const VERSION: u32 = 1;
/// Most messages of a conversation.
const MOST_MESSAGES: usize = 1_000_000;

/// A conversation with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its record.
    pub conversation: Conversation,
    /// All its messages.
    pub messages: Vec<Message>,
    /// What was thought of their tokens.
    pub traces: HashMap<MessageId, Trace>,
}

/// Conversations that were read from a file and have no numbers of the library yet.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    format: String,
    version: u32,
    /// The conversations.
    pub conversations: Vec<Plain>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle of {} conversations", self.conversations.len())
    }
}

/// A conversation in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plain {
    /// Its name.
    pub title: String,
    #[serde(default)]
    model: Option<ModelRef>,
    #[serde(default)]
    system: String,
    #[serde(default)]
    sampling: SamplingParams,
    max_tokens: u32,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    drop_old: bool,
    #[serde(default)]
    pinned: bool,
    created: Millis,
    changed: Millis,
    /// Place of the last message of the branch that is shown.
    #[serde(default)]
    shown: Option<usize>,
    messages: Vec<PlainMessage>,
}

/// A message in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PlainMessage {
    /// Place of the message before it.
    #[serde(default)]
    parent: Option<usize>,
    role: Role,
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<Attachment>,
    state: MessageState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<AnswerInfo>,
    created: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<PlainTrace>,
}

/// Messages in the order of their numbers, but never before the one that they answer.
fn in_order(messages: &[Message]) -> Vec<&Message> {
    let known: HashMap<MessageId, &Message> = messages
        .iter()
        .map(|message| (message.id, message))
        .collect();
    let mut waiting: HashMap<MessageId, Vec<MessageId>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for message in messages {
        match message.parent.filter(|parent| known.contains_key(parent)) {
            Some(parent) => waiting.entry(parent).or_default().push(message.id),
            None => ready.push(std::cmp::Reverse(message.id)),
        }
    }
    let mut order = Vec::with_capacity(messages.len());
    while let Some(std::cmp::Reverse(id)) = ready.pop() {
        order.extend(known.get(&id));
        let next = waiting.remove(&id).unwrap_or_default();
        ready.extend(next.into_iter().map(std::cmp::Reverse));
    }
    order
}

impl Plain {
    fn of(held: &Held) -> Self {
        let conversation = &held.conversation;
        let order = in_order(&held.messages);
        let places: HashMap<MessageId, usize> = order
            .iter()
            .enumerate()
            .map(|(place, message)| (message.id, place))
            .collect();
        let place = |id: &Option<MessageId>| id.and_then(|id| places.get(&id).copied());
        let plain = |message: &&Message| PlainMessage {
            parent: place(&message.parent),
            role: message.role,
            text: message.text.clone(),
            attachments: message.attachments.clone(),
            // Nobody else will write it to its end.
            state: match message.state {
                MessageState::Writing => MessageState::Stopped,
                state => state,
            },
            info: message.info.clone(),
            created: message.created,
            tokens: held.traces.get(&message.id).map(PlainTrace::from),
        };
        Self {
            title: conversation.title.clone(),
            model: conversation.model.clone(),
            system: conversation.system.clone(),
            sampling: conversation.sampling.clone(),
            max_tokens: conversation.max_tokens,
            seed: conversation.seed,
            drop_old: conversation.drop_old,
            pinned: conversation.pinned,
            created: conversation.created,
            changed: conversation.changed,
            shown: place(&conversation.leaf),
            messages: order.iter().map(plain).collect(),
        }
    }

    /// A conversation of another program: one branch.
    pub(super) fn of_turns(
        title: String,
        system: String,
        turns: Vec<(Role, String)>,
        settings: &Conversation,
        at: Millis,
    ) -> Self {
        let message = |(place, (role, text)): (usize, (Role, String))| PlainMessage {
            parent: place.checked_sub(1),
            role,
            text,
            attachments: Vec::new(),
            state: MessageState::Done,
            info: (role == Role::Assistant).then(AnswerInfo::default),
            created: at,
            tokens: None,
        };
        Self {
            title,
            model: None,
            system,
            sampling: settings.sampling.clone(),
            max_tokens: settings.max_tokens,
            seed: None,
            drop_old: false,
            pinned: false,
            created: at,
            changed: at,
            shown: turns.len().checked_sub(1),
            messages: turns.into_iter().enumerate().map(message).collect(),
        }
    }

    /// Whether it can be what it says.
    fn check(&self) -> Result<(), String> {
        let title = &self.title;
        if self.messages.len() > MOST_MESSAGES {
            return Err(format!(
                "the conversation '{title}' has {} messages; at most {MOST_MESSAGES} can be read",
                self.messages.len()
            ));
        }
        self.sampling
            .check()
            .map_err(|error| format!("the settings of the conversation '{title}': {error}"))?;
        for (place, message) in self.messages.iter().enumerate() {
            if message.parent.is_some_and(|parent| parent >= place) {
                return Err(format!(
                    "message {place} of the conversation '{title}' answers one that does not come before it; the file is damaged"
                ));
            }
        }
        if self.shown.is_some_and(|shown| shown >= self.messages.len()) {
            return Err(format!(
                "the conversation '{title}' ends with a message that is not there; the file is damaged"
            ));
        }
        Ok(())
    }

    /// The conversation with numbers of its own.
    pub fn held(self) -> Held {
        let id = ConversationId::new();
        let ids: Vec<MessageId> = self.messages.iter().map(|_| MessageId::new()).collect();
        let id_of = |place: Option<usize>| place.and_then(|place| ids.get(place).copied());
        let mut traces = HashMap::new();
        let mut messages = Vec::with_capacity(ids.len());
        for (plain, &own) in self.messages.into_iter().zip(&ids) {
            if let Some(trace) = plain.tokens.and_then(|tokens| tokens.trace(&plain.text)) {
                traces.insert(own, trace);
            }
            let mut info = plain.info;
            if let Some(info) = &mut info
                && !plain.text.is_char_boundary(info.given as usize)
            {
                info.given = 0;
            }
            messages.push(Message {
                id: own,
                conversation: id,
                parent: id_of(plain.parent),
                role: plain.role,
                text: plain.text,
                attachments: plain.attachments,
                state: match plain.state {
                    MessageState::Writing => MessageState::Stopped,
                    state => state,
                },
                info,
                created: plain.created,
            });
        }
        Held {
            conversation: Conversation {
                id,
                title: self.title,
                model: self.model,
                system: self.system,
                sampling: self.sampling,
                max_tokens: self.max_tokens,
                seed: self.seed,
                drop_old: self.drop_old,
                pinned: self.pinned,
                created: self.created,
                changed: self.changed,
                leaf: id_of(self.shown),
            },
            messages,
            traces,
        }
    }
}

impl Bundle {
    /// Conversations to be written.
    pub fn of(held: &[Held]) -> Self {
        Self::of_plain(held.iter().map(Plain::of).collect())
    }

    pub(super) fn of_plain(conversations: Vec<Plain>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            conversations,
        }
    }

    /// The file.
    ///
    /// # Errors
    /// None that is known of.
    pub fn write(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file of ours.
    ///
    /// # Errors
    /// What is wrong with it, in a person's words.
    pub fn read(text: &str) -> Result<Self, String> {
        /// What is looked at first: a later form may have anything else.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| fault(&error))?;
        if head.version > VERSION {
            return Err(format!(
                "it was written by a newer Diptych (form {}, this one reads up to {VERSION}); update Diptych to read it",
                head.version
            ));
        }
        let bundle: Self = serde_json::from_str(text).map_err(|error| fault(&error))?;
        for conversation in &bundle.conversations {
            conversation.check()?;
        }
        Ok(bundle)
    }

    /// Whether a text says that it is a file of ours.
    pub fn is_ours(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        serde_json::from_str::<Head>(text).is_ok_and(|head| head.format == FORMAT)
    }
}

/// Why JSON cannot be read.
pub(super) fn fault(error: &serde_json::Error) -> String {
    format!("it is damaged, or no file of conversations: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studio::chat::talk::settings_of;
    use crate::studio::chat::tree::{Step, Tree};
    use diptych_inference::engine::{Alternative, TokenEvent};
    use proptest::prelude::*;

    fn held() -> Held {
        let id = ConversationId::new();
        let mut tree = Tree::default();
        let question = tree.say(id, "a fox? \u{1f98a} \"quoted\"\n\ttab");
        tree.get_mut(question).unwrap().attachments = vec![Attachment {
            name: "notes.md".into(),
            text: "# notes\n```\nx\n```".into(),
        }];
        let answer = tree.answer(id, question);
        tree.get_mut(answer).unwrap().text = "yes".into();
        let follow = tree.say(id, "more");
        tree.answer(id, follow);
        let second = tree.regenerate(answer).unwrap();
        let edited = tree.edit(question, "a wolf?").unwrap();
        tree.step(edited, Step::Left);
        let message = tree.get_mut(second).unwrap();
        message.text = "no".into();
        message.state = MessageState::Done;
        message.info = Some(AnswerInfo {
            seed: u64::MAX,
            first_token_seconds: 0.1,
            decode_seconds: 1.0 / 3.0,
            ..AnswerInfo::default()
        });
        let mut trace = Trace::default();
        trace.push(&TokenEvent {
            id: 3,
            piece: "no".into(),
            text: "no".into(),
            probability: 0.123_456,
            alternatives: vec![Alternative {
                id: 4,
                piece: "yes".into(),
                text: "yes".into(),
                ends: false,
                probability: 0.3,
            }],
        });
        let mut conversation = settings_of(None);
        conversation.id = id;
        conversation.title = "Foxes".into();
        conversation.seed = Some(u64::MAX);
        conversation.leaf = tree.leaf();
        (conversation.created, conversation.changed) = (7, 9);
        Held {
            conversation,
            messages: tree.all().cloned().collect(),
            traces: [(second, trace)].into(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_written_the_same() {
        let first = Bundle::of(&[held()]).write().unwrap();
        let text = String::from_utf8(first.clone()).unwrap();
        assert!(Bundle::is_ours(&text));
        let read = Bundle::read(&text).unwrap();
        let again: Vec<Held> = read.conversations.into_iter().map(Plain::held).collect();
        assert_eq!(Bundle::of(&again).write().unwrap(), first);
        let (old, new) = (held(), &again[0]);
        let shape = |held: &Held| {
            let tree = Tree::new(held.messages.clone(), held.conversation.leaf);
            let branch = tree.branch();
            branch
                .iter()
                .map(|message| (message.text.clone(), tree.place(message.id)))
                .collect::<Vec<_>>()
        };
        assert_eq!(shape(&old), shape(new));
        assert_eq!(new.messages.len(), 6);
        assert_eq!(new.traces.len(), 1);
        assert!(
            new.messages
                .iter()
                .all(|message| message.conversation == new.conversation.id)
        );
    }

    #[test]
    fn faulty_files_are_refused_by_name() {
        let good = String::from_utf8(Bundle::of(&[held()]).write().unwrap()).unwrap();
        for (from, to, told) in [
            ("\"version\":1", "\"version\":9", "newer Diptych"),
            ("\"parent\":0", "\"parent\":77", "does not come before"),
            ("\"shown\":", "\"shown\":99", "not there"),
            ("\"top_p\":", "\"top_p\":9", "settings"),
            ("\"messages\":[", "\"messages\":[7,", "damaged"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Bundle::read(&good.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert!(!Bundle::is_ours("[1]") && !Bundle::is_ours("{\"format\":\"x\"}"));
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors(cut in 0..4000_usize, byte in any::<u8>()) {
            let good = Bundle::of(&[held()]).write().unwrap();
            let mut bad = good.clone();
            // Without the end of its last line it is whole.
            let at = cut % good.trim_ascii_end().len();
            bad[at] = byte;
            if let Ok(text) = String::from_utf8(bad)
                && let Ok(bundle) = Bundle::read(&text)
            {
                for conversation in bundle.conversations {
                    let held = conversation.held();
                    Tree::new(held.messages, held.conversation.leaf).branch();
                }
            }
            prop_assert!(Bundle::read(&String::from_utf8_lossy(&good[..at])).is_err());
        }
    }
}
