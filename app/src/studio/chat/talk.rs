//! One conversation in memory: its record, and its messages once they were asked for.

use super::tree::Tree;
use crate::defaults::Defaults;
use crate::library::records::{Conversation, ConversationId, Millis, Role, now};
use crate::studio::models::Model;
use diptych_inference::text::sampling::SamplingParams;

/// Most tokens of an answer, where neither person nor model says.
const ANSWER_TOKENS: u32 = 1024;

/// Whether the messages are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Nobody asked for them.
    No,
    /// The library was asked.
    Asked,
    /// They are there.
    Yes,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Its record.
    pub conversation: Conversation,
    /// Its messages; empty until they are loaded.
    pub tree: Tree,
    /// Whether they are.
    pub loaded: Loaded,
    /// The record as it was last given to the library.
    pub(super) kept: Option<Conversation>,
}

impl Talk {
    /// One that the library has.
    pub(super) fn of_library(conversation: Conversation) -> Self {
        Self {
            kept: Some(conversation.clone()),
            conversation,
            tree: Tree::default(),
            loaded: Loaded::No,
        }
    }

    /// One that begins now.
    pub(super) fn begin(settings: Conversation) -> Self {
        let at = now();
        Self {
            conversation: Conversation {
                id: ConversationId::new(),
                created: at,
                changed: at,
                ..settings
            },
            tree: Tree::default(),
            loaded: Loaded::Yes,
            kept: None,
        }
    }

    /// The conversation's number.
    pub fn id(&self) -> ConversationId {
        self.conversation.id
    }

    /// The last answer of the branch that is shown of which the model's context is known.
    pub fn last_told(&self) -> Option<&crate::library::records::AnswerInfo> {
        self.tree
            .path()
            .iter()
            .rev()
            .filter_map(|&id| self.tree.get(id))
            .filter(|message| message.role == Role::Assistant)
            .filter_map(|message| message.info.as_ref())
            .find(|info| info.context_length > 0)
    }

    /// Something happened in it.
    pub(super) fn touch(&mut self) {
        self.conversation.changed = now();
    }
}

/// The settings that a model wants for a new conversation.
pub fn settings_of(model: Option<&Model>) -> Conversation {
    let none = Defaults::default();
    let defaults = model.map_or(&none, |model| &*model.defaults);
    let usual = SamplingParams::default();
    let at: Millis = 0;
    Conversation {
        id: ConversationId(0),
        title: String::new(),
        model: None,
        system: defaults.system.clone().unwrap_or_default(),
        sampling: SamplingParams {
            temperature: defaults.temperature.unwrap_or(usual.temperature),
            top_k: defaults.top_k.unwrap_or(usual.top_k),
            top_p: defaults.top_p.unwrap_or(usual.top_p),
            min_p: defaults.min_p.unwrap_or(usual.min_p),
            repetition_penalty: defaults
                .repetition_penalty
                .unwrap_or(usual.repetition_penalty),
            ..usual
        },
        max_tokens: defaults.max_tokens.unwrap_or(ANSWER_TOKENS),
        seed: None,
        drop_old: false,
        pinned: false,
        created: at,
        changed: at,
        leaf: None,
    }
}
