//! A blocking client of the engine: start, name a model by its path, run jobs one after another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::select;
use diptych_inference::engine::{
    Command, Engine, EngineHandle, EngineOptions, Event, FoundModel, HostTensor, ImageRequest,
    JobId, MemoryUse, ModelParts, ModelRef, Outcome, Place, Request,
};
use diptych_inference::formats::detect::ModelInfo;

use super::error::{CliError, Result};
use super::interrupt::Interrupts;

/// A running engine and the one person who uses it.
pub struct Client {
    handle: EngineHandle,
    interrupts: Interrupts,
    executor: &'static str,
    device: String,
}

/// How a job ended.
#[derive(Debug)]
pub enum Ending {
    /// It is done.
    Finished(Outcome),
    /// Ctrl+C; with what there was so far.
    Cancelled(Option<Outcome>),
}

impl Client {
    /// Starts an engine and waits until it is ready.
    ///
    /// # Errors
    /// If there is no such device, or Ctrl+C was pressed meanwhile.
    pub fn start(options: EngineOptions, interrupts: Interrupts) -> Result<Self> {
        let handle = Engine::start(options).map_err(|error| {
            CliError::Failed(format!("cannot start the engine's thread: {error}"))
        })?;
        let mut client = Self {
            handle,
            interrupts,
            executor: "",
            device: String::new(),
        };
        loop {
            match client.next_event()? {
                Event::Ready { executor, device } => {
                    (client.executor, client.device) = (executor, device);
                    return Ok(client);
                }
                Event::StartFailed(failure) => return Err(CliError::of_engine(&failure)),
                _ => {}
            }
        }
    }

