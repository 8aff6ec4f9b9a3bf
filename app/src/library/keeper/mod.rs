//! The library on a thread of its own, for clients that never wait for the disk.
//!
//! What is to be kept stands in line and is kept in order, many at once where many wait. When the disk is full or does not
//! answer, the line stands still, in memory, and is tried again until it moves; the person is told once, and once more
//! when all is well. Questions are answered meanwhile.

mod worker;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::Library;
use super::adopt::Restored;
use super::chats::Found;
use super::error::Result;
use super::records::{ConversationId, Message, MessageId, Millis, PictureRecord, SessionId};
use super::trace::Trace;
use worker::Worker;

/// Events that wait to be taken in the channel; further ones wait behind it.
const EVENTS: usize = 256;
/// How long the end of the thread is waited for when a keeper is dropped.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// What the library tells: how it is, what is kept, and what was asked for. Everything it tells as kept is on the disk.
#[derive(Clone, Debug)]
pub enum LibraryEvent {
    /// The library is open; what there was. The first event, unless there is trouble. If the library can be read but not
    /// written (a full disk), this comes with what was read, without jobs, then trouble, and this once more when it can be
    /// written.
    Opened(Box<Restored>),
    /// A picture is kept.
    PictureSaved(Box<PictureRecord>),
    /// Text is kept.
    DraftSaved {
        /// The window's key for it.
        key: String,
        /// When.
        at: Millis,
    },
    /// Messages of a conversation.
    Messages {
        /// The conversation.
        conversation: ConversationId,
        /// All of them.
        messages: Vec<Message>,
    },
    /// Messages that went with a conversation that was deleted, so that it can be brought back.
    MessagesDeleted {
        /// The conversation.
        conversation: ConversationId,
        /// All of them.
        messages: Vec<Message>,
    },
    /// What was thought of the tokens of an answer; nothing if that was not kept.
    Tokens {
        /// The answer.
        message: MessageId,
        /// Its tokens.
        trace: Option<Arc<Trace>>,
    },
    /// What a search found.
    Found {
        /// What was searched for.
        text: String,
        /// Where it is.
        found: Vec<Found>,
    },
    /// Something else is done.
    Done {
        /// In a person's words.
        what: String,
    },
    /// Something cannot be kept for now. It stays in memory and is tried again, with everything behind it.
    Trouble {
        /// In a person's words.
        what: String,
        /// Cause and remedy.
        message: String,
    },
    /// The trouble is over and everything is kept.
    Recovered,
    /// Something cannot be done, and is not tried again.
    Failed {
        /// In a person's words.
        what: String,
        /// Cause and remedy.
        message: String,
    },
}

type Op = Box<dyn FnMut(&mut Library) -> Result<Option<LibraryEvent>> + Send>;

struct Item {
    what: String,
    op: Op,
    /// Whether it is tried again; questions are not.
    kept: bool,
}

#[derive(Default)]
struct Line {
    items: VecDeque<Item>,
    /// Changes that are not on the disk, those in hand included.
    unsaved: usize,
    stop: bool,
    ended: bool,
}

struct Shared {
    line: Mutex<Line>,
    /// Something was put into the line, or it is to stop.
    more: Condvar,
    /// Something was kept, or the thread ended.
    less: Condvar,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics while it holds the line.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The library's thread. Dropped, it keeps what it can, at most for two seconds.
pub struct Keeper {
    shared: Arc<Shared>,
    events: Receiver<LibraryEvent>,
    session: SessionId,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread, which opens the library in a folder, takes over what dead sessions left ([`Library::adopt`]), and
    /// tells it as [`LibraryEvent::Opened`]. A library that cannot be opened is [`LibraryEvent::Trouble`] and tried again.
    /// `wake` is called, on the library's thread, when there are events to be taken.
    pub fn start(folder: PathBuf, kind: &'static str, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let shared = Arc::new(Shared {
            line: Mutex::default(),
            more: Condvar::new(),
            less: Condvar::new(),
        });
        let (sender, events) = crossbeam_channel::bounded(EVENTS);
        let session = SessionId::new();
        let mut worker = Worker::new(Arc::clone(&shared), folder, kind, session, sender, wake);
        let thread = std::thread::Builder::new()
            .name("diptych-library".into())
            .spawn(move || worker.run());
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::error!("no thread for the library: {error}");
                shared.line().ended = true;
                None
            }
        };
        Self {
            shared,
            events,
            session,
            thread,
        }
    }

    /// Keeps something: `op` runs on the library's thread, after everything that was put there before. After a failure that
    /// may pass it runs again, so that it must do the same each time. Its event is told once all is on the disk. `what` names
    /// it in messages, in a person's words: "the conversation".
    pub fn save(
        &self,
        what: impl Into<String>,
        op: impl FnMut(&mut Library) -> Result<Option<LibraryEvent>> + Send + 'static,
    ) {
        self.put(what.into(), Box::new(op), true);
    }

    /// Asks for something, after everything that was put there before, unless that cannot be kept for now. It is not tried
    /// again; failures are [`LibraryEvent::Failed`].
    pub fn ask(
        &self,
        what: impl Into<String>,
        op: impl FnMut(&mut Library) -> Result<Option<LibraryEvent>> + Send + 'static,
    ) {
        self.put(what.into(), Box::new(op), false);
    }

    fn put(&self, what: String, op: Op, kept: bool) {
        let mut line = self.shared.line();
        line.unsaved += usize::from(kept);
        line.items.push_back(Item { what, op, kept });
        drop(line);
        self.shared.more.notify_one();
    }

    /// Where events come out.
    pub fn events(&self) -> &Receiver<LibraryEvent> {
        &self.events
    }

    /// Changes that are not on the disk yet.
    pub fn waiting(&self) -> usize {
        self.shared.line().unsaved
    }

    /// Waits until everything is on the disk, at most so long; tells whether it is.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut line = self.shared.line();
        while line.unsaved > 0 && !line.ended {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            line = self
                .shared
                .less
                .wait_timeout(line, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        line.unsaved == 0
    }

    /// This run of the program, known before the library is open.
    pub fn session(&self) -> Option<SessionId> {
        Some(self.session)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_PATIENCE;
        let mut line = self.shared.line();
        line.stop = true;
        self.shared.more.notify_one();
        while !line.ended {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                // A disk that does not answer must not keep the program from ending.
                return;
            };
            line = self
                .shared
                .less
                .wait_timeout(line, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(line);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
