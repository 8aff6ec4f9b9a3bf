//! What happened: every line for the log panel, and the notices that are shown at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::command::UiCommand;
use crate::library::records::{Millis, now};

/// Lines that are kept.
const MOST_LINES: usize = 2000;
/// Notices shown at the same time; older ones go.
const MOST_NOTICES: usize = 4;
/// How long good news is shown.
const SHORT: Duration = Duration::from_secs(5);
/// How long a warning is shown.
const LONG: Duration = Duration::from_secs(12);

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

/// A notice's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoticeId(pub u64);

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
    /// Its number.
    pub id: NoticeId,
    /// How serious.
    pub level: Level,
    /// What happened.
    pub title: String,
    /// Cause and remedy; may be empty.
    pub text: String,
    /// What the person can do about it at once: the button's label and its command.
    pub action: Option<(String, UiCommand)>,
    /// When it goes by itself; errors stay.
    pub until: Option<Instant>,
}

/// The log and the notices.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    notices: Vec<Notice>,
    count: u64,
}

impl Log {
    /// The lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> + ExactSizeIterator {
        self.lines.iter()
    }

    /// The notices, oldest first.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Writes a line without a notice.
    pub fn write(&mut self, level: Level, title: impl Into<String>, text: impl Into<String>) {
        let (title, text) = (title.into(), text.into());
        match level {
            Level::Error => tracing::error!("{title}: {text}"),
            Level::Warning => tracing::warn!("{title}: {text}"),
            Level::Info | Level::Success => tracing::info!("{title}: {text}"),
        }
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
    pub fn notify(
        &mut self,
        level: Level,
        title: impl Into<String>,
        text: impl Into<String>,
    ) -> NoticeId {
        self.notify_with(level, title, text, None)
    }

    /// Writes a line and shows a notice with a button.
    pub fn notify_with(
        &mut self,
        level: Level,
        title: impl Into<String>,
        text: impl Into<String>,
        action: Option<(String, UiCommand)>,
    ) -> NoticeId {
        let (title, text) = (title.into(), text.into());
        self.write(level, title.clone(), text.clone());
        let shown = match level {
            Level::Error => None,
            Level::Warning => Some(LONG),
            _ if action.is_some() => Some(LONG),
            Level::Info | Level::Success => Some(SHORT),
        };
        let until = shown.map(|time| Instant::now() + time);
        // The same words again only lengthen the time of the first.
        if let Some(same) = self
            .notices
            .iter_mut()
            .find(|notice| notice.title == title && notice.text == text && notice.action == action)
        {
            same.until = until;
            return same.id;
        }
        let id = NoticeId(self.count);
        self.notices.push(Notice {
            id,
            level,
            title,
            text,
            action,
            until,
        });
        if self.notices.len() > MOST_NOTICES {
            self.notices.remove(0);
        }
        id
    }

    /// Closes a notice.
    pub fn dismiss(&mut self, id: NoticeId) {
        self.notices.retain(|notice| notice.id != id);
    }

    /// Closes notices whose time is over; `held` is one under the pointer, which stays.
    pub fn expire(&mut self, now: Instant, held: Option<NoticeId>) {
        self.notices.retain(|notice| {
            held == Some(notice.id) || notice.until.is_none_or(|until| now < until)
        });
    }

    /// When the next notice goes by itself.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.notices.iter().filter_map(|notice| notice.until).min()
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.lines.clear();
    }
}
