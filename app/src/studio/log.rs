//! What happened: every line for the log panel, and the notices that are shown at once.

use std::collections::VecDeque;

use super::command::UiCommand;
use crate::library::records::{Millis, now};

/// Lines that are kept.
const MOST_LINES: usize = 2000;
/// How serious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For the curious.
    Info,
    /// Something worked.
    Success,
    /// Something to know.
    Warning,
    /// Something failed.
    Error,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, growing.
    pub number: u64,
    /// When.
    pub at: Millis,
    /// How serious.
    pub level: Level,
    /// What it is about, in a few words.
    pub title: String,
    /// Cause and remedy.
    pub text: String,
}

/// Something shown at once.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How serious.
    pub level: Level,
    /// What happened.
    pub title: String,
    /// Cause and remedy; may be empty.
    pub text: String,
    /// What the person can do about it at once: the button's label and its command.
    pub action: Option<(String, UiCommand)>,
}

/// The log, and the notices that the window has not shown yet.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    notices: Vec<Notice>,
    count: u64,
    unread: usize,
}

impl Log {
    /// The lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// Errors since the log was last looked at.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// The log was looked at.
    pub fn read(&mut self) {
        self.unread = 0;
    }

    /// What is to be shown at once; each is given once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Writes a line without a notice.
    pub fn write(&mut self, level: Level, title: impl Into<String>, text: impl Into<String>) {
        let (title, text) = (title.into(), text.into());
        match level {
            Level::Error => tracing::error!("{title}: {text}"),
            Level::Warning => tracing::warn!("{title}: {text}"),
            Level::Info | Level::Success => tracing::info!("{title}: {text}"),
        }
        self.unread += usize::from(level == Level::Error);
        self.count += 1;
        self.lines.push_back(Line {
            number: self.count,
            at: now(),
            level,
            title,
            text,
        });
        while self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }

    /// Writes a line and shows a notice.
    pub fn notify(&mut self, level: Level, title: impl Into<String>, text: impl Into<String>) {
        self.notify_with(level, title, text, None);
    }

    /// Writes a line and shows a notice with a button.
    pub fn notify_with(
        &mut self,
        level: Level,
        title: impl Into<String>,
        text: impl Into<String>,
        action: Option<(String, UiCommand)>,
    ) {
        let (title, text) = (title.into(), text.into());
        self.write(level, title.clone(), text.clone());
        self.notices.push(Notice {
            level,
            title,
            text,
            action,
        });
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.unread = 0;
    }
}
