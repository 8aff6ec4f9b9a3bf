//! What each command of Chat does.

use super::answers::{Begin, keep_conversation, keep_message};
use super::changes::Change;
use super::talk::{Talk, settings_of};
use super::tree::{self, Step};
use super::{Chat, ChatCommand, Renaming, attach, thoughts, transfer};
use crate::library::records::{
    AnswerInfo, Attachment, Conversation, ConversationId, MessageId, MessageState, Role,
};
use crate::studio::command::AppCommand;
use crate::studio::create::CreateCommand;
use crate::studio::effects::{Effect, focus};
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::studio::view::Workspace;

/// Answers that are written at once.
const SEVERAL: usize = 3;
/// Longest title that a person may give, in characters.
const LONGEST_TITLE: usize = 200;

impl Chat {
    pub(in crate::studio) fn apply(&mut self, command: ChatCommand, house: &mut House) {
        match command {
            ChatCommand::New => {
                self.open(None, house);
                house.effect(Effect::Focus(focus::COMPOSER));
            }
            ChatCommand::Open(id) => {
                self.open(Some(id), house);
                house.effect(Effect::Focus(focus::COMPOSER));
            }
            ChatCommand::Reveal(id, message) => {
                self.open(Some(id), house);
                self.reveal = Some(message);
                if let Some(talk) = self.talk_mut(id)
                    && talk.tree.reveal(message)
                {
                    talk.conversation.leaf = talk.tree.leaf();
                }
            }
            ChatCommand::Send => {
                if self.available(&ChatCommand::Send, house).is_ok() {
                    let text = std::mem::take(self.composer());
                    let files = self.take_attached();
                    self.say(text.trim(), files, house);
                }
            }
            ChatCommand::Ask(text) => {
                self.open(None, house);
                self.say(&text, Vec::new(), house);
            }
            ChatCommand::Stop => {
                if let Some(id) = self.current {
                    self.stop(id, house);
                }
            }
            ChatCommand::Regenerate(message) => self.regenerate(message, house),
            ChatCommand::RegenerateLast => {
                if let Some(answer) = self.last_answer() {
                    self.regenerate(answer, house);
                }
            }
            ChatCommand::RegenerateSeveral => {
                if let Some(answer) = self.last_answer() {
                    self.regenerate_several(answer, house);
                }
            }
            ChatCommand::Continue(message) => self.go_on(message, house),
            ChatCommand::Fork(message, token, word) => self.fork(message, token, &word, house),
            ChatCommand::TryAt(spot) => {
                self.spot = spot;
                self.settings_open = true;
            }
            ChatCommand::ToggleConfidence => self.confidence = !self.confidence,
            ChatCommand::Step(message, step) => self.step(message, step, house),
            ChatCommand::StepLast(step) => {
                if let Some(message) = self.last_with_siblings() {
                    self.step(message, step, house);
                }
            }
            ChatCommand::BeginEdit(message) => self.begin_edit(message),
            ChatCommand::ConfirmEdit => self.confirm_edit(house),
            ChatCommand::CancelEdit => self.editing = None,
            ChatCommand::OfShown(deed) => match self.deed(deed) {
                Ok(command) => {
                    if matches!(command, ChatCommand::BeginRename(_)) {
                        self.list_open = true;
                        self.search.clear();
                    }
                    self.apply(command, house);
                }
                Err(reason) => tracing::debug!("not now: {reason}"),
            },
            ChatCommand::DeleteMessage(message) => self.delete_message(message, house),
            ChatCommand::Delete(id) => self.delete_conversation(id, house),
            ChatCommand::Undelete(number) => self.undelete(number, house),
            ChatCommand::BeginRename(id) => {
                self.renaming = self.talk(id).map(|talk| Renaming {
                    conversation: id,
                    title: talk.conversation.title.clone(),
                });
            }
            ChatCommand::ConfirmRename => self.confirm_rename(house),
            ChatCommand::CancelRename => self.renaming = None,
            ChatCommand::Pin(id) => {
                if let Some(talk) = self.talk_mut(id) {
                    talk.conversation.pinned = !talk.conversation.pinned;
                    keep_conversation(talk, house);
                }
            }
            ChatCommand::Copy(message) => {
                if let Some(message) = self.shown().and_then(|talk| talk.tree.get(message)) {
                    // Of an answer, without what was thought before it.
                    let text = match (message.role, thoughts::parts(&message.text, false)) {
                        (Role::Assistant, parts) if !parts.answer.is_empty() => parts.answer,
                        _ => message.text.as_str(),
                    };
                    house.effect(Effect::CopyText(text.to_owned()));
                }
            }
            ChatCommand::ToCreate(text) => {
                house.command(CreateCommand::TakePrompt(text.trim().to_owned()));
                house.command(AppCommand::Show(Workspace::Create));
                house.effect(Effect::Focus(focus::PROMPT));
            }
            ChatCommand::SetModel(model) => {
                let now = self.settings(house);
                let own = settings_of(self.model_of(&now, house));
                let untouched = own
                    == Conversation {
                        model: None,
                        ..now.clone()
                    };
                let settings = Conversation { model, ..now };
                let settings = match self.model_of(&settings, house) {
                    // Nothing was changed yet: the new model's own settings.
                    Some(found) if self.current.is_none() && untouched => Conversation {
                        model: settings.model,
                        ..settings_of(Some(found))
                    },
                    _ => settings,
                };
                self.set_settings(settings);
            }
            ChatCommand::Export(id, form) => self.ask_export(id, form, house),
            ChatCommand::ExportShown(form) => {
                if let Some(id) = self.current {
                    self.ask_export(id, form, house);
                }
            }
            ChatCommand::ExportAll => self.ask_export_all(house),
            ChatCommand::ExportTo(ids, form, path) => self.export(&ids, form, path, house),
            ChatCommand::Import => transfer::ask_import(house),
            ChatCommand::ImportFrom(path) => transfer::import(path, house),
            ChatCommand::Imported(bundle) => {
                let bundle = std::sync::Arc::unwrap_or_clone(bundle);
                self.take_bundle(bundle, house);
            }
            ChatCommand::Dropped(path) => transfer::dropped(path, house),
            ChatCommand::Attach => attach::ask(house),
            ChatCommand::AttachFile(path) => self.attach_file(path, house),
            ChatCommand::Attached(to, attachment) => {
                let attachment = std::sync::Arc::unwrap_or_clone(attachment);
                self.attach(to, attachment, house);
            }
            ChatCommand::Detach(index) => self.detach(index),
            ChatCommand::UsePreset(id) => self.use_preset(id, house),
            ChatCommand::NamePreset(preset) => {
                self.settings_open = true;
                self.begin_naming(preset);
            }
            ChatCommand::ConfirmPreset => self.confirm_preset(house),
            ChatCommand::CancelPreset => self.naming = None,
            ChatCommand::UpdatePreset(id) => self.update_preset(id, house),
            ChatCommand::DeletePreset(id) => self.delete_preset(id, house),
            ChatCommand::RestorePreset(preset) => self.put_preset(*preset, house),
            ChatCommand::ToggleSettings => self.settings_open = !self.settings_open,
            ChatCommand::ToggleList => self.list_open = !self.list_open,
            ChatCommand::ResetSettings => {
                let now = self.settings(house);
                let own = settings_of(self.model_of(&now, house));
                self.set_settings(Conversation {
                    system: own.system,
                    sampling: own.sampling,
                    max_tokens: own.max_tokens,
                    seed: None,
                    drop_old: false,
                    ..now
                });
            }
        }
    }

