//! Reading traces: every record is checked, states and previews are fetched one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use serde::de::DeserializeOwned;

use super::{
    BLOB, BlobFacts, DONE, HEAD, MAGIC, MOST_DATA, MOST_FACTS, MOST_RECORDS, PREAMBLE, RECORD_HEAD,
    STEP, StepFacts, TraceEnd, TraceHead, VERSION, checksum,
};
use crate::formats::error::FormatError;

/// Whether a file begins as a trace does.
pub fn is_trace(path: &Path) -> bool {
    let mut magic = [0; 8];
    path.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok_and(|()| magic == *MAGIC)
}

/// Data that a trace's request refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceBlob {
    /// By what it is referred to: the SHA-256 of its values' little-endian bytes.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// Where something lies in the file.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    length: u64,
}

/// A trace on the disk. Only facts are held in memory.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    head: TraceHead,
    steps: BTreeMap<u32, (StepFacts, Span)>,
    blobs: Vec<(BlobFacts, Span)>,
    end: Option<TraceEnd>,
    valid: u64,
    torn: bool,
}

/// One record as it is found.
struct Record {
    kind: [u8; 4],
    facts: Vec<u8>,
    data: Span,
}

/// What follows at a place of the file.
enum Next {
    Record(Record),
    End,
    /// Cut off by the end of the file.
    Torn,
}

impl Trace {
    /// Opens a trace and checks all of it.
    ///
    /// # Errors
    /// [`FormatError`] for files that are no traces, of another version, or damaged otherwise than by being cut off.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |error| FormatError::io(path, "read", error);
        let meta = std::fs::metadata(path).map_err(|e| FormatError::io(path, "open", e))?;
        if !meta.is_file() {
            return Err(FormatError::WrongFileKind {
                path: path.to_owned(),
                wanted: "a regular file",
            });
        }
        let size = meta.len();
        let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut first = [0; PREAMBLE];
        let begins = size >= PREAMBLE as u64 && {
            reader.read_exact(&mut first).map_err(io)?;
            first.starts_with(MAGIC)
        };
        if !begins {
            return Err(FormatError::UnknownFormat {
                path: path.to_owned(),
                reason: "it is no trace of Diptych".into(),
            });
        }
        let version = u32::from_le_bytes([first[8], first[9], first[10], first[11]]);
        if version != VERSION {
            return Err(FormatError::UnknownFormat {
                path: path.to_owned(),
                reason: format!("a trace of version {version}; this program reads {VERSION}"),
            });
        }
        let mut valid = PREAMBLE as u64;
        let (mut head, mut end) = (None, None);
        let (mut steps, mut blobs) = (BTreeMap::new(), Vec::new());
        let mut torn = false;
        for _ in 0..=MOST_RECORDS {
            let record = match next(path, &mut reader, valid, size)? {
                Next::Record(record) => record,
                Next::End => break,
                Next::Torn => {
                    torn = true;
                    break;
                }
            };
            valid = record.data.start + record.data.length;
            if (record.kind == *HEAD) != head.is_none() {
                return Err(damaged(path, "its head is not where it belongs"));
            }
            match &record.kind {
                HEAD => head = Some(facts(path, &record)?),
                DONE => end = Some(facts(path, &record)?),
                BLOB => blobs.push((facts::<BlobFacts>(path, &record)?, record.data)),
                STEP => {
                    let step: StepFacts = facts(path, &record)?;
                    let sound = step.state_bytes <= record.data.length
                        && step.index <= step.total
                        && step.sigma.is_finite()
                        && step.sha256.len() == 64
                        && step.sha256.bytes().all(|b| b.is_ascii_hexdigit());
                    if !sound {
                        return Err(damaged(path, "the facts of a step contradict themselves"));
                    }
                    // What was told of an end is over when it goes on.
                    end = None;
                    steps.insert(step.index, (step, record.data));
                }
                _ => {}
            }
        }
        let head = match head {
            Some(head) => head,
            None => {
                return Err(damaged(
                    path,
                    "it has no head: it was cut off at its beginning",
                ));
            }
        };
        if valid < size && !torn {
            return Err(damaged(path, "it has more records than any picture needs"));
        }
        Ok(Self {
            path: path.to_owned(),
            head,
            steps,
            blobs,
            end,
            valid,
            torn,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By what and for what it was made.
    pub fn head(&self) -> &TraceHead {
        &self.head
    }

    /// Its steps in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &StepFacts> {
        self.steps.values().map(|(facts, _)| facts)
    }

    /// How it ended, if it did.
    pub fn end(&self) -> Option<&TraceEnd> {
        self.end.as_ref()
    }

    /// Whether the writer was stopped within a record, which is left out.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Bytes of whole records.
    pub(super) fn valid_bytes(&self) -> u64 {
        self.valid
    }

    /// The engine's state after `index` steps.
    ///
    /// # Errors
    /// If the trace has no such step, or the file has changed.
    pub fn state(&self, index: u32) -> Result<Vec<u8>, FormatError> {
        let (facts, span) = self.step(index)?;
        self.bytes(Span {
            start: span.start,
            length: facts.state_bytes,
        })
    }

    /// The picture as predicted in step `index`, as PNG; empty if there is none.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn preview(&self, index: u32) -> Result<Vec<u8>, FormatError> {
        let (facts, span) = self.step(index)?;
        self.bytes(Span {
            start: span.start + facts.state_bytes,
            length: span.length - facts.state_bytes,
        })
    }

