//! What all parts of the studio share: the engine, the library, the queue, the models, the settings, the log.

mod engine;
mod inputs;
mod jobs;
mod library;
mod shelf;
mod traces;

pub use shelf::MODEL_ENDINGS;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use diptych_inference::engine::{DeviceChoice, HostTensor, MemoryUse, ModelRef, Picture};

use super::command::UiCommand;
use super::effects::{Ask, AskKind, Effect};
use super::log::{Level, Log};
use super::models::{Seen, Shelf};
use super::queue::{Queue, Task};
use super::session::{EngineState, Session};
use super::settings::Settings;
use super::{StudioOptions, Wake};
use crate::library::keeper::Keeper;
use crate::library::records::PictureId;

/// What background threads may have to say before they wait for the window; far more than ever is.
const LATER: usize = 4096;
/// How often checkpoints and progress are given to the library.
const CHECKPOINTS: Duration = Duration::from_millis(900);

/// What background threads have to say.
enum Later {
    Command(UiCommand),
    Seen(Box<Seen>),
    LookedEverywhere(u64),
    Missing(Vec<PathBuf>),
    Input(String, Result<Arc<HostTensor>, String>),
    Notice(Level, String, String),
}

/// Lets a background thread speak to the studio.
#[derive(Clone)]
pub struct Reply {
    sender: Sender<Later>,
    wake: Wake,
}

impl Reply {
    /// Has a command done.
    pub fn command(&self, command: impl Into<UiCommand>) {
        self.say(Later::Command(command.into()));
    }

    /// Shows a notice.
    pub fn notice(&self, level: Level, title: impl Into<String>, text: impl Into<String>) {
        self.say(Later::Notice(level, title.into(), text.into()));
    }

    fn say(&self, later: Later) -> bool {
        let heard = self.sender.send(later).is_ok();
        (self.wake)();
        heard
    }
}

/// What all parts of the studio share.
pub struct House {
    /// What the person has settled.
    pub settings: Settings,
    /// All models.
    pub shelf: Shelf,
    /// All jobs.
    pub queue: Queue,
    /// What happened.
    pub log: Log,
    /// How far the engine is.
    pub engine: EngineState,
    /// Memory in use on the device, as last told.
    pub memory: Option<MemoryUse>,
    /// Models that are in it.
    pub loaded: Vec<ModelRef>,
    /// Why the library cannot keep anything now; everything waits in memory meanwhile.
    pub library_trouble: Option<String>,
    /// Folder of the library.
    pub data: PathBuf,
    /// Folder of the program's own models, fonts and icons.
    pub assets: PathBuf,
    keeper: Keeper,
    session: Option<Session>,
    device: Option<DeviceChoice>,
    look_elsewhere: bool,
    go_on: bool,
    /// Jobs that were ended all at once, until that is taken back or done again.
    cancelled: Vec<Task>,
    /// Jobs that are to begin again once the engine has ended them.
    again: Vec<Task>,
    opened: bool,
    scan: u64,
    unnamed: usize,
    commands: VecDeque<UiCommand>,
    effects: Vec<Effect>,
    later: Receiver<Later>,
    reply: Reply,
    fresh: HashMap<PictureId, Arc<Picture>>,
    checkpoints_at: Option<Instant>,
    inputs: inputs::Inputs,
    traces: traces::Traces,
}

impl House {
    pub(in crate::studio) fn open(options: StudioOptions) -> Self {
        let (sender, later) = bounded(LATER);
        let keeper = Keeper::start(options.data.clone(), "window", options.wake.clone());
        Self {
            settings: Settings::default(),
            shelf: Shelf::default(),
            queue: Queue::default(),
            log: Log::default(),
            engine: EngineState::Starting,
            memory: None,
            loaded: Vec::new(),
            library_trouble: None,
            data: options.data,
            assets: options.assets,
            keeper,
            session: None,
            device: options.device,
            look_elsewhere: options.look_elsewhere,
            go_on: options.go_on,
            cancelled: Vec::new(),
            again: Vec::new(),
            opened: false,
            scan: 0,
            unnamed: 0,
            commands: VecDeque::new(),
            effects: Vec::new(),
            later,
            reply: Reply {
                sender,
                wake: options.wake,
            },
            fresh: HashMap::new(),
            checkpoints_at: None,
            inputs: inputs::Inputs::default(),
            traces: traces::Traces::default(),
        }
    }

    /// Whether the library was read, and the studio can be used.
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// Folder of the lists that prompts take words from.
    pub fn wildcards(&self) -> PathBuf {
        let own = || self.data.join(crate::wildcards::FOLDER);
        self.settings.wildcards.clone().unwrap_or_else(own)
    }

    /// For background threads.
    pub fn reply(&self) -> Reply {
        self.reply.clone()
    }

    /// Has a command done after this one.
    pub fn command(&mut self, command: impl Into<UiCommand>) {
        self.commands.push_back(command.into());
    }

    /// Has the window do something.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Asks the person for a file or folder.
    pub fn ask(
        &mut self,
        title: impl Into<String>,
        kind: AskKind,
        then: impl FnOnce(PathBuf) -> UiCommand + Send + 'static,
    ) {
        self.effects.push(Effect::Ask(Ask {
            kind,
            title: title.into(),
            then: Box::new(then),
        }));
    }

    /// What the window has to do; to be taken once a frame.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(in crate::studio) fn next_command(&mut self) -> Option<UiCommand> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        while let Ok(later) = self.later.try_recv() {
            match later {
                Later::Command(command) => return Some(command),
                Later::Seen(seen) => self.seen(*seen),
                Later::LookedEverywhere(scan) => self.looked_everywhere(scan),
                Later::Missing(paths) => self.shelf.drop_missing(&paths),
                Later::Input(hash, data) => self.input_read(hash, data),
                Later::Notice(level, title, text) => {
                    self.log.notify(level, title, text);
                }
            }
        }
        None
    }

    pub(in crate::studio) fn tick(&mut self) {
        let now = Instant::now();
        if self
            .checkpoints_at
            .is_some_and(|last| now < last + CHECKPOINTS)
        {
            return;
        }
        self.checkpoints_at = Some(now);
        self.save_checkpoints();
    }

    fn save_checkpoints(&mut self) {
        let mut kept = Vec::new();
        for task in self.queue.iter_mut() {
            if let Some(progress) = task.unsaved_checkpoint.take()
                && let Some(bytes) = &task.checkpoint
            {
                kept.push((task.head.id, bytes.clone(), progress));
            }
        }
        for (id, bytes, progress) in kept {
            self.keeper.save("the queue", move |library| {
                library.put_checkpoint(id, &bytes, Some(progress))?;
                Ok(None)
            });
        }
    }

    pub(in crate::studio) fn close(&mut self, within: Duration) -> bool {
        self.save_checkpoints();
        self.traces.close(within);
        self.keeper.flush(within)
    }

    /// Whether nothing runs, waits for its turn, is being looked for or being saved.
    pub fn is_idle(&self) -> bool {
        self.opened
            && self.commands.is_empty()
            && self.later.is_empty()
            && !self.reads_inputs()
            && !self.traces.is_busy()
            && self.queue.live().next().is_none()
            && self.keeper.waiting() == 0
            && !self.shelf.scanning
            && self.unnamed == 0
            && !matches!(self.engine, EngineState::Starting)
    }
}