    pub(in crate::studio) fn available(
        &self,
        command: &ChatCommand,
        house: &House,
    ) -> Result<(), String> {
        let busy = self.current.is_some_and(|id| self.is_writing(id));
        match command {
            ChatCommand::Send if self.unsent().is_empty() && self.attached().is_empty() => {
                Err("Write something first".to_owned())
            }
            ChatCommand::ExportShown(_) if self.current.is_none() => {
                Err("The conversation is not begun".to_owned())
            }
            ChatCommand::ExportAll if self.listed().is_empty() => {
                Err("There is no conversation yet".to_owned())
            }
            ChatCommand::Attach if self.attached().len() >= attach::MOST => {
                Err(format!("A message can have {} files", attach::MOST))
            }
            ChatCommand::Fork(..) if busy => {
                Err("An answer is being written; stop it first".to_owned())
            }
            ChatCommand::Send
            | ChatCommand::RegenerateLast
            | ChatCommand::RegenerateSeveral
            | ChatCommand::ConfirmEdit
                if busy =>
            {
                Err("An answer is being written; stop it first".to_owned())
            }
            ChatCommand::OfShown(deed) => self.deed(*deed).map(drop),
            ChatCommand::Send | ChatCommand::Ask(_) => self.can_answer(house),
            ChatCommand::Stop if !busy => Err("Nothing is being written".to_owned()),
            ChatCommand::RegenerateLast | ChatCommand::RegenerateSeveral
                if self.last_answer().is_none() =>
            {
                Err("There is no answer yet".to_owned())
            }
            ChatCommand::StepLast(step) => {
                let Some((talk, id)) = self.shown().zip(self.last_with_siblings()) else {
                    return Err("There is only one answer".to_owned());
                };
                let place = talk.tree.place(id);
                let there = match step {
                    Step::Left => place.index > 0,
                    Step::Right => place.index + 1 < place.count,
                };
                there
                    .then_some(())
                    .ok_or_else(|| "This is the last one".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn can_answer(&self, house: &House) -> Result<(), String> {
        let settings = self.settings(house);
        if self.model_of(&settings, house).is_some() {
            return Ok(());
        }
        if house.shelf.scanning || !house.shelf.ready {
            return Err("Models are still being looked for".to_owned());
        }
        Err(match &settings.model {
            Some(model) => format!("{} is no longer there; choose another model", model.name),
            None => "There is no chat model; add one (GGUF) in Models".to_owned(),
        })
    }

    fn open(&mut self, id: Option<ConversationId>, house: &House) {
        self.set_edit_aside();
        self.current = id.filter(|&id| self.talk(id).is_some());
        self.reveal = None;
        self.spot = None;
        self.to_end += 1;
        if let Some(id) = self.current {
            self.load(id, house);
        }
        self.take_edit_up();
    }

    /// Sends words in the conversation that is shown, or begins one with them.
    fn say(&mut self, text: &str, files: Vec<Attachment>, house: &mut House) {
        if text.is_empty() && files.is_empty() {
            return;
        }
        let id = match self.current {
            Some(id) => id,
            None => {
                let talk = Talk::begin(self.settings(house));
                let id = talk.id();
                self.talks.push(talk);
                self.current = Some(id);
                self.fresh = None;
                id
            }
        };
        self.to_end += 1;
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        let first = match files.first() {
            Some(file) if text.is_empty() => &file.name,
            _ => text,
        };
        tree::entitle(&mut talk.conversation, first);
        let question = talk.tree.say(id, text);
        if let Some(question) = talk.tree.get_mut(question) {
            question.attachments = files;
            keep_message(question, house);
        }
        let answer = talk.tree.answer(id, question);
        self.write(id, answer, Begin::Anew, house);
    }

    fn regenerate(&mut self, message: MessageId, house: &mut House) {
        let Some(id) = self.current.filter(|&id| !self.is_writing(id)) else {
            return;
        };
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        // An answer without a word is nothing to keep.
        let empty = talk
            .tree
            .get(message)
            .is_some_and(|old| old.role == Role::Assistant && old.text.trim().is_empty());
        let answer = if empty {
            Some(message)
        } else {
            talk.tree.regenerate(message)
        };
        if let Some(answer) = answer {
            self.to_end += 1;
            self.write(id, answer, Begin::Anew, house);
        }
    }

    /// Writes several answers beside one; the first of them is shown.
    fn regenerate_several(&mut self, message: MessageId, house: &mut House) {
        let Some(id) = self.current.filter(|&id| !self.is_writing(id)) else {
            return;
        };
        let mut answers = Vec::new();
        for _ in 0..SEVERAL {
            let Some(talk) = self.talk_mut(id) else {
                return;
            };
            let Some(answer) = talk.tree.regenerate(message) else {
                return;
            };
            answers.push(answer);
            self.write(id, answer, Begin::Anew, house);
        }
        if let Some(talk) = self.talk_mut(id) {
            talk.tree.show(answers.first().copied());
            talk.conversation.leaf = talk.tree.leaf();
            keep_conversation(talk, house);
        }
        self.to_end += 1;
    }

    /// Goes on with an answer that was cut off.
    fn go_on(&mut self, message: MessageId, house: &mut House) {
        let Some(id) = self.current.filter(|&id| !self.is_writing(id)) else {
            return;
        };
        // A job that an earlier run left would write it from its beginning.
        let left: Vec<_> = house
            .queue
            .of_target(|target| {
                matches!(target, crate::library::records::Target::Answer { message: of, .. } if *of == message)
            })
            .map(|task| task.head.id)
            .collect();
        for task in left {
            house.command(crate::studio::command::QueueCommand::Cancel(task));
        }
        let Some(talk) = self.talk(id) else {
            return;
        };
        let info = talk.tree.get(message).and_then(|old| old.info.as_ref());
        let length = Some(diptych_inference::engine::FinishReason::Length);
        if let Some(info) = info.filter(|info| info.reason == length) {
            // It ended because it may be no longer: now it may, and it alone.
            let most = talk.conversation.max_tokens.max(info.tokens);
            self.longer = Some((message, most.saturating_mul(2).min(1 << 20)));
        }
        self.to_end += 1;
        let begin = self.way_on(id, message, house);
        self.write(id, message, begin, house);
    }

    fn step(&mut self, message: MessageId, step: Step, house: &House) {
        let Some(talk) = self.current.and_then(|id| self.talk_mut(id)) else {
            return;
        };
        if talk.tree.step(message, step) {
            talk.conversation.leaf = talk.tree.leaf();
            keep_conversation(talk, house);
            self.set_edit_aside();
            self.take_edit_up();
        }
    }

    fn confirm_edit(&mut self, house: &mut House) {
        let Some(id) = self.current.filter(|&id| !self.is_writing(id)) else {
            return;
        };
        let Some(editing) = self.editing.take() else {
            return;
        };
        let text = editing.text.trim();
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        let same = talk
            .tree
            .get(editing.message)
            .is_none_or(|old| old.text == text);
        if text.is_empty() || same {
            return;
        }
        if let Some(answer) = talk.tree.regenerate(editing.message) {
            self.word_answer(id, editing.message, answer, text, house);
            return;
        }
        if let Some(question) = talk.tree.edit(editing.message, text) {
            if let Some(question) = talk.tree.get(question) {
                keep_message(question, house);
            }
            let answer = talk.tree.answer(id, question);
            self.to_end += 1;
            self.write(id, answer, Begin::Anew, house);
        }
    }

    /// An answer in the person's own words stands beside the model's; the model can go on from it.
    fn word_answer(
        &mut self,
        id: ConversationId,
        old: MessageId,
        new: MessageId,
        text: &str,
        house: &House,
    ) {
        let Some(talk) = self.talk_mut(id) else {
            return;
        };
        let model = talk
            .tree
            .get(old)
            .and_then(|old| old.info.as_ref())
            .and_then(|info| info.model.clone());
        if let Some(answer) = talk.tree.get_mut(new) {
            text.clone_into(&mut answer.text);
            answer.state = MessageState::Stopped;
            answer.info = Some(AnswerInfo {
                model,
                given: u32::try_from(text.len()).unwrap_or(0),
                ..AnswerInfo::default()
            });
            keep_message(answer, house);
        }
        talk.conversation.leaf = talk.tree.leaf();
        talk.touch();
        keep_conversation(talk, house);
    }

    fn delete_message(&mut self, message: MessageId, house: &mut House) {
        let Some(id) = self.current else {
            return;
        };
        let Some(change) = self.delete_messages(id, message, house) else {
            return;
        };
        let count = match &change {
            Change::Messages(_, messages, _) => messages.len(),
            _ => 1,
        };
        self.changes.push(change);
        let title = match count {
            1 => "Message deleted".to_owned(),
            count => format!("{count} messages deleted"),
        };
        let undo = ("Undo".to_owned(), ChatCommand::Undelete(message.0).into());
        house.log.notify_with(Level::Info, title, "", Some(undo));
    }

    fn delete_conversation(&mut self, id: ConversationId, house: &mut House) {
        let Some(change) = self.delete(id, house) else {
            return;
        };
        let title = match &change {
            Change::Deleted(talk) => talk.conversation.title.clone(),
            _ => String::new(),
        };
        self.changes.push(change);
        let undo = ("Undo".to_owned(), ChatCommand::Undelete(id.0).into());
        house
            .log
            .notify_with(Level::Info, "Conversation deleted", title, Some(undo));
    }

    fn confirm_rename(&mut self, house: &House) {
        let Some(renaming) = self.renaming.take() else {
            return;
        };
        let title: String = renaming.title.trim().chars().take(LONGEST_TITLE).collect();
        if title.is_empty() {
            return;
        }
        let id = renaming.conversation;
        let Some(talk) = self
            .talk_mut(id)
            .filter(|talk| talk.conversation.title != title)
        else {
            return;
        };
        let before = talk.conversation.clone();
        talk.conversation.title = title;
        keep_conversation(talk, house);
        self.changes
            .push(Change::Settings(Some(id), Some(Box::new(before))));
    }

    /// The last answer of the branch that is shown.
    fn last_answer(&self) -> Option<MessageId> {
        let last = self.shown()?.tree.last()?;
        (last.role == Role::Assistant && last.state != MessageState::Writing).then_some(last.id)
    }

    /// The last message of the branch that is shown that has several wordings.
    fn last_with_siblings(&self) -> Option<MessageId> {
        self.shown()?.tree.last_fork()
    }
}
