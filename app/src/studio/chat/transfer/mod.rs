//! Conversations out of the library and into it: as files of ours, as Markdown for people, and from lists of messages.
//! Files are read and written in the background.

pub mod file;
pub mod foreign;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::talk::{Loaded, Talk};
use super::tree::Tree;
use super::{Chat, ChatCommand};
use crate::library::files::{self, Existing};
use crate::library::records::{Conversation, ConversationId, Message};
use crate::studio::command::{AppCommand, ModelsCommand};
use crate::studio::create::CreateCommand;
use crate::studio::effects::AskKind;
use crate::studio::house::{House, MODEL_ENDINGS, Reply};
use crate::studio::log::Level;
use crate::studio::view::Workspace;
use crate::words;
use file::{Bundle, Held};

/// Largest file of conversations that is read, in bytes.
pub(super) const LARGEST: u64 = 512 << 20;
/// Most characters of a suggested file name.
const NAME: usize = 60;

const NOT_WRITTEN: &str = "The conversation was not exported";
const NOT_READ: &str = "The conversation was not imported";

/// As what a conversation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// For people: the branch that is shown.
    Markdown,
    /// For Diptych: everything.
    Json,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Json => "json",
        }
    }
}

/// A file name made of a title.
fn file_name(title: &str, form: Form) -> String {
    let mut name: String = title
        .chars()
        .take(NAME)
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = match name.trim_matches('-') {
        "" => "conversation",
        name => name,
    };
    format!("{name}.{}", form.ending())
}

/// The name that was chosen, with an ending if it has none of a text. Nobody was asked about a file that has the name with the
/// ending that is added, so that it stays.
fn with_ending(path: PathBuf, form: Form) -> (PathBuf, Existing) {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    let texts = ["md", "markdown", "txt", "text", "json"];
    if ending.is_some_and(|ending| texts.contains(&ending.as_str())) {
        return (path, Existing::Replace);
    }
    let mut name = path.into_os_string();
    name.push(".");
    name.push(form.ending());
    (PathBuf::from(name), Existing::Keep)
}

/// What a conversation is written from: its messages are in memory, or in the library.
#[derive(Clone)]
struct Source {
    conversation: Conversation,
    messages: Option<Vec<Message>>,
}

