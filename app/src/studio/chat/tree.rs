//! A conversation's messages as a tree: the branch that is shown, its siblings, and what edits do to it.
//!
//! Nothing is ever overwritten: an edited message and a regenerated answer become siblings of what was there.

use std::collections::{BTreeMap, HashMap, HashSet};

use diptych_inference::text::template::ChatMessage;

use crate::library::records::{
    AnswerInfo, Attachment, Conversation, ConversationId, Message, MessageId, MessageState, Role,
    now,
};

/// Longest title made of a first message, in characters.
const LONGEST_TITLE: usize = 48;
/// The title of a conversation in which nothing was said.
pub const UNTITLED: &str = "New conversation";

/// Which of several siblings a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub index: usize,
    /// How many there are, itself included.
    pub count: usize,
}

/// A direction among siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the one before.
    Left,
    /// To the one after.
    Right,
}

/// The messages of one conversation.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    messages: BTreeMap<MessageId, Message>,
    children: HashMap<Option<MessageId>, Vec<MessageId>>,
    /// The last message of the branch that is shown.
    leaf: Option<MessageId>,
    /// The branch that is shown, so that long ones need not be walked in every frame.
    path: Vec<MessageId>,
    /// The last of them that has siblings.
    last_fork: Option<MessageId>,
    /// For messages that were on a branch shown: where that branch ended.
    last_leaf: HashMap<MessageId, MessageId>,
    /// Changes with every change of the branch that is shown.
    version: u64,
}

impl Tree {
    /// A tree of the messages that the library has. Records that fit nowhere (their parent is missing, or is one of
    /// their own descendants) become first messages, so that nothing is out of reach.
    pub fn new(messages: Vec<Message>, leaf: Option<MessageId>) -> Self {
        let mut tree = Self {
            messages: messages
                .into_iter()
                .map(|message| (message.id, message))
                .collect(),
            ..Self::default()
        };
        let known: HashSet<MessageId> = tree.messages.keys().copied().collect();
        for message in tree.messages.values_mut() {
            message.parent = message.parent.filter(|parent| known.contains(parent));
        }
        tree.cut_circles();
        for message in tree.messages.values() {
            tree.children
                .entry(message.parent)
                .or_default()
                .push(message.id);
        }
        let leaf = leaf.filter(|leaf| known.contains(leaf));
        let newest = || tree.messages.keys().next_back().copied();
        if let Some(leaf) = leaf.or_else(newest) {
            let leaf = tree.deepest(leaf);
            tree.show(Some(leaf));
        }
        tree
    }

    /// Makes the first message of every circle a message without parent.
    fn cut_circles(&mut self) {
        let mut safe: HashSet<MessageId> = HashSet::new();
        let ids: Vec<MessageId> = self.messages.keys().copied().collect();
        for id in ids {
            let mut path = Vec::new();
            let mut on_path = HashSet::new();
            let mut at = Some(id);
            while let Some(here) = at {
                if safe.contains(&here) {
                    break;
                }
                if !on_path.insert(here) {
                    if let Some(message) = self.messages.get_mut(&here) {
                        message.parent = None;
                    }
                    break;
                }
                path.push(here);
                at = self.messages.get(&here).and_then(|message| message.parent);
            }
            safe.extend(path);
        }
    }

    /// A message.
    pub fn get(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// A message to be changed; its place in the tree must stay.
    pub fn get_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        self.messages.get_mut(&id)
    }

    /// How many messages there are, on all branches.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The last message of the branch that is shown.
    pub fn leaf(&self) -> Option<MessageId> {
        self.leaf
    }

    /// A number that changes whenever other messages are shown.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The branch that ends with a message, from the first one.
    pub fn branch_to(&self, end: Option<MessageId>) -> Vec<&Message> {
        let mut branch = Vec::new();
        let mut at = end;
        while let Some(message) = at.and_then(|id| self.messages.get(&id)) {
            branch.push(message);
            at = message.parent;
        }
        branch.reverse();
        branch
    }

    /// The branch that is shown, from the first message.
    pub fn branch(&self) -> Vec<&Message> {
        self.path.iter().filter_map(|&id| self.get(id)).collect()
    }

    /// The messages of the branch that is shown, by their numbers.
    pub fn path(&self) -> &[MessageId] {
        &self.path
    }

    /// The last message of the branch that is shown.
    pub fn last(&self) -> Option<&Message> {
        self.path.last().and_then(|&id| self.get(id))
    }

    /// The last message of the branch that is shown that has several wordings.
    pub fn last_fork(&self) -> Option<MessageId> {
        self.last_fork
    }

    /// The branch that is shown, or what stands beside it, is another.
    fn changed(&mut self) {
        self.version += 1;
        let forks = |id: &MessageId| self.siblings(*id).len() > 1;
        self.last_fork = self.path.iter().copied().rev().find(forks);
    }

