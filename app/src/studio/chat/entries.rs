//! What of Chat stands in the palette, and what can be done there with the conversation that is shown.

use super::answers::can_continue;
use super::transfer::Form;
use super::tree::Step;
use super::{Chat, ChatCommand, Deed};
use crate::library::records::{Message, MessageState, Role};
use crate::studio::command::Entry;
use crate::studio::keys::{Chord, Place};
use crate::theme::Icon;

/// Commands of Chat in the palette.
pub fn entries() -> Vec<Entry> {
    use egui::Key;
    let deed = |deed, label, icon| Entry::new(ChatCommand::OfShown(deed), label, icon);
    vec![
        Entry::new(ChatCommand::New, "New conversation", Icon::Plus)
            .key(Place::Chat, Chord::ctrl(Key::N)),
        Entry::new(ChatCommand::Stop, "Stop the answer", Icon::Stop)
            .key(Place::Chat, Chord::plain(Key::Escape)),
        Entry::new(
            ChatCommand::RegenerateLast,
            "Write another answer",
            Icon::Refresh,
        )
        .key(Place::Chat, Chord::ctrl(Key::R)),
        Entry::new(
            ChatCommand::RegenerateSeveral,
            "Write three more answers at once",
            Icon::Refresh,
        )
        .key(Place::Chat, Chord::ctrl(Key::R).shift()),
        Entry::new(
            ChatCommand::StepLast(Step::Left),
            "Previous answer",
            Icon::ArrowLeft,
        )
        .key(Place::Chat, Chord::plain(Key::ArrowLeft)),
        Entry::new(
            ChatCommand::StepLast(Step::Right),
            "Next answer",
            Icon::ArrowRight,
        )
        .key(Place::Chat, Chord::plain(Key::ArrowRight)),
        Entry::new(
            ChatCommand::ToggleSettings,
            "Show or hide the conversation's settings",
            Icon::Settings,
        )
        .key(Place::Chat, Chord::ctrl(Key::Period)),
        Entry::new(
            ChatCommand::ToggleList,
            "Show or hide the conversations",
            Icon::Sidebar,
        )
        .key(Place::Chat, Chord::ctrl(Key::B)),
        Entry::new(
            ChatCommand::ToggleConfidence,
            "Show or hide how sure the model was",
            Icon::Eye,
        )
        .key(Place::Chat, Chord::ctrl(Key::E)),
        Entry::new(ChatCommand::Send, "Send the message", Icon::Send),
        deed(Deed::Continue, "Continue the answer", Icon::Resume),
        deed(Deed::CopyAnswer, "Copy the answer", Icon::Copy),
        deed(Deed::RewordAnswer, "Reword the answer", Icon::Edit),
        deed(Deed::RewordQuestion, "Reword the last question", Icon::Edit)
            .key(Place::Chat, Chord::ctrl(Key::E).shift()),
        deed(
            Deed::ToCreate,
            "Use the answer as the prompt in Create",
            Icon::Image,
        ),
        deed(
            Deed::DeleteLast,
            "Delete the last question and its answer",
            Icon::Trash,
        ),
        deed(Deed::Rename, "Rename the conversation", Icon::Edit)
            .key(Place::Chat, Chord::plain(Key::F2)),
        deed(Deed::Pin, "Pin or unpin the conversation", Icon::Pin),
        deed(Deed::Delete, "Delete the conversation", Icon::Trash),
        Entry::new(
            ChatCommand::NamePreset(None),
            "Keep the conversation's settings under a name",
            Icon::Save,
        ),
        Entry::new(
            ChatCommand::ResetSettings,
            "Reset the conversation's settings to the model's own",
            Icon::Undo,
        ),
        Entry::new(ChatCommand::Attach, "Attach a text file", Icon::Upload),
        Entry::new(
            ChatCommand::ExportShown(Form::Markdown),
            "Export the conversation as Markdown",
            Icon::Export,
        ),
        Entry::new(
            ChatCommand::ExportShown(Form::Json),
            "Export the conversation with everything (JSON)",
            Icon::Export,
        ),
        Entry::new(
            ChatCommand::ExportAll,
            "Export all conversations (JSON)",
            Icon::Export,
        ),
        Entry::new(
            ChatCommand::Import,
            "Import conversations (JSON)",
            Icon::Import,
        ),
    ]
}

impl Chat {
    /// The command that does a deed.
    ///
    /// # Errors
    /// Why it cannot be done now.
    pub(super) fn deed(&self, deed: Deed) -> Result<ChatCommand, String> {
        let no = |reason: &str| reason.to_owned();
        let talk = self
            .shown()
            .ok_or_else(|| no("The conversation is not begun"))?;
        let id = talk.id();
        let conversation = match deed {
            Deed::Rename => Some(ChatCommand::BeginRename(id)),
            Deed::Pin => Some(ChatCommand::Pin(id)),
            Deed::Delete => Some(ChatCommand::Delete(id)),
            _ => None,
        };
        if let Some(command) = conversation {
            return Ok(command);
        }
        if self.is_writing(id) {
            return Err(no("An answer is being written; stop it first"));
        }
        let branch = talk.tree.branch();
        let answer = || -> Result<&Message, String> {
            branch
                .last()
                .copied()
                .filter(|last| last.role == Role::Assistant && last.state != MessageState::Writing)
                .ok_or_else(|| no("There is no answer yet"))
        };
        let question = || -> Result<&Message, String> {
            branch
                .iter()
                .rev()
                .find(|message| message.role == Role::User)
                .copied()
                .ok_or_else(|| no("There is no question yet"))
        };
        Ok(match deed {
            Deed::Continue => {
                let answer = answer()?;
                if !can_continue(answer) {
                    return Err(no("The answer was not cut off"));
                }
                ChatCommand::Continue(answer.id)
            }
            Deed::CopyAnswer => ChatCommand::Copy(answer()?.id),
            Deed::RewordAnswer => ChatCommand::BeginEdit(answer()?.id),
            Deed::ToCreate => {
                let text = super::thoughts::parts(&answer()?.text, false).answer;
                if text.trim().is_empty() {
                    return Err(no("The answer is empty"));
                }
                ChatCommand::ToCreate(text.to_owned())
            }
            Deed::RewordQuestion => ChatCommand::BeginEdit(question()?.id),
            Deed::DeleteLast => ChatCommand::DeleteMessage(question()?.id),
            Deed::Rename | Deed::Pin | Deed::Delete => return Err(no("It is done otherwise")),
        })
    }
}
