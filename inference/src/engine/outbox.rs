//! Events on their way to a client that may be slow.
//!
//! The engine must never wait for the window, and nothing that matters may be lost. So what cannot be sent at once is
//! kept here, merged: a later step replaces an earlier one, tokens of a job join into one event, a later checkpoint
//! replaces an earlier one.
//!
//! What takes its time to be put into bytes is made by a thread beside ([`Outbox::push_made`]), while the engine goes on. It keeps its
//! place: what is told after it, the end of its job as well, waits for it. Few are under way at once; then the engine waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::protocol::Event;

/// What the maker has to do at most, beside what it is at.
const MOST_WAITING: usize = 2;

/// From so many events on that wait for one that is being made, steps are merged.
const MOST_APART: usize = 64;

/// Makes an event, if there is one to tell.
type Make = Box<dyn FnOnce() -> Option<Event> + Send>;

/// What waits to be sent.
#[derive(Debug)]
enum Waiting {
    /// An event.
    Event(Box<Event>),
    /// The place of one that is being made.
    Place(u64),
}

impl Waiting {
    fn event(&mut self) -> Option<&mut Event> {
        match self {
            Self::Event(event) => Some(event),
            Self::Place(_) => None,
        }
    }
}

/// What waits, and where it goes.
struct Line {
    sender: Sender<Event>,
    waiting: VecDeque<Waiting>,
    closed: bool,
    places: u64,
}

/// The line, and the news that a place in it was taken.
struct Shared {
    line: Mutex<Line>,
    made: Condvar,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing is ever half done under the lock.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what was made where its place is.
    fn take_place(&self, place: u64, made: Option<Event>) {
        let mut line = self.line();
        line.take_place(place, made);
        line.flush();
        drop(line);
        self.made.notify_all();
    }
}

/// Something to be made, with its place. The place is given up where it is never made.
struct Order {
    shared: Arc<Shared>,
    place: u64,
    make: Option<Make>,
}

impl Order {
    fn carry_out(mut self) {
        let Some(make) = self.make.take() else {
            return;
        };
        let made = catch_unwind(AssertUnwindSafe(make));
        if made.is_err() {
            tracing::error!("an event was lost: making it failed");
        }
        self.shared.take_place(self.place, made.ok().flatten());
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if self.make.is_some() {
            self.shared.take_place(self.place, None);
        }
    }
}

/// Keeps and merges events until the client takes them.
pub struct Outbox {
    shared: Arc<Shared>,
    /// The thread that makes events, once there was something for it.
    maker: Option<(Sender<Order>, JoinHandle<()>)>,
}

impl Outbox {
    /// An outbox before a bounded channel.
    pub fn new(sender: Sender<Event>) -> Self {
        let line = Line {
            sender,
            waiting: VecDeque::new(),
            closed: false,
            places: 0,
        };
        Self {
            shared: Arc::new(Shared {
                line: Mutex::new(line),
                made: Condvar::new(),
            }),
            maker: None,
        }
    }

    /// An outbox whose events nobody takes.
    pub fn nowhere() -> Self {
        Self::new(bounded(0).0)
    }

    /// Sends as much as the channel takes, and keeps the rest.
    pub fn push(&mut self, event: Event) {
        let mut line = self.shared.line();
        line.merge(event);
        line.flush();
    }

    /// Tells of an event that is still to be made, by a thread beside; what is told later comes later. Waits only where several are under way already.
    pub fn push_made(&mut self, make: impl FnOnce() -> Option<Event> + Send + 'static) {
        let place = {
            let mut line = self.shared.line();
            if line.closed {
                return;
            }
            line.places += 1;
            let place = line.places;
            line.waiting.push_back(Waiting::Place(place));
            place
        };
        let order = Order {
            shared: Arc::clone(&self.shared),
            place,
            make: Some(Box::new(make)),
        };
        let order = match self.maker() {
            Some(maker) => match maker.send(order) {
                Ok(()) => return,
                Err(unsent) => unsent.into_inner(),
            },
            None => order,
        };
        // Without a thread it is made here.
        order.carry_out();
    }

    /// The way to the thread that makes events; none where the system gives no thread.
    fn maker(&mut self) -> Option<&Sender<Order>> {
        if self.maker.is_none() {
            let (sender, orders): (_, Receiver<Order>) = bounded(MOST_WAITING);
            let thread = std::thread::Builder::new()
                .name("diptych-keeping".into())
                .spawn(move || orders.into_iter().for_each(Order::carry_out));
            match thread {
                Ok(thread) => self.maker = Some((sender, thread)),
                Err(error) => tracing::warn!("steps are put into bytes by the engine: {error}"),
            }
        }
        self.maker.as_ref().map(|(sender, _)| sender)
    }

