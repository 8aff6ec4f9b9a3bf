//! The library on a thread of its own, for clients that never wait for the disk.
//!
//! What is to be kept stands in line and is kept in order, many at once where many wait. When the disk is full or does not
//! answer, the line stands still, in memory, and is tried again until it moves; the person is told once, and once more
//! when all is well. Questions are answered meanwhile.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::Library;
use super::adopt::Restored;
use super::chats::Found;
use super::error::{LibraryError, Result};
use super::records::{
    Conversation, ConversationId, Message, Millis, PictureRecord, SessionId, TaskRecord,
};

/// Events that wait to be taken in the channel; further ones wait behind it.
const EVENTS: usize = 256;
/// Most changes that become one transaction, and the longest time for gathering them.
const LARGEST_BATCH: usize = 256;
const LONGEST_BATCH: Duration = Duration::from_millis(25);
/// Waiting times between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the end of the thread is waited for when a keeper is dropped.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// How often events are offered again to a client that does not take them.
const OFFER: Duration = Duration::from_millis(20);

/// What the library tells. Everything it tells as kept is on the disk.
#[allow(clippy::large_enum_variant, reason = "few of them exist at a time")]
#[derive(Clone, Debug)]
pub enum LibraryEvent {
    /// The library is open; what there was. The first event, unless there is trouble.
    Opened(Box<Restored>),
    /// A picture is kept.
    PictureSaved(PictureRecord),
    /// Text is kept.
    DraftSaved {
        /// The window's key for it.
        key: String,
        /// When.
        at: Millis,
    },
    /// A conversation as it is kept.
    Conversation(Box<Conversation>),
    /// Messages of a conversation.
    Messages {
        /// The conversation.
        conversation: ConversationId,
        /// All of them.
        messages: Vec<Message>,
    },
    /// Pictures that were asked for.
    Pictures(Vec<PictureRecord>),
    /// Jobs that were asked for, or were taken over later.
    Tasks(Vec<TaskRecord>),
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
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            folder,
            kind,
            session,
            library: None,
            outbox: VecDeque::new(),
            sender,
            wake,
            troubled: false,
            pause: FIRST_PAUSE,
            retry_at: None,
        };
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

struct Worker {
    shared: Arc<Shared>,
    folder: PathBuf,
    kind: &'static str,
    session: SessionId,
    library: Option<Library>,
    /// Events that found no place in the channel.
    outbox: VecDeque<LibraryEvent>,
    sender: Sender<LibraryEvent>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Whether the person was told of trouble.
    troubled: bool,
    pause: Duration,
    /// When changes are tried again.
    retry_at: Option<Instant>,
}

/// What is to be done next.
enum Next {
    Open,
    Ask(Item),
    Save(Vec<Item>),
    Offer,
    Stop,
}

impl Worker {
    fn run(&mut self) {
        loop {
            let next = self.next();
            match next {
                Next::Open => self.open(),
                Next::Ask(item) => self.ask(item),
                Next::Save(items) => self.save(items),
                Next::Offer => self.offer(),
                Next::Stop => break,
            }
        }
        // Notes that the session ended in peace.
        self.library = None;
        let mut line = self.shared.line();
        line.ended = true;
        self.shared.less.notify_all();
    }

    fn next(&self) -> Next {
        let mut line = self.shared.line();
        loop {
            let now = Instant::now();
            let blocked = self.retry_at.filter(|at| *at > now && !line.stop);
            if blocked.is_none() {
                if self.library.is_none() && !(line.stop && self.retry_at.is_some()) {
                    return Next::Open;
                }
                if let Some(next) = take(&mut line, self.library.is_some()) {
                    return next;
                }
                if line.stop {
                    return Next::Stop;
                }
            } else if let Some(place) = line.items.iter().position(|item| !item.kept)
                && let Some(item) = line.items.remove(place)
            {
                return Next::Ask(item);
            }
            let mut wait = blocked.map(|at| at - now);
            if !self.outbox.is_empty() {
                wait = Some(wait.map_or(OFFER, |wait| wait.min(OFFER)));
            }
            let more = &self.shared.more;
            match wait {
                None => line = more.wait(line).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    line = more
                        .wait_timeout(line, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    if !self.outbox.is_empty() {
                        return Next::Offer;
                    }
                }
            }
        }
    }

    fn open(&mut self) {
        let opened =
            Library::open_as(&self.folder, self.kind, self.session).and_then(|mut library| {
                let restored = library.adopt()?;
                Ok((library, restored))
            });
        match opened {
            Ok((library, restored)) => {
                self.library = Some(library);
                self.tell(LibraryEvent::Opened(Box::new(restored)));
                self.all_well();
            }
            Err(error) => self.trouble("the library", &error),
        }
    }

