//! Writing traces, a record at a time.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use super::read::{Trace, is_trace};
use super::{
    BLOB, BlobFacts, DONE, HEAD, MAGIC, MOST_DATA, MOST_FACTS, STEP, StepFacts, TraceEnd,
    TraceHead, VERSION, checksum,
};
use crate::formats::error::FormatError;

/// How often the disk is waited for: a crash of the program loses nothing, one of the machine so much.
const BETWEEN_SYNCS: Duration = Duration::from_secs(1);

/// A trace being written.
#[derive(Debug)]
pub struct TraceWriter {
    path: PathBuf,
    file: File,
    synced: Instant,
}

impl TraceWriter {
    /// Begins a trace, in place of an earlier trace of this name.
    ///
    /// # Errors
    /// Whatever the disk says; a file of this name that is no trace, which is left alone.
    pub fn create(path: &Path, head: &TraceHead) -> Result<Self, FormatError> {
        if path.exists() && !is_trace(path) {
            return Err(FormatError::CannotEncode {
                what: path.display().to_string(),
                reason: "there is a file of this name that is no trace, and it is not replaced; choose another name".into(),
            });
        }
        let file = File::create(path).map_err(|error| FormatError::io(path, "write", error))?;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            synced: Instant::now(),
        };
        let mut first = MAGIC.to_vec();
        first.extend_from_slice(&VERSION.to_le_bytes());
        first.extend(record(*HEAD, head, &[])?);
        writer.put(&first)?;
        writer.sync()?;
        Ok(writer)
    }

    /// Goes on with a trace after its last whole record.
    ///
    /// # Errors
    /// If it cannot be read, or not be written.
    pub fn append(trace: &Trace) -> Result<Self, FormatError> {
        let path = trace.path();
        let fault = |error| FormatError::io(path, "write", error);
        let mut file = OpenOptions::new().write(true).open(path).map_err(fault)?;
        file.set_len(trace.valid_bytes()).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            synced: Instant::now(),
        })
    }

    /// Adds data that the request refers to by `name`.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn blob(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<(), FormatError> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let packed = values
            .iter()
            .try_for_each(|value| encoder.write_all(&value.to_le_bytes()))
            .and_then(|()| encoder.finish())
            .map_err(|error| FormatError::io(&self.path, "write", error))?;
        let facts = BlobFacts {
            name: name.to_owned(),
            shape: shape.iter().map(|side| *side as u64).collect(),
        };
        self.put(&record(*BLOB, &facts, &[&packed])?)
    }

    /// Adds a step: its facts, the engine's state, and a PNG of the predicted picture (or nothing).
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn step(
        &mut self,
        facts: &StepFacts,
        state: &[u8],
        preview: &[u8],
    ) -> Result<(), FormatError> {
        self.put(&record(*STEP, facts, &[state, preview])?)?;
        if self.synced.elapsed() >= BETWEEN_SYNCS {
            self.sync()?;
        }
        Ok(())
    }

    /// Tells how it ended, and waits until all is on the disk.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn done(&mut self, end: &TraceEnd) -> Result<(), FormatError> {
        self.put(&record(*DONE, end, &[])?)?;
        self.sync()
    }

    /// Waits until all is on the disk.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn sync(&mut self) -> Result<(), FormatError> {
        self.synced = Instant::now();
        self.file
            .sync_data()
            .map_err(|error| FormatError::io(&self.path, "write", error))
    }

    /// One call of the system for a record: it is there whole, or is the cut end of the file.
    fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.file
            .write_all(bytes)
            .map_err(|error| FormatError::io(&self.path, "write", error))
    }
}

/// A record's bytes.
fn record(kind: [u8; 4], facts: &impl Serialize, data: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    let fault = |reason: String| FormatError::CannotEncode {
        what: "the trace".into(),
        reason,
    };
    let facts = serde_json::to_vec(facts).map_err(|error| fault(error.to_string()))?;
    let length: u64 = data.iter().map(|part| part.len() as u64).sum();
    if facts.len() > MOST_FACTS as usize || length > MOST_DATA {
        return Err(fault(format!(
            "a record of {} and {length} bytes is too long",
            facts.len()
        )));
    }
    let mut hasher = checksum(kind, &facts, length);
    data.iter().for_each(|part| hasher.update(part));
    let mut bytes = kind.to_vec();
    bytes.extend_from_slice(&(facts.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
    bytes.extend_from_slice(&facts);
    data.iter().for_each(|part| bytes.extend_from_slice(part));
    Ok(bytes)
}
