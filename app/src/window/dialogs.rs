//! Dialogs for files: the system's own, or answers written down for tests.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::studio::effects::{Ask, AskKind};
use crate::studio::house::Reply;
use crate::studio::log::Level;

/// Asks for files.
pub trait Dialogs {
    /// Asks; the answer is said to `reply` whenever it comes.
    fn ask(&mut self, ask: Ask, frame: &eframe::Frame, reply: Reply);
}

/// The system's own dialogs.
pub struct NativeDialogs;

impl Dialogs for NativeDialogs {
    fn ask(&mut self, ask: Ask, frame: &eframe::Frame, reply: Reply) {
        use std::future::Future;
        use std::pin::Pin;
        // Made here, as some systems want the main thread for it; waited for elsewhere.
        let mut dialog = rfd::AsyncFileDialog::new().set_title(ask.title.clone());
        if frame.winit_window().is_some() {
            dialog = dialog.set_parent(frame);
        }
        type Answer = Pin<Box<dyn Future<Output = Option<rfd::FileHandle>> + Send>>;
        let answer: Answer = match ask.kind {
            AskKind::OpenFile { what, endings } => {
                Box::pin(dialog.add_filter(what, endings).pick_file())
            }
            AskKind::OpenFolder => Box::pin(dialog.pick_folder()),
            AskKind::SaveFile {
                name,
                what,
                endings,
            } => Box::pin(
                dialog
                    .add_filter(what, endings)
                    .set_file_name(name)
                    .save_file(),
            ),
        };
        let (then, failed) = (ask.then, reply.clone());
        let spawned = std::thread::Builder::new()
            .name("diptych-dialog".into())
            .spawn(move || {
                if let Some(file) = pollster::block_on(answer) {
                    reply.command(then(file.path().to_owned()));
                }
            });
        if let Err(error) = spawned {
            failed.notice(
                Level::Error,
                "The dialog cannot be shown",
                format!("the system gives no thread: {error}"),
            );
        }
    }
}

/// Answers written down beforehand, and the questions that were asked.
#[derive(Clone, Default)]
pub struct ScriptedDialogs {
    answers: Arc<Mutex<VecDeque<PathBuf>>>,
    asked: Arc<Mutex<Vec<AskKind>>>,
}

impl ScriptedDialogs {
    /// Answers the next question with a path.
    pub fn answer(&self, path: impl Into<PathBuf>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push_back(path.into());
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<AskKind> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Dialogs for ScriptedDialogs {
    fn ask(&mut self, ask: Ask, _frame: &eframe::Frame, reply: Reply) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(ask.kind);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = answers.pop_front() {
            reply.command((ask.then)(path));
        }
    }
}