    fn ask(&mut self, mut item: Item) {
        let answer = match &mut self.library {
            None => Err("the library cannot be opened for now".to_owned()),
            Some(library) => attempt(&mut item.op, library),
        };
        match answer {
            Ok(Ok(event)) => event.into_iter().for_each(|event| self.tell(event)),
            Ok(Err(error)) => self.failed(item.what, error.to_string()),
            Err(message) => self.failed(item.what, message),
        }
    }

    fn save(&mut self, items: Vec<Item>) {
        let Some(library) = &mut self.library else {
            return self.put_back(items);
        };
        let mut items = VecDeque::from(items);
        let (mut done, mut events) = (Vec::new(), Vec::new());
        let (mut failures, mut trouble) = (Vec::new(), None);
        let begun = Instant::now();
        library.begin_batch();
        while let Some(mut item) = items.pop_front() {
            let result = attempt(&mut item.op, library);
            library.end_step(matches!(result, Ok(Ok(_))));
            match result {
                Ok(Ok(event)) => {
                    done.push(item);
                    events.extend(event);
                }
                Ok(Err(error)) if error.passes() => {
                    trouble = Some((item.what.clone(), error));
                    items.push_front(item);
                    break;
                }
                Ok(Err(error)) => failures.push((item.what, error.to_string())),
                Err(message) => failures.push((item.what, message)),
            }
            if begun.elapsed() >= LONGEST_BATCH {
                break;
            }
        }
        let mut kept = true;
        if trouble.is_some() {
            library.abandon_batch();
            library.tidy();
            kept = false;
        } else if let Err(error) = library.commit_batch() {
            let what = done.last().map_or("a change", |item| item.what.as_str());
            trouble = Some((what.to_owned(), error));
            kept = false;
        }
        let finished = failures.len() + if kept { done.len() } else { 0 };
        if !kept {
            // All of it is done again, in order.
            for item in done.into_iter().rev() {
                items.push_front(item);
            }
        }
        self.put_back(items.into());
        {
            let mut line = self.shared.line();
            line.unsaved = line.unsaved.saturating_sub(finished);
        }
        for (what, message) in failures {
            self.failed(what, message);
        }
        match trouble {
            None => {
                events.into_iter().for_each(|event| self.tell(event));
                self.all_well();
            }
            Some((what, error)) => self.trouble(&what, &error),
        }
        self.shared.less.notify_all();
    }

    fn put_back(&self, items: Vec<Item>) {
        let mut line = self.shared.line();
        for item in items.into_iter().rev() {
            line.items.push_front(item);
        }
    }

    fn trouble(&mut self, what: &str, error: &LibraryError) {
        tracing::warn!("{what}: {error}");
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if !self.troubled {
            self.troubled = true;
            self.tell(LibraryEvent::Trouble {
                what: what.to_owned(),
                message: format!("{error}; nothing is lost while Diptych stays open"),
            });
        }
        let mut line = self.shared.line();
        if line.stop {
            // It was the last try.
            line.items.clear();
        }
    }

    fn all_well(&mut self) {
        self.retry_at = None;
        self.pause = FIRST_PAUSE;
        // What else waits may still fail: only an empty line is proof.
        if self.troubled && self.shared.line().unsaved == 0 {
            self.troubled = false;
            self.tell(LibraryEvent::Recovered);
        }
    }

    fn failed(&mut self, what: String, message: String) {
        tracing::warn!("{what}: {message}");
        self.tell(LibraryEvent::Failed { what, message });
    }

    fn tell(&mut self, event: LibraryEvent) {
        self.outbox.push_back(event);
        self.offer();
    }

    /// Never waits: a client that takes no events must not keep anything from being kept.
    fn offer(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.outbox.push_front(event);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => self.outbox.clear(),
            }
        }
        (self.wake)();
    }
}

/// The next question, or the next changes that may become one.
fn take(line: &mut Line, open: bool) -> Option<Next> {
    if !line.items.front()?.kept {
        return line.items.pop_front().map(Next::Ask);
    }
    if !open {
        return None;
    }
    let changes = line.items.iter().take_while(|item| item.kept).count();
    let items = line.items.drain(..changes.min(LARGEST_BATCH));
    Some(Next::Save(items.collect()))
}

/// Runs an operation; a panic in it is its own failure and nobody else's.
fn attempt(
    op: &mut Op,
    library: &mut Library,
) -> std::result::Result<Result<Option<LibraryEvent>>, String> {
    catch_unwind(AssertUnwindSafe(|| op(library)))
        .map_err(|_| "a fault of the program; please report it".to_owned())
}
