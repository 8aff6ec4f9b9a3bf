//! Taking back: settings, renamed and deleted things.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Chat;
use super::answers::{keep_conversation, keep_message};
use super::talk::{Loaded, Talk};
use crate::library::records::{Conversation, ConversationId, Message, MessageId, MessageState};
use crate::studio::house::House;

/// Changes of the same settings that follow one another this fast are one.
const ONE: Duration = Duration::from_millis(1500);
/// Most changes that can be taken back.
const MOST: usize = 100;

/// What can be taken back.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A conversation's settings; those of before, or of after once it was taken back. `None` are those for new ones.
    Settings(Option<ConversationId>, Option<Box<Conversation>>),
    /// A conversation was deleted. Messages that were not loaded come from the library later.
    Deleted(Box<Talk>),
    /// Messages were deleted, and this one was the last shown.
    Messages(ConversationId, Vec<Message>, Option<MessageId>),
}

/// Changes done and taken back.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub done: Vec<Change>,
    pub undone: Vec<Change>,
    /// Conversations that were brought back before their messages were there; these come from the deletion and are to be
    /// kept again.
    pub brought_back: BTreeSet<ConversationId>,
    settings_at: Option<Instant>,
}

impl Changes {
    pub fn push(&mut self, change: Change) {
        let now = Instant::now();
        if let Change::Settings(of, _) = &change {
            let follows = self.settings_at.is_some_and(|at| now < at + ONE);
            let same = matches!(self.done.last(), Some(Change::Settings(last, _)) if last == of);
            self.settings_at = Some(now);
            if follows && same {
                self.undone.clear();
                return;
            }
        }
        self.undone.clear();
        self.done.push(change);
        if self.done.len() > MOST {
            self.done.remove(0);
        }
    }
}

impl Chat {
    /// Takes the last change back, or makes it again.
    pub(super) fn turn(&mut self, back: bool, house: &mut House) {
        let taken = if back {
            self.changes.done.pop()
        } else {
            self.changes.undone.pop()
        };
        let Some(change) = taken else {
            return;
        };
        self.changes.settings_at = None;
        let Some(opposite) = self.turned(change, house) else {
            return;
        };
        if back {
            self.changes.undone.push(opposite);
        } else {
            self.changes.done.push(opposite);
        }
    }

    /// Takes back the deletion of a conversation or of messages, if it is still known.
    pub(super) fn undelete(&mut self, id: i64, house: &mut House) {
        let is_it = |change: &Change| match change {
            Change::Deleted(talk) => talk.id().0 == id,
            Change::Messages(_, messages, _) => messages.first().is_some_and(|one| one.id.0 == id),
            Change::Settings(..) => false,
        };
        if let Some(index) = self.changes.done.iter().rposition(is_it) {
            let change = self.changes.done.remove(index);
            self.turned(change, house);
        }
    }

    fn turned(&mut self, change: Change, house: &mut House) -> Option<Change> {
        match change {
            Change::Settings(None, before) => {
                let now = std::mem::replace(&mut self.fresh, before);
                Some(Change::Settings(None, now))
            }
            Change::Settings(Some(id), before) => {
                let before = before?;
                let talk = self.talk_mut(id)?;
                let now = talk.conversation.clone();
                // Where the conversation stands is no setting.
                talk.conversation = Conversation {
                    leaf: now.leaf,
                    changed: now.changed,
                    ..*before
                };
                keep_conversation(talk, house);
                Some(Change::Settings(Some(id), Some(Box::new(now))))
            }
            Change::Deleted(talk) => {
                if self.talk(talk.id()).is_some() {
                    self.delete(talk.id(), house)
                } else {
                    let kept = talk.clone();
                    self.bring_back(*talk, house);
                    Some(Change::Deleted(kept))
                }
            }
            Change::Messages(id, messages, leaf) => {
                let first = messages.first()?.id;
                let talk = self.talk_mut(id)?;
                if talk.tree.get(first).is_some() {
                    return self.delete_messages(id, first, house);
                }
                for message in &messages {
                    keep_message(message, house);
                }
                talk.tree.restore(messages.clone(), leaf);
                talk.conversation.leaf = talk.tree.leaf();
                keep_conversation(talk, house);
                Some(Change::Messages(id, messages, leaf))
            }
        }
    }