    /// All messages with the same parent, oldest first, itself included.
    pub fn siblings(&self, id: MessageId) -> &[MessageId] {
        self.messages
            .get(&id)
            .and_then(|message| self.children.get(&message.parent))
            .map_or(&[], Vec::as_slice)
    }

    /// Which of its siblings a message is.
    pub fn place(&self, id: MessageId) -> Place {
        let siblings = self.siblings(id);
        Place {
            index: siblings.iter().position(|&other| other == id).unwrap_or(0),
            count: siblings.len().max(1),
        }
    }

    /// The end of the branch below a message that was shown last; of those never shown, the newest.
    fn deepest(&self, id: MessageId) -> MessageId {
        let mut at = id;
        if let Some(&leaf) = self.last_leaf.get(&at)
            && self.messages.contains_key(&leaf)
        {
            at = leaf;
        }
        while let Some(&newest) = self.children.get(&Some(at)).and_then(|all| all.last()) {
            at = self
                .last_leaf
                .get(&newest)
                .filter(|leaf| self.messages.contains_key(leaf))
                .copied()
                .unwrap_or(newest);
        }
        at
    }

    /// Shows the branch that ends with a message.
    pub fn show(&mut self, leaf: Option<MessageId>) {
        self.leaf = leaf.filter(|leaf| self.messages.contains_key(leaf));
        let branch = self.branch_to(self.leaf);
        self.path = branch.iter().map(|message| message.id).collect();
        self.changed();
        let Some(leaf) = self.leaf else {
            return;
        };
        for &id in &self.path {
            self.last_leaf.insert(id, leaf);
        }
    }

    /// Shows the sibling before or after a message, with what was last shown below it. Tells whether there is one.
    pub fn step(&mut self, id: MessageId, step: Step) -> bool {
        let siblings = self.siblings(id);
        let Some(index) = siblings.iter().position(|&other| other == id) else {
            return false;
        };
        let wanted = match step {
            Step::Left => index.checked_sub(1),
            Step::Right => index.checked_add(1),
        };
        let Some(&sibling) = wanted.and_then(|wanted| siblings.get(wanted)) else {
            return false;
        };
        let leaf = self.deepest(sibling);
        self.show(Some(leaf));
        true
    }

    /// Shows a branch that a message is on, if it is not shown already. Tells whether there is such a message.
    pub fn reveal(&mut self, id: MessageId) -> bool {
        let known = self.messages.contains_key(&id);
        if known && !self.path.contains(&id) {
            let leaf = self.deepest(id);
            self.show(Some(leaf));
        }
        known
    }

    /// All messages, on all branches, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// Answers that were being written are no longer: they were stopped.
    pub(super) fn stop_writing(&mut self) {
        for message in self.messages.values_mut() {
            if message.state == MessageState::Writing {
                message.state = MessageState::Stopped;
            }
        }
    }

    /// Adds a message and shows the branch that ends with it.
    fn add(&mut self, message: Message) -> MessageId {
        let id = message.id;
        self.children.entry(message.parent).or_default().push(id);
        self.messages.insert(id, message);
        self.show(Some(id));
        id
    }

    /// Adds what the person says at the end of the branch that is shown.
    pub fn say(&mut self, conversation: ConversationId, text: impl Into<String>) -> MessageId {
        self.add(Message {
            id: MessageId::new(),
            conversation,
            parent: self.leaf,
            role: Role::User,
            text: text.into(),
            attachments: Vec::new(),
            state: MessageState::Done,
            info: None,
            created: now(),
        })
    }

    /// Adds an empty answer to a message, to be written.
    pub fn answer(&mut self, conversation: ConversationId, to: MessageId) -> MessageId {
        self.add(Message {
            id: MessageId::new(),
            conversation,
            parent: Some(to),
            role: Role::Assistant,
            text: String::new(),
            attachments: Vec::new(),
            state: MessageState::Writing,
            info: Some(AnswerInfo::default()),
            created: now(),
        })
    }

    /// Words a message of the person anew: a sibling that keeps the old one and all that followed. `None` if it is no
    /// message of the person.
    pub fn edit(&mut self, id: MessageId, text: impl Into<String>) -> Option<MessageId> {
        let old = self
            .messages
            .get(&id)
            .filter(|old| old.role == Role::User)?;
        let message = Message {
            id: MessageId::new(),
            text: text.into(),
            created: now(),
            ..old.clone()
        };
        Some(self.add(message))
    }

    /// Adds an empty sibling of an answer, to be written. `None` if it is no answer.
    pub fn regenerate(&mut self, id: MessageId) -> Option<MessageId> {
        let old = self.messages.get(&id)?;
        let (conversation, parent) = (old.conversation, old.parent?);
        (old.role == Role::Assistant).then(|| self.answer(conversation, parent))
    }

