//! Helpers for the whole-program tests of Diptych: a client of the engine, and where the fixtures lie.

pub mod traced;
pub mod window;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diptych_inference::engine::{
    Command, DeviceChoice, Engine, EngineHandle, EngineOptions, Event, Failure, FoundModel, JobId,
    ModelRef, Outcome, Place, Request,
};
use diptych_inference::graph::KvType;

/// Longer than any step of a test takes on a slow machine; a hang must end all the same.
const PATIENCE: Duration = Duration::from_secs(240);

/// A file or folder of the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A fixture of `tests/reference`.
#[must_use]
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("reference")
        .join(path)
}

/// Writes a picture with a slope of colours, so that every place is its own.
///
/// # Errors
/// If it cannot be written.
pub fn slope(folder: &Path, name: &str, width: u32, height: u32) -> anyhow::Result<PathBuf> {
    let rgb: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| [(x * 255 / width) as u8, (y * 255 / height) as u8, 90])
        .collect();
    let path = folder.join(name);
    let texts: [(&str, &str); 0] = [];
    let png = diptych_inference::formats::picture::encode_png(&rgb, width, height, &texts)?;
    std::fs::write(&path, png)?;
    Ok(path)
}

/// How a job ended.
#[derive(Debug)]
pub enum End {
    /// Done.
    Finished(Outcome),
    /// Failed.
    Failed(Failure),
    /// Cancelled, with what there was.
    Cancelled(Option<Outcome>),
}

/// An engine with a patient client.
pub struct Client {
    handle: EngineHandle,
    /// Everything that was said so far.
    pub events: Vec<Event>,
    ends: BTreeMap<JobId, End>,
}

impl Client {
    /// Starts an engine on a device.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(device: DeviceChoice) -> anyhow::Result<Self> {
        Self::start_with(device, KvType::F32)
    }

    /// Starts an engine on a device that keeps keys and values in a type.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_with(device: DeviceChoice, kv_type: KvType) -> anyhow::Result<Self> {
        Self::start_as(EngineOptions {
            device,
            kv_type: kv_type.into(),
            ..EngineOptions::default()
        })
    }

    /// Starts an engine; where its data lie and how much memory it may take is settled here.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_as(options: EngineOptions) -> anyhow::Result<Self> {
        let handle = Engine::start(EngineOptions {
            memory_budget: options.memory_budget.or(Some(2 << 30)),
            assets: repository("assets"),
            ..options
        })?;
        let mut client = Self {
            handle,
            events: Vec::new(),
            ends: BTreeMap::new(),
        };
        client.wait(|event| matches!(event, Event::Ready { .. } | Event::StartFailed(_)))?;
        match client.events.last() {
            Some(Event::Ready { .. }) => Ok(client),
            other => anyhow::bail!("the engine did not start: {other:?}"),
        }
    }

    /// Starts an engine on a device that may take so many bytes.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_roomy(device: DeviceChoice, bytes: u64) -> anyhow::Result<Self> {
        Self::start_as(EngineOptions {
            device,
            memory_budget: Some(bytes),
            ..EngineOptions::default()
        })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// If the engine is gone.
    pub fn send(&self, command: Command) -> anyhow::Result<()> {
        self.handle
            .send(command)
            .map_err(|command| anyhow::anyhow!("not sent: {command:?}"))
    }

    /// Takes events until one is what is waited for; that one is the last of `events`.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.handle.events().recv_deadline(deadline)?;
            let found = wanted(&event);
            match &event {
                Event::Finished { job, outcome } => {
                    self.ended(*job, End::Finished(outcome.clone()))?;
                }
                Event::Failed { job, failure } => self.ended(*job, End::Failed(failure.clone()))?,
                Event::Cancelled { job, partial } => {
                    self.ended(*job, End::Cancelled(partial.clone()))?;
                }
                _ => {}
            }
            self.events.push(event);
            if found {
                return Ok(());
            }
        }
    }

    fn ended(&mut self, job: JobId, end: End) -> anyhow::Result<()> {
        match self.ends.insert(job, end) {
            None => Ok(()),
            Some(earlier) => anyhow::bail!("{job:?} ended twice, first with {earlier:?}"),
        }
    }

    /// Adds one model and gives its name.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn add_model(&mut self, path: &Path) -> anyhow::Result<ModelRef> {
        self.send(Command::AddModels(vec![path.to_owned()]))?;
        self.wait(|event| matches!(event, Event::Models(_)))?;
        match self.events.last() {
            Some(Event::Models(found)) => match found.as_slice() {
                [
                    FoundModel {
                        model: Some(model), ..
                    },
                ] => Ok(model.clone()),
                other => anyhow::bail!("{}: {other:?}", path.display()),
            },
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Queues a job behind all others.
    ///
    /// # Errors
    /// If the engine is gone.
    pub fn submit(&self, request: Request) -> anyhow::Result<JobId> {
        self.submit_at(request, Place::Back)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// If the engine is gone.
    pub fn submit_at(&self, request: Request, place: Place) -> anyhow::Result<JobId> {
        let job = self.handle.next_job();
        self.send(Command::Submit {
            job,
            request: Box::new(request),
            place,
        })?;
        Ok(job)
    }

    /// A number for a job that is sent by hand.
    pub fn next_job(&self) -> JobId {
        self.handle.next_job()
    }

    /// Waits for a job's end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(&mut self, job: JobId) -> anyhow::Result<End> {
        if !self.ends.contains_key(&job) {
            self.wait(|event| {
                matches!(
                    event,
                    Event::Finished { .. } | Event::Failed { .. } | Event::Cancelled { .. }
                ) && event.job() == Some(job)
            })?;
        }
        self.ends
            .remove(&job)
            .ok_or_else(|| anyhow::anyhow!("{job:?} has no end"))
    }

    /// Waits for a job's result.
    ///
    /// # Errors
    /// If it fails or is cancelled.
    pub fn result(&mut self, job: JobId) -> anyhow::Result<Outcome> {
        match self.end(job)? {
            End::Finished(outcome) => Ok(outcome),
            other => anyhow::bail!("{job:?}: {other:?}"),
        }
    }
}