    fn bring_back(&mut self, mut talk: Talk, house: &mut House) {
        talk.kept = None;
        keep_conversation(&mut talk, house);
        if talk.loaded != Loaded::Yes {
            talk.loaded = Loaded::Asked;
            self.changes.brought_back.insert(talk.id());
        }
        for message in talk.tree.all() {
            keep_message(message, house);
        }
        self.current = Some(talk.id());
        self.talks.push(talk);
    }

    /// Deletes a conversation, in memory and in the library.
    pub(super) fn delete(&mut self, id: ConversationId, house: &mut House) -> Option<Change> {
        self.stop(id, house);
        let index = self.talks.iter().position(|talk| talk.id() == id)?;
        let mut talk = self.talks.remove(index);
        self.changes.brought_back.remove(&id);
        // Nobody hears any more how its answers end.
        talk.tree.stop_writing();
        self.edits.forget(talk.tree.all().map(|message| message.id));
        if self.current == Some(id) {
            self.editing = None;
            self.current = None;
        }
        let loaded = talk.loaded == Loaded::Yes;
        house.save("the conversation", move |library| {
            use crate::library::keeper::LibraryEvent;
            // Those that nobody has in memory are handed over, so that the deletion can be taken back.
            let messages = if loaded {
                Vec::new()
            } else {
                library.messages(id)?
            };
            library.delete_conversation(id)?;
            Ok((!loaded).then_some(LibraryEvent::MessagesDeleted {
                conversation: id,
                messages,
            }))
        });
        Some(Change::Deleted(Box::new(talk)))
    }

    /// Deletes a message and all that follow it.
    pub(super) fn delete_messages(
        &mut self,
        id: ConversationId,
        message: MessageId,
        house: &mut House,
    ) -> Option<Change> {
        let talk = self.talk_mut(id)?;
        let leaf = talk.tree.leaf();
        let mut removed = talk.tree.delete(message);
        removed.iter_mut().for_each(stopped);
        talk.conversation.leaf = talk.tree.leaf();
        keep_conversation(talk, house);
        let ids: Vec<MessageId> = removed.iter().map(|message| message.id).collect();
        self.edits.forget(ids.iter().copied());
        if self
            .editing
            .as_ref()
            .is_some_and(|editing| ids.contains(&editing.message))
        {
            self.editing = None;
        }
        for writing in &self.writing {
            if ids.contains(&writing.message) {
                house.command(crate::studio::command::QueueCommand::Cancel(writing.task));
            }
        }
        house.save("the conversation", move |library| {
            library.delete_messages(&ids)?;
            Ok(None)
        });
        (!removed.is_empty()).then_some(Change::Messages(id, removed, leaf))
    }

    /// Messages of a conversation that was deleted before they were loaded.
    pub(super) fn take_deleted(
        &mut self,
        id: ConversationId,
        messages: &[Message],
        house: &mut House,
    ) {
        let mut messages = messages.to_vec();
        messages.iter_mut().for_each(stopped);
        if self.changes.brought_back.remove(&id) {
            for message in &messages {
                keep_message(message, house);
            }
            self.take_messages(id, &messages, house);
            return;
        }
        for change in self.changes.done.iter_mut().rev() {
            if let Change::Deleted(talk) = change
                && talk.id() == id
                && talk.loaded != Loaded::Yes
            {
                talk.tree = super::tree::Tree::new(messages, talk.conversation.leaf);
                talk.loaded = Loaded::Yes;
                return;
            }
        }
    }
}

/// An answer whose end nobody hears any more is one that was stopped.
fn stopped(message: &mut Message) {
    if message.state == MessageState::Writing {
        message.state = MessageState::Stopped;
    }
}
