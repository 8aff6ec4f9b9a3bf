//! Conversations with a model.
//!
//! Each conversation is a tree of messages ([`tree`]); several may be answered at once ([`answers`]). A conversation comes
//! into being with its first message: until then only its settings exist.

pub mod answers;
pub mod asks;
pub mod attach;
mod changes;
mod commands;
mod edits;
mod entries;
pub mod list;
pub mod presets;
pub mod talk;
pub mod thoughts;
pub mod traces;
pub mod transfer;
pub mod tree;
pub mod words;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diptych_inference::engine::{Event, ModelRef};
use serde::{Deserialize, Serialize};

use super::drafts::draft;
use super::house::House;
use super::models::Model;
use super::queue::TaskHead;
use crate::library::keeper::LibraryEvent;
use crate::library::records::{
    Attachment, ChatPreset, Conversation, ConversationId, Message, MessageId, PresetId,
};
use crate::library::trace::Word;
use crate::library::{Found, Restored};
use answers::{Writing, keep_conversation};
use asks::{Asks, Spot};
use attach::{AllAttached, Attached};
use changes::{Change, Changes};
pub use entries::entries;
use presets::Naming;
use talk::{Loaded, Talk, settings_of};
use traces::Traces;
use transfer::Form;
use transfer::file::Bundle;
use tree::{Step, Tree};

const DRAFT: &str = "chat";
/// Before the number of a conversation in the key of its unsent text; see also [`NEW`].
const COMPOSER: &str = "chat:";
/// Before it in the key of the files of its unsent text.
const FILES: &str = "chat-files:";
/// In place of a number: the text of a conversation that is not begun.
const NEW: &str = "new";
/// Settings are given to the library this often while they are being changed.
const KEEP: Duration = Duration::from_millis(400);

/// A message that is being worded anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Editing {
    /// The message.
    pub message: MessageId,
    /// Its new words.
    pub text: String,
}

/// A conversation that is being renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its new name.
    pub title: String,
}

/// What of the workspace is shown beside the messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    current: Option<ConversationId>,
    fresh: Option<Box<Conversation>>,
    settings_open: bool,
    list_open: bool,
    confidence: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            current: None,
            fresh: None,
            settings_open: false,
            list_open: true,
            confidence: false,
        }
    }
}

/// Conversations.
#[derive(Debug)]
pub struct Chat {
    talks: Vec<Talk>,
    current: Option<ConversationId>,
    /// Settings of the conversation that is not begun; `None` are the model's own.
    fresh: Option<Box<Conversation>>,
    composers: HashMap<Option<ConversationId>, String>,
    /// Composers that the library knows of, so that emptied ones are told.
    told: BTreeSet<Option<ConversationId>>,
    attached: AllAttached,
    files_told: BTreeSet<Option<ConversationId>>,
    presets: Vec<ChatPreset>,
    /// The preset that was chosen last, and where.
    chosen_preset: Option<(Option<ConversationId>, PresetId)>,
    /// The preset that is being named.
    pub naming: Option<Naming>,
    traces: Traces,
    asks: Asks,
    /// Whether the next word is looked at.
    pub sandbox_open: bool,
    /// Where; `None` is the beginning of an answer.
    pub spot: Option<Spot>,
    /// Whether answers are shown with what the model thought of their tokens.
    pub confidence: bool,
    /// What the list is searched for.
    pub search: String,
    looked_up: String,
    found: Vec<Found>,
    /// The message that is being worded anew.
    pub editing: Option<Editing>,
    edits: edits::Edits,
    /// An answer that may be longer than the settings say, and by how many tokens it may be.
    longer: Option<(MessageId, u32)>,
    /// The conversation that is being renamed.
    pub renaming: Option<Renaming>,
    /// Whether the settings of the conversation are shown.
    pub settings_open: bool,
    /// Whether the list of conversations is shown.
    pub list_open: bool,
    /// A message that the page is to go to; taken by the panel.
    pub reveal: Option<MessageId>,
    /// Grows when the page is to go to its end: something was sent.
    pub to_end: u64,
    writing: Vec<Writing>,
    changes: Changes,
    kept_at: Option<Instant>,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            talks: Vec::new(),
            current: None,
            fresh: None,
            composers: HashMap::new(),
            told: BTreeSet::new(),
            attached: AllAttached::new(),
            files_told: BTreeSet::new(),
            presets: Vec::new(),
            chosen_preset: None,
            naming: None,
            traces: Traces::default(),
            asks: Asks::default(),
            sandbox_open: false,
            spot: None,
            confidence: false,
            search: String::new(),
            looked_up: String::new(),
            found: Vec::new(),
            editing: None,
            edits: edits::Edits::default(),
            longer: None,
            renaming: None,
            settings_open: false,
            list_open: true,
            reveal: None,
            to_end: 0,
            writing: Vec::new(),
            changes: Changes::default(),
            kept_at: None,
        }
    }
}

