//! Messages that are being worded anew: the words are kept until they are sent or given up, also beyond the end of the
//! program.

use std::collections::{BTreeSet, HashMap};

use super::{Chat, Editing};
use crate::library::records::MessageId;

/// Before the number of a message in the key of its new words.
const EDIT: &str = "chat-edit:";

/// New words that are not shown now.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    aside: HashMap<MessageId, String>,
    /// Those that the library knows of, so that it is told of their end.
    told: BTreeSet<MessageId>,
}

impl Edits {
    /// Takes a draft of the library, if it is one of these.
    pub fn read(&mut self, key: &str, text: &str) -> bool {
        let Some(number) = key.strip_prefix(EDIT) else {
            return false;
        };
        if let Ok(number) = number.parse() {
            let message = MessageId(number);
            self.told.insert(message);
            if !text.is_empty() {
                self.aside.entry(message).or_insert_with(|| text.to_owned());
            }
        }
        true
    }

    /// Messages are gone.
    pub fn forget(&mut self, gone: impl Iterator<Item = MessageId>) {
        for message in gone {
            self.aside.remove(&message);
        }
    }
}

impl Chat {
    /// What the library is to keep of words that are not sent.
    pub(super) fn edit_drafts(&self) -> impl Iterator<Item = (String, String)> {
        let shown = self.editing.iter();
        let shown = shown.map(|editing| (editing.message, editing.text.clone()));
        let aside = self.edits.aside.iter();
        let aside = aside.map(|(message, text)| (*message, text.clone()));
        let mut all: HashMap<MessageId, String> = aside.chain(shown).collect();
        for message in &self.edits.told {
            all.entry(*message).or_default();
        }
        all.into_iter()
            .map(|(message, text)| (format!("{EDIT}{message}"), text))
    }

    /// Something else is shown; the new words wait.
    pub(super) fn set_edit_aside(&mut self) {
        let Some(editing) = self.editing.take() else {
            return;
        };
        let old = self.shown().and_then(|talk| talk.tree.get(editing.message));
        let changed = old.is_some_and(|old| old.text != editing.text);
        self.edits.told.insert(editing.message);
        if changed {
            self.edits.aside.insert(editing.message, editing.text);
        }
    }

    /// Shows new words of a message that is shown, if some wait.
    pub(super) fn take_edit_up(&mut self) {
        if self.editing.is_some() || self.edits.aside.is_empty() {
            return;
        }
        let Some(talk) = self.shown() else {
            return;
        };
        let branch = talk.tree.branch();
        let waiting = branch
            .iter()
            .map(|message| message.id)
            .find(|id| self.edits.aside.contains_key(id));
        if let Some(message) = waiting {
            self.begin_edit(message);
        }
    }

    /// Words a message anew, from where it was left.
    pub(super) fn begin_edit(&mut self, message: MessageId) {
        self.set_edit_aside();
        let Some(old) = self.shown().and_then(|talk| talk.tree.get(message)) else {
            return;
        };
        let old = old.text.clone();
        let text = self.edits.aside.remove(&message).unwrap_or(old);
        self.edits.told.insert(message);
        self.editing = Some(Editing { message, text });
    }
}