    /// Takes a message and all that follow it out of the tree, the message first. If it was shown, a sibling is shown
    /// in its place, or else the branch up to its parent.
    pub fn delete(&mut self, id: MessageId) -> Vec<Message> {
        let Some(parent) = self.messages.get(&id).map(|message| message.parent) else {
            return Vec::new();
        };
        let shown = self.branch().iter().any(|message| message.id == id);
        let index = self.place(id).index;
        let mut removed = Vec::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            open.extend(self.children.remove(&Some(next)).unwrap_or_default());
            removed.extend(self.messages.remove(&next));
            self.last_leaf.remove(&next);
        }
        let mut neighbour = None;
        if let Some(siblings) = self.children.get_mut(&parent) {
            siblings.retain(|&sibling| sibling != id);
            neighbour = siblings.get(index).or_else(|| siblings.last()).copied();
        }
        self.last_leaf
            .retain(|_, leaf| self.messages.contains_key(leaf));
        if shown {
            let leaf = neighbour.map(|sibling| self.deepest(sibling)).or(parent);
            self.show(leaf);
        } else {
            self.changed();
        }
        removed
    }

    /// Puts deleted messages back, and shows the branch that ended with `leaf`.
    pub fn restore(&mut self, messages: Vec<Message>, leaf: Option<MessageId>) {
        for message in messages {
            let siblings = self.children.entry(message.parent).or_default();
            if !siblings.contains(&message.id) {
                siblings.push(message.id);
                siblings.sort_unstable();
            }
            self.messages.insert(message.id, message);
        }
        self.show(leaf);
    }

    /// What the engine is given to write the answer `id`: the system prompt and the branch before it. Answers without a
    /// word are left out, and turns of the same side are joined, because templates want the sides to alternate.
    pub fn prompt(&self, system: &str, id: MessageId) -> Vec<ChatMessage> {
        let parent = self.messages.get(&id).and_then(|message| message.parent);
        prompt(system, &self.branch_to(parent))
    }
}

/// A branch as the engine is given it.
pub fn prompt(system: &str, branch: &[&Message]) -> Vec<ChatMessage> {
    let mut turns: Vec<ChatMessage> = Vec::new();
    if !system.trim().is_empty() {
        turns.push(ChatMessage::new("system", system.trim()));
    }
    for message in branch {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant if message.text.trim().is_empty() => continue,
            Role::Assistant => "assistant",
        };
        match turns.last_mut() {
            Some(last) if last.role == role => {
                last.content.push_str("\n\n");
                last.content.push_str(&content(message));
            }
            _ => turns.push(ChatMessage::new(role, content(message))),
        }
    }
    turns
}

/// What a message says, with the texts that were given along with it before it: each under its name, between fences that
/// are longer than any in it.
pub fn content(message: &Message) -> String {
    let mut said = String::new();
    for attachment in &message.attachments {
        said.push_str(&fenced(attachment));
        said.push_str("\n\n");
    }
    said.push_str(&message.text);
    if message.text.is_empty() {
        said.truncate(said.trim_end().len());
    }
    said
}

/// A text under its name and between fences.
pub fn fenced(attachment: &Attachment) -> String {
    let mut longest = 2;
    let mut run = 0;
    for c in attachment.text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let ending = attachment
        .name
        .rsplit_once('.')
        .map_or("", |(_, ending)| ending);
    let language: String = ending
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    let name = attachment.name.replace(['\n', '\r'], " ");
    let text = attachment.text.trim_end_matches('\n');
    format!("File {name}:\n{fence}{language}\n{text}\n{fence}")
}

/// A title made of the first message: its first line, cut at a word.
pub fn title(text: &str) -> String {
    let line = text
        .lines()
        .map(|line| {
            line.trim()
                .trim_start_matches(['#', '>', '-', '*', '`', ' '])
        })
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return UNTITLED.to_owned();
    }
    if line.chars().count() <= LONGEST_TITLE {
        return line;
    }
    let cut: String = line.chars().take(LONGEST_TITLE).collect();
    let at = cut.rfind(' ').filter(|&at| at > LONGEST_TITLE / 2);
    let kept = at.and_then(|at| cut.get(..at)).unwrap_or(&cut);
    format!("{}…", kept.trim_end_matches([',', '.', ':', ';', ' ']))
}

/// Gives a conversation the title of its first message, unless the person named it.
pub fn entitle(conversation: &mut Conversation, first: &str) -> bool {
    let unnamed = conversation.title.is_empty() || conversation.title == UNTITLED;
    if unnamed {
        conversation.title = title(first);
    }
    unnamed
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
