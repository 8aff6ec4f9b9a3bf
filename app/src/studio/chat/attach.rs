//! Text files that are given along with a message.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::asks::hash;
use super::transfer::{self, file::Bundle};
use super::{Chat, ChatCommand};
use crate::library::records::{Attachment, ConversationId};
use crate::studio::effects::AskKind;
use crate::studio::house::House;
use crate::studio::log::Level;

/// Largest file, in bytes; already this is more than most models can take in.
pub const LARGEST: u64 = 1_000_000;
/// Most files of one message.
pub const MOST: usize = 12;
const NOT_ATTACHED: &str = "The file was not attached";

/// Endings of files that are offered in the dialog, and taken when they are dropped on Chat.
pub const ENDINGS: &[&str] = &[
    "txt", "md", "markdown", "csv", "tsv", "json", "jsonl", "log", "rst", "tex", "html", "htm",
    "css", "xml", "svg", "toml", "yaml", "yml", "ini", "cfg", "conf", "sql", "sh", "bat", "ps1",
    "rs", "py", "js", "ts", "jsx", "tsx", "c", "h", "cpp", "hpp", "cc", "cs", "java", "kt", "go",
    "rb", "php", "swift", "scala", "lua", "pl", "r", "jl", "hs", "ml", "clj", "ex", "erl", "zig",
    "wgsl", "glsl", "hlsl", "metal", "cmake", "diff", "patch", "srt", "vtt", "bib",
];

/// Whether a file's name is that of a text.
pub fn is_text(path: &std::path::Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Files of messages that are not sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    list: Vec<Attachment>,
    /// By what the text of each is known.
    hashes: Vec<u64>,
    /// The list as the library keeps it.
    draft: Arc<str>,
}

impl Attached {
    fn of(list: Vec<Attachment>) -> Self {
        let draft = if list.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&list).unwrap_or_default()
        };
        Self {
            hashes: list.iter().map(|file| hash(file.text.as_str())).collect(),
            list,
            draft: draft.into(),
        }
    }

    pub(super) fn read(draft: &str) -> Self {
        Self::of(serde_json::from_str(draft).unwrap_or_default())
    }

    pub(super) fn draft(&self) -> Arc<str> {
        Arc::clone(&self.draft)
    }
}

pub(super) type AllAttached = HashMap<Option<ConversationId>, Attached>;

impl Chat {
    /// Files that are given along with the message that is being written.
    pub fn attached(&self) -> &[Attachment] {
        self.attached
            .get(&self.current)
            .map_or(&[], |attached| attached.list.as_slice())
    }

    /// By what the texts of these files are known, in their order.
    pub(super) fn attached_hashes(&self) -> &[u64] {
        self.attached
            .get(&self.current)
            .map_or(&[], |attached| attached.hashes.as_slice())
    }

    pub(super) fn take_attached(&mut self) -> Vec<Attachment> {
        let taken = self.attached.insert(self.current, Attached::default());
        taken.map(|attached| attached.list).unwrap_or_default()
    }

    pub(super) fn attach(
        &mut self,
        to: Option<ConversationId>,
        attachment: Attachment,
        house: &mut House,
    ) {
        let mut list = self.attached.remove(&to).unwrap_or_default().list;
        list.retain(|other| *other != attachment);
        if list.len() < MOST {
            list.push(attachment);
        } else {
            let text = format!("A message can have {MOST} files; take one away first.");
            house.log.notify(Level::Warning, NOT_ATTACHED, text);
        }
        self.attached.insert(to, Attached::of(list));
    }

    pub(super) fn detach(&mut self, index: usize) {
        if let Some(attached) = self.attached.get(&self.current) {
            let mut list = attached.list.clone();
            if index < list.len() {
                list.remove(index);
                self.attached.insert(self.current, Attached::of(list));
            }
        }
    }

    /// Reads a file in the background; it comes as [`ChatCommand::Attached`], or, if it turns out to be one of ours, as
    /// [`ChatCommand::Imported`].
    pub(super) fn attach_file(&self, path: PathBuf, house: &House) {
        let to = self.current;
        transfer::in_background(&house.reply(), NOT_ATTACHED, move |reply| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            let conversations = path.extension().is_some_and(|ending| ending == "json")
                && transfer::read_text(&path, transfer::LARGEST)
                    .is_ok_and(|text| Bundle::is_ours(&text));
            if conversations {
                reply.command(ChatCommand::ImportFrom(path));
                return Ok(());
            }
            let text = transfer::read_text(&path, LARGEST)?;
            if text.trim().is_empty() {
                return Err(format!("{}: it is empty", path.display()));
            }
            let attachment = Arc::new(Attachment { name, text });
            reply.command(ChatCommand::Attached(to, attachment));
            Ok(())
        });
    }
}

/// Asks for a file.
pub(super) fn ask(house: &mut House) {
    let kind = AskKind::OpenFile {
        what: "Text",
        endings: ENDINGS,
    };
    house.ask("Attach a text file", kind, |path| {
        ChatCommand::AttachFile(path).into()
    });
}