    /// `cpu` or `gpu`.
    pub fn executor(&self) -> &'static str {
        self.executor
    }

    /// The device in a person's words.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Waits for the next event.
    fn next_event(&self) -> Result<Event> {
        self.handle.events().recv().map_err(|_| {
            CliError::Failed(
                "the engine has ended unexpectedly; please report it (more with -v)".into(),
            )
        })
    }

    fn send(&self, command: Command) -> Result<()> {
        self.handle.send(command).map_err(|_| {
            CliError::Failed(
                "the engine takes no more commands; please report it (more with -v)".into(),
            )
        })
    }

    /// Makes the models at a path known.
    ///
    /// # Errors
    /// If the engine has ended.
    pub fn add_models(&self, paths: Vec<PathBuf>) -> Result<Vec<FoundModel>> {
        self.send(Command::AddModels(paths))?;
        loop {
            if let Event::Models(found) = self.next_event()? {
                return Ok(found);
            }
        }
    }

    /// Makes the one model at a path known, and gives the name that requests use for it.
    ///
    /// # Errors
    /// If there is none, or several, or it cannot be used: then with the exact reason.
    pub fn add_model(&self, path: &Path) -> Result<(ModelRef, ModelInfo)> {
        check_readable(path)?;
        let mut found = self.add_models(vec![path.to_owned()])?;
        let usable = |found: &FoundModel| found.model.is_some();
        match found.iter().filter(|found| usable(found)).count() {
            0 => Err(CliError::Failed(match found.as_slice() {
                [] => format!("{}: no model was found here", path.display()),
                [one] => refusal(one),
                [one, ..] => format!("{} (and {} more like it)", refusal(one), found.len() - 1),
            })),
            1 => {
                let one = found
                    .iter()
                    .position(usable)
                    .map(|index| found.swap_remove(index));
                match one {
                    Some(FoundModel {
                        model: Some(model),
                        info: Ok(info),
                        ..
                    }) => Ok((model, info)),
                    _ => Err(CliError::Failed(format!(
                        "{}: no model was found here",
                        path.display()
                    ))),
                }
            }
            count => {
                let names = found.iter().filter(|found| usable(found)).take(5);
                let names = names
                    .map(|found| found.path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ");
                Err(CliError::Failed(format!(
                    "{} holds {count} models; name one of them: {names}{}",
                    path.display(),
                    if count > 5 { ", ..." } else { "" }
                )))
            }
        }
    }

    /// Makes a model in separate files known. What is not named is looked for.
    ///
    /// # Errors
    /// Parts that are missing, faulty or do not fit each other.
    pub fn add_parts(&self, parts: ModelParts) -> Result<(ModelRef, ModelInfo)> {
        self.send(Command::AddParts(Box::new(parts)))?;
        let found = loop {
            if let Event::Models(found) = self.next_event()? {
                break found;
            }
        };
        match found.into_iter().next() {
            Some(FoundModel {
                model: Some(model),
                info: Ok(info),
                ..
            }) => Ok((model, info)),
            Some(refused) => Err(CliError::Failed(refusal(&refused))),
            None => Err(CliError::Failed(
                "the engine found no model in these files; please report it (more with -v)".into(),
            )),
        }
    }

    /// Keeps data that requests refer to.
    ///
    /// # Errors
    /// If the engine has ended.
    pub fn send_blob(&self, hash: String, data: Arc<HostTensor>) -> Result<()> {
        self.send(Command::Blob { hash, data })
    }

    /// Memory in use, and the most that may be used.
    ///
    /// # Errors
    /// If the engine has ended.
    pub fn memory(&self) -> Result<MemoryUse> {
        self.send(Command::ReportMemory)?;
        loop {
            if let Event::Memory(memory) = self.next_event()? {
                return Ok(memory);
            }
        }
    }

    /// Runs a job to its end. `watch` is told every event of it; when it fails, the job is cancelled and its error
    /// given back. Ctrl+C cancels the job.
    ///
    /// # Errors
    /// Why the job failed.
    pub fn run(
        &self,
        request: Request,
        mut watch: impl FnMut(&Event) -> Result<()>,
    ) -> Result<Ending> {
        let submit = |job| Command::Submit {
            job,
            request: Box::new(request),
            place: Place::Back,
        };
        self.run_command(submit, &mut watch)
    }

    /// As [`Self::run`], from a state of an earlier job: with other settings, or as it would have gone on.
    ///
    /// # Errors
    /// Why the job failed.
    pub fn go_on(
        &self,
        state: Arc<[u8]>,
        request: Option<Box<ImageRequest>>,
        mut watch: impl FnMut(&Event) -> Result<()>,
    ) -> Result<Ending> {
        let command = |job| match request {
            Some(request) => Command::Branch {
                job,
                step_state: state,
                request,
            },
            None => Command::Resume {
                job,
                checkpoint: state,
            },
        };
        self.run_command(command, &mut watch)
    }

    fn run_command(
        &self,
        command: impl FnOnce(JobId) -> Command,
        watch: &mut dyn FnMut(&Event) -> Result<()>,
    ) -> Result<Ending> {
        let job = self.handle.next_job();
        // And so it stays afterwards: what the job made is to be saved in peace, and a press ends the next job.
        self.interrupts.listen();
        self.send(command(job))?;
        self.follow(job, watch)
    }

    /// Ctrl+C ends the program at once again, until the next job.
    pub fn idle(&self) {
        self.interrupts.ignore();
    }

    fn follow(&self, job: JobId, watch: &mut dyn FnMut(&Event) -> Result<()>) -> Result<Ending> {
        let mut trouble = None;
        loop {
            let event = select! {
                recv(self.handle.events()) -> event => event.map_err(|_| {
                    CliError::Failed("the engine has ended unexpectedly; please report it (more with -v)".into())
                })?,
                recv(self.interrupts.pressed()) -> _ => {
                    self.send(Command::Cancel(job))?;
                    continue;
                }
            };
            let global = matches!(
                event,
                Event::DeviceLost { .. } | Event::DeviceRebuilt { .. }
            );
            if event.job() != Some(job) && !global {
                continue;
            }
            if let Event::Loading { model, bytes, .. } = &event {
                tracing::info!("job {} loads '{model}' ({bytes} bytes)", job.0);
            }
            if trouble.is_none()
                && let Err(error) = watch(&event)
            {
                trouble = Some(error);
                self.send(Command::Cancel(job))?;
            }
            let ending = match event {
                Event::Finished { outcome, .. } => Ending::Finished(outcome),
                Event::Cancelled { partial, .. } => Ending::Cancelled(partial),
                Event::Failed { failure, .. } => {
                    return Err(trouble.unwrap_or(CliError::of_engine(&failure)));
                }
                _ => continue,
            };
            return trouble.map_or(Ok(ending), Err);
        }
    }
}

fn refusal(found: &FoundModel) -> String {
    match &found.info {
        Err(reason) => named(&found.path, reason),
        Ok(info) => named(
            &found.path,
            info.usable().err().unwrap_or("it cannot be used"),
        ),
    }
}

/// A reason that names its file, whether or not it did before.
pub fn named(path: &Path, reason: &str) -> String {
    let path = path.display().to_string();
    if reason.contains(&path) {
        reason.to_owned()
    } else {
        format!("{path}: {reason}")
    }
}

/// Says plainly when there is nothing at a path.
///
/// # Errors
/// If there is nothing, or it may not be read.
pub fn check_readable(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::read_dir(path).map(|_| ()),
        Ok(meta) if meta.is_file() => std::fs::File::open(path).map(|_| ()),
        Ok(_) => Err(std::io::Error::other("it is neither a file nor a folder")),
        Err(error) => Err(error),
    }
    .map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::Failed(format!(
            "{}: there is no such file or folder",
            path.display()
        )),
        _ => CliError::at(path, "read", error),
    })
}