    /// Tries again to send what waits. Returns whether everything is out.
    pub fn flush(&mut self) -> bool {
        self.shared.line().flush()
    }

    /// Waits until nothing is being made any more.
    #[cfg(test)]
    pub fn settle(&mut self) {
        let mut line = self.shared.line();
        while line.waiting.iter().any(|w| matches!(w, Waiting::Place(_))) {
            let woken = self.shared.made.wait(line);
            line = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.line().closed
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.maker.take() {
            drop(sender);
            // Its panics are caught, each with its event.
            let _ = thread.join();
        }
    }
}

impl Line {
    fn merge(&mut self, event: Event) {
        let job = event.job();
        // What is being made parts what comes before it from what comes after.
        let is_place = |waiting: &Waiting| matches!(waiting, Waiting::Place(_));
        let last_place = self.waiting.iter().rposition(is_place);
        // That is soon over: until then nothing need be left out, unless it becomes too much.
        let soon = last_place.is_some() && self.waiting.len() < MOST_APART;
        let mut later = (self.waiting)
            .range_mut(last_place.map_or(0, |place| place + 1)..)
            .filter_map(Waiting::event);
        match event {
            Event::Tokens {
                job: of,
                mut tokens,
            } => {
                let last = later.rev().find(|waiting| waiting.job() == job);
                if let Some(Event::Tokens {
                    tokens: earlier, ..
                }) = last
                {
                    earlier.append(&mut tokens);
                } else {
                    self.keep(Event::Tokens { job: of, tokens });
                }
            }
            Event::Step { .. } if soon => self.keep(event),
            Event::Step { .. }
            | Event::Checkpoint { .. }
            | Event::Memory(_)
            | Event::QueueChanged(_) => {
                let kind = std::mem::discriminant(&event);
                let same = |waiting: &&mut Event| {
                    std::mem::discriminant(*waiting) == kind && waiting.job() == job
                };
                if let Some(earlier) = later.find(same) {
                    *earlier = event;
                } else {
                    self.keep(event);
                }
            }
            other => self.keep(other),
        }
    }

    fn keep(&mut self, event: Event) {
        self.waiting.push_back(Waiting::Event(Box::new(event)));
    }

    /// Puts what was made where its place is. Of several checkpoints of a job that wait the last is enough.
    fn take_place(&mut self, place: u64, made: Option<Event>) {
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Place(known) if *known == place);
        let Some(at) = self.waiting.iter().position(is_it) else {
            return;
        };
        let Some(event) = made else {
            self.waiting.remove(at);
            return;
        };
        let of = match &event {
            Event::Checkpoint { job, .. } => Some(*job),
            _ => None,
        };
        if let Some(slot) = self.waiting.get_mut(at) {
            *slot = Waiting::Event(Box::new(event));
        }
        let Some(of) = of else {
            return;
        };
        let mut index = 0;
        self.waiting.retain_mut(|waiting| {
            let earlier = index < at;
            index += 1;
            let same = matches!(waiting.event(), Some(Event::Checkpoint { job, .. }) if *job == of);
            !(earlier && same)
        });
    }