    /// Data that the request refers to.
    ///
    /// # Errors
    /// If they are not what they say.
    pub fn blobs(&self) -> Result<Vec<TraceBlob>, FormatError> {
        let blob = |(facts, span): &(BlobFacts, Span)| {
            let fault = || {
                damaged(
                    &self.path,
                    "data of its request are not as long as they say",
                )
            };
            let shape: Option<Vec<usize>> = facts
                .shape
                .iter()
                .map(|side| usize::try_from(*side).ok())
                .collect();
            let shape = shape.ok_or_else(fault)?;
            let count = shape
                .iter()
                .try_fold(4u64, |product, side| product.checked_mul(*side as u64))
                .filter(|bytes| *bytes <= MOST_DATA)
                .ok_or_else(fault)?;
            let packed = self.bytes(*span)?;
            let mut bytes = Vec::new();
            ZlibDecoder::new(packed.as_slice())
                .take(count + 1)
                .read_to_end(&mut bytes)
                .map_err(|_| fault())?;
            if bytes.len() as u64 != count {
                return Err(fault());
            }
            let values = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|value| f32::from_le_bytes(*value))
                .collect();
            Ok(TraceBlob {
                name: facts.name.clone(),
                shape,
                values,
            })
        };
        self.blobs.iter().map(blob).collect()
    }

    fn step(&self, index: u32) -> Result<&(StepFacts, Span), FormatError> {
        let found = self.steps.get(&index);
        found.ok_or_else(|| FormatError::Truncated {
            path: self.path.clone(),
            what: format!("step {index} of the trace"),
            needed: u64::from(index) + 1,
            available: self.steps.len() as u64,
        })
    }

    fn bytes(&self, span: Span) -> Result<Vec<u8>, FormatError> {
        let io = |error| FormatError::io(&self.path, "read", error);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(span.start)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(span.length).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != span.length {
            return Err(damaged(&self.path, "it has become shorter"));
        }
        Ok(bytes)
    }
}

fn damaged(path: &Path, reason: &str) -> FormatError {
    FormatError::InvalidJson {
        path: path.to_owned(),
        what: "trace".into(),
        reason: reason.into(),
    }
}

fn facts<T: DeserializeOwned>(path: &Path, record: &Record) -> Result<T, FormatError> {
    serde_json::from_slice(&record.facts).map_err(|error| FormatError::InvalidJson {
        path: path.to_owned(),
        what: "trace".into(),
        reason: error.to_string(),
    })
}

/// Reads and checks the record at `start` of a file of `size` bytes.
fn next(
    path: &Path,
    reader: &mut BufReader<File>,
    start: u64,
    size: u64,
) -> Result<Next, FormatError> {
    let io = |error| FormatError::io(path, "read", error);
    let left = size.saturating_sub(start);
    if left == 0 {
        return Ok(Next::End);
    }
    if left < RECORD_HEAD as u64 {
        return Ok(Next::Torn);
    }
    let (mut kind, mut short, mut long, mut sum) = ([0; 4], [0; 4], [0; 8], [0; 4]);
    reader.read_exact(&mut kind).map_err(io)?;
    reader.read_exact(&mut short).map_err(io)?;
    reader.read_exact(&mut long).map_err(io)?;
    reader.read_exact(&mut sum).map_err(io)?;
    let (facts_length, data_length) = (u32::from_le_bytes(short), u64::from_le_bytes(long));
    if facts_length > MOST_FACTS || data_length > MOST_DATA || !kind.is_ascii() {
        return Err(damaged(
            path,
            "a record claims to be longer than any can be",
        ));
    }
    let whole = RECORD_HEAD as u64 + u64::from(facts_length) + data_length;
    if whole > left {
        return Ok(Next::Torn);
    }
    let mut facts = vec![0; facts_length as usize];
    reader.read_exact(&mut facts).map_err(io)?;
    let mut hasher = checksum(kind, &facts, data_length);
    let mut rest = data_length;
    let mut buffer = vec![0; (1 << 16).min(data_length as usize)];
    while rest > 0 {
        let count = buffer.len().min(rest as usize);
        let part = buffer.get_mut(..count).unwrap_or_default();
        reader.read_exact(part).map_err(io)?;
        hasher.update(part);
        rest -= count as u64;
    }
    if hasher.finalize() != u32::from_le_bytes(sum) {
        // A machine that lost power may have kept the length of the file but not its end.
        return match whole == left {
            true => Ok(Next::Torn),
            false => Err(damaged(path, "the checksum of a record is wrong")),
        };
    }
    let data = Span {
        start: start + RECORD_HEAD as u64 + u64::from(facts_length),
        length: data_length,
    };
    Ok(Next::Record(Record { kind, facts, data }))
}
