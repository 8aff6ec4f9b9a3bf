//! What only a window can do: clipboard, dialogs, focus, closing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use diptych_inference::engine::Picture;

use super::command::UiCommand;

/// Something for the window to do.
pub enum Effect {
    /// Put text on the clipboard.
    CopyText(String),
    /// Put a picture on the clipboard.
    CopyPicture(Arc<Picture>),
    /// Ask for a file or folder.
    Ask(Ask),
    /// Show a file in the system's file manager.
    Reveal(PathBuf),
    /// Open a web page.
    OpenUrl(String),
    /// Give a field the keyboard, by its name (see [`focus`]).
    Focus(&'static str),
    /// Theme or scale have changed.
    Look,
    /// Give the window the size that it had in an earlier run.
    Size,
    /// Fill the screen, or no longer.
    FullScreen,
    /// Close the window.
    Quit,
}

/// Names of fields that can be given the keyboard.
pub mod focus {
    /// The prompt in Create.
    pub const PROMPT: &str = "create.prompt";
    /// The composer in Chat.
    pub const COMPOSER: &str = "chat.composer";
    /// The search field of the library.
    pub const SEARCH: &str = "gallery.search";
    /// The first prompt of the grid in Compare, or its message.
    pub const VARIANT: &str = "compare.variant";
}

/// Which dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// An existing file with one of these endings.
    OpenFile {
        /// What the files are, for the dialog's filter.
        what: &'static str,
        /// Endings without dots.
        endings: &'static [&'static str],
    },
    /// An existing folder.
    OpenFolder,
    /// A file to be written.
    SaveFile {
        /// Suggested name.
        name: String,
        /// What the files are.
        what: &'static str,
        /// Endings without dots.
        endings: &'static [&'static str],
    },
}

/// A question to the person, and what follows.
pub struct Ask {
    /// Which dialog.
    pub kind: AskKind,
    /// The dialog's title.
    pub title: String,
    /// What the answer leads to; a cancelled dialog leads to nothing.
    pub then: Box<dyn FnOnce(PathBuf) -> UiCommand + Send>,
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyText(text) => f.debug_tuple("CopyText").field(text).finish(),
            Self::CopyPicture(picture) => {
                write!(f, "CopyPicture({}x{})", picture.width, picture.height)
            }
            Self::Ask(ask) => f.debug_tuple("Ask").field(&ask.kind).finish(),
            Self::Reveal(path) => f.debug_tuple("Reveal").field(path).finish(),
            Self::OpenUrl(url) => f.debug_tuple("OpenUrl").field(url).finish(),
            Self::Focus(name) => f.debug_tuple("Focus").field(name).finish(),
            Self::Look => f.write_str("Look"),
            Self::Size => f.write_str("Size"),
            Self::FullScreen => f.write_str("FullScreen"),
            Self::Quit => f.write_str("Quit"),
        }
    }
}