    fn flush(&mut self) -> bool {
        while let Some(waiting) = self.waiting.pop_front() {
            let event = match waiting {
                Waiting::Event(event) => event,
                Waiting::Place(_) if self.closed => continue,
                Waiting::Place(_) => {
                    self.waiting.push_front(waiting);
                    return false;
                }
            };
            match self.sender.try_send(*event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(Waiting::Event(Box::new(event)));
                    return false;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.closed = true;
                    self.waiting.clear();
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{JobId, TokenEvent};
    use super::*;

    fn step(job: u64, index: u32) -> Event {
        Event::Step {
            job: JobId(job),
            index,
            total: 9,
            seconds: 0.0,
            preview: None,
        }
    }

    fn token(job: u64, id: u32) -> Event {
        let token = TokenEvent {
            id,
            piece: String::new(),
            text: String::new(),
            probability: 1.0,
            alternatives: Vec::new(),
        };
        Event::Tokens {
            job: JobId(job),
            tokens: vec![token],
        }
    }

    fn checkpoint(job: u64, byte: u8) -> Event {
        Event::Checkpoint {
            job: JobId(job),
            bytes: [byte].into(),
        }
    }

    /// What came, in a word each.
    fn words(receiver: &Receiver<Event>) -> Vec<String> {
        let word = |event: Event| match event {
            Event::Step { index, .. } => format!("step {index}"),
            Event::Checkpoint { bytes, .. } => format!("kept {}", bytes[0]),
            Event::Started { .. } => "started".to_owned(),
            other => format!("{other:?}"),
        };
        receiver.try_iter().map(word).collect()
    }

    #[test]
    fn a_slow_client_gets_every_token_and_only_the_last_step() {
        let (sender, receiver) = bounded(1);
        let mut outbox = Outbox::new(sender);
        for index in 0..50 {
            outbox.push(step(1, index));
            outbox.push(token(2, index));
        }
        outbox.push(Event::Started { job: JobId(3) });
        let mut ids = Vec::new();
        let mut steps = Vec::new();
        let mut events = 0;
        loop {
            outbox.flush();
            let Ok(event) = receiver.try_recv() else {
                break;
            };
            events += 1;
            match event {
                Event::Tokens { tokens, .. } => ids.extend(tokens.iter().map(|token| token.id)),
                Event::Step { index, .. } => steps.push(index),
                _ => {}
            }
        }
        assert_eq!(ids, (0..50).collect::<Vec<_>>());
        assert_eq!(steps, [0, 49]);
        assert!(
            events <= 4,
            "{events} events for a client that took none for a while"
        );
    }

    #[test]
    fn a_client_that_is_gone_is_noticed() {
        let (sender, receiver) = bounded(1);
        drop(receiver);
        let mut outbox = Outbox::new(sender);
        outbox.push(step(1, 0));
        assert!(outbox.is_closed());
        // Nobody waits for what nobody takes.
        outbox.push_made(|| Some(step(1, 1)));
        assert!(outbox.flush());
    }

    #[test]
    fn what_is_being_made_keeps_its_place_and_the_engine_goes_on() {
        let (sender, receiver) = bounded(64);
        let mut outbox = Outbox::new(sender);
        let (go, gate) = bounded::<()>(0);
        outbox.push(step(1, 1));
        outbox.push_made(move || {
            gate.recv().unwrap();
            Some(checkpoint(1, 1))
        });
        // The engine is here while it is being made; what it tells waits, each for itself.
        outbox.push(step(1, 2));
        outbox.push_made(|| None);
        outbox.push(step(1, 3));
        outbox.push(step(1, 4));
        outbox.push(Event::Started { job: JobId(2) });
        assert!(!outbox.flush());
        assert_eq!(words(&receiver), ["step 1"]);
        go.send(()).unwrap();
        outbox.settle();
        assert!(outbox.flush());
        let rest = ["kept 1", "step 2", "step 3", "step 4", "started"];
        assert_eq!(words(&receiver), rest);
    }

    #[test]
    fn what_cannot_be_made_holds_up_nothing() {
        let (sender, receiver) = bounded(64);
        let mut outbox = Outbox::new(sender);
        outbox.push_made(|| panic!("scripted"));
        outbox.push(step(1, 1));
        outbox.settle();
        assert!(outbox.flush());
        assert_eq!(words(&receiver), ["step 1"]);
        outbox.push_made(|| Some(checkpoint(1, 7)));
        outbox.push(step(1, 2));
        // What is under way when all ends is still told.
        drop(outbox);
        assert_eq!(words(&receiver), ["kept 7", "step 2"]);
    }

    #[test]
    fn few_are_under_way_at_once_and_the_last_checkpoint_is_enough() {
        let (sender, receiver) = bounded(1);
        let mut outbox = Outbox::new(sender);
        let most = Arc::new(Mutex::new((0usize, 0usize)));
        for byte in 0..40 {
            let count = Arc::clone(&most);
            {
                let mut count = count.lock().unwrap();
                count.0 += 1;
                count.1 = count.1.max(count.0);
            }
            outbox.push_made(move || {
                std::thread::sleep(std::time::Duration::from_millis(1));
                count.lock().unwrap().0 -= 1;
                Some(checkpoint(1, byte))
            });
        }
        outbox.settle();
        // One that is made, those that wait, and the one that is being handed over.
        assert!(most.lock().unwrap().1 <= MOST_WAITING + 2);
        let mut came = words(&receiver);
        outbox.flush();
        came.extend(words(&receiver));
        assert_eq!(came, ["kept 0", "kept 39"]);
    }
}