impl Chat {
    /// Asks where to write a conversation.
    pub(super) fn ask_export(&self, id: ConversationId, form: Form, house: &mut House) {
        let Some(talk) = self.talk(id) else {
            return;
        };
        let (title, what, endings): (_, _, &'static [&'static str]) = match form {
            Form::Markdown => ("Export the conversation to read", "Markdown", &["md"]),
            Form::Json => (
                "Export the conversation with everything",
                "Conversations (JSON)",
                &["json"],
            ),
        };
        let kind = AskKind::SaveFile {
            name: file_name(&talk.conversation.title, form),
            what,
            endings,
        };
        house.ask(title, kind, move |path| {
            ChatCommand::ExportTo(vec![id], form, path).into()
        });
    }

    pub(super) fn ask_export_all(&self, house: &mut House) {
        let ids: Vec<ConversationId> = self.talks.iter().map(Talk::id).collect();
        let kind = AskKind::SaveFile {
            name: "conversations.json".to_owned(),
            what: "Conversations (JSON)",
            endings: &["json"],
        };
        house.ask("Export all conversations", kind, move |path| {
            ChatCommand::ExportTo(ids, Form::Json, path).into()
        });
    }

    /// Writes conversations into a file.
    pub(super) fn export(
        &mut self,
        ids: &[ConversationId],
        form: Form,
        path: PathBuf,
        house: &mut House,
    ) {
        self.keep_writing(true, house);
        let source = |id: &ConversationId| {
            let talk = self.talk(*id)?;
            let loaded = talk.loaded == Loaded::Yes;
            Some(Source {
                conversation: talk.conversation.clone(),
                messages: loaded.then(|| talk.tree.all().cloned().collect()),
            })
        };
        let sources: Vec<Source> = ids.iter().filter_map(source).collect();
        let (path, existing) = with_ending(path, form);
        let reply = house.reply();
        // The library is asked after all that it has still to keep.
        house.look_up(NOT_WRITTEN, move |library| {
            let mut all = Vec::new();
            for Source {
                conversation,
                messages,
            } in sources.clone()
            {
                let messages = match messages {
                    Some(messages) => messages,
                    None => library.messages(conversation.id)?,
                };
                let mut traces = HashMap::new();
                if form == Form::Json {
                    for message in messages.iter().filter(|message| message.info.is_some()) {
                        if let Some(trace) = library.tokens(message.id)? {
                            traces.insert(message.id, trace);
                        }
                    }
                }
                all.push(Held {
                    conversation,
                    messages,
                    traces,
                });
            }
            write(all, form, path.clone(), existing, reply.clone());
            Ok(None)
        });
    }

    /// Takes conversations that were read from a file.
    pub(super) fn take_bundle(&mut self, bundle: Bundle, house: &mut House) {
        let mut first = None;
        let mut titles = Vec::new();
        for plain in bundle.conversations {
            let Held {
                conversation,
                messages,
                traces,
            } = plain.held();
            let id = conversation.id;
            first.get_or_insert(id);
            titles.push(conversation.title.clone());
            self.talks.push(Talk {
                kept: Some(conversation.clone()),
                tree: Tree::new(messages.clone(), conversation.leaf),
                conversation: conversation.clone(),
                loaded: Loaded::Yes,
            });
            house.save("the conversation", move |library| {
                library.together(|library| {
                    library.put_conversation(&conversation)?;
                    for message in &messages {
                        library.put_message(message)?;
                    }
                    for (message, trace) in &traces {
                        library.put_tokens(*message, trace)?;
                    }
                    Ok(())
                })?;
                Ok(None)
            });
        }
        let Some(first) = first else {
            house
                .log
                .notify(Level::Info, "There is no conversation in the file", "");
            return;
        };
        house.command(AppCommand::Show(Workspace::Chat));
        house.command(ChatCommand::Open(first));
        let told = match titles.as_slice() {
            [title] => title.clone(),
            titles => format!("{} conversations", titles.len()),
        };
        house.log.notify(Level::Success, "Imported", told);
    }
}

/// Asks for a file to be read.
pub(super) fn ask_import(house: &mut House) {
    let kind = AskKind::OpenFile {
        what: "Conversations (JSON)",
        endings: &["json"],
    };
    house.ask("Import conversations", kind, |path| {
        ChatCommand::ImportFrom(path).into()
    });
}

/// Has something done with a file on a thread of its own.
pub(super) fn in_background(
    reply: &Reply,
    failure: &'static str,
    work: impl FnOnce(&Reply) -> Result<(), String> + Send + 'static,
) {
    let own = reply.clone();
    let spawned = std::thread::Builder::new()
        .name("diptych-files".into())
        .spawn(move || {
            if let Err(reason) = work(&own) {
                own.notice(Level::Error, failure, reason);
            }
        });
    if let Err(error) = spawned {
        let text = format!("the system gives no thread: {error}");
        reply.notice(Level::Error, failure, text);
    }
}

fn write(all: Vec<Held>, form: Form, path: PathBuf, existing: Existing, reply: Reply) {
    in_background(&reply, NOT_WRITTEN, move |reply| {
        let bytes = match form {
            Form::Json => Bundle::of(&all)
                .write()
                .map_err(|error| error.to_string())?,
            Form::Markdown => {
                let pages: Vec<String> = all
                    .into_iter()
                    .map(|held| {
                        let tree = Tree::new(held.messages, held.conversation.leaf);
                        foreign::markdown(&held.conversation, &tree.branch())
                    })
                    .collect();
                pages.join("\n").into_bytes()
            }
        };
        let written = files::write(&path, &bytes, existing).map_err(|error| error.to_string())?;
        reply.notice(Level::Success, "Exported", written.display().to_string());
        Ok(())
    });
}

