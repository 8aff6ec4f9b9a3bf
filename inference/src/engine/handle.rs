//! Starting the engine and holding on to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::outbox::Outbox;
use super::protocol::{Command, Event, JobId};
use super::{DeviceChoice, KvChoice, worker};
use std::path::PathBuf;

/// Commands that may wait before a client is told that the engine is busy.
const COMMANDS: usize = 1024;
/// Events that may wait before the engine begins to merge them.
const EVENTS: usize = 256;

/// How the engine is to be set up.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Which device computes.
    pub device: DeviceChoice,
    /// Most bytes to use on the device; `None` lets the executor decide.
    pub memory_budget: Option<u64>,
    /// Where the program's own data lie (tokenizer of single-file checkpoints).
    pub assets: PathBuf,
    /// How keys and values of chat models are kept.
    pub kv_type: KvChoice,
    /// Most tokens that a conversation may have, where the model's own context is longer; `None` is [`crate::models::llama::LONGEST_CONTEXT`].
    pub longest_context: Option<usize>,
    /// Where compiled kernels and the like are kept between runs of the program; `None` keeps nothing.
    pub cache: Option<PathBuf>,
}

/// The engine; see [`Engine::start`].
pub struct Engine;

impl Engine {
    /// Starts the engine's thread. It answers with [`Event::Ready`] or [`Event::StartFailed`].
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(options: EngineOptions) -> std::io::Result<EngineHandle> {
        let (command_sender, command_receiver) = bounded(COMMANDS);
        let (event_sender, event_receiver) = bounded(EVENTS);
        let thread = std::thread::Builder::new()
            .name("diptych-engine".into())
            .spawn(move || worker::run(&options, command_receiver, Outbox::new(event_sender)))?;
        Ok(EngineHandle {
            commands: command_sender,
            events: event_receiver,
            thread: Some(thread),
            next_job: AtomicU64::new(1),
        })
    }
}

/// A client's ends of the channels. Dropping it ends the engine and waits for its thread.
pub struct EngineHandle {
    commands: Sender<Command>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
    next_job: AtomicU64,
}

impl EngineHandle {
    /// A job number that was not used before with this engine.
    pub fn next_job(&self) -> JobId {
        JobId(self.next_job.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends a command without waiting.
    ///
    /// # Errors
    /// Gives the command back if the engine has ended or over a thousand commands wait.
    pub fn send(&self, command: Command) -> Result<(), Box<Command>> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(command) | TrySendError::Disconnected(command) => {
                    Box::new(command)
                }
            })
    }

    /// The events, for waiting or polling.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        // A full channel must not keep the engine alive: take events until there is room for the last word.
        let mut last = Some(Command::Shutdown);
        while let Some(command) = last.take() {
            match self.commands.try_send(command) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(command)) => {
                    last = Some(command);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            while self.events.try_recv().is_ok() {}
        }
        while self.events.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // The worker catches panics of jobs; a panic of its own was reported by the hook.
            let _ = thread.join();
        }
    }
}
