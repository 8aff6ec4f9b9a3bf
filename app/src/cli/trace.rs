//! What is kept of the way to a picture: its trace, and the proof of it.

use std::path::PathBuf;

use clap::Args;
use diptych_inference::engine::{Event, ImageRequest, Outcome, Request};
use diptych_inference::formats::picture::encode_png;
use diptych_inference::formats::trace::{StepFacts, Trace, TraceEnd, TraceHead, TraceWriter};

use super::client::Client;
use super::error::{CliError, Result};
use super::out;
use super::save::{self, Existing};
use crate::origin::build;
use crate::pictures::Blob;
use crate::proof::{Proof, hex, picture_hash};

/// Options about the way to a picture.
#[derive(Clone, Debug, Default, Args)]
pub struct WayArgs {
    /// Take the settings from a picture of any program, or from a trace; what is said beside changes them
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Branch: go on from this step of the trace with changed prompts, guidance, LoRAs, VAE or mask
    #[arg(long, value_name = "N", requires = "from")]
    pub step: Option<u32>,
    /// Keep every step in this file (.dtrace), to look at, to branch from, or to resume after a crash
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write the hashes of all steps to this file, to be compared by 'diptych proof'
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
}

/// Keeps the trace of one picture, and what its proof needs.
pub(super) struct Keeper {
    writer: Option<TraceWriter>,
    path: Option<PathBuf>,
    /// The device, where it is another than the trace began on.
    device: Option<String>,
    steps: u32,
    proof: Option<(Proof, PathBuf)>,
}

impl Keeper {
    /// For one of several pictures, if a trace of it is wanted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new(
        way: &WayArgs,
        number: u32,
        request: &ImageRequest,
        client: &Client,
        blobs: &[Blob],
    ) -> Result<Self> {
        let mut keeper = Self {
            writer: None,
            path: None,
            device: None,
            steps: 0,
            proof: None,
        };
        if let Some(path) = &way.proof {
            let path = save::numbered(path, number + 1);
            save::check_file_target(&path)?;
            let proof = Proof::begin(request, client.executor(), client.device())
                .map_err(CliError::failed)?;
            keeper.proof = Some((proof, path));
        }
        if let Some(path) = &way.trace {
            let path = save::numbered(path, number + 1);
            save::check_file_target(&path)?;
            let head = TraceHead {
                program: format!("Diptych {}", env!("CARGO_PKG_VERSION")),
                build: build(),
                executor: client.executor().to_owned(),
                device: client.device().to_owned(),
                request: json(request)?,
            };
            let mut writer = TraceWriter::create(&path, &head).map_err(CliError::failed)?;
            for blob in blobs {
                writer
                    .blob(&blob.name.0, &blob.data.shape, blob.data.as_f32())
                    .map_err(CliError::failed)?;
            }
            (keeper.writer, keeper.path) = (Some(writer), Some(path));
        }
        Ok(keeper)
    }

    /// Goes on with a trace.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(trace: &Trace, client: &Client) -> Result<Self> {
        let head = trace.head();
        let same = head.device == client.device() && head.executor == client.executor();
        Ok(Self {
            writer: Some(TraceWriter::append(trace).map_err(CliError::failed)?),
            path: Some(trace.path().to_owned()),
            device: (!same).then(|| format!("{} ({})", client.device(), client.executor())),
            steps: trace.steps().len() as u32,
            proof: None,
        })
    }

    /// Keeps a step. A disk that is full ends the trace, not the picture.
    pub fn watch(&mut self, event: &Event) {
        if let Event::DeviceRebuilt { device } = event {
            self.device = Some(device.clone());
        }
        if let Some((proof, _)) = &mut self.proof {
            proof.watch(event, self.device.as_ref());
        }
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
        let Some(writer) = &mut self.writer else {
            return;
        };
        let facts = StepFacts {
            index: *index,
            total: *total,
            sigma: *sigma,
            sha256: hex(sha256),
            device: self.device.clone(),
            state_bytes: bytes.len() as u64,
        };
        let none: &[(&str, &str)] = &[];
        let preview = preview
            .as_ref()
            .and_then(|picture| encode_png(&picture.rgb, picture.width, picture.height, none).ok())
            .unwrap_or_default();
        match writer.step(&facts, bytes, &preview) {
            Ok(()) => self.steps += 1,
            Err(error) => {
                self.writer = None;
                out::remark(&format!(
                    "warning: the trace ends after {} steps: {error}",
                    self.steps
                ));
            }
        }
    }

    /// The picture is done.
    ///
    /// # Errors
    /// If the trace cannot be ended.
    pub fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        let Outcome::Image {
            picture,
            request,
            seconds,
        } = outcome
        else {
            return Ok(());
        };
        let picture_sha256 = picture_hash(&picture.rgb);
        if let Some((proof, path)) = &mut self.proof {
            proof.finish(picture_sha256.clone());
            let bytes = proof.to_json().map_err(CliError::failed)?;
            save::write(path, &bytes, Existing::Replace)?;
        }
        if let Some(writer) = &mut self.writer {
            let end = TraceEnd {
                picture_sha256,
                seconds: *seconds,
                request: serde_json::to_value(request.as_ref()).map_err(CliError::failed)?,
            };
            writer.done(&end).map_err(CliError::failed)?;
        }
        Ok(())
    }

    /// The picture was stopped; says how it can go on.
    pub fn stopped(&mut self) {
        if let (Some(writer), Some(path)) = (&mut self.writer, &self.path)
            && writer.sync().is_ok()
        {
            out::remark(&format!("'diptych resume {}' finishes it", path.display()));
        }
    }
}

fn json(request: &ImageRequest) -> Result<serde_json::Value> {
    serde_json::to_value(Request::Image(request.clone())).map_err(CliError::failed)
}

/// The request in a trace.
///
/// # Errors
/// If it is of another version of the program.
pub(super) fn request_in(trace: &Trace, value: &serde_json::Value) -> Result<ImageRequest> {
    match serde_json::from_value(value.clone()) {
        Ok(Request::Image(request)) => Ok(request),
        Ok(Request::Chat(_) | Request::Upscale(_) | Request::Score(_)) => {
            Err(CliError::Failed(format!(
                "{}: this is the trace of an answer, not of a picture",
                trace.path().display()
            )))
        }
        Err(error) => Err(CliError::Failed(format!(
            "{}: its settings are not understood by this version of the program: {error}",
            trace.path().display()
        ))),
    }
}

/// The data in a trace that its request refers to.
///
/// # Errors
/// If they are damaged.
pub(super) fn blobs_in(trace: &Trace) -> Result<Vec<Blob>> {
    let blobs = trace.blobs().map_err(CliError::failed)?;
    blobs
        .into_iter()
        .map(|blob| {
            let named = Blob::new(blob.shape, blob.values);
            // A name that does not belong to the data would let them pass for others.
            match named.name.0 == blob.name {
                true => Ok(named),
                false => Err(CliError::Failed(format!(
                    "{}: data of its request are not those that it names; the trace is damaged",
                    trace.path().display()
                ))),
            }
        })
        .collect()
}