/// What can be done with the conversation that is shown and its last messages, without pointing at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Continue the answer, if it was cut off.
    Continue,
    /// Copy it.
    CopyAnswer,
    /// Word it anew.
    RewordAnswer,
    /// Take it as the prompt in Create.
    ToCreate,
    /// Word the last question anew.
    RewordQuestion,
    /// Delete the last question and its answer.
    DeleteLast,
    /// Rename the conversation.
    Rename,
    /// Keep it at the top of the list, or no longer.
    Pin,
    /// Delete it.
    Delete,
}

/// What a person wants in Chat.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatCommand {
    /// Begin a conversation.
    New,
    /// Show a conversation.
    Open(ConversationId),
    /// Show a message that a search found.
    Reveal(ConversationId, MessageId),
    /// Send what is in the composer.
    Send,
    /// Begin a conversation with these words.
    Ask(String),
    /// Stop the answer that is being written; the words so far are kept.
    Stop,
    /// Write another answer; the old one is kept.
    Regenerate(MessageId),
    /// Write another answer in place of the last one shown.
    RegenerateLast,
    /// Write several more answers at once beside the last one shown; reading the conversation and the model's weights is shared.
    RegenerateSeveral,
    /// Go on with an answer that was cut off.
    Continue(MessageId),
    /// Let an answer go another way at a token, by another word; the old one is kept.
    Fork(MessageId, usize, Word),
    /// Look at the next word at a place of an answer, or at the beginning of one.
    TryAt(Option<Spot>),
    /// Show what the model thought of the tokens of its answers, or the answers as they are meant.
    ToggleConfidence,
    /// Ask where to write a conversation.
    Export(ConversationId, Form),
    /// The same for the one that is shown.
    ExportShown(Form),
    /// The same for all.
    ExportAll,
    /// Write conversations.
    ExportTo(Vec<ConversationId>, Form, PathBuf),
    /// Ask for a file of conversations.
    Import,
    /// Read it.
    ImportFrom(PathBuf),
    /// Take what was read.
    Imported(Arc<Bundle>),
    /// A file was dropped that may be one of conversations.
    Dropped(PathBuf),
    /// Ask for a text file to be given along with the message.
    Attach,
    /// Read it.
    AttachFile(PathBuf),
    /// Take what was read.
    Attached(Option<ConversationId>, Arc<Attachment>),
    /// Take a file away again.
    Detach(usize),
    /// Take the settings of a preset.
    UsePreset(PresetId),
    /// Name the settings of now, or a preset anew.
    NamePreset(Option<PresetId>),
    /// Take the name.
    ConfirmPreset,
    /// Name nothing.
    CancelPreset,
    /// Give a preset the settings of now.
    UpdatePreset(PresetId),
    /// Delete a preset.
    DeletePreset(PresetId),
    /// Take that back.
    RestorePreset(Box<ChatPreset>),
    /// Show the wording before or after a message.
    Step(MessageId, Step),
    /// The same for the last message shown that has several wordings.
    StepLast(Step),
    /// Word a message anew.
    BeginEdit(MessageId),
    /// Send the new wording; the old one is kept.
    ConfirmEdit,
    /// Leave the message as it is.
    CancelEdit,
    /// Do something with what is shown.
    OfShown(Deed),
    /// Delete a message and all that follow it.
    DeleteMessage(MessageId),
    /// Delete a conversation.
    Delete(ConversationId),
    /// Take back the deletion of a conversation or of messages, by the number of what was deleted.
    Undelete(i64),
    /// Rename a conversation.
    BeginRename(ConversationId),
    /// Take the new name.
    ConfirmRename,
    /// Leave the name as it is.
    CancelRename,
    /// Keep a conversation at the top of the list, or no longer.
    Pin(ConversationId),
    /// Copy a message.
    Copy(MessageId),
    /// Take a text as the prompt in Create, and go there.
    ToCreate(String),
    /// Choose the model; `None` is the studio's own choice.
    SetModel(Option<ModelRef>),
    /// Show or hide the settings of the conversation.
    ToggleSettings,
    /// Show or hide the list of conversations.
    ToggleList,
    /// Take the model's own settings.
    ResetSettings,
}

