//! A running engine, heard by a thread that wakes the window.

use crossbeam_channel::{Receiver, bounded};
use diptych_inference::engine::{Command, Engine, EngineHandle, EngineOptions, Event, JobId};

use super::Wake;

/// Events that wait for the window. While they wait, the engine merges what it has to say.
const EVENTS: usize = 256;

/// How far the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// The device is being opened.
    Starting,
    /// It works.
    Ready {
        /// `cpu` or `gpu`.
        executor: &'static str,
        /// The device in a person's words.
        device: String,
    },
    /// The device is gone and is being opened again.
    Lost(String),
    /// It could not start, or has ended.
    Failed(String),
}

/// A running engine. Dropping it ends the engine and waits for it: do that on another thread.
pub struct Session {
    // Before the handle: the listening thread must not wait for a window that hears no more.
    events: Receiver<Event>,
    handle: EngineHandle,
}

impl Session {
    /// Starts an engine.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(options: EngineOptions, wake: Wake) -> std::io::Result<Self> {
        let handle = Engine::start(options)?;
        let heard = handle.events().clone();
        let (sender, events) = bounded(EVENTS);
        std::thread::Builder::new()
            .name("diptych-listen".into())
            .spawn(move || {
                for event in heard {
                    if sender.send(event).is_err() {
                        return;
                    }
                    wake();
                }
            })?;
        Ok(Self { events, handle })
    }

    /// The next event, if one has come.
    pub fn next_event(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// A job number that was not used before.
    pub fn next_job(&self) -> JobId {
        self.handle.next_job()
    }

    /// Sends a command without waiting. Returns whether the engine takes it.
    pub fn send(&self, command: Command) -> bool {
        self.handle.send(command).is_ok()
    }

    /// Ends the engine without waiting for it.
    pub fn end(self) {
        let spawned = std::thread::Builder::new()
            .name("diptych-end".into())
            .spawn(move || drop(self));
        if let Err(error) = spawned {
            tracing::error!("the engine cannot be ended in the background: {error}");
        }
    }
}
