//! Ctrl+C: the first press asks the running job to end and keep what it has, the next ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::error::{CliError, EXIT_INTERRUPTED, Result};

/// Presses of Ctrl+C (and the other ways to ask a program to end).
#[derive(Clone, Debug)]
pub struct Interrupts {
    pressed: Receiver<()>,
    /// Whether somebody will take a press from the channel.
    listening: Arc<AtomicBool>,
}

impl Interrupts {
    /// Takes over Ctrl+C for the whole program; works once.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn install() -> Result<Self> {
        let (sender, pressed) = bounded(1);
        let listening = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&listening);
        ctrlc::set_handler(move || {
            // A second press finds the flag down, or the first still in the channel.
            if !waits.swap(false, Ordering::SeqCst) || sender.try_send(()).is_err() {
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
        })
        .map_err(|error| CliError::Failed(format!("cannot take over Ctrl+C: {error}")))?;
        Ok(Self { pressed, listening })
    }

    /// Never pressed: for clients that have no terminal.
    pub fn none() -> Self {
        Self {
            pressed: crossbeam_channel::never(),
            listening: Arc::default(),
        }
    }

    /// From now on a press comes through [`Interrupts::pressed`] rather than ending the program.
    pub fn listen(&self) {
        self.listening.store(true, Ordering::SeqCst);
    }

    /// From now on a press ends the program at once.
    pub fn ignore(&self) {
        self.listening.store(false, Ordering::SeqCst);
        while self.pressed.try_recv().is_ok() {}
    }

    /// Gives one `()` for a press.
    pub fn pressed(&self) -> &Receiver<()> {
        &self.pressed
    }
}
