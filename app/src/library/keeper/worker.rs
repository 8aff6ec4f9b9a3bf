//! The thread itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};

use super::{Item, LibraryEvent, Line, Op, Shared};
use crate::library::error::{LibraryError, Result};
use crate::library::records::SessionId;
use crate::library::{Library, Restored, Trust};

/// Most changes that become one transaction, and the longest time for gathering them.
const LARGEST_BATCH: usize = 256;
const LONGEST_BATCH: Duration = Duration::from_millis(25);
/// Waiting times between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between transactions, so that other instances get their turn.
const TURN: Duration = Duration::from_millis(3);
/// How often events are offered again to a client that does not take them.
const OFFER: Duration = Duration::from_millis(20);

/// Does what stands in line.
pub(super) struct Worker {
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
    /// Whether the library was open before, to write.
    opened: bool,
    /// Whether what could be read was told although nothing can be written.
    looked: bool,
    /// How the index is to be opened.
    trust: Trust,
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
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: PathBuf,
        kind: &'static str,
        session: SessionId,
        sender: Sender<LibraryEvent>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            shared,
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
            opened: false,
            looked: false,
            trust: Trust::Usual,
        }
    }

    pub(super) fn run(&mut self) {
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
        let mut opened = Library::open_as(&self.folder, self.kind, self.session, self.trust);
        let mut restored = None;
        if !self.opened {
            opened = opened.and_then(|mut library| {
                restored = Some(library.adopt()?);
                Ok(library)
            });
        }
        match opened {
            Ok(mut library) => {
                let notices = library.take_notices();
                self.library = Some(library);
                self.opened = true;
                match restored {
                    Some(restored) => self.tell(LibraryEvent::Opened(Box::new(restored))),
                    // It had to be opened anew, which a client need not know but for this.
                    None => notices.into_iter().for_each(|notice| {
                        self.failed("The library had to be mended".to_owned(), notice);
                    }),
                }
                self.all_well();
            }
            Err(error) => {
                self.look();
                self.trouble("the library", &error);
            }
        }
    }

    /// Where nothing can be written, what was kept before can perhaps be read.
    fn look(&mut self) {
        if self.opened || std::mem::replace(&mut self.looked, true) {
            return;
        }
        let looked = Library::open_read_only(&self.folder)
            .and_then(|mut library| library.look_at_all(self.session));
        match looked {
            Ok(restored) if !is_empty(&restored) => {
                self.tell(LibraryEvent::Opened(Box::new(restored)));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("the library cannot be read either: {error}"),
        }
    }

    /// What is to be done about an index that cannot be used any more, before the next try.
    fn cure(&mut self, error: &LibraryError) {
        match error {
            LibraryError::Damaged { .. } => {
                // If looking through it finds nothing, and it fails again, it is not trusted any more.
                self.trust = match self.trust {
                    Trust::Usual => Trust::Checked,
                    Trust::Checked | Trust::None => Trust::None,
                };
                if let Some(library) = self.library.take() {
                    library.let_go();
                }
            }
            LibraryError::Gone(_) => {
                let brought = self.library.as_mut().map(Library::bring_back);
                match brought {
                    Some(Ok(notice)) => {
                        if let Some(library) = self.library.take() {
                            library.let_go();
                        }
                        let notice = notice.unwrap_or_else(|| error.to_string());
                        self.failed("The library had to be mended".to_owned(), notice);
                    }
                    Some(Err(error)) => {
                        tracing::warn!("the index cannot be written again: {error}");
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, mut item: Item) {
        let answer = match &mut self.library {
            None => Err("the library cannot be opened for now".to_owned()),
            Some(library) => attempt(&mut item.op, library),
        };
        match answer {
            Ok(Ok(event)) => event.into_iter().for_each(|event| self.tell(event)),
            Ok(Err(error)) => {
                self.cure(&error);
                self.failed(item.what, error.to_string());
            }
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
                Ok(Err(error))
                    if error.passes() || matches!(error, LibraryError::Damaged { .. }) =>
                {
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
                self.trust = Trust::Usual;
                events.into_iter().for_each(|event| self.tell(event));
                self.all_well();
            }
            // What can be mended is tried again at once.
            Some((_, LibraryError::Damaged { path, reason })) if self.trust != Trust::None => {
                self.cure(&LibraryError::Damaged { path, reason });
            }
            Some((_, LibraryError::Gone(path))) => {
                self.cure(&LibraryError::Gone(path.clone()));
                if self.library.is_some() {
                    self.trouble("the library", &LibraryError::Gone(path));
                }
            }
            Some((what, error)) => self.trouble(&what, &error),
        }
        self.shared.less.notify_all();
        std::thread::sleep(TURN);
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

/// Whether there is nothing to show.
fn is_empty(restored: &Restored) -> bool {
    restored.pictures.is_empty()
        && restored.conversations.is_empty()
        && restored.grids.is_empty()
        && restored.drafts.is_empty()
        && restored.settings.is_empty()
}