/// Reads a file of text, within a size.
///
/// # Errors
/// What is wrong with it, in a person's words.
pub(super) fn read_text(path: &Path, largest: u64) -> Result<String, String> {
    use std::io::Read as _;
    let shown = path.display();
    let fault = |error: std::io::Error| format!("{shown}: it cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(fault)?;
    let size = file.metadata().map_err(fault)?;
    if size.is_dir() {
        return Err(format!("{shown}: it is a folder; choose a file"));
    }
    let too_large = |bytes: u64| {
        format!(
            "{shown}: it has {}; at most {} can be taken",
            words::bytes(bytes),
            words::bytes(largest)
        )
    };
    if size.len() > largest {
        return Err(too_large(size.len()));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile, or be no file at all.
    file.take(largest + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() as u64 > largest {
        return Err(too_large(bytes.len() as u64));
    }
    let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    if bytes.contains(&0) {
        return Err(format!("{shown}: it is no text file"));
    }
    String::from_utf8(bytes).map_err(|_| {
        format!("{shown}: it is no text in UTF-8; save it as UTF-8 in its own program first")
    })
}

fn read(path: &Path) -> Result<Bundle, String> {
    let text = read_text(path, LARGEST)?;
    let bundle = if Bundle::is_ours(&text) {
        Bundle::read(&text)
    } else {
        foreign::read_messages(&text)
    };
    bundle.map_err(|reason| format!("{}: {reason}", path.display()))
}

/// Reads a file in the background; it comes as [`ChatCommand::Imported`].
pub(super) fn import(path: PathBuf, house: &House) {
    in_background(&house.reply(), NOT_READ, move |reply| {
        reply.command(ChatCommand::Imported(Arc::new(read(&path)?)));
        Ok(())
    });
}

/// A file or folder that was dropped where it may be anything: conversations are read, models are added; of others it is said
/// that they are neither.
pub(super) fn dropped(path: PathBuf, house: &House) {
    in_background(&house.reply(), NOT_READ, move |reply| {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_lowercase());
        let ending = ending.unwrap_or_default();
        let folder = path.is_dir();
        if !folder
            && ending == "json"
            && read_text(&path, LARGEST).is_ok_and(|text| Bundle::is_ours(&text))
        {
            reply.command(ChatCommand::Imported(Arc::new(read(&path)?)));
        } else if !folder && !MODEL_ENDINGS.contains(&ending.as_str()) {
            reply.notice(
                Level::Info,
                "Nothing was done with the file",
                format!(
                    "{}: it is no picture, no conversation and no model. Text files can be dropped on Chat; models end in {}, or are folders.",
                    path.display(),
                    MODEL_ENDINGS.join(", ")
                ),
            );
        } else {
            reply.command(ModelsCommand::Add(path.clone()));
            reply.command(CreateCommand::ExpectModel(path));
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_titles() {
        assert_eq!(
            file_name("Expand: a red fox!", Form::Json),
            "Expand-a-red-fox.json"
        );
        assert_eq!(file_name("лиса / x", Form::Markdown), "лиса-x.md");
        assert_eq!(file_name("../..", Form::Json), "conversation.json");
        assert_eq!(
            with_ending("a/b".into(), Form::Json),
            (PathBuf::from("a/b.json"), Existing::Keep)
        );
        assert_eq!(
            with_ending("b.txt".into(), Form::Json),
            (PathBuf::from("b.txt"), Existing::Replace)
        );
        assert_eq!(
            with_ending("talk v1.5".into(), Form::Markdown),
            (PathBuf::from("talk v1.5.md"), Existing::Keep)
        );
    }

    #[test]
    fn only_text_of_a_bounded_size_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = folder.path().join("x.txt");
            std::fs::write(&path, bytes).unwrap();
            read_text(&path, 1500)
        };
        assert_eq!(read(b"\xef\xbb\xbfwords\n").unwrap(), "words\n");
        assert!(
            read(&[b'x'; 1600])
                .unwrap_err()
                .contains("it has 1.6 KB; at most 1.5 KB")
        );
        assert!(read(b"PNG\0\x01").unwrap_err().contains("no text file"));
        assert!(read(b"caf\xe9").unwrap_err().contains("UTF-8"));
        let folder_itself = read_text(folder.path(), 10).unwrap_err();
        assert!(folder_itself.contains("folder") || folder_itself.contains("cannot be read"));
        assert!(
            read_text(&folder.path().join("none"), 10)
                .unwrap_err()
                .contains("none")
        );
    }
}