impl Chat {
    /// A conversation.
    pub fn talk(&self, id: ConversationId) -> Option<&Talk> {
        self.talks.iter().find(|talk| talk.id() == id)
    }

    pub(super) fn talk_mut(&mut self, id: ConversationId) -> Option<&mut Talk> {
        self.talks.iter_mut().find(|talk| talk.id() == id)
    }

    /// The conversation that is shown; `None` is one that is not begun.
    pub fn shown(&self) -> Option<&Talk> {
        self.talk(self.current?)
    }

    /// Unsent text of the conversation that is shown.
    pub fn composer(&mut self) -> &mut String {
        self.composers.entry(self.current).or_default()
    }

    fn unsent(&self) -> &str {
        self.composers
            .get(&self.current)
            .map_or("", |text| text.trim())
    }

    /// Settings of the conversation that is shown, or of the one that will be begun.
    pub fn settings(&self, house: &House) -> Conversation {
        match (self.shown(), &self.fresh) {
            (Some(talk), _) => talk.conversation.clone(),
            (None, Some(fresh)) => (**fresh).clone(),
            (None, None) => settings_of(house.shelf.chatting().next()),
        }
    }

    /// Changes them; [`Chat::undo`] takes it back.
    pub fn set_settings(&mut self, settings: Conversation) {
        match self.current {
            Some(id) => {
                let Some(talk) = self.talk_mut(id) else {
                    return;
                };
                let before = std::mem::replace(&mut talk.conversation, settings);
                let change = Change::Settings(Some(id), Some(Box::new(before)));
                self.changes.push(change);
            }
            None => {
                let before = self.fresh.replace(Box::new(settings));
                self.changes.push(Change::Settings(None, before));
            }
        }
    }

