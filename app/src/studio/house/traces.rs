//! Every step of a picture, kept in a file while it is drawn. Files are another thread's work; a disk that is full or too slow ends
//! the trace, never the picture.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use diptych_inference::engine::{Event, HostTensor, Picture, Request};
use diptych_inference::formats::picture::encode_png;
use diptych_inference::formats::trace::{
    StepFacts, Trace, TraceEnd, TraceHead, TraceWriter, is_trace,
};
use sha2::{Digest as _, Sha256};

use super::{House, Reply};
use crate::library::records::{PictureId, TaskId};
use crate::library::traces::{TRACES, growing_path, trace_path};
use crate::origin::build;
use crate::studio::create::{CreateCommand, StepsCommand};
use crate::studio::log::Level;
use crate::studio::queue::TaskHead;
use crate::studio::route::NewPicture;
use crate::studio::session::EngineState;

/// Steps that wait for the disk.
const WAITING: usize = 512;
/// What a person is told where a trace ends too early.
const ENDS: &str = "Not every step is kept";

/// What the writing thread is told.
enum Said {
    /// A job is about to send steps, perhaps not its first ones.
    Begin {
        task: TaskId,
        head: Box<TraceHead>,
        blobs: Vec<(String, Arc<HostTensor>)>,
    },
    /// A step is done.
    Step {
        task: TaskId,
        facts: Box<StepFacts>,
        state: Arc<[u8]>,
        preview: Option<Arc<Picture>>,
    },
    /// It became a picture.
    Keep {
        task: TaskId,
        picture: PictureId,
        pixels: Arc<Picture>,
        /// How it ended, unless it was stopped.
        end: Option<Box<TraceEnd>>,
    },
    /// It became nothing.
    Drop { task: TaskId },
}

/// The way to the writing thread.
#[derive(Default)]
pub(super) struct Traces {
    line: Option<Line>,
    /// Jobs that the thread knows of, and those whose steps are lost.
    begun: HashSet<TaskId>,
    lost: HashSet<TaskId>,
}

struct Line {
    sender: Sender<Said>,
    /// What it was told and has not done.
    open: Arc<AtomicUsize>,
    /// Closed when it ends.
    ended: Receiver<()>,
}

impl Traces {
    fn start(&mut self, folder: &Path, reply: Reply) -> std::io::Result<&Line> {
        if self.line.is_none() {
            let (sender, said) = bounded(WAITING);
            let (alive, ended) = bounded::<()>(1);
            let open = Arc::new(AtomicUsize::new(0));
            let mut scribe = Scribe {
                folder: folder.to_owned(),
                writers: HashMap::new(),
                reply,
            };
            let count = Arc::clone(&open);
            std::thread::Builder::new()
                .name("diptych-traces".into())
                .spawn(move || {
                    for said in said {
                        scribe.hear(said);
                        count.fetch_sub(1, Ordering::AcqRel);
                    }
                    drop(alive);
                })?;
            self.line = Some(Line {
                sender,
                open,
                ended,
            });
        }
        self.line
            .as_ref()
            .ok_or_else(|| std::io::Error::other("the thread that writes traces is gone"))
    }

    /// Whether something is not on the disk yet.
    pub fn is_busy(&self) -> bool {
        let open = self.line.as_ref().map(|line| &line.open);
        open.is_some_and(|open| open.load(Ordering::Acquire) > 0)
    }

    /// Waits until all is written, at most for a while.
    pub fn close(&mut self, within: Duration) {
        if let Some(line) = self.line.take() {
            drop(line.sender);
            // An answer is never sent: the end of the thread closes the channel.
            let _ = line.ended.recv_timeout(within);
        }
    }
}

impl House {
    fn say_trace(&mut self, said: Said) -> bool {
        let reply = self.reply();
        let line = match self.traces.start(&self.data, reply) {
            Ok(line) => line,
            Err(error) => {
                let text = format!("the system gives no thread: {error}");
                self.log.notify(Level::Warning, ENDS, text);
                return false;
            }
        };
        line.open.fetch_add(1, Ordering::AcqRel);
        let refused = match line.sender.try_send(said) {
            Ok(()) => return true,
            Err(TrySendError::Full(_)) => "the disk is slower than the drawing",
            Err(TrySendError::Disconnected(_)) => "the thread that writes them has ended",
        };
        line.open.fetch_sub(1, Ordering::AcqRel);
        self.log.notify(Level::Warning, ENDS, refused);
        false
    }

    /// Keeps a step of a job.
    pub(in crate::studio) fn trace_step(&mut self, head: &TaskHead, event: &Event) {
        let Event::TraceStep {
            index,
            total,
            sigma,
            sha256,
            bytes,
            preview,
            ..
        } = event
        else {
            return;
        };
        let task = head.id;
        if self.traces.lost.contains(&task) {
            return;
        }
        if !self.traces.begun.contains(&task) && !self.begin_trace(head) {
            self.traces.lost.insert(task);
            return;
        }
        let facts = StepFacts {
            index: *index,
            total: *total,
            sigma: *sigma,
            sha256: hex(sha256),
            device: None,
            state_bytes: bytes.len() as u64,
        };
        let kept = self.say_trace(Said::Step {
            task,
            facts: Box::new(facts),
            state: Arc::clone(bytes),
            preview: preview.clone(),
        });
        if !kept {
            // A trace with holes would be none.
            self.traces.lost.insert(task);
        }
    }

