//! The studio and its engine.

use diptych_inference::engine::{Command, EngineOptions, Event};

use super::House;
use crate::studio::command::AppCommand;
use crate::studio::log::Level;
use crate::studio::queue::Stage;
use crate::studio::session::{EngineState, Session};
use crate::studio::view::Drawer;

impl House {
    pub(in crate::studio) fn next_engine_event(&self) -> Option<Event> {
        self.session.as_ref()?.next_event()
    }

    pub(super) fn start_engine(&mut self) {
        self.engine = EngineState::Starting;
        let options = EngineOptions {
            device: self.device.unwrap_or(self.settings.device),
            memory_budget: self.settings.memory_budget,
            assets: self.assets.clone(),
            kv_type: self.settings.kv_type,
            longest_context: Some(self.settings.context as usize),
            cache: Some(crate::folders::cache_of(&self.data)),
        };
        match Session::start(options, self.reply.wake.clone()) {
            Ok(session) => self.session = Some(session),
            Err(error) => {
                let message = format!("the system gives no thread to compute on: {error}");
                self.log.notify(
                    Level::Error,
                    "Nothing can be drawn or written",
                    message.clone(),
                );
                self.engine = EngineState::Failed(message);
            }
        }
    }

    /// Ends the engine and starts another one with the settings of now; jobs resume from their last step.
    pub(super) fn restart_engine(&mut self) {
        if !self.opened {
            return;
        }
        if let Some(session) = self.session.take() {
            session.end();
        }
        for task in self.queue.iter_mut() {
            if task.job.take().is_some() && task.stage.is_live() {
                task.stage = Stage::Waiting;
            }
        }
        self.memory = None;
        self.loaded.clear();
        self.start_engine();
        let paths = self.shelf.forget_names();
        self.unnamed = 0;
        self.name_models(paths);
        if self.queue.all_paused {
            self.send(Command::PauseAll);
        }
        self.settle();
    }

    pub(super) fn send(&mut self, command: Command) -> bool {
        let taken = self
            .session
            .as_ref()
            .is_some_and(|session| session.send(command));
        if !taken && self.session.is_some() {
            self.log.write(
                Level::Error,
                "The engine is too busy",
                "A command was not taken; try again in a moment.",
            );
        }
        taken
    }

    /// Asks the engine something that is no job; tells whether the question was taken.
    pub(in crate::studio) fn ask_engine(&mut self, command: Command) -> bool {
        self.send(command)
    }

    /// Takes in what the engine says that is about no job.
    pub(in crate::studio) fn on_engine(&mut self, event: Event) {
        match event {
            Event::Ready { executor, device } => {
                self.log
                    .write(Level::Info, "Ready", format!("Computing on {device}."));
                self.engine = EngineState::Ready { executor, device };
                self.send(Command::ReportMemory);
            }
            Event::StartFailed(failure) => {
                self.engine = EngineState::Failed(failure.message.clone());
                self.log.notify_with(
                    Level::Error,
                    "Nothing can be drawn or written",
                    failure.message,
                    Some((
                        "Settings".to_owned(),
                        AppCommand::Drawer(Drawer::Settings).into(),
                    )),
                );
            }
            Event::Models(found) => {
                for found in found {
                    self.unnamed = self.unnamed.saturating_sub(1);
                    self.shelf.known(found);
                }
                self.settle();
            }
            Event::Memory(memory) => self.memory = Some(memory),
            Event::Loaded(models) => self.loaded = models,
            Event::DeviceLost { reason } => {
                self.log.notify(
                    Level::Warning,
                    "The graphics device was lost",
                    format!(
                        "{reason}. It is being opened again; jobs resume from their last step."
                    ),
                );
                self.engine = EngineState::Lost(reason);
            }
            Event::DeviceRebuilt { device } => {
                self.log.notify(
                    Level::Success,
                    "The graphics device is back",
                    format!("Computing on {device}."),
                );
                // Only graphics devices are ever lost.
                let executor = "gpu";
                self.engine = EngineState::Ready { executor, device };
            }
            Event::Stopped if self.session.take().is_some() => {
                self.engine = EngineState::Failed(
                    "the engine has ended; choose a device in the settings to start it again"
                        .to_owned(),
                );
            }
            _ => {}
        }
    }
}
