//! Events on their way to a client that may be slow.
//!
//! The engine must never wait for the window, and nothing that matters may be lost. So what cannot be sent at once is
//! kept here, merged: a later step replaces an earlier one, tokens of a job join into one event, a later checkpoint
//! replaces an earlier one.

use std::collections::VecDeque;

use crossbeam_channel::{Sender, TrySendError};

use super::protocol::Event;

/// Keeps and merges events until the client takes them.
pub struct Outbox {
    sender: Sender<Event>,
    waiting: VecDeque<Event>,
    closed: bool,
}

impl Outbox {
    /// An outbox before a bounded channel.
    pub fn new(sender: Sender<Event>) -> Self {
        Self {
            sender,
            waiting: VecDeque::new(),
            closed: false,
        }
    }

    /// An outbox whose events nobody takes.
    pub fn nowhere() -> Self {
        Self::new(crossbeam_channel::bounded(0).0)
    }

    /// Sends as much as the channel takes, and keeps the rest.
    pub fn push(&mut self, event: Event) {
        self.merge(event);
        self.flush();
    }

    fn merge(&mut self, event: Event) {
        let job = event.job();
        match event {
            Event::Tokens {
                job: of,
                mut tokens,
            } => {
                let last = self
                    .waiting
                    .iter_mut()
                    .rev()
                    .find(|waiting| waiting.job() == job);
                if let Some(Event::Tokens {
                    tokens: earlier, ..
                }) = last
                {
                    earlier.append(&mut tokens);
                } else {
                    self.waiting.push_back(Event::Tokens { job: of, tokens });
                }
            }
            Event::Step { .. }
            | Event::Checkpoint { .. }
            | Event::Memory(_)
            | Event::QueueChanged(_) => {
                let kind = std::mem::discriminant(&event);
                let same = |waiting: &Event| {
                    std::mem::discriminant(waiting) == kind && waiting.job() == job
                };
                if let Some(earlier) = self.waiting.iter_mut().find(|waiting| same(waiting)) {
                    *earlier = event;
                } else {
                    self.waiting.push_back(event);
                }
            }
            other => self.waiting.push_back(other),
        }
    }

    /// Tries again to send what waits. Returns whether everything is out.
    pub fn flush(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
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

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.closed
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

    #[test]
    fn a_slow_client_gets_every_token_and_only_the_last_step() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
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
        let (sender, receiver) = crossbeam_channel::bounded(1);
        drop(receiver);
        let mut outbox = Outbox::new(sender);
        outbox.push(step(1, 0));
        assert!(outbox.is_closed());
    }
}