    fn begin_trace(&mut self, head: &TaskHead) -> bool {
        let (executor, device) = match &self.engine {
            EngineState::Ready { executor, device } => ((*executor).to_owned(), device.clone()),
            _ => ("unknown".to_owned(), "unknown".to_owned()),
        };
        let request = match serde_json::to_value(&*head.request) {
            Ok(request) => request,
            Err(error) => {
                self.log.notify(Level::Warning, ENDS, error.to_string());
                return false;
            }
        };
        let blobs = self.held_inputs(&head.request);
        let begun = self.say_trace(Said::Begin {
            task: head.id,
            head: Box::new(TraceHead {
                program: format!("Diptych {}", env!("CARGO_PKG_VERSION")),
                build: String::new(),
                executor,
                device,
                request,
            }),
            blobs,
        });
        if begun {
            self.traces.begun.insert(head.id);
        }
        begun
    }

    /// A job became a picture: its steps are the picture's.
    pub(in crate::studio) fn keep_trace(&mut self, new: &NewPicture) {
        let task = new.head.id;
        self.traces.lost.remove(&task);
        if !self.traces.begun.remove(&task) {
            return;
        }
        let request = serde_json::to_value(Request::Image(new.request.clone()));
        let end = match (request, new.steps_done) {
            (Ok(request), None) => Some(Box::new(TraceEnd {
                picture_sha256: String::new(),
                seconds: new.seconds,
                request,
            })),
            _ => None,
        };
        self.say_trace(Said::Keep {
            task,
            picture: new.id,
            pixels: Arc::clone(&new.picture),
            end,
        });
    }

    /// A job became nothing.
    pub(in crate::studio) fn drop_trace(&mut self, head: &TaskHead) {
        let task = head.id;
        self.traces.lost.remove(&task);
        self.traces.begun.remove(&task);
        // One that an earlier run left may have a file, too.
        let kept = !head.target.is_asked();
        if kept && matches!(&*head.request, Request::Image(request) if request.trace) {
            self.say_trace(Said::Drop { task });
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A trace that grows.
struct Growing {
    writer: TraceWriter,
    /// The device, where it is another than the trace began on.
    device: Option<String>,
}

/// The writing thread.
struct Scribe {
    folder: PathBuf,
    writers: HashMap<TaskId, Growing>,
    reply: Reply,
}

impl Scribe {
    fn hear(&mut self, said: Said) {
        let told = match said {
            Said::Begin { task, head, blobs } => self.begin(task, *head, &blobs),
            Said::Step {
                task,
                facts,
                state,
                preview,
            } => self.step(task, *facts, &state, preview.as_deref()),
            Said::Keep {
                task,
                picture,
                pixels,
                end,
            } => self.keep(task, picture, &pixels, end.map(|end| *end)),
            Said::Drop { task } => {
                self.writers.remove(&task);
                let path = growing_path(&self.folder, task);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        tracing::warn!("{}: {error}", path.display());
                    }
                    _ => {}
                }
                Ok(())
            }
        };
        if let Err(reason) = told {
            self.reply.notice(Level::Warning, ENDS, reason);
        }
    }

    fn begin(
        &mut self,
        task: TaskId,
        mut head: TraceHead,
        blobs: &[(String, Arc<HostTensor>)],
    ) -> Result<(), String> {
        let folder = self.folder.join(TRACES);
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: cannot be made: {error}", folder.display()))?;
        let path = growing_path(&self.folder, task);
        let fault = |error: diptych_inference::formats::FormatError| error.to_string();
        // What a run that was killed has left grows on.
        let old = is_trace(&path)
            .then(|| Trace::open(&path).ok())
            .flatten()
            .filter(|old| old.head().request == head.request);
        if let Some(old) = old {
            let same = old.head().device == head.device && old.head().executor == head.executor;
            let device = (!same).then(|| format!("{} ({})", head.device, head.executor));
            let writer = TraceWriter::append(&old).map_err(fault)?;
            self.writers.insert(task, Growing { writer, device });
            return Ok(());
        }
        head.build = build();
        let mut writer = TraceWriter::create(&path, &head).map_err(fault)?;
        for (name, data) in blobs {
            writer
                .blob(name, &data.shape, data.as_f32())
                .map_err(fault)?;
        }
        let device = None;
        self.writers.insert(task, Growing { writer, device });
        Ok(())
    }

    fn step(
        &mut self,
        task: TaskId,
        mut facts: StepFacts,
        state: &[u8],
        preview: Option<&Picture>,
    ) -> Result<(), String> {
        let Some(growing) = self.writers.get_mut(&task) else {
            return Ok(());
        };
        facts.device.clone_from(&growing.device);
        let none: &[(&str, &str)] = &[];
        let preview = preview
            .and_then(|picture| encode_png(&picture.rgb, picture.width, picture.height, none).ok())
            .unwrap_or_default();
        let written = growing.writer.step(&facts, state, &preview);
        written.map_err(|error| {
            self.writers.remove(&task);
            error.to_string()
        })
    }

    fn keep(
        &mut self,
        task: TaskId,
        picture: PictureId,
        pixels: &Picture,
        end: Option<TraceEnd>,
    ) -> Result<(), String> {
        let Some(mut growing) = self.writers.remove(&task) else {
            return Ok(());
        };
        let written = match end {
            Some(mut end) => {
                end.picture_sha256 = hex(&Sha256::digest(&pixels.rgb));
                growing.writer.done(&end)
            }
            None => growing.writer.sync(),
        };
        written.map_err(|error| error.to_string())?;
        drop(growing);
        let (from, to) = (
            growing_path(&self.folder, task),
            trace_path(&self.folder, picture),
        );
        std::fs::rename(&from, &to)
            .map_err(|error| format!("{}: cannot be written: {error}", to.display()))?;
        let known = StepsCommand::Known(vec![picture]);
        self.reply.command(CreateCommand::Steps(known));
        Ok(())
    }
}