    /// The model that answers with these settings.
    pub fn model_of<'a>(&self, settings: &Conversation, house: &'a House) -> Option<&'a Model> {
        match &settings.model {
            Some(model) => house.shelf.find(model).filter(|model| model.chats()),
            None => house.shelf.chatting().next(),
        }
    }

    /// Has the messages of a conversation read.
    fn load(&mut self, id: ConversationId, house: &House) {
        let Some(talk) = self.talk_mut(id).filter(|talk| talk.loaded == Loaded::No) else {
            return;
        };
        talk.loaded = Loaded::Asked;
        house.look_up("the conversation", move |library| {
            Ok(Some(LibraryEvent::Messages {
                conversation: id,
                messages: library.messages(id)?,
            }))
        });
    }

    pub(super) fn restore(&mut self, restored: &Restored, house: &mut House) {
        let typed = !self.unsent().is_empty() || !self.attached().is_empty();
        // What was begun before the library could be read stays.
        for conversation in &restored.conversations {
            if self.talk(conversation.id).is_none() {
                self.talks.push(Talk::of_library(conversation.clone()));
            }
        }
        self.presets.clone_from(&restored.presets);
        let of = |number: &str| match number {
            NEW => Some(None),
            number => Some(Some(ConversationId(number.parse().ok()?))),
        };
        for (key, text) in &restored.drafts {
            if self.edits.read(key, text) {
                continue;
            }
            if let Some(of) = key.strip_prefix(FILES).and_then(of) {
                self.files_told.insert(of);
                let known = of.is_none_or(|id| self.talk(id).is_some());
                if known && !text.is_empty() {
                    let read = || Attached::read(text);
                    self.attached.entry(of).or_insert_with(read);
                }
                continue;
            }
            let Some(of) = key.strip_prefix(COMPOSER).and_then(of) else {
                continue;
            };
            self.told.insert(of);
            let known = of.is_none_or(|id| self.talk(id).is_some());
            if known && !text.is_empty() {
                self.composers.entry(of).or_insert_with(|| text.clone());
            }
        }
        let kept: Option<Kept> = restored
            .drafts
            .get(DRAFT)
            .and_then(|text| serde_json::from_str(text).ok());
        if let Some(kept) = kept {
            self.fresh = self.fresh.take().or(kept.fresh);
            self.settings_open |= kept.settings_open;
            self.list_open &= kept.list_open;
            self.confidence |= kept.confidence;
            // Words that are being typed for a new conversation stay where they are seen.
            if self.current.is_none() && !typed {
                self.current = kept.current.filter(|&id| self.talk(id).is_some());
            }
        }
        if let Some(id) = self.current {
            self.load(id, house);
        }
    }

    pub(super) fn drafts(&self) -> Vec<(String, Arc<str>)> {
        let kept = Kept {
            current: self.current,
            fresh: self.fresh.clone(),
            settings_open: self.settings_open,
            list_open: self.list_open,
            confidence: self.confidence,
        };
        let kept = draft(DRAFT, &kept).map(|(key, text)| (key, Arc::from(text)));
        let mut drafts: Vec<(String, Arc<str>)> = kept.into_iter().collect();
        let key_in = |what: &str, of: &Option<ConversationId>| match of {
            Some(id) => format!("{what}{id}"),
            None => format!("{what}{NEW}"),
        };
        let key = |of: &Option<ConversationId>| key_in(COMPOSER, of);
        for (of, text) in &self.composers {
            drafts.push((key(of), text.as_str().into()));
        }
        for (of, attached) in &self.attached {
            drafts.push((key_in(FILES, of), attached.draft()));
        }
        let gone = |of: &&Option<ConversationId>| !self.attached.contains_key(of);
        for of in self.files_told.iter().filter(gone) {
            drafts.push((key_in(FILES, of), Arc::from("")));
        }
        for of in self
            .told
            .iter()
            .filter(|of| !self.composers.contains_key(of))
        {
            drafts.push((key(of), Arc::from("")));
        }
        drafts.extend(self.edit_drafts().map(|(key, text)| (key, text.into())));
        drafts
    }

    pub(super) fn undo(&mut self, back: bool, house: &mut House) {
        self.turn(back, house);
    }

    /// Called before each frame.
    pub(super) fn tick(&mut self, house: &mut House) {
        self.look_up(house);
        self.look_up_traces(house);
        self.ask_engine(house);
        self.keep_writing(false, house);
        let now = Instant::now();
        if self.kept_at.is_none_or(|at| now >= at + KEEP) {
            self.kept_at = Some(now);
            self.keep_all(house);
        }
    }

    fn keep_all(&mut self, house: &House) {
        for talk in &mut self.talks {
            keep_conversation(talk, house);
        }
    }

    /// The window closes: hand over what is half done.
    pub(super) fn close(&mut self, house: &mut House) {
        self.keep_writing(true, house);
        self.keep_all(house);
    }

    pub(super) fn on_event(&mut self, head: &TaskHead, event: &Event, house: &mut House) {
        self.hear(head, event, house);
    }

    pub(super) fn on_discarded(&mut self, head: &TaskHead, house: &mut House) {
        self.discarded(head, house);
    }

    /// Messages of a conversation were read.
    fn take_messages(&mut self, id: ConversationId, messages: &[Message], house: &mut House) {
        let unread = |talk: &&mut Talk| talk.loaded != Loaded::Yes;
        let Some(talk) = self.talk_mut(id).filter(unread) else {
            return;
        };
        talk.tree = Tree::new(messages.to_vec(), talk.conversation.leaf);
        talk.loaded = Loaded::Yes;
        self.settle_all(id, house);
        if let (Some(reveal), Some(talk)) = (self.reveal, self.talk_mut(id)) {
            talk.tree.reveal(reveal);
        }
        if self.current == Some(id) {
            self.take_edit_up();
        }
    }

    pub(super) fn on_library(&mut self, event: &LibraryEvent, house: &mut House) {
        match event {
            // Of one that was brought back, only what its deletion took away counts.
            LibraryEvent::Messages {
                conversation,
                messages,
            } if !self.changes.brought_back.contains(conversation) => {
                self.take_messages(*conversation, messages, house);
            }
            LibraryEvent::MessagesDeleted {
                conversation,
                messages,
            } => self.take_deleted(*conversation, messages, house),
            LibraryEvent::Found { text, found } => self.take_found(text, found),
            LibraryEvent::Tokens { message, trace } => self.take_trace(*message, trace.clone()),
            _ => {}
        }
    }
}
