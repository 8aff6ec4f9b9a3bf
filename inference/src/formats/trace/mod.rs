//! Traces (`.dtrace`): a picture step by step, each with all that is needed to go on from there.
//!
//! A file grows at its end, a whole record at a time, so that a crash leaves every step that was written before it. It is:
//!
//! ```text
//! "DIPTRACE"                      8 bytes
//! version                         u32, 1
//! records, each:
//!   kind                          4 bytes: HEAD, BLOB, STEP, DONE
//!   length of the facts           u32, at most 8 MiB
//!   length of the data            u64
//!   CRC-32 of all the rest        u32: kind, both lengths, facts and data
//!   facts                         JSON
//!   data                          bytes
//! ```
//!
//! All numbers are little-endian. The first record is the only `HEAD` (facts: [`TraceHead`]). `BLOB` is data that the request refers to
//! (facts: name and shape; data: zlib-compressed f32). `STEP` has [`StepFacts`] and the engine's state, then a PNG of the predicted
//! picture. A later `STEP` of the same index replaces an earlier one. `DONE` tells how it ended ([`TraceEnd`]). Kinds that are not known are
//! passed over. A record that the end of the file cuts off was being written in a crash: the trace ends before it.

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::{Trace, TraceBlob, is_trace};
pub use write::TraceWriter;

const MAGIC: &[u8; 8] = b"DIPTRACE";
const VERSION: u32 = 1;
const PREAMBLE: usize = 12;
/// Kind, two lengths, checksum.
const RECORD_HEAD: usize = 4 + 4 + 8 + 4;
const MOST_FACTS: u32 = 8 << 20;
/// Longest data of a record: a state of the largest picture.
const MOST_DATA: u64 = 2 << 30;
const MOST_RECORDS: usize = 1 << 16;

const HEAD: &[u8; 4] = b"HEAD";
const BLOB: &[u8; 4] = b"BLOB";
const STEP: &[u8; 4] = b"STEP";
const DONE: &[u8; 4] = b"DONE";

/// By what and for what a trace was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceHead {
    /// Program and version.
    pub program: String,
    /// What it was built for: architecture and system.
    pub build: String,
    /// `cpu` or `gpu`.
    pub executor: String,
    /// The device in a person's words.
    pub device: String,
    /// The request, as the engine's protocol writes it.
    pub request: Value,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFacts {
    /// Steps done; 0 is the beginning.
    pub index: u32,
    /// Steps in all.
    pub total: u32,
    /// Noise level at which the next step begins; 0 at the end.
    pub sigma: f32,
    /// SHA-256 of the latents (little-endian f32), in hexadecimal.
    pub sha256: String,
    /// Executor and device that computed it, where they are not those of the head: a trace may be continued elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Bytes of the state; those of the preview follow.
    pub state_bytes: u64,
}

/// How a trace ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEnd {
    /// SHA-256 of the picture's bytes (RGB), in hexadecimal.
    pub picture_sha256: String,
    /// Seconds of drawing.
    pub seconds: f32,
    /// The request that reproduces the picture, the model's hash filled in.
    pub request: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct BlobFacts {
    name: String,
    shape: Vec<u64>,
}

/// The checksum of a record.
fn checksum(kind: [u8; 4], facts: &[u8], data_length: u64) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind);
    hasher.update(&(facts.len() as u32).to_le_bytes());
    hasher.update(&data_length.to_le_bytes());
    hasher.update(facts);
    hasher
}
